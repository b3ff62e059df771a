# SPDX-License-Identifier: Apache-2.0
"""oms bundles by certificate: which leaves may sign, and which ways lead to a root."""

import datetime

import oracle
import pytest
import support
from cases import FILES, Case, material, named
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class Issuer:
    """Certificates by extension, where support.Pki has no switch for what a case needs."""

    def __init__(self):
        self.root_key = ec.generate_private_key(ec.SECP256R1())
        self.root = self.issue("root", self.root_key, None, ca=True)
        self.middle_key = ec.generate_private_key(ec.SECP256R1())
        self.middle = self.issue("middle", self.middle_key, self.root, self.root_key, ca=True)

    def issue(self, name, key, issuer, issuer_key=None, ca=False, usage=("digital_signature",),
              eku=(ExtendedKeyUsageOID.CODE_SIGNING,), days=(-10, 100), ca_usage=True,
              algorithm=None):  # fmt: skip
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = support.utc_now()
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=days[0]))
            .not_valid_after(now + datetime.timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        )
        if issuer:
            issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
            builder = builder.add_extension(issued_by, critical=False)
        kinds = ("digital_signature", "content_commitment", "key_encipherment",
                 "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign",
                 "encipher_only", "decipher_only")  # fmt: skip
        if usage is not None:
            wanted = set(usage) | ({"key_cert_sign"} if ca and ca_usage else set())
            use = x509.KeyUsage(**{kind: kind in wanted for kind in kinds})
            builder = builder.add_extension(use, critical=True)
        if eku is not None and not (ca and issuer is None):
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(eku)), critical=False)
        return builder.sign(issuer_key or key, algorithm or hashes.SHA256())

    def leaf(self, key=None, **options):
        return self.issue("leaf", key, self.middle, self.middle_key, **options)


@pytest.fixture(scope="module")
def issuer():
    return Issuer()


@pytest.fixture
def verify_chain(verify, issuer, model, tmp_path):
    """Signs with a chain and verifies it against roots."""

    def run(case, key, chain, roots=None):
        file = tmp_path / "roots.pem"
        pems = [c.public_bytes(serialization.Encoding.PEM) for c in roots or [issuer.root]]
        file.write_bytes(b"".join(pems))
        signer = support.Key("", None, None, None, key)
        return verify(case, model, oracle.statement_of(FILES), "--root", file, key=signer,
                      material=oracle.chain_material(chain))  # fmt: skip

    return run


SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CODE = ExtendedKeyUsageOID.CODE_SIGNING
MISSING_EKU = ("--allow-missing-eku",)
EXPIRED = ("--allow-expired-certificates",)

LEAF_CASES = [
    # 1.10, row by row
    Case("right", None),
    Case("expired", "expired", "expired", more={"days": (-20, -1)}),
    Case("expired-let-pass", None, "not now", more={"days": (-5, -1)}, options=EXPIRED),
    Case("not-yet-valid", "expired", "not yet", more={"days": (1, 20)}),
    Case("not-yet-valid-let-pass", None, "not now", more={"days": (1, 20)}, options=EXPIRED),
    Case("server", "untrusted-signer", "codeSigning", more={"eku": (SERVER,)}),
    Case("server-not-let-pass", "untrusted-signer", "codeSigning", more={"eku": (SERVER,)},
         options=MISSING_EKU),
    Case("server-and-code", None, more={"eku": (SERVER, CODE)}),
    Case("usage-without-signatures", "untrusted-signer", "digitalSignature",
         more={"usage": ("content_commitment",)}),
    Case("usage-without-signatures-not-let-pass", "untrusted-signer", "digitalSignature",
         more={"usage": ("key_agreement",)}, options=MISSING_EKU),
    Case("no-extended-usage", "untrusted-signer", "extended key usage", more={"eku": None}),
    Case("no-extended-usage-let-pass", None, "extended key usage", more={"eku": None},
         options=MISSING_EKU),
    Case("no-usage", None, more={"usage": None}),
    Case("no-usage-at-all", "untrusted-signer", "no usage", more={"usage": None, "eku": None}),
    Case("no-usage-at-all-not-let-pass", "untrusted-signer", "no usage",
         more={"usage": None, "eku": None}, options=MISSING_EKU),
    Case("no-usage-server", "untrusted-signer", "codeSigning",
         more={"usage": None, "eku": (SERVER,)}),
    Case("authority", None, more={"ca": True}),
]  # fmt: skip


@pytest.mark.parametrize("case", named(LEAF_CASES))
def test_leaf(verify_chain, issuer, case):
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = issuer.leaf(key, **case.more)
    report = verify_chain(case, key, [leaf, issuer.middle])
    if case.reason is None:
        shown = report["signer"]["certificate"]
        assert shown["subject"] == "CN=leaf"
        assert shown["fingerprint"] == leaf.fingerprint(hashes.SHA256()).hex()


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_leaf_of_every_curve(verify_chain, issuer, curve):
    key = ec.generate_private_key(curve())
    verify_chain(Case("right", None), key, [issuer.leaf(key), issuer.middle])


