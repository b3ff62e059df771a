# SPDX-License-Identifier: Apache-2.0
"""The troubles that users meet, and the ways in which verification is usually bypassed: each is
provoked for real, and the message that comes must stand in docs/troubleshooting.md or
docs/threat-model.md, where users look for it."""

import base64
import functools
import hashlib
import json
import os
import pathlib
import pickle
import re
import shutil
import subprocess
import tempfile
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.x509.oid import ExtendedKeyUsageOID

import support

DOCS = pathlib.Path(__file__).resolve().parent.parent.parent / "docs"


def plain(text):
    """Without fingerprints, which differ from run to run, and with single spaces."""
    return " ".join(re.sub(r"\b[0-9a-f]{64}\b", "...", text).split())


@functools.cache
def page(name):
    return plain((DOCS / name).read_text())


def told(result, message, where="troubleshooting.md"):
    """The user sees the message, and finds it in the documentation."""
    assert plain(message) in plain(result.out + result.err), str(result)
    assert plain(message) in page(where), f"{where} does not have: {message}"


class Place:
    """A directory to work in, so that messages name files as a user would."""

    def __init__(self, hallmark, folder):
        self.program = hallmark
        self.folder = folder

    def __call__(self, *arguments, **options):
        return self.program(*arguments, cwd=self.folder, **options)

    def __truediv__(self, name):
        return self.folder / name

    def key(self, key, name="signer"):
        """Copies a key pair here."""
        support.write_private(self / f"{name}.pem", key.private.read_bytes())
        (self / f"{name}.pub").write_bytes(key.public.read_bytes())

    def certificate(self, certificate, name):
        (self / f"{name}.crt").write_bytes(certificate.path.read_bytes())


