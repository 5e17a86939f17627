#!/bin/sh
# Server: PostgreSQL that Patroni starts, promotes and demotes: server.sh NAME
#
# The settings are those of deploy/postgres/server.sh. A commit is acknowledged when it is on two
# servers, or not at all (synchronous_mode_strict), so a failover loses none that was acknowledged.
set -eu
name=$1
umask 077
install -m 600 /run/secrets/server_key /run/postgresql/server.key
secret() { cat "/run/secrets/$1"; }
cat >/run/postgresql/patroni.yaml <<END
scope: florin
name: $name
restapi:
  listen: 0.0.0.0:8008
  connect_address: $name:8008
  certfile: /run/secrets/server_certificate
  keyfile: /run/postgresql/server.key
  cafile: /run/secrets/ca_certificate
  # Only who has the internal key may change the cluster; anyone in the network may ask for its state.
  verify_client: optional
ctl:
  cacert: /run/secrets/ca_certificate
  certfile: /run/secrets/server_certificate
  keyfile: /run/postgresql/server.key
etcd3:
  hosts: etcd-1:2379,etcd-2:2379,etcd-3:2379
  protocol: https
  cacert: /run/secrets/ca_certificate
  cert: /run/secrets/server_certificate
  key: /run/postgresql/server.key
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 2
    retry_timeout: 5
    synchronous_mode: true
    synchronous_mode_strict: true
    postgresql:
      use_pg_rewind: true
      parameters:
        max_connections: ${POSTGRES_CONNECTIONS:-300}
        max_slot_wal_keep_size: 4GB
        wal_level: replica
        hot_standby: "on"
        wal_log_hints: "on"
  initdb: [data-checksums, {encoding: UTF8}, {locale: C}]
  post_bootstrap: sh /florin-roles/roles.sh
postgresql:
  listen: 0.0.0.0:5432
  connect_address: $name:5432
  data_dir: $PGDATA
  pgpass: /run/postgresql/pgpass
  use_unix_socket: true
  # Without it a new server waits for the next checkpoint of the primary, minutes.
  basebackup: [{checkpoint: fast}]
  authentication:
    superuser:
      username: postgres
      password: $(secret postgres_password)
      sslmode: verify-full
      sslrootcert: /run/secrets/ca_certificate
    replication:
      username: florin_replica
      password: $(secret replica_password)
      sslmode: verify-full
      sslrootcert: /run/secrets/ca_certificate
  pg_hba:
    - local all all trust
    - hostssl all all all scram-sha-256
    - hostssl replication florin_replica all scram-sha-256
  parameters:
    unix_socket_directories: /run/postgresql
    ssl: "on"
    ssl_cert_file: /run/secrets/server_certificate
    ssl_key_file: /run/postgresql/server.key
    password_encryption: scram-sha-256
    shared_buffers: ${POSTGRES_BUFFERS:-128MB}
    hot_standby_feedback: "on"
    max_standby_streaming_delay: 5s
    max_wal_size: 4GB
    jit: "off"
    random_page_cost: 1.1
    log_parameter_max_length: 0
    log_parameter_max_length_on_error: 0
    timezone: UTC
END
export POSTGRES_USER=postgres PGHOST=/run/postgresql
exec patroni /run/postgresql/patroni.yaml
