"""One thread, data in the second-level cache: every table of kernels, and mx.quantize on the same weights."""
import subprocess
import time

import mlx.core as mx
import numpy as np

import tools

COUNT, ROW = 64 * 1024, 1024  # weights, as bench_kernels.c has them


def weights():
    """What bench_kernels.c fills its buffer with."""
    state, sums = 1, []
    for _ in range(COUNT):
        total = np.float32(-2)
        for _ in range(4):
            state = (state * 1664525 + 1013904223) % 2**32
            total += np.float32((state >> 8) * 2.0**-24)
        sums.append(total * np.float32(0.034))
    return mx.array(np.array(sums, np.float32)).astype(mx.bfloat16).reshape(-1, ROW)


def reference_rate(array, mode, bits, group_size):
    """Million weights a second: the best of five, as bench_kernels takes the best of ten."""
    best = 0.0
    for _ in range(5):
        begin = time.perf_counter()
        mx.eval(*mx.quantize(array, group_size=group_size, bits=bits, mode=mode))
        best = max(best, COUNT / (time.perf_counter() - begin) / 1e6)
    return best


def measured(bench):
    """table -> (mode, bits, group size) -> million bf16 weights a second: quantized, dequantized, quantized and measured."""
    text = subprocess.run([bench.program("bench_kernels")], capture_output=True, text=True, check=True).stdout
    rates = {}
    for words in map(str.split, text.splitlines()):
        if len(words) == 13 and words[2].isdigit():
            rates.setdefault(words[0], {})[words[1], int(words[2]), int(words[3])] = [float(word) for word in words[4::3]]
    return rates


def run(bench):
    mx.set_default_device(mx.cpu)
    rates, array, rows = measured(bench), weights(), []
    names = list(reversed(rates))  # scalar first, the best of this processor last
    for shape in rates["scalar"]:
        mode, bits, group_size = shape
        try:
            reference = reference_rate(array, mode, bits, group_size)
        except ValueError:  # a width that this version of it does not have
            reference = None
        rows.append([f"{mode} {bits} bit, {group_size}"] + [f"{rates[name][shape][0]:.0f}" for name in names] +
                    [f"{reference:.1f}" if reference else "–"] +
                    [f"{rates[name][shape][0] / reference:.0f} ×" if reference else "–" for name in names[1:]] +
                    [f"{rate:.0f}" for rate in rates[names[-1]][shape][1:]])
    print("\nMillion bf16 weights a second:")
    tools.table(["", *names, "mx.quantize", *(f"{name} / mx" for name in names[1:]),
                 f"dequantize, {names[-1]}", f"quantize and measure, {names[-1]}"], rows)
