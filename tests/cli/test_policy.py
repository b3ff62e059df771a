# SPDX-License-Identifier: Apache-2.0
"""Policy files: what each rule lets pass and refuses, and every mistake with its line and column."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

import jsonschema
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

import support

FILES = {"config.json": b"{}", "weights.bin": support.content("weights", 5000)}
SCHEMA = json.loads((support.ROOT / "docs" / "report.schema.json").read_text())
LET_THROUGH = 4
DAY = 24 * 60 * 60


@pytest.fixture
def people(keys):
    return {name: keys["python", "ec-p256", name] for name in ("alice", "bob", "carol", "mallory")}


@pytest.fixture
def write(tmp_path, people):
    """write(models, signers=..., more=...) -> a policy file in which alice, bob and carol sign."""

    def make(models, signers=None, more=None, text=None):
        path = tmp_path / "policy.yaml"
        known = {name: {"keys": str(people[name].public)} for name in ("alice", "bob", "carol")}
        policy = {"version": 1, "signers": known | (signers or {}), "models": models}
        path.write_text(text or json.dumps(policy | (more or {}), indent=1))  # JSON is YAML
        return path

    return make


@pytest.fixture
def judge(hallmark, write):
    """judge(model, expect, rule...) -> the report of verifying under just these rules."""

    def run(model, expect, *rules, options=(), signers=None, more=None, env=None):
        path = write(list(rules), signers, more)
        result = hallmark("verify", model, "--policy", path, "--json", *options, expect=expect,
                          env=env)  # fmt: skip
        report = result.json()
        jsonschema.validate(report, SCHEMA)
        assert report["policy"]["file"] == str(path)
        if expect != support.OK:
            assert report["entries"] == []
        return report

    return run


@pytest.fixture
def model(tree):
    return tree(FILES, "model")


@pytest.fixture
def signed(hallmark, model, people):
    def sign(*names, key=None):
        for name in names:
            hallmark("sign", model, "--key", people[name].private, "--signature",
                     model / f"{name}.sig", *ignoring(model), expect=0)  # fmt: skip
        return model

    return sign


def ignoring(model):
    """What --ignore takes for the signatures that lie in a model already."""
    return [word for path in sorted(model.glob("*.sig")) for word in ("--ignore", path.name)]


def rule(name="model", **more):
    return {"name": name, **more}


def counted(report):
    return [s["signer"] for s in report["policy"]["signatures"] if s["counted"]]


ANY = {"signers": ["alice", "bob", "carol"]}
PLACES = {"signatures": ["alice.sig", "bob.sig", "carol.sig", "more.sig"]}


# ---- one signature ------------------------------------------------------------------------------


def test_a_believed_signer(judge, signed, people):
    report = judge(signed("alice"), 0, rule(signers="alice", signatures="alice.sig"))
    assert report["status"] == "verified" and report["signer"]["name"] == "alice"
    assert report["signer"]["key_fingerprint"] == people["alice"].fingerprint
    assert (report["policy"]["rule"], report["policy"]["demanded"]) == (1, 1)
    assert counted(report) == ["alice"] and report["warnings"] == []


def test_a_signer_of_another_rule(judge, signed):
    """Who may sign other models may not sign this one."""
    report = judge(signed("bob"), 1, rule(signers="alice", signatures="bob.sig"),
                   rule("*", signers="bob"))  # fmt: skip
    assert report["reason"] == "untrusted-signer" and report["signer"] is None


def test_the_default_place(hallmark, judge, model, people):
    hallmark("sign", model, "--key", people["bob"].private, expect=0)
    assert judge(model, 0, rule(**ANY))["signature"]["path"] == f"{model}/model.sig"
    (model / "config.json").write_bytes(b"[]")
    report = judge(model, 1, rule(**ANY))
    assert report["reason"] == "digest-mismatch" and report["findings"][0]["name"] == "config.json"


def test_no_rule(judge, signed):
    report = judge(signed("alice"), 1, rule("other", **ANY, **PLACES))
    assert report["reason"] == "untrusted-signer" and "no rule of" in report["message"]
    assert report["policy"]["rule"] is None
    assert judge(signed(), 1)["reason"] == "untrusted-signer"


def test_the_first_rule_decides(judge, signed):
    strict, lax = rule(signers="bob", **PLACES), rule(signers="alice", **PLACES)
    assert judge(signed("alice"), 1, strict, lax)["policy"]["rule"] == 1
    assert judge(signed(), 0, lax, strict)["policy"]["rule"] == 1
    assert judge(signed(), 0, rule("x", **ANY), lax)["policy"]["rule"] == 2


def test_a_format(hallmark, judge, tree, keys):
    file = tree(FILES, "m") / "weights.bin"
    rsa = keys["python", "rsa-2048"]
    hallmark("sign", file, "--key", rsa.private, "--format", "manifest-json", expect=0)
    signers = {"rsa": {"keys": str(rsa.public)}}
    demand = rule("weights.bin", signers="rsa")
    judge(file, 0, demand | {"format": "manifest-json"}, signers=signers)
    report = judge(file, 1, demand | {"format": "oms"}, signers=signers)
    assert report["reason"] == "unsupported"
    assert judge(file, 1, demand, signers=signers, options=["--format", "oms"])["reason"] == (
        "unsupported")  # fmt: skip
    report = judge(file, 1, demand | {"format": "manifest-json"}, signers=signers,
                   options=["--format", "oms"])  # fmt: skip
    assert report["reason"] == "unsupported"


def test_symlinks_have_to_be_allowed(hallmark, judge, model, people):
    (model / "link").symlink_to("config.json")
    hallmark("sign", model, "--key", people["alice"].private, "--follow-symlinks", expect=0)
    assert judge(model, 1, rule(**ANY))["reason"] == "unsupported"
    assert judge(model, 0, rule(**ANY, allow="symlinks"))["warnings"]


# ---- keys and their periods ---------------------------------------------------------------------


@pytest.mark.parametrize("entry, expect, reason", [
    ({"version": 7}, 0, None),
    ({"not-before": "2020-01-01", "not-after": "2999-01-01"}, 0, None),
    ({"not-before": "2999-01-01"}, 1, "expired"),
    ({"not-after": "2020-01-01"}, 1, "expired"),
    ({"revoked": {"since": "2020-01-01", "reason": "laptop lost"}}, 1, "revoked-key"),
    ({"revoked": {"since": "2999-01-01"}}, 0, None),
    ({"not-after": "2020-01-01", "revoked": {"since": "2021-01-01"}}, 1, "expired"),
])  # fmt: skip
def test_periods(judge, signed, people, entry, expect, reason):
    dora = {"dora": {"keys": [{"file": str(people["alice"].public)} | entry]}}
    report = judge(signed("alice"), expect, rule(signers="dora", **PLACES), signers=dora)
    assert report["reason"] == reason
    if expect == 0:
        assert report["signer"]["key_version"] == entry.get("version")
    if "reason" in entry.get("revoked", {}):
        assert "laptop lost" in report["message"]


@pytest.mark.parametrize("at, expect", [
    ("2026-03-01T00:00:00Z", 0), ("2026-02-28T23:59:59Z", 1),
    ("2026-03-31T23:59:59Z", 0), ("2026-04-01T00:00:00Z", 1),
])  # fmt: skip
def test_a_period_is_inclusive(judge, signed, people, at, expect):
    seconds = subprocess.run(["date", "-ud", at, "+%s"], capture_output=True, check=True).stdout
    dora = {"dora": {"keys": {"file": str(people["alice"].public), "not-before": "2026-03-01",
                              "not-after": "2026-03-31"}}}  # fmt: skip
    dora["dora"]["keys"] = [dora["dora"]["keys"]]
    judge(signed("alice"), expect, rule(signers="dora", **PLACES), signers=dora,
          env={"HALLMARK_TIME": seconds.decode().strip()})  # fmt: skip


def test_an_old_and_a_new_key(judge, signed, people):
    """After a rotation both are believed, each with its version."""
    team = {"team": {"keys": [{"file": str(people["alice"].public), "version": 1},
                              {"file": str(people["bob"].public), "version": 2}]}}  # fmt: skip
    demand = rule(signers="team", **PLACES)
    assert judge(signed("alice"), 0, demand, signers=team)["signer"]["key_version"] == 1
    (signed("bob") / "alice.sig").unlink()
    assert judge(signed(), 0, demand, signers=team)["signer"]["key_version"] == 2


def test_one_key_in_two_periods(judge, signed, people):
    """The signer whose period it is counts, wherever it stands in the file."""
    key = str(people["alice"].public)
    signers = {"then": {"keys": [{"file": key, "not-after": "2020-01-01"}]},
               "now": {"keys": [key]}}  # fmt: skip
    report = judge(signed("alice"), 0, rule(signers=["then", "now"], **PLACES), signers=signers)
    assert report["signer"]["name"] == "now"


def test_a_revoked_fingerprint(judge, signed, people):
    revoked = [{"fingerprint": people["alice"].fingerprint, "since": "2026-01-02T03:04:05Z",
                "reason": "stolen"}]  # fmt: skip
    report = judge(signed("alice"), 1, rule(**ANY, **PLACES), more={"revoked": revoked})
    assert report["reason"] == "revoked-key"
    assert "2026-01-02T03:04:05Z: stolen" in report["message"]
    judge(signed("bob"), 0, rule(signers="bob", signatures="bob.sig"), more={"revoked": revoked},
          options=["--ignore", "alice.sig"])  # fmt: skip


def test_keys_in_every_form(hallmark, tmp_path, signed, people, write):
    """By path relative to the policy's folder, wherever the program runs, and within the file."""
    shutil.copy(people["alice"].public, tmp_path / "a.pub")
    for keys in ("a.pub", ["a.pub"], [{"file": "a.pub"}], str(people["alice"].public),
                 [{"pem": people["alice"].public.read_text()}]):  # fmt: skip
        path = write([rule(signers="dora", **PLACES)], {"dora": {"keys": keys}})
        for folder in (tmp_path, "/"):
            hallmark("verify", signed("alice"), "--policy", path, cwd=folder, expect=0)
    hallmark("verify", "model", "--policy", "policy.yaml", cwd=tmp_path, expect=0)


