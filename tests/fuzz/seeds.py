#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes seeds for the fuzz targets: from what the program writes, and from test vectors.

usage: seeds.py [--hallmark PROGRAM] [--vectors FOLDER] OUT

OUT gets a folder per target. tests/fuzz/corpus holds a small selection of such seeds; for a long
run, give the fuzzer more:

    tests/fuzz/seeds.py --vectors ../shared/vectors build-fuzz/seeds
    build-fuzz/tests/fuzz/fuzz_envelope -dict=tests/fuzz/json.dict build-fuzz/corpus/envelope \\
        build-fuzz/seeds/envelope
"""

import argparse
import base64
import hashlib
import json
import os
import pathlib
import re
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SIZE_LIMIT = 16384  # larger seeds slow a fuzzer down

METADATA = {
    "dataset_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "start_time": "2026-01-05T08:00:00Z",
    "end_time": "2026-01-05T20:00:00Z",
    "hyperparameters": {"learning_rate": 1e-05, "layers": [256, 256], "name": "\u00fc\U0001f600"},
    "framework_version": "torch 2.9.1",
}

JSON_TEXTS = [
    "null", "[]", "{}", "-0", "-0.0", "1e-05", "1e16", "123456789012345678901234567890", "5e-324",
    "5.960464477539063e-08", "1e400", '"\\ud83d\\ude00\\u00e9\\/\\b"', '"\\ud800"', 
    "[" * 128 + "]" * 128,
    "[" * 129 + "]" * 129, '{"b": 1, "a": {"\\uffff": 1, "\U00010000": 2}}', '{"a": 1, "a": 2}',
    '{"a": [1, 2.50, true, null, "x"], "": {}}', '"\x7f\u0085"', "\ufeff[]", "[1,]", "01",
]  # fmt: skip

NAMES = [
    "a\na/b\n.git\nsub/.git\na/b/c\nab\n.git/hooks/x\nsub/.git/config",
    "../x\n/x\nx/\n./x\nx/./y\nx//y\n..\n.\n\nx/../y\n..x\nx..\n...",
    "w:0:8\nw:8:16\nw:08:16\n:0:0\na:b:0:1\nw:+0:8\nw:0:18446744073709551616\nw:0: 8",
    "AAAA\nAA==\nAAA=\nAB==\n-_-_\n+/+/\n+_==\n=\nAAAAA\n",
    "00ff\n00FF\n0\nzz\n0123456789abcdef",
    "na\u00efve\nna\u0131ve\n\u202eevil\n\x1b[31mred\na\\b\nc:\\d\ntab\there\n\ufffd",
    "\x01\x7f\x80\xff\xc3\xa9\xed\xa0\x80\xc0\xaf",
]

PKCS11_URIS = [
    "pkcs11:",
    "pkcs11:token=My%20Token;object=key;id=%00%ff;type=private?module-path=/usr/lib/m.so"
    "&pin-value=1234%2b5678",
    "PKCS11:manufacturer=m;serial=s;model=x;library-manufacturer=a;library-description=b;"
    "library-version=1.2;slot-id=7;slot-description=d;slot-manufacturer=e?module-name=softhsm2"
    "&pin-source=file:///run/pin",
    "pkcs11:object=x&pin-value=12345678",
    "pkcs11:object=x?module-path=/a?pin-value=12345678",
    "pkcs11:object=x?pin-source=|cat%20/etc/pin",
    "pkcs11:type=cert;object=%c3%bc",
    "pkcs11:object=%0;id=%zz",
    "pkcs11:object=a;object=b",
]  # fmt: skip


def embedded(name):
    """A PEM text of keys.h."""
    found = re.search(rf"{name}\[\] =\n(.*?);", (HERE / "keys.h").read_text(), re.DOTALL)
    return "".join(line + "\n" for line in re.findall(r'"(.*?)\\n"', found.group(1)))


def der_of(pem):
    """The blocks of a PEM text as the certificate target wants them."""
    out = b""
    for body in re.findall(r"-----BEGIN CERTIFICATE-----\n(.*?)-----END", pem, re.DOTALL):
        der = base64.b64decode(body)
        out += len(der).to_bytes(2, "big") + der
    return out


class Seeds:
    def __init__(self, out):
        self.out = pathlib.Path(out)

    def add(self, target, name, data):
        data = data.encode() if isinstance(data, str) else data
        if 0 < len(data) <= SIZE_LIMIT:
            folder = self.out / target
            folder.mkdir(parents=True, exist_ok=True)
            (folder / re.sub(r"[^A-Za-z0-9.-]+", "-", name)).write_bytes(data)

    def add_signature(self, name, data):
        """A signature file, and what of it other targets take."""
        self.add("envelope", name, data)
        try:
            document = json.loads(data)
            self._take_apart(name, data, document)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            return

    def _take_apart(self, name, data, document):
        if "manifest" in document:
            self.add("sig_json", name, json.dumps(document["manifest"]))
        elif "dsseEnvelope" in document:
            payload = base64.b64decode(document["dsseEnvelope"]["payload"])
            about = json.loads(payload)["predicateType"]
            self.add("provenance" if "slsa" in about else "statement", name, payload)
            chain = document["verificationMaterial"].get("x509CertificateChain")
            for_target = b""
            for entry in chain["certificates"] if chain else []:
                der = base64.b64decode(entry["rawBytes"])
                for_target += len(der).to_bytes(2, "big") + der
            self.add("certificate", name, for_target)
        else:
            self.add("manifest_json", name, data)
        if len(data) < 4096:
            self.add("json", name, data)


# ---- what the program writes --------------------------------------------------------------------


def write_private(path, text):
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
    return path


def make_models(work):
    model = work / "model"
    (model / "sub").mkdir(parents=True)
    (model / "weights.bin").write_bytes(b"w" * 20)
    (model / "sub" / "a:b \u00fc.json").write_text("{}")
    (model / "__init__.py").touch()
    (model / "cache").write_text("left out")
    (work / "weights.bin").write_bytes(b"weights")
    (work / "other.bin").write_bytes(b"other")
    (work / "metadata.json").write_text(json.dumps(METADATA))
    write_private(work / "ec.pem", embedded("ec_private_key"))
    write_private(work / "rsa.pem", embedded("rsa_private_key"))
    (work / "leaf.crt").write_text(embedded("leaf_certificate"))
    (work / "chain.crt").write_text(embedded("intermediate_certificate"))


SIGNINGS = {
    "oms-key": ["model", "--key", "ec.pem"],
    "oms-ignore": ["model", "--key", "ec.pem", "--ignore", "cache", "--ignore", "sub/x"],
    "oms-blake2b": ["model", "--key", "ec.pem", "--hash", "blake2b"],
    "oms-blake3-shards": ["model", "--key", "ec.pem", "--hash", "blake3", "--shard-size", "8"],
    "oms-shards": ["model", "--key", "ec.pem", "--shard-size", "7"],
    "oms-file": ["weights.bin", "--key", "ec.pem"],
    "oms-dot": ["weights.bin", "--key", "ec.pem", "--name-dot"],
    "oms-dot-shards": ["weights.bin", "--key", "ec.pem", "--name-dot", "--shard-size", "3"],
    "oms-certificate": ["model", "--key", "ec.pem", "--cert", "leaf.crt", "--chain", "chain.crt"],
    "sig-json": ["weights.bin", "--key", "rsa.pem", "--format", "sig-json", "--metadata",
                 "metadata.json", "--signer-id", "ci"],
    "manifest-json": ["weights.bin", "--key", "rsa.pem", "--format", "manifest-json",
                      "--key-version", "2"],
    "manifest-json-bundle": ["weights.bin", "other.bin", "--key", "rsa.pem", "--format",
                             "manifest-json"],
}  # fmt: skip


def from_program(seeds, hallmark, work):
    make_models(work)
    for name, arguments in SIGNINGS.items():
        command = [hallmark, "sign", *arguments, "--signature", "out.sig", "--no-progress"]
        (work / "out.sig").unlink(missing_ok=True)
        subprocess.run(command, cwd=work, check=True, stdout=subprocess.DEVNULL)
        seeds.add_signature(name, (work / "out.sig").read_bytes())
    (work / "out.sig").unlink()
    command = [hallmark, "sign", *SIGNINGS["oms-key"], "--signature", "out.sig", "--metadata",
               "metadata.json", "--provenance", "out.json", "--no-progress"]  # fmt: skip
    subprocess.run(command, cwd=work, check=True, stdout=subprocess.DEVNULL)
    seeds.add_signature("provenance", (work / "out.json").read_bytes())


def openssl(*arguments, text=None):
    done = subprocess.run(
        ["openssl", *arguments], input=text, check=True, capture_output=True, encoding="ascii"
    )
    return done.stdout


def from_keys(seeds):
    root, intermediate, leaf = map(
        embedded, ["root_certificate", "intermediate_certificate", "leaf_certificate"]
    )
    seeds.add("certificate", "root.pem", "Text before\n" + root)
    seeds.add("certificate", "chain.pem", leaf + intermediate + root)
    seeds.add("certificate", "leaf.der", der_of(leaf))
    chain = der_of(leaf + intermediate)
    seeds.add("certificate", "chain.der", chain)
    seeds.add("certificate", "with-root.der", chain + der_of(root))
    seeds.add("certificate", "reversed.der", der_of(intermediate + leaf))
    seeds.add("certificate", "cut.der", chain[:-40])
    seeds.add("certificate", "one-bit.der", chain[:200] + bytes([chain[200] ^ 1]) + chain[201:])
    longer = der_of(leaf)[2:] + bytes(3)
    seeds.add("certificate", "trailing.der", len(longer).to_bytes(2, "big") + longer)
    seeds.add("certificate", "damaged.pem", leaf.replace("M", "N"))
    for name in ["ec", "rsa"]:
        key = embedded(f"{name}_private_key")
        seeds.add("key", f"{name}.pkcs8", key)
        seeds.add("key", f"{name}.public", openssl("pkey", "-pubout", text=key))
        seeds.add("key", f"{name}.traditional", openssl("pkey", "-traditional", text=key))
        seeds.add("key", f"{name}.traditional-encrypted",
                  openssl("pkey", "-traditional", "-aes128", "-passout", "pass:fuzz", text=key))
        seeds.add("key", f"{name}.encrypted",
                  openssl("pkcs8", "-topk8", "-v2", "aes-256-cbc", "-iter", "100", "-passout",
                          "pass:fuzz", text=key))  # fmt: skip
    rsa = embedded("rsa_private_key")
    seeds.add("key", "rsa.pkcs1-public", openssl("rsa", "-RSAPublicKey_out", text=rsa))
    for kind in [["ED25519"], ["EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
                 ["EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
                 ["EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"],
                 ["EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt",
                  "ec_param_enc:explicit"]]:  # fmt: skip
        key = openssl("genpkey", "-algorithm", *kind)
        name = "-".join(kind).replace("-pkeyopt-", "")
        seeds.add("key", name + ".pkcs8", key)
        seeds.add("key", name + ".public", openssl("pkey", "-pubout", text=key))
    seeds.add("key", "leaf.certificate", leaf)


# ---- other sources ------------------------------------------------------------------------------


POLICY_SIGNER = """\
version: 1
signers:
  "ali ce":
    keys:
      - pem: |
          -----BEGIN PUBLIC KEY-----
          MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEPITN2cLddhVKnazRvooo0N2Qqtyq
          t0UpbN8gyrxHpk3Fb9wENTXizpoeylRjwuabr3XoRz62gfMw540i5vEmfQ==
          -----END PUBLIC KEY-----
        version: 3
        not-before: 2026-01-01
        not-after: 2026-12-31T23:59:59Z
        revoked: {since: 2026-06-01, reason: lost}
