# SPDX-License-Identifier: Apache-2.0
"""The oms format both ways with the OpenSSF reference implementation, PyPI's model-signing.

`ours` signs with the program, `theirs` with the reference; both verify each other. What the
reference cannot read of what the program can write is stated in a test of its own.
"""

import json
import os
import shutil

import oracle
import pytest
import support

CURVES = list(support.CURVES)

NAMES = {
    "spaces": "a name  with spaces ",
    "quotes": 'it\'s "quoted" `so`',
    "colons": "c:/d:1:2/x:0:10",
    "newline": "two\nlines\r\n",
    "non-ascii": "m\u00fc\u0304dell/\u6a21\u578b.bin",
    "beyond-the-plane": "\U0001f600/\U00010000\uffff",
    "decomposed": "u\u0308.txt",
    "backslash": "back\\slash\\x",
    "control": "\x01\x1b[31m\x7f",
    "dots": "...",
    "dashes": "--signature",
    "percent": "%s%n%2e",
    "star": "*",
    "long": "n" * 255,
    "deep": "/".join("abcdefghijklmnopqrstuvwxyz"),
}
# Where the order by text and the order by components differ.
ORDER = ["a/b", "a-b/x", "a.txt", "a/b.c/d", "a/b-c", "A", "a b/x", "z/y", "z0", "_"]


def ours(hallmark, model, signature, key, *options):
    hallmark("sign", model, "--key", key.private, "--signature", signature, *options,
             expect=support.OK)  # fmt: skip


def ours_verifies(hallmark, model, signature, key, *options):
    hallmark("verify", model, "--key", key.public, "--signature", signature, *options,
             expect=support.OK)  # fmt: skip


def ours_refuses(hallmark, model, signature, key, reason, *options):
    result = hallmark("verify", model, "--key", key.public, "--signature", signature, *options,
                      "--json", expect=support.REFUSED)  # fmt: skip
    assert result.json()["reason"] == reason, result


def theirs(tool, model, signature, key, *options):
    tool("sign", "key", model, "--signature", signature, "--private_key", key.private, *options,
         expect=True)  # fmt: skip


def theirs_verifies(tool, model, signature, key, *options, expect=True):
    return tool("verify", "key", model, "--signature", signature, "--public_key", key.public,
                *options, expect=expect)  # fmt: skip


@pytest.fixture
def key(keys):
    return keys["python", "ec-p256"]


@pytest.fixture
def signature(tmp_path):
    return tmp_path / "elsewhere.sig"


# ---- keys and certificates ----------------------------------------------------------------------


@pytest.mark.parametrize("maker", ["openssl", "python"])
@pytest.mark.parametrize("key_type", CURVES)
def test_key(hallmark, current, keys, model_dir, maker, key_type):
    """A directory with the signature inside it, as both tools are used by default."""
    key = keys[maker, key_type]
    signature = model_dir / "model.sig"
    ours(hallmark, model_dir, signature, key)
    theirs_verifies(current, model_dir, signature, key)
    signature.unlink()
    theirs(current, model_dir, signature, key)
    ours_verifies(hallmark, model_dir, signature, key)
    hallmark("verify", model_dir, "--key", key.public, expect=support.OK)


def test_encrypted_key(hallmark, current, key, model_dir, signature):
    """One key file, its passphrase given to each in its own way."""
    phrase = support.write_private(signature.with_name("phrase"), support.PASSPHRASE)
    hallmark("sign", model_dir, "--key", key.encrypted, "--passphrase-file", phrase, "--signature",
             signature, expect=support.OK)  # fmt: skip
    theirs_verifies(current, model_dir, signature, key)
    signature.unlink()
    current.sign(model_dir, signature, key.encrypted, password=support.PASSPHRASE.decode())
    ours_verifies(hallmark, model_dir, signature, key)


@pytest.mark.parametrize("key_type", CURVES)
def test_certificate(hallmark, current, pki, model_dir, signature, key_type):
    leaf = pki.leaf(f"interop-{key_type}", key_type)
    verify = ["verify", "certificate", model_dir, "--signature", signature, "--certificate_chain"]
    hallmark("sign", model_dir, "--key", leaf.key.private, "--cert", leaf.path, "--chain",
             pki.intermediate.path, "--signature", signature, expect=support.OK)  # fmt: skip
    current(*verify, pki.root.path, expect=True)
    current(*verify, pki.intermediate.path, expect=False)
    signature.unlink()
    current("sign", "certificate", model_dir, "--signature", signature, "--private_key",
            leaf.key.private, "--signing_certificate", leaf.path, "--certificate_chain",
            pki.intermediate.path, expect=True)  # fmt: skip
    check = ["verify", model_dir, "--signature", signature, "--root"]
    hallmark(*check, pki.root.path, "--identity-fingerprint", leaf.fingerprint, expect=support.OK)
    hallmark(*check, pki.intermediate.path, expect=support.REFUSED)


