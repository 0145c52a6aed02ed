#!/bin/sh
# jobserver.sh - psybuild in a recipe of make: how many commands run at once, and that every token comes
# back, whatever the end. Needs $PSYBUILD_SOURCE and $PSYBUILD_BUILD; GNU make for the first six.
set -eu
program=$(cd "$PSYBUILD_BUILD" && pwd)/psybuild
work=$(mktemp -d "${TMPDIR:-/tmp}/psybuild-jobserver.XXXXXX")
trap 'rm -rf "$work"' EXIT
PSYBUILD_DATA_DIR=$(cd "$PSYBUILD_SOURCE" && pwd)/manifests
export PSYBUILD_DATA_DIR
unset MAKEFLAGS MAKELEVEL MFLAGS PSYBUILD_CACHE || :

passed=0
skipped=0
fail() {
    printf 'jobserver: %s\n' "$1"
    [ ! -e "$work/out" ] || cat "$work/out"
    printf '%d passed, 1 failed, %d skipped\n' "$passed" "$skipped"
    exit 1
}
pass() {
    passed=$((passed + 1))
    printf 'ok  %s\n' "$1"
}

# A command notes how many run at the same time as it does: two directories share one place to do so.
cat >"$work/job.sh" <<'END'
mkdir -p "$WORK/running/$$"
ls "$WORK/running" | wc -l >>"$WORK/counts"
sleep 0.05
rmdir "$WORK/running/$$"
[ "${1##*/}" != "${FAILING:-}" ] || exit 1
if [ "${1##*/}" = "${STOPPING:-}" ]; then
    kill -INT $PPID
    sleep 0.2
fi
: >"$1"
END
WORK=$work
export WORK
# project DIRECTORY: eight commands that need nothing of each other
project() {
    rm -rf "${work:?}/$1" "$work/running" "$work/counts"
    mkdir "$work/$1"
    cp "$work/job.sh" "$work/$1"
    for i in 1 2 3 4 5 6 7 8; do
        printf '%s"out%d": {"task": "exec", "in": {"job": "job.sh"}, "with": {"command": ' \
            "$([ $i -eq 1 ] || printf ', ')" $i
        # shellcheck disable=SC2016 # psybuild expands that
        printf '["sh", "${in.job}", "${out}"]}}'
    done >"$work/artifacts"
    printf '{"psybuild": 1, "artifacts": {%s}}\n' "$(cat "$work/artifacts")" >"$work/$1/psybuild.json"
}
most() { sort -n "$work/counts" | tail -n 1 | tr -d ' '; }

printf 'all: a b\na b:\n\t+@%s -C $@ -q\n.PHONY: all a b\n' "$program" >"$work/Makefile"
if command -v make >/dev/null && make --version | grep -q '^GNU Make'; then
    for jobs in 2 3; do
        project a
        project b
        make -C "$work" -j$jobs >"$work/out" 2>&1 || fail "make -j$jobs fails"
        [ "$(most)" -le $jobs ] || fail "make -j$jobs: $(most) commands ran at once"
        [ "$(wc -l <"$work/counts")" -eq 16 ] || fail "make -j$jobs: not every command ran"
        ! grep -q -e 'jobserver tokens' -e 'warning: jobserver' "$work/out" || fail "make -j$jobs misses tokens"
    done
    pass "two builds in a make have as many jobs as make gives them"
    project a
    project b
    FAILING=out3 make -k -C "$work" -j3 >"$work/out" 2>&1 && fail "a failing command fails nothing"
    ! grep -q -e 'jobserver tokens' -e 'warning: jobserver' "$work/out" || fail "tokens are missing after a failure"
    pass "every token comes back when a command fails"
    project a
    project b
    STOPPING=out3 make -k -C "$work" -j3 >"$work/out" 2>&1 && fail "an interrupted build is a success"
    grep -q 'interrupted' "$work/out" || fail "the build was not interrupted"
    ! grep -q -e 'jobserver tokens' -e 'warning: jobserver' "$work/out" || fail "tokens are missing after an interruption"
    pass "every token comes back when it is interrupted"
    printf 'all:\n\t@%s -C a -q\n' "$program" >"$work/plain.mk"
    project a
    make -C "$work" -f plain.mk -j3 >"$work/out" 2>&1 || fail "without a plus it fails"
    grep -q "warning: make's jobserver cannot be reached" "$work/out" || fail "without a plus nothing is said"
    [ "$(most)" -eq 1 ] || fail "without a plus $(most) commands ran at once"
    pass "descriptors that make closed are not taken for its pipe"
    project a
    project b
    make -C "$work" -n -j3 >"$work/out" 2>&1 || fail "make -n fails"
    [ ! -e "$work/counts" ] && [ ! -e "$work/a/.psybuild" ] || fail "make -n builds"
    pass "make -n builds nothing"
    project a
    make -C "$work" -j8 a >"$work/out" 2>&1 || fail "make -j8 fails"
    [ "$(most)" -gt "$(getconf _NPROCESSORS_ONLN)" ] || [ "$(most)" -ge 4 ] ||
        fail "make -j8: only $(most) commands ran at once"
    pass "make's tokens bound the jobs, not the processors"
