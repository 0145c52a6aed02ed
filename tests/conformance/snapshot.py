"""What a model directory holds, as a value that JSON can keep: one hash per tensor, the small files whole.

Two snapshots are compared, never two directories, so that the reference's outputs need not be kept.
The standard library suffices here. The bytes are read with plain reads and parsed as the safetensors format
demands, so that a file that another reader would forgive is still reported.
"""
import glob
import hashlib
import json
import os
import struct

VERSION = 1  # raise it when a snapshot holds something else: cached ones are then made again
ELEMENT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U64": 8, "I32": 4, "U32": 4,
                 "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1}
TEXTS = ("config.json", "generation_config.json", "README.md", "chat_template.jinja")


class Shard:
    """One safetensors file. problems says in words what the format does not allow."""

    def __init__(self, path):
        self.path, self.problems, self.tensors, self.metadata = path, [], {}, None
        self.size = os.path.getsize(path)
        with open(path, "rb") as file:
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
            if not 2 <= length <= self.size - 8:
                self.problems.append(f"header length {length} does not fit a file of {self.size} bytes")
                return
            text = file.read(length)
        self.data_start = 8 + length
        if not text.startswith(b"{"):
            self.problems.append("the header does not begin with {")
        try:
            pairs = json.loads(text, object_pairs_hook=list)
            header = json.loads(text)
        except ValueError as error:
            self.problems.append(f"the header is no JSON: {error}")
            return
        if len(pairs) != len(header):
            self.problems.append("the header names a tensor twice")
        self.metadata = header.pop("__metadata__", None)
        for name, entry in header.items():
            self.add(name, entry)
        end = 0
        for name, (_, _, begin, tensor_end) in sorted(self.tensors.items(), key=lambda item: item[1][2:]):
            if begin != end:
                self.problems.append(f"{'overlap' if begin < end else 'gap'} before {name}")
            end = max(end, tensor_end)
        if self.data_start + end != self.size:
            self.problems.append(f"{self.size - self.data_start - end} bytes behind the last tensor")

    def add(self, name, entry):
        if set(entry) != {"dtype", "shape", "data_offsets"} or entry["dtype"] not in ELEMENT_BYTES:
            self.problems.append(f"{name}: {json.dumps(entry)}")
            return
        begin, end = entry["data_offsets"]
        size = ELEMENT_BYTES[entry["dtype"]]
        for dimension in entry["shape"]:
            size *= dimension
        if end - begin != size or begin < 0 or self.data_start + end > self.size:
            self.problems.append(f"{name}: bytes {begin} to {end} for {entry['dtype']} {entry['shape']}")
            return
        self.tensors[name] = (entry["dtype"], entry["shape"], begin, end)

    def read(self, name):
        _, _, begin, end = self.tensors[name]
        with open(self.path, "rb") as file:
            file.seek(self.data_start + begin)
            return file.read(end - begin)

    def digest(self, name):
        _, _, begin, end = self.tensors[name]
        hasher = hashlib.sha256()
        with open(self.path, "rb") as file:
            file.seek(self.data_start + begin)
            while begin < end:
                block = file.read(min(end - begin, 1 << 22))
                hasher.update(block)
                begin += len(block)
        return hasher.hexdigest()


def shards(directory):
    return [Shard(path) for path in sorted(glob.glob(os.path.join(directory, "model*.safetensors")))]


def read_tensor(directory, name):
    """The bytes of one tensor and the size of its elements, to say where two directories differ."""
    for shard in shards(directory):
        if name in shard.tensors:
            return shard.read(name), ELEMENT_BYTES[shard.tensors[name][0]]
    raise KeyError(name)


def read_text(path):
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def take(directory):
    tensors, problems, metadata = {}, [], {}
    for shard in shards(directory):
        name = os.path.basename(shard.path)
        metadata[name] = shard.metadata
        problems += [f"{name}: {problem}" for problem in shard.problems]
        for key, (dtype, shape, _, _) in shard.tensors.items():
            if key in tensors:
                problems.append(f"{key} is in {tensors[key]['file']} and in {name}")
            tensors[key] = {"dtype": dtype, "shape": shape, "sha256": shard.digest(key), "file": name}
    index = read_text(os.path.join(directory, "model.safetensors.index.json"))
    files = [os.path.relpath(os.path.join(folder, name), directory).replace(os.sep, "/")
             for folder, _, names in os.walk(directory) for name in names]
    return {"version": VERSION, "files": sorted(files), "tensors": tensors, "problems": problems, "metadata": metadata,
            "texts": {name: read_text(os.path.join(directory, name)) for name in TEXTS},
            "index": json.loads(index) if index is not None else None}