@pytest.fixture
def place(hallmark, tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    support.make_model(folder / "model")
    support.make_model_file(folder / "model.bin")
    return Place(hallmark, folder)


@pytest.fixture
def ec(keys):
    return keys["openssl", "ec-p256"]


@pytest.fixture
def rsa(keys):
    return keys["openssl", "rsa-3072"]


def manifest(place, key, signature, name="model.bin"):
    """A manifest-json around any signature."""
    content = {
        "model_file": name,
        "sha256": hashlib.sha256((place / name).read_bytes()).hexdigest(),
        "signature": base64.b64encode(signature).decode(),
        "signer": "somebody",
        "signed_at": "2026-01-05T20:31:07+00:00",
        "algorithm": "RSA-PSS-SHA256",
        "key_size": 3072,
    }
    (place / "model.manifest.json").write_text(json.dumps(content, indent=2))


# ---- private keys -------------------------------------------------------------------------------


def test_wrong_passphrase(place, ec):
    support.write_private(place / "signer.pem", ec.encrypted.read_bytes())
    result = place("sign", "model", "--key", "signer.pem", "--passphrase-fd", "0",
                   input=b"wrong\n", expect=3)  # fmt: skip
    told(result, "hallmark: the passphrase for signer.pem is wrong or the file is damaged")
    place("sign", "model", "--key", "signer.pem", "--passphrase-fd", "0",
          input=support.PASSPHRASE + b"\n", expect=0)  # fmt: skip


def test_no_terminal_to_ask_on(place, ec):
    support.write_private(place / "signer.pem", ec.encrypted.read_bytes())
    done = subprocess.run(
        place.program.command("sign", "model", "--key", "signer.pem"),
        cwd=place.folder,
        env=place.program.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        start_new_session=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    told(support.Result(done.returncode, done.stdout, done.stderr),
         "hallmark: a passphrase is needed for signer.pem, and there is no terminal to ask on; "
         "use --passphrase-file or --passphrase-fd")  # fmt: skip


def test_passphrase_for_a_key_that_has_none(place, ec):
    place.key(ec)
    place("sign", "model", "--key", "signer.pem", "--passphrase-fd", "0", input=b"x\n", expect=0)


def test_damaged_key(place, ec):
    support.write_private(place / "signer.pem", ec.private.read_bytes()[:-60])
    told(place("sign", "model", "--key", "signer.pem", expect=3),
         "hallmark: signer.pem: the PEM text is damaged")  # fmt: skip


def test_public_and_private_key_mixed_up(place, ec):
    place.key(ec)
    os.chmod(place / "signer.pub", 0o600)
    told(place("sign", "model", "--key", "signer.pub", expect=(2, 3)),
         "hallmark: signer.pub holds a public key where a private key belongs")  # fmt: skip
    told(place("verify", "model", "--key", "signer.pem", expect=2),
         "hallmark: signer.pem holds a private key where a public key belongs")  # fmt: skip
    support.write_private(place / "notes.txt", b"the key is in the other folder")
    told(place("sign", "model", "--key", "notes.txt", expect=3),
         "hallmark: notes.txt does not hold a private key in PEM")  # fmt: skip


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_key_open_to_others(place, ec, mode):
    place.key(ec)
    os.chmod(place / "signer.pem", mode)
    result = place("sign", "model", "--key", "signer.pem", expect=3)
    assert f"(mode {mode:04o})" in result.err
    if mode == 0o644:
        told(result, "hallmark: the private key signer.pem is open to other users (mode 0644) "
             "hallmark: chmod 600 signer.pem (of a Kubernetes secret: defaultMode: 0400)")  # fmt: skip
    os.chmod(place / "signer.pem", 0o600)
    place("sign", "model", "--key", "signer.pem", expect=0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_key_of_another_user(place, ec):
    place.key(ec)
    os.chown(place / "signer.pem", 65534, -1)
    told(place("sign", "model", "--key", "signer.pem", expect=3),
         "hallmark: the private key signer.pem belongs to another user (65534) "
         "hallmark: use a copy that is yours: `install -m 600 signer.pem COPY`")  # fmt: skip


def test_key_that_may_not_be_opened(place, ec):
    """Root may open anything, so root tries as somebody else, with a program that they can run."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        program = pathlib.Path(folder) / "hallmark"
        shutil.copy(place.program.binary, program)
        support.write_private(pathlib.Path(folder) / "signer.pem", ec.private.read_bytes())
        os.chmod(pathlib.Path(folder) / "signer.pem", 0o000)
        (pathlib.Path(folder) / "model.bin").write_bytes(b"model")
        done = subprocess.run(
            [program, "sign", "model.bin", "--key", "signer.pem"],
            cwd=folder,
            env=place.program.environment(),
            user=65534 if os.geteuid() == 0 else None,
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 3
    told(support.Result(done.returncode, done.stdout, done.stderr),
         "hallmark: cannot open the private key signer.pem: Permission denied")  # fmt: skip


# ---- signatures that do not verify --------------------------------------------------------------

DIGEST_TEXT, DIGEST_BYTES = "text", "bytes"
PSS = functools.partial(padding.PSS, mgf=padding.MGF1(hashes.SHA256()))


@pytest.mark.parametrize(
    ("how", "signed", "good"),
    [
        (PSS(salt_length=padding.PSS.MAX_LENGTH), DIGEST_TEXT, True),
        (PSS(salt_length=padding.PSS.MAX_LENGTH), DIGEST_BYTES, False),
        (PSS(salt_length=32), DIGEST_TEXT, False),
        (padding.PSS(padding.MGF1(hashes.SHA512()), 222), DIGEST_TEXT, False),
        (padding.PKCS1v15(), DIGEST_TEXT, False),
    ],
    ids=["as-it-should-be", "raw-digest", "short-salt", "other-mgf", "pkcs1"],
)
def test_other_padding_or_other_bytes(place, rsa, how, signed, good):
    place.key(rsa)
    digest = hashlib.sha256((place / "model.bin").read_bytes())
    data = digest.hexdigest().encode() if signed == DIGEST_TEXT else digest.digest()
    manifest(place, rsa, rsa.python.sign(data, how, hashes.SHA256()))
    result = place("verify", "model.bin", "--key", "signer.pub", expect=0 if good else 1)
    if not good:
        told(result, "hallmark: the signature does not verify under the rsa-3072 key ... "
             "(bad-signature)")  # fmt: skip


def test_manifest_signed_as_printed(place, rsa, metadata_file):
    """sig-json: not the text in the file is signed but json.dumps(manifest, sort_keys=True)."""
    place.key(rsa)
    place("sign", "model.bin", "--key", "signer.pem", "--format", "sig-json", "--metadata",
          metadata_file, expect=0)  # fmt: skip
    content = json.loads((place / "model.bin.sig").read_text())
    how = PSS(salt_length=padding.PSS.MAX_LENGTH)
    for text, expected in [
        (json.dumps(content["manifest"], indent=2), 1),
        (json.dumps(content["manifest"], sort_keys=True), 0),
    ]:
        content["signature"] = rsa.python.sign(text.encode(), how, hashes.SHA256()).hex()
        (place / "model.bin.sig").write_text(json.dumps(content))
        result = place("verify", "model.bin", "--key", "signer.pub", expect=expected)
        if expected:
            told(result, "hallmark: the signature does not verify under the rsa-3072 key ... "
                 "(bad-signature)")  # fmt: skip


def test_another_key(place, keys, ec, rsa):
    place.key(ec)
    place.key(keys["openssl", "ec-p256", "other"], "other")
    place.key(rsa, "rsa")
    place("sign", "model", "--key", "signer.pem", expect=0)
    told(place("verify", "model", "--key", "other.pub", expect=1),
         "hallmark: the signature names the key with the hint ...; the key that is believed has "
         "the hint ... (untrusted-signer)")  # fmt: skip
    place("sign", "model.bin", "--key", "rsa.pem", "--format", "manifest-json", expect=0)
    told(place("verify", "model.bin", "--key", "signer.pub", expect=1),
         "hallmark: the ec-p256 key ... cannot have made this kind of signature "
         "(untrusted-signer)")  # fmt: skip


def test_key_for_certificate_and_certificate_for_key(place, pki, ec):
    leaf = pki.leaf("ci")
    place.key(leaf.key)
    place.certificate(leaf, "ci")
    place.certificate(pki.root, "root")
    place("sign", "model", "--key", "signer.pem", "--cert", "ci.crt", expect=0)
    told(place("verify", "model", "--key", "signer.pub", expect=1),
         "hallmark: the signature is by certificate; only bare keys are believed "
         "(untrusted-signer)")  # fmt: skip
    place("sign", "model", "--key", "signer.pem", expect=0)
    told(place("verify", "model", "--root", "root.crt", expect=1),
         "hallmark: the signature is by a bare key; only certificates are believed "
         "(untrusted-signer)")  # fmt: skip


# ---- text where bytes are wanted ----------------------------------------------------------------


def test_text_that_is_no_utf8(place, rsa):
    place.key(rsa)
    sign = ["sign", "model.bin", "--key", "signer.pem", "--format"]
    told(place(*sign, "manifest-json", "--signer-id", b"team-\xff", expect=2),
         "hallmark: the signer's id is not UTF-8")  # fmt: skip
    (place / "metadata.json").write_bytes(b'{"dataset_hash": "\xff"}')
    told(place(*sign, "sig-json", "--metadata", "metadata.json", expect=2),
         "hallmark: the training metadata: byte 18: not valid UTF-8")  # fmt: skip


def test_metadata_that_is_not_complete(place, rsa):
    place.key(rsa)
    content = {key: value for key, value in support.METADATA.items() if key != "hyperparameters"}
    (place / "metadata.json").write_text(json.dumps(content))
    told(place("sign", "model.bin", "--key", "signer.pem", "--format", "sig-json", "--metadata",
               "metadata.json", expect=2),
         'hallmark: the training metadata: missing "hyperparameters"')  # fmt: skip


# ---- digests that differ ------------------------------------------------------------------------


class Writer(threading.Thread):
    """Appends to a file all the time, as a training job or a download does."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path = path
        self.ended = threading.Event()

    def run(self):
        with open(self.path, "ab", buffering=0) as out:
            while not self.ended.is_set():
                out.write(b"x")
                time.sleep(0.0005)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()


def test_hash_mismatch_while_somebody_writes(place, ec):
    place.key(ec)
    with open(place / "model.bin", "wb") as out:
        out.truncate(256 << 20)
    place("sign", "model.bin", "--key", "signer.pem", "--signature", "old.sig", expect=0)
    with Writer(place / "model.bin"):
        result = place("sign", "model.bin", "--key", "signer.pem", expect=1)
        told(result, "hallmark: model.bin changed while it was being read "
             "(changed-while-reading) "
             "hallmark: wait until nothing writes to the model, then try again")  # fmt: skip
        assert not (place / "model.bin.sig").exists()
        result = place("verify", "model.bin", "--key", "signer.pub", "--signature", "old.sig",
                       expect=1)  # fmt: skip
    assert "changed-while-reading" in result.err


def test_stale_bytes(place, ec):
    place.key(ec)
    place("sign", "model", "--key", "signer.pem", expect=0)
    support.flip(place / "model" / "model.safetensors", 12345)
    told(place("verify", "model", "--key", "signer.pub", expect=1),
         "refused: model (digest-mismatch)")  # fmt: skip


# ---- pickle -------------------------------------------------------------------------------------


class Payload:
    """What runs when it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return (os.mkdir, (self.marker,))


def test_pickle_is_read_as_bytes(place, ec):
    """A signed pickle verifies, whatever is in it, and Hallmark does not load it."""
    place.key(ec)
    (place / "model.bin").write_bytes(pickle.dumps(Payload(place / "ran")))
    place("sign", "model.bin", "--key", "signer.pem", expect=0)
    result = place("verify", "model.bin", "--key", "signer.pub", expect=0)
    assert result.out.startswith("verified: model.bin\n")
    assert not (place / "ran").exists()
    assert "loading one runs the code in it" in page("troubleshooting.md")
    pickle.loads((place / "model.bin").read_bytes())
    assert (place / "ran").exists(), "the pickle of this test is harmless"


# ---- files, names, models -----------------------------------------------------------------------


def test_file_that_is_not_signed(place, ec):
    place.key(ec)
    place("sign", "model", "--key", "signer.pem", expect=0)
    (place / "model" / "cache.tmp").write_text("x")
    told(place("verify", "model", "--key", "signer.pub", expect=1),
         "refused: model (extra-file) "
         "model is not what was signed: 0 changed, 0 missing, 1 extra")  # fmt: skip
    place("verify", "model", "--key", "signer.pub", "--ignore", "cache.tmp", expect=0)


@pytest.mark.parametrize("format_name", ["sig-json", "manifest-json", "oms"])
def test_file_under_another_name(place, rsa, metadata_file, format_name):
    place.key(rsa)
    shutil.copy(place / "model.bin", place / "classifier.bin")
    metadata = ["--metadata", metadata_file] if format_name == "sig-json" else []
    place("sign", "classifier.bin", "--key", "signer.pem", "--format", format_name, "--signature",
          "it.sig", *metadata, expect=0)  # fmt: skip
    verify = ["verify", "model.bin", "--key", "signer.pub", "--signature", "it.sig"]
    told(place(*verify, expect=1),
         "note: the signature is of a file named classifier.bin; if this is that file under "
         "another name, say --name classifier.bin")  # fmt: skip
    place(*verify, "--name", "classifier.bin", expect=0)


def test_models_that_cannot_be_signed(place, ec):
    place.key(ec)
    sign = ["sign", "model", "--key", "signer.pem"]
    (place / "model" / "link").symlink_to("config.json")
    told(place(*sign, expect=1),
         "hallmark: link in model is a symbolic link and cannot be signed (unsupported)")  # fmt: skip
    (place / "model" / "link").unlink()
    os.mkfifo(place / "model" / "pipe")
    told(place(*sign, expect=1),
         "hallmark: pipe in model is a named pipe and cannot be signed (unsupported)")  # fmt: skip
    (place / "empty").mkdir()
    told(place("sign", "empty", "--key", "signer.pem", expect=1),
         "hallmark: the model empty has no file to sign (unsupported)")  # fmt: skip
    (place / "current").symlink_to("model")
    told(place("sign", "current", "--key", "signer.pem", expect=1),
         "hallmark: the model current is a symbolic link (unsupported)")  # fmt: skip
    (place / "model.bin.sig").write_text("notes")
    told(place("sign", "model.bin", "--key", "signer.pem", expect=2),
         "hallmark: model.bin.sig is not a signature file of this format, and is not written "
         "over")  # fmt: skip
    assert (place / "model.bin.sig").read_text() == "notes"


def test_formats_and_keys_that_do_not_go_together(place, ec, rsa):
    place.key(ec)
    place.key(rsa, "rsa")
    told(place("sign", "model.bin", "--key", "signer.pem", "--format", "manifest-json", expect=2),
         "hallmark: the format manifest-json needs an RSA key; this one is ec-p256")  # fmt: skip
    told(place("sign", "model.bin", "--key", "rsa.pem", "--format", "sig-json", expect=2),
         "hallmark: the format sig-json needs training metadata")  # fmt: skip
    told(place("sign", "model", "--key", "rsa.pem", "--format", "sig-json", expect=2),
         "hallmark: model is a directory, and the sig-json format signs single files")  # fmt: skip
    place("sign", "model.bin", "--key", "rsa.pem", "--format", "manifest-json", expect=0)
    told(place("verify", "model.bin", "--key", "rsa.pub", "--format", "oms", expect=1),
         "hallmark: the policy demands format oms, and this signature is manifest-json "
         "(unsupported)")  # fmt: skip


def test_signature_files_that_cannot_be_read(place, ec):
    place.key(ec)
    verify = ["verify", "model.bin", "--key", "signer.pub"]
    (place / "model.bin.sig").write_text("<!DOCTYPE html>")
    told(place(*verify, expect=1),
         "hallmark: model.bin.sig: byte 0: a value must stand here (malformed)")  # fmt: skip
    (place / "model.bin.sig").write_text('{"error": "not found"}')
    told(place(*verify, expect=1),
         "hallmark: model.bin.sig is not a signature file of any format known here "
         "(malformed)")  # fmt: skip


def bundle_of(place, name="model/model.sig"):
    return json.loads((place / name).read_text())


def test_signatures_of_other_kinds(place, ec):
    place.key(ec)
    place("sign", "model", "--key", "signer.pem", expect=0)
    bundle = bundle_of(place)
    keyless = bundle | {"verificationMaterial": {"certificate": {"rawBytes": "AAAA"}}}
    (place / "model/model.sig").write_text(json.dumps(keyless))
    told(place("verify", "model", "--key", "signer.pub", expect=1),
         "hallmark: the signature is by the sigstore method (keyless), which is not supported "
         "(unsupported)")  # fmt: skip
    old = {"predicateType": "https://model_signing/Digests/v0.1"}
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(old).encode()).decode()
    (place / "model/model.sig").write_text(json.dumps(bundle))
    told(place("verify", "model", "--key", "signer.pub", expect=1),
         "hallmark: the signature is of model_signing 0.2.0, whose encoding is faulty "
         "(unsupported)")  # fmt: skip


# ---- certificates -------------------------------------------------------------------------------


def sign_by_certificate(place, pki, **options):
    leaf = pki.leaf("ci", **options)
    place.key(leaf.key)
    place.certificate(leaf, "ci")
    place.certificate(pki.intermediate, "intermediate")
    place.certificate(pki.root, "root")
    place("sign", "model", "--key", "signer.pem", "--cert", "ci.crt", "--chain",
          "intermediate.crt", expect=0)  # fmt: skip


def test_certificates(place, pki):
    sign_by_certificate(place, pki)
    verify = ["verify", "model", "--root", "root.crt"]
    place(*verify, "--identity-subject", "CN=ci,O=Test", expect=0)
    told(place(*verify, "--identity-subject", "CN=release,O=Test", expect=1),
         'hallmark: the signer\'s certificate (CN=ci,O=Test) has not the subject '
         '"CN=release,O=Test" that is demanded (untrusted-signer)')  # fmt: skip
    place("sign", "model", "--key", "signer.pem", "--cert", "ci.crt", expect=0)
    told(place(*verify, expect=1),
         "hallmark: the signer's certificate does not lead to a root that is believed: unable to "
         "get local issuer certificate: CN=ci,O=Test (untrusted-signer)")  # fmt: skip
    sign_by_certificate(place, pki, eku=[ExtendedKeyUsageOID.SERVER_AUTH])
    told(place(*verify, expect=1),
         "hallmark: the signer's certificate is not for signing models: its extended key usage "
         "has no codeSigning (untrusted-signer)")  # fmt: skip


def test_inspect_shows_what_can_be_pinned(place, pki):
    names = [x509.UniformResourceIdentifier("https://ci.example/x"), x509.DNSName("ci.example")]
    sign_by_certificate(place, pki, san=names)
    told_of = {}
    for claim in place("inspect", "model/model.sig", "--json", expect=0).json()["claimed"]:
        told_of.setdefault(claim["name"], []).append(claim["value"])
    verify = ["verify", "model", "--root", "root.crt"]
    place(*verify, "--identity-subject", told_of["certificate"][0], expect=0)
    place(*verify, "--identity-fingerprint", told_of["certificate_fingerprint"][0], expect=0)
    for name in told_of["certificate_alternative_name"]:
        place(*verify, "--identity-san", name.partition(":")[2], expect=0)
    assert len(told_of["certificate_alternative_name"]) == 2
    assert told_of["chain_certificate"] == ["CN=intermediate,O=Test"]


def test_inspect_survives_a_damaged_certificate(place, pki):
    """It shows what can be shown, and says what cannot."""
    sign_by_certificate(place, pki)
    key = pki.intermediate.key.python
    name = pki.intermediate.x509.subject
    damaged = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"no names")
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
        .public_key(key.public_key()).not_valid_before(support.utc_now())
        .not_valid_after(support.utc_now()).add_extension(damaged, critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    bundle = bundle_of(place)
    der = made.public_bytes(support.serialization.Encoding.DER)
    chain = bundle["verificationMaterial"]["x509CertificateChain"]["certificates"]
    chain[0] = {"rawBytes": base64.b64encode(der).decode()}
    (place / "model/model.sig").write_text(json.dumps(bundle))
    report = place("inspect", "model/model.sig", "--json", expect=0).json()
    assert "alternative names cannot be read" in report["warnings"][0]
    assert report["entries"]
    place("verify", "model", "--root", "root.crt", expect=1)


# ---- ways around verification -------------------------------------------------------------------


def test_compromised_signing_infrastructure(place, keys, pki, ec):
    """What a thief signs verifies until the key is believed no more; a certificate ends itself."""
    threat = "threat-model.md"
    place.key(ec, "stolen")
    place.key(keys["openssl", "ec-p256", "new"], "new")
    support.flip(place / "model" / "model.safetensors", 1000)
    place("sign", "model", "--key", "stolen.pem", expect=0)
    result = place("verify", "model", "--key", "stolen.pub", "--key", "new.pub", expect=0)
    assert ec.fingerprint in result.out
    told(place("verify", "model", "--key", "new.pub", expect=1),
         "hallmark: the signature names the key with the hint ...; the key that is believed has "
         "the hint ... (untrusted-signer)", threat)  # fmt: skip
    sign_by_certificate(place, pki, starts=-30, ends=-1)
    expired = (
        "hallmark: the signer's certificate does not lead to a root that is believed: "
        "certificate has expired: CN=ci,O=Test (expired)"
    )
    told(place("verify", "model", "--root", "root.crt", expect=1), expired, threat)
    told(place("verify", "model", "--root", "root.crt", expect=1), expired)


def test_replaced_model_and_signature(place, keys, pki, ec, tmp_path):
    """Man in the middle: model and signature are both replaced."""
    threat = "threat-model.md"
    place.key(ec)
    place.key(keys["openssl", "ec-p256", "mallory"], "mallory")
    place("sign", "model", "--key", "signer.pem", expect=0)
    hint = bundle_of(place)["verificationMaterial"]["publicKey"]["hint"]
    support.flip(place / "model" / "model.safetensors", 1000)
    place("sign", "model", "--key", "mallory.pem", expect=0)
    told(place("verify", "model", "--key", "signer.pub", expect=1),
         "hallmark: the signature names the key with the hint ...; the key that is believed has "
         "the hint ... (untrusted-signer)", threat)  # fmt: skip

    forged = bundle_of(place)
    forged["verificationMaterial"]["publicKey"]["hint"] = hint
    (place / "model/model.sig").write_text(json.dumps(forged))
    told(place("verify", "model", "--key", "signer.pub", expect=1),
         "hallmark: the signature does not verify under the ec-p256 key ... "
         "(bad-signature)", threat)  # fmt: skip

    place.certificate(pki.root, "root")
    (tmp_path / "theirs").mkdir()
    theirs = support.Pki(tmp_path / "theirs")
    own_root = theirs.issue("mallory", None, ca=True)
    leaf = theirs.leaf("leaf", issuer=own_root)
    support.write_private(place / "leaf.pem", leaf.key.private.read_bytes())
    place.certificate(leaf, "leaf")
    place("sign", "model", "--key", "leaf.pem", "--cert", "leaf.crt", expect=0)
    bundle = bundle_of(place)
    root_der = base64.b64encode(own_root.x509.public_bytes(support.serialization.Encoding.DER))
    chain = bundle["verificationMaterial"]["x509CertificateChain"]["certificates"]
    chain.append({"rawBytes": root_der.decode()})
    (place / "model/model.sig").write_text(json.dumps(bundle))
    told(place("verify", "model", "--root", "root.crt", expect=1),
         "hallmark: the signer's certificate does not lead to a root that is believed: "
         "self-signed certificate in certificate chain: CN=mallory,O=Test "
         "(untrusted-signer)", threat)  # fmt: skip


def test_rollback_is_not_detected(place, ec):
    """Said in the threat model: formats carry no freshness."""
    place.key(ec)
    place("sign", "model", "--key", "signer.pem", expect=0)
    shutil.copytree(place / "model", place / "old")
    support.flip(place / "model" / "model.safetensors", 0)
    place("sign", "model", "--key", "signer.pem", expect=0)
    shutil.rmtree(place / "model")
    shutil.copytree(place / "old", place / "model")
    place("verify", "model", "--key", "signer.pub", expect=0)
    assert "An older model with its own good signature verifies" in page("threat-model.md")


def test_verification_bypass(place, ec):
    """No signature, or nobody to believe: that is not let through with a warning."""
    threat = "threat-model.md"
    place.key(ec)
    told(place("verify", "model", "--key", "signer.pub", expect=1),
         "hallmark: the model model is not signed: there is no signature in any default place "
         "(unsigned)", threat)  # fmt: skip
    place("sign", "model", "--key", "signer.pem", expect=0)
    told(place("verify", "model", expect=2),
         "hallmark: say whom to believe: --key PUB, --root CERT, --keyring FILE or --policy FILE",
         threat)  # fmt: skip


def verify_options(place):
    """Every option of verify that takes no value, and those with a value that could help."""
    text = place("verify", "--help", expect=0).out
    flags = re.findall(r"^  (--[a-z0-9.-]+)(?:  |$)", text, re.MULTILINE)
    flags = [flag for flag in flags if flag != "--help"]
    assert {"--ignore-unsigned", "--allow-v0.2.0", "--fail-fast"} <= set(flags)
    for flag in flags:
        yield [flag]
    yield ["--ignore", "model.safetensors"]
    yield ["--name", "model.safetensors"]
    yield ["--format", "oms"]
    loose = [flag for flag in flags if flag != "--strict-paths"]
    yield [*loose, "--ignore", "model.safetensors"]


@pytest.mark.parametrize("attack", ["changed", "unsigned", "forged", "missing"])
def test_no_option_lets_a_changed_model_pass(place, keys, ec, attack):
    place.key(ec)
    place("sign", "model", "--key", "signer.pem", expect=0)
    if attack == "changed":
        support.flip(place / "model" / "model.safetensors", 5)
    elif attack == "missing":
        (place / "model" / "model.safetensors").unlink()
    elif attack == "unsigned":
        (place / "model" / "model.sig").unlink()
    else:
        bundle = bundle_of(place)
        other = keys["openssl", "ec-p256", "forger"]
        bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(
            other.python.sign(b"anything", support.ec.ECDSA(hashes.SHA256()))
        ).decode()
        (place / "model/model.sig").write_text(json.dumps(bundle))
    for options in verify_options(place):
        result = place("verify", "model", "--key", "signer.pub", *options)
        assert result.rc in (1, 2), f"{options}: {result}"


def test_every_failure_has_a_status_of_its_own(place, ec):
    place.key(ec)
    place("sign", "model", "--key", "signer.pem", expect=0)
    verify = ["verify", "model", "--key", "signer.pub"]
    place(*verify, expect=0)
    place(*verify, "--no-such-option", expect=2)
    place("verify", "model", "--key", "missing.pub", expect=3)
    place("verify", "missing", "--key", "signer.pub", expect=3)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            place.program.command(*verify),
            cwd=place.folder,
            env=place.program.environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == 3
    assert b"cannot write the report" in done.stderr


# ---- limits of signing --------------------------------------------------------------------------


def test_signed_poison_verifies(place, ec):
    """Said in the threat model: what is poisoned before it is signed is signed."""
    place.key(ec)
    support.flip(place / "model" / "model.safetensors", 77)
    place("sign", "model", "--key", "signer.pem", expect=0)
    place("verify", "model", "--key", "signer.pub", expect=0)
    assert "not that it is harmless or correct" in page("threat-model.md")


def test_unsigned_model_is_refused(place, ec):
    """A third party's model without a signature; its digest can still be compared."""
    place.key(ec)
    result = place("verify", "model.bin", "--key", "signer.pub", "--json", expect=1)
    assert result.json()["reason"] == "unsigned"
    digest = place("digest", "model.bin", "--json", expect=0).json()["model"]["model_digest"]
    support.flip(place / "model.bin", 3)
    changed = place("digest", "model.bin", "--json", expect=0).json()["model"]["model_digest"]
    assert digest != changed


@pytest.mark.parametrize("name", ["md5", "sha1", "sha-1", "sha224", "SHA256", "crc32", ""])
def test_weak_hashes_are_not_to_be_had(place, ec, name):
    place.key(ec)
    place("sign", "model", "--key", "signer.pem", "--hash", name, expect=2)
    place("digest", "model", "--hash", name, expect=2)


# ---- provenance ---------------------------------------------------------------------------------


def with_provenance(place):
    support.make_metadata(place / "metadata.json")
    place("sign", "model", "--key", "signer.pem", "--metadata", "metadata.json", expect=0)
    return place / "model" / "model.provenance.sigstore.json"


def test_provenance_is_the_signers(place, keys, ec):
    """A statement of an earlier version, and one by another believed key, have the model refused."""
    place.key(ec)
    place.key(keys["openssl", "ec-p256", "other"], "other")
    statement = with_provenance(place)
    earlier = statement.read_bytes()
    statement.unlink()
    place("sign", "model", "--key", "other.pem", expect=0)
    statement.write_bytes(earlier)
    result = place("verify", "model", "--key", "signer.pub", "--key", "other.pub", expect=1)
    told(result, "hallmark: the provenance model/model.provenance.sigstore.json is by the key ..., "
                 "which did not sign the model (untrusted-signer)")  # fmt: skip
    (place / "model" / "README.md").write_text("another version")
    with_provenance(place)
    place("verify", "model", "--key", "signer.pub", expect=0)
    statement.write_bytes(earlier)
    result = place("verify", "model", "--key", "signer.pub", expect=1)
    told(result, "hallmark: the provenance model/model.provenance.sigstore.json is of another "
                 "model, or of another version of this one (provenance)")  # fmt: skip


def test_missing_provenance(place, ec):
    """Nobody notices that it was taken away, unless it is demanded."""
    place.key(ec)
    with_provenance(place).unlink()
    place("verify", "model", "--key", "signer.pub", expect=0)
    result = place("verify", "model", "--key", "signer.pub", "--require-provenance", expect=1)
    assert "(provenance)" in result.err


def test_times_without_a_zone(place, ec):
    place.key(ec)
    (place / "metadata.json").write_text('{"start_time": "2026-01-05T08:00:00"}')
    result = place("sign", "model", "--key", "signer.pem", "--metadata", "metadata.json", expect=2)
    told(result, 'hallmark: the training metadata: "start_time" is not an RFC 3339 time with its '
                 'zone, such as "2026-01-05T08:00:00Z", as a provenance statement needs '
                 'it')  # fmt: skip


# ---- policy files -------------------------------------------------------------------------------


def policy(place, text, rule):
    """policy.yaml, with one signer whose key is signer.pub."""
    (place.folder / "policy.yaml").write_text(
        f"version: 1\nsigners:\n  training: {{keys: [{{file: signer.pub{text}}}]}}\nmodels:\n{rule}"
    )
    return ["--policy", "policy.yaml"]


def test_mistakes_in_a_policy(place, ec):
    place.key(ec)
    policy(place, "", "  - name: x\n    pined: {}\n")
    told(place("policy", "check", "policy.yaml", expect=3),
         'hallmark: policy.yaml:6:5: "pined" is not a key that belongs here')  # fmt: skip
    told(place("policy", "check", "policy.yaml", expect=3), 'hallmark: did you mean "pinned"?')
    policy(place, "", "  - path: /x\n    signers:\n      - training\n    name:   50\n")
    result = place("policy", "check", "policy.yaml", expect=3)
    assert 'policy.yaml:8:13: "name" must be' in result.err
    policy(place, "", "  - path: /x\n    signers:\n      - training\n    # 50\n    name:    50\n")
    told(place("policy", "check", "policy.yaml", expect=3),
         'hallmark: policy.yaml:9:14: "name" must be a text, and this is a number')  # fmt: skip
    told(place("policy", "check", "policy.yaml", expect=3),
         "hallmark: if a text is meant, put it in quotes")  # fmt: skip


def test_no_rule_is_about_the_model(place, ec):
    place.key(ec)
    how = policy(place, "", "  - {name: other, signers: training}\n")
    result = place("verify", "model", *how, expect=1)
    result.stderr = result.stderr.replace(str(place.folder).encode(), b"...")
    told(result, "hallmark: no rule of policy.yaml is about the model .../model (untrusted-signer)")


def test_a_threshold_that_is_not_met(place, ec, rsa):
    place.key(ec)
    (place.folder / "review.pub").write_bytes(rsa.public.read_bytes())
    how = policy(place, "", "  - {name: model, signers: [training, review], threshold: 2, "
                            "signatures: [model.sig, review.sig]}\n")  # fmt: skip
    path = place.folder / "policy.yaml"
    path.write_text(path.read_text().replace("models:", "  review: {keys: review.pub}\nmodels:"))
    place("sign", "model", "--key", "signer.pem", expect=0)
    told(place("verify", "model", *how, expect=1),
         "hallmark: 1 of 2 demanded signers: model/review.sig: there is no signature at "
         "model/review.sig (unsigned)")  # fmt: skip
    told(place("verify", "model", *how, "--signature", "model/model.sig", expect=1),
         "hallmark: the signatures are by 1 of the 2 demanded signers (untrusted-signer)")  # fmt: skip


def test_keys_whose_time_is_over(place, ec):
    place.key(ec)
    place("sign", "model", "--key", "signer.pem", expect=0)
    rule = "  - {name: model, signers: training}\n"
    how = policy(place, ", not-after: 2026-03-31", rule)
    told(place("verify", "model", *how, expect=1, env={"HALLMARK_TIME": "1790000000"}),
         "hallmark: the signature is by a key of training that is no longer believed since "
         "2026-03-31T23:59:59Z (...) (expired)")  # fmt: skip
    revoked = ', revoked: {since: "2026-02-11T09:00:00Z", reason: laptop stolen}'
    how = policy(place, revoked, rule)
    told(place("verify", "model", *how, expect=1, env={"HALLMARK_TIME": "1790000000"}),
         "hallmark: the signature is by the key ..., which is revoked since "
         "2026-02-11T09:00:00Z: laptop stolen (revoked-key)")  # fmt: skip


# ---- the pages themselves -----------------------------------------------------------------------


def everything():
    """The text of all tests, with texts that go over several lines put together."""
    text = "\n".join(path.read_text() for path in sorted(support.ROOT.glob("tests/**/test_*.py")))
    return re.sub(r'["\']\s*\n\s*f?["\']', "", text)


def test_the_threat_model_names_tests_that_exist():
    named = set(re.findall(r"`(test_\w+)`", (DOCS / "threat-model.md").read_text()))
    assert named, "no test is named"
    assert named <= set(re.findall(r"^def (test_\w+)", everything(), re.MULTILINE))


def fixed(line):
    """What of a message is the same wherever it appears: not places, not what is left out."""
    text = plain(line).removeprefix("hallmark: ").replace("'", '"')
    parts = re.split(r"\.\.\.|https?://\S*|alias/\S*:?|HTTP \d+", text)
    return [part.strip(" :") for part in parts if len(part.strip(" :")) > 9]


def test_every_message_of_the_pages_is_provoked():
    """A message in a page that no test provokes may be one that no longer exists."""
    source = plain(everything()).replace("\\'", '"').replace("'", '"').replace('\\"', '"')
    for name in ("troubleshooting.md", "threat-model.md"):
        for line in re.findall(r"^hallmark: .*$", (DOCS / name).read_text(), re.MULTILINE):
            assert fixed(line), f"{name}: says nothing: {line}"
            for part in fixed(line):
                assert part in source, f"{name}: nothing provokes {part!r} of: {line}"
