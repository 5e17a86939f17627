# Debian: its packages, unpacked apart from the system, which is not changed. Read by engine.sh, base.sh.
#
# They come from the mirror that this machine is set up with. The caller has set `work`, an empty
# directory. Sets `here` (the suite of this system), `mirror` and `key`.

give_up() {
    printf '%s\n' "$*" >&2
    exit 1
}

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
    give_up 'This system has no apt-get: what the tests need can be fetched on Debian only.'
here=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
# The first archive of this suite: unlike those of updates it has the other suites, too.
mirror=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Identifier: Packages' |
    sed -n "s/^$here main //p" | head -n 1)
[ -n "$mirror" ] || give_up 'apt knows no mirror of Debian; run apt-get update first.'
key=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$key" ] || give_up "$key is missing; apt-get install debian-archive-keyring."

# Unpacks packages into $work/root: unpack SUITE PACKAGE…
unpack() {
    apt=$work/apt-$1
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/debs" "$work/root"
    printf 'deb [signed-by=%s] %s %s main\n' "$key" "$mirror" "$1" >"$apt/sources.list"
    shift
    cat >"$apt/apt.conf" <<END
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "$apt/lists";
Dir::Cache "$apt/cache";
APT::Sandbox::User "root";
END
    APT_CONFIG=$apt/apt.conf apt-get -qq update
    (cd "$apt/debs" && APT_CONFIG=$apt/apt.conf apt-get -qq download "$@")
    for package in "$apt/debs"/*.deb; do
        dpkg-deb -x "$package" "$work/root"
    done
}
