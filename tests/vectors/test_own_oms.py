# SPDX-License-Identifier: Apache-2.0
"""oms bundles by key, each with one thing broken, or odd but right, and the models beside them."""

import base64
import copy
import dataclasses
import hashlib
import json

import oracle
import pytest
import support
from cases import (
    DROP,
    FILES,
    Case,
    envelope,
    how,
    in_text,
    loose_bits,
    material,
    named,
    predicate,
    put,
    resource,
    swap,
)
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

SHARD = 1000
LONE = "\ud800"

# ---- the bundle ---------------------------------------------------------------------------------


def shuffled(document):
    document["predicate"]["resources"].reverse()
    return oracle.reroot(document)


def repeated(document):
    document["predicate"]["resources"].append(document["predicate"]["resources"][0])
    return oracle.reroot(document)


def renamed(old, new):
    def change(document):
        for item in document["predicate"]["resources"]:
            if item["name"] == old:
                item["name"] = new
        return document

    return change


def respelled(document):
    """The same statement otherwise spelled: order, escapes, white space."""
    turned = dict(reversed(document.items()))
    return json.dumps(turned, indent=7).replace("/", "\\/").replace("model", "mod\\u0065l").encode()


def as_text(change):
    """Changes the statement's JSON text."""
    return lambda document: change(json.dumps(document).encode())


def replaced(old, new):
    return as_text(lambda text: swap(text, old, new))


def url_safe(document):
    text = document["dsseEnvelope"]["payload"]
    document["dsseEnvelope"]["payload"] = text.replace("+", "-").replace("/", "_")


def with_both_characters(document):
    """A payload whose base64 has a + and a /."""
    document["subject"][0]["name"] = "?"
    for pad in range(100):
        document["subject"][0]["name"] += "~?>-"[pad % 4]
        text = oracle.b64(json.dumps(document).encode())
        if "+" in text and "/" in text:
            return
    raise AssertionError("no such payload")


def mixed_alphabets(document):
    text = document["dsseEnvelope"]["payload"]
    document["dsseEnvelope"]["payload"] = text.replace("+", "-")
    assert "-" in document["dsseEnvelope"]["payload"] and "/" in text


def with_payload(change):
    def written(document):
        document["dsseEnvelope"]["payload"] = change(document["dsseEnvelope"]["payload"])

    return written


def padded(document):
    """Makes the payload's length such that its base64 ends in padding."""
    while len(json.dumps(document).encode()) % 3 != 1:
        document["subject"][0]["name"] += "x"


def twice(bundle):
    bundle["dsseEnvelope"]["signatures"] *= 2


def also_certificate(bundle):
    bundle["verificationMaterial"]["x509CertificateChain"] = {"certificates": []}


