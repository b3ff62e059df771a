# SPDX-License-Identifier: Apache-2.0
"""Signing, verifying, digesting, inspecting and signing again, through the package."""

import json
import logging
import os
import pathlib

import pytest

import hallmark
import support


# ---- sign and verify ----------------------------------------------------------------------------


def test_a_directory(model_dir, ec):
    report = hallmark.sign(model_dir, ec.private)
    assert report.operation == "sign" and report.status == "signed" and report
    assert not report.verified
    assert report.signature_path == str(model_dir / "model.sig")
    assert report.signer.key_fingerprint == ec.fingerprint
    report = hallmark.verify(model_dir, key=ec.public)
    assert report and report.verified and report.status == "verified" and report.reason is None
    assert report.path == str(model_dir)
    assert set(report.files) == set(support.snapshot(model_dir)) - {"model.sig", "shards"}
    assert report.byte_count == sum((model_dir / name).stat().st_size for name in report.files)


@pytest.mark.parametrize("key_type", support.KEY_TYPES)
def test_every_key(model_file, keys, key_type):
    key = keys["python", key_type]
    hallmark.sign(model_file, key.private)
    assert hallmark.verify(model_file, key=key.public).signer.key_type == key_type


@pytest.mark.parametrize("form", [str, os.fsencode, pathlib.Path])
def test_paths_in_every_form(model_dir, ec, form):
    hallmark.sign(form(model_dir), form(ec.private), signature=form(model_dir / "s"))
    assert hallmark.verify(form(model_dir), key=[form(ec.public)], signature=form(model_dir / "s"))


def test_a_path_that_is_not_utf8(tmp_path, ec):
    folder = os.fsencode(tmp_path) + b"/m\xff"
    os.mkdir(folder)
    with open(folder + b"/a", "w") as out:
        out.write("a")
    report = hallmark.sign(folder, ec.private)
    assert os.fsencode(report.signature_path) == folder + b"/model.sig"
    assert hallmark.verify(os.fsdecode(folder), key=ec.public)


def test_an_object_with_a_path(model_dir, ec):
    class Place:
        def __fspath__(self):
            return str(model_dir)

    hallmark.sign(Place(), ec.private)
    assert hallmark.verify(Place(), key=ec.public)


def test_two_signatures(model_dir, ec):
    report = hallmark.sign(model_dir, ec.private, files=True, shard_size=20_000, hash="blake3")
    assert report.shards_signature_path == str(model_dir / "model.shards.sig")
    report = hallmark.verify(model_dir, key=ec.public)
    assert (report.method, report.shard_size, report.hash) == ("shards", 20_000, "blake3")
    report = hallmark.verify(model_dir, key=ec.public, signature=model_dir / "model.sig")
    assert (report.method, report.shard_size) == ("files", None)
    assert hallmark.SHARD_SIZE == 64 << 20


def test_places_and_ignored_paths(model_dir, ec, tmp_path):
    place = tmp_path / "aside.sig"
    hallmark.sign(model_dir, ec.private, signature=place, ignore=["README.md", "shards"])
    report = hallmark.verify(model_dir, key=ec.public, signature=place)
    assert {note.path for note in report.ignored if note.by == "signed"} >= {"README.md", "shards"}
    with pytest.raises(hallmark.UnsignedModelError):
        hallmark.verify(model_dir, key=ec.public)
    with pytest.raises(hallmark.IntegrityError):
        hallmark.verify(model_dir, key=ec.public, signature=place, strict_paths=True)


