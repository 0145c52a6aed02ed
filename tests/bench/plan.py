"""Planning of models that are larger than the disk: sparse shards, `psybuild -n`."""
import json
import math
import os

import tools

SHARD_BYTES = 5 << 30
HEAD_DIM = 128


def dense(layers, hidden=5120, intermediate=25600, heads=64, kv_heads=8, vocabulary=151936):
    """The shapes of Qwen3-32B, with any number of layers."""
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        for name, shape in (("input_layernorm", (hidden,)), ("post_attention_layernorm", (hidden,)),
                            ("self_attn.q_norm", (HEAD_DIM,)), ("self_attn.k_norm", (HEAD_DIM,)),
                            ("self_attn.q_proj", (heads * HEAD_DIM, hidden)),
                            ("self_attn.k_proj", (kv_heads * HEAD_DIM, hidden)),
                            ("self_attn.v_proj", (kv_heads * HEAD_DIM, hidden)),
                            ("self_attn.o_proj", (hidden, heads * HEAD_DIM)),
                            ("mlp.gate_proj", (intermediate, hidden)), ("mlp.up_proj", (intermediate, hidden)),
                            ("mlp.down_proj", (hidden, intermediate))):
            yield f"{prefix}{name}.weight", shape
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (vocabulary, hidden)


def dense_config(layers):
    return {"model_type": "qwen3", "hidden_size": 5120, "intermediate_size": 25600, "num_hidden_layers": layers,
            "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": HEAD_DIM, "vocab_size": 151936,
            "rms_norm_eps": 1e-06, "max_position_embeddings": 40960, "rope_theta": 1000000, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}


EXPERTS = {"hidden_size": 7168, "width": 1024, "num_hidden_layers": 58, "num_experts": 517, "vocab_size": 129280}
EXPERT_PARTS = {"gate_proj": ("width", "hidden_size"), "up_proj": ("width", "hidden_size"),
                "down_proj": ("hidden_size", "width")}


def experts():
    """660B in 90 000 tensors: each expert's matrices are tensors of their own, and there is little else."""
    yield "model.embed_tokens.weight", (EXPERTS["vocab_size"], EXPERTS["hidden_size"])
    for layer in range(EXPERTS["num_hidden_layers"]):
        for expert in range(EXPERTS["num_experts"]):
            for name, shape in EXPERT_PARTS.items():
                yield (f"model.layers.{layer}.mlp.experts.{expert}.{name}.weight",
                       tuple(EXPERTS[side] for side in shape))


# The bench's own rules for them.
EXPERT_RULES = {"types": ["bench_experts"], "tensors": [
    {"name": "model.embed_tokens.weight", "shape": ["vocab_size", "hidden_size"], "kind": "embedding"},
    {"for": {"i": "num_hidden_layers"}, "each": [{"for": {"e": "num_experts"}, "each": [
        {"name": f"model.layers.{{i}}.mlp.experts.{{e}}.{name}.weight", "shape": list(shape), "kind": "linear"}
        for name, shape in EXPERT_PARTS.items()]}]}]}


PACKED = {"num_hidden_layers": 36, "num_experts": 128, "hidden_size": 2880, "vocab_size": 201088}
PACKED_PARTS = {"gate_up_proj": 5760, "down_proj": 2880}


def packed():
    """The shapes of gpt-oss-120b, whose experts' codes have four axes; two of its bytes are one of these."""
    yield "model.embed_tokens.weight", (PACKED["vocab_size"], PACKED["hidden_size"])
    for layer in range(PACKED["num_hidden_layers"]):
        for name, rows in PACKED_PARTS.items():
            yield f"model.layers.{layer}.mlp.experts.{name}_blocks", (PACKED["num_experts"], rows, 90, 8)
            yield f"model.layers.{layer}.mlp.experts.{name}_scales", (PACKED["num_experts"], rows, 45)


PACKED_RULES = {"types": ["bench_packed"], "tensors": [
    {"name": "model.embed_tokens.weight", "shape": ["vocab_size", "hidden_size"], "kind": "embedding"},
    {"for": {"i": "num_hidden_layers"}, "each": [
        {"name": f"model.layers.{{i}}.mlp.experts.{name}_{what}", "shape": ["num_experts", str(rows), *axes]}
        for name, rows in PACKED_PARTS.items() for what, axes in (("blocks", ("90", "8")), ("scales", ("45",)))]}]}
