# SPDX-License-Identifier: Apache-2.0
"""hallmark check: what is served is verified, and what is bad is taken back."""

import contextlib
import fcntl
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

import gate
import support

LET_THROUGH = 4


@pytest.fixture
def store(hallmark, keys, tmp_path):
    return gate.Store(hallmark, tmp_path, keys["openssl", "ec-p256"])


def check(store, *options, expect=support.OK, **more):
    return store.run("check", *options, "--json", expect=expect, **more).json()


# ---- good ---------------------------------------------------------------------------------------


def test_good(store):
    (digest,) = store.versions(1)
    before = support.snapshot(store.place() / "versions")
    (report,) = check(store)
    assert (report["operation"], report["status"]) == ("check", "verified")
    assert report["model"]["model_digest"] == digest and report["signer"]["name"] == "training"
    assert report["store"]["current"] == digest and not report["store"]["switched"]
    assert support.snapshot(store.place() / "versions") == before
    assert store.is_sound() and store.held() == []
    assert store.told("verified")[-1] == ("verified", digest)


def test_text(store):
    store.versions(1)
    result = store.run("check", "m")
    assert result.out.startswith("verified: ") and result.err == ""


def test_when_it_was_verified_last(store):
    store.versions(1)
    store.run("check", env={"HALLMARK_TIME": 1_900_000_000})
    assert store.status()["last_verified"] == "2030-03-17T17:46:40Z" and store.status()["good"]


def test_no_model_at_all(store):
    store.versions(1)
    shutil.rmtree(store.path / "models" / "m")
    assert check(store) == []
    result = store.run("check", "m", expect=support.USAGE)
    assert "no model named m" in result.err


# ---- bad ----------------------------------------------------------------------------------------


def test_bad_goes_and_the_last_good_comes_back(store):
    old, new = store.versions(2)
    good = support.snapshot(store.file(old, "").parent)
    store.tamper(new)
    (report,) = check(store, expect=support.REFUSED)
    assert (report["status"], report["reason"]) == ("refused", "digest-mismatch")
    assert [finding["name"] for finding in report["findings"]] == ["weights.safetensors"]
    told = report["store"]
    assert (told["action"], told["switched"]) == ("rolled-back", True)
    assert (told["version"], told["previous"], told["current"]) == (new, new, old)
    assert store.current() == old and store.stored() == [old] and store.is_sound()
    assert support.snapshot(store.file(old, "").parent) == good
    (held,) = store.held()
    assert held["id"] == told["quarantine"] and held["version"] == new
    assert (held["reason"], held["found"]) == ("digest-mismatch", "in-the-store")
    assert held["content"] and held["bytes"] > 50_000
    assert (pathlib.Path(held["path"]) / "held" / "model" / "weights.safetensors").exists()
    assert store.told()[-3:] == [("refused", new), ("rolled-back", old), ("quarantined", new)]
    (report,) = check(store)
    assert report["model"]["model_digest"] == old


def test_the_rollback_is_recorded_with_its_reason(store):
    old, new = store.versions(2)
    store.tamper(new)
    store.run("check", expect=support.REFUSED)
    refused, back, held = store.events()[-3:]
    assert {event["reason"] for event in (refused, back, held)} == {"digest-mismatch"}
    assert back["previous"] == new and back["signer"] == "training"
    assert "signer" not in refused, "nothing of a bad model is shown as its signer's"
    assert held["quarantine"] == store.held()[0]["id"]


def test_what_takes_the_place_is_verified_then(store):
    first, second, third = store.versions(3)
    store.tamper(third)
    store.tamper(second)
    check(store, expect=support.REFUSED)
    assert store.current() == first and store.stored() == [first]
    assert {held["version"] for held in store.held()} == {second, third}
    assert store.told("rolled-back") == [("rolled-back", first)]


def test_nothing_good_is_left(store):
    old, new = store.versions(2)
    store.tamper(new)
    store.tamper(old)
    (report,) = check(store, expect=support.REFUSED)
    assert report["store"]["action"] == "deactivated" and report["store"]["current"] is None
    assert store.current() is None and store.stored() == []
    assert store.told()[-5:] == [
        ("refused", new), ("deactivated", None), ("quarantined", new),
        ("refused", old), ("quarantined", old),
    ]  # fmt: skip
    # It goes on being said, but is not news.
    events = store.told()
    (report,) = check(store, expect=support.REFUSED)
    assert report["reason"] == "missing-file" and "taken away" in report["message"]
    assert store.told() == events
    assert store.status()["state"] == "taken-away"
    store.deploy(store.source("new"))
    check(store)


