# SPDX-License-Identifier: Apache-2.0
"""Who changes a model while it is loaded gets an exception or the signed bytes into the process."""

import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

import hallmark
import support

HERE = pathlib.Path(__file__).resolve().parent
SHARD = 256 * 1024


@pytest.fixture(params=["files", "shards"])
def model(request, tmp_path, ec):
    folder = tmp_path / "models"
    folder.mkdir()
    file = folder / "weights.bin"
    file.write_bytes(support.content(3, 5 * SHARD + 1000))
    hallmark.sign(file, ec.private, shard_size=SHARD if request.param == "shards" else None)
    return file


def test_stopped_at_each_read(model, ec, tmp_path):
    shim = tmp_path / "stopper.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", shim, HERE / "stopper.c"], check=True)
    preloaded = " ".join(filter(None, [os.environ.get("LD_PRELOAD"), str(shim)]))
    done = subprocess.run(
        [sys.executable, HERE / "stopped.py", model, ec.public, tmp_path],
        capture_output=True, text=True, timeout=200, check=False,
        env={**os.environ, "LD_PRELOAD": preloaded},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    loads, handed = map(int, done.stdout.split())
    # Both happen: changes after the last read come too late to matter.
    assert loads > 60 and 0 < handed < loads


WRITER = """
import os, sys, time
path, spare, end = sys.argv[1], sys.argv[2], time.monotonic() + float(sys.argv[3])
good = open(path, "rb").read()
bad = bytes(byte ^ 255 for byte in good)
turn = 0
while time.monotonic() < end:
    turn += 1
    if turn % 4 == 0:
        with open(spare, "wb") as file: file.write(bad)
        os.replace(spare, path)
    elif turn % 4 == 1:
        os.truncate(path, len(good) // 3)
    elif turn % 4 == 2:
        with open(path, "r+b") as file: file.write(bad)
    with open(spare, "wb") as file: file.write(good)
    os.replace(spare, path)
    if turn % 3 == 0:
        with open(path, "r+b") as file: file.write(bad[:100]); file.seek(0); file.write(good[:100])
    time.sleep(0.001 * (turn % 5))
"""


def test_a_writer_that_never_stops(tmp_path, ec, sanitizer):
    """Thousands of loads of a file that is rewritten, cut and replaced all the while."""
    folder = tmp_path / "models"
    folder.mkdir()
    file = folder / "weights.bin"
    good = support.content(4, 40_000)
    file.write_bytes(good)
    hallmark.sign(file, ec.private, shard_size=16 * 1024)
    policy, seconds = hallmark.Policy(keys=ec.public), 12
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, file, tmp_path / "spare", str(seconds)]
    )
    loads, handed, reasons = 0, 0, set()
    end = time.monotonic() + seconds - 0.5
    try:
        while time.monotonic() < end:
            loads += 1
            try:
                with hallmark.open(file, policy, jobs=1) as model:
                    found = model.read() if loads % 2 else model.open(lazy=True).read()
            except hallmark.HallmarkError as error:
                assert error.status in ("refused", "undecided"), error
                reasons.add(error.reason)
            else:
                assert found == good
                handed += 1
    finally:
        writer.kill()
        writer.wait()
    assert loads > (50 if sanitizer else 500), loads
    assert 0 < handed < loads and "digest-mismatch" in reasons, (loads, handed)


LOADERS = {
    "buffer": "m = hallmark.open(sys.argv[1], key=sys.argv[2]); m.buffer()",
    "safetensors": "hallmark.safetensors.load_file(sys.argv[1], key=sys.argv[2])",
    "torch": "hallmark.torch.load(sys.argv[1], key=sys.argv[2])",
}


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace")
@pytest.mark.parametrize("loader", LOADERS)
def test_the_file_is_read_once(loader, tmp_path, ec):
    import torch

    file = tmp_path / "weights"
    tensors = {"a": torch.arange(3_000_000, dtype=torch.float32)}
    if loader == "torch":
        hallmark.torch.save(tensors, file, ec.private)
    else:
        hallmark.safetensors.save_file(tensors, file, ec.private)
    log = tmp_path / "strace"
    subprocess.run(
        ["strace", "-ff", "-y", "-qq", "-e", "trace=read,pread64,readv,preadv,preadv2,mmap,sendfile,"
         "copy_file_range,splice", "-o", log,
         sys.executable, "-c", "import sys, hallmark; " + LOADERS[loader], file, ec.public],
        check=True, timeout=120,
    )  # fmt: skip
    size, read = file.stat().st_size, 0
    lines = "".join(each.read_text() for each in tmp_path.glob("strace.*")).splitlines()
    for line in lines:
        if f"<{file}>" not in line:
            continue
        assert "mmap(" not in line and "splice" not in line and "sendfile" not in line, line
        read += max(int(line.rsplit("= ", 1)[1].split()[0]), 0)
    assert read == size
