# SPDX-License-Identifier: Apache-2.0
"""Exceptions: one class per verdict, under one base class."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple, Type, TypeVar

from hallmark import _core
from hallmark._hints import in_python
from hallmark._report import Report
from hallmark._values import Reason

_STATUS = {
    _core.REFUSED: "refused",
    _core.USAGE: "usage",
    _core.UNDECIDED: "undecided",
    _core.LET_THROUGH: "let-through",
}


class HallmarkError(Exception):
    """The base of all exceptions of this package."""

    message: str
    """One line: what failed, on what, and why. Free of control characters."""
    hint: str
    """What to do about it, or ""."""
    reason: Optional[Reason]
    """The library's word for why something was refused, such as ``bad-signature``."""
    status: str
    """``refused``, ``usage``, ``undecided`` or ``let-through``."""
    report: Optional[Report]
    """The report, of an operation that has one."""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        reason: Optional[Reason] = None,
        status: str = "undecided",
        report: Optional[Report] = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.reason = reason
        self.status = status
        self.report = report

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> Tuple[Any, ...]:
        # Exceptions cross from one process to another by this; what was set later goes with them.
        return (_restore, (type(self), self.message, self.__dict__))


_Error = TypeVar("_Error", bound=HallmarkError)


class RefusedError(HallmarkError):
    """The model, its signature or its signer is not what it should be. Do not use the model."""


class IntegrityError(RefusedError):
    """The model is not what was signed, or pinned: ``digest-mismatch``, ``missing-file``,
    ``extra-file``, ``pinned-digest-mismatch``, ``changed-while-reading``."""


class SignatureVerificationError(RefusedError):
    """There is no signature by anybody who is believed: ``bad-signature``, and its subclasses."""


class UnsignedModelError(SignatureVerificationError):
    """There is no signature: ``unsigned``."""


class LetThroughError(UnsignedModelError):
    """There is no signature, and a policy file lets just this model pass without: not verified.
    `verify(let_through=True)` returns the report in place of this."""


class MalformedSignatureError(SignatureVerificationError):
    """The signature file, or an export of a keyring, breaks its format: ``malformed``."""


class UntrustedSignerError(SignatureVerificationError):
    """Signed by nobody whom the policy believes: ``untrusted-signer``."""


class RevokedKeyError(SignatureVerificationError):
    """The key was revoked: ``revoked-key``."""


class ExpiredError(SignatureVerificationError):
    """Outside a validity period: ``expired``."""


class RollbackError(SignatureVerificationError):
    """Older than, or not, what was seen before: ``rollback``."""


class ProvenanceError(SignatureVerificationError):
    """Provenance is missing, of another model, or not as demanded: ``provenance``."""


class UnsupportedError(SignatureVerificationError):
    """A format, a method or a kind of file that is not handled: ``unsupported``."""


class UsageError(HallmarkError, ValueError):
    """The call itself is wrong: an option, a combination, a value."""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        reason: Optional[Reason] = None,
        status: str = "usage",
        report: Optional[Report] = None,
    ) -> None:
        super().__init__(message, hint=hint, reason=reason, status=status, report=report)


class UndecidedError(HallmarkError):
    """Could not be decided or done: I/O, an unreadable key or policy, a service that is down. A
    model about which nothing could be decided is not verified."""


class LetThroughWarning(UserWarning):
    """An unsigned model was let through by a policy file, as the caller of `verify` allowed."""


_OF_REASON: Dict[str, Type[RefusedError]] = {
    "unsigned": UnsignedModelError,
    "malformed": MalformedSignatureError,
    "bad-signature": SignatureVerificationError,
    "untrusted-signer": UntrustedSignerError,
    "revoked-key": RevokedKeyError,
    "expired": ExpiredError,
    "digest-mismatch": IntegrityError,
    "missing-file": IntegrityError,
    "extra-file": IntegrityError,
    "pinned-digest-mismatch": IntegrityError,
    "unsupported": UnsupportedError,
    "changed-while-reading": IntegrityError,
    "provenance": ProvenanceError,
    "rollback": RollbackError,
}


def _class_of(status: int, reason: str) -> Type[HallmarkError]:
    if status == _core.REFUSED:
        return _OF_REASON.get(reason, RefusedError)
    return UsageError if status == _core.USAGE else UndecidedError


def _make_error(
    status: int, reason: str, message: str, hint: str, handle: Optional[_core._Report]
) -> HallmarkError:
    return _class_of(status, reason)(
        message,
        hint=in_python(hint),
        reason=reason or None,  # type: ignore[arg-type]
        status=_STATUS.get(status, "undecided"),
        report=Report(handle) if handle is not None else None,
    )


def as_another(cls: Type[_Error], error: HallmarkError) -> _Error:
    """The same as an exception of another class, which callers of old functions expect."""
    return cls(
        error.message,
        hint=error.hint,
        reason=error.reason,
        status=error.status,
        report=error.report,
    )


def _restore(cls: Type[HallmarkError], message: str, state: Dict[str, Any]) -> HallmarkError:
    error = cls.__new__(cls, message)
    error.args = (message,)
    error.__dict__.update(state)
    return error


_core._set_make_error(_make_error)
