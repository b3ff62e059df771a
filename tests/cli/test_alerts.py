# SPDX-License-Identifier: Apache-2.0
"""What commands record, and who is alerted of it: by real receivers, which judge what they get."""

import contextlib
import hashlib
import hmac
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import threading
import time

import cloud
import pytest
import support
from hosts import SECRET, host  # noqa: F401

DAY = 24 * 60 * 60
OKAY = (200, {}, b"")


def webhook(server, name="ops", **more):
    return {"name": name, "webhook": f"{server.url}/hook", "timeout": "5s", **more}


def body_of(request):
    return json.loads(request[3])


# ---- what is recorded ---------------------------------------------------------------------------


def test_nothing_changes_without_a_configuration(hallmark, host, ec, tmp_path):
    state = tmp_path / "state"
    env = {"HALLMARK_STATE_DIR": state}
    plain = hallmark("verify", host.good, "--key", ec.public, expect=0, env=env)
    assert plain.err == "" and not state.exists()
    host.configure(ledger=None)
    again = host.verify(host.good, expect=0, env=env)
    assert (again.out, again.err) == (plain.out, plain.err)
    assert not host.outbox.exists() and not host.ledger.exists() and not state.exists()


def test_each_outcome(host, hallmark, tmp_path, ec, keys):
    unsigned = support.make_model(tmp_path / "unsigned")
    policy = tmp_path / "policy.yaml"
    policy.write_text(f"version: 1\nsigners:\n  ci: {{keys: [{ec.public}]}}\n"
                      "models:\n  - {name: unsigned, signers: [ci], unsigned: warn}\n"
                      "  - {name: '*', signers: [ci]}\n")  # fmt: skip
    fresh = support.make_model(tmp_path / "fresh")
    env = host.env
    hallmark("sign", fresh, "--key", ec.private, expect=0, env=env)
    hallmark("verify", fresh, "--policy", policy, expect=0, env=env)
    host.verify(host.bad, expect=1)
    host.verify(tmp_path / "nowhere", expect=3)
    hallmark("verify", unsigned, "--policy", policy, expect=4, env=env)
    hallmark("resign", fresh, "--policy", policy, "--key", keys["python", "ec-p384"].private,
             expect=0, env=env)  # fmt: skip
    hallmark("verify", fresh, expect=2, env=env)  # a mistake on the command line is no event
    signed, verified, refused, undecided, let, resigned = host.events()
    digest = hallmark("verify", host.good, "--key", ec.public, "--json", expect=0).json()["model"]["model_digest"]
    assert signed["event"] == "signed" and signed["model"] == str(fresh)
    assert signed["digest"] == verified["digest"] == digest
    assert verified["event"] == "verified" and verified["signer"] == "ci"
    assert verified["fingerprint"] == ec.fingerprint
    assert refused["event"] == "refused" and refused["reason"] == "digest-mismatch"
    assert "digest" not in refused and "signer" not in refused and refused["message"]
    assert undecided["event"] == "undecided" and "No such file" in undecided["message"]
    assert let["event"] == "let-through" and let["reason"] == "unsigned"
    assert resigned["event"] == "signed"
    assert resigned["fingerprint"] == keys["python", "ec-p384"].fingerprint
    assert len({event["id"] for event in host.events()}) == 6


def test_keyrings(host, hallmark, tmp_path):
    ring = tmp_path / "ring"
    hallmark("key", "rotate", ring, "--no-passphrase", expect=0, env=host.env)
    hallmark("key", "rotate", ring, "--no-passphrase", expect=0, env=host.env)
    hallmark("key", "revoke", ring, "--version", "1", "--reason", "lost", expect=0, env=host.env)
    first, second, revoked = host.events()
    assert [e["event"] for e in (first, second, revoked)] == ["key-rotated"] * 2 + ["key-revoked"]
    assert (first["key_version"], second["key_version"], revoked["key_version"]) == (1, 2, 1)
    assert revoked["message"] == "lost" and revoked["source"] == str(ring)


def test_log_json(host, hallmark):
    """Whole lines of JSON on standard error, between those for people."""
    result = host.verify(host.bad, "--log", "json", expect=1)
    lines = result.err.splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    assert events == host.events() and len(lines) > 1
    host.configure(more="log: json\n", ledger=None)
    quiet = host.verify(host.good, expect=0)
    assert [json.loads(line)["event"] for line in quiet.err.splitlines()] == ["verified"]
    assert host.verify(host.good, "--log", "none", expect=0).err == ""
    assert "json" in host.verify(host.good, "--log", "text", expect=2).err


