# SPDX-License-Identifier: Apache-2.0
"""Provenance: what sign writes of training metadata, and when verify believes it."""

import hashlib
import json
import os
import signal
import subprocess
import time

import pytest

import oracle
import support
from cases import DROP, put

NAME = "model.provenance.sigstore.json"
FILES = {"config.json": b"{}", "sub/weights.bin": support.content("weights", 3000), "empty": b""}
DATASET = support.METADATA["dataset_hash"]


@pytest.fixture
def model(tree):
    return tree(FILES)


@pytest.fixture
def write(tmp_path):
    """write({"training_start": ...}) makes a file of training metadata."""

    def make(metadata):
        path = tmp_path / "training.json"
        text = metadata if isinstance(metadata, (str, bytes)) else json.dumps(metadata)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return make


@pytest.fixture
def signed(model, sign, metadata_file):
    sign(model, "--metadata", metadata_file)
    return model


def statement_of(path):
    return oracle.read_oms(path.read_bytes())[0]


def digest_of(hallmark, model, *options):
    found = hallmark("digest", model, "--ignore", "model.sig", "--ignore", NAME, "--json", *options,
                     expect=0).json()["model"]  # fmt: skip
    return found["root_digest"], found["model_digest"]


def stated(report):
    return {entry["name"]: entry["value"] for entry in report["provenance"]["stated"]}


def forge(path, key, change=None, document=None, **how):
    """Signs the statement at `path`, changed, anew."""
    document = document or statement_of(path)
    if change is not None:
        change(document)
    path.write_text(json.dumps(oracle.sign_oms(document, key.python, **how)))


def refused(verify, model, reason, says, *options):
    report = verify(model, *options, expect=support.REFUSED)
    assert (report["status"], report["reason"]) == ("refused", reason), report
    assert says in report["message"], report
    assert report["provenance"] is None and report["entries"] == []
    return report


# ---- what is written ----------------------------------------------------------------------------


def test_the_statement(hallmark, sign, ec, model, metadata_file):
    report = sign(model, "--metadata", metadata_file, "--json").json()
    root, model_digest = digest_of(hallmark, model)
    statement = statement_of(model / NAME)
    signature = (model / "model.sig").read_bytes()
    assert statement == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": "tree", "digest": {"sha256": root, "hallmarkModelV1": model_digest}},
            {"name": "model.sig", "digest": {"sha256": hashlib.sha256(signature).hexdigest()}},
        ],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:hallmark:build-type:training:v1",
                "externalParameters": {"hyperparameters": support.METADATA["hyperparameters"]},
                "resolvedDependencies": [{"name": "dataset", "digest": {"sha256": DATASET}}],
            },
            "runDetails": {
                "builder": {
                    "id": f"urn:hallmark:key:sha256:{ec.fingerprint}",
                    "version": {"framework": "torch 2.9.1"},
                },
                "metadata": {
                    "startedOn": "2026-01-05T08:00:00Z",
                    "finishedOn": "2026-01-05T20:00:00Z",
                },
            },
        },
    }
    assert report["provenance"]["path"] == str(model / NAME)
    assert stated(report)["resolvedDependencies"][0]["digest"] == {"sha256": DATASET}


def test_the_signature_stays_what_its_specification_says(signed, ec):
    """The statement's path is ignored by all who read the signature; nothing else is new."""
    statement = oracle.verify_oms((signed / "model.sig").read_bytes(), ec.python.public_key(),
                                  FILES)  # fmt: skip
    assert set(statement["predicate"]) == {"resources", "serialization"}
    ignored = statement["predicate"]["serialization"]["ignore_paths"]
    assert sorted(ignored) == sorted([*oracle.GIT_PATHS, "model.sig", NAME])


def test_both_are_by_one_key(signed, ec):
    for name in ("model.sig", NAME):
        _, payload, signature, material = oracle.read_oms((signed / name).read_bytes())
        curve = oracle.CURVE_HASHES[ec.python.curve.name]()
        ec.python.public_key().verify(signature, oracle.pae(payload), oracle.ec.ECDSA(curve))
        assert material == oracle.key_material(ec.python)


@pytest.mark.parametrize("signature, provenance", [
    ("model.sig", NAME), ("x.sig", "x.provenance.sigstore.json"),
    ("x", "x.provenance.sigstore.json"), (".sig", ".sig.provenance.sigstore.json"),
    ("a.sig.json", "a.sig.json.provenance.sigstore.json"),
])  # fmt: skip
def test_default_places(sign, verify, model, metadata_file, tmp_path, signature, provenance):
    for folder in (model, tmp_path):
        sign(model, "--metadata", metadata_file, "--signature", folder / signature)
        assert (folder / provenance).exists()
        report = verify(model, "--signature", folder / signature)
        assert report["provenance"]["path"] == str(folder / provenance)
        os.unlink(folder / provenance)
        os.unlink(folder / signature)


