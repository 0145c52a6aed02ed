"""Generated checkpoints in the shapes of Qwen3: normal bf16 weights, each row with a scale of its own."""
import json
import os
import shutil

import numpy as np

import tools

# size in GB: hidden, intermediate, layers, heads, heads of keys and values, vocabulary, tied
SHAPES = {
    0.1: (512, 1536, 8, 8, 4, 49152, True),
    0.4: (768, 2304, 18, 12, 6, 65536, True),
    1.2: (1024, 3072, 28, 16, 8, 151936, True),   # Qwen3-0.6B
    3.4: (2048, 6144, 28, 16, 8, 151936, True),   # Qwen3-1.7B
    8.0: (2560, 9728, 36, 32, 8, 151936, True),   # Qwen3-4B
    16.4: (4096, 12288, 36, 32, 8, 151936, False),  # Qwen3-8B
}
HEAD_DIM, SHARDS, NOISE_COUNT = 128, 4, 1 << 24


def nearest(size_gb):
    return min(SHAPES, key=lambda known: abs(known - size_gb))


def tensors(hidden, intermediate, layers, heads, kv_heads, vocabulary, tied):
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (hidden,)
        yield prefix + "post_attention_layernorm.weight", (hidden,)
        for name, shape in (("q_proj", (heads * HEAD_DIM, hidden)), ("k_proj", (kv_heads * HEAD_DIM, hidden)),
                            ("v_proj", (kv_heads * HEAD_DIM, hidden)), ("o_proj", (hidden, heads * HEAD_DIM)),
                            ("q_norm", (HEAD_DIM,)), ("k_norm", (HEAD_DIM,))):
            yield f"{prefix}self_attn.{name}.weight", shape
        for name, shape in (("gate_proj", (intermediate, hidden)), ("up_proj", (intermediate, hidden)),
                            ("down_proj", (hidden, intermediate))):
            yield f"{prefix}mlp.{name}.weight", shape
    yield "model.norm.weight", (hidden,)
    if not tied:
        yield "lm_head.weight", (vocabulary, hidden)


def bf16(values):
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


class Noise:
    """Normal numbers, many times over: a long run of them, begun anywhere."""

    def __init__(self):
        self.random = np.random.default_rng(1)
        self.bank = self.random.standard_normal(NOISE_COUNT, dtype=np.float32)

    def rows(self, shape):
        """The bytes of a tensor, some rows at a time."""
        columns, rows = shape[-1], shape[0] if len(shape) == 2 else 1
        step = max(1, NOISE_COUNT // 4 // columns)
        for begin in range(0, rows, step):
            count = min(step, rows - begin)
            start = self.random.integers(NOISE_COUNT - count * columns)
            block = self.bank[start:start + count * columns].reshape(count, columns)
            scales = self.random.uniform(0.01, 0.03, (count, 1)).astype(np.float32)
            yield bf16(block * scales).tobytes()


def write_shard(path, shard, noise):
    header, size = tools.safetensors_header(shard)
    with open(path, "wb") as file:
        file.write(header)
        for _, shape in shard:
            for block in noise.rows(shape):
                file.write(block)
    return size


def config(hidden, intermediate, layers, heads, kv_heads, vocabulary, tied):
    return {"architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
            "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": HEAD_DIM, "hidden_act": "silu",
            "hidden_size": hidden, "initializer_range": 0.02, "intermediate_size": intermediate,
            "max_position_embeddings": 40960, "model_type": "qwen3", "num_attention_heads": heads,
            "num_hidden_layers": layers, "num_key_value_heads": kv_heads, "rms_norm_eps": 1e-06,
            "rope_scaling": None, "rope_theta": 1000000, "tie_word_embeddings": tied, "torch_dtype": "bfloat16",
            "use_cache": True, "vocab_size": vocabulary}


def split(everything):
    """Into shards of about the same size, in order."""
    share = sum(int(np.prod(shape)) for _, shape in everything) / SHARDS
    shards, filled = [[] for _ in range(SHARDS)], 0
    for name, shape in everything:
        shards[min(int(filled / share), SHARDS - 1)].append((name, shape))
        filled += int(np.prod(shape))
    return [shard for shard in shards if shard]


def prepare(work, size_gb, tokenizer_from):
    """The directory of a model of about that size, made if it is not there; and its size in GB."""
    size_gb = nearest(size_gb)
    directory = os.path.join(work, f"model-{size_gb}")
    if os.path.exists(directory + ".complete"):
        return directory, size_gb
    print(f"(making {directory})", flush=True)
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    noise, shape = Noise(), SHAPES[size_gb]
    shards, weight_map, total = split(list(tensors(*shape))), {}, 0
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        total += write_shard(os.path.join(directory, name), shard, noise)
        weight_map.update({tensor: name for tensor, _ in shard})
    with open(os.path.join(directory, "model.safetensors.index.json"), "w", encoding="ascii") as file:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, file, indent=2, sort_keys=True)
    with open(os.path.join(directory, "config.json"), "w", encoding="ascii") as file:
        json.dump(config(*shape), file, indent=2)
    for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(os.path.join(tokenizer_from, name), os.path.join(directory, name))
    with open(directory + ".complete", "w", encoding="ascii"):
        return directory, size_gb
