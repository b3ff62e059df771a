# SPDX-License-Identifier: Apache-2.0
"""hallmark sign and digest: what is signed, where it goes, and what is not signed at all."""

import hashlib
import json
import os
import socket
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives import hashes

import oracle
import support

FILES = {
    "config.json": b"{}",
    "weights.bin": support.content("weights", 5000),
    "a/b": b"in a folder",
    "a-b/x": b"sorts before a/b",
    "a.txt": b"sorts between",
    "empty": b"",
    "name:0:8": b"looks like a shard",
    ".hidden": b"dot",
}
HASHES = ["sha256", "blake2b", "blake3"]


def statement_of(signature):
    return oracle.read_oms(signature.read_bytes())[0]


def model_digest(files, hash_name="sha256", shard_size=None):
    """By docs/formats.md, without the program's help."""
    head = ["hallmark-model-digest-v1", "files" if shard_size is None else "shards", hash_name]
    head += [] if shard_size is None else [str(shard_size)]
    text = b"".join(part.encode() + b"\0" for part in head)
    for name, data in sorted(files.items(), key=lambda item: item[0].encode()):
        step = shard_size or len(data) or 1
        for start in range(0, len(data) or 1, step):
            piece = data[start : start + step]
            digest = oracle.HASHES[hash_name](piece).hexdigest()
            text += f"{digest} {start} {start + len(piece)} {name}\0".encode()
    return hashlib.sha256(text).hexdigest()


# ---- digests ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shard_size", [None, 1, 7, 4999, 5000, 1_000_000])
@pytest.mark.parametrize("hash_name", HASHES)
def test_digests_against_other_implementations(hallmark, sign, ec, tree, hash_name, shard_size):
    folder = tree(FILES)
    options = ["--hash", hash_name]
    options += ["--shard-size", str(shard_size)] if shard_size else ["--files"]
    digest = hallmark("digest", folder, *options, "--json", expect=0).json()
    assert digest["model"]["model_digest"] == model_digest(FILES, hash_name, shard_size)
    listed = oracle.resources(FILES, hash_name, shard_size)
    assert digest["model"]["root_digest"] == oracle.root_digest(listed)
    assert digest["model"]["files"] == len(FILES)
    assert digest["model"]["bytes"] == sum(map(len, FILES.values()))
    report = sign(folder, *options, "--json").json()
    assert report["model"] == digest["model"]
    signed = (folder / "model.sig").read_bytes()
    oracle.verify_oms(signed, ec.python.public_key(), FILES)
    found = hallmark("verify", folder, "--key", ec.public, "--json", expect=0).json()
    assert found["model"] == digest["model"]


def test_default_shards(sign, tree):
    folder = tree(FILES)
    sign(folder, "--shards")
    how = statement_of(folder / "model.sig")["predicate"]["serialization"]
    assert (how["method"], how["shard_size"]) == ("shards", 64 << 20)


@pytest.mark.parametrize("size, count", [("1K", 1024), ("3M", 3 << 20), ("2G", 2 << 30)])
def test_units_of_shard_sizes(sign, tree, size, count):
    folder = tree(FILES)
    sign(folder, "--shard-size", size)
    assert statement_of(folder / "model.sig")["predicate"]["serialization"]["shard_size"] == count


def test_sorted_as_the_specification_has_it(sign, tree):
    folder = tree({"a/b": b"1", "a-b/x": b"2", "a.txt": b"3", "\u00e9": b"4", "z": b"5"})
    sign(folder)
    names = [r["name"] for r in statement_of(folder / "model.sig")["predicate"]["resources"]]
    assert names == ["a-b/x", "a.txt", "a/b", "z", "\u00e9"]


def test_shards_are_sorted_as_text(sign, tree):
    """11 shards: 100 comes before 20."""
    folder = tree({"w": bytes(110)})
    sign(folder, "--shard-size", "10")
    names = [r["name"] for r in statement_of(folder / "model.sig")["predicate"]["resources"]]
    assert names == sorted(names) and names.index("w:100:110") < names.index("w:20:30")