def test_another_place(sign, verify, model, metadata_file, tmp_path):
    place = tmp_path / "p.json"
    sign(model, "--metadata", metadata_file, "--provenance", place)
    assert not (model / NAME).exists()
    assert verify(model)["provenance"] is None
    refused(verify, model, "provenance", "there is no provenance", "--require-provenance")
    assert verify(model, "--provenance", place)["provenance"]["path"] == str(place)
    place.unlink()
    refused(verify, model, "provenance", "there is no provenance", "--provenance", place)


def test_inside_the_model_under_another_name(sign, verify, model, metadata_file):
    sign(model, "--metadata", metadata_file, "--provenance", model / "sub" / "p.json")
    assert verify(model)["ignored"] == [
        {"path": "model.sig", "by": "signature-file"},
        {"path": "sub/p.json", "by": "signed"},
    ]
    report = verify(model, "--provenance", model / "sub" / "p.json", "--strict-paths")
    assert {"path": "sub/p.json", "by": "provenance-file"} in report["ignored"]


def test_single_files(sign, verify, hallmark, ec, model_file, metadata_file):
    place = model_file.with_name(model_file.name + ".provenance.sigstore.json")
    sign(model_file, "--metadata", metadata_file)
    assert verify(model_file, "--require-provenance")["provenance"]["path"] == str(place)
    other = model_file.rename(model_file.with_name("renamed"))
    signature = model_file.with_name(model_file.name + ".sig")
    report = verify(other, "--signature", signature, "--name", model_file.name)
    assert report["provenance"]["path"] == str(place)


def test_single_files_without_a_name(sign, verify, model_file, metadata_file):
    place = model_file.with_name(model_file.name + ".provenance.sigstore.json")
    sign(model_file, "--metadata", metadata_file, "--name-dot")
    assert "hallmarkModelV1" not in statement_of(place)["subject"][0]["digest"]
    assert verify(model_file)["provenance"]["path"] == str(place)
    other = model_file.rename(model_file.with_name("renamed"))
    signature = model_file.with_name(model_file.name + ".sig")
    assert verify(other, "--signature", signature)["provenance"]["path"] == str(place)


@pytest.mark.parametrize("options", [["--hash", "blake3"], ["--shard-size", "1000"],
                                     ["--shard-size", "7", "--hash", "blake2b"]])  # fmt: skip
def test_other_ways_of_digesting(hallmark, sign, verify, model, metadata_file, options):
    sign(model, "--metadata", metadata_file, *options)
    root, digest = digest_of(hallmark, model, *options)
    assert statement_of(model / NAME)["subject"][0]["digest"] == {
        "sha256": root,
        "hallmarkModelV1": digest,
    }
    assert verify(model, "--require-provenance")["provenance"] is not None


@pytest.mark.parametrize("key_type", ["ec-p384", "ec-p521", "rsa-3072", "ed25519"])
def test_other_keys(hallmark, keys, model, metadata_file, key_type):
    key = keys["openssl", key_type]
    hallmark("sign", model, "--key", key.private, "--metadata", metadata_file, expect=0)
    report = hallmark("verify", model, "--key", key.public, "--json", expect=0).json()
    assert stated(report)["builder.id"] == f"urn:hallmark:key:sha256:{key.fingerprint}"


def test_certificates(hallmark, pki, model, metadata_file):
    leaf = pki.leaf("provenance")
    hallmark("sign", model, "--key", leaf.key.private, "--cert", leaf.path, "--chain",
             pki.intermediate.path, "--metadata", metadata_file, expect=0)  # fmt: skip
    report = hallmark("verify", model, "--root", pki.root.path, "--identity-subject",
                      "CN=provenance,O=Test", "--json", expect=0).json()  # fmt: skip
    assert report["provenance"]["path"] == str(model / NAME)
    # Another leaf of the same root, which the policy believes as well, did not sign the model.
    other = pki.leaf("somebody-else")
    chain = [other.x509, pki.intermediate.x509]
    forge(model / NAME, other.key, material=oracle.chain_material(chain))
    report = hallmark("verify", model, "--root", pki.root.path, "--json", expect=1).json()
    assert report["reason"] == "untrusted-signer" and "did not sign" in report["message"]


def test_the_builder_is_who_signs(sign, verify, model, metadata_file):
    builder = "https://ci.acme.example/training \u00fc"
    sign(model, "--metadata", metadata_file, "--signer-id", builder)
    assert stated(verify(model))["builder.id"] == builder
    assert "empty" in sign(model, "--metadata", metadata_file, "--signer-id", "", expect=2).err


def test_a_signer_id_needs_metadata(sign, model):
    assert "--metadata" in sign(model, "--signer-id", "ci", expect=2).err


# ---- the mapping --------------------------------------------------------------------------------


def predicate(sign, model, path):
    sign(model, "--metadata", path)
    return statement_of(model / NAME)["predicate"]


def test_nothing_is_demanded_of_metadata(sign, verify, ec, model, write):
    assert predicate(sign, model, write({})) == {
        "buildDefinition": {
            "buildType": "urn:hallmark:build-type:training:v1",
            "externalParameters": {},
        },
        "runDetails": {"builder": {"id": f"urn:hallmark:key:sha256:{ec.fingerprint}"}},
    }
    assert verify(model, "--require-provenance")["provenance"] is not None


