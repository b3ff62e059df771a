# SPDX-License-Identifier: Apache-2.0
"""What a host does of itself as events are recorded, and what does not get in its way."""

import contextlib
import json
import shutil
import sqlite3

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
