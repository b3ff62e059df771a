# SPDX-License-Identifier: Apache-2.0
"""Versions with several signatures, and with pins, when one of them is not believed any more."""

import hashlib
import json

import pytest

import support
from support import OK, REFUSED

NAMES = ["alice", "bob", "carol"]
PLACES = [f"{name}.sig" for name in NAMES]
IGNORE = [word for place in PLACES for word in ("--ignore", place)]
FILES = {"weights.bin": support.content("weights", 30_000), "sub/config.json": b"{}"}


class Team:
    """A store, a model, three signers, and a policy that is written anew for each question."""

    def __init__(self, hallmark, folder, keys, tree):
        self.hallmark, self.folder, self.keys = hallmark, folder, keys
        self.tree = tree
        self.path = folder / "store"
        self.policy = folder / "policy.yaml"

    def key(self, name):
        return self.keys["python", "ec-p256", name]

    def rules(self, revoked=(), signers=NAMES, more=None, period=None, **rule):
        known = {name: {"keys": str(self.key(name).public)} for name in signers}
        for name, last in (period or {}).items():
            known[name] = {"keys": [{"file": str(self.key(name).public), "not-after": last}]}
        demand = {"name": "*", "signers": list(signers), "signatures": PLACES, "threshold": 1}
        self.policy.write_text(json.dumps({
            "version": 1, "signers": known, "models": [demand | rule],
            "revoked": [{"fingerprint": self.key(name).fingerprint, "since": "2020-01-01"}
                        for name in revoked],
        } | (more or {})))  # fmt: skip

    def sign(self, name, model, place):
        ignore = IGNORE if model.is_dir() else []
        self.hallmark("sign", model, "--key", self.key(name).private, "--signature", place, *ignore,
                      expect=OK)  # fmt: skip

    def run(self, *arguments, expect=OK):
        return self.hallmark(*arguments, "--store", self.path, "--policy", self.policy, "--json",
                             expect=expect).json()  # fmt: skip

    def deploy(self, source, *options, expect=OK):
        return self.run("deploy", source, "--name", "m", *options, expect=expect)

    def check(self, expect=OK):
        (report,) = self.run("check", expect=expect)
        return report

    def rollback(self, version, expect=OK):
        return self.run("rollback", "m", "--to", version, expect=expect)

    def current(self):
        link = self.path / "models/m/current"
        return link.readlink().parts[1] if link.is_symlink() else None

    def model(self, version=None):
        return self.path / "models/m/versions" / (version or self.current()) / "model"

    def files(self):
        return {str(path.relative_to(self.model())) for path in self.model().rglob("*")
                if path.is_file()}  # fmt: skip

    def put(self, name, content, listed=None):
        """Into the version, as whoever can write to the store would; and into its record."""
        path, record = self.model() / name, self.model().parent / "version.json"
        for place in (path.parent, record.parent):
            place.chmod(0o755)
        if path.exists():
            path.chmod(0o644)
        path.write_bytes(content)
        path.chmod(0o444)
        if listed is not None:
            told = json.loads(record.read_text())
            told["proofs"] = [one for one in told["proofs"] if one["name"] != name] + [
                {"name": name, "signature": listed == "signature",
                 "sha256": hashlib.sha256(content).hexdigest()}]  # fmt: skip
            told["files"] = sorted(
                [one for one in told["files"] if one.split("\t")[2] != name]
                + [f"1 1 1 1.000000000 1.000000000\t\t{name}"], key=lambda one: one.split("\t")[2]
            )  # fmt: skip
            record.chmod(0o644)
            record.write_text(json.dumps(told))


@pytest.fixture
def team(hallmark, tmp_path, keys, tree):
    return Team(hallmark, tmp_path, keys, tree)


@pytest.fixture
def model(team, tree):
    """Signed by alice and bob."""
    folder = tree(FILES, "model")
    for name in ("alice", "bob"):
        team.sign(name, folder, folder / f"{name}.sig")
    return folder


@pytest.fixture
def single(team, model_file):
    for name in ("alice", "bob"):
        team.sign(name, model_file, model_file.parent / f"{name}.sig")
    return model_file


BOTH = {*FILES, "alice.sig", "bob.sig"}


# ---- one key of several is revoked --------------------------------------------------------------


@pytest.mark.parametrize("revoked", ["alice", "bob"])
def test_the_other_signature_is_enough(team, model, revoked):
    team.rules()
    version = team.deploy(model)["store"]["version"]
    assert team.files() == BOTH
    team.rules([revoked])
    report = team.check()
    assert report["status"] == "verified" and report["policy"]["counted"] == 1
    assert report["signer"]["name"] == ({"alice", "bob"} - {revoked}).pop()
    assert team.current() == version
    team.rollback(version)
    # The next deployment leaves it outside.
    assert team.deploy(model)["store"]["action"] == "re-signed"
    assert team.files() == BOTH - {f"{revoked}.sig"} and team.current() == version
    team.check()


