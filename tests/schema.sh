#!/bin/sh
# schema.sh - manifests/schema.json is what the program's own tables say.
# After a change of roles, parameters or sources: psybuild -t schema >manifests/schema.json
set -eu
program=${PSYBUILD_BUILD:-.}/psybuild
checked_in=${PSYBUILD_SOURCE:-.}/manifests/schema.json

if ! "$program" -t schema | cmp -s - "$checked_in"; then
    echo "manifests/schema.json is not what psybuild -t schema prints:"
    "$program" -t schema | diff -u "$checked_in" - | head -40
    exit 1
fi
echo 'schema: as the tables say'