BUNDLE_CASES = [
    Case("as-it-should-be", None),
    Case("spelled-otherwise", None, signed=respelled),
    # 1.2: the bundle
    Case("media-type-missing", "malformed", "mediaType", written=put("mediaType", DROP)),
    *(
        Case(f"media-type-{index}", "malformed", "mediaType", written=put("mediaType", value))
        for index, value in enumerate(
            [
                "application/vnd.dev.sigstore.bundle+json;version=0.1",
                "application/vnd.dev.sigstore.bundle+json;version=0.2",
                "application/vnd.dev.sigstore.bundle+json;version=0.3",
                "application/vnd.dev.sigstore.bundle.v0.4+json",
                oracle.MEDIA_TYPE + " ",
                oracle.MEDIA_TYPE.upper(),
                3,
            ]
        )
    ),
    Case("unknown-member", "malformed", "more", written=put("more", 1)),
    Case("no-envelope", "malformed", "dsseEnvelope", written=put("dsseEnvelope", DROP)),
    Case("envelope-list", "malformed", "dsseEnvelope", written=put("dsseEnvelope", [])),
    Case("no-material", "malformed", "verificationMaterial",
         written=put("verificationMaterial", DROP)),
    Case("material-without-kind", "malformed", "no public key",
         written=material("publicKey", DROP)),
    Case("material-null-key", "malformed", "no public key", written=material("publicKey", None)),
    Case("two-kinds", "malformed", "both", written=also_certificate),
    Case("keyless", "unsupported", "sigstore",
         written=put("verificationMaterial",
                     {"certificate": {"rawBytes": ""}, "tlogEntries": [{}]})),
    Case("keyless-and-key", "malformed", "both", written=material("certificate", {"rawBytes": ""})),
    Case("empty-chain", "malformed", "0 certificates",
         written=put("verificationMaterial", {"x509CertificateChain": {"certificates": []}})),
    Case("material-unknown-member", None, written=material("timestampVerificationData", {"a": 1})),
    Case("key-unknown-members", None, written=material("publicKey", "rawBytes", "x")),
    Case("log-missing", None, written=material("tlogEntries", DROP)),
    Case("log-null", None, written=material("tlogEntries", None)),
    Case("log-content", None, written=material("tlogEntries", [{"logIndex": "1"}, 7])),
    Case("log-object", "malformed", "tlogEntries", written=material("tlogEntries", {})),
    Case("no-signatures", "malformed", "0 entries", written=envelope("signatures", [])),
    Case("two-signatures", "malformed", "2 entries", written=twice),
    Case("signatures-object", "malformed", "signatures", written=envelope("signatures", {})),
    Case("signature-string", "malformed", "signatures", written=envelope("signatures", ["x"])),
    Case("signature-unknown-member", "malformed", "more",
         written=envelope("signatures", 0, "more", 1)),
    Case("signature-missing", "malformed", "sig", written=envelope("signatures", 0, "sig", DROP)),
    Case("signature-number", "malformed", "sig", written=envelope("signatures", 0, "sig", 1)),
    Case("envelope-unknown-member", "malformed", "more", written=envelope("more", 1)),
    *(
        Case(f"keyid-{name}", None, written=envelope("signatures", 0, "keyid", value))
        for name, value in [("missing", DROP), ("null", None), ("text", "any"), ("object", {})]
    ),
    Case("payload-type", "malformed", "payloadType",
         written=envelope("payloadType", "application/vnd.in-toto+json; x")),
    Case("payload-type-case", "malformed", "payloadType",
         written=envelope("payloadType", "application/vnd.in-toto+JSON")),
    Case("payload-type-missing", "malformed", "payloadType", written=envelope("payloadType", DROP)),
    Case("payload-missing", "malformed", "payload", written=envelope("payload", DROP)),
    Case("payload-null", "malformed", "payload", written=envelope("payload", None)),
    Case("payload-empty", "bad-signature", written=envelope("payload", "")),
    Case("url-safe", None, signed=with_both_characters, written=url_safe),
    Case("alphabets-mixed", "malformed", "base64", signed=with_both_characters,
         written=mixed_alphabets),
    Case("unpadded", "malformed", "base64", signed=padded,
         written=with_payload(lambda text: text.rstrip("="))),
    Case("padded-twice", "malformed", "base64", written=with_payload(lambda text: text + "====")),
    Case("line-breaks", "malformed", "base64",
         written=with_payload(lambda text: text[:76] + "\n" + text[76:])),
    Case("space-behind", "malformed", "base64", written=with_payload(lambda text: text + " ")),
    Case("foreign-character", "malformed", "base64",
         written=with_payload(lambda text: text[:4] + "!" + text[4:])),
    Case("loose-bits", "malformed", "base64", signed=padded, written=with_payload(loose_bits)),
    # The file as JSON
    Case("no-bytes", "malformed", text=lambda text: b""),
    Case("not-json", "malformed", text=lambda text: b"model_signing"),
    Case("cut-off", "malformed", text=lambda text: text[:-1]),
    Case("something-behind", "malformed", text=lambda text: text + b"{}"),
    Case("byte-order-mark", "malformed", text=lambda text: b"\xef\xbb\xbf" + text),
    Case("utf-16", "malformed", text=lambda text: text.decode().encode("utf-16")),
    Case("invalid-utf-8", "malformed", "UTF-8", text=in_text(b'"keyid": ""', b'"keyid": "\xff"')),
    Case("list-around", "malformed", text=lambda text: b"[" + text + b"]"),
    Case("media-type-twice", "malformed", "twice",
         text=in_text(b'{', b'{"mediaType": "%s",' % oracle.MEDIA_TYPE.encode())),
    Case("payload-twice", "malformed", "twice",
         text=in_text(b'"payload"', b'"payload": "", "payload"')),
    Case("not-a-number", "malformed", text=in_text(b'"tlogEntries": []', b'"tlogEntries": NaN')),
    Case("deeply-nested", "malformed", "nest",
         text=in_text(b'"tlogEntries": []', b'"tlogEntries": ' + b"[" * 500 + b"]" * 500)),
    Case("white-space", None,
         text=lambda text: b"\r\n\t " + text.replace(b"\n", b"\r\n") + b"\n\n"),
    # 1.9: the hint
    Case("hint-missing", None, "which key", written=material("publicKey", {})),
    Case("hint-null", None, "which key", written=material("publicKey", "hint", None)),
    Case("hint-empty", None, "which key", written=material("publicKey", "hint", "")),
    Case("hint-number", "malformed", "hint", written=material("publicKey", "hint", 1)),
    Case("hint-of-another", "untrusted-signer", "hint",
         written=material("publicKey", "hint", "0" * 64)),
    Case("hint-upper-case", "untrusted-signer", "hint",
         written=lambda d: material("publicKey", "hint",
                                    d["verificationMaterial"]["publicKey"]["hint"].upper())(d)),
    Case("hint-with-nul", "malformed", "hint",
         written=lambda d: material("publicKey", "hint",
                                    d["verificationMaterial"]["publicKey"]["hint"] + "\0x")(d)),
    # 1.11: releases before 1.1.0
    Case("older-release", None, "which key", signed=how("ignore_paths", DROP),
         written=lambda d: (
             put("verificationMaterial", {"publicKey": {
                 "rawBytes": "LS0tLS1CRUdJTg==", "keyDetails": "PKIX_ECDSA_P384_SHA_384"}})(d),
             envelope("signatures", 0, "keyid", None)(d), None)[-1]),
]  # fmt: skip


@pytest.mark.parametrize("case", named(BUNDLE_CASES))
def test_bundle(verify, model, case):
    report = verify(case, model, oracle.statement_of(FILES))
    if case.reason is None:
        found = {e["name"]: e["digest"] for e in report["entries"]}
        assert found == {n: hashlib.sha256(d).hexdigest() for n, d in FILES.items()}


