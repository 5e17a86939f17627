#!/bin/sh
# Workflows: reads the pipeline and the image's description for mistakes. Offline, under a second.
#
#   deploy/ci/workflows.sh
#
# zizmor: permissions, unpinned actions, text of strangers in scripts. actionlint: keys, expressions,
# jobs that are needed and do not exist. hadolint: the Dockerfiles. PYTHON names the interpreter of an
# environment with them (bin/check gives it); otherwise they are looked for in PATH.
set -eu
cd "$(dirname "$0")/../.."
[ -z "${PYTHON:-}" ] || PATH=$(dirname "$PYTHON"):$PATH
zizmor --offline --quiet --no-progress --min-severity low .github/workflows
# Without the linters of scripts that a machine may have: the same answer everywhere.
actionlint -shellcheck= -pyflakes= .github/workflows/*.yml
hadolint deploy/Dockerfile deploy/patroni/Dockerfile
