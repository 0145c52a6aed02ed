#!/bin/sh
# layers.sh - the picture of docs/design.md, held against the code: who includes whom, who alone may
# call what, that the engine reads from bottom to top, and that the build knows every file. Says each
# breach as FILE:LINE: what.
# usage: layers.sh [--floors] [SOURCE-DIRECTORY]      --floors: says the floor of each file of the engine
# PSYBUILD_BUILD is the directory of a build, whose objects tell which file calls which.
set -eu
floors=no
[ "${1:-}" != --floors ] || { floors=yes; shift; }
build=$(cd "${PSYBUILD_BUILD:-.}" && pwd)
cd "${1:-${PSYBUILD_SOURCE:-$(dirname "$0")/..}}"

work=$(mktemp -d "${TMPDIR:-/tmp}/psybuild-layers.XXXXXX")
trap 'rm -rf "$work"' EXIT

find base engine tasks cli -name '*.[ch]' | sort >"$work/files"

# Comments and literals are blanked, but not the names in #include lines: what is left is code.
tr '\n' '\0' <"$work/files" | xargs -0 awk '
    # What the files of a layer may include; an arrow points at what may be included.
    BEGIN {
        may["base"] = "base"
        may["formats"] = "base formats"
        may["engine"] = "base engine"
        may["tasks"] = "base formats tasks"
        may["cli"] = "base formats engine tasks cli"
    }

    function layer_of(path) {
        if (path ~ /^tasks\/formats\//)
            return "formats"
        sub(/\/.*/, "", path)
        return path
    }

    function breach(what) { print FILENAME ":" FNR ": " what }

    function blank(line,    out, c, next_two) {
        out = ""
        while (line != "") {
            c = substr(line, 1, 1)
            next_two = substr(line, 1, 2)
            if (in_comment) {
                if (next_two == "*/") {
                    in_comment = 0
                    line = substr(line, 3)
                } else
                    line = substr(line, 2)
            } else if (next_two == "/*") {
                in_comment = 1
                line = substr(line, 3)
            } else if (next_two == "//") {
                line = ""
            } else if (c == "\"" && match(line, /^"([^"\\]|\\.)*"/)) {
                out = out "\"\""
                line = substr(line, RLENGTH + 1)
            } else if (c == "\047" && match(line, /^\047([^\047\\]|\\.)+\047/)) {
                out = out "0"
                line = substr(line, RLENGTH + 1)
            } else {
                out = out c
                line = substr(line, 2)
            }
        }
        return out
    }

    # Does the code call one of these functions? Members and longer names are others.
    function calls(code, names) {
        return code ~ ("(^|[^A-Za-z0-9_.>])(" names ")[ \t]*\\(")
    }

    FNR == 1 {
        in_comment = 0
        layer = layer_of(FILENAME)
    }

    /^[ \t]*#[ \t]*include[ \t]*"/ {
        target = $0
        sub(/^[^"]*"/, "", target)
        sub(/".*/, "", target)
        if (target == "config.h")
            next
        to = layer_of(target)
        if (target !~ /\// || !(to in may))
            breach("\"" target "\" is not written from the root")
        else if (layer == "tasks" && to == "engine") {
            if (target != "engine/task.h" && FILENAME !~ /^tasks\/registry\./)
                breach("tasks/ includes engine/task.h and no other engine header, not " target)
        } else if (layer == "cli" && target ~ /^engine\/(machine|stale|plan|work|seal|schedule)\//) {
            breach("cli/ must not include " target)
        } else if (index(" " may[layer] " ", " " to " ") == 0)
            breach(layer " must not include " target)
        next
    }

    /^[ \t]*#[ \t]*include[ \t]*<(cjson\/)?cJSON\.h>/ && FILENAME != "base/json.c" {
        breach("only base/json.c uses cJSON")
    }
    /^[ \t]*#[ \t]*include[ \t]*<yaml\.h>/ && FILENAME != "tasks/formats/yaml_read.c" {
        breach("only tasks/formats/yaml_read.c uses libyaml")
    }

    {
        code = blank($0)
        if (FILENAME != "base/arena.c" && calls(code, "malloc|calloc|realloc|reallocarray|free"))
            breach("only base/arena.c calls malloc, calloc, realloc and free")
        if (FILENAME !~ /^base\/(file|directory|file_lock)\.c$/ && calls(code, "open|openat|creat|fopen"))
            breach("only base/file.c, directory.c and file_lock.c call open")
        if (FILENAME !~ /^base\/(file|file_lock)\.c$/ && calls(code, "pwrite|pwritev"))
            breach("only base/file.c and file_lock.c call pwrite")
        if (FILENAME !~ /^base\/(file|directory)\.c$/ && calls(code, "fsync|fdatasync"))
            breach("only base/file.c and directory.c call fsync")
        if (FILENAME != "base/directory.c" && calls(code, "rename|renameat"))
            breach("only base/directory.c calls rename")
        if (FILENAME != "base/json.c" && code ~ /(^|[^A-Za-z0-9_])cJSON_/)
            breach("only base/json.c uses cJSON")
        if (layer != "cli" &&
            calls(code, "printf|vprintf|fprintf|vfprintf|dprintf|puts|fputs|putchar|putc|perror|exit"))
            breach("only cli/ prints and exits")
    }' >"$work/breaches"

