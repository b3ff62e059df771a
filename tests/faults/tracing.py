# SPDX-License-Identifier: Apache-2.0
"""Running the program under tracer.c: killed at each change of the file system in turn."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import support

KILLED = 128 + signal.SIGKILL
FAILED = 125
# All points, not a choice of them: HALLMARK_FAULTS=full.
FULL = os.environ.get("HALLMARK_FAULTS") == "full"
# With a sanitizer each run takes several times as long.
SLOW = bool(os.environ.get("HALLMARK_SANITIZER"))


def build(hallmark):
    """Built beside the program, or beside the release build when that is somewhere else."""
    folder = hallmark.binary.parent
    if not (folder / "build.ninja").exists():
        folder = support.ROOT / "build"
    target = "tests/faults/hmtracer"
    subprocess.run(["ninja", "-C", str(folder), "--quiet", target], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    return folder / target


def fast_folder():
    """A new folder in memory where there is one: thousands of runs that sync take their time."""
    memory = pathlib.Path("/dev/shm")
    parent = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hallmark-faults-", dir=parent)).resolve()
    folder.chmod(0o755)
    return folder


def remove(folder):
    """A tree whose folders may be read-only."""
    for path, _, _ in os.walk(folder):
        os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=not os.path.exists(folder))


@dataclasses.dataclass
class Trace:
    """What a traced run did: how it ended, and the changes that it made."""

    result: support.Result
    changes: list

    @property
    def killed(self):
        return self.result.rc == KILLED

    @property
    def last(self):
        change = self.changes[-1] if self.changes else {}
        return f"{change.get('call')} {' '.join(change.get('paths', []))}"


class Tracer:
    """Runs the program so that it can be killed; `under`: where changes count."""

    def __init__(self, hallmark, tool, under, scratch):
        self.hallmark = hallmark
        self.tool = tool
        self.under = [os.path.realpath(path) for path in under]
        self.log = scratch / "trace.log"
        self.states = scratch / "states"

    def __call__(self, arguments, before=None, after=None, states=False, env=None):
        options = [f"--{name}={value}".split("=", 1) for name, value in
                   (("before", before), ("after", after)) if value is not None]  # fmt: skip
        options += [["--under", path] for path in self.under] + [["--log", self.log]]
        if states:
            shutil.rmtree(self.states, ignore_errors=True)
            self.states.mkdir()
            options.append(["--states", self.states])
        command = [self.tool, *(str(word) for option in options for word in option)]
        environment = self.hallmark.environment(env)
        # A tracer of its own, which LeakSanitizer is, cannot be there besides.
        environment["ASAN_OPTIONS"] = environment["ASAN_OPTIONS"].replace("leaks=1", "leaks=0")
        done = subprocess.run([*command, *self.hallmark.command(*arguments)], env=environment,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=120,
                              check=False)  # fmt: skip
        result = support.Result(done.returncode, done.stdout, done.stderr)
        assert result.rc != FAILED, f"the tracer failed\n{result}"
        assert result.rc != support.SANITIZER_STATUS, f"a sanitizer complains\n{result}"
        lines = self.log.read_bytes().decode("ascii").splitlines()
        return Trace(result, [json.loads(line) for line in lines])


def points(changes, most=None):
    """The numbers of the changes to be killed at. Calls that failed changed nothing, and are left
    out. When there are more than `most`, of many writes to the same file in a row the first, the
    middle and the last are kept, and then so many of all, evenly."""
    made = [change for change in changes if change.get("result", 0) >= 0]
    if most is None or FULL or len(made) <= most:
        return [change["n"] for change in made]
    runs = []
    for change in made:
        if runs and _same(runs[-1][-1], change):
            runs[-1].append(change)
        else:
            runs.append([change])
    chosen = sorted({run[i]["n"] for run in runs for i in (0, len(run) // 2, -1)})
    return evenly(chosen, most)


def evenly(items, most):
    """At most so many of them, the first and the last among them."""
    if FULL or len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _same(one, other):
    writes = ("write", "pwrite64", "writev", "pwritev", "copy_file_range")
    return one["call"] in writes and other["call"] in writes and one["paths"] == other["paths"]
