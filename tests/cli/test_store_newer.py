# SPDX-License-Identifier: Apache-2.0
"""A store that a newer program wrote to: left alone, as long as what it serves is good."""

import json
import pathlib
import shutil

import pytest

import gate
import support


@pytest.fixture
def store(hallmark, keys, tmp_path):
    return gate.Store(hallmark, tmp_path, keys["openssl", "ec-p256"])


def record_of(store, digest):
    return store.place() / "versions" / digest / "version.json"


def renumber(path, member, drop=(), **more):
    """As a newer program would write it, or as somebody who wants to be left alone."""
    record = json.loads(path.read_text())
    assert record[member] == 1
    record[member] = 2
    for name in drop:
        del record[name]
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_text(json.dumps({**record, **more}))
    path.chmod(mode)


def make_newer(store, digest, **more):
    renumber(record_of(store, digest), "hallmark-version", **more)


def left_alone(store):
    """All but what a command notes for itself."""
    own = ("ledger", "/lock", "outbox")
    found = support.snapshot(store.path)
    return {name: what for name, what in found.items() if not any(o in f"/{name}" for o in own)}


ADDED = {"approved_by": "board", "attestations": [{"kind": "x"}]}


@pytest.mark.parametrize("more", [{}, ADDED], ids=["number", "members"])
def test_check_leaves_a_newer_version(store, more):
    _, new = store.versions(2)
    make_newer(store, new, **more)
    before = left_alone(store)
    result = store.run("check", "--json", expect=support.UNDECIDED)
    (report,) = result.json()
    assert report["status"] == "undecided" and "newer Hallmark" in report["message"]
    assert "version.json" in report["message"]
    assert report["signer"] is None and report["model"]["model_digest"] is None
    assert report["store"]["current"] == new and not report["store"]["switched"]
    assert left_alone(store) == before and store.current() == new and store.held() == []
    assert store.told()[-1] == ("undecided", new)
    assert "use the newer Hallmark" in store.run("check", expect=support.UNDECIDED).err


def spoil_bytes(store, digest):
    store.tamper(digest)


def spoil_with_a_file(store, digest):
    folder = store.file(digest, "")
    folder.chmod(0o755)
    (folder / "modeling.py").write_text("import os\n")


def spoil_signature(store, digest):
    store.tamper(digest, "model.sig")


def spoil_with_another(store, digest):
    """A version that is signed, too, and is not this one."""
    (other,) = set(store.stored()) - {digest}
    versions = store.place() / "versions"
    kept = (versions / digest / "version.json").read_bytes()
    shutil.rmtree(versions / digest)
    shutil.copytree(versions / other, versions / digest)
    (versions / digest).chmod(0o755)
    (versions / digest / "version.json").chmod(0o644)
    (versions / digest / "version.json").write_bytes(kept)


@pytest.mark.parametrize(
    "spoil", [spoil_bytes, spoil_with_a_file, spoil_signature, spoil_with_another]
)
def test_a_number_protects_nothing_bad(store, spoil):
    old, new = store.versions(2)
    make_newer(store, new, **ADDED)
    spoil(store, new)
    store.run("check", expect=support.REFUSED)
    assert store.current() == old and store.stored() == [old] and store.is_sound()
    (held,) = store.held()
    assert held["version"] == new and held["content"]
    assert store.told()[-3:] == [("refused", new), ("rolled-back", old), ("quarantined", new)]


@pytest.mark.parametrize("drop", [["items"], ["files"], ["digest"], ["proofs", "method"]], ids=str)
def test_a_number_does_not_excuse_what_every_format_has(store, drop):
    """Without it nobody could say whether the files are good."""
    old, new = store.versions(2)
    make_newer(store, new, drop=drop)
    store.run("check", expect=support.REFUSED)
    assert store.current() == old and [held["version"] for held in store.held()] == [new]


def test_a_revoked_key_counts_whatever_the_number(store):
    (new,) = store.versions(1)
    make_newer(store, new)
    revoked = f"revoked:\n  - fingerprint: {store.key.fingerprint}\n    since: 2020-01-01\n"
    store.policy.write_text(gate.POLICY + revoked)
    store.run("check", expect=support.REFUSED)
    assert store.current() is None


def test_a_newer_version_takes_no_bad_ones_place(store):
    """What its record says more could be that it is not to be served."""
    old, middle, new = store.versions(3)
    make_newer(store, middle)
    store.tamper(new)
    store.run("check", expect=support.REFUSED)
    assert store.current() == old and store.stored() == sorted([old, middle])


