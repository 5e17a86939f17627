#!/bin/sh
# Scan: the bill of materials of an image, and known vulnerabilities of what is in it.
#
#   deploy/ci/scan.sh IMAGE FILE
#
# FILE gets the bill of materials. Python's packages are asked about with pip-audit; those of Debian
# by trivy where it is installed, else this says that they were not scanned. Exit code 1: there are
# known vulnerabilities (of Debian: high ones with a fix).
set -eu
if [ $# -ne 2 ]; then
    printf 'Give an image and a file: deploy/ci/scan.sh IMAGE FILE\n' >&2
    exit 2
fi
cd "$(dirname "$0")/../.."
code=0
deploy/ci/sbom.sh "$1" "$2"
deploy/ci/audit.sh core full || code=$?
if command -v trivy >/dev/null 2>&1; then
    trivy image --quiet --exit-code 1 --ignore-unfixed --severity HIGH,CRITICAL "$1" || code=1
else
    printf "Debian's packages were not scanned: trivy is not installed. %s lists them.\n" "$2"
fi
exit "$code"
