# SPDX-License-Identifier: Apache-2.0
"""What the tests with the tracer share."""

import subprocess

import pytest
import tracing


@pytest.fixture(scope="session")
def tracer_tool(hallmark, sanitizer):
    if sanitizer == "tsan" or hallmark.wrapper:
        pytest.skip("the tracer does not go with ThreadSanitizer and valgrind")
    tool = tracing.build(hallmark)
    trial = [tool, "--under", "/proc", "--log", "/dev/null", "true"]
    done = subprocess.run(trial, capture_output=True, check=False)
    if done.returncode == tracing.FAILED:
        pytest.skip(f"processes cannot be traced here: {done.stderr.decode()}")
    return tool


@pytest.fixture
def fast():
    """A folder in memory, where there is one."""
    folder = tracing.fast_folder()
    yield folder
    tracing.remove(folder)


@pytest.fixture
def tracer(hallmark, tracer_tool, fast, tmp_path):
    """Counts and kills at changes beneath fast/work."""
    return tracing.Tracer(hallmark, tracer_tool, [fast / "work"], tmp_path)
