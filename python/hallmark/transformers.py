# SPDX-License-Identifier: Apache-2.0
"""Models, tokenizers and processors of transformers, from a verified directory."""

from __future__ import annotations

import os
from typing import Any, List, Optional, Tuple, Union

from hallmark._frameworks import opening, unsupported
from hallmark._model import Model
from hallmark._policy import Policy
from hallmark._pretrained import check
from hallmark._values import Progress, StrPath, StrPaths, usage

__all__ = ["from_pretrained"]

_PICKLES = (
    *(".bin", ".ckpt", ".dill", ".dpr", ".h5", ".joblib", ".msgpack", ".npy", ".npz", ".onnx"),
    *(".pickle", ".pkl", ".pt", ".pt2", ".pte", ".pth"),
)
_CODE = (".py", ".pyc", ".so")
_WEIGHTS = (*_PICKLES, ".gguf", ".safetensors")
_ADAPTER = "adapter_config.json"
_FIXED = ("force_download", "local_files_only", "token", "revision", "cache_dir", "proxies")

# By their names: classes of models, those that choose among them by the config, and of configs.
_MODELS = ("PreTrainedModel", "_BaseAutoModelClass")
_CONFIGS = ("AutoConfig", "PreTrainedConfig", "PretrainedConfig")


def from_pretrained(
    cls: Any,
    model: Union[StrPath, Model],
    *args: Any,
    policy: Union[Policy, StrPath, None] = None,
    key: Optional[StrPaths] = None,
    signature: Optional[StrPaths] = None,
    name: Optional[StrPath] = None,
    jobs: Optional[int] = None,
    progress: Progress = None,
    **kwargs: Any,
) -> Any:
    """Verifies a directory and calls ``cls.from_pretrained`` with it, such as
    ``AutoModel.from_pretrained``: every file that it can read there is the verified memory.

    Weights are taken from safetensors files only; a class that needs no weights gets none. Nothing
    is fetched (``local_files_only``), and no code of the model is run (``trust_remote_code`` is
    refused): transformers copies such code to a cache and runs it from there.

    :param cls: a class of transformers.
    :param model: the directory, or an open `hallmark.Model`.
    :param args: handed on.
    :param policy: as for `hallmark.open`; so are the others up to `progress`.
    :param kwargs: handed on.
    :raises UnsupportedError: something would be taken from elsewhere: an adapter's base model, the
        pretrained weights of a backbone, files or code that a configuration names.
    """
    if kwargs.pop("trust_remote_code", False):
        usage("trust_remote_code: code of the model is not run")
    if kwargs.get("use_safetensors") is False:
        usage("use_safetensors=False: other weights can run any code")
    for option in _FIXED:
        if option in kwargs:
            usage(f"{option} has no meaning: the model is where it was verified")
    _check_subfolder(kwargs.get("subfolder"))
    with opening(model, policy, key, signature, name, jobs, progress) as opened:
        if _ADAPTER in opened:
            unsupported("an adapter's base model is not part of what was verified")
        weights = _is_one_of(cls, _MODELS)
        check(opened, weights or _is_one_of(cls, _CONFIGS), kwargs)
        if weights:
            kwargs["use_safetensors"] = True
        with opened.directory(_files(opened, weights), progress=progress) as place:
            return cls.from_pretrained(
                place, *args, local_files_only=True, trust_remote_code=False, **kwargs
            )


def _is_one_of(cls: Any, names: Tuple[str, ...]) -> bool:
    return any(each.__name__ in names for each in getattr(cls, "__mro__", ()))


def _check_subfolder(folder: object) -> None:
    text = os.fspath(folder) if isinstance(folder, (str, os.PathLike)) else ""
    if os.path.isabs(text) or ".." in text.split(os.sep):
        usage(f"subfolder leads out of the model: {text!r}")


def _files(model: Model, weights: bool) -> List[str]:
    """What the class may find: no code, no pickles, no adapters of other models, and weights only
    where they are wanted."""
    left_out = (*_CODE, *(_PICKLES if weights else _WEIGHTS))
    return [
        each
        for each in model.names()
        if not each.lower().endswith(left_out) and each.rpartition("/")[2] != _ADAPTER
    ]