def test_unknown_members_stay_as_they_are(sign, verify, model, write):
    text = (
        '{"epochs": 1.50, "big": 123456789012345678901234567890, "tiny": 1e-05, "\\u001b[31m": 1,'
        ' "hyperparameters": {"lr": 1.0E-5, "steps": 100.0}, "none": null, "list": [{"a": []}]}'
    )
    sign(model, "--metadata", write(text))
    payload = oracle.read_oms((model / NAME).read_bytes())[1].decode()
    for spelled in ('"epochs":1.50', '"big":123456789012345678901234567890', '"tiny":1e-05',
                    '"lr":1.0E-5', '"steps":100.0'):  # fmt: skip
        assert spelled in payload
    parameters = json.loads(payload)["predicate"]["buildDefinition"]["externalParameters"]
    expected = json.loads(text)
    assert parameters == {"hyperparameters": expected.pop("hyperparameters"), "metadata": expected}
    assert stated(verify(model))["externalParameters.metadata"] == expected
    assert "\x1b" not in json.dumps(verify(model), ensure_ascii=False)


@pytest.mark.parametrize("given, digests", [
    ("sha256:" + "0" * 64, [("dataset", "sha256", "0" * 64)]),
    ("sha512:" + "1" * 128, [("dataset", "sha512", "1" * 128)]),
    ("blake3:" + "a" * 64, [("dataset", "blake3", "a" * 64)]),
    ({"train": "2" * 64, "test \u00fc": "sha384:" + "3" * 96},
     [("train", "sha256", "2" * 64), ("test \u00fc", "sha384", "3" * 96)]),
])  # fmt: skip
def test_datasets(sign, verify, model, write, given, digests):
    made = predicate(sign, model, write({"dataset_hash": given}))
    assert made["buildDefinition"]["resolvedDependencies"] == [
        {"name": name, "digest": {algorithm: value}} for name, algorithm, value in digests
    ]
    for _, algorithm, value in digests:
        verify(model, "--provenance-dataset", f"{algorithm}:{value}")


@pytest.mark.parametrize("given, utc", [
    ("2026-01-05T08:00:00Z", "2026-01-05T08:00:00Z"),
    ("2026-01-05t08:00:00.123456z", "2026-01-05T08:00:00.123456Z"),
    ("2026-01-01T00:30:00+01:00", "2025-12-31T23:30:00Z"),
    ("2024-02-28T23:59:59.5-00:01", "2024-02-29T00:00:59.5Z"),
    ("2026-01-05T08:00:00.123456789+00:00", "2026-01-05T08:00:00.123456789Z"),
])  # fmt: skip
@pytest.mark.parametrize("name, place", [("training_start", "startedOn"),
                                         ("start_time", "startedOn"),
                                         ("training_end", "finishedOn"),
                                         ("end_time", "finishedOn")])  # fmt: skip
def test_times(sign, model, write, given, utc, name, place):
    made = predicate(sign, model, write({name: given}))
    assert made["runDetails"]["metadata"] == {place: utc}


def test_versions_by_name(sign, model, write):
    versions = {"torch": "2.9.1", "cuda": "13.0"}
    made = predicate(sign, model, write({"framework_version": versions}))
    assert made["runDetails"]["builder"]["version"] == versions


WRONG = {
    "dataset_hash": [7, None, [], ["0" * 64], {}, {"a": 1}, {"a": "x"}, "", "0" * 63, "0" * 65,
                     "A" * 64, "md5:" + "0" * 32, "sha256:", "sha256:" + "0" * 63, ":" + "0" * 64,
                     "sha512:" + "0" * 64, "sha256:" + "0" * 63 + "G"],
    "hyperparameters": [1, "lr=1", None, [], [1]],
    "framework_version": [2.9, None, [], {"torch": 2}, {"torch": None}],
    "training_start": [0, 1767600000, None, {}, "", "2026-01-05", "2026-01-05T08:00:00",
                       "2026-01-05 08:00:00Z", "2026-02-30T08:00:00Z", "2026-13-01T08:00:00Z",
                       "2026-01-05T24:00:00Z", "2026-01-05T08:60:00Z", "2026-01-05T08:00:00.Z",
                       "2026-01-05T08:00:00+1:00", "2026-01-05T08:00:00+24:00", " 2026-01-05T08:00:00Z",
                       "2026-01-05T08:00:00Z ", "2026-01-05T08:00:00Z\0", "2026-01-05T08:00:00.1234567890Z",
                       "+026-01-05T08:00:00Z", "2026-01-05T08:00:00+0\0"],
    "end_time": [0, "yesterday"],
}  # fmt: skip


@pytest.mark.parametrize("name, value", [(n, v) for n, values in WRONG.items() for v in values])
def test_members_of_the_wrong_type(sign, model, write, name, value):
    result = sign(model, "--metadata", write({name: value}), expect=support.USAGE)
    assert f'"{name}" is not ' in result.err, result
    assert not (model / NAME).exists() and not (model / "model.sig").exists()


