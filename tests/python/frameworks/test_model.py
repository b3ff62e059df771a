# SPDX-License-Identifier: Apache-2.0
"""hallmark.open: what a verified model hands out, and that nobody can change it."""

import copy
import ctypes
import gc
import io
import mmap
import os
import pathlib
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import hallmark
import support
from python.frameworks.conftest import SHARD


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "model.sig"
    }


def address_of(buffer):
    # A read-only buffer has an address, too, which ctypes gives only by this function.
    get = ctypes.pythonapi.PyObject_GetBuffer
    view = (ctypes.c_void_p * 20)()
    assert get(ctypes.py_object(buffer), view, 0) == 0
    ctypes.pythonapi.PyBuffer_Release(view)
    return view[0]


def test_every_way_gives_the_signed_bytes(signed, ec):
    files = contents(signed)
    with hallmark.open(signed, key=ec.public) as model:
        assert set(model.names()) == set(files) == set(model) and len(model) == len(files)
        assert dict(model) == files
        for name, data in files.items():
            assert model.size(name) == len(data) and not model.lazy(name)
            assert model.buffer(name) == data and model.read(name) == data
            assert model.private_buffer(name) == data
            assert model.open(name).read() == data == model.open(name, lazy=True).read()
            assert pathlib.Path(model.path(name)).read_bytes() == data
            target = bytearray(len(data))
            model.read_into(target, name)
            assert target == data
        assert model.report.status == "opened" and not model.report.verified
        assert model.report.signer.key_fingerprint == ec.fingerprint
        assert "model.sig" not in model and ".." not in model
        with pytest.raises(KeyError):
            model.read("model.sig")


def test_nothing_is_read_before_it_is_asked_for(signed, ec):
    name = max(contents(signed), key=lambda each: (signed / each).stat().st_size)
    with hallmark.open(signed, key=ec.public) as model:
        support.flip(signed / name, 0)
        assert [model.read(each) for each in model if each != name]
        for way in (model.read, model.buffer, model.open, model.path, model.load):
            with pytest.raises(hallmark.IntegrityError) as caught:
                way(name)
            assert caught.value.reason == "digest-mismatch" and name in str(caught.value)


def test_what_was_loaded_stays_as_it_was_signed(signed, ec):
    files = contents(signed)
    with hallmark.open(signed, key=ec.public) as model:
        model.load()
        for name in files:
            (signed / name).write_bytes(b"other")
        assert dict(model) == files
        assert [open(model.path(name), "rb").read() for name in model] == list(model.values())


