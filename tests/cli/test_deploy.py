# SPDX-License-Identifier: Apache-2.0
"""The store: what gets in, what does not, and what `current` leads to in either case."""

import contextlib
import hashlib
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time

import jsonschema
import pytest

import support
from support import OK, REFUSED, UNDECIDED, USAGE

LET_THROUGH = 4
FILES = {
    "weights.bin": support.content("weights", 300_000),
    "config.json": b"{}",
    "deep/er/tokenizer.json": b'{"a": 1}',
    "empty": b"",
}
SCHEMA = json.loads((support.ROOT / "docs" / "report.schema.json").read_text())
TRUSTED = {"ext2/ext3", "xfs", "btrfs", "f2fs"}  # as stat -f says
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def model(tree):
    return tree(FILES, "model")


@pytest.fixture
def signed(sign, model):
    sign(model)
    return model


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


class Store:
    """What is in a store, seen without the program."""

    def __init__(self, path):
        self.path = path

    def place(self, name="m"):
        return self.path / "models" / name

    def current(self, name="m"):
        link = self.place(name) / "current"
        if not link.is_symlink():
            assert not link.exists()
            return None
        found = re.fullmatch(r"versions/([0-9a-f]{64})/model", os.readlink(link))
        assert found, os.readlink(link)
        assert link.is_dir()
        return found[1]

    def versions(self, name="m"):
        return sorted(os.listdir(self.place(name) / "versions"))

    def version(self, digest, name="m"):
        return self.place(name) / "versions" / digest / "model"

    def files(self, name="m"):
        return read_tree(self.place(name) / "current")

    def held(self):
        folder = self.path / "quarantine"
        return {path.name: json.loads((path / "entry.json").read_text())
                for path in folder.iterdir()} if folder.exists() else {}  # fmt: skip

    def check(self, name="m"):
        """Nothing is left over, and nothing that serves can be written to."""
        allowed = {"lock", "state.json", "versions", "current"}
        assert set(os.listdir(self.place(name))) <= allowed
        for folder, _, names in os.walk(self.place(name) / "versions"):
            if folder != str(self.place(name) / "versions"):
                assert stat.S_IMODE(os.stat(folder).st_mode) in (0o555, 0o550), folder
            for file in names:
                assert stat.S_IMODE(os.lstat(f"{folder}/{file}").st_mode) in (0o444, 0o440)


def read_tree(folder):
    folder = pathlib.Path(folder)
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*")) if not path.is_dir()}  # fmt: skip


@pytest.fixture
def deploy(hallmark, store, ec):
    """deploy(source, *options, expect=...): under --key unless options name a policy."""

    def run(source, *options, name="m", expect=OK, key=ec, env=None, where=None):
        trust = [] if "--policy" in options else ["--key", key.public]
        result = hallmark("deploy", source, "--name", name, "--store", where or store.path,
                          *trust, "--json", *options, expect=expect, env=env)  # fmt: skip
        report = result.json()
        jsonschema.validate(report, SCHEMA)
        assert report["operation"] == "deploy"
        return report

    return run


@pytest.fixture
def rollback(hallmark, store, ec):
    def run(*options, name="m", expect=OK, key=ec):
        trust = [] if "--policy" in options else ["--key", key.public]
        result = hallmark("rollback", name, "--store", store.path, *trust, "--json", *options,
                          expect=expect)  # fmt: skip
        report = result.json()
        jsonschema.validate(report, SCHEMA)
        return report

    return run


@pytest.fixture
def events(hallmark, store):
    """The words, and all, of what the ledger has."""

    def read(*members):
        out = hallmark("log", "--store", store.path, "--json", expect=OK).out
        found = [json.loads(line)["event"] for line in out.splitlines()]
        return [tuple(event.get(member) for member in members) if members else event["event"]
                for event in found]  # fmt: skip

    return read


@pytest.fixture
def policy(tmp_path, keys):
    def write(*rules, signers=None, more=None):
        path = tmp_path / "policy.yaml"
        known = {name: {"keys": str(keys["python", "ec-p256", name].public)}
                 for name in ("alice", "bob", "carol")}  # fmt: skip
        path.write_text(json.dumps({"version": 1, "signers": known | (signers or {}),
                                    "models": list(rules)} | (more or {})))  # fmt: skip
        return path

    return write


@pytest.fixture
def by(hallmark, keys):
    """by("alice", model, ...) signs."""

    def run(name, model, *options):
        key = keys["python", "ec-p256", name]
        hallmark("sign", model, "--key", key.private, *options, expect=OK)
        return key

    return run


def next_version(sign, model, text="v2", folder="model-2"):
    other = model.parent / folder
    shutil.copytree(model, other)
    for name in ("model.sig", "model.shards.sig"):
        (other / name).unlink(missing_ok=True)
    (other / "config.json").write_text(text)
    sign(other)
    return other


# ---- getting in ---------------------------------------------------------------------------------


@pytest.mark.smoke
def test_first(deploy, store, signed, events, hallmark):
    report = deploy(signed)
    assert report["status"] == "deployed" and report["store"]["action"] == "deployed"
    assert report["store"]["made"] and report["store"]["switched"]
    digest = hallmark("digest", signed, "--ignore", "model.sig", "--json").json()
    assert store.current() == digest["model"]["model_digest"] == report["store"]["version"]
    assert store.files() == FILES | {"model.sig": (signed / "model.sig").read_bytes()}
    assert events() == ["deployed", "activated"]
    store.check()


