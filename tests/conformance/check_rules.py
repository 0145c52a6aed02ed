#!/usr/bin/env python3
"""Compares manifests/rules with the reference's model classes, configuration by configuration.

For each variant the reference's model is built (mlx_lm must be importable) and its parameters are given to
rules_dump as a checkpoint, shuffled. Compared are: names, shapes and order of the tensors, which modules can be
quantized and as what, the model's own predicate, the mixed recipes, the number of layers, total_parameters, and what
becomes of a superfluous head, of rotary frequencies, of a tensor that is missing, too many or of another shape.

Then each field of the reference's class is swept, in each of these configurations: once it is absent and once null. What the
reference's class refuses must be refused by name, and of what it takes the tensors must be the same. `required` and
`defaults` must be those of the class, and no field may be read that is in neither.

One line for each variant; the last line is the totals; the exit status is 0 if none failed.
"""
import argparse
import copy
import dataclasses
import json
import os
import random
import subprocess
import sys
import tempfile

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.convert import QUANT_RECIPES, mixed_quant_predicate_builder
from mlx_lm.utils import _get_classes, get_total_parameters

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ABSENT = object()
UNTIED, TIED, DEFAULT_TIE = ({"tie_word_embeddings": value} for value in (False, True, ABSENT))
BIASES = {"attention_bias": True, "mlp_bias": True}
NO_KV = {"num_key_value_heads": ABSENT}
NO_HEAD_DIM = {"head_dim": ABSENT}

# Skeleton: variants of its configuration. Each file of manifests/rules must appear here.
VARIANTS = {
    "llama": [{}, TIED, DEFAULT_TIE, BIASES, {"attention_bias": True}, {"mlp_bias": True}, NO_KV, NO_HEAD_DIM,
              {"head_dim": 48}, {"head_dim": None, "num_key_value_heads": None}, {"layer_types": ABSENT},
              {"layer_types": ["full_attention"] * 3}, {"head_dim": 0}, {"attention_bias": ABSENT, "mlp_bias": ABSENT},
              {"model_type": "xverse"}, {"model_type": "iquestcoder", "num_hidden_layers": 30},
              {"num_hidden_layers": 13, **BIASES, **TIED}],
    "llama-tied": [{}], "llama-fp32": [{}], "llama-legacy": [{}],
    "mistral": [{}, TIED, NO_HEAD_DIM, {"head_dim": 24, **BIASES}],
    "smollm3": [{}, UNTIED, BIASES, {"no_rope_layers": ABSENT, "layer_types": ABSENT}],
    "qwen2": [{}, TIED, DEFAULT_TIE, {"num_key_value_heads": 1}],
    "qwen3": [{}, TIED, {"rope_theta": 10000.0, "rope_parameters": ABSENT}, {"head_dim": 64}, {"num_hidden_layers": 11}],
    "qwen3-odd": [{}],
    "gemma": [{}, {"head_dim": 64}],
    "gemma2": [{}, {"head_dim": 64}],
    "gemma3_text": [{}, {"head_dim": 64}],
    "phi3": [{}, TIED, DEFAULT_TIE, NO_KV],
    "olmo2": [{}, TIED, DEFAULT_TIE, BIASES, {"head_dim": 48}, NO_KV],
    "granite": [{}, TIED, UNTIED, DEFAULT_TIE, {**UNTIED, **BIASES}],
    "starcoder2": [{}, TIED, UNTIED, DEFAULT_TIE],
    "stablelm": [{}, {"use_qkv_bias": True}, {"qk_layernorm": True}, {"use_parallel_residual": True},
                 {"qk_layernorm": True, "use_qkv_bias": True, "use_parallel_residual": True, "num_key_value_heads": 2},
                 {"qk_layernorm": ABSENT, "use_parallel_residual": ABSENT}],
    "cohere": [{}, {"use_qk_norm": True}, {"layer_norm_bias": True}, {"attention_bias": True},
               {"use_qk_norm": True, "layer_norm_bias": True, "attention_bias": True},
               {"use_qk_norm": ABSENT, "attention_bias": ABSENT}],
}
# What the classes refuse for another reason than that one field is absent or null, and a word of the message.
REFUSED = {
    "llama": [({"layer_types": []}, "full_attention"), ({"layer_types": ["sliding_attention"] * 4}, "full_attention"),
              ({"rms_norm_eps": 0}, "rms_norm_eps"), ({"rms_norm_eps": "1e-05"}, "rms_norm_eps"),
              ({"num_attention_heads": 0, "head_dim": 0}, "num_attention_heads")],
    "smollm3": [({"no_rope_layers": [1, 1, 0]}, "no_rope_layers"), ({"layer_types": ["sliding_attention"] * 4}, "full_attention"),
                ({"no_rope_layers": ABSENT, "no_rope_layer_interval": 0}, "no_rope_layer_interval")],
    "qwen3": [({"rope_theta": ABSENT, "rope_parameters": ABSENT}, "rope_theta"), ({"rms_norm_eps": -1.0}, "rms_norm_eps"),
              ({"rope_theta": None, "rope_parameters": {"rope_type": "default"}}, "rope_theta")],
    "phi3": [({"rope_scaling": {"rope_type": "longrope"}}, "rope_scaling.type")],
    "gemma2": [({"query_pre_attn_scalar": 0}, "query_pre_attn_scalar")],
    "gemma3_text": [({"sliding_window_pattern": 0}, "sliding_window_pattern"),
                    ({"query_pre_attn_scalar": 0}, "query_pre_attn_scalar")],
    "cohere": [({"layer_norm_eps": 0.0}, "layer_norm_eps")],
}
# The defaults of every field that a class gives one: too large to build but for their shapes, which are lazy.
DEFAULTS = {
    "gemma3_text": ["hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads", "head_dim",
                    "vocab_size", "num_key_value_heads"],
    "cohere": ["hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads", "num_key_value_heads",
               "vocab_size"],
    "starcoder2": ["vocab_size"],
}