def test_wrong_key(hallmark, current, keys, key, model_dir, signature):
    other = keys["python", "ec-p256", "other"]
    ours(hallmark, model_dir, signature, key)
    theirs_verifies(current, model_dir, signature, other, expect=False)
    theirs(current, model_dir, signature, key)
    ours_refuses(hallmark, model_dir, signature, other, "untrusted-signer")


# ---- what is signed -----------------------------------------------------------------------------


def test_single_file(hallmark, current, key, model_file, signature):
    """The reference signs a file under the name "." and reads no other."""
    theirs(current, model_file, signature, key)
    ours_verifies(hallmark, model_file, signature, key)
    ours(hallmark, model_file, signature, key, "--name-dot")
    theirs_verifies(current, model_file, signature, key)
    ours_verifies(hallmark, model_file, signature, key)
    support.flip(model_file, 77)
    theirs_verifies(current, model_file, signature, key, expect=False)
    ours_refuses(hallmark, model_file, signature, key, "digest-mismatch")


def test_single_file_by_name_is_not_for_the_reference(hallmark, current, key, model_file,
                                                      signature):  # fmt: skip
    ours(hallmark, model_file, signature, key)
    ours_verifies(hallmark, model_file, signature, key)
    theirs_verifies(current, model_file, signature, key, expect=False)
    # The directory that holds nothing else is the same model to both.
    folder = model_file.parent / "folder"
    folder.mkdir()
    model_file.rename(folder / model_file.name)
    theirs_verifies(current, folder, signature, key)
    ours_verifies(hallmark, folder, signature, key)


def test_file_as_its_directory_and_back(hallmark, current, key, tmp_path, signature):
    """The file's own name in its directory, and "." for the file alone, are two models."""
    folder = oracle.write_files(tmp_path / "m", {"weights.bin": b"w"})
    theirs(current, folder / "weights.bin", signature, key)
    ours_refuses(hallmark, folder, signature, key, "missing-file")
    theirs_verifies(current, folder, signature, key, expect=False)


@pytest.mark.parametrize("name", NAMES)
def test_names(hallmark, current, key, tmp_path, signature, name):
    tree = oracle.write_files(tmp_path / "tree", {NAMES[name]: b"odd", "config.json": b"{}"})
    ours(hallmark, tree, signature, key)
    theirs_verifies(current, tree, signature, key)
    theirs(current, tree, signature, key)
    ours_verifies(hallmark, tree, signature, key)
    (tree / NAMES[name]).write_bytes(b"other")
    ours_refuses(hallmark, tree, signature, key, "digest-mismatch")
    theirs_verifies(current, tree, signature, key, expect=False)


def test_names_that_are_not_utf_8(hallmark, current, key, tmp_path, signature):
    """Nobody signs them."""
    tree = oracle.write_files(tmp_path / "tree", {"a": b""})
    with open(os.path.join(os.fsencode(tree), b"\xff"), "wb"):
        pass
    hallmark("sign", tree, "--key", key.private, "--signature", signature, expect=support.REFUSED)
    current("sign", "key", tree, "--signature", signature, "--private_key", key.private,
            expect=False)  # fmt: skip


def test_order(hallmark, current, key, tmp_path, signature):
    """The root digest is over the order as listed, and the two tools list differently."""
    tree = oracle.write_files(tmp_path / "tree", {name: name.encode() for name in ORDER})
    ours(hallmark, tree, signature, key)
    theirs_verifies(current, tree, signature, key)
    by_text = oracle.read_oms(signature.read_text())[0]["predicate"]["resources"]
    theirs(current, tree, signature, key)
    ours_verifies(hallmark, tree, signature, key)
    by_component = oracle.read_oms(signature.read_text())[0]["predicate"]["resources"]
    assert [r["name"] for r in by_text] != [r["name"] for r in by_component]
    assert {r["name"]: r for r in by_text} == {r["name"]: r for r in by_component}


def test_empty_files_and_folders(hallmark, current, key, tmp_path, signature):
    tree = oracle.write_files(tmp_path / "tree", {"a/__init__.py": b"", "b": b""})
    (tree / "empty").mkdir()
    ours(hallmark, tree, signature, key)
    theirs_verifies(current, tree, signature, key)
    theirs(current, tree, signature, key)
    (tree / "empty").rmdir()
    ours_verifies(hallmark, tree, signature, key)


