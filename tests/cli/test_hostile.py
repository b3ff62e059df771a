# SPDX-License-Identifier: Apache-2.0
"""Models, names and signature files made to do harm, and signing that is interrupted."""

import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time

import pytest

import oracle
import support

MIB = 1 << 20
GIB = 1 << 30
AS_ROOT = os.geteuid() == 0

# C0 but for line feeds, DEL, and C1 as UTF-8 has it: what steers a terminal.
STEERING = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")


# Runs a command, and writes what it cost to descriptor 3. A small process of its own, since the
# kernel counts a parent's memory as its child's until that is something else.
LAUNCHER = """
import os, sys
child = os.fork()
if child == 0:
    os.close(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(child, 0)
cost = f"{os.waitstatus_to_exitcode(status)} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss}"
os.write(int(sys.argv[1]), cost.encode())
"""


@pytest.fixture
def measured(hallmark, sanitizer):
    """Runs the program, which may use so many seconds of processors and MiB of memory. Sanitizers
    and wrappers use more of both, so that there limits are not looked at."""
    free = bool(sanitizer or hallmark.wrapper)

    def run(*arguments, expect=0, seconds=None, memory=None):
        reader, writer = os.pipe()
        command = [sys.executable, "-SEc", LAUNCHER, str(writer), *hallmark.command(*arguments)]
        done = subprocess.run(command, env=hallmark.environment(), capture_output=True,
                              pass_fds=[writer], timeout=120, check=False)  # fmt: skip
        os.close(writer)
        with open(reader, encoding="ascii") as cost:
            status, took, used = map(float, cost.read().split())
        result = support.Result(int(status), done.stdout, done.stderr)
        assert result.rc == expect, result
        assert seconds is None or free or took < seconds, f"{took} s\n{result}"
        assert memory is None or free or used / 1024 < memory, f"{used / 1024} MiB\n{result}"
        return result

    return run


def sparse(path, size):
    with open(path, "wb") as out:
        out.truncate(size)
    return path


def write_signature(folder, document):
    (folder / "model.sig").write_text(json.dumps(document))


# ---- names --------------------------------------------------------------------------------------

NAMES = [
    "with space", " leading and trailing ", "new\nline", "\n", "tab\t", "cr\r", "'quotes'",
    '"double"', "back\\slash", "c:\\dir", "colon:0:8", ":", "-dash", "--key", "*", "?", "[a]",
    "$HOME", "`id`", "\u00fcml\u00e4ut", "u\u0308decomposed", "\U0001f600", "\u65e5\u672c",
    "\x1b[31mred",
    "\x1b]0;title\x07", "\x7f", "\u009b31m", "\u202ereversed", "\u2028", "...", "..x", "x..", ".x",
    "x" * 255, "new\nverified: all is well", "sub/\x1b[2J/deep \n name",
]  # fmt: skip


@pytest.fixture
def odd(tree):
    return tree({name: name.encode() for name in NAMES}, "odd")


@pytest.mark.parametrize("options", [[], ["--shard-size", "5"]])
def test_odd_names_are_signed_and_verified(ec, sign, verify, odd, options):
    sign(odd, *options)
    oracle.verify_oms((odd / "model.sig").read_bytes(), ec.python.public_key(),
                      {name: name.encode() for name in NAMES})  # fmt: skip
    report = verify(odd)
    assert {e["name"] for e in report["entries"]} == set(NAMES)
    for name in NAMES:
        (odd / name).write_bytes(b"!" + name.encode()[1:] + b"?")
    report = verify(odd, expect=1)
    assert {re.sub(r":\d+:\d+$", "", f["name"]) if options else f["name"]
            for f in report["findings"]} == set(NAMES)  # fmt: skip


def check_quiet(result):
    """Nothing in it steers a terminal, or begins a line that the program did not write."""
    text = result.stdout + result.stderr
    assert not STEERING.search(text), text
    assert "\u202e" not in text.decode() and "\u2028" not in text.decode()
    assert not re.search(rb"^verified: all is well", text, re.MULTILINE)


def test_odd_names_never_steer_a_terminal(hallmark, ec, sign, odd):
    check_quiet(sign(odd, "--list"))
    check_quiet(hallmark("verify", odd, "--key", ec.public, "--list", expect=0))
    check_quiet(hallmark("digest", odd, "--list", "--ignore", "model.sig", expect=0))
    check_quiet(hallmark("inspect", odd / "model.sig", "--list", expect=0))
    for name in NAMES:
        (odd / name).unlink()
    result = hallmark("verify", odd, "--key", ec.public, "--list", expect=1)
    assert result.err.count("missing-file  ") == len(NAMES)
    check_quiet(result)
    (odd / "keep").write_bytes(b"")
    sign(odd)
    for name in NAMES:
        (odd / name).parent.mkdir(exist_ok=True)
        (odd / name).write_bytes(b"")
    result = hallmark("verify", odd, "--key", ec.public, "--list", expect=1)
    assert result.err.count("extra-file  ") == len(NAMES)
    check_quiet(result)