@pytest.mark.parametrize("metadata, says", [
    ({"training_start": "2026-01-05T08:00:00Z", "start_time": "2026-01-05T08:00:00Z"}, "same field"),
    ({"start_time": "2026-01-05T08:00:00Z", "end_time": "2026-01-05T08:00:00+00:01"}, "before"),
    ("[]", "must be an object"), ("", "training metadata"), ('{"a": 1, "a": 2}', "twice"),
    ('{"a": ' + "[" * 126 + "]" * 126 + "}", "deep"), (b'{"a": "\xff"}', "UTF-8"),
    (b'{"a": 1}\0', "not text"), ('{"a": NaN}', "byte"),
])  # fmt: skip
def test_metadata_that_is_not_signed(sign, model, write, metadata, says):
    result = sign(model, "--metadata", write(metadata), expect=support.USAGE)
    assert says in result.err, result
    assert not (model / NAME).exists() and not (model / "model.sig").exists()


# ---- both files or neither ----------------------------------------------------------------------


def test_signing_again(sign, verify, signed, write):
    sign(signed, "--metadata", write({"run": 2}))
    assert stated(verify(signed))["externalParameters.metadata"] == {"run": 2}


def test_an_old_statement_is_not_left_behind(sign, verify, signed, tmp_path, metadata_file):
    before = support.snapshot(signed)
    for options in ([], ["--metadata", metadata_file, "--provenance", tmp_path / "p"]):
        result = sign(signed, *options, expect=support.USAGE)
        assert NAME in result.err and "--metadata" in result.err
        assert support.snapshot(signed) == before and not (tmp_path / "p").exists()
    (signed / NAME).unlink()
    sign(signed)
    assert verify(signed)["provenance"] is None


def test_what_is_not_written_over(sign, model, metadata_file, tmp_path):
    for place, says in [(model / "config.json", "not a provenance statement"),
                        (model / "sub", "a directory"),
                        (model / "model.sig", "two files would be written")]:  # fmt: skip
        before = support.snapshot(model)
        result = sign(model, "--metadata", metadata_file, "--provenance", place, expect=2)
        assert says in result.err
        assert support.snapshot(model) == before
    sign(model)
    before = support.snapshot(model)
    result = sign(model, "--metadata", metadata_file, "--provenance", model / "model.sig",
                  "--signature", tmp_path / "s.sig", expect=2)  # fmt: skip
    assert "not a provenance statement" in result.err and support.snapshot(model) == before
    os.symlink("config.json", model / NAME)
    before = support.snapshot(model)
    result = sign(model, "--metadata", metadata_file, expect=2)
    assert "not a regular file" in result.err and support.snapshot(model) == before


def test_a_signature_is_not_written_over_a_statement(sign, verify, signed, tmp_path):
    """A statement is a bundle too; it must neither pass for a signature nor be taken for one."""
    refused(verify, signed, "malformed", "predicateType", "--signature", signed / NAME)


@pytest.mark.parametrize("old", [False, True])
def test_neither_when_the_signature_cannot_be_written(hallmark, sign, ec, tree, metadata_file,
                                                      write, old):  # fmt: skip
    """The signature of so many files is more than a file may have here; the statement is not."""
    many = tree({f"{number:0200}": b"" for number in range(200)})
    if old:
        sign(many, "--metadata", metadata_file)
    before = support.snapshot(many)
    limited = support.Program(hallmark.binary, ["prlimit", "--fsize=16384"])
    result = limited("sign", many, "--key", ec.private, "--metadata", write({"run": 2}),
                     signals=(signal.SIGXFSZ,))  # fmt: skip
    assert result.rc in (support.UNDECIDED, -signal.SIGXFSZ), result
    assert support.snapshot(many) == before
    sign(many, "--metadata", write({"run": 2}))
    assert (many / "model.sig").stat().st_size > 16384 > (many / NAME).stat().st_size


@pytest.mark.parametrize("old", [False, True])
def test_neither_when_the_signature_has_no_place(sign, model, metadata_file, tmp_path, old):
    place = tmp_path / "p.json"
    if old:
        sign(model, "--metadata", metadata_file, "--provenance", place)
    before = support.snapshot(tmp_path)
    report = sign(model, "--metadata", metadata_file, "--provenance", place, "--signature",
                  tmp_path / "none" / "x.sig", "--json", expect=support.UNDECIDED).json()  # fmt: skip
    assert report["provenance"] is None
    assert support.snapshot(tmp_path) == before


@pytest.mark.parametrize("after", [0.0, 0.005, 0.02, 0.05])
def test_killed_while_signing(hallmark, sign, verify, ec, model, metadata_file, after):
    command = hallmark.command("sign", model, "--key", ec.private, "--metadata", metadata_file)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          env=hallmark.environment()) as process:  # fmt: skip
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
    # A signature alone is what must not be: it would pass for that of a model without provenance.
    assert not (model / "model.sig").exists() or (model / NAME).exists()
    sign(model, "--metadata", metadata_file)
    assert verify(model, "--require-provenance")["provenance"] is not None


