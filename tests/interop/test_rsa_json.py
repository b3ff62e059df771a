# SPDX-License-Identifier: Apache-2.0
"""sig-json and manifest-json both ways with Python's cryptography, by keys of both makers."""

import datetime
import json
import shutil

import oracle
import pytest
import support
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

RSA = list(support.RSA_BITS)
METADATA = {
    **support.METADATA,
    "hyperparameters": {
        "learning_rate": 3e-05,
        "tiny": 2.0**-24,
        "large": 2.0**89,
        "huge": 10**40,
        "betas": [0.9, 0.999, -0.0, 1e16, 1e-7],
        "names": {"\u00fc": "\U0001f600", "\uffff": "\x7f", "\U00010000": '\\/"\b\f\n\r\t\x00'},
        "empty": [{}, [], "", None, True, False],
    },
    "more": "than the five",
}


@pytest.fixture
def metadata(tmp_path):
    path = tmp_path / "training.json"
    path.write_text(json.dumps(METADATA, ensure_ascii=False))
    return path


@pytest.fixture
def phrase(tmp_path):
    return support.write_private(tmp_path / "phrase", support.PASSPHRASE + b"\n")


def python_key(path, password=None):
    """The private key as Python's cryptography reads the file."""
    return serialization.load_pem_private_key(path.read_bytes(), password)


def python_public(path):
    return serialization.load_pem_public_key(path.read_bytes())


def recent(text):
    """A time in UTC, just now."""
    time = datetime.datetime.fromisoformat(text)
    assert time.utcoffset() == datetime.timedelta(0)
    assert abs(datetime.datetime.now(datetime.timezone.utc) - time) < datetime.timedelta(minutes=5)


# ---- sig-json -----------------------------------------------------------------------------------


@pytest.mark.parametrize("maker", ["openssl", "python"])
@pytest.mark.parametrize("key_type", RSA)
def test_sig_json_by_the_program(hallmark, keys, model_file, metadata, maker, key_type):
    key = keys[maker, key_type]
    hallmark("sign", model_file, "--format", "sig-json", "--key", key.private, "--metadata",
             metadata, "--signer-id", "training \u00fc", expect=support.OK)  # fmt: skip
    file = model_file.with_name(model_file.name + ".sig")
    text = file.read_text(encoding="ascii")
    manifest = oracle.verify_sig_json(text, python_public(key.public), model_file)
    assert manifest["model_path"] == str(model_file)
    assert manifest["signer_id"] == "training \u00fc"
    assert manifest["training_metadata"] == METADATA
    recent(manifest["signature_timestamp"])
    # As Python writes it, to the byte.
    assert text == json.dumps(json.loads(text), indent=2)
    hallmark("verify", model_file, "--key", key.public, expect=support.OK)


@pytest.mark.parametrize("maker", ["openssl", "python"])
@pytest.mark.parametrize("key_type", RSA)
def test_sig_json_by_python(hallmark, keys, model_file, maker, key_type):
    key = keys[maker, key_type]
    manifest = oracle.sig_json_manifest(model_file, METADATA)
    document = oracle.sign_sig_json(manifest, python_key(key.private))
    file = model_file.with_name(model_file.name + ".sig")
    file.write_text(json.dumps(document, indent=2))
    result = hallmark("verify", model_file, "--key", key.public, "--json", expect=support.OK)
    stated = {item["name"]: item["value"] for item in result.json()["stated"]}
    assert stated["signer_id"] == "training-pipeline-v1"
    assert stated["training_metadata.hyperparameters"] == METADATA["hyperparameters"]
    support.flip(model_file, 5)
    result = hallmark("verify", model_file, "--key", key.public, "--json", expect=support.REFUSED)
    assert result.json()["reason"] == "digest-mismatch"
    support.flip(model_file, 5)
    file.write_text(json.dumps(document).replace("pipeline-v1", "pipeline-v2"))
    result = hallmark("verify", model_file, "--key", key.public, "--json", expect=support.REFUSED)
    assert result.json()["reason"] == "bad-signature"


def test_sig_json_names_of_times(hallmark, keys, model_file, tmp_path):
    """Callers may say start_time and end_time; signed are training_start and training_end."""
    key = keys["python", "rsa-2048"]
    given = {"start_time": "a", "end_time": "b", "dataset_hash": "c", "hyperparameters": {},
             "framework_version": "d"}  # fmt: skip
    file = tmp_path / "metadata.json"
    file.write_text(json.dumps(given))
    hallmark("sign", model_file, "--format", "sig-json", "--key", key.private, "--metadata", file,
             expect=support.OK)  # fmt: skip
    text = model_file.with_name(model_file.name + ".sig").read_text()
    manifest = oracle.verify_sig_json(text, python_public(key.public), model_file)
    assert manifest["training_metadata"] == {
        "training_start": "a", "training_end": "b", "dataset_hash": "c", "hyperparameters": {},
        "framework_version": "d",
    }  # fmt: skip


