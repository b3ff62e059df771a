# SPDX-License-Identifier: Apache-2.0
"""Keys that sign."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from types import TracebackType
from typing import Iterator, Optional, Type, Union

from hallmark import _core
from hallmark._values import Passphrase, StrPath, StrPaths, ask, optional_path, path, paths, usage


class Signer:
    """Something that can sign: a private key in a PEM file, alone or in a keyring, in a PKCS#11
    token or in a key service.

    `sign` takes a key's path or URI just as well, and opens and closes it; a signer of one's own is
    for several signatures, since a token or service is then asked for once.

    May be used by several threads, which take turns. Close it, or use it in a ``with`` statement:
    an open signer holds the key in memory, or a session with the token.

    :param key: a PEM file, a keyring's directory, or a URI (``pkcs11:``, ``awskms:``,
        ``azurekms:``).
    :param passphrase: the key's passphrase or the token's PIN; or a function that is called with a
        prompt when one is needed, such as `getpass.getpass`. Python may leave copies of it in
        memory.
    :param certificate: the key's certificate (PEM), for signatures that are verified by a root.
    :param chain: certificates that lead from it towards a root.
    """

    def __init__(
        self,
        key: StrPath,
        *,
        passphrase: Passphrase = None,
        certificate: Optional[StrPath] = None,
        chain: Optional[StrPaths] = None,
    ) -> None:
        leaf = optional_path(certificate)
        links = paths(chain)
        if links and leaf is None:
            usage("chain needs certificate")
        self._lock = threading.RLock()
        self._closed = False
        self._core = _core.signer_open(path(key), ask(passphrase))
        self._algorithm, self._fingerprint, self._key_version = _core.signer_describe(self._core)
        if leaf is not None:
            _core.signer_set_certificates(self._core, leaf, links)

    @property
    def algorithm(self) -> str:
        """The key's algorithm, such as ``ec-p256``, ``rsa-3072`` or ``ed25519``."""
        return self._algorithm

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key's DER SubjectPublicKeyInfo, in hex."""
        return self._fingerprint

    @property
    def key_version(self) -> Optional[int]:
        """The number of the key's version, of a keyring."""
        return self._key_version or None

    def close(self) -> None:
        """Wipes the key and lets go of the token. The signer signs no more."""
        with self._lock:
            _core.signer_close(self._core)
            self._closed = True

    def __enter__(self) -> Signer:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<hallmark.Signer: {self.algorithm} key {self.fingerprint}>"


@contextmanager
def using(key: Union[StrPath, Signer], passphrase: Passphrase) -> Iterator[_core._Signer]:
    """The core of a signer, which nobody else uses meanwhile."""
    if isinstance(key, Signer):
        if passphrase is not None:
            usage("an open signer needs no passphrase")
        with key._lock:
            if key._closed:
                usage("the signer is closed")
            yield key._core
    else:
        with Signer(key, passphrase=passphrase) as signer:
            yield signer._core


def generate_key(
    private: StrPath,
    public: Optional[StrPath] = None,
    *,
    type: str = "ec-p256",
    passphrase: Passphrase = None,
    plain: bool = False,
) -> None:
    """Makes a key pair. Neither file is ever written over; either both appear or neither.

    :param private: the file for the private key (PKCS#8 PEM, mode 0600); or a PKCS#11 URI with a
        label: the pair is made in the token.
    :param public: the file for the public key. By default `private` with a final ``.pem`` replaced
        by ``.pub``, or with ``.pub`` added; of a token: no file.
    :param type: ``ec-p256``, ``ec-p384``, ``ec-p521``, ``rsa-3072``, ``rsa-4096`` or ``ed25519``.
        The formats ``sig-json`` and ``manifest-json`` need an RSA key.
    :param passphrase: to encrypt with; of a token, its PIN. A function is asked twice.
    :param plain: store the private key unencrypted.
    """
    if plain and passphrase is not None:
        usage("plain does not go with a passphrase")
    flags = _core.KEYGEN_PLAIN if plain else 0
    _core.key_generate(path(private), optional_path(public), type, ask(passphrase), flags)
