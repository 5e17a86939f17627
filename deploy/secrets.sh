#!/bin/sh
# Secrets: makes what is missing in deploy/secrets: passwords, keys, and certificates of the internal
# networks. What exists is kept, so it may be run again.
#
#   deploy/secrets.sh
#
# The files are readable for every user in a container that they are given to, since Compose mounts
# them with their owner and mode; the directory lets no other user of this machine in. Back it up
# apart from the database: without the peppers no card of a restored database can be spent by code.
set -eu
here=$(CDPATH='' cd "$(dirname "$0")" && pwd -P)
mkdir -p "$here/secrets" "$here/live"
chmod 700 "$here/secrets"
chmod 755 "$here/live"
cd "$here/secrets"
umask 077
command -v openssl >/dev/null || {
    printf 'openssl is missing; install it and run this again.\n' >&2
    exit 1
}

# Renamed when it is complete: an interruption leaves no half secret.
keep() {
    cat >"$1.new"
    [ -s "$1.new" ] || { printf 'No secret could be made for %s.\n' "$1" >&2; exit 1; }
    chmod 444 "$1.new"
    mv "$1.new" "$1"
}

for name in jwt_secret jwt_refresh_secret code_pepper key_pepper seal_key; do
    [ -s "$name" ] || openssl rand -base64 32 | keep "$name"
done
for name in postgres_password owner_password app_password replica_password valkey_password \
    valkey_operator_password grafana_password; do
    # Hexadecimal: it stands in URLs as it is.
    [ -s "$name" ] || openssl rand -hex 24 | keep "$name"
done

# One authority for the internal networks, and one certificate for all names of its servers.
if [ ! -s ca_certificate ] || [ ! -s server_key ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    openssl ecparam -name prime256v1 -genkey -noout -out "$work/ca.key"
    openssl req -x509 -new -key "$work/ca.key" -sha256 -days 3650 -subj '/CN=Florin internal' \
        -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign' \
        -out "$work/ca.crt"
    openssl ecparam -name prime256v1 -genkey -noout -out "$work/server.key"
    openssl req -new -key "$work/server.key" -subj '/CN=florin' -out "$work/server.csr"
    names=DNS:localhost
    for name in database database-replica database-third etcd-1 etcd-2 etcd-3 valkey-1 valkey-2 valkey-3 \
        valkey-4 valkey-5 valkey-6 sentinel-1 sentinel-2 sentinel-3; do
        names=$names,DNS:$name
    done
    printf 'subjectAltName=%s,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' "$names" >"$work/extensions"
    openssl x509 -req -in "$work/server.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial \
        -sha256 -days 3650 -extfile "$work/extensions" -out "$work/server.crt" 2>/dev/null
    keep server_key <"$work/server.key"
    keep server_certificate <"$work/server.crt"
    keep ca_certificate <"$work/ca.crt"
fi

# The URLs hold passwords, so they are secrets, too. One that is there is kept, since it may name a
# database of yours: after changing a password, remove the URLs that contain it.
make() {
    name=$1
    shift
    [ -s "$name" ] || "$@" | keep "$name"
}
tls='sslmode=verify-full&sslrootcert=/run/secrets/ca_certificate'
database() { printf 'postgresql://%s:%s@%s/florin?%s\n' "$1" "$(cat "$2")" "$3" "$tls${4:-}"; }
make database_url_owner database florin_owner owner_password database:5432
make database_url database florin_app app_password database:5432
make database_url_replica database florin_app app_password database-replica:5432
# The same for compose.patroni.yaml: three servers, of which the primary accepts writes.
servers='database database-replica database-third'
all=database:5432,database-replica:5432,database-third:5432
primary='&target_session_attrs=read-write'
each_server() { for each in $servers; do database florin_app app_password "$each:5432"; done | paste -sd , -; }
make patroni_database_url_owner database florin_owner owner_password "$all" "$primary"
make patroni_database_url database florin_app app_password "$all" "$primary"
make patroni_database_url_replica each_server
valkey=$(cat valkey_password)
trust='ssl_ca_certs=/run/secrets/ca_certificate'
make redis_url printf 'rediss+sentinel://:%s@sentinel-1:26379,sentinel-2:26379,sentinel-3:26379/florin?sentinel_password=%s&%s\n' \
    "$valkey" "$valkey" "$trust"
# For compose.valkey-cluster.yaml; some of its nodes are sufficient.
make cluster_redis_url printf 'rediss+cluster://:%s@valkey-1:6379,valkey-2:6379,valkey-3:6379?%s\n' "$valkey" "$trust"

# The colour that serves; deployments change it.
[ -s "$here/live/colour.map" ] || { printf 'colour blue\n' >"$here/live/colour.map"; }
chmod 644 "$here/live/colour.map"
