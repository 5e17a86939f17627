#!/bin/sh
# Production: deploys a published image blue-green, verifies what serves, and rolls back if that
# fails. Ends with 1 whenever the new image does not serve.
#
#   deploy/ci/production.sh REPOSITORY@sha256:…
#
# PUBLIC_URL  where clients reach Florin: after the switch /health must answer there
# TARGET      kubernetes, the default: the cluster and namespace of kubectl's current context; or
#             compose: the project of this host whose files COMPOSE_FILE names
set -eu
image=${1:-}
case $image in
    *@sha256:*) ;;
    *)
        printf 'Give the image by digest: deploy/ci/production.sh REPOSITORY@sha256:…\n' >&2
        exit 2
        ;;
esac
: "${PUBLIC_URL:?is the address at which clients reach Florin}"
target=${TARGET:-kubernetes}
case $target in
    kubernetes) ;;
    compose) : "${COMPOSE_FILE:?names the files of the project, with a colon between them}" ;;
    *)
        printf 'TARGET=%s is neither kubernetes nor compose.\n' "$target" >&2
        exit 2
        ;;
esac
cd "$(dirname "$0")/../.."

florin() { ${FLORIN:-bin/florin} "$@" --target "$target"; }

serves() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do # ten in a row
        curl --silent --fail --max-time 5 --output /dev/null "$PUBLIC_URL/health" || return 1
    done
}

florin deploy --blue-green --release "$image"
if serves; then
    printf '%s serves at %s.\n' "$image" "$PUBLIC_URL"
    exit 0
fi
printf '%s/health does not answer; rolling back.\n' "$PUBLIC_URL" >&2
florin rollback
serves || printf 'It does not answer after the rollback either.\n' >&2
exit 1