STATEMENT_CASES = [
    # 1.3: the statement
    Case("type-missing", "malformed", "_type", signed=put("_type", DROP)),
    Case("type-old", "malformed", "_type",
         signed=put("_type", "https://in-toto.io/Statement/v0.1")),
    Case("unknown-member", "malformed", "more", signed=put("more", 1)),
    Case("predicate-type-missing", "malformed", "predicateType", signed=put("predicateType", DROP)),
    Case("predicate-type-1.1", "malformed", "predicateType",
         signed=put("predicateType", "https://model_signing/signature/v1.1")),
    Case("predicate-type-slash", "malformed", "predicateType",
         signed=put("predicateType", oracle.PREDICATE_TYPE + "/")),
    Case("predicate-missing", "malformed", "predicate", signed=put("predicate", DROP)),
    Case("predicate-list", "malformed", "predicate", signed=put("predicate", [])),
    Case("predicate-unknown-member", "malformed", "more", signed=predicate("more", 1)),
    Case("subject-missing", "malformed", "subject", signed=put("subject", DROP)),
    Case("subject-none", "malformed", "0 subjects", signed=put("subject", [])),
    Case("subject-two", "malformed", "2 subjects",
         signed=lambda d: put("subject", 1, d["subject"][0])(d)),
    Case("subject-string", "malformed", "subject", signed=put("subject", ["model"])),
    Case("subject-name-missing", "malformed", "name", signed=put("subject", 0, "name", DROP)),
    Case("subject-name-number", "malformed", "name", signed=put("subject", 0, "name", 1)),
    Case("subject-name-empty", None, signed=put("subject", 0, "name", "")),
    Case("subject-name-any", None, signed=put("subject", 0, "name", "../\u202egpj\0")),
    Case("subject-unknown-member", None, signed=put("subject", 0, "annotations", {"a": 1})),
    Case("subject-further-digest", None, signed=put("subject", 0, "digest", "sha512", "00")),
    Case("root-digest-missing", "malformed", "digest", signed=put("subject", 0, "digest", DROP)),
    Case("root-digest-other-hash", "malformed", "sha256",
         signed=put("subject", 0, "digest", {"sha512": "0" * 128})),
    Case("root-digest-wrong", "malformed", "root digest",
         signed=put("subject", 0, "digest", "sha256", "0" * 64)),
    Case("root-digest-upper-case", "malformed", "root digest",
         signed=lambda d: put("subject", 0, "digest", "sha256",
                              d["subject"][0]["digest"]["sha256"].upper())(d)),
    Case("root-digest-of-sorted", "malformed", "root digest",
         signed=lambda d: d["predicate"]["resources"].reverse()),
    Case("statement-list", "malformed", "statement", signed=lambda d: b"[]"),
    Case("statement-empty", "malformed", "statement", signed=lambda d: b""),
    Case("statement-byte-order-mark", "malformed",
         signed=as_text(lambda text: b"\xef\xbb\xbf" + text)),
    Case("statement-utf-16", "malformed", signed=as_text(lambda t: t.decode().encode("utf-16"))),
    Case("statement-invalid-utf-8", "malformed", "UTF-8", signed=replaced(b"config", b"conf\xff")),
    Case("statement-nul-behind", "malformed", signed=as_text(lambda text: text + b"\0")),
    Case("statement-lone-surrogate", "malformed", "surrogate",
         signed=put("subject", 0, "name", LONE)),
    Case("statement-duplicate", "malformed", "twice",
         signed=replaced(b'"predicateType"', b'"predicateType": "x", "predicateType"')),
    Case("statement-duplicate-escaped", "malformed", "twice",
         signed=replaced(b'"digest"', b'"digest": {}, "d\\u0069gest"')),
    Case("statement-nan", "malformed", signed=replaced(b"false", b"NaN")),
    Case("statement-deeply-nested", "malformed", "nest",
         signed=put("subject", 0, "annotations", json.loads("[" * 200 + "]" * 200))),
    # 1.3: serialization
    Case("serialization-missing", "malformed", "serialization",
         signed=predicate("serialization", DROP)),
    Case("serialization-unknown-member", "malformed", "more", signed=how("more", 1)),
    Case("method-missing", "malformed", "method", signed=how("method", DROP)),
    Case("method-unknown", "unsupported", "method", signed=how("method", "tensors")),
    Case("method-number", "malformed", "method", signed=how("method", 1)),
    Case("hash-missing", "malformed", "hash_type", signed=how("hash_type", DROP)),
    *(
        Case(f"hash-{name}", "unsupported", "hash_type", signed=how("hash_type", name))
        for name in ("sha512", "SHA256", "blake2", "md5")
    ),
    Case("hash-is-another", "malformed", "algorithm", signed=how("hash_type", "blake3")),
    Case("shard-size-with-files", "malformed", "shard_size", signed=how("shard_size", 1000)),
    Case("symlinks-missing", "malformed", "allow_symlinks", signed=how("allow_symlinks", DROP)),
    Case("symlinks-string", "malformed", "allow_symlinks", signed=how("allow_symlinks", "false")),
    Case("symlinks-number", "malformed", "allow_symlinks", signed=how("allow_symlinks", 0)),
    Case("symlinks-null", "malformed", "allow_symlinks", signed=how("allow_symlinks", None)),
    Case("symlinks-allowed", "unsupported", "symbolic links", signed=how("allow_symlinks", True)),
    Case("symlinks-allowed-by-both", None, signed=how("allow_symlinks", True),
         options=("--allow-symlinks",)),
    Case("ignore-missing", None, signed=how("ignore_paths", DROP)),
    Case("ignore-null", "malformed", "ignore_paths", signed=how("ignore_paths", None)),
    Case("ignore-string", "malformed", "ignore_paths", signed=how("ignore_paths", ".git")),
    Case("ignore-number", "malformed", "ignore_paths", signed=how("ignore_paths", [1])),
    Case("ignore-twice", None, signed=how("ignore_paths", ["x", "x"])),
    Case("ignore-listed-file", None, signed=how("ignore_paths", ["config.json", "layers"])),
    *(
        Case(f"ignore-path-{index}", "malformed", "ignore_paths",
             signed=how("ignore_paths", ["fine", path]))
        for index, path in enumerate(
            ["", ".", "..", "/", "/etc", "../x", "a/../b", "./a", "a/", "a//b", "a/.", "a\0b"])
    ),
    # 1.3: resources
    Case("resources-missing", "malformed", "resources", signed=predicate("resources", DROP)),
    Case("resources-object", "malformed", "resources", signed=predicate("resources", {})),
    Case("resources-empty", "malformed", "no files", signed=resource([])),
    Case("resource-string", "malformed", "resource", signed=predicate("resources", 0, "README.md")),
    Case("resource-unknown-member", None, signed=predicate("resources", 0, "mediaType", "x")),
    Case("resource-in-any-order", None, signed=shuffled),
    Case("resource-twice", "malformed", "twice", signed=repeated),
    Case("name-missing", "malformed", "name", signed=predicate("resources", 0, "name", DROP)),
    Case("name-number", "malformed", "name", signed=predicate("resources", 0, "name", 1)),
    Case("algorithm-missing", "malformed", "algorithm",
         signed=predicate("resources", 0, "algorithm", DROP)),
    Case("algorithm-another", "malformed", "algorithm",
         signed=predicate("resources", 0, "algorithm", "blake3")),
    Case("algorithm-sharded", "malformed", "algorithm",
         signed=predicate("resources", 0, "algorithm", "sha256-sharded-1000")),
    Case("digest-missing", "malformed", "digest", signed=predicate("resources", 0, "digest", DROP)),
    Case("digest-number", "malformed", "digest", signed=predicate("resources", 0, "digest", 1)),
    Case("digest-short", "malformed", "digest", signed=resource(0, "digest", "00" * 31)),
    Case("digest-long", "malformed", "digest", signed=resource(0, "digest", "00" * 33)),
    Case("digest-empty", "malformed", "digest", signed=resource(0, "digest", "")),
    Case("digest-upper-case", "malformed", "digest",
         signed=lambda d: resource(0, "digest",
                                   d["predicate"]["resources"][0]["digest"].upper())(d)),
    Case("digest-with-spaces", "malformed", "digest",
         signed=lambda d: resource(0, "digest",
                                   " " + d["predicate"]["resources"][0]["digest"])(d)),
    Case("digest-wrong", "digest-mismatch", signed=resource(0, "digest", "0" * 64)),
    # 1.4: names, which are refused and not repaired
    *(
        Case(f"name-{label}", "malformed", "path", signed=renamed("config.json", name))
        for label, name in {
            "empty": "", "dot-first": "./config.json", "slash-first": "/config.json",
            "slash-last": "config.json/", "two-slashes": "layers//1.bin", "dot-within": "a/./b",
            "parent": "..", "parent-first": "../config.json",
            "parent-within": "layers/../config.json",
            "parent-last": "config.json/..", "nul": "config.json\0.txt",
        }.items()
    ),
    Case("name-dot-among-others", "malformed", '"."', signed=renamed("config.json", ".")),
    Case("name-lone-surrogate", "malformed", "surrogate",
         signed=renamed("config.json", "config" + LONE)),
    Case("name-other-case", "missing-file", "1 missing, 1 extra",
         signed=renamed("config.json", "Config.json")),
    Case("name-decomposed", "missing-file", "1 missing, 1 extra",
         signed=renamed("a b 'c' \u00fc:\n.txt", "a b 'c' u\u0308:\n.txt")),
    Case("name-backslash", "missing-file", "1 missing, 1 extra",
         signed=renamed("layers/1.bin", "layers\\1.bin")),
    Case("name-with-space-behind", "missing-file", "1 missing, 1 extra",
         signed=renamed("config.json", "config.json ")),
    Case("name-of-a-directory", "missing-file", "1 missing, 1 extra",
         signed=renamed("config.json", "layers")),
    Case("name-beneath-a-file", "missing-file", "1 missing, 1 extra",
         signed=renamed("config.json", "README.md/config.json")),
]  # fmt: skip


