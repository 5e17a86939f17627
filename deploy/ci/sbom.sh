#!/bin/sh
# SBOM: writes the software bill of materials of an image, CycloneDX 1.6 as JSON.
#
#   deploy/ci/sbom.sh IMAGE FILE
#
# It lists what the image really holds, the packages of Debian too, and needs no network once its
# tool is installed.
set -eu
if [ $# -ne 2 ]; then
    printf 'Give an image and a file: deploy/ci/sbom.sh IMAGE FILE\n' >&2
    exit 2
fi
image=$1
case $2 in /*) file=$2 ;; *) file=$PWD/$2 ;; esac
cd "$(dirname "$0")/../.."
. deploy/ci/.tools.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
docker save --output "$work/image.tar" "$image"
# Renamed when it is complete: a failed scan leaves no half document.
SYFT_CHECK_FOR_APP_UPDATE=false "$tools/syft" scan --quiet --source-name florin \
    --output cyclonedx-json@1.6="$work/sbom.json" "docker-archive:$work/image.tar"
mv "$work/sbom.json" "$file"
