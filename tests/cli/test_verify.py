# SPDX-License-Identifier: Apache-2.0
"""hallmark verify: every outcome with its word and its exit status, and what the report says."""

import base64
import json
import os
import shutil
import subprocess

import jsonschema
import pytest
from cryptography import x509

import oracle
import support

FILES = {
    "config.json": b'{"layers": 2}',
    "weights.bin": support.content("weights", 5000),
    "sub/tokenizer.json": b"{}",
    "empty": b"",
}
SCHEMA = json.loads((support.ROOT / "docs" / "report.schema.json").read_text())


@pytest.fixture
def model(tree):
    return tree(FILES, "model")


@pytest.fixture
def signed(model, sign):
    sign(model)
    return model


def findings(report):
    return {(f["reason"], f["name"]) for f in report["findings"]}


def edit(path, change):
    """Changes a JSON file by a function on the parsed document."""
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


# ---- verified -----------------------------------------------------------------------------------


def test_verified(hallmark, ec, signed):
    result = hallmark("verify", signed, "--key", ec.public, expect=0)
    assert result.out.startswith(f"verified: {signed}\n") and result.err == ""
    assert f"signed by      ec-p256 key {ec.fingerprint}" in result.out
    assert "ECDSA P-256 SHA-256" in result.out and "4 files" in result.out
    for name in FILES:
        assert name in result.out


def test_the_report_lists_what_was_verified(ec, signed, verify):
    report = verify(signed)
    jsonschema.validate(report, SCHEMA)
    assert (report["operation"], report["status"], report["reason"]) == ("verify", "verified", None)
    assert [e["name"] for e in report["entries"]] == sorted(FILES)
    assert {e["name"]: e["end"] for e in report["entries"]} == {n: len(d) for n, d in FILES.items()}
    assert report["model"]["files"] == len(FILES)
    assert report["signer"] == {"key_type": "ec-p256", "algorithm": "ECDSA P-256 SHA-256",
                                "key_fingerprint": ec.fingerprint, "name": None,
                                "key_version": None, "certificate": None}  # fmt: skip
    assert report["ignored"] == [{"path": "model.sig", "by": "signature-file"}]
    assert report["findings"] == report["unsigned"] == report["warnings"] == []


def test_verify_writes_nothing(signed, verify):
    before = support.snapshot(signed.parent)
    verify(signed)
    (signed / "empty").write_bytes(b"x")
    changed = support.snapshot(signed.parent)
    verify(signed, expect=1)
    (signed / "empty").write_bytes(b"")
    assert support.snapshot(signed.parent) == before != changed


def test_any_of_several_keys(hallmark, keys, ec, rsa, signed):
    other = keys["python", "ec-p256", "other"]
    result = hallmark("verify", signed, "--key", other.public, "--key", rsa.public, "--key",
                      ec.public, "--json", expect=0)  # fmt: skip
    assert result.json()["signer"]["key_fingerprint"] == ec.fingerprint


def test_moved_and_copied_models_verify(signed, verify, tmp_path):
    shutil.copytree(signed, tmp_path / "elsewhere")
    verify(tmp_path / "elsewhere")
    os.utime(tmp_path / "elsewhere" / "config.json", (0, 0))
    (tmp_path / "elsewhere" / "config.json").chmod(0o600)
    verify(tmp_path / "elsewhere")


def test_empty_folders_are_not_seen(signed, verify):
    (signed / "new" / "empty").mkdir(parents=True)
    verify(signed)


# ---- refused: each reason -----------------------------------------------------------------------


def test_unsigned(hallmark, ec, model, tmp_path):
    for options in ([], ["--signature", tmp_path / "none"]):
        result = hallmark("verify", model, "--key", ec.public, *options, expect=1)
        assert "(unsigned)" in result.err and result.out == ""
        assert "--signature" in result.err
    result = hallmark("verify", model / "config.json", "--key", ec.public, "--json", expect=1)
    assert (result.json()["status"], result.json()["reason"]) == ("refused", "unsigned")


def test_bad_signature(keys, signed, verify):
    """The hint is not signed; with it gone, the wrong key is found out by the signature."""
    other = keys["python", "ec-p256", "other"]
    assert verify(signed, key=other, expect=1)["reason"] == "untrusted-signer"
    edit(signed / "model.sig", lambda d: d["verificationMaterial"]["publicKey"].pop("hint"))
    report = verify(signed, key=other, expect=1)
    assert (report["reason"], report["signer"]) == ("bad-signature", None)
    assert report["entries"] == [] and report["findings"] == []


@pytest.mark.parametrize("change", [
    lambda d: d.update(payload=oracle.b64(base64.b64decode(d["payload"]) + b" ")),
    lambda d: d["signatures"][0].update(sig=oracle.b64(bytes(70))),
    lambda d: d["signatures"][0].update(sig=""),
    lambda d: d["signatures"][0].update(
        sig=oracle.b64(base64.b64decode(d["signatures"][0]["sig"]) + b"\0")),
])  # fmt: skip
def test_damaged_signatures(signed, verify, change):
    edit(signed / "model.sig", lambda d: change(d["dsseEnvelope"]))
    assert verify(signed, expect=1)["reason"] in ("bad-signature", "malformed")