@pytest.mark.parametrize("case", named(STATEMENT_CASES))
def test_statement(verify, model, case):
    verify(case, model, oracle.statement_of(FILES))


@pytest.mark.parametrize("hash_name", oracle.HASHES)
@pytest.mark.parametrize("shard_size", [None, 1, SHARD, 1 << 53])
def test_every_hash_and_method(verify, tmp_path, hash_name, shard_size):
    files = {"a": b"12", "b/c": support.content(1, 40), "empty": b""}
    tree = oracle.write_files(tmp_path / "tree", files)
    case = Case("right", None)
    report = verify(case, tree, oracle.statement_of(files, hash_name, shard_size))
    assert report["model"]["hash"] == hash_name
    (tree / "b/c").write_bytes(support.content(2, 40))
    case = Case("changed", "digest-mismatch", "1 changed" if shard_size != 1 else "changed")
    verify(case, tree, oracle.statement_of(files, hash_name, shard_size))


# ---- shards -------------------------------------------------------------------------------------


def python_shards(document):
    """As the reference writes them: a float, and the size in the algorithm's name."""
    document["predicate"]["serialization"]["shard_size"] = float(SHARD)
    for item in document["predicate"]["resources"]:
        item["algorithm"] = f"sha256-sharded-{SHARD}"


def without_shard(name):
    def change(document):
        listed = document["predicate"]["resources"]
        assert name in [item["name"] for item in listed]
        document["predicate"]["resources"] = [item for item in listed if item["name"] != name]
        return oracle.reroot(document)

    return change


def shard_renamed(new):
    return renamed("layers/0/weights.bin:1000:2000", f"layers/0/weights.bin:{new}")


