# SPDX-License-Identifier: Apache-2.0
"""sig-json and manifest-json files, each with one thing broken, or odd but right."""

import base64
import copy
import itertools
import json

import oracle
import pytest
import support
from cases import DROP, Case, apply, check, in_text, loose_bits, named, put, to_bytes
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

# ---- sig-json -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    file = tmp_path_factory.mktemp("single") / "weights.bin"
    file.write_bytes(support.content("single", 3000))
    return file


@pytest.fixture
def verify_file(hallmark, keys, tmp_path):
    """Writes a signature file of one of the RSA formats and verifies it."""

    def run(case, model, document, public=None, name="under-test.sig"):
        file = tmp_path / name
        written = apply(case.written, copy.deepcopy(document))
        file.write_bytes(apply(case.text, to_bytes(written)))
        public = public or keys["python", "rsa-2048"].public
        result = hallmark("verify", model, "--signature", file, "--key", public, *case.options,
                          "--json")  # fmt: skip
        return check(result, case)

    return run


def manifest(*path_and_value):
    return put(*path_and_value)


def encoded(change):
    """Signs something else than the canonical text of the manifest."""
    return lambda key, signed: oracle.sign_pss(key, change(signed))


def dumps(**options):
    return encoded(lambda signed: json.dumps(signed, **options).encode())


def with_salt(salt):
    return lambda key, signed: oracle.sign_pss(key, oracle.canonical(signed), salt)


def padded_with(scheme, algorithm):
    return lambda key, signed: key.sign(oracle.canonical(signed), scheme(key), algorithm())


def sha256_pss(mgf):
    return lambda key: padding.PSS(padding.MGF1(mgf()), oracle.longest_salt(key))


def hex_change(change):
    return lambda document: {**document, "signature": change(document["signature"])}


