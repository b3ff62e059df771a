# SPDX-License-Identifier: Apache-2.0
"""hallmark.checkpoint, hallmark.artifact and SecureModelLoader: as code calls them that had such
functions of its own, and against an oracle in both directions."""

import json
import logging
import os
import pathlib

import pytest
import torch

import hallmark
import hallmark.artifact
import hallmark.checkpoint
import support
from python.frameworks import documents

METADATA = {
    "dataset_hash": "ab" * 32,
    "start_time": "2026-01-05T08:00:00",
    "end_time": "2026-01-05T20:31:07",
    "hyperparameters": {"lr": 0.001, "epochs": 3, "name": "Zoë"},
    "framework_version": "2.6.0",
}
SIGNED = {
    "dataset_hash": METADATA["dataset_hash"],
    "training_start": METADATA["start_time"],
    "training_end": METADATA["end_time"],
    "hyperparameters": METADATA["hyperparameters"],
    "framework_version": METADATA["framework_version"],
}
WEIGHTS = {"layer": torch.arange(6.0).reshape(2, 3)}


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(WEIGHTS, "fraud-detection.pt")
    return "fraud-detection.pt"


# ---- hallmark.checkpoint ------------------------------------------------------------------------


def test_a_checkpoint_signed_here_verifies_there_and_here(model, rsa):
    path = hallmark.checkpoint.sign_model_checkpoint(model, rsa.private, METADATA)
    assert path == model + ".sig"
    theirs = documents.read_checkpoint_signature(model, rsa.public)
    ours = hallmark.checkpoint.verify_model_signature(model, rsa.public)
    assert ours == theirs and ours["training_metadata"] == SIGNED
    assert ours["signer_id"] == "training-pipeline-v1" and ours["model_path"] == model


def test_a_checkpoint_signed_there_verifies_here(model, rsa):
    documents.write_checkpoint_signature(model, rsa.private, SIGNED)
    theirs = documents.read_checkpoint_signature(model, rsa.public)
    assert hallmark.checkpoint.verify_model_signature(model, rsa.public) == theirs


@pytest.mark.parametrize("form", [pathlib.Path, os.fsencode])
def test_paths_in_every_form(model, rsa, form):
    path = hallmark.checkpoint.sign_model_checkpoint(form(model), form(rsa.private), METADATA)
    assert path == model + ".sig"
    assert hallmark.checkpoint.verify_model_signature(form(model), form(rsa.public))
    trusted = {"training-pipeline-v1": {"public_key": form(rsa.public)}}
    digest = documents.sha256(model)
    assert hallmark.checkpoint.verify_third_party_model(form(model), digest, trusted)
    assert hallmark.checkpoint.SecureModelLoader(form(rsa.public)).load_model(form(model))
    manifest = hallmark.artifact.sign_artifact(form(model), form(rsa.private), None, "me")
    hallmark.artifact.save_manifest(manifest, form("fraud-detection.manifest.json"))
    found = hallmark.artifact.verify_artifact(
        form(model), form("fraud-detection.manifest.json"), form(rsa.public)
    )
    assert found["sha256"] == hallmark.artifact.hash_file(form(model)) == digest
    module = torch.nn.Module()
    module.register_buffer("layer", torch.zeros(2, 3))
    hallmark.artifact.load_verified_model(module, form(model), form(rsa.public))
    assert torch.equal(module.layer, WEIGHTS["layer"])


def tampered(model):
    support.flip(pathlib.Path(model), 100)


def resigned_by_nobody(model):
    both = json.loads(pathlib.Path(model + ".sig").read_text())
    both["manifest"]["model_hash"] = documents.sha256(model)
    both["manifest"]["signer_id"] = "somebody"
    pathlib.Path(model + ".sig").write_text(json.dumps(both))


def unsigned(model):
    os.unlink(model + ".sig")