# ---- what is believed ---------------------------------------------------------------------------


def test_verified(verify, signed):
    report = verify(signed)
    assert {"path": NAME, "by": "provenance-file"} in report["ignored"]
    assert stated(report)["externalParameters.hyperparameters"] == support.METADATA["hyperparameters"]
    assert verify(signed, "--strict-paths")["provenance"] == report["provenance"]


def test_nothing_is_said_without_one(hallmark, sign, verify, ec, model):
    sign(model)
    assert verify(model)["provenance"] is None
    assert "provenance" not in hallmark("verify", model, "--key", ec.public, expect=0).out


def test_the_text_shows_it(hallmark, ec, signed):
    text = hallmark("verify", signed, "--key", ec.public, expect=0).out
    assert f"  provenance     {signed / NAME}\n" in text
    assert '    builder.version = {"framework":"torch 2.9.1"}\n' in text
    forge(signed / NAME, ec, put("subject", [{"digest": {"sha256": "0" * 64}}]))
    result = hallmark("verify", signed, "--key", ec.public, expect=1)
    assert "torch" not in result.out + result.err


TAMPERED = {
    "_type": put("_type", "https://in-toto.io/Statement/v0.1"),
    "subject digest": put("subject", 0, "digest", "sha256", "0" * 64),
    "model digest": put("subject", 0, "digest", "hallmarkModelV1", "0" * 64),
    "subject name": put("subject", 0, "name", "other"),
    "predicateType": put("predicateType", "https://slsa.dev/provenance/v0.2"),
    "build type": put("predicate", "buildDefinition", "buildType", "x"),
    "hyperparameters": put("predicate", "buildDefinition", "externalParameters", {}),
    "dataset": put("predicate", "buildDefinition", "resolvedDependencies", 0, "digest", "sha256",
                   "0" * 64),
    "builder": put("predicate", "runDetails", "builder", "id", "evil"),
    "version": put("predicate", "runDetails", "builder", "version", DROP),
    "start": put("predicate", "runDetails", "metadata", "startedOn", "2020-01-01T00:00:00Z"),
    "more": put("predicate", "more", 1),
}  # fmt: skip


@pytest.mark.parametrize("field", TAMPERED)
def test_tampered_fields(verify, signed, field):
    bundle = json.loads((signed / NAME).read_text())
    statement = statement_of(signed / NAME)
    TAMPERED[field](statement)
    bundle["dsseEnvelope"]["payload"] = oracle.b64(json.dumps(statement).encode())
    (signed / NAME).write_text(json.dumps(bundle))
    refused(verify, signed, "bad-signature", f"the provenance {signed / NAME}: ")


BUNDLES = {
    "empty": (lambda text: b"", "malformed"),
    "no JSON": (lambda text: b"provenance", "malformed"),
    "cut": (lambda text: text[:-40], "malformed"),
    "a signature file of another format": (
        lambda text: b'{"manifest": {}, "signature": "00"}', "malformed"),
    "another payload type": (
        lambda text: text.replace(b"vnd.in-toto+json", b"vnd.other+json"), "malformed"),
    "no signature": (lambda text: json.dumps(
        json.loads(text) | {"dsseEnvelope": json.loads(text)["dsseEnvelope"] | {"signatures": []}}
    ).encode(), "malformed"),
    "keyless": (lambda text: json.dumps(
        json.loads(text) | {"verificationMaterial": {"certificate": {"rawBytes": "AAAA"}}}
    ).encode(), "unsupported"),
}  # fmt: skip


@pytest.mark.parametrize("which", BUNDLES)
def test_broken_bundles(verify, signed, which):
    change, reason = BUNDLES[which]
    text = (signed / NAME).read_bytes()
    (signed / NAME).write_bytes(change(text))
    refused(verify, signed, reason, "the provenance ")


def test_what_lies_there_is_no_regular_file(verify, signed):
    (signed / NAME).unlink()
    (signed / NAME).mkdir()
    (signed / NAME / "payload.py").write_text("evil")
    refused(verify, signed, "malformed", "not a regular file")
    (signed / NAME / "payload.py").unlink()
    (signed / NAME).rmdir()
    os.mkfifo(signed / NAME)
    refused(verify, signed, "malformed", "not a regular file")