SIG_JSON_CASES = [
    Case("right", None),
    Case("compact", None,
         text=lambda text: json.dumps(json.loads(text), separators=(",", ":")).encode()),
    Case("member-signed", None, signed=manifest("anything", {"more": [1, 2.5, None]})),
    Case("no-metadata", None, signed=manifest("training_metadata", DROP)),
    Case("no-signer", None, signed=manifest("signer_id", DROP)),
    Case("no-time", None, signed=manifest("signature_timestamp", DROP)),
    Case("path-windows", None, signed=manifest("model_path", "C:\\models\\weights.bin")),
    Case("path-anywhere", None, signed=manifest("model_path", "/nowhere/../weights.bin")),
    # what is signed
    Case("hash-missing", "malformed", "model_hash", signed=manifest("model_hash", DROP)),
    Case("hash-null", "malformed", "model_hash", signed=manifest("model_hash", None)),
    Case("hash-upper-case", "malformed", "model_hash",
         signed=lambda m: {**m, "model_hash": m["model_hash"].upper()}),
    Case("hash-prefixed", "malformed", "model_hash",
         signed=lambda m: {**m, "model_hash": "sha256:" + m["model_hash"]}),
    Case("hash-short", "malformed", "model_hash",
         signed=lambda m: {**m, "model_hash": m["model_hash"][:-1]}),
    Case("hash-wrong", "digest-mismatch", signed=manifest("model_hash", "0" * 64)),
    Case("path-missing", "malformed", "model_path", signed=manifest("model_path", DROP)),
    Case("path-number", "malformed", "model_path", signed=manifest("model_path", 1)),
    Case("path-empty", "malformed", "model_path", signed=manifest("model_path", "")),
    Case("path-directory", "malformed", "model_path",
         signed=manifest("model_path", "weights.bin/")),
    Case("path-dots", "malformed", "model_path", signed=manifest("model_path", "models/..")),
    Case("path-nul", "malformed", "model_path", signed=manifest("model_path", "weights.bin\0")),
    Case("path-nul-before", "malformed", "model_path",
         signed=manifest("model_path", "a\0/weights.bin")),
    Case("path-of-another", "missing-file", "1 missing, 1 extra",
         signed=manifest("model_path", "models/spam-filter.bin")),
    Case("path-expected", None, signed=manifest("model_path", "models/spam-filter.bin"),
         options=("--name", "spam-filter.bin")),
    Case("path-other-than-expected", "missing-file", "named weights.bin, not spam-filter.bin",
         options=("--name", "spam-filter.bin")),
    Case("path-other-case", "missing-file", signed=manifest("model_path", "Weights.bin")),
    Case("signer-number", "malformed", "signer_id", signed=manifest("signer_id", 1)),
    Case("time-number", "malformed", "signature_timestamp",
         signed=manifest("signature_timestamp", 1)),
    Case("metadata-list", "malformed", "training_metadata",
         signed=manifest("training_metadata", [])),
    # how it is signed
    Case("signed-compact", "bad-signature",
         more={"by": dumps(sort_keys=True, separators=(",", ":"))}),
    Case("signed-unsorted", "bad-signature", more={"by": dumps()}),
    Case("signed-utf-8", "bad-signature", signed=manifest("signer_id", "\u00fc"),
         more={"by": dumps(sort_keys=True, ensure_ascii=False)}),
    Case("signed-indented", "bad-signature", more={"by": dumps(sort_keys=True, indent=2)}),
    Case("signed-newline", "bad-signature",
         more={"by": encoded(lambda m: oracle.canonical(m) + b"\n")}),
    Case("signed-upper-escapes", "bad-signature", signed=manifest("signer_id", "\u00fc"),
         more={"by": encoded(lambda m: oracle.canonical(m).replace(b"\\u00fc", b"\\u00FC"))}),
    *(Case(f"salt-{salt}", "bad-signature", more={"by": with_salt(salt)})
      for salt in (0, 20, 32, 221)),
    Case("pkcs1", "bad-signature",
         more={"by": padded_with(lambda key: padding.PKCS1v15(), hashes.SHA256)}),
    Case("sha384", "bad-signature", more={"by": padded_with(
        lambda key: padding.PSS(padding.MGF1(hashes.SHA384()), 256 - 48 - 2), hashes.SHA384)}),
    Case("mgf-sha1", "bad-signature",
         more={"by": padded_with(sha256_pss(hashes.SHA1), hashes.SHA256)}),
    Case("another-manifest", "bad-signature", more={"by": encoded(lambda m: b"{}")}),
    # after it was signed
    Case("hash-changed", "bad-signature", written=put("manifest", "model_hash", "0" * 64)),
    Case("path-changed", "bad-signature", written=put("manifest", "model_path", "a/weights.bin")),
    Case("signer-changed", "bad-signature", written=put("manifest", "signer_id", "someone")),
    Case("time-changed", "bad-signature", written=put("manifest", "signature_timestamp", "now")),
    Case("member-added", "bad-signature", written=put("manifest", "more", None)),
    Case("member-removed", "bad-signature", written=put("manifest", "signer_id", DROP)),
    Case("number-respelled", None, text=in_text(b"1e-05", b"0.00001")),
    Case("number-changed", "bad-signature", text=in_text(b"1e-05", b"1.0000000000000003e-05")),
    Case("integer-to-float", "bad-signature", text=in_text(b'"epochs": 3', b'"epochs": 3.0')),
    Case("string-respelled", None, text=in_text(b"torch", b"\\u0074orch")),
    Case("slash-respelled", None, signed=manifest("model_path", "a/weights.bin"),
         text=in_text(b"a/weights", b"a\\/weights")),
    # the file
    Case("manifest-missing", "malformed", written=put("manifest", DROP)),
    Case("manifest-null", "malformed", "manifest", written=put("manifest", None)),
    Case("manifest-string", "malformed", "manifest", written=put("manifest", "{}")),
    Case("manifest-empty", "bad-signature", written=put("manifest", {})),
    Case("signature-missing", "malformed", "signature", written=put("signature", DROP)),
    Case("signature-null", "malformed", "signature", written=put("signature", None)),
    Case("signature-empty", "malformed", "hex", written=put("signature", "")),
    Case("signature-upper-case", "malformed", "hex", written=hex_change(str.upper)),
    Case("signature-spaced", "malformed", "hex", written=hex_change(lambda s: s[:2] + " " + s[2:])),
    Case("signature-odd", "malformed", "hex", written=hex_change(lambda s: s[:-1])),
    Case("signature-prefixed", "malformed", "hex", written=hex_change(lambda s: "0x" + s)),
    Case("signature-base64", "malformed", "hex",
         written=hex_change(lambda s: oracle.b64(bytes.fromhex(s)))),
    Case("signature-short", "bad-signature", written=hex_change(lambda s: s[:-2])),
    Case("signature-long", "bad-signature", written=hex_change(lambda s: "00" + s)),
    Case("signature-zero", "bad-signature", written=hex_change(lambda s: "00" * 256)),
    Case("signature-ones", "bad-signature", written=hex_change(lambda s: "ff" * 256)),
    Case("member-unsigned", "malformed", "more", written=put("more", 1)),
    Case("manifest-twice", "malformed", "twice",
         text=in_text(b'"manifest"', b'"manifest": {}, "manifest"')),
    Case("hash-twice", "malformed", "twice",
         text=in_text(b'"model_hash"', b'"model_hash": "%s", "model_hash"' % (b"0" * 64))),
    Case("not-a-number", "malformed", text=in_text(b"1e-05", b"NaN")),
    Case("infinity", "malformed", text=in_text(b"1e-05", b"1e400")),
    Case("lone-surrogate", "malformed", "surrogate", text=in_text(b"torch", b"\\ud800")),
    Case("list", "malformed", text=lambda text: b"[" + text + b"]"),
    Case("empty", "malformed", text=lambda text: b""),
    Case("cut-off", "malformed", text=lambda text: text[:-1]),
    Case("something-behind", "malformed", text=lambda text: text + b"x"),
    Case("byte-order-mark", "malformed", text=lambda text: b"\xef\xbb\xbf" + text),
    Case("comment", "malformed", text=lambda text: b"// signed\n" + text),
    Case("trailing-comma", "malformed", text=lambda text: text.rstrip()[:-1] + b",}"),
    # the format is the caller's to demand
    Case("format-demanded", None, options=("--format", "sig-json")),
    Case("other-format-demanded", "unsupported", "oms", options=("--format", "oms")),
]  # fmt: skip