def test_events_say_what_was_done(deploy, sign, store, signed, events, ec):
    first = deploy(signed)["store"]["version"]
    second = deploy(next_version(sign, signed))["store"]["version"]
    assert events("event", "model", "digest", "previous", "signer", "source") == [
        ("deployed", "m", first, None, ec.fingerprint, str(signed)),
        ("activated", "m", first, None, ec.fingerprint, str(signed)),
        ("deployed", "m", second, first, ec.fingerprint, str(signed.parent / "model-2")),
        ("activated", "m", second, first, ec.fingerprint, str(signed.parent / "model-2")),
    ]


def test_current_opens_like_a_directory(deploy, store, signed, hallmark, policy, by, model):
    by("alice", model, "--signature", model / "model.sig")
    rules = policy({"path": f"{store.path}/models/m/**", "signers": "alice"})
    deploy(model, "--policy", rules)
    hallmark("verify", f"{store.place()}/current/", "--policy", rules, expect=OK)
    with open(store.place() / "current" / "deep/er/tokenizer.json", "rb") as file:
        assert file.read() == FILES["deep/er/tokenizer.json"]


def test_the_rule_is_chosen_by_the_place_in_the_store(deploy, store, model, policy, by):
    by("alice", model)
    elsewhere = policy({"path": f"{model}", "signers": "alice"})
    report = deploy(model, "--policy", elsewhere, expect=REFUSED)
    assert report["reason"] == "untrusted-signer" and store.current() is None
    deploy(model, "--policy", policy({"name": "m", "signers": "alice"}))
    deploy(model, "--policy", policy({"path": f"{store.path}/models/m/current",
                                      "signers": "alice"}))  # fmt: skip


def test_one_pass_over_the_source(deploy, store, signed, hallmark, ec, tmp_path, sanitizer):
    if sanitizer:
        pytest.skip("leaks cannot be looked for under strace")
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-y", "-o", trace, "-e",
               "trace=read,pread64,readv,preadv,preadv2,mmap,copy_file_range,sendfile,splice",
               hallmark.binary, "deploy", signed, "--name", "m", "--store", store.path, "--key",
               ec.public]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, env=hallmark.environment(None))
    read = dict.fromkeys(FILES, 0)
    for line in trace.read_text(errors="replace").splitlines():
        found = re.search(r"(\w+)\(\d+<([^>]*)>.*= (\d+)", line)
        if found and found[2].startswith(f"{signed}/") and found[2] != f"{signed}/model.sig":
            assert found[1] in ("read", "pread64"), line
            read[os.path.relpath(found[2], signed)] += int(found[3])
        assert not re.search(rf"mmap\(.*<{signed}/", line), line
        staged = re.search(r"(\w+)\(\d+<([^>]*staging-[^>]*)>.*= ([1-9]\d*)", line)
        assert not staged or not staged[2].endswith(tuple(FILES)), line
    assert read == {name: len(data) for name, data in FILES.items()}


def test_again_is_quick(deploy, store, signed, hallmark, ec, tmp_path, sanitizer):
    if sanitizer:
        pytest.skip("leaks cannot be looked for under strace")
    kind = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True,
                          check=True).stdout.strip()  # fmt: skip
    if kind not in TRUSTED:
        pytest.skip("the file system for temporary files proves nothing")
    time.sleep(3.1)
    deploy(signed)
    before = snapshot(store)
    inode = os.stat(store.place() / "current").st_ino
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-y", "-o", trace, "-e", "trace=read,pread64", hallmark.binary,
               "deploy", signed, "--name", "m", "--store", store.path, "--key", ec.public]
    subprocess.run(command, check=True, capture_output=True, env=hallmark.environment(None))
    for line in trace.read_text(errors="replace").splitlines():
        assert not re.search(r"<[^>]*/(weights.bin|config.json|tokenizer.json)>", line), line
    assert snapshot(store) == before
    assert os.stat(store.place() / "current").st_ino == inode
    # A byte that changes is noticed, be it in the source or in the store.
    support.flip(signed / "weights.bin", 7)
    assert deploy(signed, expect=REFUSED)["reason"] == "digest-mismatch"
    support.flip(signed / "weights.bin", 7)
    assert deploy(signed)["store"]["action"] == "unchanged"
    support.flip(store.version(store.current()) / "weights.bin", 9)
    assert deploy(signed)["store"]["action"] == "repaired"


def snapshot(store):
    """Without the lock's file, which names its last holder."""
    found = support.snapshot(store.place())
    del found["lock"]
    return found


def test_again_in_full(deploy, store, signed, events):
    deploy(signed)
    inode = os.stat(store.place() / "current").st_ino
    report = deploy(signed, "--full")
    assert report["store"]["action"] == "unchanged" and not report["store"]["switched"]
    assert os.stat(store.place() / "current").st_ino == inode
    assert events() == ["deployed", "activated"]
    store.check()


