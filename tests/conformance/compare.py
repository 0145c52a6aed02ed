"""The differences of two snapshots (snapshot.py) or behaviours (behaviour.py), in words. No difference: an empty list."""
import json

# psybuild copies these where the reference folds them into tokenizer_config.json; loaded, they say the same.
TOKENIZER_EXTRAS = {"special_tokens_map.json", "added_tokens.json"}


def values(reference, ours, place=""):
    """Differences of two JSON values. 1 and 1.0 differ, true and 1 differ, NaN equals NaN."""
    if type(reference) is not type(ours):
        return [f"{place or 'the value'}: {shown(reference)} in the reference, {shown(ours)} in ours"]
    if isinstance(reference, dict):
        found = [f"{place}.{key}: missing in ours" for key in reference if key not in ours]
        found += [f"{place}.{key}: only in ours" for key in ours if key not in reference]
        return found + [line for key in reference if key in ours for line in values(reference[key], ours[key], f"{place}.{key}")]
    if isinstance(reference, list):
        if len(reference) != len(ours):
            return [f"{place}: {len(reference)} items in the reference, {len(ours)} in ours"]
        return [line for i, (a, b) in enumerate(zip(reference, ours)) for line in values(a, b, f"{place}[{i}]")]
    if reference == ours or (reference != reference and ours != ours):
        return []
    return [f"{place or 'the value'}: {shown(reference)} in the reference, {shown(ours)} in ours"]


def shown(value):
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 80 else text[:77] + "..."


def tensors(reference, ours):
    found = [f"tensor {name} is missing" for name in sorted(reference.keys() - ours.keys())]
    found += [f"tensor {name} is not in the reference" for name in sorted(ours.keys() - reference.keys())]
    for name in sorted(reference.keys() & ours.keys()):
        a, b = reference[name], ours[name]
        if (a["dtype"], a["shape"]) != (b["dtype"], b["shape"]):
            found.append(f"tensor {name}: {b['dtype']} {b['shape']}, reference {a['dtype']} {a['shape']}")
        elif a["sha256"] != b["sha256"]:
            found.append(f"tensor {name}: other bytes")
        if a["file"] != b["file"]:
            found.append(f"tensor {name} is in {b['file']}, reference {a['file']}")
    return found


def json_texts(name, reference, ours):
    """By content first, so that the difference is named; then by bytes."""
    if reference is None or ours is None:
        return [] if reference is ours else [f"{name} is {'missing' if ours is None else 'not in the reference'}"]
    try:
        theirs, mine = json.loads(reference), json.loads(ours)
    except ValueError as error:
        return [f"{name} is no JSON: {error}"]
    found = [f"{name}: {line}" for line in values(theirs, mine)]
    if not found and reference != ours:
        at = next((i for i, (a, b) in enumerate(zip(reference, ours)) if a != b), min(len(reference), len(ours)))
        found = [f"{name}: the same content, but written otherwise from character {at} on"]
    return found


def index_of_itself(taken):
    """What an index must be, whatever the reference's is: complete, sorted, true."""
    if taken["index"] is None:
        return ["model.safetensors.index.json is missing"]
    weight_map = taken["index"].get("weight_map", {})
    truth = {name: entry["file"] for name, entry in taken["tensors"].items()}
    found = [f"index: {name} is said to be in {weight_map.get(name)}, is in {truth.get(name)}"
             for name in sorted(weight_map.keys() | truth.keys()) if weight_map.get(name) != truth.get(name)]
    if list(weight_map) != sorted(weight_map):
        found.append("index: the weight_map is not sorted")
    return found


def snapshots(reference, ours):
    found = list(ours["problems"])
    found += tensors(reference["tensors"], ours["tensors"])
    found += [f"{name}: metadata {shown(value)}, not {{\"format\": \"mlx\"}}"
              for name, value in ours["metadata"].items() if value != {"format": "mlx"}]
    for name in ("config.json", "generation_config.json"):
        found += json_texts(name, reference["texts"][name], ours["texts"][name])
    for name in ("chat_template.jinja", "README.md"):
        if reference["texts"][name] != ours["texts"][name]:
            found.append(f"{name} differs")
    found += index_of_itself(ours)
    if ours["index"] is not None:
        found += [f"index: {line}" for line in values(reference["index"], ours["index"])]
    theirs, mine = set(reference["files"]), set(ours["files"])
    found += [f"file {name} is missing" for name in sorted(theirs - mine)]
    found += [f"file {name} is not in the reference" for name in sorted(mine - theirs - TOKENIZER_EXTRAS)]
    return found


def behaviours(reference, ours):
    """Two dictionaries of tokenizer_behaviour or model_behaviour."""
    return [line.removeprefix(".") for line in values(reference, ours)]
