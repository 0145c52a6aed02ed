#!/bin/sh
# run_tests.sh - runs cmocka programs and scripts side by side, shows what those that failed said,
# and closes with the totals, alone on a line: N passed, N failed, N skipped.
# usage: run_tests.sh TEST...
#
# A test named *.sh is one test: exit 0 is passed, 77 skipped, all else failed; unless it closes with
# such a line of its own, which then counts. A program counts as many tests as cmocka says that it ran;
# one that dies, or fails without a failed test, or runs none, counts as a failed one.
# TEST_JOBS=N runs N at a time (one per processor), TEST_WRAPPER='qemu-aarch64 ...' stands before
# each program.
set -eu

# One test: what it says goes into OUT/NUMBER.log, its counts and name into OUT/NUMBER.count.
if [ "${1:-}" = --one ]; then
    out=$2
    number=${3%%:*}
    test=${3#*:}
    log=$out/$number.log
    status=0
    wrapper=${TEST_WRAPPER:-}
    case $test in
    *.sh) wrapper='' && set -- sh "$test" ;;
    /*) set -- "$test" ;;
    *) set -- "./$test" ;;
    esac
    limit=
    ! command -v timeout >/dev/null || limit="timeout -k 10 ${TEST_SECONDS:-900}" # a hang is a failure
    # shellcheck disable=SC2086 # each is several words
    $limit $wrapper "$@" >"$log" 2>&1 </dev/null || status=$?
    awk -v status="$status" -v test="$test" '
        /^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ { own = $1 " " $3 " " $5 }
        /^\[ *(PASSED|FAILED|SKIPPED) *\].*[0-9]+ test\(s\)/ {
            word = $0
            sub(/^\[ */, "", word)
            sub(/ *\].*/, "", word)
            number = $0
            sub(/ test\(s\).*/, "", number)
            sub(/.*[^0-9]/, "", number)
            count[word] += number
        }
        END {
            passed = count["PASSED"] + 0; failed = count["FAILED"] + 0; skipped = count["SKIPPED"] + 0
            if (own != "") {
                split(own, part, " ")
                passed = part[1]; failed = part[2]; skipped = part[3]
            } else if (test ~ /\.sh$/) {
                passed = status == 0; skipped = status == 77; failed = !passed && !skipped
            }
            if (failed == 0 && (passed + skipped == 0 || (status != 0 && status != 77)))
                failed = 1
            print passed, failed, skipped, status, test
        }' "$log" >"$out/$number.count"
    exit 0
fi

# Tests must not depend on who runs them.
umask 022
for name in $(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p'); do
    case $name in
    PSYBUILD_SOURCE | PSYBUILD_BUILD | PSYBUILD_TEST_* | PSYBUILD_FAULT_* | PSYBUILD_CPU) ;;
    HF_* | HUGGING* | PSYBUILD_* | MAKE* | MFLAGS) unset "$name" ;;
    esac
done

out=$(mktemp -d "${TMPDIR:-/tmp}/psybuild-tests.XXXXXX")
trap 'rm -rf "$out"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

jobs=${TEST_JOBS:-$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)}
number=100
for test do
    number=$((number + 1))
    printf '%d:%s\0' "$number" "$test"
done | xargs -0 -n 1 -P "$jobs" sh "$0" --one "$out"

passed=0
failed=0
skipped=0
for count in "$out"/*.count; do
    [ -f "$count" ] || continue
    read -r p f s status test <"$count"
    passed=$((passed + p))
    failed=$((failed + f))
    skipped=$((skipped + s))
    if [ "$f" -gt 0 ]; then
        printf '\n== %s (exit status %s)\n' "$test" "$status"
        cat "${count%.count}.log"
    elif [ "$s" -gt 0 ]; then
        printf 'passed %4d, skipped %d  %s\n' "$p" "$s" "$test"
    else
        printf 'passed %4d  %s\n' "$p" "$test"
    fi
done
printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ] && [ $((passed + skipped)) -gt 0 ]
