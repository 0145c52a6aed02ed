#!/bin/sh
# null_run.sh - a second run opens no file of weights and maps no library but C's, as strace sees it;
# what it takes is told. Skipped, and said so, where strace is missing or may not
# trace.
set -eu

source=${PSYBUILD_SOURCE:-$(dirname "$0")/..}
build=${PSYBUILD_BUILD:-.}
source=$(cd "$source" && pwd)
program=$(cd "$build" && pwd)/psybuild
PSYBUILD_DATA_DIR=$source/manifests
export PSYBUILD_DATA_DIR

work=$(mktemp -d "${TMPDIR:-/tmp}/psybuild-null.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() {
    printf 'null_run.sh: %s\n' "$*" >&2
    exit 1
}

if ! strace -f -e trace=open,openat -o trace true 2>/dev/null; then
    echo 'null_run.sh: SKIPPED: strace is not here, or may not trace'
    exit 77
fi

mkdir models
cp -R "$source/tests/golden/miniature/source" models/PsyLLM
chmod -R u+w models
cat >psybuild.json <<'MANIFEST'
{
    "psybuild": 1,
    "sources": {"models/PsyLLM": {"dir": "models/PsyLLM"}},
    "artifacts": {
        "models/PsyLLM-mlx": {"recipe": "mlx", "from": "models/PsyLLM", "with": {"bits": 4}}
    }
}
MANIFEST

# The leak sanitizer cannot work under strace.
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
export ASAN_OPTIONS

# What the first run opens shows that the trace sees what it has to.
strace -f -e trace=open,openat -o first "$program" -q
grep -q 'model-00001-of-00004\.safetensors' first || fail 'the first run was not seen to read'

strace -f -e trace=open,openat -o second "$program" >said
grep -q 'nothing to do' said || fail "the second run had something to do: $(cat said)"
if grep 'safetensors' second >&2; then
    fail 'the second run opened that'
fi
# A sanitizer brings its own; and a C library may still be several.
case $(cat "$(dirname "$program")/config.h") in
*'VARIANT "asan"'* | *'VARIANT "tsan"'*) ;;
*)
    if grep '\.so' second | grep -v 'ENOENT\|ld\.so\|libc\.\|libpthread\.\|libdl\.' >&2; then
        fail 'the second run mapped that library'
    fi
    ;;
esac
for other in psybuild.json recipes/mlx.json tokenizer.json; do
    if grep "/*$other" second >&2; then
        fail "the second run read $other: its stamp is enough"
    fi
done
opened=$(grep -c 'openat\?(.* = [0-9]' second)

# The time of one run, from a hundred.
count=100
begin=$(date +%s%N)
case $begin in
*N*) echo "null_run.sh: a second run opens $opened files, none of weights" ; exit 0 ;;
esac
i=0
while [ $i -lt $count ]; do
    "$program" -q
    i=$((i + 1))
done
end=$(date +%s%N)
printf 'null_run.sh: a second run opens %d files, none of weights, and takes %d.%02d ms\n' \
    "$opened" $(((end - begin) / count / 1000000)) $(((end - begin) / count / 10000 % 100))
