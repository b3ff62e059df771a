# SPDX-License-Identifier: Apache-2.0
"""Hallmark signs machine-learning models, and verifies them before they are loaded.

>>> import hallmark
>>> hallmark.generate_key("signer.pem", plain=True)
>>> report = hallmark.sign("model/", "signer.pem")
>>> report = hallmark.verify("model/", key="signer.pub")

`verify` returns a `Report` when the model is exactly what was signed by somebody who is believed,
and raises otherwise; every refusal is a `HallmarkError`. See docs/python.md.
"""

from __future__ import annotations

import logging as _logging

from hallmark import _core, artifact, checkpoint, keyring, ledger, safetensors, torch, transformers
from hallmark._config import Config
from hallmark._errors import (
    ExpiredError,
    HallmarkError,
    IntegrityError,
    LetThroughError,
    LetThroughWarning,
    MalformedSignatureError,
    ProvenanceError,
    RefusedError,
    RevokedKeyError,
    RollbackError,
    SignatureVerificationError,
    UndecidedError,
    UnsignedModelError,
    UnsupportedError,
    UntrustedSignerError,
    UsageError,
)
from hallmark._loader import Event, SecureModelLoader, load_weights
from hallmark._model import Model, open
from hallmark._policy import Explanation, Policy, TrustedKeyring
from hallmark._record import Recorder
from hallmark._report import (
    Certificate,
    Entry,
    Finding,
    IgnoredPath,
    Part,
    PolicyOutcome,
    Provenance,
    Report,
    Reused,
    SignatureOutcome,
    SignerInfo,
    Statement,
    StoreOutcome,
    UnsignedPath,
)
from hallmark._signer import Signer, generate_key
from hallmark._store import Quarantine, Store
from hallmark._values import Passphrase, Progress, Reason, StrPath, StrPaths, Texts, Time
from hallmark._verbs import digest, inspect, resign, sign, verify

__all__ = [
    "Certificate",
    "Config",
    "Entry",
    "Event",
    "ExpiredError",
    "Explanation",
    "Finding",
    "HallmarkError",
    "IgnoredPath",
    "IntegrityError",
    "LetThroughError",
    "LetThroughWarning",
    "MalformedSignatureError",
    "Model",
    "Part",
    "Passphrase",
    "Policy",
    "PolicyOutcome",
    "Progress",
    "Provenance",
    "ProvenanceError",
    "Quarantine",
    "Reason",
    "Recorder",
    "RefusedError",
    "Report",
    "Reused",
    "RevokedKeyError",
    "RollbackError",
    "SHARD_SIZE",
    "SecureModelLoader",
    "SignatureOutcome",
    "SignatureVerificationError",
    "Signer",
    "SignerInfo",
    "Statement",
    "Store",
    "StoreOutcome",
    "StrPath",
    "StrPaths",
    "Texts",
    "Time",
    "TrustedKeyring",
    "UndecidedError",
    "UnsignedModelError",
    "UnsignedPath",
    "UnsupportedError",
    "UntrustedSignerError",
    "UsageError",
    "__version__",
    "artifact",
    "build_info",
    "checkpoint",
    "digest",
    "generate_key",
    "harden_process",
    "inspect",
    "keyring",
    "ledger",
    "load_weights",
    "open",
    "resign",
    "safetensors",
    "sign",
    "torch",
    "transformers",
    "verify",
    "version",
]

__version__ = _core.VERSION

SHARD_SIZE = _core.SHARD_SIZE_DEFAULT
"""A good shard size, in bytes: 64 MiB."""

_logging.getLogger("hallmark").addHandler(_logging.NullHandler())


def version() -> str:
    """The library's version, which is the package's."""
    return _core.VERSION


def build_info() -> str:
    """What this build consists of and would use here, for people: a ``name: value`` line each."""
    return _core.build_info()


def harden_process() -> None:
    """Hardens the process before it handles private keys: no core dumps, no tracing by other
    processes of the same user, locked memory for key material. The command does so before it signs.
    Call it before other threads start; what cannot be had is done without."""
    _core.process_harden()