def test_the_number_of_threads_changes_nothing(hallmark, tree):
    folder = tree({f"f{i}": support.content(i, i * 997) for i in range(60)})
    found = {hallmark("digest", folder, "--jobs", str(n), "--json", expect=0).json()["model"]
             ["model_digest"] for n in (0, 1, 2, 7, 64)}  # fmt: skip
    assert len(found) == 1


def test_digest_lists_every_entry(hallmark, tree):
    files = {f"file {i:03}": b"x" * i for i in range(120)}
    folder = tree(files)
    short = hallmark("digest", folder, expect=0).out
    long = hallmark("digest", folder, "--list", expect=0).out
    assert "100 more" in short and short.count("file ") < 30
    for name, data in files.items():
        assert f"{hashlib.sha256(data).hexdigest()}  {name}\n" in long


def test_the_model_digest_tells_models_apart_that_share_a_root_digest(hallmark, tree):
    one = tree({"a": b"1", "b": b"2"}, "one")
    two = tree({"config.json": b"1", "weights.bin": b"2"}, "two")
    a, b = (hallmark("digest", f, "--json", expect=0).json()["model"] for f in (one, two))
    assert a["root_digest"] == b["root_digest"]
    assert a["model_digest"] != b["model_digest"]


def test_a_file_and_its_folder(hallmark, tree):
    folder = tree({"weights.bin": b"w"})
    a = hallmark("digest", folder / "weights.bin", "--json", expect=0).json()["model"]
    b = hallmark("digest", folder, "--json", expect=0).json()["model"]
    assert a["model_digest"] == b["model_digest"] == model_digest({"weights.bin": b"w"})


# ---- where it goes ------------------------------------------------------------------------------


def test_default_places(hallmark, ec, rsa, tree, metadata_file, tmp_path):
    folder = tree(FILES)
    weights = folder / "weights.bin"
    for model, key, options, place in [
        (folder, ec, [], "model.sig"),
        (str(folder) + "/", ec, [], "model.sig"),
        (weights, ec, [], "weights.bin.sig"),
        (weights, rsa, ["--format", "sig-json", "--metadata", metadata_file], "weights.bin.sig"),
        (weights, rsa, ["--format", "manifest-json"], "weights.manifest.json"),
    ]:
        before = support.snapshot(tmp_path).keys()
        result = hallmark("sign", model, "--key", key.private, *options, "--json", expect=0)
        assert result.json()["signature"]["path"] == str(folder / place)
        after = support.snapshot(tmp_path).keys()
        assert after - before == {str((folder / place).relative_to(tmp_path))}
        (folder / place).unlink()


@pytest.mark.parametrize("name, place", [
    ("model.tar.gz", "model.tar.manifest.json"),
    ("model", "model.manifest.json"),
    (".model", ".model.manifest.json"),
    ("detector-v1.2", "detector-v1.manifest.json"),
    ("dot.", "dot..manifest.json"),
])  # fmt: skip
def test_default_places_of_manifests(hallmark, rsa, tmp_path, name, place):
    (tmp_path / name).write_bytes(b"x")
    hallmark("sign", name, "--key", rsa.private, "--format", "manifest-json", cwd=tmp_path,
             expect=0)  # fmt: skip
    assert support.snapshot(tmp_path).keys() == {name, place}


def test_in_the_folder_itself(hallmark, ec, tree):
    folder = tree(FILES)
    hallmark("sign", ".", "--key", ec.private, cwd=folder, expect=0)
    assert statement_of(folder / "model.sig")["subject"][0]["name"] == "tree"
    hallmark("verify", ".", "--key", ec.public, cwd=folder, expect=0)


def test_a_signature_elsewhere(sign, verify, tree, tmp_path):
    folder = tree(FILES)
    sign(folder, "--signature", tmp_path / "s.json")
    assert not (folder / "model.sig").exists()
    report = verify(folder, "--signature", tmp_path / "s.json")
    assert report["ignored"] == []


def test_signing_again_replaces_the_signature(sign, verify, tree):
    folder = tree(FILES)
    sign(folder)
    first = (folder / "model.sig").read_bytes()
    (folder / "config.json").write_bytes(b"[]")
    sign(folder)
    assert (folder / "model.sig").read_bytes() != first
    verify(folder)