def test_no_switch(deploy, sign, store, signed, events):
    first = deploy(signed)["store"]["version"]
    other = next_version(sign, signed)
    report = deploy(other, "--no-switch")
    assert store.current() == first == report["store"]["current"]
    assert store.versions() == sorted([first, report["store"]["version"]])
    assert events()[2:] == ["deployed"]
    report = deploy(other)
    assert store.current() == report["store"]["version"] != first
    assert report["store"]["action"] == "unchanged" and events()[3:] == ["activated"]


def test_dry_run_writes_nothing(deploy, sign, store, signed, hallmark):
    report = deploy(signed, "--dry-run")
    assert report["status"] == "verified" and report["store"]["dry_run"]
    assert report["store"]["action"] == "deployed" and not store.path.exists()
    deploy(signed)
    before = (support.snapshot(store.path), times(store.path))
    other = next_version(sign, signed)
    report = deploy(other, "--dry-run")
    assert report["store"]["action"] == "deployed" and not report["store"]["switched"]
    support.flip(other / "weights.bin", 0)
    assert deploy(other, "--dry-run", expect=REFUSED)["reason"] == "digest-mismatch"
    assert (support.snapshot(store.path), times(store.path)) == before


@pytest.mark.parametrize("options", [[], ["--full"]])
def test_what_a_dry_run_looks_at_may_be_removed(deploy, store, signed, hallmark, sanitizer, ec,
                                                options, tmp_path):  # fmt: skip
    """It takes no lock. The version is taken away while its directory is about to be opened."""
    if shutil.which("strace") is None or sanitizer or hallmark.wrapper:
        pytest.skip("no strace, or not of this build")
    version = deploy(signed)["store"]["version"]
    log = tmp_path / "trace"
    command = hallmark.command("deploy", signed, "--name", "m", "--key", ec.public, "--store",
                               store.path, "--dry-run", "--json", *options)  # fmt: skip

    def start(*more):
        trace = ["strace", "-qq", "-o", log, "-e", "trace=openat2", *more]
        return subprocess.Popen([*trace, *command], stdout=subprocess.PIPE, text=True,
                                env=hallmark.environment())  # fmt: skip

    with start() as process:
        assert json.load(process.stdout)["store"]["action"] == "unchanged"
    opened = log.read_text().splitlines()
    number = next(i for i, line in enumerate(opened, 1) if f"{version}/model" in line)
    with start("-e", f"inject=openat2:delay_enter=1500000:when={number}") as process:
        time.sleep(0.7)
        os.rename(store.place() / "versions" / version, tmp_path / "gone")
        report = json.load(process.stdout)
    assert f"{version}/model" in log.read_text()
    assert process.returncode == OK and report["status"] == "verified"
    assert report["store"]["action"] == "deployed"


def times(folder):
    return {path: os.lstat(path).st_ctime_ns for path in folder.rglob("*")}


def test_shards_and_both_signatures(deploy, store, model, hallmark, ec):
    hallmark("sign", model, "--key", ec.private, "--files", "--shards", expect=OK)
    deploy(model)
    # Only what was verified gets in: the signature of the shards is that.
    assert store.files() == FILES | {"model.shards.sig": (model / "model.shards.sig").read_bytes()}
    hallmark("verify", f"{store.place()}/current/", "--key", ec.public, expect=OK)


def test_single_file(deploy, store, rollback, model_file, hallmark, ec, metadata_file):
    hallmark("sign", model_file, "--key", ec.private, "--metadata", metadata_file, expect=OK)
    report = deploy(model_file)
    names = set(store.files())
    assert model_file.name in names and f"{model_file.name}.sig" in names and len(names) == 3
    assert report["provenance"] is not None
    for name in names:
        assert store.files()[name] == (model_file.parent / name).read_bytes()
    served = store.place() / "current" / model_file.name
    hallmark("verify", served, "--key", ec.public, "--require-provenance", expect=OK)
    rollback("--to", report["store"]["version"])


def test_provenance_gets_in(deploy, store, model, hallmark, ec, metadata_file, rollback):
    hallmark("sign", model, "--key", ec.private, "--metadata", metadata_file, expect=OK)
    report = deploy(model)
    name = os.path.relpath(report["provenance"]["path"], model)
    assert store.files()[name] == (model / name).read_bytes()
    version = report["store"]["version"]
    proof = store.version(version) / name
    assert rollback("--to", version)["provenance"] is not None
    support.flip(proof, 200)
    assert rollback("--to", version, expect=REFUSED)["status"] == "refused"


def test_ignored_paths_stay_outside(deploy, store, model, sign):
    (model / ".git").mkdir()
    (model / ".git" / "config").write_text("not signed")
    (model / "notes.txt").write_text("not signed")
    sign(model, "--ignore", "notes.txt")
    (model / "mine").mkdir()
    (model / "mine" / "scratch").write_text("not signed")
    assert deploy(model, expect=REFUSED)["reason"] == "extra-file"
    deploy(model, "--ignore", "mine")
    assert set(store.files()) == {*FILES, "model.sig"}
    assert {path.name for path in (store.place() / "current").iterdir()} == {
        "weights.bin", "config.json", "deep", "empty", "model.sig"}  # fmt: skip


def test_signature_from_elsewhere(deploy, store, model, sign, tmp_path, hallmark, ec):
    sign(model, "--signature", tmp_path / "away.sig")
    deploy(model, "--signature", tmp_path / "away.sig")
    assert store.files()["model.sig"] == (tmp_path / "away.sig").read_bytes()
    hallmark("verify", f"{store.place()}/current/", "--key", ec.public, expect=OK)


