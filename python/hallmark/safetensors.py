# SPDX-License-Identifier: Apache-2.0
"""Weights in safetensors files: signed when they are saved, verified before they are loaded, and
used where they lie in the verified memory."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any, BinaryIO, Dict, List, Mapping, Optional, Tuple, Type, Union

from hallmark import _tensors
from hallmark._frameworks import framework, opening, unsupported, write_and_sign
from hallmark._model import Model
from hallmark._policy import Policy
from hallmark._report import Report
from hallmark._signer import Signer
from hallmark._values import Passphrase, Progress, StrPath, StrPaths, usage

__all__ = ["TensorSlice", "load_file", "safe_open", "save_file"]

_SUFFIX = ".safetensors"


def save_file(
    tensors: Mapping[str, Any],
    path: StrPath,
    key: Union[StrPath, Signer],
    *,
    file_metadata: Optional[Mapping[str, str]] = None,
    framework: str = "pt",
    passphrase: Passphrase = None,
    signature: Optional[StrPath] = None,
    hash: Optional[str] = None,
    shard_size: Optional[int] = None,
    signer_id: Optional[str] = None,
    key_version: Optional[int] = None,
    metadata: Union[Mapping[str, object], StrPath, None] = None,
    jobs: Optional[int] = None,
    progress: Progress = None,
) -> Report:
    """Saves tensors by the safetensors package, whole or not at all, and signs the file.

    :param tensors: names and tensors.
    :param path: the file.
    :param key: a private key, as for `hallmark.sign`; so are the others.
    :param file_metadata: texts that go into the file itself, such as ``{"format": "pt"}``.
    :param framework: ``pt`` for tensors of torch, ``np`` for arrays of numpy.
    :param shard_size: one digest per shard of so many bytes, so that `safe_open` can read parts.
    """
    save = _library("safetensors.torch" if _kind(framework) == "pt" else "safetensors.numpy").save
    texts = dict(file_metadata) if file_metadata is not None else None

    def write(file: BinaryIO) -> None:
        file.write(save(dict(tensors), metadata=texts))

    return write_and_sign(
        write,
        path,
        key,
        passphrase=passphrase,
        signature=signature,
        format=None,
        hash=hash,
        shard_size=shard_size,
        signer_id=signer_id,
        key_version=key_version,
        metadata=metadata,
        jobs=jobs,
        progress=progress,
    )


def load_file(
    model: Union[StrPath, Model],
    policy: Union[Policy, StrPath, None] = None,
    *,
    file: Optional[StrPath] = None,
    framework: str = "pt",
    device: Any = "cpu",
    key: Optional[StrPaths] = None,
    signature: Optional[StrPaths] = None,
    name: Optional[StrPath] = None,
    jobs: Optional[int] = None,
    progress: Progress = None,
) -> Dict[str, Any]:
    """Verifies weights and returns all tensors by their names.

    Tensors in main memory are not copied: they lie in the verified memory. What is written to them
    is written to pages of one's own.

    :param model: a file; a directory, of which all ``.safetensors`` files beside each other are
        loaded, unless `file` names one; or an open `hallmark.Model`.
    :param framework: ``pt`` for tensors of torch, ``np`` for arrays of numpy.
    :param device: where torch puts the tensors.
    :param policy: as for `hallmark.open`; so are the others.
    :raises UnsupportedError: what is signed is no safetensors file.
    """
    kind = _kind(framework)
    tensors: Dict[str, Any] = {}
    with opening(model, policy, key, signature, name, jobs, progress) as opened:
        files = [file] if file is not None else _files(opened)
        if len(files) > 1:
            opened.load(*files, progress=progress)  # side by side
        for each in files:
            for tensor, value in _Whole(opened, each, progress).all(kind, device).items():
                if tensor in tensors:
                    unsupported(f"tensor {tensor!r} is in two files")
                tensors[tensor] = value
    return tensors


def _files(model: Model) -> List[StrPath]:
    if len(model) == 1:
        return list(model.names())
    found: List[StrPath] = [
        each for each in model.names() if each.endswith(_SUFFIX) and "/" not in each
    ]
    if not found:
        usage("the model has no safetensors file; name it")
    return found


def _kind(framework: str) -> str:
    kinds = {"pt": "pt", "torch": "pt", "pytorch": "pt", "np": "np", "numpy": "np"}
    if framework not in kinds:
        usage(f"framework must be pt or np, not {framework!r}")
    return kinds[framework]


def _library(name: str) -> Any:
    return framework(name)


def _placed(kind: str, device: Any, tensor: Any) -> Any:
    return tensor if kind == "np" or str(device) == "cpu" else tensor.to(device)


# ---- where tensors come from --------------------------------------------------------------------


class _Whole:
    """A file that is verified whole."""

    def __init__(self, model: Model, file: Optional[StrPath], progress: Progress = None) -> None:
        memory = model.private_buffer(file, progress)
        length = _tensors.header_length(bytes(memory[: _tensors.LENGTH]), len(memory))
        text = bytes(memory[_tensors.LENGTH : _tensors.LENGTH + length])
        self.header = _tensors.parse_header(text, len(memory))
        self._memory = memory

    def take(self, start: int, end: int) -> memoryview:
        return self._memory[start:end]

    def all(self, kind: str, device: Any) -> Dict[str, Any]:
        return {
            name: _placed(kind, device, _make(kind, each, self.take(each.start, each.end)))
            for name, each in self.header.tensors.items()
        }


class _Parts:
    """A file of which only the shards that are needed are read and verified."""

    def __init__(self, model: Model, file: Optional[StrPath]) -> None:
        self._model = model
        self._file = file
        size = model.size(file)
        first = bytes(self.take(0, min(_tensors.LENGTH, size)))
        length = _tensors.header_length(first, size)
        text = bytes(self.take(_tensors.LENGTH, _tensors.LENGTH + length))
        self.header = _tensors.parse_header(text, size)

    def take(self, start: int, end: int) -> memoryview:
        return self._model.part(start, end, self._file)


def _make(kind: str, tensor: _tensors.Tensor, memory: memoryview) -> Any:
    if tensor.start % tensor.item_size != 0:
        # Kernels may count on it that an item does not lie across its own size.
        memory = memoryview(bytearray(memory))
    return _tensors.make(kind, tensor.dtype, tensor.shape, memory)


class TensorSlice:
    """A tensor of which parts can be had: ``slice[start:end]`` along the first axis reads no more
    than these rows; other indices are applied to what was read."""

    def __init__(
        self, source: Union[_Whole, _Parts], tensor: _tensors.Tensor, kind: str, device: Any
    ) -> None:
        self._source = source
        self._tensor = tensor
        self._kind = kind
        self._device = device

    def get_shape(self) -> List[int]:
        """The whole tensor's shape."""
        return list(self._tensor.shape)

    def get_dtype(self) -> str:
        """The type of its elements, such as ``F32`` or ``BF16``."""
        return self._tensor.dtype

    def __getitem__(self, index: Any) -> Any:
        indices: Tuple[Any, ...] = index if isinstance(index, tuple) else (index,)
        first = indices[0] if indices else Ellipsis
        shape = self._tensor.shape
        start, end = 0, shape[0] if shape else 1
        if shape and isinstance(first, slice) and first.step in (None, 1):
            start, end, _ = first.indices(end)
            end = max(start, end)
            indices = (slice(None), *indices[1:])
        elif shape and isinstance(first, int) and not isinstance(first, bool):
            if not -end <= first < end:
                raise IndexError(f"index {first} is out of range for {end} rows")
            start = first % end
            end = start + 1
            indices = (0, *indices[1:])
        rows = self._rows(start, end)
        return _placed(self._kind, self._device, rows[indices])

    def _rows(self, start: int, end: int) -> Any:
        tensor = self._tensor
        shape = (end - start, *tensor.shape[1:]) if tensor.shape else ()
        row = (tensor.end - tensor.start) // max(tensor.shape[0], 1) if tensor.shape else 0
        first = tensor.start + start * row
        last = tensor.start + end * row if tensor.shape else tensor.end
        part = _tensors.Tensor(tensor.dtype, shape, first, last)
        return _make(self._kind, part, self._source.take(first, last))


