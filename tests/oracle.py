# SPDX-License-Identifier: Apache-2.0
"""The three formats once more, in Python, to hold the program against.

Written from docs/formats.md and from what the formats' other users do; shares nothing with the C
code. Signing goes step by step, so that a test can break any one of the steps.
"""

import base64
import copy
import datetime
import hashlib
import json
import pathlib
import subprocess

from blake3 import blake3
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

HASHES = {"sha256": hashlib.sha256, "blake2b": hashlib.blake2b, "blake3": blake3}

# ---- oms ----------------------------------------------------------------------------------------

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
OLD_PREDICATE_TYPE = "https://model_signing/Digests/v0.1"
GIT_PATHS = [".git", ".gitattributes", ".github", ".gitignore"]

# OMS, signing by key: the curve chooses the hash.
CURVE_HASHES = {
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}


def b64(data):
    return base64.b64encode(data).decode()


def pae(payload, payload_type=PAYLOAD_TYPE):
    """What DSSE puts under the signature."""
    head = f"DSSEv1 {len(payload_type)} {payload_type} {len(payload)} "
    return head.encode() + payload


def old_pae(payload):
    """What model_signing 0.2.0 put there: a capital V, and Python's literal of the payload."""
    return f"DSSEV1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(payload)} {payload!r}".encode()


def shards(name, data, size):
    """(name:start:end, bytes) of every shard; none of an empty file."""
    for start in range(0, len(data), size):
        end = min(start + size, len(data))
        yield f"{name}:{start}:{end}", data[start:end]


def resources(files, hash_name="sha256", shard_size=None):
    """The resources of {name: bytes}, in the specification's order."""
    pieces = []
    for name, data in files.items():
        pieces += [(name, data)] if shard_size is None else shards(name, data, shard_size)
    return [
        {"name": name, "digest": HASHES[hash_name](data).hexdigest(), "algorithm": hash_name}
        for name, data in sorted(pieces, key=lambda piece: piece[0].encode())
    ]


def root_digest(listed):
    """SHA-256 over the digests as they are listed, whatever hash made those."""
    return hashlib.sha256(b"".join(bytes.fromhex(r["digest"]) for r in listed)).hexdigest()


def statement(listed, hash_name="sha256", shard_size=None, name="model", ignore=()):
    serialization_of = {
        "method": "files" if shard_size is None else "shards",
        "hash_type": hash_name,
        "allow_symlinks": False,
        "ignore_paths": [*GIT_PATHS, *ignore],
    }
    if shard_size is not None:
        serialization_of["shard_size"] = shard_size
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": root_digest(listed)}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"serialization": serialization_of, "resources": listed},
    }


def statement_of(files, hash_name="sha256", shard_size=None, **more):
    return statement(resources(files, hash_name, shard_size), hash_name, shard_size, **more)


def reroot(document):
    """Sets the root digest to that of the resources, after these were changed."""
    listed = document["predicate"]["resources"]
    document["subject"][0]["digest"]["sha256"] = root_digest(listed)
    return document


def old_statement(files):
    """A statement of model_signing 0.2.0."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {
                "name": name,
                "digest": {"sha256": hashlib.sha256(data).hexdigest()},
                "annotations": {"actual_hash_algorithm": "file-sha256"},
            }
            for name, data in sorted(files.items())
        ],
        "predicateType": OLD_PREDICATE_TYPE,
        "predicate": {"unused": "Unused, just passed due to API requirements"},
    }


def ecdsa(key, message, algorithm=None):
    algorithm = algorithm or CURVE_HASHES[key.curve.name]()
    return key.sign(message, ec.ECDSA(algorithm))


def public_pem(key):
    """The public key as the hint has it: named curve, uncompressed point, one last newline."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def hint(key):
    return hashlib.sha256(public_pem(key)).hexdigest()


def key_material(key):
    return {"publicKey": {"hint": hint(key.public_key())}, "tlogEntries": []}


def chain_material(certificates):
    raw = [{"rawBytes": b64(c.public_bytes(serialization.Encoding.DER))} for c in certificates]
    return {"x509CertificateChain": {"certificates": raw}, "tlogEntries": []}


def bundle(payload, signature, material):
    return {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": material,
        "dsseEnvelope": {
            "payload": b64(payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": b64(signature), "keyid": ""}],
        },
    }


def sign_oms(document, key, material=None, encode=pae, algorithm=None):
    """Signs a statement, or bytes in place of one; the bundle as a dict."""
    payload = document if isinstance(document, bytes) else json.dumps(document).encode()
    signature = ecdsa(key, encode(payload), algorithm)
    return bundle(payload, signature, material or key_material(key))


def read_oms(text):
    """(statement, payload, signature, verification material) of a bundle."""
    document = json.loads(text)
    envelope = document["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"], validate=True)
    assert document["mediaType"] == MEDIA_TYPE
    assert envelope["payloadType"] == PAYLOAD_TYPE
    assert len(envelope["signatures"]) == 1
    signature = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
    return json.loads(payload), payload, signature, document["verificationMaterial"]


