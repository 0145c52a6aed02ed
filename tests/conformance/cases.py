"""The conversions: for each checkpoint a list of (name, psybuild's "with").

What mlx_lm.convert is called with follows from "with", so that a case is written once.
"""
VERSION = 1  # raise it when what is recorded of the reference changes: cached results are then made again

MIXED = ("mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6")
MODES = ("mxfp4", "mxfp8", "nvfp4")
DTYPES = (("f16", "float16"), ("bf16", "bfloat16"), ("f32", "float32"))

ONE_LAYER = [{"match": "model.layers.1.self_attn.q_proj", "bits": 8, "group_size": 32}]
MANY_LAYERS = [{"match": "*.v_proj", "group_size": 32, "bits": 6}, {"match": "*.layers.2.*", "quantize": False},
               {"match": "*embed_tokens", "bits": 8}, {"match": "*.o_proj", "bits": 3, "mode": "affine", "group_size": 64},
               {"match": "*.layers.1.*", "group_size": 32}]


def reference_arguments(parameters):
    if isinstance(parameters, list):
        return {"flags": parameters}
    names = {"bits": "q_bits", "group_size": "q_group_size", "mode": "q_mode"}
    arguments = {names.get(key, key): value for key, value in parameters.items() if key != "max_shard_size"}
    if any(key in parameters for key in ("bits", "group_size", "mode", "quant_predicate", "overrides")):
        arguments["quantize"] = True
    if "max_shard_size" in parameters:
        size = parameters["max_shard_size"]
        arguments["max_shard_bytes"] = int(size[:-1]) << {"K": 10, "M": 20}[size[-1]]
    return arguments


def affine(bits, group_size):
    return f"{bits}bit-{group_size}", {"bits": bits, "group_size": group_size}


MINIATURE = (
    [("none", {}), ("quantize", {"quantize": True})]
    + [(short, {"dtype": dtype}) for short, dtype in DTYPES]
    + [affine(bits, group) for bits in (1, 2, 3, 4, 5, 6, 8) for group in (32, 64, 128)]
    + [("3bit", {"bits": 3}), ("group-32", {"group_size": 32})]
    + [(f"{short}-{bits}bit-{group}", {"dtype": dtype, "bits": bits, "group_size": group})
       for short, dtype in DTYPES for bits, group in ((4, 64), (8, 32), (3, 128), (2, 32), (5, 64), (6, 128))]
    + [(mixed, {"quant_predicate": mixed}) for mixed in MIXED]
    + [(f"{mixed}-32", {"quant_predicate": mixed, "group_size": 32}) for mixed in MIXED]
    + [("f16-mixed_3_6", {"quant_predicate": "mixed_3_6", "dtype": "float16"})]
    + [("overrides-one", {"bits": 4, "group_size": 64, "overrides": ONE_LAYER}),
       ("overrides-many", {"bits": 4, "group_size": 64, "overrides": MANY_LAYERS}),
       ("overrides-mixed", {"quant_predicate": "mixed_4_6", "overrides": MANY_LAYERS})]
    + [(mode, {"mode": mode}) for mode in MODES]
    + [(f"f16-{mode}", {"mode": mode, "dtype": "float16"}) for mode in MODES]
    + [(f"f32-{mode}", {"mode": mode, "dtype": "float32"}) for mode in MODES]
    + [("shards", {"max_shard_size": "300K"}), ("4bit-64-shards", {"bits": 4, "group_size": 64, "max_shard_size": "100K"})])

