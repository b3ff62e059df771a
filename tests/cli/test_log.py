# SPDX-License-Identifier: Apache-2.0
"""The ledger: read, verified and signed for. What is in it is recomputed by other means."""

import base64
import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time

import jsonschema
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec as elliptic

import support
from postgres import database_of, postgres  # noqa: F401

pytestmark = pytest.mark.usefixtures("state")


@pytest.fixture
def state(tmp_path):
    """Each test begins without memory."""
    return tmp_path / "state"


class Ledger:
    """A ledger, what is written to it, and what the program says of it."""

    def __init__(self, hallmark, uri, state):
        self.hallmark, self.uri, self.state = hallmark, str(uri), state
        self.tool = hallmark.binary.parent / "tests" / "unit" / "ledger_tool"
        if not self.tool.exists():
            pytest.skip("built without tests")

    def start(self, *arguments, **more):
        return subprocess.Popen([self.tool, *map(str, arguments)],
                                env=self.hallmark.environment(more.pop("env", None)),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)

    def run(self, what, *arguments, expect=0, **more):
        process = self.start(what, self.uri, *arguments, **more)
        out, err = process.communicate(timeout=120)
        assert process.returncode == expect, err.decode()
        return out.decode().split() if expect == 0 else err.decode()

    def append(self, count, model="resnet", expect=0, **more):
        return self.run("append", count, model, expect=expect, **more)

    def log(self, *options, expect=0, env=None):
        return self.hallmark("log", "--ledger", self.uri, *options, expect=expect,
                             env={"HALLMARK_STATE_DIR": self.state, **(env or {})})

    def entries(self, *options):
        return [json.loads(line) for line in self.log("--json", *options).out.splitlines()]

    def verify(self, *options, expect=0, env=None):
        result = self.hallmark("log", "verify", "--ledger", self.uri, "--json", *options,
                               expect=expect, env={"HALLMARK_STATE_DIR": self.state, **(env or {})})
        return result.json() if result.rc in (0, 1) else result

    def found(self, *options):
        """What a refusal says, a line per finding."""
        return [finding["message"] for finding in self.verify(*options, expect=1)["findings"]]

    def checkpoint(self, key, *options, expect=0):
        return self.hallmark("log", "checkpoint", "--ledger", self.uri, "--key", key.private,
                             *options, expect=expect)

    def forget(self):
        shutil.rmtree(self.state, ignore_errors=True)


class SqliteLedger(Ledger):
    def query(self, sql):
        with contextlib.closing(sqlite3.connect(f"file:{self.uri}?mode=ro", uri=True)) as db:
            return db.execute(sql).fetchall()

    def rows(self, columns="sequence, previous, digest, id, time, kind, model, event"):
        return self.query(f"SELECT {columns} FROM entries ORDER BY sequence")

    def ledger_id(self):
        return self.query("SELECT id FROM ledger")[0][0]

    def tamper(self, sql):
        """With the tool that everybody has, by somebody who knows of the triggers."""
        away = "".join(f"DROP TRIGGER IF EXISTS {table}_stay{rest};"
                       for table in ("entries", "checkpoints") for rest in ("", "_as_they_are"))
        subprocess.run(["sqlite3", "-bail", self.uri, away + sql], check=True, timeout=60)


class PostgresLedger(Ledger):
    def __init__(self, hallmark, server, state):
        super().__init__(hallmark, server.database(), state)
        self.server = server

    def rows(self, columns="sequence, previous, digest, id, time, kind, model, event"):
        text = self.server.sql(self.uri, "SELECT coalesce(json_agg(row ORDER BY row.sequence), '[]')"
                               f" FROM (SELECT {columns} FROM hallmark.entries) AS row")
        return [tuple(row.values()) for row in json.loads(text)]

    def ledger_id(self):
        return self.server.sql(self.uri, "SELECT id FROM hallmark.ledger").strip()

    def tamper(self, sql):
        self.server.sql(self.uri, "SET search_path = hallmark; DROP TRIGGER IF EXISTS entries_stay ON entries;"
                        "DROP TRIGGER IF EXISTS checkpoints_stay ON checkpoints;" + sql)


@pytest.fixture
def ledger(hallmark, tmp_path, state):
    return SqliteLedger(hallmark, tmp_path / "ledger.db", state)


@pytest.fixture(params=["sqlite", "postgresql"])
def any_ledger(request, hallmark, tmp_path, state):
    if request.param == "sqlite":
        return SqliteLedger(hallmark, tmp_path / "ledger.db", state)
    return PostgresLedger(hallmark, request.getfixturevalue("postgres"), state)


def digest_of(sequence, previous, event):
    text = f'{{"sequence":{sequence},"previous":"{previous}","event":{event}}}'
    return hashlib.sha256(text.encode()).hexdigest()


def check_chain(ledger):
    """The chain as docs/ledger.md describes it. Returns the number of entries."""
    previous = ledger.ledger_id()
    rows = ledger.rows()
    for number, row in enumerate(rows, 1):
        sequence, before, digest, name, when, kind, model, event = row
        said = json.loads(event)
        assert (sequence, before, digest) == (number, previous, digest_of(number, previous, event))
        assert (name, when, kind) == (said["id"], said["time"], said["event"])
        assert model == said.get("model")
        previous = digest
    return len(rows)


# ---- what is recorded ---------------------------------------------------------------------------


