#!/bin/sh
# Install: puts a release and the units on this machine. Run as root, again for each release;
# upgrade.sh then replaces what runs. docs/operations/systemd.md
#
#   deploy/systemd/install.sh DIRECTORY    with a wheel and its lock, from deploy/ci/wheel.sh
#
# LOCK=full.txt adds PDF and Stripe. ROOT is a directory to install below, for packages and tests.
set -eu
if [ $# -ne 1 ] || ! [ -d "$1" ]; then
    printf 'Give the directory with the wheel: deploy/systemd/install.sh DIRECTORY\n' >&2
    exit 2
fi
here=$(CDPATH='' cd "$(dirname "$0")" && pwd -P)
root=${ROOT:-}
lock=$1/${LOCK:-core.txt}
set -- "$1"/florin-*.whl
[ $# -eq 1 ] && [ -e "$1" ] || {
    printf 'There must be one wheel in that directory.\n' >&2
    exit 2
}
wheel=$1
name=$(basename "$wheel" .whl)-$(sha256sum "$wheel" | cut -c 1-12)
release=$root/opt/florin/releases/$name
if [ -z "$root" ] && ! id florin >/dev/null 2>&1; then
    useradd --system --user-group --home-dir /nonexistent --shell /usr/sbin/nologin florin
fi
if ! [ -e "$release/complete" ]; then
    rm -rf "$release"
    mkdir -p "$root/opt/florin/releases"
    python3 -m venv "$release"
    "$release/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
        --only-binary :all: -r "$lock"
    "$release/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$wheel"
    "$release/bin/florin" --version >/dev/null
    : >"$release/complete"
fi
ln -sfn "releases/$name" "$root/opt/florin/next"
units=$root/etc/systemd/system
mkdir -p "$units" "$root/etc/florin"
# Root's own: systemd reads them and hands each process a copy of what it may read.
mkdir -p -m 0700 "$root/etc/florin/secrets"
[ -e "$root/etc/florin/florin.env" ] || cp "$here/florin.env" "$root/etc/florin/florin.env"
cp "$here/florin.target" "$units/"
for unit in florin-api@ florin-worker@ florin-operator florin-migrate; do
    cp "$here/$unit.service" "$units/"
    mkdir -p "$units/$unit.service.d"
    cp "$here/hardening.conf" "$units/$unit.service.d/"
done
printf 'Installed %s; deploy/systemd/upgrade.sh makes it run.\n' "$name"
