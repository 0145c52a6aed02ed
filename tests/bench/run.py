"""The benchmarks (docs/benchmarks.md): each series prints its tables as they stand on that page."""
import argparse
import datetime
import os
import platform
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "conformance")]
import environment  # noqa: E402
import tools  # noqa: E402

# name: whether it needs the environment with numpy and the real converter
SERIES = {"kernels": True, "convert": True, "scaling": True, "incremental": True, "null_build": False, "plan": False,
          "download": True}


def arguments():
    parser = argparse.ArgumentParser(prog="run.sh PROGRAM SOURCE", description=__doc__)
    parser.add_argument("--psybuild", help=argparse.SUPPRESS)
    parser.add_argument("--source", help=argparse.SUPPRESS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--only", action="append", choices=SERIES, metavar="SERIES",
                        help=f"one of {', '.join(SERIES)}; may be repeated")
    parser.add_argument("--size", type=float, default=1.2, metavar="GB",
                        help="about the size of the model to convert (default 1.2); scaling goes up to it")
    parser.add_argument("--nodes", type=int, default=100_000, help="size of the largest graph (default 100000)")
    parser.add_argument("--patience", type=float, default=120, metavar="SECONDS",
                        help="null_build: for a run; a slower tool is not tried on larger graphs (default 120)")
    parser.add_argument("--reps", type=int, default=5, help="runs of each measurement (default 5)")
    parser.add_argument("--download", type=float, default=2.0, metavar="GB", help="how much to download (default 2)")
    parser.add_argument("--download-to", metavar="DIR", help="where to (default: the work directory), as /dev/shm")
    parser.add_argument("--case", action="append", metavar="NAME", help="convert: one of its rows; may be repeated")
    parser.add_argument("--converter-reps", type=int, default=1, metavar="N",
                        help="runs of the real converter for each row (default 1; 0: none)")
    parser.add_argument("--work", default="bench-work", metavar="DIR",
                        help="where models and outputs lie: a real disk (default ./bench-work); models that are there are used again")
    parser.add_argument("--venv", metavar="DIR", help="an environment that has the requirements already")
    return parser.parse_args()


def enter_environment(options):
    """Continues this program inside the environment. Returns only if there is none: the reason."""
    try:
        python = os.path.join(options.venv, "bin", "python") if options.venv else environment.prepare(
            os.path.join(options.work, "venv"))
    except environment.Unreachable as error:
        return str(error)
    sys.stdout.flush()
    os.execv(python, [python, os.path.abspath(__file__), *sys.argv[1:], "--inside"])


def main():
    options = arguments()
    options.work = os.path.abspath(options.work)
    os.makedirs(options.work, exist_ok=True)
    wanted = [name for name in SERIES if not options.only or name in options.only]
    without = None
    if not options.inside and any(SERIES[name] for name in wanted):
        without = enter_environment(options)
    bench = tools.Bench(options)
    print(f"{datetime.datetime.now():%Y-%m-%d %H:%M}, {platform.system()} {platform.release()} "
          f"{platform.machine()}, {os.cpu_count()} processors, {bench.version()}")
    for name in wanted:
        if without and SERIES[name]:
            print(f"\nSKIPPED {name}: {without}")
            continue
        print(f"\n## {name} (load average at its start: {os.getloadavg()[0]:.1f})", flush=True)
        __import__(name).run(bench)
    return 0


if __name__ == "__main__":
    sys.exit(main())
