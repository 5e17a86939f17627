#!/bin/sh
# Base: a stand-in for the base image where none can be pulled: Debian with Python, pip and venv.
#
#   tests/containers/stand_ins/base.sh FILE    a root file system, as a tar
set -eu
file=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. "$(dirname "$0")/.debian.sh"
unpack "$here" mmdebstrap
# Its own programs find each other by PATH.
PATH=$work/root/usr/bin:$PATH mmdebstrap --quiet --variant=minbase --format=tar \
    --include=python3-minimal,python3-venv,python3-pip,ca-certificates \
    trixie "$work/base.tar" "deb [signed-by=$key] $mirror trixie main"
mkdir -p "${file%/*}"
mv "$work/base.tar" "$file"