# ---- certificates -------------------------------------------------------------------------------


@pytest.fixture
def certified(hallmark, pki, model):
    leaf = pki.leaf("policy-ci", san=[x509.RFC822Name("ci@acme.example")], organization="Acme")
    hallmark("sign", model, "--key", leaf.key.private, "--cert", leaf.path, "--chain",
             pki.intermediate.path, expect=0)  # fmt: skip
    return model, leaf


@pytest.mark.parametrize("identity, expect", [
    (None, 0),
    ({"san": "ci@acme.example"}, 0),
    ({"san": ["x@acme.example", "ci@acme.example"]}, 0),
    ({"san": "x@acme.example"}, 1),
    ({"organisation": "Acme"}, 0),
    ({"organisation": "acme"}, 1),
    ({"organisation": ["Other", "Acme"], "san": "ci@acme.example"}, 0),
    ({"organisation": "Other", "san": "ci@acme.example"}, 1),
    ({"subject": "CN=policy-ci,O=Acme"}, 0),
    ({"subject": "CN=policy-ci"}, 1),
])  # fmt: skip
def test_certificates(judge, pki, certified, identity, expect):
    signer = {"ci": {"roots": str(pki.root.path)} | ({"identity": identity} if identity else {})}
    report = judge(certified[0], expect, rule(signers="ci"), signers=signer)
    assert report["reason"] == (None if expect == 0 else "untrusted-signer")
    if expect == 0:
        assert report["signer"]["name"] == "ci"


def spki(certificate):
    der = certificate.key.python.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()


@pytest.mark.parametrize("which", ["leaf", "intermediate", "root"])
def test_a_revoked_key_in_the_chain(judge, pki, certified, which):
    model, leaf = certified
    revoked = {"leaf": leaf, "intermediate": pki.intermediate, "root": pki.root}[which]
    report = judge(model, 1, rule(signers="ci"), signers={"ci": {"roots": str(pki.root.path)}},
                   more={"revoked": [{"fingerprint": spki(revoked), "since": "2020-01-01"}]})  # fmt: skip
    assert report["reason"] == "revoked-key" and spki(revoked) in report["message"]


def test_roots_belong_to_their_signer(hallmark, judge, pki, certified, tmp_path):
    """One root must not vouch for the identity that is believed of another."""
    foreign = support.Pki(tmp_path)
    signers = {"ci": {"roots": str(foreign.root.path), "identity": {"organisation": "Acme"}},
               "else": {"roots": str(pki.root.path), "identity": {"organisation": "Other"}}}  # fmt: skip
    report = judge(certified[0], 1, rule(signers=["ci", "else"]), signers=signers)
    assert report["reason"] == "untrusted-signer"


@pytest.mark.parametrize("expect, allow", [(1, []), (0, ["expired-certificates"])])
def test_expired_certificates(hallmark, judge, pki, model, expect, allow):
    leaf = pki.leaf("policy-old", starts=0, ends=1)
    hallmark("sign", model, "--key", leaf.key.private, "--cert", leaf.path, "--chain",
             pki.intermediate.path, expect=0)  # fmt: skip
    demand = rule(signers="ci") | ({"allow": allow} if allow else {})
    in_a_week = {"HALLMARK_TIME": str(int(time.time()) + 7 * DAY)}
    report = judge(model, expect, demand, signers={"ci": {"roots": str(pki.root.path)}},
                   env=in_a_week)  # fmt: skip
    assert report["reason"] == ("expired" if expect else None)


# ---- thresholds ---------------------------------------------------------------------------------


def test_two_of_three(judge, signed):
    demand = rule(**ANY, **PLACES, threshold=2)
    report = judge(signed("alice"), 1, demand)
    assert "1 of 2 demanded signers" in report["message"]
    report = judge(signed("carol"), 0, demand)
    assert counted(report) == ["alice", "carol"] and report["policy"]["counted"] == 2
    assert [e["name"] for e in report["entries"]] == sorted(FILES)
    judge(signed(), 1, demand | {"threshold": 3})


def test_one_signature_twice(judge, signed):
    model = signed("alice")
    shutil.copy(model / "alice.sig", model / "bob.sig")
    report = judge(model, 1, rule(**ANY, **PLACES, threshold=2))
    assert report["policy"]["counted"] == 1 and report["reason"] == "unsigned"
    report = judge(model, 1, rule(**ANY, threshold=2),
                   options=["--signature", model / "alice.sig", "--signature", model / "bob.sig"])  # fmt: skip
    assert report["policy"]["counted"] == 1 and report["reason"] == "untrusted-signer"


def test_one_key_signing_twice(hallmark, judge, signed, people):
    model = signed("alice")
    hallmark("sign", model, "--key", people["alice"].private, "--signature", model / "more.sig",
             *ignoring(model), expect=0)  # fmt: skip
    report = judge(model, 1, rule(**ANY, **PLACES, threshold=2))
    assert report["policy"]["counted"] == 1


def test_one_key_under_two_names(hallmark, judge, signed, people):
    model = signed("alice")
    hallmark("sign", model, "--key", people["alice"].private, "--signature", model / "more.sig",
             *ignoring(model), expect=0)  # fmt: skip
    again = {"alicia": {"keys": [str(people["alice"].public)]}}
    report = judge(model, 1, rule(signers=["alice", "alicia"], **PLACES, threshold=2),
                   signers=again)  # fmt: skip
    assert report["policy"]["counted"] == 1


def test_two_keys_of_one_signer(judge, signed, people):
    team = {"team": {"keys": [str(people["alice"].public), str(people["bob"].public)]}}
    report = judge(signed("alice", "bob"), 1,
                   rule(signers=["team", "carol"], **PLACES, threshold=2), signers=team)  # fmt: skip
    assert report["policy"]["counted"] == 1


def test_two_certificates_of_one_signer(hallmark, judge, pki, signed, people):
    model = signed("alice")
    for name in ("one", "two"):
        leaf = pki.leaf(f"policy-{name}")
        hallmark("sign", model, "--key", leaf.key.private, "--cert", leaf.path, "--chain",
                 pki.intermediate.path, "--signature", model / f"{name}.sig", *ignoring(model),
                 expect=0)  # fmt: skip
    demand = rule(signers=["ci", "alice"], threshold=2)
    ci = {"ci": {"roots": str(pki.root.path)}}
    report = judge(model, 1, demand | {"signatures": ["one.sig", "two.sig"]}, signers=ci,
                   options=["--ignore", "alice.sig"])  # fmt: skip
    assert report["policy"]["counted"] == 1
    judge(model, 0, demand | {"signatures": ["one.sig", "two.sig", "alice.sig"]}, signers=ci)


