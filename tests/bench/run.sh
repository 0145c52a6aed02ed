#!/bin/sh
# run.sh - the benchmarks: run.sh PROGRAM SOURCE [--only SERIES]... [--size GB] [...] (--help lists all)
# What it prints are the tables of docs/benchmarks.md.
set -eu
if ! command -v python3 >/dev/null; then
    echo "bench: needs python3" >&2
    exit 1
fi
program=$1 source=$2
shift 2
exec python3 "$(dirname "$0")/run.py" --psybuild "$program" --source "$source" "$@"
