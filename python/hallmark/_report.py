# SPDX-License-Identifier: Apache-2.0
"""Reports: what was found or done, as attributes."""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from typing import Any, Callable, Dict, Generic, List, Optional, Tuple, TypeVar, overload

from hallmark import _core
from hallmark._hints import in_python
from hallmark._values import Reason, moment, parse_json

_DONE = frozenset(
    ["signed", "verified", "digested", "resigned", "unchanged", "deployed", "rolled-back"]
)


@dataclass(frozen=True)
class Certificate:
    """The certificate of a signer."""

    subject: str
    """RFC 2253 text."""
    issuer: str
    alternative_names: Tuple[str, ...]
    """With ``email:``, ``DNS:`` or ``URI:`` in front."""
    fingerprint: str
    """SHA-256 of the certificate's DER, in hex."""
    not_before: datetime.datetime
    not_after: datetime.datetime
    judged_at: datetime.datetime
    """The time at which the certificates had to be valid."""


@dataclass(frozen=True)
class SignerInfo:
    """Who signed, once the signature was found good under the caller's keys or roots."""

    key_type: str
    """Such as ``ec-p256``, ``rsa-3072`` or ``ed25519``."""
    algorithm: str
    """Such as ``ECDSA P-256 SHA-256``."""
    key_fingerprint: str
    """SHA-256 of the DER SubjectPublicKeyInfo, in hex."""
    name: Optional[str]
    """The signer's name in the policy file. None: believed by a key, keyring or root alone."""
    key_version: Optional[int]
    certificate: Optional[Certificate]


@dataclass(frozen=True)
class Finding:
    """A difference between what was signed, or pinned, and what is there."""

    reason: Reason
    name: str
    """The file, or ``PATH:START:END`` of a shard."""
    expected: Optional[str]
    """The digest that was signed, or pinned."""
    actual: Optional[str]
    """The digest of what is there."""
    detail: Optional[str]


@dataclass(frozen=True)
class Entry:
    """A file or shard that was signed, verified or digested."""

    name: str
    start: int
    end: Optional[int]
    """Exclusive. None only of an inspection: the signature does not say the size."""
    digest: str


@dataclass(frozen=True)
class IgnoredPath:
    """A path that exists and that nothing vouches for."""

    path: str
    by: str
    """By whose wish: ``format-default``, ``signed``, ``caller``, ``signature-file``,
    ``provenance-file`` or ``listed``."""


@dataclass(frozen=True)
class UnsignedPath:
    """A file that is not signed and was let through."""

    path: str
    kind: str


@dataclass(frozen=True)
class Statement:
    """Something that the signer, or nobody at all, says."""

    name: str
    value: Any
    """Any JSON value."""


@dataclass(frozen=True)
class SignatureOutcome:
    """What a policy file made of one signature."""

    path: str
    format: Optional[str]
    counted: bool
    reason: Optional[Reason]
    """Why it does not count."""
    message: Optional[str]
    signer: Optional[str]
    key_version: Optional[int]
    key_fingerprint: Optional[str]


@dataclass(frozen=True)
class PolicyOutcome:
    """How a policy file judged."""

    file: str
    rule: Optional[int]
    """Counted from 1. None: no rule is about the model."""
    line: Optional[int]
    demanded: int
    """Signatures by distinct signers."""
    counted: int
    """How many there are. Not more than a number unless the model is verified."""
    pinned: Optional[str]
    """What the rule pins: ``file``, ``files`` or ``model``."""
    pin_held: bool
    signatures: Tuple[SignatureOutcome, ...]


@dataclass(frozen=True)
class Provenance:
    """The provenance statement that was verified with the model, or written."""

    path: str
    stated: Tuple[Statement, ...]
    """What it says, member by member: signed, but the signer's own word."""


@dataclass(frozen=True)
class Reused:
    """Digests that were not computed by this run."""

    source: str
    """``parts`` or ``signature``."""
    files: int
    bytes: int
    files_read: int
    bytes_read: int


