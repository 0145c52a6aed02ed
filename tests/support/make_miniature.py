#!/usr/bin/env python3
"""Write the miniature: a Qwen3 checkpoint of 2 MB with the file set of a real one.

    make_miniature.py source DIRECTORY      the checkpoint (needs the tokenizers package)
    make_miniature.py expected DIRECTORY    what mlx_lm.convert makes of DIRECTORY, as JSON on stdout

Every weight comes from SHAKE-256 of the tensor's name and from exact arithmetic, so the same files
come out byte for byte on every machine. tests/golden/miniature/README.md says what they are for.
"""
import array
import hashlib
import json
import os
import struct
import sys
import tempfile

HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, HEAD_DIM = 128, 256, 4, 4, 1, 32
BPE_ENTRIES, VOCABULARY = 1400, 1440  # the rest: 26 added tokens and, as in Qwen3, unused rows
SHARD_BYTES_MAX = 520_000

# The conversions that expected.json records: a name and psybuild's "with".
CONVERSIONS = [("none", {}), ("f16", {"dtype": "float16"}), ("4bit-64", {"bits": 4, "group_size": 64}),
               ("8bit-32", {"bits": 8, "group_size": 32}), ("mixed_4_6", {"quant_predicate": "mixed_4_6"}),
               ("4bit-64-back", {"dequantize": True})]
SOURCES = {"4bit-64-back": "4bit-64"}  # made from that conversion's result

SPECIAL_TOKENS = """<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|>
<|box_start|> <|box_end|> <|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|>
<|image_pad|> <|video_pad|>""".split()
PLAIN_TOKENS = """<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|>
<|repo_name|> <|file_sep|> <tool_response> </tool_response> <think> </think>""".split()

# Qwen2's, which every Qwen2Tokenizer uses whatever its tokenizer.json says.
SPLIT_REGEX = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
               r"|\s*[\r\n]+|\s+(?!\S)|\s+")

CHAT_TEMPLATE = r"""{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\n\n' }}{%- endif %}
    {{- "# Tools\n\nThe functions you may call, between <tools></tools>:\n<tools>" }}
    {%- for tool in tools %}{{- '\n' }}{{- tool | tojson }}{%- endfor %}
    {{- "\n</tools>\n\nAnswer a call with its name and arguments:\n<tool_call>\n{\"name\": <name>, \"arguments\": <object>}\n</tool_call><|im_end|>\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set last = namespace(query=messages|length - 1, searching=true) %}
{%- for message in messages[::-1] %}
    {%- if last.searching and message.role == 'user' %}
        {%- set last.searching = false %}
        {%- set last.query = messages|length - 1 - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set thought = '' %}
        {%- if '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\n' }}
        {%- if thought and loop.index0 > last.query %}{{- '<think>\n' + thought + '\n</think>\n\n' }}{%- endif %}
        {{- content }}
        {%- for tool_call in message.tool_calls or [] %}
            {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
            {{- '\n<tool_call>\n{"name": "' + tool_call.name + '", "arguments": ' }}
            {{- tool_call.arguments if tool_call.arguments is string else tool_call.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == 'tool' %}
        {{- '<|im_start|>user\n<tool_response>\n' + content + '\n</tool_response><|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}
{%- endif %}"""

