#!/bin/sh
# Server: Valkey over TLS, or a Sentinel.
#
#   server.sh valkey NAME     a server; it asks the Sentinels which server is the primary
#   server.sh sentinel NAME   a Sentinel
#
# A primary that comes back after its successor was elected would be empty, and its replicas would
# copy that: so a server takes its role from the Sentinels, and is the first primary only without them.
set -eu
kind=$1 name=$2
umask 077
group=florin first=valkey-1
operator=$(cat /run/secrets/valkey_operator_password)
application=$(cat /run/secrets/valkey_password)
tls='--tls --cacert /run/secrets/ca_certificate'
hash() { printf '%s' "$1" | sha256sum | cut -d ' ' -f 1; }

# The rights of src/florin/ops/valkey/users.py; a test compares.
if [ "$kind" = sentinel ]; then
    rights='-@all +ping +auth +client|setinfo +sentinel|masters'
else
    rights='~florin:* &florin:* -@all +ping +auth +client|setinfo +eval +time +get +set +del +zadd +zcard +zmscore +zrange +zremrangebyscore +publish +subscribe +unsubscribe +cluster|slots +asking +command'
fi

leader() {
    for each in sentinel-1 sentinel-2 sentinel-3; do
        # shellcheck disable=SC2086 # the options are words
        found=$(REDISCLI_AUTH=$operator timeout 3 valkey-cli -h "$each" -p 26379 $tls --user florin-operator \
            sentinel get-master-addr-by-name "$group" 2>/dev/null | head -n 1) || continue
        case $found in valkey-[1-9]) printf '%s\n' "$found"; return ;; esac
    done
    printf '%s\n' "$first"
}

settings() {
    cat <<END
bind * -::*
tls-cert-file /run/secrets/server_certificate
tls-key-file /run/secrets/server_key
tls-ca-cert-file /run/secrets/ca_certificate
tls-auth-clients no
tls-replication yes
user default reset on #$(hash "$application") $rights
user florin-operator reset on #$(hash "$operator") ~* &* +@all
END
}

case $kind in
sentinel)
    # Sentinel keeps its elections in this file.
    if [ ! -s /data/sentinel.conf ]; then
        {
            settings
            cat <<END
port 0
tls-port 26379
dir /data
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $name
sentinel announce-port 26379
sentinel monitor $group $first 6379 2
sentinel auth-user $group florin-operator
sentinel auth-pass $group $operator
sentinel sentinel-user florin-operator
sentinel sentinel-pass $operator
sentinel down-after-milliseconds $group 1500
sentinel failover-timeout $group 10000
END
        } >/data/sentinel.conf.new
        mv /data/sentinel.conf.new /data/sentinel.conf
    fi
    exec valkey-server /data/sentinel.conf --sentinel
    ;;
esac
{
    settings
    printf 'port 0\ntls-port 6379\nsave ""\nappendonly no\ndir /data\nmaxmemory-policy volatile-lru\n'
    printf 'masteruser florin-operator\nmasterauth %s\n' "$operator"
    printf 'replica-announce-ip %s\nreplica-announce-port 6379\n' "$name"
    at=$(leader)
    [ "$at" = "$name" ] || printf 'replicaof %s 6379\n' "$at"
} >/data/valkey.conf
exec valkey-server /data/valkey.conf
