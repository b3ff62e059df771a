# SPDX-License-Identifier: Apache-2.0
"""Verified models: bytes that nobody can change between the check and their use."""

from __future__ import annotations

import ctypes
import io
import mmap
import operator
import os
import shutil
import threading
from contextlib import contextmanager
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    BinaryIO,
    Callable,
    Dict,
    Iterable,
    Iterator,
    Mapping,
    NoReturn,
    Optional,
    Tuple,
    Type,
    Union,
    cast,
)

from hallmark import _core, _places
from hallmark._policy import Policy, policy_of
from hallmark._report import Report
from hallmark._values import (
    Progress,
    StrPath,
    StrPaths,
    jobs_of,
    optional_path,
    path,
    paths,
    telling,
    usage,
)
from hallmark._verbs import _logged, _not_verified, _told

_LAZY_BUFFER = 64 * 1024
_PAGES_FROM = 1 << 20  # bytes: memory of so much comes from the system, untouched

if TYPE_CHECKING:
    _Buffer = Any  # what supports the buffer protocol; collections.abc.Buffer is of Python 3.12


class _Reader(io.RawIOBase):
    """Reads a file of a view; what it hands out was verified before."""

    def __init__(self, view: _core._View, index: int, size: int, name: str) -> None:
        super().__init__()
        self._view = view
        self._index = index
        self._size = size
        self._at = 0
        self.name = name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}.get(whence)
        if start is None or start + offset < 0:
            raise ValueError(f"no place to seek to: {offset} ({whence})")
        self._at = start + offset
        return self._at

    def readall(self) -> bytes:
        # All at once: what RawIOBase does is to ask for 8 KiB and 8 KiB.
        if self.closed:
            raise ValueError("I/O operation on closed file")
        start = min(self._at, self._size)
        found = bytes(_memory_of(self._view, self._index, start, self._size))
        self._at += len(found)
        return found

    def readinto(self, buffer: _Buffer) -> int:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        with memoryview(buffer).cast("B") as target:
            count = max(min(len(target), self._size - self._at), 0)
            if count > 0:
                _read_into(self._view, self._index, self._at, target[:count])
        self._at += count
        return count


def _read_into(
    view: _core._View,
    index: int,
    offset: int,
    target: memoryview,
    flags: int = 0,
    progress: Optional[Callable[[int, int], object]] = None,
) -> None:
    """Fills writable memory, which ctypes holds while the core writes to it."""
    held = ctypes.c_char.from_buffer(target)
    address = ctypes.addressof(held)
    _core.view_read(view, index, offset, address, target.nbytes, flags, progress)