def test_the_signature_file_obeys_the_umask(hallmark, ec, tree):
    folder = tree(FILES)
    old = os.umask(0o027)
    try:
        hallmark("sign", folder, "--key", ec.private, expect=0)
    finally:
        os.umask(old)
    assert (folder / "model.sig").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("place", ["weights.bin", "a", ".", "", "missing/model.sig"])
def test_places_that_are_not_written_to(sign, tree, place):
    folder = tree(FILES)
    before = support.snapshot(folder)
    model = folder / "weights.bin"
    signature = f"{folder}/{place}" if place else ""
    result = sign(model, "--signature", signature, expect=(2, 3))
    assert result.err.startswith("hallmark: ")
    assert support.snapshot(folder) == before


def test_a_manifest_of_another_file_is_not_destroyed(hallmark, rsa, tmp_path):
    for name in ("weights.bin", "weights.pt"):
        (tmp_path / name).write_bytes(name.encode())
    command = ["--key", rsa.private, "--format", "manifest-json"]
    hallmark("sign", tmp_path / "weights.bin", *command, expect=0)
    before = support.snapshot(tmp_path)
    result = hallmark("sign", tmp_path / "weights.pt", *command, expect=2)
    assert "--signature" in result.err
    assert support.snapshot(tmp_path) == before
    hallmark("sign", tmp_path / "weights.bin", *command, expect=0)


def test_a_file_that_is_no_manifest_is_not_written_over(hallmark, rsa, tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"w")
    (tmp_path / "weights.manifest.json").write_text("my notes")
    result = hallmark("sign", tmp_path / "weights.bin", "--key", rsa.private, "--format",
                      "manifest-json", expect=2)  # fmt: skip
    assert "not written over" in result.err
    assert (tmp_path / "weights.manifest.json").read_text() == "my notes"


# ---- options that do not fit --------------------------------------------------------------------

WRONG = [
    (["--format", "nonsense"], "oms, sig-json, manifest-json"),
    (["--hash", "md5"], "sha256, blake2b or blake3"),
    (["--hash", "SHA256"], "sha256, blake2b or blake3"),
    (["--shard-size", "0"], "at least 1"),
    (["--shard-size", "-1"], "a number"),
    (["--shard-size", "1.5"], "a number"),
    (["--shard-size", "1k"], "a number"),
    (["--shard-size", "18446744073709551616"], "a number"),
    (["--shard-size", "99999999999G"], "a number"),
    (["--shard-size", "9007199254740993"], "2^53"),
    (["--shards-signature", "x"], "both"),
    (["--files", "--shards-signature", "x"], "both"),
    (["--shards", "--shards-signature", "x"], "both"),
    (["--files", "--shards", "--shard-size", "8"], "only one of"),
    (["--shards", "--shard-size", "8"], "only one of"),
    (["--jobs", "5000"], "4096"),
    (["--jobs", "two"], "a number"),
    (["--key-version", "0"], "at least 1"),
    (["--key-version", "1"], "sig-json or manifest-json"),
    (["--signer-id", "me"], "sig-json or manifest-json"),
    (["--chain", "x.crt"], "--cert"),
    (["--ignore", ""], "relative to the model"),
    (["--ignore", "."], "relative to the model"),
    (["--ignore", "../x"], "relative to the model"),
    (["--ignore", "/etc"], "relative to the model"),
    (["--ignore", "a/./b"], "relative to the model"),
    (["--hash", "sha256", "--hash", "blake3"], "given twice"),
    (["--json=yes"], "takes no value"),
    (["--key"], "wants KEY"),
]


@pytest.mark.parametrize("options, said", WRONG)
def test_wrong_options(sign, tree, options, said):
    folder = tree(FILES)
    result = sign(folder, *options, expect=2)
    assert said in result.err
    assert not (folder / "model.sig").exists()


OMS_ONLY = [
    (["--hash", "blake3"], "sha256"),
    (["--shards"], "whole files"),
    (["--shard-size", "8"], "whole files"),
    (["--files", "--shards"], "whole files"),
    (["--ignore", "x"], "single files"),
    (["--include-git"], "single files"),
    (["--follow-symlinks"], "single files"),
    (["--name-dot"], "single files"),
]


