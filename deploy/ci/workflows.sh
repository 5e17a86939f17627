#!/bin/sh
# Workflows: reads the pipeline and the image's description for mistakes. Offline, under a second.
#
#   deploy/ci/workflows.sh
#
# zizmor: permissions, unpinned actions, text of strangers in scripts. hadolint: the Dockerfiles.
# actionlint, where it is installed: its package fetches a program during the installation, so it is
# in no lock. PYTHON names the interpreter of an environment with the first two (bin/check gives it);
# otherwise they are looked for in PATH.
set -eu
cd "$(dirname "$0")/../.."
[ -z "${PYTHON:-}" ] || PATH=$(dirname "$PYTHON"):$PATH
zizmor --offline --quiet --no-progress --min-severity low .github/workflows
hadolint deploy/Dockerfile deploy/patroni/Dockerfile
if command -v actionlint >/dev/null 2>&1; then
    actionlint .github/workflows/*.yml
fi