class safe_open:
    """Opens a safetensors file, verified, for single tensors. Where the signature has shards, only
    those that hold the tensors asked for are read and verified; a bad one is an `IntegrityError`
    that names it. Use it in a ``with`` statement.

    :param model: a file; or a directory, or an open `hallmark.Model`, and then `file`.
    :param framework: ``pt`` for tensors of torch, ``np`` for arrays of numpy.
    :param device: where torch puts the tensors.
    :param lazy: false: verify the whole file at first, and copy nothing of it.
    :param policy: as for `hallmark.open`; so are the others.
    """

    def __init__(
        self,
        model: Union[StrPath, Model],
        framework: str = "pt",
        device: Any = "cpu",
        *,
        policy: Union[Policy, StrPath, None] = None,
        file: Optional[StrPath] = None,
        lazy: bool = True,
        key: Optional[StrPaths] = None,
        signature: Optional[StrPaths] = None,
        name: Optional[StrPath] = None,
        jobs: Optional[int] = None,
        progress: Progress = None,
    ) -> None:
        self._kind = _kind(framework)
        self._device = device
        with ExitStack() as stack:
            opened = stack.enter_context(
                opening(model, policy, key, signature, name, jobs, progress)
            )
            self._source: Union[_Whole, _Parts] = (
                _Parts(opened, file)
                if lazy and opened.lazy(file)
                else _Whole(opened, file, progress)
            )
            self._stack = stack.pop_all()

    def keys(self) -> List[str]:
        """The names of the tensors, sorted."""
        return sorted(self._source.header.tensors)

    def offset_keys(self) -> List[str]:
        """The names of the tensors, in the order in which they lie in the file."""
        return list(self._source.header.tensors)

    def metadata(self) -> Optional[Dict[str, str]]:
        """The texts in the file's header."""
        return dict(self._source.header.metadata) or None

    def _tensor(self, name: str) -> _tensors.Tensor:
        try:
            return self._source.header.tensors[name]
        except KeyError:
            raise KeyError(f"no tensor of that name: {name!r}") from None

    def get_tensor(self, name: str) -> Any:
        """A tensor."""
        tensor = self._tensor(name)
        memory = self._source.take(tensor.start, tensor.end)
        return _placed(self._kind, self._device, _make(self._kind, tensor, memory))

    def get_tensors(self) -> Dict[str, Any]:
        """All tensors by their names."""
        return {name: self.get_tensor(name) for name in self.offset_keys()}

    def get_slice(self, name: str) -> TensorSlice:
        """A tensor of which parts can be had."""
        return TensorSlice(self._source, self._tensor(name), self._kind, self._device)

    def close(self) -> None:
        """Ends the model, if it was opened here. Tensors stay good."""
        self._stack.close()

    def __enter__(self) -> safe_open:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()
