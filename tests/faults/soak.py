#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Several processes at a store at once, at random, some of them killed; somebody tampers; a server
reads what is current all the while and hashes every file of it.

    soak.py --seconds 3600 [--binary build/hallmark] [--seed N] [--workers 4] [--names 2]
            [--stores 1] [--ledger postgresql://...] [--folder DIR]

It goes in rounds: some seconds of activity, then quiet, in which the invariants of store_world.py
are checked of every store. The seed that is printed makes the same choices again; what the
scheduler makes of them is another matter. A failure leaves the folder as it is and says where.
"""

import argparse
import collections
import contextlib
import multiprocessing
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import store_world  # noqa: E402
import support  # noqa: E402
import tracing  # noqa: E402

OK, REFUSED, USAGE, UNDECIDED = support.OK, support.REFUSED, support.USAGE, support.UNDECIDED
GOOD = ["a", "b", "c", "d"]
NOTHING = ("has no current version", "has no version to go back to", "no version of it is good")
LOCKED = ("is held by", "another process has been writing")


class Failure(Exception):
    """An invariant that does not hold."""


# ---- what is shared by the processes ------------------------------------------------------------


class Ground:
    """The stores, the sources, and which versions somebody has tampered with."""

    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        self.program = support.Program(options.binary)
        keys = support.Keys(folder / "keys")
        (folder / "keys").mkdir()
        self.names = [f"model-{i}" for i in range(options.names)]
        self.worlds = []
        for number in range(options.stores):
            base = folder / f"host-{number}"
            base.mkdir()
            self.worlds.append(self._world(base, keys))

    def _world(self, base, keys):
        world = store_world.World(
            self.program, keys, base, sizes=(200_000, 3000), ledger=self.options.ledger
        )
        other = keys["openssl", "ec-p384"]
        world.believe(world.key, other)
        for label in GOOD:
            world.model(label)
        for label in GOOD[:2]:  # by somebody else whom the policy knows
            world.signed_again(label, other)
        world.tampered("tampered", "a")
        for name in self.names:
            world.run("deploy", world.sources / "a", "--name", name, expect=OK)
        world.model("unsigned", signed=False)
        world.model("strange", key=world.stranger)
        for label in ("unsigned", "strange"):
            del world.known[world.digests[label]]
        return world


# ---- one who uses the store ---------------------------------------------------------------------


class Worker:
    """Random commands, one after the other, until it is time."""

    def __init__(self, ground, seed, number, tampering):
        self.ground = ground
        self.dice = random.Random(f"{seed} {number}")
        self.tampering = tampering
        self.figures = collections.Counter()
        self.problems = []

    def deploy(self, world, name):
        bad = ["tampered", "unsigned", "strange"]
        label = self.dice.choice([*GOOD, *GOOD, *[f"{x}-again" for x in GOOD[:2]], *bad])
        more = self.dice.choice([[], [], [], ["--dry-run"], ["--no-switch"]])
        expected = (REFUSED,) if label in bad else (OK,)
        return ["deploy", world.sources / label, "--name", name, *more], expected

    def rollback(self, world, name):
        if self.dice.random() < 0.5:
            return ["rollback", name], (OK, REFUSED, USAGE)
        digest = world.digests[self.dice.choice(GOOD)]
        return ["rollback", name, "--to", digest[: self.dice.choice([8, 64])]], (OK, REFUSED, USAGE)

    def quarantine(self, world, name):
        what = self.dice.choice(["list", "show", "release", "purge", "purge"])
        if what == "list":
            return ["quarantine", "list"], (OK,)
        with contextlib.suppress(OSError):
            entries = sorted(os.listdir(world.store / "quarantine"))
            if entries:
                chosen = self.dice.choice(entries)
                return ["quarantine", what, chosen], (OK, REFUSED, USAGE)
        return None, ()

    def look(self, world, name):
        return self.dice.choice([
            (["status", "--json"], (OK,)),
            (["status", name], (OK, USAGE)),
            (["log", "verify"], (OK,)),
            (["log", "--json", "--model", name], (OK,)),
            (["check", name], (OK, REFUSED, USAGE)),
            (["check"], (OK, REFUSED)),
            (["gc", name, "--keep", self.dice.choice("123")], (OK, USAGE)),
        ])  # fmt: skip

    def tamper(self, world, name):
        """A byte of some version, behind the program's back."""
        versions = world.place(name) / "versions"
        with contextlib.suppress(OSError, IndexError):  # there is none, or none any more
            digest = self.dice.choice(sorted(os.listdir(versions)))
            path = versions / digest / "model" / "layers" / "weights.bin"
            offset = self.dice.randrange(path.stat().st_size)
            self.tampering[f"{world.base} {name} {digest}"] = True  # before it is done
            with open(path, "r+b") as file:
                file.seek(offset)
                byte = file.read(1)
                file.seek(offset)
                file.write(bytes([byte[0] ^ 1]))
            self.figures["tampered with"] += 1

    def step(self):
        world = self.dice.choice(self.ground.worlds)
        name = self.dice.choice(self.ground.names)
        kind = self.dice.choices(
            ["deploy", "rollback", "quarantine", "look", "tamper"], [40, 15, 12, 25, 1]
        )[0]
        if kind == "tamper":
            self.tamper(world, name)
            return
        arguments, expected = getattr(self, kind)(world, name)
        if arguments is not None:
            self.run(world, arguments, expected)

    def run(self, world, arguments, expected):
        doomed = self.dice.random() < self.ground.options.kills
        patience = self.dice.random() * 0.04
        self.figures[arguments[0]] += 1
        started = time.monotonic()
        child = subprocess.Popen(
            world.hallmark.command(*arguments), env=world.hallmark.environment(world.env),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        try:
            out, err = child.communicate(timeout=patience if doomed else 60)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            out, err = child.communicate()
            if doomed:
                self.figures["killed"] += 1
                return
            self.problems.append(f"{arguments} hangs\n{err.decode()}")
            return
        self.figures["slow (over 5 s)"] += time.monotonic() - started > 5
        self.judge(world, arguments, expected, support.Result(child.returncode, out, err))

    def judge(self, world, arguments, expected, result):
        if support.SANITIZER_REPORT.search(result.stderr):
            self.problems.append(f"{arguments}: a sanitizer complains\n{result}")
        elif result.rc == UNDECIDED and any(word in result.err for word in LOCKED):
            self.figures["said who has the lock"] += 1
        elif result.rc == UNDECIDED and any(word in result.err for word in NOTHING):
            self.figures["had nothing to work on"] += 1
        elif result.rc == UNDECIDED and "changed" in result.err and "deploy" not in arguments[0]:
            self.figures["changed while it was read"] += 1
        elif result.rc not in expected:
            self.problems.append(f"{arguments} in {world.base}: {result}")
        else:
            self.figures["refused"] += result.rc == REFUSED


def work(ground, seed, number, tampering, until, results):
    worker = Worker(ground, seed, number, tampering)
    while time.monotonic() < until and not worker.problems:
        worker.step()
    results.put((worker.figures, worker.problems))


# ---- one who serves from it ---------------------------------------------------------------------


class Server:
    """Opens `current` again and again and hashes every file that it finds there."""

    def __init__(self, ground, tampering, stop):
        self.ground = ground
        self.tampering = tampering
        self.stop = stop
        self.figures = collections.Counter()
        self.problems = []

    def serve(self, world, name):
        """As a server that opens the directory once and reads from it."""
        try:
            folder = os.open(world.place(name) / "current", os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            self.figures["found nothing current"] += 1
            return
        try:
            self.read(world, name, folder)
        finally:
            os.close(folder)

    def read(self, world, name, folder):
        where = os.readlink(f"/proc/self/fd/{folder}").split("/")
        digest = where[-2] if where[-3:-2] == ["versions"] else None
        found = {}
        try:
            for path, _, names, at in os.fwalk(".", dir_fd=folder):
                for entry in names:
                    file = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=at)
                    with os.fdopen(file, "rb") as opened:
                        found[os.path.normpath(f"{path}/{entry}")] = store_world.sha256(opened.read())
        except FileNotFoundError:
            self.figures["removed while it was read"] += 1
            return
        if digest is None or f"{world.base} {name} {digest}" in self.tampering.keys():
            self.figures["read, with somebody tampering"] += 1
            return
        signature = found.pop("model.sig", None)
        if not found and os.fstat(folder).st_nlink < 2:  # it has been removed
            self.figures["removed while it was read"] += 1
            return
        if found != world.known.get(digest) or signature not in world.signatures[digest]:
            self.missing(world, name, digest, found, folder)
            return
        self.figures["read and good"] += 1

    def missing(self, world, name, digest, found, folder):
        """Some files may be gone when this copy is being removed; those there are, are good."""
        if f"{world.base} {name} {digest}" in self.tampering.keys():
            return
        good = world.known.get(digest, {})
        wrong = {path for path, value in found.items() if good.get(path) != value}
        if wrong or self.is_current(world, name, folder):
            self.problems.append(f"served from {world.place(name)}: {digest}: {wrong or found}")
        else:
            self.figures["removed while it was read"] += 1

    def is_current(self, world, name, folder):
        """This very copy, not another one of the same version that took its place."""
        try:
            return os.path.samestat(os.fstat(folder), os.stat(world.place(name) / "current"))
        except FileNotFoundError:
            return False

    def until_stopped(self, results):
        while not self.stop.is_set() and not self.problems:
            for world in self.ground.worlds:
                for name in self.ground.names:
                    self.serve(world, name)
            time.sleep(0.002)
        results.put((self.figures, self.problems))


def serve(ground, tampering, stop, results):
    Server(ground, tampering, stop).until_stopped(results)


# ---- rounds -------------------------------------------------------------------------------------


def one_round(ground, number, seconds, tampering):
    """Some seconds of activity. What was counted, and what was wrong."""
    results, stop = multiprocessing.Queue(), multiprocessing.Event()
    until = time.monotonic() + seconds
    seed = f"{ground.options.seed} {number}"
    workers = [multiprocessing.Process(target=work, args=(ground, seed, i, tampering, until, results))
               for i in range(ground.options.workers)]  # fmt: skip
    server = multiprocessing.Process(target=serve, args=(ground, tampering, stop, results))
    for process in [*workers, server]:
        process.start()
    figures, problems = collections.Counter(), []
    for left in range(len(workers) + 1, 0, -1):
        if left == 1:
            stop.set()
        counted, wrong = results.get(timeout=180)
        figures += counted
        problems += wrong
    for process in [*workers, server]:
        process.join()
    return figures, problems


def quiet(ground, tampering):
    """Nobody is at work: everything must be in order, and what is current good without exception.
    Versions that were tampered with may still lie there; nobody has looked at them yet."""
    for world in ground.worlds:
        world.run("check", expect=(OK, REFUSED))
        world.run("log", "verify", expect=OK)
        for name in ground.names:
            folder = world.place(name) / "versions"
            bad = set()
            for digest in os.listdir(folder) if folder.is_dir() else []:
                try:
                    world.check_version(folder / digest, digest)
                except AssertionError as problem:
                    if f"{world.base} {name} {digest}" not in tampering:
                        raise Failure(str(problem)) from None
                    bad.add(digest)
            world.check_current(name)
            world.check_clean(name, bad)
        world.run("status", "--json", expect=OK)
    kept = {}
    for key in tampering.keys():
        base, name, digest = key.split(" ")
        world = next(w for w in ground.worlds if str(w.base) == base)
        with contextlib.suppress(AssertionError, OSError):
            world.check_version(world.place(name) / "versions" / digest, digest)
            continue
        kept[key] = True
    tampering.clear()
    tampering.update(kept)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=support.ROOT / "build" / "hallmark", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--round", type=float, default=5, help="seconds of activity in a round")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--names", type=int, default=2)
    parser.add_argument("--stores", type=int, default=1)
    parser.add_argument("--ledger", help="one for all stores; without it each has its own")
    parser.add_argument("--kills", type=float, default=0.3, help="how likely a command is doomed")
    parser.add_argument("--folder", type=pathlib.Path)
    options = parser.parse_args(arguments)
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    options.binary = options.binary.resolve()
    return options


def soak(options, say=print):
    """The figures of all rounds; raises Failure."""
    folder = options.folder or tracing.fast_folder()
    folder.mkdir(exist_ok=True)
    say(f"seed {options.seed}, in {folder}")
    ground = Ground(options, folder)
    tampering = multiprocessing.Manager().dict()
    total, number = collections.Counter(), 0
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        number += 1
        figures, problems = one_round(ground, number, options.round, tampering)
        total += figures
        try:
            if problems:
                raise Failure("\n".join(problems[:3]))
            quiet(ground, tampering)
        except (Failure, AssertionError) as problem:
            raise Failure(f"seed {options.seed}, round {number}, {folder} is left:\n{problem}") from None
        if number % 20 == 0:
            say(f"round {number}: {dict(total)}")
    total["rounds"] = number
    for world in ground.worlds:
        total["events in the ledger"] += len(world.own_events())
    if options.folder is None:
        tracing.remove(folder)
    return total


def main():
    try:
        figures = soak(parse(None))
    except Failure as failure:
        sys.exit(f"FAILED: {failure}")
    for name, count in sorted(figures.items()):
        print(f"{count:9}  {name}")


if __name__ == "__main__":
    main()
