# SPDX-License-Identifier: Apache-2.0
"""What is done with models."""

from __future__ import annotations

import json
import logging
import warnings
from contextlib import contextmanager
from typing import Iterator, Mapping, Optional, Tuple, Union

from hallmark import _core
from hallmark._errors import HallmarkError, LetThroughError, LetThroughWarning, UsageError
from hallmark._policy import Policy, policy_of
from hallmark._record import Recorder, recorded, recording
from hallmark._report import Report
from hallmark._signer import Signer, using
from hallmark._values import (
    Passphrase,
    Progress,
    StrPath,
    StrPaths,
    jobs_of,
    optional_path,
    path,
    paths,
    telling,
    usage,
    whole,
)

_log = logging.getLogger("hallmark")


# ---- the log ------------------------------------------------------------------------------------


def _safe(text: object) -> str:
    """Text for a log: names in a model may hold line ends and codes that steer a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


def _told(report: Report) -> Report:
    """Logs an outcome that is no exception."""
    signer = report.signer
    by = f", signed by {signer.name or signer.key_type} {signer.key_fingerprint}" if signer else ""
    _log.info("%s: %s%s", report.status, _safe(report.path), _safe(by))
    for warning in report.warnings:
        _log.warning("%s: %s", _safe(report.path), _safe(warning))
    return report


@contextmanager
def _logged(operation: str, model: object) -> Iterator[None]:
    """Logs why an operation did not succeed; who catches the exception may not."""
    try:
        yield
    except UsageError:
        raise
    except HallmarkError as error:
        _log.warning("%s %s: %s", operation, error.reason or error.status, _safe(error))
        raise


# ---- verbs --------------------------------------------------------------------------------------


def sign(
    model: StrPaths,
    key: Union[StrPath, Signer],
    *,
    passphrase: Passphrase = None,
    signature: Optional[StrPath] = None,
    format: Optional[str] = None,
    hash: Optional[str] = None,
    files: bool = False,
    shard_size: Optional[int] = None,
    shards_signature: Optional[StrPath] = None,
    ignore: Optional[StrPaths] = None,
    include_git: bool = False,
    follow_symlinks: bool = False,
    name_dot: bool = False,
    signer_id: Optional[str] = None,
    key_version: Optional[int] = None,
    metadata: Union[Mapping[str, object], StrPath, None] = None,
    provenance: Optional[StrPath] = None,
    parts: Optional[StrPaths] = None,
    reuse: Optional[StrPath] = None,
    record: Optional[Recorder] = None,
    jobs: Optional[int] = None,
    progress: Progress = None,
) -> Report:
    """Signs a model, so that any later change can be seen, and returns a report.

    The signature file is written whole or not at all.

    :param model: a file or a directory; several files make one bundle manifest
        (``manifest-json``), which needs `signature`.
    :param key: a private key: a PEM file, a keyring's directory, a key URI, or a `Signer`.
    :param passphrase: of `key`; see `Signer`.
    :param signature: where to write. By default ``MODEL/model.sig`` for a directory and
        ``MODEL.sig`` for a file; ``manifest-json`` puts ``.manifest.json`` in place of a suffix.
    :param format: ``oms`` (OpenSSF Model Signing, the default), ``sig-json`` or ``manifest-json``.
    :param hash: ``sha256`` (the default), ``blake2b`` or ``blake3``; ``oms`` only, as all from here
        to `name_dot`.
    :param files: with `shard_size`, write a signature of whole files as well: the model is read
        once. With `parts`, demand whole files.
    :param shard_size: one digest per shard of so many bytes, `SHARD_SIZE` being a good number.
    :param shards_signature: where to write the signature of the shards, when two are written.
    :param ignore: files or directories to leave out, named relative to the model.
    :param include_git: sign ``.git`` and its like too.
    :param follow_symlinks: sign what symbolic links to files inside the model lead to.
    :param name_dot: sign a single file under the name ".", as the model_signing tool needs it.
    :param signer_id: who claims to sign.
    :param key_version: the version of the key to record, which a keyring knows without being told:
        ``sig-json``, ``manifest-json`` (unsigned), and the provenance statement.
    :param metadata: the training metadata, or a JSON file with it. ``sig-json`` signs and needs it;
        with ``oms`` a provenance statement is made of it, in a file of its own.
    :param provenance: where that goes. By default beside the signature.
    :param parts: take all digests from these files, which `digest` wrote.
    :param reuse: an older signature by the same key, whose digests are taken over for files that
        are provably unchanged.
    :param record: a `Recorder`, which has written down what was done, or found, when this returns.
        By default nothing is recorded.
    :param jobs: threads to use. By default as many as the process may.
    :param progress: a function that is called with the bytes done and the bytes in all; or
        ``tqdm.tqdm``, or a bar of it.
    :raises RefusedError: the model cannot be signed.
    :raises UsageError: the options do not fit together, the format or the key.
    :raises UndecidedError: I/O errors, an unreadable key, a service that is down.
    """
    size = whole(shard_size, "shard_size", 1)
    both = files and size > 0
    flags = (
        (_core.SIGN_INCLUDE_GIT if include_git else 0)
        | (_core.SIGN_FOLLOW_SYMLINKS if follow_symlinks else 0)
        | (_core.SIGN_NAME_DOT if name_dot else 0)
        | (_core.SIGN_FILES_AND_SHARDS if both else _core.SIGN_FILES if files else 0)
    )
    models = paths(model)
    if not models:
        usage("name a model: a file or a directory")
    inline, file = _metadata(metadata)
    with _logged("sign", model), recording(record), using(key, passphrase) as signer, telling(
        progress
    ) as tell:
        _, report = _core.sign(
            models,
            signer,
            flags,
            optional_path(signature),
            format,
            hash,
            size,
            paths(ignore),
            signer_id,
            whole(key_version, "key_version", 1),
            inline,
            file,
            jobs_of(jobs),
            optional_path(shards_signature),
            paths(parts),
            optional_path(reuse),
            optional_path(provenance),
            tell,
        )
    return _told(recorded(record, Report(report)))


def _metadata(
    metadata: Union[Mapping[str, object], StrPath, None],
) -> Tuple[Optional[str], Optional[bytes]]:
    if metadata is None or not isinstance(metadata, Mapping):
        return None, optional_path(metadata)
    try:
        return json.dumps(metadata, allow_nan=False), None
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"metadata cannot be written as JSON: {error}") from error


def verify(
    model: StrPath,
    policy: Union[Policy, StrPath, None] = None,
    *,
    key: Optional[StrPaths] = None,
    signature: Optional[StrPaths] = None,
    name: Optional[StrPath] = None,
    provenance: Optional[StrPath] = None,
    ignore: Optional[StrPaths] = None,
    include_git: bool = False,
    ignore_unsigned: bool = False,
    strict_paths: bool = False,
    fail_fast: bool = False,
    let_through: bool = False,
    record: Optional[Recorder] = None,
    jobs: Optional[int] = None,
    progress: Progress = None,
) -> Report:
    """Verifies a model: the signature first, then every byte it covers. Returns a report when the
    model is exactly what somebody signed whom the policy believes, and raises otherwise.

    It does not say that the files are still the same afterwards: whoever can write to them can
    change them the moment this returns.

    :param model: a file or a directory.
    :param policy: a `Policy`, or a policy file.
    :param key: in place of a policy: the public keys to believe.
    :param signature: the signature file. By default it is looked for where `sign` puts it, or where
        the policy says. A loaded policy may take several.
    :param name: the name under which a single file was signed, when it has another now; with a
        loaded policy, the name by which a rule is chosen.
    :param provenance: the provenance statement, which must then be there and be good. By default it
        is looked for beside the signature.
    :param ignore: files or directories not to look at, named relative to the model, that the
        signature does not list.
    :param include_git: do not pass over ``.git`` and its like by default.
    :param ignore_unsigned: list files that are not signed, but do not refuse the model for them.
    :param strict_paths: ignore nothing but the format's own defaults, the signature and its
        provenance, whatever the signature says.
    :param fail_fast: stop at the first difference instead of finding them all.
    :param let_through: return a report, which is not true, and warn with `LetThroughWarning`, in
        place of raising `LetThroughError`, when a policy file lets this unsigned model pass.
    :param record: a `Recorder`, which has written down what was done, or found, when this returns.
        By default nothing is recorded.
    :param jobs: threads to use. By default as many as the process may.
    :param progress: as for `sign`.
    :raises IntegrityError: the model is not what was signed.
    :raises SignatureVerificationError: there is no signature by anybody who is believed.
    :raises LetThroughError: there is no signature, and a policy file lets just that pass.
    :raises UsageError: the call itself is wrong.
    :raises UndecidedError: I/O errors, an unreadable key or policy. Nothing is verified.
    """
    flags = (
        (_core.VERIFY_IGNORE_UNSIGNED if ignore_unsigned else 0)
        | (_core.VERIFY_FAIL_FAST if fail_fast else 0)
        | (_core.VERIFY_STRICT_PATHS if strict_paths else 0)
        | (_core.VERIFY_INCLUDE_GIT if include_git else 0)
    )
    with _logged("verify", model), recording(record), telling(progress) as tell:
        status, handle = _core.verify(
            path(model),
            policy_of(policy, key)._core,
            flags,
            paths(signature),
            paths(ignore),
            optional_path(name),
            jobs_of(jobs),
            optional_path(provenance),
            tell,
        )
        report = Report(handle)
        if status != _core.OK and not let_through:
            raise _not_verified(report)
        recorded(record, report)
    if not report.verified:
        _log.warning("let through: %s", _safe(report.message))
        warnings.warn(str(_not_verified(report)), LetThroughWarning, stacklevel=2)
        return report
    return _told(report)


def _not_verified(report: Report) -> LetThroughError:
    return LetThroughError(
        report.message or "the model has no signature",
        hint=report.hint or "",
        reason=report.reason,
        status="let-through",
        report=report,
    )


def resign(
    model: StrPath,
    policy: Union[Policy, StrPath],
    key: Union[StrPath, Signer],
    *,
    passphrase: Passphrase = None,
    record: Optional[Recorder] = None,
    jobs: Optional[int] = None,
    progress: Progress = None,
) -> Report:
    """Moves a model to another key: verifies it, and replaces its signature by one of `key` over
    just the digests that were verified. A model that is good by `key` already is left as it is.

    :param model: a file or a directory.
    :param policy: whom the model is believed of so far: a `Policy`, or a policy file.
    :param key: the new private key, which is to sign, as for `sign`.
    :param passphrase: of `key`; see `Signer`.
    :param record: a `Recorder`, which has written down what was done, or found, when this returns.
        By default nothing is recorded.
    :param jobs: threads to use. By default as many as the process may.
    :param progress: as for `sign`.
    :raises RefusedError: the policy does not believe the model's signature, or the model is not
        what was signed. The old files are as they were.
    :raises UndecidedError: I/O errors, an unreadable key or policy.
    """
    with _logged("resign", model), recording(record), using(key, passphrase) as signer, telling(
        progress
    ) as tell:
        _, report = _core.resign(
            path(model), policy_of(policy, None)._core, signer, jobs_of(jobs), tell
        )
    return _told(recorded(record, Report(report)))


def digest(
    model: StrPath,
    *,
    hash: Optional[str] = None,
    shard_size: Optional[int] = None,
    ignore: Optional[StrPaths] = None,
    include_git: bool = False,
    follow_symlinks: bool = False,
    path_order: bool = False,
    part: Optional[Tuple[int, int]] = None,
    out: Optional[StrPath] = None,
    jobs: Optional[int] = None,
    progress: Progress = None,
) -> Report:
    """Digests a model as signing would: the model digest, the OMS root digest, every entry.

    :param model: a file or a directory.
    :param hash: ``sha256`` (the default), ``blake2b`` or ``blake3``.
    :param shard_size: one digest per shard of so many bytes, in place of one per file.
    :param ignore: files or directories to leave out, such as a signature.
    :param include_git: take in ``.git`` and its like.
    :param follow_symlinks: digest what symbolic links to files inside the model lead to.
    :param path_order: the root digest in the order that model_signing has.
    :param part: ``(I, N)``: one of N shares, numbered from 1, which `sign` puts together. Needs
        `out`.
    :param out: where to write the share's digests.
    :param jobs: threads to use. By default as many as the process may.
    :param progress: as for `sign`.
    """
    flags = (
        (_core.DIGEST_INCLUDE_GIT if include_git else 0)
        | (_core.DIGEST_FOLLOW_SYMLINKS if follow_symlinks else 0)
        | (_core.DIGEST_PATH_ORDER if path_order else 0)
    )
    if (part is None) != (out is None):
        usage("part and out go together")
    number, count = _share(part)
    with _logged("digest", model), telling(progress) as tell:
        _, report = _core.digest(
            path(model),
            flags,
            hash,
            whole(shard_size, "shard_size", 1),
            paths(ignore),
            jobs_of(jobs),
            number,
            count,
            optional_path(out),
            tell,
        )
    return _told(Report(report))


def _share(part: Optional[Tuple[int, int]]) -> Tuple[int, int]:
    if part is None:
        return 0, 0
    if not isinstance(part, tuple) or len(part) != 2:
        raise TypeError(f"part must be a tuple (I, N), not {part!r}")
    number, count = whole(part[0], "part"), whole(part[1], "part")
    if not 1 <= number <= count < 2**32:
        usage(f"part wants (I, N) with I from 1 to N, not {part}")
    return number, count


def inspect(signature: StrPath) -> Report:
    """Says what a signature file says. Nothing of it is verified, and the report, which is not
    true, says so: it has no `signer`, and what it has is for people to look at.

    :param signature: the signature file.
    """
    with _logged("inspect", signature):
        _, report = _core.inspect(path(signature))
    return Report(report)