@pytest.mark.parametrize(
    "change, error",
    [(tampered, hallmark.checkpoint.IntegrityError),
     (resigned_by_nobody, hallmark.checkpoint.SignatureVerificationError),
     (unsigned, hallmark.checkpoint.SignatureVerificationError), (unsigned, FileNotFoundError)],
)  # fmt: skip
def test_a_checkpoint_that_is_not_what_was_signed(model, rsa, change, error):
    hallmark.checkpoint.sign_model_checkpoint(model, rsa.private, METADATA)
    loader = hallmark.checkpoint.SecureModelLoader(public_key_path=rsa.public)
    assert torch.equal(loader.load_model(model)["layer"], WEIGHTS["layer"])
    change(model)
    with pytest.raises(error):
        hallmark.checkpoint.verify_model_signature(model, rsa.public)
    with pytest.raises(error):
        loader.load_model(model)


def test_what_is_missing(model, rsa, ec):
    with pytest.raises(KeyError, match="end_time"):
        some = {name: value for name, value in METADATA.items() if name != "end_time"}
        hallmark.checkpoint.sign_model_checkpoint(model, rsa.private, some)
    for call in (
        lambda: hallmark.checkpoint.sign_model_checkpoint("nothing.pt", rsa.private, METADATA),
        lambda: hallmark.checkpoint.sign_model_checkpoint(model, "no.pem", METADATA),
        lambda: hallmark.checkpoint.verify_model_signature("nothing.pt", rsa.public),
        lambda: hallmark.artifact.hash_file("nothing.pt"),
    ):
        with pytest.raises(FileNotFoundError):
            call()
    assert not os.path.exists(model + ".sig")
    with pytest.raises(hallmark.UsageError):  # the format is for RSA
        hallmark.checkpoint.sign_model_checkpoint(model, ec.private, METADATA)


def test_somebody_else_s_model(model, rsa, ec, caplog):
    verify = hallmark.checkpoint.verify_third_party_model
    digest, trusted = documents.sha256(model), {"lab": {"public_key": str(rsa.public)}}
    with caplog.at_level(logging.WARNING, "hallmark"):
        assert verify(model, digest, trusted) is None
    assert "has no signature" in caplog.text
    documents.write_checkpoint_signature(model, rsa.private, SIGNED, signer="lab")
    assert verify(model, digest.upper(), trusted)["signer_id"] == "lab"
    with pytest.raises(hallmark.checkpoint.IntegrityError):
        verify(model, "0" * 64, trusted)
    with pytest.raises(hallmark.checkpoint.UntrustedSignerError):
        verify(model, digest, {"other": {"public_key": str(rsa.public)}})
    documents.write_checkpoint_signature(model, rsa.private, SIGNED, signer="stranger")
    with pytest.raises(hallmark.checkpoint.UntrustedSignerError):
        verify(model, digest, trusted)
    resigned_by_nobody(model)
    with pytest.raises(hallmark.checkpoint.SignatureVerificationError):
        verify(model, digest, {"somebody": {"public_key": str(rsa.public)}})


def test_a_signature_that_is_exchanged_meanwhile(model, rsa, monkeypatch):
    """The name that chose the key must be the one that the key signed."""
    inspect = hallmark.checkpoint.inspect
    documents.write_checkpoint_signature(model, rsa.private, SIGNED, signer="lab")

    def exchanged(signature):
        report = inspect(signature)
        documents.write_checkpoint_signature(model, rsa.private, SIGNED, signer="stranger")
        return report

    monkeypatch.setattr(hallmark.checkpoint, "inspect", exchanged)
    with pytest.raises(hallmark.UntrustedSignerError, match="stranger"):
        hallmark.checkpoint.verify_third_party_model(
            model, documents.sha256(model), {"lab": {"public_key": str(rsa.public)}}
        )


# ---- SecureModelLoader --------------------------------------------------------------------------