def _memory_of(
    view: _core._View,
    index: int,
    start: int,
    end: int,
    progress: Optional[Callable[[int, int], object]] = None,
) -> memoryview:
    """Verified bytes of a file in memory of their own."""
    length = end - start
    if length == 0:
        return memoryview(bytearray())
    if length < _PAGES_FROM:
        memory = memoryview(bytearray(length))
        _read_into(view, index, start, memory, 0, progress)
    else:
        memory = memoryview(mmap.mmap(-1, length, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        _read_into(view, index, start, memory, _core.VIEW_UNTOUCHED, progress)
    return memory


class Model(Mapping[str, bytes]):
    """A verified model whose bytes nobody can change any more, made by `hallmark.open`.

    Each file is in sealed memory that was filled by the one reading that also verified it. A file
    is read when it is first asked for. It is a read-only mapping of names to contents, and a
    context manager; may be used by several threads, and after a fork in which none of them was in
    a call.

    Where a model is a single file, its name may be left out everywhere.
    """

    def __init__(self, view: _core._View, report: Report) -> None:
        self._view: Optional[_core._View] = view
        self._report = report
        self._lock = threading.RLock()
        self._maps: Dict[int, mmap.mmap] = {}
        self._descriptors: Dict[int, int] = {}
        self._files = _core.view_files(view)
        self._indices = {os.fsdecode(file[0]): i for i, file in enumerate(self._files)}

    # ---- what there is ----

    @property
    def report(self) -> Report:
        """What was verified, and by whom it was signed. Contents of files that were not asked for
        yet are not among what was verified."""
        return self._report

    def names(self) -> Tuple[str, ...]:
        """The names of all files, relative to the model, with ``/`` between folders; sorted."""
        return tuple(self._indices)

    def size(self, name: Optional[StrPath] = None) -> int:
        """The size of a file in bytes."""
        return self._files[self._index(name)][1]

    def lazy(self, name: Optional[StrPath] = None) -> bool:
        """Whether parts of a file can be verified alone: the signature has shards."""
        return self._files[self._index(name)][2]

    def _index(self, name: Optional[StrPath]) -> int:
        if name is None:
            if len(self._files) != 1:
                usage(f"say which file: the model has {len(self._files)}")
            return 0
        try:
            return self._indices[os.fsdecode(name)]
        except (KeyError, TypeError):
            raise KeyError(f"no file of that name is signed: {name!r}") from None

    # ---- contents ----

    def load(self, *names: StrPath, progress: Progress = None) -> None:
        """Reads and verifies files now, which is faster for many than one after the other.

        :param names: the files; all when none is named.
        :param progress: as for `hallmark.sign`.
        :raises IntegrityError: a file is not what was signed. Nothing of these files is handed out.
        :raises UndecidedError: I/O errors, or there is too little memory: the message says how much
            is needed.
        """
        indices = [self._index(name) for name in names] or range(len(self._files))
        with telling(progress) as tell:
            self._load(tuple(indices), tell)

    def _load(self, indices: Tuple[int, ...], tell: Any = None) -> None:
        with _logged("load", self._report.path), self._lock:
            _core.view_load(self._opened(), indices, tell)

    def _opened(self) -> _core._View:
        if self._view is None:
            raise ValueError("the model is closed")
        return self._view

    def _descriptor(self, index: int, progress: Progress = None) -> int:
        """A new descriptor of a file's sealed memory."""
        with self._lock, telling(progress) as tell:
            self._load((index,), tell)
            return _core.view_fd(self._opened(), index)

    def buffer(self, name: Optional[StrPath] = None) -> memoryview:
        """A file's bytes, without a copy: read-only, mapped from the sealed memory, and good for as
        long as it is referred to, also when the model is closed."""
        index = self._index(name)
        with self._lock:
            self._opened()
            if self._files[index][1] == 0:
                self._load((index,))
                return memoryview(b"")
            if index not in self._maps:
                self._maps[index] = self._map(index, mmap.ACCESS_READ)
            return memoryview(self._maps[index])

    def _map(self, index: int, access: int) -> mmap.mmap:
        descriptor = self._descriptor(index)
        try:
            return mmap.mmap(descriptor, self._files[index][1], access=access)
        finally:
            os.close(descriptor)

    def private_buffer(
        self, name: Optional[StrPath] = None, progress: Progress = None
    ) -> memoryview:
        """A file's bytes like `buffer`, but writable, as frameworks want them for tensors, and for
        this caller alone: each call gives memory of its own. Of a file that is loaded it is mapped,
        and pages that are written to become copies; any other is read, and verified, right there.

        :param progress: as for `hallmark.sign`.
        """
        index = self._index(name)
        size = self._files[index][1]
        if size == 0:
            self._load((index,))
            return memoryview(bytearray())
        if _core.view_loaded(self._opened(), index):
            return memoryview(self._map(index, mmap.ACCESS_COPY))
        return self._read(index, 0, size, progress)

    def part(self, start: int, end: int, name: Optional[StrPath] = None) -> memoryview:
        """Bytes of a file, from `start` to before `end`, as writable memory of the caller's own.
        Where there are shards, only those that hold these bytes are read and verified."""
        index = self._index(name)
        first, last = operator.index(start), operator.index(end)
        self._check_range(index, first, last)
        return self._read(index, first, last, None)

    def _read(self, index: int, start: int, end: int, progress: Progress) -> memoryview:
        with _logged("load", self._report.path), telling(progress) as tell:
            return _memory_of(self._opened(), index, start, end, tell)

    def _check_range(self, index: int, start: int, end: int) -> None:
        if not 0 <= start <= end <= self._files[index][1]:
            raise ValueError("beyond the end of the file")

    def read(self, name: Optional[StrPath] = None) -> bytes:
        """A file's bytes, as a copy."""
        return bytes(self.buffer(name))

    def open(
        self, name: Optional[StrPath] = None, *, lazy: bool = False, progress: Progress = None
    ) -> BinaryIO:
        """A file to read from, with an offset of its own; it outlives the model.

        :param lazy: read and verify shards when they are first needed, not the whole file now. Of a
            file without shards (`lazy`) the whole is verified all the same.
        :param progress: as for `hallmark.sign`; of what is read now.
        :raises IntegrityError: the file, or a shard, is not what was signed. With `lazy` it is
            reading that raises.
        """
        index = self._index(name)
        if lazy and self._files[index][2]:
            reader = _Reader(self._opened(), index, self._files[index][1], self._name(index))
            return cast(BinaryIO, io.BufferedReader(reader, _LAZY_BUFFER))
        return os.fdopen(self._descriptor(index, progress), "rb")

    def _name(self, index: int) -> str:
        return os.fsdecode(self._files[index][0])

    def read_into(self, target: _Buffer, name: Optional[StrPath] = None, offset: int = 0) -> None:
        """Fills writable memory with bytes of a file, from `offset` on. Where there are shards,
        only those that hold these bytes are read and verified."""
        index, first = self._index(name), operator.index(offset)
        with memoryview(target).cast("B") as bytes_:
            self._check_range(index, first, first + len(bytes_))
            if len(bytes_) > 0:
                with _logged("load", self._report.path):
                    _read_into(self._opened(), index, first, bytes_)

    def path(self, name: Optional[StrPath] = None) -> str:
        """A path under which this process, with all its threads, can open the verified bytes while
        the model is open: ``/proc/self/fd/N``. It can be read and mapped, not written to.

        In another process the same path is another file. A child made by a fork has it too; for
        other programs there is `directory`.
        """
        return f"/proc/self/fd/{self._kept(self._index(name))}"

    def _kept(self, index: int) -> int:
        with self._lock:
            self._opened()
            if index not in self._descriptors:
                self._descriptors[index] = self._descriptor(index)
            return self._descriptors[index]

    @contextmanager
    def directory(
        self, names: Optional[Iterable[StrPath]] = None, *, progress: Progress = None
    ) -> Iterator[str]:
        """A directory for code that wants one: links with the files' names that lead to the
        verified memory. It is for this user alone, and gone at the end of the ``with`` block; no
        other user can make another at its path while this process runs.

        Whoever can act as this user can change the links, as that one can change this process.

        :param names: the files that are wanted, all of which are loaded at once; by default all.
        :param progress: as for `hallmark.sign`.
        """
        wanted = self.names() if names is None else tuple(os.fsdecode(each) for each in names)
        if wanted:
            self.load(*wanted, progress=progress)
        place = _places.make()
        try:
            for name in wanted:
                # By the number of the process: to another one, /proc/self would be its own files.
                target = f"/proc/{os.getpid()}/fd/{self._kept(self._index(name))}"
                link = os.path.join(place, name)
                os.makedirs(os.path.dirname(link), mode=0o700, exist_ok=True)
                os.symlink(target, link)
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    # ---- a mapping ----

    def __getitem__(self, name: StrPath) -> bytes:
        return self.read(name)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, (str, bytes, os.PathLike)):
            return False
        return os.fsdecode(name) in self._indices

    def __iter__(self) -> Iterator[str]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    # ---- its life ----

    def close(self) -> None:
        """Ends the model. Buffers and open files that it gave stay good; paths do not."""
        with self._lock:
            self._view = None
            self._maps.clear()
            descriptors, self._descriptors = self._descriptors, {}
        for descriptor in descriptors.values():
            os.close(descriptor)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._view is None

    def __enter__(self) -> Model:
        self._opened()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_indices"):
            self.close()

    def __reduce__(self) -> NoReturn:
        # A copy would share the descriptors, and close them when it ends.
        raise TypeError("a model cannot be copied or pickled: its memory is this process's")

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self)} files"
        return f"<hallmark.Model: {self._report.path!r}, {state}>"


