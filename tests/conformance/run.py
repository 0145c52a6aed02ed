#!/usr/bin/env python3
"""Compares psybuild with the real converter, mlx_lm.convert, conversion by conversion, and with the real hub client.

One line for each: ok, FAIL or SKIP. The last line is the totals; the exit status is 0 if none failed.
Without PyPI and without an environment from before, everything that needs the reference is skipped.
README.md beside this file says what is compared.
"""
import argparse
import fcntl
import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import cards  # noqa: E402
import decoders  # noqa: E402
import documents  # noqa: E402
import environment  # noqa: E402
import hub  # noqa: E402
import suite  # noqa: E402


RULES = "rules", "model-classes"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--psybuild", default="./psybuild", help="the program to test (default ./psybuild)")
    parser.add_argument("--work", default="conformance-work",
                        help="directory of environment, inputs and caches (default ./conformance-work)")
    parser.add_argument("--venv", help="an environment that has the requirements already, instead of WORK/venv")
    parser.add_argument("--only", action="append", metavar="GLOB",
                        help="only cases whose \"model name\" matches, such as 'smollm2 4bit*'; may be repeated")
    parser.add_argument("--keep", action="store_true", help="keep what psybuild made")
    parser.add_argument("--strict", action="store_true", help="a skipped case is a failure")
    parser.add_argument("--list", action="store_true", help="print the cases and end")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
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


def run_rules(psybuild, report):
    """check_rules.py, in a process of its own: manifests/rules against the model classes."""
    program = os.path.join(os.path.dirname(psybuild), "tests", "rules_dump")
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "check_rules.py")
    result = subprocess.run([sys.executable, script, "--program", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, check=False)
    lines = result.stdout.splitlines()
    failures = [line for line in lines if line.startswith("FAIL")]
    if result.returncode == 0:
        report.ok(" ".join(RULES), lines[-1])
    else:
        report.fail(" ".join(RULES), failures or lines[-8:] or [f"check_rules.py ended with {result.returncode}"])


def main():
    options = arguments()
    if options.list:
        for model, name in [case[:2] for case in suite.planned()] + [RULES, decoders.CASE, documents.CASE, *hub.planned(), *cards.planned()]:
            print(model, name)
        return 0
    options.work, options.psybuild = os.path.abspath(options.work), os.path.abspath(options.psybuild)
    if not os.access(options.psybuild, os.X_OK):
        sys.exit(f"conformance: {options.psybuild} is no program; name psybuild with --psybuild")
    os.makedirs(options.work, exist_ok=True)
    without = None if options.inside else enter_environment(options)

    lock = open(os.path.join(options.work, "lock"), "w", encoding="ascii")  # held until this process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"conformance: another run is using {options.work}")

    begin, report = time.monotonic(), suite.Report()
    runner = suite.Suite(options.psybuild, options.work, options.only, options.keep, report)
    runner.run_recorded()
    for model, name, parameters in suite.planned():
        if not runner.wanted(model, name):
            continue
        if without:
            report.skip(f"{model} {name}", without)
        else:
            runner.run(model, name, parameters)
    if runner.wanted(*RULES):
        if without:
            report.skip(" ".join(RULES), without)
        else:
            run_rules(options.psybuild, report)
    for module in (decoders, documents):
        if not runner.wanted(*module.CASE):
            continue
        if without:
            report.skip(" ".join(module.CASE), without)
        else:
            module.run(options.psybuild, options.work, suite.MINIATURE, report)
    client = hub.Hub(options.psybuild, options.work, report)
    for model, name in hub.planned():
        if not runner.wanted(model, name):
            continue
        if without:
            report.skip(f"{model} {name}", without)
        else:
            client.run(name)
    for model, name in cards.planned():
        if not runner.wanted(model, name):
            continue
        if without:
            report.skip(f"{model} {name}", without)
        else:
            cards.run(name, options.psybuild, options.work, report)
    if report.skipped:
        print(f"SKIPPED {report.skipped} CASES: they were not compared with the reference. {without}")
    print(f"{time.monotonic() - begin:.0f} seconds")
    report.totals()
    return 1 if report.failed or (options.strict and report.skipped) else 0


if __name__ == "__main__":
    sys.exit(main())