SHARD_CASES = [
    Case("right", None),
    Case("in-any-order", None, signed=shuffled),
    Case("as-the-reference-writes", None, signed=python_shards),
    Case("size-as-float", None, signed=how("shard_size", 1000.0)),
    Case("size-with-exponent", None, signed=replaced(b'"shard_size": 1000', b'"shard_size": 1E3')),
    Case("algorithm-of-another-size", "malformed", "algorithm",
         signed=predicate("resources", 0, "algorithm", "sha256-sharded-1001")),
    Case("algorithm-of-another-hash", "malformed", "algorithm",
         signed=predicate("resources", 0, "algorithm", "blake2b-sharded-1000")),
    *(
        Case(f"size-{name}", "malformed", "shard_size", signed=how("shard_size", value))
        for name, value in {
            "missing": DROP, "null": None, "string": "1000", "zero": 0, "negative": -1000,
            "fraction": 1000.5, "boolean": True, "too-large": 1 << 64, "list": [1000],
        }.items()
    ),
    Case("size-beyond-2-53", "malformed", "shard_size", signed=how("shard_size", 2.0**54)),
    Case("size-another", "malformed", "shard", signed=how("shard_size", 500)),
    Case("empty-file-listed", "malformed", "shard",
         signed=lambda d: resource(6, {"name": "__init__.py:0:0", "algorithm": "sha256",
                                       "digest": hashlib.sha256().hexdigest()})(d)),
    Case("first-missing", "extra-file", signed=without_shard("layers/0/weights.bin:0:1000")),
    Case("middle-missing", "extra-file", signed=without_shard("layers/0/weights.bin:1000:2000")),
    Case("last-missing", "extra-file", signed=without_shard("layers/0/weights.bin:2000:2500")),
    Case("one-too-many", "missing-file",
         signed=lambda d: resource(6, {"name": "layers/0/weights.bin:3000:4000",
                                       "algorithm": "sha256", "digest": "0" * 64})(d)),
    Case("twice", "malformed", "twice", signed=repeated),
    *(
        Case(f"offsets-{label}", "malformed", "shard", signed=shard_renamed(new))
        for label, new in {
            "plus": "+1000:2000", "space": " 1000:2000", "leading-zero": "01000:2000",
            "end-leading-zero": "1000:02000", "hex": "0x3e8:2000", "fraction": "1000.0:2000",
            "exponent": "1e3:2000", "negative": "-1000:2000", "empty": ":2000", "no-end": "1000:",
            "reversed": "2000:1000", "nothing": "1000:1000", "overlap": "500:1500",
            "too-long": "1000:2001", "huge": "1000:99999999999999999999", "letters": "a:b",
            "no-offsets": "", "underscore": "1_000:2000", "arabic": "\u0661\u0660\u0660\u0660:2000",
        }.items()
    ),
    Case("offsets-missing", "malformed", "shard",
         signed=renamed("layers/0/weights.bin:1000:2000", "layers/0/weights.bin")),
    Case("end-too-low", "digest-mismatch",
         signed=renamed("layers/0/weights.bin:2000:2500", "layers/0/weights.bin:2000:2499")),
    Case("end-too-high", "digest-mismatch",
         signed=renamed("layers/0/weights.bin:2000:2500", "layers/0/weights.bin:2000:2501")),
    Case("inner-end-too-low", "digest-mismatch",
         signed=renamed("layers/0/weights.bin:0:1000", "layers/0/weights.bin:0:999")),
]  # fmt: skip


@pytest.mark.parametrize("case", named(SHARD_CASES))
def test_shards(verify, model, case):
    report = verify(case, model, oracle.statement_of(FILES, shard_size=SHARD))
    if case.reason is None:
        # The format leaves empty files out of shards; the report says so.
        assert [u["path"] for u in report["unsigned"]] == ["__init__.py"]


def test_shards_of_names_with_colons(verify, tmp_path):
    files = {"a:1:2": b"x" * 15, "a": b"y" * 15, "a:0:10": b"z"}
    tree = oracle.write_files(tmp_path / "tree", files)
    report = verify(Case("right", None), tree, oracle.statement_of(files, shard_size=10))
    assert {e["name"] for e in report["entries"]} == set(files)


# ---- what is there ------------------------------------------------------------------------------

GIT = {".git/config": b"", ".gitignore": b"*", ".gitattributes": b"", ".github/x/y.yml": b""}


def test_git_files_are_left_out_at_the_top_only(verify, tmp_path):
    tree = oracle.write_files(tmp_path / "tree", {**FILES, **GIT})
    report = verify(Case("top", None), tree, oracle.statement_of(FILES))
    assert {i["path"] for i in report["ignored"]} == {".git", ".gitignore", ".gitattributes",
                                                      ".github"}  # fmt: skip
    for name in ("layers/.git/config", ".gitmodules", ".github2", ".git2/x"):
        extra = oracle.write_files(tmp_path / name.replace("/", "-"), {**FILES, name: b""})
        verify(Case("elsewhere", "extra-file"), extra, oracle.statement_of(FILES))


def test_listed_files_are_checked_wherever_they_are(verify, tmp_path):
    """No ignore rule, a default, signed or the caller's, makes a hole in what was signed."""
    files = {**FILES, **GIT}
    tree = oracle.write_files(tmp_path / "tree", files)
    document = oracle.statement_of(files, ignore=["layers"])
    every = ("--ignore", "config.json", "--ignore", "layers")
    verify(Case("as signed", None), tree, copy.deepcopy(document))
    for name in (".gitignore", "layers/1.bin", "config.json", ".github/x/y.yml"):
        support.pathlib.Path(tree / name).write_bytes(b"changed")
        verify(Case("changed", "digest-mismatch", options=every), tree, copy.deepcopy(document))
        (tree / name).unlink()
        verify(Case("gone", "missing-file", options=every), tree, copy.deepcopy(document))
        oracle.write_files(tree, {name: files[name]})


