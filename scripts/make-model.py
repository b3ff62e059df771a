#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: make-model.py FOLDER [--bytes N] [--seed N]

Writes a small model as trainers save them: weights in safetensors, config.json, tokenizer.json.
The same seed gives the same bytes. Standard library only.
"""

import argparse
import array
import json
import pathlib
import random
import struct
import sys


def tensors(rng, total_bytes):
    """Names, shapes and float32 data of a two-layer classifier of about that size."""
    hidden = 256
    vocabulary = max(1, (total_bytes // 4 - 2 * hidden * hidden) // hidden)
    shapes = {
        "embedding.weight": [vocabulary, hidden],
        "layers.0.weight": [hidden, hidden],
        "layers.0.bias": [hidden],
        "layers.1.weight": [hidden, hidden],
        "layers.1.bias": [hidden],
        "classifier.weight": [2, hidden],
        "classifier.bias": [2],
    }
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        # Random mantissas under one exponent: values from 0.0078 to 0.0156, either sign.
        words = array.array("I", rng.randbytes(4 * count))
        for index, word in enumerate(words):
            words[index] = (word & 0x807FFFFF) | 0x3C000000
        if sys.byteorder == "big":
            words.byteswap()
        yield name, shape, words.tobytes()


def write_safetensors(path, named_tensors, metadata):
    """safetensors: length of the header (8 bytes, little-endian), header as JSON, data."""
    header, chunks, offset = {"__metadata__": metadata}, [], 0
    for name, shape, data in named_tensors:
        header[name] = {
            "dtype": "F32",
            "shape": shape,
            "data_offsets": [offset, offset + len(data)],
        }
        chunks.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)))
        out.write(text)
        out.writelines(chunks)


def write_model(folder, total_bytes=8_000_000, seed=1):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    rng = random.Random(seed)
    named = list(tensors(rng, total_bytes))
    write_safetensors(folder / "model.safetensors", named, {"format": "pt"})
    config = {
        "architectures": ["ThreatClassifier"],
        "hidden_size": 256,
        "num_hidden_layers": 2,
        "num_labels": 2,
        "torch_dtype": "float32",
        "vocab_size": named[0][1][0],
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    words = {f"token{number:05}": number for number in range(1000)}
    tokenizer = {"version": "1.0", "model": {"type": "WordLevel", "vocab": words}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[2])
    parser.add_argument("folder")
    parser.add_argument("--bytes", type=int, default=8_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    write_model(options.folder, options.bytes, options.seed)


if __name__ == "__main__":
    main()