def test_entries_chain(any_ledger):
    names = any_ledger.append(9)
    assert check_chain(any_ledger) == 9
    assert [row[0] for row in any_ledger.rows("id, sequence")] == names
    found = any_ledger.verify()
    assert found["outcome"] == "verified" and found["newest"]["sequence"] == 9
    assert found["newest"]["digest"] == any_ledger.rows("digest, sequence")[-1][0]
    assert found["id"] == any_ledger.ledger_id() and found["covered"] is None


def test_by_shell(ledger):
    """With what every host has, as docs/ledger.md shows."""
    ledger.append(3)
    script = r"""
    previous=$(sqlite3 "$1" 'SELECT id FROM ledger')
    for n in $(sqlite3 "$1" 'SELECT sequence FROM entries ORDER BY sequence'); do
        event=$(sqlite3 "$1" "SELECT event FROM entries WHERE sequence = $n")
        previous=$(printf '{"sequence":%s,"previous":"%s","event":%s}' "$n" "$previous" "$event" |
            sha256sum | cut -d' ' -f1)
    done
    echo "$previous"
    """
    done = subprocess.run(["bash", "-c", script, "sh", ledger.uri], capture_output=True, check=True,
                          timeout=60)  # fmt: skip
    assert done.stdout.decode().strip() == ledger.rows("digest, sequence")[-1][0]


def test_lines_of_json_are_what_was_digested(any_ledger):
    any_ledger.append(5)
    lines = any_ledger.log("--json").stdout.splitlines()
    digests = [row[0] for row in any_ledger.rows("digest, sequence")]
    assert [hashlib.sha256(line).hexdigest() for line in lines] == digests


def test_an_event_that_is_there_is_passed_over(any_ledger):
    name = "0123456789abcdef0123456789abcdef"
    assert any_ledger.run("append", 3, "resnet", name) == [name] * 3
    any_ledger.append(1)
    assert any_ledger.run("append", 1, "resnet", name) == [name]
    assert check_chain(any_ledger) == 2


def test_all_or_none(any_ledger):
    assert len(any_ledger.run("batch", 40, "resnet")) == 40
    assert check_chain(any_ledger) == 40


def test_guard_rails(any_ledger):
    """A slip of the hand changes nothing."""
    any_ledger.append(2)
    for sql in ("UPDATE entries SET model = 'x'", "DELETE FROM entries"):
        if isinstance(any_ledger, SqliteLedger):
            done = subprocess.run(["sqlite3", any_ledger.uri, sql], capture_output=True, check=False)
        else:
            done = any_ledger.server.sql(any_ledger.uri, "SET search_path = hallmark; " + sql,
                                         check=False)
        assert done.returncode != 0 and b"append-only" in done.stderr
    any_ledger.verify()


def test_modes(ledger):
    previous = os.umask(0o022)
    try:
        ledger.append(1)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(os.stat(ledger.uri).st_mode) == 0o640
    assert [path.name for path in pathlib.Path(ledger.uri).parent.glob("ledger.db*")] == ["ledger.db"]


