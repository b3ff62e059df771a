# SPDX-License-Identifier: Apache-2.0
"""The store, killed or without power at every change of the file system.

At each point: what `current` leads to is a good version (store_world.py knows every byte of them);
the next command works; after it nothing is left half done, and the ledger tells once and in order
what happened. HALLMARK_FAULTS=full: no points are left out.
"""

import dataclasses
import shutil
import sqlite3
import time
import typing

import power
import pytest
import store_world
import support
import tracing
from store_world import NAME

# More than that are sampled evenly: of calls to be killed at, and of trees that a failure of power
# may leave.
MOST_POINTS = 8 if tracing.SLOW else 150
MOST_IMAGES = 4 if tracing.SLOW else 40


@dataclasses.dataclass
class Case:
    """A command, what it begins with, and what may be current before, meanwhile and after."""

    prepare: typing.Callable
    command: typing.Callable
    begins: str | None  # labels of models
    ends: str | None
    statuses: tuple = (support.OK,)
    again: tuple = (support.OK,)  # when it is run once more, whatever the first run came to
    bad: tuple = ()  # versions that were tampered with before


def deploy(world, label):
    return ["deploy", world.sources / label, "--name", NAME]


def with_versions(*labels):
    def prepare(world):
        for label in labels:
            world.model(label)
            world.run(*deploy(world, label), expect=support.OK)

    return prepare


def then(prepare, *more):
    def both(world):
        prepare(world)
        for step in more:
            step(world)

    return both


def refused_but_now_believed(world):
    """In quarantine is a model that the policy did not want then, and does now."""
    world.model("v2")
    world.believe_only("v1")
    world.run(*deploy(world, "v2"), expect=support.REFUSED)
    world.believe(world.key)


def refused(world):
    world.run(*deploy(world, "bad"), expect=support.REFUSED)


def only_entry(world):
    entries = list(world.quarantine())
    return entries[0] if entries else world.last_entry


def remember_entry(world):
    (world.last_entry,) = world.quarantine()


TWO = with_versions("v0", "v1")
CASES = {
    "first deploy": Case(
        lambda w: w.model("v0"), lambda w: deploy(w, "v0"), None, "v0"),
    "deploy": Case(
        then(with_versions("v0"), lambda w: w.model("v1")), lambda w: deploy(w, "v1"), "v0", "v1"),
    "deploy again": Case(TWO, lambda w: deploy(w, "v1"), "v1", "v1"),
    "deploy an older one": Case(TWO, lambda w: deploy(w, "v0"), "v1", "v0"),
    "repair": Case(
        then(TWO, lambda w: w.corrupt("v1")), lambda w: deploy(w, "v1"), "v1", "v1", bad=("v1",)),
    "refused": Case(
        then(TWO, lambda w: w.tampered("bad", "v0")), lambda w: deploy(w, "bad"), "v1", "v1",
        (support.REFUSED,), (support.REFUSED,)),
    "unsigned": Case(
        then(TWO, lambda w: w.model("none", signed=False)), lambda w: deploy(w, "none"),
        "v1", "v1", (support.REFUSED,), (support.REFUSED,)),
    "rollback": Case(
        TWO, lambda w: ["rollback", NAME, "--to", w.digests["v0"]], "v1", "v0"),
    "check, all good": Case(TWO, lambda w: ["check", NAME], "v1", "v1"),
    "check, quarantine": Case(
        then(TWO, lambda w: w.corrupt("v1")), lambda w: ["check", NAME], "v1", "v0",
        (support.REFUSED,), (support.OK, support.REFUSED), bad=("v1",)),
    "check, nothing good": Case(
        then(with_versions("v1"), lambda w: w.corrupt("v1")), lambda w: ["check", NAME], "v1", None,
        (support.REFUSED,), (support.OK, support.REFUSED), bad=("v1",)),
    "release": Case(
        then(with_versions("v1"), refused_but_now_believed, remember_entry),
        lambda w: ["quarantine", "release", only_entry(w)], "v1", "v2",
        again=(support.OK, support.USAGE)),
    "purge": Case(
        then(TWO, lambda w: w.tampered("bad", "v0"), refused, remember_entry),
        lambda w: ["quarantine", "purge", only_entry(w)], "v1", "v1",
        again=(support.OK, support.USAGE)),
    "gc": Case(
        with_versions("v0", "v1", "v2", "v3"), lambda w: ["gc", NAME, "--keep", "1"], "v3", "v3"),
}  # fmt: skip


@pytest.fixture
def case(request, hallmark, keys, fast):
    world = store_world.World(hallmark, keys, fast)
    case = CASES[request.param]
    case.prepare(world)
    bad = {world.digests[label] for label in case.bad}
    world.check_clean(bad=bad)
    assert world.current() == (case.begins and world.digests[case.begins])
    world.save()
    return world, case


