# SPDX-License-Identifier: Apache-2.0
"""Somebody writes to the store: no check, deployment or release is blinded or misled by it."""

import hashlib
import json
import os
import shutil

import pytest

import gate
import support

LET_THROUGH = 4


@pytest.fixture
def store(hallmark, keys, tmp_path):
    return gate.Store(hallmark, tmp_path, keys["openssl", "ec-p256"])


def open_up(path):
    path.chmod(0o755)


def link_model(store, digest, tmp_path):
    version = store.place() / "versions" / digest
    shutil.copytree(version / "model", tmp_path / "elsewhere")
    open_up(version)
    (version / "model").rename(tmp_path / "away")
    (version / "model").symlink_to(tmp_path / "elsewhere")


def link_record(store, digest, tmp_path):
    version = store.place() / "versions" / digest
    open_up(version)
    (version / "version.json").unlink()
    (version / "version.json").symlink_to("/dev/null")


def record_is_pipe(store, digest, tmp_path):
    version = store.place() / "versions" / digest
    open_up(version)
    (version / "version.json").unlink()
    os.mkfifo(version / "version.json")


def record_is_folder(store, digest, tmp_path):
    version = store.place() / "versions" / digest
    open_up(version)
    (version / "version.json").unlink()
    (version / "version.json").mkdir()


def record_is_huge(store, digest, tmp_path):
    version = store.place() / "versions" / digest
    open_up(version)
    (version / "version.json").chmod(0o644)
    os.truncate(version / "version.json", (256 << 20) + 1)


def signature_is_loop(store, digest, tmp_path):
    store.tamper(digest)
    model = store.place() / "versions" / digest / "model"
    open_up(model)
    (model / "model.sig").unlink()
    (model / "model.sig").symlink_to("model.sig")


BLINDING = [link_model, link_record, record_is_pipe, record_is_folder, record_is_huge,
            signature_is_loop]  # fmt: skip


@pytest.mark.parametrize("attack", BLINDING)
def test_check_is_not_blinded(store, attack, tmp_path):
    """What nobody can verify since somebody spoiled it is as bad as what is found changed."""
    good, bad = store.versions(2)
    attack(store, bad, tmp_path)
    result = store.run("check", "--json", expect=support.REFUSED)
    assert store.current() == good, result.out
    assert len(store.held()) == 1
    assert ("refused", bad) in store.told("refused")


def test_files_that_nobody_may_read(store):
    """Root can read them all the same; but the store never gives such modes."""
    good, bad = store.versions(2)
    store.tamper(bad)
    store.file(bad, "model.sig").chmod(0)
    store.run("check", expect=support.REFUSED)
    assert store.current() == good


def test_a_spoiled_state_hides_nothing(store):
    good, bad = store.versions(2)
    (store.place() / "state.json").write_text("{}")
    result = store.run("check", expect=3)
    assert "is damaged" in result.err and store.current() == bad
    assert [event["model"] for event in store.events("undecided")] == [gate.NAME]
    store.tamper(bad)
    store.run("check", expect=support.REFUSED)
    assert store.current() == good and store.is_sound()


def test_a_spoiled_journal_keeps_nothing_bad_current(store):
    """Nothing can take its place; but it is told of and taken away, and the next check mends it."""
    good, bad = store.versions(2)
    journal = store.place() / "journal.json"
    store.tamper(bad)
    journal.write_text("{}")
    (report,) = store.run("check", "--json", expect=support.REFUSED).json()
    assert "is damaged" in report["hint"] and "no longer current" in report["hint"]
    assert report["store"]["switched"] and report["store"]["current"] is None
    assert store.current() is None
    assert store.told("refused", "deactivated") == [("refused", bad), ("deactivated", None)]
    assert store.events("deactivated")[0]["previous"] == bad
    result = store.run("check", expect=support.REFUSED)
    assert "is gone" in result.err and "is damaged" in result.err
    journal.unlink()
    store.run("check", expect=support.REFUSED)
    assert store.current() == good and [held["version"] for held in store.held()] == [bad]
    assert store.is_sound()


def test_a_bad_model_is_left_beside_a_spoiled_journal_if_told_so(store):
    _, bad = store.versions(2)
    store.tamper(bad)
    (store.place() / "journal.json").write_text("{}")
    result = store.run("check", "--leave-bad", expect=support.REFUSED)
    assert "is damaged" in result.err and "still current" in result.err
    assert store.told("refused", "deactivated") == [("refused", bad)]
    assert (store.place() / "current").exists()


