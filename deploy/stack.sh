#!/bin/sh
# Stack: deploys stack.yaml to the Swarm of this manager, the first time and after changes of files.
#
#   deploy/stack.sh [OPTION OF docker stack deploy…]
#
# FLORIN_STACK names the stack (florin). FLORIN_IMAGE is the image, FLORIN_API and FLORIN_WORKERS the
# numbers of tasks: without them a stack that runs keeps what it has, so that a change of a file does
# not return to another release. Configs and secrets of a Swarm cannot be changed: each is named by its
# content, and a changed one is a new one.
set -eu
here=$(CDPATH='' cd "$(dirname "$0")" && pwd -P)
export FLORIN_STACK="${FLORIN_STACK:-florin}"

# field SERVICE TEMPLATE DEFAULT
field() {
    found=$(docker service inspect "${FLORIN_STACK}_$1" --format "$2" 2>/dev/null) || found=''
    printf '%s\n' "${found:-$3}"
}

"$here/secrets.sh"
[ -e "$here/florin.env" ] || : >"$here/florin.env"
[ -n "${FLORIN_IMAGE:-}" ] || FLORIN_IMAGE=$(field api '{{.Spec.TaskTemplate.ContainerSpec.Image}}' florin:1)
[ -n "${FLORIN_API:-}" ] || FLORIN_API=$(field api '{{.Spec.Mode.Replicated.Replicas}}' 2)
[ -n "${FLORIN_WORKERS:-}" ] || FLORIN_WORKERS=$(field worker '{{.Spec.Mode.Replicated.Replicas}}' 1)
FLORIN_PREVIOUS=$(field api '{{index .Spec.Labels "florin.previous"}}' '')
export FLORIN_IMAGE FLORIN_API FLORIN_WORKERS FLORIN_PREVIOUS
for file in $(sed -n 's/^    file: \.\///p' "$here/stack.yaml"); do
    export "SUM_$(printf '%s' "$file" | tr -c 'A-Za-z0-9' _)=$(sha256sum "$here/$file" | cut -c 1-12)"
done
exec docker stack deploy --detach "$@" -c "$here/stack.yaml" "$FLORIN_STACK"
