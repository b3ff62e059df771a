# SPDX-License-Identifier: Apache-2.0
"""Signing again by another key: only what verified, as it was signed, and all of it."""

import hashlib
import json
import shutil

import jsonschema
import pytest

import oracle
import support

SCHEMA = json.loads((support.ROOT / "docs" / "report.schema.json").read_text())
FILES = {"config.json": b"{}", "sub/weights.bin": support.content("weights", 200_000), "empty": b""}
PROVENANCE = "model.provenance.sigstore.json"


@pytest.fixture
def old(keys):
    return keys["python", "rsa-2048", "old"]


@pytest.fixture
def new(keys):
    return keys["python", "rsa-2048", "new"]


@pytest.fixture
def policy(tmp_path, old, new):
    """policy(key, rule...) -> a policy file whose one signer, "team", has that key."""

    def make(key=old, *rules, more=None):
        path = tmp_path / f"policy-{key.public.stem}.yaml"
        path.write_text(json.dumps({
            "version": 1,
            "signers": {"team": {"keys": str(key.public)}},
            "models": list(rules) or [{"path": f"{tmp_path}/**", "signers": "team"}],
        } | (more or {})))  # fmt: skip
        return path

    return make


@pytest.fixture
def sign_old(hallmark, old):
    def run(model, *options):
        hallmark("sign", model, "--key", old.private, *options, expect=support.OK)
        return model

    return run


@pytest.fixture
def resign(hallmark, policy, new):
    """resign(model..., expect=...) by the new key, under the old policy: the reports."""

    def run(*models, expect=support.OK, key=new, under=None):
        result = hallmark("resign", *models, "--policy", under or policy(), "--key",
                          getattr(key, "private", key), "--json", expect=expect)  # fmt: skip
        reports = result.json()
        for report in reports:
            jsonschema.validate(report, SCHEMA)
            assert report["operation"] == "resign"
            if report["status"] == "refused":
                assert report["entries"] == []
        return reports

    return run


def outcome(reports):
    return [(report["status"], report["reason"]) for report in reports]


def statement(path):
    return oracle.read_oms(path.read_bytes())[0]


# ---- what is kept -------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [
    (),
    ("--hash", "blake3"),
    ("--hash", "blake2b", "--shard-size", "64K"),
    ("--ignore", "left", "--ignore", "not/there"),
    ("--include-git",),
], ids=" ".join)  # fmt: skip
def test_oms_is_signed_as_it_was(hallmark, tree, resign, sign_old, policy, new, options):
    model = tree(FILES | {"left/out": b"x", ".gitignore": b"y"})
    sign_old(model, *options)
    before = statement(model / "model.sig")
    (report,) = resign(model)
    assert outcome([report]) == [("resigned", None)]
    assert report["signature"] == {
        "path": str(model / "model.sig"), "shards_path": None, "format": "oms",
    }  # fmt: skip
    assert statement(model / "model.sig") == before
    verified = hallmark("verify", model, "--policy", policy(new), "--json", expect=0).json()
    assert verified["entries"] == report["entries"]
    hallmark("verify", model, "--policy", policy(), expect=support.REFUSED)


def test_symbolic_links_are_kept(hallmark, tree, resign, sign_old, policy, old, new, tmp_path):
    model = tree(FILES)
    (model / "link").symlink_to("config.json")
    sign_old(model, "--follow-symlinks")
    rule = {"path": f"{tmp_path}/**", "signers": "team", "allow": "symlinks"}
    assert outcome(resign(model, expect=1)) == [("refused", "unsupported")]
    assert outcome(resign(model, under=policy(old, rule))) == [("resigned", None)]
    assert statement(model / "model.sig")["predicate"]["serialization"]["allow_symlinks"] is True
    assert outcome(resign(model, under=policy(old, rule))) == [("unchanged", None)]


@pytest.mark.parametrize("dot", [False, True])
def test_a_single_file(hallmark, model_file, resign, sign_old, policy, new, dot):
    sign_old(model_file, *(["--name-dot"] if dot else []))
    signature = model_file.with_name(model_file.name + ".sig")
    before = statement(signature)
    assert outcome(resign(model_file)) == [("resigned", None)]
    assert statement(signature) == before
    hallmark("verify", model_file, "--policy", policy(new), expect=0)