def verify_oms(text, key, files):
    """Raises unless the bundle is a good signature by `key`, a public key, of exactly `files`.
    Gives the statement."""
    document, payload, signature, material = read_oms(text)
    key.verify(signature, pae(payload), ec.ECDSA(CURVE_HASHES[key.curve.name]()))
    if "publicKey" in material:
        assert material["publicKey"] == {"hint": hint(key)}
    how = document["predicate"]["serialization"]
    wanted = resources(files, how["hash_type"], how.get("shard_size"))
    assert document["predicate"]["resources"] == wanted
    assert document["subject"][0]["digest"]["sha256"] == root_digest(wanted)
    assert document["_type"] == STATEMENT_TYPE
    assert document["predicateType"] == PREDICATE_TYPE
    return document


# ---- RSA-PSS ------------------------------------------------------------------------------------


def prime(bits):
    made = subprocess.run(["openssl", "prime", "-generate", "-bits", str(bits), "-hex"],
                          capture_output=True, check=True)  # fmt: skip
    return int(made.stdout, 16)


def rsa_key(bits, exponent=65537):
    """A private key of exactly that many bits; key generators round odd numbers down."""
    if bits % 2 == 0:
        return rsa.generate_private_key(exponent, bits)
    p, q = (next(n for n in iter(lambda size=size: prime(size), 0) if n % exponent != 1)
            for size in (bits // 2 + 1, bits // 2))  # fmt: skip
    d = pow(exponent, -1, (p - 1) * (q - 1))
    return rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q),
        rsa.RSAPublicNumbers(exponent, p * q),
    ).private_key()  # fmt: skip


def longest_salt(key):
    """RFC 8017, 9.1.1: what is left of the encoded message beside a SHA-256 and two bytes."""
    return (key.key_size - 1 + 7) // 8 - hashlib.sha256().digest_size - 2


def pss(key, salt=None, mgf=hashes.SHA256):
    return padding.PSS(padding.MGF1(mgf()), longest_salt(key) if salt is None else salt)


def sign_pss(key, message, salt=None):
    return key.sign(message, pss(key, salt), hashes.SHA256())


def verify_pss(key, message, signature):
    key.verify(signature, message, pss(key), hashes.SHA256())


# ---- sig-json -----------------------------------------------------------------------------------


def canonical(value):
    return json.dumps(value, sort_keys=True).encode()


def sig_json_manifest(path, metadata, signer="training-pipeline-v1"):
    return {
        "model_path": str(path),
        "model_hash": hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest(),
        "training_metadata": copy.deepcopy(metadata),
        "signature_timestamp": datetime.datetime.now().isoformat(),
        "signer_id": signer,
    }


def sign_sig_json(manifest, key):
    """The whole file as a dict."""
    return {"manifest": manifest, "signature": sign_pss(key, canonical(manifest)).hex()}


def verify_sig_json(text, key, model):
    """Raises unless `text` is a good signature of the file `model`. Gives the manifest."""
    document = json.loads(text)
    manifest = document["manifest"]
    verify_pss(key, canonical(manifest), bytes.fromhex(document["signature"]))
    assert manifest["model_hash"] == hashlib.sha256(pathlib.Path(model).read_bytes()).hexdigest()
    return manifest


# ---- manifest-json ------------------------------------------------------------------------------


def sign_manifest_json(path, key, signer="training-pipeline@ml-team"):
    """The manifest of one file as a dict. Only the digits of the digest are signed."""
    path = pathlib.Path(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "model_file": path.name,
        "sha256": digest,
        "signature": b64(sign_pss(key, digest.encode())),
        "signer": signer,
        "signed_at": datetime.datetime.now(datetime.timezone.utc).isoformat(),
        "algorithm": "RSA-PSS-SHA256",
        "key_size": 4096,
    }


def bundle_manifest(entries):
    return {
        "artifacts": entries,
        "bundle_signed_at": datetime.datetime.now(datetime.timezone.utc).isoformat(),
        "artifact_count": len(entries),
    }


def verify_manifest_json(manifest, key, folder):
    """Raises unless the manifest, a dict, is a good signature of the file it names."""
    path = pathlib.Path(folder) / manifest["model_file"]
    assert path.name == manifest["model_file"]
    assert manifest["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    signature = base64.b64decode(manifest["signature"], validate=True)
    verify_pss(key, manifest["sha256"].encode(), signature)
    assert manifest["algorithm"] == "RSA-PSS-SHA256"
    assert isinstance(manifest["key_size"], int)
    for name in ("signer", "signed_at"):
        assert isinstance(manifest[name], str)
    datetime.datetime.fromisoformat(manifest["signed_at"])


def verify_bundle_manifest(text, key, folder):
    """Raises unless every artifact of the bundle manifest is good. Gives their names."""
    document = json.loads(text)
    assert document["artifact_count"] == len(document["artifacts"])
    datetime.datetime.fromisoformat(document["bundle_signed_at"])
    for manifest in document["artifacts"]:
        verify_manifest_json(manifest, key, folder)
    return [manifest["model_file"] for manifest in document["artifacts"]]


# ---- models -------------------------------------------------------------------------------------


def write_files(folder, files):
    """Writes {name: bytes} beneath a folder."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def read_files(folder, without=()):
    """{name: bytes} of a folder, but for the names in `without` and all beneath them."""
    folder = pathlib.Path(folder)
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        skipped = any(name == left_out or name.startswith(left_out + "/") for left_out in without)
        if path.is_file() and not skipped:
            found[name] = path.read_bytes()
    return found