def test_untrusted_signer(hallmark, keys, pki, ec, signed, model_file):
    result = hallmark("verify", signed, "--root", pki.root.path, expect=1)
    assert "(untrusted-signer)" in result.err and "--key" in result.err
    result = hallmark("verify", signed, "--key", keys["python", "ec-p384"].public, expect=1)
    assert "(untrusted-signer)" in result.err
    leaf = pki.leaf("untrusted")
    hallmark("sign", model_file, "--key", leaf.key.private, "--cert", leaf.path, "--chain",
             pki.intermediate.path, expect=0)  # fmt: skip
    result = hallmark("verify", model_file, "--key", leaf.key.public, expect=1)
    assert "(untrusted-signer)" in result.err and "--root" in result.err
    stranger = support.Pki(model_file.parent)
    hallmark("verify", model_file, "--root", pki.root.path, expect=0)
    result = hallmark("verify", model_file, "--root", stranger.root.path, expect=1)
    assert "(untrusted-signer)" in result.err


def change_weights(model):
    support.flip(model / "weights.bin", 77)
    return {("digest-mismatch", "weights.bin")}


def truncate(model):
    (model / "weights.bin").write_bytes(FILES["weights.bin"][:-1])
    return {("digest-mismatch", "weights.bin")}


def append(model):
    with open(model / "weights.bin", "ab") as out:
        out.write(b"\0")
    return {("digest-mismatch", "weights.bin")}


def fill_empty(model):
    (model / "empty").write_bytes(b"x")
    return {("digest-mismatch", "empty")}


def empty_full(model):
    (model / "config.json").write_bytes(b"")
    return {("digest-mismatch", "config.json")}


def remove(model):
    (model / "config.json").unlink()
    return {("missing-file", "config.json")}


def remove_empty(model):
    (model / "empty").unlink()
    return {("missing-file", "empty")}


def remove_folder(model):
    shutil.rmtree(model / "sub")
    return {("missing-file", "sub/tokenizer.json")}


def add(model):
    (model / "sub" / "new.bin").write_bytes(b"x")
    return {("extra-file", "sub/new.bin")}


def add_empty(model):
    (model / "__init__.py").write_bytes(b"")
    return {("extra-file", "__init__.py")}


def add_hidden(model):
    (model / ".new").write_bytes(b"x")
    return {("extra-file", ".new")}


def add_below_git_elsewhere(model):
    (model / "sub" / ".git").mkdir()
    (model / "sub" / ".git" / "hooks").write_bytes(b"x")
    return {("extra-file", "sub/.git/hooks")}


def rename(model):
    (model / "config.json").rename(model / "Config.json")
    return {("missing-file", "config.json"), ("extra-file", "Config.json")}


def swap(model):
    a, b = (model / n for n in ("config.json", "sub/tokenizer.json"))
    one, two = a.read_bytes(), b.read_bytes()
    a.write_bytes(two)
    b.write_bytes(one)
    return {("digest-mismatch", "config.json"), ("digest-mismatch", "sub/tokenizer.json")}


def file_to_link(model):
    (model / "config.json").rename(model.parent / "config.json")
    (model / "config.json").symlink_to("../config.json")
    return {("missing-file", "config.json")}


def folder_to_link(model):
    (model / "sub").rename(model.parent / "sub")
    (model / "sub").symlink_to("../sub")
    return {("missing-file", "sub/tokenizer.json"), ("extra-file", "sub")}


def file_to_folder(model):
    (model / "config.json").unlink()
    (model / "config.json").mkdir()
    return {("missing-file", "config.json")}


def file_to_pipe(model):
    (model / "config.json").unlink()
    os.mkfifo(model / "config.json")
    return {("missing-file", "config.json")}


def add_link(model):
    (model / "link").symlink_to("config.json")
    return {("extra-file", "link")}


def add_pipe(model):
    os.mkfifo(model / "pipe")
    return {("extra-file", "pipe")}


def much_at_once(model):
    return change_weights(model) | remove(model) | add(model)


CHANGES = [change_weights, truncate, append, fill_empty, empty_full, remove, remove_empty,
           remove_folder, add, add_empty, add_hidden, add_below_git_elsewhere, rename, swap,
           file_to_link, folder_to_link, file_to_folder, file_to_pipe, add_link, add_pipe,
           much_at_once]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.__name__)
def test_every_difference_is_found(hallmark, ec, signed, verify, change):
    verify(signed)
    expected = change(signed)
    report = verify(signed, expect=1, timeout=10)
    jsonschema.validate(report, SCHEMA)
    assert findings(report) == expected
    assert report["status"] == "refused" and report["entries"] == []
    assert report["reason"] == min((r for r, _ in expected), key=[
        "digest-mismatch", "missing-file", "extra-file"].index)  # fmt: skip
    result = hallmark("verify", signed, "--key", ec.public, expect=1)
    assert result.out == "" and result.err.startswith("refused: ")
    for reason, name in expected:
        assert reason in result.err and name in result.err


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.__name__)
def test_every_difference_is_found_in_shards(model, sign, verify, change):
    sign(model, "--shard-size", "1000")
    verify(model)
    expected = change(model)
    report = verify(model, expect=1, timeout=10)
    names = {name.split(":")[0] for _, name in findings(report)}
    only_empty = {name for _, name in expected} <= {"empty", "__init__.py"}
    assert names == ({"."} if only_empty and change is not fill_empty
                     else {name for _, name in expected})  # fmt: skip