def test_names_that_share_a_key_are_one(judge, signed, people):
    """alice and bob hold carol's key both: then they may be one person with three keys."""
    shared = {name: {"keys": [str(people[name].public), str(people["carol"].public)]}
              for name in ("alice", "bob")}  # fmt: skip
    report = judge(signed("alice", "bob"), 1,
                   rule(signers=["alice", "bob"], **PLACES, threshold=2), signers=shared)  # fmt: skip
    assert report["policy"]["counted"] == 1


@pytest.mark.parametrize("spoil, reason", [
    (lambda path: path.write_bytes(b"{}"), "malformed"),
    (lambda path: path.write_text(re.sub('"payload": *"(.)', '"payload": "f', path.read_text())),
     "bad-signature"),
    (lambda path: path.unlink() or path.mkdir(), None),
    (lambda path: path.unlink(), "unsigned"),
])  # fmt: skip
def test_a_third_that_is_bad(judge, signed, spoil, reason):
    """Two are enough, and the third is told of; where three are demanded it is missing."""
    model = signed("alice", "bob", "carol")
    spoil(model / "carol.sig")
    demand = rule(**ANY, **PLACES, threshold=2)
    if (model / "carol.sig").is_dir():
        (model / "carol.sig" / "evil").write_bytes(b"")  # must not hide behind the signature
        assert judge(model, 1, demand)["reason"] == "extra-file"
        return
    report = judge(model, 0, demand)
    assert counted(report) == ["alice", "bob"]
    [told] = [w for w in report["warnings"] if "carol.sig" in w]
    assert "does not count" in told and (reason or "") in told
    report = judge(model, 1, demand | {"threshold": 3})
    assert report["reason"] == reason or reason is None


def test_a_signature_by_a_stranger(hallmark, judge, signed, people):
    model = signed("alice", "bob")
    hallmark("sign", model, "--key", people["mallory"].private, "--signature", model / "carol.sig",
             *ignoring(model), expect=0)  # fmt: skip
    assert judge(model, 1, rule(**ANY, **PLACES, threshold=3))["reason"] == "untrusted-signer"
    judge(model, 0, rule(**ANY, **PLACES, threshold=2))


def test_a_signature_of_an_older_state(judge, signed):
    model = signed("alice")
    (model / "config.json").write_bytes(b"[]")
    report = judge(signed("bob"), 0, rule(**ANY, **PLACES))
    assert counted(report) == ["bob"] and "digest-mismatch" in report["warnings"][0]
    report = judge(model, 1, rule(**ANY, **PLACES, threshold=2))
    assert report["reason"] == "digest-mismatch" and report["findings"]
    signed("carol")
    assert counted(judge(model, 0, rule(**ANY, **PLACES, threshold=2))) == ["bob", "carol"]


def test_a_signer_who_leaves_a_file_out(hallmark, judge, signed, people):
    """Every file that is told of as verified is vouched for by as many as are demanded."""
    model = signed("alice")
    hallmark("sign", model, "--key", people["bob"].private, "--signature", model / "bob.sig",
             *ignoring(model), "--ignore", "config.json", expect=0)  # fmt: skip
    report = judge(model, 1, rule(**ANY, **PLACES, threshold=2))
    assert report["reason"] == "extra-file" and "config.json" in report["message"]


def test_a_second_signature_may_cover_the_first(hallmark, judge, signed, people):
    model = signed("alice")
    hallmark("sign", model, "--key", people["bob"].private, "--signature", model / "bob.sig",
             expect=0)  # fmt: skip
    report = judge(model, 0, rule(**ANY, **PLACES, threshold=2))
    assert [e["name"] for e in report["entries"]] == sorted(FILES)


def test_different_layouts(hallmark, judge, signed, people):
    model = signed("alice")
    hallmark("sign", model, "--key", people["bob"].private, "--signature", model / "bob.sig",
             "--hash", "blake3", "--shard-size", "1000", *ignoring(model), expect=0)  # fmt: skip
    demand = rule(**ANY, **PLACES, threshold=2)
    judge(model, 0, demand)
    (model / "weights.bin").write_bytes(FILES["weights.bin"][:-1] + b"?")
    assert judge(model, 1, demand)["reason"] == "digest-mismatch"


def test_nothing_is_read_twice(hallmark, write, signed, tmp_path):
    """Three signatures of one layout: every file of the model is opened for reading once."""
    if not shutil.which("strace"):
        pytest.skip("no strace")
    path = write([rule(**ANY, **PLACES, threshold=3)])
    log = tmp_path / "strace.log"
    model = signed("alice", "bob", "carol")
    done = subprocess.run(
        ["strace", "-f", "-e", "trace=openat2,openat", "-o", log,
         *hallmark.command("verify", model, "--policy", path)],
        env=hallmark.environment({"ASAN_OPTIONS": "detect_leaks=0"}), capture_output=True,
    )  # fmt: skip
    if done.returncode != 0 and b"ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    opened = [line for line in log.read_text().splitlines()
              if '"weights.bin"' in line and "O_PATH" not in line]  # fmt: skip
    assert len(opened) == 1, opened


def test_several_signatures_need_a_policy(hallmark, signed, people):
    model = signed("alice", "bob")
    result = hallmark("verify", model, "--key", people["alice"].public, "--signature",
                      model / "alice.sig", "--signature", model / "bob.sig", expect=2)  # fmt: skip
    assert "polic" in result.err


def test_an_unreadable_signature_leaves_it_open(judge, signed):
    """With it the threshold might have been met, so nothing is refused for good."""
    model = signed("alice", "bob")
    if os.geteuid() == 0:
        (model / "bob.sig").unlink()
        (model / "bob.sig").symlink_to("bob.sig")  # ELOOP, for root too
    else:
        (model / "bob.sig").chmod(0)
    report = judge(model, 3, rule(**ANY, **PLACES, threshold=2))
    assert report["status"] == "undecided"


# ---- places of signatures -----------------------------------------------------------------------


def test_places_with_the_name(hallmark, judge, tree, people):
    file = tree(FILES, "m") / "weights.bin"
    for name in ("alice", "bob"):
        hallmark("sign", file, "--key", people[name].private, "--signature",
                 file.parent / f"weights.bin.{name}.sig", expect=0)  # fmt: skip
    demand = rule("*.bin", **ANY, signatures=["{name}.alice.sig", "{name}.bob.sig"], threshold=2)
    assert counted(judge(file, 0, demand)) == ["alice", "bob"]


# ---- pinned digests -----------------------------------------------------------------------------


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def test_a_pinned_file(judge, tree):
    file = tree(FILES, "m") / "weights.bin"
    demand = rule("weights.bin", pinned={"file": sha256(FILES["weights.bin"])})
    report = judge(file, 0, demand)
    assert report["signer"] is None
    assert report["signature"] == {"path": None, "shards_path": None, "format": None}
    assert report["policy"]["pinned"] == "file" and report["policy"]["pin_held"]
    assert report["entries"][0]["name"] == "weights.bin"
    file.write_bytes(b"other")
    report = judge(file, 1, demand)
    assert report["reason"] == "pinned-digest-mismatch" and not report["policy"]["pin_held"]
    assert report["findings"][0]["expected"] == sha256(FILES["weights.bin"])[7:]


def test_a_pinned_file_is_no_directory(judge, model):
    report = judge(model, 1, rule(pinned={"file": sha256(b"")}))
    assert report["reason"] == "pinned-digest-mismatch"


