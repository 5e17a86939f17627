#!/bin/sh
# Server: Valkey over TLS, or a Sentinel.
#
#   server.sh valkey NAME     a server; it asks the Sentinels which server is the primary
#   server.sh sentinel NAME   a Sentinel
#   server.sh cluster NAME    a node of a cluster (compose.valkey-cluster.yaml)
#   server.sh join NAME       makes one cluster of the nodes, unless they are one already
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

nodes='valkey-1 valkey-2 valkey-3 valkey-4 valkey-5 valkey-6'
ask() {
    host=$1
    shift
    # shellcheck disable=SC2086 # the options are words
    REDISCLI_AUTH=$operator timeout 3 valkey-cli -h "$host" $tls --user florin-operator "$@"
}

# A master that comes back before its replica was elected would be empty, and the replica would copy
# that: it waits until another node has its slots, as long as the others can elect one.
await_successor() {
    own=$(sed -n 's/^\([0-9a-f]*\) .*myself,master.*/\1/p' /data/nodes.conf)
    [ -n "$own" ] || return 0
    for _ in 1 2 3 4 5 6 7 8; do
        for each in $nodes; do
            [ "$each" = "$name" ] && continue
            # Its line by another node: the ninth field is its first slot.
            line=$(ask "$each" cluster nodes 2>/dev/null | grep "^$own ") || continue
            # shellcheck disable=SC2086 # the fields are words
            set -- $line
            [ $# -gt 8 ] || return 0
        done
        sleep 1
    done
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
cluster)
    [ ! -s /data/nodes.conf ] || await_successor
    {
        settings
        cat <<END
port 0
tls-port 6379
tls-cluster yes
save ""
appendonly no
dir /data
maxmemory-policy volatile-lru
masteruser florin-operator
masterauth $operator
cluster-enabled yes
cluster-config-file nodes.conf
cluster-node-timeout 1500
cluster-require-full-coverage no
cluster-announce-hostname $name
cluster-preferred-endpoint-type hostname
END
    } >/data/valkey.conf
    exec valkey-server /data/valkey.conf
    ;;
join)
    if ask valkey-1 cluster info | grep -q 'cluster_state:ok'; then
        printf 'The nodes are one cluster already.\n'
        exit 0
    fi
    addresses=''
    for each in $nodes; do
        addresses="$addresses $(getent hosts "$each" | cut -d ' ' -f 1):6379"
    done
    # shellcheck disable=SC2086 # the addresses and options are words
    REDISCLI_AUTH=$operator valkey-cli $tls --user florin-operator \
        --cluster create $addresses --cluster-replicas 1 --cluster-yes
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        ask valkey-1 cluster info | grep -q 'cluster_state:ok' && exit 0
        sleep 1
    done
    printf 'The nodes did not become one cluster.\n' >&2
    exit 1
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