@pytest.mark.parametrize("by", ["signature", "caller"])
@pytest.mark.parametrize(
    "rule,name,ignored",
    [
        ("cache", "cache", True),
        ("cache", "cache/deep/x", True),
        ("cache", "cachex", False),
        ("cache", "sub/cache", False),
        ("cache", "Cache", False),
        ("sub/cache", "sub/cache/x", True),
        ("sub/cache", "sub/other", False),
        ("*", "anything", False),
        ("*", "*", True),
        ("*.tmp", "x.tmp", False),
        ("**", "a/b", False),
        ("a?", "ab", False),
        ("[ab]", "a", False),
    ],
)
def test_ignore_rules(verify, tmp_path, by, rule, name, ignored):
    tree = oracle.write_files(tmp_path / "tree", {**FILES, name: b"unsigned"})
    signed = [rule] if by == "signature" else []
    options = ("--ignore", rule) if by == "caller" else ()
    case = Case("ignored", None if ignored else "extra-file", options=options)
    report = verify(case, tree, oracle.statement_of(FILES, ignore=signed))
    if ignored:
        source = {"signature": "signed", "caller": "caller"}[by]
        assert report["ignored"] == [{"path": rule, "by": source}]
        strict = Case("strict", "extra-file", options=("--strict-paths",))
        verify(strict, tree, oracle.statement_of(FILES, ignore=signed))


@pytest.mark.parametrize("rule", ["", ".", "..", "../model", "a/..", "/"])
def test_rules_that_no_caller_may_give(hallmark, keys, model, tmp_path, rule):
    key = keys["python", "ec-p256"]
    file = tmp_path / "x.sig"
    file.write_text(json.dumps(oracle.sign_oms(oracle.statement_of(FILES), key.python)))
    result = hallmark("verify", model, "--key", key.public, "--signature", file, "--ignore", rule)
    assert result.rc in (support.REFUSED, support.USAGE), result


def test_one_file_by_name_or_dot(verify, tmp_path):
    files = {"weights.bin": support.content(1, 25)}
    single = oracle.write_files(tmp_path / "m", files) / "weights.bin"
    for shard_size in (None, 10):
        for name in (".", "weights.bin"):
            document = oracle.statement_of({name: files["weights.bin"]}, shard_size=shard_size)
            says = "content only" if name == "." else ""
            report = verify(Case("right", None, says), single, document)
            assert {e["name"] for e in report["entries"]} == {"weights.bin"}
    two = {"weights.bin": files["weights.bin"], "other": b"x"}
    cases = [
        (Case("other-name", "missing-file", "1 missing, 1 extra"),
         oracle.statement_of({"other.bin": files["weights.bin"]})),
        (Case("in-a-folder", "missing-file"),
         oracle.statement_of({"m/weights.bin": files["weights.bin"]})),
        (Case("two-files", "missing-file", "1 missing"), oracle.statement_of(two)),
        (Case("dot-and-name", "malformed", '"."'),
         oracle.statement_of({".": files["weights.bin"], "weights.bin": files["weights.bin"]})),
        (Case("dot-other-content", "digest-mismatch"), oracle.statement_of({".": b"x"})),
        (Case("dot-slash", "malformed", "path"),
         oracle.statement_of({"./weights.bin": files["weights.bin"]})),
    ]  # fmt: skip
    for case, document in cases:
        verify(case, single, document)
    # The directory is not the file: its only file has a name.
    verify(Case("directory", "missing-file"), single.parent,
           oracle.statement_of({".": files["weights.bin"]}))  # fmt: skip


def linked(folder, link, target):
    path = folder / link
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def test_links(verify, tmp_path):
    content = FILES["config.json"]
    outside = oracle.write_files(tmp_path / "outside", {"config.json": content})
    files = {**FILES, "link": content}
    both = ("--allow-symlinks",)
    kinds = {
        "inside": ("config.json", None),
        "inside-by-way-of-parent": ("layers/../config.json", None),
        "outside": (outside / "config.json", "missing-file"),
        "outside-relative": ("../outside/config.json", "missing-file"),
        "out-and-in-again": ("../inside-tree/config.json", "missing-file"),
        "directory": ("layers", "missing-file"),
        "nowhere": ("gone", "missing-file"),
        "circle": ("link", "missing-file"),
    }
    for kind, (target, reason) in kinds.items():
        tree = oracle.write_files(tmp_path / f"{kind}-tree", FILES)
        linked(tree, "link", target)
        listed = how("allow_symlinks", True)
        verify(Case(kind, reason, signed=listed, options=both), tree, oracle.statement_of(files))
        # Without both sides' leave there is no link at all.
        verify(Case(kind, "unsupported", signed=listed), tree, oracle.statement_of(files))
        verify(Case(kind, "missing-file", options=both), tree, oracle.statement_of(files))
        verify(Case(kind, "extra-file"), tree, oracle.statement_of(FILES))
        verify(Case(kind, "extra-file", signed=listed, options=both), tree,
               oracle.statement_of(FILES))  # fmt: skip


def test_a_linked_parent_is_no_way_to_a_listed_file(verify, tmp_path):
    tree = oracle.write_files(tmp_path / "tree", {n: d for n, d in FILES.items() if "/" not in n})
    oracle.write_files(tmp_path / "elsewhere", {"0/weights.bin": FILES["layers/0/weights.bin"],
                                                "1.bin": FILES["layers/1.bin"]})  # fmt: skip
    (tree / "layers").symlink_to(tmp_path / "elsewhere")
    for options in ((), ("--ignore-unsigned",), ("--ignore", "layers"), ("--allow-symlinks",)):
        verify(Case("linked", "missing-file", options=options), tree, oracle.statement_of(FILES))


# ---- the signature ------------------------------------------------------------------------------