# Well signed by the right key, and wrong.
WRONG_STATEMENTS = {
    "no JSON": (b"{", "malformed"),
    "a list": (b"[]", "malformed"),
    "signature statement": (put("predicateType", oracle.PREDICATE_TYPE), "malformed"),
    "other statement type": (put("_type", "https://in-toto.io/Statement/v0.1"), "malformed"),
    "old predicate": (put("predicateType", oracle.OLD_PREDICATE_TYPE), "unsupported"),
    "no subject": (put("subject", DROP), "malformed"),
    "empty subject": (put("subject", []), "malformed"),
    "subject is text": (put("subject", "x"), "malformed"),
    "subject of texts": (put("subject", ["x"]), "malformed"),
    "subject without digest": (put("subject", 0, "digest", DROP), "malformed"),
    "digest is text": (put("subject", 0, "digest", "x"), "malformed"),
    "digest is a number": (put("subject", 0, "digest", "sha256", 1), "malformed"),
    "digest in capitals": (put("subject", 0, "digest", "sha256", "A" * 64), "malformed"),
    "digest is short": (put("subject", 0, "digest", "hallmarkModelV1", "0" * 62), "malformed"),
    "digest has a NUL": (put("subject", 0, "digest", "sha256", "0" * 63 + "\0"), "malformed"),
    "other root": (put("subject", 0, "digest", "sha256", "0" * 64), "provenance"),
    "other model": (put("subject", 0, "digest", "hallmarkModelV1", "0" * 64), "provenance"),
    "root alone": (put("subject", 0, "digest", "hallmarkModelV1", DROP), "provenance"),
    "model alone": (put("subject", 0, "digest", "sha256", DROP), "provenance"),
    "signature file alone": (put("subject", 0, DROP), "provenance"),
    "no predicate": (put("predicate", DROP), "malformed"),
    "predicate is null": (put("predicate", None), "malformed"),
    "no definition": (put("predicate", "buildDefinition", DROP), "malformed"),
    "no build type": (put("predicate", "buildDefinition", "buildType", DROP), "malformed"),
    "parameters are a list": (
        put("predicate", "buildDefinition", "externalParameters", []), "malformed"),
    "internal parameters": (
        put("predicate", "buildDefinition", "internalParameters", 1), "malformed"),
    "dependencies": (put("predicate", "buildDefinition", "resolvedDependencies", {}), "malformed"),
    "dependency is text": (
        put("predicate", "buildDefinition", "resolvedDependencies", 0, "x"), "malformed"),
    "dependency's digest is text": (
        put("predicate", "buildDefinition", "resolvedDependencies", 0, "digest", "x"), "malformed"),
    "dependency's digest is a number": (
        put("predicate", "buildDefinition", "resolvedDependencies", 0, "digest", "sha256", 1),
        "malformed"),
    "dependency's digest has a NUL": (
        put("predicate", "buildDefinition", "resolvedDependencies", 0, "digest", "sha256",
            DATASET + "\0"), "malformed"),
    "dependency's algorithm has a NUL": (
        put("predicate", "buildDefinition", "resolvedDependencies", 0, "digest",
            "sha256:" + DATASET + "\0", "x"), "malformed"),
    "no run": (put("predicate", "runDetails", DROP), "malformed"),
    "no builder": (put("predicate", "runDetails", "builder", DROP), "malformed"),
    "no builder id": (put("predicate", "runDetails", "builder", "id", DROP), "malformed"),
    "builder id is a number": (put("predicate", "runDetails", "builder", "id", 1), "malformed"),
    "builder id has a NUL": (
        put("predicate", "runDetails", "builder", "id", "good\0evil"), "malformed"),
    "metadata is text": (put("predicate", "runDetails", "metadata", "x"), "malformed"),
}  # fmt: skip


@pytest.mark.parametrize("which", WRONG_STATEMENTS)
def test_signed_but_wrong(verify, ec, signed, which):
    change, reason = WRONG_STATEMENTS[which]
    if isinstance(change, bytes):
        forge(signed / NAME, ec, document=change)
    else:
        forge(signed / NAME, ec, change)
    refused(verify, signed, reason, "the provenance ")


UNUSUAL = {
    "unknown members": put("predicate", "buildDefinition", "future", {"a": 1}),
    "no dependencies": put("predicate", "buildDefinition", "resolvedDependencies", DROP),
    "dependency by place": put("predicate", "buildDefinition", "resolvedDependencies", 0,
                               {"uri": "https://example.org/data"}),
    "other subjects": put("subject", 2, {"digest": {"gitCommit": "abc"}}),
    "subject without a name": put("subject", 0, "name", DROP),
    "another build type": put("predicate", "buildDefinition", "buildType", "https://example.org/x"),
    "byproducts": put("predicate", "runDetails", "byproducts", [{"uri": "x"}]),
    "no parameters": put("predicate", "buildDefinition", "externalParameters", DROP),
}  # fmt: skip


@pytest.mark.parametrize("which", UNUSUAL)
def test_unusual_but_right(verify, ec, signed, which):
    forge(signed / NAME, ec, UNUSUAL[which])
    assert verify(signed)["provenance"] is not None


def test_another_model(sign, verify, signed, tree, metadata_file):
    other = tree({**FILES, "config.json": b"[]"}, "other")
    sign(other, "--metadata", metadata_file)
    (signed / NAME).write_bytes((other / NAME).read_bytes())
    refused(verify, signed, "provenance", "of another model")


