"""What a change costs, against the full conversion and against copying the previous weights with fsync."""
import contextlib
import json
import os
import shutil

import convert
import model
import tools


class Project:
    """A converted model in `directory`. Its source is a tree of links, so that parts can be replaced."""

    def __init__(self, bench, directory, source):
        self.bench, self.directory = bench, directory
        self.model, self.out = os.path.join(directory, "source"), os.path.join(directory, "out")
        os.makedirs(self.model)
        for name in os.listdir(source):
            if name.endswith(".safetensors"):
                os.symlink(os.path.join(source, name), os.path.join(self.model, name))
            else:
                shutil.copyfile(os.path.join(source, name), os.path.join(self.model, name))
        self.parameters = {"bits": 4}
        self.write()

    def write(self, indent=None):
        manifest = {"psybuild": 1, "sources": {"model": {"dir": "source"}},
                    "artifacts": {"out": {"recipe": "mlx", "from": "model", "with": self.parameters}}}
        with open(os.path.join(self.directory, "psybuild.json"), "w", encoding="ascii") as file:
            json.dump(manifest, file, indent=indent)

    def build(self):
        return self.bench.run_psybuild(self.directory, "-j", "2")

    # Each of these changes something, lets its user build, and undoes it.

    @contextlib.contextmanager
    def with_parameters(self, **parameters):
        before, self.parameters = self.parameters, {**self.parameters, **parameters}
        self.write()
        yield
        self.parameters = before
        self.write()

    @contextlib.contextmanager
    def with_manifest_reformatted(self):
        self.write(indent=4)
        yield
        self.write()

    @contextlib.contextmanager
    def with_text(self, name, old, new):
        path = os.path.join(self.model, name)
        with open(path, encoding="utf-8") as file:
            before = file.read()
        after = before.replace(old, new)
        assert after != before, f"{name} has no {old}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(after)
        yield
        with open(path, "w", encoding="utf-8") as file:
            file.write(before)

    @contextlib.contextmanager
    def with_shard_changed(self):
        """A shard replaced by a copy in which one bit of one tensor is another."""
        path = convert.shards_of(self.model)[1]
        target = os.readlink(path)
        os.remove(path)
        shutil.copyfile(target, path)
        with open(path, "r+b") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
            at = next(tensor["data_offsets"][0] for name, tensor in header.items() if "up_proj" in name)
            file.seek(8 + size + at)
            byte = file.read(1)[0]
            file.seek(8 + size + at)
            file.write(bytes([byte ^ 1]))
        tools.warm([path])
        yield
        os.remove(path)
        os.symlink(target, path)

    @contextlib.contextmanager
    def with_shard_touched(self):
        os.utime(convert.shards_of(self.model)[0])
        yield

    @contextlib.contextmanager
    def without(self, name):
        os.remove(os.path.join(self.out, name))
        yield

    @contextlib.contextmanager
    def unchanged(self):
        yield


def changes(project):
    return {
        "nothing": project.unchanged,
        "manifest reformatted": project.with_manifest_reformatted,
        "a config field that no weight reads": lambda: project.with_text("config.json", "1000000", "2000000"),
        "chat template": lambda: project.with_text("tokenizer_config.json", "{%-", "{{- '' }}{%-"),
        "config.json deleted": lambda: project.without("config.json"),
        "a shard touched": project.with_shard_touched,
        "one layer at 6 bits": lambda: project.with_parameters(
            overrides=[{"match": "model.layers.5.*", "bits": 6}]),
        "one tensor of a shard": project.with_shard_changed,
        "group size 32": lambda: project.with_parameters(group_size=32),
        "8 bits": lambda: project.with_parameters(bits=8),
        "weights deleted": lambda: project.without("model.safetensors"),
    }


def measure_change(project, change, shards):
    costs = []
    for _ in range(project.bench.reps):
        with change():
            tools.warm([*shards, *convert.shards_of(project.out)])
            costs.append(project.build())
        project.build()
    return tools.Cost.median(costs)


def measure_copy(bench, project):
    """The previous weights copied, with fsync, as dd does it."""
    weights, output = convert.shards_of(project.out)[0], os.path.join(project.directory, "copy")
    costs = []
    for _ in range(bench.reps):
        tools.warm([weights])
        costs += bench.measure("dd", f"if={weights}", f"of={output}", "bs=4194304", "conv=fsync")
        tools.remove(output)
    return tools.Cost.median(costs)


def run(bench):
    source, size_gb = model.prepare(bench.work, min(bench.options.size, 1.2),
                                    os.path.join(bench.source, "tests", "golden", "miniature", "source"))
    shards = convert.shards_of(source)
    with bench.directory("incremental") as directory:
        artifact = {"recipe": "mlx", "with": {"bits": 4}}
        full = tools.Cost.median([convert.convert_anew(bench, directory, source, artifact, False, "-j", "2")
                                  for _ in range(bench.reps)])
        for name in os.listdir(directory):
            tools.remove(os.path.join(directory, name))
        project = Project(bench, directory, source)
        project.build()
        copy = measure_copy(bench, project)
        rows = [["full conversion", tools.time_text(full.seconds), "100 %", f"{full.seconds / copy.seconds:.2f} ×"],
                ["copy of the weights, synced", tools.time_text(copy.seconds),
                 f"{100 * copy.seconds / full.seconds:.1f} %", "1.00 ×"]]
        for name, change in changes(project).items():
            cost = measure_change(project, change, shards)
            rows.append([name, tools.time_text(cost.seconds), f"{100 * cost.seconds / full.seconds:.1f} %",
                         f"{cost.seconds / copy.seconds:.2f} ×"])
            print("(" + ", ".join(rows[-1]) + ")", flush=True)
    print(f"\n{size_gb} GB to 4 bits, warm, two threads; then after a change:")
    tools.table(["", "psybuild", "of a full conversion", "of a copy"], rows)
