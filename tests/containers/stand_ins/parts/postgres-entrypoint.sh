#!/bin/sh
# Entry: what deploy/postgres uses of the official image's entry script, run as its user.
set -eu
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    mkdir -p "$PGDATA"
    # The options are words.
    # shellcheck disable=SC2086
    initdb --pgdata "$PGDATA" --username postgres --pwfile "$POSTGRES_PASSWORD_FILE" \
        --auth-local trust --auth-host scram-sha-256 ${POSTGRES_INITDB_ARGS:-} >/dev/null
    export POSTGRES_USER=postgres
    pg_ctl --pgdata "$PGDATA" --wait --options "-c listen_addresses= -c unix_socket_directories=/run/postgresql" start >/dev/null
    for script in /docker-entrypoint-initdb.d/*; do
        [ ! -f "$script" ] || PGHOST=/run/postgresql sh "$script"
    done
    pg_ctl --pgdata "$PGDATA" --wait --mode fast stop >/dev/null
fi
exec "$@" -c listen_addresses='*'