def test_git_and_links(model_dir, ec):
    (model_dir / ".git").mkdir()
    (model_dir / ".git" / "HEAD").write_text("x")
    (model_dir / "link").symlink_to("README.md")
    with pytest.raises(hallmark.RefusedError):
        hallmark.sign(model_dir, ec.private)
    report = hallmark.sign(model_dir, ec.private, follow_symlinks=True, include_git=True)
    assert {"link", ".git/HEAD"} <= set(report.files)
    with pytest.raises(hallmark.RefusedError):
        hallmark.verify(model_dir, key=ec.public)
    policy = hallmark.Policy(keys=ec.public, allow_symlinks=True)
    assert hallmark.verify(model_dir, policy)
    (model_dir / ".git" / "HEAD").write_text("y")
    with pytest.raises(hallmark.IntegrityError):
        hallmark.verify(model_dir, policy, include_git=True)


def test_a_file_under_another_name(model_file, ec):
    hallmark.sign(model_file, ec.private)
    moved = model_file.with_name("other")
    model_file.rename(moved)
    model_file.with_name(model_file.name + ".sig").rename(moved.with_name("other.sig"))
    with pytest.raises(hallmark.RefusedError):
        hallmark.verify(moved, key=ec.public)
    assert hallmark.verify(moved, key=ec.public, name=model_file.name)


def test_unsigned_files(signed, ec):
    (signed / "extra").write_text("x")
    report = hallmark.verify(signed, key=ec.public, ignore_unsigned=True)
    assert [note.path for note in report.unsigned] == ["extra"]
    assert hallmark.verify(signed, key=ec.public, ignore="extra")
    with pytest.raises(hallmark.IntegrityError) as refused:
        hallmark.verify(signed, key=ec.public)
    assert refused.value.reason == "extra-file"


def test_sig_json(model_file, rsa, tmp_path):
    hallmark.sign(model_file, rsa.private, format="sig-json", metadata=support.METADATA,
                  signer_id="trainer")  # fmt: skip
    report = hallmark.verify(model_file, hallmark.Policy(keys=rsa.public, format="sig-json"))
    stated = {statement.name: statement.value for statement in report.stated}
    assert stated["training_metadata.hyperparameters"] == support.METADATA["hyperparameters"]
    assert stated["signer_id"] == "trainer"
    with pytest.raises(hallmark.RefusedError):
        hallmark.verify(model_file, hallmark.Policy(keys=rsa.public, format="oms"))
    place = support.make_metadata(tmp_path / "metadata.json")
    assert hallmark.sign(model_file, rsa.private, format="sig-json", metadata=place)


def test_a_bundle(tmp_path, rsa):
    files = [support.make_model_file(tmp_path / name, name) for name in ("a", "b")]
    manifest = tmp_path / "bundle.json"
    hallmark.sign(files, rsa.private, format="manifest-json", signature=manifest, key_version=3)
    report = hallmark.verify(tmp_path, key=rsa.public, signature=manifest)
    assert set(report.files) == {"a", "b"} and report.claimed
    files[1].write_text("other")
    with pytest.raises(hallmark.RefusedError):
        hallmark.verify(tmp_path, key=rsa.public, signature=manifest)


def test_provenance(model_dir, ec):
    report = hallmark.sign(model_dir, ec.private, metadata=support.METADATA, signer_id="ci")
    assert pathlib.Path(report.provenance.path).exists()
    digest = "sha256:" + support.METADATA["dataset_hash"]
    policy = hallmark.Policy(keys=ec.public, require_provenance=True, provenance_datasets=digest,
                             provenance_builders=["ci", "other"])  # fmt: skip
    assert hallmark.verify(model_dir, policy).provenance.stated
    with pytest.raises(hallmark.ProvenanceError) as refused:
        hallmark.verify(model_dir, hallmark.Policy(keys=ec.public, provenance_builders="other"))
    assert refused.value.reason == "provenance"


