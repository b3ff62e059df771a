# SPDX-License-Identifier: Apache-2.0
"""Keyrings: rotating, listing, revoking, exporting, and verifying by an export."""

import base64
import copy
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import stat
import subprocess
import tempfile
import time

import jsonschema
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding

import support

PAYLOAD_TYPE = "application/vnd.hallmark.keyring+json"
DAY = 24 * 60 * 60


# ---- the format once more, in Python ------------------------------------------------------------


def pae(payload_type, payload):
    """DSSE's pre-authentication encoding, by its definition."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


HASHES = {256: hashes.SHA256, 384: hashes.SHA384, 521: hashes.SHA512}


def sign_bytes(key, message):
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(message, ec.ECDSA(HASHES[key.key_size]()))
    return key.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())


def check_bytes(key, signature, message):
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, message)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, message, ec.ECDSA(HASHES[key.key_size]()))
    else:
        key.verify(signature, message, padding.PSS(padding.MGF1(hashes.SHA256()), 32),
                   hashes.SHA256())  # fmt: skip


def open_export(path, public_key):
    """What an export says, if the key signed it."""
    envelope = json.loads(path.read_bytes())
    assert set(envelope) == {"payload", "payloadType", "signatures"}
    assert envelope["payloadType"] == PAYLOAD_TYPE
    (signature,) = envelope["signatures"]
    payload = base64.b64decode(envelope["payload"], validate=True)
    check_bytes(public_key, base64.b64decode(signature["sig"]), pae(PAYLOAD_TYPE, payload))
    return json.loads(payload)


def seal(path, payload, key, payload_type=PAYLOAD_TYPE):
    """An export with this content, well signed."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    path.write_text(json.dumps({
        "payloadType": payload_type,
        "payload": base64.b64encode(data).decode(),
        "signatures": [{"sig": base64.b64encode(sign_bytes(key, pae(payload_type, data))).decode()}],
    }))  # fmt: skip
    return path


# ---- fixtures -----------------------------------------------------------------------------------


class Ring:
    """A keyring, its admin, and the commands on it."""

    def __init__(self, hallmark, admin, folder, name="ring"):
        self.hallmark = hallmark
        self.admin = admin
        self.path = folder / name
        self.file = folder / f"{name}.export"
        self.state = folder / "state"

    def rotate(self, *options, expect=0, **more):
        passphrase = [] if "--passphrase-file" in options else ["--no-passphrase"]
        return self.hallmark("key", "rotate", self.path, *passphrase, *options, expect=expect,
                             **more)  # fmt: skip

    def revoke(self, version, *options, reason="stolen", expect=0, **more):
        return self.hallmark("key", "revoke", self.path, "--version", version, "--reason", reason,
                             *options, expect=expect, **more)  # fmt: skip

    def list(self, **more):
        return self.hallmark("key", "list", self.path, "--json", expect=0, **more).json()

    def export(self, *options, expect=0, out=None, **more):
        return self.hallmark("key", "export", self.path, "--key", self.admin.private, "--out",
                             out or self.file, *options, expect=expect, **more)  # fmt: skip

    def sign(self, model, *options, expect=0, **more):
        return self.hallmark("sign", model, "--key", self.path, *options, expect=expect, **more)

    def verify(self, model, *options, expect=0, file=None, key=None, env=None, state=True):
        """The report as JSON."""
        env = {**({"HALLMARK_STATE_DIR": self.state} if state else {}), **(env or {})}
        return self.hallmark("verify", model, "--keyring", file or self.file, "--keyring-key",
                             key or self.admin.public, *options, "--json", env=env,
                             expect=expect).json()  # fmt: skip

    def names(self):
        return sorted(p.name for p in self.path.iterdir() if not p.name.startswith("."))

    def payload(self):
        return open_export(self.file, self.admin.python.public_key())


@pytest.fixture
def ring(hallmark, keys, tmp_path):
    return Ring(hallmark, keys["openssl", "ec-p384"], tmp_path)


@pytest.fixture
def exported(ring, model_file):
    """Version 1, a model that it signed, and an export."""
    ring.rotate()
    ring.sign(model_file)
    ring.export()
    return ring


def content(folder):
    """All of a keyring but its lock, which says who had it last."""
    return {k: v for k, v in support.snapshot(folder).items() if k != ".lock"}


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def fingerprint(public_pem):
    key = serialization.load_pem_public_key(public_pem)
    der = key.public_bytes(serialization.Encoding.DER,
                           serialization.PublicFormat.SubjectPublicKeyInfo)  # fmt: skip
    return hashlib.sha256(der).hexdigest()


def by_hand(ring, keys, versions, base="signing_key"):
    """A directory as people make them: files named by version, and nothing else."""
    ring.path.mkdir(exist_ok=True)
    for version in versions:
        key = keys["openssl", "rsa-2048", f"hand{version}"]
        support.write_private(ring.path / f"{base}_v{version}.pem", key.private.read_bytes())
        shutil.copy(key.public, ring.path / f"{base}_v{version}.pub")


# ---- rotating and listing -----------------------------------------------------------------------


def test_the_first_rotation_makes_the_keyring(ring):
    assert ring.rotate().out == "version 1\n"
    assert ring.names() == ["keyring.json", "signing_key_v1.pem", "signing_key_v1.pub"]
    assert mode(ring.path) == 0o700
    assert mode(ring.path / "signing_key_v1.pem") == 0o600
    (key,) = ring.list()["keys"]
    assert key["status"] == "signing" and key["version"] == 1 and key["private_key"] is True
    assert key["fingerprint"] == fingerprint((ring.path / "signing_key_v1.pub").read_bytes())


def test_rotation_keeps_what_verifies(ring, model_file, tmp_path):
    ring.rotate()
    ring.sign(model_file)
    before = (ring.path / "signing_key_v1.pub").read_bytes()
    assert ring.rotate("--type", "ec-p521").out == "version 2\n"
    assert (ring.path / "signing_key_v1.pub").read_bytes() == before
    assert [(k["version"], k["status"]) for k in ring.list()["keys"]] == [(1, "old"), (2, "signing")]
    newer = support.make_model_file(tmp_path / "newer.safetensors", seed=2)
    ring.sign(newer)
    ring.export()
    old, new = ring.verify(model_file), ring.verify(newer)
    assert old["signer"]["key_fingerprint"] == fingerprint(before)
    assert new["signer"]["key_type"] == "ec-p521"