def test_signature_where_the_model_has_a_file(deploy, store, tree, sign, tmp_path):
    model = tree(FILES | {"model.sig": b"content, not a signature"}, "odd")
    sign(model, "--signature", tmp_path / "away.sig")
    report = deploy(model, "--signature", tmp_path / "away.sig", expect=REFUSED)
    assert report["reason"] == "unsupported" and "model.sig" in report["message"]
    assert store.current() is None


def test_threshold(deploy, store, model, policy, by, rollback):
    names = ["alice.sig", "bob.sig", "carol.sig"]
    ignore = [word for name in names for word in ("--ignore", name)]
    by("alice", model, "--signature", model / "alice.sig", *ignore)
    rules = policy({"name": "m", "signers": ["alice", "bob", "carol"], "threshold": 2,
                    "signatures": names})  # fmt: skip
    assert deploy(model, "--policy", rules, expect=REFUSED)["policy"]["counted"] == 1
    by("carol", model, "--signature", model / "carol.sig", *ignore)
    by("mallory", model, "--signature", model / "bob.sig", *ignore)
    version = deploy(model, "--policy", rules)["store"]["version"]
    # What did not count stays outside.
    assert set(store.files()) == {*FILES, "alice.sig", "carol.sig"}
    rollback("--to", version, "--policy", rules)
    os.chmod(store.version(version), 0o755)
    (store.version(version) / "carol.sig").unlink()
    assert rollback("--to", version, "--policy", rules, expect=REFUSED)["policy"]["counted"] == 1


def test_rule_places_by_name(deploy, store, model, policy, by, hallmark, rollback):
    by("alice", model, "--signature", model / "model-alice.sig")
    rules = policy({"name": "*", "signers": "alice", "signatures": ["{name}-alice.sig"]})
    renamed = model.rename(model.parent / "llama")
    (renamed / "model-alice.sig").rename(renamed / "llama-alice.sig")
    version = deploy(renamed, "--policy", rules, "--ignore", "model-alice.sig")["store"]["version"]
    hallmark("verify", f"{store.place()}/current/", "--policy", rules, expect=OK)
    rollback("--to", version, "--policy", rules)


def test_pinned(deploy, store, model, policy, hallmark, rollback):
    digest = hallmark("digest", model, "--json").json()["model"]["model_digest"]
    rules = policy({"name": "m", "pinned": {"model": digest}})
    report = deploy(model, "--policy", rules)
    assert store.current() == digest and store.files() == FILES and report["signer"] is None
    rollback("--to", digest, "--policy", rules)
    (model / "config.json").write_text("{ }")
    report = deploy(model, "--policy", rules, expect=REFUSED)
    assert report["reason"] == "pinned-digest-mismatch" and store.current() == digest


def test_let_through(deploy, store, model, policy, events, rollback):
    rules = policy({"name": "m", "signers": "alice", "unsigned": "warn"})
    report = deploy(model, "--policy", rules, expect=LET_THROUGH)
    assert report["status"] == "let-through" and report["model"]["model_digest"] is None
    version = report["store"]["version"]
    assert store.current() == version and store.files() == FILES
    assert events() == ["let-through", "deployed", "activated"]
    deploy(model, "--policy", rules, expect=LET_THROUGH)
    assert events() == ["let-through", "deployed", "activated"]
    rollback("--to", version, "--policy", rules, expect=LET_THROUGH)
    support.flip(store.version(version) / "weights.bin", 1)
    report = rollback("--to", version, "--policy", rules, expect=REFUSED)
    assert report["reason"] == "digest-mismatch"
    os.symlink("/etc/passwd", model / "link")
    assert deploy(model, "--policy", rules, expect=REFUSED)["reason"] == "unsupported"


# ---- staying out --------------------------------------------------------------------------------


def refused(report, store, reason, before):
    assert report["reason"] == reason
    assert store.current() == before and report["store"]["current"] == before
    assert not report["store"]["switched"]
    store.check()


def test_unsigned(deploy, store, model, events):
    refused(deploy(model, expect=REFUSED), store, "unsigned", None)
    [entry] = store.held().values()
    assert not entry["content"] and entry["reason"] == "unsigned" and entry["source"] == str(model)
    assert events() == ["refused", "quarantined"]


def test_wrong_signer(deploy, store, sign, signed, keys, events):
    first = deploy(signed)["store"]["version"]
    mallory = keys["python", "ec-p256", "mallory"]
    other = next_version(lambda model: sign(model, key=mallory), signed)
    refused(deploy(other, expect=REFUSED), store, "untrusted-signer", first)
    [(name, entry)] = store.held().items()
    # The model was not read; its signature is kept.
    assert not entry["content"]
    held = read_tree(store.path / "quarantine" / name / "held" / "model")
    assert held == {"model.sig": (other / "model.sig").read_bytes()}
    assert events("event", "reason", "quarantine")[2:] == [
        ("refused", "untrusted-signer", name), ("quarantined", "untrusted-signer", name)]  # fmt: skip