def test_no_rollback_to_a_newer_version(store):
    old, new = store.versions(2)
    make_newer(store, old)
    before = left_alone(store)
    for options in ([], ["--to", old]):
        result = store.run("rollback", gate.NAME, *options, expect=support.UNDECIDED)
        assert "newer Hallmark" in result.err and store.current() == new
    assert left_alone(store) == before


def test_deploy_does_not_replace_a_newer_version(store):
    store.versions(1)
    (digest,) = store.stored()
    make_newer(store, digest)
    before = left_alone(store)
    for options in ([], ["--full"], ["--dry-run"]):
        result = store.deploy(store.folder / "source-0", *options, expect=support.UNDECIDED)
        assert "newer Hallmark" in result.err
    assert left_alone(store) == before and store.held() == []
    # A tampered one it repairs, as ever; and other versions get in beside it.
    store.tamper(digest)
    store.deploy(store.folder / "source-0")
    assert [held["version"] for held in store.held()] == [digest]
    store.run("check")
    make_newer(store, digest)
    store.deploy(store.source("other"))
    assert store.current() != digest and digest in store.stored()


def test_gc_removes_nothing_beside_a_newer_version(store):
    versions = store.versions(3)
    make_newer(store, versions[0])
    before = left_alone(store)
    for options in ([], ["--dry-run"]):
        result = store.run("gc", "--keep", "1", *options, expect=support.UNDECIDED)
        assert "newer Hallmark" in result.err and result.out == ""
    assert left_alone(store) == before and store.stored() == sorted(versions)


def test_status_says_so(store):
    old, new = store.versions(2)
    make_newer(store, new)
    model = store.status()
    assert model["state"] == "newer" and model["unreadable"] == 1 and model["signer"] is None
    assert "newer Hallmark" in store.run("status").out
    (store.place() / "versions" / old).chmod(0o755)
    record_of(store, old).chmod(0o644)
    record_of(store, old).write_text("{}")
    lines = store.run("status").out.splitlines()[-3:]
    assert lines == ["m: the record of the version that is current is of a newer Hallmark",
                     "m: 1 of its versions are of a newer Hallmark",
                     "m: 1 of its versions cannot be read"]  # fmt: skip


def test_status_of_a_bad_one(store):
    """That it is bad is worse."""
    (digest,) = store.versions(1)
    store.tamper(digest)
    make_newer(store, digest)
    store.run("check", "--leave-bad", expect=support.REFUSED)
    assert store.status()["state"] == "bad" and store.current() == digest


# ---- the other files ----------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["state.json", "store.json", "journal.json"])
def test_other_files_of_a_newer_program(store, file):
    old, new = store.versions(2)
    if file == "journal.json":
        (store.place() / file).write_text('{"hallmark-journal": 2}')
    else:
        folder = store.path if file == "store.json" else store.place()
        renumber(folder / file, "hallmark-" + file.partition(".")[0])
    before = left_alone(store)
    commands = [["rollback", gate.NAME], ["deploy", store.folder / "source-0", "--name", gate.NAME]]
    commands += [["check"], ["check", gate.NAME], ["gc", "--keep", "1"]]
    if file != "journal.json":  # of that a status only says that it is there
        commands += [["status"], ["status", gate.NAME]]
    for command in commands:
        result = store.run(*command, expect=support.UNDECIDED)
        assert "newer Hallmark" in result.err, command
    assert left_alone(store) == before and store.current() == new


def test_a_bad_version_beside_a_newer_state(store):
    old, new = store.versions(2)
    renumber(store.place() / "state.json", "hallmark-state")
    store.tamper(new)
    store.run("check", expect=support.REFUSED)
    assert store.current() == old and [held["version"] for held in store.held()] == [new]


def test_a_bad_version_beside_a_newer_journal(store):
    """The half of a step that only the newer program knows is not undone; but nobody is served."""
    _, new = store.versions(2)
    journal = store.place() / "journal.json"
    journal.write_text('{"hallmark-journal": 2}')
    store.tamper(new)
    result = store.run("check", expect=support.REFUSED)
    assert "no longer current" in result.err and "newer Hallmark" in result.err
    assert store.told("refused", "deactivated") == [("refused", new), ("deactivated", None)]
    assert store.current() is None and journal.read_text() == '{"hallmark-journal": 2}'