def test_certificates(model_dir, pki):
    leaf = pki.leaf("python")
    with hallmark.Signer(leaf.key.private, certificate=leaf.path,
                         chain=pki.intermediate.path) as signer:  # fmt: skip
        hallmark.sign(model_dir, signer)
    report = hallmark.verify(model_dir, hallmark.Policy(roots=pki.root.path))
    assert report.signer.certificate.fingerprint == leaf.fingerprint
    assert report.signer.certificate.not_before < report.signer.certificate.judged_at
    good = dict(identity_subjects="CN=python,O=Test", identity_fingerprints=leaf.fingerprint,
                identity_organisations=["Other", "Test"])  # fmt: skip
    assert hallmark.verify(model_dir, hallmark.Policy(roots=pki.root.path, **good))
    for name, value in {"identity_subjects": "CN=x", "identity_sans": "x.example",
                        "identity_organisations": "x"}.items():  # fmt: skip
        with pytest.raises(hallmark.UntrustedSignerError):
            hallmark.verify(model_dir, hallmark.Policy(roots=pki.root.path, **{name: value}))
    with pytest.raises(hallmark.ExpiredError):
        hallmark.verify(model_dir, hallmark.Policy(roots=pki.root.path, time="2100-01-01"))


def test_parts_and_reuse(model_dir, ec, tmp_path):
    parts = [tmp_path / name for name in "ab"]
    for number, place in enumerate(parts, 1):
        report = hallmark.digest(model_dir, part=(number, 2), out=place)
        assert (report.part.part, report.part.parts) == (number, 2)
    report = hallmark.sign(model_dir, ec.private, parts=parts)
    assert report.reused.source == "parts" and report.reused.files_read == 0
    assert hallmark.verify(model_dir, key=ec.public)
    report = hallmark.sign(model_dir, ec.private, reuse=model_dir / "model.sig")
    assert report.reused.source == "signature"


