# SPDX-License-Identifier: Apache-2.0
"""What a host does of itself as events are recorded, and what does not get in its way."""

import contextlib
import json
import shutil
import sqlite3

import cloud
import pytest

from hosts import host  # noqa: F401

# ---- checkpoints --------------------------------------------------------------------------------


class Audited:
    """A host that signs its ledger after every second event."""

    def __init__(self, host, key):  # noqa: F811
        self.host, self.file = host, host.folder / "the.checkpoint"
        self.state = host.folder / "state"
        host.env["HALLMARK_STATE_DIR"] = self.state
        self.configure(key.private)

    def configure(self, key, *alerts):
        self.host.configure(*alerts, more="checkpoints:\n"
                            f"  key: {key}\n  file: {self.file}\n  every: 2\n")  # fmt: skip

    def query(self, sql):
        with contextlib.closing(sqlite3.connect(self.host.ledger)) as db, db:
            for table in ("entries", "checkpoints"):
                db.execute(f"DROP TRIGGER IF EXISTS {table}_stay")
                db.execute(f"DROP TRIGGER IF EXISTS {table}_stay_as_they_are")
            return db.execute(sql).fetchall()

    def covered(self, expect=0):
        result = self.host.hallmark("log", "verify", "--json", env=self.host.env, expect=expect)
        return result.json()

    def checkpoints(self):
        return [row[0] for row in self.query("SELECT sequence FROM checkpoints ORDER BY number")]


@pytest.fixture
def audited(host, ec):  # noqa: F811
    return Audited(host, ec)


def test_checkpoints_are_made_as_events_are_recorded(audited, ec):
    host, key = audited.host, ec.private  # noqa: F811
    host.verify(host.good, expect=0)
    assert audited.checkpoints() == [] and not audited.file.exists()
    for _ in range(4):
        assert host.verify(host.good, expect=0).err == ""
    assert audited.checkpoints() == [2, 4]
    report = audited.covered()
    assert report["covered"]["sequence"] == 4 and report["covered"]["fingerprint"] == ec.fingerprint
    assert report["newest"]["sequence"] == 5
    # The file is the newest one, and another who has it needs nothing else.
    shutil.rmtree(audited.state)
    host.configure()
    host.hallmark("log", "verify", "--key", ec.public, "--checkpoint", audited.file, expect=0,
                  env=host.env)  # fmt: skip
    assert key.read_bytes() not in audited.file.read_bytes()


def test_events_that_waited_are_covered_too(audited, ec):
    host = audited.host  # noqa: F811
    audited.configure(ec.private)
    folder = host.folder / "away"
    host.config.write_text(host.config.read_text().replace("sqlite:ledger.db", "sqlite:away/l.db"))
    for _ in range(3):
        host.verify(host.good, expect=0)
    folder.mkdir()
    host.verify(host.good, expect=0)
    with contextlib.closing(sqlite3.connect(folder / "l.db")) as db:
        assert db.execute("SELECT sequence FROM checkpoints").fetchall() == [(4,)]


@pytest.mark.parametrize("keep_file", [True, False])
def test_a_shortened_ledger_is_not_signed(audited, keep_file):
    host = audited.host  # noqa: F811
    for _ in range(4):
        host.verify(host.good, expect=0)
    audited.query("DELETE FROM entries WHERE sequence > 1")
    if keep_file:
        audited.query("DELETE FROM checkpoints")
    else:
        audited.file.unlink()
    said = host.verify(host.good, expect=0).err  # the model is what it was
    assert "the checkpoint that is due could not be made" in said and "entry 4" in said
    before = audited.file.read_bytes() if keep_file else None
    shutil.rmtree(audited.state, ignore_errors=True)
    report = audited.covered(expect=1)
    assert report["reason"] in ("rollback", "digest-mismatch") and report["covered"] is None
    assert before is None or audited.file.read_bytes() == before


def test_a_changed_ledger_is_not_signed(audited):
    host = audited.host  # noqa: F811
    for _ in range(3):
        host.verify(host.good, expect=0)
    audited.query("UPDATE entries SET event = replace(event, 'verified', 'refused')"
                  " WHERE sequence = 3")
    assert "entry 3" in host.verify(host.good, expect=0).err
    assert audited.checkpoints() == [2]


def test_a_word_of_somebody_else_puts_nothing_off(audited, rsa):
    """Who may add checkpoints, but has no key, cannot keep the host from making its own."""
    host = audited.host  # noqa: F811
    host.verify(host.good, expect=0)
    audited.query("INSERT INTO checkpoints (sequence, envelope) VALUES (4611686018427387904, '{}')")
    host.verify(host.good, expect=0)
    assert 2 in audited.checkpoints()


