#!/bin/sh
# demo.sh - the main job on the embedded miniature: demo.sh PROGRAM SOURCE_DIRECTORY
# Converts a PsyLLM-shaped checkpoint, then shows what a second build and two edits redo.
set -eu
program=$1 source=$2
case $program in /*) ;; *) program=$(pwd)/$program ;; esac
case $source in /*) ;; *) source=$(cd "$source" && pwd) ;; esac
work=$(mktemp -d "${TMPDIR:-/tmp}/psybuild-demo.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

PSYBUILD_DATA_DIR=$source/manifests
export PSYBUILD_DATA_DIR
psybuild() { "$program" "$@"; }
say() { printf '\n\033[1m%s\033[0m\n' "$*" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9]*m//g'; fi; }
run() { printf '$ psybuild %s\n' "$*"; psybuild "$@"; }
# expect WORD... : each word stands in the output of the last build, or the demo fails
build() {
    printf '$ psybuild %s\n' "$*"
    psybuild -v --progress=plain "$@" >log 2>&1 || { cat log; exit 1; }
    cat log
}
expect() { grep -q -- "$1" log || { echo "demo: expected \"$1\" in the output above" >&2; exit 1; }; }
refuse() { ! grep -q -- "$1" log || { echo "demo: \"$1\" was redone" >&2; exit 1; }; }

mkdir models
cp -R "$source/tests/golden/miniature/source" models/PsyLLM
chmod -R u+w models

say "A manifest: the checkpoint in models/PsyLLM becomes an MLX model at 4 bits."
run -t init models/PsyLLM models/PsyLLM-mlx
cat psybuild.json

say "1. The first build converts everything."
build models/PsyLLM-mlx
expect 'model\*.safetensors'
ls -l models/PsyLLM-mlx

say "2. The second build has nothing to do."
start=$(date +%s%N)
build models/PsyLLM-mlx
end=$(date +%s%N)
expect 'nothing to do'
case $start$end in *N*) ;; *) echo "($(( (end - start) / 1000000 )) ms, the shell's own time included)" ;; esac

say "3. 8 bits instead of 4: the weights and what reads their layout, no tokenizer."
sed 's/"bits": 4/"bits": 8/' psybuild.json >edited && mv edited psybuild.json
build -d explain models/PsyLLM-mlx
expect '"bits" changed: 4 -> 8'
expect 'config.json'
refuse 'made.*tokenizer'

say "4. A field of config.json that no weight depends on: config.json alone."
sed 's/"rope_theta": [0-9.]*/"rope_theta": 2000000/' models/PsyLLM/config.json >edited
mv edited models/PsyLLM/config.json
build -d explain models/PsyLLM-mlx
expect 'config.json'
refuse 'made.*safetensors'

say "5. Every byte against what was recorded."
run -t verify models/PsyLLM-mlx