# ---- ignored paths ------------------------------------------------------------------------------


def test_ignored_paths(hallmark, current, key, model_dir, signature):
    """Who signs records them; who verifies needs no option."""
    oracle.write_files(model_dir, {"cache/x": b"1", "notes.txt": b"2", "sub/notes.txt": b"3"})
    ours(hallmark, model_dir, signature, key, "--ignore", "cache", "--ignore", "notes.txt")
    theirs_verifies(current, model_dir, signature, key)
    theirs(current, model_dir, signature, key, "--ignore-paths", model_dir / "cache",
           "--ignore-paths", model_dir / "notes.txt")  # fmt: skip
    ours_verifies(hallmark, model_dir, signature, key)
    ours_refuses(hallmark, model_dir, signature, key, "extra-file", "--strict-paths")
    shutil.rmtree(model_dir / "cache")
    (model_dir / "notes.txt").write_text("changed")
    ours_verifies(hallmark, model_dir, signature, key)
    (model_dir / "sub/notes.txt").write_text("changed")
    ours_refuses(hallmark, model_dir, signature, key, "digest-mismatch")


def test_paths_ignored_when_verifying(hallmark, current, key, model_dir, signature):
    ours(hallmark, model_dir, signature, key)
    theirs_own = signature.with_name("theirs.sig")
    theirs(current, model_dir, theirs_own, key)
    (model_dir / "later.txt").write_text("unsigned")
    theirs_verifies(current, model_dir, signature, key, expect=False)
    theirs_verifies(current, model_dir, signature, key, "--ignore-paths", model_dir / "later.txt")
    theirs_verifies(current, model_dir, signature, key, "--ignore_unsigned_files")
    ours_refuses(hallmark, model_dir, theirs_own, key, "extra-file")
    ours_verifies(hallmark, model_dir, theirs_own, key, "--ignore", "later.txt")
    ours_verifies(hallmark, model_dir, theirs_own, key, "--ignore-unsigned")


def test_git_paths(hallmark, current, key, model_dir, signature):
    git = {".git/config": b"1", ".gitignore": b"2", ".gitattributes": b"3", ".github/x": b"4"}
    oracle.write_files(model_dir, git)
    for sign in (lambda: ours(hallmark, model_dir, signature, key),
                 lambda: theirs(current, model_dir, signature, key)):  # fmt: skip
        sign()
        theirs_verifies(current, model_dir, signature, key)
        ours_verifies(hallmark, model_dir, signature, key)
    # Listed, they count for us without being asked; the reference has to be told.
    everything = "--no-ignore-git-paths"
    for sign in (lambda: ours(hallmark, model_dir, signature, key, "--include-git"),
                 lambda: theirs(current, model_dir, signature, key, everything)):  # fmt: skip
        sign()
        ours_verifies(hallmark, model_dir, signature, key)
        theirs_verifies(current, model_dir, signature, key, everything)
        (model_dir / ".gitignore").write_bytes(b"changed")
        ours_refuses(hallmark, model_dir, signature, key, "digest-mismatch")
        theirs_verifies(current, model_dir, signature, key, everything, expect=False)
        oracle.write_files(model_dir, git)


def test_links(hallmark, current, key, model_dir, signature):
    (model_dir / "link.json").symlink_to("config.json")
    hallmark("sign", model_dir, "--key", key.private, "--signature", signature,
             expect=support.REFUSED)  # fmt: skip
    current("sign", "key", model_dir, "--signature", signature, "--private_key", key.private,
            expect=False)  # fmt: skip
    ours(hallmark, model_dir, signature, key, "--follow-symlinks")
    theirs_verifies(current, model_dir, signature, key, "--allow_symlinks")
    theirs_verifies(current, model_dir, signature, key, expect=False)
    theirs(current, model_dir, signature, key, "--allow_symlinks")
    ours_refuses(hallmark, model_dir, signature, key, "unsupported")
    ours_verifies(hallmark, model_dir, signature, key, "--allow-symlinks")


def test_link_out_of_the_model(hallmark, current, key, model_dir, signature):
    """The reference follows it; we do not."""
    (model_dir.parent / "outside").write_text("outside")
    (model_dir / "link").symlink_to("../outside")
    theirs(current, model_dir, signature, key, "--allow_symlinks")
    theirs_verifies(current, model_dir, signature, key, "--allow_symlinks")
    ours_refuses(hallmark, model_dir, signature, key, "missing-file", "--allow-symlinks")