RULES = {rules["types"][0]: rules for rules in (EXPERT_RULES, PACKED_RULES)}


def write_shard(path, tensors):
    header, size = tools.safetensors_header(tensors)
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(len(header) + size)
    return size


def write_model(directory, tensors, config):
    """Headers with holes behind them; the bytes of all weights."""
    os.makedirs(directory)
    shards, room = [], 0
    for name, shape in tensors:
        size = 2 * math.prod(shape)
        if not shards or size > room:
            shards.append([])
            room = SHARD_BYTES
        shards[-1].append((name, shape))
        room -= size
    total = sum(write_shard(os.path.join(directory, f"model-{i + 1:05}-of-{len(shards):05}.safetensors"), shard)
                for i, shard in enumerate(shards))
    with open(os.path.join(directory, "config.json"), "w", encoding="ascii") as file:
        json.dump(config, file)
    return total


def plan_model(bench, name, tensors, config, task):
    """A row: what `-n` of one node takes."""
    with bench.directory("plan") as directory:
        total = write_model(os.path.join(directory, "model"), tensors, config)
        node = {"task": task, "in": {"weights": "model/*.safetensors"}}
        if task == "quantize":
            node["in"]["config"] = "model/config.json"
            node["with"] = {"bits": 4}
        manifest = {"psybuild": 1, "sources": {"model": {"dir": "model"}},
                    "artifacts": {"out/*.safetensors" if task == "quantize" else "out.safetensors": node}}
        if config["model_type"] in RULES:
            os.makedirs(os.path.join(directory, "rules"))
            with open(os.path.join(directory, "rules", "own.json"), "w", encoding="ascii") as file:
                json.dump(RULES[config["model_type"]], file)
            manifest["rules"] = "rules"
        with open(os.path.join(directory, "psybuild.json"), "w", encoding="ascii") as file:
            json.dump(manifest, file)
        cost = tools.Cost.median([bench.run_psybuild(directory, "-n") for _ in range(bench.reps)])
    return [f"{task}, {name}", f"{total / 1e9:.0f} GB", tools.time_text(cost.seconds),
            tools.time_text(cost.user + cost.system), tools.mib(cost.peak_kib)]


def merge_axis(bench, name, shape):
    """A row: one tensor of 1 GiB, of that shape, merged within 16 MiB by two jobs."""
    with bench.directory("plan") as directory:
        total = write_model(os.path.join(directory, "model"), [("w", shape)], {})
        manifest = {"psybuild": 1, "sources": {"model": {"dir": "model"}},
                    "artifacts": {"out.safetensors": {"task": "merge", "in": {"weights": "model/*.safetensors"}}}}
        with open(os.path.join(directory, "psybuild.json"), "w", encoding="ascii") as file:
            json.dump(manifest, file)
        cost = bench.run_psybuild(directory, "-q", "--memory", "16M", "-j2")
        log = max(os.path.getsize(entry.path) for entry in os.scandir(os.path.join(directory, ".psybuild", "pieces")))
    return [name, f"{total / 1e9:.1f} GB", tools.time_text(cost.seconds), tools.mib(cost.peak_kib), tools.mib(log >> 10)]


def run(bench):
    rows = [plan_model(bench, "dense", dense(layers), dense_config(layers), task)
            for task, sizes in (("merge", (13, 64, 260)), ("quantize", (13, 143, 424))) for layers in sizes]
    sparse = {"model_type": "bench_experts", "torch_dtype": "bfloat16", **EXPERTS}
    rows += [plan_model(bench, "experts", experts(), sparse, task) for task in ("merge", "quantize")]
    sparse = {"model_type": "bench_packed", "torch_dtype": "bfloat16", **PACKED}
    rows += [plan_model(bench, "four axes", packed(), sparse, task) for task in ("merge", "quantize")]
    print("\n`psybuild -n`, sparse shards:")
    tools.table(["", "weights", "psybuild", "processor", "peak"], rows)
    rows = [merge_axis(bench, *shape) for shape in (("[N]", (1 << 29,)), ("[1, N]", (1, 1 << 29)), ("[N, 1]", (1 << 29, 1)))]
    print("\nOne tensor merged, `--memory 16M -j2`; *log*: of its pieces:")
    tools.table(["shape", "weights", "psybuild", "peak", "log"], rows)