def test_events_fit_their_schema(ledger):
    schema = json.loads((support.ROOT / "docs" / "event.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    ledger.append(4, "r\u00e9s\n")
    order = list(schema["properties"])
    for entry in ledger.entries():
        jsonschema.validate(entry["event"], schema, cls=jsonschema.Draft202012Validator)
        members = list(entry["event"])
        assert members == sorted(members, key=order.index)
    for word in schema["properties"]["event"]["enum"]:
        ledger.log("--event", word)


# ---- reading ------------------------------------------------------------------------------------


def test_table(any_ledger):
    any_ledger.append(4, model="vit\x1b[31m")
    lines = any_ledger.log().out.splitlines()
    assert lines[0].split() == ["ENTRY", "TIME", "EVENT", "MODEL", "VERSION", "DETAILS"]
    assert len(lines) == 5 and "\x1b" not in "".join(lines)
    assert re.match(r" +3  20..-..-..T..:..:..Z  refused +vit\\x1b\[31m +0{12}  "
                    r"digest-mismatch; w2 is not as signed \(.+@.+\)$", lines[3])  # fmt: skip
    assert "by release" in lines[1]


def test_filters(any_ledger):
    any_ledger.append(4, "resnet", env={"HALLMARK_TIME": 1767645067})
    any_ledger.append(4, "vit", env={"HALLMARK_TIME": 1767645068})

    def numbers(*options):
        return [entry["sequence"] for entry in any_ledger.entries(*options)]

    assert numbers() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert numbers("--model", "vit") == [5, 6, 7, 8]
    assert numbers("--model", "vi") == []
    assert numbers("--event", "refused") == [3, 7]
    assert numbers("--event", "refused", "--model", "resnet") == [3]
    assert numbers("--since", "2026-01-05T20:31:08Z") == [5, 6, 7, 8]
    assert numbers("--since", "2026-01-05T20:31:07Z") == [1, 2, 3, 4, 5, 6, 7, 8]
    assert numbers("--since", "2026-01-06") == []
    assert numbers("--limit", "3") == [6, 7, 8]
    assert numbers("--limit", "99999999999") == [1, 2, 3, 4, 5, 6, 7, 8]
    assert numbers("--limit", "1", "--event", "refused") == [7]
    assert numbers("--limit", "1", "--event", "purged") == []
    assert any_ledger.log("--event", "purged").out == ""


def test_days_lead_back(ledger):
    ledger.append(1, env={"HALLMARK_TIME": 1767645067})
    now = {"HALLMARK_TIME": 1767645067 + 3 * 86400 - 10}
    assert ledger.log("--json", "--since", "3d", env=now).out != ""
    assert ledger.log("--json", "--since", "2d", env=now).out == ""


def test_lines_of_json_cannot_be_forged(any_ledger):
    """What stands in another column does not become part of the line."""
    any_ledger.append(2)
    any_ledger.tamper("""UPDATE entries SET previous = 'x","event":{"event":"verified"},"y":"'"""
                      " WHERE sequence = 2;")
    result = any_ledger.log("--json", expect=1)
    assert [json.loads(line)["sequence"] for line in result.out.splitlines()] == [1]
    assert "entry 2 of the ledger does not name the one before it" in result.err


def test_many_checkpoints(any_ledger, ec):
    """More than are read at once."""
    any_ledger.append(1)
    any_ledger.checkpoint(ec)
    any_ledger.tamper("INSERT INTO checkpoints (sequence, envelope) SELECT sequence, envelope"
                      " FROM checkpoints, generate_series(1, 199);"
                      if isinstance(any_ledger, PostgresLedger) else
                      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 199)"
                      "INSERT INTO checkpoints (sequence, envelope) SELECT sequence, envelope"
                      " FROM checkpoints, n;")  # fmt: skip
    assert any_ledger.verify("--key", ec.public)["checkpoints"] == 200
    any_ledger.tamper("UPDATE checkpoints SET sequence = 7 WHERE number = 150")
    assert any('checkpoint 150 in the ledger: the column "sequence"' in line
               for line in any_ledger.found("--key", ec.public))


def test_pages(any_ledger):
    """More than is read at once."""
    any_ledger.run("batch", 600, "resnet")
    assert [entry["sequence"] for entry in any_ledger.entries()] == list(range(1, 601))
    assert any_ledger.verify()["newest"]["sequence"] == 600


@pytest.mark.parametrize("options, said", [
    (["--event", "denied"], "signed, verified, refused"),
    (["--since", "yesterday"], "not a time"),
    (["--limit", "0"], "at least 1"),
    (["x"], "'x'"),
])  # fmt: skip
def test_wrong_calls(ledger, options, said):
    ledger.append(1)
    assert said in ledger.log(*options, expect=2).err


def test_no_ledger_is_named(hallmark, tmp_path):
    for words in (["log"], ["log", "verify"]):
        assert "--ledger" in hallmark(*words, expect=2).err
    result = hallmark("log", "--store", tmp_path, expect=3)
    assert f"{tmp_path}/ledger.db" in result.err
    assert "no kind of ledger" in hallmark("log", "--ledger", "mysql://x/y", expect=2).err


def test_ledger_of_the_store(hallmark, ledger, tmp_path):
    ledger.append(2)
    for env in ({"HALLMARK_STORE": tmp_path}, {"HALLMARK_LEDGER": ledger.uri}):
        assert len(hallmark("log", "--json", env=env, expect=0).out.splitlines()) == 2
    hallmark("log", "verify", "--store", tmp_path, expect=0, env={"HALLMARK_STATE_DIR": "none"})


# ---- what was changed ---------------------------------------------------------------------------


@pytest.mark.parametrize("sql, said", [
    ("UPDATE entries SET event = replace(event, 'digest-mismatch', 'unsigned') WHERE sequence = 3",
     ["entry 3 was changed: its digest is of another content"]),
    ("UPDATE entries SET event = replace(event, 'refused', 'verified'), kind = 'verified'"
     " WHERE sequence = 3", ["entry 3 was changed: its digest is of another content"]),
    ("UPDATE entries SET event = event || ' ' WHERE sequence = 2",
     ["entry 2 holds no event: event: it is not spelt as it is written",
      "entry 2 was changed: its digest is of another content"]),
    ("UPDATE entries SET event = '' WHERE sequence = 2", ["entry 2 holds no event", "entry 2 was"]),
    ("UPDATE entries SET digest = previous WHERE sequence = 4",
     ["entry 4 was changed", "entry 5 does not follow"]),
    ("UPDATE entries SET digest = '' WHERE sequence = 8", ["entry 8 was changed"]),
    ("UPDATE entries SET previous = digest WHERE sequence = 4",
     ["entry 4 was changed", "entry 4 does not follow"]),
    ("UPDATE entries SET model = 'vit' WHERE sequence = 4", ["entry 4: the column \"model\""]),
    ("UPDATE entries SET model = NULL WHERE sequence = 4", ["entry 4: the column \"model\""]),
    ("UPDATE entries SET time = '2020-01-01T00:00:00Z' WHERE sequence = 4",
     ["entry 4: the column \"time\""]),
    ("UPDATE entries SET kind = 'verified' WHERE sequence = 3", ["entry 3: the column \"kind\""]),
    ("UPDATE entries SET id = 'x' WHERE sequence = 3", ["entry 3: the column \"id\""]),
    ("DELETE FROM entries WHERE sequence = 4", ["entry 4 is missing"]),
    ("DELETE FROM entries WHERE sequence IN (4, 5, 6)", ["entries 4 to 6 are missing"]),
    ("DELETE FROM entries WHERE sequence < 3", ["entries 1 to 2 are missing"]),
    ("UPDATE entries SET sequence = 100 WHERE sequence = 4; UPDATE entries SET sequence = 4 WHERE"
     " sequence = 5; UPDATE entries SET sequence = 5 WHERE sequence = 100",
     ["entry 4 was changed", "entry 4 does not", "entry 5 was changed", "entry 5 does not",
      "entry 6 does not"]),
    ("INSERT INTO entries SELECT 9, digest, digest, 'x', time, kind, model, event FROM entries"
     " WHERE sequence = 8", ["entry 9: the column \"id\"", "entry 9 was changed"]),
    ("INSERT INTO entries SELECT 0, digest, digest, 'x', time, kind, model, event FROM entries"
     " WHERE sequence = 8", ["entry 0 was put in"]),
    ("UPDATE ledger SET id = (SELECT digest FROM entries WHERE sequence = 1)",
     ["entry 1 is not the first of this ledger"]),
])  # fmt: skip
def test_tampering_is_found(any_ledger, sql, said):
    any_ledger.append(8)
    any_ledger.verify()
    any_ledger.forget()
    any_ledger.tamper(sql)
    found = any_ledger.found()
    assert len(found) == len(said), found
    for message, words in zip(found, said):
        assert message.startswith(words)


def test_refusal_for_people(ledger):
    ledger.append(3)
    ledger.tamper("UPDATE entries SET event = replace(event, 'vm', 'x'), model = 'x\x1b' WHERE"
                  " sequence = 2; DELETE FROM entries WHERE sequence = 1")
    result = ledger.hallmark("log", "verify", "--ledger", ledger.uri, expect=1,
                             env={"HALLMARK_STATE_DIR": "none"})
    assert result.out == "" and "REFUSED" in result.err and "entry 1 is missing" in result.err
    assert "digest-mismatch" in result.err and "\x1b" not in result.err


def rewrite(ledger, change):
    """What somebody does who knows the format: the chain is whole again."""
    previous, rows = ledger.ledger_id(), []
    for sequence, *_, event in ledger.rows():
        event = change(sequence, event)
        digest = digest_of(sequence, previous, event)
        rows.append((previous, digest, event, sequence))
        previous = digest
    quote = lambda text: "'" + str(text).replace("'", "''") + "'"  # noqa: E731
    ledger.tamper("".join(f"UPDATE entries SET previous = {quote(p)}, digest = {quote(d)},"
                          f" event = {quote(e)} WHERE sequence = {s};" for p, d, e, s in rows))


def test_written_anew(any_ledger, ec, tmp_path):
    """The chain alone cannot tell; a checkpoint does, wherever it is, and so does memory."""
    any_ledger.append(6)
    any_ledger.checkpoint(ec, "--out", tmp_path / "kept")
    any_ledger.append(2)
    any_ledger.verify()
    rewrite(any_ledger, lambda number, event: event.replace("w2 is", "w3 is"))
    assert check_chain(any_ledger) == 8
    assert any_ledger.found() == [
        "entry 6 is not the one that checkpoint 1 in the ledger speaks of",
        "entry 8 is not the one that what was seen here before speaks of"]
    any_ledger.forget()
    assert any_ledger.found("--key", ec.public) == [
        "entry 6 is not the one that checkpoint 1 in the ledger speaks of"]
    assert len(any_ledger.found("--key", ec.public, "--checkpoint", tmp_path / "kept")) == 2
    assert "no checkpoint is signed" in any_ledger.checkpoint(ec, expect=1).err


def test_cut_off(any_ledger, ec, tmp_path):
    any_ledger.append(5)
    any_ledger.checkpoint(ec, "--out", tmp_path / "kept")
    any_ledger.append(3)
    any_ledger.verify()
    any_ledger.tamper("DELETE FROM entries WHERE sequence > 4; DELETE FROM checkpoints")
    found = any_ledger.verify("--key", ec.public, "--checkpoint", tmp_path / "kept", expect=1)
    assert found["reason"] == "rollback" and found["newest"]["sequence"] == 4
    assert [(f["sequence"], f["message"]) for f in found["findings"]] == [
        (5, f"the ledger ends with entry 4; the checkpoint {tmp_path}/kept speaks of entry 5"),
        (8, "the ledger ends with entry 4; what was seen here before speaks of entry 8")]
    any_ledger.forget()
    any_ledger.verify()  # neither memory nor checkpoint: nothing tells
    assert "no checkpoint is signed" in any_ledger.checkpoint(
        ec, "--out", tmp_path / "kept", expect=1).err


def test_another_ledger_in_its_place(ledger, ec, tmp_path):
    ledger.append(3)
    ledger.checkpoint(ec, "--out", tmp_path / "kept")
    ledger.verify()
    os.unlink(ledger.uri)
    ledger.append(7)
    assert ledger.found() == ["another ledger, of 3 entries, was seen here before"]
    ledger.forget()
    assert ledger.found("--key", ec.public, "--checkpoint", tmp_path / "kept") == [
        f"the checkpoint {tmp_path}/kept is of another ledger"]
    assert "of another ledger" in ledger.checkpoint(ec, "--out", tmp_path / "kept", expect=1).err


# ---- checkpoints --------------------------------------------------------------------------------


def test_checkpoint_by_other_means(any_ledger, ec, tmp_path):
    """DSSE by Python, as docs/ledger.md describes it."""
    any_ledger.append(4)
    any_ledger.checkpoint(ec, "--out", tmp_path / "kept")
    envelope = json.loads((tmp_path / "kept").read_text())
    payload = base64.b64decode(envelope["payload"])
    kind = "application/vnd.hallmark.checkpoint+json"
    assert envelope["payloadType"] == kind
    assert envelope["signatures"][0]["keyid"] == ec.fingerprint
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
    key = serialization.load_pem_public_key(pathlib.Path(ec.public).read_bytes())
    key.verify(base64.b64decode(envelope["signatures"][0]["sig"]), signed,
               elliptic.ECDSA(hashes.SHA256()))  # fmt: skip
    said = json.loads(payload)
    assert said.pop("time") and said == {
        "schema": "hallmark-checkpoint-v1", "ledger": any_ledger.ledger_id(), "sequence": 4,
        "digest": any_ledger.rows("digest, sequence")[-1][0]}


def test_what_is_covered(any_ledger, ec, rsa):
    any_ledger.append(2)
    any_ledger.checkpoint(ec)
    any_ledger.append(2)
    any_ledger.checkpoint(ec)
    any_ledger.append(3)
    found = any_ledger.verify("--key", ec.public)
    assert found["checkpoints"] == 2 and found["warnings"] == []
    assert found["covered"]["sequence"] == 4
    assert found["covered"]["fingerprint"] == ec.fingerprint
    text = any_ledger.hallmark("log", "verify", "--ledger", any_ledger.uri, "--key", ec.public,
                               expect=0, env={"HALLMARK_STATE_DIR": any_ledger.state}).out
    assert "entries 1 to 4 are covered" in text
    assert "entries after 4 are not covered by a checkpoint" in text
    # Who does not have the key covers nothing by adding checkpoints of his own.
    any_ledger.checkpoint(rsa)
    found = any_ledger.verify("--key", ec.public)
    assert found["covered"]["sequence"] == 4 and len(found["warnings"]) == 1
    assert "by another key" in found["warnings"][0]
    without = any_ledger.verify()
    assert without["covered"] is None and "no key is named" in without["warnings"][0]


@pytest.mark.parametrize("sql, said", [
    ("UPDATE checkpoints SET envelope = replace(envelope, '\"sig\":\"M', '\"sig\":\"N')",
     "checkpoint 1 in the ledger has no good signature"),
    ("UPDATE checkpoints SET envelope = '{}'", "checkpoint 1 in the ledger: "),
    ("UPDATE checkpoints SET sequence = 99", "checkpoint 1 in the ledger: the column"),
])  # fmt: skip
def test_tampered_checkpoints(any_ledger, ec, sql, said):
    any_ledger.append(3)
    any_ledger.checkpoint(ec)
    any_ledger.tamper(sql)
    assert [message.startswith(said) for message in any_ledger.found("--key", ec.public)] == [True]


def test_checkpoints_by_a_keyring(ledger, tmp_path):
    """A rotated key's checkpoints stay good; a revoked one's cover nothing."""
    ring = tmp_path / "ring"

    def rotate():
        ledger.hallmark("key", "rotate", ring, "--no-passphrase", expect=0)

    def checkpoint():
        ledger.append(2)
        ledger.hallmark("log", "checkpoint", "--ledger", ledger.uri, "--key", ring, expect=0)

    rotate(), checkpoint(), rotate(), checkpoint()
    found = ledger.verify("--key", ring)
    assert found["covered"]["sequence"] == 4 and found["warnings"] == []
    ledger.hallmark("key", "revoke", ring, "--version", "2", "--reason", "stolen", expect=0)
    found = ledger.verify("--key", ring)
    assert found["covered"]["sequence"] == 2 and len(found["warnings"]) == 1


def test_checkpoint_files(ledger, ec, rsa, tmp_path):
    ledger.append(2)
    kept = tmp_path / "kept"
    kept.write_text("my notes\n")
    assert "not written over" in ledger.checkpoint(ec, "--out", kept, expect=1).err
    assert kept.read_text() == "my notes\n"
    kept.unlink()
    ledger.checkpoint(ec, "--out", kept)
    ledger.checkpoint(rsa, "--out", kept, expect=1)
    first = kept.read_text()
    ledger.append(1)
    ledger.checkpoint(ec, "--out", kept)
    assert kept.read_text() != first
    ledger.verify("--key", ec.public, "--checkpoint", kept)
    assert ledger.hallmark("log", "verify", "--ledger", ledger.uri, "--checkpoint", kept,
                           expect=2).err  # fmt: skip
    assert ledger.verify("--key", rsa.public, "--checkpoint", kept, expect=1)["reason"] == (
        "untrusted-signer")
    ledger.verify("--key", ec.public, "--checkpoint", tmp_path / "none", expect=3)


def test_nothing_to_sign(ledger, ec):
    assert "No such file" in ledger.checkpoint(ec, expect=3).err
    ledger.run("ready")
    assert "empty" in ledger.checkpoint(ec, expect=3).err
    assert ledger.verify()["newest"]["sequence"] == 0


def test_a_checkpoint_file_that_cannot_be_written(ledger, ec, tmp_path):
    """The ledger has the checkpoint all the same."""
    ledger.append(2)
    assert "none" in ledger.checkpoint(ec, "--out", tmp_path / "none" / "kept", expect=3).err
    assert ledger.verify("--key", ec.public)["covered"]["sequence"] == 2


# ---- memory -------------------------------------------------------------------------------------


def test_memory(ledger, hallmark):
    ledger.append(2)
    found = ledger.verify(env={"HALLMARK_STATE_DIR": "none"})
    assert "not remembered" in found["warnings"][0] and not ledger.state.exists()
    ledger.verify()
    seen, = (ledger.state / "ledgers").glob("*.json")
    assert seen.name == hashlib.sha256(ledger.uri.encode()).hexdigest() + ".json"
    assert json.loads(seen.read_text())["sequence"] == 2
    ledger.append(1)
    ledger.verify()
    assert json.loads(seen.read_text())["sequence"] == 3
    seen.write_text("{}")
    assert "shortened" in ledger.verify(expect=3).err
    seen.unlink()
    ledger.state.chmod(0o777)
    (ledger.state / "ledgers").chmod(0o777)
    assert "not remembered" in ledger.verify()["warnings"][0]


# ---- trouble ------------------------------------------------------------------------------------


def test_no_ledger_at_all(ledger, tmp_path):
    for words in ("log", "log verify", "log checkpoint --key x"):
        result = ledger.hallmark(*words.split(), "--ledger", ledger.uri, expect=3)
        assert result.out == ""
    assert not os.path.exists(ledger.uri)
    (tmp_path / "notes").write_text("these are notes " * 100)
    (tmp_path / "folder").mkdir()
    os.symlink("ledger.db", tmp_path / "link")
    subprocess.run(["sqlite3", tmp_path / "other.db", "CREATE TABLE t (x)"], check=True)
    (tmp_path / "empty").touch()
    for name, said in {"notes": "not a database", "folder": "not a regular file",
                       "link": "not a regular file", "other.db": "another program's",
                       "none/x": "cannot reach"}.items():  # fmt: skip
        ledger.uri = str(tmp_path / name)
        assert said in ledger.log(expect=3).err
        assert said in ledger.append(1, expect=3)
    ledger.uri = str(tmp_path / "empty")
    assert "there is no ledger" in ledger.log(expect=3).err
    ledger.append(1)


def test_a_directory_may_be_a_link(ledger, tmp_path):
    (tmp_path / "real").mkdir()
    os.symlink("real", tmp_path / "link")
    ledger.uri = str(tmp_path / "link" / "ledger.db")
    ledger.append(1)
    assert ledger.verify()["ledger"] == str(tmp_path / "real" / "ledger.db")


def test_damaged_files(ledger):
    """Whatever bytes stand there: an outcome, and never that all is well with other content."""
    ledger.append(40)
    good = pathlib.Path(ledger.uri).read_bytes()
    for offset in range(0, len(good), max(1, len(good) // 60)):
        pathlib.Path(ledger.uri).write_bytes(good[:offset] + bytes([good[offset] ^ 0x41]) +
                                             good[offset + 1 :])
        result = ledger.hallmark("log", "verify", "--ledger", ledger.uri, "--json",
                                 expect=(0, 1, 3), env={"HALLMARK_STATE_DIR": ledger.state})
        if result.rc == 0:
            assert result.json()["newest"]["sequence"] == 40
            assert check_chain(ledger) == 40


def test_hostile_schema(ledger):
    """Triggers and views of others are not run."""
    ledger.append(2)
    ledger.tamper("CREATE TRIGGER evil AFTER INSERT ON entries BEGIN"
                  " UPDATE entries SET model = 'evil' WHERE sequence = 1; END")
    ledger.append(1)
    ledger.verify()
    ledger.tamper("ALTER TABLE entries RENAME TO real; CREATE VIEW entries AS SELECT * FROM real")
    assert "view" in ledger.log(expect=3).err
    ledger.append(1, expect=3)


def test_versions(ledger):
    """One from before is brought up to date by who writes; a newer one is left alone."""
    ledger.append(3)
    ledger.tamper("DROP TABLE checkpoints; DROP INDEX entries_of_model; PRAGMA user_version = 1")
    assert len(ledger.entries()) == 3 and ledger.verify()["version"] == 1
    ledger.append(1)
    found = ledger.verify()
    assert found["version"] == 2 and found["newest"]["sequence"] == 4
    ledger.tamper("PRAGMA user_version = 3")
    for result in (ledger.log(expect=3).err, ledger.append(1, expect=3)):
        assert "version 3" in result and "knows up to 2" in result
    assert check_chain(ledger) == 4


def test_versions_of_postgres(hallmark, postgres, state):  # noqa: F811
    ledger = PostgresLedger(hallmark, postgres, state)
    ledger.append(3)
    postgres.sql(ledger.uri, "DROP TABLE hallmark.checkpoints; DROP INDEX hallmark.entries_of_model;"
                 "UPDATE hallmark.version SET version = 1")  # fmt: skip
    assert len(ledger.entries()) == 3 and ledger.verify()["version"] == 1
    ledger.append(1)
    assert ledger.verify()["version"] == 2 and check_chain(ledger) == 4
    postgres.sql(ledger.uri, "UPDATE hallmark.version SET version = 3")
    assert "version 3" in ledger.append(1, expect=3)


def test_ledger_of_version_1_made_by_hand(ledger):
    """As the first version made it, byte for byte of the event."""
    event = ('{"schema":"hallmark-event-v1","id":"000102030405060708090a0b0c0d0e0f",'
             '"event":"signed","time":"2026-01-05T20:31:07Z","model":"resnet"}')
    first = "ab" * 32
    with contextlib.closing(sqlite3.connect(ledger.uri)) as db, db:
        db.executescript("""
            PRAGMA application_id = 0x484d4c47;
            CREATE TABLE ledger (id TEXT NOT NULL, created TEXT NOT NULL) STRICT;
            CREATE TABLE entries (sequence INTEGER PRIMARY KEY, previous TEXT NOT NULL,
              digest TEXT NOT NULL, id TEXT NOT NULL UNIQUE, time TEXT NOT NULL,
              kind TEXT NOT NULL, model TEXT, event TEXT NOT NULL) STRICT;
            PRAGMA user_version = 1;""")
        db.execute("INSERT INTO ledger VALUES (?, '2026-01-05T20:31:07Z')", (first,))
        db.execute("INSERT INTO entries VALUES (1, ?, ?, '000102030405060708090a0b0c0d0e0f',"
                   " '2026-01-05T20:31:07Z', 'signed', 'resnet', ?)",
                   (first, digest_of(1, first, event), event))  # fmt: skip
    assert ledger.verify()["version"] == 1
    ledger.append(2)
    assert ledger.verify()["version"] == 2 and check_chain(ledger) == 3


@pytest.fixture
def open_folder():
    """One that another user reaches, too."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hm-ledger-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_read_only(hallmark, open_folder, state):
    if os.geteuid() != 0:
        pytest.skip("to be another user takes root")
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    ledger = SqliteLedger(hallmark, open_folder / "ledger.db", state)
    ledger.append(3)
    os.chmod(ledger.uri, 0o644)
    command = [hallmark.binary, "log", "verify", "--ledger", ledger.uri]
    try:
        done = subprocess.run(command, env=hallmark.environment({"HALLMARK_STATE_DIR": "none"}),
                              capture_output=True, check=False, timeout=60, **nobody)
    except PermissionError:
        pytest.skip("another user does not reach the program")
    assert done.returncode == 0, done.stderr
    for what in (["append", ledger.uri, 1, "x"], ["ready", ledger.uri]):
        process = ledger.start(*what, **nobody)
        assert process.wait(60) == 3 and b"ledger" in process.stderr.read()
    assert check_chain(ledger) == 3


def test_full_disk(hallmark, tmp_path, state):
    if os.geteuid() != 0:
        pytest.skip("mounting a file system takes root")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", place],
                          capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        ledger = SqliteLedger(hallmark, place / "ledger.db", state)
        assert "full" in ledger.append(1000, expect=3)
        count = check_chain(ledger)
        assert 10 < count < 1000 and ledger.verify()["newest"]["sequence"] == count
        assert "no room" in ledger.run("ready", expect=3)
        subprocess.run(["mount", "-o", "remount,size=4m", place], check=True)
        ledger.append(2)
        assert check_chain(ledger) == count + 2
    finally:
        subprocess.run(["umount", place], check=True)


def test_somebody_else_holds_it(ledger):
    """Not for ever, and not without saying so."""
    ledger.append(1)
    holder = sqlite3.connect(ledger.uri, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    begun = time.monotonic()
    assert "another process" in ledger.append(1, expect=3)
    assert 5 < time.monotonic() - begun < 30
    holder.execute("ROLLBACK")
    holder.close()
    ledger.append(1)


def test_many_write_at_once(any_ledger):
    """Also while it is made."""
    writers = [any_ledger.start("append", any_ledger.uri, 50, f"m{i}") for i in range(8)]
    names = []
    for writer in writers:
        out, err = writer.communicate(timeout=300)
        assert writer.returncode == 0, err.decode()
        names.append(out.decode().split())
    assert check_chain(any_ledger) == 400 and any_ledger.verify()["newest"]["sequence"] == 400
    in_order = [row[0] for row in any_ledger.rows("id, sequence")]
    assert set(in_order) == set(sum(names, [])) and len(in_order) == 400
    for own in names:
        assert own == [name for name in in_order if name in set(own)]


def test_many_make_it_at_once(hallmark, tmp_path, postgres, state):  # noqa: F811
    """One makes it, and the others find it."""
    for attempt in range(6):
        for ledger in (SqliteLedger(hallmark, tmp_path / f"{attempt}.db", state),
                       PostgresLedger(hallmark, postgres, state)):
            makers = [ledger.start("append", ledger.uri, 1, "m") for _ in range(12)]
            for maker in makers:
                assert maker.wait(60) == 0, maker.communicate()
            assert check_chain(ledger) == 12


def test_killed_while_writing(any_ledger):
    """What was said to be there is there, and nothing is torn."""
    told = []
    for attempt in range(12):
        writer = any_ledger.start("append", any_ledger.uri, 100000, "resnet")
        time.sleep(0.05 + 0.037 * attempt)
        writer.kill()
        told += writer.communicate(timeout=60)[0].decode().split()
        assert writer.returncode == -signal.SIGKILL
    any_ledger.append(1)
    there = {row[0] for row in any_ledger.rows("id, sequence")}
    assert len(told) > 20 and set(told) <= there and check_chain(any_ledger) == len(there)
    any_ledger.verify()


def test_journal_of_a_writer_that_was_killed(ledger, tmp_path):
    """The next to come undoes the step, also when he only reads; who may not write is told."""
    ledger.append(30)
    with contextlib.closing(sqlite3.connect(ledger.uri, isolation_level=None)) as writer:
        writer.executescript("PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN IMMEDIATE;")
        for number in range(31, 60):
            writer.execute("INSERT INTO entries VALUES (?, ?, ?, ?, 't', 'k', 'm', 'e')",
                           (number, "x" * 300, "y" * 300, f"z{number}"))
        for name in ("ledger.db", "ledger.db-journal"):
            (tmp_path / "after").mkdir(exist_ok=True)
            shutil.copy(tmp_path / name, tmp_path / "after" / name)
        writer.execute("ROLLBACK")
    ledger.uri = str(tmp_path / "after" / "ledger.db")
    assert pathlib.Path(ledger.uri).stat().st_size > (tmp_path / "ledger.db").stat().st_size
    assert len(ledger.entries()) == 30
    assert not (tmp_path / "after" / "ledger.db-journal").exists()
    assert ledger.verify()["newest"]["sequence"] == 30 and check_chain(ledger) == 30


DIES_WRITING = """
import os, sqlite3, sys
writer = sqlite3.connect(sys.argv[1], isolation_level=None)
writer.executescript("PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN IMMEDIATE;")
for number in range(5000, 5100):
    writer.execute("INSERT INTO entries VALUES (?, ?, ?, ?, 't', 'k', 'm', 'e')",
                   (number, "x" * 300, "y" * 300, f"z{number}"))
os._exit(0)
"""


def test_a_writer_is_killed_while_somebody_reads(ledger):
    """The reader is at its first page of several when the journal is left behind."""
    ledger.append(1000)
    reader = subprocess.Popen(ledger.hallmark.command("log", "--json", "--ledger", ledger.uri),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    time.sleep(0.5)  # it waits for room in the pipe
    subprocess.run([sys.executable, "-c", DIES_WRITING, ledger.uri], check=True, timeout=60)
    assert pathlib.Path(ledger.uri + "-journal").exists()
    out, err = reader.communicate(timeout=60)
    assert reader.returncode == 0, err.decode()
    assert [json.loads(line)["sequence"] for line in out.splitlines()] == list(range(1, 1001))
    assert check_chain(ledger) == 1000


# ---- PostgreSQL ---------------------------------------------------------------------------------


@pytest.fixture
def shared(hallmark, postgres, state):  # noqa: F811
    return PostgresLedger(hallmark, postgres, state)


def unreachable(ledger, uri, limit=25):
    begun = time.monotonic()
    ledger.uri = uri
    errors = ledger.log(expect=3).err + ledger.append(1, expect=3)
    assert time.monotonic() - begun < 2 * limit
    assert ledger.server.password not in errors
    return errors


def test_password_in_the_uri(shared):
    name = database_of(shared.uri)
    uri, shared.uri = shared.uri, shared.server.tcp(name)
    shared.append(2)
    shared.state.mkdir(exist_ok=True)
    result = shared.hallmark("log", "verify", "--ledger", shared.uri, expect=0,
                             env={"HALLMARK_STATE_DIR": shared.state})
    assert shared.server.password not in result.out + result.err
    kept = b"".join(path.read_bytes() for path in shared.state.rglob("*.json"))
    assert kept and shared.server.password.encode() not in kept
    shared.uri = uri
    assert check_chain(shared) == 2


def test_wrong_passwords_are_not_told(shared):
    name = database_of(shared.uri)
    good = shared.server.tcp(name)
    password = shared.server.password
    assert "authentication failed" in unreachable(shared, good.replace(password, "wr0ng" + password))
    for uri in (f"postgresql://owner:{password}@{password}@127.0.0.1/x",
                f"postgresql://owner:{password}@127.0.0.1:port/x",
                f"postgresql://owner:{password}@127.0.0.1/x?no={password}",
                f"postgresql://owner:%zz{password}@127.0.0.1/x"):
        shared.uri = uri
        for words in (["log"], ["log", "verify"]):
            result = shared.hallmark(*words, "--ledger", uri, expect=(2, 3))
            assert password not in result.out + result.err


def test_postgres_is_down(shared):
    assert "cannot reach" in unreachable(shared, f"postgresql://x@127.0.0.1:1/x")
    assert "cannot reach" in unreachable(shared, "postgresql://x@no.such.host.invalid/x")
    assert "does not exist" in unreachable(shared, shared.server.uri("none"))


def test_a_server_that_says_nothing(shared):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        unreachable(shared, f"postgresql://x@127.0.0.1:{mute.getsockname()[1]}/x?connect_timeout=2")


def test_another_host_holds_it(shared):
    shared.append(1)
    holder = subprocess.Popen(["psql", "-X", "-q", "-h", shared.server.folder, "-p",
                               str(shared.server.port), "-U", "owner",
                               database_of(shared.uri), "-c",
                               "BEGIN; SELECT pg_advisory_xact_lock(5209904204319507794);"
                               " SELECT pg_sleep(60)"], stdout=subprocess.DEVNULL)
    try:
        time.sleep(1)
        begun = time.monotonic()
        assert "another host" in shared.append(1, expect=3)
        assert 5 < time.monotonic() - begun < 30
        assert len(shared.entries()) == 1  # who reads does not wait
    finally:
        holder.kill()
        holder.wait()


def test_rights_of_a_host(shared):
    """As docs/ledger.md grants them: to add, and nothing else."""
    shared.append(1)
    database = database_of(shared.uri)
    shared.server.sql(database, "CREATE ROLE host LOGIN;"
                      "GRANT USAGE ON SCHEMA hallmark TO host;"
                      "GRANT SELECT ON ALL TABLES IN SCHEMA hallmark TO host;"
                      "GRANT INSERT ON hallmark.entries, hallmark.checkpoints TO host")
    owner, shared.uri = shared.uri, shared.server.uri(database, "host")
    shared.append(2)
    shared.run("ready")
    shared.verify()
    shared.server.sql(database, "REVOKE INSERT ON hallmark.entries FROM host")
    assert "permission denied" in shared.append(1, expect=3)
    assert "may not insert" in shared.run("ready", expect=3)
    shared.uri = owner
    assert check_chain(shared) == 3


def test_two_entries_of_one_number(shared):
    """The database's own rules can be taken away; pages must not hide what then gets in."""
    shared.run("batch", 300, "resnet")
    shared.tamper("ALTER TABLE entries DROP CONSTRAINT entries_pkey;"
                  "ALTER TABLE entries DROP CONSTRAINT entries_id_key;"
                  "INSERT INTO entries SELECT * FROM entries WHERE sequence = 256")
    assert "301 entries are stored, and 300 have a number of their own" in shared.found()


def test_the_server_goes_away(shared):
    """In the middle of writing; afterwards what was told is there."""
    writer = shared.start("append", shared.uri, 100000, "resnet")
    time.sleep(1)
    shared.server.stop()
    out, err = writer.communicate(timeout=60)
    assert writer.returncode == 3 and b"ledger" in err
    shared.server.start()
    shared.append(1)
    there = {row[0] for row in shared.rows("id, sequence")}
    assert set(out.decode().split()) <= there and check_chain(shared) == len(there)