each_case = pytest.mark.parametrize("case", CASES, indirect=True)


def whole_run(tracer, world, case, **options):
    """Undisturbed: what is changed, and that the invariants hold then."""
    trace = tracer(case.command(world), env=world.env, **options)
    assert trace.result.rc in case.statuses, trace.result
    assert world.current() == (case.ends and world.digests[case.ends])
    world.check_clean()
    return trace


def check(world, case, switches, done=False, other=(), more=0):
    """What must hold once a command ended halfway, and that the next ones put all in order.
    `done`: it had said that it succeeded; `other`: what else may be current in the end; `more`: how
    many switches there may be on the way to it."""
    bad = {world.digests[label] for label in case.bad}
    labels = [case.ends] if done else [case.begins, case.ends]
    allowed = {*other, *(label and world.digests[label] for label in labels)}
    found = world.check_current(also=bad if case.begins in case.bad else ())
    assert found in allowed, f"current leads to {found}"
    world.run("status", "--json", expect=(support.OK, *((support.USAGE,) if found is None else ())))
    assert world.check_current(also=bad) in allowed
    result = world.run(*case.command(world), expect=(*case.statuses, *case.again))
    if result.rc == support.USAGE:  # what it was about is gone, so it knows of no model
        world.run("check", NAME, expect=support.OK)
    try:
        assert world.current() in {*other, case.ends and world.digests[case.ends]}
        world.check_clean()
        world.run("status", "--json", expect=support.OK)
        world.run("log", "verify", expect=support.OK)
        extra = world.count(*store_world.SWITCHES) - switches
        assert 0 <= extra <= more, "switched more than once"
    except (AssertionError, OSError, sqlite3.Error) as problem:
        raise AssertionError(f"{problem}\nafter the second run, which ended so:\n{result}") from None


@each_case
def test_killed_anywhere(tracer, case, record_property):
    world, case = case
    counted = whole_run(tracer, world, case)
    switches = world.count(*store_world.SWITCHES)
    chosen = tracing.points(counted.changes, MOST_POINTS)
    # After one change the files are as before the next: only the last is sure to tell more.
    ways = [("before", at) for at in chosen]
    ways += [("after", at) for at in (chosen if tracing.FULL else [*chosen[::5], chosen[-1]])]
    for when, at in ways:
        world.restore()
        trace = tracer(case.command(world), env=world.env, **{when: at})
        assert trace.killed, trace.result
        try:
            check(world, case, switches)
        except (AssertionError, OSError, sqlite3.Error) as problem:
            pytest.fail(f"killed {when} change {at}, {trace.last}: {problem}")
    record_property("points", len(ways))
    print(f"\nkilled at {len(ways)} points: before each of {len(chosen)} changes, and after some")


@each_case
def test_power_fails_anywhere(tracer, case, record_property):
    """Whatever reached the disk of the changes that were not synced."""
    world, case = case
    contents = power.contents_beneath(tracer.under)
    recorded = whole_run(tracer, world, case, states=True)
    switches = world.count(*store_world.SWITCHES)
    images = list(power.failures(recorded, contents, tracer.states))
    last = recorded.changes[-1]["n"]
    chosen = tracing.evenly([image for image in images if image[0] != last], MOST_IMAGES)
    chosen += [image for image in images if image[0] == last]
    for at, variant, image in chosen:
        shutil.rmtree(world.work)
        world.work.mkdir()
        image.build()
        try:
            check(world, case, switches, done=at == last)
        except (AssertionError, OSError, sqlite3.Error) as problem:
            change = recorded.changes[at]
            pytest.fail(f"power failed after change {at}, {change['call']} {change['paths']}, "
                        f"{variant}: {problem}")  # fmt: skip
    record_property("images", len(chosen))
    print(f"\n{len(chosen)} of {len(images)} different trees that a failure of power could leave")


def test_killed_while_deploying_what_is_there(hallmark, keys, tracer_tool, tmp_path):
    """On a disk whose times can be relied on, and once the files are old enough, nothing is read
    but the signature. The store stays as it is, so it is never put back here."""
    base = tmp_path / "base"
    base.mkdir()
    world = store_world.World(hallmark, keys, base)
    case = CASES["deploy again"]
    case.prepare(world)
    time.sleep(3.1)
    world.run(*case.command(world), expect=support.OK)
    tracer = tracing.Tracer(hallmark, tracer_tool, [world.work], tmp_path)
    counted = whole_run(tracer, world, case)
    switches = world.count(*store_world.SWITCHES)
    for at in tracing.points(counted.changes, MOST_POINTS):
        tracer(case.command(world), env=world.env, before=at)
        check(world, case, switches)
