# SPDX-License-Identifier: Apache-2.0
"""Where it is written down what was signed and verified."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from types import TracebackType
from typing import Iterator, Optional, Type, Union

from hallmark import _core
from hallmark._config import Config, config_of
from hallmark._errors import HallmarkError
from hallmark._report import Report
from hallmark._values import StrPath, path, usage

_log = logging.getLogger("hallmark")


class Recorder:
    """Where events go: the ledger, standard error and alerts, as a configuration says. Handed to
    `sign`, `verify`, `resign` and the functions of `hallmark.keyring` as `record`, it has written
    down what was done, or found, before they return.

    A success that cannot be recorded is an `UndecidedError`: whoever can keep the ledger from being
    written could otherwise have models signed, or pass, without a trace. A refusal stays one.

    May be used by several threads, which take turns. Close it, or use it in a ``with`` statement:
    alerts are delivered by `flush`, and when it is closed.

    :param config: a `Config`, or a configuration file; by default the one that the command uses.
    :param ledger: record in this ledger: a path, ``sqlite:PATH`` or ``postgresql://...``.
    :param log: ``json`` to write each event to standard error, or ``none``.
    :raises UndecidedError: the ledger cannot be opened, and events cannot wait for it either.
    """

    def __init__(
        self,
        config: Union[Config, StrPath, None] = None,
        *,
        ledger: Optional[StrPath] = None,
        log: Optional[str] = None,
    ) -> None:
        self._lock = threading.RLock()
        self._closed = False
        self._core = _core.recorder_open(config_of(config, ledger=ledger, log=log)._core)

    def flush(self) -> Optional[str]:
        """Tries to deliver the alerts that are due, once and within bounded time. Returns what is
        left and why, or None: nothing is lost, a later call tries again."""
        with self._lock:
            self._open()
            return _core.recorder_flush(self._core)

    def close(self) -> None:
        """Delivers alerts, and ends the recorder. What waits, the log says."""
        with self._lock:
            if self._closed:
                return
            try:
                trouble = self.flush()
            except HallmarkError as error:
                trouble = str(error)
            if trouble is not None:
                _log.warning("%s", trouble)
            self._closed = True
            _core.recorder_close(self._core)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def _open(self) -> None:
        if self._closed:
            usage("the recorder is closed")

    def _report(self, report: Report) -> None:
        if report._handle is None:
            usage("a report of another process cannot be recorded")
        with self._lock:
            self._open()
            _core.recorder_report(self._core, report._handle)

    def _key(self, event: str, keyring: StrPath, version: int, reason: Optional[str]) -> None:
        with self._lock:
            self._open()
            _core.recorder_key(self._core, event, path(keyring), version, reason)


def check_open(record: Optional[Recorder]) -> None:
    """Nothing is begun that cannot be recorded."""
    if record is not None:
        record._open()


def record_failure(record: Optional[Recorder], error: HallmarkError) -> None:
    """Records a failure, which stays what it is whether that can be done or not."""
    if record is not None and error.report is not None:
        try:
            record._report(error.report)
        except HallmarkError as cause:
            _log.error("what was found is not recorded: %s", cause)


@contextmanager
def recording(record: Optional[Recorder]) -> Iterator[None]:
    """Records how the block failed, if it does."""
    check_open(record)
    try:
        yield
    except HallmarkError as error:
        record_failure(record, error)
        raise


def recorded(record: Optional[Recorder], report: Report) -> Report:
    """Records an outcome that is no exception."""
    if record is not None:
        record._report(report)
    return report
