# SPDX-License-Identifier: Apache-2.0
"""The reference, kept running."""

import contextlib
import json
import os
import pathlib
import subprocess

import cloud
import pytest
import support

SERVER = pathlib.Path(__file__).with_name("reference_server.py")


class Reference:
    """A running reference. Each call gives a support.Result."""

    def __init__(self, process):
        self.process = process

    def ask(self, request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the reference ended"
        answer = json.loads(line)
        return support.Result(answer["rc"], answer["text"].encode("utf-8", "replace"), b"")

    def __call__(self, *arguments, expect=None):
        """Its command line. `expect`: True: it succeeds, False: it does not."""
        result = self.ask({"cli": [os.fsdecode(argument) for argument in map(str, arguments)]})
        return self.check(result, expect)

    def sign(self, model, signature, key, **how):
        """By its Python interface: hash, shard_size, ignore, password."""
        request = {"model": str(model), "signature": str(signature), "key": str(key), "how": how}
        return self.check(self.ask({"sign": request}), True)

    def verify(self, model, signature, key, how=None, expect=True):
        request = {"model": str(model), "signature": str(signature), "key": str(key), "how": how}
        return self.check(self.ask({"verify": request}), expect)

    @staticmethod
    def check(result, expect):
        if expect is not None:
            assert (result.rc == 0) == expect, result
        return result


@contextlib.contextmanager
def running(python):
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [python, SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env=environment,
    )  # fmt: skip
    with process:
        yield Reference(process)
        process.stdin.close()


@pytest.fixture(scope="session")
def current(reference):
    with running(reference.python) as server:
        yield server


@pytest.fixture(scope="session", params=["venv-old", "venv-oldest"])
def older(request):
    """Releases before 1.1.0, each in an environment of its own."""
    python = support.ROOT / "build" / request.param / "bin" / "python"
    if not python.with_name("model_signing").exists():
        pytest.skip(f"no {python.parent.parent}: run scripts/setup.sh test")
    with running(python) as server:
        yield server


@pytest.fixture(scope="session")
def tls(tmp_path_factory):
    """A certificate for localhost that only those trust who are told to: its path and its key's."""
    return cloud.tls_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def moto():
    """moto's server: cloud.Moto."""
    if not cloud.PYTHON.exists():
        pytest.skip(f"no {cloud.PYTHON}: run scripts/setup.sh test")
    with cloud.Moto() as server:
        yield server


@pytest.fixture
def nowhere():
    """A port that nobody listens at."""
    return cloud.free_port()