@dataclass(frozen=True)
class Part:
    """The share of a model that was digested."""

    part: int
    parts: int
    path: str


@dataclass(frozen=True)
class StoreOutcome:
    """What became of a store."""

    path: str
    name: str
    """The model's, in the store."""
    action: Optional[str]
    """``deployed``, ``repaired``, ``re-signed``, ``unchanged``, ``rolled-back``, ``checked`` or
    ``deactivated``; None: nothing."""
    dry_run: bool
    """Nothing was written."""
    made: bool
    """The directory was made a store."""
    switched: bool
    """``current`` leads elsewhere than before."""
    version: Optional[str]
    """The version that the report is of: its model digest."""
    previous: Optional[str]
    """What ``current`` led to before."""
    current: Optional[str]
    """What it leads to now."""
    quarantine: Optional[str]
    """The entry that holds what was refused."""


def _statements(items: List[Dict[str, Any]]) -> Tuple[Statement, ...]:
    return tuple(Statement(item["name"], item["value"]) for item in items)


def _certificate(item: Optional[Dict[str, Any]]) -> Optional[Certificate]:
    if item is None:
        return None
    times = {name: moment(item[name]) for name in ("not_before", "not_after", "judged_at")}
    names = tuple(item["alternative_names"])
    return Certificate(**{**item, **times, "alternative_names": names})


_T = TypeVar("_T")


class _kept(Generic[_T]):
    """A property that is computed once: `functools.cached_property` without its lock. Up to Python
    3.11 that is one for all objects: threads wait for each other, and a fork meanwhile leaves it
    locked in the child for ever."""

    def __init__(self, func: Callable[[Any], _T]) -> None:
        self.func = func
        self.__doc__ = func.__doc__

    @overload
    def __get__(self, instance: None, owner: Any) -> _kept[_T]: ...
    @overload
    def __get__(self, instance: object, owner: Any) -> _T: ...
    def __get__(self, instance: Optional[object], owner: Any) -> Any:
        if instance is None:
            return self
        value = self.func(instance)
        instance.__dict__[self.func.__name__] = value
        return value


