#!/bin/sh
# hub_flow.sh - a repository name to an MLX model: init, list, lock, download, verify, convert, against
# the test hub on loopback serving the embedded miniature; then a run that must ask it nothing, a hub
# that lies, a lock that is refreshed, and a download of $HUB_FLOW_MIB (96) over
# $HUB_FLOW_CONNECTIONS (2) that is killed. Needs $PSYBUILD_SOURCE and $PSYBUILD_BUILD.
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
HF_HOME=$work/none
export HF_HOME

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
# serve DIRECTORY ARGUMENT...: a hub that holds these files; $HF_ENDPOINT is its address.
miniature=$source/tests/golden/miniature/source
serve() {
    if [ -n "$pid" ]; then
        kill "$pid"
        wait "$pid" 2>/dev/null || :
    fi
    : >"$work/address"
    root=$1
    shift
    "$server" --root "$root" --repo GMLHUHE/PsyLLM --log "$work/log" "$@" >"$work/address" 2>&1 &
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
requests() { grep -c '^[a-z]* GET ' "$work/log"; }

serve "$miniature"
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

serve "$miniature" --fault "flip:/storage/:0:1000"
mkdir "$work/lied"
cd "$work/lied"
"$program" -t init GMLHUHE/PsyLLM models/PsyLLM-mlx >"$work/out" 2>&1
if "$program" models/PsyLLM-mlx >"$work/out" 2>&1; then fail "wrong bytes are accepted"; fi
grep -q 'model-0000.-of-00004.safetensors.*sha256' "$work/out" ||
    fail "the error does not name the file and its hash"
[ ! -e models/PsyLLM/model-00002-of-00004.safetensors ] || fail "wrong bytes got the final name"
[ ! -e models/PsyLLM-mlx/config.json ] || fail "a model was made of wrong bytes"
pass "wrong bytes of the right size are refused"

# Two files change, one comes, one goes.
mkdir -p "$work/files" "$work/locked"
printf 'one' >"$work/files/a.txt"
printf 'two' >"$work/files/b.txt"
printf 'three' >"$work/files/c.txt"
serve "$work/files"
cd "$work/locked"
printf '{"psybuild": 1, "sources": {"m": {"hub": "GMLHUHE/PsyLLM"}}}\n' >psybuild.json
"$program" -t lock >"$work/out" 2>&1 || fail "-t lock fails"
grep -q '^m: GMLHUHE/PsyLLM at main: locked at [0-9a-f]*, 3 files, 11 B$' "$work/out" ||
    fail "-t lock does not say what it locked"
[ "$(ls -A)" = "$(printf '.psybuild\nm\npsybuild.json\npsybuild.lock')" ] || fail "-t lock makes files"
"$program" -t lock >"$work/out" 2>&1 || fail "-t lock fails again"
grep -q '^m: GMLHUHE/PsyLLM at main: still [0-9a-f]*, 3 files, 11 B$' "$work/out" ||
    fail "-t lock does not say that nothing changed"
printf 'changed' >"$work/files/a.txt"
rm "$work/files/b.txt"
printf 'new' >"$work/files/d.txt"
serve "$work/files"
"$program" -t lock >"$work/out" 2>&1 || fail "-t lock of another commit fails"
grep -q '^m: GMLHUHE/PsyLLM at main: [0-9a-f]* -> [0-9a-f]*, 3 files, 15 B$' "$work/out" ||
    fail "-t lock does not name both commits"
tail -n 3 "$work/out" >"$work/changes"
printf '  * a.txt  3 B -> 7 B\n  - b.txt  3 B\n  + d.txt  3 B\n' | cmp -s - "$work/changes" ||
    fail "-t lock does not say which files changed"
if "$program" --frozen -t lock >"$work/out" 2>&1; then fail "--frozen lets the lock be changed"; fi
grep -q 'cannot be refreshed in psybuild.lock, which --frozen forbids changing' "$work/out" ||
    fail "the error does not name --frozen"
pass "a lock is refreshed, and says what changed"

"$program" m >"$work/out" 2>&1 || fail "the build of the new lock fails"
rm m/a.txt m/d.txt
before=$(requests)
if "$program" --offline m >"$work/out" 2>&1; then fail "an offline build downloads"; fi
[ "$(grep -c 'is missing, and offline psybuild cannot download it$' "$work/out")" = 2 ] ||
    fail "an offline build does not name each missing file"
if HF_HUB_OFFLINE=1 "$program" m >"$work/out" 2>&1; then fail "HF_HUB_OFFLINE=1 downloads"; fi
[ "$(grep -c 'is missing, and offline psybuild cannot download it$' "$work/out")" = 2 ] ||
    fail "HF_HUB_OFFLINE=1 does not name each missing file"
[ "$(requests)" = "$before" ] || fail "an offline build asks the hub"
pass "an offline build names what is missing"

# A shard whose header comes first, by a range of its own; then from the client's cache, offline.
mkdir -p "$work/headed" "$work/heard" "$work/cache/models--x--y/blobs"
header='{"a":{"dtype":"F16","shape":[2500000],"data_offsets":[0,5000000]}}'
{
    printf "\\$(printf %03o ${#header})\\0\\0\\0\\0\\0\\0\\0%s" "$header"
    head -c 5000000 /dev/zero
} >"$work/headed/model.safetensors"
serve "$work/headed"
cd "$work/heard"
printf '{"psybuild": 1, "sources": {"m": {"hub": "GMLHUHE/PsyLLM"}}, "artifacts": {"out/model.safetensors":
{"task": "merge", "in": {"weights": "m/model.safetensors"}}}}\n' >psybuild.json
: >"$work/log"
"$program" --connections 1 >"$work/out" 2>&1 || fail "a merge of a shard fails"
[ "$(grep -c '^storage GET ' "$work/log")" = 2 ] || fail "the header does not come first"
[ "$(grep -c '^home GET .*/resolve/' "$work/log")" = 1 ] || fail "the shard's place is asked for twice"
hash=$(sed -n 's/.*"sha256": "\([0-9a-f]*\)".*/\1/p' psybuild.lock)
mv m/model.safetensors "$work/cache/models--x--y/blobs/$hash"
rm -r .psybuild out
before=$(requests)
HF_HUB_OFFLINE=1 HF_HUB_CACHE=$work/cache "$program" >"$work/out" 2>&1 ||
    fail "an offline build does not use the client's cache"
