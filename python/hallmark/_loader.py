# SPDX-License-Identifier: Apache-2.0
"""A loader that a service puts in front of every model."""

from __future__ import annotations

import io
import json
import logging
import os
import re
from typing import Any, Callable, Dict, NoReturn, Optional, Tuple, Union

from hallmark import safetensors, torch
from hallmark._config import Config, config_of
from hallmark._errors import HallmarkError, IntegrityError, RefusedError, UndecidedError, UsageError
from hallmark._model import Model, open
from hallmark._policy import Policy, policy_of
from hallmark._record import Recorder, record_failure, recorded
from hallmark._report import Report
from hallmark._store import Store, configured_policy
from hallmark._values import Reason, StrPath, usage
from hallmark._verbs import _safe

_log = logging.getLogger("hallmark.events")

_TRIES = 3  # to load a model that others deploy all the while
_OVERTAKEN = ("missing-file", "unsigned", "untrusted-signer", "changed-while-reading")
"""What a version that is removed while it is read may be refused for. Other bytes are never the
store's doing."""
_VERSION = re.compile("versions/([0-9a-f]{64})/model")

Event = Dict[str, Any]
"""What happened to a model, in values that JSON has: ``event`` (``model_loaded``, ``model_refused``
or ``model_undecided``), ``model_path``, ``signature_verified``, and more."""


def load_weights(model: Model) -> Any:
    """What `SecureModelLoader` loads by default: the tensors of safetensors files, or, of a single
    file with another name, a checkpoint of torch."""
    if len(model) == 1 and not model.names()[0].endswith(".safetensors"):
        return torch.load(model)
    return safetensors.load_file(model)


