# SPDX-License-Identifier: Apache-2.0
"""Whom to believe, and on what conditions."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Optional, Union

from hallmark import _core
from hallmark._values import (
    StrPath,
    StrPaths,
    Texts,
    Time,
    optional_path,
    parse_json,
    path,
    paths,
    seconds,
    texts,
    usage,
    whole,
)


@dataclass(frozen=True)
class TrustedKeyring:
    """A keyring whose keys are believed, as `hallmark.keyring.export` wrote it."""

    file: StrPath
    """The export."""
    admin_key: StrPath
    """The public key that it must be signed by."""
    signer: Optional[str] = None
    """Whose keyring it must be. None: anybody's whom the admin signs."""
    min_version: Optional[int] = None
    """Exports before this number are refused, also where nothing can be remembered."""


@dataclass(frozen=True)
class Explanation:
    """Which rule of a policy file is about a model, and why."""

    rule: Optional[int]
    """The rule's number, counted from 1. None: no rule is about the model, which is refused."""
    text: str
    """For people."""
    data: Dict[str, Any]
    """What ``hallmark policy explain --json`` prints."""


class Policy:
    """Whom to believe, and on what conditions.

    A policy is made of keys and certificates here, or loaded from a policy file by `load`. It never
    changes afterwards and may be used by several threads at once.

    :param keys: public keys to believe (PEM files or key URIs): any of them will do.
    :param roots: root certificates to believe.
    :param keyrings: keyrings to believe.
    :param identity_subjects: demand one of these subjects of the signer's certificate, such as
        ``CN=ci,O=Acme``.
    :param identity_sans: demand one of these subject alternative names of it: e-mail addresses, DNS
        names or URIs.
    :param identity_fingerprints: demand one of these SHA-256 fingerprints of it, in hex.
    :param identity_organisations: demand one of these organisations of its subject.
    :param format: accept this format only: ``oms``, ``sig-json`` or ``manifest-json``.
    :param require_provenance: demand a provenance statement by whoever signed the model.
    :param provenance_datasets: demand that it names all of these datasets (``sha256:HEX``).
    :param provenance_builders: demand that it is of one of these builders.
    :param allow_symlinks: accept signatures made through symbolic links to files inside the model.
    :param allow_v0_2_0: accept signatures by model_signing 0.2.0, with its faulty encoding.
    :param allow_expired_certificates: judge certificates at the start of the signer's own validity,
        not now. This gives up expiry: a key that leaked long ago stays good for ever.
    :param allow_missing_eku: accept a certificate for digital signatures that does not say
        "code signing".
    :param time: the time at which certificates and exports are judged, in place of now.
    """

    _core: _core._Policy
    _said: str
    _loaded: bool

    def __init__(
        self,
        *,
        keys: Optional[StrPaths] = None,
        roots: Optional[StrPaths] = None,
        keyrings: Union[TrustedKeyring, Iterable[TrustedKeyring], None] = None,
        identity_subjects: Texts = None,
        identity_sans: Texts = None,
        identity_fingerprints: Texts = None,
        identity_organisations: Texts = None,
        format: Optional[str] = None,
        require_provenance: bool = False,
        provenance_datasets: Texts = None,
        provenance_builders: Texts = None,
        allow_symlinks: bool = False,
        allow_v0_2_0: bool = False,
        allow_expired_certificates: bool = False,
        allow_missing_eku: bool = False,
        time: Optional[Time] = None,
    ) -> None:
        believed_keys, believed_roots = paths(keys), paths(roots)
        if isinstance(keyrings, TrustedKeyring):
            keyrings = [keyrings]
        believed_keyrings = tuple(keyrings or ())
        if not (believed_keys or believed_roots or believed_keyrings):
            usage("say whom to believe: keys, roots or keyrings")
        self._core = _core.policy_new()
        self._said = "keys"
        self._loaded = False
        self._set_time(time)
        for key in believed_keys:
            _core.policy_add_key(self._core, key)
        for root in believed_roots:
            _core.policy_add_root(self._core, root)
        for keyring in believed_keyrings:
            self._add_keyring(keyring)
        for kind, values in (
            (_core.IDENTITY_SUBJECT, identity_subjects),
            (_core.IDENTITY_SAN, identity_sans),
            (_core.IDENTITY_FINGERPRINT, identity_fingerprints),
            (_core.IDENTITY_ORGANISATION, identity_organisations),
        ):
            for value in texts(values):
                _core.policy_require_identity(self._core, kind, value)
        self._demand(format, require_provenance, provenance_datasets, provenance_builders)
        _core.policy_allow(
            self._core,
            (_core.ALLOW_SYMLINKS if allow_symlinks else 0)
            | (_core.ALLOW_OMS_V0_2_0 if allow_v0_2_0 else 0)
            | (_core.ALLOW_EXPIRED_CERTIFICATES if allow_expired_certificates else 0)
            | (_core.ALLOW_MISSING_EKU if allow_missing_eku else 0),
        )

    @classmethod
    def load(
        cls,
        file: StrPath,
        *,
        format: Optional[str] = None,
        require_provenance: bool = False,
        provenance_datasets: Texts = None,
        provenance_builders: Texts = None,
        time: Optional[Time] = None,
    ) -> Policy:
        """Loads a policy file (``docs/policy.md``), with all keys and certificates that it names.
        Models are judged by its rules, and those that none is about are refused.

        What else is given here is demanded besides; what may be allowed stands in the file.
        """
        policy = cls.__new__(cls)
        policy._core = _core.policy_load(path(file))
        policy._said = os.fsdecode(file)
        policy._loaded = True
        policy._set_time(time)
        policy._demand(format, require_provenance, provenance_datasets, provenance_builders)
        return policy

    @classmethod
    def default(cls) -> Policy:
        """Loads the policy file that the command uses when it is told of no other: the one that the
        environment variable HALLMARK_POLICY names, or the system's."""
        file = os.environ.get("HALLMARK_POLICY") or _core.POLICY_FILE
        return cls.load(file)

    def _set_time(self, time: Optional[Time]) -> None:
        if time is not None:
            _core.policy_set_time(self._core, seconds(time, "time"))

    def _add_keyring(self, keyring: TrustedKeyring) -> None:
        if not isinstance(keyring, TrustedKeyring):
            raise TypeError(f"a keyring is a TrustedKeyring, not {type(keyring).__name__}")
        _core.policy_add_keyring(
            self._core,
            path(keyring.file),
            path(keyring.admin_key),
            keyring.signer,
            whole(keyring.min_version, "min_version"),
        )

    def _demand(
        self, format: Optional[str], provenance: bool, datasets: Texts, builders: Texts
    ) -> None:
        if format is not None:
            _core.policy_require_format(self._core, format)
        if provenance:
            _core.policy_require_provenance(self._core, _core.PROVENANCE_ANY, None)
        for dataset in texts(datasets):
            _core.policy_require_provenance(self._core, _core.PROVENANCE_DATASET, dataset)
        for builder in texts(builders):
            _core.policy_require_provenance(self._core, _core.PROVENANCE_BUILDER, builder)

    def describe(self, *, json: bool = False) -> str:
        """What the policy allows, in full.

        :param json: as JSON in place of text for people.
        """
        return _core.policy_describe(self._core, _core.POLICY_JSON if json else 0)

    def explain(self, model: StrPath, *, name: Optional[StrPath] = None) -> Explanation:
        """Which rule of a loaded policy `verify` would judge a model by, and why not by those
        before it; or that there is none. The model's content and its signatures are not looked at.

        :param model: a file or a directory.
        :param name: the name by which a rule is chosen, as for `verify`.
        """
        place, called = path(model), optional_path(name)
        data = parse_json(_core.policy_explain(self._core, place, called, _core.POLICY_JSON))
        rule = data["decides"]["rule"] if data["decides"] is not None else None
        return Explanation(rule, _core.policy_explain(self._core, place, called, 0), data)

    def __repr__(self) -> str:
        return f"<hallmark.Policy: {self._said}>"


def policy_of(policy: Union[Policy, StrPath, None], key: Optional[StrPaths]) -> Policy:
    """The policy that a caller names by a Policy, a policy file, or the keys to believe."""
    if (policy is None) == (key is None):
        usage("say whom to believe: either policy or key")
    if isinstance(policy, Policy):
        return policy
    return Policy.load(policy) if policy is not None else Policy(keys=key)