def open(
    model: StrPath,
    policy: Union[Policy, StrPath, None] = None,
    *,
    key: Optional[StrPaths] = None,
    signature: Optional[StrPaths] = None,
    name: Optional[StrPath] = None,
    provenance: Optional[StrPath] = None,
    ignore: Optional[StrPaths] = None,
    include_git: bool = False,
    ignore_unsigned: bool = False,
    strict_paths: bool = False,
    jobs: Optional[int] = None,
    progress: Progress = None,
) -> Model:
    """Opens a model, verified: between the check of its bytes and their use there is no gap in
    which somebody could change them.

    Verifies the signature, and which files there are. Contents are read and verified when they are
    first asked for, or all at once where nothing less can be verified (a pinned model digest).

    :param model: a file or a directory.
    :param policy: a `Policy`, or a policy file.
    :param key: in place of a policy: the public keys to believe.
    :param signature: the signature file. By default it is looked for where `sign` puts it, or where
        the policy says; of two by one signing, that of the shards is used. A loaded policy may take
        several.
    :param name: the name under which a single file was signed, when it has another now; with a
        loaded policy, the name by which a rule is chosen.
    :param provenance: the provenance statement, as for `verify`.
    :param ignore: files or directories not to look at, named relative to the model, that the
        signature does not list.
    :param include_git: do not pass over ``.git`` and its like by default.
    :param ignore_unsigned: do not refuse the model for files that are not signed. They are not part
        of it.
    :param strict_paths: ignore nothing but the format's own defaults, the signature and its
        provenance, whatever the signature says.
    :param jobs: threads to use, for loading, too. By default as many as the process may.
    :param progress: as for `sign`.
    :raises IntegrityError: the model is not what was signed.
    :raises SignatureVerificationError: there is no signature by anybody who is believed.
    :raises LetThroughError: there is no signature, and a policy file lets just that pass. There is
        no verified view of such a model.
    :raises UndecidedError: I/O errors, an unreadable key or policy, too little memory.
    """
    flags = (
        (_core.VERIFY_IGNORE_UNSIGNED if ignore_unsigned else 0)
        | (_core.VERIFY_STRICT_PATHS if strict_paths else 0)
        | (_core.VERIFY_INCLUDE_GIT if include_git else 0)
    )
    with _logged("open", model), telling(progress) as tell:
        _, handle, view = _core.view_open(
            path(model),
            policy_of(policy, key)._core,
            flags,
            paths(signature),
            paths(ignore),
            optional_path(name),
            jobs_of(jobs),
            optional_path(provenance),
            tell,
        )
        report = Report(handle)
        if view is None:
            raise _not_verified(report)
    return Model(view, _told(report))
