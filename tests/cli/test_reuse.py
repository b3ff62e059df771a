# SPDX-License-Identifier: Apache-2.0
"""Signing again without reading what is provably unchanged."""

import base64
import json
import mmap
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec as curves

import support
from support import OK, REFUSED, USAGE

TRUSTED = {"ext2/ext3", "xfs", "btrfs", "f2fs"}  # as stat -f says
SHARDS = ["--shard-size", "20000"]
MODELS = 80  # made at once, so that one wait is enough for all


def file_system(path):
    return subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True,
                          check=True).stdout.strip()  # fmt: skip


@pytest.fixture(scope="module")
def old_models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("aged")
    if file_system(folder) not in TRUSTED:
        pytest.skip("the file system for temporary files proves nothing")
    models = [support.make_model(folder / str(number) / "model") for number in range(MODELS)]
    time.sleep(3.1)
    return models


@pytest.fixture
def model(old_models):
    """A model whose files have not been touched for a while, for one test."""
    return old_models.pop()


@pytest.fixture
def again(hallmark, ec):
    """again(model, *options): signs anew by the signature in the default place."""

    def run(model, *options, old=None, key=ec, expect=OK, env=None):
        result = hallmark("sign", model, "--key", key.private, "--reuse", old or model / "model.sig",
                          "--json", *options, expect=expect, env=env)  # fmt: skip
        return result.json()

    return run


@pytest.fixture
def recorded(sign, again):
    """recorded(model, *options): signed, with a record."""

    def run(model, *options):
        sign(model, *options)
        report = again(model, *options)
        assert report["reused"]["files"] == 0
        assert report["reused"]["files_read"] == report["model"]["files"]
        assert "there was no record" in " ".join(report["warnings"])
        assert (model / "model.sig.state").exists()
        return model

    return run


def files_of(model):
    return sorted(os.fsdecode(path.relative_to(model)) for path in model.rglob("*")
                  if path.is_file() and not path.name.startswith("model.sig"))  # fmt: skip


def record_of(path):
    document = json.loads(path.read_text())
    return json.loads(base64.b64decode(document["payload"]))


def statement(signature):
    return json.loads(base64.b64decode(json.loads(signature.read_text())["dsseEnvelope"]["payload"]))


def let_it_settle():
    time.sleep(3.1)


# ---- what is taken over -------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], SHARDS, ["--hash", "blake3"]])
def test_nothing_changed_nothing_read(recorded, again, verify, model, options):
    recorded(model, *options)
    before = statement(model / "model.sig")
    for _ in range(3):
        report = again(model, *options)
        empty = len([name for name in files_of(model) if (model / name).stat().st_size == 0])
        left = empty if options == SHARDS else 0  # shards leave empty files out
        assert report["reused"]["from"] == "signature"
        assert report["reused"]["files"] == len(files_of(model)) - left
        assert report["reused"]["files_read"] == left
        assert report["reused"]["bytes_read"] == 0
        assert "not computed again" in " ".join(report["warnings"])
        assert statement(model / "model.sig") == before
        verify(model)


def test_no_file_is_opened_for_reading(hallmark, ec, recorded, model, tmp_path, sanitizer):
    if shutil.which("strace") is None or sanitizer or hallmark.wrapper:
        pytest.skip("needs strace and a plain build")
    recorded(model)
    support.flip(model / "README.md", 0)
    trace = tmp_path / "trace"
    subprocess.run(["strace", "-f", "-qq", "-e", "trace=open,openat,openat2", "-o", trace,
                    *hallmark.command("sign", model, "--key", ec.private, "--reuse",
                                      model / "model.sig")],
                   check=True, capture_output=True, env=hallmark.environment())  # fmt: skip
    opened = {name for name in files_of(model) for line in trace.read_text().splitlines()
              if f'"{name}"' in line and "O_PATH" not in line}  # fmt: skip
    assert opened == {"README.md"}