def test_ledger_option(host, tmp_path):
    host.configure(ledger=None)
    host.verify(host.good, "--ledger", f"sqlite:{host.ledger}", expect=0)
    assert [event["event"] for event in host.events()] == ["verified"]


# ---- a ledger that is not there -----------------------------------------------------------------


def test_events_wait_for_the_ledger_in_order(host):
    gone = host.folder / "gone"
    host.configure(ledger="sqlite:gone/ledger.db")
    result = host.verify(host.good, expect=0)
    assert "waits in the outbox" in result.err
    host.verify(host.bad, expect=1)
    assert len(host.waiting(".event")) == 2
    gone.mkdir()
    host.ledger = gone / "ledger.db"
    assert host.verify(host.good, expect=0).err == ""
    assert [event["event"] for event in host.events()] == ["verified", "refused", "verified"]
    assert host.waiting(".event") == []


def test_events_of_another_ledger_stay(host):
    host.configure(ledger="sqlite:gone/ledger.db")
    host.verify(host.good, expect=0)
    host.configure()
    assert host.verify(host.bad, expect=1).err.count("outbox") == 0
    assert [event["event"] for event in host.events()] == ["refused"]
    assert len(host.waiting(".event")) == 1


def test_a_store_that_is_not_there_is_not_made(host):
    """A disk that is not mounted: its place does not get an outbox."""
    host.configure(ledger=None)
    store = host.folder / "store"
    result = host.verify(host.good, expect=3, env={"HALLMARK_STORE": store,
                                                   "HALLMARK_CONFIG": None})  # fmt: skip
    assert "ledger" in result.err and not store.exists()


def test_neither_ledger_nor_receiver(host):
    """Both come back; nothing is lost, and what failed is told of once."""
    host.configure({"name": "log", "syslog": {"facility": "user", "socket": "log"}},
                   ledger="sqlite:gone/ledger.db")  # fmt: skip
    now = int(time.time())
    for _ in range(2):
        host.verify(host.bad, expect=1, env={"HALLMARK_TIME": now})
    (host.folder / "gone").mkdir()
    host.ledger = host.folder / "gone" / "ledger.db"
    with datagrams(host.folder / "log") as receiver:
        host.verify(host.good, expect=0, env={"HALLMARK_TIME": now + 60})
        told = [json.loads(receiver.recv(65536).split(b": ", 1)[1])["id"] for _ in range(2)]
    words = [event["event"] for event in host.events()]
    assert words == ["refused", "alert-failed", "refused", "alert-failed", "verified"]
    assert {event["id"] for event in host.events("refused")} == set(told)


def test_what_cannot_be_recorded_is_no_success(host, hallmark, ec):
    """Neither ledger nor outbox: nothing is signed, nothing verified; a refusal needs no ledger."""
    host.configure(ledger="sqlite:gone/ledger.db", more="")
    host.outbox.write_text("a file, not a directory")
    unsigned = support.make_model(host.folder / "unsigned")
    before = support.snapshot(unsigned)
    result = host.verify(host.good, "--json", expect=3)
    assert result.json()["status"] == "undecided" and "ledger" in result.json()["message"]
    hallmark("sign", unsigned, "--key", ec.private, expect=3, env=host.env)
    assert support.snapshot(unsigned) == before
    ring = host.folder / "ring"
    hallmark("key", "rotate", ring, "--no-passphrase", expect=3, env=host.env)
    assert not ring.exists()


