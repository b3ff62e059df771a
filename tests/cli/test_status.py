# SPDX-License-Identifier: Apache-2.0
"""hallmark status and gc: what is there, and what goes."""

import json
import os
import shutil
import subprocess

import pytest

import gate
import support


@pytest.fixture
def store(hallmark, keys, tmp_path):
    return gate.Store(hallmark, tmp_path, keys["openssl", "ec-p256"])


@pytest.fixture
def fits():
    """Holds a document against the schema."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((support.ROOT / "docs" / "status.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)

    def check(document):
        validator.validate(document)
        assert not validator.is_valid({**document, "more": 1})
        return document

    return check


# ---- status -------------------------------------------------------------------------------------


def test_at_a_glance(store):
    old, new = store.versions(2, name="llama")
    store.versions(1, name="bert")
    store.tamper(new, model="llama")
    store.run("check", "llama", expect=support.REFUSED, env={"HALLMARK_TIME": 1_900_000_000})
    lines = store.run("status").out.splitlines()
    assert lines[0].split() == ["store", str(store.path)]
    assert lines[1].split("  ")[0] == "MODEL" and len(lines) == 4
    assert lines[2].split()[:3] == ["bert", store.current("bert")[:12], "training"]
    assert lines[3].split() == ["llama", old[:12], "training", "2027-01-15T08:00:00Z",
                                "2030-03-17T17:46:40Z", "1"]  # fmt: skip


def test_for_programs(store, fits):
    old, new = store.versions(2)
    document = fits(store.run("status", "--json").json())
    (model,) = document["models"]
    assert document["store"] == str(store.path) and model == store.status()
    assert (model["name"], model["state"], model["current"]) == ("m", "serving", new)
    assert model["signer"] == "training" and model["key_fingerprint"] == store.key.fingerprint
    assert (model["last_good"], model["good"], model["quarantine"]) == (old, True, [])
    assert [version["version"] for version in model["versions"]] == [new, old]
    assert model["versions"][0]["source"] == str(store.folder / "source-1")


def test_one_model(store):
    old, new = store.versions(2)
    shown = store.run("status", "m").out
    assert f"current        {new}\n" in shown and f"{old[:12]}  training" in shown
    assert "last good" in shown and store.key.fingerprint in shown


def test_a_key_without_a_name_is_short_in_tables(store):
    (only,) = store.versions(1)
    store.deploy(store.folder / "source-0", "--key", store.key.public, name="bare",
                 env={"HALLMARK_POLICY": None})  # fmt: skip
    table = store.run("status").out
    assert f"bare   {only[:12]}  {store.key.fingerprint[:12]}  " in table
    shown = store.run("status", "bare").out
    assert f"key            {store.key.fingerprint}\n" in shown


def test_a_store_without_models(store, fits):
    store.versions(1)
    shutil.rmtree(store.path / "models" / "m")
    assert "no models" in store.run("status").out
    assert fits(store.run("status", "--json").json())["models"] == []


@pytest.mark.parametrize("state", ["bad", "unreadable", "astray", "taken-away", "none"])
def test_states(store, fits, state):
    (digest,) = store.versions(1)
    if state == "none":
        shutil.rmtree(store.place())
        store.deploy(store.folder / "source-0", "--no-switch")
    elif state == "astray":
        (store.place() / "current").unlink()
    elif state == "unreadable":
        (store.place() / "versions" / digest / "version.json").chmod(0o644)
        (store.place() / "versions" / digest / "version.json").write_text("{}")
    else:
        store.tamper(digest)
        options = ["--leave-bad"] if state == "bad" else []
        store.run("check", *options, expect=support.REFUSED)
    (model,) = fits(store.run("status", "--json").json())["models"]
    assert model["state"] == state
    assert "m: " in store.run("status").out and len(store.run("status", "m").out) > 50


def test_it_changes_nothing(store):
    store.versions(2)
    before = {path: path.lstat().st_mtime_ns for path in store.path.rglob("*")}
    for arguments in (["status"], ["status", "m"], ["quarantine", "list"], ["gc", "--dry-run"]):
        store.run(*arguments)
    assert {path: path.lstat().st_mtime_ns for path in store.path.rglob("*")} == before


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_as_another_user(store):
    store.versions(1)
    for folder in [store.folder, *store.folder.parents]:
        if str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    (store.place() / "lock").chmod(0o600)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
         *store.hallmark.command("status")],
        env=store.hallmark.environment(store.environment), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert store.current()[:12] in done.stdout and done.stdout.rstrip().endswith("?")


def test_one_bad_model_does_not_hide_the_others(store):
    store.versions(1, name="a")
    store.versions(1, name="b")
    (store.place("a") / "state.json").write_text("{")
    result = store.run("status", expect=support.UNDECIDED)
    assert store.current("b")[:12] in result.out and "a: " in result.out


def test_what_is_none(store):
    store.run("status", expect=support.USAGE)
    store.versions(1)
    store.run("status", "other", expect=support.USAGE)
    store.run("status", "../m", expect=support.USAGE)
    store.run("status", "m", "m", expect=support.USAGE)


# ---- gc -----------------------------------------------------------------------------------------


def test_gc_keeps_the_newest(store, fits):
    digests = store.versions(5)
    document = fits(store.run("gc", "--dry-run", "--keep", "2", "--json").json())
    (model,) = document["models"]
    assert [one["version"] for one in model["versions"]] == digests[::-1]
    assert [one["removed"] for one in model["versions"]] == [False, False, True, True, True]
    assert store.stored() == sorted(digests)
    assert fits(store.run("gc", "--keep", "2", "--json").json()) == document | {"dry_run": False}
    assert store.stored() == sorted(digests[3:]) and store.is_sound()
    assert sorted(store.told("removed")) == sorted(("removed", one) for one in digests[:3])
    assert store.run("gc", "--keep", "2").out == "nothing to remove\n"
    store.run("check")


def test_gc_never_takes_current_or_the_last_good(store):
    digests = store.versions(5)
    store.run("rollback", "m", "--to", digests[1])
    store.run("gc", "--keep", "1")
    assert digests[1] in store.stored() and store.current() == digests[1]
    assert digests[4] in store.stored(), "the newest"
    last = store.status()["last_good"]
    assert last is not None and last in store.stored()
    store.run("check")


def test_gc_by_default_keeps_three(store):
    digests = store.versions(5)
    store.run("gc", "m")
    assert store.stored() == sorted(digests[2:])


def test_gc_as_configured(store):
    digests = store.versions(4)
    config = store.folder / "config.yaml"
    config.write_text("hallmark-config: 1\nkeep: 2\n")
    result = store.run("gc", env={"HALLMARK_CONFIG": config})
    assert store.stored() == sorted(digests[2:]) and result.out.count("removed") == 2


def test_gc_while_somebody_reads(store):
    digests = store.versions(4)
    path = store.file(digests[0])
    with open(path, "rb") as reading:
        store.run("gc", "--keep", "1")
        assert not path.exists()
        assert reading.read() == (store.folder / "source-0" / path.name).read_bytes()


def test_gc_of_several_models(store):
    import fcntl  # noqa: PLC0415

    a, b = store.versions(4, name="a"), store.versions(4, name="b")
    with open(store.place("a") / "lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = store.run("gc", "--keep", "2", expect=support.UNDECIDED)
    assert store.stored("a") == sorted(a) and store.stored("b") == sorted(b[2:])
    assert "lock" in result.err


@pytest.mark.parametrize("arguments", [["--keep", "0"], ["--keep", "-1"], ["other"]])
def test_gc_of_what_is_none(store, arguments):
    digests = store.versions(2)
    store.run("gc", *arguments, expect=support.USAGE)
    assert store.stored() == sorted(digests)