def test_the_same_content_under_other_names(sign, verify, signed, tree, metadata_file):
    """The root digest of both is the same, so it does not suffice."""
    other = tree({"d.json": b"{}", "sub/weights.bin": FILES["sub/weights.bin"], "e": b""}, "other")
    sign(other, "--metadata", metadata_file)
    ours, theirs = (statement_of(m / NAME)["subject"][0]["digest"] for m in (signed, other))
    assert ours["sha256"] == theirs["sha256"]
    (signed / NAME).write_bytes((other / NAME).read_bytes())
    refused(verify, signed, "provenance", "of another model")


def test_an_earlier_version(sign, verify, signed, metadata_file):
    earlier = (signed / NAME).read_bytes()
    (signed / "config.json").write_text("[1]")
    sign(signed, "--metadata", metadata_file)
    verify(signed)
    (signed / NAME).write_bytes(earlier)
    refused(verify, signed, "provenance", "another version")


def test_another_key(hallmark, keys, verify, signed, ec):
    other = keys["openssl", "ec-p256"]
    forge(signed / NAME, other)
    refused(verify, signed, "untrusted-signer", "the provenance ")
    # Believed, but not who signed the model.
    refused(verify, signed, "untrusted-signer", "did not sign the model", "--key", other.public)
    forge(signed / NAME, ec, material=oracle.key_material(other.python))
    refused(verify, signed, "untrusted-signer", "the provenance ")


def test_a_forged_signature(keys, verify, signed, ec):
    forge(signed / NAME, keys["openssl", "ec-p256"], material=oracle.key_material(ec.python))
    refused(verify, signed, "bad-signature", "the provenance ")


def test_old_encodings_do_not_get_in(hallmark, ec, signed):
    document = statement_of(signed / NAME)
    forge(signed / NAME, ec, document=document, encode=oracle.old_pae)
    report = hallmark("verify", signed, "--key", ec.public, "--allow-v0.2.0", "--json",
                      expect=1).json()  # fmt: skip
    assert report["reason"] == "bad-signature"


def test_a_changed_model_is_what_is_told_first(verify, signed):
    (signed / "config.json").write_text("changed")
    (signed / NAME).write_text("broken too")
    assert verify(signed, expect=1)["reason"] == "digest-mismatch"


def test_ignoring_does_not_help(verify, signed, ec):
    forge(signed / NAME, ec, put("subject", 0, DROP))
    for option in (["--ignore", NAME], ["--ignore-unsigned"], ["--strict-paths"], ["--fail-fast"]):
        refused(verify, signed, "provenance", "another", *option)


def test_signatures_of_others(sign, verify, ec, model, metadata_file):
    """A signature that does not list the statement's path among the ignored ones."""
    sign(model, "--metadata", metadata_file)
    document = statement_of(model / "model.sig")
    document["predicate"]["serialization"]["ignore_paths"] = []
    forge(model / "model.sig", ec, document=document)
    assert verify(model)["provenance"] is not None
    (model / NAME).write_text("{}")
    refused(verify, model, "malformed", "the provenance ")


def test_unreadable(verify, signed):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (signed / NAME).chmod(0)
    assert verify(signed, expect=support.UNDECIDED)["provenance"] is None


# ---- demands ------------------------------------------------------------------------------------

BUILDER = "https://ci.acme.example/training"
OTHER = "sha256:" + "0" * 64


@pytest.fixture
def built(sign, model, write):
    made = support.METADATA | {"dataset_hash": {"a": DATASET, "b": "sha512:" + "1" * 128}}
    sign(model, "--metadata", write(made), "--signer-id", BUILDER)
    return model


MET = [
    ["--require-provenance"],
    ["--provenance-dataset", f"sha256:{DATASET}"],
    ["--provenance-dataset", f"sha256:{DATASET}", "--provenance-dataset", "sha512:" + "1" * 128],
    ["--provenance-builder", BUILDER],
    ["--provenance-builder", "x", "--provenance-builder", BUILDER],
    ["--provenance-builder", BUILDER, "--provenance-dataset", f"sha256:{DATASET}"],
    ["--format", "oms", "--require-provenance"],
]
UNMET = [
    (["--provenance-dataset", OTHER], OTHER),
    (["--provenance-dataset", f"sha256:{DATASET}", "--provenance-dataset", OTHER], OTHER),
    (["--provenance-dataset", f"blake3:{DATASET}"], "blake3"),
    (["--provenance-builder", "x"], "builder"),
    (["--provenance-builder", BUILDER + "/"], "builder"),
    (["--provenance-builder", BUILDER, "--provenance-dataset", OTHER], OTHER),
    (["--provenance-builder", "x", "--provenance-dataset", f"sha256:{DATASET}"], "builder"),
]


@pytest.mark.parametrize("options", MET)
def test_demands_that_are_met(verify, built, options):
    assert verify(built, *options)["provenance"] is not None


@pytest.mark.parametrize("options, says", UNMET)
def test_demands_that_are_not_met(verify, built, options, says):
    refused(verify, built, "provenance", says, *options)


@pytest.mark.parametrize("options", MET)
def test_demands_of_a_model_without(sign, verify, model, options):
    sign(model)
    refused(verify, model, "provenance", "there is no provenance", *options)