def test_sig_json_keeps_the_metadata(hallmark, model_file, metadata_file, resign, sign_old, policy,
                                     old, new):  # fmt: skip
    sign_old(model_file, "--format", "sig-json", "--metadata", metadata_file)
    path = model_file.with_name(model_file.name + ".sig")
    before = json.loads(path.read_text())["manifest"]
    assert outcome(resign(model_file)) == [("resigned", None)]
    after = json.loads(path.read_text())["manifest"]
    assert after["training_metadata"] == before["training_metadata"]
    assert after["model_hash"] == before["model_hash"]
    fingerprints = [hallmark("key", "show", key.public, "--json", expect=0).json()["fingerprint"]
                    for key in (old, new)]  # fmt: skip
    assert [before["signer_id"], after["signer_id"]] == [f"sha256:{f}" for f in fingerprints]
    hallmark("verify", model_file, "--policy", policy(new), expect=0)


def test_sig_json_keeps_a_name(model_file, metadata_file, resign, sign_old):
    sign_old(model_file, "--format", "sig-json", "--metadata", metadata_file, "--signer-id", "ci")
    resign(model_file)
    path = model_file.with_name(model_file.name + ".sig")
    assert json.loads(path.read_text())["manifest"]["signer_id"] == "ci"


def test_manifest_json(hallmark, model_file, resign, sign_old, policy, new):
    sign_old(model_file, "--format", "manifest-json", "--key-version", 3)
    path = model_file.with_suffix(".manifest.json")
    before = json.loads(path.read_text())
    assert outcome(resign(model_file)) == [("resigned", None)]
    after = json.loads(path.read_text())
    assert after["sha256"] == before["sha256"] and "key_version" not in after
    hallmark("verify", model_file, "--policy", policy(new), expect=0)


def test_a_bundle_manifest(hallmark, tree, resign, sign_old, policy, old, new, tmp_path):
    model = tree({"a.bin": b"a", "b.bin": b"b", "other": b"not of it"})
    hallmark("sign", model / "b.bin", model / "a.bin", "--key", old.private, "--format",
             "manifest-json", "--signature", model / "all.json", expect=0)  # fmt: skip
    rule = {"path": f"{tmp_path}/**", "signers": "team", "signatures": "all.json"}
    assert outcome(resign(model, under=policy(old, rule))) == [("resigned", None)]
    files = {a["model_file"] for a in json.loads((model / "all.json").read_text())["artifacts"]}
    assert files == {"a.bin", "b.bin"}
    hallmark("verify", model, "--policy", policy(new, rule), expect=0)
    (model / "a.bin").write_bytes(b"x")
    assert outcome(resign(model, under=policy(old, rule), expect=1)) == [
        ("refused", "digest-mismatch")
    ]


def test_two_formats_beside_one_file(hallmark, model_file, resign, sign_old, policy, new):
    sign_old(model_file)
    sign_old(model_file, "--format", "manifest-json")
    (report,) = resign(model_file)
    other = str(model_file.with_suffix(".manifest.json"))
    assert any(other in warning for warning in report["warnings"])
    for path in (f"{model_file}.sig", other):
        hallmark("verify", model_file, "--policy", policy(new), "--signature", path, expect=0)


def test_a_manifest_of_another_file(hallmark, model_file, resign, sign_old, policy, new):
    """Files that differ only in their last suffix share the default manifest."""
    other = support.make_model_file(model_file.with_suffix(".onnx"), seed=2)
    sign_old(model_file)
    sign_old(other, "--format", "manifest-json")
    manifest = model_file.with_suffix(".manifest.json").read_bytes()
    assert outcome(resign(model_file)) == [("resigned", None)]
    assert model_file.with_suffix(".manifest.json").read_bytes() == manifest
    hallmark("verify", model_file, "--policy", policy(new), expect=0)
    assert outcome(resign(other)) == [("resigned", None)]
    hallmark("verify", other, "--policy", policy(new), expect=0)
    (model_file.parent / (model_file.name + ".sig")).unlink()
    assert outcome(resign(model_file, expect=1)) == [("refused", "unsigned")]