@pytest.mark.parametrize("format_name", ["sig-json", "manifest-json"])
@pytest.mark.parametrize("options, said", OMS_ONLY)
def test_options_of_oms_with_other_formats(hallmark, rsa, model_file, metadata_file, format_name,
                                           options, said):  # fmt: skip
    options = [*options, "--metadata", metadata_file] if format_name == "sig-json" else options
    result = hallmark("sign", model_file, "--key", rsa.private, "--format", format_name, *options,
                      expect=2)  # fmt: skip
    assert said in result.err


@pytest.mark.parametrize("format_name", ["sig-json", "manifest-json"])
def test_certificates_with_other_formats(hallmark, pki, model_file, metadata_file, format_name):
    leaf = pki.leaf("rsa", "rsa-2048")
    options = ["--metadata", metadata_file] if format_name == "sig-json" else []
    result = hallmark("sign", model_file, "--key", leaf.key.private, "--cert", leaf.path,
                      "--format", format_name, *options, expect=2)  # fmt: skip
    assert "certificate" in result.err


def test_metadata_of_one_format_with_another(hallmark, rsa, model_file, metadata_file):
    result = hallmark("sign", model_file, "--key", rsa.private, "--format", "manifest-json",
                      "--metadata", metadata_file, expect=2)  # fmt: skip
    assert "sig-json" in result.err


@pytest.mark.parametrize("format_name", ["sig-json", "manifest-json"])
def test_directories_in_other_formats(hallmark, rsa, model_dir, metadata_file, format_name):
    options = ["--metadata", metadata_file] if format_name == "sig-json" else []
    result = hallmark("sign", model_dir, "--key", rsa.private, "--format", format_name, *options,
                      expect=2)  # fmt: skip
    assert "--format oms" in result.err


def test_several_models(hallmark, ec, rsa, model_file, model_dir, metadata_file, tmp_path):
    result = hallmark("sign", model_file, model_dir, "--key", ec.private, expect=2)
    assert "manifest-json" in result.err
    result = hallmark("sign", model_file, model_file, "--key", rsa.private, "--format",
                      "sig-json", "--metadata", metadata_file, expect=2)  # fmt: skip
    assert "one model" in result.err
    (tmp_path / "b.bin").write_bytes(b"b")
    result = hallmark("sign", model_file, tmp_path / "b.bin", "--key", rsa.private, "--format",
                      "manifest-json", expect=2)  # fmt: skip
    assert "name one" in result.err
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "b.bin").write_bytes(b"b")
    result = hallmark("sign", tmp_path / "b.bin", tmp_path / "x" / "b.bin", "--key", rsa.private,
                      "--format", "manifest-json", "--signature", tmp_path / "m.json",
                      expect=2)  # fmt: skip
    assert "b.bin" in result.err and not (tmp_path / "m.json").exists()


def test_no_key_and_no_model(hallmark, ec, model_file):
    assert "--key" in hallmark("sign", model_file, expect=2).err
    assert "model" in hallmark("sign", "--key", ec.private, expect=2).err


def test_options_end_at_two_dashes(hallmark, ec, tmp_path):
    (tmp_path / "--key").write_bytes(b"x")
    hallmark("sign", "--key", ec.private, "--", "--key", cwd=tmp_path, expect=0)
    assert (tmp_path / "--key.sig").exists()


# ---- the JSON formats ---------------------------------------------------------------------------


def test_sig_json(hallmark, rsa, model_file, metadata_file):
    hallmark("sign", model_file, "--key", rsa.private, "--format", "sig-json", "--metadata",
             metadata_file, "--signer-id", "ci \u00fc", env={"HALLMARK_TIME": 1800000000},
             expect=0)  # fmt: skip
    text = (model_file.parent / (model_file.name + ".sig")).read_bytes()
    manifest = oracle.verify_sig_json(text, rsa.python.public_key(), model_file)
    assert list(manifest) == ["model_path", "model_hash", "training_metadata",
                              "signature_timestamp", "signer_id"]  # fmt: skip
    assert manifest["training_metadata"] == support.METADATA
    assert manifest["signer_id"] == "ci \u00fc"
    assert manifest["model_path"] == str(model_file)
    assert manifest["signature_timestamp"] == "2027-01-15T08:00:00+00:00"
    assert text.startswith(b'{\n  "manifest": {\n    "model_path"') and not text.endswith(b"\n")