@pytest.mark.parametrize("how", ["option", "configuration"])
def test_leave_bad(store, how):
    (digest,) = store.versions(1)
    store.tamper(digest)
    options, env = ["--leave-bad"], {}
    if how == "configuration":
        path = store.folder / "config.yaml"
        path.write_text("hallmark-config: 1\ncheck:\n  when-none-is-good: leave\n")
        options, env = [], {"HALLMARK_CONFIG": path}
    for _ in range(2):
        (report,) = check(store, *options, expect=support.REFUSED, env=env)
        assert report["store"]["action"] == "left" and report["store"]["current"] == digest
        assert store.current() == digest and store.held() == []
        assert store.told()[-1] == ("refused", digest)
    assert store.status()["state"] == "bad"
    assert "still served" in store.run("status").out


def test_leave_bad_takes_what_is_good(store):
    old, new = store.versions(2)
    store.tamper(new)
    check(store, "--leave-bad", expect=support.REFUSED)
    assert store.current() == old


def test_another_file_beside_the_models(store):
    old, new = store.versions(2)
    folder = store.file(new, "").parent / "model"
    folder.chmod(0o755)
    (folder / "modeling.py").write_text("import os\n")
    (report,) = check(store, expect=support.REFUSED)
    assert report["reason"] == "extra-file" and store.current() == old


def test_a_file_that_is_gone(store):
    old, new = store.versions(2)
    store.file(new).parent.chmod(0o755)
    store.file(new).unlink()
    (report,) = check(store, expect=support.REFUSED)
    assert report["reason"] == "missing-file" and store.current() == old


def test_a_signature_that_is_gone(store):
    old, new = store.versions(2)
    store.file(new).parent.chmod(0o755)
    store.file(new, "model.sig").unlink()
    check(store, expect=support.REFUSED)
    assert store.current() == old


@pytest.mark.parametrize("spoil", ["record", "no record", "model", "all"])
def test_a_version_that_cannot_be_read(store, spoil):
    """Whoever spoils a record must not have the model served unverified for ever."""
    old, new = store.versions(2)
    folder = store.place() / "versions" / new
    for path in (folder, folder / "model", folder / "model" / "sub"):
        path.chmod(0o755)
    if spoil == "record":
        (folder / "version.json").chmod(0o644)
        (folder / "version.json").write_text("{}")
    elif spoil == "no record":
        (folder / "version.json").unlink()
    else:
        shutil.rmtree(folder / "model" if spoil == "model" else folder)
    check(store, expect=support.REFUSED)
    assert store.current() == old and store.stored() == [old] and store.is_sound()
    assert len(store.held()) == (0 if spoil == "all" else 1)


def test_a_revoked_key(store, keys):
    """What was good at its deployment is judged by the policy as it is now."""
    (digest,) = store.versions(1)
    other = keys["python", "ec-p256", "other"]
    revoked = f"revoked:\n  - fingerprint: {store.key.fingerprint}\n    since: 2020-01-01\n    reason: stolen\n"
    store.policy.write_text(gate.POLICY + revoked)
    (report,) = check(store, expect=support.REFUSED)
    assert report["reason"] == "revoked-key" and store.current() is None
    (store.folder / "training.pub").write_bytes(other.public.read_bytes())
    check(store, expect=support.REFUSED)
    assert store.status()["quarantine"][0]["version"] == digest


def test_a_version_under_another_name(store):
    """A signed model in the place of another is not what was deployed there."""
    old, new = store.versions(2)
    versions = store.place() / "versions"
    for digest in (old, new):
        (versions / digest).chmod(0o755)
    os.rename(versions / new, versions / "aside")
    shutil.copytree(versions / old, versions / new)
    shutil.rmtree(versions / "aside", ignore_errors=True)
    check(store, expect=support.REFUSED)
    assert store.current() == old


# ---- `current` itself ---------------------------------------------------------------------------


