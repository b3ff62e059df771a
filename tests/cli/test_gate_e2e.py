# SPDX-License-Identifier: Apache-2.0
"""The gate from end to end: what a deployment pipeline does in a bad week, with a ledger and a
receiver of alerts that are real."""

import contextlib
import pathlib
import sqlite3
import subprocess

import pytest

import gate
import support
from postgres import postgres  # noqa: F401

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


def alerted(receiver):
    return [gate.event_of(body)["event"] for body in receiver.received]


def test_a_bad_week(store, receiver):
    # Two good versions go into production.
    v0, v1 = store.versions(2)
    assert store.current() == v1 and alerted(receiver) == []
    expected = [("deployed", v0), ("activated", v0), ("deployed", v1), ("activated", v1)]
    assert store.told() == expected

    # The third is tampered with on the way: refused, alerted, held; the second is still served.
    tampered = store.source(2)
    support.flip(tampered / "weights.safetensors", 1000)
    served = store.served()
    result = store.deploy(tampered, expect=support.REFUSED)
    assert "weights.safetensors" in result.err
    assert store.current() == v1 and store.served() == served
    (held,) = store.held()
    assert held["reason"] == "digest-mismatch" and held["found"] == "on-its-way-in"
    assert held["source"] == str(tampered) and held["content"]
    kept = pathlib.Path(held["path"]) / "held" / "model" / "weights.safetensors"
    assert kept.read_bytes() == (tampered / "weights.safetensors").read_bytes()
    assert [event for event, _ in store.told()[4:]] == ["refused", "quarantined"]
    assert sorted(alerted(receiver)) == ["quarantined", "refused"]
    receiver.received.clear()

    # The second is tampered with on the disk: found, held, and the first is put back.
    store.tamper(v1)
    store.run("check", expect=support.REFUSED)
    assert store.current() == v0 and store.stored() == [v0]
    assert store.told()[6:] == [("refused", v1), ("rolled-back", v0), ("quarantined", v1)]
    assert sorted(alerted(receiver)) == ["quarantined", "refused", "rolled-back"]
    receiver.received.clear()

    # And so is the first: nothing is served any more.
    store.tamper(v0)
    store.run("check", expect=support.REFUSED)
    assert store.current() is None and store.stored() == []
    assert store.told()[9:] == [("refused", v0), ("deactivated", None), ("quarantined", v0)]
    assert sorted(alerted(receiver)) == ["deactivated", "quarantined", "refused"]
    receiver.received.clear()

    # What nobody signed does not get in either, though nothing is served.
    unsigned = store.source("unsigned", sign=False)
    result = store.deploy(unsigned, expect=support.REFUSED)
    assert "unsigned" in result.err and store.current() is None
    assert store.events()[12]["reason"] == "unsigned" and "refused" in alerted(receiver)

    # A good one does.
    last = store.source("last")
    store.deploy(last)
    assert store.served().items() >= support.snapshot(last).items()

    # It is all in the ledger, and the chain is whole.
    words = [event for event, _ in store.told()]
    assert words[-2:] == ["deployed", "activated"] and store.is_sound()
    store.run("log", "verify")


@pytest.mark.parametrize("how", ["text", "removed", "swapped", "last"])
def test_an_edited_entry_is_found(store, how):
    """With the tool that anybody has who can write to the file."""
    store.versions(2)
    store.run("log", "verify")
    database = store.path / "ledger.db"
    edit(database, how)
    result = store.run("log", "verify", expect=support.REFUSED)
    assert "ledger" in result.err


EDITS = {
    "text": "UPDATE entries SET event = replace(event, 'training', 'somebody') WHERE sequence = 1",
    "removed": "DELETE FROM entries WHERE sequence = 2",
    "swapped": "UPDATE entries SET event = (SELECT event FROM entries WHERE sequence = 2) "
               "WHERE sequence = 1",
    "last": "DELETE FROM entries WHERE sequence = (SELECT max(sequence) FROM entries)",
}  # fmt: skip


def edit(database, how):
    """As somebody does it who knows how the ledger defends itself."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        triggers = [row[0] for row in connection.execute(
            "SELECT name FROM sqlite_master WHERE type='trigger'")]  # fmt: skip
    statements = [f"DROP TRIGGER {name}" for name in triggers] + [EDITS[how]]
    done = subprocess.run(["sqlite3", str(database), ";".join(statements) + "; SELECT changes();"],
                          check=True, capture_output=True, timeout=60)  # fmt: skip
    assert done.stdout == b"1\n"


def test_a_man_in_the_middle_with_a_key_of_his_own(store, keys, receiver):
    """Model and signature replaced together fail at the policy; and a pipeline that ignores the exit
    status still has no new `current`."""
    (good,) = store.versions(1)
    other = store.source("other", sign=False)
    thief = keys["python", "ec-p256", "thief"]
    store.hallmark("sign", other, "--key", thief.private, expect=support.OK)
    script = f"{' '.join(map(str, store.hallmark.wrapper))} {store.hallmark.binary} deploy {other} "
    script += "--name m; exit 0"
    subprocess.run(["sh", "-c", script], env=store.hallmark.environment(store.environment),
                   check=True, capture_output=True, timeout=60)  # fmt: skip
    assert store.current() == good
    assert store.events("refused")[0]["reason"] == "untrusted-signer"
    assert "refused" in alerted(receiver)


def test_two_hosts_share_a_ledger(hallmark, keys, tmp_path, postgres):  # noqa: F811
    """Two stores, one PostgreSQL: both record at once, and the chain stays whole."""
    uri = postgres.database()
    hosts = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        hosts.append(gate.Store(hallmark, tmp_path / name, keys["openssl", "ec-p256"],
                                {"HALLMARK_LEDGER": uri}))  # fmt: skip
    for host in hosts:
        host.versions(2)
    assert len(hosts[0].told("activated")) == 4 and hosts[0].told() == hosts[1].told()

    def at_once(*arguments):
        running = [
            subprocess.Popen(host.hallmark.command(*arguments),
                             env=host.hallmark.environment(host.environment),
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            for host in hosts for _ in range(4)
        ]  # fmt: skip
        return {process.wait(timeout=120) for process in running}

    assert at_once("check") == {support.OK}
    assert len(hosts[0].told("verified")) == 8
    for host in hosts:
        host.tamper(host.current())
    assert at_once("check") <= {support.OK, support.REFUSED}
    for host in hosts:
        assert len(host.stored()) == 1 and host.current() == host.stored()[0]
        assert len(host.held()) == 1 and host.is_sound()
        host.run("log", "verify")
    stores = {event["store"] for event in hosts[0].events("rolled-back")}
    assert stores == {str(host.path) for host in hosts}
    assert len(hosts[0].told("quarantined")) == 2