@pytest.mark.parametrize("name", ["\x1b[2J\x07evil", "new\nhallmark: verified"])
def test_odd_names_in_errors(hallmark, ec, sign, tree, tmp_path, name):
    folder = tree({"w": b""}, name)
    os.mkfifo(folder / name)
    for result in (
        sign(folder, expect=1),
        hallmark("verify", folder, "--key", ec.public, expect=1),
        hallmark("verify", tmp_path / "none" / name, "--key", ec.public, expect=3),
        hallmark("sign", folder, "--key", tmp_path / name, expect=3),
        hallmark("verify", folder, "--key", tmp_path / name / "none", expect=3),
        hallmark("inspect", folder / name, expect=3),
        hallmark("digest", folder, "--ignore", "../" + name, expect=2),
        hallmark("digest", folder, "--hash", name, expect=2),
        hallmark("digest", folder, "--jobs", name, expect=2),
        hallmark("digest", folder, "--" + name, expect=2),
        hallmark("digest", folder, "-" + name, expect=2),
        hallmark("sign", folder, "--key", ec.private, "--format", name, expect=2),
        hallmark("sign", folder, "--key", ec.private, "--metadata", name, expect=(2, 3)),
        hallmark("key", "generate", "--type", name, tmp_path / "k", expect=2),
        hallmark("key", "generate", "--passphrase-file", name, tmp_path / "k", expect=3),
        hallmark(name, expect=2),
    ):
        check_quiet(result)
        assert not re.search(rb"^hallmark: verified", result.stderr, re.MULTILINE), result


def test_what_a_signature_says_never_steers_a_terminal(hallmark, rsa, model_file, tmp_path):
    evil = "\x1b[2J\nverified: all is well\u009b\u202e\x7f"
    metadata = dict(support.METADATA, framework_version=evil, **{evil: {evil: evil}})
    manifest = oracle.sig_json_manifest(model_file, metadata, signer=evil)
    signature = tmp_path / "s"
    signature.write_text(json.dumps(oracle.sign_sig_json(manifest, rsa.python)))
    command = ["--signature", signature, "--key", rsa.public]
    check_quiet(hallmark("verify", model_file, *command, expect=0))
    check_quiet(hallmark("inspect", signature, expect=0))
    claims = oracle.sign_manifest_json(model_file, rsa.python, signer=evil)
    signature.write_text(json.dumps(dict(claims, **{evil: evil})))
    check_quiet(hallmark("verify", model_file, *command, expect=0))
    check_quiet(hallmark("inspect", signature, expect=0))
    signature.write_text(json.dumps({evil: evil, "mediaType": evil}))
    check_quiet(hallmark("verify", model_file, *command, expect=1))
    check_quiet(hallmark("inspect", signature, expect=1))


def test_what_a_certificate_says_never_steers_a_terminal(hallmark, pki, model_file):
    leaf = pki.leaf("\x1b[2Jevil\nverified: all is well")
    hallmark("sign", model_file, "--key", leaf.key.private, "--cert", leaf.path, "--chain",
             pki.intermediate.path, expect=0)  # fmt: skip
    check_quiet(hallmark("verify", model_file, "--root", pki.root.path, expect=0))
    check_quiet(hallmark("verify", model_file, "--root", leaf.path, expect=1))
    signature = model_file.parent / (model_file.name + ".sig")
    check_quiet(hallmark("inspect", signature, expect=0))


# ---- size ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--shard-size", "64M"], ["--hash", "blake3"]])
def test_a_large_sparse_file(measured, ec, tree, options):
    folder = tree({"config.json": b"{}"})
    sparse(folder / "weights", GIB)
    measured("sign", folder, "--key", ec.private, *options, memory=100)
    if not options:
        measured("verify", folder, "--key", ec.public, memory=100)
    with open(folder / "weights", "r+b") as out:
        out.seek(GIB - 1)
        out.write(b"\1")
    result = measured("verify", folder, "--key", ec.public, expect=1, memory=100)
    assert "digest-mismatch" in result.err


@pytest.fixture
def many_place(tmp_path):
    """Where many small files are quickly made: in memory, if there is room."""
    shared = "/dev/shm"
    if not os.access(shared, os.W_OK) or shutil.disk_usage(shared).free < 60 * MIB:
        return tmp_path
    place = pathlib.Path(tempfile.mkdtemp(dir=shared))
    yield place
    shutil.rmtree(place)