def test_more_metadata_is_kept(hallmark, rsa, model_file, tmp_path):
    metadata = dict(support.METADATA, more={"deep": [1, 2.5, None, True, "\u00fc\U0001f600"]},
                    big=10**40, tiny=5e-324)  # fmt: skip
    (tmp_path / "m.json").write_text(json.dumps(metadata))
    hallmark("sign", model_file, "--key", rsa.private, "--format", "sig-json", "--metadata",
             tmp_path / "m.json", expect=0)  # fmt: skip
    text = (tmp_path / (model_file.name + ".sig")).read_bytes()
    manifest = oracle.verify_sig_json(text, rsa.python.public_key(), model_file)
    assert manifest["training_metadata"] == metadata


BAD_METADATA = {
    "nothing": (b"", "training metadata"),
    "a list": (b"[]", "array"),
    "no JSON": (b"learning_rate: 1e-5", "byte 0"),
    "no fields": (b"{}", "dataset_hash"),
    "a field is missing": (json.dumps({k: v for k, v in support.METADATA.items()
                                       if k != "framework_version"}).encode(), "framework_version"),
    "twice": (b'{"dataset_hash": "a", "dataset_hash": "b"}', "twice"),
    "NaN": (json.dumps(dict(support.METADATA, x=float("nan"))).encode(), "byte"),
    "infinity": (json.dumps(support.METADATA).replace("3", "1e999").encode(), "range"),
    "bad UTF-8": (json.dumps(support.METADATA).encode()[:-1] + b', "x": "\xff"}', "UTF-8"),
    "a NUL": (json.dumps(support.METADATA).encode() + b"\0", "not text"),
    "too deep": (b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}", "deep"),
}  # fmt: skip


@pytest.mark.parametrize("which", BAD_METADATA)
def test_metadata_that_is_not_signed(hallmark, rsa, model_file, tmp_path, which):
    data, said = BAD_METADATA[which]
    (tmp_path / "m.json").write_bytes(data)
    result = hallmark("sign", model_file, "--key", rsa.private, "--format", "sig-json",
                      "--metadata", tmp_path / "m.json", expect=(2, 3))  # fmt: skip
    assert said in result.err, result
    assert not (tmp_path / (model_file.name + ".sig")).exists()


def test_metadata_that_is_not_there(hallmark, rsa, model_file, tmp_path):
    result = hallmark("sign", model_file, "--key", rsa.private, "--format", "sig-json", expect=2)
    assert "--metadata" in result.err
    result = hallmark("sign", model_file, "--key", rsa.private, "--format", "sig-json",
                      "--metadata", tmp_path / "none", expect=(2, 3))  # fmt: skip
    assert str(tmp_path / "none") in result.err


def test_manifest_json(hallmark, rsa, model_file):
    hallmark("sign", model_file, "--key", rsa.private, "--format", "manifest-json", "--signer-id",
             "team", "--key-version", "7", expect=0)  # fmt: skip
    manifest = json.loads((model_file.with_suffix(".manifest.json")).read_text())
    oracle.verify_manifest_json(manifest, rsa.python.public_key(), model_file.parent)
    assert list(manifest) == ["model_file", "sha256", "signature", "signer", "signed_at",
                              "algorithm", "key_size", "key_version"]  # fmt: skip
    assert (manifest["signer"], manifest["key_version"]) == ("team", 7)


