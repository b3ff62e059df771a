# SPDX-License-Identifier: Apache-2.0
"""The safetensors format, and tensors over memory that somebody else filled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from hallmark._frameworks import framework, unsupported
from hallmark._values import parse_json

HEADER_MAX = 100_000_000
"""As other readers of the format have it."""

LENGTH = 8
"""Bytes in front of the header, which say how long it is."""


class _Type(NamedTuple):
    size: int
    torch: str
    numpy: Optional[str]  # None: numpy has it not, but ml_dtypes by torch's name


_TYPES = {
    "BOOL": _Type(1, "bool", "bool"),
    "U8": _Type(1, "uint8", "uint8"),
    "I8": _Type(1, "int8", "int8"),
    "F8_E5M2": _Type(1, "float8_e5m2", None),
    "F8_E4M3": _Type(1, "float8_e4m3fn", None),
    "F8_E8M0": _Type(1, "float8_e8m0fnu", None),
    "I16": _Type(2, "int16", "int16"),
    "U16": _Type(2, "uint16", "uint16"),
    "F16": _Type(2, "float16", "float16"),
    "BF16": _Type(2, "bfloat16", None),
    "I32": _Type(4, "int32", "int32"),
    "U32": _Type(4, "uint32", "uint32"),
    "F32": _Type(4, "float32", "float32"),
    "F64": _Type(8, "float64", "float64"),
    "I64": _Type(8, "int64", "int64"),
    "U64": _Type(8, "uint64", "uint64"),
    "C64": _Type(8, "complex64", "complex64"),
}


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies: offsets in the file."""

    dtype: str
    shape: Tuple[int, ...]
    start: int
    end: int

    @property
    def item_size(self) -> int:
        return _TYPES[self.dtype].size


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself, tensors in the order of their places."""

    tensors: Dict[str, Tensor]
    metadata: Dict[str, str]


def header_length(first: bytes, size: int) -> int:
    """The header's length from the file's first bytes."""
    if len(first) < LENGTH:
        unsupported("no safetensors file: it is too short")
    length = int.from_bytes(first[:LENGTH], "little")
    if length > HEADER_MAX or length > size - LENGTH:
        unsupported(f"no safetensors file: a header of {length} bytes in a file of {size}")
    return length


def parse_header(text: bytes, size: int) -> Header:
    """Takes what the format allows, and nothing else: every tensor inside the file, as many bytes
    as its shape needs, none shared by two and none left over."""
    try:
        parsed = parse_json(text.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        unsupported(f"no safetensors file: its header: {error}")
    if not isinstance(parsed, dict):
        unsupported("no safetensors file: its header is no object")
    metadata = parsed.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        unsupported("no safetensors file: its metadata are not texts")
    first = LENGTH + len(text)
    tensors = [(name, _tensor(name, entry, first, size)) for name, entry in parsed.items()]
    tensors.sort(key=lambda item: (item[1].start, item[1].end))
    at = first
    for name, tensor in tensors:
        if tensor.start != at:
            unsupported(f"no safetensors file: tensor {name!r} is not where the one before ends")
        at = tensor.end
    if at != size:
        unsupported(f"no safetensors file: its tensors end at {at}, the file at {size}")
    return Header(dict(tensors), metadata)


def _no_duplicates(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _elements(shape: List[int], most: int) -> int:
    """How many elements a shape has; of more than there can be, only that they are more: the
    product of many large numbers takes minutes."""
    count = 0 if 0 in shape else 1
    for each in shape:
        count *= each
        if count > most:
            break
    return count


def _tensor(name: str, entry: Any, first: int, size: int) -> Tensor:
    members = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = (members.get(key) for key in ("dtype", "shape", "data_offsets"))
    if (
        not isinstance(dtype, str)
        or not isinstance(shape, list)
        or not all(_whole(n) for n in shape)
        or not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(_whole(n) for n in offsets)
    ):
        unsupported(f"no safetensors file: what it says of tensor {name!r}")
    if dtype not in _TYPES:
        unsupported(f"tensor {name!r} is of type {dtype!r}, which is not handled")
    start, end = offsets
    if end - start != _elements(shape, size) * _TYPES[dtype].size:
        unsupported(f"no safetensors file: tensor {name!r} has not the size of its shape")
    return Tensor(dtype, tuple(shape), first + start, first + end)


# ---- tensors ------------------------------------------------------------------------------------


def make(kind: str, dtype: str, shape: Tuple[int, ...], memory: memoryview) -> Any:
    """A tensor over just this memory, which is writable and lives as long as the tensor."""
    return _torch(dtype, shape, memory) if kind == "pt" else _numpy(dtype, shape, memory)


def _torch(dtype: str, shape: Tuple[int, ...], memory: memoryview) -> Any:
    torch = framework("torch")
    kind = getattr(torch, _TYPES[dtype].torch, None)
    if kind is None:
        unsupported(f"torch {torch.__version__} has no {_TYPES[dtype].torch}")
    if len(memory) == 0:
        return torch.empty(shape, dtype=kind, device="cpu")  # as below, whatever the default is
    return torch.frombuffer(memory, dtype=kind).reshape(shape)


def _numpy(dtype: str, shape: Tuple[int, ...], memory: memoryview) -> Any:
    numpy = framework("numpy")
    name = _TYPES[dtype].numpy
    try:
        kind = name or getattr(framework("ml_dtypes"), _TYPES[dtype].torch)
    except (ImportError, AttributeError):
        unsupported(f"numpy has no {_TYPES[dtype].torch}", "install ml_dtypes")
    return numpy.frombuffer(memory, dtype=kind).reshape(shape)
