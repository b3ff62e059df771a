# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of torch, and safetensors: the real libraries write and read what we read and write."""

import inspect
import io
import json
import mmap
import os
import pickle
import struct
import subprocess
import sys
import time
import warnings
import zipfile

import numpy
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch

import hallmark
import support


# From 2.1 on.
CAN_MAP = "mmap" in inspect.signature(torch.load).parameters


def tensors():
    torch.manual_seed(1)
    return {
        "weight": torch.randn(300, 200),
        "half": torch.randn(8, 8).to(torch.float16),
        "brain": torch.randn(8, 8).to(torch.bfloat16),
        "long": torch.arange(7),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "flags": torch.tensor([True, False, True]),
        "one": torch.tensor(1.5, dtype=torch.float64),
        "none": torch.empty(0, 3),
    }


def same(left, right):
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and torch.equal(left[name], right[name])
        for name in left
    )


@pytest.fixture
def checkpoint(tmp_path, ec):
    file = tmp_path / "model.pt"
    report = hallmark.torch.save(tensors(), file, ec.private)
    assert report.status == "signed" and report.files == ("model.pt",)
    return file


SHARD = 32 * 1024


@pytest.fixture
def weights(tmp_path, ec):
    file = tmp_path / "weights.safetensors"
    hallmark.safetensors.save_file(
        tensors(), file, ec.private, shard_size=SHARD, file_metadata={"a": "b"}
    )
    return file


# ---- torch --------------------------------------------------------------------------------------


def test_a_checkpoint_comes_back(checkpoint, ec, rsa):
    assert same(hallmark.torch.load(checkpoint, key=ec.public), tensors())
    assert same(torch.load(checkpoint), tensors())  # an ordinary file
    assert os.stat(checkpoint).st_mode & 0o777 == 0o666 & ~umask()
    assert sorted(os.listdir(checkpoint.parent)) == ["model.pt", "model.pt.sig"]
    with hallmark.open(checkpoint, key=ec.public) as model:
        assert same(hallmark.torch.load(model), tensors())
        with pytest.raises(hallmark.UsageError):
            hallmark.torch.load(model, key=ec.public)
    with pytest.raises(hallmark.UntrustedSignerError):
        hallmark.torch.load(checkpoint, key=rsa.public)


def umask():
    now = os.umask(0o77)
    os.umask(now)
    return now


def test_a_changed_checkpoint_is_refused(checkpoint, ec):
    support.flip(checkpoint, checkpoint.stat().st_size // 2)
    with pytest.raises(hallmark.IntegrityError):
        hallmark.torch.load(checkpoint, key=ec.public)


def test_what_cannot_be_written_leaves_the_old_file(checkpoint, ec):
    class Broken:
        def __reduce__(self):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        hallmark.torch.save(Broken(), checkpoint, ec.private)
    assert same(hallmark.torch.load(checkpoint, key=ec.public), tensors())
    assert sorted(os.listdir(checkpoint.parent)) == ["model.pt", "model.pt.sig"]


class Code:
    """What a pickle can do."""

    def __reduce__(self):
        return (os.system, ("touch executed",))


@pytest.mark.parametrize("legacy", [False, True])
def test_code_is_not_run_though_it_is_signed(tmp_path, ec, monkeypatch, legacy):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"a": Code()}, "bad.pt", _use_new_zipfile_serialization=not legacy)
    hallmark.sign("bad.pt", ec.private)
    with pytest.raises(hallmark.UnsupportedError) as raised:
        hallmark.torch.load("bad.pt", key=ec.public)
    if not legacy:
        assert isinstance(raised.value, hallmark.torch.NotWeightsError)
        assert isinstance(raised.value, pickle.UnpicklingError) and raised.value.reason == "unsupported"
        # torch's advice would be to load it without weights_only.
        assert "system" in str(raised.value) and "weights_only" not in str(raised.value)
    assert not os.path.exists("executed")
    torch.load("bad.pt")  # it is dangerous indeed
    assert os.path.exists("executed")


