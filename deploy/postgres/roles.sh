#!/bin/sh
# Roles: the owner of the schema, the application and the replica, in a new database. The image runs it
# once, while the volume is empty.
set -eu
psql -v ON_ERROR_STOP=1 -q -U "$POSTGRES_USER" -d postgres \
    -v owner="$(cat /run/secrets/owner_password)" \
    -v app="$(cat /run/secrets/app_password)" \
    -v replica="$(cat /run/secrets/replica_password)" <<'END'
create role florin_owner login createrole password :'owner';
create role florin_app login password :'app';
create role florin_replica login replication password :'replica';
create database florin owner florin_owner;
revoke connect, temporary on database florin from public;
grant connect on database florin to florin_app;
select pg_create_physical_replication_slot('replica', true);
END
# Over the network only with TLS and a password.
cat >"$PGDATA/pg_hba.conf" <<'END'
local all all trust
hostssl all all all scram-sha-256
hostssl replication florin_replica all scram-sha-256
END