def test_a_ledger_that_breaks_meanwhile(host, hallmark):
    """It was there when the signing began: the signature is there, and no success is told."""
    key = host.folder / "locked"
    hallmark("key", "generate", key, "--passphrase-fd", "0", input="tr0ub4dor\n", expect=0)
    host.verify(host.good, expect=0)
    host.outbox.write_text("a file, not a directory")
    unsigned = support.make_model(host.folder / "unsigned")
    run = subprocess.Popen(
        hallmark.command("sign", unsigned, "--key", key, "--passphrase-fd", "0"),
        env=hallmark.environment(host.env), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    time.sleep(1)  # it has opened the ledger, and waits for the passphrase
    with contextlib.closing(sqlite3.connect(host.ledger, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        out, err = run.communicate(b"tr0ub4dor\n", timeout=60)
    assert run.returncode == 3 and out == b"", (out, err)
    assert b"not recorded" in err and b"ledger" in err
    assert len(host.events()) == 1


# ---- webhooks -----------------------------------------------------------------------------------


def test_signed_webhook_over_tls(host, tmp_path):
    certificate = cloud.tls_certificate(tmp_path)
    (tmp_path / "token").write_text("Bearer t0ken\n")
    (tmp_path / "token").chmod(0o600)
    with cloud.Server(lambda _: OKAY, certificate) as server:
        host.configure(webhook(server, **{"ca-file": "localhost.crt", "secret-file": "secret",
                                          "authorization-file": "token"}))  # fmt: skip
        host.verify(host.good, expect=0)
        assert server.requests == []  # nobody is told of what is well
        host.verify(host.bad, expect=1)
        ((method, path, headers, body),) = server.requests
    assert (method, path) == ("POST", "/hook")
    (event,) = host.events("refused")
    assert json.loads(body) == event
    assert headers["Content-Type"] == "application/json"
    assert headers["Hallmark-Event"] == "refused" and headers["Hallmark-Id"] == event["id"]
    assert headers["Authorization"] == "Bearer t0ken"
    stamp = headers["Hallmark-Timestamp"]
    wanted = hmac.new(SECRET, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["Hallmark-Signature"] == f"sha256={wanted}"
    assert abs(int(stamp) - time.time()) < 60
    assert host.waiting(".alert") == []


def test_untrusted_receiver(host, tmp_path):
    certificate = cloud.tls_certificate(tmp_path)
    with cloud.Server(lambda _: OKAY, certificate) as server:
        host.configure(webhook(server))
        host.verify(host.bad, expect=1)
        assert server.requests == []
    assert "certificate" in host.events("alert-failed")[0]["message"]


def test_choice_of_events(host):
    with cloud.Server(lambda _: OKAY) as server:
        host.configure(webhook(server, events=["verified"]))
        host.verify(host.bad, expect=1)
        host.verify(host.good, expect=0)
        assert [body_of(request)["event"] for request in server.requests] == ["verified"]


def test_an_alert_is_tried_again_until_it_is_delivered(host):
    answers = [(500, {}, b"no"), (503, {}, b""), OKAY]
    with cloud.Server(lambda _: answers[len(server.requests) - 1]) as server:
        host.configure(webhook(server))
        now = int(time.time())
        result = host.verify(host.bad, expect=1, env={"HALLMARK_TIME": now})
        assert "answered 500" in result.err and len(server.requests) == 1
        assert len(host.waiting(".alert")) == 1
        # Not before it is due, and the pause doubles.
        for after, count in ((29, 1), (31, 2), (31 + 59, 2), (31 + 61, 3)):
            host.verify(host.good, expect=0, env={"HALLMARK_TIME": now + after})
            assert len(server.requests) == count, after
    bodies = {request[3] for request in server.requests}
    assert len(bodies) == 1 and host.waiting(".alert") == []
    (failed,) = host.events("alert-failed")  # once, however often it failed
    assert host.events("refused")[0]["id"] in failed["message"] and "500" in failed["message"]


def test_receivers_can_ask_to_be_left_alone(host):
    answers = [(429, {"Retry-After": "300"}, b""), OKAY]
    with cloud.Server(lambda _: answers[len(server.requests) - 1]) as server:
        host.configure(webhook(server))
        now = int(time.time())
        for after, count in ((0, 1), (299, 1), (301, 2)):
            host.verify(host.bad if after == 0 else host.good, expect=(0, 1),
                        env={"HALLMARK_TIME": now + after})  # fmt: skip
            assert len(server.requests) == count


def test_alerts_grow_old(host):
    with cloud.Server(lambda _: (500, {}, b"")) as server:
        host.configure(webhook(server))
        now = int(time.time())
        host.verify(host.bad, expect=1, env={"HALLMARK_TIME": now})
        host.verify(host.good, expect=0, env={"HALLMARK_TIME": now + 6 * DAY})
        assert len(server.requests) == 2 and len(host.waiting(".alert")) == 1
        host.verify(host.good, expect=0, env={"HALLMARK_TIME": now + 8 * DAY})
        assert len(server.requests) == 2 and host.waiting(".alert") == []
    assert ["dropped" in event["message"] for event in host.events("alert-failed")] == [False, True]


def test_a_receiver_that_hangs_holds_up_nobody_for_long(host):
    """The verdict is told before; and of many alerts that wait only one is tried."""
    release = threading.Event()
    with cloud.Server(lambda _: release.wait(20) and OKAY) as server:
        host.configure(webhook(server, timeout="1s"), webhook(server, "other", timeout="1s"))
        started = time.monotonic()
        result = host.verify(host.bad, expect=1)
        assert time.monotonic() - started < 8
        assert result.err.index("digest-mismatch") < result.err.index("outbox")
        assert len(server.requests) == 2 and len(host.waiting(".alert")) == 2
        host.verify(host.bad, expect=1)
        assert len(server.requests) == 4 and len(host.waiting(".alert")) == 4
        # Much later all four are due: each receiver is asked once more, and not for each alert.
        host.verify(host.good, expect=0, env={"HALLMARK_TIME": int(time.time()) + 60})
        assert len(server.requests) == 6 and len(host.waiting(".alert")) == 4
        release.set()


def test_redirects_are_not_followed(host):
    with cloud.Server(lambda _: OKAY) as other:
        with cloud.Server(lambda _: (307, {"Location": other.url}, b"")) as server:
            host.configure(webhook(server))
            host.verify(host.bad, expect=1)
        assert other.requests == [] and len(host.waiting(".alert")) == 1


def test_no_outbox_no_alerts(host):
    host.configure({"name": "a", "syslog": "user"}, more="")
    host.outbox.write_text("in the way")
    result = host.verify(host.good, expect=3)
    assert "there is no outbox" in result.err


# ---- killed -------------------------------------------------------------------------------------


def test_killed_while_delivering(host):
    """The alert stays, and comes again; the receiver knows it by its id."""
    arrived, release = threading.Event(), threading.Event()

    def answer(_):
        arrived.set()
        release.wait(10)
        return OKAY

    with cloud.Server(answer) as server:
        host.configure(webhook(server, timeout="20s"))
        run = subprocess.Popen(
            host.hallmark.command("verify", host.bad, "--key", host.key.public),
            env=host.hallmark.environment(host.env), stderr=subprocess.PIPE,
        )  # fmt: skip
        assert arrived.wait(20)
        assert b"digest-mismatch" in os.read(run.stderr.fileno(), 65536)  # told already
        # Another process meanwhile does not deliver what this one is at.
        host.verify(host.good, expect=0)
        assert len(server.requests) == 1
        run.send_signal(signal.SIGKILL)
        run.communicate()
        release.set()
        host.verify(host.good, expect=0)
        assert len({request[2]["Hallmark-Id"] for request in server.requests}) == 1
        assert len(server.requests) == 2
    assert host.waiting(".alert") == [] and len(host.events("refused")) == 1


def test_killed_before_the_ledger(host):
    """An alert whose event is not in the ledger: whoever delivers it puts it there."""
    with cloud.Server(lambda _: OKAY) as server:
        host.configure({"name": "ops", "command": ["/nonexistent/x"]})
        host.verify(host.bad, expect=1)
        (alert,) = host.waiting(".alert")
        state, event = alert.read_text().splitlines()
        alert.write_text(json.dumps({**json.loads(state), "attempts": 0, "next": 0},
                                    separators=(",", ":")) + "\n" + event + "\n")  # fmt: skip
        host.ledger.unlink()
        host.configure(webhook(server))
        host.verify(host.good, expect=0)
        assert len(server.requests) == 1
    assert [e["event"] for e in host.events()] == ["verified", "refused"]


# What changes files. Of each, strace counts the calls by themselves.
CHANGES = ["fsync", "fdatasync", "linkat", "rename", "renameat", "renameat2", "unlink", "unlinkat",
           "pwrite64", "ftruncate", "mkdir", "write", "sendto"]  # fmt: skip


def test_killed_anywhere(host, tmp_path):
    """SIGKILL at each system call that changes a file: no event without its alert, and no alert
    without its event."""
    if not can_trace():
        pytest.skip("no strace, or it may not trace")
    command = [*map(os.fsdecode, host.hallmark.command("verify", host.bad, "--key", host.key.public))]
    env = host.hallmark.environment({**host.env, "ASAN_OPTIONS": "detect_leaks=0"})
    killed = 0
    with cloud.Server(lambda _: OKAY) as server:
        host.configure(webhook(server))
        for call in CHANGES:
            for number in range(1, 100):
                inject = f"inject={call}:signal=KILL:when={number}"
                trace = ["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", f"trace={call}"]
                run = subprocess.run([*trace, "-e", inject, *command], env=env, capture_output=True,
                                     check=False)  # fmt: skip
                assert host.verify(host.good, expect=0).err == ""
                assert host.waiting(".alert") == [] and host.waiting(".event") == []
                told = {request[2]["Hallmark-Id"] for request in server.requests}
                assert told == {event["id"] for event in host.events("refused")}, (call, number)
                if run.returncode == support.REFUSED:
                    break
                killed += 1
    assert killed > 20


def can_trace():
    with contextlib.suppress(OSError):
        return subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True,
                              check=False).returncode == 0  # fmt: skip
    return False


def test_many_at_once(host):
    """Processes that end together: everything once in the ledger, every alert delivered."""
    with cloud.Server(lambda _: OKAY) as server:
        host.configure(webhook(server))
        command = host.hallmark.command("verify", host.bad, "--key", host.key.public)
        runs = [subprocess.Popen(command, env=host.hallmark.environment(host.env),
                                 stderr=subprocess.DEVNULL) for _ in range(8)]  # fmt: skip
        assert [run.wait(60) for run in runs] == [1] * 8
        host.verify(host.good, expect=0)
        ids = [request[2]["Hallmark-Id"] for request in server.requests]
    assert len(ids) == len(set(ids)) == 8
    assert {event["id"] for event in host.events("refused")} == set(ids)
    assert host.waiting(".alert") == []


# ---- commands -----------------------------------------------------------------------------------


def script(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_command(host, tmp_path):
    out = tmp_path / "out"
    program = script(tmp_path / "page", f'cat >{out}; env | sort >{out}.env; echo "$@" >{out}.args\n')
    host.configure({"name": "page", "command": ["./page", "$HOME; touch x", "--now"]})
    host.verify(host.bad, expect=1, env={"LD_EVIL": "1", "SECRET_TOKEN": "x", "PATH": "/evil:/usr/bin:/bin"})
    (event,) = host.events("refused")
    assert out.read_text().endswith("}\n") and json.loads(out.read_text()) == event
    env = dict(line.split("=", 1) for line in (tmp_path / "out.env").read_text().splitlines())
    assert set(env) - {"PWD", "_", "SHLVL", "OLDPWD"} == {"PATH", "LANG", "HALLMARK_EVENT", "HALLMARK_EVENT_ID"}
    assert env["HALLMARK_EVENT"] == "refused" and env["HALLMARK_EVENT_ID"] == event["id"]
    assert "evil" not in env["PATH"]
    assert (tmp_path / "out.args").read_text() == "$HOME; touch x --now\n"
    assert program and host.waiting(".alert") == []


@pytest.mark.parametrize(
    "text, words",
    [
        ("echo no pager; echo really >&2; exit 3\n", "ended with status 3: no pager really"),
        ("kill -9 $$\n", "ended by signal 9"),
        ("sleep 60 & sleep 60\n", "did not end within 1 s"),
        ("exec yes\n", "did not end within 1 s"),
        (None, "No such file"),
    ],
)
def test_commands_that_fail(host, tmp_path, text, words):
    if text is not None:
        script(tmp_path / "page", text)
    host.configure({"name": "page", "command": ["./page"], "timeout": "1s"})
    started = time.monotonic()
    host.verify(host.bad, expect=1)
    assert time.monotonic() - started < 10
    (failed,) = host.events("alert-failed")
    assert words in failed["message"] and len(failed["message"]) < 2000
    assert len(host.waiting(".alert")) == 1


def test_command_that_reads_nothing(host, tmp_path):
    script(tmp_path / "page", "exec true\n")
    host.configure({"name": "page", "command": ["./page"]})
    assert "outbox" not in host.verify(host.bad, expect=1).err


def test_names_of_models_are_only_data(host, tmp_path):
    """A line's end, quotes and a shell's words in a name."""
    name = "m\nFAKE=1\n$(touch pwned)'\";{\x1b"
    model = tmp_path / name
    os.rename(host.bad, model)
    out = tmp_path / "out"
    script(tmp_path / "page", f"cat >{out}\n")
    host.configure({"name": "page", "command": ["./page"]},
                   {"name": "log", "syslog": {"facility": "daemon", "journal": "journal"}})  # fmt: skip
    with datagrams(tmp_path / "journal") as receiver:
        result = host.verify(model, "--log", "json", expect=1, cwd=tmp_path)
        fields = journal_fields(receiver.recv(65536))
    events = [json.loads(line) for line in result.err.splitlines() if line.startswith("{")]
    assert [event["model"] for event in events] == [str(model)]
    assert json.loads(out.read_text())["model"] == fields["HALLMARK_MODEL"] == str(model)
    assert "FAKE" not in fields and not list(tmp_path.glob("**/pwned"))


# ---- syslog and journald ------------------------------------------------------------------------


@contextlib.contextmanager
def datagrams(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        receiver.settimeout(10)
        yield receiver


def test_syslog(host, tmp_path):
    host.configure({"name": "log", "syslog": {"facility": "local3", "socket": "log"}})
    with datagrams(tmp_path / "log") as receiver:
        host.verify(host.bad, expect=1)
        line = receiver.recv(65536).decode()
    head, text = line.split(": ", 1)
    assert head.startswith(f"<{19 * 8 + 4}>{time.strftime('%b')} ") and " hallmark[" in head
    assert [json.loads(text)] == host.events("refused")


def test_syslog_that_is_not_there(host, tmp_path):
    host.configure({"name": "log", "syslog": {"facility": "daemon", "socket": "log"}})
    host.verify(host.bad, expect=1)
    assert "cannot write to the log" in host.events("alert-failed")[0]["message"]
    with datagrams(tmp_path / "log") as receiver:
        host.verify(host.good, expect=0, env={"HALLMARK_TIME": int(time.time()) + 60})
        assert b'"refused"' in receiver.recv(65536)


def journal_fields(data):
    """By systemd's documentation of the protocol."""
    fields = {}
    while data:
        line, data = data.split(b"\n", 1)
        if b"=" in line:
            name, value = line.split(b"=", 1)
        else:
            name, length = line, int.from_bytes(data[:8], "little")
            value, end, data = data[8 : 8 + length], data[8 + length : 9 + length], data[9 + length :]
            assert end == b"\n"
        assert name.decode() not in fields
        fields[name.decode()] = value.decode()
    return fields


def test_journald(host, tmp_path):
    host.configure({"name": "log", "syslog": {"facility": "daemon", "journal": "journal"}})
    with datagrams(tmp_path / "journal") as receiver:
        host.verify(host.bad, expect=1)
        fields = journal_fields(receiver.recv(65536))
    (event,) = host.events("refused")
    assert json.loads(fields["HALLMARK_JSON"]) == event
    assert fields["HALLMARK_EVENT"] == "refused" and fields["HALLMARK_MODEL"] == str(host.bad)
    assert fields["HALLMARK_REASON"] == "digest-mismatch" and fields["PRIORITY"] == "4"
    assert fields["SYSLOG_FACILITY"] == "3" and fields["SYSLOG_IDENTIFIER"] == "hallmark"
    assert fields["MESSAGE"].startswith(f"refused {host.bad}: ")


# ---- several ------------------------------------------------------------------------------------


def test_several_receivers(host, tmp_path):
    """One that is away keeps nothing from the others."""
    out = tmp_path / "out"
    script(tmp_path / "page", f"cat >>{out}\n")
    with cloud.Server(lambda _: OKAY) as server, datagrams(tmp_path / "log") as receiver:
        host.configure({"name": "away", "webhook": "http://127.0.0.1:9/", "timeout": "1s"},
                       webhook(server), {"name": "page", "command": ["./page"]},
                       {"name": "log", "syslog": {"facility": "user", "socket": "log"}})  # fmt: skip
        host.verify(host.bad, expect=1)
        ids = {body_of(server.requests[0])["id"], json.loads(out.read_text())["id"],
               json.loads(receiver.recv(65536).split(b": ", 1)[1])["id"]}  # fmt: skip
    assert ids == {event["id"] for event in host.events("refused")}
    (left,) = host.waiting(".alert")
    assert left.name.endswith(".away.alert")
    assert stat.S_IMODE(left.stat().st_mode) == 0o600 and stat.S_IMODE(host.outbox.stat().st_mode) == 0o700
