# SPDX-License-Identifier: Apache-2.0
"""What cryptographic signing of models is meant to achieve, test by test: four that it works, four
that it holds against an attacker. Each runs over the kinds of model there are and over every
format that can sign them."""

import dataclasses
import hashlib
import json
import pathlib
import pickle
import shutil
import subprocess
import zipfile

import pytest

import oracle
import support


# ---- the models ---------------------------------------------------------------------------------


def write_checkpoint(path):
    """As torch.save() has it: a zip of a pickle and its storages."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": [0.25] * 64}))
        archive.writestr("archive/data/0", support.content("storage", 20_000))


def write_safetensors(path, seed="tensor"):
    data = support.content(seed, 4096)
    header = json.dumps({"w": {"dtype": "F32", "shape": [1024], "data_offsets": [0, 4096]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)


def write_onnx(path):
    """Field 1 (ir_version) and field 2 (producer_name) of ONNX's ModelProto, and a graph's bytes."""
    graph = support.content("graph", 9000)
    length = bytes([len(graph) & 0x7F | 0x80, len(graph) >> 7])
    path.write_bytes(b"\x08\x09" + b"\x12\x05torch" + b"\x3a" + length + graph)


def write_config(path):
    path.write_text(json.dumps({"architectures": ["BertModel"], "hidden_size": 768}))


def write_sharded(folder):
    folder.mkdir()
    names = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    for name in names:
        write_safetensors(folder / name, seed=name)
    index = {"metadata": {}, "weight_map": {f"layer{i}": n for i, n in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    write_config(folder / "config.json")


KINDS = {
    "model.pt": write_checkpoint,
    "model.safetensors": write_safetensors,
    "model.onnx": write_onnx,
    "config.json": write_config,
    "sharded": write_sharded,
}
CASES = [(kind, style) for kind in KINDS
         for style in ("oms", "oms-shards", "sig-json", "manifest-json")
         if kind != "sharded" or style.startswith("oms")]  # fmt: skip


@dataclasses.dataclass
class Case:
    """A signed model, in one format, with the key that signed it."""

    run: object
    key: support.Key
    path: pathlib.Path
    signature: pathlib.Path
    format: str
    options: list

    def sign(self, key=None, expect=support.OK):
        return self.run("sign", self.path, "--key", (key or self.key).private, *self.options,
                        expect=expect)  # fmt: skip

    def verify(self, expect=support.OK, key=None):
        return self.run("verify", self.path, "--key", (key or self.key).public, "--json",
                        expect=expect).json()  # fmt: skip

    def refused(self, **more):
        report = self.verify(expect=support.REFUSED, **more)
        assert report["status"] == "refused" and report["entries"] == []
        return report["reason"]

    def content(self):
        """The files of the model, without the signature."""
        found = [self.path] if self.path.is_file() else sorted(self.path.rglob("*"))
        return [path for path in found if path != self.signature]


@pytest.fixture(params=CASES, ids="-".join)
def case(request, hallmark, keys, tmp_path, metadata_file):
    kind, style = request.param
    folder = tmp_path / "models"
    folder.mkdir()
    path = folder / kind
    KINDS[kind](path)
    name = {"oms-shards": "oms"}.get(style, style)
    options = ["--format", name]
    options += ["--shard-size", "1000"] if style == "oms-shards" else []
    options += ["--metadata", metadata_file] if style == "sig-json" else []
    signature = (path / "model.sig" if path.is_dir()
                 else path.with_suffix(".manifest.json") if style == "manifest-json"
                 else folder / f"{kind}.sig")  # fmt: skip
    kept = keys["python", "ec-p256" if name == "oms" else "rsa-3072", "ours"]
    made = Case(hallmark, kept, path, signature, name, options)
    made.sign()
    return made


@pytest.fixture
def thief(keys, case):
    return keys["python", case.key.type, "thief"]


# ---- functional ---------------------------------------------------------------------------------


def test_signature_generation(case):
    """Signatures are generated for every kind of model: the file is where it belongs, and what it
    says of the model agrees with SHA-256 computed here, over the signature that the `cryptography`
    package accepts."""
    text = case.signature.read_bytes()
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in case.content()}
    if case.format == "oms":
        statement = oracle.read_oms(text)[0]
        resources = statement["predicate"]["resources"]
        assert {r["name"].split(":")[0] for r in resources} == set(digests)
        for resource in resources:
            name, *span = resource["name"].split(":")
            content = next(p for p in case.content() if p.name == name).read_bytes()
            start, end = map(int, span or (0, len(content)))
            assert resource["digest"] == hashlib.sha256(content[start:end]).hexdigest()
    else:
        document = json.loads(text)
        stated = document["manifest"]["model_hash"] if "manifest" in document else document["sha256"]
        assert [stated] == list(digests.values())
    public = case.key.python.public_key()
    if case.format == "oms":
        oracle.verify_oms(text, public, {p.name: p.read_bytes() for p in case.content()})
    elif case.format == "sig-json":
        oracle.verify_sig_json(text, public, case.path)
    else:
        oracle.verify_manifest_json(json.loads(text), public, case.path.parent)


def test_signature_verification(case):
    """A legitimate signature verifies, again and again, from a copy too; the report names the key and
    lists every file."""
    report = case.verify()
    assert report["status"] == "verified"
    assert {e["name"] for e in report["entries"]} == {p.name for p in case.content()}
    fingerprint = report["signer"]["key_fingerprint"]
    shown = case.run("key", "show", case.key.public, "--json", expect=0).json()
    assert fingerprint == shown["fingerprint"]
    copy = case.path.parent.parent / "copy"
    shutil.copytree(case.path.parent, copy)
    case.path = copy / case.path.name
    assert case.verify()["signer"]["key_fingerprint"] == fingerprint


def test_tamper_detection(case):
    """A signed model is changed in every way there is: one bit anywhere, a byte more, a byte less, a
    file more, less or under another's name. Each is found when the model is to be loaded, and the
    file named; put back, the model verifies."""
    for victim in case.content():
        good = victim.read_bytes()
        middle = len(good) // 2
        flipped = [bytearray(good) for _ in range(3)]
        for text, at in zip(flipped, (0, middle, len(good) - 1), strict=True):
            text[at] ^= 1
        for bad in [*flipped, good + b"\0", good[:-1], b""]:
            victim.write_bytes(bad)
            report = case.verify(expect=support.REFUSED)
            assert report["reason"] in ("digest-mismatch", "missing-file", "extra-file")
            assert any(f["name"].split(":")[0] == victim.name for f in report["findings"])
        victim.write_bytes(good)
        case.verify()
    if case.path.is_dir():
        first, second = case.content()[:2]
        for change, back, reason in [
            (lambda: (case.path / "x.py").write_text("import os"), lambda: (case.path / "x.py").unlink(),
             "extra-file"),
            (lambda: first.rename(case.path.parent / "away"),
             lambda: (case.path.parent / "away").rename(first), "missing-file"),
            (lambda: swap(first, second), lambda: swap(first, second), "digest-mismatch"),
        ]:  # fmt: skip
            change()
            assert case.refused() == reason
            back()
            case.verify()


def swap(a, b):
    c = a.parent.parent / "swapped"
    a.rename(c), b.rename(a), c.rename(b)


def load(case, expect, policy=None):
    """A deployment as it should be: nothing is put in service unless `verify` says 0."""
    service = case.path.parent.parent / "service"
    shutil.rmtree(service, ignore_errors=True)
    service.mkdir()
    how = ["--policy", policy] if policy else ["--key", case.key.public]
    script = 'set -e; bin=$1 model=$2 to=$3; shift 3; "$bin" verify "$model" "$@"; cp -r "$model" "$to/"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", case.run.binary, case.path, service, *how],
        env=case.run.environment(), capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == expect, done.stderr.decode()
    assert any(service.iterdir()) == (expect == 0)


def test_unsigned_model_rejection(case, tmp_path):
    """A model without a signature is not deployed: the deployment ends before anything is copied.
    The one way past is a policy that says so, and then the status is still none that lets it go on."""
    load(case, 0)
    kept = case.signature.read_bytes()
    case.signature.unlink()
    assert case.refused() == "unsigned"
    load(case, support.REFUSED)
    case.signature.write_bytes(b"")
    load(case, support.REFUSED)
    case.signature.unlink()
    policy = tmp_path / "policy.yaml"
    policy.write_text(json.dumps({
        "version": 1, "signers": {"us": {"keys": str(case.key.public)}},
        "models": [{"path": f"{tmp_path}/**", "signers": "us", "unsigned": "warn"}],
    }))  # fmt: skip
    load(case, 4, policy)
    case.signature.write_bytes(kept)
    load(case, 0, policy)


# ---- security -----------------------------------------------------------------------------------


def signature_of(case, document):
    """Where the signature's text stands: (object, member)."""
    if case.format == "oms":
        return document["dsseEnvelope"]["signatures"][0], "sig"
    return document, "signature"