class Count:
    """A whole number that is no int, as numpy has them."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


def test_counts_of_other_types(model_dir, ec, tmp_path):
    report = hallmark.sign(model_dir, ec.private, shard_size=Count(4096), jobs=Count(1))
    assert report.shard_size == 4096
    hallmark.digest(model_dir, part=(Count(1), Count(1)), out=tmp_path / "part")
    for wrong in (4096.0, "4096", True, Count):
        with pytest.raises(TypeError, match="shard_size must be a whole number"):
            hallmark.sign(model_dir, ec.private, shard_size=wrong)
    for wrong in (1, ("1", 2), (1, 2, 3)):
        with pytest.raises(TypeError, match="part must be"):
            hallmark.digest(model_dir, part=wrong, out=tmp_path / "part")


def test_digest(signed):
    report = hallmark.digest(signed, ignore="model.sig", hash="blake2b")
    assert report.model_digest and report.root_digest and report.hash == "blake2b"
    assert {len(entry.digest) for entry in report.entries} == {128}
    other = hallmark.digest(signed, ignore="model.sig", shard_size=10_000)
    assert other.method == "shards" and other.model_digest != report.model_digest


def test_inspection_is_not_true(signed):
    report = hallmark.inspect(signed / "model.sig")
    assert not report and not report.verified and report.signer is None
    assert report.status == "unverified" and report.claimed and report.path is None


def test_resign(signed, keys, ec, tmp_path):
    new = keys["python", "ec-p256", "new"]
    report = hallmark.resign(signed, hallmark.Policy(keys=ec.public), new.private)
    assert report.status == "resigned" and report
    assert hallmark.verify(signed, key=new.public)
    again = hallmark.resign(signed, hallmark.Policy(keys=ec.public), new.private)
    assert again.status == "unchanged" and again
    with pytest.raises(hallmark.UntrustedSignerError):
        hallmark.resign(signed, hallmark.Policy(keys=ec.public),
                        keys["python", "ec-p256", "third"].private)  # fmt: skip


# ---- what is refused ----------------------------------------------------------------------------


def break_content(model, ec):
    support.flip(model / "README.md", 0)


def break_missing(model, ec):
    (model / "README.md").unlink()


def break_signature(model, ec):
    place = model / "model.sig"
    bundle = json.loads(place.read_text())
    signature = bundle["dsseEnvelope"]["signatures"][0]["sig"]
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = signature[:40] + (
        "A" if signature[40] != "A" else "B") + signature[41:]  # fmt: skip
    place.write_text(json.dumps(bundle))


def break_form(model, ec):
    (model / "model.sig").write_text("{")


def break_all(model, ec):
    (model / "model.sig").unlink()


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        (break_content, hallmark.IntegrityError, "digest-mismatch"),
        (break_missing, hallmark.IntegrityError, "missing-file"),
        (break_signature, hallmark.SignatureVerificationError, "bad-signature"),
        (break_form, hallmark.MalformedSignatureError, "malformed"),
        (break_all, hallmark.UnsignedModelError, "unsigned"),
    ],
)
def test_refusals_say_why(signed, ec, program, change, kind, reason):
    change(signed, ec)
    with pytest.raises(hallmark.HallmarkError) as refused:
        hallmark.verify(signed, key=ec.public)
    error = refused.value
    assert type(error) is kind and error.reason == reason and error.status == "refused"
    assert isinstance(error, (hallmark.SignatureVerificationError, hallmark.IntegrityError))
    assert not error.report and error.report.status == "refused" and error.report.reason == reason
    assert error.report.message == error.message and error.report.hint == (error.hint or None)
    assert error.message in str(error) and error.hint in str(error)
    result = program("verify", signed, "--key", ec.public, "--json", expect=1)
    theirs, ours = result.json(), error.report.to_dict()
    assert {**theirs, "time": None} == {**ours, "time": None}


def test_another_signer(signed, keys):
    with pytest.raises(hallmark.UntrustedSignerError):
        hallmark.verify(signed, key=keys["python", "ec-p256", "other"].public)


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda m, k: hallmark.verify(m), hallmark.UsageError),
        (lambda m, k: hallmark.verify(m, k.public, key=k.public), hallmark.UsageError),
        (lambda m, k: hallmark.verify(m, key=[]), hallmark.UsageError),
        (lambda m, k: hallmark.verify(m, key=k.private), hallmark.UsageError),
        (lambda m, k: hallmark.verify(m, key=m / "config.json"), hallmark.UndecidedError),
        (lambda m, k: hallmark.verify(m / "no", key=k.public), hallmark.UndecidedError),
        (lambda m, k: hallmark.verify(m, m / "no.yaml"), hallmark.UndecidedError),
        (lambda m, k: hallmark.verify("a\0b", key=k.public), hallmark.UsageError),
        (lambda m, k: hallmark.verify(m, key=k.public, jobs=0), hallmark.UsageError),
        (lambda m, k: hallmark.verify(m, key=k.public, jobs=2**40), hallmark.UsageError),
        (lambda m, k: hallmark.verify(m, key=k.public, jobs=True), TypeError),
        (lambda m, k: hallmark.verify(m, key=3), TypeError),
        (lambda m, k: hallmark.verify(m, key=k.public, signature=["a", "b"]), hallmark.UsageError),
        (lambda m, k: hallmark.sign(m, k.private, hash="md5"), hallmark.UsageError),
        (lambda m, k: hallmark.sign(m, k.private, format="x"), hallmark.UsageError),
        (lambda m, k: hallmark.sign(m, k.private, shard_size=-1), hallmark.UsageError),
        (lambda m, k: hallmark.sign(m, k.private, shard_size=2**64), hallmark.UsageError),
        (lambda m, k: hallmark.sign(m, k.private, key_version=0), hallmark.UsageError),
        (lambda m, k: hallmark.sign(m, k.private, metadata={"a": 0j}), hallmark.UsageError),
        (lambda m, k: hallmark.sign(m, k.private, metadata={"a": 1e999}), hallmark.UsageError),
        (lambda m, k: hallmark.sign([], k.private), hallmark.UsageError),
        (lambda m, k: hallmark.sign(m, k.public), hallmark.UndecidedError),
        (lambda m, k: hallmark.digest(m, part=(1, 2)), hallmark.UsageError),
        (lambda m, k: hallmark.digest(m, part=(3, 2), out="x"), hallmark.UsageError),
        (lambda m, k: hallmark.Policy(), hallmark.UsageError),
        (lambda m, k: hallmark.verify(m, key=k.public, progress=3), TypeError),
    ],
)
def test_wrong_calls(signed, ec, call, kind):
    before = support.snapshot(signed)
    with pytest.raises(kind) as wrong:
        call(signed, ec)
    if kind is hallmark.UsageError:
        assert isinstance(wrong.value, ValueError) and wrong.value.status == "usage"
    assert support.snapshot(signed) == before


def test_hints_are_about_calls(signed, ec, keys, tmp_path):
    with pytest.raises(hallmark.UnsignedModelError) as raised:
        hallmark.verify(signed, key=ec.public, signature=tmp_path / "none")
    assert raised.value.hint == raised.value.report.hint and "signature=" in raised.value.hint
    with pytest.raises(hallmark.UsageError, match="plain=True"):
        hallmark.generate_key(tmp_path / "key.pem")
    with pytest.raises(hallmark.UndecidedError, match="no policy file.* key="):
        hallmark.verify(signed, ec.public)


def test_an_error_of_the_core_has_a_report_even_so(signed, ec):
    with pytest.raises(hallmark.UndecidedError) as undecided:
        hallmark.verify(signed / "nowhere", key=ec.public)
    report = undecided.value.report
    assert report.status == "undecided" and report.path == str(signed / "nowhere") and not report


# ---- let through --------------------------------------------------------------------------------


@pytest.fixture
def lenient(model_dir, ec):
    place = model_dir.with_name("policy.yaml")
    place.write_text(f"""version: 1