def test_man_in_the_middle(deploy, store, model, policy, by):
    """Whoever replaces model and signature together is stopped by whom the policy believes."""
    by("alice", model)
    rules = policy({"name": "m", "signers": "alice"})
    first = deploy(model, "--policy", rules)["store"]["version"]
    (model / "config.json").write_text('{"backdoor": true}')
    (model / "model.sig").unlink()
    by("mallory", model)
    refused(deploy(model, "--policy", rules, expect=REFUSED), store, "untrusted-signer", first)


def test_tampered(deploy, store, sign, signed, events):
    first = deploy(signed)["store"]["version"]
    other = next_version(sign, signed)
    support.flip(other / "weights.bin", 1000)
    report = deploy(other, expect=REFUSED)
    refused(report, store, "digest-mismatch", first)
    [(name, entry)] = store.held().items()
    assert entry["content"] and name == report["store"]["quarantine"]
    assert read_tree(store.path / "quarantine" / name / "held" / "model") == read_tree(other)
    assert stat.S_IMODE(os.stat(store.path / "quarantine").st_mode) == 0o700
    assert events()[2:] == ["refused", "quarantined"]


def test_refused_copies_are_limited(deploy, store, sign, signed, tmp_path):
    config = tmp_path / "config.yaml"
    support.flip(signed / "weights.bin", 1000)
    for text, kept in (("hallmark-config: 1\nquarantine:\n  keep-refused: false\n", False),
                       ("hallmark-config: 1\nquarantine:\n  limit: 200K\n", False),
                       ("hallmark-config: 1\nquarantine:\n  limit: 500K\n", True),
                       ("hallmark-config: 1\nquarantine:\n  limit: 500K\n", False)):  # fmt: skip
        config.write_text(text)
        report = deploy(signed, "--config", config, expect=REFUSED)
        assert store.held()[report["store"]["quarantine"]]["content"] == kept, text


@pytest.mark.parametrize("what", ["symlink", "fifo", "extra", "missing"])
def test_odd_sources(deploy, store, signed, what):
    if what == "symlink":
        (signed / "config.json").rename(signed.parent / "outside.json")
        os.symlink("../outside.json", signed / "config.json")
    elif what == "fifo":
        os.mkfifo(signed / "pipe")
    elif what == "extra":
        (signed / "added.py").write_text("import os")
    else:
        (signed / "config.json").unlink()
    report = deploy(signed, expect=REFUSED)
    assert report["reason"] in ("extra-file", "missing-file", "digest-mismatch")
    refused(report, store, report["reason"], None)


def test_links_that_the_policy_allows(deploy, store, model, policy, by):
    os.symlink("config.json", model / "alias.json")
    by("alice", model, "--follow-symlinks")
    rules = policy({"name": "m", "signers": "alice", "allow": "symlinks"})
    version = deploy(model, "--policy", rules)["store"]["version"]
    copied = store.version(version) / "alias.json"
    assert not copied.is_symlink() and copied.read_bytes() == b"{}"
    assert not os.path.samefile(copied, store.version(version) / "config.json")


@pytest.mark.parametrize("name", ["", ".", "..", "../m", "a/b", ".hidden", "-x", "a b", "ü", "a..b",
                                  "x" * 129, "a\n", "a_-"])  # fmt: skip
def test_names(hallmark, store, signed, ec, name):
    good = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name) and not name.endswith("\n")
    result = hallmark("deploy", signed, f"--name={name}", "--store", store.path, "--key", ec.public)
    assert result.rc == (OK if good else USAGE)
    if not good:
        assert not (store.path / "models").exists() or not os.listdir(store.path / "models")
        assert "cannot be the name of a model" in result.err


def test_source_that_changes(deploy, store, tree, sign):
    """Written to all the while: what gets in is what was signed, or nothing."""
    model = tree({f"f{number}": support.content(number, 400_000) for number in range(40)}, "busy")
    sign(model)
    good = read_tree(model)
    stop = threading.Event()

    def disturb():
        number = 0
        while not stop.is_set():
            path = model / f"f{number % 40}"
            data = good[path.name]
            with open(path, "r+b") as file:
                file.write(b"x" * 100)
                file.flush()
                time.sleep(0.0005)
                file.seek(0)
                file.write(data[:100])
            number += 1

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        outcomes = [deploy(model, "--full", expect=(OK, REFUSED)) for _ in range(10)]
    finally:
        stop.set()
        thread.join()
    for report in outcomes:
        assert report["status"] == "deployed" or report["reason"] in (
            "changed-while-reading", "digest-mismatch"), report["message"]  # fmt: skip
    if store.current() is not None:
        assert store.files() == good
    assert any(report["status"] == "refused" for report in outcomes)
    store.check()


# ---- what is in the store changes -----------------------------------------------------------------


def test_repaired(deploy, store, signed, events):
    version = deploy(signed)["store"]["version"]
    target = store.version(version) / "weights.bin"
    support.flip(target, 5)
    bad = target.read_bytes()
    report = deploy(signed)
    assert report["store"]["action"] == "repaired" and not report["store"]["switched"]
    assert store.files() == FILES | {"model.sig": (signed / "model.sig").read_bytes()}
    [(name, entry)] = store.held().items()
    assert entry["digest"] == version and not entry["refused"]
    held = store.path / "quarantine" / name / "held" / "model"
    assert (held / "weights.bin").read_bytes() == bad
    assert events()[2:] == ["repaired", "quarantined"]
    store.check()


