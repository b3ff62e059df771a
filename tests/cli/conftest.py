# SPDX-License-Identifier: Apache-2.0
"""What the tests of the commands share."""

import os

import pytest

import support


@pytest.fixture
def ec(keys):
    return keys["python", "ec-p256"]


@pytest.fixture
def rsa(keys):
    return keys["python", "rsa-2048"]


@pytest.fixture
def sign(hallmark, ec):
    """sign(model, *options) with an EC key, and all must be well."""

    def run(model, *options, key=ec, expect=support.OK, **more):
        return hallmark("sign", model, "--key", key.private, *options, expect=expect, **more)

    return run


@pytest.fixture
def verify(hallmark, ec):
    """verify(model, *options, expect=...) with the same key: the report as JSON."""

    def run(model, *options, key=ec, expect=support.OK, **more):
        result = hallmark("verify", model, "--key", key.public, *options, "--json", expect=expect,
                          **more)  # fmt: skip
        return result.json()

    return run


@pytest.fixture
def tree(tmp_path):
    """tree({"name": b"content"}) makes a model of just these files."""

    def make(files, name="tree"):
        folder = tmp_path / name
        for file_name, data in files.items():
            path = os.path.join(os.fsencode(folder), os.fsencode(file_name))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as out:
                out.write(data)
        return folder

    return make