# The words of the tokenizer's text. Sentences are drawn from them; what they say does not matter.
OPENINGS = """I you we they she he someone nobody everyone my_friend the_client the_counsellor my_mother
my_father my_sister the_teacher this_person people""".split()
VERBS = """feel think remember notice understand believe describe explain forget imagine expect
follow answer listen worry hope decide change avoid accept question recognise support practise
breathe sleep walk talk write read work rest begin continue stop return share manage suffer recover
learn observe compare measure consider suggest reflect repeat express struggle appreciate""".split()
ADJECTIVES = """anxious calm tired restless hopeful lonely honest careful gentle difficult ordinary
unexpected familiar uncertain patient overwhelmed grateful ashamed confident curious distant strong
weak early late quiet loud helpful harmful possible impossible important different similar healthy
stressful peaceful emotional physical social personal professional cognitive behavioural negative
positive automatic irrational realistic meaningful""".split()
NOUNS = """morning evening weekend meeting exam deadline family school office hospital conversation
thought feeling emotion memory habit pattern reason answer question exercise breathing therapy
session relationship friendship marriage childhood pressure stress anxiety depression insomnia
attention intention behaviour belief experience situation difficulty expectation disappointment
strength weakness energy motivation procrastination perfectionism communication understanding
boundary responsibility decision solution problem progress improvement evidence diagnosis
treatment strategy assessment intervention mindfulness acceptance commitment kitchen garden window
breakfast journey mountain river weather winter summer Tuesday Thursday January October neighbour
colleague grandmother daughter brother hobby guitar painting bicycle computer telephone newspaper
library university examination scholarship salary manager company customer appointment medicine
headache appetite heartbeat nightmare silence laughter courage sadness jealousy forgiveness""".split()
LINKS = """because although when while before after until unless so_that and but or therefore however
moreover instead perhaps sometimes usually rarely again together without_doubt in_the_end""".split()
CHINESE = """我最近总是睡不着 她觉得工作压力很大 你能告诉我发生了什么吗 他们常常感到焦虑和孤独 请慢慢呼吸
这种想法从什么时候开始 我理解你的感受 我们可以一起制定计划 情绪会随着时间变化 试着记录每天的心情
家人的支持非常重要 认知行为疗法可以帮助你 把注意力放在当下 不要责怪自己 睡前不要看手机
考试之前我很紧张 朋友之间的沟通有困难 心理咨询是一个过程""".split()
CODE = ["def mean(values):\n    return sum(values) / len(values)\n", "for (int i = 0; i < n; i++) {\n",
        "if (error != NULL) {\n        return error;\n    }\n", "#include <stdint.h>\n",
        "{\"name\": \"score\", \"value\": 1.5, \"items\": [true, false, null]}\n", "x = x + 1;\n"]


class Draw:
    """A stream of integers that a name fixes."""

    def __init__(self, name):
        self.bytes = hashlib.shake_256(b"psybuild miniature: " + name.encode()).digest(400_000)
        self.at = 0

    def below(self, limit):
        self.at += 4
        return int.from_bytes(self.bytes[self.at - 4:self.at], "little") % limit

    def of(self, items):
        return items[self.below(len(items))].replace("_", " ")


def sentences(count):
    draw = Draw("text")
    for _ in range(count):
        kind = draw.below(12)
        if kind < 8:
            text = f"{draw.of(OPENINGS)} {draw.of(VERBS)} that the {draw.of(ADJECTIVES)} {draw.of(NOUNS)} "
            text += f"{draw.of(VERBS)}s {draw.of(LINKS)} {draw.of(OPENINGS)} {draw.of(VERBS)}ed a {draw.of(ADJECTIVES)}"
            text += f" {draw.of(NOUNS)}{draw.of(['.', '?', '!', ', ' + 'right?'])}\n"
            yield text[0].upper() + text[1:]
        elif kind < 10:
            yield draw.of(CHINESE) + "，" + draw.of(CHINESE) + "。\n"
        elif kind < 11:
            yield f"{draw.below(40)}. {draw.of(NOUNS).title()}: {draw.below(100)} % ({draw.of(ADJECTIVES)}ly)\n"
        else:
            yield CODE[draw.below(len(CODE))]


def write_json(path, value, **options):
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        json.dump(value, file, ensure_ascii=False, **options)
        file.write("\n")