def test_the_loader_of_a_deployment(model, rsa):
    """As a service uses it: what fails is told, taken away, and an older version is used."""
    hallmark.checkpoint.sign_model_checkpoint(model, rsa.private, METADATA)
    events, done = [], []
    loader = hallmark.checkpoint.SecureModelLoader(rsa.public, on_event=events.append)

    def deploy():
        try:
            return loader.load_model(model)
        except (hallmark.SignatureVerificationError, hallmark.IntegrityError) as error:
            done.append(f"alert: {error.reason}")
            return None

    assert torch.equal(deploy()["layer"], WEIGHTS["layer"])
    assert events[-1]["event"] == "model_loaded" and events[-1]["signature_verified"] is True
    assert events[-1]["model_hash"] == documents.sha256(model)
    assert events[-1]["training_metadata"] == SIGNED and json.dumps(events)
    tampered(model)
    assert deploy() is None and done == ["alert: digest-mismatch"]
    assert events[-1]["event"] == "model_refused" and not events[-1]["signature_verified"]
    assert "training_metadata" not in events[-1] and len(events) == 2 and json.dumps(events)


def test_a_loader_of_any_format(signed, ec, caplog):
    failures = []
    loader = hallmark.SecureModelLoader(
        policy=hallmark.Policy(keys=ec.public), loader=dict,
        on_failure=lambda path, error: failures.append((path, error.reason)),
    )  # fmt: skip
    with caplog.at_level(logging.INFO, "hallmark.events"):
        assert "config.json" in loader.load_model(signed)
        support.flip(signed / "config.json", 0)
        with pytest.raises(hallmark.IntegrityError):
            loader.load_model(signed)
    assert failures == [(str(signed), "digest-mismatch")]
    told = [record.event["event"] for record in caplog.records if record.name == "hallmark.events"]
    assert told == ["model_loaded", "model_refused"]
    with pytest.raises(hallmark.UndecidedError):
        loader.load_model(signed / "nothing")
    assert failures[-1][1] is None
    with pytest.raises(hallmark.UsageError):
        hallmark.SecureModelLoader()


def test_what_cannot_be_recorded_is_not_handed_out(signed, ec):
    def full(event):
        raise OSError("the disk is full")

    loader = hallmark.SecureModelLoader(ec.public, loader=dict, on_event=full)
    with pytest.raises(OSError, match="full"):
        loader.load_model(signed)
    support.flip(signed / "config.json", 0)
    failures = []
    loader = hallmark.SecureModelLoader(
        ec.public, loader=dict, on_event=full, on_failure=lambda *what: failures.append(what)
    )
    with pytest.raises(OSError, match="full") as caught:
        loader.load_model(signed)
    assert isinstance(caught.value.__context__, hallmark.IntegrityError) and len(failures) == 1


# ---- hallmark.artifact --------------------------------------------------------------------------


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = torch.nn.Linear(16, 8)
        self.fc2 = torch.nn.Linear(8, 2)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))


