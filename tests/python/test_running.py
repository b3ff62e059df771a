# SPDX-License-Identifier: Apache-2.0
"""While the core works: other threads, progress, Ctrl-C, forks; and what a thousand calls leave."""

import concurrent.futures
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import tqdm

import hallmark
import support


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    """A file of 3 GiB without blocks on disk: some seconds of hashing for one thread."""
    place = tmp_path_factory.mktemp("large") / "large.bin"
    with open(place, "wb") as out:
        out.truncate(3 << 30)
    return place


# ---- other threads ------------------------------------------------------------------------------


def test_other_threads_go_on(large, ec):
    ended, laps = threading.Event(), 0

    def work():
        hallmark.digest(large, jobs=1)
        ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not ended.is_set():
        time.sleep(0.001)
        laps += 1
    thread.join()
    assert laps > 50


# ---- progress -----------------------------------------------------------------------------------


def test_progress(large):
    told, threads = [], set()

    def tell(done, total):
        told.append((done, total))
        threads.add(threading.get_ident())

    hallmark.digest(large, progress=tell)
    assert told[-1] == (3 << 30, 3 << 30) and len(told) > 2
    assert told == sorted(told) and {total for _, total in told} == {3 << 30}
    assert threads == {threading.get_ident()}


def test_progress_of_little(signed, ec):
    told = []
    report = hallmark.verify(signed, key=ec.public, progress=lambda *numbers: told.append(numbers))
    assert told[-1] == (report.byte_count, report.byte_count)


def test_tqdm(model_file, ec):
    bar = tqdm.tqdm(disable=False, file=open(os.devnull, "w"))
    hallmark.sign(model_file, ec.private, progress=bar)
    assert bar.n == bar.total == model_file.stat().st_size
    made, closed = [], []

    class Bar(tqdm.tqdm):
        def __init__(self, *args, **kwargs):
            made.append(self)
            super().__init__(*args, file=open(os.devnull, "w"), **kwargs)

        def close(self):
            closed.append(self.n)
            super().close()

    hallmark.verify(model_file, key=ec.public, progress=Bar)
    assert len(made) == 1 and closed[0] == model_file.stat().st_size


def test_no_bar_of_nothing(signed, ec):
    """Opening reads no contents."""
    made = []
    with hallmark.open(signed, key=ec.public, progress=type("Bar", (tqdm.tqdm,), {
        "__init__": lambda self, **options: made.append(options)
    })):  # fmt: skip
        assert not made


def test_progress_that_raises_stops_it(large, ec):
    class Enough(Exception):
        pass

    def tell(done, total):
        raise Enough

    before = os.listdir(large.parent)
    started = time.monotonic()
    with pytest.raises(Enough):
        hallmark.sign(large, ec.private, shard_size=1 << 20, progress=tell)
    assert time.monotonic() - started < 2
    assert os.listdir(large.parent) == before