def test_a_bent_link_beside_a_spoiled_journal(store, tmp_path):
    store.versions(1)
    (tmp_path / "evil").mkdir()
    (store.place() / "current").unlink()
    (store.place() / "current").symlink_to(tmp_path / "evil")
    (store.place() / "journal.json").write_text("{}")
    store.run("check", expect=support.REFUSED)
    assert not (store.place() / "current").is_symlink()
    assert (tmp_path / "evil").is_dir()


def test_a_place_that_is_a_link(store, tmp_path):
    store.versions(1)
    store.place().rename(tmp_path / "moved")
    store.place().symlink_to(tmp_path / "moved")
    store.run("check", expect=support.REFUSED)
    assert store.events("refused")


def put_listed(store, name, listed):
    """A file into the version that is current, and into its record: as a file, and as a proof."""
    version = store.place() / "versions" / store.current()
    for path in (version, version / "model"):
        open_up(path)
    evil = version / "model" / name
    evil.write_text("import os")
    evil.chmod(0o444)
    record = json.loads((version / "version.json").read_text())
    record["files"].append(f"1 1 1 1.000000000 1.000000000\t\t{name}")
    record["files"].sort(key=lambda text: text.split("\t")[-1])
    if listed != "file":
        digest = hashlib.sha256(evil.read_bytes()).hexdigest()
        record["proofs"].append({"name": name, "sha256": digest, "signature": listed == "signature"})
    (version / "version.json").chmod(0o644)
    (version / "version.json").write_text(json.dumps(record))


def one_file(store, sign=True):
    source = store.folder / "one.safetensors"
    source.write_bytes(support.content("one", 10_000))
    if sign:
        store.hallmark("sign", source, "--key", store.key.private, expect=support.OK)
    return source


def rule(store, **demand):
    store.policy.write_text(json.dumps({
        "version": 1, "signers": {"training": {"keys": "training.pub"}},
        "models": [{"name": "*"} | demand],
    }))  # fmt: skip


def pin(store, source):
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    rule(store, pinned={"files": {source.name: f"sha256:{digest}"}})


def deploy_signed(store, keys):
    store.deploy(one_file(store))


def deploy_pinned(store, keys):
    source = one_file(store, sign=False)
    pin(store, source)
    store.deploy(source)


def deploy_let_through(store, keys):
    rule(store, signers="training", unsigned="warn")
    store.deploy(one_file(store, sign=False), expect=LET_THROUGH)


def deploy_folder_let_through(store, keys):
    rule(store, signers="training", unsigned="warn")
    store.deploy(store.source(0, sign=False), expect=LET_THROUGH)


def deploy_set(store, keys):
    """A bundle manifest: files that stand among others."""
    key = keys["python", "rsa-3072"]
    (store.folder / "training.pub").write_bytes(key.public.read_bytes())
    folder = store.source(0, sign=False)
    store.hallmark("sign", "config.json", "weights.safetensors", "--key", key.private, "--format",
                   "manifest-json", "--signature", "all.json", cwd=folder,
                   expect=support.OK)  # fmt: skip
    rule(store, signers="training", signatures="all.json")
    store.deploy(folder)


@pytest.mark.parametrize("listed", ["file", "signature", "statement"])
@pytest.mark.parametrize("deploy", [deploy_signed, deploy_pinned, deploy_let_through,
                                    deploy_folder_let_through, deploy_set])  # fmt: skip
def test_a_file_that_only_the_record_knows(store, keys, deploy, listed):
    """Not every signature, nor every pin, says something of what lies beside the model."""
    deploy(store, keys)
    version = store.current()
    store.run("check", expect=(support.OK, LET_THROUGH))
    put_listed(store, "modeling.py", listed)
    store.run("rollback", gate.NAME, "--to", version, expect=support.REFUSED)
    store.run("check", expect=support.REFUSED)
    assert store.current() is None
    assert [entry["version"] for entry in store.held()] == [version]


@pytest.mark.parametrize("deploy, name, called", [
    (deploy_let_through, "one.safetensors", "{model}/one.safetensors"),
    (deploy_folder_let_through, "config.json", "config.json in {model}"),
])  # fmt: skip
def test_what_differs_is_called_by_its_name_once(store, keys, deploy, name, called):
    deploy(store, keys)
    version = store.current()
    store.tamper(version, name)
    (report,) = store.run("check", "--json", expect=support.REFUSED).json()
    model = store.place() / "versions" / version / "model"
    what = f"{called.format(model=model)} is not what was deployed as version {version}"
    assert report["message"] == what


