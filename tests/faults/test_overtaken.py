# SPDX-License-Identifier: Apache-2.0
"""Commands that only read hold nobody up, so others may change the store under them at any moment.

A command is stopped before each of its looks at files in turn; others deploy, replace, remove or
purge meanwhile; then it goes on. There is nothing bad in the store, so it never says that there is,
and it comes to a result: it reads again what has changed.
"""

import fcntl
import os
import signal
import sqlite3
import subprocess
import tempfile

import pytest
import store_world
import support
import tracing
from store_world import NAME
from test_faults import Shim, chosen, shim_library  # noqa: F401: a fixture

# More calls than that are sampled evenly.
MOST_RUNS = 10**9 if tracing.FULL else 3 if tracing.SLOW else 60


class StoppingShim(Shim):
    """Runs the program up to a call, something else, and then the rest."""

    def stopped(self, arguments, at, meanwhile, env):
        self.report.unlink()
        environment = self.program.environment({**env, **self.settings("look", at, mode="stop")})
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = subprocess.Popen(self.program.command(*arguments), env=environment, stdout=out,
                                     stderr=err, stdin=subprocess.DEVNULL)  # fmt: skip
            try:
                _, status = os.waitpid(child.pid, os.WUNTRACED)
                if os.WIFSTOPPED(status):
                    meanwhile()
                    os.kill(child.pid, signal.SIGCONT)
                    child.wait(timeout=60)
                else:  # it made fewer calls than before: files of some age are read less often
                    child.returncode = os.waitstatus_to_exitcode(status)
            finally:
                if child.returncode is None:
                    child.kill()
                    child.wait()
            out.seek(0)
            err.seek(0)
            return support.Result(child.returncode, out.read(), err.read())


def is_held(world):
    """By the command that is stopped: then all others wait for it, and change nothing."""
    with open(world.place() / "lock", "rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    ledger = sqlite3.connect(world.store / "ledger.db", timeout=0, isolation_level=None)
    try:
        ledger.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as locked:
        assert "locked" in str(locked)
        return True
    finally:
        ledger.close()
    return False


def deploy(world, label):
    world.run("deploy", world.sources / label, "--name", NAME, expect=support.OK)


def collect(world):
    world.run("gc", NAME, "--keep", "1", expect=support.OK)


def another_version(world):
    deploy(world, "v2")


def another_signature(world):
    deploy(world, "v1-again")


def removed(world):
    deploy(world, "v2")
    deploy(world, "v0")
    collect(world)


def removed_and_back(world):
    removed(world)
    deploy(world, "v1")


def purged(world):
    for entry in world.quarantine():
        world.run("quarantine", "purge", entry, expect=support.OK)


READERS = {
    "check": lambda w: ["check"],
    "check of one": lambda w: ["check", NAME, "--json"],
    "status": lambda w: ["status", "--json"],
    "status of one": lambda w: ["status", NAME],
    "dry run": lambda w: ["deploy", w.sources / "v1", "--name", NAME, "--dry-run"],
    "dry run of another": lambda w: ["deploy", w.sources / "v2", "--name", NAME, "--dry-run"],
    "gc, dry run": lambda w: ["gc", "--dry-run", "--keep", "1"],
    "quarantine": lambda w: ["quarantine", "list", "--json"],
    "quarantine of one": lambda w: ["quarantine", "show", *w.quarantine()],
    "log": lambda w: ["log", "--json"],
    "log verify": lambda w: ["log", "verify"],
}


@pytest.fixture
def world(hallmark, keys, fast):
    world = store_world.World(hallmark, keys, fast)
    other = keys["openssl", "ec-p384"]
    world.believe(world.key, other)
    for label in ("v0", "v1", "v2"):
        world.model(label)
    world.signed_again("v1", other)
    world.tampered("bad", "v0")
    for label in ("v0", "v1"):
        deploy(world, label)
    world.run("deploy", world.sources / "bad", "--name", NAME, expect=support.REFUSED)
    world.save()
    return world


@pytest.mark.parametrize("meanwhile", [another_version, another_signature, removed,
                                       removed_and_back, purged])  # fmt: skip
@pytest.mark.parametrize("reader", READERS)
def test_overtaken_anywhere(hallmark, shim_library, world, reader, meanwhile, tmp_path):  # noqa: F811
    shim = StoppingShim(hallmark, shim_library, tmp_path, world.work / "state")
    command = READERS[reader](world)
    whole, report = shim(command, "look", mode="stop", env=world.env)
    assert whole.rc == support.OK and report.calls > 0, whole
    before = world.count("refused", "undecided")
    overtaken = 0

    def change():
        nonlocal overtaken
        if not is_held(world):
            meanwhile(world)
            overtaken += 1

    for at in chosen(report.calls, MOST_RUNS):
        world.restore()
        result = shim.stopped(command, at, change, world.env)
        try:
            gone = reader == "quarantine of one" and not world.quarantine()
            allowed = (support.OK, support.USAGE) if gone else (support.OK,)
            assert result.rc in allowed, f"status {result.rc}"
            assert "repaired" not in result.out, "it says that somebody wrote to the store"
            if reader == "status":
                (seen,) = result.json()["models"]
                assert (seen["state"], seen["unreadable"]) == ("serving", 0), seen
            assert world.count("refused", "undecided") == before, "a failure is recorded"
            world.check_clean()
        except AssertionError as problem:
            pytest.fail(f"overtaken before call {at} of {report.calls}: {problem}\n{result}",
                        pytrace=False)  # fmt: skip
    assert overtaken > 0 or tracing.SLOW