def test_a_place_that_the_rule_names(hallmark, tree, resign, sign_old, policy, old, new, tmp_path):
    model = tree(FILES)
    sign_old(model, "--signature", model / "team.sig")
    rule = {"path": f"{tmp_path}/**", "signers": "team", "signatures": "team.sig"}
    assert outcome(resign(model, under=policy(old, rule))) == [("resigned", None)]
    hallmark("verify", model, "--policy", policy(new, rule), expect=0)
    assert not (model / "model.sig").exists()


def test_a_keyring_signs(hallmark, tree, resign, sign_old, tmp_path):
    model = sign_old(tree(FILES))
    ring = tmp_path / "ring"
    hallmark("key", "rotate", ring, "--no-passphrase", expect=0)
    hallmark("key", "rotate", ring, "--no-passphrase", expect=0)
    (report,) = resign(model, key=ring)
    assert report["signer"]["key_version"] == 2


# ---- both signatures and provenance -------------------------------------------------------------


@pytest.fixture
def both(tree, sign_old, metadata_file):
    return sign_old(tree(FILES, "both"), "--files", "--shard-size", "64K", "--metadata",
                    metadata_file, "--signer-id", "https://ci")  # fmt: skip


def test_both_signatures_and_the_provenance(hallmark, both, resign, policy, new, tmp_path):
    before = statement(both / PROVENANCE)
    (report,) = resign(both)
    assert report["signature"]["shards_path"] == str(both / "model.shards.sig")
    assert report["provenance"]["path"] == str(both / PROVENANCE)
    after = statement(both / PROVENANCE)
    assert after["predicate"] == before["predicate"]
    digests = [(s["name"], s["digest"]) for s in after["subject"]]
    assert digests[0::2] == [(s["name"], s["digest"]) for s in before["subject"]][0::2]
    for name, digest in digests[1::2]:
        assert digest == {"sha256": hashlib.sha256((both / name).read_bytes()).hexdigest()}
    rule = {"path": f"{tmp_path}/**", "signers": "team",
            "provenance": {"required": True, "builders": "https://ci"}}  # fmt: skip
    for name in ("model.sig", "model.shards.sig"):
        hallmark("verify", both, "--policy", policy(new, rule), "--signature", both / name,
                 expect=0)  # fmt: skip


def test_one_bad_signature_of_two(both, resign):
    support.flip(both / "model.shards.sig", -200)
    before = support.snapshot(both)
    (report,) = resign(both, expect=1)
    assert report["status"] == "refused"
    assert support.snapshot(both) == before


def test_a_bad_statement(both, resign):
    text = json.loads((both / PROVENANCE).read_text())
    text["dsseEnvelope"]["payload"] = "f" + text["dsseEnvelope"]["payload"][1:]
    (both / PROVENANCE).write_text(json.dumps(text))
    before = support.snapshot(both)
    assert resign(both, expect=1)[0]["status"] == "refused"
    assert support.snapshot(both) == before


@pytest.mark.parametrize("done", [(PROVENANCE,), (PROVENANCE, "model.sig")], ids=len)
def test_killed_between_two_renames(hallmark, both, resign, policy, new, tmp_path, done):
    """The files get their names one after the other; a crash may come between."""
    copy = tmp_path / "copy"
    shutil.copytree(both, copy / "both")
    resign(copy / "both")
    for name in done:
        shutil.copy(copy / "both" / name, both / name)
    hallmark("verify", both, "--policy", policy(), expect=support.REFUSED)
    assert outcome(resign(both)) == [("resigned", None)]
    for name in ("model.sig", "model.shards.sig"):
        hallmark("verify", both, "--policy", policy(new), "--signature", both / name,
                 "--provenance", both / PROVENANCE, expect=0)  # fmt: skip
    assert outcome(resign(both)) == [("unchanged", None)]


