"""Random JSON documents as config.json: psybuild's against what Python reads and the reference writes."""
import json
import os
import random
import shutil
import subprocess

MANIFESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "manifests")
CASE = "config", "random-documents"
COUNT, SEED, BUILD_SECONDS_MAX = 500, 20, 600
PIECES = ["a", "Z", " ", "~", "é", "你", "😀", "\ufeff", "\u2028", "\x7f", "\\u0000", "\\ud800", "\\udfff", "\\uD83d", "\\ude00",
          "\\ud83d\\ude00", "\\ud83d\\ud83d\\ude00", "\\uffff", "\\u00e9", "\\n", "\\r\\n", "\\/", "\\\\", "\\\"", "\\b", "\\t"]
NUMBERS = ["0", "-0", "1", "-7", "1.0", "-0.0", "1e5", "1E+2", "0.1", "1e-7", "123456789012345678901234567890", "1e22", "5e-324",
           "0.30000000000000004", "9007199254740993", "1e16", "1e999", "NaN", "-Infinity", "2.50"]


def spell_string(dice):
    return '"' + "".join(dice.choices(PIECES, k=dice.randrange(6))) + '"'


def spell(dice, depth):
    """A value as its text, so that one spelling of many is compared."""
    kind = dice.randrange(8 if depth > 0 else 6)
    blank = dice.choice(["", "", " ", "\r\n", "\t"])
    if kind < 3:
        return spell_string(dice)
    if kind < 5:
        return dice.choice(NUMBERS)
    if kind == 5:
        return dice.choice(["true", "false", "null"])
    if kind == 6:
        return "[" + ",".join(blank + spell(dice, depth - 1) for _ in range(dice.randrange(4))) + blank + "]"
    return spell_object(dice, depth - 1, dice.randrange(4))


def spell_object(dice, depth, count):
    return "{" + ", ".join(f"{spell_string(dice)} : {spell(dice, depth)}" for _ in range(count)) + "}"


def make_sources(base):
    dice = random.Random(SEED)
    for number in range(COUNT):
        directory = os.path.join(base, "source", str(number))
        os.makedirs(directory)
        with open(os.path.join(directory, "config.json"), "w", encoding="utf-8", newline="") as file:
            file.write(spell_object(dice, 4, dice.randrange(1, 9)))


def build(psybuild, base, miniature):
    artifacts = {"weights/model.safetensors": {"task": "merge", "in": {"weights": "miniature/model*.safetensors"}}}
    for number in range(COUNT):
        artifacts[f"ours/{number}/config.json"] = {"task": "config", "in": {
            "config": f"source/{number}/config.json", "weights": "weights/model.safetensors"}}
    sources = {"source": {"dir": "source"}, "miniature": {"dir": os.path.relpath(miniature, base)}}
    with open(os.path.join(base, "psybuild.json"), "w", encoding="utf-8") as file:
        json.dump({"psybuild": 1, "sources": sources, "artifacts": artifacts}, file)
    environment = {"PSYBUILD_DATA_DIR": os.path.abspath(MANIFESTS), **os.environ}  # not an installed psybuild's
    result = subprocess.run([psybuild, "-j2"], cwd=base, env=environment, stdin=subprocess.DEVNULL, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=BUILD_SECONDS_MAX, check=False)
    return None if result.returncode == 0 else result.stdout


def reference(path, made):
    from mlx_lm.utils import save_config
    with open(path, encoding="utf-8") as file:
        save_config(json.load(file), made)


def read_bytes(path):
    with open(path, "rb") as file:
        return file.read()


def run(psybuild, work, miniature, report):
    base = os.path.join(work, "documents")
    shutil.rmtree(base, ignore_errors=True)
    make_sources(base)
    refusal = build(psybuild, base, miniature)
    if refusal is not None:
        report.fail(" ".join(CASE), [refusal])
        return
    found = []
    for number in range(COUNT):
        made = os.path.join(base, "theirs.json")
        reference(os.path.join(base, "source", str(number), "config.json"), made)
        theirs, ours = read_bytes(made), read_bytes(os.path.join(base, "ours", str(number), "config.json"))
        if theirs != ours:
            found.append(f"document {number}: {ours!r}, reference {theirs!r}")
    if found:
        report.fail(" ".join(CASE), found)
    else:
        report.ok(" ".join(CASE), f"{COUNT} documents")