def test_both_digests_are_shown(hallmark, ec, signed, verify):
    before = next(e["digest"] for e in verify(signed)["entries"] if e["name"] == "weights.bin")
    support.flip(signed / "weights.bin", 0)
    (finding,) = verify(signed, expect=1)["findings"]
    after = oracle.HASHES["sha256"]((signed / "weights.bin").read_bytes()).hexdigest()
    assert (finding["expected"], finding["actual"]) == (before, after)
    text = hallmark("verify", signed, "--key", ec.public, expect=1).err
    assert f"signed {before}" in text and f"found  {after}" in text


def test_the_changed_shard_is_named(model, sign, verify):
    sign(model, "--shard-size", "1000")
    support.flip(model / "weights.bin", 2500)
    assert findings(verify(model, expect=1)) == {("digest-mismatch", "weights.bin:2000:3000")}


def test_two_shards_swapped(model, sign, verify):
    sign(model, "--shard-size", "1000")
    data = FILES["weights.bin"]
    (model / "weights.bin").write_bytes(data[1000:2000] + data[:1000] + data[2000:])
    assert findings(verify(model, expect=1)) == {
        ("digest-mismatch", "weights.bin:0:1000"),
        ("digest-mismatch", "weights.bin:1000:2000"),
    }


def test_expired(hallmark, pki, model):
    leaf = pki.leaf("short", ends=1)
    hallmark("sign", model, "--key", leaf.key.private, "--cert", leaf.path, "--chain",
             pki.intermediate.path, expect=0)  # fmt: skip
    later = {"HALLMARK_TIME": int(support.utc_now().timestamp()) + 3 * 86400}
    earlier = {"HALLMARK_TIME": int(support.utc_now().timestamp()) - 3 * 86400}
    hallmark("verify", model, "--root", pki.root.path, expect=0)
    for when in (later, earlier):
        result = hallmark("verify", model, "--root", pki.root.path, env=when, expect=1)
        assert "(expired)" in result.err
        result = hallmark("verify", model, "--root", pki.root.path, "--allow-expired-certificates",
                          env=when, expect=0)  # fmt: skip
        assert "not now" in result.out


@pytest.mark.parametrize("change, reason", [
    (lambda d: d.update(mediaType="application/json"), "malformed"),
    (lambda d: d.update(more=1), "malformed"),
    (lambda d: d.pop("dsseEnvelope"), "malformed"),
    (lambda d: d["dsseEnvelope"].update(payloadType="text/plain"), "malformed"),
    (lambda d: d["dsseEnvelope"].update(payload="?"), "malformed"),
    (lambda d: d["dsseEnvelope"]["signatures"].append({"sig": "AAAA"}), "malformed"),
    (lambda d: d["dsseEnvelope"].update(signatures=[]), "malformed"),
    (lambda d: d["verificationMaterial"].update(x509CertificateChain={"certificates": []}),
     "malformed"),
    (lambda d: d.update(verificationMaterial={}), "malformed"),
    (lambda d: d.update(verificationMaterial={"certificate": {"rawBytes": "AAAA"},
                                              "tlogEntries": []}), "unsupported"),
])  # fmt: skip
def test_malformed_and_unsupported_bundles(signed, verify, change, reason):
    edit(signed / "model.sig", change)
    report = verify(signed, expect=1)
    assert report["reason"] == reason
    jsonschema.validate(report, SCHEMA)


@pytest.mark.parametrize("change, reason", [
    (lambda d: d.update(predicateType="https://model_signing/signature/v1.1"), "malformed"),
    (lambda d: d["predicate"].update(resources=[]), "malformed"),
    (lambda d: d["predicate"].update(more=1), "malformed"),
    (lambda d: d["predicate"]["serialization"].update(more=1), "malformed"),
    (lambda d: d["predicate"]["serialization"].update(method="tree"), "unsupported"),
    (lambda d: d["predicate"]["serialization"].update(hash_type="md5"), "unsupported"),
    (lambda d: d["predicate"]["serialization"].update(allow_symlinks="no"), "malformed"),
    (lambda d: d["predicate"]["serialization"].update(shard_size=8), "malformed"),
    (lambda d: d["predicate"]["serialization"].update(ignore_paths=["."]), "malformed"),
    (lambda d: d["predicate"]["serialization"].update(ignore_paths=[""]), "malformed"),
    (lambda d: d["predicate"]["serialization"].update(ignore_paths=["../x"]), "malformed"),
    (lambda d: d["predicate"]["resources"][0].update(name="../config.json"), "malformed"),
    (lambda d: d["predicate"]["resources"][0].update(name="/etc/passwd"), "malformed"),
    (lambda d: d["predicate"]["resources"][0].update(name="./config.json"), "malformed"),
    (lambda d: d["predicate"]["resources"][0].update(algorithm="blake2b"), "malformed"),
    (lambda d: d["predicate"]["resources"].append(d["predicate"]["resources"][0]), "malformed"),
    (lambda d: d["subject"].append(d["subject"][0]), "malformed"),
    (lambda d: d["subject"][0]["digest"].update(sha256="0" * 64), "malformed"),
])  # fmt: skip
def test_statements_that_are_signed_but_wrong(ec, model, verify, change, reason):
    """The signature is good: only reading the statement can refuse it."""
    document = oracle.statement_of(FILES)
    change(document)
    if document["subject"][0]["digest"]["sha256"] != "0" * 64:
        oracle.reroot(document)
    (model / "model.sig").write_text(json.dumps(oracle.sign_oms(document, ec.python)))
    assert verify(model, expect=1)["reason"] == reason


