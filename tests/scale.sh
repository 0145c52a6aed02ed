#!/bin/sh
# scale.sh - a chain of 100 000 nodes on a stack of 1 MiB: nothing that walks the graph may recurse.
# And 2 000 nodes side by side are built, found fresh, and built again from one changed file.
set -eu

build=${PSYBUILD_BUILD:-.}
program=$(cd "$build" && pwd)/psybuild

work=$(mktemp -d "${TMPDIR:-/tmp}/psybuild-scale.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() {
    printf 'scale.sh: %s\n' "$*" >&2
    exit 1
}

# generate FORMAT COUNT: a manifest of copies; FORMAT prints output and input of the i-th.
generate() {
    awk -v count="$2" -v kind="$1" 'BEGIN {
        printf "{\"psybuild\": 1, \"artifacts\": {"
        for (i = 0; i < count; i++) {
            input = kind == "chain" && i > 0 ? "o/" (i - 1) : "in/" (kind == "chain" ? 0 : i)
            printf "%s\n\"o/%d\": {\"task\": \"copy\", \"in\": {\"files\": \"%s\"}}", (i > 0 ? "," : ""), i, input
        }
        print "}}"
    }' >psybuild.json
}

# run EXIT-CODE ARGUMENT...: what it says goes into `said`.
run() {
    expected=$1
    shift
    code=0
    "$program" "$@" >said 2>&1 || code=$?
    [ "$code" -eq "$expected" ] || fail "psybuild $* ended with $code: $(tail -n 3 said)"
}

says() {
    grep -qxF "$1" said || fail "expected \"$1\", found $(tail -n 3 said)"
}

ulimit -s 1024 2>/dev/null || echo 'scale.sh: the stack stays as large as it is'

mkdir in
echo 0 >in/0
generate chain 100000
run 0 -n
says 'psybuild: 100000 nodes would be made, writing 2 B, and what cannot be planned yet'
run 0 -n o/49999
says 'psybuild: 50000 nodes would be made, writing 2 B, and what cannot be planned yet'
run 0 -t explain
says 'o/99999: it needs o/99998, which would be made'
run 0 -t graph
says '  "o/99998" -> "o/99999";'
# One more edge makes it a cycle; it is told with its ends.
sed 's|"in/0"|"o/99999"|' psybuild.json >cycle.json
run 2 -n -f cycle.json
grep -q 'cycle' said || fail "expected a cycle, found $(tail -n 3 said)"

count=2000
rm -r .psybuild 2>/dev/null || true
awk -v count=$count 'BEGIN { for (i = 0; i < count; i++) { print i >("in/" i); close("in/" i) } }'
generate wide $count
run 0 -q
run 0
says 'psybuild: nothing to do'
echo changed >in/777
run 0 --progress=plain
says '[2000/2000] made o/777  8 B'
[ "$(cat o/777)" = changed ] || fail 'o/777 is not what it was made from'
run 0
says 'psybuild: nothing to do'
