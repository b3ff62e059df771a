# SPDX-License-Identifier: Apache-2.0
"""hallmark quarantine: what is held, and the two ways out of it."""

import json
import pathlib

import pytest

import gate
import support


@pytest.fixture
def store(hallmark, keys, tmp_path):
    return gate.Store(hallmark, tmp_path, keys["openssl", "ec-p256"])


@pytest.fixture
def held(store):
    """A store with a version that was found bad, and what is held of it."""
    store.old, store.new = store.versions(2)
    store.tamper(store.new)
    store.run("check", expect=support.REFUSED)
    (entry,) = store.held()
    return entry


def mend(store, entry):
    """As whoever finds out that the disk was at fault, and has a backup."""
    path = pathlib.Path(entry["path"]) / "held" / "model" / "weights.safetensors"
    path.chmod(0o644)
    path.write_bytes((store.folder / "source-1" / "weights.safetensors").read_bytes())


def test_nothing(store):
    store.versions(1)
    assert store.run("quarantine", "list").out == "nothing is in quarantine\n"
    document = store.run("quarantine", "list", "--json").json()
    assert document["entries"] == [] and document["unreadable"] == []


def test_list(store, held):
    lines = store.run("quarantine", "list").out.splitlines()
    assert lines[0].split() == ["ID", "MODEL", "VERSION", "SINCE", "SIZE", "REASON", "FROM"]
    assert lines[1].split()[:3] == [held["id"], "m", store.new[:12]] and len(lines) == 2
    assert "digest-mismatch" in lines[1]


def test_the_oldest_first(store, held):
    bad = store.source("bad", sign=False)
    store.deploy(bad, expect=support.REFUSED, env={"HALLMARK_TIME": 1_000_000_000})
    entries = store.held()
    assert [entry["found"] for entry in entries] == ["on-its-way-in", "in-the-store"]
    assert entries[0]["since"] == "2001-09-09T01:46:40Z" and entries[0]["reason"] == "unsigned"


def test_show(store, held):
    for text in (held["id"], held["id"][:3]):
        shown = store.run("quarantine", "show", text).out
        assert f"id             {held['id']}\n" in shown and store.new in shown
        assert f"place          {held['path']}\n" in shown and "in the store" in shown
    assert store.run("quarantine", "show", held["id"], "--json").json()["entries"] == [held]


@pytest.mark.parametrize("text", ["zzzz", "", "..", "*", "0123456789abcdef"])
def test_ids_that_are_none(store, held, text):
    for command in ("show", "release", "purge"):
        result = store.run("quarantine", command, text, expect=support.USAGE)
        assert "quarantine list" in result.err
    assert store.held() == [held]


def test_ids_that_several_have(store, held):
    for number in range(20):
        store.deploy(store.source(f"bad{number}", sign=False), expect=support.REFUSED)
    first = [entry["id"][0] for entry in store.held()]
    several = next(letter for letter in first if first.count(letter) > 1)
    result = store.run("quarantine", "purge", several, expect=support.USAGE)
    assert "ids in quarantine begin with" in result.err and len(store.held()) == 21


def test_others_cannot_read_it(store, held):
    assert (store.path / "quarantine").stat().st_mode & 0o777 == 0o700
    assert pathlib.Path(held["path"]).stat().st_mode & 0o777 == 0o700


def test_foreign_text_is_escaped(store):
    bad = store.folder / "so\x1b[31mred"
    bad.mkdir()
    (bad / "w").write_bytes(b"w")
    store.deploy(bad, expect=support.REFUSED)
    (entry,) = store.held()
    for arguments in (["list"], ["show", entry["id"]]):
        shown = store.run("quarantine", *arguments).out
        assert "\x1b" not in shown and "\\x1b[31mred" in shown


def test_an_entry_that_cannot_be_read(store, held):
    (pathlib.Path(held["path"]) / "entry.json").write_text("{")
    assert f"{held['id']}  its entry.json cannot be read" in store.run("quarantine", "list").out
    document = store.run("quarantine", "list", "--json").json()
    assert document["unreadable"] == [held["id"]] and document["entries"] == []
    store.run("quarantine", "purge", held["id"], expect=support.UNDECIDED)


