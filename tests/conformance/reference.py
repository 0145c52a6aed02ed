"""The real converter: mlx_lm.convert, in this process, on the CPU.

What its command line cannot say is said through its own functions: overrides as a predicate function, the
shard limit as make_shards' default. Nothing that computes or writes is replaced.
"""
import contextlib
import importlib
import importlib.metadata
import io
import os
import re
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

PACKAGES = ("mlx", "mlx-lm", "transformers", "tokenizers", "huggingface_hub", "safetensors", "numpy")


def versions():
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def pattern_regex(pattern):
    """The part of the rules' pattern language that overrides use here: text and *."""
    return re.compile("".join(".*" if part == "*" else re.escape(part) for part in re.split(r"(\*)", pattern)))


def with_overrides(overrides, quantize_model):
    """quantize_model with a predicate that asks the overrides first, then what it would have asked."""
    rules = [(pattern_regex(entry["match"]), {key: value for key, value in entry.items() if key != "match"})
             for entry in overrides]

    def quantize(model, config, group_size, bits, mode="affine", quant_predicate=None):
        inner = quant_predicate or getattr(model, "quant_predicate", None) or (lambda path, module: True)

        def predicate(path, module):
            for regex, entry in rules:
                if regex.fullmatch(path):
                    return dict(entry) if entry.get("quantize", True) else False
            return inner(path, module)

        return quantize_model(model, config, group_size, bits, mode=mode, quant_predicate=predicate)

    return quantize


class Bytes(int):
    """A size for make_shards, which shifts what it is given from GiB to bytes."""

    def __lshift__(self, _):
        return self


def run_main(module, words):
    """What `python -m mlx_lm convert` does with these words."""
    program, sys.argv = sys.argv, ["mlx_lm.convert", *words]
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            module.main()
    except SystemExit as end:
        raise ValueError(f"it ended with {end.code}: {said.getvalue().strip()}") from end
    finally:
        sys.argv = program


def convert(source, output, arguments):
    """Raises what the converter raises. What it prints is dropped."""
    import mlx.core as mx
    mx.set_default_device(mx.cpu)
    module, utils = importlib.import_module("mlx_lm.convert"), importlib.import_module("mlx_lm.utils")
    if "flags" in arguments:
        run_main(module, ["--hf-path", source, "--mlx-path", output, *arguments["flags"]])
        return
    arguments = dict(arguments)
    overrides, limit = arguments.pop("overrides", None), arguments.pop("max_shard_bytes", None)
    quantize_model, defaults = module.quantize_model, utils.make_shards.__defaults__
    try:
        if overrides:
            module.quantize_model = with_overrides(overrides, quantize_model)
        if limit:
            utils.make_shards.__defaults__ = (Bytes(limit),)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            module.convert(source, output, **arguments)
    finally:
        module.quantize_model, utils.make_shards.__defaults__ = quantize_model, defaults
        mx.clear_cache()