def test_manifest_json_of_several(hallmark, rsa, tmp_path):
    names = ["b.bin", "a.bin", "c.bin"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    hallmark("sign", *names, "--key", rsa.private, "--format", "manifest-json", "--signature",
             "all.json", cwd=tmp_path, expect=0)  # fmt: skip
    text = (tmp_path / "all.json").read_text()
    assert oracle.verify_bundle_manifest(text, rsa.python.public_key(), tmp_path) == names
    result = hallmark("verify", tmp_path, "--signature", tmp_path / "all.json", "--key",
                      rsa.public, expect=0)  # fmt: skip
    assert "does not say that these files belong together" in result.out


# ---- keys and certificates ----------------------------------------------------------------------


@pytest.mark.parametrize("key_type", ["rsa-3072", "ed25519"])
def test_extensions_of_oms_are_told_of(hallmark, keys, model_file, key_type):
    key = keys["python", key_type]
    result = hallmark("sign", model_file, "--key", key.private, expect=0)
    assert "other tools may not read" in result.out
    result = hallmark("verify", model_file, "--key", key.public, "--json", expect=0)
    _, payload, signature, _ = oracle.read_oms(
        (model_file.parent / (model_file.name + ".sig")).read_bytes()
    )
    if key_type == "ed25519":
        key.python.public_key().verify(signature, oracle.pae(payload))
    else:
        scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        key.python.public_key().verify(signature, oracle.pae(payload), scheme, hashes.SHA256())


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "ec-p521"])
def test_curves_of_oms(hallmark, keys, model_file, key_type):
    key = keys["python", key_type]
    result = hallmark("sign", model_file, "--key", key.private, expect=0)
    assert "other tools" not in result.out
    text = (model_file.parent / (model_file.name + ".sig")).read_bytes()
    files = {model_file.name: model_file.read_bytes()}
    oracle.verify_oms(text, key.python.public_key(), files)
    r, s = utils.decode_dss_signature(oracle.read_oms(text)[2])
    assert r > 0 and s > 0


def test_certificate(hallmark, pki, model_file):
    leaf = pki.leaf("signer", "ec-p384")
    hallmark("sign", model_file, "--key", leaf.key.private, "--cert", leaf.path, "--chain",
             pki.intermediate.path, "--chain", pki.root.path, expect=0)  # fmt: skip
    material = oracle.read_oms(
        (model_file.parent / (model_file.name + ".sig")).read_bytes()
    )[3]
    assert material == oracle.chain_material([leaf.x509, pki.intermediate.x509])


def test_certificate_of_another_key(hallmark, ec, pki, model_file):
    result = hallmark("sign", model_file, "--key", ec.private, "--cert", pki.leaf("a").path,
                      expect=2)  # fmt: skip
    assert "another key" in result.err


def test_certificate_with_a_key_that_is_not_ec(hallmark, pki, model_file):
    leaf = pki.leaf("rsa-leaf", "rsa-2048")
    result = hallmark("sign", model_file, "--key", leaf.key.private, "--cert", leaf.path, expect=2)
    assert "certificate" in result.err


# ---- what is signed -----------------------------------------------------------------------------


def names_in(signature):
    return {r["name"] for r in statement_of(signature)["predicate"]["resources"]}


def test_git_is_left_out_at_the_top_only(sign, verify, tree):
    folder = tree({".git/config": b"", ".gitignore": b"", ".gitattributes": b"", ".github/x": b"",
                   ".gitmodules": b"", "sub/.git/config": b"", "w": b""})  # fmt: skip
    report = sign(folder, "--json").json()
    assert names_in(folder / "model.sig") == {".gitmodules", "sub/.git/config", "w"}
    assert {i["path"]: i["by"] for i in report["ignored"]} == {
        ".git": "format-default", ".gitignore": "format-default",
        ".gitattributes": "format-default", ".github": "format-default"}  # fmt: skip
    verify(folder)


def test_include_git(sign, verify, tree):
    folder = tree({".git/config": b"", ".gitignore": b"", "w": b""})
    sign(folder, "--include-git")
    assert names_in(folder / "model.sig") == {".git/config", ".gitignore", "w"}
    verify(folder)
    (folder / ".git" / "config").write_bytes(b"changed")
    assert verify(folder, expect=1)["reason"] == "digest-mismatch"


def test_ignored_paths(sign, verify, tree):
    folder = tree({"cache/x": b"", "cachex": b"", "sub/cache/x": b"", "log": b"", "*": b"",
                   "w": b""})  # fmt: skip
    sign(folder, "--ignore", "cache/", "--ignore", "log", "--ignore", "*", "--ignore", "none")
    assert names_in(folder / "model.sig") == {"cachex", "sub/cache/x", "w"}
    how = statement_of(folder / "model.sig")["predicate"]["serialization"]
    assert set(how["ignore_paths"]) >= {"cache", "log", "*", "none", "model.sig"}
    (folder / "cache" / "new").write_bytes(b"anything")
    report = verify(folder)
    assert {"path": "cache", "by": "signed"} in report["ignored"]


