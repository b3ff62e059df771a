# SPDX-License-Identifier: Apache-2.0
"""Commands of the gate that cannot begin: told, recorded, alerted of, and nothing is changed."""

import fcntl
import json
import shutil

import pytest

import gate
import support

CONFIGURATION = """
hallmark-config: 1
alerts:
  - name: pager
    webhook: {url}
"""


@pytest.fixture
def receiver():
    with gate.Receiver() as one:
        yield one


@pytest.fixture
def store(hallmark, keys, tmp_path, receiver):
    config = tmp_path / "config.yaml"
    config.write_text(CONFIGURATION.format(url=receiver.url))
    return gate.Store(hallmark, tmp_path, keys["openssl", "ec-p256"], {"HALLMARK_CONFIG": config})


def missing(store):
    store.policy.unlink()


def bad_syntax(store):
    store.policy.write_text("version: 1\nmodels: [\n")


def key_is_gone(store):
    (store.folder / "training.pub").unlink()


def command_of(store, verb):
    return {
        "check": ["check"],
        "check-one": ["check", gate.NAME],
        "rollback": ["rollback", gate.NAME],
        "deploy": ["deploy", store.folder / "source-0", "--name", gate.NAME],
        "release": ["quarantine", "release", "0123456789ab"],
    }[verb]


def versions_of(store):
    return support.snapshot(store.place() / "versions")


@pytest.mark.parametrize("verb", ["check", "check-one", "rollback", "deploy", "release"])
@pytest.mark.parametrize("spoil", [missing, bad_syntax, key_is_gone])
def test_a_policy_that_cannot_be_loaded(store, receiver, verb, spoil):
    old, new = store.versions(2)
    before, count = versions_of(store), len(store.events())
    spoil(store)
    result = store.run(*command_of(store, verb), expect=support.UNDECIDED)
    assert store.current() == new and versions_of(store) == before and store.is_sound()
    (event,) = store.events()[count:]
    assert event["event"] == "undecided" and event["store"] == str(store.path)
    assert event["message"] in result.err
    assert event.get("model") == (None if verb in ("check", "release") else gate.NAME)
    source = str(store.folder / "source-0") if verb == "deploy" else None
    assert event.get("source") == source and "signer" not in event and "digest" not in event
    assert [gate.event_of(body)["id"] for body in receiver.received] == [event["id"]]


def test_reports_are_made_as_ever(store):
    store.versions(1)
    bad_syntax(store)
    for verb in ("rollback", "deploy", "release"):
        result = store.run(*command_of(store, verb), "--json", expect=support.UNDECIDED)
        assert result.json()["status"] == "undecided"
        assert result.json()["operation"] == verb


def test_a_refused_keyring(store, hallmark, keys, receiver):
    """That is a verdict on whom the policy believes: somebody else made a list of keys."""
    stranger = keys["python", "ec-p256", "mallory"]
    store.versions(1)
    ring = store.folder / "ring"
    hallmark("key", "rotate", ring, "--no-passphrase", expect=support.OK)
    hallmark("key", "export", ring, "--key", stranger.private,
             "--out", store.folder / "ring.json", expect=support.OK)  # fmt: skip
    store.policy.write_text(json.dumps({
        "version": 1,
        "signers": {"team": {"keyring": {"file": "ring.json", "key": "training.pub"}}},
        "models": [{"name": "*", "signers": "team"}],
    }))  # fmt: skip
    count = len(store.events())
    result = store.run("check", expect=support.REFUSED)
    (event,) = store.events()[count:]
    assert (event["event"], event["reason"]) == ("refused", "bad-signature")
    assert event["message"] in result.err and store.current() is not None
    assert [gate.event_of(body)["id"] for body in receiver.received] == [event["id"]]


def test_slips_and_dry_runs_are_no_events(store, receiver):
    store.versions(1)
    count = len(store.events())
    nobody = {"HALLMARK_POLICY": ""}
    store.run("check", expect=support.USAGE, env=nobody)
    store.run("rollback", "nobody", expect=support.USAGE)
    store.run("check", "--policy", store.policy, "--key", store.key.public, expect=support.USAGE)
    bad_syntax(store)
    before = support.snapshot(store.path)
    for verb in ("deploy", "release"):
        store.run(*command_of(store, verb), "--dry-run", expect=support.UNDECIDED)
    assert support.snapshot(store.path) == before
    assert len(store.events()) == count and receiver.received == []


