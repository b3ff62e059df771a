# SPDX-License-Identifier: Apache-2.0
"""Signing and keyrings, killed or without power at every change of the file system.

These are also what shows that tracer.c and power.py see what they should: see the last tests.
"""

import json
import os
import shutil

import power
import pytest
import support
import test_faults
import tracing

SIGNING = ["sign-oms-directory", "sign-oms-new", "sign-both", "sign-provenance"]
KEYRINGS = ["rotate", "revoke", "export", "verify-keyring"]


@pytest.fixture
def scenario(request, hallmark, keys, fast):
    folder = fast / "work"
    folder.mkdir()
    return test_faults.SCENARIOS[request.param](hallmark, keys, folder)


def state(scenario):
    return getattr(scenario, "env", {"HALLMARK_STATE_DIR": scenario.folder / "state"})


def check(scenario, trace):
    """What holds whenever the command ended, and that the next one puts all in order."""
    if isinstance(scenario, test_faults.Sign):
        scenario.check_file()
        scenario.hallmark(*scenario.arguments(), expect=support.OK)
        assert scenario.good_signature().rc == support.OK
        scenario.check_litter()
    else:
        scenario.check(trace.result, None)


each_scenario = pytest.mark.parametrize("scenario", [*SIGNING, *KEYRINGS], indirect=True)


@each_scenario
def test_killed_anywhere(tracer, scenario, record_property):
    scenario.reset()
    counted = tracer(scenario.arguments(), env=state(scenario))
    assert counted.result.rc == support.OK, counted.result
    chosen = tracing.points(counted.changes)
    for at in chosen:
        for when in ("before", "after"):
            scenario.reset()
            trace = tracer(scenario.arguments(), env=state(scenario), **{when: at})
            assert trace.killed, trace.result
            try:
                check(scenario, trace)
            except (AssertionError, OSError) as problem:
                pytest.fail(f"killed {when} change {at}, {trace.last}: {problem}")
    record_property("points", len(chosen))
    print(f"killed before and after {len(chosen)} changes")


@each_scenario
def test_power_fails_anywhere(tracer, scenario, fast, record_property):
    """Whatever of the changes that were not synced reached the disk."""
    scenario.reset()
    contents = power.contents_beneath(tracer.under)
    recorded = tracer(scenario.arguments(), states=True, env=state(scenario))
    assert recorded.result.rc == support.OK, recorded.result
    count = 0
    lost = tracing.Trace(support.Result(tracing.KILLED, b"", b""), [])
    for at, variant, image in power.failures(recorded, contents, tracer.states):
        shutil.rmtree(fast / "work")
        (fast / "work").mkdir()
        image.build()
        count += 1
        try:
            check(scenario, lost)
        except (AssertionError, OSError) as problem:
            change = recorded.changes[at]
            pytest.fail(f"power failed after change {at}, {change['call']} {change['paths']}, "
                        f"{variant}: {problem}")  # fmt: skip
    record_property("images", count)
    print(f"{count} different trees that a failure of power could leave")


# ---- the tools themselves -----------------------------------------------------------------------


@pytest.fixture
def script(tracer_tool, fast, tmp_path):
    """Runs a script of Python's under the tracer."""
    work = fast / "work"
    work.mkdir()

    class Python:
        binary = "/usr/bin/python3"

        def environment(self, _extra):
            return {"ASAN_OPTIONS": "", "PATH": os.environ["PATH"]}

        def command(self, *arguments):
            return ["/usr/bin/python3", "-I", "-c", *arguments]

    tracer = tracing.Tracer(Python(), tracer_tool, [work], tmp_path)
    return lambda text, **options: tracer([f"import os; os.chdir({str(work)!r})\n{text}"], **options)


def test_the_tracer_kills_where_it_is_told(script, fast):
    text = "os.mkdir('a'); os.mkdir('b'); os.mkdir('/dev/null/x') if 0 else os.mkdir('c')"
    work = fast / "work"
    seen = []
    for options in ({}, {"before": 1}, {"after": 1}, {"before": 3}, {"after": 3}, {"before": 4}):
        shutil.rmtree(work)
        work.mkdir()
        trace = script(text, **options)
        assert trace.killed == bool(options and options != {"before": 4})
        assert len(trace.changes) == (1 if options in ({"before": 1}, {"after": 1}) else 3)
        seen.append("".join(sorted(path.name for path in work.iterdir())))
    assert seen == ["abc", "", "a", "ab", "abc", "abc"]


