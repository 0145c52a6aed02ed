#!/bin/sh
# hub_flow.sh - a repository name to an MLX model: init, list, lock, download, verify, convert, against
# the test hub on loopback serving the embedded miniature; then a run that must ask it nothing, and a
# hub that lies. Needs $PSYBUILD_SOURCE and $PSYBUILD_BUILD.
set -eu
source=$PSYBUILD_SOURCE
program=$PSYBUILD_BUILD/psybuild
server=$PSYBUILD_BUILD/tests/hub_server
work=$(mktemp -d "${TMPDIR:-/tmp}/psybuild-hub.XXXXXX")
pid=
trap 'if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || :; fi; rm -rf "$work"' EXIT
PSYBUILD_DATA_DIR=$source/manifests
export PSYBUILD_DATA_DIR
unset HF_TOKEN HUGGING_FACE_HUB_TOKEN HF_HUB_OFFLINE || :
HF_TOKEN_PATH=$work/none
export HF_TOKEN_PATH

passed=0
fail() {
    printf 'hub_flow: %s\n' "$1"
    [ ! -e "$work/out" ] || cat "$work/out"
    printf '%d passed, 1 failed, 0 skipped\n' "$passed"
    exit 1
}
pass() {
    passed=$((passed + 1))
    printf 'ok  %s\n' "$1"
}
# serve ARGUMENT...: a hub that holds the miniature; $HF_ENDPOINT is its address.
serve() {
    : >"$work/address"
    "$server" --root "$source/tests/golden/miniature/source" --repo GMLHUHE/PsyLLM \
        --log "$work/log" "$@" >"$work/address" 2>&1 &
    pid=$!
    tries=0
    while ! grep -q '^http' "$work/address"; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || fail "the test hub does not start"
        sleep 0.05
    done
    HF_ENDPOINT=$(head -n 1 "$work/address")
    export HF_ENDPOINT
}
requests() { wc -l <"$work/log"; }

serve
mkdir "$work/hub" "$work/disk"
cd "$work/hub"
"$program" -t init GMLHUHE/PsyLLM models/PsyLLM-mlx >"$work/out" 2>&1 || fail "init fails"
"$program" models/PsyLLM-mlx >"$work/out" 2>&1 || fail "the build fails"
for file in config.json model-00004-of-00004.safetensors tokenizer.json; do
    cmp -s "models/PsyLLM/$file" "$source/tests/golden/miniature/source/$file" ||
        fail "$file is not what the hub holds"
done
pass "a repository becomes a model"

cd "$work/disk"
"$program" -t init "$source/tests/golden/miniature/source" models/PsyLLM-mlx >"$work/out" 2>&1
"$program" models/PsyLLM-mlx >"$work/out" 2>&1 || fail "the build from disk fails"
for file in models/PsyLLM-mlx/*; do
    case $file in */README.md) continue ;; esac # names the repository
    cmp -s "$file" "$work/hub/$file" || fail "$file differs from the one made from disk"
done
pass "with the bytes of a conversion from disk"

cd "$work/hub"
before=$(requests)
"$program" models/PsyLLM-mlx >"$work/out" 2>&1 || fail "the second run fails"
grep -q 'nothing to do' "$work/out" || fail "the second run does something"
rm -rf models/PsyLLM-mlx
"$program" models/PsyLLM-mlx >"$work/out" 2>&1 || fail "a locked build fails"
[ "$(requests)" = "$before" ] || fail "a locked build with its files there asks the hub"
pass "a locked build asks the hub for nothing"

kill "$pid"
wait "$pid" 2>/dev/null || :
serve --fault "flip:/storage/:0:1000"
mkdir "$work/lied"
cd "$work/lied"
"$program" -t init GMLHUHE/PsyLLM models/PsyLLM-mlx >"$work/out" 2>&1
if "$program" models/PsyLLM-mlx >"$work/out" 2>&1; then fail "wrong bytes are accepted"; fi
grep -q 'model-0000.-of-00004.safetensors.*sha256' "$work/out" ||
    fail "the error does not name the file and its hash"
[ ! -e models/PsyLLM/model-00002-of-00004.safetensors ] || fail "wrong bytes got the final name"
[ ! -e models/PsyLLM-mlx/config.json ] || fail "a model was made of wrong bytes"
pass "wrong bytes of the right size are refused"

printf '%d passed, 0 failed, 0 skipped\n' "$passed"
