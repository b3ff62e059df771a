# SPDX-License-Identifier: Apache-2.0
"""Ways that reviewers tried to lose a file, to hide one, or to make the program wait."""

import fcntl
import json
import os
import shutil
import subprocess

from cryptography import x509

import support


def test_an_oci_manifest_is_no_signature(hallmark, sign, ec, tree):
    """It has a mediaType, like a bundle."""
    manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.v1+json"})
    model = tree({"oci.json": manifest.encode(), "w": b"x"})
    sign(model, "--signature", model / "oci.json", expect=support.USAGE)
    sign(model / "oci.json", "--signature", model / "oci.json", expect=support.USAGE)
    assert (model / "oci.json").read_text() == manifest


def test_an_empty_file_is_not_written_over(sign, tree):
    model = tree({"__init__.py": b"", "w": b"x"})
    sign(model, "--signature", model / "__init__.py", expect=support.USAGE)
    assert not (model / "__init__.py").read_bytes()


def test_a_link_is_not_written_over(sign, tree, tmp_path):
    model = tree({"w": b"x"})
    (tmp_path / "link.sig").symlink_to(model / "w")
    sign(model, "--signature", tmp_path / "link.sig", expect=support.USAGE)
    assert (tmp_path / "link.sig").is_symlink() and (model / "w").read_bytes() == b"x"


def test_a_bundle_keeps_every_signature_it_has(hallmark, rsa, tree):
    model = tree({"a": b"a", "b": b"b", "c": b"c"})
    bundle = model / "bundle.json"
    how = ["--key", rsa.private, "--format", "manifest-json", "--signature", bundle]
    files = [model / name for name in "abc"]
    hallmark("sign", *files, *how, expect=support.OK)
    before = bundle.read_bytes()
    hallmark("sign", files[0], *how, expect=support.USAGE)
    hallmark("sign", *files[:2], *how, expect=support.USAGE)
    assert bundle.read_bytes() == before
    hallmark("sign", *files, *how, expect=support.OK)


def test_what_is_added_to_a_signed_git_folder_is_seen(sign, verify, tree):
    model = tree({"w": b"x", ".git/config": b"[core]\n"})
    sign(model, "--include-git")
    assert verify(model)["status"] == "verified"
    (model / ".git" / "hooks").mkdir()
    (model / ".git" / "hooks" / "post-checkout").write_text("#!/bin/sh\n")
    for options in ([], ["--strict-paths"], ["--include-git"]):
        report = verify(model, *options, expect=support.REFUSED)
        assert [f["name"] for f in report["findings"]] == [".git/hooks/post-checkout"]


def test_git_is_looked_at_on_demand(sign, verify, tree):
    model = tree({"w": b"x"})
    sign(model)
    (model / ".git").mkdir()
    (model / ".git" / "config").write_text("x")
    assert verify(model)["status"] == "verified"
    options = ["--include-git", "--strict-paths"]
    assert verify(model, *options, expect=support.REFUSED)["reason"] == "extra-file"


def test_a_signed_empty_file_is_missed_with_ignore_unsigned_too(sign, verify, tree):
    model = tree({"w": b"weights", "empty": b""})
    sign(model, "--shard-size", "4")
    (model / "extra.txt").write_text("unsigned")
    assert verify(model, "--ignore-unsigned")["status"] == "verified"
    (model / "empty").unlink()
    assert verify(model, "--ignore-unsigned", expect=support.REFUSED)["reason"] == "digest-mismatch"


def test_a_sharded_file_verifies_under_another_name(sign, verify, tree, tmp_path):
    model = tree({"one.bin": b"0123456789"})
    sign(model / "one.bin", "--shard-size", "4")
    shutil.copy(model / "one.bin", model / "two.bin")
    signature = ["--signature", model / "one.bin.sig"]
    assert verify(model / "two.bin", *signature, expect=support.REFUSED)["findings"]
    assert verify(model / "two.bin", *signature, "--name", "one.bin")["status"] == "verified"