# ---- hashes and shards --------------------------------------------------------------------------

HASHES = {"sha256": "sha256", "blake2b": "blake2", "blake3": "blake3"}  # ours: theirs


@pytest.mark.parametrize("hash_name", HASHES)
def test_hashes(hallmark, current, key, model_dir, signature, hash_name):
    how = {"hash": HASHES[hash_name]}
    current.sign(model_dir, signature, key.private, **how)
    ours_verifies(hallmark, model_dir, signature, key)
    ours(hallmark, model_dir, signature, key, "--hash", hash_name)
    current.verify(model_dir, signature, key.public, how)
    # Its command line hashes with SHA-256 whatever is signed; by itself its Python interface finds
    # out all hashes but blake2b, which it does not know by the name it writes.
    theirs_verifies(current, model_dir, signature, key, expect=hash_name == "sha256")
    current.verify(model_dir, signature, key.public, expect=hash_name != "blake2b")
    support.flip(model_dir / "model.safetensors", 1000)
    current.verify(model_dir, signature, key.public, how, expect=False)
    ours_refuses(hallmark, model_dir, signature, key, "digest-mismatch")


@pytest.mark.parametrize("hash_name", ["sha256", "blake2b"])
@pytest.mark.parametrize("shard_size", [1, 64, 50_000, 1_000_000_000])
def test_their_shards(hallmark, current, key, tmp_path, signature, hash_name, shard_size):
    """A shard size written as a float, and the size in the algorithm's name."""
    sizes = {"one": 1, "sub/some": 60_000 if shard_size > 64 else 200, "exact": 128}
    tree = oracle.write_files(
        tmp_path / "tree", {name: support.content(name, size) for name, size in sizes.items()}
    )
    current.sign(tree, signature, key.private, hash=HASHES[hash_name], shard_size=shard_size)
    predicate = oracle.read_oms(signature.read_text())[0]["predicate"]
    assert isinstance(predicate["serialization"]["shard_size"], float)
    assert predicate["resources"][0]["algorithm"] == f"{hash_name}-sharded-{shard_size}"
    ours_verifies(hallmark, tree, signature, key)
    support.flip(tree / "sub/some", 150)
    ours_refuses(hallmark, tree, signature, key, "digest-mismatch")


def test_their_shards_leave_empty_files_open(hallmark, current, key, tmp_path, signature):
    tree = oracle.write_files(tmp_path / "tree", {"a": b"1234", "__init__.py": b""})
    current.sign(tree, signature, key.private, shard_size=2)
    result = hallmark("verify", tree, "--key", key.public, "--signature", signature, "--json",
                      expect=support.OK)  # fmt: skip
    assert [item["path"] for item in result.json()["unsigned"]] == ["__init__.py"]
    ours_refuses(hallmark, tree, signature, key, "extra-file", "--strict-paths")


def test_our_shards_are_not_for_the_reference(hallmark, current, key, model_dir, signature):
    """It demands its own spelling of the algorithm, and its command line knows no shards."""
    ours(hallmark, model_dir, signature, key, "--shard-size", "50000")
    ours_verifies(hallmark, model_dir, signature, key)
    how = {"hash": "sha256", "shard_size": 50_000}
    current.verify(model_dir, signature, key.public, how, expect=False)
    current.verify(model_dir, signature, key.public, expect=False)
    theirs_verifies(current, model_dir, signature, key, expect=False)


def test_our_extensions_are_not_for_the_reference(hallmark, current, keys, model_dir, signature):
    """RSA and Ed25519 keys."""
    for key_type in ("rsa-2048", "ed25519"):
        key = keys["python", key_type]
        ours(hallmark, model_dir, signature, key)
        ours_verifies(hallmark, model_dir, signature, key)
        theirs_verifies(current, model_dir, signature, key, expect=False)


# ---- tampered -----------------------------------------------------------------------------------

