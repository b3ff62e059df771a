# SPDX-License-Identifier: Apache-2.0
"""What the modules for frameworks share: a framework is imported where its function is used."""

from __future__ import annotations

import importlib
import io
import os
import tempfile
from contextlib import contextmanager
from typing import Any, BinaryIO, Callable, Iterator, Mapping, NoReturn, Optional, Union

from hallmark._errors import UnsupportedError
from hallmark._model import Model, open
from hallmark._policy import Policy
from hallmark._report import Report
from hallmark._signer import Signer
from hallmark._values import Passphrase, Progress, StrPath, StrPaths, usage
from hallmark._verbs import sign


def framework(name: str) -> Any:
    """The framework's module, of which no types are known here."""
    return importlib.import_module(name)


def unsupported(message: str, hint: str = "") -> NoReturn:
    """Raises an UnsupportedError: what is signed may still be nothing that can be loaded."""
    raise UnsupportedError(message, hint=hint, reason="unsupported", status="refused")


@contextmanager
def opening(
    model: Union[StrPath, Model],
    policy: Union[Policy, StrPath, None],
    key: Optional[StrPaths],
    signature: Optional[StrPaths],
    name: Optional[StrPath],
    jobs: Optional[int],
    progress: Progress,
) -> Iterator[Model]:
    """A model that is open already, and stays so; or one that is opened for the block."""
    if isinstance(model, Model):
        if policy is not None or key is not None or signature is not None or name is not None:
            usage("an open model is verified: it takes no policy, key, signature or name")
        yield model
        return
    with open(
        model, policy, key=key, signature=signature, name=name, jobs=jobs, progress=progress
    ) as opened:
        yield opened


def must_be_there(*paths: StrPath) -> None:
    """Raises FileNotFoundError, as opening the file would, where callers expect that."""
    for each in paths:
        os.stat(each)


def write_whole(write: Callable[[BinaryIO], object], path: StrPath) -> None:
    """Writes a file, whole or not at all."""
    target = os.fsdecode(path)
    descriptor, beside = tempfile.mkstemp(
        prefix=f".{os.path.basename(target)}.", dir=os.path.dirname(target) or "."
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~_umask())
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        os.unlink(beside)
        raise


def write_and_sign(
    write: Callable[[BinaryIO], object],
    path: StrPath,
    key: Union[StrPath, Signer],
    *,
    passphrase: Passphrase,
    signature: Optional[StrPath],
    format: Optional[str],
    hash: Optional[str],
    shard_size: Optional[int],
    signer_id: Optional[str],
    key_version: Optional[int],
    metadata: Union[Mapping[str, object], StrPath, None],
    jobs: Optional[int],
    progress: Progress,
) -> Report:
    """Writes a file, whole or not at all, and signs it."""
    write_whole(write, path)
    return sign(
        path,
        key,
        passphrase=passphrase,
        signature=signature,
        format=format,
        hash=hash,
        shard_size=shard_size,
        signer_id=signer_id,
        key_version=key_version,
        metadata=metadata,
        jobs=jobs,
        progress=progress,
    )


def _umask() -> int:
    """Read where reading it does not set it for a moment, as os.umask() does for all threads."""
    try:
        with io.open("/proc/self/status") as status:
            return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))
    except (OSError, StopIteration):
        return 0o077