def test_repaired_of_what_was_added(deploy, store, signed):
    version = deploy(signed)["store"]["version"]
    os.chmod(store.version(version), 0o755)
    (store.version(version) / "added.py").write_text("import os")
    assert deploy(signed)["store"]["action"] == "repaired"
    assert "added.py" not in store.files()


def test_version_file_damaged(deploy, store, signed):
    version = deploy(signed)["store"]["version"]
    record = store.place() / "versions" / version / "version.json"
    os.chmod(record, 0o644)
    record.write_text("{")
    assert deploy(signed)["store"]["action"] == "repaired"
    store.check()


def test_signed_again(deploy, store, sign, signed, keys, events, hallmark, rollback):
    first = deploy(signed)["store"]["version"]
    (signed / "model.sig").unlink()
    other = keys["python", "ec-p256", "next"]
    sign(signed, key=other)
    report = deploy(signed, key=other)
    assert report["store"]["action"] == "re-signed" and report["store"]["version"] == first
    assert store.files()["model.sig"] == (signed / "model.sig").read_bytes()
    assert store.held() == {} and events()[2:] == ["deployed"]
    rollback("--to", first, key=other)
    assert rollback("--to", first, expect=REFUSED)["reason"] == "untrusted-signer"


def test_strange_current(deploy, store, signed):
    version = deploy(signed)["store"]["version"]
    link = store.place() / "current"
    link.unlink()
    os.symlink("/tmp", link)
    report = deploy(signed)
    assert store.current() == version == report["store"]["current"]
    link.unlink()
    link.mkdir()
    report = deploy(signed, expect=UNDECIDED)
    assert "current" in report["message"]


# ---- rollback -----------------------------------------------------------------------------------


def test_rollback(deploy, rollback, sign, store, signed, events):
    digests = [deploy(signed)["store"]["version"]]
    for number in (2, 3):
        other = next_version(sign, signed, f"v{number}", f"model-{number}")
        digests.append(deploy(other)["store"]["version"])
    report = rollback()
    assert report["status"] == "rolled-back" and store.current() == digests[1]
    assert report["store"]["previous"] == digests[2]
    # Not forward again to the one that was left, but further back.
    assert rollback()["store"]["current"] == digests[0]
    assert "no version to go back to" in rollback(expect=UNDECIDED)["message"]
    assert rollback("--to", digests[2][:8])["store"]["current"] == digests[2]
    assert rollback()["store"]["current"] == digests[0]
    assert events()[8:] == ["activated", "rolled-back"]
    assert events("event", "digest", "previous")[6:8] == [
        ("rolled-back", digests[1], digests[2]), ("rolled-back", digests[0], digests[1])]  # fmt: skip
    rollback("--to", "ffffffff", expect=USAGE)
    rollback("--to", "", expect=USAGE)
    rollback(name="other", expect=USAGE)


def test_rollback_to_what_is_bad_now(deploy, rollback, sign, store, signed, events):
    first = deploy(signed)["store"]["version"]
    second = deploy(next_version(sign, signed))["store"]["version"]
    support.flip(store.version(first) / "weights.bin", 3)
    report = rollback(expect=REFUSED)
    assert report["reason"] == "digest-mismatch" and store.current() == second
    assert report["store"]["current"] == second and events()[-1] == "refused"
    assert "no version to go back to" in rollback(expect=UNDECIDED)["message"]


def test_rollback_after_the_key_was_revoked(deploy, rollback, store, model, policy, by, tmp_path,
                                            hallmark):  # fmt: skip
    rules = policy({"name": "m", "signers": ["alice", "bob"]})
    key = by("alice", model)
    deploy(model, "--policy", rules)
    second = next_version(lambda folder: by("bob", folder), model)
    digest = deploy(second, "--policy", rules)["store"]["version"]
    revoked = policy({"name": "m", "signers": ["alice", "bob"]},
                     more={"revoked": [{"fingerprint": key.fingerprint, "since": "2026-01-01",
                                  "reason": "leaked"}]})  # fmt: skip
    report = rollback("--policy", revoked, expect=REFUSED)
    assert report["reason"] == "revoked-key" and store.current() == digest
    assert deploy(model, "--policy", revoked, expect=REFUSED)["reason"] == "revoked-key"
    assert store.current() == digest


@pytest.mark.parametrize("added", ["added.py", ".git/config", "deep/er/x"])
def test_rollback_sees_what_was_added(deploy, rollback, sign, store, signed, added):
    first = deploy(signed)["store"]["version"]
    second = deploy(next_version(sign, signed))["store"]["version"]
    folder = store.version(first)
    for path in (folder, folder / "deep", folder / "deep" / "er"):
        os.chmod(path, 0o755)
    (folder / added).parent.mkdir(exist_ok=True)
    (folder / added).write_text("x")
    assert rollback(expect=REFUSED)["reason"] == "extra-file" and store.current() == second


# ---- several at once ----------------------------------------------------------------------------


