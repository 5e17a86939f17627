#!/bin/sh
# Receive: the only thing that the key of the pipeline may do on the host of a Compose project: deploy
# an image of one repository, by its digest. A line of ~/.ssh/authorized_keys there:
#
#   restrict,command="PUBLIC_URL=https://cards.example.com /srv/florin/deploy/ci/receive.sh ghcr.io/OWNER/florin" ssh-ed25519 …
#
# COMPOSE_FILE is deploy/compose.yaml of this checkout unless the line gives it. The deployment goes on
# when the connection ends, so it is complete or undone; deploy/live/production.log says how it ended.
set -eu
repository=${1:?is the repository whose images may be deployed}
image=${SSH_ORIGINAL_COMMAND:-}
digest=${image#"$repository@sha256:"}
case $digest in
    "$image" | *[!0-9a-f]*) digest='' ;;
esac
if [ "${#digest}" -ne 64 ]; then
    printf 'This key deploys %s@sha256:…, and nothing else.\n' "$repository" >&2
    exit 2
fi
cd "$(dirname "$0")/../.."
log=deploy/live/production.log
mkdir -p deploy/live
: >>"$log"
begin=$(wc -c <"$log")
export TARGET=compose COMPOSE_FILE="${COMPOSE_FILE:-$PWD/deploy/compose.yaml}"
# It writes to the log, not to the connection: what writes to one that is gone is ended by that.
deploy/ci/production.sh "$image" </dev/null >>"$log" 2>&1 &
deployment=$!
tail -c "+$((begin + 1))" -f --pid="$deployment" --sleep-interval=0.2 "$log"
wait "$deployment"
