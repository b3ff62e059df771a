# SPDX-License-Identifier: Apache-2.0
"""The number of the key, where a signature covers it: written, moved on with the key, and compared.

What was signed is read here without Hallmark: the envelope is taken apart and its signature checked
by Python, and only then is the number looked at.
"""

import copy
import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

import oracle
import support
from cases import DROP, put

NAME = "model.provenance.sigstore.json"
FILES = {"config.json": b"{}", "sub/weights.bin": support.content("weights", 3000)}


@pytest.fixture
def ring(hallmark, tmp_path):
    """A keyring: ring.rotate(), ring.sign(model), and the public key of each version."""

    class Ring:
        path = tmp_path / "ring"

        def rotate(self, *options):
            hallmark("key", "rotate", self.path, "--no-passphrase", *options, expect=0)

        def sign(self, model, *options, **more):
            return hallmark("sign", model, "--key", self.path, *options, **{"expect": 0, **more})

        def public(self, version):
            return self.path / f"signing_key_v{version}.pub"

        def python(self, version):
            return serialization.load_pem_public_key(self.public(version).read_bytes())

    return Ring()


@pytest.fixture
def policy(tmp_path):
    """policy({path of a public key: version or None, ...}): a policy file that believes them."""

    def make(keys):
        path = tmp_path / "policy.json"
        path.write_text(json.dumps({
            "version": 1,
            "signers": {"team": {"keys": [
                {"file": str(file)} | ({"version": version} if version else {})
                for file, version in keys.items()
            ]}},
            "models": [{"path": f"{tmp_path}/**", "signers": "team"}],
        }))  # fmt: skip
        return path

    return make


@pytest.fixture
def judge(hallmark, policy):
    """judge(model, {public key: version}): the report of a verification that must succeed."""

    def run(model, keys, *options):
        return hallmark("verify", model, "--policy", policy(keys), *options, "--json",
                        expect=0).json()  # fmt: skip

    return run


@pytest.fixture
def resign(hallmark, policy):
    def run(model, keys, key, **more):
        (report,) = hallmark("resign", model, "--policy", policy(keys), "--key", key, "--json",
                             **{"expect": 0, **more}).json()  # fmt: skip
        return report

    return run


@pytest.fixture
def model(tree):
    return tree(FILES)


def signed_by(path, key):
    """The predicate in a bundle, of which `key` must have signed every byte."""
    document, payload, signature, _ = oracle.read_oms(path.read_bytes())
    curve = oracle.CURVE_HASHES[key.curve.name]()
    key.verify(signature, oracle.pae(payload), oracle.ec.ECDSA(curve))
    return document["predicate"]


def version_in(predicate):
    return predicate["buildDefinition"]["internalParameters"]["keyVersion"]


def without_version(predicate):
    predicate = copy.deepcopy(predicate)
    del predicate["buildDefinition"]["internalParameters"]
    return predicate


def stated(report, where="provenance"):
    said = report[where]["stated"] if where == "provenance" else report[where]
    return {entry["name"]: entry["value"] for entry in said}


def warned(report):
    return [w for w in report["warnings"] if "version" in w]


def forge(path, key, change):
    document = oracle.read_oms(path.read_bytes())[0]
    change(document)
    path.write_text(json.dumps(oracle.sign_oms(document, key.python)))


# ---- provenance ---------------------------------------------------------------------------------


def test_rotation_changes_the_signed_number(ring, model, metadata_file, judge):
    for version in (1, 2):
        ring.rotate()
        ring.sign(model, "--metadata", metadata_file)
        predicate = signed_by(model / NAME, ring.python(version))
        assert predicate["buildDefinition"]["internalParameters"] == {"keyVersion": version}
        assert type(version_in(predicate)) is int
        report = judge(model, {ring.public(version): version})
        assert stated(report)["internalParameters.keyVersion"] == version
        assert report["signer"]["key_version"] == version and warned(report) == []


