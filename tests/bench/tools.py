"""What all series share: measured runs, medians, the page cache, tables."""
import contextlib
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys


class Cost:
    """Seconds from start to end, processor seconds, and the peak of memory in KiB."""

    def __init__(self, seconds, user, system, peak_kib):
        self.seconds, self.user, self.system, self.peak_kib = seconds, user, system, peak_kib

    @classmethod
    def median(cls, costs):
        return cls(*(statistics.median(getattr(cost, name) for cost in costs)
                     for name in ("seconds", "user", "system", "peak_kib")))


class Bench:
    def __init__(self, options):
        self.options, self.work, self.reps = options, options.work, options.reps
        self.source = os.path.abspath(options.source)
        self.psybuild = os.path.abspath(options.psybuild)
        self.programs = os.path.join(os.path.dirname(self.psybuild), "tests")
        os.environ["PSYBUILD_DATA_DIR"] = os.path.join(self.source, "manifests")
        os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

    def version(self):
        return subprocess.run([self.psybuild, "--version"], capture_output=True, text=True, check=True).stdout.strip()

    def program(self, name):
        return os.path.join(self.programs, name)

    def measure(self, *command, cwd=None, times=1, env=None, seconds=None):
        """The costs of some runs of a command, one after the other. A failing one ends the benchmark; after
        `seconds` for all of them, what is still at work is killed: TimeoutError."""
        log = os.path.join(self.work, "measured")
        with subprocess.Popen([self.program("measure"), "-n", str(times), "-o", log, *command], cwd=cwd,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              env={**os.environ, **(env or {})}, start_new_session=True) as process:
            try:
                said, _ = process.communicate(timeout=seconds)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise TimeoutError from error
                raise
        if process.returncode != 0:
            sys.exit(f"bench: {' '.join(command)} in {cwd or '.'} failed:\n{said}")
        with open(log, encoding="ascii") as file:
            return [Cost(*map(float, line.split()[:4])) for line in file]

    def run_psybuild(self, directory, *arguments):
        return self.measure(self.psybuild, "-q", *arguments, cwd=directory)[0]

    @contextlib.contextmanager
    def directory(self, name):
        """An empty directory below the work directory, removed afterwards."""
        path = os.path.join(self.work, name)
        remove(path)
        os.makedirs(path)
        yield path
        remove(path)


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)


def chill(paths):
    """What was written before is on disk, and the files are not in the page cache."""
    os.sync()
    for path in paths:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def warm(paths):
    os.sync()
    block = bytearray(4 << 20)
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(block):
                pass


def files_below(directory):
    return sorted(os.path.join(path, name) for path, _, names in os.walk(directory) for name in names)


def mib(peak_kib):
    return f"{peak_kib / 1024:.1f} MiB" if peak_kib < 102400 else f"{peak_kib / 1024:.0f} MiB"


def time_text(seconds):
    if seconds < 0.1:
        return f"{1000 * seconds:.1f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"


def table(head, rows):
    """A Markdown table; numbers to the right."""
    print()
    print("| " + " | ".join(head) + " |")
    print("| --- |" + " ---: |" * (len(head) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def safetensors_header(tensors):
    """The bytes before those of BF16 tensors, (name, shape) each, in that order; the size of those."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors:
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, at
