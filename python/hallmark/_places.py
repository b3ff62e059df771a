# SPDX-License-Identifier: Apache-2.0
"""Directories for a while, whose paths nobody else can take over when they are gone.

Frameworks remember where they loaded from, and callers hand that on: a tokenizer is then loaded
from what ``model.name_or_path`` says. In a temporary directory that all may write to, another user
could have made a directory of that name by then.
"""

from __future__ import annotations

import atexit
import os
import tempfile
from typing import Optional, Tuple


class _Base:
    """A directory of this process alone, which stays until it ends."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="hallmark-")
        self._process = os.getpid()
        self._identity = self._look()
        atexit.register(self._end)

    def _look(self) -> Optional[Tuple[int, int]]:
        try:
            found = os.lstat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def is_there(self) -> bool:
        """Not in a child, nor when somebody tidied up; whoever comes then makes another."""
        return self._process == os.getpid() and self._identity == self._look()

    def _end(self) -> None:
        if self.is_there():
            try:
                os.rmdir(self.path)
            except OSError:
                pass  # something in it is still used


_base: Optional[_Base] = None


def _is_ours(folder: str) -> bool:
    found = os.stat(folder)
    return found.st_mode & 0o022 == 0 and found.st_uid in (0, os.geteuid())


def make() -> str:
    """Makes a directory for this user alone. The caller removes it."""
    global _base
    if _is_ours(tempfile.gettempdir()):
        return tempfile.mkdtemp(prefix="hallmark-")
    if _base is None or not _base.is_there():
        # Two threads may make two: one of them is used once, and both are removed at the end.
        _base = _Base()
    return tempfile.mkdtemp(dir=_base.path)
