#!/usr/bin/env python3
"""Does the comparison see what it must? Damages copies of the miniature and looks at what is reported.

Needs the standard library only. The miniature's own files stand for a converted directory: they hold shards, an
index, a config and a tokenizer.
"""
import json
import os
import shutil
import struct
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import compare  # noqa: E402
import snapshot  # noqa: E402
import suite  # noqa: E402

FIRST, LAST = "model-00001-of-00004.safetensors", "model-00004-of-00004.safetensors"


def edit_header(path, change):
    with open(path, "rb") as file:
        content = file.read()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:8 + length])
    change(header)
    text = json.dumps(header, separators=(",", ":")).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + content[8 + length:])


def edit_json(path, change):
    with open(path, encoding="utf-8") as file:
        value = json.load(file)
    change(value)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")


def overwrite(path, position, change):
    with open(path, "r+b") as file:
        file.seek(position, os.SEEK_END if position < 0 else os.SEEK_SET)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([change(byte)]))


class Damage(unittest.TestCase):
    def setUp(self):
        work = tempfile.TemporaryDirectory()
        self.addCleanup(work.cleanup)
        self.theirs, self.ours = os.path.join(work.name, "theirs"), os.path.join(work.name, "ours")
        for directory in (self.theirs, self.ours):
            shutil.copytree(suite.MINIATURE, directory)
            for name in os.listdir(directory):
                if name.startswith("model-"):
                    edit_header(os.path.join(directory, name), lambda header: header.update({"__metadata__": {"format": "mlx"}}))

    def path(self, name):
        return os.path.join(self.ours, name)

    def found(self):
        return compare.snapshots(snapshot.take(self.theirs), snapshot.take(self.ours))

    def assert_found(self, *beginnings):
        found = self.found()
        for beginning in beginnings:
            self.assertTrue(any(line.startswith(beginning) for line in found), f"{beginning!r} is not in {found}")
        self.assertEqual(len(found), len(beginnings), found)

    def test_equal_directories_have_no_difference(self):
        self.assertEqual(self.found(), [])

    def test_a_padded_header_is_no_difference(self):
        with open(self.path(FIRST), "rb") as file:
            content = file.read()
        length = struct.unpack("<Q", content[:8])[0]
        padding = -(8 + length) % 4096
        with open(self.path(FIRST), "wb") as file:
            file.write(struct.pack("<Q", length + padding) + content[8:8 + length] + b" " * padding + content[8 + length:])
        self.assertEqual(self.found(), [])

    def test_a_flipped_bit_is_seen_and_located(self):
        overwrite(self.path(LAST), -1000, lambda byte: byte ^ 0x10)
        self.assert_found("tensor lm_head.weight: other bytes")
        text = suite.elements(self.theirs, self.ours, "lm_head.weight")
        self.assertTrue(text.startswith(f"1 of {1440 * 128} elements differ, the first is {1440 * 128 - 500}: "), text)

    def test_a_missing_tensor_is_seen(self):
        os.remove(self.path(LAST))
        self.assert_found("tensor lm_head.weight is missing", "file " + LAST, "index: lm_head.weight is said to be in")

    def test_a_renamed_tensor_is_seen(self):
        edit_header(self.path(LAST), lambda header: header.update({"head.weight": header.pop("lm_head.weight")}))
        self.assert_found("tensor lm_head.weight is missing", "tensor head.weight is not in the reference",
                          "index: head.weight is said", "index: lm_head.weight is said")

    def test_another_type_is_seen(self):
        edit_header(self.path(LAST), lambda header: header["lm_head.weight"].update({"dtype": "F16"}))
        self.assert_found("tensor lm_head.weight: F16 [1440, 128], reference BF16 [1440, 128]")

    def test_another_shape_is_seen(self):
        edit_header(self.path(LAST), lambda header: header["lm_head.weight"].update({"shape": [128, 1440]}))
        self.assert_found("tensor lm_head.weight: BF16 [128, 1440], reference BF16 [1440, 128]")

    def test_a_shape_that_does_not_fit_is_seen(self):
        edit_header(self.path(LAST), lambda header: header["lm_head.weight"].update({"shape": [128, 1441]}))
        self.assertTrue(any(line.startswith(f"{LAST}: lm_head.weight: bytes 0 to ") for line in self.found()), self.found())

    def test_trailing_bytes_are_seen(self):
        with open(self.path(LAST), "ab") as file:
            file.write(b"\0")
        self.assert_found(f"{LAST}: 1 bytes behind the last tensor")

    def test_a_truncated_file_is_seen(self):
        os.truncate(self.path(LAST), 4)
        self.assertTrue(any(line.startswith(f"{LAST}: header length 0 does not fit") for line in self.found()), self.found())

    def test_other_metadata_is_seen(self):
        edit_header(self.path(LAST), lambda header: header.update({"__metadata__": {"format": "pt"}}))
        self.assert_found(f"{LAST}: metadata")

    def test_a_changed_config_is_seen(self):
        edit_json(self.path("config.json"), lambda config: config.update({"num_hidden_layers": 5}))
        self.assert_found("config.json: .num_hidden_layers: 4 in the reference, 5 in ours")

    def test_a_float_for_an_integer_is_seen(self):
        edit_json(self.path("config.json"), lambda config: config.update({"rope_theta": 1000000.0}))
        self.assert_found("config.json: .rope_theta: 1000000 in the reference, 1000000.0 in ours")

    def test_a_missing_key_is_seen(self):
        edit_json(self.path("config.json"), lambda config: config.pop("rope_scaling"))
        self.assert_found("config.json: .rope_scaling: missing in ours")

    def test_another_order_of_keys_is_seen(self):
        edit_json(self.path("config.json"), lambda config: config.update({"architectures": config.pop("architectures")}))
        self.assert_found("config.json: the same content, but written otherwise from character")

    def test_a_wrong_total_is_seen(self):
        edit_json(self.path("model.safetensors.index.json"), lambda index: index["metadata"].update({"total_size": 1}))
        self.assert_found("index: .metadata.total_size: ")

    def test_an_unsorted_index_is_seen(self):
        def unsort(index):
            index["weight_map"]["lm_head.weight"] = index["weight_map"].pop("lm_head.weight")
        edit_json(self.path("model.safetensors.index.json"), unsort)
        self.assert_found("index: the weight_map is not sorted")

    def test_a_false_index_is_seen(self):
        edit_json(self.path("model.safetensors.index.json"),
                  lambda index: index["weight_map"].update({"lm_head.weight": FIRST}))
        self.assert_found("index: lm_head.weight is said to be in", "index: .weight_map.lm_head.weight: ")

    def test_a_missing_index_is_seen(self):
        os.remove(self.path("model.safetensors.index.json"))
        self.assert_found("model.safetensors.index.json is missing", "file model.safetensors.index.json is missing")

    def test_a_changed_generation_config_is_seen(self):
        edit_json(self.path("generation_config.json"), lambda config: config.update({"temperature": 0.7}))
        self.assert_found("generation_config.json: .temperature: 0.6 in the reference, 0.7 in ours")

    def test_a_surplus_file_is_seen(self):
        with open(self.path("notes.txt"), "w", encoding="ascii") as file:
            file.write("x")
        self.assert_found("file notes.txt is not in the reference")


class Behaviour(unittest.TestCase):
    def test_other_values_are_named(self):
        theirs = {"encode": [[1, 2], [3]], "logits": "ab", "chat user": ["x", [1]]}
        ours = {"encode": [[1, 2], [4]], "logits": "cd", "chat user": ["x"]}
        self.assertEqual(compare.behaviours(theirs, ours), [
            "encode[1][0]: 3 in the reference, 4 in ours", 'logits: "ab" in the reference, "cd" in ours',
            "chat user: 2 items in the reference, 1 in ours"])

    def test_equal_values_are_equal(self):
        self.assertEqual(compare.behaviours({"a": [1, None, float("nan")]}, {"a": [1, None, float("nan")]}), [])

    def test_true_is_not_one(self):
        self.assertEqual(compare.behaviours({"a": 1}, {"a": True}), ["a: 1 in the reference, true in ours"])


if __name__ == "__main__":
    unittest.main()
