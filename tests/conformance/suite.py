"""Runs the cases: the reference (or its cached result), psybuild, the comparison."""
import fnmatch
import glob
import hashlib
import json
import os
import shutil
import subprocess
import time

import cases
import compare
import snapshot

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "golden")
MANIFESTS = os.path.join(HERE, "..", "..", "manifests")
MINIATURE = os.path.join(GOLDEN, "miniature", "source")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                   "chat_template.jinja")
SKELETON_IDS = [1, 7, 300, 2, 250, 17]  # their vocabularies are smaller than their tokenizer's
DIFFERENCES_MAX = 4
BUILD_SECONDS_MAX = 600


class Report:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def ok(self, name, detail):
        self.passed += 1
        print(f"ok    {name}: {detail}", flush=True)

    def fail(self, name, differences):
        self.failed += 1
        more = len(differences) - DIFFERENCES_MAX
        text = "\n      ".join(differences[:DIFFERENCES_MAX] + ([f"and {more} more differences"] if more > 0 else []))
        print(f"FAIL  {name}: {text}", flush=True)

    def skip(self, name, reason):
        self.skipped += 1
        print(f"SKIP  {name}: {reason}", flush=True)

    def note(self, text):
        print(f"      {text}", flush=True)

    def totals(self):
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)


def skeleton_paths():
    return sorted(glob.glob(os.path.join(GOLDEN, "skeletons", "*.json")))


def skeleton_model(path):
    return "skeleton-" + os.path.splitext(os.path.basename(path))[0]


def planned():
    """Every (model, case, parameters) that needs the reference, in the order in which they run."""
    tables = [("miniature", cases.MINIATURE)] + [(skeleton_model(path), cases.SKELETON) for path in skeleton_paths()]
    for model, table in tables + [("smollm2", cases.SMOLLM2)]:
        for name, parameters in table:
            yield model, name, parameters
        if not model.startswith("skeleton-"):
            yield model, "merged", None
    for model, table in [*cases.DEQUANTIZED.items(), *cases.COMMANDS.items()]:
        for name, parameters in table:
            yield model, name, parameters


def base_model(model):
    """"smollm2" of "smollm2/4bit-64", which is what the reference makes of it."""
    return model.split("/")[0]


def directory_digest(directory):
    hasher = hashlib.sha256()
    for name in sorted(os.listdir(directory)):
        with open(os.path.join(directory, name), "rb") as file:
            hasher.update(f"{name}\0{os.path.getsize(file.name)}\0".encode())
            while block := file.read(1 << 22):
                hasher.update(block)
    return hasher.hexdigest()