def test_several_at_once(hallmark, store, sign, signed, ec):
    models = [signed] + [next_version(sign, signed, str(number), f"n{number}")
                         for number in range(3)]  # fmt: skip
    command = lambda model: [hallmark.binary, "deploy", model, "--name", "m", "--store",
                             store.path, "--key", ec.public, "--full"]  # fmt: skip
    subprocess.run(command(signed), check=True, capture_output=True, env=hallmark.environment(None))
    running = [subprocess.Popen(command(model), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                env=hallmark.environment(None)) for model in models * 2]  # fmt: skip
    for process in running:
        _, err = process.communicate(timeout=120)
        assert process.returncode == OK or b"is held by process" in err, err
    assert len(store.versions()) == 4
    store.check()
    assert store.files()["weights.bin"] == FILES["weights.bin"]


def test_who_holds_the_lock(deploy, store, signed, hallmark, ec):
    import fcntl

    deploy(signed)
    with open(store.place() / "lock", "r+", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        report = deploy(signed, expect=UNDECIDED)
        assert f"is held by process {os.getpid()}" in report["message"]
        deploy(signed, "--dry-run")


# ---- whose files --------------------------------------------------------------------------------


def as_user(user, *command):
    return subprocess.run(["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups",
                           *map(str, command)], capture_output=True, check=False)  # fmt: skip


@pytest.fixture
def open_store():
    """A store where every user gets to: pytest's folders are closed to others."""
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="hallmark-test-", dir="/var/tmp"))
        stack.callback(lambda: subprocess.run(["rm", "-rf", folder], check=False))
        os.chmod(folder, 0o755)
        yield folder / "store"


@as_root
def test_another_user_reads_and_does_not_write(deploy, signed, open_store):
    deploy(signed, where=open_store)
    current = open_store / "models/m/current"
    nobody = pwd.getpwnam("nobody").pw_uid
    assert as_user(nobody, "cat", current / "config.json").stdout == b"{}"
    for command in (["sh", "-c", f"echo x >> {current}/config.json"], ["rm", current],
                    ["touch", current / "added"], ["touch", open_store / "models/m/x"],
                    ["ls", open_store / "quarantine"], ["cat", open_store / "models/m/lock"],
                    ["ln", "-sfn", "/tmp", current]):  # fmt: skip
        assert as_user(nobody, *command).returncode != 0, command


@as_root
def test_serving_group(deploy, signed, open_store):
    deploy(signed, "--group", "daemon", where=open_store)
    current = open_store / "models/m/current"
    nobody, daemon = pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("daemon").pw_uid
    assert as_user(daemon, "cat", current / "deep/er/tokenizer.json").returncode == 0
    assert as_user(nobody, "cat", current / "config.json").returncode != 0
    assert as_user(daemon, "sh", "-c", f"echo x >> {current}/config.json").returncode != 0
    Store(open_store).check()
    report = deploy(signed, "--group", "no-such-group", where=open_store, expect=UNDECIDED)
    assert "no-such-group" in report["message"]


@as_root
def test_not_as_root(hallmark, signed, ec, open_store, tmp_path, sign):
    """All of it without privileges, whose read-only directories are read-only to their owner."""
    home = open_store.parent / "home"
    shutil.copytree(signed, home / "model")
    shutil.copy(ec.public, home / "key.pub")
    shutil.copytree(signed, home / "other")
    (home / "other" / "model.sig").unlink()
    (home / "other" / "config.json").write_text("v2")
    sign(home / "other")
    shutil.copy(hallmark.binary, home / "hallmark")
    user = pwd.getpwnam("nobody").pw_uid
    subprocess.run(["chown", "-R", f"{user}", home], check=True)

    def run(*arguments, expect=OK):
        done = as_user(user, "env", f"HOME={home}", "HALLMARK_STATE_DIR=none", home / "hallmark",
                       *arguments, "--store", home / "store", "--key", home / "key.pub")  # fmt: skip
        assert done.returncode == expect, done

    run("deploy", home / "model", "--name", "m")
    version = home / "store/models/m" / os.readlink(home / "store/models/m/current")
    run("deploy", home / "other", "--name", "m")
    run("rollback", "m")
    os.chmod(version / "config.json", 0o644)
    (version / "config.json").write_text("changed")
    run("deploy", home / "model", "--name", "m", "--full")
    assert (version / "config.json").read_bytes() == b"{}"
    support.flip(home / "model" / "weights.bin", 4)
    run("deploy", home / "model", "--name", "m", expect=REFUSED)
    subprocess.run(["chown", "-R", "root", home / "store"], check=True)
    os.chmod(home / "store", 0o777)
    run("deploy", home / "model", "--name", "m", expect=UNDECIDED)


def test_store_that_others_write_to(deploy, store, signed):
    store.path.mkdir()
    os.chmod(store.path, 0o777)
    report = deploy(signed, expect=UNDECIDED)
    assert "can be changed by other users" in report["message"] and not os.listdir(store.path)


