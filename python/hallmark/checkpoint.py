# SPDX-License-Identifier: Apache-2.0
"""Functions for checkpoints signed in the format ``sig-json``: code that was written for such
functions of its own runs with only its imports changed.

Files are the same in both directions. What is stricter here, docs/python.md says.
"""

from __future__ import annotations

import logging
import os
from typing import Any, Dict, Mapping, Optional

from hallmark._errors import (
    IntegrityError,
    SignatureVerificationError,
    UnsignedModelError,
    UntrustedSignerError,
    as_another,
)
from hallmark._frameworks import must_be_there
from hallmark._loader import Event
from hallmark._loader import SecureModelLoader as _SecureModelLoader
from hallmark._model import Model, open
from hallmark._policy import Policy
from hallmark._report import Report
from hallmark._values import StrPath
from hallmark._verbs import _safe, digest, inspect, sign, verify

__all__ = [
    "IntegrityError",
    "MissingSignatureError",
    "SecureModelLoader",
    "SignatureVerificationError",
    "UntrustedSignerError",
    "sign_model_checkpoint",
    "verify_model_signature",
    "verify_third_party_model",
]

_log = logging.getLogger("hallmark")

SIGNER_ID = "training-pipeline-v1"
"""Who is said to sign when nobody else is named."""

_METADATA = ("dataset_hash", "start_time", "end_time", "hyperparameters", "framework_version")


class MissingSignatureError(UnsignedModelError, FileNotFoundError):
    """There is no signature file."""


def sign_model_checkpoint(
    model_path: StrPath,
    private_key_path: StrPath,
    training_metadata: Mapping[str, Any],
    *,
    signer_id: str = SIGNER_ID,
) -> str:
    """Signs a checkpoint, and what is said of its training, and returns the signature's path.

    :param model_path: the file; the signature goes beside it, with ``.sig`` added.
    :param private_key_path: an RSA key in PEM that is not encrypted, which only its owner can read.
    :param training_metadata: ``dataset_hash``, ``start_time``, ``end_time``, ``hyperparameters``
        and ``framework_version``; what else there is, is signed as well.
    :param signer_id: whom the signature names.
    :raises KeyError: one of the five is missing.
    """
    must_be_there(model_path, private_key_path)
    for name in _METADATA:
        training_metadata[name]
    sign(
        model_path,
        private_key_path,
        format="sig-json",
        signer_id=signer_id,
        metadata=dict(training_metadata),
    )
    return _signature_of(model_path)


def verify_model_signature(model_path: StrPath, public_key_path: StrPath) -> Dict[str, Any]:
    """Verifies a checkpoint and returns the manifest that was signed with it.

    The file may be changed the moment this returns: to load it, use `SecureModelLoader`.

    :raises SignatureVerificationError: the signature is not by this key, or there is none.
    :raises IntegrityError: the file, or its name, is not what was signed.
    """
    must_be_there(model_path, public_key_path)
    try:
        report = verify(model_path, _policy(public_key_path), signature=_signature_of(model_path))
    except UnsignedModelError as error:
        raise as_another(MissingSignatureError, error) from error
    return _manifest(report)


def verify_third_party_model(
    model_path: StrPath, expected_hash: str, trusted_signers: Mapping[str, Mapping[str, StrPath]]
) -> Optional[Dict[str, Any]]:
    """Verifies somebody else's model: that it has the hash that was published, and, when there is a
    signature, that it is by a signer who is trusted. Returns the manifest of that signature, or
    None without one, of which the log warns.

    :param expected_hash: SHA-256 in hex, from a place that who made the file cannot write to.
    :param trusted_signers: ids of signers, and of each the ``public_key``.
    :raises IntegrityError: the file does not have that hash, or not the one that was signed.
    :raises UntrustedSignerError: the signature is by somebody else.
    """
    must_be_there(model_path)
    actual = digest(model_path).entries[0].digest
    if actual != expected_hash.lower():
        raise _hash_mismatch(expected_hash, actual)
    signature = _signature_of(model_path)
    if not os.path.lexists(signature):
        _log.warning("%s has no signature; its hash is as expected", _safe(model_path))
        return None
    said = _signer_id(inspect(signature))
    if said is None or said not in trusted_signers:
        raise _untrusted(said)
    report = verify(model_path, _policy(trusted_signers[said]["public_key"]), signature=signature)
    # Both files were read anew.
    if report.entries[0].digest != actual:
        raise _hash_mismatch(expected_hash, report.entries[0].digest)
    manifest = _manifest(report)
    if manifest.get("signer_id") != said:
        raise _untrusted(manifest.get("signer_id"))
    return manifest


class SecureModelLoader(_SecureModelLoader):
    """`hallmark.SecureModelLoader` for checkpoints with such signatures. What it loads by default
    are tensors, and never code."""

    def _open(self, model_path: Any) -> Model:
        must_be_there(model_path)
        signature = _signature_of(model_path)
        try:
            return open(model_path, self._policy, signature=signature)
        except UnsignedModelError as error:
            raise as_another(MissingSignatureError, error) from error

    def _event(self, event: str, place: str, report: Optional[Report]) -> Event:
        found = super()._event(event, place, report)
        if report is not None and event == "model_loaded":
            manifest = _manifest(report)
            found["model_hash"] = manifest.get("model_hash")
            found["training_metadata"] = manifest["training_metadata"]
        return found


# ---- helpers ------------------------------------------------------------------------------------


def _signature_of(model_path: StrPath) -> str:
    return os.fsdecode(model_path) + ".sig"


def _policy(public_key_path: StrPath) -> Policy:
    return Policy(keys=public_key_path, format="sig-json")


def _manifest(report: Report) -> Dict[str, Any]:
    """The signed manifest from the report, which is of the bytes that were verified."""
    manifest: Dict[str, Any] = {"training_metadata": {}}
    for statement in report.stated:
        group, _, name = statement.name.partition(".")
        if group == "training_metadata" and name:
            manifest["training_metadata"][name] = statement.value
        else:
            manifest[statement.name] = statement.value
    if report.entries:
        manifest["model_hash"] = report.entries[0].digest
    return manifest


def _signer_id(report: Report) -> Optional[str]:
    for statement in (*report.stated, *report.claimed):
        if statement.name == "signer_id" and isinstance(statement.value, str):
            return statement.value
    return None


def _hash_mismatch(expected: str, actual: str) -> IntegrityError:
    return IntegrityError(
        f"the model has the hash {actual}, not {_safe(expected)}",
        reason="pinned-digest-mismatch",
        status="refused",
    )


def _untrusted(signer: object) -> UntrustedSignerError:
    return UntrustedSignerError(
        f"signed by {_safe(signer)}, who is not trusted",
        reason="untrusted-signer",
        status="refused",
    )
