"""Random "added_tokens_decoder"s with gaps: psybuild's tokenizers against the reference's, which loads and saves."""
import json
import os
import random
import shutil
import subprocess

MANIFESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "manifests")
CASE = "tokenizer", "random-decoders"
COUNT, SEED, BUILD_SECONDS_MAX = 200, 19, 600
CLASSES = ("Qwen2Tokenizer", "GemmaTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend", "GPT2Tokenizer")
FILES = "tokenizer.json", "tokenizer_config.json"
PROBES = ["", "Hello, world!", " two  spaces\n", "<|reserved|> and <extra>", "Ünïcödé 😀", "1234567890"]


def write(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file)


def draw(dice, listed, end):
    """Some of the listed tokens, some with other flags, and new ones, not always at the next number."""
    share = dice.choice([0, 0.5, 0.9, 1])
    decoder = {token["id"]: {key: value for key, value in token.items() if key != "id"}
               for token in listed if dice.random() < share}
    for token in decoder.values():
        if dice.random() < 0.05:
            key = dice.choice(["special", "lstrip", "rstrip"])
            token[key] = not token[key]
    for content in dice.sample(["<extra>", "<|reserved|>", "<é>", "zz top"], dice.randrange(4)):
        end += dice.choice([0, 0, 1, 5])
        special = dice.random() < 0.5
        decoder[end] = {"content": content, "lstrip": False, "rstrip": False, "single_word": False,
                        "normalized": not special, "special": special}
        end += 1
    return {str(number): decoder[number] for number in dice.sample(sorted(decoder), len(decoder))}


def make_sources(source, base):
    """COUNT checkpoints of nothing but a tokenizer."""
    dice = random.Random(SEED)
    with open(os.path.join(source, FILES[0]), encoding="utf-8") as file:
        tokenizer = json.load(file)
    with open(os.path.join(source, FILES[1]), encoding="utf-8") as file:
        config = json.load(file)
    end = len(tokenizer["model"]["vocab"]) + len(tokenizer["added_tokens"])
    for number in range(COUNT):
        drawn = {**config, "tokenizer_class": dice.choice(CLASSES)}
        drawn["added_tokens_decoder"] = draw(dice, tokenizer["added_tokens"], end)
        if dice.random() < 0.5:
            drawn.pop("additional_special_tokens", None)
        write(os.path.join(base, "source", str(number), FILES[1]), drawn)
        write(os.path.join(base, "source", str(number), FILES[0]), tokenizer)


def build(psybuild, base):
    """All of them as one manifest. What it said if it failed."""
    artifacts = {f"ours/{number}/{name}": {"task": "tokenizer", "in": {
        "tokenizer": f"source/{number}/{FILES[0]}", "config": f"source/{number}/{FILES[1]}"}}
        for number in range(COUNT) for name in FILES}
    write(os.path.join(base, "psybuild.json"), {"psybuild": 1, "sources": {"source": {"dir": "source"}}, "artifacts": artifacts})
    environment = {"PSYBUILD_DATA_DIR": os.path.abspath(MANIFESTS), **os.environ}  # not an installed psybuild's
    result = subprocess.run([psybuild, "-j2"], cwd=base, env=environment, stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, timeout=BUILD_SECONDS_MAX, check=False)
    return None if result.returncode == 0 else result.stdout


def encode(tokenizer, text):
    try:
        return tokenizer.encode(text)
    except Exception as error:  # a class whose unknown token the vocabulary lacks
        return f"{type(error).__name__}: {error}"


def decode(tokenizer, ids):
    return None if isinstance(ids, str) else [tokenizer.decode(ids), tokenizer.decode(ids, skip_special_tokens=True)]


def behaviour(directory):
    """Numbers and decoding of probes; or that the reference does not load it."""
    from transformers import AutoTokenizer
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory)
    except Exception as error:
        return {"refused": type(error).__name__}
    added = sorted(tokenizer.get_added_vocab().items(), key=lambda entry: entry[1])
    ids = [encode(tokenizer, text) for text in PROBES + [f"x {token}y" for token, _ in added]]
    return {"class": type(tokenizer).__name__, "added": added, "ids": ids, "special": sorted(tokenizer.all_special_ids),
            "text": [decode(tokenizer, each) for each in ids]}


def save(source, directory):
    """What the reference's converter makes of it."""
    from transformers import AutoTokenizer
    try:
        AutoTokenizer.from_pretrained(source).save_pretrained(directory)
    except Exception as error:
        return {"refused": type(error).__name__}
    return behaviour(directory)


def run(psybuild, work, source, report):
    base = os.path.join(work, "decoders")
    shutil.rmtree(base, ignore_errors=True)
    make_sources(source, base)
    refusal = build(psybuild, base)
    if refusal is not None:
        report.fail(" ".join(CASE), [refusal])
        return
    found = []
    for number in range(COUNT):
        theirs = save(os.path.join(base, "source", str(number)), os.path.join(base, "theirs", str(number)))
        ours = behaviour(os.path.join(base, "ours", str(number)))
        if ours != theirs:
            keys = [key for key in sorted({*ours, *theirs}) if ours.get(key) != theirs.get(key)]
            found.append(f"decoder {number} ({theirs.get('class')}): {', '.join(keys)}")
    if found:
        report.fail(" ".join(CASE), found)
    else:
        report.ok(" ".join(CASE), f"{COUNT} decoders")
