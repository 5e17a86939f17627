#!/bin/sh
# Audit: asks whether locked packages have known vulnerabilities.
#
#   deploy/ci/audit.sh [LOCK…]    names in requirements/; default: core engines delivery
#
# Exit code: 0 none are known, 1 there are some (listed), 3 the database could not be asked. It needs
# the network: the answer changes daily, so no copy of it is kept.
set -eu
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- core engines delivery
for lock in "$@"; do
    if [ ! -e "requirements/$lock.txt" ]; then
        printf 'There is no lock requirements/%s.txt.\n' "$lock" >&2
        exit 2
    fi
done
. deploy/ci/.tools.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
code=0
for lock in "$@"; do
    # pip-audit ends with 1 in both cases, but writes its answer only when it has one.
    if "$tools/pip-audit" --progress-spinner off --require-hashes --disable-pip \
        -r "requirements/$lock.txt" -f json -o "$work/$lock.json" 2>"$work/said"; then
        printf '%s: no known vulnerabilities in %s packages.\n' "$lock" \
            "$(grep -c '^[a-z0-9].*==' "requirements/$lock.txt")"
    elif [ -s "$work/$lock.json" ]; then
        printf '%s: there are known vulnerabilities:\n' "$lock"
        "$tools/python" -c 'import json, sys
for each in json.load(open(sys.argv[1]))["dependencies"]:
    for one in each.get("vulns", ()):
        fixed = ", ".join(one["fix_versions"]) or "no release"
        print("  %s %s: %s, fixed in %s" % (each["name"], each["version"], one["id"], fixed))' \
            "$work/$lock.json"
        code=1
    else
        printf '%s: not audited, the database gave no answer: %s\n' "$lock" "$(tail -n 1 "$work/said")" >&2
        [ "$code" -eq 1 ] || code=3
    fi
done
exit "$code"
