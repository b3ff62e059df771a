# SPDX-License-Identifier: Apache-2.0
"""What the tests of loading share. They run on an environment with torch, safetensors, transformers
and FastAPI, into which the wheel was installed; elsewhere they are left out."""

import importlib.util
import pathlib

import pytest

if importlib.util.find_spec("hallmark") is None or importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def ec(keys):
    return keys["python", "ec-p256"]


@pytest.fixture
def rsa(keys):
    return keys["python", "rsa-2048"]


@pytest.fixture
def signed(model_dir, ec):
    """A model directory, signed with `ec`."""
    import hallmark

    hallmark.sign(model_dir, ec.private)
    return model_dir


SHARD = 64 * 1024


@pytest.fixture
def sharded(tmp_path, ec):
    """A file of 20 and a half shards."""
    import hallmark
    import support

    file = tmp_path / "weights.bin"
    file.write_bytes(support.content(7, 20 * SHARD + SHARD // 2))
    hallmark.sign(file, ec.private, shard_size=SHARD)
    return file


def mapping_of(address):
    """The line of /proc/self/maps about an address."""
    for line in pathlib.Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(part, 16) for part in line.split()[0].split("-"))
        if first <= address < last:
            return line
    return ""


@pytest.fixture
def lies_in():
    return mapping_of