def test_no_store(hallmark, deploy, store, signed, ec, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("something")
    report = deploy(signed, where=tmp_path / "full", expect=USAGE)
    assert "not empty" in report["message"]
    result = hallmark("deploy", signed, "--name", "m", "--key", ec.public, expect=USAGE)
    assert "--store DIR" in result.err
    deploy(signed)
    (store.path / "store.json").write_text('{"hallmark-store": 2, "id": "x"}')
    assert "newer" in deploy(signed, expect=UNDECIDED)["message"]


def test_store_half_made(deploy, store, signed):
    (store.path / "models").mkdir(parents=True)
    (store.path / "outbox").mkdir()
    (store.path / "lost+found").mkdir()
    assert deploy(signed)["store"]["made"]


# ---- disks --------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """disk(options) -> a tmpfs."""
    mounted = []

    def mount(options):
        place = tmp_path / f"disk-{len(mounted)}"
        place.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], check=False)
        if done.returncode != 0:
            pytest.skip("no file system can be mounted")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", place], check=True)


@as_root
def test_full_disk(deploy, tree, sign, signed, small_disk):
    disk = small_disk("size=3m,mode=0755")
    where = disk / "store"
    first = deploy(signed, where=where)["store"]["version"]
    big = tree({"big": support.content("big", 4 << 20)}, "big")
    sign(big)
    report = deploy(big, where=where, expect=UNDECIDED)
    assert "No space left" in report["message"] and report["hint"]
    store = Store(where)
    assert store.current() == first and store.versions() == [first]
    assert deploy(signed, where=where)["store"]["action"] == "unchanged"
    store.check()


@as_root
def test_read_only_disk(deploy, rollback, signed, small_disk, sign):
    disk = small_disk("size=20m,mode=0755")
    where = disk / "store"
    first = deploy(signed, where=where)["store"]["version"]
    other = next_version(sign, signed)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    report = deploy(other, where=where, expect=UNDECIDED)
    assert "Read-only file system" in report["message"]
    assert Store(where).current() == first
    assert deploy(other, "--dry-run", where=where)["status"] == "verified"


@as_root
def test_source_on_another_disk(deploy, store, signed, small_disk):
    """Where no state of a file proves anything."""
    source = small_disk("size=20m") / "model"
    shutil.copytree(signed, source)
    deploy(source)
    assert store.files() == read_tree(source)
    assert deploy(source)["store"]["action"] == "unchanged"


@as_root
def test_store_where_no_state_proves_anything(deploy, signed, small_disk):
    where = small_disk("size=20m,mode=0755") / "store"
    version = deploy(signed, where=where)["store"]["version"]
    assert deploy(signed, where=where)["store"]["action"] == "unchanged"
    support.flip(Store(where).version(version) / "weights.bin", 5)
    assert deploy(signed, where=where)["store"]["action"] == "repaired"
    Store(where).check()


# ---- what was cut short -------------------------------------------------------------------------


def test_killed_while_copying(hallmark, store, tree, sign, signed, ec, deploy):
    first = deploy(signed)["store"]["version"]
    big = tree({f"f{n}": support.content(n, 3_000_000) for n in range(30)}, "big")
    sign(big)
    for pause in (0.01, 0.03, 0.06, 0.1):
        process = subprocess.Popen([hallmark.binary, "deploy", big, "--name", "m", "--store",
                                    store.path, "--key", ec.public], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, env=hallmark.environment(None))  # fmt: skip
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert store.current() in {first, *store.versions()}
    deploy(signed)
    store.check()


def test_journal_is_carried_out(hallmark, deploy, store, sign, signed, ec, events):
    """Killed before each change of the step: whoever comes next completes it."""
    first = deploy(signed)["store"]["version"]
    second = deploy(next_version(sign, signed), "--no-switch")["store"]["version"]
    command = [hallmark.binary, "rollback", "m", "--to", second, "--store", store.path, "--key",
               ec.public]  # fmt: skip
    traced = ["strace", "-f", "-o", "/dev/null", "-e", "trace=renameat",
              "-e", "inject=renameat:signal=KILL:when={}"]  # fmt: skip
    seen = set()
    for number in (1, 2, 3):
        run = [word.format(number) for word in traced] + command
        subprocess.run(run, check=False, capture_output=True, env=hallmark.environment(None))
        seen.add((store.place() / "journal.json").exists())
        deploy(signed, "--no-switch")
        assert not (store.place() / "journal.json").exists()
        assert store.current() in (first, second)
        store.check()
    assert True in seen
    words = events()
    assert words.count("rolled-back") == 1 and store.current() == second


def test_journal_of_a_newer_program(deploy, store, signed):
    deploy(signed)
    journal = store.place() / "journal.json"
    journal.write_text('{"hallmark-journal": 2}')
    assert "newer" in deploy(signed, expect=UNDECIDED)["message"]
    journal.write_text('{"hallmark-journal": 1, "id": "../../etc"}')
    assert "damaged" in deploy(signed, expect=UNDECIDED)["message"]


def test_the_ledger_is_down(deploy, store, signed):
    report = deploy(signed, "--ledger", "sqlite:/nowhere/at/all.db", expect=(OK, UNDECIDED))
    if report["status"] == "undecided":
        assert store.current() is None


def test_digest_is_the_name(deploy, store, signed):
    """The version's name, recomputed without the program."""
    deploy(signed)
    record = json.loads((store.place() / "versions" / store.current() /
                         "version.json").read_text())  # fmt: skip
    for item in record["items"]:
        start, end, digest, name = item.split(" ", 3)
        data = (store.version(store.current()) / name).read_bytes()
        assert int(start) == 0 and int(end) == len(data)
        assert hashlib.sha256(data).hexdigest() == digest