def test_the_same_statement_unchanged_verifies(ec, model, verify):
    signature = oracle.sign_oms(oracle.statement_of(FILES), ec.python)
    (model / "model.sig").write_text(json.dumps(signature))
    verify(model)


def test_model_signing_0_2_0(ec, model, verify):
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415

    signature = oracle.sign_oms(oracle.old_statement(FILES), ec.python, encode=oracle.old_pae,
                                algorithm=hashes.SHA256())  # fmt: skip
    (model / "model.sig").write_text(json.dumps(signature))
    report = verify(model, expect=1)
    assert report["reason"] == "unsupported"
    report = verify(model, "--allow-v0.2.0")
    assert any("0.2.0" in warning for warning in report["warnings"])


# ---- options ------------------------------------------------------------------------------------


def test_ignore_unsigned(signed, verify):
    (signed / "new.bin").write_bytes(b"x")
    (signed / "link").symlink_to("/etc/passwd")
    os.mkfifo(signed / "pipe")
    assert verify(signed, expect=1)["reason"] == "extra-file"
    report = verify(signed, "--ignore-unsigned", timeout=10)
    assert {u["path"]: u["kind"] for u in report["unsigned"]} == {
        "new.bin": "file", "link": "symbolic link", "pipe": "named pipe"}  # fmt: skip
    assert "new.bin" not in {e["name"] for e in report["entries"]}
    (signed / "config.json").unlink()
    assert verify(signed, "--ignore-unsigned", expect=1)["reason"] == "missing-file"


def test_ignore_unsigned_is_no_way_around_signed_files(signed, verify):
    """A link in the place of a signed file, or of its folder, is not followed."""
    outside = signed.parent / "outside"
    shutil.copytree(signed / "sub", outside)
    shutil.rmtree(signed / "sub")
    (signed / "sub").symlink_to(outside)
    report = verify(signed, "--ignore-unsigned", expect=1)
    assert ("missing-file", "sub/tokenizer.json") in findings(report)


def test_fail_fast(tree, sign, verify):
    folder = tree({f"f{i:03}": support.content(i, 3000) for i in range(200)})
    sign(folder)
    for i in range(200):
        support.flip(folder / f"f{i:03}", 0)
    assert len(verify(folder, expect=1)["findings"]) == 200
    report = verify(folder, "--fail-fast", "--jobs", "1", expect=1)
    assert report["reason"] == "digest-mismatch"
    assert 1 <= len(report["findings"]) < 100
    (folder / "f000").unlink()
    report = verify(folder, "--fail-fast", expect=1)
    assert findings(report) == {("missing-file", "f000")}


def test_fail_fast_finds_the_last_change_too(signed, verify):
    verify(signed, "--fail-fast")
    support.flip(signed / "weights.bin", -1)
    assert findings(verify(signed, "--fail-fast", expect=1)) == {("digest-mismatch", "weights.bin")}


def test_fail_fast_in_shards(model, sign, verify):
    sign(model, "--shard-size", "100")
    verify(model, "--fail-fast")
    for offset in (2550, 2650, 4950):
        support.flip(model / "weights.bin", offset)
    report = verify(model, "--fail-fast", "--jobs", "1", expect=1)
    assert report["reason"] == "digest-mismatch"
    assert findings(report) <= {("digest-mismatch", f"weights.bin:{n}:{n + 100}")
                                for n in (2500, 2600, 4900)}  # fmt: skip


def test_ignore(signed, verify):
    (signed / "logs").mkdir()
    (signed / "logs" / "today").write_bytes(b"x")
    verify(signed, expect=1)
    report = verify(signed, "--ignore", "logs")
    assert {"path": "logs", "by": "caller"} in report["ignored"]


def test_ignoring_a_signed_file_does_not_unsign_it(signed, verify):
    report = verify(signed, "--ignore", "weights.bin", "--ignore", "sub")
    assert {"weights.bin", "sub/tokenizer.json"} <= {e["name"] for e in report["entries"]}
    support.flip(signed / "weights.bin", 3)
    support.flip(signed / "sub" / "tokenizer.json", 1)
    report = verify(signed, "--ignore", "weights.bin", "--ignore", "sub", expect=1)
    assert findings(report) == {("digest-mismatch", "weights.bin"),
                                ("digest-mismatch", "sub/tokenizer.json")}  # fmt: skip


