# SPDX-License-Identifier: Apache-2.0
"""Vectors by others, each with its verdict, where a folder with them is at hand.

Verdicts of the OpenSSF bundles are those of the reference implementation; where the program is
stricter, STRICTER says so and why. Those of the other two formats are those of a strict reader.
"""

import hashlib
import json

import oracle
import pytest
import support
from cryptography.exceptions import InvalidSignature

SEED_FORMATS = {"A": "sig-json", "B": "manifest-json", "B-bundle": "manifest-json"}


def cases(folder, name):
    return json.loads((folder / name).read_text())["cases"]


def pytest_generate_tests(metafunc):
    """Names every case, so that each is a test of its own."""
    wanted = {
        "oms_case": load_oms,
        "old_oms_case": lambda: [case for case in load_oms() if case.get("legacy")],
        "seed_case": load_seed,
        "adjacent_case": lambda: [case for case in load_seed() if case.get("adjacent")],
        "text_case": load_texts,
    }
    for name in wanted.keys() & set(metafunc.fixturenames):
        found = wanted[name]()
        metafunc.parametrize(name, found or [None], ids=[case["id"] for case in found] or ["none"])


def folder_or_none():
    folder = support.vectors_folder()
    return folder if folder.is_dir() else None


def load_oms():
    folder = folder_or_none()
    found = []
    for name in ("oms-spec", "oms-compat") if folder else ():
        found += [{**case, "id": f"{name}/{case['id']}"}
                  for case in cases(folder, f"{name}/index.json")]  # fmt: skip
    return found


def load_seed():
    folder = folder_or_none()
    return cases(folder, "seed-formats/index.json") if folder else []


def load_texts():
    folder = folder_or_none()
    found = cases(folder, "seed-formats/canonical-json.json") if folder else []
    return [{**case, "id": f"{index}"} for index, case in enumerate(found)]


# ---- oms ----------------------------------------------------------------------------------------

# Where the program refuses what the reference accepts. None of the bundles here is such a case:
# what the strict rules refuse beyond the reference (expired certificates, repaired names, root
# digests, ...) was never written by a release. Kept so that a new vector has a place for it.
STRICTER = {}

OMS_REASONS = {
    "oms-spec/valid/key, nothing ignored": "extra-file",
    "oms-spec/invalid-payload/wrong-predicate": "bad-signature",
    "oms-spec/invalid/empty": "malformed",
    "oms-spec/invalid/missing-envelope": "malformed",
    "oms-spec/invalid/missing-verification-material": "malformed",
    "oms-spec/invalid/missing-tlog-entries": "unsupported",
    "oms-spec/valid/sigstore": "unsupported",
    "oms-compat/unlisted-file": "extra-file",
    "oms-compat/directory-for-single-file": "missing-file",
    "oms-compat/other-content": "digest-mismatch",
    "oms-compat/intermediate-as-root": "untrusted-signer",
    "oms-compat/leaf-as-root": "untrusted-signer",
    "oms-compat/method-key-on-certificate-bundle": "untrusted-signer",
    "oms-compat/method-certificate-on-key-bundle": "untrusted-signer",
    "oms-compat/legacy-method-key": "untrusted-signer",
    "oms-compat/other-key-hint": "untrusted-signer",
    "oms-compat/other-key-no-hint": "bad-signature",
}


def oms_arguments(vectors, case):
    # A keyless bundle comes without model and key: any will do, it is refused before they count.
    model = vectors / case.get("model", "oms-compat/v1.1.0-elliptic-key")
    bundle = vectors / case["bundle"]
    if "trusted_certificates" in case:
        believed = [a for name in case["trusted_certificates"] for a in ("--root", vectors / name)]
    else:
        key = case.get("public_key", "oms-compat/keys/signing-key-pub.pem")
        believed = ["--key", vectors / key]
    ignored = []
    for name in case.get("ignore", []):
        path = vectors / name
        # The signature that is verified needs no mention; nor can a file have a hole in it.
        if path != bundle and model.is_dir():
            ignored += ["--ignore", path.relative_to(model)]
    return ["verify", model, "--signature", bundle, "--format", "oms", *believed, *ignored]


def test_oms(hallmark, shared_vectors, oms_case):
    arguments = oms_arguments(shared_vectors, oms_case)
    legacy = ["--allow-v0.2.0"] if oms_case.get("legacy") else []
    strict = STRICTER.get(oms_case["id"], oms_case["verdict"])
    result = hallmark(*arguments, *legacy, "--json")
    report = result.json()
    if strict == "accept":
        assert (result.rc, report["status"]) == (support.OK, "verified"), result
        assert report["entries"] and report["signer"]
    else:
        assert (result.rc, report["status"]) == (support.REFUSED, "refused"), result
        assert report["reason"] == OMS_REASONS[oms_case["id"]], result
        assert report["entries"] == []