def test_a_loose_umask_opens_nothing(ring):
    command = ring.hallmark.command("key", "rotate", "--no-passphrase", ring.path)
    subprocess.run(["sh", "-c", 'umask 000; exec "$@"', "sh", *command], check=True,
                   env=ring.hallmark.environment())  # fmt: skip
    assert mode(ring.path) == 0o700
    assert mode(ring.path / "signing_key_v1.pem") == 0o600
    assert all(mode(ring.path / name) & 0o022 == 0 for name in ring.names())


def test_a_passphrase(ring, model_file, tmp_path):
    secret = support.write_private(tmp_path / "pass", support.PASSPHRASE + b"\n")
    ring.rotate("--passphrase-file", secret)
    assert b"ENCRYPTED" in (ring.path / "signing_key_v1.pem").read_bytes()
    ring.sign(model_file, "--passphrase-file", secret)


def test_a_later_time_to_sign(ring, model_file):
    ring.rotate()
    ring.rotate("--signs-from", "30d")
    now = int(time.time())
    first, second = ring.list()["keys"]
    assert (first["status"], second["status"]) == ("signing", "coming")
    report = ring.sign(model_file, "--json").json()
    assert report["signer"]["key_fingerprint"] == first["fingerprint"]
    later = {"HALLMARK_TIME": now + 31 * DAY}
    assert [k["status"] for k in ring.list(env=later)["keys"]] == ["old", "signing"]
    report = ring.sign(model_file, "--json", env=later).json()
    assert report["signer"]["key_fingerprint"] == second["fingerprint"]


def test_only_a_version_that_is_to_come(ring, model_file):
    ring.rotate("--signs-from", "30d")
    assert "signs already" in ring.sign(model_file, expect=3).err
    assert ring.list()["signing_version"] is None


def test_a_version_past_its_end(ring, model_file):
    ring.rotate("--not-after", "10d")
    ring.sign(model_file)
    ring.export()
    later = {"HALLMARK_TIME": int(time.time()) + 11 * DAY}
    assert "expired" in ring.sign(model_file, env=later, expect=1).err
    assert ring.verify(model_file)["status"] == "verified"
    assert ring.verify(model_file, env=later, expect=1)["reason"] == "expired"


def test_old_private_keys_are_removed_on_demand(ring):
    ring.rotate()
    ring.rotate()
    assert (ring.path / "signing_key_v1.pem").exists()
    ring.rotate("--remove-old-private")
    assert ring.names() == ["keyring.json", "signing_key_v1.pub", "signing_key_v2.pub",
                            "signing_key_v3.pem", "signing_key_v3.pub"]  # fmt: skip
    assert [k["private_key"] for k in ring.list()["keys"]] == [False, False, True]


def test_a_removed_private_key_is_overwritten(ring):
    ring.rotate()
    other_name = ring.path.parent / "other"
    os.link(ring.path / "signing_key_v1.pem", other_name)
    size = other_name.stat().st_size
    ring.rotate("--remove-old-private")
    assert other_name.read_bytes() == bytes(size)


def test_the_old_private_key_is_kept_while_it_is_needed(ring):
    ring.rotate()
    before = content(ring.path)
    result = ring.rotate("--signs-from", "5d", "--remove-old-private", expect=2)
    assert "still needed" in result.err and content(ring.path) == before


@pytest.mark.parametrize("options, said", [
    (["--type", "dsa"], "ec-p256"),
    (["--signs-from", "tomorrow"], "is not a time"),
    (["--signs-from", "2026-02-30"], "is not a time"),
    (["--signs-from", "2026-13-01T00:00:00Z"], "is not a time"),
    (["--signs-from", "2026-01-01T00:00:00+01:00"], "is not a time"),
    (["--signs-from", "99999d"], "is not a time"),
    (["--not-after", "2020-01-01"], "end before it begins"),
    (["--base-name", "../evil"], "name of key files"),
    (["--base-name", "a/b"], "name of key files"),
    (["--base-name", ""], "name of key files"),
    (["--signer", ""], "name of a signer"),
    (["--signer", "a\nb"], "name of a signer"),
])  # fmt: skip
def test_wrong_rotations(ring, tmp_path, options, said):
    assert said in ring.rotate(*options, expect=2).err
    assert not ring.path.exists()


def test_names_are_given_once(ring):
    ring.rotate("--signer", "Acme training", "--base-name", "acme")
    assert ring.list()["signer"] == "Acme training"
    assert ring.names() == ["acme_v1.pem", "acme_v1.pub", "keyring.json"]
    ring.rotate("--signer", "Acme training")
    assert "stays it" in ring.rotate("--signer", "Other", expect=2).err
    assert "stays it" in ring.rotate("--base-name", "other", expect=2).err


