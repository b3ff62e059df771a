# SPDX-License-Identifier: Apache-2.0
"""What a host is told once for all commands."""

from __future__ import annotations

import os
from typing import Optional, Union

from hallmark import _core
from hallmark._values import StrPath, optional_path, path, usage


class Config:
    """The configuration of a host: store, policy, ledger, alerts; see ``docs/config.md``. Made by
    `Config.load`.

    Several threads may use one; it cannot be changed while a store or a recorder uses it."""

    _core: _core._Config

    def __init__(self) -> None:
        usage("a configuration is made by Config.load()")

    @classmethod
    def load(cls, file: Optional[StrPath] = None) -> Config:
        """Loads a configuration file. What the environment says stands above it: HALLMARK_STORE,
        HALLMARK_LEDGER and HALLMARK_POLICY.

        :param file: by default the one that the command uses: what HALLMARK_CONFIG names, or the
            system's, if there is one.
        """
        config = cls.__new__(cls)
        config._core = _core.config_load(optional_path(file))
        return config

    def set(self, name: str, value: StrPath) -> None:
        """Sets what the command has an option for, above file and environment.

        :param name: ``store``, ``policy``, ``ledger``, ``log`` (``json`` or ``none``), ``group`` or
            ``checkpoint-key``.
        :param value: its value.
        """
        _core.config_set(self._core, name, path(value))

    def get(self, name: str) -> Optional[str]:
        """What is set by these names, or None."""
        value = _core.config_get(self._core, name)
        return os.fsdecode(value) if value is not None else None

    @property
    def check_every(self) -> Optional[int]:
        """The seconds between two checks by a service. None: nothing is said of it."""
        return _core.config_check_every(self._core) or None

    def describe(self, *, json: bool = False) -> str:
        """What is in force, without secrets.

        :param json: as JSON in place of text for people.
        """
        return _core.config_describe(self._core, _core.CONFIG_JSON if json else 0)

    def __repr__(self) -> str:
        return f"<hallmark.Config: store {self.get('store')!r}, ledger {self.get('ledger')!r}>"


def config_of(config: Union[Config, StrPath, None], **above: Optional[StrPath]) -> Config:
    """The configuration that a caller names, with what else was said above it."""
    said = {name: value for name, value in above.items() if value is not None}
    if isinstance(config, Config):
        if said:
            usage(f"set {' and '.join(said)} in the configuration that is given")
        return config
    loaded = Config.load(config)
    for name, value in said.items():
        loaded.set(name, value)
    return loaded