SMOLLM2 = (
    [("none", {}), ("f16", {"dtype": "float16"}), ("f32", {"dtype": "float32"})]
    + [affine(bits, 64) for bits in (2, 3, 4, 5, 6, 8)]
    + [affine(4, 32), affine(8, 32), affine(6, 32), affine(2, 128), affine(3, 128), affine(8, 128)]
    + [("f16-4bit-64", {"bits": 4, "group_size": 64, "dtype": "float16"}),
       ("f32-8bit-64", {"bits": 8, "group_size": 64, "dtype": "float32"}),
       ("f32-4bit-64", {"bits": 4, "group_size": 64, "dtype": "float32"}),
       ("f32-3bit-32", {"bits": 3, "group_size": 32, "dtype": "float32"})]
    + [(mixed, {"quant_predicate": mixed}) for mixed in MIXED]
    + [("overrides-many", {"bits": 4, "group_size": 64, "overrides": MANY_LAYERS}),
       ("mxfp4", {"mode": "mxfp4"}), ("4bit-64-shards", {"bits": 4, "group_size": 64, "max_shard_size": "20M"})])

# Back to floats. The checkpoint is what the reference makes of the model as the case of that name says.
BACK = ("dequantize", {"dequantize": True})
BACK_AS = [BACK] + [(f"dequantize-{short}", {"dequantize": True, "dtype": dtype}) for short, dtype in DTYPES]
DEQUANTIZED = {
    "miniature/4bit-64": BACK_AS + [("dequantize-shards", {"dequantize": True, "max_shard_size": "300K"})],
    "miniature/8bit-32": [BACK], "miniature/3bit-128": [BACK], "miniature/5bit-64": [BACK], "miniature/1bit-32": [BACK],
    "miniature/f32-4bit-64": [BACK], "miniature/f16-6bit-128": BACK_AS, "miniature/4bit-64-shards": [BACK],
    "miniature/mixed_3_6": [BACK], "miniature/mixed_4_6-32": [BACK], "miniature/overrides-many": BACK_AS,
    "miniature/mxfp4": BACK_AS, "miniature/mxfp8": BACK_AS, "miniature/nvfp4": BACK_AS, "miniature/f16-mxfp4": [BACK],
    "smollm2/4bit-64": [BACK], "smollm2/mxfp4": [BACK],
}

# Command lines: the reference's own main() and `psybuild -t convert` get the same flags.
COMMANDS = {
    "miniature": [("convert", []), ("convert-q", ["-q"]), ("convert-cast", ["--dtype", "float16", "--q-bits", "3"]),
                  ("convert-8bit-32", ["--quantize", "--q-bits", "8", "--q-group-size=32", "--dtype", "float32"]),
                  ("convert-mixed", ["-q", "--quant-predicate", "mixed_3_6", "--q-group-size", "32"]),
                  ("convert-nvfp4", ["-q", "--q-mode", "nvfp4"]), ("convert-both", ["-q", "-d"]),
                  ("convert-mixed-mxfp4", ["-q", "--q-mode", "mxfp4", "--quant-predicate", "mixed_2_6"]),
                  ("convert-d", ["-d"]), ("convert-d-cast", ["-d", "--dtype", "float16"]),
                  ("convert-7bit", ["-q", "--q-bits", "7"]), ("convert-unknown", ["-q", "--bits", "4"])],
    "miniature/mxfp4": [("convert-d", ["-d"])],
}

# A model that random values make is only ever compared as it stands.
SKELETON = [("none", {}), affine(4, 64), affine(8, 32), ("mixed_4_6", {"quant_predicate": "mixed_4_6"}),
            ("f16", {"dtype": "float16"}), ("f32-4bit-64", {"bits": 4, "group_size": 64, "dtype": "float32"})]

# SmolLM2's logits take seconds on the CPU, with float16 half a minute, so only these cases have theirs compared.
LOGITS = {"none", "4bit-64", "mixed_4_6", "overrides-many", "mxfp4", "f32-4bit-64", "f32-8bit-64"}

# Whose texts are generated and printed, and whether they must name the capital of France. float32 because the reference
# sums bfloat16 products of packed weights in bfloat16 on the CPU, which few answers survive.
GENERATED = {"none": True, "f32-8bit-64": True, "f32-4bit-64": False}