def test_the_memory_cannot_be_changed(sharded, ec, lies_in):
    with hallmark.open(sharded, key=ec.public) as model:
        buffer = model.buffer()
        assert buffer.readonly
        assert "memfd:hallmark" in lies_in(address_of(buffer))
        assert lies_in(address_of(buffer)).split()[1] == "r--s"
        with pytest.raises(TypeError):
            buffer[0] = 1
        for flags in (os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
            with pytest.raises(OSError):
                descriptor = os.open(model.path(), flags)
                try:
                    os.write(descriptor, b"x")
                finally:
                    os.close(descriptor)
        with open(model.path(), "rb") as file, pytest.raises((OSError, ValueError)):
            mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        # Kinder to write to: it changes nothing but itself.
        private = model.private_buffer()
        private[:5] = b"12345"
        assert model.buffer() == sharded.read_bytes() != private


def test_a_single_file_needs_no_name(sharded, ec, signed):
    with hallmark.open(sharded, key=ec.public) as model:
        assert model.names() == ("weights.bin",) and model.read() == sharded.read_bytes()
    with hallmark.open(signed, key=ec.public) as model, pytest.raises(hallmark.UsageError):
        model.read()


def test_offsets_are_not_shared(sharded, ec):
    with hallmark.open(sharded, key=ec.public) as model:
        one, two, path = model.open(), model.open(), model.path()
        assert one.read(10) == two.read(10) == open(path, "rb").read(10)
        assert one.seekable() and one.seek(-1, os.SEEK_END) and len(one.read()) == 1


def test_what_outlives_the_model(sharded, ec):
    data = sharded.read_bytes()
    with hallmark.open(sharded, key=ec.public) as model:
        buffer, file, lazy, path = model.buffer(), model.open(), model.open(lazy=True), model.path()
        assert not model.closed
    model.close()
    assert model.closed and buffer == data and file.read() == data and lazy.read() == data
    assert not os.path.exists(path) or os.path.realpath(path) != "memfd:hallmark"
    for use in (model.read, model.path, model.open, lambda: model.open(lazy=True), model.__enter__):
        with pytest.raises(ValueError, match="closed"):
            use()


@pytest.mark.parametrize("refused", ["unsigned", "changed", "extra", "untrusted"])
def test_what_is_refused_is_not_opened(signed, ec, rsa, refused):
    key = rsa.public if refused == "untrusted" else ec.public
    if refused == "unsigned":
        (signed / "model.sig").unlink()
    if refused == "changed":
        support.flip(signed / "model.sig", 200)
    if refused == "extra":
        (signed / "extra").touch()
    with pytest.raises((hallmark.IntegrityError, hallmark.SignatureVerificationError)):
        hallmark.open(signed, key=key)


# ---- lazily -------------------------------------------------------------------------------------


def test_reading_a_sharded_file(sharded, ec):
    data = sharded.read_bytes()
    with hallmark.open(sharded, key=ec.public) as model:
        file = model.open(lazy=True)
        assert model.lazy() and isinstance(file, io.BufferedReader) and file.seekable()
        oracle = io.BytesIO(data)
        for offset, count in (
            (0, 3),
            (SHARD - 1, 2),
            (5 * SHARD, SHARD),
            (len(data) - 1, 9),
            (len(data) + 5, 1),
        ):
            assert (file.seek(offset), file.read(count)) == (
                oracle.seek(offset),
                oracle.read(count),
            )
        target = bytearray(3 * SHARD)
        file.seek(SHARD // 2)
        assert file.readinto(target) == len(target)
        assert target == data[SHARD // 2 : SHARD // 2 + len(target)]
        with pytest.raises(ValueError):
            file.raw.seek(-1)
        file.raw.close()
        with pytest.raises(ValueError):
            file.raw.read(1)


def test_a_bad_shard_is_an_exception_that_names_it(sharded, ec):
    support.flip(sharded, 7 * SHARD + 5)
    with hallmark.open(sharded, key=ec.public) as model:
        file = model.open(lazy=True)
        assert len(file.read(6 * SHARD)) == 6 * SHARD
        file.seek(8 * SHARD)
        assert len(file.read(SHARD)) == SHARD
        file.seek(7 * SHARD)
        with pytest.raises(hallmark.IntegrityError) as caught:
            file.read(1)
        assert f"weights.bin:{7 * SHARD}:{8 * SHARD}" in str(caught.value)
        with pytest.raises(hallmark.IntegrityError):
            model.read()
        with pytest.raises(ValueError):
            model.read_into(bytearray(SHARD), offset=20 * SHARD)


# ---- for code that wants a directory ------------------------------------------------------------


def test_a_directory_of_links(signed, ec):
    files = contents(signed)
    with hallmark.open(signed, key=ec.public) as model:
        with model.directory() as place:
            assert os.stat(place).st_mode & 0o777 == 0o700
            for name in files:
                (signed / name).write_bytes(b"other")
            found = {
                str(path.relative_to(place)): path.read_bytes()
                for path in pathlib.Path(place).rglob("*")
                if path.is_file()
            }
            assert found == files
            # Another program sees them, too; of /proc/self it would be its own files.
            name = next(iter(files))
            seen = subprocess.run(
                ["cat", os.path.join(place, name)], capture_output=True, check=True
            )
            assert seen.stdout == files[name]
        assert not os.path.exists(place)
        with model.directory(["config.json"]) as place:
            assert os.listdir(place) == ["config.json"]


PLACES = """
import os, sys, tempfile, hallmark

tempfile.tempdir = sys.argv[3]
with hallmark.open(sys.argv[1], key=sys.argv[2]) as model:
    def made():
        with model.directory() as place:
            return place
    bases = {os.path.dirname(made()) for _ in range(3)}
    (base,) = bases
    assert os.listdir(tempfile.tempdir) == [os.path.basename(base)] and os.listdir(base) == []
    assert os.stat(base).st_mode & 0o777 == 0o700
    if os.fork() == 0:
        assert os.path.dirname(made()) != base
        sys.exit()  # with what is done at the end of a process
    assert os.wait()[1] == 0 and os.listdir(tempfile.tempdir) == [os.path.basename(base)]
    os.rename(base, base + "-away")
    os.mkdir(base, 0o777)  # as by somebody else, when somebody tidied up
    assert os.path.dirname(made()) != base and os.listdir(base) == []
"""


def test_nobody_takes_over_the_path_of_a_directory(signed, ec, tmp_path):
    """Where all may make directories: frameworks hand the path on when it is long gone."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    done = subprocess.run([sys.executable, "-c", PLACES, signed, ec.public, shared],
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    # What was moved, and what took its place.
    assert len(os.listdir(shared)) == 2


# ---- threads, forks, leaks ----------------------------------------------------------------------


def test_names_in_every_form(signed, ec):
    with hallmark.open(signed, key=ec.public) as model:
        for name in model.names():
            data = model.read(name)
            for form in (os.fsencode(name), pathlib.PurePath(name)):
                assert model[form] == data and form in model and model.size(form) == len(data)
                with model.directory([form]) as place:
                    assert (pathlib.Path(place) / name).read_bytes() == data
        for wrong in (b"none", pathlib.Path("none"), 0, None):
            assert wrong not in model
            with pytest.raises((KeyError, hallmark.UsageError)):
                model[wrong]


def test_no_copies(signed, ec):
    """The end of a copy would close the descriptors under the paths that the model gave."""
    with hallmark.open(signed, key=ec.public) as model:
        path, data = model.path(model.names()[0]), model.read(model.names()[0])
        for make in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="cannot be copied"):
                make(model)
        gc.collect()
        assert pathlib.Path(path).read_bytes() == data


def test_threads_load_at_once(signed, sharded, ec):
    files, data, failed = contents(signed), sharded.read_bytes(), []
    with (
        hallmark.open(signed, key=ec.public) as model,
        hallmark.open(sharded, key=ec.public) as one,
    ):

        def work(seed):
            try:
                for name in sorted(files, key=lambda each: hash((each, seed))):
                    assert model.read(name) == files[name] == open(model.path(name), "rb").read()
                    assert hallmark.open(signed, key=ec.public).read(name) == files[name]
                file = one.open(lazy=True)
                file.seek(seed * SHARD)
                assert file.read(SHARD) == data[seed * SHARD : (seed + 1) * SHARD]
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert not failed


def test_a_fork_after_loading(signed, sharded, ec):
    files, data = contents(signed), sharded.read_bytes()
    name = max(files, key=lambda each: len(files[each]))
    with (
        hallmark.open(signed, key=ec.public) as model,
        hallmark.open(sharded, key=ec.public) as one,
    ):
        buffer, path, lazy = model.buffer(name), model.path(name), one.open(lazy=True)
        child = os.fork()
        if child == 0:
            good = buffer == files[name] and open(path, "rb").read() == files[name]
            good = good and dict(model) == files and lazy.read() == data
            model.close()
            os._exit(0 if good else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert dict(model) == files and lazy.read() == data


def test_thousands_of_loads_leak_nothing(signed, sharded, ec, sanitizer):
    policy = hallmark.Policy(keys=ec.public)

    def load(times):
        for _ in range(times):
            with hallmark.open(signed, policy) as model:
                model.load()
                model.path("config.json")
                model.buffer("config.json")
            hallmark.open(sharded, policy).open(lazy=True).read(10)
            hallmark.open(sharded, policy).buffer()
        gc.collect()
        maps = pathlib.Path("/proc/self/maps").read_text().count("memfd:hallmark")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return len(os.listdir("/proc/self/fd")), maps, peak

    descriptors, maps, peak = load(20 if sanitizer else 200)
    after = load(100 if sanitizer else 1000)
    assert after[:2] == (descriptors, maps)
    assert sanitizer or after[2] - peak < 8 * 1024  # KiB; a sanitizer keeps what was freed


# ---- more than there is memory ------------------------------------------------------------------

LIMITED = """
import resource, sys, hallmark
size = int(sys.argv[3])
model = hallmark.open(sys.argv[1], key=sys.argv[2], jobs=1)
resource.setrlimit(resource.RLIMIT_AS, (size // 2, size // 2))
file = model.open(lazy=True)
for offset in range(0, size, size // 8):
    file.seek(offset)
    assert len(file.read(1000)) == 1000
try:
    model.load()
except hallmark.UndecidedError as error:
    print(error)
"""


def test_a_model_that_is_larger_than_memory(tmp_path, ec, sanitizer):
    if sanitizer:
        pytest.skip("a sanitizer needs addresses without limit")
    file, size = tmp_path / "large", 2 << 30
    with open(file, "wb") as target:
        target.truncate(size)
    hallmark.sign(file, ec.private, shard_size=16 << 20)
    done = subprocess.run([sys.executable, "-c", LIMITED, file, ec.public, str(size)],
                          capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "needs 2.0 GiB of memory" in done.stdout and "parts of it" in done.stdout


@pytest.mark.parametrize("shard_size", [None, 1 << 20])
def test_a_stopped_reading_takes_no_more_memory(tmp_path, ec, sanitizer, shard_size):
    """And no more time: to write zeros to all that was asked for takes as long as reading it."""
    if sanitizer:
        pytest.skip("a sanitizer takes memory of its own")
    file = tmp_path / "large"
    with open(file, "wb") as target:
        target.truncate(1 << 30)
    hallmark.sign(file, ec.private, shard_size=shard_size)
    done = subprocess.run([sys.executable, "-c", STOPPED, file, ec.public],
                          capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 700 << 10  # KiB


STOPPED = """
import resource, sys, hallmark

def stop(done, total):
    raise KeyboardInterrupt

try:
    hallmark.open(sys.argv[1], key=sys.argv[2]).private_buffer(progress=stop)
except KeyboardInterrupt:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize("shard_size", [None, 3 << 30])
def test_few_bytes_can_take_long_and_be_stopped(tmp_path, ec, shard_size):
    """By Ctrl-C: however few are asked for, what they lie in is verified as a whole."""
    file = tmp_path / "large"
    with open(file, "wb") as target:
        target.truncate(3 << 30)
    hallmark.sign(file, ec.private, shard_size=shard_size)

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with hallmark.open(file, key=ec.public, jobs=1) as model:
            for read in (lambda: model.part(5, 9), lambda: model.read_into(bytearray(1))):
                started = time.monotonic()
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                with pytest.raises(KeyboardInterrupt):
                    read()
                assert time.monotonic() - started < 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_reading_all_lazily_is_one_reading(sharded, ec):
    data = sharded.read_bytes()
    with hallmark.open(sharded, key=ec.public) as model:
        for start in (0, 5, SHARD, len(data), len(data) + 5):
            file = model.open(lazy=True)
            file.seek(start)
            assert file.read() == data[start:]
            assert file.tell() == max(start, len(data)) and file.read() == b""
            reads = []
            file.raw.readinto = reads.append
            file.seek(start)
            file.raw.seek(start)
            assert file.raw.readall() == data[start:] and not reads
        file.raw.close()
        with pytest.raises(ValueError):
            file.raw.readall()
    support.flip(sharded, 3 * SHARD)
    with hallmark.open(sharded, key=ec.public) as model:
        with pytest.raises(hallmark.IntegrityError, match=f"{3 * SHARD}:{4 * SHARD}"):
            model.open(lazy=True).read()


def test_loading_can_be_stopped(tmp_path, ec):
    """As by Ctrl-C; the model can be used all the same."""
    file = tmp_path / "large"
    with open(file, "wb") as target:
        target.truncate(256 << 20)
    hallmark.sign(file, ec.private)
    told = []

    def stop(done, total):
        told.append((done, total))
        raise KeyboardInterrupt

    with hallmark.open(file, key=ec.public) as model:
        with pytest.raises(KeyboardInterrupt):
            model.load(progress=stop)
        assert len(told) == 1 and told[0][1] == 256 << 20
        with ThreadPoolExecutor() as pool:
            other = pool.submit(model.private_buffer)
            with pytest.raises(KeyboardInterrupt):
                model.private_buffer(progress=stop)
            assert len(told) == 2 and not any(other.result()[:: 1 << 20])
        assert not model.buffer()[-1] and len(model.buffer()) == 256 << 20