def test_a_signature_that_ignores_what_it_lists(ec, model, verify):
    """Nor can the signature itself make a hole in what it lists."""
    document = oracle.statement_of(FILES, ignore=["weights.bin"])
    (model / "model.sig").write_text(json.dumps(oracle.sign_oms(document, ec.python)))
    verify(model)
    support.flip(model / "weights.bin", 3)
    assert findings(verify(model, expect=1)) == {("digest-mismatch", "weights.bin")}


def test_strict_paths(hallmark, ec, model, sign, verify):
    (model / "cache").mkdir()
    (model / "cache" / "x").write_bytes(b"x")
    (model / ".git").mkdir()
    (model / ".git" / "x").write_bytes(b"x")
    sign(model, "--ignore", "cache")
    report = verify(model)
    assert {"path": "cache", "by": "signed"} in report["ignored"]
    report = verify(model, "--strict-paths", expect=1)
    assert findings(report) == {("extra-file", "cache/x")}
    shutil.rmtree(model / "cache")
    report = verify(model, "--strict-paths")
    assert {i["by"] for i in report["ignored"]} == {"format-default", "signature-file"}
    result = hallmark("verify", model, "--key", ec.public, "--strict-paths", "--ignore", "x",
                      expect=2)  # fmt: skip
    assert "strict" in result.err


def test_strict_paths_and_empty_files_under_shards(ec, model, verify):
    """By the specification shards do not list empty files; other tools bind them to nothing."""
    document = oracle.statement_of(FILES, shard_size=1000)
    (model / "model.sig").write_text(json.dumps(oracle.sign_oms(document, ec.python)))
    report = verify(model)
    assert [u["path"] for u in report["unsigned"]] == ["empty"]
    report = verify(model, "--strict-paths", expect=1)
    assert findings(report) == {("extra-file", "empty")}


def test_format(hallmark, ec, signed, verify):
    verify(signed, "--format", "oms")
    for name in ("sig-json", "manifest-json"):
        report = verify(signed, "--format", name, expect=1)
        assert report["reason"] == "unsupported" and name in report["message"]
    assert "oms, sig-json" in hallmark("verify", signed, "--key", ec.public, "--format", "x",
                                       expect=2).err  # fmt: skip


def test_the_format_is_known_by_the_content(hallmark, rsa, model_file, metadata_file, tmp_path):
    """Not by the name of the file: sig-json's default place is that of oms too."""
    for format_name in ("oms", "sig-json", "manifest-json"):
        options = ["--metadata", metadata_file] if format_name == "sig-json" else []
        hallmark("sign", model_file, "--key", rsa.private, "--format", format_name, *options,
                 "--signature", tmp_path / "s", expect=0)  # fmt: skip
        report = hallmark("verify", model_file, "--key", rsa.public, "--signature", tmp_path / "s",
                          "--json", expect=0).json()  # fmt: skip
        assert report["signature"]["format"] == format_name
        (tmp_path / "s").unlink()


@pytest.mark.parametrize("format_name", ["oms", "sig-json", "manifest-json"])
def test_name_of_a_single_file(hallmark, rsa, model_file, metadata_file, tmp_path, format_name):
    options = ["--metadata", metadata_file] if format_name == "sig-json" else []
    signature = tmp_path / "s"
    hallmark("sign", model_file, "--key", rsa.private, "--format", format_name, *options,
             "--signature", signature, expect=0)  # fmt: skip
    renamed = model_file.rename(tmp_path / "fraud-detector.bin")
    command = ["verify", renamed, "--key", rsa.public, "--signature", signature]
    result = hallmark(*command, expect=1)
    assert "weights.safetensors" in result.err and "--name" in result.err
    hallmark(*command, "--name", "weights.safetensors", expect=0)
    hallmark(*command, "--name", "other", expect=1)


def test_name_dot(hallmark, ec, model_file, sign):
    """As model_signing signs single files: by content only, and the report says so."""
    sign(model_file, "--name-dot")
    signature = model_file.parent / (model_file.name + ".sig")
    renamed = model_file.rename(model_file.with_name("other"))
    result = hallmark("verify", renamed, "--signature", signature, "--key", ec.public, expect=0)
    assert "no file's name" in result.out


def test_no_key_and_no_root(hallmark, signed):
    result = hallmark("verify", signed, expect=2)
    assert "--key" in result.err and "--root" in result.err


def test_wrong_use(hallmark, ec, signed):
    for arguments in ([], [signed, signed]):
        hallmark("verify", *arguments, "--key", ec.public, expect=2)
    hallmark("verify", signed, "--key", ec.public, "--ignore", "../x", expect=2)
    hallmark("verify", signed, "--key", ec.public, "--jobs", "5000", expect=2)
    hallmark("verify", signed, "--key", ec.public, "--identity-fingerprint", "xyz", expect=2)


# ---- what is only claimed -----------------------------------------------------------------------