def test_the_signature_itself_has_no_place_for_it(ring, model, metadata_file):
    """The specification closes the predicate; what is there must be what it was without."""
    ring.rotate()
    ring.sign(model)
    assert not (model / NAME).exists()
    statement = oracle.verify_oms((model / "model.sig").read_bytes(), ring.python(1), FILES)
    assert set(statement) == {"_type", "subject", "predicateType", "predicate"}
    assert set(statement["predicate"]) == {"resources", "serialization"}
    assert "ersion" not in json.dumps([statement["predicate"], statement["subject"]])


def test_the_number_is_under_the_signature(ring, model, metadata_file, hallmark, policy):
    ring.rotate()
    ring.sign(model, "--metadata", metadata_file)
    bundle = json.loads((model / NAME).read_text())
    payload = oracle.base64.b64decode(bundle["dsseEnvelope"]["payload"])
    assert payload.count(b'"keyVersion":1') == 1
    bundle["dsseEnvelope"]["payload"] = oracle.b64(payload.replace(b'Version":1', b'Version":2'))
    (model / NAME).write_text(json.dumps(bundle))
    with pytest.raises(InvalidSignature):
        signed_by(model / NAME, ring.python(1))
    report = hallmark("verify", model, "--policy", policy({ring.public(1): 1}), "--json",
                      expect=1).json()  # fmt: skip
    assert report["reason"] == "bad-signature" and report["provenance"] is None


def test_a_number_by_word(sign, model, metadata_file, ec):
    sign(model, "--metadata", metadata_file, "--key-version", "9007199254740992")
    assert version_in(signed_by(model / NAME, ec.python.public_key())) == 2**53
    before = support.snapshot(model)
    result = sign(model, "--metadata", metadata_file, "--key-version", "9007199254740993",
                  expect=2)  # fmt: skip
    assert "--key-version" in result.err or "keyVersion" in result.err
    assert support.snapshot(model) == before
    sign(model, "--metadata", metadata_file)
    predicate = signed_by(model / NAME, ec.python.public_key())
    assert "internalParameters" not in predicate["buildDefinition"]


def test_the_keyring_knows_better(ring, model, metadata_file):
    ring.rotate()
    ring.rotate()
    result = ring.sign(model, "--metadata", metadata_file, "--key-version", "1", expect=2)
    assert "version 2" in result.err and not (model / NAME).exists()
    ring.sign(model, "--metadata", metadata_file, "--key-version", "2")
    assert version_in(signed_by(model / NAME, ring.python(2))) == 2


def test_both_signatures_share_it(ring, model, metadata_file):
    ring.rotate()
    ring.sign(model, "--files", "--shards", "--metadata", metadata_file)
    assert version_in(signed_by(model / NAME, ring.python(1))) == 1


@pytest.mark.parametrize("number", ["1", 1.5, 0, -1, 2**53 + 1, None, True, [1]], ids=repr)
def test_what_is_no_number(sign, hallmark, verify, model, metadata_file, ec, number):
    sign(model, "--metadata", metadata_file)
    internal = ("predicate", "buildDefinition", "internalParameters")
    forge(model / NAME, ec, put(*internal, {"keyVersion": number}))
    report = verify(model, expect=1)
    assert report["reason"] == "malformed" and "keyVersion" in report["message"]
    assert report["provenance"] is None

    def foreign(document):
        document["predicate"]["buildDefinition"]["buildType"] = "https://example.org/x"

    forge(model / NAME, ec, foreign)
    assert stated(verify(model))["internalParameters.keyVersion"] == number


# ---- against the policy -------------------------------------------------------------------------


@pytest.mark.parametrize("known, warns", [(None, False), (1, True), (2, False), (3, True)])
def test_what_the_policy_calls_the_key(sign, judge, model, metadata_file, ec, known, warns):
    sign(model, "--metadata", metadata_file, "--key-version", "2")
    report = judge(model, {ec.public: known})
    (expected,) = warned(report) if warns else [None]
    if warns:
        assert "the provenance says" in expected
        assert "by version 2" in expected and f"is version {known} " in expected
    else:
        assert warned(report) == []
    assert report["status"] == "verified"
    assert stated(report)["internalParameters.keyVersion"] == 2