def test_the_whole_way_of_an_artifact(tmp_path, monkeypatch):
    """Every function with the parameters by which it is known."""
    from hallmark.artifact import (
        generate_key_pair, load_verified_model, save_signed_model, sign_artifact_bundle,
        verify_artifact,
    )  # fmt: skip

    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="everybody knows"):
        generate_key_pair(pathlib.Path("key.pem"), pathlib.Path("key.pub"))
    model = Classifier()
    manifest = save_signed_model(
        model=model, model_path=pathlib.Path("v1.pt"), private_key_path=pathlib.Path("key.pem"),
        passphrase=b"your-passphrase", signer_identity="training-pipeline@ml-team",
    )  # fmt: skip
    assert manifest == pathlib.Path("v1.manifest.json")
    served = load_verified_model(
        model=Classifier(), model_path=pathlib.Path("v1.pt"),
        public_key_path=pathlib.Path("key.pub"),
    )  # fmt: skip
    assert not served.training and torch.equal(served.fc1.weight, model.fc1.weight)
    pathlib.Path("config.json").write_text("{}")
    sign_artifact_bundle(
        artifact_paths=[pathlib.Path("v1.pt"), pathlib.Path("config.json")],
        private_key_path=pathlib.Path("key.pem"), passphrase=b"your-passphrase",
        signer_identity="training-pipeline@ml-team",
        bundle_output=pathlib.Path("release_bundle.manifest.json"),
    )  # fmt: skip
    bundle = json.loads(pathlib.Path("release_bundle.manifest.json").read_text())
    assert set(bundle) == {"artifacts", "bundle_signed_at", "artifact_count"}
    assert bundle["artifact_count"] == 2
    for entry in bundle["artifacts"]:
        documents.check_artifact(entry, entry["model_file"], "key.pub")
        assert entry["signer"] == "training-pipeline@ml-team" and entry["key_size"] == 4096
    assert os.stat("key.pem").st_mode & 0o777 == 0o600
    with pytest.raises(hallmark.HallmarkError):  # nothing is written over
        generate_key_pair("key.pem", "key.pub", b"another")
    with pytest.raises(ValueError):
        hallmark.artifact.sign_artifact("v1.pt", "key.pem", b"wrong", "me")
    found = verify_artifact(pathlib.Path("v1.pt"), manifest, pathlib.Path("key.pub"))
    assert found["sha256"] == documents.sha256("v1.pt") == hallmark.artifact.hash_file("v1.pt")


def test_artifacts_in_both_directions(model, rsa):
    from hallmark.artifact import save_manifest, sign_artifact, verify_artifact

    ours = sign_artifact(pathlib.Path(model), rsa.private, None, "me")
    documents.check_artifact(ours, model, rsa.public)
    theirs = documents.artifact_manifest(model, rsa.private, None, "me")
    assert set(ours) == set(theirs)
    for manifest in (ours, theirs):
        save_manifest(manifest, pathlib.Path("out.manifest.json"))
        assert json.loads(pathlib.Path("out.manifest.json").read_text()) == manifest
        verify_artifact(pathlib.Path(model), pathlib.Path("out.manifest.json"), rsa.public)


def test_nothing_unsigned_is_shown_as_verified(model, rsa):
    from hallmark.artifact import save_manifest, verify_artifact

    manifest = documents.artifact_manifest(model, rsa.private, None, "me")
    save_manifest({**manifest, "signer": "the boss", "signed_at": "1999"}, "m.json")
    found = verify_artifact(model, "m.json", rsa.public)
    assert dict(found) == {"sha256": manifest["sha256"]}
    assert (
        found.claimed["signer"] == "the boss"
        and found.report.signer.key_fingerprint == rsa.fingerprint
    )
    with pytest.raises(KeyError, match="not covered by the signature"):
        found["signer"]
    with pytest.raises(KeyError):
        found["nothing"]


def test_an_artifact_that_is_not_what_was_signed(model, rsa, ec):
    from hallmark.artifact import load_verified_model, save_manifest, verify_artifact

    manifest = documents.artifact_manifest(model, rsa.private, None, "me")
    for changed, error in (
        ({"sha256": "0" * 64}, hallmark.SignatureVerificationError),
        ({"signature": manifest["signature"][::-1]}, hallmark.SignatureVerificationError),
        ({"algorithm": "none"}, hallmark.SignatureVerificationError),
    ):
        save_manifest({**manifest, **changed}, "m.json")
        with pytest.raises(error) as caught:
            verify_artifact(model, "m.json", rsa.public)
        assert isinstance(caught.value, ValueError)
    save_manifest(manifest, "fraud-detection.manifest.json")
    tampered(model)
    with pytest.raises(ValueError) as caught:
        load_verified_model(Classifier(), pathlib.Path(model), rsa.public)
    assert isinstance(caught.value, hallmark.IntegrityError)
    os.unlink("fraud-detection.manifest.json")
    with pytest.raises(FileNotFoundError):
        load_verified_model(Classifier(), pathlib.Path(model), rsa.public)
