# SPDX-License-Identifier: Apache-2.0
"""The two older formats once more, as plain Python on the package cryptography: an oracle that shares
no code with the library."""

import base64
import hashlib
import json
import pathlib

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.MAX_LENGTH)


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def _sign(private, message, passphrase):
    key = serialization.load_pem_private_key(pathlib.Path(private).read_bytes(), passphrase)
    return key.sign(message, PSS, hashes.SHA256())


def _check(public, signature, message):
    key = serialization.load_pem_public_key(pathlib.Path(public).read_bytes())
    key.verify(signature, message, PSS, hashes.SHA256())


def _text(manifest):
    return json.dumps(manifest, sort_keys=True).encode()


def write_checkpoint_signature(model, private, metadata, signer="training-pipeline-v1"):
    manifest = {
        "model_path": str(model),
        "model_hash": sha256(model),
        "training_metadata": metadata,
        "signature_timestamp": "2026-02-14T10:00:00.000001",
        "signer_id": signer,
    }
    signature = _sign(private, _text(manifest), None).hex()
    both = {"manifest": manifest, "signature": signature}
    pathlib.Path(f"{model}.sig").write_text(json.dumps(both, indent=2))


def read_checkpoint_signature(model, public):
    both = json.loads(pathlib.Path(f"{model}.sig").read_text())
    _check(public, bytes.fromhex(both["signature"]), _text(both["manifest"]))
    assert both["manifest"]["model_hash"] == sha256(model)
    return both["manifest"]


def artifact_manifest(path, private, passphrase, signer):
    digest = sha256(path)
    return {
        "model_file": pathlib.Path(path).name,
        "sha256": digest,
        "signature": base64.b64encode(_sign(private, digest.encode(), passphrase)).decode(),
        "signer": signer,
        "signed_at": "2026-02-14T10:00:00.000001+00:00",
        "algorithm": "RSA-PSS-SHA256",
        "key_size": 4096,
    }


def check_artifact(manifest, path, public):
    assert manifest["sha256"] == sha256(path) and manifest["model_file"] == pathlib.Path(path).name
    assert manifest["algorithm"] == "RSA-PSS-SHA256" and isinstance(manifest["key_size"], int)
    _check(public, base64.b64decode(manifest["signature"]), manifest["sha256"].encode())