class Report:
    """What a verification found, or what a signing or digest did.

    Truth: a report is true when its operation was done, and of a verification only when the model
    was verified: false when it was refused, let through unsigned, or is an inspection, of which
    nothing is verified.

    The attributes are those of the JSON report, whose schema is ``docs/report.schema.json``.
    Reports can be pickled.
    """

    def __init__(self, handle: _core._Report) -> None:
        self._handle: Optional[_core._Report] = handle
        self._texts: Dict[int, str] = {}

    # ---- forms ----------------------------------------------------------------------------------

    @_kept
    def _json(self) -> str:
        assert self._handle is not None
        return _core.report_json(self._handle)

    @_kept
    def _facts(self) -> Tuple[bytes, bytes, bytes, float]:
        assert self._handle is not None
        return _core.report_facts(self._handle)

    @_kept
    def _data(self) -> Dict[str, Any]:
        data = parse_json(self._json)
        assert isinstance(data, dict)
        return data

    def json(self) -> str:
        """The report as JSON text, as ``hallmark --json`` prints it."""
        return self._json

    def to_dict(self) -> Dict[str, Any]:
        """The JSON report as a new dictionary."""
        data = parse_json(self._json)
        assert isinstance(data, dict)
        return data

    def text(self, *, list: bool = False, colour: bool = False) -> str:
        """The report for people, foreign text in it escaped.

        :param list: name every file, however many.
        :param colour: for a terminal that shows colours. Not kept when a report is pickled.
        """
        flags = (_core.TEXT_LIST if list else 0) | (_core.TEXT_COLOUR if colour else 0)
        if self._handle is None:
            return self._texts[flags & _core.TEXT_LIST]
        return _core.report_text(self._handle, flags)

    def __reduce__(self) -> Tuple[Any, ...]:
        texts = {0: self.text(), _core.TEXT_LIST: self.text(list=True)}
        return (_restore, (self._json, self._facts, texts))

    def __repr__(self) -> str:
        return f"<hallmark.Report: {self.operation} {self.path!r}: {self.status}>"

    def __str__(self) -> str:
        return self.text()

    def __bool__(self) -> bool:
        return self.status in _DONE

    def __eq__(self, other: object) -> bool:
        return self._json == other._json if isinstance(other, Report) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._json)

    # ---- the outcome ----------------------------------------------------------------------------

    @property
    def operation(self) -> str:
        """``sign``, ``verify``, ``digest``, ``inspect``, ``resign``, ``deploy``, ``rollback``,
        ``check`` or ``release``."""
        return str(self._data["operation"])

    @property
    def status(self) -> str:
        """The outcome: ``signed``, ``verified``, ``digested``, ``unverified`` (of an inspection),
        ``opened`` (by `hallmark.open`: contents are verified when they are read), ``resigned``,
        ``unchanged``, ``deployed``, ``rolled-back``, ``refused``, ``usage``, ``undecided`` or
        ``let-through``."""
        return str(self._data["status"])

    @property
    def verified(self) -> bool:
        """Whether this is the report of a verification that succeeded. Nothing else says so."""
        return self.operation in ("verify", "check") and self.status == "verified"

    @property
    def reason(self) -> Optional[Reason]:
        """Why it was refused, or not verified: a word that never changes."""
        reason: Optional[Reason] = self._data["reason"]
        return reason

    @property
    def message(self) -> Optional[str]:
        """What failed, on what and why: one line."""
        return self._optional("message")

    @property
    def hint(self) -> Optional[str]:
        """What to do about it."""
        hint = self._optional("hint")
        return in_python(hint) if hint is not None else None

    @property
    def time(self) -> datetime.datetime:
        """When the operation read the clock, in UTC."""
        return moment(self._data["time"])

    def _optional(self, name: str) -> Optional[str]:
        value: Optional[str] = self._data[name]
        return value

    # ---- the model ------------------------------------------------------------------------------

    def _model(self, name: str) -> Any:
        return self._data["model"][name]

    @property
    def path(self) -> Optional[str]:
        """The model as it was named. None of an inspection."""
        path: Optional[str] = self._model("path")
        return path

    @property
    def model_digest(self) -> Optional[str]:
        """The model digest in hex, which binds names, sizes and contents; see docs/formats.md."""
        digest: Optional[str] = self._model("model_digest")
        return digest

    @property
    def root_digest(self) -> Optional[str]:
        """The OMS root digest in hex."""
        digest: Optional[str] = self._model("root_digest")
        return digest

    @property
    def method(self) -> Optional[str]:
        """``files`` or ``shards``."""
        method: Optional[str] = self._model("method")
        return method

    @property
    def hash(self) -> Optional[str]:
        """``sha256``, ``blake2b`` or ``blake3``."""
        name: Optional[str] = self._model("hash")
        return name

    @property
    def shard_size(self) -> Optional[int]:
        """Bytes per shard, of shards."""
        size: Optional[int] = self._model("shard_size")
        return size

    @property
    def file_count(self) -> int:
        """Files that were signed, verified or digested; of an inspection, that are listed."""
        return int(self._model("files"))

    @property
    def byte_count(self) -> int:
        """Bytes of them."""
        return int(self._model("bytes"))

    @_kept
    def entries(self) -> Tuple[Entry, ...]:
        """Files or shards with their digests, in the order of names; empty unless it succeeded."""
        return tuple(Entry(**item) for item in self._data["entries"])

    @_kept
    def files(self) -> Tuple[str, ...]:
        """The names in `entries`, each once."""
        return tuple(dict.fromkeys(entry.name for entry in self.entries))

    # ---- the signature --------------------------------------------------------------------------

    def _path_or_none(self, index: int) -> Optional[str]:
        path = self._facts[index]
        assert isinstance(path, bytes)
        return os.fsdecode(path) if path else None

    @property
    def signature_path(self) -> Optional[str]:
        """The signature file that was read or written."""
        return self._path_or_none(0)

    @property
    def shards_signature_path(self) -> Optional[str]:
        """The second signature, of the shards, when two were written."""
        return self._path_or_none(1)

    @property
    def format(self) -> Optional[str]:
        """``oms``, ``sig-json`` or ``manifest-json``."""
        name: Optional[str] = self._data["signature"]["format"]
        return name

    @_kept
    def signer(self) -> Optional[SignerInfo]:
        """Who signed, once the signature was found good under the caller's keys or roots; also of a
        refused model, when the signature was good and the model differs."""
        item = self._data["signer"]
        if item is None:
            return None
        return SignerInfo(**{**item, "certificate": _certificate(item["certificate"])})

    @_kept
    def policy(self) -> Optional[PolicyOutcome]:
        """How a policy file judged; None without one."""
        item = self._data["policy"]
        if item is None:
            return None
        signatures = tuple(SignatureOutcome(**each) for each in item["signatures"])
        return PolicyOutcome(**{**item, "signatures": signatures})

    @_kept
    def store(self) -> Optional[StoreOutcome]:
        """What became of a store; None unless the operation is about one."""
        item = self._data["store"]
        return StoreOutcome(**item) if item is not None else None

    @_kept
    def provenance(self) -> Optional[Provenance]:
        """The provenance statement that was verified with the model, or written."""
        item = self._data["provenance"]
        if item is None:
            return None
        return Provenance(self._path_or_none(2) or item["path"], _statements(item["stated"]))

    # ---- what else there is to say --------------------------------------------------------------

    @_kept
    def findings(self) -> Tuple[Finding, ...]:
        """Every difference between what was signed, or pinned, and what is there."""
        return tuple(Finding(**item) for item in self._data["findings"])

    @_kept
    def ignored(self) -> Tuple[IgnoredPath, ...]:
        """Paths that exist and that nothing vouches for; of an inspection, those that are named."""
        return tuple(IgnoredPath(**item) for item in self._data["ignored"])

    @_kept
    def unsigned(self) -> Tuple[UnsignedPath, ...]:
        """Files that are not signed and were let through."""
        return tuple(UnsignedPath(**item) for item in self._data["unsigned"])

    @_kept
    def stated(self) -> Tuple[Statement, ...]:
        """Signed, but only the signer's own word, such as training metadata."""
        return _statements(self._data["stated"])

    @_kept
    def claimed(self) -> Tuple[Statement, ...]:
        """Read from the signature file and covered by no signature: anybody can have written it."""
        return _statements(self._data["claimed"])

    @_kept
    def warnings(self) -> Tuple[str, ...]:
        """What the verdict does not cover, or what an option let pass."""
        return tuple(self._data["warnings"])

    @_kept
    def reused(self) -> Optional[Reused]:
        """Digests that were not computed by this run, and where they came from."""
        item = self._data["reused"]
        if item is None:
            return None
        rest = {name: value for name, value in item.items() if name != "from"}
        return Reused(source=item["from"], **rest)

    @_kept
    def part(self) -> Optional[Part]:
        """The share that was digested."""
        item = self._data["part"]
        return Part(**item) if item is not None else None

    @property
    def shards_speedup(self) -> float:
        """How many times as fast this model would be verified by shards: an estimate; 0.0 when they
        would do little for it."""
        return float(self._facts[3])


_Facts = Tuple[bytes, bytes, bytes, float]


def _restore(text: str, facts: _Facts, texts: Dict[int, str]) -> Report:
    report = Report.__new__(Report)
    report._handle = None
    report._texts = texts
    report.__dict__["_json"] = text
    report.__dict__["_facts"] = facts
    return report