"""
POLICIES = [
    "version: 1\nmodels: []\ndefault: refuse\n",
    "%YAML 1.1\n---\n{version: 1, models: [], revoked: [{fingerprint: '" + "0" * 64
    + "', since: 2026-01-05}]}\n...\n",
    POLICY_SIGNER + """\
models:
  - name: [m, "resnet-*", "[a-z]?[!x]"]
    path: [/models/**, "/srv/**/x/*"]
    signers: ["ali ce"]
    threshold: 1
    format: oms
    signatures: ["{name}.sig", a/b.sig]
    unsigned: warn
    allow: [symlinks, missing-eku]
""",
    POLICY_SIGNER + """\
models:
  - name: "*"
    signers: ali ce
    pinned: {file: "sha256:""" + "0a" * 32 + """"}
""",
    "version: 1\nmodels:\n- path: /**\n  pinned:\n    files:\n      \"a b\": 'sha256:"
    + "ab" * 32 + "'\n",
    "version: 1\nmodels:\n- name: x\n  pinned: {model: \"" + "ab" * 32
    + "\", hash: blake3, shard-size: 4096}\n",
    "version: 1\nmodels:\n- name: &a x\n  signers: *a\n",
    "version: 1\nversion: 1\n",
    "a: !!str b\n--- c\n",
    "? [a, {b: c}]\n: >-\n  folded\n  text\n",
    "signers: {a: {identity: {san: [a@b, 'URI:urn:x']}, roots: x.crt}}\n",
]  # fmt: skip


def from_texts(seeds):
    for number, text in enumerate(POLICIES):
        seeds.add("policy", f"policy-{number:02}", text)
    for number, text in enumerate(JSON_TEXTS):
        seeds.add("json", f"text-{number:02}", text.encode("utf-8", "surrogatepass"))
    for number, text in enumerate(NAMES):
        seeds.add("names", f"names-{number}", text)
    for number, text in enumerate(PKCS11_URIS):
        seeds.add("pkcs11_uri", f"uri-{number}", text)


HASH = hashlib.sha256(b"w").hexdigest()
ROOT = hashlib.sha256(bytes.fromhex(HASH)).hexdigest()


def statement(names, root=ROOT, method="files", algorithm="sha256", **serialization):
    """A signed statement of files, or shards, with the same content."""
    listed = [{"name": name, "digest": HASH, "algorithm": algorithm} for name in names]
    how = {"method": method, "hash_type": "sha256", "allow_symlinks": False, **serialization}
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "model", "digest": {"sha256": root}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {"serialization": how, "resources": listed},
    }


OLD_STATEMENT = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "w", "digest": {"sha256": HASH},
                 "annotations": {"actual_hash_algorithm": "file-sha256"}}],
    "predicateType": "https://model_signing/Digests/v0.1",
    "predicate": {"unused": "Unused"},
}  # fmt: skip

STATEMENTS = {
    "plain": statement(["w"]),
    "outside": statement(["../w"]),
    "old": OLD_STATEMENT,
    "old-outside": {**OLD_STATEMENT, "subject": [{**OLD_STATEMENT["subject"][0], "name": "/w"}]},
    "shard-python": statement(["w:0:1"], method="shards", shard_size=8.0,
                              algorithm="sha256-sharded-8"),
    "shard-leading-zero": statement(["w:00:1"], method="shards", shard_size=8),
    "shard-dot": statement([".:0:1"], method="shards", shard_size=1),
    "dot": statement(["."]),
    "ignore-all": statement(["w"], ignore_paths=["."]),
    "ignore": statement(["w"], ignore_paths=["a", "a/b", "model.sig"]),
    "symlinks": statement(["w"], allow_symlinks=True),
    "wrong-root": statement(["w"], root="0" * 64),
}  # fmt: skip

MANIFEST = {"model_path": "a/w", "model_hash": HASH, "training_metadata": {"x": 1.5},
            "signature_timestamp": "2026-01-05T21:31:07", "signer_id": "ci"}  # fmt: skip
MANIFESTS = {
    "plain": MANIFEST,
    "windows": {**MANIFEST, "model_path": "c:\\a\\w"},
    "no-name": {**MANIFEST, "model_path": "a/.."},
    "nul": {**MANIFEST, "model_path": "w\0/etc/passwd"},
    "minimal": {"model_path": "w", "model_hash": HASH},
    "wrong-types": {**MANIFEST, "signer_id": 1, "training_metadata": []},
    "upper-case": {**MANIFEST, "model_hash": HASH.upper()},
    "odd-names": {**MANIFEST, "\U0001f600": {}, "\uffff": [], "": None},
    "numbers": {**MANIFEST, "n": [0, -0.0, 1e16, 1e-05, 2**64, 5e-324, 0.1]},
    "deep": {**MANIFEST, "d": json.loads("[" * 100 + "]" * 100)},
}  # fmt: skip

ENTRY = {"model_file": "w", "sha256": HASH, "signature": "AAAA", "signer": "ci",
         "signed_at": "2026-01-05T20:31:07+00:00", "algorithm": "RSA-PSS-SHA256",
         "key_size": 4096}  # fmt: skip


def bundle(entries, count=None):
    return {"artifacts": entries, "bundle_signed_at": "2026-01-05T20:31:07+00:00",
            "artifact_count": len(entries) if count is None else count}  # fmt: skip


ENTRIES = {
    "plain": ENTRY,
    "outside": {**ENTRY, "model_file": "../w"},
    "algorithm": {**ENTRY, "algorithm": "none"},
    "more": {**ENTRY, "key_version": 3, "\u001b[31m": "\u001b[31m"},
    "bundle": bundle([ENTRY, {**ENTRY, "model_file": "x"}]),
    "bundle-twice": bundle([ENTRY, ENTRY]),
    "bundle-count": bundle([ENTRY], 2),
    "bundle-float": bundle([ENTRY], 1.0),
    "bundle-empty": bundle([]),
    "bundle-long": bundle([{**ENTRY, "model_file": f"f{i}"} for i in range(6)]),
}


PART = {"format": "hallmark-part-v1", "part": 1, "parts": 2, "method": "shards", "hash": "sha256",
        "shard_size": 8, "follow_symlinks": False, "ignore": [".git", "model.sig"],
        "tree": {"files": 2, "bytes": 20, "digest": HASH},
        "entries": [{"name": "e", "size": 0, "mtime": "1795307778.858487720", "start": 0, "end": 0,
                     "digest": HASH},
                    {"name": "w", "size": 20, "mtime": "1795307778.858487720", "start": 16,
                     "end": 20, "digest": HASH}]}  # fmt: skip
WHOLE = {**PART, "method": "files", "shard_size": 0, "entries": [
    {**PART["entries"][1], "start": 0}]}  # fmt: skip
PARTS = {
    "shards": PART,
    "files": WHOLE,
    "empty": {**PART, "entries": []},
    "outside": {**WHOLE, "entries": [{**WHOLE["entries"][0], "name": "../w"}]},
    "twice": {**PART, "entries": PART["entries"][1:] * 2},
    "cut": {**PART, "entries": [{**PART["entries"][1], "start": 15}]},
    "large": {**PART, "shard_size": 2**53, "entries": [
        {**PART["entries"][1], "size": 2**53, "start": 0, "end": 2**53}]},
    "blake2b": {**WHOLE, "hash": "blake2b", "entries": [{**WHOLE["entries"][0], "digest": HASH * 2}]},
}  # fmt: skip

STATES = {"signature_sha256": HASH, "files": [
    {"name": "a/b", "state": "20 65024 7 1795307778.858487720 1795307778.858487720"},
    {"name": "w", "state": ""}]}  # fmt: skip
RECORDS = {
    "payload": STATES,
    "empty": {**STATES, "files": []},
    "outside": {**STATES, "files": [{"name": "/w", "state": ""}]},
    "twice": {**STATES, "files": STATES["files"][1:] * 2},
    "file": {"payloadType": "application/vnd.hallmark.file-states.v1+json",
             "payload": base64.b64encode(json.dumps(STATES).encode()).decode(),
             "signatures": [{"sig": "AAAA"}]},
}

TRAINING = {"dataset_hash": HASH, "training_start": "2026-01-05T08:00:00.5+01:00",
            "training_end": "2026-01-05T20:00:00Z", "hyperparameters": {"lr": 1e-05},
            "framework_version": "torch 2.9.1", "run": {"id": 7}}  # fmt: skip
PROVENANCE = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "m", "digest": {"sha256": ROOT, "hallmarkModelV1": HASH}}],
    "predicateType": "https://slsa.dev/provenance/v1",
    "predicate": {
        "buildDefinition": {
            "buildType": "urn:x",
            "externalParameters": {"a": 1, "\u001b": 2},
            "internalParameters": {},
            "resolvedDependencies": [{"digest": {"sha256": HASH, "x": "y"}}, {"uri": "x:y"}],
        },
        "runDetails": {"builder": {"id": "ci"}, "metadata": {"startedOn": "x"}, "byproducts": []},
    },
}
OURS = {
    **PROVENANCE["predicate"],
    "buildDefinition": {"buildType": "urn:hallmark:build-type:training:v1",
                        "internalParameters": {"a": 1, "keyVersion": 2, "b": []}},
}  # fmt: skip
PROVENANCES = {
    "training": TRAINING,
    "datasets": {"dataset_hash": {"a": HASH, "b": "blake3:" + HASH},
                 "framework_version": {"torch": "2"}},
    "nothing": {},
    "statement": PROVENANCE,
    "key-version": {**PROVENANCE, "predicate": OURS},
    "no-subject": {**PROVENANCE, "subject": []},
    "nul": {**PROVENANCE, "subject": [{"digest": {"sha256": HASH[:-1] + "\0"}}]},
}  # fmt: skip


def from_variants(seeds):
    for target, variants in [("statement", STATEMENTS), ("sig_json", MANIFESTS),
                             ("manifest_json", ENTRIES), ("part", PARTS), ("state", RECORDS),
                             ("provenance", PROVENANCES)]:  # fmt: skip
        for name, document in variants.items():
            seeds.add(target, "variant-" + name, json.dumps(document))
    seeds.add("envelope", "variant-control", json.dumps(ENTRIES["more"]))
    seeds.add("envelope", "variant-control-twice", '{"manifest":0,"\\u001b":0,"\\u001b":0}')
    seeds.add("envelope", "variant-control-statement", json.dumps(
        {"manifest": {**MANIFEST, "\u009b\u202e": "\u009b\u2066"}, "signature": "00"}))  # fmt: skip


def from_keyrings(seeds, hallmark, work):
    """What `hallmark key` writes, and the signed text of exports by itself."""
    admin = write_private(work / "admin.pem", embedded("ec_private_key"))

    def key(command, *arguments):
        subprocess.run([hallmark, "key", command, "ring", *arguments], cwd=work, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip

    for kind in ["ec-p256", "ed25519", "rsa-3072"]:
        key("rotate", "--no-passphrase", "--type", kind, "--signer", "acme")
        seeds.add("keyring", f"plain-{kind}", (work / "ring" / "keyring.json").read_bytes())
    key("revoke", "--version", "1", "--reason", "lost")
    seeds.add("keyring", "revoked", (work / "ring" / "keyring.json").read_bytes())
    key("export", "--key", admin, "--out", "export")
    export = (work / "export").read_bytes()
    seeds.add("keyring_export", "file", export)
    seeds.add("keyring_export", "text", base64.b64decode(json.loads(export)["payload"]))


def from_vectors(seeds, folder):
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.stat().st_size > 1 << 20:
            continue
        data = path.read_bytes()
        name = hashlib.sha256(data).hexdigest()[:8] + "-" + path.name
        if b"-----BEGIN" in data:
            seeds.add("certificate" if b"CERTIFICATE" in data else "key", name, data)
            seeds.add("certificate", name + ".der", der_of(data.decode("latin-1")))
        elif path.name == "canonical-json.json":
            for number, case in enumerate(json.loads(data)["cases"]):
                text = case.get("in", "") if isinstance(case, dict) else ""
                seeds.add("json", f"canonical-{number:03}", text.encode("utf-8", "surrogatepass"))
        elif path.suffix in (".sig", ".json", ".sigstore", ".bundle"):
            seeds.add_signature(name, data)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--hallmark", default=str(HERE.parent.parent / "build" / "hallmark"))
    parser.add_argument("--vectors", type=pathlib.Path)
    given = parser.parse_args()
    seeds = Seeds(given.out)
    from_texts(seeds)
    from_keys(seeds)
    from_variants(seeds)
    with tempfile.TemporaryDirectory() as work:
        from_program(seeds, os.path.abspath(given.hallmark), pathlib.Path(work))
        from_keyrings(seeds, os.path.abspath(given.hallmark), pathlib.Path(work))
    if given.vectors is not None:
        from_vectors(seeds, given.vectors)


if __name__ == "__main__":
    main()
