"""Time and memory against the size of the model and the number of threads."""
import os

import convert
import model
import tools


def run(bench):
    tokenizer = os.path.join(bench.source, "tests", "golden", "miniature", "source")
    artifact, largest = convert.CASES["4 bit"][0], model.nearest(bench.options.size)
    rows = []
    for size_gb in [size for size in model.SHAPES if size <= largest]:
        source, _ = model.prepare(bench.work, size_gb, tokenizer)
        for cache in ("cold", "warm"):
            cost, floor, ratio, _ = convert.compare(bench, source, artifact, cache == "cold")
            rate = convert.bytes_of(convert.shards_of(source)) / 1e9 / cost.seconds
            rows.append([f"{size_gb} GB, {cache}", *convert.describe(cost), f"{rate:.2f} GB/s",
                         tools.time_text(floor.seconds), f"{ratio:.2f} ×"])
    print("\n4 bit, two threads:")
    tools.table(["", "psybuild", "processor", "peak", "reads", "floor", "psybuild / floor"], rows)

    source, size_gb = model.prepare(bench.work, min(largest, 1.2), tokenizer)
    rows = []
    for threads, options in ((1, ()), (2, ()), (4, ()), (2, ("--memory", "16M")), (2, ("--no-stats",))):
        cost, floor, ratio, _ = convert.compare(bench, source, artifact, False, threads, options)
        rows.append([" ".join((f"-j {threads}", *options)), *convert.describe(cost),
                     tools.time_text(floor.seconds), f"{ratio:.2f} ×"])
    print(f"\n4 bit, {size_gb} GB, warm:")
    tools.table(["", "psybuild", "processor", "peak", "floor with as many threads", "psybuild / floor"], rows)
