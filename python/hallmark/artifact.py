# SPDX-License-Identifier: Apache-2.0
"""Functions for files signed in the format ``manifest-json``: code that was written for such
functions of its own runs with only its imports changed.

Files are the same in both directions. What is stricter here, docs/python.md says.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

from hallmark import torch
from hallmark._errors import (
    IntegrityError,
    SignatureVerificationError,
    UndecidedError,
    as_another,
)
from hallmark._frameworks import must_be_there, write_whole
from hallmark._model import open
from hallmark._policy import Policy
from hallmark._report import Report
from hallmark._signer import generate_key
from hallmark._values import StrPath, parse_json
from hallmark._verbs import _safe, digest, sign, verify

__all__ = [
    "ArtifactUndecidedError",
    "HashMismatchError",
    "InvalidSignatureError",
    "VerifiedManifest",
    "generate_key_pair",
    "hash_file",
    "load_verified_model",
    "save_manifest",
    "save_signed_model",
    "sign_artifact",
    "sign_artifact_bundle",
    "verify_artifact",
]

_log = logging.getLogger("hallmark")

_WELL_KNOWN = b"your-passphrase"


class HashMismatchError(IntegrityError, ValueError):
    """The file is not what was signed."""


class InvalidSignatureError(SignatureVerificationError, ValueError):
    """There is no signature of it by this key."""


class ArtifactUndecidedError(UndecidedError, ValueError):
    """Nothing could be decided or done: an unreadable key, a wrong passphrase, I/O."""


class VerifiedManifest(Dict[str, Any]):
    """What the signature covers: ``sha256``. Nothing else in such a manifest is signed, so that
    anybody can have written it: that is in `claimed`."""

    claimed: Dict[str, Any]
    """``model_file``, ``signer``, ``signed_at`` and the rest, which nobody vouches for."""
    report: Report
    """What was verified, and the key that signed."""

    def __missing__(self, name: str) -> Any:
        if name in self.claimed:
            raise KeyError(f"{name} is not covered by the signature; see .claimed[{name!r}]")
        raise KeyError(name)


@contextmanager
def _value_errors() -> Iterator[None]:
    """Callers of such functions expect a ValueError."""
    try:
        yield
    except torch.NotWeightsError:
        raise
    except IntegrityError as error:
        raise as_another(HashMismatchError, error) from error
    except SignatureVerificationError as error:
        raise as_another(InvalidSignatureError, error) from error
    except UndecidedError as error:
        raise as_another(ArtifactUndecidedError, error) from error


# ---- signing ------------------------------------------------------------------------------------


def generate_key_pair(
    private_key_path: StrPath, public_key_path: StrPath, passphrase: Optional[bytes] = None
) -> None:
    """Makes an RSA key pair of 4096 bits. Neither file is ever written over.

    :param private_key_path: the private key: encrypted, for its owner alone.
    :param public_key_path: the public key.
    :param passphrase: to encrypt with. Without it the one of the well-known example is used, of
        which a warning tells: everybody knows it.
    """
    if passphrase is None:
        warnings.warn(
            "generate_key_pair() without a passphrase uses one that everybody knows",
            UserWarning,
            stacklevel=2,
        )
        passphrase = _WELL_KNOWN
    with _value_errors():
        generate_key(private_key_path, public_key_path, type="rsa-4096", passphrase=passphrase)


def hash_file(file_path: StrPath) -> str:
    """The SHA-256 of a file, in hex."""
    must_be_there(file_path)
    with _value_errors():
        return digest(file_path).entries[0].digest


def sign_artifact(
    model_path: StrPath,
    private_key_path: StrPath,
    passphrase: Optional[bytes],
    signer_identity: str,
) -> Dict[str, Any]:
    """Signs a file and returns the manifest, which `save_manifest` writes.

    :param passphrase: of the key; None: it is not encrypted.
    :param signer_identity: who is said to sign. It is not signed.
    """
    must_be_there(model_path, private_key_path)
    with tempfile.TemporaryDirectory(prefix="hallmark-") as folder, _value_errors():
        manifest = os.path.join(folder, "manifest.json")
        sign(
            model_path,
            private_key_path,
            passphrase=passphrase,
            format="manifest-json",
            signer_id=signer_identity,
            signature=manifest,
        )
        made = parse_json(Path(manifest).read_text(encoding="utf-8"))
    assert isinstance(made, dict)
    return made


def save_manifest(manifest: Dict[str, Any], output_path: StrPath) -> None:
    """Writes a manifest, whole or not at all."""
    text = json.dumps(manifest, indent=2).encode()
    write_whole(lambda file: file.write(text), output_path)
    _log.info("manifest saved to %s", _safe(os.fsdecode(output_path)))


def sign_artifact_bundle(
    artifact_paths: List[Any],
    private_key_path: StrPath,
    passphrase: Optional[bytes],
    signer_identity: str,
    bundle_output: StrPath,
) -> None:
    """Signs several files, and writes one manifest with what `sign_artifact` makes of each. Which
    files belong together is not signed: entries can be taken away, and added from other manifests
    of the same key. A directory signed by `hallmark.sign` does not have this flaw.

    :param artifact_paths: the files, each of another name.
    :param bundle_output: the manifest.
    """
    must_be_there(*artifact_paths, private_key_path)
    with _value_errors():
        sign(
            artifact_paths,
            private_key_path,
            passphrase=passphrase,
            format="manifest-json",
            signer_id=signer_identity,
            signature=bundle_output,
        )


# ---- verifying ----------------------------------------------------------------------------------


def _policy(public_key_path: StrPath) -> Policy:
    return Policy(keys=public_key_path, format="manifest-json")


def verify_artifact(
    model_path: StrPath, manifest_path: StrPath, public_key_path: StrPath
) -> VerifiedManifest:
    """Verifies a file against its manifest, and returns of it what is signed.

    The file may be changed the moment this returns: to load it, use `load_verified_model`.

    :raises ValueError: the file is not what was signed by this key (`HashMismatchError`,
        `InvalidSignatureError`).
    """
    must_be_there(model_path, manifest_path, public_key_path)
    with _value_errors():
        report = verify(model_path, _policy(public_key_path), signature=manifest_path)
    manifest = VerifiedManifest({"sha256": report.entries[0].digest})
    manifest.claimed = {each.name: each.value for each in report.claimed}
    manifest.report = report
    return manifest


def _manifest_of(model_path: StrPath) -> Path:
    return Path(os.fsdecode(model_path)).with_suffix(".manifest.json")


def save_signed_model(
    model: Any,
    model_path: StrPath,
    private_key_path: StrPath,
    passphrase: Optional[bytes],
    signer_identity: str,
) -> Path:
    """Saves the state of a module of torch, signs the file, and returns the manifest's path.

    :param model: a ``torch.nn.Module``. Its ``state_dict()`` is saved.
    :param model_path: the file; the manifest goes beside it, with the suffix ``.manifest.json``.
    """
    must_be_there(private_key_path)
    with _value_errors():
        torch.save(
            model.state_dict(),
            model_path,
            private_key_path,
            passphrase=passphrase,
            format="manifest-json",
            signer_id=signer_identity,
        )
    return _manifest_of(model_path)


def load_verified_model(model: Any, model_path: StrPath, public_key_path: StrPath) -> Any:
    """Loads a state that `save_signed_model` saved into a module, when it is verified: the very
    bytes that were. Returns the module, set to evaluate.

    :raises FileNotFoundError: there is no manifest.
    :raises ValueError: the file is not what was signed by this key.
    """
    manifest = _manifest_of(model_path)
    must_be_there(manifest, model_path, public_key_path)
    with _value_errors():
        with open(model_path, _policy(public_key_path), signature=manifest) as opened:
            state = torch.load(opened)
    model.load_state_dict(state)
    model.eval()
    return model