@pytest.mark.parametrize("case", named(SIG_JSON_CASES))
def test_sig_json(verify_file, keys, single, case):
    key = keys["python", "rsa-2048"].python
    signed = apply(case.signed, oracle.sig_json_manifest(single, support.METADATA))
    document = oracle.sign_sig_json(signed, key)
    if "by" in case.more:
        document["signature"] = case.more["by"](key, signed).hex()
    report = verify_file(case, single, document)
    if case.reason is None:
        stated = {item["name"]: item["value"] for item in report["stated"]}
        assert stated["model_path"] == signed["model_path"]
        assert report["claimed"] == []


def modulus_of(key):
    return key.python.public_key().public_numbers().n


def test_sig_json_signature_beyond_the_modulus(verify_file, keys, single):
    names = (f"roomy {i}" for i in itertools.count())
    roomy = next(key for key in (keys["python", "rsa-2048", name] for name in names)
                 if modulus_of(key) < 3 << 2046)  # fmt: skip
    key, modulus = roomy.python, modulus_of(roomy)
    signed = oracle.sig_json_manifest(single, support.METADATA)
    for _ in range(64):
        document = oracle.sign_sig_json(signed, key)
        larger = int(document["signature"], 16) + modulus
        if larger < 1 << 2048:
            document["signature"] = f"{larger:0512x}"
            verify_file(Case("larger", "bad-signature"), single, document)
            return
    pytest.fail("no signature leaves room for the modulus")


def test_rsa_keys_that_will_not_do(hallmark, keys, single, tmp_path):
    """Whoever signed: the key the caller gives is too short, of another kind, or not public."""
    manifest_of = oracle.sig_json_manifest(single, {})
    weak = support.save_key(tmp_path, "weak", "rsa-1024", rsa.generate_private_key(65537, 1024))
    file = tmp_path / "weights.bin.sig"
    file.write_text(json.dumps(oracle.sign_sig_json(manifest_of, weak.python)))
    verify = ["verify", single, "--signature", file, "--json", "--key"]
    result = hallmark(*verify, weak.public, expect=support.REFUSED)
    assert result.json()["reason"] == "unsupported"
    key = keys["python", "rsa-2048"]
    file.write_text(json.dumps(oracle.sign_sig_json(manifest_of, key.python)))
    hallmark(*verify, key.public, expect=support.OK)
    result = hallmark(*verify, key.private, expect=support.USAGE)
    for other in (("python", "rsa-2048", "other"), ("python", "rsa-3072")):
        result = hallmark(*verify, keys[other].public, expect=support.REFUSED)
        assert result.json()["reason"] == "bad-signature"
    for other in (("python", "ec-p256"), ("python", "ed25519")):
        result = hallmark(*verify, keys[other].public, expect=support.REFUSED)
        assert result.json()["reason"] == "untrusted-signer"