cmp -s m/model.safetensors "$work/headed/model.safetensors" || fail "the shard is not the hub's"
[ "$(requests)" = "$before" ] || fail "what lies in the client's cache is asked for"
pass "a shard's header comes first, and from the client's cache where that has it"

# Killed at 60 %, at the request of a range: what each connection was at is lost, and no more.
mkdir -p "$work/large" "$work/killed"
bytes=$((${HUB_FLOW_MIB:-96} * 1048576)) connections=${HUB_FLOW_CONNECTIONS:-2}
# ranges of 16 MiB, and of 8 and 4 towards the end
count=0 rest=$((bytes / 1048576))
while [ "$rest" -gt 0 ]; do
    step=16
    while [ "$step" -gt 4 ] && [ "$rest" -le $((4 * step)) ]; do step=$((step / 2)); done
    [ "$step" -le "$rest" ] || step=$rest
    rest=$((rest - step)) count=$((count + 1))
done
head -c "$bytes" /dev/urandom >"$work/large/model.safetensors"
serve "$work/large"
cd "$work/killed"
cp ../locked/psybuild.json .
: >"$work/log"
ranges() { grep -c '^storage GET ' "$work/log" || :; }
"$program" --connections "$connections" --limit-rate $((bytes / 2)) m >"$work/out" 2>&1 &
build=$!
tries=0
while [ "$(ranges)" -lt $(((count * 6 + 9) / 10)) ]; do
    tries=$((tries + 1))
    [ $tries -lt 3000 ] || fail "the download does not get to 60 %"
    sleep 0.01
done
kill -9 "$build"
wait "$build" 2>/dev/null || :
first=$(ranges)
[ "$first" -lt "$count" ] || fail "the download was over before it was killed"
[ ! -e m/model.safetensors ] || fail "a part of a file has its name"
"$program" --connections "$connections" m >"$work/out" 2>&1 || fail "the second run fails"
cmp -s m/model.safetensors "$work/large/model.safetensors" || fail "the file is not the hub's"
again=$(($(ranges) - count))
[ "$again" -le "$connections" ] || fail "$again ranges were fetched again after $first"
before=$(requests)
"$program" --connections "$connections" m >"$work/out" 2>&1 || fail "the third run fails"
[ "$(requests)" = "$before" ] || fail "the third run asks the hub"
pass "a killed download goes on where it was ($first of $count ranges, then $((count - first + again)))"

printf '%d passed, 0 failed, 0 skipped\n' "$passed"
