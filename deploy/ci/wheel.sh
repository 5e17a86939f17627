#!/bin/sh
# Wheel: builds Florin's wheel into a directory, and beside it the lock with every hash.
#
#   deploy/ci/wheel.sh DIRECTORY
#
# Install: pip install --require-hashes -r core.txt && pip install --no-deps florin-VERSION-….whl
# The same commit gives the same file.
set -eu
if [ $# -ne 1 ]; then
    printf 'Give a directory: deploy/ci/wheel.sh DIRECTORY\n' >&2
    exit 2
fi
mkdir -p "$1"
into=$(CDPATH='' cd "$1" && pwd -P)
cd "$(dirname "$0")/../.."
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
python3 -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$into" .
cp requirements/core.txt requirements/full.txt requirements/engines.txt "$into/"
ls "$into"/florin-*.whl
