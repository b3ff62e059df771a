# SPDX-License-Identifier: Apache-2.0
"""A full disk, a disk that fails, no memory: at each call of the store's commands in turn.

The command does its job, or ends with status 3 and a word; what is current is good in either case;
and once the trouble is over, the next command puts everything in order.
"""

import errno
import re
import sqlite3

import pytest
import store_world
import support
import test_kill_store
import tracing
from test_faults import Shim, chosen, shim_library  # noqa: F401: a fixture

# More calls than that are sampled evenly.
MOST_RUNS = 10**9 if tracing.FULL else 3 if tracing.SLOW else 14
CASES = ["first deploy", "deploy", "repair", "refused", "rollback", "check, quarantine", "release",
         "purge", "gc"]  # fmt: skip
FAULTS = {
    "full disk": ("space", {"mode": "keep", "number": errno.ENOSPC}),
    "quota": ("space", {"number": errno.EDQUOT}),
    "failing disk": ("change", {"number": errno.EIO}),
    "read-only disk": ("change", {"mode": "keep", "number": errno.EROFS}),
    "failing reads": ("read", {"number": errno.EIO}),
    "no descriptors": ("open", {"mode": "keep", "number": errno.EMFILE}),
    "no memory": ("alloc", {}),
}


@pytest.fixture
def case(request, hallmark, keys, fast):
    world = store_world.World(hallmark, keys, fast)
    case = test_kill_store.CASES[request.param]
    case.prepare(world)
    world.save()
    return world, case


@pytest.mark.parametrize("case", CASES, indirect=True)
@pytest.mark.parametrize("fault", FAULTS)
def test_each_call_fails(hallmark, shim_library, case, fault, tmp_path):  # noqa: F811
    world, case = case
    fault_class, settings = FAULTS[fault]
    shim = Shim(hallmark, shim_library, tmp_path, world.work / "state")
    whole, report = shim(case.command(world), fault_class, env=world.env)
    assert whole.rc in case.statuses and report.calls > 0, whole
    switches = world.count(*store_world.SWITCHES)
    for at in chosen(report.calls, MOST_RUNS):
        world.restore()
        result, fired = shim(case.command(world), fault_class, at, env=world.env, **settings)
        try:
            allowed = (*case.statuses, support.UNDECIDED)
            assert result.rc in allowed, f"status {result.rc}, not {allowed}"
            assert result.rc == support.OK or result.stderr, "an error without a word"
            if result.rc == support.OK:  # it says that it did its job
                assert world.current() == (case.ends and world.digests[case.ends])
            # A version that cannot be read now does not take a bad one's place; and where the step
            # cannot be written down the bad one is only taken away, until the next check.
            checks = case.command(world)[0] == "check"
            test_kill_store.check(world, case, switches, other=[None] if checks else [],
                                  more=1 if checks and case.ends else 0)  # fmt: skip
            for entry in re.findall(r"^  quarantine +(\w+)$", result.err, re.MULTILINE):
                assert entry in world.quarantine(), f"{entry} is told of, and is not there"
        except (AssertionError, OSError, sqlite3.Error) as problem:
            pytest.fail(f"{fault} at call {at} of {report.calls} ({fired.name}): {problem}\n"
                        f"of the run that failed\n{result}", pytrace=False)  # fmt: skip