@pytest.mark.slow
def test_a_hundred_thousand_files(measured, ec, many_place, sanitizer):
    count = 20_000 if sanitizer else 100_000
    folder = many_place / "many"
    for i in range(count):
        if i % 1000 == 0:
            (folder / f"d{i // 1000}").mkdir(parents=True)
        with open(f"{folder}/d{i // 1000}/{i}", "wb") as out:
            out.write(b"%d" % i if i % 10 == 0 else b"")
    measured("sign", folder, "--key", ec.private, seconds=20, memory=400)
    result = measured("verify", folder, "--key", ec.public, "--json", seconds=20, memory=400)
    report = result.json()
    assert (report["status"], report["model"]["files"]) == ("verified", count)
    victim = count // 20 * 10
    (folder / f"d{victim // 1000}" / str(victim)).write_bytes(b"changed")
    (folder / "d1" / "1001").unlink()
    result = measured("verify", folder, "--key", ec.public, expect=1, seconds=20, memory=400)
    assert f"digest-mismatch  d{victim // 1000}/{victim}" in result.err
    assert "missing-file  d1/1001" in result.err and result.err.count("digest-mismatch  ") == 1


def test_a_path_longer_than_the_kernel_takes_at_once(hallmark, ec, sign, tmp_path):
    folder = tmp_path / "deep"
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY)
    try:
        for _ in range(120):
            os.mkdir("d" * 50, dir_fd=here)
            below = os.open("d" * 50, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        with open(os.open("w", os.O_WRONLY | os.O_CREAT, dir_fd=here), "wb") as out:
            out.write(b"deep")
        sign(folder)
        report = hallmark("verify", folder, "--key", ec.public, "--json", expect=0).json()
        assert [e["name"] for e in report["entries"]] == [("d" * 50 + "/") * 120 + "w"]
        with open(os.open("w", os.O_WRONLY, dir_fd=here), "wb") as out:
            out.write(b"DEEP")
        hallmark("verify", folder, "--key", ec.public, expect=1)
    finally:
        os.close(here)
        subprocess.run(["rm", "-rf", folder], check=True)


def test_few_descriptors_will_do(hallmark, ec, tree):
    """A deep and a wide tree with 24 open files at most."""
    folder = tree({**{f"{'d/' * i}f": bytes(i) for i in range(100)},
                   **{f"wide{i}": bytes(i) for i in range(100)}})  # fmt: skip
    for command in (["sign", folder, "--key", ec.private], ["verify", folder, "--key", ec.public]):
        subprocess.run(["prlimit", "--nofile=24", *hallmark.command(*command)], check=True,
                       env=hallmark.environment(), stdout=subprocess.DEVNULL)  # fmt: skip


# ---- shards -------------------------------------------------------------------------------------


def sharded(ec, files, resources, shard_size):
    document = oracle.statement_of(files, shard_size=shard_size)
    document["predicate"]["resources"] += resources
    return oracle.sign_oms(oracle.reroot(document), ec.python)


def test_tiny_shards_of_a_huge_file(measured, ec, tree):
    """2^40 ranges would fill the memory; the signature promises only one of them."""
    folder = tree({})
    folder.mkdir()
    sparse(folder / "w", 1 << 40)
    write_signature(folder, sharded(ec, {"w": b"\0"}, [], 1))
    result = measured("verify", folder, "--key", ec.public, expect=1, seconds=20, memory=100)
    assert "digest-mismatch" in result.err and "1099511627776 bytes where 1 were" in result.err


def test_a_last_shard_far_out(measured, ec, tree):
    folder = tree({})
    folder.mkdir()
    sparse(folder / "w", 1 << 40)
    far = {"name": f"w:{(1 << 40) - 1}:{1 << 40}", "digest": "0" * 64, "algorithm": "sha256"}
    write_signature(folder, sharded(ec, {"w": b"\0"}, [far], 1))
    result = measured("verify", folder, "--key", ec.public, expect=1, seconds=20, memory=100)
    assert "digest-mismatch" in result.err


def test_tiny_shards_of_many_grown_files(measured, ec, tree):
    """One shard of each is promised; what the files have grown by is not cut into shards."""
    files = {f"f{i}": b"\0" for i in range(2000)}
    folder = tree(files)
    for name in files:
        sparse(folder / name, 10_000)
    write_signature(folder, sharded(ec, files, [], 1))
    result = measured("verify", folder, "--key", ec.public, expect=1, seconds=5, memory=150)
    assert "2000 changed" in result.err


def test_a_hole_between_shards(ec, tree, verify):
    """Listing some of a file's shards is no way to leave the rest unsigned."""
    folder = tree({"w": bytes(30)})
    document = oracle.statement_of({"w": bytes(30)}, shard_size=10)
    del document["predicate"]["resources"][1]
    write_signature(folder, oracle.sign_oms(oracle.reroot(document), ec.python))
    report = verify(folder, expect=1)
    assert [(f["reason"], f["name"]) for f in report["findings"]] == [("extra-file", "w:10:20")]


# ---- special files ------------------------------------------------------------------------------


@pytest.fixture
def with_specials(tree, monkeypatch):
    """A model, and a function that puts special files into it."""
    folder = tree({"w": b"w"})
    monkeypatch.chdir(folder)

    def add():
        os.mkfifo("pipe")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
        if AS_ROOT:
            os.mknod("device", stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero
        return {"pipe", "socket"} | ({"device"} if AS_ROOT else set())

    return folder, add


def test_special_files_are_never_waited_for(hallmark, ec, sign, verify, with_specials):
    folder, add = with_specials
    sign(folder)
    names = add()
    report = verify(folder, expect=1, timeout=10)
    assert {(f["reason"], f["name"]) for f in report["findings"]} == {
        ("extra-file", name) for name in names}  # fmt: skip
    verify(folder, "--ignore-unsigned", timeout=10)
    sign(folder, expect=1, timeout=10)
    hallmark("digest", folder, expect=1, timeout=10)


def test_special_files_are_never_opened(hallmark, ec, sign, with_specials, tmp_path):
    """A device may do something when it is opened; strace tells that none is."""
    folder, add = with_specials
    if shutil.which("strace") is None or hallmark.wrapper:
        pytest.skip("no strace")
    sign(folder)
    names = add()
    (folder / "w").unlink()
    os.mkfifo("w")
    log = tmp_path / "log"
    for command, status in [
        (["verify", folder, "--key", ec.public], 1),
        (["verify", folder, "--key", ec.public, "--ignore-unsigned"], 1),
        (["sign", folder, "--key", ec.private], 1),
        (["digest", folder, "--follow-symlinks"], 1),
    ]:
        traced = ["strace", "-f", "-o", log, "-e", "trace=open,openat,openat2,creat"]
        environment = hallmark.environment({"LSAN_OPTIONS": "detect_leaks=0"})
        done = subprocess.run([*traced, *hallmark.command(*command)], env=environment, timeout=60,
                              capture_output=True, check=False)  # fmt: skip
        text = log.read_text()
        if "openat" not in text:
            pytest.skip("strace may not trace here")
        assert done.returncode == status, done.stderr
        for name in [*names, "w"]:
            opened = [line for line in text.splitlines()
                      if re.search(rf'[/"]{name}"', line) and "O_PATH" not in line]  # fmt: skip
            assert opened == []


@pytest.mark.parametrize("command", ["verify", "inspect", "metadata", "root", "passphrase"])
def test_pipes_in_the_place_of_other_files(hallmark, ec, rsa, tree, tmp_path, command):
    folder = tree({"w": b"w"})
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    if command == "verify":
        result = hallmark("verify", folder, "--key", ec.public, "--signature", pipe, timeout=10,
                          expect=1)  # fmt: skip
        assert "malformed" in result.err
    elif command == "inspect":
        hallmark("inspect", pipe, timeout=10, expect=3)
    elif command == "root":
        hallmark("verify", folder, "--root", pipe, timeout=10, expect=3)
    else:  # these may be pipes, as of `<(command)`
        def feed():
            pipe.write_bytes(json.dumps(support.METADATA).encode() if command == "metadata"
                             else support.PASSPHRASE)  # fmt: skip

        threading.Thread(target=feed, daemon=True).start()
        options = (["--key", rsa.private, "--format", "sig-json", "--metadata", pipe]
                   if command == "metadata"
                   else ["--key", ec.encrypted, "--passphrase-file", pipe])  # fmt: skip
        hallmark("sign", folder / "w", *options, timeout=10, expect=0)


# ---- links --------------------------------------------------------------------------------------


def test_links_out_of_the_model_and_in_circles(hallmark, ec, sign, verify, tree, tmp_path):
    (tmp_path / "secret").write_bytes(b"w")
    folder = tree({"w": b"w", "sub/x": b"x"})
    sign(folder)
    links = {"out": "../secret", "absolute": "/etc/passwd", "self": "self", "a": "b", "b": "a",
             "up": "..", "here": ".", "sub/loop": "..", "dangling": "none"}  # fmt: skip
    for name, target in links.items():
        (folder / name).symlink_to(target)
    report = verify(folder, expect=1, timeout=10)
    assert {(f["reason"], f["name"]) for f in report["findings"]} == {
        ("extra-file", name) for name in links}  # fmt: skip
    verify(folder, "--ignore-unsigned", timeout=10)
    for name in links:
        options = [o for other in links if other != name for o in ("--ignore", other)]
        for follow in ([], ["--follow-symlinks"]):
            result = sign(folder, *follow, *options, expect=1, timeout=10)
            assert "link" in result.err
    (folder / "w").unlink()
    (folder / "w").symlink_to("../secret")
    report = verify(folder, "--ignore-unsigned", expect=1)
    assert [(f["reason"], f["name"]) for f in report["findings"]] == [("missing-file", "w")]


def test_links_of_a_signature_that_allows_them(ec, sign, verify, tree, tmp_path):
    """Only inside the model, and only to files, whatever was signed."""
    (tmp_path / "secret").write_bytes(b"w")
    folder = tree({"w": b"w", "sub/x": b"x"})
    (folder / "link").symlink_to("w")
    sign(folder, "--follow-symlinks")
    verify(folder, "--allow-symlinks")
    for target in ("../secret", str(tmp_path / "secret"), "sub", "none"):
        (folder / "link").unlink()
        (folder / "link").symlink_to(target)
        report = verify(folder, "--allow-symlinks", expect=1)
        assert [(f["reason"], f["name"]) for f in report["findings"]] == [("missing-file", "link")]


def test_the_option_widens_no_signature(ec, sign, verify, tree):
    folder = tree({"w": b"w", "x": b"w"})
    sign(folder)
    (folder / "x").unlink()
    (folder / "x").symlink_to("w")
    report = verify(folder, "--allow-symlinks", expect=1)
    assert [(f["reason"], f["name"]) for f in report["findings"]] == [("missing-file", "x")]


def test_a_signature_that_is_a_link(sign, verify, tree, tmp_path):
    """It may be one, but signing neither writes through it nor takes it away."""
    folder = tree({"w": b"w"})
    sign(folder, "--signature", tmp_path / "s")
    (folder / "model.sig").symlink_to(tmp_path / "s")
    verify(folder)
    before = support.snapshot(tmp_path)
    result = sign(folder, expect=2)
    assert "not written over" in result.err
    assert support.snapshot(tmp_path) == before


# ---- files that change while they are read ------------------------------------------------------


def grow(path):
    with open(path, "ab") as out:
        out.write(b"\0")


def shrink(path):
    os.truncate(path, os.stat(path).st_size // 2)


def vanish(path):
    os.truncate(path, 0)


def rewrite(path):
    """With the same bytes, and all times but that of the change put back: it counts as a change,
    since what was read meanwhile may have been anything."""
    before = os.stat(path)
    with open(path, "r+b") as out:
        out.write(b"\0")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def overwrite(path):
    with open(path, "r+b") as out:
        out.seek(os.stat(path).st_size - 1)
        out.write(b"\1")


def wait_until_open(child, path):
    """Until the program has this file open for reading. False: it ended before."""
    end = time.monotonic() + 60
    while time.monotonic() < end and child.poll() is None:
        try:
            for number in os.listdir(f"/proc/{child.pid}/fd"):
                if os.readlink(f"/proc/{child.pid}/fd/{number}") == os.fspath(path):
                    return True
        except OSError:
            continue
    return False


def run_and_change(hallmark, path, change, *arguments):
    child = subprocess.Popen(hallmark.command(*arguments), env=hallmark.environment(),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    opened = wait_until_open(child, path)
    change(path)
    out, err = child.communicate(timeout=120)
    result = support.Result(child.returncode, out, err)
    assert opened, result
    return result


@pytest.mark.skipif(not AS_ROOT, reason="looking into the program takes root")
@pytest.mark.parametrize("options", [[], ["--hash", "blake3"], ["--shard-size", "32M"]])
@pytest.mark.parametrize("change", [grow, shrink, vanish, rewrite, overwrite],
                         ids=lambda c: c.__name__)  # fmt: skip
def test_a_file_that_changes_while_it_is_read(hallmark, ec, sign, tree, change, options):
    if hallmark.wrapper:
        pytest.skip("another program stands in between")
    folder = tree({"config.json": b"{}"})
    path = sparse(folder / "weights", 256 * MIB)
    sign(folder, *options)
    signature = (folder / "model.sig").read_bytes()
    result = run_and_change(hallmark, path, change, "verify", folder, "--key", ec.public, "--jobs",
                            "1", "--json")  # fmt: skip
    report = result.json()
    assert (result.rc, report["reason"]) == (1, "changed-while-reading"), result
    assert [f["name"] for f in report["findings"]] == ["weights"] and report["entries"] == []
    sparse(path, 256 * MIB)
    result = run_and_change(hallmark, path, change, "sign", folder, "--key", ec.private, "--jobs",
                            "1", *options)  # fmt: skip
    assert result.rc == 1 and "changed-while-reading" in result.err, result
    assert (folder / "model.sig").read_bytes() == signature


def test_a_race_against_a_writer(ec, sign, verify, tree):
    """Whatever a writer does meanwhile: what is called verified are the bytes that were signed."""
    good, bad = support.content("good", 3 * MIB), support.content("bad", 3 * MIB)
    folder = tree({"w": good})
    sign(folder)
    digest = oracle.HASHES["sha256"](good).hexdigest()
    done = threading.Event()

    def write():
        numbers = random.Random(1)
        while not done.is_set():
            content = numbers.choice([good, bad, good[:-1], good[: MIB] + bad[MIB:]])
            if numbers.random() < 0.5:
                (folder.parent / "new").write_bytes(content)
                os.rename(folder.parent / "new", folder / "w")
            else:
                (folder / "w").write_bytes(content)
            time.sleep(numbers.random() * 0.01)

    writer = threading.Thread(target=write)
    writer.start()
    outcomes = set()
    try:
        for _ in range(60):
            report = verify(folder, expect=(0, 1))
            outcomes.add(report["reason"])
            if report["status"] == "verified":
                assert [e["digest"] for e in report["entries"]] == [digest]
            else:
                assert report["reason"] in ("changed-while-reading", "digest-mismatch")
    finally:
        done.set()
        writer.join()
    assert len(outcomes) > 1, "the writer did not get in the way"


def test_a_file_replaced_by_a_link_or_pipe_in_a_race(ec, sign, verify, tree, tmp_path):
    """Nor is anything outside read, or a pipe waited for, when names change after the walk."""
    folder = tree({"w": b"w" * 1000})
    outside = tmp_path / "outside"
    outside.write_bytes(b"w" * 1000)
    sign(folder)
    done = threading.Event()

    def write():
        while not done.is_set():
            for make in (lambda p: p.symlink_to(outside), os.mkfifo,
                         lambda p: p.write_bytes(b"w" * 1000)):  # fmt: skip
                new = tmp_path / "new"
                make(new)
                os.rename(new, folder / "w")
                time.sleep(0.001)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        reasons = {verify(folder, expect=(0, 1), timeout=10)["reason"] for _ in range(60)}
    finally:
        done.set()
        writer.join()
    assert reasons <= {None, "missing-file", "changed-while-reading"}


# ---- signature files ----------------------------------------------------------------------------


def big_numbers():
    return b"[" + b"1," * (30 * MIB) + b"1]"


def big_members():
    return b"{" + b",".join(b'"%d":0' % i for i in range(2_000_000)) + b"}"


def big_equal_members():
    return b'{"a":0' + b',"a":0' * 5_000_000 + b"}"


ATTACKS = {
    "100 MB of spaces": (lambda: b" " * 100_000_000, "larger"),
    "100 MB of brackets": (lambda: b"[" * 100_000_000, "larger"),
    "60 MB of brackets": (lambda: b"[" * 60_000_000, "deep"),
    "nested 10,000 deep": (lambda: b"[" * 10_000 + b"]" * 10_000, "deep"),
    "objects 10,000 deep": (lambda: b'{"mediaType":' * 10_000 + b"1" + b"}" * 10_000, "deep"),
    "a string of 60 MB": (lambda: b'"' + b"x" * 60_000_000, "byte"),
    "60 MB of escapes": (lambda: b'{"mediaType":"' + b"\\u0001" * 10_000_000 + b'"}', "mediaType"),
    "a number of 60 MB": (lambda: b"1" * 60_000_000, "byte"),
    "60 MB of numbers": (big_numbers, "values"),
    "two million members": (big_members, "not a signature file"),
    "five million equal members": (big_equal_members, None),
    "duplicate members": (lambda: b'{"mediaType":"a","mediaType":"b"}', "twice"),
    "duplicate by escape": (lambda: b'{"mediaType":"a","media\\u0054ype":"b"}', "twice"),
    "deep duplicate": (lambda: b'{"a":[{"b":{"c":1,"c":1}}],"mediaType":"x"}', "twice"),
    "invalid UTF-8": (lambda: b'{"mediaType":"\xff"}', "UTF-8"),
    "surrogates": (lambda: b'{"mediaType":"\xed\xa0\x80"}', "UTF-8"),
    "a lone surrogate": (lambda: b'{"mediaType":"\\ud800"}', "surrogate"),
    "overlong UTF-8": (lambda: b'{"mediaType":"\xc0\xaf"}', "UTF-8"),
    "a byte order mark": (lambda: b'\xef\xbb\xbf{"mediaType":"x"}', "byte 0"),
    "UTF-16": (lambda: '{"mediaType":"x"}'.encode("utf-16"), "byte 0"),
    "NaN": (lambda: b'{"mediaType":NaN}', "byte 13"),
    "Infinity": (lambda: b'{"mediaType":-Infinity}', "byte 1"),
    "a NUL": (lambda: b'{"mediaType":"x"}\0', "byte 17"),
    "text after it": (lambda: b'{"mediaType":"x"} {}', "byte 18"),
    "nothing": (lambda: b"", "byte 0"),
    "zeros": (lambda: bytes(1000), "byte 0"),
    "null": (lambda: b"null", "not a signature file"),
    "an empty object": (lambda: b"{}", "not a signature file"),
    "an empty list": (lambda: b"[]", "not a signature file"),
}


@pytest.mark.parametrize("which", ATTACKS)
def test_signature_files_that_attack_the_reader(measured, ec, tree, which):
    make, said = ATTACKS[which]
    folder = tree({"w": b"w"})
    (folder / "model.sig").write_bytes(make())
    result = measured("verify", folder, "--key", ec.public, expect=1, seconds=20, memory=700)
    assert "(malformed)" in result.err
    assert said is None or said in result.err, result
    assert len(result.err) < 2000
    result = measured("inspect", folder / "model.sig", expect=1, seconds=20, memory=700)
    assert "(malformed)" in result.err


def test_a_signed_statement_that_attacks_the_reader(measured, ec, tree):
    """The signature is good; what it signs is nested too deep, or too much."""
    folder = tree({"w": b"w"})
    for payload in (b"[" * 10_000_000, b"{" + b'"a":' * 10_000, big_numbers()[:20_000_000], b"x",
                    b'{"_type":"x","_type":"x"}', b"\xff" * 1000):  # fmt: skip
        write_signature(folder, oracle.sign_oms(payload, ec.python))
        result = measured("verify", folder, "--key", ec.public, expect=1, seconds=20, memory=700)
        assert "(malformed)" in result.err and "signed statement" in result.err


def test_many_certificates(measured, ec, pki, tree):
    folder = tree({"w": b"w"})
    leaf = pki.leaf("repeated")
    material = oracle.chain_material([leaf.x509] * 5000)
    statement = oracle.statement_of({"w": b"w"})
    write_signature(folder, oracle.sign_oms(statement, leaf.key.python, material))
    result = measured("verify", folder, "--root", pki.root.path, expect=1, seconds=20, memory=100)
    assert "(malformed)" in result.err and "5000 certificates" in result.err


def test_many_ignore_paths(measured, ec, tree):
    folder = tree({"w": b"w"})
    statement = oracle.statement_of({"w": b"w"}, ignore=[f"p{i}" for i in range(100_000)])
    write_signature(folder, oracle.sign_oms(statement, ec.python))
    result = measured("verify", folder, "--key", ec.public, expect=1, seconds=20, memory=200)
    assert "(malformed)" in result.err


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/urandom", "/dev/full", "/proc/self/mem", "."])
def test_signature_files_that_are_no_files(hallmark, ec, tree, path):
    folder = tree({"w": b"w"})
    path = folder if path == "." else path
    hallmark("verify", folder, "--key", ec.public, "--signature", path, expect=(1, 3), timeout=10)
    hallmark("inspect", path, expect=(1, 3), timeout=10)


# ---- signing that does not come to its end ------------------------------------------------------


def check_signature(folder, old, names, verify):
    """The old signature or a whole new one, and nothing beside it."""
    assert set(os.listdir(folder)) - {n for n in os.listdir(folder) if n.startswith(".hallmark-")} \
        == names  # fmt: skip
    new = (folder / "model.sig").read_bytes()
    if new != old:
        verify(folder)
    return new


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL],
                         ids=lambda n: n.name)  # fmt: skip
def test_interrupted_signing(hallmark, ec, sign, verify, tree, number):
    folder = tree({"w": support.content("w", 2 * MIB), "x": b""})
    start = time.monotonic()
    sign(folder)
    took = time.monotonic() - start
    names = set(os.listdir(folder))
    old = (folder / "model.sig").read_bytes()
    numbers = random.Random(number)
    interrupted = replaced = 0

    def heed():
        if number != signal.SIGKILL:  # `nohup` has its children ignore one of them
            signal.signal(number, signal.SIG_DFL)

    for attempt in range(400):
        if attempt >= 40 and interrupted > 0 and replaced > 0:
            break  # on a busy machine it takes more of them to meet both
        child = subprocess.Popen(hallmark.command("sign", folder, "--key", ec.private),
                                 env=hallmark.environment(), stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, preexec_fn=heed)  # fmt: skip
        time.sleep(numbers.random() * took * 1.2)
        child.send_signal(number)
        status = child.wait(timeout=60)
        assert status in (0, -number)
        litter = [n for n in os.listdir(folder) if n.startswith(".hallmark-")]
        assert litter == [] or number == signal.SIGKILL
        new = check_signature(folder, old, names, verify) if not litter else old
        interrupted += status != 0
        replaced += new != old
        assert status != 0 or new != old or litter
        old = new
    assert interrupted > 0 and replaced > 0, "the signals came too early or too late"
    sign(folder)
    assert set(os.listdir(folder)) == names


def test_litter_of_a_killed_signer_is_taken_away_by_the_next(hallmark, ec, sign, verify, tree):
    """Killed between the steps that give a new file its name; strace is the killer."""
    if shutil.which("strace") is None or hallmark.wrapper:
        pytest.skip("no strace")
    folder = tree({"w": b"w"})
    sign(folder)
    old = (folder / "model.sig").read_bytes()
    killed = ["strace", "-f", "-o", "/dev/null", "-e", "trace=rename,renameat,renameat2",
              "-e", "inject=rename,renameat,renameat2:signal=SIGKILL:error=EIO"]  # fmt: skip
    environment = hallmark.environment({"LSAN_OPTIONS": "detect_leaks=0"})
    done = subprocess.run([*killed, *hallmark.command("sign", folder, "--key", ec.private)],
                          env=environment, capture_output=True, check=False)  # fmt: skip
    if b"ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode != 0
    assert (folder / "model.sig").read_bytes() == old
    assert len(os.listdir(folder)) == 3, "the strace did not kill in mid-step"
    sign(folder)
    assert sorted(os.listdir(folder)) == ["model.sig", "w"]
    report = verify(folder)
    assert [e["name"] for e in report["entries"]] == ["w"]


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("allowed", [0, 1, 500])
def test_a_file_that_may_not_grow(hallmark, ec, sign, tree, allowed, existing, sanitizer):
    if sanitizer == "tsan" and allowed == 0:
        pytest.skip("the sanitizer itself needs to write a byte")
    folder = tree({"w": b"w"})
    if existing:
        sign(folder)
    before = support.snapshot(folder)
    command = hallmark.command("sign", folder, "--key", ec.private)
    done = subprocess.run(["prlimit", f"--fsize={allowed}", *command], capture_output=True,
                          env=hallmark.environment(), check=False)  # fmt: skip
    assert done.returncode == 3 and b"cannot write" in done.stderr, done.stderr
    assert support.snapshot(folder) == before


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    if not AS_ROOT:
        pytest.skip("mounting a file system takes root")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place],
                          capture_output=True, check=False)  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def fill(place):
    with open(place / "filler", "wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(4096))
        except OSError:
            pass


def test_a_full_disk(hallmark, ec, sign, verify, small_disk):
    (small_disk / "w").write_bytes(b"w")
    sign(small_disk, "--ignore", "filler")
    fill(small_disk)
    before = support.snapshot(small_disk)
    result = sign(small_disk, "--ignore", "filler", expect=3)
    assert "No space left" in result.err
    result = hallmark("key", "generate", "--no-passphrase", small_disk / "k.pem", expect=3)
    assert "No space left" in result.err
    assert support.snapshot(small_disk) == before
    verify(small_disk)
    (small_disk / "filler").unlink()
    sign(small_disk)
    verify(small_disk)


def test_a_folder_that_may_not_be_written_to(hallmark, ec, sign, tree, small_disk):
    (small_disk / "w").write_bytes(b"w")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    result = sign(small_disk, expect=3)
    assert "cannot write" in result.err and "Read-only" in result.err
    sign(small_disk, "--signature", small_disk.parent / "s")


@pytest.mark.parametrize("arguments", [
    ["sign"], ["sign", "--json"], ["verify"], ["verify", "--json"], ["digest"], ["inspect"],
    ["--help"], ["--version"], ["help"], ["sign", "--help"], ["key", "generate", "--help"],
], ids=" ".join)  # fmt: skip
def test_output_that_nobody_gets(hallmark, ec, sign, tree, arguments):
    """A report that could not be written is no success."""
    folder = tree({"w": b"w"})
    sign(folder)
    more = {"sign": [folder, "--key", ec.private], "verify": [folder, "--key", ec.public],
            "digest": [folder], "inspect": [folder / "model.sig"]}  # fmt: skip
    if "--help" not in arguments:
        arguments = [*arguments, *more.get(arguments[0], [])]
    command, environment = hallmark.command(*arguments), hallmark.environment()
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE,
                              check=False)  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert b"hallmark: cannot write" in done.stderr
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *command], env=environment,
                          stderr=subprocess.PIPE, check=False)  # fmt: skip
    assert done.returncode == 3, done.stderr