def test_manifest_json_claims(hallmark, rsa, model_file):
    """Only the content is signed; whoever changes the rest goes unnoticed, so it is marked."""
    hallmark("sign", model_file, "--key", rsa.private, "--format", "manifest-json", expect=0)
    manifest = model_file.with_suffix(".manifest.json")
    edit(manifest, lambda d: d.update(signer="The President", signed_at="1999-01-01T00:00:00"))
    result = hallmark("verify", model_file, "--key", rsa.public, expect=0)
    verified, claimed = result.out.split("claimed (not signed, do not rely on it)")
    assert "The President" in claimed and "1999" in claimed
    assert "The President" not in verified and rsa.fingerprint in verified
    report = hallmark("verify", model_file, "--key", rsa.public, "--json", expect=0).json()
    jsonschema.validate(report, SCHEMA)
    assert {c["name"]: c["value"] for c in report["claimed"]}["signer"] == "The President"
    assert report["stated"] == [] and report["warnings"]


def test_sig_json_statements(hallmark, rsa, model_file, metadata_file):
    """Signed, but the signer's own words."""
    hallmark("sign", model_file, "--key", rsa.private, "--format", "sig-json", "--metadata",
             metadata_file, "--signer-id", "pipeline", expect=0)  # fmt: skip
    report = hallmark("verify", model_file, "--key", rsa.public, "--json", expect=0).json()
    jsonschema.validate(report, SCHEMA)
    stated = {s["name"]: s["value"] for s in report["stated"]}
    assert stated["signer_id"] == "pipeline"
    assert stated["training_metadata.hyperparameters"] == support.METADATA["hyperparameters"]
    assert report["claimed"] == []
    signature = model_file.parent / (model_file.name + ".sig")
    edit(signature, lambda d: d["manifest"].update(signer_id="somebody else"))
    report = hallmark("verify", model_file, "--key", rsa.public, "--json", expect=1).json()
    assert report["reason"] == "bad-signature"


def test_nothing_foreign_is_shown_of_a_bad_signature(hallmark, keys, rsa, model_file):
    hallmark("sign", model_file, "--key", rsa.private, "--format", "manifest-json", "--signer-id",
             "Mallory", expect=0)  # fmt: skip
    other = keys["python", "rsa-3072"]
    result = hallmark("verify", model_file, "--key", other.public, expect=1)
    assert "(bad-signature)" in result.err and "Mallory" not in result.err + result.out


def test_bundle_manifest(hallmark, rsa, tmp_path):
    for name in ("a.bin", "b.bin", "unlisted.bin"):
        (tmp_path / name).write_bytes(name.encode())
    command = ["verify", tmp_path, "--signature", tmp_path / "m.json", "--key", rsa.public,
               "--json"]  # fmt: skip
    hallmark("sign", "a.bin", "b.bin", "--key", rsa.private, "--format", "manifest-json",
             "--signature", "m.json", cwd=tmp_path, expect=0)  # fmt: skip
    report = hallmark(*command, expect=0).json()
    assert [e["name"] for e in report["entries"]] == ["a.bin", "b.bin"]
    assert any("belong together" in warning for warning in report["warnings"])
    (tmp_path / "b.bin").write_bytes(b"changed")
    report = hallmark(*command, expect=1).json()
    assert findings(report) == {("digest-mismatch", "b.bin")}
    (tmp_path / "b.bin").unlink()
    assert hallmark(*command, expect=1).json()["reason"] == "missing-file"
    result = hallmark("verify", tmp_path / "a.bin", "--signature", tmp_path / "m.json", "--key",
                      rsa.public, expect=1)  # fmt: skip
    assert "(unsupported)" in result.err and "directory" in result.err


@pytest.mark.parametrize("change", [
    lambda d: d.update(artifact_count=1),
    lambda d: d.update(artifact_count="2"),
    lambda d: d.update(artifacts=[], artifact_count=0),
    lambda d: d.pop("bundle_signed_at"),
    lambda d: d.update(more=1),
    lambda d: d["artifacts"][0].update(model_file="../a.bin"),
    lambda d: d["artifacts"][0].update(model_file="b.bin"),
    lambda d: d["artifacts"][0].update(algorithm="none"),
    lambda d: d["artifacts"][0].pop("signer"),
    lambda d: d["artifacts"][0].update(sha256=d["artifacts"][0]["sha256"].upper()),
])  # fmt: skip
def test_bundle_manifests_that_are_refused(hallmark, rsa, tmp_path, change):
    for name in ("a.bin", "b.bin"):
        (tmp_path / name).write_bytes(name.encode())
    hallmark("sign", "a.bin", "b.bin", "--key", rsa.private, "--format", "manifest-json",
             "--signature", "m.json", cwd=tmp_path, expect=0)  # fmt: skip
    edit(tmp_path / "m.json", change)
    report = hallmark("verify", tmp_path, "--signature", tmp_path / "m.json", "--key", rsa.public,
                      "--json", expect=1).json()  # fmt: skip
    assert report["reason"] in ("malformed", "unsupported", "bad-signature")


def test_directory_for_a_signature_of_one_file(hallmark, rsa, model_file):
    hallmark("sign", model_file, "--key", rsa.private, "--format", "manifest-json", expect=0)
    result = hallmark("verify", model_file.parent, "--key", rsa.public, "--signature",
                      model_file.with_suffix(".manifest.json"), expect=1)  # fmt: skip
    assert "(unsupported)" in result.err and "single file" in result.err


