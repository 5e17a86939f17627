#!/bin/sh
# Production: deploys a published image blue-green, verifies what serves, and rolls back if that
# fails. Ends with 1 whenever the new image does not serve.
#
#   deploy/ci/production.sh REPOSITORY@sha256:…
#
# PUBLIC_URL  where clients reach Florin: after the switch /health must answer there
# TARGET      kubernetes, the default: the cluster and namespace of kubectl's current context;
#             compose: the project of this host whose files COMPOSE_FILE names; or
#             ssh: the project of the host SSH_HOST (user@host, ssh://user@host:port), where the key
#             starts deploy/ci/receive.sh, which knows PUBLIC_URL and COMPOSE_FILE
# SSH_KEY, SSH_KNOWN_HOSTS  the texts of the private key and of the host's key, for ssh; without them
#             those of this user
set -eu
image=${1:-}
case $image in
    *@sha256:*) ;;
    *)
        printf 'Give the image by digest: deploy/ci/production.sh REPOSITORY@sha256:…\n' >&2
        exit 2
        ;;
esac

deploy_over_ssh() {
    : "${SSH_HOST:?is the host of the project, such as deploy@cards.example.com}"
    umask 077
    own=$(mktemp -d)
    trap 'rm -rf "$own"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    # An unknown host ends it: the first contact is not the time to trust one. The messages notice a
    # connection that is gone after a minute.
    set -- -o BatchMode=yes -o StrictHostKeyChecking=yes -o ServerAliveInterval=15 -o ServerAliveCountMax=4
    if [ -n "${SSH_KNOWN_HOSTS:-}" ]; then
        printf '%s\n' "$SSH_KNOWN_HOSTS" >"$own/known_hosts"
        set -- "$@" -o "UserKnownHostsFile=$own/known_hosts" -o GlobalKnownHostsFile=/dev/null
    fi
    if [ -n "${SSH_KEY:-}" ]; then
        printf '%s\n' "$SSH_KEY" >"$own/key"
        set -- "$@" -i "$own/key" -o IdentitiesOnly=yes
    fi
    code=0
    ssh "$@" -- "$SSH_HOST" "$image" || code=$?
    # 255: there was no connection, or it ended; then no one here knows how the deployment ended.
    [ "$code" -ne 255 ] || printf 'The connection to %s failed; its deploy/live/production.log says what was done.\n' \
        "$SSH_HOST" >&2
    exit "$code"
}

target=${TARGET:-kubernetes}
case $target in
    kubernetes) ;;
    compose) : "${COMPOSE_FILE:?names the files of the project, with a colon between them}" ;;
    ssh) deploy_over_ssh ;;
    *)
        printf 'TARGET=%s is neither kubernetes, compose nor ssh.\n' "$target" >&2
        exit 2
        ;;
esac
: "${PUBLIC_URL:?is the address at which clients reach Florin}"
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