signers:
  ours: {{keys: {ec.public}}}
models:
  - path: {model_dir}
    signers: ours
    unsigned: warn
""")
    return place


def test_what_is_let_through_is_not_verified(model_dir, lenient):
    with pytest.raises(hallmark.LetThroughError) as unsigned:
        hallmark.verify(model_dir, lenient)
    error = unsigned.value
    assert isinstance(error, hallmark.UnsignedModelError) and error.status == "let-through"
    assert error.reason == "unsigned" and not error.report
    with pytest.warns(hallmark.LetThroughWarning):
        report = hallmark.verify(model_dir, lenient, let_through=True)
    assert not report and not report.verified and report.status == "let-through"
    assert report.signer is None and report.files == ()


def test_letting_through_changes_nothing_else(model_dir, lenient, ec, recwarn):
    hallmark.sign(model_dir, ec.private)
    report = hallmark.verify(model_dir, lenient, let_through=True)
    assert report.verified and report.policy.rule == 1 and not recwarn
    assert report.signer.name == "ours" and report.policy.signatures[0].counted
    (model_dir / "README.md").write_text("x")
    with pytest.raises(hallmark.IntegrityError):
        hallmark.verify(model_dir, lenient, let_through=True)
    (model_dir / "model.sig").unlink()
    with pytest.raises(hallmark.UnsignedModelError):
        hallmark.verify(model_dir, key=ec.public, let_through=True)


# ---- logging ------------------------------------------------------------------------------------


def test_the_log(signed, ec, caplog):
    with caplog.at_level(logging.INFO, "hallmark"):
        hallmark.verify(signed, key=ec.public)
    (record,) = caplog.records
    assert record.levelno == logging.INFO and ec.fingerprint in record.getMessage()
    caplog.clear()
    (signed / "extra\n\x1b[31mverified: all").write_text("x")
    with pytest.raises(hallmark.IntegrityError):
        hallmark.verify(signed, key=ec.public)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and "extra-file" in record.getMessage()
    odd = signed.with_name("m\nverified: x\x1b")
    signed.rename(odd)
    caplog.clear()
    (odd / "model.sig").unlink()
    with caplog.at_level(logging.INFO, "hallmark"):
        hallmark.sign(odd, ec.private)
    assert all(c.isprintable() for record in caplog.records for c in record.getMessage())