def test_the_tracer_kills_threads_and_children_too(script, fast):
    text = (
        "import threading, subprocess, time\n"
        "go = threading.Event()\n"
        "threading.Thread(target=lambda: [go.wait(), time.sleep(.3), os.mkdir('thread')]).start()\n"
        "child = subprocess.Popen(['sh', '-c', 'read go; mkdir child; setsid mkdir grandchild'],\n"
        "                         stdin=subprocess.PIPE)\n"
        "os.mkdir('first'); go.set(); child.communicate(b'go\\n'); time.sleep(1)"
    )
    trace = script(text)
    assert trace.result.rc == 0 and len(trace.changes) == 4
    for path in (fast / "work").iterdir():
        path.rmdir()
    assert script(text, after=1).killed
    assert [path.name for path in (fast / "work").iterdir()] == ["first"]


CALLS = """
import ctypes
f = os.open('f', os.O_CREAT | os.O_RDWR, 0o600)
os.write(f, b'0123'); os.pwrite(f, b'x', 1); os.writev(f, [b'y']); os.ftruncate(f, 3)
os.posix_fallocate(f, 0, 10); os.fchmod(f, 0o644); os.fsync(f); os.fdatasync(f)
os.link('f', 'g'); os.rename('g', 'h'); os.symlink('f', 's'); os.replace('h', 'g')
os.utime('f', (1, 1)); os.chmod('f', 0o600); os.truncate('f', 2); os.unlink('g')
os.mkdir('d'); os.rmdir('d')
d = os.open('.', os.O_RDONLY); os.mkdir('e', dir_fd=d); os.rename('e', 'E', src_dir_fd=d, dst_dir_fd=d)
os.chown('f', -1, -1); os.sendfile(f, os.open('f', os.O_RDONLY), 0, 1)
os.copy_file_range(os.open('f', os.O_RDONLY), f, 1)
open('/dev/null', 'w').write('not counted')
"""


def test_the_tracer_sees_every_kind_of_change(script):
    trace = script(CALLS)
    assert trace.result.rc == 0, trace.result
    assert [change["call"] for change in trace.changes] == [
        "openat", "write", "pwrite64", "writev", "ftruncate", "fallocate", "fchmod", "fsync",
        "fdatasync", "link", "rename", "symlink", "rename", "utimensat", "chmod", "truncate",
        "unlink", "mkdir", "rmdir", "mkdirat", "renameat", "chown", "sendfile", "copy_file_range",
    ]  # fmt: skip


def found(work):
    return {path.name: path.read_bytes() if path.is_file() else None
            for path in work.iterdir()}  # fmt: skip


def all_failures(script, fast, text):
    """Every tree that the failure of power may leave of the script."""
    work = fast / "work"
    contents = power.contents_beneath([os.path.realpath(work)])
    trace = script(text, states=True)
    assert trace.result.rc == 0, trace.result
    result = []
    for at, variant, image in power.failures(trace, contents, work.parents[0] / "states", dice=8):
        shutil.rmtree(work)
        work.mkdir()
        image.build()
        result.append((at, variant, found(work)))
    return result


def test_what_power_leaves_of_a_file_that_was_not_synced(script, fast, tmp_path):
    (fast / "work" / "old").write_bytes(b"old")
    (fast / "states").symlink_to(tmp_path / "states")
    text = "open('new', 'w').write('new!'); os.rename('new', 'old')"
    left = [json.dumps({k: v.decode() for k, v in files.items()})
            for _, _, files in all_failures(script, fast, text)]  # fmt: skip
    assert set(left) == {json.dumps(files) for files in (
        {"old": "old"}, {"old": "old", "new": ""}, {"new": "", "old": "old"},
        {"old": "old", "new": "new!"}, {"new": "new!", "old": "old"}, {"old": "old", "new": "ne"},
        {"new": "ne", "old": "old"}, {"old": ""}, {"old": "ne"}, {"old": "new!"},
    )} & set(left)  # fmt: skip
    assert {'{"old": ""}', '{"old": "ne"}', '{"old": "old"}', '{"old": "new!"}'} <= set(left)


def test_what_power_leaves_of_one_that_was(script, fast, tmp_path):
    (fast / "work" / "old").write_bytes(b"old")
    (fast / "states").symlink_to(tmp_path / "states")
    text = (
        "f = os.open('new', os.O_CREAT | os.O_WRONLY); os.write(f, b'new!'); os.fsync(f)\n"
        "os.rename('new', 'old'); d = os.open('.', os.O_RDONLY); os.fsync(d)"
    )
    left = all_failures(script, fast, text)
    assert all(files["old"] in (b"old", b"new!") for _, _, files in left)
    last = max(at for at, _, _ in left)
    assert [files for at, _, files in left if at == last] == [{"old": b"new!"}]