# The build lists every file by name, each once, and none that does not exist.
find base engine tasks cli tests -name '*.[ch]' | sort >"$work/there"
sed -n -E 's/^(source|main|header|support|program|test|fuzz) +([^ ]+).*/\2/p' build.ninja.in |
    sort >"$work/listed"
uniq -d "$work/listed" | sed 's/^/build.ninja.in: listed twice: /' >>"$work/breaches"
sort -u "$work/listed" >"$work/listed-once"
comm -23 "$work/there" "$work/listed-once" |
    sed 's/$/:1: build.ninja.in does not list this file/' >>"$work/breaches"
comm -13 "$work/there" "$work/listed-once" |
    sed 's/^/build.ninja.in: there is no /' >>"$work/breaches"

# The engine, floor by floor: its files in the order in which the build lists them, its folders in that
# of the first line. A file may include, and call, what stands before it.
sed -n -E 's/^(source|header) +(engine\/[^ ]+).*/\2/p' build.ninja.in >"$work/engine"
sed -n 's/\.c$/.o/p' "$work/engine" |
    (cd "$build/obj" 2>/dev/null && xargs "${NM:-nm}" -A 2>/dev/null) |
    awk '{ sub(/\.o:/, ".c ") }
        $(NF - 1) ~ /^[TDRBCU]$/ { print $(NF - 1) == "U" ? "wants" : "has", $1, $NF }' >"$work/symbols"
xargs awk -F '"' '/^[ \t]*#[ \t]*include[ \t]*"engine\// { print "includes", FILENAME, $2, FNR }' \
    <"$work/engine" >"$work/includes"
awk -v listing="$work/floors" '
    BEGIN {
        count = split("task.h machine content manifest graph state run stale plan work seal " \
            "schedule build.h build.c", folders, " ")
        for (i = 1; i <= count; i++)
            floor_of[folders[i]] = i
    }

    function folder(path) {
        sub(/^engine\//, "", path)
        sub(/\/.*/, "", path)
        return path
    }

    FILENAME ~ /engine$/ {
        place[$1] = ++places
        floor = floor_of[folder($1)]
        if (floor == 0)
            print $1 ":1: its folder has no floor"
        else if (floor < last)
            print "build.ninja.in: " $1 " is listed above " path
        last = floor
        path = $1
        printf "%2d %3d %s\n", floor, places, $1 >listing
        next
    }
    $1 == "includes" && place[$3] > place[$2] { print $2 ":" $4 ": uses " $3 ", which is above it" }
    $1 == "has" { home[$3] = $2 }
    $1 == "wants" { wanted[++wants] = $2 " " $3 }
    END {
        for (i = 1; i <= wants; i++) {
            split(wanted[i], use, " ")
            if (use[2] in home && place[home[use[2]]] > place[use[1]])
                print use[1] ":1: uses " use[2] " of " home[use[2]] ", which is above it"
        }
    }' "$work/engine" "$work/includes" "$work/symbols" >>"$work/breaches"
[ "$floors" = no ] || cat "$work/floors"

if [ -s "$work/breaches" ]; then
    cat "$work/breaches"
    exit 1
fi
printf 'layers: %d files, every arrow as drawn%s\n' "$(wc -l <"$work/files")" \
    "$([ -s "$work/symbols" ] || echo '; who calls whom was not looked at: no objects in PSYBUILD_BUILD')"