def test_half_done_does_not_hide_a_change(both, resign, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(both, copy / "both")
    resign(copy / "both")
    shutil.copy(copy / "both" / PROVENANCE, both / PROVENANCE)
    shutil.copy(copy / "both" / "model.sig", both / "model.sig")
    support.flip(both / "sub/weights.bin", 1000)
    before = support.snapshot(both)
    assert outcome(resign(both, expect=1)) == [("refused", "digest-mismatch")]
    assert support.snapshot(both) == before


def test_a_record_of_states_is_told_of(hallmark, tree, resign, old):
    model = tree(FILES)
    for options in ((), ("--reuse", model / "model.sig")):
        hallmark("sign", model, "--key", old.private, *options, expect=0)
    assert (model / "model.sig.state").exists()
    (report,) = resign(model)
    assert any("model.sig.state" in warning for warning in report["warnings"])


# ---- what is never signed -----------------------------------------------------------------------


def change(model):
    support.flip(model / "sub/weights.bin", 5)


def add(model):
    (model / "extra").write_bytes(b"x")


def remove(model):
    (model / "config.json").unlink()


def unsign(model):
    (model / "model.sig").unlink()


def break_signature(model):
    text = json.loads((model / "model.sig").read_text())
    first = text["dsseEnvelope"]["signatures"][0]
    first["sig"] = ("B" if first["sig"][0] == "A" else "A") + first["sig"][1:]
    (model / "model.sig").write_text(json.dumps(text))


@pytest.mark.parametrize("harm, reason", [
    (change, "digest-mismatch"), (add, "extra-file"), (remove, "missing-file"),
    (unsign, "unsigned"), (break_signature, "bad-signature"),
])  # fmt: skip
@pytest.mark.parametrize("by_new", [False, True], ids=["by old", "by new"])
def test_harm_is_never_signed(hallmark, tree, resign, sign_old, harm, reason, by_new):
    """Nor taken for done, when the new key signed it before."""
    model = sign_old(tree(FILES))
    if by_new:
        resign(model)
    harm(model)
    before = support.snapshot(model)
    reports = resign(model, expect=1)
    assert outcome(reports)[0][0] == "refused"
    if not (by_new and harm is break_signature):
        assert outcome(reports)[0][1] == reason
    assert support.snapshot(model) == before


def test_a_stranger_is_not_believed(hallmark, tree, resign, keys):
    model = tree(FILES)
    stranger = keys["python", "rsa-2048", "stranger"]
    hallmark("sign", model, "--key", stranger.private, expect=0)
    before = support.snapshot(model)
    assert outcome(resign(model, expect=1)) == [("refused", "untrusted-signer")]
    assert support.snapshot(model) == before


def test_what_only_a_pin_or_leniency_lets_pass(hallmark, tree, resign, policy, old, sign_old,
                                               tmp_path):  # fmt: skip
    model = tree(FILES)
    digest = hallmark("digest", model, "--json", expect=0).json()["model"]["model_digest"]
    where = {"path": f"{tmp_path}/**"}
    pinned = policy(old, where | {"pinned": {"model": digest}})
    hallmark("verify", model, "--policy", pinned, expect=0)
    assert outcome(resign(model, under=pinned, expect=1)) == [("refused", "unsigned")]
    lenient = policy(old, where | {"signers": "team", "unsigned": "warn"})
    hallmark("verify", model, "--policy", lenient, expect=4)
    assert outcome(resign(model, under=lenient, expect=1)) == [("refused", "unsigned")]
    both = policy(old, where | {"signers": "team", "unsigned": "warn", "pinned": {"model": digest}})
    hallmark("verify", model, "--policy", both, expect=0)
    assert outcome(resign(model, under=both, expect=1)) == [("refused", "unsigned")]
    assert not (model / "model.sig").exists()
    sign_old(model)
    assert outcome(resign(model, under=both)) == [("resigned", None)]


def test_a_pin_that_does_not_hold(tree, resign, sign_old, policy, old, tmp_path):
    model = sign_old(tree(FILES))
    rule = {"path": f"{tmp_path}/**", "signers": "team", "pinned": {"model": 64 * "0"}}
    assert outcome(resign(model, under=policy(old, rule), expect=1)) == [
        ("refused", "pinned-digest-mismatch")
    ]


def test_several_signers(hallmark, tree, resign, sign_old, keys, policy, old, tmp_path):
    model = sign_old(tree(FILES))
    other = {"team": {"keys": str(old.public)},
             "other": {"keys": str(keys["python", "ec-p256"].public)}}  # fmt: skip
    rule = {"path": f"{tmp_path}/**", "signers": ["team", "other"], "threshold": 2,
            "signatures": ["model.sig", "b.sig"]}  # fmt: skip
    under = policy(old, rule, more={"signers": other})
    assert outcome(resign(model, under=under, expect=1)) == [("refused", "unsupported")]


def test_no_rule(tree, resign, sign_old, policy, old):
    model = sign_old(tree(FILES))
    under = policy(old, {"name": "other", "signers": "team"})
    assert outcome(resign(model, under=under, expect=1)) == [("refused", "untrusted-signer")]


@pytest.mark.parametrize("whose", ["old", "new"])
def test_a_revoked_key(hallmark, tree, resign, sign_old, policy, old, new, whose):
    """The old one proves nothing any more, and the new one is none to move to."""
    model = sign_old(tree(FILES))
    key = {"old": old, "new": new}[whose]
    fingerprint = hallmark("key", "show", key.public, "--json", expect=0).json()["fingerprint"]
    under = policy(old, more={"revoked": [{"fingerprint": fingerprint, "since": "2026-01-01"}]})
    before = support.snapshot(model)
    assert outcome(resign(model, under=under, expect=1)) == [("refused", "revoked-key")]
    assert support.snapshot(model) == before


def test_a_key_that_the_format_does_not_know(model_file, metadata_file, resign, sign_old, keys):
    sign_old(model_file, "--format", "sig-json", "--metadata", metadata_file)
    before = (model_file.parent / (model_file.name + ".sig")).read_bytes()
    assert outcome(resign(model_file, key=keys["python", "ec-p256"], expect=1)) == [
        ("refused", "unsupported")
    ]
    assert (model_file.parent / (model_file.name + ".sig")).read_bytes() == before


def test_a_link_in_the_place_of_the_signature(tree, resign, sign_old, tmp_path):
    model = sign_old(tree(FILES))
    (model / "model.sig").rename(tmp_path / "elsewhere.sig")
    (model / "model.sig").symlink_to(tmp_path / "elsewhere.sig")
    before = (tmp_path / "elsewhere.sig").read_bytes()
    assert resign(model, expect=1)[0]["status"] == "refused"
    assert (model / "model.sig").is_symlink()
    assert (tmp_path / "elsewhere.sig").read_bytes() == before


# ---- several models -----------------------------------------------------------------------------


def test_each_model_by_itself(hallmark, tree, resign, sign_old, tmp_path):
    good, bad, last = (sign_old(tree(FILES, name)) for name in ("good", "bad", "last"))
    change(bad)
    reports = resign(good, bad, tmp_path / "missing", last, expect=support.UNDECIDED)
    assert outcome(reports) == [
        ("resigned", None), ("refused", "digest-mismatch"), ("undecided", None), ("resigned", None),
    ]  # fmt: skip
    assert [r["model"]["path"] for r in reports] == [
        str(tmp_path / name) for name in ("good", "bad", "missing", "last")
    ]
    assert outcome(resign(good, bad, expect=support.REFUSED))[0] == ("unchanged", None)


def test_text(hallmark, tree, sign_old, policy, new):
    good, bad = (sign_old(tree(FILES, name)) for name in ("good", "bad"))
    change(bad)
    run = ("resign", bad, good, "--policy", policy(), "--key", new.private)
    result = hallmark(*run, expect=1)
    assert result.out.startswith(f"resigned: {good}\n")
    assert result.err.startswith(f"refused: {bad} (digest-mismatch)\n")
    again = hallmark(*run, expect=1).out
    assert again.startswith(f"unchanged: {good}\n") and "by this key already" in again


def test_the_command_line(hallmark, tree, policy, new, sign_old):
    model = sign_old(tree(FILES))
    hallmark("resign", "--key", new.private, "--policy", policy(), expect=2)
    hallmark("resign", model, "--policy", policy(), expect=2)
    no_policy = {"HALLMARK_POLICY": None}
    assert "--policy" in hallmark("resign", model, "--key", new.private, env=no_policy, expect=2).err
    hallmark("resign", model, "--key", new.private, "--policy", "/nowhere", expect=3)
    hallmark("resign", model, "--key", "/nowhere", "--policy", policy(), expect=3)
    named = {"HALLMARK_POLICY": policy()}
    hallmark("resign", model, "--key", new.private, env=named, expect=0)