def write_tokenizer(directory):
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT_REGEX), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.train_from_iterator(sentences(12_000), trainers.BpeTrainer(
        vocab_size=BPE_ENTRIES, min_frequency=1, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in PLAIN_TOKENS])
    model = json.loads(tokenizer.to_str())
    first = tokenizer.token_to_id(SPECIAL_TOKENS[0])
    if first != BPE_ENTRIES:
        sys.exit(f"make_miniature: the text yields {first} BPE entries, not {BPE_ENTRIES}")

    write_json(os.path.join(directory, "tokenizer.json"), model, indent=None, separators=(",", ":"))
    vocabulary = sorted(model["model"]["vocab"].items(), key=lambda entry: entry[1])
    write_json(os.path.join(directory, "vocab.json"), dict(vocabulary), separators=(",", ":"))
    with open(os.path.join(directory, "merges.txt"), "w", encoding="utf-8", newline="\n") as file:
        file.write("#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in model["model"]["merges"]))
    added = {str(token["id"]): {key: token[key] for key in (
        "content", "lstrip", "normalized", "rstrip", "single_word", "special")} for token in model["added_tokens"]}
    write_json(os.path.join(directory, "tokenizer_config.json"), {
        "add_bos_token": False, "add_prefix_space": False, "added_tokens_decoder": added,
        "additional_special_tokens": SPECIAL_TOKENS[1:], "bos_token": None, "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False, "eos_token": "<|im_end|>", "errors": "replace",
        "model_max_length": 131072, "pad_token": "<|endoftext|>", "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer", "unk_token": None}, indent=2)
    return first


def shapes():
    """Names and shapes in the order in which the model's own code makes them."""
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        yield prefix + "self_attn.q_proj.weight", (HEADS * HEAD_DIM, HIDDEN)
        yield prefix + "self_attn.k_proj.weight", (KV_HEADS * HEAD_DIM, HIDDEN)
        yield prefix + "self_attn.v_proj.weight", (KV_HEADS * HEAD_DIM, HIDDEN)
        yield prefix + "self_attn.o_proj.weight", (HIDDEN, HEADS * HEAD_DIM)
        yield prefix + "self_attn.q_norm.weight", (HEAD_DIM,)
        yield prefix + "self_attn.k_norm.weight", (HEAD_DIM,)
        yield prefix + "mlp.gate_proj.weight", (INTERMEDIATE, HIDDEN)
        yield prefix + "mlp.up_proj.weight", (INTERMEDIATE, HIDDEN)
        yield prefix + "mlp.down_proj.weight", (HIDDEN, INTERMEDIATE)
        yield prefix + "input_layernorm.weight", (HIDDEN,)
        yield prefix + "post_attention_layernorm.weight", (HIDDEN,)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCABULARY, HIDDEN)


def bfloat16(values):
    """Finite doubles to bfloat16: to float32, then nearest with ties to even."""
    words = array.array("I", array.array("f", values).tobytes())
    rounded = array.array("H", ((word + 0x7FFF + (word >> 16 & 1)) >> 16 for word in words))
    if sys.byteorder == "big":
        rounded.byteswap()
    return rounded.tobytes()


