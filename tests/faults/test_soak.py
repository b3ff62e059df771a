# SPDX-License-Identifier: Apache-2.0
"""Several at a store at once. soak.py is the long run of it, by hand."""

import os
import random
import subprocess

import pytest
import soak
import store_world
import support
from postgres import postgres  # noqa: F401
from store_world import NAME

SECONDS = int(os.environ.get("HALLMARK_SOAK_SECONDS", "20"))
ROUNDS = 12


@pytest.fixture
def world(hallmark, keys, fast):
    return store_world.World(hallmark, keys, fast, sizes=(400_000, 300))


def run_long(hallmark, sanitizer, *options):
    if sanitizer == "tsan" or hallmark.wrapper:
        pytest.skip("too slow for it")
    chosen = soak.parse(["--binary", str(hallmark.binary), "--seconds", str(SECONDS), *options])
    try:
        figures = soak.soak(chosen)
    except soak.Failure as failure:
        pytest.fail(str(failure), pytrace=False)
    print(dict(figures))
    for needed in ("deploy", "rollback", "killed", "refused", "read and good"):
        assert figures[needed] > 0, figures


@pytest.mark.slow
def test_soak(hallmark, sanitizer):
    run_long(hallmark, sanitizer)


@pytest.mark.slow
def test_soak_of_two_hosts_with_one_ledger(hallmark, sanitizer, postgres):  # noqa: F811
    run_long(hallmark, sanitizer, "--stores", "2", "--ledger", postgres.database())


def start(world, *arguments):
    return subprocess.Popen(
        world.hallmark.command(*arguments), env=world.hallmark.environment(world.env),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_deploys_a_check_and_a_rollback_at_once(world):
    """Each of them succeeds, or says who holds the lock; none corrupts."""
    for label in ("v0", "v1", "v2"):
        world.model(label)
    for label in ("v0", "v1"):
        world.run("deploy", world.sources / label, "--name", NAME, expect=support.OK)
    dice = random.Random(1)
    done = 0
    for _ in range(ROUNDS):
        commands = [
            ["deploy", world.sources / "v2", "--name", NAME],
            ["deploy", world.sources / "v1", "--name", NAME],
            ["check", NAME],
            ["rollback", NAME, "--to", world.digests["v0"]],
        ]
        dice.shuffle(commands)
        for command, child in [(command, start(world, *command)) for command in commands]:
            out, err = child.communicate(timeout=60)
            result = support.Result(child.returncode, out, err)
            assert not support.SANITIZER_REPORT.search(err), result
            locked = result.rc == support.UNDECIDED and "is held by process" in result.err
            assert result.rc == support.OK or locked, f"{command}: {result}"
            done += result.rc == support.OK
        world.check_clean()
    assert done >= ROUNDS
    world.run("log", "verify", expect=support.OK)


def test_the_lock_names_its_holder(world):
    """A deployment that is stopped in its tracks holds the others up, and they say who it is."""
    import fcntl

    world.model("v0")
    world.run("deploy", world.sources / "v0", "--name", NAME, expect=support.OK)
    with open(world.place() / "lock", "r+", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write("4242\n")
        lock.flush()
        world.run("status", expect=support.OK)  # which only looks
        refused = world.run("rollback", NAME, expect=support.UNDECIDED)
        assert "4242" in refused.err
    world.check_clean()
