# SPDX-License-Identifier: Apache-2.0
"""The models that are measured, and their way into and out of the page cache."""

import dataclasses
import json
import os
import pathlib
import random
import shutil

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
CHUNK = 4 * MIB
FILES_IN_A_FOLDER = 100
TENSORS = 64  # of the safetensors file
DROP_CACHES = pathlib.Path("/proc/sys/vm/drop_caches")


@dataclasses.dataclass(frozen=True)
class Model:
    name: str
    path: pathlib.Path
    files: int
    file_size: int

    @property
    def bytes(self) -> int:
        return self.files * self.file_size

    def file(self, index: int) -> pathlib.Path:
        """Weights side by side; thousands of files in folders."""
        if self.files <= FILES_IN_A_FOLDER:
            return self.path / f"weights-{index:02}.bin"
        return self.path / f"part-{index // FILES_IN_A_FOLDER:03}" / f"{index:05}.bin"

    def all_files(self) -> list[pathlib.Path]:
        return [self.file(index) for index in range(self.files)]

    def describe(self) -> str:
        if self.files == 1:
            return f"one file of {size_text(self.file_size)}"
        return f"{self.files:,} files of {size_text(self.file_size)}"


def size_text(size: int) -> str:
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} bytes"


def plan(folder: pathlib.Path, big: int, small_files: int) -> dict[str, Model]:
    """`big` bytes in one file, and again in 64."""
    shapes = {
        "one": (1, big),
        "many": (64, big // 64),
        "small": (small_files, 16 * KIB),
        "tiny": (1, MIB),
        "weights": (1, big),
    }
    return {name: Model(name, folder / name, files, size) for name, (files, size) in shapes.items()}


def safetensors_header(size: int) -> bytes:
    """Of a file of so many bytes, with tensors of the same size in it."""
    length = 8 * KIB  # padded with spaces, so that the rest divides
    each = (size - 8 - length) // TENSORS // 4 * 4
    length += size - 8 - length - each * TENSORS
    tensors = {
        f"layer.{i:02}": {
            "dtype": "F32", "shape": [each // 4], "data_offsets": [i * each, (i + 1) * each]
        }
        for i in range(TENSORS)
    }  # fmt: skip
    return length.to_bytes(8, "little") + json.dumps(tensors).encode().ljust(length)


def write_file(path: pathlib.Path, size: int, rng: random.Random, first: bytes = b"") -> None:
    with open(path, "wb") as out:
        out.write(first)
        for start in range(len(first), size, CHUNK):
            out.write(rng.randbytes(min(CHUNK, size - start)))


def marker_of(model: Model) -> tuple[pathlib.Path, str]:
    """Beside the model, once it is whole: what it was made as."""
    recipe = json.dumps({"files": model.files, "file_size": model.file_size})
    return model.path.with_suffix(".json"), recipe


def made(model: Model) -> bool:
    marker, recipe = marker_of(model)
    return marker.exists() and marker.read_text() == recipe


def make(model: Model) -> None:
    """Random bytes, the same ones every time. A model that is there already stays as it is."""
    if made(model):
        return
    marker, recipe = marker_of(model)
    print(f"making {model.path}: {model.describe()}", flush=True)
    shutil.rmtree(model.path, ignore_errors=True)
    marker.unlink(missing_ok=True)
    rng = random.Random(model.name)
    for path in model.all_files():
        path.parent.mkdir(parents=True, exist_ok=True)
        first = safetensors_header(model.file_size) if model.name == "weights" else b""
        write_file(path, model.file_size, rng, first)
    os.sync()  # what is still to be written cannot be dropped from the cache
    marker.write_text(recipe)


def warm(model: Model) -> None:
    """Reads all of it, so that it is in the page cache."""
    buffer = bytearray(MIB)
    for path in model.all_files():
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def can_drop_caches() -> bool:
    return os.access(DROP_CACHES, os.W_OK)


def cool(model: Model) -> None:
    """Out of the page cache: of the whole system's where allowed, else of these files."""
    if can_drop_caches():
        DROP_CACHES.write_text("3\n")
        return
    for path in model.all_files():
        with open(path, "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
