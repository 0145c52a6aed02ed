"""Model cards: what psybuild writes for a checkpoint's README.md, and what the reference does, byte for byte."""
import json
import os
import random
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
MANIFESTS = os.path.join(HERE, "..", "..", "manifests")
BASE_MODEL = "org/name"
GENERATED = 1000
SEED = 16
BUILD_SECONDS_MAX = 600

WORDS = ["model", "weights", "no", "Yes", "12", "1.50", "a:b", "x #y", "C:\\dir", "it's", "\"so\"", "été", "日本語", "😀", "-", "?", "~", "null",
         "2024-01-02", "12:30", "0x1F", "1_000", "1e5", "1.0e+5", ".inf", "<<", "=", "key: value", "[x]", "{y}", "&z", "*z", "!t", "%", "@", "`",
         "| pipe", "> fold", "- item", "word " * 30, "x" * 90, "a\tb", "", " lead", "trail ", "a\nb", "a\n\nb\n", "\u00a0", "\u3000end", "\x85",
         "\u2028", "\x07", "…", "on", "off", "TRUE", "0o17", "017", "08", "+1", "-0", "-1.5", "1.", ".5", "6.02e+23", "190:20:30", "1:1.5",
         "2001-12-14t21:59:43.10-05:00", "2001-12-14 21:59:43", "2024-13-45", "mlx", "text-generation", "k" * 122, "k" * 123, "k" * 124, "é" * 100]
PLAIN = [word for word in WORDS if word and not (set(word) & set("\n\t\a\x85\u2028") or word[0] in "\"[{&*!%@`|>-?" or ": " in word or word in ("<<", "=", "2024-13-45"))]
KEYS = ["license", "language", "datasets", "metrics", "widget", "inference", "thumbnail", "license_name", "license_link", "model_name", "base_model",
        "library_name", "pipeline_tag", "co2_eq_emissions", "extra_gated_prompt", "new_version", "quantized_by", "arxiv", "a", "b", "x y", "1", "k" * 123,
        "yes", "2024-01-02", "model-index", "eval_results", "é", "long key " * 14]


