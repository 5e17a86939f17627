#!/bin/sh
# Publish: pushes an image that was built and tested, and says under which digest it is there.
#
#   deploy/ci/publish.sh IMAGE REPOSITORY [FILE]
#
# FILE gets the reference, REPOSITORY@sha256:…, which is what a deployment names: a tag can be moved.
set -eu
if [ $# -lt 2 ]; then
    printf 'Give an image and a repository: deploy/ci/publish.sh IMAGE REPOSITORY [FILE]\n' >&2
    exit 2
fi
image=$1 repository=$2 file=${3:-}
release=$(docker image inspect --format '{{index .Config.Labels "org.opencontainers.image.revision"}}' "$image")
case $release in
    '' | unknown | *-changed)
        printf 'The image is of no commit (%s), so it is not published.\n' "${release:-no label}" >&2
        exit 1
        ;;
esac
docker tag "$image" "$repository:$release"
docker push --quiet "$repository:$release" >&2
reference=$(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$repository:$release" |
    grep "^$repository@sha256:" | head -n 1)
[ -n "$reference" ] || {
    printf 'The registry gave no digest.\n' >&2
    exit 1
}
[ -z "$file" ] || printf '%s\n' "$reference" >"$file"
printf '%s\n' "$reference"
