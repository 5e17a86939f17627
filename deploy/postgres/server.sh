#!/bin/sh
# Server: PostgreSQL over TLS, as the primary or as a replica that copies it first.
#
#   server.sh primary|replica [OPTION OF postgres…]
#
# For the official image (17): its entry script makes the database of a primary. A replica with an
# empty volume copies the primary; the copy gets its name when it is complete, so an interruption
# leaves nothing half done.
set -eu
role=$1
shift
# PostgreSQL refuses a key that others may read; this directory is memory.
install -m 600 /run/secrets/server_key /run/postgresql/server.key

if [ "$role" = replica ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    rm -rf "$PGDATA.new"
    umask 077
    printf 'database:5432:*:florin_replica:%s\n' "$(cat /run/secrets/replica_password)" >/run/postgresql/pgpass
    until pg_basebackup --pgdata "$PGDATA.new" --wal-method stream --checkpoint fast --write-recovery-conf \
        --slot replica --no-password \
        --dbname "host=database user=florin_replica sslmode=verify-full sslrootcert=/run/secrets/ca_certificate passfile=/run/postgresql/pgpass"; do
        rm -rf "$PGDATA.new"
        printf 'The primary cannot be copied yet; trying again.\n' >&2
        sleep 1
    done
    rm -rf "$PGDATA"
    mv "$PGDATA.new" "$PGDATA"
fi
if [ "$role" = replica ]; then
    umask 077
    printf 'database:5432:*:florin_replica:%s\n' "$(cat /run/secrets/replica_password)" >/run/postgresql/pgpass
fi
umask 077
exec docker-entrypoint.sh postgres \
    -c ssl=on -c ssl_cert_file=/run/secrets/server_certificate -c ssl_key_file=/run/postgresql/server.key \
    -c password_encryption=scram-sha-256 -c wal_level=replica -c hot_standby=on \
    -c max_slot_wal_keep_size=4GB -c max_wal_size=4GB -c jit=off -c random_page_cost=1.1 \
    -c log_parameter_max_length=0 -c log_parameter_max_length_on_error=0 -c timezone=UTC "$@"