class Mismatch(Exception):
    pass


def expect_equal(what, ours, theirs):
    if ours == theirs:
        return
    if isinstance(ours, (list, dict)) and isinstance(theirs, type(ours)):
        pairs = zip(ours, theirs) if isinstance(ours, list) else ((ours.get(k), theirs.get(k)) for k in {**ours, **theirs})
        first = next(((a, b) for a, b in pairs if a != b), (len(ours), len(theirs)))
        raise Mismatch(f"{what}: {first[0]!r}, the reference has {first[1]!r}")
    raise Mismatch(f"{what}: {ours!r}, the reference has {theirs!r}")


def rule_files():
    """(model type, path of the file that serves it)"""
    directory = os.path.join(ROOT, "manifests", "rules")
    for name in sorted(os.listdir(directory)):
        if name.endswith(".json"):
            with open(os.path.join(directory, name), encoding="utf-8") as file:
                for model_type in json.load(file)["types"]:
                    yield model_type, os.path.join(directory, name)


def varied(config, changes):
    config = copy.deepcopy(config)
    for key, value in changes.items():
        config.pop(key, None)
        if value is not ABSENT:
            config[key] = value
    return config


def construct(config):
    model_class, arguments_class = _get_classes(config)
    return model_class(arguments_class.from_dict(config))


def sanitize(model, names):
    """The names that the reference keeps of a checkpoint with these."""
    given = dict.fromkeys(names)
    return list(model.sanitize(given)) if hasattr(model, "sanitize") else names


def build(config, with_head=True):
    """The model for a checkpoint with or without a head, and its parameters as [name, shape]. The arrays are
    lazy: nothing is computed."""
    model = construct(config)
    names = [name for name, _ in tree_flatten(model.parameters())]
    sanitize(model, [name for name in names if with_head or name != "lm_head.weight"])
    return model, [[name, list(value.shape)] for name, value in tree_flatten(model.parameters())]


def listed_fields(path):
    """What the rule file says of config.json: the required fields, and the defaults of others."""
    with open(path, encoding="utf-8") as file:
        rules = json.load(file)
    return rules.get("required", []), rules.get("defaults", {})


def class_fields(config):
    """The same of the reference's class. Without a type no rule file is found, so that is none of them."""
    fields = [field for field in dataclasses.fields(_get_classes(config)[1]) if field.name != "model_type"]
    required = {field.name for field in fields
                if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING}
    return required, {field.name: field.default for field in fields if field.name not in required}