# ---- release ------------------------------------------------------------------------------------


def test_release_of_what_is_bad(store, held):
    """There is no way around the gate."""
    result = store.run("quarantine", "release", held["id"], expect=support.REFUSED)
    assert "weights.safetensors" in result.err
    assert store.current() == store.old and held in store.held() and store.is_sound()


def test_release_of_what_is_good_now(store, held):
    mend(store, held)
    report = store.run("quarantine", "release", held["id"][:6], "--json").json()
    assert (report["operation"], report["status"]) == ("release", "deployed")
    assert store.current() == store.new and store.held() == [] and store.is_sound()
    assert not pathlib.Path(held["path"]).exists()
    assert "released" in [event for event, _ in store.told()][-3:]
    store.run("check")


def test_release_under_another_policy(store, keys):
    """A key that was forgotten in the policy: what was refused for it can be let in without being
    fetched again."""
    other = keys["python", "ec-p256", "other"]
    source = store.source("other", sign=False)
    store.hallmark("sign", source, "--key", other.private, expect=support.OK)
    store.versions(1)
    store.deploy(source, expect=support.REFUSED)
    (entry,) = store.held()
    if not entry["content"]:
        result = store.run("quarantine", "release", entry["id"], expect=support.USAGE)
        assert "holds no model" in result.err and str(source) in result.err
        return
    (store.folder / "training.pub").write_bytes(other.public.read_bytes())
    store.run("quarantine", "release", entry["id"])
    assert store.served().items() >= support.snapshot(source).items()


def test_dry_release(store, held):
    before = support.snapshot(store.path)
    store.run("quarantine", "release", held["id"], "--dry-run", expect=support.REFUSED)
    assert held in store.held() and store.current() == store.old
    mend(store, held)
    store.run("quarantine", "release", held["id"], "--dry-run")
    assert store.held() == [held] and store.current() == store.old and before


def test_release_without_switching(store, held):
    mend(store, held)
    store.run("quarantine", "release", held["id"], "--no-switch")
    assert store.current() == store.old and sorted([store.old, store.new]) == store.stored()


# ---- purge --------------------------------------------------------------------------------------


def test_purge(store, held):
    assert store.run("quarantine", "purge", held["id"][:5]).out == f"purged {held['id'][:5]}\n"
    assert store.held() == [] and not pathlib.Path(held["path"]).exists() and store.is_sound()
    event = store.events()[-1]
    assert (event["event"], event["digest"]) == ("purged", store.new)
    assert event["quarantine"] == held["id"]


def test_purge_goes_on(store, held):
    result = store.run("quarantine", "purge", "zzz", held["id"], expect=support.USAGE)
    assert "zzz" in result.err and store.held() == []


def test_purge_of_what_is_old(store, held):
    store.deploy(store.source("a", sign=False), expect=support.REFUSED,
                 env={"HALLMARK_TIME": 1_000_000_000})  # fmt: skip
    now = {"HALLMARK_TIME": 1_000_000_000 + 90 * 86400}
    assert store.run("quarantine", "purge", "--older-than", "90d", env=now).out == "purged 0\n"
    now = {"HALLMARK_TIME": 1_000_000_001 + 90 * 86400}
    assert store.run("quarantine", "purge", "--older-than", "90d", env=now).out == "purged 1\n"
    assert store.held() == [held]


@pytest.mark.parametrize("arguments", [[], ["x", "--older-than", "1d"], ["--older-than", "x"]])
def test_purge_of_nothing_named(store, held, arguments):
    store.run("quarantine", "purge", *arguments, expect=support.USAGE)
    assert store.held() == [held]


def test_it_fits_the_schema(store, held):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((support.ROOT / "docs" / "status.schema.json").read_text())
    document = store.run("quarantine", "list", "--json").json()
    jsonschema.validate(document, schema)
    document["entries"][0]["found"] = "elsewhere"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)