def test_of_a_single_file(team, single):
    team.rules()
    version = team.deploy(single)["store"]["version"]
    assert team.files() == {single.name, "alice.sig", "bob.sig"}
    team.rules(["bob"])
    team.check()
    team.rollback(version)
    team.rules(["alice", "bob"])
    assert team.check(expect=REFUSED)["reason"] == "revoked-key" and team.current() is None


def test_a_period_that_is_over(team, model):
    team.rules()
    team.deploy(model)
    team.rules(period={"bob": "2020-01-01"})
    assert team.check()["signer"]["name"] == "alice"


def test_what_is_demanded_stays_demanded(team, model):
    team.rules(threshold=2)
    version = team.deploy(model)["store"]["version"]
    team.rules(["bob"], threshold=2)
    report = team.rollback(version, expect=REFUSED)
    assert report["reason"] == "revoked-key" and report["policy"]["counted"] == 1
    assert team.check(expect=REFUSED)["reason"] == "revoked-key" and team.current() is None


def test_nobody_is_left(team, model):
    team.rules()
    team.deploy(model)
    team.rules(["alice", "bob"])
    assert team.check(expect=REFUSED)["reason"] == "revoked-key" and team.current() is None


def test_a_signer_whom_the_policy_does_not_know_any_more(team, model):
    """Then nobody can say whether it was a signature; the way out is through the gate."""
    team.rules()
    version = team.deploy(model)["store"]["version"]
    team.rules(signers=["alice", "carol"])
    assert team.check(expect=REFUSED)["reason"] == "extra-file" and team.current() is None
    (entry,) = team.hallmark("quarantine", "list", "--store", team.path, "--json",
                             expect=OK).json()["entries"]  # fmt: skip
    team.run("quarantine", "release", entry["id"])
    assert team.current() == version and team.files() == {*FILES, "alice.sig"}
    team.check()
    assert team.deploy(model)["store"]["version"] == version


# ---- what somebody with the revoked key and the store could do ---------------------------------


@pytest.mark.parametrize("kind", ["model", "single"])
@pytest.mark.parametrize("listed", [None, "signature", "statement"])
@pytest.mark.parametrize("name", ["adapter_config.json", "modeling.py", "carol.sig"])
def test_signatures_by_a_revoked_key_are_no_cover(team, request, kind, listed, name, tmp_path):
    """A good signature of the very model, as only the thief can make it, under another name."""
    source = request.getfixturevalue(kind)
    team.rules()
    team.deploy(source)
    team.sign("bob", source, tmp_path / "forged.sig")
    team.put(name, (tmp_path / "forged.sig").read_bytes(), listed)
    team.rules(["bob"])
    report = team.check(expect=OK if (name, listed) == ("carol.sig", "signature") else REFUSED)
    if report["status"] == "refused":
        assert report["reason"] == "extra-file" and team.current() is None


def test_another_signature_in_the_place(team, model, tmp_path):
    team.rules()
    team.deploy(model)
    team.sign("bob", model, tmp_path / "forged.sig")
    team.put("bob.sig", (tmp_path / "forged.sig").read_bytes())
    team.rules(["bob"])
    assert team.check(expect=REFUSED)["reason"] == "extra-file" and team.current() is None


@pytest.mark.parametrize("content", [b"{}", b"import os\n"])
def test_what_is_no_signature(team, model, content):
    team.rules()
    team.deploy(model)
    team.put("bob.sig", content, "signature")
    team.rules(["bob"])
    assert team.check(expect=REFUSED)["reason"] == "extra-file" and team.current() is None


def test_a_strangers_signature(team, model, tmp_path):
    team.rules()
    team.deploy(model)
    team.sign("mallory", model, tmp_path / "forged.sig")
    team.put("carol.sig", (tmp_path / "forged.sig").read_bytes(), "signature")
    assert team.check(expect=REFUSED)["reason"] == "extra-file" and team.current() is None


def test_verify_is_as_strict_as_ever(team, model, hallmark):
    """Only the store knows what was deployed as a signature."""
    team.rules()
    team.deploy(model)
    team.rules(["bob"])
    hallmark("verify", team.model(), "--policy", team.policy, "--strict-paths", expect=REFUSED)


# ---- signatures and pins ------------------------------------------------------------------------


def pins_of(files):
    return {"pinned": {"files": {name: "sha256:" + hashlib.sha256(data).hexdigest()
                                 for name, data in files.items()}}}  # fmt: skip


def pin_model(team, model):
    report = team.hallmark("digest", model, "--ignore", "alice.sig", "--json", expect=OK).json()
    return {"pinned": {"model": report["model"]["model_digest"]}}