@pytest.mark.parametrize("bend", ["gone", "elsewhere", "folder", "file"])
def test_current_is_bent(store, bend, tmp_path):
    old, new = store.versions(2)
    link = store.place() / "current"
    link.unlink()
    if bend == "elsewhere":
        link.symlink_to(tmp_path)
    elif bend == "folder":
        link.mkdir()
        (link / "evil.py").write_text("x")
    elif bend == "file":
        link.write_text("x")
    assert store.status()["state"] == "astray"
    (report,) = check(store, expect=support.REFUSED)
    assert report["store"]["action"] == "activated" and report["store"]["current"] == new
    assert store.current() == new and store.stored() == sorted([old, new]) and store.is_sound()
    news = [("quarantined", None)] if bend == "folder" else []
    news += [("refused", None), ("activated", new)]
    assert store.told()[-len(news):] == news
    held = [pathlib.Path(one["path"]) / "held" / "evil.py" for one in store.held()]
    assert [path.read_text() for path in held] == (["x"] if bend == "folder" else [])
    assert store.file(new).exists() and tmp_path.exists()
    check(store)


def test_current_is_bent_to_an_older_version(store):
    """That one is in the store and good: it is what is verified."""
    old, new = store.versions(2)
    (store.place() / "current").unlink()
    (store.place() / "current").symlink_to(f"versions/{old}/model")
    (report,) = check(store)
    assert report["model"]["model_digest"] == old


# ---- no verdict ---------------------------------------------------------------------------------


def test_an_unreadable_policy_changes_nothing(store):
    (digest,) = store.versions(1)
    before = support.snapshot(store.path)
    store.policy.write_text("version: 1\nmodels: [\n")
    result = store.run("check", expect=support.UNDECIDED)
    assert "policy.yaml" in result.err
    after = support.snapshot(store.path)
    assert {k: v for k, v in after.items() if "ledger" not in k} == {
        k: v for k, v in before.items() if "ledger" not in k
    }
    assert store.current() == digest


def test_a_disk_error_changes_nothing(store):
    """A file that cannot be opened decides nothing. As root that takes something that is no file
    system's business: a limit on open descriptors."""
    (digest,) = store.versions(1)
    arguments = store.hallmark.command("check", "--json", "--jobs", "1")
    environment = store.hallmark.environment(store.environment)
    seen = set()
    for limit in range(4, 16):
        done = subprocess.run(["prlimit", f"--nofile={limit}", *arguments], env=environment,
                              capture_output=True, timeout=60, check=False)  # fmt: skip
        seen.add(done.returncode)
        assert done.returncode in (support.OK, support.UNDECIDED, 127), done.stderr
        assert store.current() == digest and store.held() == []
    assert seen >= {support.OK, support.UNDECIDED}


@pytest.mark.parametrize("served", ["nothing any more", "nothing yet", "something"])
def test_it_removes_what_a_killed_deployment_had_copied(store, served):
    if served == "nothing yet":
        store.deploy(store.source(0), "--no-switch")
    else:
        (only,) = store.versions(1)
        if served == "nothing any more":
            store.tamper(only)
            store.run("check", expect=support.REFUSED)
    copied = store.place() / "staging-0123456789ab" / "model"
    copied.mkdir(parents=True)
    (copied / "weights.safetensors").write_bytes(b"half of it")
    store.run("check", expect=(support.OK, support.REFUSED, support.UNDECIDED))
    assert store.is_sound()


def test_one_model_does_not_stop_the_others(store):
    store.versions(1, name="a")
    (bad,) = store.versions(1, name="b")
    store.versions(1, name="c")
    (store.place("a") / "state.json").write_text("{")
    store.tamper(bad, model="b")
    result = store.run("check", "--json", expect=support.REFUSED)
    assert [report["status"] for report in result.json()] == ["undecided", "refused", "verified"]
    assert store.current("b") is None and store.current("c") and store.current("a")