# ---- Ctrl-C -------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 4])
@pytest.mark.parametrize("verb", ["sign", "digest", "verify"])
def test_ctrl_c(large, ec, verb, jobs, tmp_path):
    place = large.with_name(large.name + ".sig")
    if verb == "verify":
        place = tmp_path / "s"
        hallmark.sign(large, ec.private, signature=place)
    call = {
        "sign": f"hallmark.sign({str(large)!r}, {str(ec.private)!r}, jobs={jobs})",
        "digest": f"hallmark.digest({str(large)!r}, jobs={jobs})",
        "verify": f"hallmark.verify({str(large)!r}, key={str(ec.public)!r}, "
        f"signature={str(place)!r}, jobs={jobs})",
    }[verb]
    script = f"""
        import hallmark, os, time
        print("ready", flush=True)
        try:
            {call}
            print("done")
        except KeyboardInterrupt:
            print("stopped", time.monotonic(), len(os.listdir("/proc/self/task")))
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)],
                             stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.4)
    sent = time.monotonic()
    child.send_signal(signal.SIGINT)
    said, *rest = child.communicate(timeout=60)[0].split()
    assert said == "stopped", "it had ended before the signal came"
    assert float(rest[0]) - sent < 1 and rest[1] == "1"
    assert child.returncode == 0
    assert {path.name for path in large.parent.iterdir()} == {large.name}


def test_another_handler_runs_too(large):
    seen = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(time.monotonic()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        started = time.monotonic()
        assert hallmark.digest(large)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert seen and seen[0] - started < 0.7


# ---- processes ----------------------------------------------------------------------------------


def verify_in_child(model, key):
    return hallmark.verify(model, key=key)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_reports_and_errors_cross_processes(signed, ec, method):
    context = multiprocessing.get_context(method)
    here = hallmark.verify(signed, key=ec.public)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        there = pool.submit(verify_in_child, signed, ec.public).result()
        assert there.verified and there.files == here.files
        assert there.signature_path == here.signature_path and there.text() == here.text()
        (signed / "README.md").write_text("x")
        with pytest.raises(hallmark.IntegrityError) as refused:
            pool.submit(verify_in_child, signed, ec.public).result()
    assert refused.value.reason == "digest-mismatch"
    assert refused.value.report.findings[0].name == "README.md"


def test_a_fork_while_a_report_is_read(signed, ec, monkeypatch):
    """What a thread holds while it reads one is not missing to the child, which reads another."""
    report = hallmark.verify(signed, key=ec.public)
    one, other = (pickle.loads(pickle.dumps(report)) for _ in range(2))
    parse, inside, go_on = hallmark._report.parse_json, threading.Event(), threading.Event()

    def slow(text):
        inside.set()
        go_on.wait(60)
        return parse(text)

    monkeypatch.setattr(hallmark._report, "parse_json", slow)
    thread = threading.Thread(target=lambda: one.signer)
    thread.start()
    try:
        assert inside.wait(60)
        monkeypatch.setattr(hallmark._report, "parse_json", parse)
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(20)
            os._exit(0 if other.signer == report.signer else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        go_on.set()
        thread.join()


@pytest.mark.parametrize("kind", ["UsageError", "UndecidedError", "LetThroughError"])
def test_errors_are_pickled_whole(kind):
    error = getattr(hallmark, kind)("m", hint="h", reason="unsigned")
    error.more = 3
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and copy.__dict__ == error.__dict__
    assert str(copy) == str(error) == "m (h)"


# ---- what is left behind ------------------------------------------------------------------------


LEAK = """
import ctypes, gc, os, pathlib, sys, hallmark
signed, model, private, public, encrypted = map(pathlib.Path, sys.argv[1:])
policy = hallmark.Policy(keys=public)

def once():
    hallmark.verify(signed, policy, progress=lambda done, total: None)
    hallmark.sign(model, private, metadata={"a": "b" * 1000}, ignore=["x"] * 50)
    hallmark.verify(model, key=public).text(list=True)
    for call in (
        lambda: hallmark.verify(signed / "no", policy),
        lambda: hallmark.verify(model, policy, signature=signed / "model.sig"),
        lambda: hallmark.sign(model, public),
        lambda: hallmark.Policy(keys=signed / "README.md"),
        lambda: hallmark.Signer(encrypted, passphrase="wrong"),
    ):
        try:
            call()
        except hallmark.HallmarkError:
            continue
        raise AssertionError("this must fail")

class Allocated(ctypes.Structure):
    _fields_ = [(f"member{n}", ctypes.c_size_t) for n in range(10)]

count = ctypes.CDLL(None).mallinfo2
count.restype = Allocated

def standing():
    gc.collect()
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return [len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")),
            pages * os.sysconf("SC_PAGE_SIZE"), count().member7]

for _ in range(250):
    once()
before = standing()
for _ in range(125):
    once()
print(*before, *standing())
"""


def test_a_thousand_calls_leave_nothing(signed, ec, model_file, sanitizer):
    if sanitizer:
        pytest.skip("another allocator, which keeps what was freed")
    command = [sys.executable, "-c", LEAK, signed, model_file, ec.private, ec.public, ec.encrypted]
    # One arena, and Python's objects in it, so that the C library can say what is allocated.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "PYTHONMALLOC": "malloc"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250,
                          check=True)  # fmt: skip
    numbers = list(map(int, done.stdout.split()))
    files, threads, resident, allocated = (then - now for now, then in zip(numbers, numbers[4:]))
    assert files == 0 and threads == 0 and numbers[1] == 1
    assert resident < 2 << 20
    assert allocated < 24 << 10


def test_a_daemon_thread_at_the_end(large):
    """The interpreter goes away while the core reads for a daemon thread."""
    script = f"""
        import hallmark, threading, time
        work = lambda: hallmark.digest({str(large)!r}, jobs=1)
        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.3)
        print("ending")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True,
                          text=True, timeout=60, check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "ending\n"), done.stderr
