# SPDX-License-Identifier: Apache-2.0
"""Models, tokenizers and processors of transformers, from a verified directory."""

from __future__ import annotations

import json
from typing import Any, Iterator, List, Optional, Union

from hallmark._frameworks import opening, unsupported
from hallmark._model import Model
from hallmark._policy import Policy
from hallmark._values import Progress, StrPath, StrPaths, usage

__all__ = ["from_pretrained"]

_PICKLES = (".bin", ".ckpt", ".h5", ".msgpack", ".onnx", ".pickle", ".pkl", ".pt", ".pth")
_CODE = (".py", ".pyc", ".so")
_WEIGHTS = (*_PICKLES, ".gguf", ".safetensors")
_FIXED = ("force_download", "local_files_only", "token", "revision", "cache_dir", "proxies")


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
    :raises UnsupportedError: an adapter, whose base model would be taken from elsewhere; or a
        config that names a kernel, which is code from elsewhere.
    """
    if kwargs.pop("trust_remote_code", False):
        usage("trust_remote_code: code of the model is not run")
    if kwargs.get("use_safetensors") is False:
        usage("use_safetensors=False: other weights can run any code")
    for option in _FIXED:
        if option in kwargs:
            usage(f"{option} has no meaning: the model is where it was verified")
    with opening(model, policy, key, signature, name, jobs, progress) as opened:
        if "adapter_config.json" in opened:
            unsupported("an adapter's base model is not part of what was verified")
        weights = _has_weights(cls)
        if weights:
            _refuse_kernels(opened)
            kwargs["use_safetensors"] = True
        with opened.directory(_files(opened, weights)) as place:
            return cls.from_pretrained(
                place, *args, local_files_only=True, trust_remote_code=False, **kwargs
            )


def _has_weights(cls: Any) -> bool:
    """Whether a class is one of models: its own, or one that chooses among them by the config."""
    return any(
        each.__name__ in ("PreTrainedModel", "_BaseAutoModelClass")
        for each in getattr(cls, "__mro__", ())
    )


def _refuse_kernels(model: Model) -> None:
    """Where a config names a repository as the implementation of something, newer releases of
    transformers fetch compiled code from there and run it, whatever else they are told."""
    for name in model.names():
        base = name.rpartition("/")[2]
        if not (base.startswith("config") and base.endswith(".json")):
            continue
        try:
            config = json.loads(model.read(name))
        except (ValueError, RecursionError):
            continue  # transformers says what it thinks of it
        for value in _implementations(config):
            if "/" in value:
                unsupported(
                    f"{name} asks for a kernel from elsewhere: {value!r}",
                    "take it out of the config, and sign the model again",
                )


def _implementations(config: Any) -> Iterator[str]:
    """Values of members such as ``attn_implementation``, at any depth."""
    waiting = [(config, False)]
    while waiting:
        value, named = waiting.pop()
        if isinstance(value, str) and named:
            yield value
        elif isinstance(value, list):
            waiting += [(each, named) for each in value]
        elif isinstance(value, dict):
            waiting += [(value[key], named or "_implementation" in key) for key in value]


def _files(model: Model, weights: bool) -> List[str]:
    """What the class may find: no code, no pickles, and weights only where they are wanted."""
    left_out = (*_CODE, *(_PICKLES if weights else _WEIGHTS))
    return [each for each in model.names() if not each.lower().endswith(left_out)]
