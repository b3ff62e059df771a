# SPDX-License-Identifier: Apache-2.0
"""The store, which lets in nothing that is not verified."""

from __future__ import annotations

import os
import threading
import warnings
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Dict, Iterator, Optional, Tuple, Type, Union

from hallmark import _core
from hallmark._config import Config, config_of
from hallmark._errors import LetThroughWarning
from hallmark._policy import Policy, policy_of
from hallmark._report import Report
from hallmark._values import (
    Progress,
    StrPath,
    StrPaths,
    Time,
    jobs_of,
    optional_path,
    parse_json,
    path,
    paths,
    seconds_ago,
    telling,
    usage,
    whole,
)
from hallmark._verbs import _logged, _told

_Outcome = Tuple[int, "_core._Report"]


class Quarantine:
    """What the gate of a store holds; `Store.quarantine`. Entries are named by their ids, which may
    be cut short as long as no other begins so."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list(self) -> Dict[str, Any]:
        """All entries, as ``docs/status.schema.json`` has them."""
        return self._describe(None)

    def show(self, id: str) -> Dict[str, Any]:
        """All that is known of one entry, in the same form."""
        return self._describe(id.encode())

    def text(self, id: Optional[str] = None) -> str:
        """The same for people: of all entries, or of one."""
        named = id.encode() if id is not None else None
        with self._store._using() as store:
            return _core.quarantine_describe(store, named, 0)

    def _describe(self, id: Optional[bytes]) -> Dict[str, Any]:
        with self._store._using() as store:
            found = parse_json(_core.quarantine_describe(store, id, _core.STORE_JSON))
        assert isinstance(found, dict)
        return found

    def release(
        self,
        id: str,
        policy: Union[Policy, StrPath, None] = None,
        *,
        key: Optional[StrPaths] = None,
        dry_run: bool = False,
        no_switch: bool = False,
        jobs: Optional[int] = None,
        progress: Progress = None,
    ) -> Report:
        """Deploys an entry, if it verifies now. A refused one stays where it is.

        :param id: which one.
        :param policy: as for `Store.deploy`.
        :param key: as for `Store.deploy`.
        :param dry_run: verify, and change nothing.
        :param no_switch: put it into the store, but leave ``current``.
        :param jobs: as for `sign`.
        :param progress: as for `sign`.
        """
        flags = (_core.DEPLOY_DRY_RUN if dry_run else 0) | (
            _core.DEPLOY_NO_SWITCH if no_switch else 0
        )
        judge = self._store._policy(policy, key)._core
        with _logged("release", id), telling(progress) as tell, self._store._using() as store:
            return _outcome(
                _core.quarantine_release(store, id, judge, flags, jobs_of(jobs), tell)
            )

    def purge(self, id: Optional[str] = None, *, older_than: Optional[Time] = None) -> int:
        """Deletes for ever, and returns how many entries; the ledger remembers them.

        :param id: which one.
        :param older_than: in its place: all that is there since before then; a timedelta is so
            long ago.
        """
        if (id is None) == (older_than is None):
            usage("name an entry, or say older_than")
        with self._store._using() as store:
            if id is None:
                return _core.quarantine_purge_older(store, seconds_ago(older_than, "older_than"))
            _core.quarantine_purge(store, id)
            return 1


class Store:
    """A directory with the versions of models that a host serves; see ``docs/store.md``. Nothing
    gets in unverified, and ``models/NAME/current`` leads to the version that is served.

    May be used by several threads, which take turns. Close it, or use it in a ``with`` statement:
    alerts are delivered then. Events go to the ledger of its configuration, by default
    ``ledger.db`` in the store.
    """

    _handle: _core._Store
    _lock: threading.RLock
    _config: Config
    _closed: bool

    def __init__(self) -> None:
        usage("a store is opened by Store.open()")

    @classmethod
    def open(
        cls,
        place: Union[Config, StrPath, None] = None,
        *,
        create: bool = False,
        read_only: bool = False,
    ) -> Store:
        """Opens a store.

        :param place: a `Config`, or the store's directory. By default the store that the command
            would use.
        :param create: make the directory a store if it is empty or absent.
        :param read_only: only look: change nothing, and record nothing.
        :raises UsageError: no store is named, or it is none.
        :raises UndecidedError: others can write to it, or a newer program made it.
        """
        store = cls.__new__(cls)
        config = place if isinstance(place, Config) else config_of(None, store=place)
        store._config = config
        store._lock = threading.RLock()
        store._closed = False
        flags = (_core.STORE_CREATE if create else 0) | (_core.STORE_READ if read_only else 0)
        store._handle = _core.store_open(config._core, flags)
        return store

    def close(self) -> None:
        """Delivers alerts, and ends the store."""
        with self._lock:
            self._closed = True
            _core.store_close(self._handle)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<hallmark.Store: {self.path!r}>"

    @contextmanager
    def _using(self) -> Iterator[_core._Store]:
        with self._lock:
            if self._closed:
                usage("the store is closed")
            yield self._handle

    def _policy(self, policy: Union[Policy, StrPath, None], key: Optional[StrPaths]) -> Policy:
        if policy is None and key is None:
            return configured_policy(self._config)
        return policy_of(policy, key)

    @property
    def path(self) -> str:
        """Its directory."""
        return self._config.get("store") or ""

    @property
    def config(self) -> Config:
        """Its configuration, which cannot be changed while it is open."""
        return self._config

    @property
    def quarantine(self) -> Quarantine:
        """What the gate holds."""
        return Quarantine(self)

    def current(self, name: str) -> str:
        """The path that serving code opens: the link to the version of a model that is served."""
        return os.path.join(self.path, "models", name, "current")

    def names(self) -> Tuple[str, ...]:
        """The models in the store, sorted."""
        with self._using() as store:
            return _core.store_names(store)

    def status(self, name: Optional[str] = None) -> Dict[str, Any]:
        """What is current, by whom, when it was last verified, and what is in quarantine, as
        ``docs/status.schema.json`` has it. Nothing is verified for it.

        :param name: of one model only.
        """
        named = name.encode() if name is not None else None
        with self._using() as store:
            found = parse_json(_core.store_status(store, named, _core.STORE_JSON))
        assert isinstance(found, dict)
        return found

    def deploy(
        self,
        source: StrPath,
        name: str,
        policy: Union[Policy, StrPath, None] = None,
        *,
        key: Optional[StrPaths] = None,
        signature: Optional[StrPaths] = None,
        provenance: Optional[StrPath] = None,
        ignore: Optional[StrPaths] = None,
        dry_run: bool = False,
        no_switch: bool = False,
        full: bool = False,
        jobs: Optional[int] = None,
        progress: Progress = None,
    ) -> Report:
        """Verifies a model while it is copied into the store, and only then makes it current. What
        is refused goes into quarantine, and the old version stays current.

        A model that a policy lets pass without a signature is deployed, too, with a
        `LetThroughWarning` and a report that is false.

        :param source: a file or a directory.
        :param name: of the model in the store, by which the policy's rule is chosen.
        :param policy: a `Policy`, or a policy file. By default, without `key`, the configuration's,
            or that of `Policy.default`.
        :param key: in place of a policy: the public keys to believe.
        :param signature: as for `verify`.
        :param provenance: as for `verify`.
        :param ignore: files or directories to leave out, that the signature does not list.
        :param dry_run: verify, and write nothing.
        :param no_switch: put it into the store, but leave ``current``.
        :param full: read everything, even what is proven to be unchanged since it was deployed.
        :param jobs: as for `sign`.
        :param progress: as for `sign`.
        :raises RefusedError: as `verify`.
        :raises UndecidedError: I/O errors, a full disk, somebody else who has the lock, a ledger
            that takes no events. A step that was begun is completed by the next call.
        """
        flags = (
            (_core.DEPLOY_DRY_RUN if dry_run else 0)
            | (_core.DEPLOY_NO_SWITCH if no_switch else 0)
            | (_core.DEPLOY_FULL if full else 0)
        )
        judge = self._policy(policy, key)._core
        with _logged("deploy", source), telling(progress) as tell, self._using() as store:
            return _outcome(
                _core.deploy(
                    store,
                    path(source),
                    name,
                    judge,
                    flags,
                    paths(signature),
                    optional_path(provenance),
                    paths(ignore),
                    jobs_of(jobs),
                    tell,
                )
            )

    def rollback(
        self,
        name: str,
        policy: Union[Policy, StrPath, None] = None,
        *,
        key: Optional[StrPaths] = None,
        to: Optional[str] = None,
        jobs: Optional[int] = None,
        progress: Progress = None,
    ) -> Report:
        """Makes an older version current, once it is verified again.

        :param name: of the model.
        :param policy: as for `Store.deploy`.
        :param key: as for `Store.deploy`.
        :param to: which version: its model digest, or the beginning of it. By default the last
            known good one before the current one.
        :param jobs: as for `sign`.
        :param progress: as for `sign`.
        :raises RefusedError: it does not verify any more; ``current`` stays.
        :raises UndecidedError: also when there is no version to go back to.
        """
        judge = self._policy(policy, key)._core
        with _logged("rollback", name), telling(progress) as tell, self._using() as store:
            return _outcome(_core.rollback(store, name, judge, 0, to, jobs_of(jobs), tell))

    def check(
        self,
        name: str,
        policy: Union[Policy, StrPath, None] = None,
        *,
        key: Optional[StrPaths] = None,
        leave_bad: bool = False,
        routine: bool = False,
        jobs: Optional[int] = None,
        progress: Progress = None,
    ) -> Report:
        """Verifies what is current. A version that fails goes into quarantine, and another that
        verifies takes its place; without one, ``current`` is taken away. The exception's report is
        of the version that failed, and its ``store`` says what took its place.

        :param name: of the model; `names` has all.
        :param policy: as for `Store.deploy`.
        :param key: as for `Store.deploy`.
        :param leave_bad: when no version is good, leave the bad one current.
        :param routine: one check of many: of good verdicts on one version only the first of each
            day is recorded.
        :param jobs: as for `sign`.
        :param progress: as for `sign`.
        :raises RefusedError: it failed, whatever took its place; or nothing is served.
        :raises UndecidedError: that could not be found out. Nothing is changed.
        """
        flags = (_core.GATE_LEAVE_BAD if leave_bad else 0) | (_core.GATE_ROUTINE if routine else 0)
        judge = self._policy(policy, key)._core
        with _logged("check", name), telling(progress) as tell, self._using() as store:
            return _outcome(_core.store_check(store, name, judge, flags, None, jobs_of(jobs), tell))

    def gc(
        self, name: Optional[str] = None, *, keep: Optional[int] = None, dry_run: bool = False
    ) -> Dict[str, Any]:
        """Removes versions beyond the newest, never the current one or the last known good, and
        says which, as ``docs/status.schema.json`` has it.

        :param name: of one model only.
        :param keep: how many to leave of each model. By default as configured.
        :param dry_run: remove nothing.
        """
        named = name.encode() if name is not None else None
        flags = _core.STORE_JSON | (_core.GC_DRY_RUN if dry_run else 0)
        with self._using() as store:
            found = parse_json(_core.store_gc(store, named, whole(keep, "keep", 1), flags))
        assert isinstance(found, dict)
        return found


def configured_policy(config: Config) -> Policy:
    """The policy that a configuration names, or the system's."""
    named = config.get("policy")
    return Policy.load(named) if named is not None else Policy.default()


def _outcome(result: _Outcome) -> Report:
    status, handle = result
    report = Report(handle)
    if status == _core.LET_THROUGH:
        message = report.message or "the model has no signature"
        warnings.warn(message, LetThroughWarning, stacklevel=3)
    return _told(report)
