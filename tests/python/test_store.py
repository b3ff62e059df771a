# SPDX-License-Identifier: Apache-2.0
"""The store, the ledger, recording and configurations, and the loader over them."""

import json
import os
import pathlib
import shutil
import pickle
import signal
import sqlite3
import threading
import time
import warnings

import jsonschema
import pytest

import hallmark
import support

SCHEMA = json.loads((support.ROOT / "docs" / "status.schema.json").read_text())
EVENT = json.loads((support.ROOT / "docs" / "event.schema.json").read_text())


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No configuration of the machine, and nothing remembered by others."""
    for name in ("CONFIG", "STORE", "LEDGER", "POLICY"):
        monkeypatch.delenv(f"HALLMARK_{name}", raising=False)
    monkeypatch.setenv("HALLMARK_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def place(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(place):
    with hallmark.Store.open(place, create=True) as opened:
        yield opened


def write(folder, text, key):
    folder.mkdir(exist_ok=True)
    (folder / "weights.bin").write_text(text)
    hallmark.sign(folder, key.private)
    return folder


@pytest.fixture
def versions(tmp_path, store, ec):
    """Deploys versions 1 to N of m and returns their digests."""

    def make(count):
        return [
            store.deploy(write(tmp_path / f"v{i}", f"version {i}", ec), "m", key=ec.public)
            .store.version
            for i in range(1, count + 1)
        ]  # fmt: skip

    return make


def tamper(file, text="tampered"):
    """As its owner can, who may write what is read-only."""
    os.chmod(file, 0o644)
    file.write_text(text)


def words(place, **options):
    return [entry.event["event"] for entry in hallmark.ledger.read(store=place, **options)]


def current(store):
    return pathlib.Path(store.current("m"), "weights.bin").read_text()


# ---- through the gate ---------------------------------------------------------------------------


def test_deploy(store, place, signed, ec):
    told = []
    report = store.deploy(signed, "m", key=ec.public, progress=lambda *n: told.append(n))
    assert report and report.status == "deployed" and report.operation == "deploy"
    assert report.signer.key_fingerprint == ec.fingerprint and told[-1][0] == told[-1][1]
    done = report.store
    assert done.action == "deployed" and done.switched and done.version == report.model_digest
    assert os.path.realpath(store.current("m")).endswith(f"versions/{done.version}/model")
    assert words(place) == ["deployed", "activated"] and store.names() == ("m",)
    assert store.deploy(signed, "m", key=ec.public).store.action == "unchanged"


def test_a_tampered_model_goes_into_quarantine(store, place, signed, ec, tmp_path):
    (signed / "config.json").write_text("other")
    with pytest.raises(hallmark.IntegrityError) as raised:
        store.deploy(signed, "m", key=ec.public)
    held = raised.value.report.store.quarantine
    (entry,) = store.quarantine.list()["entries"]
    assert entry["id"] == held and entry["reason"] == raised.value.reason == "digest-mismatch"
    assert store.quarantine.show(held[:6])["entries"] == [entry]
    assert held in store.quarantine.text()
    assert not os.path.lexists(store.current("m"))
    assert words(place) == ["refused", "quarantined"]
    with pytest.raises(hallmark.IntegrityError):
        store.quarantine.release(held, key=ec.public)
    with pytest.raises(hallmark.UsageError):
        store.quarantine.purge()
    assert store.quarantine.purge(older_than="2020-01-01") == 0
    assert store.quarantine.purge(held) == 1 and store.quarantine.list()["entries"] == []


def test_release(store, signed, ec, keys):
    other = keys["python", "ec-p256", "other"]
    (signed / "config.json").write_text("other")
    hallmark.sign(signed, other.private)
    tamper_later = (signed / "config.json").read_text()
    (signed / "config.json").write_text("changed")
    with pytest.raises(hallmark.IntegrityError):
        store.deploy(signed, "m", key=other.public)
    (entry,) = store.quarantine.list()["entries"]
    held = pathlib.Path(entry["path"])
    (found,) = held.rglob("config.json")
    tamper(found, tamper_later)
    report = store.quarantine.release(entry["id"], key=other.public)
    assert report.operation == "release" and report.store.current == report.model_digest
    assert store.quarantine.list()["entries"] == []


def test_dry_run(store, signed, ec):
    report = store.deploy(signed, "m", key=ec.public, dry_run=True)
    assert report.store.dry_run and store.names() == ()
    report = store.deploy(signed, "m", key=ec.public, no_switch=True)
    assert not report.store.switched and not os.path.lexists(store.current("m"))


def test_rollback(store, versions, ec, place):
    one, two = versions(2)
    assert current(store) == "version 2"
    report = store.rollback("m", key=ec.public)
    assert report.status == "rolled-back" and report.store.current == one
    assert current(store) == "version 1"
    with pytest.raises(hallmark.UndecidedError):
        store.rollback("m", key=ec.public)
    assert store.rollback("m", key=ec.public, to=two[:8]).store.current == two


def test_check(store, versions, ec, place):
    one, two = versions(2)
    report = store.check("m", key=ec.public)
    assert report.verified and report.operation == "check" and report.store.current == two
    tamper(pathlib.Path(store.current("m"), "weights.bin"))
    with pytest.raises(hallmark.IntegrityError) as raised:
        store.check("m", key=ec.public)
    found = raised.value.report.store
    assert found.current == one and found.previous == two and found.quarantine
    assert current(store) == "version 1" and pickle.loads(pickle.dumps(raised.value)).report.store
    assert words(place)[-3:] == ["refused", "rolled-back", "quarantined"]
    assert store.check("m", key=ec.public).verified


def test_status_and_gc(store, versions, ec):
    found = versions(4)
    status = store.status("m")
    jsonschema.validate(status, SCHEMA)
    (model,) = status["models"]
    assert model["current"] == found[3] and {v["version"] for v in model["versions"]} == {*found}
    tried = store.gc(keep=2, dry_run=True)
    jsonschema.validate(tried, SCHEMA)
    assert tried["dry_run"] and len(store.status()["models"][0]["versions"]) == 4
    removed = store.gc("m", keep=2)["models"][0]["versions"]
    gone = {v["version"] for v in removed if v["removed"]}
    left = {v["version"] for v in store.status()["models"][0]["versions"]}
    assert gone and not gone & {*found[2:]} and left == {*found} - gone
    jsonschema.validate(store.quarantine.list(), SCHEMA)
    with pytest.raises(hallmark.UsageError):
        store.gc(keep=0)


def test_let_through(store, model_dir, tmp_path, ec):
    policy = tmp_path / "policy.yaml"
    policy_file(tmp_path, ec, unsigned="warn")
    with pytest.warns(hallmark.LetThroughWarning):
        report = store.deploy(model_dir, "m", policy)
    assert report.status == "let-through" and not report
    assert store.status("m")["models"][0]["let_through"]


def test_the_configured_policy(place, signed, ec, tmp_path):
    with pytest.raises(hallmark.UndecidedError), hallmark.Store.open(place, create=True) as store:
        store.deploy(signed, "m")
    config = hallmark.Config.load()
    config.set("store", place)
    config.set("policy", policy_file(tmp_path, ec))
    with hallmark.Store.open(config) as store:
        assert store.deploy(signed, "m").signer.name == "alice"


def policy_file(tmp_path, key, **more):
    path = tmp_path / "policy.yaml"
    rule = {"name": "m", "signers": "alice", **more}
    signers = {"alice": {"keys": str(key.public)}}
    path.write_text(json.dumps({"version": 1, "signers": signers, "models": [rule]}))
    return path


def test_opening(place, tmp_path):
    with pytest.raises(hallmark.UsageError):
        hallmark.Store.open()
    with pytest.raises(hallmark.UsageError):
        hallmark.Store()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(hallmark.UsageError):
        hallmark.Store.open(tmp_path / "full", create=True)
    with hallmark.Store.open(place, create=True) as store:
        assert store.path == str(place)
        with pytest.raises(RuntimeError, match="in use"):
            store.config.set("log", "json")
    store.config.set("log", "json")
    with pytest.raises(hallmark.UsageError, match="closed"):
        store.names()
    store.close()


def test_threads_take_turns(store, signed, ec):
    failed = []

    def work():
        try:
            assert store.deploy(signed, "m", key=ec.public).store.current
            assert store.names() == ("m",)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_ctrl_c(store, tmp_path, ec):
    large = tmp_path / "large.bin"
    with open(large, "wb") as out:
        out.truncate(2 << 30)
    hallmark.sign(large, ec.private)
    main = threading.get_ident()
    timer = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    told, begun = [], time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        store.deploy(large, "m", key=ec.public, jobs=1, progress=lambda *done: told.append(done))
    assert told[-1][0] < told[-1][1] and not os.path.lexists(store.current("m"))
    assert time.monotonic() - begun < 30
    timer.join()


# ---- the ledger ---------------------------------------------------------------------------------


def test_the_ledger_verifies(store, versions, place):
    versions(2)
    entries = list(hallmark.ledger.read(store=place))
    for entry, after in zip(entries, entries[1:]):
        assert after.previous == entry.digest and after.sequence == entry.sequence + 1
        jsonschema.validate(entry.event, EVENT)
    found = hallmark.ledger.verify(store=place)
    assert found.outcome == "verified" and found.newest == len(entries) and not found.findings
    assert len(list(hallmark.ledger.read(store=place, limit=1))) == 1
    assert words(place, event="activated", model="m") == ["activated"] * 2
    assert words(place, since="1d") == words(place) and words(place, since=time.time_ns()) == []
    with pytest.raises(hallmark.UsageError):
        words(place, event="eaten")


def test_a_changed_ledger_is_refused(versions, place, store, ec):
    versions(1)
    hallmark.ledger.checkpoint(ec.private, store=place, out=place.parent / "kept")
    kept = hallmark.ledger.verify(store=place, key=ec.public, checkpoint=place.parent / "kept")
    assert kept.data["covered"]["fingerprint"] == ec.fingerprint
    with sqlite3.connect(place / "ledger.db") as ledger:
        for (name,) in ledger.execute("SELECT name FROM sqlite_master WHERE type='trigger'"):
            ledger.execute(f"DROP TRIGGER {name}")
        ledger.execute("UPDATE entries SET event = replace(event, '\"m\"', '\"n\"')")
    with pytest.raises(hallmark.ledger.LedgerError) as raised:
        hallmark.ledger.verify(store=place)
    assert raised.value.reason == "digest-mismatch" and raised.value.verification.findings
    assert pickle.loads(pickle.dumps(raised.value)).verification == raised.value.verification


# ---- recording ----------------------------------------------------------------------------------


def test_recording(tmp_path, model_dir, ec, rsa):
    ledger = tmp_path / "ledger.db"
    with hallmark.Recorder(ledger=ledger) as record:
        hallmark.sign(model_dir, ec.private, record=record)
        hallmark.verify(model_dir, key=ec.public, record=record)
        hallmark.verify(model_dir, key=ec.public)
        with pytest.raises(hallmark.UntrustedSignerError):
            hallmark.verify(model_dir, key=rsa.public, record=record)
        hallmark.keyring.rotate(tmp_path / "ring", plain=True, record=record)
        hallmark.resign(model_dir, hallmark.Policy(keys=ec.public), tmp_path / "ring",
                        record=record)  # fmt: skip
        hallmark.keyring.revoke(tmp_path / "ring", 1, "lost", record=record)
        assert record.flush() is None
    entries = [entry.event for entry in hallmark.ledger.read(ledger=ledger)]
    assert [event["event"] for event in entries] == [
        "signed", "verified", "refused", "key-rotated", "signed", "key-revoked",
    ]  # fmt: skip
    assert entries[2]["reason"] == "untrusted-signer" and "signer" not in entries[2]
    assert entries[5]["message"] == "lost" and entries[1]["fingerprint"] == ec.fingerprint
    with pytest.raises(hallmark.UsageError, match="closed"):
        hallmark.sign(model_dir, ec.private, record=record)


def test_nothing_passes_unrecorded(tmp_path, signed, ec, rsa, monkeypatch):
    monkeypatch.setenv("HALLMARK_STATE_DIR", "none")  # where it could wait
    ledger = tmp_path / "ledger.db"
    with hallmark.Recorder(ledger=ledger) as record:
        hallmark.verify(signed, key=ec.public, record=record)
        holder = sqlite3.connect(ledger)
        holder.execute("DROP TABLE entries")
        holder.commit()
        with pytest.raises(hallmark.UndecidedError):
            hallmark.verify(signed, key=ec.public, record=record)
        with pytest.raises(hallmark.UntrustedSignerError):
            hallmark.verify(signed, key=rsa.public, record=record)


def test_a_ledger_that_cannot_be(tmp_path, signed, ec, monkeypatch, caplog):
    """Events wait for it, where they can."""
    with hallmark.Recorder(ledger=tmp_path / "no" / "such" / "ledger.db") as record:
        hallmark.verify(signed, key=ec.public, record=record)
    assert "1 waits in the outbox" in caplog.text
    monkeypatch.setenv("HALLMARK_STATE_DIR", "none")
    with pytest.raises(hallmark.UndecidedError):
        hallmark.Recorder(ledger=tmp_path / "no" / "such" / "ledger.db")


# ---- configurations -----------------------------------------------------------------------------


def configuration(tmp_path, **members):
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({"hallmark-config": 1, **members}))
    path.chmod(0o600)
    return path


def test_configuration(tmp_path, monkeypatch):
    file = configuration(tmp_path, store=str(tmp_path / "s"), check={"every": "5m"})
    config = hallmark.Config.load(file)
    assert config.get("store") == str(tmp_path / "s") and config.check_every == 300
    assert config.get("policy") is None
    config.set("policy", tmp_path / "p.yaml")
    assert config.get("policy") == str(tmp_path / "p.yaml")
    assert str(tmp_path / "s") in config.describe() and json.loads(config.describe(json=True))
    with pytest.raises(hallmark.UsageError):
        config.set("colour", "blue")
    with pytest.raises(hallmark.UsageError, match="set store"):
        hallmark.ledger.read(config, store=tmp_path)
    file.write_text("hallmark-config: 1\nstor: x\n")
    with pytest.raises(hallmark.UndecidedError, match="config.yaml:2:1"):
        hallmark.Config.load(file)
    assert hallmark.Config.load().check_every is None


def test_what_cannot_be_configured():
    config = hallmark.Config.load()
    for name, value in (("stores", "x"), ("hm", "x"), ("store", "")):
        with pytest.raises(hallmark.UsageError) as raised:
            config.set(name, value)
        assert "hm_" not in raised.value.message and name in raised.value.message


# ---- the loader ---------------------------------------------------------------------------------


def read_all(model):
    return {name: bytes(model[name]) for name in model.names()}


def test_the_loader_rolls_back(store, versions, tmp_path, place, ec):
    """A version is tampered with: it is refused, held, and the one before is served."""
    versions(2)
    alerts = tmp_path / "alerts"
    file = configuration(
        tmp_path, store=str(place), policy=str(policy_file(tmp_path, ec)),
        alerts=[{"name": "team", "command": ["/usr/bin/tee", "-a", str(alerts)]}],
    )  # fmt: skip
    events, failures = [], []
    loader = hallmark.SecureModelLoader(
        config=file, loader=read_all, on_event=events.append,
        on_failure=lambda *failure: failures.append(failure),
    )  # fmt: skip
    assert loader.load_model("m")["weights.bin"] == b"version 2"
    assert words(place)[-1] == "loaded"
    tamper(pathlib.Path(store.current("m"), "weights.bin"))
    with pytest.raises(hallmark.IntegrityError):
        loader.load_model("m")
    assert words(place)[-3:] == ["refused", "rolled-back", "quarantined"]
    assert [name for name, _ in failures] == ["m"] and "quarantined" in alerts.read_text()
    assert loader.load_model("m")["weights.bin"] == b"version 1"
    told = [(event["event"], event["signature_verified"]) for event in events]
    assert told == [("model_loaded", True), ("model_refused", False), ("model_loaded", True)]


def test_the_loader_when_none_is_good(store, versions, tmp_path, place, ec):
    versions(1)
    loader = hallmark.SecureModelLoader(
        ec.public, config=configuration(tmp_path, store=str(place)), loader=read_all
    )
    assert loader.load_model("m")
    tamper(pathlib.Path(store.current("m"), "weights.bin"))
    for _ in range(2):
        with pytest.raises(hallmark.IntegrityError):
            loader.load_model("m")
        assert not os.path.lexists(store.current("m"))
    assert len(store.quarantine.list()["entries"]) == 1
    for name in ("", "..", "none", "a\0b"):
        with pytest.raises(hallmark.HallmarkError):
            loader.load_model(name)


@pytest.mark.parametrize("times, loaded", [(1, True), (2, True), (3, False)])
def test_the_loader_is_overtaken(store, versions, tmp_path, place, ec, times, loaded):
    """The version is removed while it is loaded, and what took its place is good."""
    versions(2)
    readings = []

    def removed_before_it_is_read(model):
        readings.append(model.report.model_digest)
        number = 2 + 2 * len(readings)
        for i in (number, number + 1) if len(readings) <= times else ():
            folder = write(tmp_path / f"v{i}", f"version {i}", ec)
            store.deploy(folder, "m", key=ec.public)
        store.gc("m", keep=1)
        return read_all(model)

    loader = hallmark.SecureModelLoader(
        ec.public, config=configuration(tmp_path, store=str(place)),
        loader=removed_before_it_is_read,
    )  # fmt: skip
    if loaded:
        assert loader.load_model("m")["weights.bin"] == current(store).encode()
        assert len(readings) == len(set(readings)) == times + 1
    else:
        with pytest.raises(hallmark.HallmarkError):
            loader.load_model("m")
    assert words(place).count("loaded") == loaded and "rolled-back" not in words(place)
    assert store.quarantine.list()["entries"] == []
    assert ("refused" in words(place) or "undecided" in words(place)) is not loaded


def test_the_loader_does_not_pass_over_bad_bytes(store, versions, tmp_path, place, ec):
    """They are told of, also when another version has become current by then."""
    versions(2)
    told = []

    def tampered_before_it_is_read(model):
        tamper(pathlib.Path(store.current("m"), "weights.bin"))
        store.deploy(write(tmp_path / "v9", "version 9", ec), "m", key=ec.public)
        return read_all(model)

    loader = hallmark.SecureModelLoader(
        ec.public, config=configuration(tmp_path, store=str(place)),
        loader=tampered_before_it_is_read, on_failure=lambda *failure: told.append(failure),
    )  # fmt: skip
    with pytest.raises(hallmark.IntegrityError):
        loader.load_model("m")
    assert len(told) == 1 and words(place)[-1] == "refused"


@pytest.mark.parametrize("target", ["absolute", "other", "outside"])
def test_the_loader_follows_no_bent_link(store, versions, signed, tmp_path, place, ec, target):
    """To another model by the same signer: it is refused, and what the history says is put back."""
    versions(2)
    store.deploy(signed, "other", key=ec.public)
    loader = hallmark.SecureModelLoader(
        ec.public, config=configuration(tmp_path, store=str(place)), loader=read_all
    )
    link = pathlib.Path(store.current("m"))
    home = pathlib.Path(store.current("other"))
    targets = {
        "absolute": link.resolve(),
        "other": f"../other/{os.readlink(home)}",
        "outside": signed.resolve(),
    }
    link.unlink()
    link.symlink_to(targets[target])
    with pytest.raises(hallmark.IntegrityError, match="does not lead to a version"):
        loader.load_model("m")
    assert loader.load_model("m")["weights.bin"] == b"version 2"


def test_the_loader_takes_no_other_model_for_a_version(store, versions, tmp_path, place, ec):
    """One version's files lie in the place of another's."""
    versions(2)
    loader = hallmark.SecureModelLoader(
        ec.public, config=configuration(tmp_path, store=str(place)), loader=read_all
    )
    folder = pathlib.Path(store.current("m")).resolve()
    older = [each for each in folder.parent.parent.iterdir() if each != folder.parent][0] / "model"
    folder.parent.chmod(0o755)
    folder.rename(tmp_path / "newer")
    shutil.copytree(older, folder)
    with pytest.raises(hallmark.IntegrityError, match="is another one"):
        loader.load_model("m")
    assert loader.load_model("m")["weights.bin"] == b"version 1"


def test_the_loader_with_a_single_file(store, tmp_path, place, model_file, ec):
    hallmark.sign(model_file, ec.private)
    store.deploy(model_file, "m", key=ec.public)
    loader = hallmark.SecureModelLoader(
        ec.public, config=configuration(tmp_path, store=str(place)), loader=read_all
    )
    assert list(loader.load_model("m").values()) == [model_file.read_bytes()]
    assert list(loader.load_model(model_file).values()) == [model_file.read_bytes()]


def test_the_loader_records_without_a_store(tmp_path, signed, ec, monkeypatch):
    ledger = tmp_path / "ledger.db"
    file = configuration(tmp_path, ledger=str(ledger))
    loader = hallmark.SecureModelLoader(ec.public, config=file, loader=read_all)
    loader.load_model(signed)
    (signed / "config.json").write_text("other")
    with pytest.raises(hallmark.IntegrityError):
        loader.load_model(signed)
    found = [entry.event for entry in hallmark.ledger.read(ledger=ledger)]
    assert [event["event"] for event in found] == ["loaded", "refused"]
    monkeypatch.setenv("HALLMARK_STATE_DIR", "none")
    ledger.unlink()
    ledger.mkdir()
    with pytest.raises(hallmark.UndecidedError):
        loader.load_model(signed)


def test_no_warnings(store, versions, ec):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        versions(1)
        store.check("m", key=ec.public)
