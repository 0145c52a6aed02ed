#!/bin/sh
# layers_breach.sh - layers.sh fails when the engine uses what is above, by an #include or by a call.
set -eu
source=${PSYBUILD_SOURCE:-$(cd "$(dirname "$0")/.." && pwd)}
build=${PSYBUILD_BUILD:-.}
work=$(mktemp -d "${TMPDIR:-/tmp}/psybuild-breach.XXXXXX")
trap 'rm -rf "$work"' EXIT
# Objects of another machine cannot be mixed with one that is compiled here.
${NM:-nm} "$build/obj/engine/build.o" 2>/dev/null | grep -q build_run || exit 77
mkdir -p "$work/build/obj"
(cd "$source" && cp -R base engine tasks cli tests build.ninja.in "$work")
cp -R "$build/obj/engine" "$work/build/obj"

# expect STATUS WORDS: layers.sh ends with that status and says the words.
expect() {
    status=0
    PSYBUILD_BUILD=$work/build sh "$source/tests/layers.sh" "$work" >"$work/said" 2>&1 || status=$?
    if [ "$status" -ne "$1" ] || ! grep -qF "$2" "$work/said"; then
        echo "layers_breach.sh: wanted status $1 and '$2', not $status and:" >&2
        cat "$work/said" >&2
        exit 1
    fi
}

expect 0 'every arrow as drawn'

cp "$work/engine/content/hash.c" "$work/saved.c"
echo '#include "engine/schedule/schedule.h"' >>"$work/engine/content/hash.c"
expect 1 'uses engine/schedule/schedule.h, which is above it'
mv "$work/saved.c" "$work/engine/content/hash.c"

printf 'extern int build_run(void);\nextern int up(void);\nint up(void) { return build_run(); }\n' >"$work/up.c"
${CC:-cc} -c "$work/up.c" -o "$work/build/obj/engine/content/hash.o"
expect 1 'engine/content/hash.c:1: uses build_run of engine/build.c, which is above it'