@pytest.mark.parametrize("existing", [False, True])
def test_many_signers_at_once(hallmark, ec, sign, verify, tree, existing):
    """One of them wins; where there was no signature, the others do not write over the winner's."""
    folder = tree({"w": support.content("w", MIB)})
    if existing:
        sign(folder)
    command = hallmark.command("sign", folder, "--key", ec.private)
    children = [subprocess.Popen(command, env=hallmark.environment(), stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL) for _ in range(8)]  # fmt: skip
    statuses = [child.wait(timeout=60) for child in children]
    assert 0 in statuses and set(statuses) <= ({0} if existing else {0, 2})
    assert sorted(os.listdir(folder)) == ["model.sig", "w"]
    verify(folder)


def test_memory_that_runs_out(hallmark, ec, sign, tree, sanitizer):
    """An error, not a crash."""
    if sanitizer or hallmark.wrapper:
        pytest.skip("it needs memory of its own")
    folder = tree({"w": bytes(MIB)})
    sign(folder)
    (folder / "model.sig").write_bytes(b'{"a":"' + b"x" * 60_000_000 + b'"}')

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (80_000_000, 80_000_000))

    done = subprocess.run(hallmark.command("verify", folder, "--key", ec.public, "--jobs", "1"),
                          env=hallmark.environment(), preexec_fn=limit, capture_output=True,
                          check=False)  # fmt: skip
    assert done.returncode == 3 and b"memory" in done.stderr, done