def test_pinned_files(judge, model):
    pins = {"files": {name: sha256(data) for name, data in FILES.items()}}
    assert judge(model, 0, rule(pinned=pins))["model"]["files"] == 2
    (model / ".git").mkdir()
    (model / ".git" / "hook").write_bytes(b"")
    report = judge(model, 1, rule(pinned=pins))
    assert report["reason"] == "extra-file" and report["findings"][0]["name"] == ".git/hook"
    shutil.rmtree(model / ".git")
    (model / "model.sig").write_bytes(b"{}")
    assert judge(model, 1, rule(pinned=pins))["reason"] == "extra-file"
    (model / "model.sig").unlink()
    (model / "weights.bin").write_bytes(b"changed")
    assert judge(model, 1, rule(pinned=pins))["reason"] == "pinned-digest-mismatch"
    (model / "weights.bin").unlink()
    assert judge(model, 1, rule(pinned=pins))["reason"] == "missing-file"
    (model / "weights.bin").symlink_to("config.json")
    assert judge(model, 1, rule(pinned=pins))["status"] == "refused"


@pytest.mark.parametrize("how, options", [
    ({}, []),
    ({"hash": "blake3"}, ["--hash", "blake3"]),
    ({"shard-size": 1000}, ["--shard-size", "1000"]),
])  # fmt: skip
def test_a_pinned_model(hallmark, judge, model, how, options):
    report = hallmark("digest", model, *options, "--json", expect=0).json()
    digest = report["model"]["model_digest"]
    demand = rule(pinned={"model": digest} | how)
    assert judge(model, 0, demand)["model"]["model_digest"] == digest
    (model / "new").write_bytes(b"")
    report = judge(model, 1, demand)
    assert report["reason"] == "pinned-digest-mismatch"
    assert report["findings"][0]["expected"] == digest
    (model / "new").unlink()
    (model / "config.json").rename(model / "renamed")
    judge(model, 1, demand)
    (model / "renamed").rename(model / "config.json")
    (model / "link").symlink_to("/etc")
    assert judge(model, 1, demand)["reason"] == "extra-file"


def test_a_pin_and_a_signature(judge, signed):
    """Both must hold."""
    model = signed("alice")
    pins = {"files": {name: sha256(data) for name, data in FILES.items()}}
    demand = rule(signers="alice", **PLACES, pinned=pins)
    report = judge(model, 0, demand)
    assert report["signer"]["name"] == "alice" and report["policy"]["pin_held"]
    wrong = {"files": pins["files"] | {"config.json": sha256(b"x")}}
    assert judge(model, 1, demand | {"pinned": wrong})["reason"] == "pinned-digest-mismatch"
    assert judge(model, 1, demand | {"signers": "bob"})["reason"] == "untrusted-signer"
    (model / "alice.sig").unlink()
    assert judge(model, 1, demand)["reason"] == "unsigned"
    report = judge(model, 0, demand | {"unsigned": "warn"})
    assert report["signer"] is None and "pinned digest alone" in report["warnings"][0]
    (model / "config.json").write_bytes(b"x")
    report = judge(model, 1, demand | {"unsigned": "warn"})
    assert report["reason"] == "pinned-digest-mismatch"


def test_a_pin_takes_no_signature(hallmark, write, model, people):
    path = write([rule(pinned={"model": "0" * 64})])
    hallmark("verify", model, "--policy", path, "--signature", "x", expect=2)


# ---- unsigned models ----------------------------------------------------------------------------


def test_unsigned_models(hallmark, judge, write, model):
    assert judge(model, 1, rule(**ANY))["reason"] == "unsigned"
    report = judge(model, LET_THROUGH, rule(**ANY, unsigned="warn"))
    assert (report["status"], report["reason"]) == ("let-through", "unsigned")
    assert report["signer"] is None and report["model"]["files"] == 0
    result = hallmark("verify", model, "--policy", write([rule(**ANY, unsigned="warn")]),
                      expect=LET_THROUGH)  # fmt: skip
    assert result.out == "" and result.err.startswith("let-through: ")
    assert "is not verified" in result.err and not re.search("^ *verified", result.err, re.M)


@pytest.mark.parametrize("put", [
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(b"{}"),
    lambda path: path.symlink_to("/nonexistent"),
    lambda path: path.mkdir(),
])  # fmt: skip
def test_a_bad_signature_is_not_let_through(judge, model, put):
    put(model / "model.sig")
    judge(model, 1, rule(**ANY, unsigned="warn"))
    judge(model, 1, rule(**ANY, unsigned="warn", signatures="elsewhere.sig"))
    judge(model, 1, rule(**ANY, unsigned="warn"), options=["--signature", model / "none"])


def test_a_strangers_signature_is_not_let_through(hallmark, judge, model, people):
    hallmark("sign", model, "--key", people["mallory"].private, expect=0)
    assert judge(model, 1, rule(**ANY, unsigned="warn"))["reason"] == "untrusted-signer"


# ---- names and paths ----------------------------------------------------------------------------


@pytest.fixture
def applies(hallmark, write):
    """applies(model, rule) -> whether the rule is about it."""

    def run(where, *options, **patterns):
        policy = write([{"signers": "alice", **patterns}])
        result = hallmark("policy", "explain", where, "--policy", policy, *options, "--json",
                          expect=(0, 1))  # fmt: skip
        assert (result.json()["decides"] is not None) == (result.rc == 0)
        return result.rc == 0

    return run


@pytest.mark.parametrize("pattern, fits", [
    ("resnet-50", True), ("resnet-*", True), ("*", True), ("re*t-?0", True), ("[a-r]*", True),
    ("[!a-q]esnet-50", True), ("*-*-*", False), ("resnet", False), ("esnet-50", False),
    ("resnet-5", False), ("resnet-500", False), ("Resnet-50", False), ("resnet-50?", False),
    ("[!r]*", False), ("resnet-[1-4]0", False), ("?", False), ("**", None), ("*net*0*", True),
])  # fmt: skip
def test_names(tree, applies, pattern, fits):
    if fits is not None:
        assert applies(tree({"w": b""}, "resnet-50"), name=pattern) is fits


def test_paths(tree, tmp_path, applies):
    model = tree({"w": b""}, "prod/team/resnet")
    here = str(tmp_path)
    for pattern, fits in {
        "/prod/team/resnet": True, "/prod/*/resnet": True, "/prod/**": True, "/**/resnet": True,
        "/**": True, "/prod/team/**/resnet": True, "/prod/**/team/**/resnet": True,
        "/prod/*": False, "/prod/team/resnet/**": False, "/prod/team": False, "/*/resnet": False,
        "/**/team": False, "/pro/**": False, "/prod/te?m/res*": True, "/prod?team/resnet": False,
        "/prod/team/resnet/*": False, "/[p]rod/team/resnet": True, "/prod[!x]team/resnet": False,
    }.items():  # fmt: skip
        assert applies(model, path=here + pattern) is fits, pattern
    assert not applies(model, path="/**/other")


def test_name_and_path_both_have_to_fit(tree, tmp_path, applies):
    model = tree({"w": b""}, "a/m")
    assert applies(model, name="m", path=f"{tmp_path}/a/*")
    assert not applies(model, name="x", path=f"{tmp_path}/a/*")
    assert not applies(model, name="m", path=f"{tmp_path}/b/*")
    assert applies(model, name=["x", "m"], path=[f"{tmp_path}/b/*", f"{tmp_path}/a/*"])


def test_the_real_path_counts(tree, tmp_path, applies):
    """Not what the caller writes, nor links on the way there."""
    model = tree({"w": b""}, "evil/m")
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "link").symlink_to(model)
    (tmp_path / "way").symlink_to(tmp_path / "evil")
    good = {"path": f"{tmp_path}/good/**"}
    evil = {"path": f"{tmp_path}/evil/**"}
    for spelling in (tmp_path / "good" / "link/", f"{tmp_path}/good/../evil/m",
                     tmp_path / "way" / "m", f"{tmp_path}/good/link/"):  # fmt: skip
        spelling = f"{spelling}/" if str(spelling).endswith("link") else spelling
        assert not applies(spelling, **good) and applies(spelling, **evil), spelling
    assert applies(f"{tmp_path}/good/link/", name="m")
    assert not applies(f"{tmp_path}/good/link/", name="link")


def test_files_by_their_real_path(tree, tmp_path, applies):
    file = tree(FILES, "m") / "weights.bin"
    (tmp_path / "way").symlink_to(tmp_path / "m")
    assert applies(tmp_path / "way" / "weights.bin", path=f"{tmp_path}/m/*.bin")
    assert not applies(tmp_path / "way" / "weights.bin", path=f"{tmp_path}/way/*.bin")
    assert applies(file, name="*.bin") and not applies(file, name="m")