# ---- certificates -------------------------------------------------------------------------------


@pytest.fixture
def certified(hallmark, pki, model):
    """A model signed by a certificate, and the certificate."""
    leaf = pki.leaf("ci", organization="Acme", san=[
        x509.DNSName("ci.acme.example"), x509.RFC822Name("ci@acme.example"),
        x509.UniformResourceIdentifier("https://acme.example/ci")])  # fmt: skip
    hallmark("sign", model, "--key", leaf.key.private, "--cert", leaf.path, "--chain",
             pki.intermediate.path, expect=0)  # fmt: skip
    return model, leaf


def test_certificates_are_reported(hallmark, pki, certified):
    model, leaf = certified
    result = hallmark("verify", model, "--root", pki.root.path, expect=0)
    for part in ["CN=ci,O=Acme", "CN=intermediate,O=Test", "DNS:ci.acme.example", leaf.fingerprint]:
        assert part in result.out
    report = hallmark("verify", model, "--root", pki.root.path, "--json", expect=0).json()
    jsonschema.validate(report, SCHEMA)
    certificate = report["signer"]["certificate"]
    assert certificate["subject"] == "CN=ci,O=Acme"
    assert certificate["fingerprint"] == leaf.fingerprint
    assert set(certificate["alternative_names"]) == {
        "DNS:ci.acme.example", "email:ci@acme.example", "URI:https://acme.example/ci"}  # fmt: skip
    assert report["signer"]["key_fingerprint"] == leaf.key.fingerprint


def test_identities(hallmark, pki, certified):
    model, leaf = certified
    good = [
        ["--identity-subject", "CN=ci,O=Acme"],
        ["--identity-san", "ci.acme.example"],
        ["--identity-san", "ci@acme.example"],
        ["--identity-san", "https://acme.example/ci"],
        ["--identity-fingerprint", leaf.fingerprint],
        ["--identity-san", "other", "--identity-san", "ci@acme.example"],
        ["--identity-subject", "CN=ci,O=Acme", "--identity-san", "ci@acme.example"],
    ]
    bad = [
        ["--identity-subject", "CN=ci"],
        ["--identity-subject", "CN=ci,O=Acm"],
        ["--identity-san", "acme.example"],
        ["--identity-san", "*.acme.example"],
        ["--identity-san", "CN=ci,O=Acme"],
        ["--identity-san", ""],
        ["--identity-fingerprint", "0" * 64],
        ["--identity-fingerprint", leaf.key.fingerprint],
        ["--identity-subject", "CN=ci,O=Acme", "--identity-san", "other"],
    ]
    for options in good:
        hallmark("verify", model, "--root", pki.root.path, *options, expect=0)
    for options in bad:
        result = hallmark("verify", model, "--root", pki.root.path, *options, expect=(1, 2))
        assert result.rc == 2 or "(untrusted-signer)" in result.err, options


def test_identities_of_bare_keys(signed, verify):
    report = verify(signed, "--identity-subject", "CN=ci", expect=1)
    assert report["reason"] == "untrusted-signer"


@pytest.mark.parametrize("how, options, status", [
    ({"eku": None}, [], 1),
    ({"eku": None}, ["--allow-missing-eku"], 0),
    ({"eku": [x509.ExtendedKeyUsageOID.SERVER_AUTH]}, [], 1),
    ({"eku": [x509.ExtendedKeyUsageOID.SERVER_AUTH]}, ["--allow-missing-eku"], 1),
    ({"digital_signature": None}, [], 0),
    ({"digital_signature": None, "eku": None}, ["--allow-missing-eku"], 1),
    ({"key_type": "ec-p521"}, [], 0),
])  # fmt: skip
def test_usages_of_certificates(hallmark, pki, model, how, options, status):
    leaf = pki.leaf("usage", **how)
    hallmark("sign", model, "--key", leaf.key.private, "--cert", leaf.path, "--chain",
             pki.intermediate.path, expect=0)  # fmt: skip
    result = hallmark("verify", model, "--root", pki.root.path, *options, expect=status)
    assert status == 0 or "(untrusted-signer)" in result.err


def test_an_intermediate_is_no_root(hallmark, pki, certified):
    result = hallmark("verify", certified[0], "--root", pki.intermediate.path, expect=1)
    assert "(untrusted-signer)" in result.err and "--root" in result.err


def test_a_chain_that_is_not_whole(hallmark, pki, model):
    leaf = pki.leaf("alone")
    hallmark("sign", model, "--key", leaf.key.private, "--cert", leaf.path, expect=0)
    result = hallmark("verify", model, "--root", pki.root.path, expect=1)
    assert "(untrusted-signer)" in result.err


def test_a_self_signed_leaf(hallmark, pki, model):
    leaf = pki.issue("self", None)
    hallmark("sign", model, "--key", leaf.key.private, "--cert", leaf.path, expect=0)
    hallmark("verify", model, "--root", leaf.path, expect=0)
    result = hallmark("verify", model, "--root", pki.root.path, expect=1)
    assert "(untrusted-signer)" in result.err