def tensor_bytes(name, shape, tokens):
    """Sums of four 16-bit words, nearly normal with sigma 0.018, each row with its own scale."""
    columns = shape[-1]
    count = columns * (shape[0] if len(shape) == 2 else 1)
    stream = hashlib.shake_256(b"psybuild miniature: " + name.encode()).digest(8 * count + count)
    words = struct.unpack(f"<{4 * count}H", stream[:8 * count])
    centred = [words[i] + words[i + 1] + words[i + 2] + words[i + 3] - 131070 for i in range(0, 4 * count, 4)]
    if len(shape) == 1:
        return bfloat16([1 + value * 2.0 ** -20 for value in centred])
    values = [value * 2.0 ** -21 * (0.5 + stream[8 * count + i // columns] / 256) for i, value in enumerate(centred)]
    if name.endswith("layers.1.mlp.down_proj.weight"):  # groups on which converters tend to differ
        for row, special in enumerate([
                [0.0] * columns, [-0.0] * columns, [0.25] * columns, [-3.0] * columns,
                [value * 2.0 ** -22 for value in values[:columns]],       # subnormal or zero as float16
                [value * 2.0 ** -110 for value in values[:columns]],      # below every epsilon
                [(i % 31) * 0.5 for i in range(columns)],                 # exact ties
                [(i % 15 - 7) * 0.25 for i in range(columns)],
                [8.0 if i % 32 == 5 else values[i] for i in range(columns)],  # an outlier per group
                [-(i % 2) * 0.125 for i in range(columns)]]):
            values[row * columns:(row + 1) * columns] = special
    if shape[0] == VOCABULARY:  # rows that no token uses
        values[tokens * columns:] = [0.0] * ((VOCABULARY - tokens) * columns)
    return bfloat16(values)


def write_shard(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, data in tensors:
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors:
            file.write(data)


def write_weights(directory, tokens):
    shards = [[]]
    for name, shape in shapes():
        data = tensor_bytes(name, shape, tokens)
        if shards[-1] and sum(len(entry[2]) for entry in shards[-1]) + len(data) > SHARD_BYTES_MAX:
            shards.append([])
        shards[-1].append((name, shape, data))
    weight_map, total = {}, 0
    for number, shard in enumerate(shards, 1):
        file_name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_shard(os.path.join(directory, file_name), sorted(shard))
        for name, _, data in shard:
            weight_map[name] = file_name
            total += len(data)
    write_json(os.path.join(directory, "model.safetensors.index.json"), {
        "metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}, indent=2)


def write_source(directory):
    os.makedirs(directory, exist_ok=True)
    first = write_tokenizer(directory)
    tokens = first + len(SPECIAL_TOKENS) + len(PLAIN_TOKENS)
    write_json(os.path.join(directory, "config.json"), {
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": first, "eos_token_id": first + 2, "head_dim": HEAD_DIM, "hidden_act": "silu",
        "hidden_size": HIDDEN, "initializer_range": 0.02, "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": 40960, "max_window_layers": LAYERS, "model_type": "qwen3",
        "num_attention_heads": HEADS, "num_hidden_layers": LAYERS, "num_key_value_heads": KV_HEADS,
        "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000, "sliding_window": None,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.51.0",
        "use_cache": False, "use_sliding_window": False, "vocab_size": VOCABULARY}, indent=2)
    write_json(os.path.join(directory, "generation_config.json"), {
        "bos_token_id": first, "do_sample": True, "eos_token_id": [first + 2, first], "pad_token_id": first,
        "temperature": 0.6, "top_k": 20, "top_p": 0.95, "transformers_version": "4.51.0"}, indent=2)
    write_weights(directory, tokens)


def print_expected(source):
    sys.dont_write_bytecode = True
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "conformance"))
    import cases
    import reference
    import snapshot
    conversions = {}
    with tempfile.TemporaryDirectory() as work:
        for name, parameters in CONVERSIONS:
            output, arguments = os.path.join(work, name), cases.reference_arguments(parameters)
            of = SOURCES.get(name)
            reference.convert(os.path.join(work, of) if of else source, output, arguments)
            taken = snapshot.take(output)
            conversions[name] = {
                **({"of": of} if of else {}), "with": parameters, "arguments": arguments,
                "config.json": taken["texts"]["config.json"], "index metadata": taken["index"]["metadata"],
                "tensors": {key: {field: value[field] for field in ("dtype", "shape", "sha256")}
                            for key, value in taken["tensors"].items()}}
    print("{")
    print(' "command": "make_miniature.py expected source, which calls mlx_lm.convert with each conversion\'s arguments",')
    print(f' "versions": {json.dumps(reference.versions())},\n "conversions": {{')
    for i, (name, entry) in enumerate(conversions.items()):
        rows = ",\n".join(f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(entry["tensors"].items()))
        print(f'  "{name}": {{')
        for key in ("of", "with", "arguments", "config.json", "index metadata"):
            if key in entry:
                print(f"   {json.dumps(key)}: {json.dumps(entry[key])},")
        print(f'   "tensors": {{\n{rows}}}}}' + ("," if i + 1 < len(conversions) else ""))
    print(" }\n}")


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("source", "expected"):
        sys.exit(__doc__)
    (write_source if sys.argv[1] == "source" else print_expected)(sys.argv[2])


if __name__ == "__main__":
    main()