# ---- manifest-json ------------------------------------------------------------------------------


def base64_change(change):
    return lambda document: {**document, "signature": change(document["signature"])}


def signs(message):
    """Signs something else than the digits of the digest."""
    return lambda key, digest: oracle.sign_pss(key, message(digest))


CONTENT = "covers content only"
MEMBERS = ["model_file", "sha256", "signature", "signer", "signed_at", "algorithm", "key_size"]
PLAIN_NAMES_ONLY = [
    "", ".", "..", "../weights.bin", "./weights.bin", "a/weights.bin", "/weights.bin",
    "a\\weights.bin", "C:\\weights.bin", "weights.bin\0", "weights.bin/", "../outside.bin",
]  # fmt: skip

MANIFEST_CASES = [
    Case("right", None, CONTENT),
    Case("compact", None, CONTENT,
         text=lambda text: json.dumps(json.loads(text), separators=(",", ":")).encode()),
    # claims, which are shown as such
    Case("signer-changed", None, CONTENT, written=put("signer", "someone else")),
    Case("time-changed", None, CONTENT, written=put("signed_at", "yesterday")),
    Case("key-size-changed", None, CONTENT, written=put("key_size", 512)),
    Case("key-version", None, CONTENT, written=put("key_version", 7)),
    Case("member-unknown", None, CONTENT, written=put("verified", True)),
    # but have to be there and make sense
    *(
        Case(f"{name}-missing", "malformed", name, written=put(name, DROP))
        for name in MEMBERS
    ),
    *(
        Case(f"{name}-of-another-type", "malformed", name, written=put(name, value))
        for name, value in [("model_file", 7), ("sha256", 7), ("signature", []), ("signer", {}),
                            ("signed_at", 7), ("algorithm", 7), ("key_size", "4096")]
    ),
    Case("key-size-fraction", "malformed", "key_size", written=put("key_size", 4096.0)),
    Case("algorithm-other", "unsupported", "algorithm", written=put("algorithm", "none")),
    Case("algorithm-lower-case", "unsupported", "algorithm",
         written=put("algorithm", "rsa-pss-sha256")),
    *(
        Case(f"name-{index}", "malformed", "model_file", written=put("model_file", name))
        for index, name in enumerate(PLAIN_NAMES_ONLY)
    ),
    Case("name-of-another", "missing-file", "1 missing, 1 extra",
         written=put("model_file", "other.bin")),
    Case("name-other-case", "missing-file", written=put("model_file", "Weights.bin")),
    Case("name-expected", None, CONTENT, written=put("model_file", "other.bin"),
         options=("--name", "other.bin")),
    Case("name-other-than-expected", "missing-file", "named weights.bin, not other.bin",
         options=("--name", "other.bin")),
    Case("digest-upper-case", "malformed", "sha256",
         written=lambda m: {**m, "sha256": m["sha256"].upper()}),
    Case("digest-short", "malformed", "sha256",
         written=lambda m: {**m, "sha256": m["sha256"][:-1]}),
    Case("digest-of-another", "bad-signature", written=put("sha256", "0" * 64)),
    # how it is signed
    Case("signed-raw-digest", "bad-signature", more={"by": signs(bytes.fromhex)}),
    Case("signed-upper-case", "bad-signature", more={"by": signs(lambda d: d.upper().encode())}),
    Case("signed-newline", "bad-signature", more={"by": signs(lambda d: d.encode() + b"\n")}),
    Case("signed-nothing", "bad-signature", more={"by": signs(lambda d: b"")}),
    *(Case(f"salt-{salt}", "bad-signature",
           more={"by": lambda key, d, salt=salt: oracle.sign_pss(key, d.encode(), salt)})
      for salt in (0, 20, 32, 221)),
    Case("pkcs1", "bad-signature",
         more={"by": lambda key, d: key.sign(d.encode(), padding.PKCS1v15(), hashes.SHA256())}),
    Case("mgf-sha1", "bad-signature", more={"by": lambda key, d: key.sign(
        d.encode(), sha256_pss(hashes.SHA1)(key), hashes.SHA256())}),
    # base64
    Case("unpadded", "malformed", "base64", written=base64_change(lambda s: s.rstrip("="))),
    Case("padded-twice", "malformed", "base64", written=base64_change(lambda s: s + "==")),
    Case("newline", "malformed", "base64", written=base64_change(lambda s: s[:76] + "\n" + s[76:])),
    Case("foreign", "malformed", "base64", written=base64_change(lambda s: "!" + s)),
    Case("url-safe", "malformed", "base64",
         written=base64_change(lambda s: "-_" + s.replace("+", "-").replace("/", "_")[2:])),
    Case("loose-bits", "malformed", "base64", written=base64_change(loose_bits)),
    Case("behind-padding", "malformed", "base64", written=base64_change(lambda s: s + "AAAA")),
    Case("signature-empty", "malformed", "base64", written=put("signature", "")),
    Case("signature-short", "bad-signature", written=base64_change(
        lambda s: oracle.b64(base64.b64decode(s)[:-1]))),
    Case("signature-long", "bad-signature", written=base64_change(
        lambda s: oracle.b64(b"\0" + base64.b64decode(s)))),
    # the file
    Case("digest-twice", "malformed", "twice",
         text=in_text(b'"sha256"', b'"sha256": "", "sha256"')),
    Case("signer-twice", "malformed", "twice",
         text=in_text(b'"signer"', b'"signer": "", "signer"')),
    Case("not-a-number", "malformed", text=in_text(b'"key_size": 4096', b'"key_size": NaN')),
    Case("list", "malformed", text=lambda text: b"[" + text + b"]"),
    Case("empty", "malformed", text=lambda text: b""),
    Case("byte-order-mark", "malformed", text=lambda text: b"\xef\xbb\xbf" + text),
    Case("something-behind", "malformed", text=lambda text: text + b"{}"),
    Case("format-demanded", None, CONTENT, options=("--format", "manifest-json")),
    Case("other-format-demanded", "unsupported", "sig-json", options=("--format", "sig-json")),
]  # fmt: skip