def test_text_report(hallmark, ec, recorded, model):
    recorded(model)
    result = hallmark("sign", model, "--key", ec.private, "--reuse", model / "model.sig", expect=OK)
    count = len(files_of(model))
    assert f"{count} of {count} files" in result.out and "read 0 bytes" in result.out
    assert "not computed again" in result.out


def test_the_statement_is_that_of_plain_signing(sign, again, model, tmp_path):
    signature = tmp_path / "outside.sig"
    sign(model, "--signature", signature)
    plain = statement(signature)
    for _ in range(2):
        report = again(model, "--signature", signature, old=signature)
        assert statement(signature) == plain
    assert report["reused"]["files_read"] == 0
    assert (tmp_path / "outside.sig.state").exists() and not (model / "model.sig.state").exists()


def test_single_file(sign, again, verify, model):
    weights = model / "model.safetensors"
    signature = model.parent / "weights.sig"
    for options in ([], ["--name-dot"], SHARDS):
        sign(weights, "--signature", signature, *options)
        (model.parent / "weights.sig.state").unlink(missing_ok=True)
        again(weights, "--signature", signature, *options, old=signature)
        report = again(weights, "--signature", signature, *options, old=signature)
        assert report["reused"]["files"] == 1 and report["reused"]["bytes_read"] == 0
        verify(weights, "--signature", signature)


def test_the_reference_verifies(reference, ec, recorded, again, model):
    recorded(model)
    again(model)
    result = reference("verify", "key", model, "--signature", model / "model.sig", "--public_key",
                       ec.public)  # fmt: skip
    assert result.rc == 0, result
    support.flip(model / "README.md", 0)
    result = reference("verify", "key", model, "--signature", model / "model.sig", "--public_key",
                       ec.public)  # fmt: skip
    assert result.rc != 0


def test_the_record_is_ignored_and_said_to_be(recorded, again, verify, model):
    recorded(model)
    again(model)
    ignored = {note["path"]: note["by"] for note in verify(model)["ignored"]}
    assert ignored == {"model.sig": "signature-file", "model.sig.state": "signed"}
    (model / "other.state").write_text("x")
    assert verify(model, expect=REFUSED)["reason"] == "extra-file"


# ---- what is read -------------------------------------------------------------------------------


