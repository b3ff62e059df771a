# SPDX-License-Identifier: Apache-2.0
"""The package, the command and the OpenSSF reference tool read each other's signatures."""

import json

import pytest

import hallmark
import support


# ---- the command --------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"shard_size": 30_000}, {"hash": "blake2b"}])
def test_the_command_reads_ours(program, model_dir, ec, options):
    hallmark.sign(model_dir, ec.private, **options)
    report = program("verify", model_dir, "--key", ec.public, "--json", expect=0).json()
    ours = hallmark.verify(model_dir, key=ec.public).to_dict()
    assert {**report, "time": None} == {**ours, "time": None}


def test_we_read_the_command_s(program, model_dir, model_file, rsa, metadata_file):
    program("sign", model_dir, "--key", rsa.private, "--files", "--shards", expect=0)
    assert hallmark.verify(model_dir, key=rsa.public).method == "shards"
    for options in (["sig-json", "--metadata", metadata_file], ["manifest-json"]):
        program("sign", model_file, "--key", rsa.private, "--format", *options, expect=0)
    assert hallmark.verify(model_file, key=rsa.public).format == "sig-json"
    manifest = model_file.with_suffix(".manifest.json")
    report = hallmark.verify(model_file, key=rsa.public, signature=manifest)
    assert report.format == "manifest-json"
    support.flip(model_file, 50)
    with pytest.raises(hallmark.IntegrityError):
        hallmark.verify(model_file, key=rsa.public)


def test_the_same_text(program, model_dir, ec):
    hallmark.sign(model_dir, ec.private)
    theirs = program("verify", model_dir, "--key", ec.public, "--list", expect=0).out
    assert hallmark.verify(model_dir, key=ec.public).text(list=True) == theirs


# ---- the reference tool -------------------------------------------------------------------------


def test_the_reference_tool_reads_ours(reference, model_dir, ec, tmp_path):
    place = tmp_path / "model.sig"
    hallmark.sign(model_dir, ec.private, signature=place)
    command = ["verify", "key", model_dir, "--signature", place, "--public_key", ec.public]
    assert reference(*command).rc == 0
    support.flip(model_dir / "README.md", 1)
    assert reference(*command).rc != 0


def test_we_read_the_reference_tool_s(reference, model_dir, ec, tmp_path):
    place = tmp_path / "model.sig"
    command = ["sign", "key", model_dir, "--signature", place, "--private_key", ec.private]
    assert reference(*command).rc == 0
    report = hallmark.verify(model_dir, key=ec.public, signature=place)
    assert report.verified and report.format == "oms"
    support.flip(model_dir / "README.md", 1)
    with pytest.raises(hallmark.IntegrityError):
        hallmark.verify(model_dir, key=ec.public, signature=place)


# ---- the schema ---------------------------------------------------------------------------------


def test_the_attributes_are_the_schema_s(signed, ec):
    """A member that the schema gains has to become an attribute."""
    schema = json.loads((support.ROOT / "docs" / "report.schema.json").read_text())
    renamed = {"model": "path", "signature": "signature_path"}
    report = hallmark.verify(signed, key=ec.public)
    for name in set(schema["properties"]) - {"schema"}:
        assert hasattr(report, renamed.get(name, name)), name
    for name in schema["properties"]["model"]["properties"]:
        assert hasattr(report, {"files": "file_count", "bytes": "byte_count"}.get(name, name)), name
    words = schema["$defs"]["reason"]["enum"]
    assert set(hallmark.Reason.__args__) == set(words)
    kinds = {
        "SignerInfo": schema["$defs"]["signer"],
        "Certificate": schema["$defs"]["certificate"],
        "PolicyOutcome": schema["$defs"]["policy"],
        "SignatureOutcome": schema["$defs"]["policy"]["properties"]["signatures"]["items"],
        "Finding": schema["properties"]["findings"]["items"],
        "Entry": schema["properties"]["entries"]["items"],
        "IgnoredPath": schema["properties"]["ignored"]["items"],
        "UnsignedPath": schema["properties"]["unsigned"]["items"],
        "Provenance": schema["$defs"]["provenance"],
    }
    for kind, described in kinds.items():
        fields = getattr(hallmark, kind).__dataclass_fields__
        assert set(fields) == set(described["properties"]), kind
