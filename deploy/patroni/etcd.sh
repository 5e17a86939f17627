#!/bin/sh
# Etcd: a member of the cluster that keeps who the primary is: etcd.sh NAME
#
# Members and Patroni show each other certificates of the internal authority, which no other service
# of the project has a key for.
set -eu
name=$1
set -- --cert-file /run/secrets/server_certificate --key-file /run/secrets/server_key \
    --trusted-ca-file /run/secrets/ca_certificate --client-cert-auth \
    --peer-cert-file /run/secrets/server_certificate --peer-key-file /run/secrets/server_key \
    --peer-trusted-ca-file /run/secrets/ca_certificate --peer-client-cert-auth
members=''
for each in etcd-1 etcd-2 etcd-3; do
    members=$members${members:+,}$each=https://$each:2380
done
exec etcd --name "$name" --data-dir /var/lib/etcd/data --logger zap --log-level warn \
    --listen-client-urls https://0.0.0.0:2379 --advertise-client-urls "https://$name:2379" \
    --listen-peer-urls https://0.0.0.0:2380 --initial-advertise-peer-urls "https://$name:2380" \
    --initial-cluster "$members" --initial-cluster-token florin --initial-cluster-state new \
    --auto-compaction-retention 1 "$@"