def write(path):
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def write_and_set_back(path):
    before = path.stat()
    write(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def touch_by_reference(path):
    copy = path.with_name("aside")
    shutil.copy2(path, copy)
    write(path)
    subprocess.run(["touch", "-r", copy, path], check=True)
    copy.unlink()


def replace(path):
    before = path.stat()
    other = path.with_name("aside")
    other.write_bytes(path.read_bytes()[:-1] + b"!")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(path)


def write_by_mapping(path):
    before = path.stat()
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        view[0] ^= 1
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def append(path):
    with open(path, "ab") as out:
        out.write(b"more")


@pytest.mark.parametrize("change", [write, write_and_set_back, touch_by_reference, replace,
                                    write_by_mapping, append])  # fmt: skip
@pytest.mark.parametrize("options", [[], SHARDS])
def test_a_changed_file_is_read(recorded, again, verify, model, change, options):
    recorded(model, *options)
    change(model / "README.md")
    verify(model, expect=REFUSED)
    report = again(model, *options)
    if not options:
        assert report["reused"]["files_read"] == 1
    assert report["reused"]["bytes_read"] == (model / "README.md").stat().st_size
    verify(model)


def test_two_files_that_change_places(recorded, again, verify, tree, model):
    one, two = (model / "shards" / f"model-0000{n}-of-00002.safetensors" for n in (1, 2))
    recorded(model)
    one.rename(model / "aside")
    two.rename(one)
    (model / "aside").rename(two)
    again(model)
    verify(model)


def test_added_removed_and_renamed(recorded, again, verify, model):
    recorded(model)
    (model / "new.txt").write_text("new")
    (model / "config.json").unlink()
    (model / "README.md").rename(model / "README")
    report = again(model)
    assert report["reused"]["files_read"] == 2  # new.txt and README
    verify(model)


def test_what_is_ignored_now_or_no_longer(recorded, again, verify, model):
    recorded(model, "--ignore", "shards")
    report = again(model)
    assert report["reused"]["files_read"] == 2
    verify(model)
    report = again(model, "--ignore", "README.md")
    assert "README.md" not in {entry["name"] for entry in report["entries"]}
    assert report["reused"]["files_read"] == 0
    verify(model)
    report = again(model)
    assert report["reused"]["files_read"] == 1
    verify(model)


def test_a_mode_that_changed_costs_a_reading(recorded, again, verify, model):
    recorded(model)
    (model / "README.md").chmod(0o600)
    assert again(model)["reused"]["files_read"] == 1
    verify(model)


def test_links_are_read(sign, hallmark, ec, model):
    (model / "link").symlink_to("README.md")
    sign(model, "--follow-symlinks")
    for _ in range(2):
        report = hallmark("sign", model, "--key", ec.private, "--reuse", model / "model.sig",
                          "--follow-symlinks", "--json", expect=OK).json()  # fmt: skip
    assert report["reused"]["files_read"] == 1


# ---- what must not get into the record ----------------------------------------------------------


def test_just_written(recorded, again, verify, model):
    """A later change could have the same time."""
    write(model / "README.md")
    recorded(model)
    names = [file["name"] for file in record_of(model / "model.sig.state")["files"]]
    assert names == [name for name in files_of(model) if name != "README.md"]
    assert again(model)["reused"]["files_read"] == 1
    let_it_settle()
    again(model)
    assert again(model)["reused"]["files_read"] == 0
    verify(model)


def test_the_clock_of_tests_does_not_count(sign, again, model):
    write(model / "README.md")
    sign(model)
    for _ in range(2):
        report = again(model, env={"HALLMARK_TIME": "9999999999"})
    assert report["reused"]["files_read"] == 1


def test_open_for_writing(recorded, again, model):
    with open(model / "README.md", "r+b"):
        recorded(model)
        assert again(model)["reused"]["files_read"] == 1
    again(model)
    assert again(model)["reused"]["files_read"] == 0


def test_a_dirty_mapping_that_outlives_the_record(recorded, again, verify, model):
    """A store into a page that is dirty already moves no time: such a file is never on record."""
    path = model / "README.md"
    with open(path, "r+b") as file:
        view = mmap.mmap(file.fileno(), 0)
    view[0] ^= 1
    let_it_settle()  # old enough, but mapped
    recorded(model)
    assert "README.md" not in {f["name"] for f in record_of(model / "model.sig.state")["files"]}
    view[0] ^= 2
    assert again(model)["reused"]["files_read"] >= 1
    verify(model)
    view.close()


@pytest.mark.skipif(not pathlib.Path("/dev/shm").is_dir() or file_system("/dev/shm") != "tmpfs",
                    reason="no tmpfs")  # fmt: skip
def test_file_systems_that_prove_nothing(recorded, again, verify, tmp_path):
    folder = pathlib.Path("/dev/shm") / f"hallmark-{os.getpid()}"
    try:
        model = support.make_model(folder / "model")
        let_it_settle()
        recorded(model)
        assert record_of(model / "model.sig.state")["files"] == []
        assert again(model)["reused"]["files"] == 0
        verify(model)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def open_folder():
    """A folder that other users can look into."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield pathlib.Path(folder)


def test_files_of_others_are_read(hallmark, ec, open_folder):
    """Only its owner, or root, gets a lease on a file."""
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if os.geteuid() != 0 or shutil.which("setpriv") is None or hallmark.wrapper:
        pytest.skip("needs root, to have other users")
    if subprocess.run([*user, "test", "-x", hallmark.binary], check=False).returncode != 0:
        pytest.skip("other users cannot run the program")
    model = support.make_model(open_folder / "model")
    work = open_folder / "work"
    work.mkdir()
    shutil.copy(ec.private, work / "k.pem")
    for path in (work, work / "k.pem"):
        os.chown(path, 65534, 65534)
    let_it_settle()
    command = hallmark.command("sign", model, "--key", work / "k.pem", "--signature", work / "m.sig")
    for options in ([], ["--reuse", work / "m.sig"]):
        done = subprocess.run([*user, *command, *options], capture_output=True, check=False,
                              env=hallmark.environment())  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert record_of(work / "m.sig.state")["files"] == []


# ---- signatures and records of others -----------------------------------------------------------


def refused(hallmark, ec, model, *options, words, expect=REFUSED, old=None):
    before = (model / "model.sig").read_bytes()
    result = hallmark("sign", model, "--key", ec.private, "--reuse", old or model / "model.sig",
                      *options, expect=expect)  # fmt: skip
    assert re.search(words, result.err), result
    assert (model / "model.sig").read_bytes() == before


def test_old_signature_by_another_key(hallmark, keys, recorded, model):
    recorded(model)
    refused(hallmark, keys["python", "ec-p256", "other"], model, words="does not verify")
    refused(hallmark, keys["python", "ec-p384"], model, words="does not verify")


def test_old_signature_that_was_tampered_with(hallmark, ec, recorded, model):
    recorded(model)
    document = json.loads((model / "model.sig").read_text())
    payload = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    payload["predicate"]["resources"][0]["digest"] = "0" * 64
    document["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    (model / "model.sig").write_text(json.dumps(document))
    refused(hallmark, ec, model, words="does not verify")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--hash", "blake3"], "say --hash sha256 --files"),
        (SHARDS, "say --hash sha256 --files"),
    ],
)
def test_old_signature_of_another_kind(hallmark, ec, recorded, model, options, words):
    recorded(model)
    refused(hallmark, ec, model, *options, expect=USAGE, words=words)


def test_old_signature_of_other_shards(hallmark, ec, recorded, model):
    recorded(model, *SHARDS)
    refused(hallmark, ec, model, expect=USAGE, words="--shard-size 20000")
    refused(hallmark, ec, model, "--shard-size", "20001", expect=USAGE, words="--shard-size 20000")


def test_old_signature_of_another_format(hallmark, keys, model):
    key = keys["python", "rsa-2048"]
    weights = model / "model.safetensors"
    old = model.parent / "m.json"
    hallmark("sign", weights, "--key", key.private, "--format", "manifest-json", "--signature", old,
             expect=OK)  # fmt: skip
    result = hallmark("sign", weights, "--key", key.private, "--reuse", old, expect=USAGE)
    assert "not an oms signature" in result.err
    result = hallmark("sign", weights, "--key", key.private, "--reuse", old, "--format",
                      "manifest-json", "--signature", old, expect=USAGE)  # fmt: skip
    assert "for oms" in result.err


def test_no_old_signature(hallmark, ec, model):
    result = hallmark("sign", model, "--key", ec.private, "--reuse", model / "none", expect=3)
    assert "none" in result.err and not (model / "model.sig").exists()


def test_parts_and_an_old_signature(hallmark, ec, recorded, model, tmp_path):
    recorded(model)
    hallmark("digest", model, "--part", "1/1", "--out", tmp_path / "p", expect=OK)
    refused(hallmark, ec, model, "--parts", tmp_path / "p", expect=USAGE, words="not from both")


def test_record_without_a_signature(recorded, again, model):
    recorded(model)
    (model / "model.sig.state").unlink()
    assert again(model)["reused"]["files"] == 0


def test_record_of_another_signature(sign, recorded, again, verify, model):
    """As after a crash between writing the one and the other, or a plain signing in between."""
    recorded(model)
    kept = (model / "model.sig.state").read_bytes()
    write_and_set_back(model / "README.md")
    (model / "model.sig.state").unlink()
    sign(model)
    (model / "model.sig.state").write_bytes(kept)
    report = again(model)
    assert report["reused"]["files"] == 0
    assert "belongs to another signature" in " ".join(report["warnings"])
    verify(model)


def forge(path, change, resign=None):
    document = json.loads(path.read_text())
    payload = json.loads(base64.b64decode(document["payload"]))
    change(payload, document)
    raw = json.dumps(payload).encode()
    document["payload"] = base64.b64encode(raw).decode()
    if resign is not None:
        kind = document["payloadType"].encode()
        message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(raw), raw)
        document["signatures"][0]["sig"] = base64.b64encode(resign(message)).decode()
    path.write_text(json.dumps(document))


def current_state(path):
    st = path.stat()

    def seconds(ns):
        return f"{ns // 10**9}.{ns % 10**9:09}"

    return (f"{st.st_size} {st.st_dev} {st.st_ino} {seconds(st.st_mtime_ns)} "
            f"{seconds(st.st_ctime_ns)}")  # fmt: skip


def test_forged_record(hallmark, ec, keys, recorded, model):
    """The attack: change a file, and have the record say that it is as it was."""
    recorded(model)
    write(model / "README.md")
    state = current_state(model / "README.md")

    def claim(payload, _document):
        (file,) = [file for file in payload["files"] if file["name"] == "README.md"]
        file["state"] = state

    record = model / "model.sig.state"
    kept = record.read_bytes()
    forge(record, claim)
    refused(hallmark, ec, model, words="cannot be believed")
    record.write_bytes(kept)
    other = keys["python", "ec-p256", "other"].python
    forge(record, claim, resign=lambda message: sign_by(other, message))
    refused(hallmark, ec, model, words="cannot be believed")
    record.write_bytes(kept)
    # The same by the right key is believed: which shows that it was the signature that did not fit,
    # and that what is on record is not read.
    forge(record, claim, resign=lambda message: sign_by(ec.python, message))
    result = hallmark("sign", model, "--key", ec.private, "--reuse", model / "model.sig", "--json",
                      expect=OK)  # fmt: skip
    assert result.json()["reused"]["files_read"] == 0
    hallmark("verify", model, "--key", ec.public, expect=REFUSED)


def sign_by(key, message):
    return key.sign(message, curves.ECDSA(hashes.SHA256()))


def test_a_model_signature_is_no_record(hallmark, ec, recorded, model):
    """The same key, but another type of payload."""
    recorded(model)
    envelope = json.loads((model / "model.sig").read_text())["dsseEnvelope"]
    record = model / "model.sig.state"
    kind = json.loads(record.read_text())["payloadType"]
    record.write_text(json.dumps({**envelope, "payloadType": kind}))
    refused(hallmark, ec, model, words="cannot be believed")


MALFORMED = {
    "member": lambda p, d: d.update(more=1),
    "payload-member": lambda p, d: p.update(more=1),
    "payload-digest": lambda p, d: p.update(signature_sha256="0"),
    "signatures": lambda p, d: d["signatures"].append(d["signatures"][0]),
    "sig-member": lambda p, d: d["signatures"][0].update(keyid=""),
    "files": lambda p, d: p.update(files={}),
    "order": lambda p, d: p["files"].reverse(),
    "twice": lambda p, d: p["files"].insert(0, p["files"][0]),
    "outside": lambda p, d: p["files"][0].update(name="../x"),
    "no-object": lambda p, d: p.update(files=[1]),
    "file-member": lambda p, d: p["files"][0].update(more=1),
    "state": lambda p, d: p["files"][0].update(state=1),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_record(hallmark, ec, recorded, model, name):
    recorded(model)
    forge(model / "model.sig.state", MALFORMED[name], lambda message: sign_by(ec.python, message))
    refused(hallmark, ec, model, words="cannot be believed")


def test_what_is_no_record_is_not_written_over(hallmark, ec, sign, model):
    sign(model)
    (model / "model.sig.state").write_text("notes of somebody")
    refused(hallmark, ec, model, expect=USAGE, words="not written over")
    assert (model / "model.sig.state").read_text() == "notes of somebody"
