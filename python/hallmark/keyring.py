# SPDX-License-Identifier: Apache-2.0
"""Keyrings: directories with the versions of a key, see ``docs/key-management.md``."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple, Union

from hallmark import _core
from hallmark._record import Recorder, check_open
from hallmark._signer import Signer, using
from hallmark._values import (
    Passphrase,
    StrPath,
    Time,
    ask,
    moment,
    parse_json,
    path,
    seconds,
    usage,
    whole,
)

__all__ = ["Key", "Keyring", "Revocation", "describe", "describe_key", "export", "revoke", "rotate"]


@dataclass(frozen=True)
class Revocation:
    """That a key is not to be believed any more."""

    since: datetime.datetime
    reason: str


@dataclass(frozen=True)
class Key:
    """A public key and, of a keyring, what is recorded of it."""

    algorithm: str
    fingerprint: str
    """SHA-256 of the DER SubjectPublicKeyInfo, in hex."""
    hint: str
    """SHA-256 of its PEM text, as ``oms`` signatures carry it."""
    version: Optional[int] = None
    """None: of no keyring, as all that follows."""
    status: Optional[str] = None
    """``signing``, ``old``, ``coming``, ``expired`` or ``revoked``."""
    created: Optional[datetime.datetime] = None
    signs_from: Optional[datetime.datetime] = None
    not_after: Optional[datetime.datetime] = None
    revoked: Optional[Revocation] = None
    private_key: Optional[bool] = None
    """Whether its private key is in the keyring."""
    text: str = ""
    """All this for people."""


@dataclass(frozen=True)
class Keyring:
    """All versions of the key in a keyring."""

    path: str
    signer: str
    """Whose keys they are."""
    signing_version: Optional[int]
    """None: nothing can be signed now."""
    export_version: int
    """The last export's number; 0: none yet."""
    strays: Tuple[str, ...]
    """Key files that are not recorded, and never used."""
    keys: Tuple[Key, ...]
    text: str
    """All this for people."""


def _moment_or_none(text: Optional[str]) -> Optional[datetime.datetime]:
    return moment(text) if text is not None else None


def _key(item: Dict[str, Any], text: str) -> Key:
    if "version" not in item:
        return Key(item["algorithm"], item["fingerprint"], item["hint"], text=text)
    times = {name: _moment_or_none(item[name]) for name in ("created", "signs_from", "not_after")}
    gone = item["revoked"]
    revoked = Revocation(moment(gone["since"]), gone["reason"]) if gone is not None else None
    return Key(**{**item, **times, "revoked": revoked, "text": text})


def describe(keyring: StrPath) -> Keyring:
    """All versions of the key in a keyring.

    :param keyring: its directory.
    """
    place = path(keyring)
    item = parse_json(_core.keyring_describe(place, _core.DESCRIBE_JSON))
    return Keyring(
        path=item["path"],
        signer=item["signer"],
        signing_version=item["signing_version"],
        export_version=item["export_version"],
        strays=tuple(item["strays"]),
        keys=tuple(_key(each, "") for each in item["keys"]),
        text=_core.keyring_describe(place, 0),
    )


def describe_key(key: StrPath, *, version: Optional[int] = None) -> Key:
    """One key: algorithm, fingerprint, OMS hint and, of a keyring, what is recorded of it.

    :param key: a public key (PEM or URI), or a keyring's directory.
    :param version: of a keyring. By default the one that signs now, or else the newest.
    """
    place, number = path(key), whole(version, "version", 1)
    item = parse_json(_core.key_describe(place, number, _core.DESCRIBE_JSON))
    return _key(item, _core.key_describe(place, number, 0))


def rotate(
    keyring: StrPath,
    *,
    type: Optional[str] = None,
    passphrase: Passphrase = None,
    plain: bool = False,
    signs_from: Optional[Time] = None,
    not_after: Optional[Time] = None,
    signer: Optional[str] = None,
    base_name: Optional[str] = None,
    remove_old_private: bool = False,
    record: Optional[Recorder] = None,
) -> int:
    """Makes the next version of the key in a keyring, or the keyring itself, and returns the
    version's number. However it is interrupted, the keyring is the old or the new one.

    :param keyring: its directory.
    :param type: as for `generate_key`; ``ec-p256`` by default.
    :param passphrase: to encrypt the private key with. A function is asked twice.
    :param plain: store it unencrypted.
    :param signs_from: when the new version begins to sign. By default: now.
    :param not_after: until when its signatures are believed. By default without end.
    :param signer: whose keyring it is; when it is made. By default the directory's name.
    :param base_name: what key files are called; when it is made. By default ``signing_key``.
    :param remove_old_private: delete the private keys of older versions.
    :param record: as for `hallmark.sign`.
    """
    if plain and passphrase is not None:
        usage("plain does not go with a passphrase")
    flags = (_core.ROTATE_PLAIN if plain else 0) | (
        _core.ROTATE_REMOVE_OLD_PRIVATE if remove_old_private else 0
    )
    check_open(record)
    version = _core.keyring_rotate(
        path(keyring),
        type,
        ask(passphrase),
        flags,
        signer,
        base_name,
        seconds(signs_from, "signs_from"),
        seconds(not_after, "not_after"),
    )
    if record is not None:
        record._key("key-rotated", keyring, version, None)
    return version


def revoke(
    keyring: StrPath,
    version: int,
    reason: str,
    *,
    since: Optional[Time] = None,
    record: Optional[Recorder] = None,
) -> None:
    """Records that a version is not to be believed any more. It signs no more at once; verifiers
    learn of it by the next `export`.

    :param keyring: its directory.
    :param version: which one.
    :param reason: why, in one line for those who verify.
    :param since: from when on verifiers refuse it. By default: now.
    :param record: as for `hallmark.sign`.
    """
    number = whole(version, "version", 1)
    check_open(record)
    _core.keyring_revoke(path(keyring), number, seconds(since, "since"), reason)
    if record is not None:
        record._key("key-revoked", keyring, number, reason)


def export(
    keyring: StrPath,
    key: Union[StrPath, Signer],
    out: StrPath,
    *,
    expires: Time = "90d",
    passphrase: Passphrase = None,
) -> int:
    """Writes what verifiers need to know of a keyring as one signed file, for `Policy`, and returns
    the export's number.

    :param keyring: its directory.
    :param key: the admin's private key, which signs the export: not one of the keyring.
    :param out: the file; an older export there is replaced.
    :param expires: until when verifiers may use it.
    :param passphrase: of `key`.
    """
    place, file, end = path(keyring), path(out), seconds(expires, "expires")
    with using(key, passphrase) as admin:
        return _core.keyring_export(place, admin, file, end)