def test_sig_json_tampered_for_python(hallmark, keys, model_file, metadata):
    """What the program signed protects readers in Python as well."""
    key = keys["python", "rsa-2048"]
    public = python_public(key.public)
    hallmark("sign", model_file, "--format", "sig-json", "--key", key.private, "--metadata",
             metadata, expect=support.OK)  # fmt: skip
    text = model_file.with_name(model_file.name + ".sig").read_text()
    oracle.verify_sig_json(text, public, model_file)
    with pytest.raises(InvalidSignature):
        oracle.verify_sig_json(text.replace("3e-05", "3e-06"), public, model_file)
    with pytest.raises(InvalidSignature):
        oracle.verify_sig_json(text, python_public(keys["openssl", "rsa-2048"].public), model_file)
    support.flip(model_file, -1)
    with pytest.raises(AssertionError):
        oracle.verify_sig_json(text, public, model_file)


# ---- manifest-json ------------------------------------------------------------------------------


@pytest.mark.parametrize("maker", ["openssl", "python"])
@pytest.mark.parametrize("key_type", RSA)
def test_manifest_json_by_the_program(hallmark, keys, model_file, maker, key_type):
    key = keys[maker, key_type]
    hallmark("sign", model_file, "--format", "manifest-json", "--key", key.private, "--signer-id",
             "ml-team \u00fc", expect=support.OK)  # fmt: skip
    text = model_file.with_suffix(".manifest.json").read_text(encoding="ascii")
    manifest = json.loads(text)
    oracle.verify_manifest_json(manifest, python_public(key.public), model_file.parent)
    assert list(manifest) == ["model_file", "sha256", "signature", "signer", "signed_at",
                              "algorithm", "key_size"]  # fmt: skip
    assert manifest["signer"] == "ml-team \u00fc"
    assert manifest["key_size"] == support.RSA_BITS[key_type]
    recent(manifest["signed_at"])
    assert text == json.dumps(manifest, indent=2)
    hallmark("verify", model_file, "--key", key.public, expect=support.OK)


@pytest.mark.parametrize("maker", ["openssl", "python"])
@pytest.mark.parametrize("key_type", RSA)
def test_manifest_json_by_python(hallmark, keys, model_file, maker, key_type):
    key = keys[maker, key_type]
    manifest = oracle.sign_manifest_json(model_file, python_key(key.private))
    file = model_file.with_suffix(".manifest.json")
    file.write_text(json.dumps(manifest, indent=2))
    verify = ["verify", model_file, "--key", key.public, "--json"]
    result = hallmark(*verify, expect=support.OK)
    claimed = {item["name"]: item["value"] for item in result.json()["claimed"]}
    assert claimed["signer"] == "training-pipeline@ml-team"
    # A text for people says so too.
    text = hallmark("verify", model_file, "--key", key.public, expect=support.OK).out
    assert "not authenticated" in text or "claim" in text.lower()
    support.flip(model_file, 5)
    result = hallmark(*verify, expect=support.REFUSED)
    assert result.json()["reason"] == "digest-mismatch"


def test_manifest_json_key_version(hallmark, keys, model_file):
    key = keys["python", "rsa-2048"]
    hallmark("sign", model_file, "--format", "manifest-json", "--key", key.private,
             "--key-version", "3", expect=support.OK)  # fmt: skip
    manifest = json.loads(model_file.with_suffix(".manifest.json").read_text())
    assert manifest["key_version"] == 3
    oracle.verify_manifest_json(manifest, python_public(key.public), model_file.parent)


def files_for_a_bundle(tmp_path):
    return oracle.write_files(
        tmp_path / "release",
        {"classifier_v1.pt": support.content(1, 5000), "config.json": b"{}", "vocab.txt": b""},
    )


@pytest.mark.parametrize("key_type", RSA)
def test_bundle_by_the_program(hallmark, keys, tmp_path, key_type):
    key = keys["openssl", key_type]
    folder = files_for_a_bundle(tmp_path)
    file = folder / "release_bundle.manifest.json"
    names = ["vocab.txt", "classifier_v1.pt", "config.json"]
    hallmark("sign", *(folder / name for name in names), "--format", "manifest-json", "--key",
             key.private, "--signature", file, expect=support.OK)  # fmt: skip
    text = file.read_text(encoding="ascii")
    public = python_public(key.public)
    assert oracle.verify_bundle_manifest(text, public, folder) == names
    assert text == json.dumps(json.loads(text), indent=2)
    recent(json.loads(text)["bundle_signed_at"])
    hallmark("verify", folder, "--signature", file, "--key", key.public, expect=support.OK)
    (folder / "config.json").write_bytes(b"[]")
    with pytest.raises(AssertionError):
        oracle.verify_bundle_manifest(text, public, folder)


