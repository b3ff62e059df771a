# SPDX-License-Identifier: Apache-2.0
"""Provenance as other tools see it: securesystemslib checks the DSSE envelope, in-toto's own classes
read the statement, and the reference passes over the file inside the model."""

import base64
import hashlib
import json

import google.protobuf.json_format as pb_json
import pytest
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

import support

NAME = "model.provenance.sigstore.json"


def sign(hallmark, model, key, metadata, *options):
    hallmark("sign", model, "--key", key.private, "--metadata", metadata, *options,
             expect=support.OK)  # fmt: skip
    return json.loads((model / NAME).read_text())


def sslib_key(key):
    """The key ids of both sides must be equal; those of our envelopes are empty."""
    made = SSlibKey.from_crypto(key.python.public_key())
    return SSlibKey("", made.keytype, made.scheme, made.keyval)


def verified_statement(bundle, key):
    """The payload, once its signature was found good, as in-toto's classes read it."""
    envelope = Envelope.from_dict(bundle["dsseEnvelope"])
    envelope.verify([sslib_key(key)], 1)
    assert envelope.payload_type == "application/vnd.in-toto+json"
    statement = pb_json.Parse(envelope.payload, statement_pb2.Statement())
    Statement.copy_from_pb(statement).validate()
    return statement


def provenance_of(statement):
    assert statement.predicate_type == "https://slsa.dev/provenance/v1"
    return pb_json.ParseDict(
        pb_json.MessageToDict(statement.predicate), provenance_pb2.Provenance()
    )


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "rsa-3072", "ed25519"])
def test_dsse_verifier(hallmark, keys, model_dir, metadata_file, key_type):
    key = keys["openssl", key_type]
    bundle = sign(hallmark, model_dir, key, metadata_file)
    verified_statement(json.loads(json.dumps(bundle)), key)
    with pytest.raises(VerificationError):
        verified_statement(json.loads(json.dumps(bundle)), keys["openssl", key_type, "other"])
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    changed = payload.replace(b"torch 2.9.1", b"torch 2.9.2")
    assert changed != payload
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(changed).decode()
    with pytest.raises(VerificationError):
        verified_statement(bundle, key)


def test_in_toto_statement(hallmark, keys, model_dir, metadata_file):
    key = keys["openssl", "ec-p256"]
    bundle = sign(hallmark, model_dir, key, metadata_file, "--signer-id", "https://ci.example/x")
    statement = verified_statement(bundle, key)
    report = hallmark("verify", model_dir, "--key", key.public, "--json", expect=0).json()
    model, signature = statement.subject
    assert (model.name, dict(model.digest)) == ("model", {
        "sha256": report["model"]["root_digest"],
        "hallmarkModelV1": report["model"]["model_digest"],
    })  # fmt: skip
    file_digest = hashlib.sha256((model_dir / "model.sig").read_bytes()).hexdigest()
    assert (signature.name, dict(signature.digest)) == ("model.sig", {"sha256": file_digest})
    provenance = provenance_of(statement)
    definition, run = provenance.build_definition, provenance.run_details
    parameters = pb_json.MessageToDict(definition.external_parameters)
    assert parameters == {"hyperparameters": support.METADATA["hyperparameters"]}
    (dataset,) = definition.resolved_dependencies
    assert (dataset.name, dict(dataset.digest)) == (
        "dataset", {"sha256": support.METADATA["dataset_hash"]})  # fmt: skip
    assert run.builder.id == "https://ci.example/x"
    assert dict(run.builder.version) == {"framework": "torch 2.9.1"}
    assert run.metadata.started_on.ToJsonString() == support.METADATA["training_start"]
    assert run.metadata.finished_on.ToJsonString() == support.METADATA["training_end"]


def test_signature_and_provenance_have_the_same_subject(hallmark, keys, model_dir, metadata_file):
    """So that a tool which knows one of them finds the other."""
    key = keys["openssl", "ec-p256"]
    provenance = verified_statement(sign(hallmark, model_dir, key, metadata_file), key)
    signature = verified_statement(json.loads((model_dir / "model.sig").read_text()), key)
    ours, theirs = signature.subject[0], provenance.subject[0]
    assert ours.name == theirs.name and ours.digest["sha256"] == theirs.digest["sha256"]


def test_reference_verifies_the_model(hallmark, current, keys, model_dir, metadata_file):
    """The file lies inside the model: without being ignored by name it would be an extra file."""
    key = keys["openssl", "ec-p256"]
    sign(hallmark, model_dir, key, metadata_file)
    command = ["verify", "key", model_dir, "--signature", model_dir / "model.sig", "--public_key",
               key.public]  # fmt: skip
    current(*command, expect=True)
    (model_dir / "another.json").write_bytes((model_dir / NAME).read_bytes())
    current(*command, expect=False)


def test_beside_a_signature_of_the_reference(hallmark, current, keys, model_dir, metadata_file):
    """Its signature with our statement, which must be there before it is made, to be ignored."""
    key = keys["openssl", "ec-p256"]
    sign(hallmark, model_dir, key, metadata_file)
    current("sign", "key", model_dir, "--signature", model_dir / "model.sig", "--private_key",
            key.private, "--ignore-paths", model_dir / NAME, expect=True)  # fmt: skip
    report = hallmark("verify", model_dir, "--key", key.public, "--json", expect=0).json()
    assert report["provenance"]["path"] == str(model_dir / NAME)
