# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of PyTorch: signed when they are saved, verified before they are loaded.

Loading is always with ``weights_only=True``: a pickle can run any code, and a signature says who
made it, not that it does no harm.
"""

from __future__ import annotations

import inspect
import pickle
import re
from typing import Any, Mapping, Optional, Union

from hallmark._archive import BadArchive, names
from hallmark._errors import UnsupportedError
from hallmark._frameworks import framework, opening, unsupported, write_and_sign
from hallmark._model import Model
from hallmark._policy import Policy
from hallmark._report import Report
from hallmark._signer import Signer
from hallmark._values import Passphrase, Progress, StrPath, StrPaths, usage
from hallmark._verbs import _safe

__all__ = ["NotWeightsError", "load", "save"]

_ZIP = b"PK\x03\x04"
_WHY = re.compile(r"unsupported [^\n]+", re.IGNORECASE)


class NotWeightsError(UnsupportedError, pickle.UnpicklingError):
    """What is in a checkpoint is more than weights: something that could run code."""


def save(
    obj: object,
    path: StrPath,
    key: Union[StrPath, Signer],
    *,
    passphrase: Passphrase = None,
    signature: Optional[StrPath] = None,
    format: Optional[str] = None,
    hash: Optional[str] = None,
    shard_size: Optional[int] = None,
    signer_id: Optional[str] = None,
    key_version: Optional[int] = None,
    metadata: Union[Mapping[str, object], StrPath, None] = None,
    jobs: Optional[int] = None,
    progress: Progress = None,
) -> Report:
    """Saves an object with `torch.save`, whole or not at all, and signs the file.

    Save what `load` can read: a `state_dict`, tensors, and plain containers of them. What is signed
    is what lies at `path` after it was saved, so nobody else should be able to write there.

    :param obj: the object.
    :param path: the file.
    :param key: a private key, as for `hallmark.sign`; so are the others.
    :raises HallmarkError: signing failed. The file is there, and what signature it may have had
        before is not good for it.
    """
    torch = framework("torch")
    return write_and_sign(
        lambda file: torch.save(obj, file),
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


def load(
    model: Union[StrPath, Model],
    policy: Union[Policy, StrPath, None] = None,
    *,
    file: Optional[StrPath] = None,
    map_location: Any = None,
    mmap: Optional[bool] = None,
    key: Optional[StrPaths] = None,
    signature: Optional[StrPaths] = None,
    name: Optional[StrPath] = None,
    jobs: Optional[int] = None,
    progress: Progress = None,
) -> Any:
    """Verifies a checkpoint and loads it with `torch.load`, from the verified memory.

    :param model: the file; or a directory, or an open `hallmark.Model`, and then `file`.
    :param file: the checkpoint's name in the model.
    :param map_location: as for `torch.load`.
    :param mmap: have tensors lie in the verified memory instead of in copies; what is written to
        them is written to pages of one's own. By default so where this torch can (2.1 and later).
    :param policy: as for `hallmark.open`; so are the others.
    :raises UnsupportedError: no checkpoint in the zip format, or TorchScript, which is code.
    :raises NotWeightsError: what is in it is more than weights.
    """
    torch = framework("torch")
    known = inspect.signature(torch.load).parameters
    if "weights_only" not in known:
        # Handed on as a keyword for the unpickler, it would be without any effect.
        unsupported(
            f"torch {torch.__version__} cannot load weights only",
            "use torch 1.13 or later, or safetensors",
        )
    if mmap and "mmap" not in known:
        usage(f"torch {torch.__version__} cannot map checkpoints (mmap)")
    with opening(model, policy, key, signature, name, jobs, progress) as opened:
        _check(opened, file, progress)
        options = {"map_location": map_location, "weights_only": True}
        if "mmap" in known:
            # Said in either case: torch's own default can be changed for the process.
            options["mmap"] = mmap is not False
        try:
            if options.get("mmap"):
                return torch.load(opened.path(file), **options)
            with opened.open(file) as memory:
                return torch.load(memory, **options)
        except pickle.UnpicklingError as error:
            raise _not_weights(error) from error


def _not_weights(error: pickle.UnpicklingError) -> NotWeightsError:
    # Not all that torch says: among it is the advice to load it all the same.
    found = _WHY.search(str(error))
    why = found[0].partition(". ")[0].rstrip(".") if found else ""
    return NotWeightsError(
        f"the checkpoint holds more than weights{': ' if why else ''}{_safe(why)}",
        hint="save a state_dict",
        reason="unsupported",
        status="refused",
    )


def _check(model: Model, file: Optional[StrPath], progress: Progress) -> None:
    """Refuses what some releases of torch load by other ways, past ``weights_only``: old tar files
    (before 2.6, CVE-2025-32434), and TorchScript."""
    with model.open(file, progress=progress) as memory:
        if memory.read(len(_ZIP)) != _ZIP:
            unsupported(
                "the checkpoint is not in the zip format of torch 1.6 and later",
                "load it where it was made, and save it again",
            )
        try:
            found = names(memory)
        except BadArchive as error:
            unsupported(f"the checkpoint is no zip file of torch: {error}")
    # torch finds names in any case.
    if any(name.rpartition(b"/")[2].lower() == b"constants.pkl" for name in found):
        unsupported("TorchScript is code, and is not loaded", "save a state_dict")