def test_a_foreign_statement_is_not_compared(sign, judge, model, metadata_file, ec):
    sign(model, "--metadata", metadata_file, "--key-version", "2")
    forge(model / NAME, ec, put("predicate", "buildDefinition", "buildType", "https://x.example/"))
    assert warned(judge(model, {ec.public: 1})) == []


def test_a_claim_without_a_signature_warns_nobody(hallmark, rsa, judge, model_file):
    """Anybody can write it, so anybody could raise the alarm."""
    hallmark("sign", model_file, "--key", rsa.private, "--format", "manifest-json",
             "--key-version", "2", expect=0)  # fmt: skip
    report = judge(model_file, {rsa.public: 1})
    assert warned(report) == [] and stated(report, "claimed")["key_version"] == 2


# ---- moving to another key ----------------------------------------------------------------------


def test_resigning_replaces_the_number(ring, resign, judge, model, metadata_file):
    ring.rotate()
    ring.sign(model, "--metadata", metadata_file, "--signer-id", "https://ci.example")
    before = signed_by(model / NAME, ring.python(1))
    ring.rotate()
    report = resign(model, {ring.public(1): 1}, ring.path)
    assert report["status"] == "resigned" and warned(report) == []
    assert stated(report)["internalParameters.keyVersion"] == 2
    with pytest.raises(InvalidSignature):
        signed_by(model / NAME, ring.python(1))
    after = signed_by(model / NAME, ring.python(2))
    assert (version_in(before), version_in(after)) == (1, 2)
    assert without_version(after) == without_version(before)
    report = judge(model, {ring.public(1): 1, ring.public(2): 2})
    assert report["signer"]["key_version"] == 2 and warned(report) == []
    report = resign(model, {ring.public(1): 1}, ring.path)
    assert report["status"] == "unchanged"
    assert signed_by(model / NAME, ring.python(2)) == after


def test_resigning_without_a_number_takes_it_away(ring, resign, judge, model, metadata_file, ec):
    ring.rotate()
    ring.sign(model, "--metadata", metadata_file)
    before = signed_by(model / NAME, ring.python(1))
    resign(model, {ring.public(1): 1}, ec.private)
    after = signed_by(model / NAME, ec.python.public_key())
    assert after == without_version(before)
    judge(model, {ec.public: None})


def test_resigning_gives_a_number_to_what_had_none(ring, resign, sign, model, metadata_file, ec):
    sign(model, "--metadata", metadata_file)
    before = signed_by(model / NAME, ec.python.public_key())
    ring.rotate()
    ring.rotate()
    resign(model, {ec.public: None}, ring.path)
    after = signed_by(model / NAME, ring.python(2))
    assert after["buildDefinition"]["internalParameters"] == {"keyVersion": 2}
    assert without_version(after) == before


OTHERS = {
    "more internal parameters": (
        put("predicate", "buildDefinition", "internalParameters",
            {"a": [1.0, "x"], "keyVersion": 5, "b": {}}),
        {"a": [1.0, "x"], "b": {}}),
    "no number among them": (
        put("predicate", "buildDefinition", "internalParameters", {"a": 1}), {"a": 1}),
    "empty": (put("predicate", "buildDefinition", "internalParameters", {}), {}),
    "nothing before them": (
        put("predicate", "buildDefinition", "externalParameters", DROP), None),
    "the same name elsewhere": (
        put("predicate", "runDetails", "internalParameters", {"keyVersion": 77}), None),
    "the same name above": (put("predicate", "keyVersion", 78), None),
}  # fmt: skip


@pytest.mark.parametrize("to_ring", [True, False], ids=["with number", "without"])
@pytest.mark.parametrize("which", OTHERS)
def test_resigning_changes_nothing_else(ring, keys, resign, sign, model, metadata_file, ec, which,
                                        to_ring):  # fmt: skip
    sign(model, "--metadata", metadata_file)
    change, internal = OTHERS[which]
    forge(model / NAME, ec, change)
    before = signed_by(model / NAME, ec.python.public_key())
    ring.rotate()
    other = keys["python", "ec-p256", "other"]
    resign(model, {ec.public: None}, ring.path if to_ring else other.private)
    key = ring.python(1) if to_ring else other.python.public_key()
    after = signed_by(model / NAME, key)
    expected = (internal or {}) | {"keyVersion": 1} if to_ring else internal
    assert after["buildDefinition"].pop("internalParameters", None) == expected
    before["buildDefinition"].pop("internalParameters", None)
    assert after == before