CHANGES = {
    "changed": (lambda m: support.flip(m / "config.json", 0), "digest-mismatch"),
    "removed": (lambda m: (m / "config.json").unlink(), "missing-file"),
    "added": (lambda m: (m / "hook.py").write_text("x"), "extra-file"),
    "added-empty": (lambda m: (m / "hook.py").write_text(""), "extra-file"),
    "renamed": (lambda m: (m / "config.json").rename(m / "Config.json"), "missing-file"),
    "linked": (lambda m: (m / "link").symlink_to("config.json"), "extra-file"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_tampered(hallmark, current, key, model_dir, signature, change):
    theirs_own = signature.with_name("theirs.sig")
    ours(hallmark, model_dir, signature, key)
    theirs(current, model_dir, theirs_own, key)
    make, reason = CHANGES[change]
    make(model_dir)
    for file in (signature, theirs_own):
        theirs_verifies(current, model_dir, file, key, expect=False)
        ours_refuses(hallmark, model_dir, file, key, reason)


def test_tampered_signature(hallmark, current, key, model_dir, signature):
    """A name or a digest changed in the statement, the signature left as it was."""
    for sign in (lambda: ours(hallmark, model_dir, signature, key),
                 lambda: theirs(current, model_dir, signature, key)):  # fmt: skip
        sign()
        document = json.loads(signature.read_text())
        payload = oracle.base64.b64decode(document["dsseEnvelope"]["payload"])
        changed = payload.replace(b"config.json", b"c0nfig.json")
        assert changed != payload
        document["dsseEnvelope"]["payload"] = oracle.b64(changed)
        signature.write_text(json.dumps(document))
        (model_dir / "config.json").rename(model_dir / "c0nfig.json")
        theirs_verifies(current, model_dir, signature, key, expect=False)
        ours_refuses(hallmark, model_dir, signature, key, "bad-signature")
        (model_dir / "c0nfig.json").rename(model_dir / "config.json")


# ---- an older release ---------------------------------------------------------------------------


def test_older_key(hallmark, older, key, model_dir, signature):
    """Before 1.1.0: no hint, no log, and no record of what was ignored."""
    theirs(older, model_dir, signature, key)
    material = json.loads(signature.read_text())["verificationMaterial"]
    assert "hint" not in material["publicKey"]
    ours_verifies(hallmark, model_dir, signature, key)
    ours(hallmark, model_dir, signature, key)
    theirs_verifies(older, model_dir, signature, key)
    support.flip(model_dir / "config.json", 0)
    theirs_verifies(older, model_dir, signature, key, expect=False)
    ours_refuses(hallmark, model_dir, signature, key, "digest-mismatch")


def test_older_single_file(hallmark, older, key, model_file, signature):
    theirs(older, model_file, signature, key)
    ours_verifies(hallmark, model_file, signature, key)
    ours(hallmark, model_file, signature, key, "--name-dot")
    theirs_verifies(older, model_file, signature, key)


# 0.3.1 can neither sign nor verify by certificate: it uses names that its own libraries lack.
@pytest.mark.parametrize("older", ["venv-old"], indirect=True)
def test_older_certificate(hallmark, older, pki, model_dir, signature):
    leaf = pki.leaf("interop-older")
    older("sign", "certificate", model_dir, "--signature", signature, "--private_key",
          leaf.key.private, "--signing_certificate", leaf.path, "--certificate_chain",
          pki.intermediate.path, expect=True)  # fmt: skip
    hallmark("verify", model_dir, "--signature", signature, "--root", pki.root.path,
             expect=support.OK)  # fmt: skip
    hallmark("sign", model_dir, "--key", leaf.key.private, "--cert", leaf.path, "--chain",
             pki.intermediate.path, "--signature", signature, expect=support.OK)  # fmt: skip
    verify = ["verify", "certificate", model_dir, "--signature", signature, "--certificate_chain"]
    older(*verify, pki.root.path, expect=True)
    older(*verify, pki.intermediate.path, expect=False)


def test_older_ignored_paths(hallmark, older, key, model_dir):
    """The caller has to name them again, but not the signature itself."""
    signature = model_dir / "model.sig"
    (model_dir / "ignored").write_text("x")
    theirs(older, model_dir, signature, key, "--ignore-paths", model_dir / "ignored")
    ours_refuses(hallmark, model_dir, signature, key, "extra-file")
    ours_verifies(hallmark, model_dir, signature, key, "--ignore", "ignored")


def test_commands_as_users_run_them(hallmark, reference, key, model_dir):
    """Once through the installed command instead of the server that the other tests use."""
    signature = model_dir / "model.sig"
    ours(hallmark, model_dir, signature, key)
    verify = ["verify", "key", model_dir, "--signature", signature, "--public_key", key.public]
    assert reference(*verify).rc == 0
    support.flip(model_dir / "config.json", 0)
    assert reference(*verify).rc == 1
    support.flip(model_dir / "config.json", 0)
    sign = ["sign", "key", model_dir, "--signature", signature, "--private_key", key.private]
    assert reference(*sign).rc == 0
    ours_verifies(hallmark, model_dir, signature, key)
