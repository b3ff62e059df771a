# SPDX-License-Identifier: Apache-2.0
"""What callers hand over, in the form that the core takes."""

from __future__ import annotations

import datetime
import json
import operator
import os
from contextlib import ExitStack, contextmanager
from typing import (
    Any,
    Callable,
    Iterable,
    Iterator,
    Literal,
    NoReturn,
    Optional,
    Protocol,
    SupportsIndex,
    Tuple,
    Union,
)

from hallmark import _core

StrPath = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
"""A path; of keys also a URI."""

StrPaths = Union[StrPath, Iterable[StrPath]]
"""One path, or several."""

Texts = Union[str, Iterable[str], None]
"""One text, or several."""

Passphrase = Union[str, bytes, Callable[[str], Union[str, bytes, None]], None]
"""A passphrase or PIN, or a function that is called with a prompt, such as `getpass.getpass`."""

Time = Union[str, int, datetime.datetime, datetime.timedelta]
"""Text as the command takes it ("2026-01-05", "90d"), seconds since 1970 UTC, a datetime with a
time zone, or a time from now."""

Reason = Literal[
    "unsigned",
    "malformed",
    "bad-signature",
    "untrusted-signer",
    "revoked-key",
    "expired",
    "digest-mismatch",
    "missing-file",
    "extra-file",
    "pinned-digest-mismatch",
    "unsupported",
    "changed-while-reading",
    "provenance",
    "rollback",
]
"""The words for why something was refused. They never change."""


class ProgressBar(Protocol):
    """What is used of a bar of tqdm."""

    total: Any

    def update(self, n: Any = ...) -> Any: ...
    def close(self) -> Any: ...


Progress = Union[Callable[[int, int], object], ProgressBar, "type[Any]", None]
"""A function that is called with the bytes done and the bytes in all; a tqdm bar, or tqdm."""

_UINT64_MAX = 2**64 - 1


def usage(message: str) -> NoReturn:
    """Raises a UsageError."""
    from hallmark._errors import UsageError

    raise UsageError(message)


# ---- paths and texts ----------------------------------------------------------------------------


def path(value: StrPath) -> bytes:
    encoded = os.fsencode(value)
    if b"\0" in encoded:
        usage("a path holds a NUL byte")
    return encoded


def optional_path(value: Optional[StrPath]) -> Optional[bytes]:
    return path(value) if value is not None else None


def paths(value: Optional[StrPaths]) -> Tuple[bytes, ...]:
    if value is None:
        return ()
    if isinstance(value, (str, bytes, os.PathLike)):
        return (path(value),)
    return tuple(path(each) for each in value)


def texts(value: Texts) -> Tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def whole(value: Optional[SupportsIndex], name: str, least: int = 0) -> int:
    """A count, numpy's too; None is 0, which to the core is: not said."""
    if value is None:
        return 0
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}")
    number = operator.index(value)
    if not least <= number <= _UINT64_MAX:
        usage(f"{name} must be at least {least}, not {number}")
    return number


def jobs_of(value: Optional[SupportsIndex]) -> int:
    count = whole(value, "jobs", 1)
    if count > 2**32 - 1:
        usage(f"jobs is too large: {count}")
    return count


def parse_json(text: str, **options: Any) -> Any:
    return json.loads(text, parse_int=_integer, **options)


def _integer(text: str) -> Union[int, str]:
    # Python refuses to read integers of more than some thousand digits, which metadata may have.
    return int(text) if len(text) <= 4000 else text


# ---- times --------------------------------------------------------------------------------------


def moment(text: str) -> datetime.datetime:
    """A time of a report. Years that datetime has not become its least or greatest."""
    if text.startswith("-"):
        return datetime.datetime.min.replace(tzinfo=datetime.timezone.utc)
    if text.index("-") > 4:
        return datetime.datetime.max.replace(tzinfo=datetime.timezone.utc)
    try:
        return datetime.datetime.fromisoformat(text[:-1] + "+00:00")
    except ValueError:  # the year 0
        return datetime.datetime.min.replace(tzinfo=datetime.timezone.utc)


def seconds(value: Optional[Time], name: str) -> int:
    """Seconds since 1970 UTC; None is 0."""
    if value is None:
        return 0
    if isinstance(value, str):
        return _core.time_from_text(value)
    if isinstance(value, datetime.timedelta):
        value = datetime.datetime.now(datetime.timezone.utc) + value
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            usage(f"{name}: a datetime without a time zone could be any of several times")
        return int(value.timestamp())
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a time, not {type(value).__name__}")
    if not -(2**63) <= value < 2**63:
        usage(f"{name} is no time: {value}")
    return value


def seconds_ago(value: Optional[Time], name: str) -> int:
    """The same where times lead back: a span of days, or a timedelta, is so long ago."""
    now = _core.time_from_text("0d")
    if isinstance(value, datetime.timedelta):
        return now - int(value.total_seconds())
    if isinstance(value, str) and value.endswith("d"):
        return 2 * now - _core.time_from_text(value)
    return seconds(value, name)


# ---- passphrases --------------------------------------------------------------------------------


def _encoded(passphrase: Union[str, bytes, None]) -> Optional[bytes]:
    if passphrase is None or isinstance(passphrase, bytes):
        return passphrase
    if isinstance(passphrase, str):
        return passphrase.encode()
    raise TypeError(f"a passphrase must be str or bytes, not {type(passphrase).__name__}")


def ask(passphrase: Passphrase) -> Optional[Callable[[str, bool], Optional[bytes]]]:
    """What the core calls when it needs a passphrase."""
    if passphrase is None:
        return None
    if not callable(passphrase):
        known = _encoded(passphrase)
        return lambda what, again: known
    function = passphrase

    def answer(what: str, again: bool) -> Optional[bytes]:
        first = _encoded(function(f"Passphrase for {what}: "))
        if again and first is not None and _encoded(function("The same again: ")) != first:
            usage("the two passphrases differ")
        return first

    return answer


# ---- progress -----------------------------------------------------------------------------------


def _through(bar: ProgressBar) -> Callable[[int, int], None]:
    told = 0

    def tell(done: int, total: int) -> None:
        nonlocal told
        bar.total = total
        bar.update(done - told)
        told = done

    return tell


def _of_a_kind(kind: Callable[..., ProgressBar], stack: ExitStack) -> Callable[[int, int], None]:
    through: Optional[Callable[[int, int], None]] = None

    def tell(done: int, total: int) -> None:
        nonlocal through
        if through is None:
            bar = kind(total=total, unit="B", unit_scale=True, unit_divisor=1024)
            stack.callback(bar.close)
            through = _through(bar)
        through(done, total)

    return tell


@contextmanager
def telling(progress: Progress) -> Iterator[Optional[Callable[[int, int], object]]]:
    """The function to be called; a bar is made when there is something to show, and is closed at
    the end."""
    if isinstance(progress, type) and hasattr(progress, "update"):
        with ExitStack() as stack:
            yield _of_a_kind(progress, stack)
    elif progress is not None and hasattr(progress, "update"):
        yield _through(progress)  # type: ignore[arg-type]
    elif progress is None or callable(progress):
        yield progress
    else:
        raise TypeError(f"progress must be a function or a bar, not {type(progress).__name__}")