class Suite:
    def __init__(self, psybuild, work, only, keep, report):
        self.psybuild, self.work, self.keep, self.report = psybuild, work, keep, report
        self.only = only
        self.digests, self.tokenizers = {}, {}

    def wanted(self, model, name):
        return not self.only or any(fnmatch.fnmatchcase(f"{model} {name}", pattern) for pattern in self.only)

    # The checkpoints

    def source(self, model):
        if model == "miniature":
            return MINIATURE
        import inputs
        directory = os.path.join(self.work, "inputs", model.replace("/", "-"))
        if "/" in model:
            if model not in self.digests:
                self.quantize_source(model, directory)
        elif model == "smollm2":
            if not os.path.exists(os.path.join(directory, "merges.txt")):  # its last file
                shutil.rmtree(directory, ignore_errors=True)
                inputs.make_smollm2(directory)
        elif model not in self.digests:  # quickly made, so always from the skeleton as it is now
            shutil.rmtree(directory, ignore_errors=True)
            path = os.path.join(GOLDEN, "skeletons", model.removeprefix("skeleton-") + ".json")
            inputs.make_skeleton(path, directory, MINIATURE)
        return directory

    def quantize_source(self, model, directory):
        """A checkpoint to be dequantized. Made again in each run, as the reference is now."""
        base, name = model.split("/")
        table = {"miniature": cases.MINIATURE, "smollm2": cases.SMOLLM2}[base]
        shutil.rmtree(directory, ignore_errors=True)
        self.convert(self.source(base), directory, cases.reference_arguments(dict(table)[name]))
        self.digests[model] = directory_digest(directory)

    # psybuild

    def build(self, model, name, recipe, parameters, between=None):
        """The directory that psybuild makes and None, or None and what it said. A new one each time."""
        base = os.path.join(self.work, "psybuild", model, name)
        shutil.rmtree(base, ignore_errors=True)
        os.makedirs(base)
        if isinstance(parameters, list):
            return self.run_psybuild(base, ["-t", "convert", "--hf-path", self.source(model), "--mlx-path", "output", *parameters])
        artifact = {"recipe": recipe, "from": "source", **({"with": parameters} if parameters else {})}
        manifest = {"psybuild": 1, "sources": {"source": {"dir": os.path.relpath(self.source(model), base)}},
                    "artifacts": {"output": artifact}}
        if between is not None:  # psybuild's own conversion of that kind is converted on
            manifest["artifacts"] = {"between": {**artifact, "with": between}, "output": {**artifact, "from": "between"}}
        with open(os.path.join(base, "psybuild.json"), "w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=2)
        return self.run_psybuild(base, ["output"])

    def run_psybuild(self, base, words):
        environment = {"PSYBUILD_DATA_DIR": os.path.abspath(MANIFESTS), **os.environ}  # not an installed psybuild's
        result = subprocess.run([self.psybuild, "-j2", *words], cwd=base, env=environment, stdin=subprocess.DEVNULL, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace", timeout=BUILD_SECONDS_MAX)
        if result.returncode != 0:
            return None, f"psybuild ended with {result.returncode}: {result.stdout.strip() or 'nothing said'}"
        return os.path.join(base, "output"), None

    def discard(self, model, name):
        if not self.keep:
            shutil.rmtree(os.path.join(self.work, "psybuild", model, name), ignore_errors=True)

    # The reference

    def tokenizer_behaviour(self, directory):
        """Loaded once for equal files: that is what a tokenizer is made from, with two fields of config.json."""
        import behaviour
        with open(os.path.join(directory, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        texts = [snapshot.read_text(os.path.join(directory, name)) for name in TOKENIZER_FILES]
        extra = sorted(glob.glob(os.path.join(directory, "additional_chat_templates", "*")))
        key = hashlib.sha256(json.dumps([texts, [snapshot.read_text(path) for path in extra], [
            config.get(field) for field in ("model_type", "architectures", "tokenizer_class")]]).encode()).hexdigest()
        if key not in self.tokenizers:
            self.tokenizers[key] = behaviour.tokenizer_behaviour(directory)
        return self.tokenizers[key]

    def describe(self, model, name, directory):
        import behaviour
        described = {"snapshot": snapshot.take(directory), "tokenizer": self.tokenizer_behaviour(directory)}
        if base_model(model) != "smollm2" or name in cases.LOGITS:
            try:
                described["model"] = behaviour.model_behaviour(
                    directory, SKELETON_IDS if model.startswith("skeleton-") else None,
                    model == "smollm2" and name in cases.GENERATED)
            except Exception as error:  # some skeletons are too small to run; then neither does
                described["model"] = {"error": f"{type(error).__name__}: {error}".replace(directory, "DIRECTORY")}
        return described

    def refer(self, model, name, parameters):
        """What the reference's output is, or {"refused": why}. Made once for these versions and this input."""
        import reference
        source, arguments = self.source(model), cases.reference_arguments(parameters)
        if model not in self.digests:
            self.digests[model] = directory_digest(source)
        key = json.dumps([snapshot.VERSION, cases.VERSION, reference.versions(), self.digests[model], arguments], sort_keys=True)
        folder = os.path.join(self.work, "reference", model)
        path = os.path.join(folder, f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.json")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                return json.load(file)
        output = os.path.join(folder, name)
        try:
            described = self.describe(model, name, self.convert(source, output, arguments))
        except Refused as refused:
            described = {"refused": str(refused)}
        shutil.rmtree(output, ignore_errors=True)
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(described, file)
        os.replace(path + ".new", path)
        return described

    def convert(self, source, output, arguments):
        import reference
        shutil.rmtree(output, ignore_errors=True)
        os.makedirs(os.path.dirname(output), exist_ok=True)
        try:
            reference.convert(source, output, arguments)
        except Exception as error:
            raise Refused(f"{type(error).__name__}: {error}") from error
        return output

    # The comparison

    def compare(self, model, name, theirs, directory, parameters):
        ours = self.describe(model, name, directory)
        found = compare.snapshots(theirs["snapshot"], ours["snapshot"])
        if any(line.endswith(": other bytes") for line in found):
            found = self.locate(model, name, parameters, directory, found)
        found += [f"tokenizer: {line}" for line in compare.behaviours(theirs["tokenizer"], ours["tokenizer"])]
        if "model" in theirs:
            found += [f"loaded by mlx_lm: {line}" for line in compare.behaviours(theirs["model"], ours["model"])]
        return found, ours

    def locate(self, model, name, parameters, directory, found):
        """Converts again to say which elements differ: the cache keeps hashes only."""
        output = self.convert(self.source(model), os.path.join(self.work, "reference", model, name),
                              cases.reference_arguments(parameters))
        located = []
        for line in found:
            if line.endswith(": other bytes") and len(located) < DIFFERENCES_MAX:
                tensor = line.split(" ")[1].removesuffix(":")
                line = f"tensor {tensor}: {elements(output, directory, tensor)}"
            located.append(line)
        shutil.rmtree(output, ignore_errors=True)
        return located

    def run(self, model, name, parameters):
        """A directory that cannot even be read is that case's failure, not the end of the run."""
        try:
            if parameters is None:
                self.run_merged(model, name)
            else:
                self.run_conversion(model, name, parameters)
        except Exception as error:
            self.report.fail(f"{model} {name}", [f"{type(error).__name__}: {error}"])

    def run_conversion(self, model, name, parameters):
        label, theirs = f"{model} {name}", self.refer(model, name, parameters)
        begin = time.monotonic()
        directory, refusal = self.build(model, name, "mlx", parameters)
        seconds = time.monotonic() - begin
        if "refused" in theirs:
            if directory is None:
                self.report.ok(label, f"both refuse: {refusal.splitlines()[0]}")
            else:
                self.report.fail(label, [f"the reference refuses ({theirs['refused']}), psybuild does not"])
            return
        if directory is None:
            self.report.fail(label, [refusal])
            return
        found, ours = self.compare(model, name, theirs, directory, parameters)
        text = ours.get("model", {}).get("text")
        if model == "smollm2" and cases.GENERATED.get(name) and "Paris" not in (text or ""):
            found.append(f"the text is not sensible: {text!r}")
        if found:
            self.report.fail(label, found + [f"psybuild's is kept in {directory}"] * self.keep)
        else:
            tensors = ours["snapshot"]["tensors"]
            extent = f", {ours['model']['logits'][:12]} logits" if "logits" in ours.get("model", {}) else ""
            self.report.ok(label, f"{len(tensors)} tensors{extent}, {seconds:.2f} s")
            self.discard(model, name)
        if text is not None:
            self.report.note(f"{name} says: {text!r}")

    def run_merged(self, model, name):
        """The source's tensors in one file, everything else copied; safetensors and mlx_lm open it."""
        import behaviour
        from safetensors import safe_open
        label, source = f"{model} {name}", self.source(model)
        directory, refusal = self.build(model, name, "merged", None)
        if directory is None:
            self.report.fail(label, [refusal])
            return
        theirs, ours = snapshot.take(source), snapshot.take(directory)
        for entry in theirs["tensors"].values():
            entry["file"] = "model.safetensors"
        found = ours["problems"] + compare.tensors(theirs["tensors"], ours["tensors"])
        if ours["metadata"] != {"model.safetensors": {"format": "pt"}}:
            found.append(f"metadata {ours['metadata']}")
        if ours["index"] is not None:
            found += compare.index_of_itself(ours)
        expected = {file for file in theirs["files"] if not file.startswith("model")}
        found += [f"file {file} is missing" for file in sorted(expected - set(ours["files"]))]
        for file in sorted(expected & set(ours["files"])):
            if snapshot.read_text(os.path.join(source, file)) != snapshot.read_text(os.path.join(directory, file)):
                found.append(f"file {file} is no copy")
        if not found:
            with safe_open(os.path.join(directory, "model.safetensors"), framework="np") as opened:
                for key in opened.keys():
                    if opened.get_slice(key).get_shape() != ours["tensors"][key]["shape"]:
                        found.append(f"safe_open reads {key} otherwise")
            found += compare.behaviours(self.tokenizer_behaviour(source), self.tokenizer_behaviour(directory))
            found += compare.behaviours(behaviour.model_behaviour(source), behaviour.model_behaviour(directory))
        if found:
            self.report.fail(label, found)
        else:
            self.report.ok(label, f"{len(ours['tensors'])} tensors in one file")
            self.discard(model, name)

    def run_recorded(self):
        """What the repository records of the miniature: needs no reference, so it always runs."""
        with open(os.path.join(GOLDEN, "miniature", "expected.json"), encoding="utf-8") as file:
            recorded = json.load(file)["conversions"]
        for name, entry in recorded.items():
            if not self.wanted("recorded", name):
                continue
            between = recorded[entry["of"]]["with"] if "of" in entry else None
            directory, refusal = self.build("miniature", f"recorded-{name}", "mlx", entry["with"], between)
            if directory is None:
                self.report.fail(f"recorded {name}", [refusal])
                continue
            ours = snapshot.take(directory)
            for tensor in entry["tensors"].values():
                tensor["file"] = "model.safetensors"
            found = ours["problems"] + compare.tensors(entry["tensors"], ours["tensors"]) + compare.index_of_itself(ours)
            found += compare.json_texts("config.json", entry["config.json"], ours["texts"]["config.json"])
            found += compare.values(entry["index metadata"], (ours["index"] or {}).get("metadata", {}), "index metadata")
            if found:
                self.report.fail(f"recorded {name}", found)
            else:
                self.report.ok(f"recorded {name}", f"{len(ours['tensors'])} tensors")
                self.discard("miniature", f"recorded-{name}")


class Refused(Exception):
    pass


def elements(reference_directory, our_directory, tensor):
    """Where two tensors of one type and shape differ."""
    theirs, size = snapshot.read_tensor(reference_directory, tensor)
    ours, _ = snapshot.read_tensor(our_directory, tensor)
    differing = [i for i in range(0, len(theirs), size) if theirs[i:i + size] != ours[i:i + size]]
    if not differing:
        return "differed from the cached result, but not from one made just now: the reference is not deterministic"
    first = differing[0]
    return (f"{len(differing)} of {len(theirs) // size} elements differ, the first is {first // size}: "
            f"{ours[first:first + size][::-1].hex()}, reference {theirs[first:first + size][::-1].hex()}")