@pytest.mark.parametrize("key_type", support.CURVES)
def test_every_curve(verify, keys, model, key_type):
    key, other = keys["python", key_type], keys["python", key_type, "other"]
    document = oracle.statement_of(FILES)
    report = verify(Case("right", None), model, document, key=key)
    assert report["signer"]["key_fingerprint"] == key.fingerprint
    verify(Case("other", "untrusted-signer", "hint"), model, document, key=key, public=other.public)
    no_hint = Case("other", "bad-signature", written=material("publicKey", {}))
    verify(no_hint, model, document, key=key, public=other.public)
    for algorithm in (hashes.SHA256(), hashes.SHA384(), hashes.SHA512(), hashes.SHA1()):
        right = isinstance(algorithm, oracle.CURVE_HASHES[key.python.curve.name])
        case = Case(algorithm.name, None if right else "bad-signature")
        verify(case, model, document, key=key, algorithm=algorithm)


def spoilt(change):
    def written(document):
        signature = document["dsseEnvelope"]["signatures"][0]
        signature["sig"] = oracle.b64(change(base64.b64decode(signature["sig"])))

    return written


def raw_signature(der):
    r, s = utils.decode_dss_signature(der)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def other_half(der):
    r, s = utils.decode_dss_signature(der)
    return utils.encode_dss_signature(r, P256_ORDER - s)


def plus_order(der):
    r, s = utils.decode_dss_signature(der)
    return utils.encode_dss_signature(r, s + P256_ORDER)


SIGNATURE_CASES = [
    Case("no-encoding", "bad-signature", more={"encode": lambda payload: payload}),
    Case("old-encoding", "bad-signature", more={"encode": oracle.old_pae}),
    Case("old-encoding-allowed", "bad-signature", more={"encode": oracle.old_pae},
         options=("--allow-v0.2.0",)),
    Case("encoding-other-type", "bad-signature",
         more={"encode": lambda payload: oracle.pae(payload, "application/json")}),
    Case("encoding-version-2", "bad-signature",
         more={"encode": lambda payload: oracle.pae(payload).replace(b"v1", b"v2", 1)}),
    Case("encoding-no-length", "bad-signature",
         more={"encode": lambda payload: b"DSSEv1 28 application/vnd.in-toto+json " + payload}),
    Case("over-base64", "bad-signature",
         more={"encode": lambda payload: oracle.pae(oracle.b64(payload).encode())}),
    Case("empty", "bad-signature", written=spoilt(lambda der: b"")),
    Case("cut-off", "bad-signature", written=spoilt(lambda der: der[:-1])),
    Case("byte-behind", "bad-signature", written=spoilt(lambda der: der + b"\0")),
    Case("byte-changed", "bad-signature",
         written=spoilt(lambda der: der[:-1] + bytes([der[-1] ^ 1]))),
    Case("raw", "bad-signature", written=spoilt(raw_signature)),
    Case("zeros", "bad-signature", written=spoilt(lambda der: utils.encode_dss_signature(0, 0))),
    Case("ones", "bad-signature", written=spoilt(lambda der: utils.encode_dss_signature(1, 1))),
    Case("not-der", "bad-signature", written=spoilt(lambda der: b"signature")),
    Case("s-plus-order", "bad-signature", written=spoilt(plus_order)),
    # ECDSA has two signatures for each; neither identifies anything.
    Case("other-half", None, written=spoilt(other_half)),
    Case("payload-changed", "bad-signature",
         written=with_payload(lambda text: oracle.b64(base64.b64decode(text) + b" "))),
]  # fmt: skip


@pytest.mark.parametrize("case", named(SIGNATURE_CASES))
def test_signature(verify, model, case):
    verify(case, model, oracle.statement_of(FILES), **case.more)


def test_signature_before_content(verify, model):
    """Of a badly signed statement nothing is used, not even to say that it is malformed."""
    document = oracle.statement_of(FILES)
    del document["predicate"]
    case = Case("both", "bad-signature", written=spoilt(lambda der: der[:-1] + bytes([der[-1] ^ 1])))
    verify(case, model, document)


EXTENSIONS = {
    "rsa-2048": lambda key, message: oracle.sign_pss(key, message, 32),
    "rsa-3072": lambda key, message: oracle.sign_pss(key, message, 32),
    "ed25519": lambda key, message: key.sign(message),
}


@pytest.mark.parametrize("key_type", EXTENSIONS)
def test_keys_beyond_the_specification(verify, keys, model, key_type):
    """RSA-PSS with a salt of 32 bytes, and Ed25519; only when the caller gives such a key."""
    key = keys["python", key_type]
    document = oracle.statement_of(FILES)
    payload = json.dumps(document).encode()
    signature = EXTENSIONS[key_type](key.python, oracle.pae(payload))

    def signed_with(signature):
        return Case("other", "bad-signature", written=lambda _: oracle.bundle(
            payload, signature, oracle.key_material(key.python)))  # fmt: skip

    good = dataclasses.replace(signed_with(signature), reason=None)
    report = verify(good, model, document, public=key.public)
    assert report["signer"]["key_type"] == key_type
    changed = signature[:-1] + bytes([signature[-1] ^ 1])
    verify(signed_with(changed), model, document, public=key.public)
    unencoded = EXTENSIONS[key_type](key.python, payload)
    verify(signed_with(unencoded), model, document, public=key.public)
    if key_type != "ed25519":
        longest = oracle.sign_pss(key.python, oracle.pae(payload))
        verify(signed_with(longest), model, document, public=key.public)
        by_rule_1 = key.python.sign(oracle.pae(payload), padding.PKCS1v15(), hashes.SHA256())
        verify(signed_with(by_rule_1), model, document, public=key.public)
    # An EC signature under that key, with and without the hint that would tell.
    verify(Case("hint", "untrusted-signer", "hint"), model, document, public=key.public)
    no_hint = Case("no-hint", "bad-signature", written=material("publicKey", {}))
    verify(no_hint, model, document, public=key.public)