@pytest.mark.parametrize("key_type", RSA)
def test_bundle_by_python(hallmark, keys, tmp_path, key_type):
    key = keys["python", key_type]
    folder = files_for_a_bundle(tmp_path)
    file = folder / "release_bundle.manifest.json"
    names = ["classifier_v1.pt", "config.json"]
    document = oracle.bundle_manifest(
        [oracle.sign_manifest_json(folder / name, key.python) for name in names]
    )
    file.write_text(json.dumps(document, indent=2))
    verify = ["verify", folder, "--signature", file, "--key", key.public, "--json"]
    report = hallmark(*verify, expect=support.OK).json()
    assert {entry["name"] for entry in report["entries"]} == set(names)
    for name, reason in (("config.json", "digest-mismatch"), ("classifier_v1.pt", None)):
        copy = shutil.copytree(folder, tmp_path / name)
        if reason:
            (copy / name).write_bytes(b"")
        else:
            (copy / name).unlink()
            reason = "missing-file"
        result = hallmark("verify", copy, "--signature", copy / file.name, "--key", key.public,
                          "--json", expect=support.REFUSED)  # fmt: skip
        assert result.json()["reason"] == reason
    # One entry by another key: the whole is refused.
    other = keys["python", "rsa-2048", "other"]
    document["artifacts"][1] = oracle.sign_manifest_json(folder / "config.json", other.python)
    file.write_text(json.dumps(document))
    result = hallmark(*verify, expect=support.REFUSED)
    assert result.json()["reason"] == "bad-signature"


# ---- encrypted keys -----------------------------------------------------------------------------


@pytest.mark.parametrize("maker", ["openssl", "python", "hallmark"])
def test_encrypted_keys(hallmark, keys, model_file, metadata, phrase, tmp_path, maker):
    """Keys under a passphrase, made by each, open for the other, and for both formats."""
    if maker == "hallmark":
        private, public = tmp_path / "made.pem", tmp_path / "made.pub"
        hallmark("key", "generate", "--type", "rsa-3072", "--passphrase-file", phrase, private,
                 expect=support.OK)  # fmt: skip
    else:
        private, public = keys[maker, "rsa-3072"].encrypted, keys[maker, "rsa-3072"].public
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in private.read_bytes()
    theirs = python_key(private, support.PASSPHRASE)
    with pytest.raises(ValueError):
        python_key(private, b"wrong")
    sign = ["sign", model_file, "--key", private]
    for format_name, more in (("sig-json", ["--metadata", metadata]), ("manifest-json", [])):
        hallmark(*sign, "--format", format_name, *more, "--passphrase-file", phrase,
                 expect=support.OK)  # fmt: skip
    text = model_file.with_name(model_file.name + ".sig").read_text()
    oracle.verify_sig_json(text, theirs.public_key(), model_file)
    manifest = json.loads(model_file.with_suffix(".manifest.json").read_text())
    oracle.verify_manifest_json(manifest, theirs.public_key(), model_file.parent)
    for file in (model_file.name + ".sig", "weights.manifest.json"):
        hallmark("verify", model_file, "--key", public, "--signature", model_file.with_name(file),
                 expect=support.OK)  # fmt: skip
    wrong = support.write_private(tmp_path / "wrong", b"not it\n")
    hallmark(*sign, "--format", "manifest-json", "--passphrase-file", wrong,
             expect=support.UNDECIDED)  # fmt: skip


def test_plain_key_made_by_the_program(hallmark, model_file, tmp_path):
    private, public = tmp_path / "made.pem", tmp_path / "made.pub"
    hallmark("key", "generate", "--type", "rsa-4096", "--no-passphrase", private, expect=support.OK)
    key = python_key(private)
    assert key.key_size == 4096
    assert python_public(public).public_numbers() == key.public_key().public_numbers()
    manifest = oracle.sign_manifest_json(model_file, key)
    model_file.with_suffix(".manifest.json").write_text(json.dumps(manifest))
    hallmark("verify", model_file, "--key", public, expect=support.OK)


# ---- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_name", ["sig-json", "manifest-json"])
@pytest.mark.parametrize(
    "name",
    [
        "a b.pt",
        "\u00fcml\u00e4ut.pt",
        'it\'s "x".pt',
        "-x.pt",
        "\U0001f600",
        "two\nlines.pt",
        "c:d",
    ],
)
def test_names(hallmark, keys, metadata, tmp_path, format_name, name):
    key = keys["python", "rsa-2048"]
    model = oracle.write_files(tmp_path / "m", {name: b"model"}) / name
    file = tmp_path / "signature"
    more = ["--metadata", metadata] if format_name == "sig-json" else []
    hallmark("sign", model, "--format", format_name, "--key", key.private, "--signature", file,
             *more, expect=support.OK)  # fmt: skip
    public = python_public(key.public)
    if format_name == "sig-json":
        oracle.verify_sig_json(file.read_text(), public, model)
        document = oracle.sign_sig_json(oracle.sig_json_manifest(model, METADATA), key.python)
    else:
        oracle.verify_manifest_json(json.loads(file.read_text()), public, model.parent)
        document = oracle.sign_manifest_json(model, key.python)
    verify = ["verify", model, "--signature", file, "--key", key.public]
    hallmark(*verify, expect=support.OK)
    file.write_text(json.dumps(document))
    hallmark(*verify, expect=support.OK)