@pytest.fixture
def pinned(team, tree):
    """A model, signed by alice."""
    folder = tree(FILES, "model")
    team.sign("alice", folder, folder / "alice.sig")
    return folder


OTHER = FILES | {"sub/config.json": b'{"other": true}'}
WRONG_MODEL = {"pinned": {"model": 64 * "0"}}


@pytest.mark.parametrize("wrong", [pins_of(OTHER), WRONG_MODEL], ids=["files", "model"])
def test_a_good_signature_of_what_is_not_pinned(team, pinned, wrong):
    team.rules(**wrong)
    report = team.deploy(pinned, expect=REFUSED)
    assert report["reason"] == "pinned-digest-mismatch" and "the policy pins" in report["message"]
    assert not report["policy"]["pin_held"] and team.current() is None

    team.rules(**pins_of(FILES))
    report = team.deploy(pinned)
    version = report["store"]["version"]
    assert report["signer"]["name"] == "alice" and report["policy"]["pin_held"]
    assert team.check()["policy"]["pin_held"]
    team.rollback(version)

    team.rules(**wrong)
    report = team.rollback(version, expect=REFUSED)
    assert report["reason"] == "pinned-digest-mismatch" and team.current() == version
    report = team.deploy(pinned, expect=REFUSED)
    assert report["reason"] == "pinned-digest-mismatch" and team.current() == version
    report = team.check(expect=REFUSED)
    assert report["reason"] == "pinned-digest-mismatch" and "the policy pins" in report["message"]
    assert team.current() is None


def test_a_pinned_model_is_checked(team, pinned):
    team.rules(**pin_model(team, pinned))
    version = team.deploy(pinned)["store"]["version"]
    assert team.check()["policy"]["pin_held"] and team.rollback(version)["policy"]["pin_held"]


def test_what_is_pinned_with_a_signature_of_something_else(team, pinned, tree):
    """The pin alone would do if the rule named no signer; it names one."""
    other = tree(OTHER, "other/model")
    team.sign("alice", other, other / "alice.sig")
    team.rules(**pins_of(FILES))
    version = team.deploy(pinned)["store"]["version"]
    good = (pinned / "alice.sig").read_bytes()
    (pinned / "alice.sig").write_bytes((other / "alice.sig").read_bytes())
    report = team.deploy(pinned, expect=REFUSED)
    assert report["reason"] == "digest-mismatch" and "what was signed" in report["message"]
    assert team.current() == version

    team.put("alice.sig", (other / "alice.sig").read_bytes(), "signature")
    for act in (lambda: team.rollback(version, expect=REFUSED), lambda: team.check(expect=REFUSED)):
        report = act()
        assert report["reason"] == "digest-mismatch" and "what was signed" in report["message"]
    assert team.current() is None
    (pinned / "alice.sig").write_bytes(good)
    team.deploy(pinned)
    team.check()


@pytest.mark.parametrize("how", ["bad", "revoked", "gone", "stranger"])
def test_what_is_pinned_without_a_good_signature(team, pinned, how):
    team.rules(**pins_of(FILES))
    version = team.deploy(pinned)["store"]["version"]
    reason = {"bad": "bad-signature", "revoked": "revoked-key", "gone": "unsigned",
              "stranger": "bad-signature"}[how]  # fmt: skip
    stored = team.model() / "alice.sig"
    for place in (pinned / "alice.sig", stored):
        place.parent.chmod(0o755)
        place.chmod(0o644)
        if how == "gone":
            place.unlink()
        elif how == "bad":
            envelope = json.loads(place.read_text())
            signature = envelope["dsseEnvelope"]["signatures"][0]
            signature["sig"] = signature["sig"][:-8] + "AAAAAAA="
            place.write_text(json.dumps(envelope))
        elif how == "stranger":
            place.unlink()
            team.sign("mallory", pinned, place)
    team.rules(["alice"] if how == "revoked" else [], **pins_of(FILES))
    expected = {reason, "untrusted-signer"} if how == "stranger" else {reason}
    for report in (team.deploy(pinned, expect=REFUSED), team.rollback(version, expect=REFUSED)):
        assert report["reason"] in expected and team.current() == version
    assert team.check(expect=REFUSED)["reason"] in expected and team.current() is None


def test_a_pin_and_one_of_two_signatures(team, model):
    """What was deployed as a signature is no part of what is pinned, whoever's key it was."""
    team.rules(**pins_of(FILES))
    version = team.deploy(model)["store"]["version"]
    team.rules(["bob"], **pins_of(FILES))
    assert team.check()["policy"]["pin_held"]
    team.rollback(version)
    team.rules(["bob"], **pins_of(OTHER))
    assert team.check(expect=REFUSED)["reason"] == "pinned-digest-mismatch"
