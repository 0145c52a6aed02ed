"""Runs that find nothing, or nearly nothing, to do: psybuild beside the build tools that are installed.

Two graphs of n copies: "wide", each of a file of its own, and "chains" of a hundred, each copy of the
one before it.
"""
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

import tools

CHAIN, DIRECTORY = 100, 1000
SECONDS = 2  # about how long a null build is repeated


def path(letter, i):
    return f"{letter}/{i // DIRECTORY}/{i}"


def edges(kind, count):
    """(input, output) of each node."""
    for i in range(count):
        is_first = kind == "wide" or i % CHAIN == 0
        yield path("i", i) if is_first else path("o", i - 1), path("o", i)


def write_psybuild(kind, count):
    with open("psybuild.json", "w", encoding="ascii") as file:
        json.dump({"psybuild": 1, "artifacts": {output: {"task": "copy", "in": {"files": source}}
                                                for source, output in edges(kind, count)}}, file)


def write_ninja(kind, count):
    with open("build.ninja", "w", encoding="ascii") as file:
        file.write("rule copy\n  command = cp $in $out\n")
        file.writelines(f"build {output}: copy {source}\n" for source, output in edges(kind, count))


def write_make(kind, count):
    with open("Makefile", "w", encoding="ascii") as file:
        file.write("all:" + "".join(f" {output}" for _, output in edges(kind, count)) + "\n")
        file.writelines(f"{output}: {source} ; cp $< $@\n" for source, output in edges(kind, count))


def write_doit(kind, count):
    with open("dodo.py", "w", encoding="ascii") as file:
        file.write(f"EDGES = {list(edges(kind, count))!r}\n"
                   "def task_copy():\n"
                   "    for source, output in EDGES:\n"
                   "        yield {'name': output, 'actions': [f'cp {source} {output}'],\n"
                   "               'file_dep': [source], 'targets': [output]}\n")


def write_snakemake(kind, count):
    with open("Snakefile", "w", encoding="ascii") as file:
        file.write("rule all:\n    input: " + repr([output for _, output in edges(kind, count)]) + "\n")
        file.writelines(f"rule:\n    input: '{source}'\n    output: '{output}'\n    shell: 'cp {{input}} {{output}}'\n"
                        for source, output in edges(kind, count))


def write_dvc(kind, count):
    subprocess.run(["dvc", "init", "--no-scm", "--quiet"], check=True)
    stages = {f"copy{i}": {"cmd": f"cp {source} {output}", "deps": [source], "outs": [output]}
              for i, (source, output) in enumerate(edges(kind, count))}
    with open("dvc.yaml", "w", encoding="ascii") as file:
        json.dump({"stages": stages}, file)


def write_tup(kind, count):
    subprocess.run(["tup", "init", "--no-sync"], check=True, stdout=subprocess.DEVNULL)
    with open("Tupfile", "w", encoding="ascii") as file:
        file.writelines(f": {source} |> cp %f %o |> {output}\n" for source, output in edges(kind, count))


# name: what writes its file, and the command. tup watches what commands open through FUSE, and takes
# times by the second.
TOOLS = {
    "ninja": (write_ninja, ["ninja", "--quiet"]),
    "samu": (write_ninja, ["samu"]),
    "make": (write_make, ["make", "-rRs", "-j2"]),
    "tup": (write_tup, ["tup", "upd", "--quiet", "-j2"]),
    "doit": (write_doit, ["doit", "-v0"]),
    "snakemake": (write_snakemake, ["snakemake", "--cores", "2", "--quiet", "all"]),
    "dvc": (write_dvc, ["dvc", "repro", "--quiet"]),
}


def installed(bench):
    """psybuild first, then what is on PATH or beside this python."""
    found = {"psybuild": (write_psybuild, [bench.psybuild, "-q"])}
    beside = os.path.dirname(sys.executable)
    for name, (write, command) in TOOLS.items():
        program = shutil.which(command[0], path=os.environ["PATH"] + os.pathsep + beside)
        if name == "tup" and not os.path.exists("/dev/fuse"):
            print("tup is left out: there is no /dev/fuse")
        elif program:
            found[name] = (write, [program, *command[1:]])
    return found


def make_inputs(kind, count):
    for source, output in edges(kind, count):
        for name in (source, output):
            os.makedirs(os.path.dirname(name), exist_ok=True)
        if source[0] == "i":
            with open(source, "w", encoding="ascii") as file:
                file.write(source)


