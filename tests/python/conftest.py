# SPDX-License-Identifier: Apache-2.0
"""What the tests of the Python package share. They test the package that is installed for the
interpreter they run under, from a wheel; `make python` sees to that. Elsewhere they are left out."""

import importlib.util
import pathlib

import pytest

import support

WHEELS = support.ROOT / "build" / "wheel"

if importlib.util.find_spec("hallmark") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def program(hallmark):
    """The command; `hallmark` is the package here."""
    return hallmark


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


@pytest.fixture(scope="session")
def wheel():
    """The wheel that was installed."""
    (found,) = pathlib.Path(WHEELS).glob("hallmark-*.whl")
    return found