def test_lists_for_programs_have_a_schema(ring, hallmark):
    schema = json.loads((support.ROOT / "docs" / "keyring.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema).validate
    ring.rotate()
    ring.rotate("--signs-from", "9d", "--not-after", "99d")
    ring.revoke(1)
    (ring.path / "signing_key_v9.pem").write_text("")
    check(ring.list())
    for key in (ring.path, ring.path / "signing_key_v1.pub"):
        check(hallmark("key", "show", key, "--json", expect=0).json())


def test_show(ring, hallmark, openssl):
    ring.rotate()
    ring.rotate()
    public = ring.path / "signing_key_v1.pub"
    alone = hallmark("key", "show", public, "--json", expect=0).json()
    assert alone["fingerprint"] == fingerprint(public.read_bytes())
    assert alone["hint"] == hashlib.sha256(public.read_bytes()).hexdigest()
    assert set(alone) == {"algorithm", "fingerprint", "hint"}
    chosen = hallmark("key", "show", ring.path, "--version", "1", "--json", expect=0).json()
    assert chosen["fingerprint"] == alone["fingerprint"] and chosen["status"] == "old"
    assert hallmark("key", "show", ring.path, "--json", expect=0).json()["version"] == 2
    assert "version 2: signing" in hallmark("key", "show", ring.path, expect=0).out
    assert "no version 7" in hallmark("key", "show", ring.path, "--version", "7", expect=2).err
    assert "no keyring" in hallmark("key", "show", public, "--version", "1", expect=2).err
    assert "private key" in hallmark("key", "show", public.with_suffix(".pem"), expect=2).err


def test_an_empty_directory(ring, hallmark, model_file):
    ring.path.mkdir()
    assert "no key yet" in hallmark("key", "list", ring.path, expect=0).out
    assert "key rotate" in ring.sign(model_file, expect=3).err
    hallmark("key", "show", ring.path, expect=2)
    ring.export(expect=2)
    assert not ring.file.exists()


# ---- what is signed -----------------------------------------------------------------------------


def test_manifest_json_carries_the_version(ring, model_file):
    ring.rotate("--type", "rsa-3072")
    ring.rotate("--type", "rsa-3072")
    ring.sign(model_file, "--format", "manifest-json")
    manifest = model_file.with_name("weights.manifest.json")
    assert json.loads(manifest.read_text())["key_version"] == 2
    ring.sign(model_file, "--format", "manifest-json", "--key-version", "2")
    result = ring.sign(model_file, "--format", "manifest-json", "--key-version", "1", expect=2)
    assert "version 2" in result.err and "version 1" in result.err
    ring.export()
    assert ring.verify(model_file)["status"] == "verified"


def test_oms_has_no_place_for_the_version(ring, model_file):
    """Beside it there is one, in provenance; see test_key_version.py."""
    ring.rotate("--type", "rsa-3072")
    ring.sign(model_file)
    envelope = json.loads(model_file.with_name("weights.safetensors.sig").read_text())
    assert b"ersion" not in base64.b64decode(envelope["dsseEnvelope"]["payload"])
    ring.sign(model_file, "--key-version", "1", expect=2)


def test_a_keyring_in_the_wrong_place(exported, hallmark, model_file):
    result = hallmark("verify", model_file, "--key", exported.path, expect=3)
    assert "is a directory, not a public key" in result.err and "--keyring" in result.err
    result = hallmark("inspect", exported.file, expect=1)
    assert "export of a keyring" in result.err and "--keyring-key" in result.err
    result = hallmark("sign", model_file, "--key", exported.admin.public, expect=3)
    assert "needs the private one" in result.err and "chmod" not in result.err


def test_a_revoked_version_does_not_sign(ring, model_file):
    ring.rotate()
    ring.rotate()
    ring.revoke(2, reason="found on a memory stick")
    result = ring.sign(model_file, expect=1)
    assert "(revoked-key)" in result.err and "found on a memory stick" in result.err
    assert not model_file.with_name("weights.safetensors.sig").exists(), "version 1 stepped in"
    ring.rotate()
    ring.sign(model_file)


def test_a_revocation_to_come_stops_signing_at_once(ring, model_file):
    ring.rotate()
    ring.sign(model_file)
    ring.revoke(1, "--since", "20d")
    ring.sign(model_file, expect=1)
    ring.export("--expires", "50d")
    assert ring.verify(model_file)["status"] == "verified"
    later = {"HALLMARK_TIME": int(time.time()) + 21 * DAY}
    assert ring.verify(model_file, env=later, expect=1)["reason"] == "revoked-key"


def test_the_private_key_of_the_version_must_be_its_own(ring, model_file):
    """One that was put in the place of another is noticed, and nothing signed."""
    ring.rotate()
    ring.rotate()
    shutil.copy(ring.path / "signing_key_v1.pem", ring.path / "signing_key_v2.pem")
    assert "another key" in ring.sign(model_file, expect=3).err
    (ring.path / "signing_key_v2.pem").unlink()
    assert "signing_key_v2.pem" in ring.sign(model_file, expect=3).err
    assert not model_file.with_name("weights.safetensors.sig").exists()


def test_the_private_key_must_be_closed_to_others(ring, model_file):
    ring.rotate()
    (ring.path / "signing_key_v1.pem").chmod(0o640)
    assert "chmod 600" in ring.sign(model_file, expect=3).err


# ---- directories made by hand -------------------------------------------------------------------


def test_a_directory_made_by_hand(ring, keys, model_file):
    by_hand(ring, keys, [1, 2, 10])
    before = support.snapshot(ring.path)
    listed = ring.list()
    assert [(k["version"], k["status"]) for k in listed["keys"]] == [
        (1, "old"), (2, "old"), (10, "signing")]  # fmt: skip
    ring.sign(model_file, "--format", "manifest-json")
    manifest = json.loads(model_file.with_name("weights.manifest.json").read_text())
    assert manifest["key_version"] == 10
    assert support.snapshot(ring.path) == before, "reading writes nothing"
    assert ring.rotate().out == "version 11\n"
    recorded = json.loads((ring.path / "keyring.json").read_text())
    assert [k["version"] for k in recorded["keys"]] == [1, 2, 10, 11]
    assert recorded["keys"][0]["fingerprint"] == keys["openssl", "rsa-2048", "hand1"].fingerprint


def test_a_revocation_records_what_was_made_by_hand(ring, keys, model_file):
    by_hand(ring, keys, [1, 2], base="prod")
    ring.revoke(1)
    assert [k["status"] for k in ring.list()["keys"]] == ["revoked", "signing"]
    assert ring.rotate().out == "version 3\n" and (ring.path / "prod_v3.pem").exists()


def test_two_keys_in_one_directory(ring, keys, hallmark):
    by_hand(ring, keys, [1], base="one")
    by_hand(ring, keys, [2], base="two")
    assert "one and two" in hallmark("key", "list", ring.path, expect=3).err


def test_one_key_under_two_numbers(ring, keys, hallmark):
    by_hand(ring, keys, [1, 2])
    shutil.copy(ring.path / "signing_key_v1.pub", ring.path / "signing_key_v2.pub")
    assert "versions 1 and 2" in hallmark("key", "list", ring.path, expect=3).err


def test_a_private_key_without_its_public_half(ring, keys, hallmark, model_file):
    """It could be the newest; signing with an older one would go unnoticed."""
    by_hand(ring, keys, [1, 2])
    (ring.path / "signing_key_v2.pub").unlink()
    assert "-pubout" in hallmark("key", "list", ring.path, expect=3).err
    ring.sign(model_file, expect=3)


@pytest.mark.parametrize("name", ["signing_key_v02.pem", "signing_key_v0.pub", "signing_keyv3.pem",
                                  "signing_key_v3.PEM", "_v3.pem", "signing_key_v-3.pem",
                                  "signing_key_v3.pem.bak", "signing_key_v99999999999999999.pub",
                                  "signing_key_v.pub", "notes.txt"])  # fmt: skip
def test_names_that_are_no_versions(ring, keys, name):
    by_hand(ring, keys, [1])
    (ring.path / name).write_text("x")
    assert [k["version"] for k in ring.list()["keys"]] == [1]


# ---- key files that nobody recorded -------------------------------------------------------------


def test_a_stray_key_is_told_and_never_used(ring, keys, hallmark, model_file):
    ring.rotate()
    by_hand(ring, keys, [2])
    listed = ring.list()
    assert [k["version"] for k in listed["keys"]] == [1]
    assert listed["strays"] == ["signing_key_v2.pem", "signing_key_v2.pub"]
    assert "never used" in hallmark("key", "list", ring.path, expect=0).out
    report = ring.sign(model_file, "--json").json()
    assert report["signer"]["key_fingerprint"] == listed["keys"][0]["fingerprint"]
    before = content(ring.path)
    result = ring.rotate(expect=2)
    assert "signing_key_v2.pem" in result.err and content(ring.path) == before


@pytest.mark.parametrize("change", [
    lambda ring: ring.path.chmod(0o770),
    lambda ring: (ring.path / "keyring.json").chmod(0o666),
    lambda ring: (ring.path / "signing_key_v1.pub").chmod(0o664),
])  # fmt: skip
def test_what_others_can_change_is_not_believed(ring, hallmark, model_file, change):
    ring.rotate()
    change(ring)
    assert "other users" in hallmark("key", "list", ring.path, expect=3).err
    assert "other users" in ring.export(expect=3).err
    assert not ring.file.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away takes root")
def test_a_keyring_of_somebody_else(ring, hallmark):
    ring.rotate()
    os.chown(ring.path, 12345, 12345)
    hallmark("key", "list", ring.path, expect=3)
    ring.rotate(expect=3)


RECORDED = {
    "no object": lambda r: [],
    "another schema": lambda r: r | {"schema": "hallmark-keyring-v2"},
    "a member too many": lambda r: r | {"comment": "x"},
    "no signer": lambda r: {k: v for k, v in r.items() if k != "signer"},
    "a path for a name": lambda r: r | {"base_name": "../other/key"},
    "versions out of order": lambda r: r | {"keys": r["keys"][::-1]},
    "a version twice": lambda r: r | {"keys": [r["keys"][0], r["keys"][0]]},
    "a key twice": lambda r: r | {"keys": [r["keys"][0], r["keys"][0] | {"version": 2}]},
    "a negative number": lambda r: r | {"export_version": -1},
    "no number": lambda r: r | {"export_version": "1"},
    "a time of its own": lambda r: r | {"keys": [r["keys"][0] | {"created": "yesterday"}]},
    "not revoked": lambda r: r | {"keys": [r["keys"][0] | {"revoked": False}]},
    "revoked since ever": lambda r: r | {"keys": [r["keys"][0] | {"revoked": {
        "since": None, "reason": "x"}}]},
    "a reason of two lines": lambda r: r | {"keys": [r["keys"][0] | {"revoked": {
        "since": "2026-01-01T00:00:00Z", "reason": "x\ny"}}]},
    "a short fingerprint": lambda r: r | {"keys": [r["keys"][0] | {"fingerprint": "ab"}]},
    "an entry too open": lambda r: r | {"keys": [r["keys"][0] | {"x": 1}]},
}  # fmt: skip


@pytest.mark.parametrize("which", RECORDED)
def test_a_damaged_record(ring, hallmark, model_file, which):
    ring.rotate()
    ring.rotate()
    record = ring.path / "keyring.json"
    record.write_text(json.dumps(RECORDED[which](json.loads(record.read_text()))))
    before = content(ring.path)
    result = hallmark("key", "list", ring.path, expect=3)
    assert "keyring.json" in result.err
    ring.sign(model_file, expect=3)
    ring.rotate(expect=3)
    ring.revoke(1, expect=3)
    assert content(ring.path) == before


# ---- one at a time, and interruptions -----------------------------------------------------------


def test_rotations_at_the_same_time(ring, hallmark):
    command = hallmark.command("key", "rotate", "--no-passphrase", ring.path)
    running = [subprocess.Popen(command, env=hallmark.environment(), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE) for _ in range(6)]  # fmt: skip
    ended = [(*p.communicate(timeout=120), p.returncode) for p in running]
    for out, err, status in ended:
        assert status == 0 or (status == 3 and b"is held by process" in err), err
    made = sorted(out for out, _, status in ended if status == 0)
    assert made == [b"version %d\n" % (i + 1) for i in range(len(made))]
    listed = ring.list()
    assert [k["version"] for k in listed["keys"]] == list(range(1, len(made) + 1))
    assert listed["strays"] == []


def test_who_holds_the_lock(ring):
    ring.rotate()
    with open(ring.path / ".lock", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        result = ring.rotate(expect=3)
    assert f"is held by process {os.getpid()}" in result.err
    assert ring.rotate().out == "version 2\n"


def recorded_files(ring):
    versions = [k["version"] for k in json.loads((ring.path / "keyring.json").read_text())["keys"]]
    return sorted(["keyring.json", *(f"signing_key_v{v}.{end}" for v in versions
                                     for end in ("pem", "pub"))])  # fmt: skip


@pytest.mark.parametrize("call", ["write", "fsync", "linkat", "renameat", "unlink", "ftruncate"])
def test_killed_while_rotating(ring, model_file, call, sanitizer):
    """Killed at each such call in turn: the keyring is the old one or the new one, it signs, and
    the next rotation goes on from there."""
    if shutil.which("strace") is None or sanitizer or ring.hallmark.wrapper:
        pytest.skip("needs strace, and a program without a wrapper")
    ring.rotate()
    for at in range(1, 40):
        known = len(ring.list()["keys"])
        command = ring.hallmark.command("key", "rotate", "--no-passphrase", ring.path)
        inject = f"inject={call}:signal=SIGKILL:when={at}"
        done = subprocess.run(["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e",
                               inject, *command], env=ring.hallmark.environment(),
                              capture_output=True, check=False)  # fmt: skip
        listed = ring.list()
        assert len(listed["keys"]) in (known, known + 1)
        ring.sign(model_file)
        if done.returncode == 0:
            assert at > 1
            break
        next_one = len(listed["keys"]) + 1
        assert ring.rotate().out == f"version {next_one}\n"
        assert ring.names() == recorded_files(ring) and ring.list()["strays"] == []
        assert not (ring.path / ".rotating").exists()
    else:
        pytest.fail("it never got to its end")


def test_killed_in_the_first_rotation_of_what_was_made_by_hand(ring, keys, sanitizer):
    """The names of files are all such a directory says; a half-made version is not among them."""
    if shutil.which("strace") is None or sanitizer or ring.hallmark.wrapper:
        pytest.skip("needs strace, and a program without a wrapper")
    for at in range(1, 40):
        shutil.rmtree(ring.path, ignore_errors=True)
        by_hand(ring, keys, [1])
        command = ring.hallmark.command("key", "rotate", "--no-passphrase", ring.path)
        done = subprocess.run(["strace", "-f", "-o", "/dev/null", "-e", "trace=fsync", "-e",
                               f"inject=fsync:signal=SIGKILL:when={at}", *command],
                              env=ring.hallmark.environment(), capture_output=True,
                              check=False)  # fmt: skip
        if done.returncode == 0:
            assert at > 4
            break
        versions = [k["version"] for k in ring.list()["keys"]]
        assert versions == [1] or ring.names() == recorded_files(ring)
    else:
        pytest.fail("it never got to its end")


# ---- the export ---------------------------------------------------------------------------------


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "ec-p521", "rsa-2048", "ed25519"])
def test_an_independent_reader(ring, hallmark, keys, model_file, key_type):
    """Another implementation of DSSE finds the signature good, and the content as recorded."""
    ring.admin = keys["python", key_type]
    ring.rotate("--type", "ec-p384", "--signer", "Acme")
    ring.rotate("--not-after", "2036-01-01")
    ring.revoke(1, "--since", "2026-01-05T20:31:07Z", reason="lost")
    assert ring.export("--expires", "2035-01-01").out == "export 1\n"
    said = ring.payload()
    first, second = ring.list()["keys"]
    assert said["signer"] == "Acme" and said["version"] == 1
    assert said["expires"] == "2035-01-01T00:00:00Z"
    assert said["revocations"] == [{"fingerprint": first["fingerprint"],
                                    "since": "2026-01-05T20:31:07Z", "reason": "lost"}]  # fmt: skip
    assert [k["status"] for k in said["keys"]] == ["revoked", "signing"]
    for number, (there, here) in enumerate(zip(said["keys"], (first, second), strict=True), 1):
        assert there["pem"] == (ring.path / f"signing_key_v{number}.pub").read_text()
        assert there["fingerprint"] == here["fingerprint"] == fingerprint(there["pem"].encode())
        assert there["not_before"] == here["signs_from"]
        assert there["not_after"] == here["not_after"]
    assert "PRIVATE" not in json.dumps(said)
    with pytest.raises(InvalidSignature):
        open_export(ring.file, support.generate_key(key_type).public_key())


def test_each_export_has_the_next_number(exported):
    assert exported.export().out == "export 2\n"
    assert exported.export().out == "export 3\n"
    assert exported.payload()["version"] == 3 and exported.list()["export_version"] == 3


def test_exports_at_the_same_time_have_their_own_numbers(exported, hallmark, tmp_path):
    outs = [tmp_path / f"{i}.export" for i in range(4)]
    running = [subprocess.Popen(hallmark.command("key", "export", exported.path, "--key",
                                                 exported.admin.private, "--out", out),
                                env=hallmark.environment(), stdout=subprocess.PIPE)
               for out in outs]  # fmt: skip
    printed = sorted(p.communicate(timeout=60)[0] for p in running)
    assert printed == [b"export 2\n", b"export 3\n", b"export 4\n", b"export 5\n"]


def test_the_admin_is_somebody_else(exported):
    before = exported.file.read_bytes()
    result = exported.hallmark("key", "export", exported.path, "--key",
                               exported.path / "signing_key_v1.pem", "--out", exported.file,
                               expect=2)  # fmt: skip
    assert "kept elsewhere" in result.err and exported.file.read_bytes() == before


@pytest.mark.parametrize("options", [["--expires", "2020-01-01"], ["--expires", "0d"],
                                     ["--expires", "soon"]])  # fmt: skip
def test_an_export_that_has_expired_is_not_written(ring, options):
    ring.rotate()
    ring.export(*options, expect=2)
    assert not ring.file.exists() and ring.list()["export_version"] == 0


def test_only_an_export_is_written_over(exported, model_file):
    before = model_file.read_bytes()
    assert "not an older export" in exported.export(out=model_file, expect=2).err
    assert "not an older export" in exported.export(out=exported.path, expect=2).err
    assert model_file.read_bytes() == before
    exported.export()


def test_public_keys_are_exported_as_recorded(exported):
    shutil.copy(exported.admin.public, exported.path / "signing_key_v1.pub")
    assert "another key" in exported.export(expect=3).err


# ---- verifying by an export ---------------------------------------------------------------------


def test_verified_by_the_export(exported, model_file):
    report = exported.verify(model_file)
    assert report["status"] == "verified" and not report["warnings"]
    support.flip(model_file, 5)
    assert exported.verify(model_file, expect=1)["reason"] == "digest-mismatch"


def test_someone_who_is_not_in_the_export(exported, hallmark, keys, model_file):
    hallmark("sign", model_file, "--key", keys["openssl", "ec-p256"].private, expect=0)
    assert exported.verify(model_file, expect=1)["reason"] == "untrusted-signer"


def test_a_revoked_key_is_refused(exported, model_file):
    exported.rotate()
    exported.revoke(1, reason="laptop stolen")
    assert exported.verify(model_file)["status"] == "verified", "not told of it yet"
    exported.export()
    report = exported.verify(model_file, expect=1)
    assert report["reason"] == "revoked-key" and "laptop stolen" in report["message"]
    exported.sign(model_file)
    assert exported.verify(model_file)["status"] == "verified"


def test_a_revocation_holds_whoever_else_believes_the_key(exported, model_file):
    exported.revoke(1)
    exported.export()
    key = exported.path / "signing_key_v1.pub"
    assert exported.verify(model_file, "--key", key, expect=1)["reason"] == "revoked-key"


def test_revocations_are_only_ever_tightened(ring):
    ring.rotate()
    ring.revoke(1, "--since", "2026-06-01")
    assert "already" in ring.revoke(1, "--since", "2026-07-01", expect=2).err
    ring.revoke(1, "--since", "2026-05-01", reason="earlier than we thought")
    (key,) = ring.list()["keys"]
    assert key["revoked"] == {"since": "2026-05-01T00:00:00Z", "reason": "earlier than we thought"}


@pytest.mark.parametrize("arguments, said", [
    (["--version", "9", "--reason", "x"], "no version 9"),
    (["--version", "0", "--reason", "x"], "--version N"),
    (["--version", "1"], "--reason"),
    (["--reason", "x"], "--version N"),
    (["--version", "1", "--reason", "two\nlines"], "one line"),
    (["--version", "1", "--reason", "x" * 1001], "one line"),
    (["--version", "1", "--reason", "\x1b[2J"], "one line"),
    (["--version", "1", "--reason", "x", "--since", "then"], "not a time"),
])  # fmt: skip
def test_wrong_revocations(ring, hallmark, arguments, said):
    ring.rotate()
    before = content(ring.path)
    result = hallmark("key", "revoke", ring.path, *arguments, expect=2)
    assert said in result.err and "\x1b" not in result.err
    assert content(ring.path) == before


def test_an_older_export_is_refused(exported, model_file, tmp_path):
    old = shutil.copy(exported.file, tmp_path / "old.export")
    assert exported.verify(model_file, file=old)["status"] == "verified"
    exported.export()
    assert exported.verify(model_file)["status"] == "verified"
    assert exported.verify(model_file, file=old, expect=1)["reason"] == "rollback"
    shutil.rmtree(exported.state)  # whoever deletes it starts anew
    assert exported.verify(model_file, file=old)["status"] == "verified"


def test_another_export_of_the_same_number_is_refused(exported, model_file, tmp_path):
    exported.verify(model_file)
    other = seal(tmp_path / "other", exported.payload() | {"revocations": []} | {
        "expires": "2090-01-01T00:00:00Z"}, exported.admin.python)  # fmt: skip
    assert exported.verify(model_file, file=other, expect=1)["reason"] == "rollback"
    # The same text under another signature is the same export: ECDSA has many.
    again = seal(tmp_path / "again", base64.b64decode(json.loads(
        exported.file.read_text())["payload"]), exported.admin.python)  # fmt: skip
    assert again.read_bytes() != exported.file.read_bytes()
    assert exported.verify(model_file, file=again)["status"] == "verified"


def test_an_expired_export_is_refused(exported, model_file):
    now = int(time.time())
    exported.export("--expires", "5d")
    assert exported.verify(model_file, env={"HALLMARK_TIME": now + 4 * DAY})["status"] == "verified"
    late = exported.verify(model_file, env={"HALLMARK_TIME": now + 6 * DAY}, expect=1)
    assert late["reason"] == "expired" and "keyring export" in late["message"]
    assert exported.verify(model_file, env={"HALLMARK_TIME": "nonsense"}, expect=3)


def test_the_key_of_another_admin(exported, keys, model_file):
    other = keys["openssl", "ec-p384", "other"]
    report = exported.verify(model_file, key=other.public, expect=1)
    assert report["reason"] == "bad-signature"
    forged = seal(exported.file.with_name("forged"), exported.payload(), other.python)
    assert exported.verify(model_file, file=forged, expect=1)["reason"] == "bad-signature"
    assert not exported.state.exists() or not list(exported.state.rglob("*.json"))


def test_the_keyring_of_another_signer(exported, hallmark, tmp_path, model_file):
    """One admin signs for two: the one's export is not to pass for the other's."""
    other = Ring(hallmark, exported.admin, tmp_path, "other")
    other.rotate()
    other.export()
    assert exported.verify(model_file, "--keyring-signer", "ring")["status"] == "verified"
    report = exported.verify(model_file, "--keyring-signer", "ring", file=other.file, expect=1)
    assert report["reason"] == "untrusted-signer" and "keyring of other" in report["message"]
    other.export()
    other.export()  # numbers of one signer say nothing of another's
    exported.verify(model_file, file=other.file, expect=1)
    assert exported.verify(model_file)["status"] == "verified"


def test_identities_are_still_those_of_certificates(exported, model_file):
    report = exported.verify(model_file, "--identity-san", "https://ci.example", expect=1)
    assert report["reason"] == "untrusted-signer"


@pytest.mark.parametrize("options, said", [
    (["--keyring", "x"], "--keyring-key"),
    (["--keyring-key", "x"], "go together"),
    (["--key", "x", "--keyring-signer", "y"], "need --keyring"),
    (["--key", "x", "--keyring-min-version", "1"], "need --keyring"),
])  # fmt: skip
def test_options_that_go_together(hallmark, model_file, options, said):
    result = hallmark("verify", model_file, *options, expect=2)
    assert said in result.err or "say whom" in result.err


def test_an_export_that_is_not_there(exported, keys, model_file, tmp_path):
    assert exported.verify(model_file, file=tmp_path / "no", expect=3)
    assert exported.verify(model_file, file=tmp_path, expect=3)
    assert exported.verify(model_file, key=tmp_path / "no.pub", expect=3)


# ---- exports that are not what they should be ---------------------------------------------------


def test_every_changed_byte_is_noticed(exported, model_file, tmp_path):
    """In any member that is signed, and in the signature."""
    envelope = json.loads(exported.file.read_text())
    for name in ("payload", "sig"):
        for at in range(0, 400, 37):
            changed = copy.deepcopy(envelope)
            place = changed if name == "payload" else changed["signatures"][0]
            data = bytearray(base64.b64decode(place[name]))
            data[at % len(data)] ^= 1
            place[name] = base64.b64encode(data).decode()
            file = tmp_path / "changed"
            file.write_text(json.dumps(changed))
            assert exported.verify(model_file, file=file, expect=1)["reason"] == "bad-signature"


ENVELOPES = {
    "no object": lambda e: [],
    "another type": lambda e: e | {"payloadType": "application/vnd.in-toto+json"},
    "no payload": lambda e: {k: v for k, v in e.items() if k != "payload"},
    "no signatures": lambda e: e | {"signatures": []},
    "two signatures": lambda e: e | {"signatures": e["signatures"] * 2},
    "a member too many": lambda e: e | {"x": 1},
    "a signature with more": lambda e: e | {"signatures": [e["signatures"][0] | {"cert": "x"}]},
    "no base64": lambda e: e | {"payload": e["payload"] + "!"},
    "no padding": lambda e: e | {"payload": e["payload"].rstrip("=") + "A"},
    "signatures of numbers": lambda e: e | {"signatures": [1]},
}  # fmt: skip


@pytest.mark.parametrize("which", ENVELOPES)
def test_envelopes_that_break_the_format(exported, model_file, tmp_path, which):
    file = tmp_path / "broken"
    file.write_text(json.dumps(ENVELOPES[which](json.loads(exported.file.read_text()))))
    assert exported.verify(model_file, file=file, expect=1)["reason"] == "malformed"


def without(said, name):
    return {k: v for k, v in said.items() if k != name}


def key(said, **changes):
    return said | {"keys": [said["keys"][0] | changes, *said["keys"][1:]]}


def rsa_1024():
    return support.openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024")


PAYLOADS = {
    "no object": lambda s: [s],
    "another schema": lambda s: s | {"schema": "hallmark-keyring-export-v2"},
    "a member too many": lambda s: s | {"comment": ""},
    "no signer": lambda s: without(s, "signer"),
    "a signer of two lines": lambda s: s | {"signer": "a\nb"},
    "an empty signer": lambda s: s | {"signer": ""},
    "number 0": lambda s: s | {"version": 0},
    "a number with a part": lambda s: s | {"version": 1.5},
    "a number too large": lambda s: s | {"version": 2**53 + 2},
    "a number as text": lambda s: s | {"version": "1"},
    "no expiry": lambda s: without(s, "expires"),
    "an expiry of null": lambda s: s | {"expires": None},
    "an expiry that is no time": lambda s: s | {"expires": "never"},
    "a day that is none": lambda s: s | {"expires": "2027-02-30T00:00:00Z"},
    "a creation of null": lambda s: s | {"created": None},
    "no keys": lambda s: s | {"keys": []},
    "too many keys": lambda s: s | {"keys": s["keys"] * 1001},
    "a key twice": lambda s: s | {"keys": [s["keys"][0], s["keys"][0] | {"version": 2}]},
    "a version twice": lambda s: s | {"keys": s["keys"] * 2},
    "a key with more": lambda s: key(s, x=1),
    "a key without a status": lambda s: s | {"keys": [without(s["keys"][0], "status")]},
    "an unknown status": lambda s: key(s, status="good"),
    "revoked, but not so": lambda s: key(s, status="revoked"),
    "the fingerprint of another": lambda s: key(s, fingerprint="0" * 64),
    "a fingerprint in capitals": lambda s: key(s, fingerprint=s["keys"][0]["fingerprint"].upper()),
    "another algorithm": lambda s: key(s, algorithm="ec-p521"),
    "text before the key": lambda s: key(s, pem="hello\n" + s["keys"][0]["pem"]),
    "two keys in one": lambda s: key(s, pem=s["keys"][0]["pem"] * 2),
    "no PEM": lambda s: key(s, pem="x"),
    "a private key": lambda s: key(s, pem=rsa_1024().decode()),
    "a time of another form": lambda s: key(s, not_before="2026-01-01"),
    "revocations missing": lambda s: without(s, "revocations"),
    "a revocation since ever": lambda s: s | {"revocations": [{
        "fingerprint": "0" * 64, "since": None, "reason": "x"}]},
    "a revocation twice": lambda s: s | {"revocations": [{
        "fingerprint": "0" * 64, "since": "2026-01-01T00:00:00Z", "reason": "x"}] * 2},
    "a revocation without reason": lambda s: s | {"revocations": [{
        "fingerprint": "0" * 64, "since": "2026-01-01T00:00:00Z"}]},
    "a revocation of the signer": lambda s: s | {"revocations": [{
        "fingerprint": s["keys"][0]["fingerprint"], "since": "2026-01-01T00:00:00Z",
        "reason": "its key says otherwise"}]},
    "text behind it": lambda s: json.dumps(s).encode() + b" {}",
    "a member twice": lambda s: json.dumps(s).encode()[:-1] + b', "version": 9}',
}  # fmt: skip
REASONS = {"another schema": "unsupported"}


@pytest.mark.parametrize("which", PAYLOADS)
def test_content_that_breaks_the_format(exported, model_file, tmp_path, which):
    """Well signed all the same: an admin's tool may be wrong, too."""
    file = seal(tmp_path / "broken", PAYLOADS[which](exported.payload()), exported.admin.python)
    report = exported.verify(model_file, file=file, expect=1)
    assert report["reason"] == REASONS.get(which, "malformed"), report
    assert not list(exported.state.rglob("*.json")), "it was remembered"


def test_the_same_content_signed_for_another_purpose(exported, model_file, tmp_path):
    """The type is signed: what the admin signs elsewhere is no export."""
    envelope = json.loads(seal(tmp_path / "x", exported.payload(), exported.admin.python,
                               "application/json").read_text())  # fmt: skip
    (tmp_path / "x").write_text(json.dumps(envelope | {"payloadType": PAYLOAD_TYPE}))
    report = exported.verify(model_file, file=tmp_path / "x", expect=1)
    assert report["reason"] == "bad-signature"


def test_an_export_of_python_is_as_good(exported, model_file, tmp_path):
    """Without a key id, and with other spaces."""
    file = seal(tmp_path / "own", exported.payload() | {"version": 7}, exported.admin.python)
    assert exported.verify(model_file, file=file)["status"] == "verified"
    assert exported.verify(model_file, expect=1)["reason"] == "rollback"


def test_a_key_too_short_for_us(exported, model_file, tmp_path):
    pem = support.openssl("pkey", "-pubout", input=rsa_1024()).decode()
    said = key(exported.payload(), pem=pem)
    file = seal(tmp_path / "short", said, exported.admin.python)
    assert exported.verify(model_file, file=file, expect=1)["reason"] == "unsupported"


# ---- what is remembered -------------------------------------------------------------------------


def test_what_is_remembered_is_closed_to_others(exported, model_file):
    exported.verify(model_file)
    (seen,) = exported.state.rglob("*.json")
    assert mode(seen) == 0o600
    assert mode(exported.state) == 0o700 and mode(seen.parent) == 0o700
    said = json.loads(seen.read_text())
    assert said["version"] == 1 and said["signer"] == "ring"
    assert said["admin"] == exported.admin.fingerprint


@pytest.mark.parametrize("damage", [
    lambda path: path.write_text(""),
    lambda path: path.write_text("{}"),
    lambda path: path.write_text(path.read_text().replace('"version": 1', '"version": 0')),
    lambda path: path.write_text(path.read_text().replace('"signer": "ring"', '"signer": "x"')),
    lambda path: path.chmod(0o666),
    lambda path: (path.unlink(), path.mkdir()),
    lambda path: (path.unlink(), path.symlink_to("nowhere")),
    lambda path: path.parent.chmod(0o777),
])  # fmt: skip
def test_what_cannot_be_remembered_well_decides_nothing(exported, model_file, damage):
    """A bound does not help then: somebody meddled."""
    exported.verify(model_file)
    (seen,) = exported.state.rglob("*.json")
    damage(seen)
    exported.verify(model_file, expect=3)
    exported.verify(model_file, "--keyring-min-version", "1", expect=3)


def test_where_nothing_can_be_kept(exported, model_file):
    nowhere = {"HALLMARK_STATE_DIR": "/proc/nowhere"}
    report = exported.verify(model_file, env=nowhere, expect=3)
    assert "--keyring-min-version" in report["hint"]
    report = exported.verify(model_file, "--keyring-min-version", "1", env=nowhere)
    assert any("not remembered" in warning for warning in report["warnings"])
    report = exported.verify(model_file, "--keyring-min-version", "2", env=nowhere, expect=1)
    assert report["reason"] == "rollback"


def test_a_state_that_was_baked_in_needs_no_writing(exported, model_file):
    exported.verify(model_file)
    before = support.snapshot(exported.state)
    (lock,) = exported.state.rglob(".lock")
    with open(lock) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert exported.verify(model_file)["status"] == "verified"
    assert support.snapshot(exported.state) == before


def test_nothing_is_to_be_kept(exported, model_file, tmp_path):
    old = shutil.copy(exported.file, tmp_path / "old")
    exported.export()
    none = {"HALLMARK_STATE_DIR": "none"}
    for file in (exported.file, old):
        report = exported.verify(model_file, file=file, env=none)
        assert any("HALLMARK_STATE_DIR=none" in warning for warning in report["warnings"])
    report = exported.verify(model_file, "--keyring-min-version", "2", file=old, env=none, expect=1)
    assert report["reason"] == "rollback"


def test_a_relative_place_is_none(exported, model_file):
    assert exported.verify(model_file, env={"HALLMARK_STATE_DIR": "state"}, expect=2)


@pytest.fixture
def open_folder():
    """One that any user can reach, as pytest's own are not."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hallmark-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="to become somebody else takes root")
@pytest.mark.parametrize("variables, place", [
    ({"XDG_STATE_HOME": "{}/xdg"}, "xdg/hallmark/keyrings"),
    ({"XDG_STATE_HOME": "relative", "HOME": "{}/home"}, "home/.local/state/hallmark/keyrings"),
    ({"XDG_STATE_HOME": None, "HOME": "{}/home"}, "home/.local/state/hallmark/keyrings"),
])  # fmt: skip
def test_places_of_other_users(exported, hallmark, model_file, open_folder, variables, place):
    place_of = open_folder
    for path in (model_file, model_file.with_name(model_file.name + ".sig"), exported.file):
        shutil.copy(path, place_of)
    shutil.copy(exported.admin.public, place_of / "admin.pub")
    for path in (place_of, *place_of.iterdir()):
        os.chown(path, 12345, 12345)
    program = shutil.copy(hallmark.binary, place_of / "hallmark")
    env = hallmark.environment({k: v and v.format(place_of) for k, v in variables.items()})
    done = subprocess.run(
        [program, "verify", model_file.name, "--keyring", "ring.export", "--keyring-key",
         "admin.pub"], cwd=place_of, env=env, capture_output=True, check=False, user=12345,
        group=12345, extra_groups=[])  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list((place_of / place).glob("*.json"))


def test_verifiers_at_the_same_time(exported, hallmark, model_file, tmp_path):
    """Whatever the order, the newest export seen is what stays."""
    files = [shutil.copy(exported.file, tmp_path / "1.export")]
    for number in range(2, 7):
        exported.export()
        files.append(shutil.copy(exported.file, tmp_path / f"{number}.export"))
    env = hallmark.environment({"HALLMARK_STATE_DIR": exported.state})
    running = [subprocess.Popen(hallmark.command("verify", model_file, "--keyring", file,
                                                 "--keyring-key", exported.admin.public),
                                env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
               for file in files]  # fmt: skip
    ended = [(p.communicate(timeout=60)[1], p.returncode) for p in running]
    assert all(status == 0 or (status == 1 and b"rollback" in err) for err, status in ended), ended
    assert ended[-1][1] == 0
    (seen,) = exported.state.rglob("*.json")
    assert json.loads(seen.read_text())["version"] == 6


# ---- secrets ------------------------------------------------------------------------------------


def key_parts(path, passphrase=None):
    """A private key as it could leak: its number in several spellings, its PEM text, its DER."""
    pem = path.read_bytes()
    private = serialization.load_pem_private_key(pem, passphrase)
    number = private.private_numbers().private_value.to_bytes(32, "big")
    plain = support.private_pem(private)
    lines = plain.splitlines()[1:-1]
    return [number, number.hex().encode(), base64.b64encode(number)[:-2], *lines[:1]]


@pytest.mark.parametrize("encrypted", [False, True])
def test_no_secret_in_any_message_or_foreign_file(ring, tmp_path, encrypted, sanitizer):
    """What the program writes, seen by strace: the private key to its own file and nowhere else,
    encrypted not at all; the passphrase never."""
    if shutil.which("strace") is None or sanitizer or ring.hallmark.wrapper:
        pytest.skip("needs strace, and a program without a wrapper")
    secret = support.write_private(tmp_path / "pass", support.PASSPHRASE + b"\n")
    how = ["--passphrase-file", secret] if encrypted else ["--no-passphrase"]
    admin = tmp_path / "admin.pem"
    ring.hallmark("key", "generate", *how, admin, expect=0)
    use = how if encrypted else []
    model = support.make_model_file(tmp_path / "w")
    told = b""
    log = tmp_path / "log"
    written = b""
    for arguments in (["key", "rotate", ring.path, *how], ["key", "rotate", ring.path, *how],
                      ["key", "list", ring.path], ["key", "show", ring.path],
                      ["key", "revoke", ring.path, "--version", 1, "--reason", "x"],
                      ["key", "export", ring.path, "--key", admin, "--out", ring.file, *use],
                      ["sign", model, "--key", ring.path, *use],
                      ["key", "export", ring.path, "--key", ring.path, "--out", "x", *use],
                      ["key", "rotate", ring.path, *how, "--remove-old-private"]):  # fmt: skip
        done = subprocess.run(["strace", "-f", "-o", log, "-xx", "-s", "100000", "-e",
                               "trace=write,pwrite64,writev,sendto,sendmsg",
                               *ring.hallmark.command(*arguments)], capture_output=True,
                              check=False, env=ring.hallmark.environment())  # fmt: skip
        assert done.returncode in (0, 2), done.stderr
        told += done.stdout + done.stderr
        for line in log.read_text().splitlines():
            data = b"".join(bytes.fromhex(part.replace("\\x", ""))
                            for part in line.split('"')[1::2])  # fmt: skip
            if not data.startswith(b"-----BEGIN PRIVATE KEY-----"):
                written += data + b"\n"
    passphrase = support.PASSPHRASE if encrypted else None
    parts = key_parts(ring.path / "signing_key_v3.pem", passphrase) + key_parts(admin, passphrase)
    assert b"-----BEGIN PUBLIC KEY-----" in written, "strace shows what is written"
    for part in [*parts, support.PASSPHRASE]:
        assert part not in told and part not in written


def test_a_wrong_passphrase_is_not_told(ring, model_file, tmp_path):
    right = support.write_private(tmp_path / "right", support.PASSPHRASE)
    wrong = support.write_private(tmp_path / "wrong", b"a secret that is wrong")
    ring.rotate("--passphrase-file", right)
    result = ring.sign(model_file, "--passphrase-file", wrong, expect=3)
    assert "a secret that is wrong" not in result.err + result.out