def locked(store):
    """The model's lock, held until it is closed."""
    lock = open(store.place() / "lock", "rb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def test_somebody_else_has_the_lock(store):
    """A check reads without it; only when it has to act must it wait."""
    old, new = store.versions(2)
    with locked(store):
        (report,) = check(store)
        assert report["status"] == "verified" and store.told("verified") == [("verified", new)]
        store.tamper(new)
        result = store.run("check", expect=support.REFUSED)
        assert "still current" in result.err and store.current() == new
    check(store, expect=support.REFUSED)
    assert store.current() == old


def wait_until_open(process, name):
    """Fails when the process ends before, or never has a file of that name open."""
    for _ in range(6000):
        assert process.poll() is None
        with contextlib.suppress(OSError):
            fds = pathlib.Path(f"/proc/{process.pid}/fd").iterdir()
            if any(os.readlink(fd).endswith(name) for fd in fds):
                return
        time.sleep(0.01)
    pytest.fail(f"{name} was not opened")


def test_repaired_after_it_was_read(store):
    """A check found the record spoiled, and waits for the lock; it acts on what is there then."""
    _, new = store.versions(2)
    version = store.place() / "versions" / new
    for path in (version, version / "version.json"):
        path.chmod(0o755)
    (version / "version.json").write_text("{}")
    with locked(store):
        command = store.hallmark.command("check")
        waiting = subprocess.Popen(command, env=store.hallmark.environment(store.environment),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
        wait_until_open(waiting, "/models/m/lock")
        waiting.send_signal(signal.SIGSTOP)
    assert store.deploy(store.folder / "source-1", "--json").json()["store"]["action"] == "repaired"
    waiting.send_signal(signal.SIGCONT)
    output = waiting.communicate(timeout=60)
    assert waiting.returncode == support.OK, output
    assert store.current() == new and store.told("rolled-back") == []


def test_removed_while_it_is_read(store):
    """Its files were gone, so that nothing was good; but that they are is no fault of anybody's, and
    whoever has the lock then need not let go of it for the check to see that."""
    folder = store.source("large", sign=False)
    with open(folder / "0.bin", "wb") as large:
        large.truncate(512 << 20)
    store.hallmark("sign", folder, "--key", store.key.private, expect=support.OK)
    store.deploy(folder, env={"HALLMARK_TIME": 1_800_000_010})
    command = store.hallmark.command("check", "--jobs", "1")
    reading = subprocess.Popen(command, env=store.hallmark.environment(store.environment),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    wait_until_open(reading, "/model/0.bin")
    reading.send_signal(signal.SIGSTOP)
    for number in (2, 3):
        store.deploy(store.source(number), env={"HALLMARK_TIME": 1_800_000_020 + number})
    store.run("gc", "m", "--keep", "1", expect=support.OK)
    assert len(os.listdir(store.place() / "versions")) == 2
    with locked(store):
        reading.send_signal(signal.SIGCONT)
        output = reading.communicate(timeout=120)
    assert reading.returncode == support.OK, output
    assert store.told("refused", "undecided") == [] and store.told("verified")[-1][1] == store.current()


def test_nobody_keeps_a_check_from_a_verdict(store):
    """Who writes another id into the record of a bad version, again and again, looks like one who
    deploys it anew all the while. In the end a check reads it with the lock held."""
    old, new = store.versions(2)
    store.tamper(new)
    record = store.place() / "versions" / new / "version.json"
    record.parent.chmod(0o755)
    content = json.loads(record.read_text())
    stop = threading.Event()

    def rewrite():
        with contextlib.suppress(FileNotFoundError):  # it has been taken away
            for number in itertools.count():
                if stop.is_set():
                    return
                spare = record.with_name("spare")
                spare.write_text(json.dumps({**content, "id": f"{number:012x}"}))
                spare.replace(record)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        store.run("check", expect=support.REFUSED)
    finally:
        stop.set()
        writer.join()
    assert store.current() == old and store.told("rolled-back")


def let_through(store):
    store.policy.write_text(gate.POLICY + "    unsigned: warn\n")
    store.deploy(store.source(0, sign=False), expect=LET_THROUGH)


def good(store):
    store.versions(1)


def keep_from_recording(store):
    """Neither the ledger nor the outbox takes anything."""
    (store.path / "ledger.db").unlink()
    (store.path / "ledger.db").mkdir()
    (store.path / "outbox").rmdir()
    (store.path / "outbox").write_text("a file, not a directory")


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("deploy, status", [(good, support.OK), (let_through, LET_THROUGH)])
def test_a_good_verdict_that_cannot_be_recorded(store, deploy, status, locked):
    """Then nothing is called good, nor let through, be it that nobody can have the lock."""
    deploy(store)
    if locked:
        (store.place() / "lock").unlink()
        (store.place() / "lock").mkdir()
    count = len(store.told("verified", "let-through"))
    store.run("check", expect=status)
    assert len(store.told("verified", "let-through")) == count + 1
    keep_from_recording(store)
    result = store.run("check", expect=support.UNDECIDED)
    assert "ledger" in result.err


def test_what_could_not_be_recorded_is_told(store):
    (version,) = store.versions(1)
    (store.place() / "journal.json").write_text("{}")
    keep_from_recording(store)
    state = store.place() / "state.json"
    kept = state.read_bytes()
    state.write_text("{}")
    result = store.run("check", expect=support.UNDECIDED)
    assert "is damaged" in result.err and "could not be recorded" in result.err
    state.write_bytes(kept)
    store.tamper(version)
    result = store.run("check", "--json", expect=support.REFUSED)
    (report,) = result.json()
    assert "no longer current" in report["hint"] and "could not be recorded" in report["hint"]


def test_an_unreachable_ledger_does_not_blind_it(store):
    old, new = store.versions(2)
    store.tamper(new)
    ledger = store.path / "ledger.db"
    kept = ledger.read_bytes()
    for name in store.path.glob("ledger.db*"):
        name.unlink()
    ledger.mkdir()
    store.run("check", expect=support.REFUSED)
    assert store.current() == old
    ledger.rmdir()
    ledger.write_bytes(kept)
    check(store)
    assert ("rolled-back", old) in store.told() and ("quarantined", new) in store.told()


# ---- as a service -------------------------------------------------------------------------------


class Service:
    def __init__(self, store, *options, env=None):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.path = store.folder / "notify"
        self.path.unlink(missing_ok=True)
        self.socket.bind(str(self.path))
        self.socket.settimeout(30)
        environment = store.hallmark.environment(
            {**store.environment, "NOTIFY_SOCKET": self.path, **(env or {})}
        )
        self.process = subprocess.Popen(
            store.hallmark.command("check", *options), env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.heard = []

    def wait_for(self, beginning, seconds=30):
        end = time.monotonic() + seconds
        while True:
            assert time.monotonic() < end, self.heard
            message = self.socket.recv(4096).decode()
            self.heard.append(message)
            if message.startswith(beginning):
                return message

    def end(self, number=signal.SIGTERM, seconds=10):
        self.process.send_signal(number)
        begun = time.monotonic()
        out, err = self.process.communicate(timeout=60)
        assert time.monotonic() - begun < seconds
        self.socket.setblocking(False)
        try:
            while True:
                self.heard.append(self.socket.recv(4096).decode())
        except BlockingIOError:
            pass
        self.socket.close()
        return self.process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_service(store, number):
    old, new = store.versions(2)
    service = Service(store, "--every", "1s")
    service.wait_for("READY=1")
    service.wait_for("STATUS=verifying m")
    assert service.wait_for("STATUS=1 ") == "STATUS=1 models verified, 0 not"
    store.tamper(new)
    service.wait_for("STATUS=0 models verified, 1 not")
    assert store.current() == old
    service.wait_for("STATUS=1 models verified")
    rc, out, err = service.end(number)
    assert rc == 0 and out == "" and "weights.safetensors" in err
    assert service.heard[-1] == "STOPPING=1" and service.heard.count("READY=1") == 1


def test_service_of_named_models_as_the_configuration_says(store):
    store.versions(1, name="a")
    store.versions(1, name="b")
    config = store.folder / "config.yaml"
    config.write_text("hallmark-config: 1\ncheck:\n  every: 1s\n")
    service = Service(store, "b", "--service", "--json", env={"HALLMARK_CONFIG": config})
    for _ in range(2):
        service.wait_for("STATUS=verifying b")
        service.wait_for("STATUS=1 models verified")
    rc, out, err = service.end()
    assert rc == 0 and err == "" and "STATUS=verifying a" not in service.heard
    rounds = [json.loads(text) for text in re.findall(r"^\[$.*?^\]$", out, re.M | re.S)]
    assert len(rounds) >= 2
    assert {report["store"]["name"] for (report,) in rounds} == {"b"}


def core_limit(process):
    limits = pathlib.Path(f"/proc/{process}/limits").read_text()
    return re.search(r"Max core file size +(\S+) +(\S+)", limits).groups()


@pytest.mark.parametrize("signs", [False, True])
def test_memory_that_a_checkpoint_key_may_lie_in_is_not_dumped(store, signs):
    store.versions(1)
    config = store.folder / "config.yaml"
    key = f"checkpoints: {{key: {store.key.private}, every: 50}}\n" if signs else ""
    config.write_text("hallmark-config: 1\n" + key)
    service = Service(store, "--every", "1h", env={"HALLMARK_CONFIG": config})
    service.wait_for("STATUS=1 models verified")
    core = core_limit(service.process.pid)
    assert service.end()[0] == 0
    assert core == (("0", "0") if signs else core_limit("self"))


def test_service_reads_the_policy_again(store):
    (digest,) = store.versions(1)
    service = Service(store, "--every", "1s")
    service.wait_for("STATUS=1 models verified")
    good = store.policy.read_text()
    store.policy.write_text("version: 1\nmodels: [\n")
    service.wait_for("STATUS=cannot check")
    assert store.current() == digest
    store.policy.write_text(
        good + f"revoked:\n  - fingerprint: {store.key.fingerprint}\n    since: 2020-01-01\n    reason: stolen\n"
    )
    service.wait_for("STATUS=0 models verified, 1 not")
    assert store.current() is None
    rc, _, err = service.end()
    assert rc == 0 and "policy.yaml" in err and "revoked-key" in err


def test_service_that_cannot_begin(store):
    store.versions(1)
    store.policy.unlink()
    result = store.run("check", "--every", "1s", expect=support.UNDECIDED)
    assert "policy.yaml" in result.err


def test_service_stops_in_the_middle_of_a_model(store):
    """Long before a large file is read, and with nothing changed."""
    folder = store.source(0, sign=False)
    with open(folder / "large", "wb") as out:
        out.truncate(64 << 30)  # a hole, which takes as long to digest as data
    (folder / "large").unlink()
    store.hallmark("sign", folder, "--key", store.key.private, expect=support.OK)
    store.deploy(folder)
    digest = store.current()
    store.file(digest, "weights.safetensors").parent.chmod(0o755)
    os.truncate(store.file(digest), 64 << 30)
    service = Service(store, "--every", "1s", "--jobs", "1",
                      env={"WATCHDOG_USEC": 400_000, "WATCHDOG_PID": ""})  # fmt: skip
    service.wait_for("STATUS=verifying")
    for _ in range(3):
        service.wait_for("WATCHDOG=1")
    before = store.told()
    rc, _, _ = service.end(seconds=5)
    assert rc == 0 and store.current() == digest and store.held() == []
    assert service.heard[-1] == "STOPPING=1"
    assert [event for event in store.told() if event not in before] == []


def test_service_stops_while_it_looks_for_a_good_version(store):
    """That nobody waited for the verdict on the last good one is no reason to serve nothing."""
    old, new = store.versions(2)
    store.tamper(new)
    store.file(old).parent.chmod(0o755)
    os.truncate(store.file(old), 64 << 30)
    service = Service(store, "--every", "1s", "--jobs", "1",
                      env={"WATCHDOG_USEC": 400_000, "WATCHDOG_PID": ""})  # fmt: skip
    service.wait_for("STATUS=verifying")
    for _ in range(3):
        service.wait_for("WATCHDOG=1")
    rc, _, _ = service.end(seconds=5)
    assert rc == 0 and store.current() == new and store.held() == []
    assert store.told()[-1] == ("refused", new)


def test_watchdog_of_another_process(store):
    store.versions(1)
    service = Service(store, "--every", "1s", env={"WATCHDOG_USEC": 100_000, "WATCHDOG_PID": 1})
    service.wait_for("STATUS=1 models")
    service.wait_for("STATUS=1 models")
    service.end()
    assert "WATCHDOG=1" not in service.heard


def test_abstract_socket(store):
    store.versions(1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0hallmark-test-{os.getpid()}")
        listening.settimeout(30)
        store.run("check", env={"NOTIFY_SOCKET": f"@hallmark-test-{os.getpid()}"})
        assert [listening.recv(100) for _ in range(2)] == [b"READY=1", b"STATUS=verifying m"]


@pytest.mark.parametrize("name", ["relative", "/" + 200 * "x", "", "@", "/nowhere/at/all"])
def test_sockets_that_are_none(store, name):
    store.versions(1)
    store.run("check", env={"NOTIFY_SOCKET": name})


def test_service_does_not_fill_the_ledger(store):
    store.versions(1)
    count = len(store.told())
    service = Service(store, "--every", "1s")
    for _ in range(3):
        service.wait_for("STATUS=1 models verified")
    service.end()
    assert len(store.told("verified")) <= 2 and len(store.told()) <= count + 1


@pytest.mark.parametrize("text", ["0s", "5", "m", "-1s", "1y", ""])
def test_periods_that_are_none(store, text):
    result = store.run("check", f"--every={text}", expect=support.USAGE)
    assert "--every" in result.err