def symlinks(folder):
    (folder / "to-file").symlink_to("w")
    (folder / "sub").mkdir()
    (folder / "sub" / "up").symlink_to("../w")


def test_symlinks_are_refused(sign, tree):
    folder = tree({"w": b"w"})
    symlinks(folder)
    result = sign(folder, expect=1)
    assert "symbolic link" in result.err and "--follow-symlinks" in result.err
    assert "unsupported" in result.err
    assert not (folder / "model.sig").exists()


def test_symlinks_are_followed_when_asked(hallmark, sign, verify, ec, tree):
    folder = tree({"w": b"w"})
    symlinks(folder)
    sign(folder, "--follow-symlinks")
    assert names_in(folder / "model.sig") == {"sub/up", "to-file", "w"}
    result = hallmark("verify", folder, "--key", ec.public, expect=1)
    assert "--allow-symlinks" in result.err and "unsupported" in result.err
    verify(folder, "--allow-symlinks")
    (folder / "w").write_bytes(b"W")
    names = {f["name"] for f in verify(folder, "--allow-symlinks", expect=1)["findings"]}
    assert names == {"sub/up", "to-file", "w"}


@pytest.mark.parametrize("target, said", [
    ("../outside", "outside the model"),
    ("/etc/passwd", "outside the model"),
    ("nowhere", "leads nowhere"),
    ("link", "in a circle"),
    ("sub", "to a directory"),
    (".", "to a directory"),
])  # fmt: skip
def test_symlinks_that_are_never_followed(sign, tree, target, said):
    folder = tree({"w": b"w", "sub/x": b"x"})
    (folder.parent / "outside").write_bytes(b"secret")
    (folder / "link").symlink_to(target)
    for options in ([], ["--follow-symlinks"]):
        result = sign(folder, *options, expect=1)
        assert "link" in result.err
    assert said in result.err
    sign(folder, "--ignore", "link")


def test_the_model_itself_is_a_symlink(sign, tree, tmp_path):
    folder = tree({"w": b"w"})
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "filelink").symlink_to(folder / "w")
    assert "trailing slash" in sign(tmp_path / "link", expect=1).err
    sign(tmp_path / "filelink", expect=1)
    sign(str(tmp_path / "link") + "/")
    assert (folder / "model.sig").exists()


