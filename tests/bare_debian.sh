#!/bin/sh
# bare_debian.sh - does what README.md promises hold on a machine that has nothing? Makes a Debian
# root with apt and no more, puts a clean clone into it and runs one of README's commands there (the
# lines that begin with ./configure --install-deps), each on a root of its own.
# usage: bare_debian.sh [SOURCE-DIRECTORY]       needs mmdebstrap and apt's network
set -eu

source=$(cd "${1:-$(dirname "$0")/..}" && pwd -P)
command -v mmdebstrap >/dev/null || {
    echo 'bare_debian: mmdebstrap not found: apt-get install mmdebstrap' >&2
    exit 77
}

# Without root, mmdebstrap works in a user namespace, whose users must be able to reach this.
work=$(mktemp -d "${TMPDIR:-/tmp}/psybuild-bare.XXXXXX")
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

git clone --quiet --no-hardlinks "$source" "$work/psybuild"
rm -rf "$work/psybuild/.git"
sed -n '/^\.\/configure --install-deps/p' "$work/psybuild/README.md" >"$work/commands"
[ -s "$work/commands" ] || {
    echo 'bare_debian: README.md has no line that begins with ./configure --install-deps' >&2
    exit 1
}

# This machine's way to the Debian archive: the sources apt knows as Debian's, how apt is to reach
# them (proxy, certificates, dates), who may sign, and which hosts they are.
apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' \
    'Created-By: Packages' 'Origin: Debian' "Architecture: $(dpkg --print-architecture)" |
    awk '{ print "deb " $1 " " $2 " " $3 }' | sort -u >"$work/sources.list"
[ -s "$work/sources.list" ] || {
    echo "bare_debian: apt knows no source of Debian's: apt-get update" >&2
    exit 1
}
suite=$(awk '$3 !~ /-/ { print $3; exit }' "$work/sources.list")
apt-config dump | grep -E '^Acquire::' | grep -v -E '^Acquire::(IndexTargets|CompressionTypes|Changelogs)' \
    >"$work/apt.conf" || true

# A file that apt's configuration names, such as a certificate, is needed inside under the same name.
: >"$work/copies"
{
    sed -n 's/.*"\(\/.*\)";$/\1/p' "$work/apt.conf"
    echo /etc/ssl/certs/ca-certificates.crt
    find /etc/apt/auth.conf /etc/apt/auth.conf.d -type f 2>/dev/null || true
} | sort -u | while read -r file; do
    [ ! -f "$file" ] || [ ! -r "$file" ] || printf '%s\n' "${file#/}" >>"$work/copies"
done
tar -C / -chf "$work/copies.tar" -T "$work/copies"

# Takes the machine's copies before apt is used, the clone when the root is ready. The lists of
# packages go again: a bare machine has none. mmdebstrap runs the hooks with the root as $1.
run_bare() {
    export BARE_COMMAND="$1" BARE_WORK="$work"
    set -- --variant=apt --format=null --aptopt="$work/apt.conf" \
        --setup-hook='tar -C "$1" -xf "$BARE_WORK/copies.tar"' \
        --customize-hook='mkdir -p "$1/root/psybuild"' \
        --customize-hook='cp -R "$BARE_WORK/psybuild/." "$1/root/psybuild/"' \
        --customize-hook='rm -rf "$1"/var/lib/apt/lists/*' \
        --customize-hook='env -u TMPDIR HOME=/root LC_ALL=C.UTF-8 chroot "$1" \
            sh -c "cd /root/psybuild && $BARE_COMMAND" </dev/null'
    for keys in /etc/apt/trusted.gpg.d /etc/apt/keyrings; do
        [ ! -d "$keys" ] || set -- "$@" --keyring="$keys"
    done
    [ ! -d /usr/share/keyrings ] || set -- "$@" --keyring=/usr/share/keyrings
    mmdebstrap "$@" "$suite" /dev/null "$work/sources.list"
}

passed=0
failed=0
while read -r command <&3; do
    command=${command%%#*}
    printf '\n== on a bare Debian: %s\n' "$command"
    if run_bare "$command" >"$work/log" 2>&1; then
        passed=$((passed + 1))
        tail -n 12 "$work/log"
    else
        failed=$((failed + 1))
        tail -n 200 "$work/log"
    fi
done 3<"$work/commands"
printf '\n%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