def test_dot_names_the_folder(hallmark, tree, write, tmp_path):
    model = tree({"w": b""}, "m")
    policy = write([rule("m", signers="alice")])
    hallmark("policy", "explain", ".", "--policy", policy, cwd=model, expect=0)


@pytest.mark.parametrize("name", [
    b"a\nb", b"a\x1bb", b"a\xffb", b"\xc3\x28", "a\u202eb".encode(), "a\u200bb".encode(),
])  # fmt: skip
def test_odd_bytes_match_nothing(tmp_path, applies, name):
    """Or a strict rule for a place could be left by the bytes of a name, for a laxer one."""
    odd = os.path.join(os.fsencode(tmp_path), name)
    os.makedirs(odd)
    for patterns in ({"name": "*"}, {"path": "/**"}, {"name": "a?b"}, {"name": "a*"}):
        assert not applies(odd, **patterns)
    inner = os.path.join(odd, b"m")
    os.makedirs(inner)
    assert not applies(inner, path="/**") and applies(inner, name="m")


def test_other_scripts_match(tree, applies):
    model = tree({"w": b""}, "mod\u00e8le-\u6a21\u578b")
    for pattern in ("mod\u00e8le-*", "mod?le-??", "*\u578b", "mod[\u00e0-\u00ef]le-*"):
        assert applies(model, name=pattern), pattern
    assert not applies(model, name="mod??le-*")


def test_a_given_name(hallmark, judge, signed, applies, tmp_path):
    """The caller's word, as in verify: for a model that was downloaded to some place."""
    assert applies(signed("alice"), "--name", "resnet", name="resnet")
    assert not applies(signed(), "--name", "resnet", name="model")
    judge(signed(), 0, rule("resnet", **ANY, **PLACES), options=["--name", "resnet"])
    judge(signed(), 1, rule("model", **ANY, **PLACES), options=["--name", "resnet"])


# ---- explain and check --------------------------------------------------------------------------


def test_explain(hallmark, write, model):
    path = write([rule("other", **ANY), {"path": "/nowhere/**", "signers": "bob"},
                  rule("mod*", signers=["alice", "bob"], threshold=2), rule("*", **ANY)])  # fmt: skip
    result = hallmark("policy", "explain", model, "--policy", path, expect=0)
    for words in ("rule 1 (line", "other names", "other places", "rule 3", "2 of alice, bob",
                  "the first that fits"):  # fmt: skip
        assert words in result.out
    assert "rule 4" not in result.out
    answer = hallmark("policy", "explain", model, "--policy", path, "--json", expect=0).json()
    assert [(p["rule"], p["because"]) for p in answer["passed"]] == [(1, "name"), (2, "path")]
    assert answer["decides"]["rule"] == 3 and answer["decides"]["threshold"] == 2
    assert answer["path"] == str(model)
    path = write([rule("other", **ANY)])
    result = hallmark("policy", "explain", model, "--policy", path, expect=1)
    assert "no rule fits: refused" in result.out and "untrusted-signer" in result.err


def test_check(hallmark, write, people, pki):
    path = write([rule("m", **ANY, **PLACES, threshold=2, unsigned="warn", format="oms",
                       allow=["symlinks", "missing-eku", "oms-v0.2.0"]),
                  rule("p", pinned={"files": {"a": sha256(b"")}})],
                 {"ci": {"roots": str(pki.root.path), "identity": {"organisation": "Acme"}}},
                 {"revoked": [{"fingerprint": "0" * 64, "since": "2026-01-01", "reason": "x"}],
                  "default": "refuse"})  # fmt: skip
    result = hallmark("policy", "check", path, expect=0)
    for words in (people["alice"].fingerprint, "organisation Acme", "2 of alice, bob, carol",
                  "as oms", "let through", "pinned", "0" * 64, "all others: refused"):  # fmt: skip
        assert words in result.out, words
    report = hallmark("policy", "check", path, "--json", expect=0).json()
    assert [s["name"] for s in report["signers"]] == ["alice", "bob", "carol", "ci"]
    assert report["models"][0]["allow"] == ["symlinks", "missing-eku", "oms-v0.2.0"]
    assert report["models"][1]["pinned"]["digests"][0]["name"] == "a"
    assert report["default"] == "refuse" and report["signers"][3]["identity"][0]["value"] == "Acme"


def test_the_documented_examples(hallmark, people, pki, tmp_path):
    """What the pages show in full is sound, given the keys and certificates it names."""
    page = (support.ROOT / "docs" / "policy.md").read_text()
    manual = (support.ROOT / "docs" / "man" / "hallmark-policy.5.scd").read_text()
    examples = re.findall("^```yaml\n(.*?)^```", page, re.M | re.S)
    examples += re.findall("^```\n(version.*?)^```", manual, re.M | re.S)
    assert len(examples) == 2
    (tmp_path / "keys").mkdir()
    shutil.copy(pki.root.path, tmp_path / "acme-root.crt")
    for name, key in zip(("training_v1", "training_v2", "review"), people.values()):
        shutil.copy(key.public, tmp_path / "keys" / f"{name}.pub")
    for number, example in enumerate(examples):
        (tmp_path / f"{number}.yaml").write_text(example)
        hallmark("policy", "check", tmp_path / f"{number}.yaml", expect=0)


# ---- which policy -------------------------------------------------------------------------------


def test_precedence(hallmark, write, signed, people, tmp_path):
    model = signed("alice")
    good = write([rule(**ANY, **PLACES)])
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nmodels: []\n")
    where = ["--signature", model / "alice.sig"]
    hallmark("verify", model, env={"HALLMARK_POLICY": good}, expect=0)
    hallmark("verify", model, env={"HALLMARK_POLICY": bad}, expect=1)
    hallmark("verify", model, "--policy", good, env={"HALLMARK_POLICY": bad}, expect=0)
    hallmark("verify", model, "--policy", bad, env={"HALLMARK_POLICY": good}, expect=1)
    hallmark("verify", model, *where, "--key", people["alice"].public,
             env={"HALLMARK_POLICY": bad}, expect=0)  # fmt: skip
    hallmark("verify", model, *where, "--key", people["bob"].public,
             env={"HALLMARK_POLICY": good}, expect=1)  # fmt: skip
    hallmark("verify", model, env={"HALLMARK_POLICY": tmp_path / "none"}, expect=3)
    hallmark("policy", "check", env={"HALLMARK_POLICY": good}, expect=0)
    hallmark("policy", "explain", model, env={"HALLMARK_POLICY": good}, expect=0)
    result = hallmark("verify", model, "--json", env={"HALLMARK_POLICY": good}, expect=0)
    assert result.json()["policy"]["file"] == str(good)


@pytest.mark.parametrize("options", [
    ["--key", "k"], ["--root", "r"], ["--identity-san", "x"], ["--identity-subject", "x"],
    ["--identity-fingerprint", "x"], ["--allow-symlinks"], ["--allow-v0.2.0"],
    ["--allow-expired-certificates"], ["--allow-missing-eku"],
])  # fmt: skip
def test_a_policy_goes_alone(hallmark, write, model, options):
    hallmark("verify", model, "--policy", write([]), *options, expect=2)


def test_the_systems_policy(hallmark, write, signed, tmp_path):
    """/etc/hallmark/policy.yaml, in a namespace where /etc is ours."""
    model = signed("alice")
    write([rule(**ANY, **PLACES)])
    script = ("mount -t tmpfs none /etc && mkdir /etc/hallmark && "
              'cp "$1" /etc/hallmark/policy.yaml && shift && exec "$@"')  # fmt: skip
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    probe = subprocess.run([*unshare, tmp_path / "policy.yaml", "true"], capture_output=True)
    if probe.returncode != 0:
        pytest.skip("no user namespaces here")
    done = subprocess.run([*unshare, tmp_path / "policy.yaml",
                           *hallmark.command("verify", model, "--json")],
                          env=hallmark.environment(), capture_output=True)  # fmt: skip
    report = json.loads(done.stdout)
    assert done.returncode == 0, report
    assert report["policy"]["file"] == "/etc/hallmark/policy.yaml"


# ---- mistakes -----------------------------------------------------------------------------------