else
    skipped=6
fi

# As make 4.4 and later do it: a fifo with its tokens, held open by whoever made it.
mkfifo "$work/fifo"
exec 3<>"$work/fifo"
# tokens: those that are there, and none of them afterwards; a full stop tells where they end
tokens() {
    printf '.' >&3
    dd bs=1 count=1 <&3 2>/dev/null >"$work/token"
    while [ "$(cat "$work/token")" != . ]; do
        cat "$work/token"
        dd bs=1 count=1 <&3 2>/dev/null >"$work/token"
    done
}
with_fifo() { MAKEFLAGS=" -j3 --jobserver-auth=fifo:$work/fifo" "$program" -C "$work/a" -q; }
sort_bytes() { fold -w 1 | sort | tr -d '\n'; }
for end in 0 1 130; do
    project a
    printf 'xy' >&3
    status=0
    case $end in
    0) with_fifo >"$work/out" 2>&1 || status=$? ;;
    1) FAILING=out3 with_fifo >"$work/out" 2>&1 || status=$? ;;
    130) STOPPING=out3 with_fifo >"$work/out" 2>&1 || status=$? ;;
    esac
    [ $status -eq $end ] || fail "exit code $status instead of $end"
    [ "$(most)" -le 3 ] || fail "$(most) commands ran at once with two tokens"
    left=$(tokens | sort_bytes)
    [ "$left" = xy ] || fail "exit code $end: the tokens are \"$left\" now"
done
pass "every token of a fifo comes back, whatever the end"

project a
with_fifo >"$work/out" 2>&1 || fail "without tokens it fails"
[ "$(most)" -eq 1 ] || fail "without tokens $(most) commands ran at once"
pass "without tokens one command runs at a time"

project a
MAKEFLAGS=" -j3 --jobserver-auth=fifo:$work/fifo" "$program" -C "$work/a" -q -j2 >"$work/out" 2>&1 ||
    fail "-j within a make fails"
[ "$(wc -l <"$work/counts")" -eq 8 ] || fail "-j within a make: not every command ran"
pass "-j counts instead of make's tokens"

project a
MAKEFLAGS=' -j3 --jobserver-auth=98,99' "$program" -C "$work/a" >"$work/out" 2>&1 ||
    fail "with a jobserver out of reach it fails"
grep -q "warning: make's jobserver cannot be reached: one job at a time" "$work/out" ||
    fail "nothing is said of a jobserver out of reach"
[ "$(most)" -eq 1 ] || fail "out of reach: $(most) commands ran at once"
pass "a jobserver out of reach is told"

project a
printf 'untouched' >"$work/file"
for flags in "fifo:$work/file" 8,9; do
    MAKEFLAGS=" -j3 --jobserver-auth=$flags" "$program" -C "$work/a" -B 8<>"$work/file" 9<>"$work/file" \
        >"$work/out" 2>&1 || fail "with a file in the place of a jobserver it fails"
    grep -q "warning: make's jobserver cannot be reached" "$work/out" || fail "nothing is said of a file"
    [ "$(cat "$work/file")" = untouched ] || fail "the file was written to"
done
pass "a file in the place of a jobserver is neither read nor written"
printf '%d passed, 0 failed, %d skipped\n' "$passed" "$skipped"
