# SPDX-License-Identifier: Apache-2.0
"""Runs one command and says what it took."""

import dataclasses
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Mapping, Sequence


class CommandFailed(Exception):
    """A command ended with another status than 0: nothing was measured."""


@dataclasses.dataclass(frozen=True)
class Run:
    seconds: float
    cpu_seconds: float
    peak_kib: int
    output: str


class Meter:
    """Measures by the helper `measure`, so that this Python does not count into peak memory."""

    def __init__(self, helper: pathlib.Path) -> None:
        self.helper = helper

    def run(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Run:
        with tempfile.TemporaryDirectory() as folder:
            report = pathlib.Path(folder) / "report"
            done = subprocess.run(
                [str(self.helper), str(report), *command],
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                raise CommandFailed(f"{self.helper}: {done.stderr.strip()}")
            status, seconds, cpu_seconds, peak_kib = report.read_text().split()
        if int(status) != 0:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise CommandFailed(f"exit status {status}: {said[-1] if said else 'no message'}")
        return Run(float(seconds), float(cpu_seconds), int(peak_kib), done.stdout)