def test_a_link_to_an_empty_file_verifies(sign, verify, tree):
    model = tree({"w": b"weights", "empty": b""})
    (model / "link").symlink_to("empty")
    sign(model, "--shard-size", "4", "--follow-symlinks")
    report = verify(model, "--allow-symlinks")
    assert report["status"] == "verified"
    assert any("symbolic links" in warning for warning in report["warnings"])


def test_a_name_is_demanded_or_refused(sign, verify, tree):
    model = tree({"w": b"x"})
    sign(model / "w", "--name-dot")
    assert verify(model / "w", "--name", "other", expect=support.REFUSED)["reason"] == "missing-file"
    (model / "w.sig").unlink()
    sign(model)
    verify(model, "--name", "other", expect=support.USAGE)


def test_a_number_is_shown_as_it_was_signed(hallmark, rsa, metadata_file, model_file):
    how = ["--key", rsa.private, "--format", "sig-json", "--metadata", metadata_file]
    hallmark("sign", model_file, *how, expect=support.OK)
    signature = model_file.with_name(model_file.name + ".sig")
    text = signature.read_text()
    assert text.count("1e-05") == 1
    signature.write_text(text.replace("1e-05", "0.0000100000000000000000000001"))
    result = hallmark("verify", model_file, "--key", rsa.public, expect=support.OK)
    assert "1e-05" in result.out and "0.00001000" not in result.out


def test_a_lock_held_for_ever_stops_nobody(hallmark, tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        hallmark("key", "generate", "--no-passphrase", tmp_path / "k.pem", expect=support.OK)
    finally:
        os.close(folder)


def test_a_very_deep_tree_is_refused_soon(hallmark, sign, verify, tmp_path):
    model = tmp_path / "deep"
    model.mkdir()
    (model / "w").write_text("x")
    sign(model)
    folder = os.open(model, os.O_RDONLY)
    for _ in range(6000):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    try:
        report = verify(model, expect=support.REFUSED, timeout=60)
        assert report["reason"] == "unsupported"
    finally:
        subprocess.run(["rm", "-rf", str(model)], check=True)


def test_an_unreadable_key_has_a_json_report(hallmark, tree):
    model = tree({"w": b"x"})
    result = hallmark("sign", model, "--key", model / "no.pem", "--json")
    assert result.rc == support.UNDECIDED and result.json()["status"] == "undecided"


def test_more_certificates_than_verifiers_take_are_not_signed(hallmark, pki, tree):
    model = tree({"w": b"x"})
    leaf = pki.leaf("crowded")
    others = [pki.issue(f"bystander-{i}", pki.root, ca=True) for i in range(15)]
    how = ["--key", leaf.key.private, "--cert", leaf.path, "--chain", pki.intermediate.path]
    chain = [word for other in others for word in ("--chain", other.path)]
    hallmark("sign", model, *how, *chain[:-2], expect=support.OK)
    hallmark("verify", model, "--root", pki.root.path, expect=support.OK)
    hallmark("sign", model, *how, *chain, expect=support.USAGE)
    hallmark("verify", model, "--root", pki.root.path, expect=support.OK)


def test_an_identity_is_of_its_kind(hallmark, pki, tree):
    """A DNS name that looks like an address is none."""
    model = tree({"w": b"x"})
    leaf = pki.leaf("posing", san=[x509.DNSName("ci@acme.example")])
    hallmark("sign", model, "--key", leaf.key.private, "--cert", leaf.path, "--chain",
             pki.intermediate.path, expect=support.OK)  # fmt: skip
    root = ["--root", pki.root.path]
    hallmark("verify", model, *root, "--identity-san", "ci@acme.example", expect=support.REFUSED)
    hallmark("verify", model, *root, "--identity-san", "DNS:ci@acme.example", expect=support.OK)