def test_oms_v020_only_when_allowed(hallmark, shared_vectors, old_oms_case):
    arguments = oms_arguments(shared_vectors, old_oms_case)
    result = hallmark(*arguments, "--json", expect=support.REFUSED)
    assert result.json()["reason"] == "unsupported", result


def test_hint_of_the_written_specification(hallmark, shared_vectors, tmp_path):
    """The hint of a key with text before its block is that of the bare, re-encoded key."""
    bundle = json.loads(
        (shared_vectors / "oms-spec/test-vectors/v1.0/valid/key.bundle.json").read_text()
    )
    wanted = bundle["verificationMaterial"]["publicKey"]["hint"]
    key = shared_vectors / "oms-compat/keys/signing-key-pub.pem"
    bundle["verificationMaterial"]["publicKey"]["hint"] = "0" * 64
    signature = tmp_path / "model.sig"
    signature.write_text(json.dumps(bundle))
    result = hallmark("verify", shared_vectors / "oms-compat/v1.1.0-elliptic-key", "--key", key,
                      "--signature", signature, expect=support.REFUSED)  # fmt: skip
    assert wanted in result.out + result.err


def test_written_bundles_fit_the_schemas(hallmark, shared_vectors, keys, pki, tmp_path):
    """What the program writes, by key and by certificate, files and shards, is schema-valid."""
    jsonschema = pytest.importorskip("jsonschema")
    referencing = pytest.importorskip("referencing")
    folder = shared_vectors / "oms-spec" / "schemas" / "v1.0"
    schemas = [json.loads(path.read_text()) for path in sorted(folder.glob("*.schema.json"))]
    registry = referencing.Registry().with_resources(
        [(s["$id"], referencing.Resource.from_contents(s)) for s in schemas]
    )

    def check(name, value):
        schema = next(s for s in schemas if f"/{name}/" in s["$id"])
        jsonschema.Draft202012Validator(schema, registry=registry).validate(value)

    model = oracle.write_files(tmp_path / "model", {"a": b"1", "b/c": b"22", "empty": b""})
    leaf = pki.leaf("schemas")
    by_key = ["--key", keys["python", "ec-p384"].private]
    by_chain = ["--key", leaf.key.private, "--cert", leaf.path, "--chain", pki.intermediate.path]
    for how in (by_key, by_chain):
        for more in ([], ["--shard-size", "1"], ["--hash", "blake2b"], ["--hash", "blake3"]):
            hallmark("sign", model, *how, *more, expect=support.OK)
            text = (model / "model.sig").read_bytes()
            check("bundle", json.loads(text))
            check("statement", oracle.read_oms(text)[0])
            check("predicate", oracle.read_oms(text)[0]["predicate"])


# ---- sig-json and manifest-json -----------------------------------------------------------------


def seed_arguments(folder, case):
    files = case["files"]
    signature = folder / files["signature"]
    model = folder / files["model"] if "model" in files else signature.parent
    arguments = ["verify", model, "--format", SEED_FORMATS[case["format"]]]
    return [*arguments, "--signature", signature, "--key", folder / case["key"], "--json"]


def test_seed_formats(hallmark, shared_vectors, seed_case):
    folder = shared_vectors / "seed-formats"
    result = hallmark(*seed_arguments(folder, seed_case))
    report = result.json()
    if seed_case["strict_verdict"] == "accept":
        assert (result.rc, report["status"]) == (support.OK, "verified"), result
        check_accepted(folder, seed_case, report)
    elif seed_case.get("stage") == "key":
        # A private key in place of a public one: the call is wrong, whatever the model is.
        assert (result.rc, report["status"]) == (support.USAGE, "usage"), result
    else:
        assert (result.rc, report["status"]) == (support.REFUSED, "refused"), result
        assert report["reason"] in seed_reasons(seed_case), result
    if result.rc != support.OK:
        assert report["entries"] == [] and report["status"] != "verified"


# Strict checks that are refused for another reason than the form of the file.
NAME_CASES = {
    "A/lax-renamed-model",
    "B/lax-model-file-other",
    "B/lax-model-file-case",
}
SALT_CASES = ("salt-",)
UNSUPPORTED_CASES = {
    "lax-algorithm-none",
    "lax-algorithm-rsa-pkcs1v15-sha256",
    "lax-algorithm-rsa-pss-sha256-lower",
    "lax-weak-key-1024",
}