class Dump:
    """What rules_dump makes of a configuration and a list of [name, shape]."""

    def __init__(self, program, rules, config, tensors):
        with tempfile.TemporaryDirectory() as work:
            paths = [os.path.join(work, name) for name in ("config.json", "tensors.json")]
            for path, value in zip(paths, (config, [[name, "BF16", shape] for name, shape in tensors])):
                with open(path, "w", encoding="utf-8") as file:
                    json.dump(value, file)
            result = subprocess.run([program, rules, *paths], capture_output=True, text=True)
        self.error = result.stderr.splitlines()[0] if result.returncode else None
        if result.returncode and not result.stderr or result.returncode not in (0, 1):
            raise Mismatch(f"rules_dump ended with {result.returncode}")
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        self.outputs, self.rest = (lines[:-1], lines[-1]) if lines else ([], {})


def quantizable(model):
    """Module path: module, of all that can be quantized, in order."""
    leaves = tree_flatten(model.leaf_modules(), is_leaf=nn.Module.is_module)
    return {path: module for path, module in leaves if hasattr(module, "to_quantized")}


def check_same(dump, model, tensors):
    if dump.error:
        raise Mismatch(dump.error)
    expect_equal("tensors", [[output["name"], output["shape"]] for output in dump.outputs], tensors)
    ours = {output["name"].rpartition(".")[0]: output for output in dump.outputs if output["kind"] != "other"}
    modules = quantizable(model)
    expect_equal("modules", list(ours), list(modules))
    for path, module in modules.items():
        kind = "embedding" if isinstance(module, nn.Embedding) else "linear"
        expect_equal(f"kind of {path}", ours[path]["kind"], kind)
    predicate = getattr(model, "quant_predicate", None) or (lambda path, module: True)
    words = {True: "quantize", False: "leave"}
    for path, module in modules.items():
        theirs = predicate(path, module)
        expect_equal(f"predicate of {path}", ours[path]["decision"], words[theirs] if isinstance(theirs, bool) else theirs)
    check_mixed(ours, model, modules)
    cast = getattr(model, "cast_predicate", lambda name: True)
    for output in dump.outputs:
        expect_equal(f"cast of {output['name']}", not output["keeps_dtype"], cast(output["name"]))
    expect_equal("layers", dump.rest["layers"], len(model.layers))
    expect_equal("total_parameters", dump.rest["total_parameters"], get_total_parameters(model))


def check_mixed(ours, model, modules):
    for recipe in QUANT_RECIPES:
        try:
            predicate = mixed_quant_predicate_builder(recipe, model)
        except ValueError:
            def predicate(path, module):
                return {"bits": 0}
        for path, module in modules.items():
            expect_equal(f"{recipe} of {path}", ours[path][recipe], predicate(path, module)["bits"])


def check_surplus(program, rules, config, tensors, name, shape):
    """A tensor that the reference drops is dropped; one that it would choke on is refused."""
    left = sanitize(construct(config), [each for each, _ in tensors] + [name])
    dump = Dump(program, rules, config, tensors + [[name, shape]])
    if name not in left:
        expect_equal("dropped", dump.rest.get("dropped"), [name])
    else:
        expect_equal("error", dump.error, f'unexpected tensor "{name}"')


def check_refusals(program, rules, config, tensors):
    name, shape = random.choice([tensor for tensor in tensors if tensor[0] != "lm_head.weight"])
    dump = Dump(program, rules, config, [tensor for tensor in tensors if tensor[0] != name])
    expect_equal("error", (dump.error or "")[:len(name) + 20], f'tensor "{name}" is missing'[:len(name) + 20])
    wrong = [[each, [*form[:-1], form[-1] + 1] if each == name else form] for each, form in tensors]
    dump = Dump(program, rules, config, wrong)
    want = f'tensor "{name}" has shape {[*shape[:-1], shape[-1] + 1]}, expected '
    expect_equal("error", (dump.error or "")[:len(want)], want)


def check(program, rules, config):
    model, tensors = build(config)
    names = [name for name, _ in tensors]
    check_same(Dump(program, rules, config, random.sample(tensors, len(tensors))), model, tensors)
    check_surplus(program, rules, config, tensors, "model.layers.0.self_attn.rotary_emb.inv_freq", [4])
    check_surplus(program, rules, config, tensors, "model.layers.0.extra.weight", [4])
    if "lm_head.weight" not in names:
        check_surplus(program, rules, config, tensors, "lm_head.weight", tensors[0][1])
    if config["model_type"] == "gemma3_text":  # has a head if the checkpoint has one
        headless, tensors = build(config, with_head=False)
        check_same(Dump(program, rules, config, tensors), headless, tensors)
    check_refusals(program, rules, config, tensors)