def test_a_root_that_stands_in_the_signature_proves_nothing(hallmark, pki, model, tmp_path):
    stranger = support.Pki(tmp_path)
    leaf = stranger.leaf("stranger")
    hallmark("sign", model, "--key", leaf.key.private, "--cert", leaf.path, "--chain",
             stranger.intermediate.path, expect=0)  # fmt: skip

    def add_root(document):
        chain = document["verificationMaterial"]["x509CertificateChain"]["certificates"]
        der = stranger.root.x509.public_bytes(support.serialization.Encoding.DER)
        chain.append({"rawBytes": oracle.b64(der)})

    edit(model / "model.sig", add_root)
    hallmark("verify", model, "--root", stranger.root.path, expect=0)
    result = hallmark("verify", model, "--root", pki.root.path, expect=1)
    assert "(untrusted-signer)" in result.err


# ---- could not be decided -----------------------------------------------------------------------


def test_keys_that_cannot_be_read(hallmark, pki, signed, tmp_path):
    pem = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
    (tmp_path / "damaged").write_text(pem)
    for option in ("--key", "--root"):
        for path in (tmp_path / "none", tmp_path, "/dev/null"):
            hallmark("verify", signed, option, path, expect=3, timeout=10)
    hallmark("verify", signed, "--key", tmp_path / "damaged", expect=3)
    result = hallmark("verify", signed, "--key", tmp_path / "none", "--json", expect=3)
    report = result.json()
    jsonschema.validate(report, SCHEMA)
    assert (report["status"], report["reason"]) == ("undecided", None)


def test_a_model_that_is_not_there(hallmark, ec, tmp_path):
    result = hallmark("verify", tmp_path / "none", "--key", ec.public, expect=3)
    assert str(tmp_path / "none") in result.err


@pytest.fixture
def as_nobody(hallmark, tmp_path):
    """Runs the program as somebody whom file modes stop: root would pass them."""
    if os.geteuid() != 0:
        return lambda *arguments: subprocess.run(
            hallmark.command(*arguments), capture_output=True, env=hallmark.environment(),
            check=False)  # fmt: skip
    if shutil.which("setpriv") is None:
        pytest.skip("running as another user takes setpriv")
    shutil.copy(hallmark.binary, tmp_path / "program")
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.owner() == "root" and folder.name.startswith(("pytest-", "popen-", "test_")):
            folder.chmod(0o755)

    def run(*arguments):
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                   *hallmark.wrapper, tmp_path / "program", *arguments]  # fmt: skip
        return subprocess.run(command, capture_output=True, env=hallmark.environment(), check=False)

    return run


@pytest.mark.parametrize("what", ["config.json", "sub", "model.sig", "."])
def test_what_may_not_be_read(as_nobody, ec, signed, tmp_path, what):
    public = shutil.copy(ec.public, tmp_path / "key.pub")
    done = as_nobody("verify", signed, "--key", public)
    assert done.returncode == 0, done.stderr
    (signed / what).chmod(0)
    done = as_nobody("verify", signed, "--key", public)
    (signed / what).chmod(0o755)
    assert done.returncode == 3, done.stderr
    assert b"Permission denied" in done.stderr and done.stdout == b""


def test_an_unreadable_folder_is_not_signed_around(as_nobody, model, keys, tmp_path):
    """The reference passes it over in silence, and signs a model without it."""
    pem = keys["python", "ec-p256"].private.read_bytes()
    private = support.write_private(tmp_path / "key.pem", pem)
    if os.geteuid() == 0:
        os.chown(private, 65534, 65534)
        os.chown(model, 65534, 65534)
    (model / "sub").chmod(0)
    done = as_nobody("sign", model, "--key", private)
    (model / "sub").chmod(0o755)
    assert done.returncode == 3 and b"sub" in done.stderr, done.stderr
    assert not (model / "model.sig").exists()


def test_one_verification_leaves_nothing_for_the_next(hallmark, ec, sign, tree):
    """Each is a run of its own; what one signature ignores, another model does not."""
    one = tree({"w": b"1", "cache/x": b""}, "one")
    two = tree({"w": b"2"}, "two")
    sign(one, "--ignore", "cache")
    sign(two)
    (two / "cache").mkdir()
    (two / "cache" / "evil.py").write_bytes(b"x")
    hallmark("verify", one, "--key", ec.public, expect=0)
    hallmark("verify", two, "--key", ec.public, expect=1)


def test_json_of_every_outcome_fits_the_schema(hallmark, ec, signed, tmp_path):
    outcomes = {
        "verified": (["verify", signed, "--key", ec.public], 0),
        "refused": (["verify", tmp_path, "--key", ec.public], 1),
        "usage": (["verify", signed, "--key", ec.public, "--ignore", ".."], 2),
        "undecided": (["verify", signed / "none", "--key", ec.public], 3),
        "signed": (["sign", signed, "--key", ec.private], 0),
        "digested": (["digest", signed, "--ignore", "model.sig"], 0),
        "unverified": (["inspect", signed / "model.sig"], 0),
    }
    for status, (command, code) in outcomes.items():
        report = hallmark(*command, "--json", expect=code).json()
        jsonschema.validate(report, SCHEMA)
        assert report["status"] == status
