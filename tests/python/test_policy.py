# SPDX-License-Identifier: Apache-2.0
"""Policies, keys and keyrings, through the package."""

import datetime
import gc
import json
import os
import stat
import threading
import weakref

import pytest
from cryptography.hazmat.primitives import serialization

import hallmark
import support


@pytest.fixture
def policy_file(tmp_path, ec):
    place = tmp_path / "policy.yaml"
    place.write_text(f"""version: 1
signers:
  ours: {{keys: {ec.public}}}
models:
  - name: "model*"
    signers: ours
""")
    return place


# ---- policies -----------------------------------------------------------------------------------


def test_a_policy_file(signed, policy_file, program):
    for policy in (policy_file, str(policy_file), hallmark.Policy.load(policy_file)):
        assert hallmark.verify(signed, policy).policy.rule == 1
    policy = hallmark.Policy.load(policy_file)
    assert policy.describe() + "\n" == program("policy", "check", policy_file, expect=0).out
    assert json.loads(policy.describe(json=True))
    explained = policy.explain(signed)
    theirs = program("policy", "explain", signed, "--policy", policy_file, expect=0).out
    assert explained.text + "\n" == theirs and explained.rule == 1
    assert str(policy_file) in repr(policy)


def test_no_rule(signed, policy_file):
    other = signed.rename(signed.with_name("other"))
    policy = hallmark.Policy.load(policy_file)
    assert policy.explain(other).rule is None and policy.explain(other).text
    assert policy.explain(other, name="model-x").rule == 1
    with pytest.raises(hallmark.UntrustedSignerError):
        hallmark.verify(other, policy)
    assert hallmark.verify(other, policy, name="model-x")


def test_more_demands_than_the_file_has(signed, policy_file):
    with pytest.raises(hallmark.ProvenanceError):
        hallmark.verify(signed, hallmark.Policy.load(policy_file, require_provenance=True))
    with pytest.raises(hallmark.RefusedError):
        hallmark.verify(signed, hallmark.Policy.load(policy_file, format="sig-json"))


def test_the_default_policy(signed, policy_file, monkeypatch):
    monkeypatch.setenv("HALLMARK_POLICY", str(policy_file))
    assert hallmark.verify(signed, hallmark.Policy.default())
    monkeypatch.setenv("HALLMARK_POLICY", str(policy_file) + "x")
    with pytest.raises(hallmark.UndecidedError):
        hallmark.Policy.default()


def test_a_keyring_is_no_path(ec):
    for wrong in ("export.json", [ec.public]):
        with pytest.raises(TypeError, match="TrustedKeyring"):
            hallmark.Policy(keyrings=wrong)


def test_times(ec):
    now = datetime.datetime.now(datetime.timezone.utc)
    for time in ("2026-01-05", 1767571200, now, datetime.timedelta(days=-1)):
        hallmark.Policy(keys=ec.public, time=time)
    with pytest.raises(hallmark.UsageError, match="time zone"):
        hallmark.Policy(keys=ec.public, time=datetime.datetime.now())
    with pytest.raises(hallmark.UsageError):
        hallmark.Policy(keys=ec.public, time="yesterday")
    with pytest.raises(hallmark.UsageError):
        hallmark.Policy(keys=ec.public, time=2**63)
    with pytest.raises(TypeError):
        hallmark.Policy(keys=ec.public, time=1.5)


# ---- keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("passphrase", ["p\u00e4ss", "p\u00e4ss".encode(), lambda prompt: "p\u00e4ss"])
def test_an_encrypted_key(tmp_path, model_file, passphrase):
    private, public = tmp_path / "k.pem", tmp_path / "k.pub"
    hallmark.generate_key(private, passphrase=passphrase, type="ed25519")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    serialization.load_pem_private_key(private.read_bytes(), "p\u00e4ss".encode())
    hallmark.sign(model_file, private, passphrase=passphrase)
    assert hallmark.verify(model_file, key=public).signer.key_type == "ed25519"
    for wrong in (None, "other", lambda prompt: None):
        with pytest.raises(hallmark.UndecidedError):
            hallmark.Signer(private, passphrase=wrong)