class Generator:
    """Draws front matters: mostly such as people write, with every kind of YAML in them."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.anchors = 0

    def pick(self, items):
        return items[self.random.randrange(len(items))]

    def chance(self, percent):
        return self.random.randrange(100) < percent

    def words(self):
        return " ".join(self.pick(WORDS[:7] + WORDS[8:11] + ["word", "longer-word", "text"]) for _ in range(self.random.randrange(1, 40)))

    def quoted(self, text):
        if self.chance(50) and "\x07" not in text and "\x85" not in text:
            return "'" + text.replace("'", "''").replace("\n", "\n\n      ") + "'"
        return json.dumps(text, ensure_ascii=self.chance(50) and all(ord(c) < 0x10000 for c in text))

    def scalar(self, indent):
        kind = self.random.randrange(20)
        if kind < 8:
            return self.pick(PLAIN if self.chance(98) else WORDS).replace("\n", " ").replace("\x07", "")
        if kind < 12:
            return self.quoted(self.pick(WORDS))
        if kind < 14:
            return self.words()
        if kind < 15:  # plain over several lines
            return self.words() + "\n" + " " * (indent + 2) + self.words() + ("\n\n" + " " * (indent + 3) + "end" if self.chance(30) else "")
        if kind < 16:  # quoted over several lines
            return '"' + "word " * 5 + "\n" + " " * (indent + 2) + "more\\n \\\n" + " " * (indent + 2) + 'end"'
        if kind < 18:
            head = self.pick(["|", ">", "|-", ">-", "|+", ">+", "| # why"] * 6 + ["|2", ">2-"])
            pad = "\n" + " " * (indent + 2)
            return head + pad + pad.join(self.pick(["line", "more words here", "  indented", "", "# no comment", "last: one", "a\tb"])
                                         for _ in range(self.random.randrange(1, 6)))
        if kind < 19 and self.anchors:
            return f"*a{self.random.randrange(1, self.anchors + 1)}"
        return self.pick(["plain"] * 30 + ["!!str 12", "!!int '3'", "!!float 1", "!!bool yes", "!!null x", "! 12", "!foo bar", "!!str", "!!timestamp '2024-01-02'"])

    def flow(self, depth):
        kind = self.random.randrange(6)
        if depth == 0 or kind < 3:
            return self.pick(["a", "'b c'", '"d"', "1", "no", "a/b", "x:y", "", "2024-01-02", "~", "word word"] if self.chance(99) else ["a?b", "?", "a: b", *WORDS])
        items = [self.flow(depth - 1) for _ in range(self.random.randrange(4))]
        blank = self.pick([", ", ",", " , ", ",\n      "])
        if kind == 3:
            return "{" + blank.join(f"k{i}: {item}" for i, item in enumerate(items)) + "}"
        return "[" + blank.join(items) + self.pick(["", "", ","]) + "]"

    def anchor(self):
        if not self.chance(8):
            return ""
        self.anchors += 1
        return f"&a{self.anchors} "

    def value(self, indent, depth):
        """What follows "key:" or "-"."""
        kind = self.random.randrange(10)
        anchor = self.anchor()
        if depth == 0 or kind < 5:
            return " " + anchor + self.scalar(indent)
        if kind < 6:
            return " " + anchor + self.flow(3)
        nested = indent + self.pick([2, 2, 2, 4, 1])
        if kind < 8:
            beside = indent if self.chance(50) and kind == 6 else nested
            return " " + anchor.strip() + "\n" + self.list(max(beside, 0), depth - 1)
        return " " + anchor.strip() + "\n" + self.map(nested, depth - 1)

    def list(self, indent, depth):
        return "\n".join(" " * indent + "-" + self.value(indent, depth) for _ in range(self.random.randrange(1, 5)))

    def key(self, is_top):
        key = self.pick(KEYS[:20] if self.chance(85) or is_top else KEYS)
        return self.pick([key, key, key, f'"{key}"', f"'{key}'"]) if self.chance(20) else key

    def map(self, indent, depth):
        lines = []
        for _ in range(self.random.randrange(1, 6)):
            pad = " " * indent
            if self.chance(4):
                lines.append(f"{pad}? {self.scalar(indent)}\n{pad}:{self.value(indent, depth)}")
            elif self.chance(4) and self.anchors:
                lines.append(f"{pad}<<: *a{self.random.randrange(1, self.anchors + 1)}")
            elif self.chance(5):
                lines.append(f"{pad}# a comment")
            else:
                lines.append(f"{pad}{self.key(indent == 0 and self.chance(97))}:{self.value(indent, depth)}{self.pick(['', '', '', ' # why'])}")
        return "\n".join(lines)

    def tags(self):
        kind = self.random.randrange(8)
        if kind == 0:
            return "tags: " + self.flow(2)
        if kind == 1:
            return "tags: " + self.scalar(0)
        items = [self.pick(["mlx", "chat", "no", "1", "1.0", "true", "pytorch", "chat", "a: b", "[a]", "conversational", "~"]) for _ in range(5)]
        return "tags:\n" + "\n".join(self.pick(["- ", "- "]) + item for item in items)

    def index(self):
        """A model index, with what may be there and what may be missing."""
        results = []
        for _ in range(self.random.randrange(4)):
            metrics = [{"type": self.pick(["acc", "wer"]), "value": self.pick([1, 0.5, "x", None, [1, None], {"a": None, "b": 2}]),
                        **({"name": self.pick(["Accuracy", None])} if self.chance(50) else {}), **({"verified": self.chance(50)} if self.chance(30) else {}),
                        **({"odd": 1} if self.chance(20) else {}), **({"args": {"n": 1, "m": None}} if self.chance(20) else {})}
                       for _ in range(self.random.randrange(3))]
            result = {"task": {"type": self.pick(["text-generation", "qa"]), **({"name": "Text"} if self.chance(50) else {})},
                      "dataset": {"type": self.pick(["d1", "d2"]), "name": "D", **({"config": self.pick(["c", None, 1, True])} if self.chance(40) else {})},
                      "metrics": metrics}
            if self.chance(30):
                result["source"] = {key: "u" for key in ["name", "url"] if self.chance(75)}
            if self.chance(4):
                del result[self.pick(["task", "dataset", "metrics"])]
            results.append(result)
        index = [{"name": self.pick(["m", "m", "m", None]), "results": results} for _ in range(self.pick([1, 1, 1, 2]))]
        return "model-index: " + (json.dumps(index) if self.chance(97) else self.scalar(0))

    def card(self):
        self.anchors = 0
        members = [self.map(0, self.random.randrange(4)) for _ in range(self.random.randrange(1, 3))]
        if self.chance(60):
            members.insert(self.random.randrange(len(members) + 1), self.tags())
        if self.chance(25):
            members.append(self.index())
        text = "\n".join(members)
        if self.chance(8):
            text = "\n".join("  " + line for line in text.split("\n"))
        if self.chance(3):
            cut = self.random.randrange(len(text) + 1)
            text = text[:cut] + self.pick(["\t", ":", "'", '"', "]", "}", "  ", "\n-", "\\'", "&", "*"]) + text[cut:]
        card = self.pick(["", "", "", "", "\ufeff", "\n \n"]) + "---\n" + text + "\n---" + self.pick(["\n", "\n", "  \n", ""]) + self.pick(["", "# Title\n"])
        return card.replace("\n", self.pick(["\n"] * 8 + ["\r\n", "\r"]))


def generated():
    generator = Generator(SEED)
    return [(f"generated-{i:04}", generator.card()) for i in range(GENERATED)]


def realistic():
    """Cards as they are published, one behind the other in a file."""
    with open(os.path.join(HERE, "cards.txt"), encoding="utf-8", newline="") as file:
        parts = file.read().split("\n%%%%%%%% ")
    return [tuple(part.split("\n", 1)) for part in parts[1:]]


def refer(path):
    """What mlx_lm's create_model_card writes for a card, or why it does not."""
    from huggingface_hub import ModelCard
    try:
        card = ModelCard.load(path)
        card.data.library_name = "mlx"
        card.data.pipeline_tag = "text-generation"
        if card.data.tags is None:
            card.data.tags = ["mlx"]
        elif "mlx" not in card.data.tags:
            card.data.tags += ["mlx"]
        card.data.base_model = BASE_MODEL
        card.text = ""
        return str(card).encode(), None
    except Exception as error:  # whatever it does not read
        return None, f"{type(error).__name__}: {error}".split("\n")[0]