def seed_reasons(case):
    """The reasons that fit the step which refuses, or the strict rule that does."""
    name = case["id"].split("/")[1]
    if case["id"] in NAME_CASES:
        return {"missing-file"}
    if name.startswith(SALT_CASES):
        return {"bad-signature"}
    if name in UNSUPPORTED_CASES:
        return {"unsupported"}
    if name == "wrong-key-ec":
        return {"untrusted-signer"}
    if "stage" not in case:
        return {"malformed"}
    if case["stage"] == "hash":
        # A digest that is none is seen before any file is read; another file's manifest by name.
        return {"digest-mismatch", "malformed", "missing-file"}
    if case["stage"] == "signature":
        return {"bad-signature", "malformed"}
    if case["stage"] == "io":
        return {"unsigned", "missing-file", "malformed"}
    return {"malformed"}


def check_accepted(folder, case, report):
    files = case["files"]
    wanted = files.get("artifacts", [files.get("model")])
    names = {(folder / name).name: (folder / name) for name in wanted}
    assert {entry["name"] for entry in report["entries"]} == set(names)
    for entry in report["entries"]:
        assert entry["digest"] == hashlib.sha256(names[entry["name"]].read_bytes()).hexdigest()
    if case["format"] == "A":
        assert report["claimed"] == []
        return
    # Whatever the file says of names, signers and times is a claim, forged or not.
    assert report["stated"] == []
    document = json.loads((folder / files["signature"]).read_text())
    claimed = {item["name"]: item["value"] for item in report["claimed"]}
    assert claimed == claims_of(document)
    assert any("content only" in warning for warning in report["warnings"])
    if case["format"] == "B-bundle":
        assert any("belong together" in warning for warning in report["warnings"])
        for name in files.get("unlisted", []):
            assert (folder / name).name not in {entry["name"] for entry in report["entries"]}


def claims_of(document):
    covered = ("sha256", "signature")
    if "artifacts" not in document:
        return {name: value for name, value in document.items() if name not in covered}
    claims = {name: value for name, value in document.items() if name != "artifacts"}
    for index, entry in enumerate(document["artifacts"]):
        for name, value in claims_of(entry).items():
            claims[f"artifacts[{index}].{name}"] = value
    return claims


def test_seed_signature_is_found_beside_the_model(hallmark, shared_vectors, adjacent_case):
    folder = shared_vectors / "seed-formats"
    files = adjacent_case["files"]
    model = folder / files["model"]
    result = hallmark("verify", model, "--key", folder / adjacent_case["key"], "--json")
    if adjacent_case["id"].split("/")[1].startswith("missing"):
        assert (result.rc, result.json()["reason"]) == (support.REFUSED, "unsigned"), result
        return
    # Where both formats' files lie side by side, the place that is looked at first counts.
    appended = model.with_name(model.name + ".sig")
    wanted = appended if appended.exists() else folder / files["signature"]
    assert result.json()["signature"]["path"] == str(wanted)
    assert (result.rc == support.OK) == (adjacent_case["strict_verdict"] == "accept"), result


# ---- canonical JSON -----------------------------------------------------------------------------


def embed(text, value):
    return f'{{"model_path": "m.bin", "model_hash": "{text}", "value": {value}}}'


@pytest.fixture(scope="module")
def canonical_model(tmp_path_factory):
    model = tmp_path_factory.mktemp("canonical") / "m.bin"
    model.write_bytes(b"model")
    return model


def test_canonical_json(hallmark, shared_vectors, keys, canonical_model, tmp_path, text_case):
    """The text stands in a signed manifest; what is signed is what Python makes of it. Only if the
    program makes the same of it does the signature verify."""
    key = keys["python", "rsa-2048"]
    digest = hashlib.sha256(canonical_model.read_bytes()).hexdigest()
    spelled = text_case.get("out", text_case["in"])
    # In the order of the sorted names.
    message = f'{{"model_hash": "{digest}", "model_path": "m.bin", "value": {spelled}}}'
    signature = oracle.sign_pss(key.python, message.encode("utf-8", "surrogatepass")).hex()
    file = tmp_path / "m.bin.sig"
    text = f'{{"manifest": {embed(digest, text_case["in"])}, "signature": "{signature}"}}'
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    result = hallmark("verify", canonical_model, "--signature", file, "--key", key.public, "--json")
    if "error" in text_case or text_case.get("strict") is False:
        assert (result.rc, result.json()["reason"]) == (support.REFUSED, "malformed"), result
    else:
        assert result.rc == support.OK, result
        # The same text with another value signed: the signature does count.
        other = message.replace('"value": ', '"value": 1')
        wrong = oracle.sign_pss(key.python, other.encode()).hex()
        file.write_bytes(text.replace(signature, wrong).encode())
        result = hallmark("verify", canonical_model, "--signature", file, "--key", key.public,
                          "--json")  # fmt: skip
        assert (result.rc, result.json()["reason"]) == (support.REFUSED, "bad-signature"), result


