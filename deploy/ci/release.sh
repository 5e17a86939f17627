#!/bin/sh
# Release: collects what belongs to a version into a directory: its notes, the wheel with its locks,
# and the hashes of all files.
#
#   deploy/ci/release.sh VERSION DIRECTORY
#
# The notes are the section of CHANGELOG.md; a version that has none, or is still unreleased, ends with 1.
set -eu
if [ $# -ne 2 ]; then
    printf 'Give a version and a directory: deploy/ci/release.sh VERSION DIRECTORY\n' >&2
    exit 2
fi
version=${1#v}
mkdir -p "$2"
into=$(CDPATH='' cd "$2" && pwd -P)
cd "$(dirname "$0")/../.."
awk -v heading="## $version," '
    index($0, "## ") == 1 { inside = index($0, heading) == 1 }
    inside { print }' CHANGELOG.md >"$into/notes.md"
[ -s "$into/notes.md" ] || {
    printf 'CHANGELOG.md has no section for %s.\n' "$version" >&2
    exit 1
}
if head -n 1 "$into/notes.md" | grep -q unreleased; then
    printf 'CHANGELOG.md says that %s is unreleased; close it first (CONTRIBUTING.md).\n' "$version" >&2
    exit 1
fi
deploy/ci/wheel.sh "$into" >/dev/null
(cd "$into" && find . -type f ! -name SHA256SUMS -exec sha256sum {} + | sort -k 2 >SHA256SUMS)
printf 'Release %s is in %s.\n' "$version" "$into"