def test_resigning_leaves_foreign_statements_alone(ring, resign, sign, model, metadata_file, ec):
    sign(model, "--metadata", metadata_file, "--key-version", "4")
    forge(model / NAME, ec, put("predicate", "buildDefinition", "buildType", "https://x.example/"))
    before = signed_by(model / NAME, ec.python.public_key())
    ring.rotate()
    resign(model, {ec.public: 3}, ring.path)
    assert signed_by(model / NAME, ring.python(1)) == before
    assert version_in(before) == 4


def test_resigning_tells_of_a_wrong_number(ring, resign, sign, model, metadata_file, ec):
    sign(model, "--metadata", metadata_file, "--key-version", "4")
    ring.rotate()
    report = resign(model, {ec.public: 3}, ring.path)
    assert len(warned(report)) == 1 and "version 4" in warned(report)[0]
    assert version_in(signed_by(model / NAME, ring.python(1))) == 1


# ---- sig-json -----------------------------------------------------------------------------------


@pytest.fixture
def sign_file(model_file, metadata_file):
    """sign_file(ring or sign): signs one file as sig-json; reading gives the checked manifest."""

    def run(by, *options, **more):
        by(model_file, "--format", "sig-json", "--metadata", metadata_file, *options, **more)

    def read(key):
        text = model_file.with_name(model_file.name + ".sig").read_text()
        return oracle.verify_sig_json(text, key, model_file)

    run.read = read
    return run


def test_sig_json_signs_the_number(ring, sign_file, resign, judge, model_file, rsa):
    ring.rotate("--type", "rsa-3072")
    sign_file(ring.sign)
    first = sign_file.read(ring.python(1))
    assert first["key_version"] == 1 and type(first["key_version"]) is int
    report = judge(model_file, {ring.public(1): 1})
    assert stated(report, "stated")["key_version"] == 1 and warned(report) == []
    (warning,) = warned(judge(model_file, {ring.public(1): 7}))
    assert "the signature says" in warning and "is version 7 " in warning
    ring.rotate("--type", "rsa-3072")
    resign(model_file, {ring.public(1): 1}, ring.path)
    second = sign_file.read(ring.python(2))
    assert second["key_version"] == 2
    assert second["training_metadata"] == first["training_metadata"]
    resign(model_file, {ring.public(2): 2}, rsa.private)
    assert "key_version" not in sign_file.read(rsa.python.public_key())


def test_sig_json_under_the_signature(ring, sign_file, judge, model_file, hallmark, policy):
    ring.rotate("--type", "rsa-3072")
    sign_file(ring.sign)
    path = model_file.with_name(model_file.name + ".sig")
    path.write_text(path.read_text().replace('"key_version": 1', '"key_version": 2'))
    with pytest.raises(InvalidSignature):
        sign_file.read(ring.python(1))
    report = hallmark("verify", model_file, "--policy", policy({ring.public(1): 1}), "--json",
                      expect=1).json()  # fmt: skip
    assert report["reason"] == "bad-signature"


def test_sig_json_by_word(sign, sign_file, rsa):
    sign_file(sign, "--key-version", "12", key=rsa)
    assert sign_file.read(rsa.python.public_key())["key_version"] == 12
    sign_file(sign, key=rsa)
    assert "key_version" not in sign_file.read(rsa.python.public_key())


@pytest.mark.parametrize("said", ["2", 2.5, None, [2], -2, 10**30])
def test_sig_json_of_others(judge, model_file, rsa, said):
    """In another's manifest the member may be anything: it is shown, and not compared."""
    manifest = oracle.sig_json_manifest(model_file, support.METADATA) | {"key_version": said}
    path = model_file.with_name(model_file.name + ".sig")
    path.write_text(json.dumps(oracle.sign_sig_json(manifest, rsa.python)))
    report = judge(model_file, {rsa.public: 1})
    assert stated(report, "stated")["key_version"] == said and warned(report) == []