def test_a_checkpoint_key_that_cannot_be_used(audited, hallmark, tmp_path):
    host = audited.host  # noqa: F811
    audited.configure(tmp_path / "nowhere.pem")
    assert host.verify(host.good, expect=0).err == ""  # none is due
    said = host.verify(host.good, expect=0).err
    assert "the checkpoint that is due could not be made" in said and "nowhere.pem" in said
    assert len(host.events("verified")) == 2


# ---- what waits ---------------------------------------------------------------------------------


def down(host, ledger, expect=0):  # noqa: F811
    """Records an event for a ledger that cannot be reached. Returns its tag."""
    before = set(host.waiting(".event"))
    host.verify(host.good, expect=expect, env={"HALLMARK_LEDGER": ledger})
    (new,) = set(host.waiting(".event")) - before
    return new.name.split(".")[3]


def test_each_database_has_its_own_queue(host):  # noqa: F811
    """Servers behind sockets differ only in their options."""
    one, two = host.folder / "one", host.folder / "two"
    first = down(host, f"postgresql:///hallmark?host={one}&connect_timeout=2")
    assert down(host, f"postgresql:///hallmark?host={two}") != first
    assert down(host, f"postgresql:///hallmark?host={one}&port=5433") != first
    assert down(host, f"postgresql:///hallmark?host={one}&user=other&password=else") == first


def test_one_file_has_one_queue(host):  # noqa: F811
    path = host.folder / "away" / "ledger.db"
    first = down(host, path)
    assert down(host, f"sqlite:{host.folder}/.//away/./ledger.db") == first
    assert down(host, f"{host.folder}/away/other.db") != first
    path.parent.mkdir()
    host.verify(host.good, expect=0, env={"HALLMARK_LEDGER": f"{host.folder}//away/ledger.db"})
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM entries").fetchall() == [(3,)]


def test_a_misspelt_uri_is_no_file(host, hallmark):  # noqa: F811
    for uri in ("postgresql:user:hunter2@db/ledger", "postgres:/hunter2", "mysql://u:hunter2@h/d"):
        result = host.verify(host.good, expect=0, env={"HALLMARK_LEDGER": uri}, cwd=host.folder)
        assert "there is no kind of ledger" in result.err and "hunter2" not in result.err
        hallmark("log", "--ledger", uri, expect=2, cwd=host.folder)
    assert not list(host.folder.glob("*hunter2*")) and not list(host.folder.glob("postgres*"))


def failing(host, server):  # noqa: F811
    host.configure({"name": "ops", "webhook": f"{server.url}/hook"})


def test_a_clock_that_was_set_back(host):  # noqa: F811
    """An alert that failed while the clock was years ahead is not put off by years."""
    answers = [(500, {}, b"")]
    with cloud.Server(lambda _: answers[0]) as server:
        failing(host, server)
        host.verify(host.bad, expect=1, env={"HALLMARK_TIME": "1900000000"})
        answers[0] = (200, {}, b"")
        host.verify(host.good, expect=0, env={"HALLMARK_TIME": "1800000000"})
        assert len(server.requests) == 2
    assert not host.waiting(".alert")


def test_what_is_dropped_was_recorded(host):  # noqa: F811
    """Killed before the event was in the ledger, and then away for longer than alerts are kept."""
    with cloud.Server(lambda _: (500, {}, b"")) as server:
        failing(host, server)
        host.verify(host.bad, expect=1, env={"HALLMARK_TIME": "1800000000"})
        (alert,) = host.waiting(".alert")
        state, event, _ = alert.read_text().split("\n")
        alert.write_text(json.dumps({**json.loads(state), "attempts": 0, "next": 0}) + f"\n{event}\n")
        host.ledger.unlink()
        host.verify(host.good, expect=0, env={"HALLMARK_TIME": str(1800000000 + 8 * 86400)})
    assert [e["event"] for e in host.events()] == ["verified", "refused", "alert-failed"]
    assert not host.waiting(".alert")


# ---- commands -----------------------------------------------------------------------------------


def test_commands_inherit_nothing(host, keys, tmp_path):  # noqa: F811
    """Neither the passphrase's descriptor nor whatever else this program was handed open."""
    script = tmp_path / "list.sh"
    script.write_text(f"#!/bin/sh\nls /proc/self/fd >{tmp_path}/open\n")
    script.chmod(0o755)
    host.configure({"name": "list", "command": [str(script)]})
    with open(tmp_path / "secret") as secret, open("/dev/null") as other:
        host.verify(host.bad, expect=1, pass_fds=(secret.fileno(), other.fileno()))
    names = (tmp_path / "open").read_text().split()
    assert set(names) <= {"0", "1", "2", "3"}  # 3: ls itself reads the directory
