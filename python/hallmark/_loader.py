# SPDX-License-Identifier: Apache-2.0
"""A loader that a service puts in front of every model."""

from __future__ import annotations

import logging
import os
from typing import Any, Callable, Dict, Optional, Union

from hallmark import safetensors, torch
from hallmark._errors import HallmarkError
from hallmark._model import Model, open
from hallmark._policy import Policy, policy_of
from hallmark._report import Report
from hallmark._values import StrPath
from hallmark._verbs import _safe

_log = logging.getLogger("hallmark.events")

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

    :param public_key_path: the public key to believe.
    :param policy: in its place: a `Policy`, or a policy file.
    :param loader: makes of an open `hallmark.Model` what the service uses. What it keeps of paths
        must not outlive its call. By default `hallmark.load_weights`.
    :param on_event: called with an `Event` when a model was loaded, refused, or could not be
        decided about. The logger ``hallmark.events`` tells of them, too. What it raises is raised
        by `load_model`: a model whose loading cannot be recorded is not handed out.
    :param on_failure: called with the model's path and the exception when a model was refused, or
        could not be decided about: to tell people, to take the file away, to go back to an older
        version. The exception is raised all the same.
    """

    def __init__(
        self,
        public_key_path: Optional[StrPath] = None,
        *,
        policy: Union[Policy, StrPath, None] = None,
        loader: Callable[[Model], Any] = load_weights,
        on_event: Optional[Callable[[Event], object]] = None,
        on_failure: Optional[Callable[[str, HallmarkError], object]] = None,
    ) -> None:
        self._policy = policy_of(policy, public_key_path)
        self._loader = loader
        self._on_event = on_event
        self._on_failure = on_failure

    def load_model(self, model_path: StrPath) -> Any:
        """Verifies a model and loads it.

        :raises HallmarkError: it was refused, or could not be decided about.
        """
        place = os.fsdecode(model_path)
        try:
            with self._open(model_path) as model:
                loaded = self._loader(model)
                report = model.report
        except HallmarkError as error:
            self._failed(place, error)
            raise
        self._tell({**self._event("model_loaded", place, report), "signature_verified": True})
        return loaded

    def _open(self, model_path: StrPath) -> Model:
        return open(model_path, self._policy)

    def _event(self, event: str, place: str, report: Optional[Report]) -> Event:
        signer = report.signer if report is not None else None
        return {
            "event": event,
            "model_path": place,
            "signature_verified": False,
            "signer": (signer.name or signer.key_fingerprint) if signer is not None else None,
            "model_digest": report.model_digest if report is not None else None,
        }

    def _failed(self, place: str, error: HallmarkError) -> None:
        word = "model_refused" if error.status in ("refused", "let-through") else "model_undecided"
        event = self._event(word, place, error.report)
        try:
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