@pytest.mark.parametrize("which", ["named pipe", "socket", "character device"])
def test_special_files_are_refused(hallmark, sign, tree, monkeypatch, which):
    folder = tree({"w": b"w"})
    monkeypatch.chdir(folder)  # a socket's path may not be long
    if which == "named pipe":
        os.mkfifo("special")
    elif which == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("special")
    elif os.geteuid() == 0:
        os.mknod("special", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    else:
        pytest.skip("making a device takes root")
    for result in (sign(folder, expect=1, timeout=10),
                   hallmark("digest", folder, expect=1, timeout=10)):  # fmt: skip
        assert f"special in {folder} is a {which}" in result.err
        assert "--ignore" in result.err and "unsupported" in result.err
    sign(folder, "--ignore", "special")
    result = sign(folder / "special", expect=1, timeout=10)
    assert "neither a file nor a directory" in result.err


@pytest.mark.parametrize("name", [b"caf\xe9", b"sub/\xff", b"\xed\xa0\x80"])
def test_names_that_are_not_utf8(sign, tree, name):
    folder = tree({name: b"", "w": b"w"})
    result = sign(folder, expect=1)
    assert "UTF-8" in result.err and "unsupported" in result.err
    assert result.stderr.decode("utf-8"), "the message itself is UTF-8"


def test_models_without_content(sign, tree, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no file to sign" in sign(tmp_path / "empty", expect=1).err
    (tmp_path / "empty" / "folder").mkdir()
    sign(tmp_path / "empty", expect=1)
    only_git = tree({".git/x": b"x"}, "git")
    sign(only_git, expect=1)
    empty_files = tree({"a": b"", "b": b""}, "files")
    assert "no byte to sign" in sign(empty_files, "--shards", expect=1).err
    sign(empty_files)


def test_a_model_that_is_not_there(sign, tmp_path):
    result = sign(tmp_path / "none", expect=3)
    assert str(tmp_path / "none") in result.err
    sign("", expect=2)


def test_too_many_shards(hallmark, sign, tmp_path):
    """2^40 pieces would be more memory than there is; the command says so instead of trying."""
    with open(tmp_path / "sparse", "wb") as out:
        out.truncate(1 << 40)
    result = sign(tmp_path / "sparse", "--shard-size", "1", expect=2, timeout=10)
    assert "pieces" in result.err
    hallmark("digest", tmp_path / "sparse", "--shard-size", "1", expect=2, timeout=10)


# ---- the report ---------------------------------------------------------------------------------


def test_report_for_people(sign, ec, tree):
    folder = tree(FILES)
    text = sign(folder, "--hash", "blake3").out
    assert text.startswith(f"signed: {folder}\n")
    for part in [ec.fingerprint, "ec-p256", str(folder / "model.sig"), "8 files", "blake3",
                 model_digest(FILES, "blake3"), "weights.bin"]:  # fmt: skip
        assert part in text
    assert "\x1b" not in text, "no colours when it is not a terminal"


def test_report_for_programs(sign, ec, tree):
    folder = tree(FILES)
    report = sign(folder, "--json", env={"HALLMARK_TIME": 1800000000}).json()
    assert report["schema"] == "hallmark-report-v1"
    assert (report["operation"], report["status"], report["reason"]) == ("sign", "signed", None)
    assert report["time"] == "2027-01-15T08:00:00Z"
    assert report["signer"]["key_fingerprint"] == ec.fingerprint
    assert [e["name"] for e in report["entries"]] == sorted(FILES, key=str.encode)
    assert report["findings"] == report["claimed"] == []
    failed = sign(folder / "none", "--json", expect=3).json()
    assert (failed["operation"], failed["status"]) == ("sign", "undecided")
    assert failed["message"] and failed["entries"] == []


def test_a_clock_that_makes_no_sense(sign, tree):
    folder = tree(FILES)
    result = sign(folder, env={"HALLMARK_TIME": "tomorrow"}, expect=3)
    assert "clock" in result.err and not (folder / "model.sig").exists()


def test_inspect_marks_all_as_unverified(hallmark, sign, rsa, tree, metadata_file):
    folder = tree(FILES)
    sign(folder, "--ignore", "a")
    result = hallmark("inspect", folder / "model.sig", expect=0)
    assert result.out.startswith("unverified: ") and "nothing below has been verified" in result.out
    assert "listed, unverified" in result.out and "verified:\n" not in result.out.replace(
        "unverified:", "")  # fmt: skip
    report = hallmark("inspect", folder / "model.sig", "--json", expect=0).json()
    assert (report["status"], report["signer"]) == ("unverified", None)
    assert report["signature"]["format"] == "oms"
    assert {e["name"] for e in report["entries"]} == FILES.keys() - {"a/b"}
    hallmark("sign", folder / "weights.bin", "--key", rsa.private, "--format", "sig-json",
             "--metadata", metadata_file, expect=0)  # fmt: skip
    report = hallmark("inspect", folder / "weights.bin.sig", "--json", expect=0).json()
    assert report["signature"]["format"] == "sig-json"
    stated = {s["name"]: s["value"] for s in report["stated"]}
    assert stated["training_metadata.framework_version"] == support.METADATA["framework_version"]


def test_inspect_shows_certificates(hallmark, pki, model_file):
    leaf = pki.leaf("inspected")
    hallmark("sign", model_file, "--key", leaf.key.private, "--cert", leaf.path, expect=0)
    result = hallmark("inspect", model_file.parent / (model_file.name + ".sig"), expect=0)
    assert "CN=inspected" in result.out and "claimed, unverified" in result.out


def test_inspect_of_what_is_no_signature(hallmark, model_file, tmp_path):
    result = hallmark("inspect", model_file, expect=1)
    assert "malformed" in result.err
    hallmark("inspect", tmp_path / "none", expect=3)
    hallmark("inspect", tmp_path, expect=3)
    assert "signature" in hallmark("inspect", expect=2).err
