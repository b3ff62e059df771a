# SPDX-License-Identifier: Apache-2.0
"""The main job, once through for each format: key, sign, verify, a changed byte, a refusal."""

import pytest

import support

pytestmark = pytest.mark.smoke

FORMATS = {"oms": "ec-p256", "sig-json": "rsa-3072", "manifest-json": "rsa-3072"}


def sign(hallmark, model, key, format_name, metadata, *more):
    options = ["--metadata", metadata] if format_name == "sig-json" else []
    hallmark("sign", model, "--key", key.private, "--format", format_name, *options, *more, expect=0)


def test_key_sign_verify_change_refuse(hallmark, tmp_path, model_dir):
    key = tmp_path / "signer.pem"
    hallmark("key", "generate", "--no-passphrase", key, expect=support.OK)
    hallmark("sign", model_dir, "--key", key, expect=support.OK)
    hallmark("verify", model_dir, "--key", key.with_suffix(".pub"), expect=support.OK)
    support.flip(model_dir / "model.safetensors", 12345)
    result = hallmark("verify", model_dir, "--key", key.with_suffix(".pub"), expect=support.REFUSED)
    assert "digest-mismatch" in result.out + result.err
    assert "model.safetensors" in result.out + result.err


@pytest.mark.parametrize("format_name", FORMATS)
def test_one_file_in_each_format(hallmark, keys, model_file, metadata_file, format_name):
    key = keys["openssl", FORMATS[format_name]]
    sign(hallmark, model_file, key, format_name, metadata_file)
    hallmark("verify", model_file, "--key", key.public, expect=support.OK)
    support.flip(model_file, 0)
    hallmark("verify", model_file, "--key", key.public, expect=support.REFUSED)
    support.flip(model_file, 0)
    other = keys["openssl", FORMATS[format_name], "other"]
    hallmark("verify", model_file, "--key", other.public, expect=support.REFUSED)


def test_json_report(hallmark, keys, model_dir):
    key = keys["openssl", "ec-p256"]
    sign(hallmark, model_dir, key, "oms", None, "--json")
    result = hallmark("verify", model_dir, "--key", key.public, "--json", expect=support.OK)
    assert isinstance(result.json(), dict)


def test_certificate(hallmark, pki, model_dir):
    leaf = pki.leaf("smoke")
    hallmark(
        "sign", model_dir, "--key", leaf.key.private, "--cert", leaf.path,
        "--chain", pki.intermediate.path, expect=support.OK,
    )  # fmt: skip
    hallmark("verify", model_dir, "--root", pki.root.path, expect=support.OK)


def test_digest_and_inspect(hallmark, keys, model_dir):
    hallmark("digest", model_dir, "--list", expect=support.OK)
    sign(hallmark, model_dir, keys["openssl", "ec-p256"], "oms", None)
    result = hallmark("inspect", model_dir / "model.sig", expect=support.OK)
    assert "unverified" in result.out.lower()
