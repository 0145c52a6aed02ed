"""Conversions against the real converter, and against what the disk alone costs (floor.c)."""
import json
import os
import statistics
import sys

import model
import tools

# row: the artifact in the manifest, mlx_lm.convert's flags
CASES = {
    "4 bit": ({"recipe": "mlx", "with": {"bits": 4}}, ["-q", "--q-bits", "4"]),
    "8 bit": ({"recipe": "mlx", "with": {"bits": 8}}, ["-q", "--q-bits", "8"]),
    "mxfp4": ({"recipe": "mlx", "with": {"mode": "mxfp4"}}, ["-q", "--q-mode", "mxfp4"]),
    "nvfp4": ({"recipe": "mlx", "with": {"mode": "nvfp4"}}, ["-q", "--q-mode", "nvfp4"]),
    "merge only": ({"recipe": "merged"}, []),
}


def write_manifest(directory, source, artifact, name="out"):
    with open(os.path.join(directory, "psybuild.json"), "w", encoding="ascii") as file:
        json.dump({"psybuild": 1, "sources": {"model": {"dir": source}},
                   "artifacts": {name: {"from": "model", **artifact}}}, file)


def shards_of(directory):
    return [path for path in tools.files_below(directory) if path.endswith(".safetensors")]


def bytes_of(paths):
    return sum(os.path.getsize(path) for path in paths)


def prepare_cache(is_cold, shards):
    (tools.chill if is_cold else tools.warm)(shards)


def convert_anew(bench, directory, source, artifact, is_cold, *options):
    """One conversion in a directory that is emptied before."""
    for name in os.listdir(directory):
        tools.remove(os.path.join(directory, name))
    write_manifest(directory, source, artifact)
    prepare_cache(is_cold, shards_of(source))
    return bench.run_psybuild(directory, *options)


def compare(bench, source, artifact, is_cold, threads=2, options=()):
    """psybuild and the floor in turn: their costs, the median of the ratios, the bytes written."""
    shards, costs, floors = shards_of(source), [], []
    with bench.directory("convert") as directory:
        for _ in range(bench.reps):
            costs.append(convert_anew(bench, directory, source, artifact, is_cold, "-j", str(threads), *options))
            written = bytes_of(shards_of(os.path.join(directory, "out")))
            output = os.path.join(directory, "floor")
            prepare_cache(is_cold, shards)
            floors += bench.measure(bench.program("floor"), "-j", str(threads), output, str(written), *shards)
            tools.remove(output)
    ratio = statistics.median(cost.seconds / floor.seconds for cost, floor in zip(costs, floors))
    return tools.Cost.median(costs), tools.Cost.median(floors), ratio, written


def run_converter(bench, source, flags, is_cold):
    """The real converter; it does not sync what it writes."""
    program, costs = os.path.join(os.path.dirname(sys.executable), "mlx_lm.convert"), []
    with bench.directory("converter") as directory:
        output = os.path.join(directory, "out")
        for _ in range(bench.options.converter_reps):
            tools.remove(output)
            prepare_cache(is_cold, shards_of(source))
            costs += bench.measure(program, "--hf-path", source, "--mlx-path", output, *flags)
    return tools.Cost.median(costs) if costs else None


def describe(cost):
    return [tools.time_text(cost.seconds), tools.time_text(cost.user + cost.system), tools.mib(cost.peak_kib)]


def run(bench):
    source, size_gb = model.prepare(bench.work, bench.options.size,
                                    os.path.join(bench.source, "tests", "golden", "miniature", "source"))
    rows = []
    for name, (artifact, flags) in CASES.items():
        if bench.options.case and name not in bench.options.case:
            continue
        for cache in ("cold", "warm"):
            cost, floor, ratio, written = compare(bench, source, artifact, cache == "cold")
            row = [f"{name}, {cache}", f"{written / 1e9:.2f} GB", *describe(cost), tools.time_text(floor.seconds),
                   f"{ratio:.2f} ×"]
            converter = run_converter(bench, source, flags, cache == "cold")
            row += [*describe(converter), f"{converter.seconds / cost.seconds:.1f} ×"] if converter else ["–"] * 4
            rows.append(row)
            print("(" + ", ".join(row) + ")", flush=True)
    print(f"\nA model of {bytes_of(shards_of(source)) / 1e9:.2f} GB, two threads; {bench.reps} runs, "
          f"mlx_lm.convert {bench.options.converter_reps}; medians:")
    tools.table(["", "writes", "psybuild", "processor", "peak", "floor", "psybuild / floor", "mlx_lm.convert",
                 "processor", "peak", "against psybuild"], rows)
