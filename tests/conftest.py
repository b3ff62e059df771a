# SPDX-License-Identifier: Apache-2.0
"""What the tests of the program share. See tests/README.md.

HALLMARK_BIN        the program under test; default build/hallmark
HALLMARK_WRAPPER    a command to run it under, such as valgrind with its options
HALLMARK_SANITIZER  "asan" or "tsan" when it was built with one
HALLMARK_VECTORS    folder with more test vectors; default ../shared/vectors
"""

import os
import pathlib
import shutil
import subprocess

import pytest

import support

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = pathlib.Path(os.environ.get("HALLMARK_BIN", ROOT / "build" / "hallmark")).resolve()
SANITIZER = os.environ.get("HALLMARK_SANITIZER", "")


def pytest_configure():
    if not BINARY.exists():
        raise pytest.UsageError(f"{BINARY} is missing: run make first")


@pytest.fixture(scope="session")
def hallmark():
    """hallmark("verify", model, "--key", key) -> support.Result."""
    return support.Program(BINARY, os.environ.get("HALLMARK_WRAPPER", "").split())


@pytest.fixture(scope="session")
def sanitizer():
    """"asan", "tsan" or ""."""
    return SANITIZER


@pytest.fixture
def model_dir(tmp_path):
    """A small model tree: weights, config, tokenizer, folders, an empty file, odd names."""
    return support.make_model(tmp_path / "model")


@pytest.fixture
def model_file(tmp_path):
    """One safetensors file."""
    return support.make_model_file(tmp_path / "weights.safetensors")


@pytest.fixture
def metadata_file(tmp_path):
    """Training metadata as sig-json wants it."""
    return support.make_metadata(tmp_path / "metadata.json")


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """Keys by (maker, type): keys["openssl", "ec-p256"].private and .public; see support.Keys."""
    return support.Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    """A certificate authority for tests; see support.Pki."""
    return support.Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def shared_vectors():
    """The folder of vectors beside the checkout; tests that need it are skipped without."""
    folder = pathlib.Path(os.environ.get("HALLMARK_VECTORS", ROOT.parent / "shared" / "vectors"))
    if not folder.is_dir():
        pytest.skip(f"no vectors at {folder}")
    return folder


def _reference(venv):
    tool = ROOT / "build" / venv / "bin" / "model_signing"
    if not tool.exists():
        pytest.skip(f"no {tool}: run scripts/setup.sh test")

    def run(*arguments, cwd=None, timeout=120):
        done = subprocess.run(
            [str(tool), *map(str, arguments)],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        return support.Result(done.returncode, done.stdout, done.stderr)

    run.python = tool.with_name("python")
    return run


@pytest.fixture(scope="session")
def reference():
    """reference("verify", "key", ...): the current model_signing; .python is its interpreter."""
    return _reference("venv")


@pytest.fixture(scope="session")
def reference_old():
    """A release of model_signing before 1.1.0."""
    return _reference("venv-old")


@pytest.fixture(scope="session")
def openssl():
    """openssl("dgst", ...) -> its output; fails the test when openssl fails."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command")
    return support.openssl