def test_the_loader_tells_of_what_it_cannot_load(tmp_path, ec):
    """Also of what is verified and does harm, and of what a caller's own loader makes of it."""
    torch.save({"a": Code()}, tmp_path / "bad.pt")
    hallmark.sign(tmp_path / "bad.pt", ec.private)
    events, failures = [], []

    def broken(model):
        raise ZeroDivisionError("what\nis this")

    def load(**options):
        hallmark.SecureModelLoader(
            ec.public, on_event=events.append, on_failure=lambda *told: failures.append(told), **options
        ).load_model(tmp_path / "bad.pt")

    with pytest.raises(hallmark.torch.NotWeightsError) as raised:
        load()
    assert failures.pop() == (str(tmp_path / "bad.pt"), raised.value)
    event = events.pop()
    assert event["event"] == "model_refused" and event["reason"] == "unsupported"
    with pytest.raises(ZeroDivisionError) as raised:
        load(loader=broken)
    ((_, error),) = failures
    assert isinstance(error, hallmark.UndecidedError) and error.__cause__ is raised.value
    assert "\n" not in error.message
    (event,) = events
    assert event["event"] == "model_undecided" and not event["signature_verified"]


def test_progress_is_of_the_loading(checkpoint, tmp_path, ec):
    told = []

    def tell(done, total):
        told.append((done, total))

    def all_told(size):
        last, made = told[-1], len(told)
        told.clear()
        return last == (size, size) and made > 0

    size = checkpoint.stat().st_size
    hallmark.torch.load(checkpoint, key=ec.public, progress=tell)
    assert all_told(size)
    file = tmp_path / "whole.safetensors"
    hallmark.safetensors.save_file({"a": torch.zeros(1 << 20)}, file, ec.private)
    hallmark.safetensors.load_file(file, key=ec.public, progress=tell)
    assert all_told(file.stat().st_size)
    with hallmark.safetensors.safe_open(file, key=ec.public, progress=tell):
        assert all_told(file.stat().st_size)


def test_torchscript_and_other_files_are_not_loaded(tmp_path, ec):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "script.pt"))
    (tmp_path / "text.pt").write_text("PK\x03\x04 but no zip")
    for name in ("script.pt", "text.pt"):
        hallmark.sign(tmp_path / name, ec.private)
        with pytest.raises(hallmark.UnsupportedError):
            hallmark.torch.load(tmp_path / name, key=ec.public)


def directory_of(data):
    """Where a zip file's directory begins, its length, and how many are in it."""
    file = io.BytesIO(data)
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        return archive.start_dir, sum(46 + len(name) for name in names), len(names)


def end_record(count, length, offset):
    return struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, length, offset, 0)


def two_directories(script):
    """One where the end record says, and a harmless one right in front of it."""
    start, length, count = directory_of(script)
    directory = script[start : start + length]
    harmless = directory.replace(b"constants.pkl", b"something.pkl")
    return script[:start] + directory + harmless + end_record(count, length, start)


def two_end_records(script):
    """A locator of an end record that is not the one in front of it."""
    start, length, count = directory_of(script)
    harmless = script[start : start + length].replace(b"constants.pkl", b"something.pkl")
    first = len(script) + len(harmless)
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, first)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, script.rindex(b"PK\6\6"), 1)
    end = end_record(count, length, start)
    return script + harmless + record + locator + end


def other_case(script):
    return script.replace(b"/constants.pkl", b"/CONSTANTS.PKL")


def cut_name(script):
    start, length, count = directory_of(script)
    directory = script[start : start + length]
    at = directory.index(b"PK\1\2", 1)
    name = directory[46:at] + b"\0" + directory[46:at]
    entry = directory[:28] + struct.pack("<H", len(name)) + directory[30:46] + name
    directory = entry + directory[at:]
    return script[:start] + directory + end_record(count, len(directory), start)


def prefixed(script):
    return b"PK\3\4" + script


def cut_directory(script):
    start, length, count = directory_of(script)
    return script[:start] + script[start : start + length - 1] + end_record(count, length - 1, start)


@pytest.mark.parametrize(
    "trick",
    [two_directories, two_end_records, other_case, cut_name, prefixed, cut_directory],
)  # fmt: skip
def test_torchscript_that_hides(tmp_path, ec, trick):
    """What torch sees in a zip file is what is looked at: it would go to torch.jit by itself."""
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "script.pt"))
    file = tmp_path / "hidden.pt"
    file.write_bytes(trick((tmp_path / "script.pt").read_bytes()))
    hallmark.sign(file, ec.private)
    with pytest.raises(hallmark.UnsupportedError):
        hallmark.torch.load(file, key=ec.public)