def check_defaults(program, rules, config):
    """Shapes alone: a model of the defaults is built lazily and never computed."""
    model, tensors = build(config)
    dump = Dump(program, rules, config, tensors)
    if dump.error:
        raise Mismatch(dump.error)
    expect_equal("tensors", [[output["name"], output["shape"]] for output in dump.outputs], tensors)


def check_fields(program, rules, config):
    """`required` and `defaults` are the class's, and list all that is read."""
    required, defaults = listed_fields(rules)
    class_required, class_defaults = class_fields(config)
    expect_equal("required", sorted(required), sorted(class_required))
    for name, value in defaults.items():
        expect_equal(f"default of {name}", repr(value), repr(class_defaults.get(name, ABSENT)))
    dump = Dump(program, rules, config, build(config)[1])
    reads = {field.partition(".")[0] for field in dump.rest["reads"]}
    expect_equal("read but not listed", sorted(reads - set(required) - set(defaults)), [])


def check_refused(program, rules, config, changed, word):
    """The tensors of the changed configuration, or None if the reference refuses it, as we do with a word."""
    try:
        return build(changed)[1]
    except Exception as refusal:  # whatever it is, nobody can load that
        error = Dump(program, rules, changed, build(config)[1]).error or "none"
        if word not in error:
            raise Mismatch(f"error: {error}, the reference has {type(refusal).__name__}: {refusal}")
        return None


def check_swept(program, rules, config, field, value):
    """One field of the configuration is absent or null."""
    changed = varied(config, {field: value})
    tensors = check_refused(program, rules, config, changed, field)
    if tensors is None:
        return
    dump = Dump(program, rules, changed, tensors)
    expect_equal("error", dump.error, None)
    expect_equal("tensors", [[output["name"], output["shape"]] for output in dump.outputs], tensors)
    if "lm_head.weight" not in dict(tensors):
        check_surplus(program, rules, changed, tensors, "lm_head.weight", tensors[0][1])


def sweep(program, rules, config):
    check_fields(program, rules, config)
    failures = []
    for field in [name for names in class_fields(config) for name in names]:
        for word, value in ("absent", ABSENT), ("null", None):
            try:
                check_swept(program, rules, config, field, value)
            except Mismatch as mismatch:
                failures.append(f"{field} {word}: {mismatch}")
    if failures:
        raise Mismatch("; ".join(failures))


def variants():
    for skeleton, changes in VARIANTS.items():
        path = os.path.join(ROOT, "tests", "golden", "skeletons", skeleton + ".json")
        with open(path, encoding="utf-8") as file:
            config = json.load(file)["config"]
        for change in changes:
            shown = ", ".join(f"{key}={'absent' if value is ABSENT else value}" for key, value in change.items())
            yield f"{skeleton} {shown}".strip(), varied(config, change), check
            yield f"{skeleton} {shown} swept".replace("  ", " "), varied(config, change), sweep
        for change, word in REFUSED.get(skeleton, []):
            def refused(program, rules, config, changed=varied(config, change), word=word):
                if check_refused(program, rules, config, changed, word) is not None:
                    raise Mismatch("the reference takes it")
            yield f"{skeleton} refused {change}", config, refused
        if skeleton in DEFAULTS:
            absent = {key: ABSENT for key in DEFAULTS[skeleton]}
            yield f"{skeleton} defaults", varied(config, absent), check_defaults


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="tests/rules_dump", help="the rules_dump to use (default tests/rules_dump)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    random.seed(options.seed)
    mx.set_default_device(mx.cpu)
    files, seen, passed, failed = dict(rule_files()), set(), 0, 0
    for name, config, checker in variants():
        seen.add(config["model_type"])
        try:
            checker(os.path.abspath(options.program), files[config["model_type"]], config)
            passed += 1
            print(f"ok    {name}", flush=True)
        except Mismatch as mismatch:
            failed += 1
            print(f"FAIL  {name}: {mismatch}", flush=True)
    for model_type in sorted(set(files) - seen):
        failed += 1
        print(f"FAIL  {model_type}: no variant is checked")
    print(f"\n{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