@pytest.mark.parametrize("case", named(MANIFEST_CASES))
def test_manifest_json(verify_file, keys, single, case):
    key = keys["python", "rsa-2048"].python
    document = oracle.sign_manifest_json(single, key)
    if "by" in case.more:
        document["signature"] = oracle.b64(case.more["by"](key, document["sha256"]))
    report = verify_file(case, single, document)
    if case.reason is None:
        claims = {n: v for n, v in apply(case.written, document).items()
                  if n not in ("sha256", "signature")}  # fmt: skip
        assert {item["name"]: item["value"] for item in report["claimed"]} == claims
        assert report["stated"] == []


def entry(index, *path_and_value):
    return put("artifacts", index, *path_and_value)


def both_entries_swapped(document):
    first, second = document["artifacts"]
    for name in ("sha256", "signature"):
        first[name], second[name] = second[name], first[name]


SET = "belong together"

SET_CASES = [
    Case("right", None, SET),
    Case("in-any-order", None, SET, written=lambda d: d["artifacts"].reverse()),
    Case("time-changed", None, SET, written=put("bundle_signed_at", "never")),
    Case("entry-removed", None, SET,
         written=lambda d: (entry(1, DROP)(d), put("artifact_count", 1)(d), None)[-1]),
    Case("entry-member-unknown", None, SET, written=entry(0, "key_version", 1)),
    Case("count-high", "malformed", "artifact_count", written=put("artifact_count", 3)),
    Case("count-low", "malformed", "artifact_count", written=put("artifact_count", 1)),
    Case("count-missing", "malformed", "artifact_count", written=put("artifact_count", DROP)),
    Case("count-string", "malformed", "artifact_count", written=put("artifact_count", "2")),
    Case("count-float", "malformed", "artifact_count", written=put("artifact_count", 2.0)),
    Case("count-true", "malformed", "artifact_count", written=put("artifact_count", True)),
    Case("time-missing", "malformed", "bundle_signed_at", written=put("bundle_signed_at", DROP)),
    Case("time-number", "malformed", "bundle_signed_at", written=put("bundle_signed_at", 1)),
    Case("member-unknown", "malformed", "more", written=put("more", 1)),
    Case("list-missing", "malformed", "artifacts", written=put("artifacts", DROP)),
    Case("list-object", "malformed", "artifacts", written=put("artifacts", {})),
    Case("list-empty", "malformed", "no artifact",
         written=lambda d: {**d, "artifacts": [], "artifact_count": 0}),
    Case("entry-string", "malformed", "artifacts[1]", written=put("artifacts", 1, "config.json")),
    Case("entry-null", "malformed", "artifacts[1]", written=put("artifacts", 1, None)),
    Case("entry-twice", "malformed", "twice",
         written=lambda d: put("artifacts", 1, d["artifacts"][0])(d)),
    *(
        Case(f"entry-{name}-missing", "malformed", name, written=entry(1, name, DROP))
        for name in MEMBERS
    ),
    *(
        Case(f"entry-name-{index}", "malformed", "model_file", written=entry(1, "model_file", name))
        for index, name in enumerate(["sub/config.json", "./config.json", *PLAIN_NAMES_ONLY])
    ),
    Case("entry-signature-of-other", "bad-signature",
         written=lambda d: entry(1, "signature", d["artifacts"][0]["signature"])(d)),
    Case("entries-exchanged", "digest-mismatch", "2 changed", written=both_entries_swapped),
    Case("entry-of-missing-file", "missing-file", "1 missing",
         written=entry(1, "model_file", "gone.bin")),
]  # fmt: skip