@pytest.mark.parametrize("options, says", [
    (["--provenance-dataset", DATASET], "sha256:"), (["--provenance-dataset", ""], "empty"),
    (["--provenance-dataset", "sha256:" + "A" * 64], "lower-case"),
    (["--provenance-builder", ""], "empty"),
])  # fmt: skip
def test_demands_that_make_no_sense(hallmark, ec, built, options, says):
    assert says in hallmark("verify", built, "--key", ec.public, *options, expect=2).err


# ---- the other formats --------------------------------------------------------------------------


def test_sig_json_is_as_it_was(hallmark, rsa, model_file, metadata_file):
    hallmark("sign", model_file, "--key", rsa.private, "--format", "sig-json", "--metadata",
             metadata_file, expect=0)  # fmt: skip
    text = model_file.with_name(model_file.name + ".sig").read_bytes()
    manifest = oracle.verify_sig_json(text, rsa.python.public_key(), model_file)
    assert manifest["training_metadata"] == support.METADATA
    assert not list(model_file.parent.glob("*.provenance.*"))
    report = hallmark("verify", model_file, "--key", rsa.public, "--json", expect=0).json()
    assert report["provenance"] is None


@pytest.mark.parametrize("options", [["--format", "sig-json"], ["--format", "manifest-json"], []])
def test_a_place_for_what_is_not_written(hallmark, rsa, model_file, metadata_file, options):
    more = ["--metadata", metadata_file] if "sig-json" in options else []
    result = hallmark("sign", model_file, "--key", rsa.private, "--provenance", "p.json", *options,
                      *more, expect=2)  # fmt: skip
    assert "no provenance to be written" in result.err


def test_beside_a_signature_of_another_format(hallmark, rsa, model_file, metadata_file, tmp_path):
    """A demand for a format is about the signature; the statement is a bundle in any case."""
    place = model_file.with_name(model_file.name + ".provenance.sigstore.json")
    hallmark("sign", model_file, "--key", rsa.private, "--metadata", metadata_file, "--signature",
             tmp_path / "oms.sig", "--provenance", tmp_path / "kept", expect=0)  # fmt: skip
    hallmark("sign", model_file, "--key", rsa.private, "--format", "sig-json", "--metadata",
             metadata_file, expect=0)  # fmt: skip
    (tmp_path / "kept").rename(place)
    demand = ["--key", rsa.public, "--format", "sig-json", "--require-provenance", "--json"]
    report = hallmark("verify", model_file, *demand, expect=0).json()
    assert report["signature"]["format"] == "sig-json"
    assert report["provenance"]["path"] == str(place)
    place.write_text("{}")
    hallmark("verify", model_file, "--key", rsa.public, "--format", "sig-json", expect=1)


# ---- inspection ---------------------------------------------------------------------------------


def test_inspection_verifies_nothing(hallmark, ec, signed):
    forge(signed / NAME, ec, put("predicate", "runDetails", "builder", "id", "evil\u202e"))
    report = hallmark("inspect", signed / NAME, "--json", expect=0).json()
    assert report["status"] == "unverified" and report["provenance"] is None
    assert report["signature"]["path"] == str(signed / NAME)
    assert report["signature"]["format"] is None
    found = {entry["name"]: entry["value"] for entry in report["stated"]}
    assert found["builder.id"] == "evil\u202e"
    assert found["subject"] == statement_of(signed / NAME)["subject"]
    assert any("provenance statement" in text for text in report["warnings"])
    text = hallmark("inspect", signed / NAME, expect=0).out
    assert "nothing below has been verified" in text and "\u202e" not in text


def test_inspection_of_a_broken_statement(hallmark, ec, signed):
    forge(signed / NAME, ec, put("subject", []))
    report = hallmark("inspect", signed / NAME, "--json", expect=0).json()
    assert any("no subject" in text for text in report["warnings"]) and report["stated"] == []


def test_both_signatures_have_one_statement(hallmark, sign, ec, model, metadata_file):
    """Whichever of the two a verifier takes, the statement beside them is of that model."""
    sign(model, "--files", "--shard-size", "1K", "--metadata", metadata_file)
    for name in ("model.sig", "model.shards.sig"):
        report = hallmark("verify", model, "--key", ec.public, "--signature", model / name,
                          "--require-provenance", "--json", expect=0).json()  # fmt: skip
        assert report["provenance"] is not None
        assert report["signature"]["path"] == str(model / name)
    support.flip(model / NAME, 200)
    for name in ("model.sig", "model.shards.sig"):
        hallmark("verify", model, "--key", ec.public, "--signature", model / name, expect=1)


@pytest.mark.parametrize("options", [[], ["--strict-paths"], ["--ignore-unsigned"]])
def test_a_link_to_nowhere_in_its_place(verify, signed, tmp_path, options):
    """What it leads to could come into being after the model was verified."""
    (signed / NAME).unlink()
    (signed / NAME).symlink_to(tmp_path / "later")
    report = verify(signed, *options, expect=support.REFUSED)
    assert report["reason"] == "malformed" and "a link to nowhere" in report["message"]
