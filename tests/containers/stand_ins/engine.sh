#!/bin/sh
# Engine: Docker's programs from Debian, unpacked into a directory; the system stays as it is.
#
#   tests/containers/stand_ins/engine.sh DIRECTORY
#
# Debian 12 has an engine that is too old (the health check's start interval needs 25), so it comes
# from the next suite; its runc would need a newer C library and is this system's own.
set -eu
target=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. "$(dirname "$0")/.debian.sh"
unpack trixie docker.io docker-cli docker-buildx docker-compose containerd
[ "$here" = trixie ] || rm -f "$work/root/usr/bin/runc" "$work/root/usr/sbin/runc"
unpack "$here" runc
# Networks between containers need it, and their names, too. The links are what its package would make.
if ! command -v iptables >/dev/null; then
    unpack "$here" iptables libip4tc2 libip6tc2 libmnl0 libnetfilter-conntrack3 libnfnetlink0 libnftnl11 libxtables12
    for name in iptables ip6tables; do
        ln -sf "$name-legacy" "$work/root/usr/sbin/$name"
    done
fi
mkdir -p "${target%/*}"
rm -rf "$target"
mv "$work/root" "$target"
