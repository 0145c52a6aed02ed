#!/bin/sh
# run.sh - gives each fuzzer FUZZ_SECONDS (30) from where it stopped last, in the build directory.
# What it finds interesting goes to fuzz/NAME.corpus there; an input that breaks it stays as
# fuzz/NAME-crash-HASH: once mended, that file joins tests/fuzz/corpus/NAME.
# usage: run.sh FUZZER...        closes with the totals: N passed, N failed, N skipped
set -eu

source=${PSYBUILD_SOURCE:-$(pwd)}
here=$(pwd) # fuzzers may change their directory
passed=0
failed=0
for fuzzer do
    name=${fuzzer##*/}
    mkdir -p "fuzz/$name.corpus"
    set -- "$here/fuzz/$name.corpus"
    [ ! -d "$source/tests/fuzz/corpus/${name#fuzz_}" ] ||
        set -- "$@" "$source/tests/fuzz/corpus/${name#fuzz_}"
    if "./$fuzzer" -max_total_time="${FUZZ_SECONDS:-30}" -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$here/fuzz/$name-" "$@" >"fuzz/$name.log" 2>&1; then
        passed=$((passed + 1))
        printf 'passed  %s: %s runs\n' "$name" \
            "$(sed -n 's/^stat::number_of_executed_units: *//p' "fuzz/$name.log")"
    else
        failed=$((failed + 1))
        printf '\n== %s\n' "$name"
        tail -n 60 "fuzz/$name.log"
    fi
done
printf '\n%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
