# SPDX-License-Identifier: Apache-2.0
"""What packaging/ makes: a root for containers in which the program runs alone, and a unit that
systemd takes."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

import gate
import support

PACKAGING = support.ROOT / "packaging"
SIZE_LIMIT = 40 << 20  # of a root by a debug build; docs/recipes.md states the image's


# ---- the image ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(hallmark, sanitizer, tmp_path_factory):
    if sanitizer or hallmark.wrapper:
        pytest.skip("the libraries of a sanitizer are none of the image")
    place = tmp_path_factory.mktemp("image") / "root"
    subprocess.run([PACKAGING / "image-root.sh", hallmark.binary, place], check=True, timeout=120)
    return place


@pytest.fixture
def inside(root):
    """inside("verify", ...) runs the program as the image would: alone in its root, as its user."""
    if os.geteuid() != 0 or shutil.which("chroot") is None:
        pytest.skip("chroot needs root")

    def run(*arguments, expect=0, env=None):
        command = [shutil.which("chroot"), "--userspec=65532:65532", root, "/usr/bin/hallmark", *arguments]
        done = subprocess.run(command, env=env or {}, stdin=subprocess.DEVNULL, timeout=60,
                              capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == expect, done.stderr
        return done

    return run


def test_there_is_nothing_else(root):
    programs = [path for path in root.rglob("*") if path.is_file() and os.access(path, os.X_OK)]
    names = {path.name for path in programs if ".so" not in path.name}
    assert names == {"hallmark"}
    assert sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) < SIZE_LIMIT
    assert not [path for path in root.rglob("*") if path.is_symlink()]
    assert "hallmark:x:65532:" in (root / "etc" / "passwd").read_text()


def test_it_has_all_it_loads(inside):
    text = inside("--version").stdout
    assert "HTTPS: libcurl" in text and "OpenSSL" in text


def test_a_gate_inside(inside, root, keys, hallmark, tmp_path):
    """Deploys and checks in the root, as its user, with the model and the policy mounted, so to say."""
    key = keys["openssl", "ec-p256"]
    outside = gate.Store(hallmark, tmp_path, key)
    shutil.copytree(outside.source(0), root / "incoming", dirs_exist_ok=True)
    policy = root / "etc" / "hallmark"
    shutil.copy(outside.policy, policy)
    shutil.copy(outside.folder / "training.pub", policy)
    options = ["--store", "/var/lib/hallmark/store"]
    environment = {"HALLMARK_STATE_DIR": "/var/lib/hallmark/state"}
    inside("deploy", "/incoming", "--name", "m", *options, env=environment)
    inside("check", *options, env=environment)
    assert "hallmark" in inside("log", *options).stdout
    served = root / "var/lib/hallmark/store/models/m/current"
    assert support.snapshot(served).items() >= support.snapshot(root / "incoming").items()
    support.flip(root / "incoming" / "config.json", 3)
    inside("deploy", "/incoming", "--name", "m", *options, env=environment, expect=1)


def test_the_root_is_new(hallmark, tmp_path):
    (tmp_path / "root").mkdir()
    for arguments in ([hallmark.binary, tmp_path / "root"], [hallmark.binary], []):
        done = subprocess.run([PACKAGING / "image-root.sh", *arguments], capture_output=True,
                              timeout=60, check=False)  # fmt: skip
        assert done.returncode != 0 and list((tmp_path / "root").iterdir()) == []


def test_the_dockerfile_copies_what_is_there():
    text = (PACKAGING / "Dockerfile").read_text()
    stages = re.findall(r"^FROM \S+(?: AS (\w+))?", text, re.MULTILINE)
    assert stages == ["build", "shell", ""]
    assert set(re.findall(r"--from=(\w+)", text)) == {"build"}
    for used in ("scripts/setup.sh", "packaging/image-root.sh"):
        assert used in text and os.access(support.ROOT / used, os.X_OK)


# ---- the unit -----------------------------------------------------------------------------------


@pytest.fixture
def unit(hallmark, tmp_path):
    text = (PACKAGING / "hallmark-check.service.in").read_text()
    path = tmp_path / "hallmark-check.service"
    program = tmp_path / "bin" / "hallmark"
    program.parent.mkdir()
    program.symlink_to(hallmark.binary)
    path.write_text(text.replace("@bindir@", str(program.parent)))
    return path


def analyze(*arguments):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True,
                          timeout=120, check=False)  # fmt: skip
    if "Failed to initialize manager" in done.stderr or "bus" in done.stderr:
        pytest.skip("systemd-analyze does not run here")
    return done


def complaints(path):
    """Lines about our unit, not about the system's own."""
    done = analyze("verify", "--man=no", path)
    return [line for line in (done.stdout + done.stderr).splitlines() if path.name in line]


def test_systemd_takes_the_unit(unit):
    assert complaints(unit) == []
    unit.write_text(unit.read_text().replace("ProtectSystem=strict", "ProtectSystm=strict"))
    assert "ProtectSystm" in complaints(unit)[0]


def test_the_unit_is_confined(unit):
    done = analyze("security", "--offline=true", "--threshold=20", "--no-pager", unit)
    assert done.returncode == 0, done.stdout[-2000:]


def test_the_unit_calls_what_there_is(hallmark, unit):
    text = unit.read_text()
    (command,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    program, *arguments = command.split()
    assert pathlib.Path(program).exists()
    shown = hallmark(arguments[0], "--help", expect=support.OK).out
    for option in arguments[1:]:
        assert f"  {option} " in shown
    # Its own directory must be one that the file system shows as writable, and no more.
    assert re.findall(r"^ReadWritePaths=(.*)$", text, re.MULTILINE) == ["/var/lib/hallmark"]
    assert "Type=notify" in text and "WatchdogSec=" in text