def version(command):
    return subprocess.run([command[0], "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]


def wait_for_another_time(command):
    time.sleep(1.1 if os.path.basename(command[0]) == "tup" else 0.02)


def change_one(bench, directory, command, run_number):
    wait_for_another_time(command)
    source = path("i", 0)
    with open(source, "w", encoding="ascii") as file:
        file.write(f"{run_number} {time.time()}")
    costs = bench.measure(*command, cwd=directory, seconds=bench.options.patience)
    with open(path("o", 0), encoding="ascii") as file:
        if not file.read().startswith(f"{run_number} "):
            sys.exit(f"bench: {command[0]} did not see a change")
    return costs


def measure_tool(bench, kind, count, write, command):
    """Costs of a null build, of one with a file touched, of one with a file changed; fewer of them if a
    run takes too long."""
    medians = []
    with bench.directory("graph") as directory:
        os.chdir(directory)
        make_inputs(kind, count)
        time.sleep(0.05)
        write(kind, count)
        try:
            bench.measure(*command, cwd=directory, seconds=bench.options.patience)
            os.sync()
            # The first run after a build may tidy up; it is not what is measured.
            once = bench.measure(*command, cwd=directory, seconds=bench.options.patience)[0]
            reps = bench.reps if once.seconds < 5 else 1
            times = max(reps, min(200, int(SECONDS / once.seconds)))
            medians.append(tools.Cost.median(
                bench.measure(*command, cwd=directory, times=times, seconds=times * bench.options.patience)))
            touched, changed = [], []
            for run_number in range(reps):
                wait_for_another_time(command)
                os.utime(path("i", 0))
                touched += bench.measure(*command, cwd=directory, seconds=bench.options.patience)
                changed += change_one(bench, directory, command, run_number)
            medians += [tools.Cost.median(touched), tools.Cost.median(changed)]
        except TimeoutError:
            pass
        os.chdir(bench.work)
    return medians


def describe(costs, number, patience):
    """A cell; `costs` is None for a tool that was not tried."""
    if costs is None:
        return "–"
    if number >= len(costs):
        return f"> {patience} s" if costs else f"built in > {patience} s"
    return f"{tools.time_text(costs[number].seconds)}, {tools.mib(costs[number].peak_kib)}"


def ratios(costs, number):
    """psybuild's time and memory against ninja's."""
    if "ninja" not in costs:
        return ["–", "–"]
    ours, theirs = costs["psybuild"][number], costs["ninja"][number]
    return [f"{ours.seconds / theirs.seconds:.2f} ×", f"{ours.peak_kib / theirs.peak_kib:.2f} ×"]


def run_graphs(bench, kind, count_max):
    found, rows, given_up = installed(bench), [], set()
    for count in [count for count in (10, 1000, 10_000, 100_000) if count <= count_max]:
        costs = {name: measure_tool(bench, kind, count, write, command)
                 for name, (write, command) in found.items() if name not in given_up}
        given_up |= {name for name, medians in costs.items() if len(medians) < 3}
        for number, what in enumerate(("null", "touched", "changed")):
            cells = [describe(costs.get(name), number, bench.options.patience) for name in found]
            rows.append([f"{count:,} {what}".replace(",", " "), cells[0], *ratios(costs, number), *cells[1:]])
            print("(" + ", ".join(rows[-1]) + ")", flush=True)
    print(f"\nGraphs \"{kind}\":")
    tools.table(["", "psybuild", "time / ninja's", "memory / ninja's", *list(found)[1:]], rows)


def run_psyllm(bench):
    """The manifest PsyLLM-mlx as it is installed, from a hub of ours that serves a miniature."""
    hub = subprocess.Popen([bench.program("hub_server"), "--root",
                            os.path.join(bench.source, "tests", "golden", "miniature", "source"),
                            "--repo", "GMLHUHE/PsyLLM", "--until-eof"],
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    environment = {"HF_ENDPOINT": hub.stdout.readline().strip()}
    with bench.directory("psyllm") as directory:
        command = [bench.psybuild, "-q", "-f", "PsyLLM-mlx", "models/PsyLLM-mlx"]
        bench.measure(*command, cwd=directory, env={**environment, "HF_HUB_OFFLINE": "0"})
        hub.stdin.close()
        hub.wait()
        costs = bench.measure(*command, cwd=directory, times=200, env=environment)
    bare = bench.measure(bench.psybuild, "--version", times=200)
    fastest = min(cost.seconds for cost in costs)
    cost = tools.Cost.median(costs)
    print(f"\nPsyLLM-mlx, null: {1000 * cost.seconds:.2f} ms (the fastest of 200: {1000 * fastest:.2f} ms), "
          f"{tools.mib(cost.peak_kib)}; psybuild --version: "
          f"{1000 * statistics.median(cost.seconds for cost in bare):.2f} ms")


def run(bench):
    print("\n" + ", ".join(f"{name}: {version(command)}" for name, (_, command) in installed(bench).items()))
    run_psyllm(bench)
    run_graphs(bench, "wide", bench.options.nodes)
    run_graphs(bench, "chains", min(bench.options.nodes, 10_000))