def test_leaf_with_keys_that_will_not_do(verify_chain, issuer):
    signing = ec.generate_private_key(ec.SECP256R1())
    odd = [
        ec.generate_private_key(ec.SECP256K1()),
        ec.generate_private_key(ec.BrainpoolP256R1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ]
    for key in odd:
        verify_chain(Case("odd", "untrusted-signer"), signing, [issuer.leaf(key), issuer.middle])


def test_leaf_of_another_key(verify_chain, issuer):
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    verify_chain(Case("other", "bad-signature"), other, [issuer.leaf(key), issuer.middle])


def test_ways_to_a_root(verify_chain, issuer):
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = issuer.leaf(key)
    stranger = Issuer()
    good = Case("good", None)
    bad = Case("bad", "untrusted-signer", "root")
    verify_chain(good, key, [leaf, issuer.middle])
    verify_chain(good, key, [leaf, issuer.middle, issuer.root])
    verify_chain(good, key, [leaf, issuer.root, issuer.middle])
    verify_chain(good, key, [leaf, stranger.middle, issuer.middle])
    verify_chain(good, key, [leaf], [issuer.root, issuer.middle])
    verify_chain(bad, key, [leaf])
    verify_chain(bad, key, [leaf, stranger.middle])
    # The root in the file is nobody's word; nor is one of the same name.
    verify_chain(bad, key, [leaf, issuer.middle, issuer.root], [stranger.root])
    # Only a self-signed certificate of the caller's ends a way.
    verify_chain(bad, key, [leaf, issuer.middle], [issuer.middle])
    verify_chain(bad, key, [leaf, issuer.middle], [leaf])
    # The leaf is the first; another order is another leaf.
    verify_chain(Case("order", "bad-signature"), key, [issuer.middle, leaf])


def test_self_signed_leaf(verify_chain, issuer):
    key = ec.generate_private_key(ec.SECP256R1())
    alone = issuer.issue("alone", key, None)
    verify_chain(Case("by caller", None), key, [alone], [alone])
    verify_chain(Case("by itself", "untrusted-signer"), key, [alone])


def test_issuers_that_may_not_issue(verify_chain, issuer):
    key, between = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    bad = Case("bad", "untrusted-signer")
    for options in ({"ca": False}, {"ca": True, "ca_usage": False}):
        middle = issuer.issue("between", between, issuer.root, issuer.root_key, **options)
        leaf = issuer.issue("leaf", key, middle, between)
        verify_chain(bad, key, [leaf, middle])
    expired = issuer.issue("between", between, issuer.root, issuer.root_key, ca=True, days=(-9, -1))
    leaf = issuer.issue("leaf", key, expired, between)
    verify_chain(Case("expired", "expired"), key, [leaf, expired])
    # An authority renewed after the leaf was issued is as good as the old one.
    renewed = issuer.issue("between", between, issuer.root, issuer.root_key, ca=True, days=(-1, 9))
    verify_chain(Case("renewed", None), key, [leaf, renewed])
    weak = issuer.issue("leaf", key, issuer.middle, issuer.middle_key, algorithm=hashes.SHA224())
    assert weak.signature_hash_algorithm.name == "sha224"
    verify_chain(Case("sha224 will do", None), key, [weak, issuer.middle])


def test_chain_as_text(verify_chain, issuer):
    """What stands in the bundle must be certificates, in standard base64."""
    key = ec.generate_private_key(ec.SECP256R1())
    chain = [issuer.leaf(key), issuer.middle]
    certificates = ("x509CertificateChain", "certificates")
    cases = [
        Case("raw-missing", "malformed", "rawBytes", written=material(*certificates, 0, {})),
        Case("string", "malformed", "certificates", written=material(*certificates, 0, "x")),
        Case("raw-empty", "malformed", written=material(*certificates, 0, "rawBytes", "")),
        Case("raw-text", "malformed", written=material(*certificates, 0, "rawBytes", "AAAA")),
        Case("list-missing", "malformed", "certificates",
             written=material("x509CertificateChain", {})),
        Case("too-many", "malformed", "certificates",
             written=lambda d: material(*certificates, oracle.chain_material(chain * 9)[
                 "x509CertificateChain"]["certificates"])(d)),
        Case("byte-behind", "malformed", written=material(
            *certificates, 0, "rawBytes",
            oracle.b64(chain[0].public_bytes(serialization.Encoding.DER) + b"\0"))),
        Case("pem", "malformed", written=material(
            *certificates, 0, "rawBytes",
            oracle.b64(chain[0].public_bytes(serialization.Encoding.PEM)))),
    ]  # fmt: skip
    for case in cases:
        verify_chain(case, key, chain)


def test_key_or_certificate_as_the_caller_says(hallmark, verify, verify_chain, issuer, keys, model,
                                               tmp_path):  # fmt: skip
    document = oracle.statement_of(FILES)
    root = tmp_path / "root.pem"
    root.write_bytes(issuer.root.public_bytes(serialization.Encoding.PEM))
    by_key = Case("key", "untrusted-signer", "bare key")
    verify(by_key, model, document, "--root", root)
    key = keys["python", "ec-p256"]
    chain = oracle.chain_material([issuer.leaf(key.python), issuer.middle])
    by_chain = Case("chain", "untrusted-signer", "certificate")
    # Even though it is the very key of the leaf.
    verify(by_chain, model, document, "--key", key.public, key=key, material=chain)
