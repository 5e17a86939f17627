#!/bin/sh
# Image: builds the image of this checkout.
#
#   deploy/ci/image.sh TAG [OPTION OF docker build…]
#
# LOCK=full adds what makes vouchers as PDF and payments by Stripe; core, the default, does without.
# BASE and BASE_DIGEST (sha256:…) choose the base image; SOURCE is the address of the source code
# for the label of that name.
set -eu
if [ $# -lt 1 ]; then
    printf 'Give the tag of the image: deploy/ci/image.sh TAG [OPTION OF docker build…]\n' >&2
    exit 2
fi
cd "$(dirname "$0")/../.."
tag=$1
shift
lock=${LOCK:-core}
case $lock in core | full) ;; *)
    printf 'LOCK=%s is neither core nor full.\n' "$lock" >&2
    exit 2
    ;;
esac
release=$(git rev-parse --short=12 HEAD)
[ -z "$(git status --porcelain -- src requirements deploy/Dockerfile)" ] || release=$release-changed
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' src/florin/__init__.py)
# The time of the commit, not of the build: the same commit gives the same labels.
created=$(git log -1 --format=%cI)
[ -n "${BASE_DIGEST:-}" ] ||
    printf 'BASE_DIGEST is not given: the base image is what its tag means today.\n' >&2
exec docker build -f deploy/Dockerfile -t "$tag" \
    ${BASE:+--build-arg "BASE=$BASE"} ${BASE_DIGEST:+--build-arg "BASE_DIGEST=$BASE_DIGEST"} \
    --build-arg "LOCK=$lock" --build-arg "RELEASE=$release" --build-arg "VERSION=$version" \
    --build-arg "CREATED=$created" --build-arg "SOURCE=${SOURCE:-}" "$@" .
