# SPDX-License-Identifier: Apache-2.0
"""The library's hints, which name the command's options, in the words of this package."""

from __future__ import annotations

import re

# What is not called as the option is. An option that is not here is a parameter of its own name.
_NAMES = {
    "allow-symlinks": "allow_symlinks=True",
    "cert": "certificate=",
    "files": "files=True",
    "follow-symlinks": "follow_symlinks=True",
    "include-git": "include_git=True",
    "keyring": "keyrings=",
    "keyring-key": "admin_key=",
    "keyring-min-version": "min_version=",
    "no-passphrase": "plain=True",
    "passphrase-fd": "passphrase=",
    "passphrase-file": "passphrase=",
    "root": "roots=",
    "shards": "shard_size=",
}

# Whole commands are left as they are, in quotes or from `hallmark` on: they can be run.
_OPTION = re.compile(
    r"`[^`]*`|'[^']*'|\bhallmark [a-z].*"
    r"|(?<!\S)--(?P<name>[a-z][a-z0-9-]*)(?: (?P<value>oms|\w+-json|sha256|blake\w+|[0-9A-Z]+)\b)?"
)


def _in_python(found: re.Match[str]) -> str:
    option, value = found["name"], found["value"]
    if option is None:
        return found[0]
    name = _NAMES.get(option, f"{option.replace('-', '_')}=")
    if value is None:
        return name
    return name + (f'"{value}"' if value.islower() else value)


def in_python(hint: str) -> str:
    """A hint with parameters in place of options."""
    return _OPTION.sub(_in_python, hint)
