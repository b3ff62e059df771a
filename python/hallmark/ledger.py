# SPDX-License-Identifier: Apache-2.0
"""The ledger: what was signed, verified, refused and deployed; see ``docs/ledger.md``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Dict, Iterator, Optional, Tuple, Union

from hallmark import _core
from hallmark._config import Config, config_of
from hallmark._errors import RefusedError
from hallmark._signer import Signer, using
from hallmark._values import (
    Passphrase,
    Reason,
    StrPath,
    Time,
    optional_path,
    parse_json,
    seconds_ago,
    whole,
)

__all__ = ["Entry", "LedgerError", "Verification", "checkpoint", "read", "verify"]

_INT64_MIN = -(2**63)


@dataclass(frozen=True)
class Entry:
    """One entry, as the ledger has it. That it is as it was recorded, only `verify` says."""

    sequence: int
    """From 1, without gaps."""
    previous: str
    """The digest of the entry before."""
    event: Dict[str, Any]
    """What happened; its members are in ``docs/event.schema.json``."""
    text: str
    """The text that its digest is of."""

    @property
    def digest(self) -> str:
        """SHA-256 of `text`, in hex: what the next entry has as `previous`."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Verification:
    """What a verification of the ledger found; ``docs/ledger.md`` has its members."""

    outcome: str
    """``verified`` or ``refused``."""
    data: Dict[str, Any]
    """All that was found, as the JSON of ``hallmark log verify --json`` has it."""

    @property
    def newest(self) -> Optional[int]:
        """The number of the newest entry; None of an empty ledger."""
        newest = self.data["newest"]
        return int(newest["sequence"]) if newest is not None else None

    @property
    def findings(self) -> Tuple[str, ...]:
        """What is not as it was recorded."""
        return tuple(each["message"] for each in self.data["findings"])


class LedgerError(RefusedError):
    """The ledger is not what was recorded: an entry was changed, removed or moved."""

    verification: Verification
    """All that was found."""


def read(
    config: Union[Config, StrPath, None] = None,
    *,
    ledger: Optional[StrPath] = None,
    store: Optional[StrPath] = None,
    since: Optional[Time] = None,
    model: Optional[str] = None,
    event: Optional[str] = None,
    limit: Optional[int] = None,
) -> Iterator[Entry]:
    """What the ledger says, the oldest first.

    :param config: a `hallmark.Config`, or a configuration file; by default the one that the command
        uses.
    :param ledger: the ledger: a path, ``sqlite:PATH`` or ``postgresql://...``.
    :param store: the store whose ledger it is.
    :param since: only events from then on; "7d" and a timedelta are so long ago.
    :param model: only events of this model.
    :param event: only these events, such as ``refused``.
    :param limit: only the newest so many.
    """
    text = _core.log_read(
        config_of(config, store=store, ledger=ledger)._core,
        _core.LOG_JSON,
        _INT64_MIN if since is None else seconds_ago(since, "since"),
        model,
        event,
        whole(limit, "limit", 1),
    )
    return _entries(text)


def _entries(text: bytes) -> Iterator[Entry]:
    for line in text.decode("ascii").splitlines():
        item = parse_json(line)
        yield Entry(item["sequence"], item["previous"], item["event"], line)


def verify(
    config: Union[Config, StrPath, None] = None,
    *,
    ledger: Optional[StrPath] = None,
    store: Optional[StrPath] = None,
    key: Optional[StrPath] = None,
    checkpoint: Optional[StrPath] = None,
) -> Verification:
    """Verifies that the ledger is as it was recorded: every entry, its link to the one before, the
    signed checkpoints, and that nothing is missing that was there when it was last verified here.

    :param config: as for `read`.
    :param ledger: as for `read`.
    :param store: as for `read`.
    :param key: whose checkpoints are believed. By default the configuration's checkpoint key.
    :param checkpoint: a checkpoint that was kept elsewhere, which the ledger must contain.
    :raises LedgerError: an entry was changed, removed or moved.
    """
    where = config_of(config, store=store, ledger=ledger)._core
    text, error = _core.log_verify(
        where, _core.LOG_JSON, optional_path(key), optional_path(checkpoint)
    )
    data = parse_json(text)
    found = Verification(data["outcome"], data)
    if error is not None:
        reason: Optional[Reason] = error.reason
        refused = LedgerError(error.message, hint=error.hint, reason=reason, status=error.status)
        refused.verification = found
        raise refused
    return found


def checkpoint(
    key: Union[StrPath, Signer],
    config: Union[Config, StrPath, None] = None,
    *,
    ledger: Optional[StrPath] = None,
    store: Optional[StrPath] = None,
    out: Optional[StrPath] = None,
    passphrase: Passphrase = None,
) -> None:
    """Signs how far the ledger has come.

    :param key: the private key that signs, as for `hallmark.sign`.
    :param config: as for `read`.
    :param ledger: as for `read`.
    :param store: as for `read`.
    :param out: where the checkpoint goes besides into the ledger, to be kept elsewhere.
    :param passphrase: of `key`.
    """
    where = config_of(config, store=store, ledger=ledger)._core
    with using(key, passphrase) as signer:
        _core.log_checkpoint(where, signer, optional_path(out))