def test_signature_forgery(case, thief):
    """Somebody without the private key wants his model accepted. He signs with a key of his own; he
    names the victim's key in it; he takes the signature of another model, in whole or in part; he leaves
    the signature empty, or changes bits of it; he says that no algorithm was used. None is accepted."""
    victim = case.content()[0]
    good_model, good = victim.read_bytes(), case.signature.read_bytes()
    victim.write_bytes(good_model[:-1] + bytes([good_model[-1] ^ 0xFF]))
    case.signature.unlink()
    case.sign(thief)
    forged = case.signature.read_bytes()
    case.verify(key=thief)
    assert case.refused() in ("bad-signature", "untrusted-signer")

    mine, theirs = json.loads(forged), json.loads(good)
    if case.format == "oms":  # the victim's key as the claimed one
        mine["verificationMaterial"] = theirs["verificationMaterial"]
    else:
        for document in (mine.get("manifest", mine),):
            document["signer_id" if "manifest" in mine else "signer"] = "victim"
    tries = [mine]
    place, member = signature_of(case, mine)
    original = place[member]
    transplant, _ = signature_of(case, theirs)
    flipped = ("A" if original[0] != "A" else "B") + original[1:]
    if case.format == "sig-json":
        flipped = ("0" if original[0] != "0" else "1") + original[1:]
    for value in (transplant[member], "", flipped, original[: len(original) // 2 // 4 * 4],
                  None, [], 0):  # fmt: skip
        tries.append(json.loads(json.dumps(mine)))
        at, _ = signature_of(case, tries[-1])
        at[member] = value
    for name in ("alg", "algorithm"):
        tries.append(json.loads(json.dumps(mine)) | {name: "none"})
    tries.append(theirs)  # the whole of it, over another model
    for document in tries:
        case.signature.write_text(json.dumps(document))
        assert case.refused() in ("bad-signature", "malformed", "untrusted-signer",
                                  "digest-mismatch", "unsupported")  # fmt: skip
    victim.write_bytes(good_model)
    case.signature.write_bytes(good)
    case.verify()


MD5_PAIR = (
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f89"
    "55ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbdf280373c5b"
    "d8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0"
    "e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70",
    "d131dd02c5e6eec4693d9a0698aff95c2fcab50712467eab4004583eb8fb7f89"
    "55ad340609f4b30283e4888325f1415a085125e8f7cdc99fd91dbd7280373c5b"
    "d8823e3156348f5bae6dacd436c919c6dd53e23487da03fd02396306d248cda0"
    "e99f33420f577ee8ce54b67080280d1ec69821bcb6a8839396f965ab6ff72a70",
)


def test_hash_collision(case):
    """Nobody can make two models with one SHA-256, so what can be tried is tried: two models of one
    MD5 are told apart; weak hashes can neither be asked for nor be claimed by a signature; a digest
    cut short is none; and in a tree, moving bytes from file to file or names from here to there, so
    that the whole looks alike, is seen."""
    first, second = map(bytes.fromhex, MD5_PAIR)
    assert hashlib.md5(first).digest() == hashlib.md5(second).digest() and first != second
    victim = case.content()[0]
    victim.write_bytes(first)
    case.sign()
    case.verify()
    victim.write_bytes(second)
    assert case.refused() == "digest-mismatch"
    victim.write_bytes(first)
    for weak in ("md5", "sha1", "sha224", "crc32", "none"):
        case.run("sign", case.path, "--key", case.key.private, "--format", "oms", "--hash", weak,
                 expect=support.USAGE)  # fmt: skip
    case.verify()

    if case.path.is_dir():
        a, b = case.content()[:2]
        texts = a.read_bytes(), b.read_bytes()
        a.write_bytes(texts[0] + texts[1][:1])
        b.write_bytes(texts[1][1:])  # one after the other the bytes are the same
        assert case.refused() in ("digest-mismatch", "missing-file")
        a.write_bytes(texts[0]), b.write_bytes(texts[1])
        case.verify()

    # Signed with the right key, so that the digest alone is what is wrong.
    if case.format == "oms":
        statement = oracle.read_oms(case.signature.read_bytes())[0]
        statement["predicate"]["serialization"]["hash_type"] = "md5"
        for resource in statement["predicate"]["resources"]:
            resource["algorithm"] = "md5"
            resource["digest"] = resource["digest"][:32]
        document = oracle.sign_oms(oracle.reroot(statement), case.key.python)
        case.signature.write_text(json.dumps(document))
        assert case.refused() in ("unsupported", "malformed")


def test_key_theft_simulation(case, hallmark, keys, tmp_path):
    """A key is stolen. The thief's model passes until the theft is noticed, which is the point of
    noticing it; from the revocation on, everything by that key is refused, whatever date it bears, and
    is not signed again by `resign` either. A model whose digest is pinned is signed with a new key and
    verifies; the revoked one signs no more where it came from."""
    ring, admin, export = tmp_path / "ring", keys["openssl", "ec-p384", "admin"], tmp_path / "export"
    state = {"HALLMARK_STATE_DIR": tmp_path / "state"}

    def publish():
        hallmark("key", "export", ring, "--key", admin.private, "--out", export, expect=0)

    def verdict(expect, rule=None):
        policy = tmp_path / "policy.yaml"
        policy.write_text(json.dumps({
            "version": 1,
            "signers": {"ring": {"keyring": {"file": str(export), "key": str(admin.public)}}},
            "models": [{"path": f"{tmp_path}/**", "signers": "ring"} | (rule or {})],
        }))  # fmt: skip
        return hallmark("verify", case.path, "--policy", policy, "--json", env=state,
                        expect=expect).json()["reason"]  # fmt: skip

    ring.mkdir(mode=0o700)  # a directory with a key in it is a keyring
    support.write_private(ring / "signing_key_v1.pem", case.key.private.read_bytes())
    shutil.copy(case.key.public, ring / "signing_key_v1.pub")
    publish()
    verdict(support.OK)
    victim = case.content()[0]
    good = victim.read_bytes()
    victim.write_bytes(b"backdoor" + good)
    case.sign()  # the thief has the key
    verdict(support.OK)

    hallmark("key", "revoke", ring, "--version", 1, "--reason", "stolen", "--since", "2026-01-01",
             expect=0)  # fmt: skip
    assert verdict(support.OK) is None  # not told yet
    publish()
    assert verdict(support.REFUSED) == "revoked-key"
    hallmark("sign", case.path, "--key", ring, *case.options, expect=support.REFUSED)
    hallmark("key", "rotate", ring, "--no-passphrase", "--type", case.key.type, expect=0)
    forged = case.signature.read_bytes()
    hallmark("resign", case.path, "--policy", tmp_path / "policy.yaml", "--key", ring, env=state,
             expect=support.REFUSED)  # fmt: skip
    assert case.signature.read_bytes() == forged

    publish()
    pinned = hallmark("digest", case.path, "--ignore", "model.sig", "--json", expect=0).json()
    assert verdict(support.REFUSED) == "revoked-key"
    victim.write_bytes(good)
    assert verdict(support.REFUSED) == "revoked-key"  # the good one too: nothing tells them apart
    known = hallmark("digest", case.path, *(["--ignore", "model.sig"] if case.path.is_dir() else []),
                     "--json", expect=0).json()["model"]["model_digest"]  # fmt: skip
    assert known != pinned["model"]["model_digest"]
    hallmark("sign", case.path, "--key", ring, *case.options, expect=0)
    verdict(support.OK, {"pinned": {"model": known}})
    victim.write_bytes(b"backdoor" + good)
    case.signature.write_bytes(forged)
    assert verdict(support.REFUSED, {"pinned": {"model": known}}) == "revoked-key"


def test_verification_bypass(case, tmp_path):
    """An attacker who may write to the model, and somebody in a hurry who may choose options, try to
    get a changed model past verification. No option, no place for the signature, no link, no missing
    policy and no broken key turns it into a success: the deployment stays empty."""
    victim = case.content()[0]
    victim.write_bytes(victim.read_bytes() + b"x")
    signature = case.signature.read_bytes()
    lenient = ["--ignore-unsigned", "--allow-symlinks", "--allow-v0.2.0", "--allow-missing-eku",
               "--allow-expired-certificates", "--fail-fast", "--strict-paths"]  # fmt: skip
    key = ["--key", case.key.public]
    for options in [*([option] for option in lenient), lenient]:
        case.run("verify", case.path, *key, *options, expect=support.REFUSED)
    for options in (["--ignore", victim.name], ["--name", "another"], ["--format", "oms"],
                    ["--signature", victim], ["--signature", "/dev/null"],
                    ["--signature", tmp_path / "missing"]):  # fmt: skip
        case.run("verify", case.path, *key, *options, expect=(support.REFUSED, support.USAGE))
    # Without anybody to believe there is no verdict, least of all a good one.
    nobody = {"HALLMARK_POLICY": tmp_path / "missing.yaml"}
    case.run("verify", case.path, expect=(support.USAGE, support.UNDECIDED), env=nobody)
    (tmp_path / "broken.pub").write_text("no key")
    case.run("verify", case.path, "--key", tmp_path / "broken.pub", expect=support.UNDECIDED)
    empty = tmp_path / "empty.yaml"
    empty.write_text("version: 1\nsigners: {}\nmodels: []\n")
    case.run("verify", case.path, "--policy", empty, expect=(support.REFUSED, support.UNDECIDED))
    # The signature's place taken by something else.
    for put in (lambda: case.signature.symlink_to(victim), case.signature.mkdir,
                lambda: case.signature.write_bytes(b"{}"),
                lambda: case.signature.write_bytes(signature[: len(signature) // 2])):  # fmt: skip
        case.signature.unlink() if not case.signature.is_dir() else case.signature.rmdir()
        put()
        load(case, support.REFUSED)
    case.signature.write_bytes(signature)
    load(case, support.REFUSED)
