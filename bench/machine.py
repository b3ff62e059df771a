# SPDX-License-Identifier: Apache-2.0
"""What the benchmark ran on, and with which versions."""

import os
import pathlib
import platform
import re
import subprocess

import models

CPU_FLAGS = ("avx512f", "avx512bw", "avx2", "sha_ni")


def processors() -> int:
    return len(os.sched_getaffinity(0))


def first_lines(command: list[str], count: int = 1) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "not installed"
    return "; ".join(done.stdout.strip().splitlines()[:count])


def cpu_info(field: str) -> str:
    found = re.search(rf"^{field}\s*:\s*(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    return found.group(1) if found else "unknown"


def memory_bytes(field: str) -> int:
    found = re.search(rf"^{field}:\s*(\d+) kB", pathlib.Path("/proc/meminfo").read_text(), re.M)
    return int(found.group(1)) * models.KIB if found else 0


def load() -> float:
    return round(os.getloadavg()[0], 2)


def filesystem(path: pathlib.Path) -> str:
    return first_lines(["stat", "--file-system", "--format=%T", str(path)])


def describe(
    data: pathlib.Path, hallmark: pathlib.Path, model_signing: pathlib.Path
) -> dict[str, str]:
    flags = cpu_info("flags").split()
    how = "drop_caches" if models.can_drop_caches() else "posix_fadvise(DONTNEED)"
    return {
        "processor": cpu_info("model name"),
        "processors used": str(processors()),
        "instructions": ", ".join(flag for flag in CPU_FLAGS if flag in flags) or "none of note",
        "memory": models.size_text(memory_bytes("MemTotal")),
        "kernel": platform.release(),
        "file system of the models": filesystem(data),
        "caches emptied by": how,
        "load before": str(load()),
        "hallmark": first_lines([str(hallmark), "--version"], 4),
        "openssl": first_lines(["openssl", "version"]),
        "sha256sum": first_lines(["sha256sum", "--version"]),
        "b3sum": first_lines(["b3sum", "--version"]),
        "model-signing": first_lines([str(model_signing), "--version"]),
    }