def test_prompts(tmp_path):
    asked = []

    def answer(prompt):
        asked.append(prompt)
        return "secret"

    hallmark.generate_key(tmp_path / "k.pem", passphrase=answer)
    assert len(asked) == 2 and "k.pem" in asked[0] and asked[0].endswith(": ")
    answers = iter(["one", "two"])
    with pytest.raises(hallmark.UsageError, match="differ"):
        hallmark.generate_key(tmp_path / "other.pem", passphrase=lambda prompt: next(answers))
    assert not (tmp_path / "other.pem").exists()


def test_a_prompt_that_fails(keys, tmp_path):
    class Gone(Exception):
        pass

    def fail(prompt):
        raise Gone(prompt)

    with pytest.raises(Gone):
        hallmark.Signer(keys["python", "ec-p256"].encrypted, passphrase=fail)
    with pytest.raises(Gone):
        hallmark.generate_key(tmp_path / "k.pem", passphrase=fail)
    for wrong in (3, lambda prompt: 3):
        with pytest.raises(TypeError):
            hallmark.Signer(keys["python", "ec-p256"].encrypted, passphrase=wrong)
    with pytest.raises(hallmark.HallmarkError):
        hallmark.Signer(keys["python", "ec-p256"].encrypted, passphrase=lambda prompt: None)
    with pytest.raises(ValueError):
        hallmark.Signer(keys["python", "ec-p256"].encrypted, passphrase="x" * 100_000)


def test_nothing_is_written_over(tmp_path):
    hallmark.generate_key(tmp_path / "k.pem", plain=True)
    before = support.snapshot(tmp_path)
    with pytest.raises(hallmark.HallmarkError):
        hallmark.generate_key(tmp_path / "k.pem", plain=True)
    with pytest.raises(hallmark.UsageError):
        hallmark.generate_key(tmp_path / "l.pem")
    with pytest.raises(hallmark.UsageError):
        hallmark.generate_key(tmp_path / "l.pem", plain=True, passphrase="x")
    assert support.snapshot(tmp_path) == before


def test_a_signer(model_file, ec):
    signer = hallmark.Signer(ec.private)
    assert signer.algorithm == "ec-p256" and signer.fingerprint == ec.fingerprint
    assert signer.key_version is None and ec.fingerprint in repr(signer)
    with signer:
        hallmark.sign(model_file, signer)
        hallmark.sign(model_file, signer)
    with pytest.raises(hallmark.UsageError, match="closed"):
        hallmark.sign(model_file, signer)
    signer.close()
    with pytest.raises(hallmark.UsageError):
        hallmark.sign(model_file, hallmark.Signer(ec.private), passphrase="x")


def test_a_signer_holds_nobody(keys):
    class Store:
        def __init__(self):
            self.signer = hallmark.Signer(keys["python", "ec-p256"].encrypted, passphrase=self.ask)

        def ask(self, prompt):
            return support.PASSPHRASE

    store = Store()
    gone = weakref.ref(store)
    del store
    gc.collect()
    assert gone() is None


def test_closing_while_it_signs(tmp_path, ec):
    """The other way than taking turns is refused, and the signature is whole."""
    model = support.make_model_file(tmp_path / "m")
    signer = hallmark.Signer(ec.private)
    raised = []

    def close(done, total):
        try:
            signer.close()
        except RuntimeError as error:
            raised.append(error)

    hallmark.sign(model, signer, progress=close)
    assert raised and hallmark.verify(model, key=ec.public)


# ---- keyrings -----------------------------------------------------------------------------------