def test_a_store_of_a_newer_program(store, receiver):
    """Its ledger is one of its own, with a number of its own."""
    store.versions(1)
    (store.path / "store.json").write_text('{"hallmark-store": 2, "id": "0123456789ab"}')
    result = store.run("check", expect=support.UNDECIDED)
    assert "newer Hallmark" in result.err
    (body,) = receiver.received
    assert gate.event_of(body)["event"] == "undecided"


def test_a_store_that_others_write_to_gets_no_event(store, receiver):
    store.versions(1)
    bad_syntax(store)
    store.path.chmod(0o777)
    before = support.snapshot(store.path)
    result = store.run("check", expect=support.UNDECIDED)
    assert "not recorded" in result.err and "other users" in result.err
    assert support.snapshot(store.path) == before and receiver.received == []


def test_no_store_is_made_for_it(store, receiver):
    source = store.source(0)
    bad_syntax(store)
    result = store.deploy(source, expect=support.UNDECIDED)
    assert "not recorded" in result.err and not store.path.exists()
    store.run("deploy", store.folder / "nowhere", "--name", "m", expect=support.UNDECIDED)
    assert not store.path.exists()


def test_a_ledger_that_cannot_be_opened(store):
    """The status stays what it is."""
    store.versions(1)
    bad_syntax(store)
    (store.path / "ledger.db").unlink()
    (store.path / "ledger.db").mkdir()
    result = store.run("check", expect=support.UNDECIDED)
    assert "policy.yaml" in result.err and "ledger" in result.err


# ---- once it has begun --------------------------------------------------------------------------


def spoil_state(store):
    (store.place() / "state.json").write_text("{}")


def spoil_journal(store):
    (store.place() / "journal.json").write_text("{}")


def spoil_records(store):
    for version in (store.place() / "versions").iterdir():
        for path in (version, version / "version.json"):
            path.chmod(0o755)
        (version / "version.json").write_text("{}")


@pytest.mark.parametrize("verb, spoil", [("deploy", spoil_state), ("deploy", spoil_journal),
                                         ("rollback", spoil_state), ("rollback", spoil_journal),
                                         ("rollback", spoil_records)])  # fmt: skip
def test_a_store_that_is_spoiled(store, receiver, verb, spoil):
    """A check says so of what is current; nobody else does of the rest."""
    _, new = store.versions(2)
    count = len(store.events())
    spoil(store)
    result = store.run(*command_of(store, verb), expect=support.UNDECIDED)
    assert "is damaged" in result.err and store.current() == new
    (event,) = store.events()[count:]
    assert (event["event"], event["model"]) == ("undecided", gate.NAME)
    assert event["message"] in result.err and event["store"] == str(store.path)
    assert [gate.event_of(body)["id"] for body in receiver.received] == [event["id"]]


def test_a_lock_that_is_held_is_no_event(store, receiver):
    store.versions(2)
    count = len(store.events())
    with open(store.place() / "lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        store.run("rollback", gate.NAME, expect=support.UNDECIDED)
    assert len(store.events()) == count and receiver.received == []


def test_a_failure_that_cannot_be_recorded(store):
    store.versions(2)
    spoil_state(store)
    (store.path / "ledger.db").unlink()
    (store.path / "ledger.db").mkdir()
    shutil.rmtree(store.path / "outbox")
    (store.path / "outbox").write_text("a file, not a directory")
    for verb in ("deploy", "rollback"):
        result = store.run(*command_of(store, verb), expect=support.UNDECIDED)
        assert "is damaged" in result.err and "could not be recorded" in result.err
        assert "docs/store.md" in result.err


# ---- a source that is none ----------------------------------------------------------------------


@pytest.mark.parametrize("source, status, word", [
    ("nowhere", support.UNDECIDED, "undecided"), ("/dev/null", support.REFUSED, "refused"),
])  # fmt: skip
def test_a_source_that_is_none(store, receiver, source, status, word):
    _, new = store.versions(2)
    count = len(store.events())
    result = store.run("deploy", source, "--name", gate.NAME, "--json", expect=status)
    assert result.json()["status"] == word and store.current() == new
    store.run("deploy", source, "--name", gate.NAME, "--dry-run", expect=status)
    (event,) = store.events()[count:]
    assert (event["event"], event["model"]) == (word, gate.NAME)
    assert event["source"].endswith(source) and event["message"] == result.json()["message"]
    assert [gate.event_of(body)["id"] for body in receiver.received] == [event["id"]]