HEAD = "version: 1\nsigners:\n  a: {keys: KEY}\n"
RULE = HEAD + "models:\n  - name: m\n    signers: a\n"
HEX = "0" * 64

MISTAKES = {
    "empty": ("", "empty"),
    "comments only": ("# nothing\n", "empty"),
    "no mapping": ("- 1\n", "1:1: here must stand a mapping, and this is a list"),
    "no version": ("models: []\n", '1:1: "version" is missing'),
    "version as text": ('version: "1"\nmodels: []\n', '1:10: "version" must be a whole number'),
    "another version": ("version: 2\nmodels: []\n", "1:10: version 2 is not known"),
    "version as fraction": ("version: 1.0\nmodels: []\n", "1:10: 1.0 is not a whole number"),
    "version in hex": ("version: 0x1\nmodels: []\n", "1:10: 0x1 is not a whole number"),
    "no models": ("version: 1\n", '1:1: "models" is missing'),
    "models as mapping": ("version: 1\nmodels: {a: b}\n", '2:9: "models" must be a list'),
    "unknown key": ("version: 1\nmodles: []\nmodels: []\n", '2:1: "modles" is not a key'),
    "doubled key": ("version: 1\nmodels: []\nversion: 1\n", '3:1: "version" is here a second time; '
                    "the first is in line 1"),
    "doubled signer": (HEAD + "  a: {keys: KEY}\nmodels: []\n", '4:3: "a" is here a second time'),
    "tab": ("version: 1\n\tmodels: []\n", "2:"),
    "unclosed": ("version: [1\n", "2:1:"),
    "two documents": ("version: 1\nmodels: []\n---\nversion: 1\n", "3:1: a second document"),
    "anchor": ("version: &v 1\nmodels: []\n", "1:10: anchors"),
    "alias": ("version: *v\nmodels: []\n", "1:10: aliases"),
    "star": (HEAD + "models:\n  - {name: *, signers: a}\n", "begins with a star"),
    "tag": ("version: !!int 1\nmodels: []\n", "1:10: tags"),
    "tag directive": ("%TAG ! x:\n---\nversion: 1\nmodels: []\n", "tags"),
    "merge key": (RULE + "    <<: {format: oms}\n", '7:5: "<<" is not a key'),
    "list as key": ("? [a]\n: b\n", "1:3: a key must be a text"),
    "empty key": ('"": 1\n', "1:1: a key is empty"),
    "too deep": ("version: " + "[" * 40 + "]" * 40 + "\n", "nested too deep"),
    "too large": ("#" * (1 << 20) + "\n", "larger than"),
    "not UTF-8": (b"version: 1\nmodels: \xff\n", "2:9: not valid UTF-8"),
    "byte order mark": ("\ufeffversion: 1\nmodels: []\n", "1:1: a byte order mark"),
    "UTF-16": ("version: 1".encode("utf-16"), "1:1: not valid UTF-8"),
    "control": (b"version: 1\nmodels: \x07\n", "2:9: a control character"),
    "NUL": ('version: 1\nmodels: "\\0"\n', "2:9: a NUL"),
    "default allow": ("version: 1\nmodels: []\ndefault: allow\n", "3:10: the default can only be"),
    "default as bool": ("version: 1\nmodels: []\ndefault: no\n", '3:10: "default" must be a text'),
    # signers
    "signers as list": ("version: 1\nsigners: [a]\nmodels: []\n", "2:10:"),
    "signers as nothing": ("version: 1\nsigners:\nmodels: []\n", '"signers" must be a mapping, '
                           "and this is nothing"),
    "signer without keys": ("version: 1\nsigners: {a: {}}\nmodels: []\n", '2:14: a needs "keys"'),
    "no such key": ("version: 1\nsigners: {a: {keys: none.pub}}\nmodels: []\n", "2:21: cannot"),
    "no keys": ("version: 1\nsigners: {a: {keys: []}}\nmodels: []\n", "2:21: an empty list"),
    "key twice": ("version: 1\nsigners: {a: {keys: [KEY, KEY]}}\nmodels: []\n", "has this key"),
    "key of two kinds": ("version: 1\nsigners: {a: {keys: [{file: KEY, uri: x}]}}\nmodels: []\n",
                         'one of "file"'),
    "key of none": ("version: 1\nsigners: {a: {keys: [{version: 1}]}}\nmodels: []\n",
                    'needs one of "file"'),
    "bad pem": ("version: 1\nsigners: {a: {keys: [{pem: x}]}}\nmodels: []\n", "2:28:"),
    "unknown uri": ("version: 1\nsigners: {a: {keys: [{uri: 'foo:x'}]}}\nmodels: []\n", "2:28:"),
    "key version 0": ("version: 1\nsigners: {a: {keys: [{file: KEY, version: 0}]}}\nmodels: []\n",
                      "counted from 1"),
    "keyring": ('version: 1\nsigners: {a: {keyring: {file: x, "key": "z"}}}\nmodels: []\n',
                "2:24: cannot"),
    "keyring without key": ("version: 1\nsigners: {a: {keyring: {file: x}}}\nmodels: []\n",
                            'needs "file" and "key"'),
    "keyring more": ('version: 1\nsigners: {a: {keyring: {file: x, "key": z, more: 1}}}\nmodels: []\n',
                     '"more" is not a key'),
    "period upside down": ("version: 1\nsigners: {a: {keys: [{file: KEY, not-before: 2026-01-02, "
                           "not-after: 2026-01-01}]}}\nmodels: []\n", 'lies before "not-before"'),
    "revoked without since": ("version: 1\nsigners: {a: {keys: [{file: KEY, revoked: {}}]}}\n"
                              "models: []\n", '"since" is missing'),
    "root that is a key": ("version: 1\nsigners: {a: {roots: KEY}}\nmodels: []\n", "2:22:"),
    "identity without roots": ("version: 1\nsigners: {a: {keys: KEY, identity: {san: x}}}\n"
                               "models: []\n", '2:14: the identity of a needs "roots"'),
    "empty identity": ("version: 1\nsigners: {a: {keys: KEY, identity: {}}}\nmodels: []\n",
                       "demands nothing"),
    "unknown identity": ("version: 1\nsigners: {a: {keys: KEY, identity: {organization: x}}}\n"
                         "models: []\n", ': "organization" is not a key'),
    "bad fingerprint": ("version: 1\nsigners: {a: {keys: KEY, identity: {fingerprint: xy}}}\n"
                        "models: []\n", "is not a SHA-256 fingerprint"),
    "revoked as mapping": ("version: 1\nrevoked: {}\nmodels: []\n", '"revoked" must be a list'),
    "revoked fingerprint": ("version: 1\nrevoked: [{fingerprint: abc, since: 2026-01-01}]\n"
                            "models: []\n", '2:25: "abc" is not 64 digits'),
    # rules
    "rule as text": ("version: 1\nmodels: [m]\n", "2:10: here must stand a mapping"),
    "no pattern": (HEAD + "models:\n  - signers: a\n", "5:5: say which models"),
    "nothing demanded": (HEAD + "models:\n  - name: m\n", "5:5: nothing is demanded"),
    "unknown signer": (HEAD + "models:\n  - {name: m, signers: b}\n", '5:24: there is no signer'),
    "signer twice": (HEAD + "models:\n  - {name: m, signers: [a, a]}\n", "5:28: a is listed twice"),
    "threshold 0": (RULE + "    threshold: 0\n", "7:16: the threshold must be from 1"),
    "threshold too high": (RULE + "    threshold: 2\n", "7:16: the threshold must be from 1"),
    "threshold as text": (RULE + "    threshold: two\n", '7:16: "threshold" must be a whole'),
    "threshold negative": (RULE + "    threshold: -1\n", "7:16: -1 is not a whole number"),
    "threshold alone": (HEAD + f"models:\n  - {{name: m, threshold: 1, pinned: {{model: {HEX}x}}}}\n",
                        "5:26: a threshold needs signers"),
    "unknown format": (RULE + "    format: omz\n", '7:13: "omz" is not a signature format'),
    "name as number": (HEAD + "models:\n  - {name: 50, signers: a}\n", "5:12:"),
    "name as bool": (HEAD + "models:\n  - {name: no, signers: a}\n", "some readers of YAML take"),
    "name as null": (HEAD + "models:\n  - {name: ~, signers: a}\n", "and this is nothing"),
    "no names": (HEAD + "models:\n  - {name: [], signers: a}\n", "5:12: an empty list"),
    "slash in name": (HEAD + "models:\n  - {name: a/b, signers: a}\n", '5:12: the pattern "a/b"'),
    "dots as name": (HEAD + "models:\n  - {name: .., signers: a}\n", "no real path"),
    "two stars in name": (HEAD + 'models:\n  - {name: "**", signers: a}\n', "for paths"),
    "relative path": (HEAD + "models:\n  - {path: a/b, signers: a}\n", "paths are absolute"),
    "dots in path": (HEAD + "models:\n  - {path: /a/../b, signers: a}\n", "no real path"),
    "dot in path": (HEAD + "models:\n  - {path: /a/./b, signers: a}\n", "no real path"),
    "empty component": (HEAD + "models:\n  - {path: /a//b, signers: a}\n", "an empty component"),
    "slash at the end": (HEAD + "models:\n  - {path: /a/, signers: a}\n", "an empty component"),
    "three stars": (HEAD + "models:\n  - {path: /a/b**, signers: a}\n", "not a whole component"),
    "open bracket": (HEAD + 'models:\n  - {name: "a[b", signers: a}\n', 'without "]"'),
    "bracket over slash": (HEAD + 'models:\n  - {path: "/a[/]b", signers: a}\n', 'without "]"'),
    "empty bracket": (HEAD + 'models:\n  - {name: "a[]", signers: a}\n', "an empty"),
    "caret": (HEAD + 'models:\n  - {name: "[^a]", signers: a}\n', "write"),
    "range": (HEAD + 'models:\n  - {name: "[z-a]", signers: a}\n', "backwards"),
    "backslash": (HEAD + "models:\n  - {name: 'a\\*', signers: a}\n", "a backslash"),
    "signature outside": (RULE + "    signatures: ../x.sig\n", '7:17: "../x.sig" is not a path'),
    "signature absolute": (RULE + "    signatures: [a.sig, /x.sig]\n", "7:25:"),
    "pin of two kinds": (RULE + f'    pinned: {{model: "{HEX}", file: "sha256:{HEX}"}}\n',
                         "7:13: one of"),
    "pin of none": (RULE + "    pinned: {}\n", "7:13: one of"),
    "pin without hash": (RULE + f'    pinned: {{file: "{HEX}"}}\n', "7:20:"),
    "pin in upper case": (RULE + f'    pinned: {{file: "sha256:{"A" * 64}"}}\n', "lower-case hex"),
    "pin too short": (RULE + f'    pinned: {{model: "{HEX[1:]}"}}\n', "7:21:"),
    "pin as number": (RULE + f"    pinned: {{model: {HEX}}}\n", "must be a text, and this is a "
                      "number"),
    "pins of nothing": (RULE + "    pinned: {files: {}}\n", "7:21: no files"),
    "pin outside": (RULE + f'    pinned: {{files: {{../a: "sha256:{HEX}"}}}}\n', "../a"),
    "pin hash": (RULE + f'    pinned: {{model: "{HEX}", hash: md5}}\n', '"md5" is not known'),
    "pin hash of a file": (RULE + f'    pinned: {{file: "sha256:{HEX}", hash: sha256}}\n',
                           'belong to "model"'),
    "unsigned": (RULE + "    unsigned: allow\n", '7:15: "allow" is neither refuse nor warn'),
    "unsigned without signers": (HEAD + "models:\n  - {name: m, unsigned: warn, pinned: "
                                 f'{{model: "{HEX}"}}}}\n', 'has no "signers"'),
    "allow": (RULE + "    allow: [symlinks, everything]\n", '7:23: "everything" is nothing'),
    "allow as bool": (RULE + "    allow: true\n", '7:12: "allow" must be a text'),
    "provenance unsigned": (RULE + "    provenance: {required: true}\n    unsigned: warn\n",
                            "provenance is by a signer"),
    "provenance dataset": (RULE + "    provenance: {datasets: abc}\n", "7:28:"),
    "provenance word": (RULE + "    provenance: {required: yes}\n", "must be true or false"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(hallmark, tmp_path, people, model, name):
    text, said = MISTAKES[name]
    path = tmp_path / "p.yaml"
    if isinstance(text, str):
        text = text.replace("KEY", str(people["alice"].public)).encode()
    path.write_bytes(text)
    result = hallmark("policy", "check", "p.yaml", cwd=tmp_path, expect=3)
    assert result.out == "" and "p.yaml" in result.err and said in result.err, result
    verified = hallmark("verify", model, "--policy", "p.yaml", cwd=tmp_path, expect=3)
    assert verified.err == result.err


@pytest.mark.parametrize("word, meant", [
    ("signer", "signers"), ("treshold", "threshold"), ("unsinged", "unsigned"), ("xyz", None),
])  # fmt: skip
def test_the_nearest_key_is_named(hallmark, write, word, meant):
    result = hallmark("policy", "check", write([rule(**ANY) | {word: "x"}]), expect=3)
    assert ("did you mean" in result.err) == (meant is not None)
    assert meant is None or f'did you mean "{meant}"' in result.err


@pytest.mark.parametrize("text, good", [
    ("2026-01-05", True), ("2026-01-05T20:31:07Z", True), ('"2026-01-05"', True),
    ("2024-02-29", True), ("1970-01-01", True), ("9999-12-31T23:59:59Z", True),
    ("2026-02-29", False), ("2026-13-01", False), ("2026-00-01", False), ("2026-01-00", False),
    ("2026-1-5", False), ("2026-01-05T20:31Z", False), ("2026-01-05T20:31:07", False),
    ("2026-01-05 20:31:07Z", False), ("2026-01-05T20:31:07+02:00", False),
    ("2026-01-05T24:00:00Z", False), ("2026-01-05T20:60:00Z", False), ("1969-12-31", False),
    ("2026-01-05T20:31:60Z", False), ("1767225600", False), ("yesterday", False), ("~", False),
    ("[2026-01-05]", False), ("26-01-05", False), ("2026-01-05T20:31:07z", False),
])  # fmt: skip
def test_times(hallmark, write, text, good):
    policy = f"version: 1\nrevoked:\n  - fingerprint: '{HEX}'\n    since: {text}\nmodels: []\n"
    result = hallmark("policy", "check", write([], text=policy), expect=0 if good else 3)
    assert good or ":4:12: " in result.err


def test_a_policy_that_is_no_file(hallmark, tmp_path, model):
    for path in (tmp_path, tmp_path / "none", "/dev/null"):
        hallmark("policy", "check", path, expect=3)
        hallmark("verify", model, "--policy", path, expect=3)


def test_usage(hallmark, write, model, tmp_path):
    hallmark("policy", "check", write([]), "x", expect=2)
    hallmark("policy", "explain", "--policy", write([]), expect=2)
    if not pathlib.Path("/etc/hallmark/policy.yaml").exists():
        hallmark("policy", "check", expect=2)
        hallmark("policy", "explain", model, expect=2)
    result = hallmark("verify", model, "--policy", tmp_path / "none", "--json", expect=3).json()
    jsonschema.validate(result, SCHEMA)
    assert result["status"] == "undecided"


# ---- keyrings and provenance --------------------------------------------------------------------


@pytest.fixture
def ring(hallmark, tmp_path, people):
    """ring(version, ...) exports a keyring of the team's, with these versions revoked."""
    folder = tmp_path / "ring"
    env = {"HALLMARK_STATE_DIR": str(tmp_path / "state")}

    def make(*revoked):
        if not folder.exists():
            for _ in range(2):
                hallmark("key", "rotate", folder, "--signer", "team", "--no-passphrase", expect=0)
        for version in revoked:
            hallmark("key", "revoke", folder, "--version", str(version), "--reason", "stolen",
                     expect=0)  # fmt: skip
        out = tmp_path / f"ring-{len(revoked)}.export"
        hallmark("key", "export", folder, "--key", people["carol"].private, "--out", out, expect=0)
        return {"team": {"keyring": {"file": str(out), "key": str(people["carol"].public)}}}, env

    make.folder = folder
    return make


def test_a_keyring_in_a_policy(hallmark, judge, model, ring):
    signers, env = ring()
    hallmark("sign", model, "--key", ring.folder, expect=0)
    demand = rule(signers="team")
    report = judge(model, 0, demand, signers=signers, env=env)
    assert (report["signer"]["name"], report["signer"]["key_version"]) == ("team", 2)
    newer, env = ring(2)
    assert judge(model, 1, demand, signers=newer, env=env)["reason"] == "revoked-key"
    # The old export, after the new one was seen.
    result = hallmark("verify", model, "--policy", write_policy(signers, demand, model.parent),
                      "--json", expect=1, env=env)  # fmt: skip
    assert result.json()["reason"] == "rollback"


def write_policy(signers, demand, folder):
    path = folder / "old.yaml"
    path.write_text(json.dumps({"version": 1, "signers": signers, "models": [demand]}))
    return path


def test_another_signers_keyring(hallmark, judge, model, ring):
    signers, env = ring()
    hallmark("sign", model, "--key", ring.folder, expect=0)
    path = write_policy({"other": signers["team"]}, rule(signers="other"), model.parent)
    result = hallmark("verify", model, "--policy", path, "--json", expect=1, env=env).json()
    assert result["reason"] == "untrusted-signer"


@pytest.fixture
def trained(hallmark, model, people, metadata_file):
    hallmark("sign", model, "--key", people["alice"].private, "--metadata", metadata_file, expect=0)
    return model


def demanding(**provenance):
    return rule(signers=["alice", "bob"], provenance=provenance)


def test_provenance_by_policy(hallmark, judge, trained, people):
    dataset = "sha256:" + support.METADATA["dataset_hash"].removeprefix("sha256:")
    report = judge(trained, 0, demanding(required=True, datasets=[dataset]))
    assert report["provenance"] is not None
    report = judge(trained, 1, demanding(datasets=["sha256:" + "0" * 64]))
    assert report["reason"] == "provenance" and report["provenance"] is None
    assert judge(trained, 1, demanding(builders=["somebody"]))["reason"] == "provenance"
    (trained / "model.provenance.sigstore.json").unlink()
    assert judge(trained, 0, rule(signers="alice"))["provenance"] is None
    assert judge(trained, 1, demanding(required=True))["reason"] == "provenance"


def test_provenance_of_a_signer_who_does_not_count(hallmark, judge, trained, people, metadata_file):
    """A believed signer's statement beside another's signature is not that signature's."""
    statement = trained / "model.provenance.sigstore.json"
    kept = statement.read_bytes()
    hallmark("sign", trained, "--key", people["bob"].private, "--metadata", metadata_file, expect=0)
    judge(trained, 0, demanding(required=True))
    statement.write_bytes(kept)
    assert judge(trained, 1, demanding(required=True))["reason"] == "untrusted-signer"


def test_bad_provenance_is_no_hole(judge, trained):
    """Not demanded, but there: then it must be good, or a file would be passed over unseen."""
    (trained / "model.provenance.sigstore.json").write_text("{}")
    assert judge(trained, 1, rule(signers="alice"))["status"] == "refused"


# ---- ways around it -----------------------------------------------------------------------------


def test_a_third_name_that_ties_two_together(hallmark, judge, model, people):
    """alice has one key, carol another, and bob both: whoever signs with both may be bob alone."""
    for name in ("alice", "carol"):
        hallmark("sign", model, "--key", people[name].private, "--signature",
                 model / f"{name}.sig", "--ignore", "alice.sig", "--ignore", "carol.sig",
                 expect=0)  # fmt: skip
    demand = rule(signers=["alice", "carol"], threshold=2, signatures=["alice.sig", "carol.sig"])
    assert counted(judge(model, 0, demand)) == ["alice", "carol"]
    both = {"bob": {"keys": [str(people[name].public) for name in ("alice", "carol")]}}
    assert counted(judge(model, 1, demand, signers=both)) == ["alice"]


def test_whoever_covers_less_does_not_count(hallmark, judge, model, people):
    """In whatever order the two signatures are named."""
    (model / "evil.py").write_text("import os")
    hallmark("sign", model, "--key", people["alice"].private, "--signature", model / "alice.sig",
             "--ignore", "bob.sig", "--ignore", "evil.py", expect=0)  # fmt: skip
    hallmark("sign", model, "--key", people["bob"].private, "--signature", model / "bob.sig",
             "--ignore", "alice.sig", expect=0)  # fmt: skip
    for places in (["alice.sig", "bob.sig"], ["bob.sig", "alice.sig"]):
        demand = rule(signers=["alice", "bob"], threshold=2, signatures=places)
        assert judge(model, 1, demand)["reason"] == "extra-file"


def test_naming_no_place_does_not_make_it_unsigned(hallmark, judge, model, people):
    """The rule's own places count for that, even where the caller names another."""
    hallmark("sign", model, "--key", people["mallory"].private, "--signature", model / "team.sig",
             expect=0)  # fmt: skip
    demand = rule(signers="alice", signatures="team.sig", unsigned="warn")
    judge(model, 1, demand)
    judge(model, 1, demand, options=["--signature", model / "none.sig"])


def test_a_bad_signature_is_content_where_files_are_pinned(hallmark, judge, model, people, tmp_path):
    hallmark("sign", model, "--key", people["alice"].private, "--signature", model / "alice.sig",
             "--ignore", "bob.sig", expect=0)  # fmt: skip
    (model / "bob.sig").write_bytes(b"import os\n")
    pins = {"files": {name: sha256(data) for name, data in FILES.items()}}
    demand = rule(signers=["alice", "bob"], signatures=["alice.sig", "bob.sig"], pinned=pins)
    assert judge(model, 1, demand)["reason"] == "extra-file"
    (model / "bob.sig").unlink()
    judge(model, 0, demand)


@pytest.mark.parametrize("how", ["option", "environment"])
@pytest.mark.parametrize("options", [
    ["--require-provenance"],
    ["--provenance-builder", "somebody"],
    ["--provenance-dataset", "sha256:" + "0" * 64],
])  # fmt: skip
def test_demands_beside_a_policy(hallmark, write, signed, people, how, options):
    """What the caller demands beyond the policy is never passed over."""
    model = signed("alice")
    path = write([rule(signers="alice", unsigned="warn")])
    given = ["--policy", path] if how == "option" else []
    env = {} if how == "option" else {"HALLMARK_POLICY": str(path)}
    place = ["--signature", model / "alice.sig"]
    hallmark("verify", model, *place, *given, env=env, expect=0)
    hallmark("verify", model, *place, *given, *options, env=env, expect=1)
    (model / "alice.sig").unlink()
    hallmark("verify", model, *given, env=env, expect=LET_THROUGH)
    hallmark("verify", model, *given, *options, env=env, expect=1)


def test_a_keyring_beside_a_policy(hallmark, write, model, ring, people):
    """It would not be heeded, revocations included: so it is refused, or takes the policy's place."""
    hallmark("sign", model, "--key", people["alice"].private, expect=0)
    path = write([rule(signers="alice")])
    signers, env = ring()
    keyring = ["--keyring", signers["team"]["keyring"]["file"], "--keyring-key",
               signers["team"]["keyring"]["key"]]  # fmt: skip
    hallmark("verify", model, "--policy", path, *keyring, env=env, expect=2)
    hallmark("verify", model, *keyring, env=env | {"HALLMARK_POLICY": str(path)}, expect=1)


def test_what_is_demanded_of_provenance_is_shown(hallmark, write):
    dataset = "sha256:" + "0" * 64
    path = write([rule(signers="alice", provenance={"datasets": [dataset], "builders": ["ci", "b"]}),
                  rule("other", signers="alice")])  # fmt: skip
    said = hallmark("policy", "check", path, expect=0).out
    assert f"with provenance, trained from {dataset}, built by ci or b" in said
    rules = hallmark("policy", "check", path, "--json", expect=0).json()["models"]
    assert [r["provenance"] for r in rules] == [
        {"datasets": [dataset], "builders": ["ci", "b"]}, None]  # fmt: skip


def test_letting_through_is_logged(hallmark, write, model):
    """On standard error also where a program reads the JSON."""
    path = write([rule(signers="alice", unsigned="warn")])
    for options in ([], ["--json"]):
        result = hallmark("verify", model, "--policy", path, *options, expect=LET_THROUGH)
        assert "is not verified" in result.err
