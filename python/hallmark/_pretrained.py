# SPDX-License-Identifier: Apache-2.0
"""What the files of a directory for transformers may say, and what must not be followed.

Its configurations can name files, models and code anywhere: on a hub, in a cache, in the file
system. What a signer believes to be signed is the directory, so such names are refused.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any, Dict, Iterator, Mapping, Type, TypeVar

from hallmark._frameworks import unsupported
from hallmark._model import Model

_T = TypeVar("_T")

_SAFETENSORS = ".safetensors"
_INDEX = ".safetensors.index."

# What tokenizers are handed as a file's path, if their configuration has it: past the file beside.
_FILES = ("source_spm", "target_spm")
_NOT_READ = ("added_tokens_file", "special_tokens_map_file")

# Where processors take a model from, and retrievers their data.
_PLACES = ("audio_tokenizer_name_or_path", "index_path", "passages_path")


def check(model: Model, builds: bool, options: Mapping[str, Any]) -> None:
    """Refuses a directory whose files lead elsewhere.

    :param builds: whether the class builds a model by its configuration.
    :param options: what the caller sets above the configuration.
    """
    for name in model.names():
        folder, _, base = name.rpartition("/")
        if not base.endswith(".json"):
            continue
        if _INDEX in base:
            _check_index(model, name, folder)
        elif "config" in base:
            _check_config(model, name, builds, options)


def _parsed(model: Model, name: str) -> Dict[str, Any]:
    try:
        parsed = json.loads(model.read(name).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        unsupported(f"{name!r} is not JSON: {error}")
    return parsed if isinstance(parsed, dict) else {}


def _elsewhere(name: str, member: str, hint: str = "") -> None:
    unsupported(
        f"{member!r} in {name!r} leads to what is not part of the model",
        hint or "take it out of the file, and have the model signed again",
    )


# ---- weights ------------------------------------------------------------------------------------


def _check_index(model: Model, name: str, folder: str) -> None:
    """A file that an index names is loaded from wherever that is, and is a pickle when it is not
    called otherwise."""
    files = _parsed(model, name).get("weight_map")
    if not isinstance(files, dict):
        unsupported(f"{name!r} is no index of weights")
    for file in files.values():
        if not _is_weights(model, folder, file):
            _elsewhere(name, str(file), "an index may name safetensors files of the model only")


def _is_weights(model: Model, folder: str, file: object) -> bool:
    if not isinstance(file, str) or not file.endswith(_SAFETENSORS):
        return False
    return (f"{folder}/{file}" if folder else file) in model


# ---- configurations -----------------------------------------------------------------------------


def _all(value: Any, kind: Type[_T]) -> Iterator[_T]:
    """What is of a kind in a JSON value, the outermost first; without recursion, however deep."""
    left = deque([value])
    while left:
        value = left.popleft()
        if isinstance(value, kind):
            yield value
        if isinstance(value, (dict, list)):
            left.extend(value.values() if isinstance(value, dict) else value)


def _check_config(model: Model, name: str, builds: bool, options: Mapping[str, Any]) -> None:
    outermost = _parsed(model, name)
    for item in _all(outermost, dict):
        _check_code(name, item)
        _check_places(model, name, item)
        if builds:
            own_only = item is outermost and options.get("use_pretrained_backbone") is False
            _check_backbone(name, item, own_only)


def _check_code(name: str, item: Dict[str, Any]) -> None:
    """Parts of a model are loaded with options of their own, whatever the caller said."""
    if item.get("trust_remote_code"):
        unsupported(f"{name!r} demands to run code of a model (trust_remote_code)")
    for member, value in item.items():
        if "_implementation" in member and any("/" in text for text in _all(value, str)):
            _elsewhere(name, member)  # a kernel of a hub


def _check_places(model: Model, name: str, item: Dict[str, Any]) -> None:
    folder = name.rpartition("/")[0]
    weights = item.get("transformers_weights")
    if weights is not None and not (
        _is_weights(model, folder, weights)
        or (isinstance(weights, str) and _INDEX in weights and "/" not in weights)
    ):
        _elsewhere(name, "transformers_weights")
    for member in _PLACES:
        if isinstance(item.get(member), str):
            _elsewhere(name, member)
    if "tokenizer" in name.rpartition("/")[2]:
        for member, value in item.items():
            named = member.endswith("_file") or member in _FILES
            if named and member not in _NOT_READ and isinstance(value, str):
                _elsewhere(name, member)


def _check_backbone(name: str, item: Dict[str, Any], own_only: bool) -> None:
    """A backbone is loaded from where it came from when the model was made: its weights, or its
    configuration, unless that is here."""
    pretrained = not own_only and item.get("use_pretrained_backbone")
    backbone = item.get("backbone")
    own_only = own_only or item.get("use_pretrained_backbone") is False
    if isinstance(backbone, str) and not isinstance(item.get("backbone_config"), dict):
        # timm has the configurations of models of its own.
        known = item.get("use_timm_backbone") and not any(c in backbone for c in "/:")
        pretrained = pretrained or not own_only or not known
    if pretrained:
        _elsewhere(name, "backbone", "where weights are all there: use_pretrained_backbone=False")