def test_a_checkpoint_that_was_packed_again(checkpoint, tmp_path, ec):
    """By another program, without records for large files."""
    again = tmp_path / "again.pt"
    with zipfile.ZipFile(checkpoint) as old, zipfile.ZipFile(again, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    hallmark.sign(again, ec.private)
    assert same(hallmark.torch.load(again, key=ec.public), tensors())


class Library:
    """A torch of another release."""

    __version__ = "0.0"

    def __init__(self, load):
        self.load = load
        self.save = torch.save


def test_other_releases_of_torch(checkpoint, ec, monkeypatch):
    calls = []

    def newest(f, map_location=None, pickle_module=None, *, weights_only=True, mmap=None, **more):
        calls.append((f, map_location, weights_only, mmap))
        return torch.load(f, weights_only=weights_only)

    def oldest(f, map_location=None, pickle_module=pickle, **pickle_load_args):
        raise AssertionError("must not be called")

    # By name, so that nothing but the function of the package sees it.
    monkeypatch.setattr("hallmark.torch.framework", lambda name: Library(newest))
    assert same(hallmark.torch.load(checkpoint, key=ec.public, map_location="cpu"), tensors())
    assert calls[0][0].startswith("/proc/self/fd/") and calls[0][1:] == ("cpu", True, True)
    hallmark.torch.load(checkpoint, key=ec.public, mmap=False)
    assert not isinstance(calls[1][0], str) and calls[1][2:] == (True, False)
    monkeypatch.setattr("hallmark.torch.framework", lambda name: Library(oldest))
    with pytest.raises(hallmark.UnsupportedError, match="weights only"):
        hallmark.torch.load(checkpoint, key=ec.public)
    monkeypatch.undo()
    if not CAN_MAP:
        with pytest.raises(hallmark.UsageError, match="mmap"):
            hallmark.torch.load(checkpoint, key=ec.public, mmap=True)


@pytest.mark.skipif(not CAN_MAP, reason="a torch that cannot map checkpoints")
def test_a_mapped_checkpoint_lies_in_the_verified_memory(checkpoint, ec, lies_in):
    with hallmark.open(checkpoint, key=ec.public) as model:
        mapped, other = hallmark.torch.load(model), hallmark.torch.load(model, mmap=True)
        copied = hallmark.torch.load(model, mmap=False)
        support.flip(checkpoint, checkpoint.stat().st_size // 2)
    assert same(mapped, tensors()) and same(copied, tensors())
    for name, tensor in mapped.items():
        if tensor.numel() > 0:
            assert "memfd:hallmark" in lies_in(tensor.data_ptr()), name
            assert "memfd:hallmark" not in lies_in(copied[name].data_ptr()), name
    # What is written is one's own.
    mapped["weight"].fill_(7)
    assert same(other, tensors()) and mapped["weight"][0, 0] == 7


@pytest.mark.skipif(not CAN_MAP, reason="a torch that cannot map checkpoints")
def test_a_mapping_that_is_shared_changes_nothing(checkpoint, ec):
    """torch can be told to map so that writes reach the file. The verified memory has none."""
    if not hasattr(torch.serialization, "set_default_mmap_options"):
        pytest.skip("a torch that always maps privately")
    with hallmark.open(checkpoint, key=ec.public) as model:
        try:
            torch.serialization.set_default_mmap_options(mmap.MAP_SHARED)
            with pytest.raises(RuntimeError, match="map"):
                hallmark.torch.load(model)
        finally:
            torch.serialization.set_default_mmap_options(mmap.MAP_PRIVATE)
        assert same(hallmark.torch.load(model), tensors())


def test_defaults_of_the_process(checkpoint, weights, ec):
    """What torch was told to do by default decides neither whether nor what is loaded."""
    config = getattr(getattr(torch.utils, "serialization", None), "config", None)
    if config is not None:
        with config.patch({"load.mmap": True}):
            assert same(hallmark.torch.load(checkpoint, key=ec.public, mmap=False), tensors())
    if hasattr(torch.device, "__enter__"):  # from 2.0 on
        with torch.device("meta"):
            found = hallmark.safetensors.load_file(weights, key=ec.public)
        assert {tensor.device.type for tensor in found.values()} == {"cpu"}
        assert same(found, tensors())


# ---- safetensors --------------------------------------------------------------------------------


def test_weights_come_back(weights, ec):
    assert same(hallmark.safetensors.load_file(weights, key=ec.public), tensors())
    assert same(safetensors.torch.load_file(weights), tensors())
    with hallmark.open(weights, key=ec.public) as model:
        with safetensors.safe_open(model.path(), "pt") as file:
            assert same({name: file.get_tensor(name) for name in file.keys()}, tensors())


def offsets(file):
    """Where a safetensors file has its tensors, by name."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    return {
        name: 8 + length + entry["data_offsets"][0]
        for name, entry in header.items()
        if name != "__metadata__" and entry["data_offsets"][0] != entry["data_offsets"][1]
    }


def assert_in_one_piece(tensors, file):
    """They lie beside each other as they do in the file: it is that memory that was verified."""
    places = offsets(file)
    whole = {
        tensors[name].data_ptr() - place
        for name, place in places.items()
        if place % tensors[name].element_size() == 0
    }
    assert len(whole) == 1 and len(places) > 1


def test_tensors_lie_in_the_verified_memory(weights, ec):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = hallmark.safetensors.load_file(weights, key=ec.public)
    assert_in_one_piece(found, weights)
    # They can be written to, and nobody else sees it.
    found["weight"][0, 0] = 7
    assert found["weight"][0, 0] == 7
    assert same(hallmark.safetensors.load_file(weights, key=ec.public), tensors())


def test_tensors_of_a_loaded_model_lie_in_its_sealed_memory(weights, ec, lies_in):
    with hallmark.open(weights, key=ec.public) as model:
        model.load()
        found = hallmark.safetensors.load_file(model)
        again = hallmark.safetensors.load_file(model)
    assert_in_one_piece(found, weights)
    for name in offsets(weights):
        assert "memfd:hallmark" in lies_in(found[name].data_ptr()), name
    found["weight"][0, 0] = 7
    assert found["weight"][0, 0] == 7 and same(again, tensors())


MEMORY = """
import sys, torch, hallmark

def figure(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if name in line)

before = figure("VmRSS:")
tensors = hallmark.safetensors.load_file(sys.argv[1], key=sys.argv[2])
total = sum(float(t.sum()) for t in tensors.values())
print(figure("VmHWM:") - before)
"""


@pytest.mark.parametrize("shard_size", [0, 4 << 20])
def test_no_page_is_copied(tmp_path, ec, shard_size):
    file = tmp_path / "large.safetensors"
    tensors = {"a": torch.ones(15 << 20), "b": torch.ones(1 << 20)}
    hallmark.safetensors.save_file(tensors, file, ec.private, shard_size=shard_size or None)
    out = subprocess.run([sys.executable, "-c", MEMORY, file, ec.public], capture_output=True,
                         text=True, check=True).stdout  # fmt: skip
    assert 64 << 10 <= int(out) < 96 << 10, out  # twice 64 MiB would be 128


TYPES = ["bool", "uint8", "int8", "float8_e5m2", "float8_e4m3fn", "float8_e8m0fnu", "int16",
         "uint16", "float16", "bfloat16", "int32", "uint32", "float32", "float64", "int64",
         "uint64", "complex64"]  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("lazy", [False, True])
def test_every_type(tmp_path, ec, name, lazy):
    """As the format's own library writes and reads them, as far as this torch has them."""
    if not hasattr(torch, name):
        pytest.skip(f"torch {torch.__version__} has no {name}")
    data = bytearray(support.content(9, 64)) if name != "bool" else bytearray(b"\0\1" * 32)
    written = torch.frombuffer(data, dtype=getattr(torch, name)).reshape(2, -1)
    file = tmp_path / "typed.safetensors"
    safetensors.torch.save_file({"a": written}, file)
    hallmark.sign(file, ec.private, shard_size=16)
    with hallmark.safetensors.safe_open(file, key=ec.public, lazy=lazy) as opened:
        theirs = safetensors.torch.load_file(file)["a"]
        whole = hallmark.safetensors.load_file(file, key=ec.public)["a"]
        for found in (opened.get_tensor("a"), whole):
            assert found.dtype == theirs.dtype == written.dtype and found.shape == theirs.shape
            assert bytes(found.view(torch.uint8).flatten().tolist()) == bytes(data)
        assert opened.get_slice("a")[1:].dtype == written.dtype
        row = opened.get_slice("a")[1:].clone().view(torch.uint8).flatten().tolist()
        assert bytes(row) == bytes(data[32:])


def test_numpy(tmp_path, ec):
    arrays = {"a": numpy.arange(9.0).reshape(3, 3), "b": numpy.array([1, 2], dtype="int8")}
    file = tmp_path / "np.safetensors"
    hallmark.safetensors.save_file(arrays, file, ec.private, framework="np")
    found = hallmark.safetensors.load_file(file, key=ec.public, framework="np")
    assert all((found[name] == arrays[name]).all() for name in arrays)
    places = offsets(file)
    apart = found["b"].ctypes.data - found["a"].ctypes.data
    assert apart == places["b"] - places["a"] and apart != 0
    with hallmark.safetensors.safe_open(file, "numpy", key=ec.public) as opened:
        assert (opened.get_slice("a")[1:] == arrays["a"][1:]).all()


@pytest.mark.parametrize("lazy", [False, True])
def test_single_tensors_and_slices(weights, ec, lazy):
    expected = tensors()
    with safetensors.safe_open(weights, "pt") as oracle:
        with hallmark.safetensors.safe_open(weights, key=ec.public, lazy=lazy) as file:
            assert file.keys() == sorted(oracle.keys())
            assert file.metadata() == oracle.metadata() == {"a": "b"}
            assert set(file.offset_keys()) == set(file.keys())
            assert same({name: file.get_tensor(name) for name in file.keys()}, expected)
            assert same(file.get_tensors(), expected)
            missing = {name for name in dir(oracle) if not name.startswith("_")} - set(dir(file))
            assert not missing, "what the real safe_open has"
            part, other = file.get_slice("weight"), oracle.get_slice("weight")
            assert part.get_shape() == other.get_shape() and part.get_dtype() == other.get_dtype()
            for index in (slice(10, 20), slice(None), slice(290, 400), (slice(5, 9), slice(3, 5)),
                          (slice(None), slice(0, 7))):  # fmt: skip
                assert torch.equal(part[index], other[index])
            for index in (3, -1, Ellipsis, slice(9, 3), (slice(None, None, 7), 2), (2, 3), ()):
                assert torch.equal(part[index], expected["weight"][index])
            assert file.get_slice("one")[...] == 1.5 and file.get_slice("none")[:].shape == (0, 3)
            with pytest.raises(IndexError):
                part[300]
            with pytest.raises(KeyError):
                file.get_tensor("nothing")


def test_only_the_shards_that_are_needed_are_read(weights, ec):
    """Rows 0 to 30 are in the first shards; a change behind them is not even seen."""
    with safetensors.safe_open(weights, "pt") as oracle:
        keys = list(oracle.offset_keys())
    support.flip(weights, weights.stat().st_size - 1)
    with hallmark.safetensors.safe_open(weights, key=ec.public) as file:
        assert file.offset_keys() == keys
        last = keys[-1] if keys[-1] != "none" else keys[-2]
        first = [name for name in keys if name not in (last, "none")][0]
        start = file._source.header.tensors[last].start
        if file._source.header.tensors[first].end < start // SHARD * SHARD:
            assert torch.equal(file.get_tensor(first), tensors()[first])
        if "weight" in (keys[0], keys[1], keys[2]):
            assert torch.equal(file.get_slice("weight")[:10], tensors()["weight"][:10])
        with pytest.raises(hallmark.IntegrityError) as caught:
            file.get_tensor(last)
        assert f"weights.safetensors:{start // SHARD * SHARD}:" in str(caught.value)
    with pytest.raises(hallmark.IntegrityError):
        hallmark.safetensors.load_file(weights, key=ec.public)


def test_a_directory_of_several_files(tmp_path, ec):
    folder = tmp_path / "m"
    folder.mkdir()
    parts = {
        "model-1.safetensors": {"a": torch.ones(2)},
        "model-2.safetensors": {"b": torch.zeros(3)},
    }
    for name, part in parts.items():
        safetensors.torch.save_file(part, folder / name)
    (folder / "config.json").write_text("{}")
    hallmark.sign(folder, ec.private)
    found = hallmark.safetensors.load_file(folder, key=ec.public)
    assert same(found, {"a": torch.ones(2), "b": torch.zeros(3)})
    one = hallmark.safetensors.load_file(folder, key=ec.public, file="model-2.safetensors")
    assert same(one, {"b": torch.zeros(3)})
    safetensors.torch.save_file({"a": torch.ones(2)}, folder / "model-3.safetensors")
    hallmark.sign(folder, ec.private)
    with pytest.raises(hallmark.UnsupportedError, match="in two files"):
        hallmark.safetensors.load_file(folder, key=ec.public)


def packed(header, data=b"\0" * 8):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


BROKEN = {
    "empty": b"",
    "short": b"\x08\0\0\0",
    "header beyond the end": struct.pack("<Q", 100) + b"{}",
    "huge header": struct.pack("<Q", 2**63) + b"{}",
    "no JSON": packed(b"{"),
    "no UTF-8": packed(b'{"\xff": 1}'),
    "no object": packed([]),
    "metadata no texts": packed({"__metadata__": {"a": 1}}, b""),
    "tensor no object": packed({"a": 1}),
    "a member less": packed({"a": {"dtype": "F32", "shape": [2]}}),
    "unknown type": packed({"a": entry(dtype="Q8")}),
    "type no text": packed({"a": entry(dtype=8)}),
    "negative shape": packed({"a": entry(shape=(-2,))}),
    "shape no number": packed({"a": entry(shape=(True, 2))}),
    "shape too large": packed({"a": entry(shape=(3,))}),
    "shape overflows": packed({"a": entry(shape=(2**62, 2**62))}),
    "offset negative": packed({"a": entry(offsets=(-8, 0))}),
    "offsets turned": packed({"a": entry(offsets=(8, 0))}),
    "beyond the end": packed({"a": entry(offsets=(8, 16))}),
    "a gap": packed({"a": entry(shape=(1,), offsets=(4, 8))}),
    "bytes left over": packed({"a": entry(shape=(1,), offsets=(0, 4))}),
    "overlap": packed({"a": entry(), "b": entry(shape=(1,), offsets=(4, 8))}),
    "twice": packed(b'{"a":%s,"a":%s}' % ((json.dumps(entry()).encode(),) * 2)),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("shard", [None, 16])
def test_files_that_break_the_format(case, shard, tmp_path, ec):
    file = tmp_path / "broken.safetensors"
    file.write_bytes(BROKEN[case])
    if case == "empty":
        shard = None
    hallmark.sign(file, ec.private, shard_size=shard)
    if case != "twice":  # where we are stricter
        with pytest.raises(Exception):
            safetensors.torch.load_file(file)
    for load in (hallmark.safetensors.load_file, hallmark.safetensors.safe_open):
        with pytest.raises(hallmark.UnsupportedError):
            load(file, key=ec.public)


def test_a_shape_that_takes_long_to_multiply(tmp_path, ec):
    file = tmp_path / "slow.safetensors"
    file.write_bytes(packed({"a": entry(shape=(2**62,) * 100_000)}))
    hallmark.sign(file, ec.private)
    start = time.monotonic()
    with pytest.raises(hallmark.UnsupportedError):
        hallmark.safetensors.load_file(file, key=ec.public)
    assert time.monotonic() - start < 10


def test_a_tensor_that_is_not_aligned(tmp_path, ec):
    """Alignment is no rule of the format."""
    header = {"a": entry("U8", (1,), (0, 1)), "b": entry("F32", (2,), (1, 9))}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file = tmp_path / "odd.safetensors"
    file.write_bytes(packed(text, b"\1" + struct.pack("<2f", 1.5, 2.5)))
    hallmark.sign(file, ec.private)
    found = hallmark.safetensors.load_file(file, key=ec.public)
    assert found["b"].tolist() == [1.5, 2.5] and found["b"].data_ptr() % 4 == 0
