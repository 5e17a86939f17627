#!/bin/sh
# Upgrade: migrates, then replaces the running processes one by one by those of /opt/florin/next; goes
# back to the release before when one does not become ready. Run as root after install.sh.
#
#   deploy/systemd/upgrade.sh              the release that was installed last
#   deploy/systemd/upgrade.sh --back       the release before
#
# A balancer in front must probe /health/ready of each instance (docs/operations/systemd.md). ROOT is
# a directory to work below, for tests.
set -eu
root=${ROOT:-}
florin=$root/opt/florin
within_s=${READY_WITHIN_S:-60}

running() { systemctl list-units --plain --no-legend --state=active,activating "$1" | cut -d ' ' -f 1; }

# Point a link at a release, in one step.
point() {
    ln -sfn "$2" "$florin/$1.new"
    mv -T "$florin/$1.new" "$florin/$1"
}

ready() {
    waited=0
    until curl --silent --fail --max-time 2 --output /dev/null "http://127.0.0.1:$1$2"; do
        waited=$((waited + 1))
        [ "$waited" -lt "$within_s" ] || return 1
        sleep 1
    done
}

# Restart every process, instances first, each when the one before serves.
replace_all() {
    for unit in $(running 'florin-api@*'); do
        port=${unit#florin-api@}
        port=${port%.service}
        printf 'restart %s\n' "$unit"
        systemctl restart "$unit" || return 1
        ready "$port" /health/ready || {
            printf '%s did not become ready within %s s.\n' "$unit" "$within_s" >&2
            return 1
        }
    done
    for unit in $(running 'florin-worker@*') $(running 'florin-operator.service'); do
        printf 'restart %s\n' "$unit"
        systemctl restart "$unit" || return 1
        systemctl is-active --quiet "$unit" || return 1
    done
}

before=$(readlink "$florin/current" 2>/dev/null) || before=''
if [ "${1:-}" = --back ]; then
    wanted=$(readlink "$florin/previous") || {
        printf 'There is no release before.\n' >&2
        exit 1
    }
else
    wanted=$(readlink "$florin/next") || {
        printf 'Nothing is installed; run deploy/systemd/install.sh first.\n' >&2
        exit 1
    }
    # The schema only gains, so what runs goes on with it.
    systemctl start florin-migrate.service || {
        printf 'The migration failed, and nothing was changed: journalctl -u florin-migrate\n' >&2
        exit 1
    }
fi
point current "$wanted"
if [ -z "$before" ]; then
    systemctl daemon-reload
    systemctl enable --now florin.target
    printf 'Started %s.\n' "$wanted"
    exit 0
fi
systemctl daemon-reload
if replace_all; then
    point previous "$before"
    printf '%s runs; deploy/systemd/upgrade.sh --back returns to %s.\n' "$wanted" "$before"
    exit 0
fi
printf 'Going back to %s.\n' "$before" >&2
point current "$before"
replace_all || printf 'Not every process runs: systemctl status florin.target\n' >&2
exit 1