def test_canonical_json_when_signing(hallmark, shared_vectors, keys, canonical_model, tmp_path):
    """All texts at once as hyperparameters: Python verifies what the program signed."""
    key = keys["python", "rsa-2048"]
    good = [case["in"] for case in load_texts() if case.get("strict", True) and "out" in case]
    assert len(good) > 70
    members = ", ".join(f'"{index}": {text}' for index, text in enumerate(good))
    metadata = tmp_path / "metadata.json"
    metadata.write_text(
        '{"dataset_hash": "", "start_time": "", "end_time": "", "framework_version": "",'
        f' "hyperparameters": {{{members}}}}}'
    )
    file = tmp_path / "all.sig"
    hallmark("sign", canonical_model, "--format", "sig-json", "--key", key.private, "--metadata",
             metadata, "--signature", file, expect=support.OK)  # fmt: skip
    public = key.python.public_key()
    manifest = oracle.verify_sig_json(file.read_text(), public, canonical_model)
    read_back = manifest["training_metadata"]["hyperparameters"]
    assert read_back == json.loads(metadata.read_text())["hyperparameters"]
    hallmark("verify", canonical_model, "--signature", file, "--key", key.public, expect=support.OK)


# ---- places and salts ---------------------------------------------------------------------------


def test_path_derivation(hallmark, shared_vectors, keys, metadata_file, tmp_path):
    key = keys["python", "rsa-2048"]
    found = cases(shared_vectors, "seed-formats/path-derivation.json")
    for index, case in enumerate(found):
        for format_name, place in (("sig-json", case["a"]), ("manifest-json", case["b"])):
            folder = tmp_path / f"{index}-{format_name}"
            model = folder / case["model"]
            oracle.write_files(folder, {case["model"]: b"model"})
            more = ["--metadata", metadata_file] if format_name == "sig-json" else []
            hallmark("sign", model, "--format", format_name, "--key", key.private, *more,
                     expect=support.OK)  # fmt: skip
            assert set(oracle.read_files(folder)) == {case["model"], place}, case
            hallmark("verify", model, "--key", key.public, expect=support.OK)


def rsa_key(folder, bits):
    key = oracle.rsa_key(bits)
    return support.save_key(folder, f"rsa-{bits}", f"rsa-{bits}", key)


@pytest.mark.parametrize("bits", [1024, 2047, 2048, 2049, 2056, 2057, 3072, 4096, 8192])
def test_pss_salt(hallmark, shared_vectors, sanitizer, canonical_model, tmp_path, bits):
    found = cases(shared_vectors, "seed-formats/pss-salt.json")
    case = next(case for case in found if case["bits"] == bits)
    if bits > 4096 and sanitizer:
        pytest.skip("making the key takes too long for another round")
    key = rsa_key(tmp_path, bits)
    file = tmp_path / "m.manifest.json"
    sign = ["sign", canonical_model, "--format", "manifest-json", "--key", key.private,
            "--signature", file]  # fmt: skip
    verify = ["verify", canonical_model, "--signature", file, "--key", key.public, "--json"]
    if bits < 2048:
        assert hallmark(*sign).rc != support.OK
        file.write_text(json.dumps(oracle.sign_manifest_json(canonical_model, key.python)))
        assert hallmark(*verify).rc != support.OK
        return
    assert (key.python.key_size, oracle.longest_salt(key.python)) == (bits, case["salt"])
    hallmark(*sign, expect=support.OK)
    manifest = json.loads(file.read_text())
    signature = oracle.base64.b64decode(manifest["signature"])
    assert len(signature) == case["signature_bytes"]
    public = key.python.public_key()
    oracle.verify_pss(public, manifest["sha256"].encode(), signature)
    with pytest.raises(InvalidSignature):
        public.verify(signature, manifest["sha256"].encode(),
                      oracle.pss(public, case["salt"] - 1), oracle.hashes.SHA256())  # fmt: skip
    hallmark(*verify, expect=support.OK)
    for salt, status in ((case["salt"], support.OK), (case["salt"] - 1, support.REFUSED),
                         (32, support.REFUSED), (0, support.REFUSED)):  # fmt: skip
        signature = oracle.sign_pss(key.python, manifest["sha256"].encode(), salt)
        file.write_text(json.dumps({**manifest, "signature": oracle.b64(signature)}))
        result = hallmark(*verify, expect=status)
        assert result.json()["reason"] == (None if status == support.OK else "bad-signature")