def build(psybuild, base, names):
    """All cards in one run; those that are refused are not there."""
    artifacts = {f"out/{name}.md": {"task": "card", "in": {"readme": f"cards/{name}.md"}, "with": {"base_model": BASE_MODEL}} for name in names}
    with open(os.path.join(base, "psybuild.json"), "w", encoding="utf-8") as file:
        json.dump({"psybuild": 1, "sources": {"cards": {"dir": "cards"}}, "artifacts": artifacts}, file)
    environment = {"PSYBUILD_DATA_DIR": os.path.abspath(MANIFESTS), **os.environ}
    return subprocess.run([psybuild, "-j2", "-k", "0"], cwd=base, env=environment, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace", timeout=BUILD_SECONDS_MAX)


def planned():
    """As in suite.py: (model, name)."""
    yield "cards", "realistic"
    yield "cards", "generated"


def run(kind, psybuild, work, report):
    from huggingface_hub.utils import logging
    logging.set_verbosity_error()
    cards = realistic() if kind == "realistic" else generated()
    names = [name for name, _ in cards]
    base = os.path.join(work, "psybuild", "cards", kind)
    shutil.rmtree(base, ignore_errors=True)
    os.makedirs(os.path.join(base, "cards"))
    for name, text in cards:
        with open(os.path.join(base, "cards", name + ".md"), "w", encoding="utf-8", newline="") as file:
            file.write(text)
    result = build(psybuild, base, names)
    found, refused = compare(base, names, result.stdout)
    if result.returncode != (1 if refused else 0):
        found.append(f"psybuild ended with {result.returncode}: {result.stdout[-500:]}")
    if found:
        report.fail(f"cards {kind}", found)
    else:
        report.ok(f"cards {kind}", f"{len(cards) - refused} equal, {refused} refused by both")


def read(path):
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        return file.read()


def compare(base, names, said):
    """A line for each card that differs, and how many both refuse."""
    found, refused = [], 0
    for name in names:
        theirs, why = refer(os.path.join(base, "cards", name + ".md"))
        ours = read(os.path.join(base, "out", name + ".md"))
        refused += theirs is None and ours is None
        words = next((line for line in said.splitlines() if f"cards/{name}.md" in line), None)
        if theirs is None and ours is not None:
            found.append(f"{name}: the reference refuses it ({why}), psybuild does not")
        elif ours is None and words is None:
            found.append(f"{name}: psybuild refuses it without a word")
        elif ours is None and theirs is not None:
            found.append(f"{name}: psybuild refuses it: {words}")
        elif ours != theirs:
            found.append(f"{name}: {first_difference(theirs, ours)}")
    return found, refused


def first_difference(theirs, ours):
    for theirs_line, ours_line in zip(theirs.split(b"\n"), ours.split(b"\n")):
        if theirs_line != ours_line:
            return f"expected {theirs_line!r}, found {ours_line!r}"
    return f"expected {len(theirs)} bytes, found {len(ours)}"