@pytest.fixture
def keyring(tmp_path, monkeypatch):
    monkeypatch.setenv("HALLMARK_STATE_DIR", str(tmp_path / "state"))
    place = tmp_path / "ring"
    assert hallmark.keyring.rotate(place, plain=True, signer="trainers") == 1
    return place


@pytest.fixture
def admin(keys):
    return keys["python", "ec-p384", "admin"]


def test_the_life_of_a_keyring(keyring, admin, model_dir, tmp_path, program):
    assert hallmark.keyring.rotate(keyring, passphrase="x", not_after="300d") == 2
    with hallmark.Signer(keyring, passphrase="x") as signer:
        assert signer.key_version == 2
        hallmark.sign(model_dir, signer)
    export = tmp_path / "export.json"
    assert hallmark.keyring.export(keyring, admin.private, export) == 1
    believed = hallmark.TrustedKeyring(export, admin.public, signer="trainers")
    assert hallmark.verify(model_dir, hallmark.Policy(keyrings=believed)).signer.key_version == 2
    hallmark.keyring.revoke(keyring, 2, "stolen", since="2026-01-01")
    number = hallmark.keyring.export(keyring, hallmark.Signer(admin.private), export,
                                     expires=datetime.timedelta(days=3))  # fmt: skip
    assert number == 2
    with pytest.raises(hallmark.RevokedKeyError):
        hallmark.verify(model_dir, hallmark.Policy(keyrings=[believed]))
    with pytest.raises(hallmark.RevokedKeyError):
        hallmark.Signer(keyring, passphrase="x")

    ring = hallmark.keyring.describe(keyring)
    assert ring.signer == "trainers" and ring.export_version == 2 and ring.signing_version is None
    assert [key.status for key in ring.keys] == ["old", "revoked"]
    assert ring.keys[1].revoked.reason == "stolen"
    assert ring.keys[1].not_after > datetime.datetime.now(datetime.timezone.utc)
    assert ring.text == program("key", "list", keyring, expect=0).out
    key = hallmark.keyring.describe_key(keyring, version=1)
    assert key.version == 1 and key.private_key is True
    assert key.text == program("key", "show", keyring, "--version", "1", expect=0).out


def test_a_rollback(keyring, admin, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    hallmark.keyring.export(keyring, admin.private, old)
    hallmark.keyring.export(keyring, admin.private, new)
    hallmark.Policy(keyrings=hallmark.TrustedKeyring(new, admin.public))
    with pytest.raises(hallmark.RollbackError) as refused:
        hallmark.Policy(keyrings=hallmark.TrustedKeyring(old, admin.public))
    assert refused.value.reason == "rollback"
    with pytest.raises(hallmark.UntrustedSignerError):
        hallmark.Policy(keyrings=hallmark.TrustedKeyring(new, admin.public, signer="others"))
    with pytest.raises(hallmark.ExpiredError):
        hallmark.Policy(keyrings=hallmark.TrustedKeyring(new, admin.public), time="2100-01-01")


def test_removing_old_keys(keyring):
    hallmark.keyring.rotate(keyring, plain=True, remove_old_private=True)
    assert [key.private_key for key in hallmark.keyring.describe(keyring).keys] == [False, True]


def test_one_public_key(ec):
    key = hallmark.keyring.describe_key(ec.public)
    assert (key.algorithm, key.fingerprint, key.version) == ("ec-p256", ec.fingerprint, None)


# ---- threads ------------------------------------------------------------------------------------


def test_one_policy_and_one_signer_in_many_threads(tmp_path, ec):
    signer, policy = hallmark.Signer(ec.private), hallmark.Policy(keys=ec.public)
    models = [support.make_model_file(tmp_path / f"m{n}", n) for n in range(8)]
    failed = []

    def work(model):
        try:
            for _ in range(5):
                hallmark.sign(model, signer)
                assert hallmark.verify(model, policy).verified
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and os.path.exists(f"{models[7]}.sig")