def test_a_signature_that_nobody_asks_for_any_more(store):
    """The rule believes a digest now. What was deployed as a signature may stay where it is."""
    source = one_file(store)
    store.deploy(source)
    pin(store, source)
    store.run("check")
    assert set(store.served()) == {source.name, f"{source.name}.sig"}
    put_listed(store, "one.provenance.sigstore.json", "statement")
    store.run("check", expect=support.REFUSED)


# ---- the journal ----------------------------------------------------------------------------------


def journal(**changed):
    made = {
        "hallmark-journal": 1, "id": "0123456789ab", "time": "2027-01-15T08:00:00Z",
        "staged": None, "install": "", "switches": False, "to": "", "from": "", "kind": "",
        "held": None, "verdicts": [], "events": [], "entry": None, "removed": [],
    }  # fmt: skip
    return json.dumps({**made, **changed})


def entry(**changed):
    made = {
        "hallmark-quarantine": 1, "id": "0123456789ab", "model": gate.NAME, "source": "/s",
        "digest": None, "message": None, "file": None, "reason": "", "event": 32 * "0",
        "since": "2027-01-15T08:00:00Z", "content": False, "refused": True, "bytes": 0,
    }  # fmt: skip
    return json.dumps({**made, **changed}) + "\n"


@pytest.mark.parametrize(
    "forged",
    [
        {"removed": ["models/other"]},
        {"removed": ["ledger.db"]},
        {"removed": ["models/m/versions"]},
        {"removed": ["quarantine"]},
        {"staged": "models/m/staging-0123456789ab"},
        {"staged": "models/other/versions", "install": 64 * "0"},
        {"held": "models/other/versions", "entry": entry()},
        {"entry": entry(id="../../models")},
    ],
    ids=str,
)
def test_a_forged_journal(store, forged):
    store.versions(1)
    store.deploy(store.source("o"), name="other")
    before = sorted(str(path) for path in store.folder.rglob("*"))
    (store.place() / "journal.json").write_text(journal(**forged))
    result = store.run("rollback", gate.NAME, expect=3)
    assert "journal.json is damaged" in result.err
    (store.place() / "journal.json").unlink()
    assert sorted(str(path) for path in store.folder.rglob("*")) == before


# ---- the quarantine -------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["../../../other", "a/b", "..", ""])
def test_an_entry_that_leads_elsewhere(store, file):
    store.versions(1)
    folder = store.path / "quarantine" / "0123456789ab"
    folder.mkdir()
    (folder / "entry.json").write_text(entry(content=True, file=file))
    result = store.run("quarantine", "release", "0123456789ab", expect=3)
    assert "is damaged" in result.err


# ---- the ledger -----------------------------------------------------------------------------------


def test_what_is_refused_has_no_signer(store):
    """The signature is good, and of something else: nobody has signed this."""
    source = store.source(1)
    support.flip(source / "weights.safetensors", 7)
    store.deploy(source, expect=support.REFUSED)
    for event in store.events("refused", "quarantined"):
        assert not {"signer", "fingerprint", "key_version"} & event.keys()
    store.run("quarantine", "release", store.held()[0]["id"], expect=support.REFUSED)
    assert len(store.events("refused")) == 2
    for event in store.events("refused"):
        assert not {"signer", "fingerprint", "key_version"} & event.keys()


def test_what_was_repaired_is_held_without_a_signer(store):
    source = store.source(1)
    store.deploy(source)
    store.tamper(store.current())
    store.deploy(source)
    (event,) = store.events("quarantined")
    assert not {"signer", "fingerprint", "key_version"} & event.keys()
    (event,) = store.events("repaired")
    assert event["signer"] == "training"


# ---- the directory --------------------------------------------------------------------------------


def test_a_directory_that_all_may_write_to(store):
    """As /tmp: what others made in it beforehand would be taken for the store's own."""
    store.path.mkdir()
    store.path.chmod(0o1777)
    result = store.deploy(store.source(1), expect=3)
    assert "can be changed by other users" in result.err
    assert list(store.path.iterdir()) == []


@pytest.mark.parametrize("there", [False, True], ids=["absent", "empty"])
def test_no_store_is_made_of_a_name(store, there):
    """Whoever signs or verifies gets told what to do, and leaves no half of a store."""
    source = store.source(1, sign=False)
    if there:
        store.path.mkdir()
    for command in (["sign", source, "--key", store.key.private], ["verify", source]):
        result = store.run(*command, expect=3)
        assert f"there is no store at {store.path}" in result.err and "hallmark deploy" in result.err
    assert store.path.exists() == there and not (there and list(store.path.iterdir()))
    store.deploy(store.source(2))
    store.run("sign", source, "--key", store.key.private)
    assert len(store.events("signed")) == 1