class SecureModelLoader:
    """Loads models, and none that is not verified: what is loaded comes from the verified memory,
    what happened is told, and a failure gives no model.

    With `config` the events go to its ledger before a model is handed out, and its alerts are
    delivered. Where it names a store, models are loaded from there by their names, and a failure
    has the store checked at once: a version that is not good goes into quarantine, and the last
    known good one takes its place, which the next `load_model` loads. That needs the rights of
    whoever deploys. A version that somebody replaces or removes while it is loaded is no failure:
    what is current then is loaded, so that `loader` may be called again.

    :param public_key_path: the public key to believe.
    :param policy: in its place: a `Policy`, or a policy file. By default that of `config`.
    :param config: a `Config`, or a configuration file. By default nothing is recorded, and there is
        no store.
    :param loader: makes of an open `hallmark.Model` what the service uses. What it keeps of paths
        must not outlive its call. By default `hallmark.load_weights`.
    :param on_event: called with an `Event` when a model was loaded, refused, or could not be
        decided about. The logger ``hallmark.events`` tells of them, too. What it raises is raised
        by `load_model`: a model whose loading cannot be recorded is not handed out.
    :param on_failure: called with the model's path and the exception when a model was refused, or
        could not be decided about: to tell people, to take the file away, to go back to an older
        version. The exception is raised all the same. When `loader` raises something else, it is
        called with an `UndecidedError` that has this as its ``__cause__``.
    """

    def __init__(
        self,
        public_key_path: Optional[StrPath] = None,
        *,
        policy: Union[Policy, StrPath, None] = None,
        config: Union[Config, StrPath, None] = None,
        loader: Callable[[Model], Any] = load_weights,
        on_event: Optional[Callable[[Event], object]] = None,
        on_failure: Optional[Callable[[str, HallmarkError], object]] = None,
    ) -> None:
        self._config = config_of(config) if config is not None else None
        if policy is None and public_key_path is None and self._config is not None:
            self._policy = configured_policy(self._config)
        else:
            self._policy = policy_of(policy, public_key_path)
        self._loader = loader
        self._on_event = on_event
        self._on_failure = on_failure

    def load_model(self, model_path: StrPath) -> Any:
        """Verifies a model and loads it.

        :param model_path: a file or a directory; with a store the name of a model in it, or a path
            with a slash in it.
        :raises HallmarkError: it was refused, or could not be decided about.
        """
        place = os.fsdecode(model_path)
        record = Recorder(self._config) if self._config is not None else None
        try:
            return self._load(model_path, place, record)
        finally:
            if record is not None:
                record.close()

    def _load(self, model_path: StrPath, place: str, record: Optional[Recorder]) -> Any:
        try:
            loaded, report = self._load_current(model_path, place, record)
        except HallmarkError as error:
            self._failed(place, error, record)
            raise
        except Exception as error:
            # Verified, but of no use to the loader. That is nothing to be silent about, either.
            failure = UndecidedError(f"{_safe(place)} could not be loaded: {_safe(error)}")
            failure.__cause__ = error
            self._failed(place, failure, record)
            raise
        self._tell({**self._event("model_loaded", place, report), "signature_verified": True})
        return loaded

    def _load_current(
        self, model_path: StrPath, place: str, record: Optional[Recorder]
    ) -> Tuple[Any, Report]:
        """Of a store what is current: others replace and remove versions without waiting for us."""
        for _ in range(_TRIES - 1):
            before = self._copy(place)
            try:
                return self._load_once(model_path, place, record)
            except HallmarkError as error:
                by_removal = error.status == "undecided" or error.reason in _OVERTAKEN
                if not by_removal or self._copy(place) == before:
                    raise
                _log.warning("%s was replaced while it was loaded: %s", _safe(place), _safe(error))
        return self._load_once(model_path, place, record)

    def _load_once(
        self, model_path: StrPath, place: str, record: Optional[Recorder]
    ) -> Tuple[Any, Report]:
        with self._open_named(model_path, place) as model:
            loaded = self._loader(model)
            return loaded, recorded(record, model.report)

    def _copy(self, place: str) -> Optional[Tuple[str, Optional[str]]]:
        """Tells the very copy that is current in the store from those before and after it."""
        store = self._store(place)
        if store is None or "\0" in place:
            return None
        current = os.path.join(store, "models", place, "current")
        try:
            record = os.path.join(current, os.pardir, "version.json")
            return os.readlink(current), _recorded(record, "id")
        except OSError:
            return None

    def _store(self, place: str) -> Optional[str]:
        """The store, when a model in it is meant."""
        in_it = self._config is not None and os.sep not in place
        return self._config.get("store") if self._config is not None and in_it else None

    def _open_named(self, model_path: StrPath, place: str) -> Model:
        store = self._store(place)
        if store is None:
            return self._open(model_path)
        if place in ("", ".", "..") or "\0" in place:
            usage(f"{place!r} is no name of a model")
        # Read once: from here on it is one version, whatever `current` leads to meanwhile.
        version = _current(store, place)
        folder = os.path.join(store, "models", place, "versions", version, "model")
        file = _single_file(folder)
        if file is not None:
            opened = self._open(os.path.join(folder, file))
        else:
            opened = open(folder, self._policy, name=place if self._policy._loaded else None)
        if opened.report.model_digest != version:
            opened.close()
            _refused(f"the version {version} of {_safe(place)} is another one", "digest-mismatch")
        return opened

    def _open(self, model_path: StrPath) -> Model:
        return open(model_path, self._policy)

    def _repair(self, place: str, record: Optional[Recorder], error: HallmarkError) -> None:
        """Records a failure; of a model in the store, has that quarantined and rolled back."""
        if self._store(place) is None or isinstance(error, UsageError):
            record_failure(record, error)
            return
        assert self._config is not None
        try:
            with Store.open(self._config) as store:
                store.check(place, self._policy)
        except RefusedError:
            return  # which the store has recorded, with all that it did
        except HallmarkError as cause:
            _log.error("%s could not be checked: %s", _safe(place), _safe(cause))
        record_failure(record, error)

    def _event(self, event: str, place: str, report: Optional[Report]) -> Event:
        signer = report.signer if report is not None else None
        return {
            "event": event,
            "model_path": place,
            "signature_verified": False,
            "signer": (signer.name or signer.key_fingerprint) if signer is not None else None,
            "model_digest": report.model_digest if report is not None else None,
        }

    def _failed(self, place: str, error: HallmarkError, record: Optional[Recorder]) -> None:
        word = "model_refused" if error.status in ("refused", "let-through") else "model_undecided"
        event = self._event(word, place, error.report)
        try:
            self._repair(place, record, error)
            self._tell({**event, "reason": error.reason, "message": str(error)})
        finally:
            if self._on_failure is not None:
                self._on_failure(place, error)

    def _tell(self, event: Event) -> None:
        level = logging.INFO if event["signature_verified"] else logging.ERROR
        place = _safe(event["model_path"])
        _log.log(level, "%s: %s", event["event"], place, extra={"event": event})
        if self._on_event is not None:
            self._on_event(event)


def _refused(message: str, reason: Reason) -> NoReturn:
    raise IntegrityError(message, reason=reason, status="refused")


def _current(store: str, place: str) -> str:
    """The version that `current` names. The link is never followed, and must be one that the store
    makes: another one could lead to another model by the same signer."""
    try:
        link = os.readlink(os.path.join(store, "models", place, "current"))
    except OSError:
        _refused(f"`current` of {_safe(place)} leads to no model", "missing-file")
    found = _VERSION.fullmatch(link)
    if found is None:
        _refused(f"`current` of {_safe(place)} does not lead to a version of it", "missing-file")
    return found[1]


def _single_file(folder: str) -> Optional[str]:
    """The name of a model that is a single file, as the version's record beside it has it. Nothing
    is believed for it: whatever is opened is verified."""
    found = _recorded(os.path.join(os.path.dirname(folder), "version.json"), "file")
    return found if found is not None and os.sep not in found else None


def _recorded(path: str, member: str) -> Optional[str]:
    """What a version's record says, if it can be read."""
    try:
        with io.open(path, "rb") as record:
            found = json.load(record).get(member)
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return found if isinstance(found, str) else None