@pytest.mark.parametrize("case", named(SET_CASES))
def test_bundle_manifest(verify_file, keys, tmp_path, case):
    key = keys["python", "rsa-2048"].python
    folder = oracle.write_files(tmp_path / "set", {"weights.pt": b"w" * 99, "config.json": b"{}",
                                                   "hook.py": b"unlisted"})  # fmt: skip
    oracle.write_files(tmp_path, {"outside.bin": b"{}", "set/sub/config.json": b"{}"})
    names = ["weights.pt", "config.json"]
    document = oracle.bundle_manifest([oracle.sign_manifest_json(folder / n, key) for n in names])
    report = verify_file(case, folder, document)
    if case.reason is None:
        listed = {item["model_file"] for item in apply(case.written, document)["artifacts"]}
        assert {e["name"] for e in report["entries"]} == listed <= set(names)


def test_bundle_manifest_by_two_keys(verify_file, keys, tmp_path):
    """Every entry under one and the same key, though both are believed."""
    one, two = keys["python", "rsa-2048"], keys["python", "rsa-2048", "other"]
    folder = oracle.write_files(tmp_path / "set", {"a": b"1", "b": b"2"})
    entries = [oracle.sign_manifest_json(folder / "a", one.python),
               oracle.sign_manifest_json(folder / "b", two.python)]  # fmt: skip
    document = oracle.bundle_manifest(entries)
    verify_file(Case("one key", "bad-signature"), folder, document)
    both = Case("both", "bad-signature", options=("--key", two.public))
    verify_file(both, folder, document)


def test_bundle_manifest_links(verify_file, keys, tmp_path):
    key = keys["python", "rsa-2048"].python
    outside = oracle.write_files(tmp_path / "outside", {"a": b"1"})
    folder = oracle.write_files(tmp_path / "set", {"b": b"2"})
    document = oracle.bundle_manifest([oracle.sign_manifest_json(outside / "a", key),
                                       oracle.sign_manifest_json(folder / "b", key)])  # fmt: skip
    (folder / "a").symlink_to(outside / "a")
    verify_file(Case("link", "missing-file"), folder, document)
    (folder / "a").unlink()
    (folder / "a").mkdir()
    verify_file(Case("directory", "missing-file"), folder, document)


# ---- one or the other ---------------------------------------------------------------------------


def test_one_format_is_not_taken_for_another(verify_file, keys, single, tmp_path):
    """A file that is two formats at once is one of them by rule, and malformed there."""
    key = keys["python", "rsa-2048"].python
    sig_json = oracle.sign_sig_json(oracle.sig_json_manifest(single, {}), key)
    manifest_json = oracle.sign_manifest_json(single, key)
    oms = oracle.sign_oms(oracle.statement_of({".": single.read_bytes()}),
                          keys["python", "ec-p256"].python)  # fmt: skip
    for mixed in ({**manifest_json, **sig_json}, {**sig_json, **oms}, {**manifest_json, **oms},
                  {**sig_json, **oracle.bundle_manifest([manifest_json])}):  # fmt: skip
        verify_file(Case("mixed", "malformed"), single, mixed)
    verify_file(Case("neither", "malformed", "format"), single, {"signature": "00"})
