"""How a model directory behaves when loaded: its tokenizer, its chat template, its logits, its text."""
import contextlib
import hashlib
import io
import json

TEXTS = [
    "", " ", "  ", "\n", "\n\n\n", "\t\tx", "Hello, world!", " leading and trailing ", "a  b   c    d",
    "The quick brown fox jumps over the lazy dog.", "don't we'll I'm they've she'd",
    "1234567890 3.14159 1,000,000 2024-05-17 0x1F 1e-9", "CamelCase snake_case kebab-case SCREAMING_CASE",
    "def f(x):\n    return x ** 2  # comment\n\nprint(f(3))\n", "int main(void) { return a->b[0] & ~0xFFu; }\r\n",
    "<html><body class=\"x\">&amp; &lt;</body></html>", "{\"a\": [1, 2.5, null, true], \"b\": \"\\u00e9\\n\"}",
    "Ünïcödé: é è ñ ç ß Æ œ ﬁ", "e\u0301 (combining) vs \u00e9 (composed)", "你好，世界。 日本語テスト 한국어",
    "مرحبا بالعالم שלום", "Привет, мир! Ελληνικά हिन्दी", "😀 👨\u200d👩\u200d👧\u200d👦 👍🏽 🇫🇷 ❤\ufe0f",
    "zero\u200bwidth nbsp\u00a0thin\u2009line\u2028sep\u2029par bom\ufeff", "\x00\x01\x7f control",
    "math: ∑_{i=0}^∞ x² ≤ ½ 𝕏", "\ufffd broken", "a" * 300, "ab " * 100, "https://example.com/path?q=1&r=2#frag",
    "$x^2 + y^2 = z^2$ \\frac{a}{b}", "Mixed中文English🚀123", "line1\r\nline2\rline3\n", "   \n   indented\n\ttab"]

TOOL_CALL = {"type": "function", "id": "c1", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
CHATS = {
    "user": [{"role": "user", "content": "Hi there"}],
    "system": [{"role": "system", "content": "You are terse."}, {"role": "user", "content": "Why?\n"}],
    "turns": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "<think>\nsum\n</think>\n\n2"},
              {"role": "user", "content": "sure?"}],
    "assistant last": [{"role": "user", "content": "go"}, {"role": "assistant", "content": "<think>\nso\n</think>\n\n done 😀"}],
    "tool": [{"role": "user", "content": "weather?"}, {"role": "assistant", "content": "", "tool_calls": [TOOL_CALL]},
             {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": "{\"t\": 3}"},
             {"role": "user", "content": "thanks"}]}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
SETTINGS = ("model_max_length", "padding_side", "truncation_side", "clean_up_tokenization_spaces", "model_input_names",
            "chat_template")

PROMPT = "The capital of France is"
QUESTION = "What is the capital of France?"


def digest(value):
    return hashlib.sha256(json.dumps(value, ensure_ascii=True, sort_keys=True).encode()).hexdigest()[:16]


def render(tokenizer, chat, **options):
    """A template may refuse a role or need what is not there: both sides must refuse alike."""
    try:
        return [tokenizer.apply_chat_template(chat, tokenize=False, **options),
                tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False, **options)]
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def tokenizer_behaviour(directory):
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(directory)
    added = sorted(tokenizer.get_added_vocab().items(), key=lambda entry: entry[1])
    special = [str(token) for token in tokenizer.all_special_tokens]
    texts = TEXTS + [f"x{token} y {token}" for token, _ in added[:64]] + ["".join(special), " ".join(special)]
    encoded = [tokenizer.encode(text) for text in texts]
    count = len(tokenizer)
    single = sorted(set(range(min(count, 1500))) | set(range(1500, count, 97)) | set(range(max(0, count - 200), count)))
    found = {
        "class": type(tokenizer).__name__, "length": count, "vocabulary": digest(tokenizer.get_vocab()), "added": added,
        "special tokens": {key: str(value) for key, value in tokenizer.special_tokens_map.items()},
        "special ids": sorted(tokenizer.all_special_ids),
        "named ids": {name: getattr(tokenizer, name + "_id") for name in NAMED_TOKENS},
        "settings": {name: getattr(tokenizer, name, None) for name in SETTINGS},
        "tool_parser_type": tokenizer.init_kwargs.get("tool_parser_type"),
        "flags": {str(i): [token.content, token.special, token.lstrip, token.rstrip, token.normalized, token.single_word]
                  for i, token in tokenizer.added_tokens_decoder.items()},
        "encode": encoded,
        "encode without special": [tokenizer.encode(text, add_special_tokens=False) for text in texts],
        "pair": tokenizer("first", "second")["input_ids"],
        "decode": [[tokenizer.decode(ids), tokenizer.decode(ids, skip_special_tokens=True),
                    tokenizer.decode(ids, clean_up_tokenization_spaces=True)] for ids in encoded],
        "decode single": [tokenizer.decode([i]) for i in single]}
    if tokenizer.chat_template:
        for name, chat in CHATS.items():
            for prompt in (False, True):
                for tools in (None, TOOLS):
                    key = f"chat {name}{', prompt' if prompt else ''}{', tools' if tools else ''}"
                    found[key] = render(tokenizer, chat, tools=tools, add_generation_prompt=prompt)
        found["chat without thinking"] = render(tokenizer, CHATS["user"], add_generation_prompt=True, enable_thinking=False)
    return json.loads(json.dumps(found))


def model_behaviour(directory, ids=None, generates=False):
    """Logits of PROMPT, or of ids, as float32 bits, and greedy text if asked for. Loads with mlx_lm, which is strict."""
    import mlx.core as mx
    import numpy as np
    from mlx_lm import generate, load
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        model, tokenizer = load(directory)
        ids = ids or tokenizer.encode(PROMPT)
        logits = np.array(model(mx.array([ids])).astype(mx.float32))
        found = {"prompt ids": ids, "eos ids": sorted(tokenizer.eos_token_ids), "logits shape": list(logits.shape),
                 "logits": hashlib.sha256(logits.tobytes()).hexdigest(), "finite": bool(np.isfinite(logits).all())}
        if generates:
            prompt = tokenizer.apply_chat_template([{"role": "user", "content": QUESTION}], add_generation_prompt=True)
            found["text"] = generate(model, tokenizer, prompt=prompt, max_tokens=24)
    del model
    mx.clear_cache()
    return found