@pytest.mark.parametrize("curve", [ec.SECP256K1, ec.BrainpoolP256R1, ec.SECP224R1])
def test_curves_that_oms_has_not(hallmark, model, tmp_path, curve):
    key = support.save_key(tmp_path, "odd", "odd", ec.generate_private_key(curve()))
    file = tmp_path / "model.sig"
    bundle = oracle.sign_oms(oracle.statement_of(FILES), key.python, algorithm=hashes.SHA256())
    file.write_text(json.dumps(bundle))
    result = hallmark("verify", model, "--signature", file, "--key", key.public, "--json")
    assert (result.rc, result.json()["reason"]) == (support.REFUSED, "unsupported"), result


def test_hint_of_a_compressed_key(hallmark, keys, model, tmp_path):
    """The hint is that of the uncompressed point, however the caller's file spells the key."""
    key = keys["python", "ec-p256"]
    compressed = tmp_path / "compressed.pub"
    openssl = ["ec", "-pubin", "-in", key.public, "-conv_form", "compressed", "-pubout"]
    compressed.write_bytes(support.openssl(*openssl))
    assert len(compressed.read_bytes()) < len(key.public.read_bytes())
    file = tmp_path / "model.sig"
    file.write_text(json.dumps(oracle.sign_oms(oracle.statement_of(FILES), key.python)))
    hallmark("verify", model, "--signature", file, "--key", compressed, expect=support.OK)


def test_the_key_comes_from_the_caller(verify, keys, model):
    """A key that the bundle carries is not used, whatever it is."""
    mine, theirs = keys["python", "ec-p256"], keys["python", "ec-p256", "other"]

    def carried(document):
        pem = oracle.public_pem(theirs.python.public_key())
        document["verificationMaterial"]["publicKey"] = {"rawBytes": oracle.b64(pem)}

    case = Case("carried", "bad-signature", written=carried)
    verify(case, model, oracle.statement_of(FILES), key=theirs, public=mine.public)


# ---- model_signing 0.2.0 ------------------------------------------------------------------------

OLD = ("--allow-v0.2.0",)


def old_subject(*path_and_value):
    return put("subject", *path_and_value)


OLD_CASES = [
    Case("right", None, "faulty encoding", options=OLD),
    Case("not-allowed", "unsupported", "0.2.0"),
    Case("right-encoding", "bad-signature", options=OLD, more={"encode": oracle.pae}),
    Case("annotation-missing", None, options=OLD, signed=old_subject(0, "annotations", DROP)),
    Case("annotation-empty", None, options=OLD, signed=old_subject(0, "annotations", {})),
    Case("annotation-other", "unsupported", "file-sha256", options=OLD,
         signed=old_subject(0, "annotations", "actual_hash_algorithm", "file-blake2")),
    Case("annotation-type", "unsupported", options=OLD, signed=old_subject(0, "annotations", [])),
    Case("no-files", "malformed", "no files", options=OLD, signed=put("subject", [])),
    Case("twice", "malformed", "twice", options=OLD,
         signed=lambda d: old_subject(len(d["subject"]), d["subject"][0])(d)),
    Case("parent", "malformed", "path", options=OLD, signed=old_subject(0, "name", "../README.md")),
    Case("digest-wrong", "digest-mismatch", options=OLD,
         signed=old_subject(0, "digest", "sha256", "0" * 64)),
    Case("digest-other", "malformed", options=OLD, signed=old_subject(0, "digest", {"sha1": "00"})),
    Case("file-more", "missing-file", options=OLD,
         signed=lambda d: old_subject(len(d["subject"]), {"name": "x", "digest": {
             "sha256": "0" * 64}})(d)),
    Case("statement-type", "malformed", "_type", options=OLD, signed=put("_type", "x")),
]  # fmt: skip


@pytest.mark.parametrize("case", named(OLD_CASES))
@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p521"])
def test_release_0_2_0(verify, keys, model, case, key_type):
    """Its encoding, its predicate and SHA-256 for every curve come together or not at all."""
    how_signed = {"encode": oracle.old_pae, "algorithm": hashes.SHA256(), **case.more}
    verify(case, model, oracle.old_statement(FILES), key=keys["python", key_type], **how_signed)


def test_release_0_2_0_with_the_hash_of_the_curve(verify, keys, model):
    case = Case("sha512", "bad-signature", options=OLD)
    verify(case, model, oracle.old_statement(FILES), key=keys["python", "ec-p521"],
           encode=oracle.old_pae)  # fmt: skip


def test_literal_of_0_2_0(verify, keys, tmp_path):
    """Every byte that the faulty encoding treats on its own."""
    files = {"\\ ' \r\n\t \x01\x1f\x7f \u00fc\u20ac\U0001f600": b"x", 'q"q': b"y"}
    tree = oracle.write_files(tmp_path / "tree", files)
    text = json.dumps(oracle.old_statement(files), ensure_ascii=False, indent="\t").encode()
    verify(Case("right", None, options=OLD), tree, text, encode=oracle.old_pae,
           algorithm=hashes.SHA256())  # fmt: skip


# ---- size ---------------------------------------------------------------------------------------


def test_size_limit(hallmark, keys, model, tmp_path):
    file = tmp_path / "huge.sig"
    with file.open("wb") as out:
        out.write(b'{"mediaType": "')
        out.truncate(65 << 20)
    key = keys["python", "ec-p256"]
    result = hallmark("verify", model, "--signature", file, "--key", key.public, "--json",
                      expect=support.REFUSED)  # fmt: skip
    assert result.json()["reason"] == "malformed"
