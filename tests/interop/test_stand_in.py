# SPDX-License-Identifier: Apache-2.0
"""The stand-in for the reference's command: the same command lines to both, and each reads what the
other writes. Where the stand-in is stricter on purpose, a test says so."""

import base64
import hashlib
import json
import os
import pathlib
import shutil

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

import support

SUCCEEDED, FAILED, MISUSED = 0, 1, 2
PAIRS = [("stand-in", "reference"), ("reference", "stand-in")]


@pytest.fixture(scope="session")
def stand_in(hallmark, tmp_path_factory):
    """The program under the name that makes it the stand-in."""
    link = tmp_path_factory.mktemp("libexec") / "model_signing"
    link.symlink_to(hallmark.binary)
    return support.Program(link, hallmark.wrapper)


@pytest.fixture(scope="session")
def tools(stand_in, reference):
    return {"stand-in": stand_in, "reference": reference}


@pytest.fixture
def key(keys):
    return keys["openssl", "ec-p256"]


@pytest.fixture
def both(tools, tmp_path):
    """both(*arguments) runs both, expects one exit status of both, and returns it."""

    def run(*arguments, cwd=tmp_path):
        results = {name: tool(*arguments, cwd=cwd) for name, tool in tools.items()}
        assert results["stand-in"].rc == results["reference"].rc, "\n".join(
            f"{name}: {result}" for name, result in results.items()
        )
        return results["stand-in"].rc

    return run


def succeed(tool, *arguments, cwd=None):
    result = tool(*arguments, cwd=cwd)
    assert result.rc == SUCCEEDED, f"{arguments}\n{result}"
    return result


def refuse(tool, *arguments, cwd=None, why=None):
    """An exit with 1 whose reason is the expected one, and nothing that looks like success."""
    result = tool(*arguments, cwd=cwd)
    assert result.rc == FAILED, f"{arguments}\n{result}"
    assert "succeeded" not in result.out
    if why is not None:
        assert why in result.err, f"{arguments}\n{result}"
    return result


def statement_of(bundle):
    return json.loads(base64.b64decode(json.loads(bundle.read_bytes())["dsseEnvelope"]["payload"]))


def signed_names(bundle):
    return sorted(r["name"] for r in statement_of(bundle)["predicate"]["resources"])


def signed_ignore(bundle):
    return sorted(statement_of(bundle)["predicate"]["serialization"]["ignore_paths"])


# ---- each reads what the other writes -----------------------------------------------------------


@pytest.mark.parametrize("signer, verifier", PAIRS)
@pytest.mark.parametrize("single", [False, True], ids=["directory", "file"])
@pytest.mark.parametrize("curve", ["ec-p256", "ec-p384", "ec-p521"])
def test_key(tools, keys, model_dir, model_file, tmp_path, signer, verifier, single, curve):
    key = keys["openssl", curve]
    model = model_file if single else model_dir
    result = succeed(tools[signer], "sign", "key", model.name, "--private_key", key.private,
                     cwd=tmp_path)  # fmt: skip
    assert result.out == "Signing succeeded\n"
    bundle = tmp_path / "model.sig"
    if single:
        assert signed_names(bundle) == ["."]
    check = ["verify", "key", model.name, "--signature", "model.sig", "--public_key", key.public]
    assert succeed(tools[verifier], *check, cwd=tmp_path).out == "Verification succeeded\n"
    support.flip(model if single else model / "model.safetensors", 77)
    refuse(tools[verifier], *check, cwd=tmp_path)


@pytest.mark.parametrize("signer, verifier", PAIRS)
@pytest.mark.parametrize("single", [False, True], ids=["directory", "file"])
def test_certificate(tools, openssl, keys, model_dir, model_file, tmp_path, signer, verifier,
                     single):  # fmt: skip
    model = model_file if single else model_dir
    leaf_key = keys["openssl", "ec-p384"]
    root, middle, leaf = openssl_chain(openssl, tmp_path, leaf_key)
    succeed(tools[signer], "sign", "certificate", model, "--private_key", leaf_key.private,
            "--signing_certificate", leaf, "--certificate_chain", middle,
            "--certificate_chain", root, cwd=tmp_path)  # fmt: skip
    check = ["verify", "certificate", model, "--signature", "model.sig"]
    succeed(tools[verifier], *check, "--certificate_chain", root, cwd=tmp_path)
    succeed(tools[verifier], *check, "--certificate_chain", middle, "--certificate_chain", root,
            cwd=tmp_path)  # fmt: skip
    refuse(tools[verifier], *check, "--certificate_chain", middle, cwd=tmp_path)
    support.flip(model if single else model / "config.json", 3)
    refuse(tools[verifier], *check, "--certificate_chain", root, cwd=tmp_path)


def openssl_chain(openssl, folder, leaf_key):
    """A root, an intermediate and a leaf as people make them with the openssl command."""

    def path(name, suffix):
        return folder / f"{name}.{suffix}"

    def issue(name, issuer, extensions):
        path(name, "cnf").write_text("[x]\n" + extensions + "subjectKeyIdentifier=hash\n"
                                     "authorityKeyIdentifier=keyid\n")  # fmt: skip
        openssl("req", "-new", "-key", path(name, "key"), "-subj", f"/CN={name}",
                "-out", path(name, "csr"))  # fmt: skip
        by = (["-CA", path(issuer, "crt"), "-CAkey", path(issuer, "key"), "-CAcreateserial"]
              if issuer else ["-signkey", path(name, "key")])  # fmt: skip
        openssl("x509", "-req", "-in", path(name, "csr"), *by, "-days", "30", "-out",
                path(name, "crt"), "-extfile", path(name, "cnf"), "-extensions", "x")  # fmt: skip
        return path(name, "crt")

    authority = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
    for name in ("root", "middle"):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out",
                path(name, "key"))  # fmt: skip
    shutil.copy(leaf_key.private, path("leaf", "key"))
    return (
        issue("root", None, authority),
        issue("middle", "root", authority),
        issue("leaf", "middle", "keyUsage=digitalSignature\nextendedKeyUsage=codeSigning\n"),
    )


def test_bundles_say_the_same(tools, key, model_dir, tmp_path):
    """Up to order, time and signature."""
    bundles = []
    for name, tool in tools.items():
        bundle = tmp_path / f"{name}.sig"
        succeed(tool, "sign", "key", "model", "--private_key", key.private, "--signature", bundle,
                "--ignore-paths", "model/shards", cwd=tmp_path)  # fmt: skip
        bundles.append(bundle)
    ours, theirs = (statement_of(bundle) for bundle in bundles)
    assert ours["subject"][0]["name"] == theirs["subject"][0]["name"] == "model"
    for statement in (ours, theirs):
        predicate = statement["predicate"]
        predicate["resources"].sort(key=lambda resource: resource["name"])
        predicate["serialization"]["ignore_paths"].sort()
        del statement["subject"][0]["digest"]  # depends on the order
    assert ours == theirs


# ---- spelling, defaults, ignored paths -----------------------------------------------------------


@pytest.mark.parametrize("spell", [str, lambda flag: flag.replace("_", "-")],
                         ids=["underscores", "hyphens"])  # fmt: skip
def test_both_spellings(stand_in, pki, keys, model_dir, tmp_path, spell):
    leaf = pki.leaf("spelling")
    key = leaf.key
    succeed(stand_in, "sign", "certificate", model_dir, spell("--private_key"), key.private,
            spell("--signing_certificate"), leaf.path,
            f"{spell('--certificate_chain')}={pki.intermediate.path}",
            spell("--allow_symlinks"), spell("--ignore_git_paths"), "--signature=c.sig",
            cwd=tmp_path)  # fmt: skip
    succeed(stand_in, "verify", "certificate", spell("--log_fingerprints"), model_dir,
            spell("--certificate_chain"), pki.root.path, "--signature=c.sig",
            spell("--allow_symlinks"), cwd=tmp_path)  # fmt: skip
    succeed(stand_in, spell("--log_level"), "debug", "sign", "key", model_dir,
            spell("--private_key"), key.private, "--signature", "k.sig",
            spell("--no_ignore_git_paths"), cwd=tmp_path)  # fmt: skip
    succeed(stand_in, "verify", "key", model_dir, spell("--public_key"), key.public,
            "--signature", "k.sig", spell("--ignore_unsigned_files"),
            spell("--no_ignore_unsigned_files"), spell("--no_ignore_git_paths"),
            spell("--ignore_paths"), "elsewhere", cwd=tmp_path)  # fmt: skip


def test_the_last_of_several_counts(tools, key, model_dir, tmp_path):
    for name, tool in tools.items():
        succeed(tool, "sign", "key", model_dir, "--private_key", "no such key", "--private_key",
                key.private, "--signature", "a.sig", f"--signature={name}.sig",
                cwd=tmp_path)  # fmt: skip
    assert sorted(path.name for path in tmp_path.glob("*.sig")) == ["reference.sig", "stand-in.sig"]


@pytest.mark.parametrize(
    "cwd, model, ignored, expected",
    [
        (".", "model", ["model/config.json"], ["config.json"]),
        (".", "model", ["model/shards"], ["shards"]),
        (".", "model", ["model/shards/", "model/../model/./config.json"], ["config.json", "shards"]),
        (".", "./model/", ["./model/shards/model-00001-of-00002.safetensors"],
         ["shards/model-00001-of-00002.safetensors"]),
        ("model", ".", ["config.json", "nowhere", "no/where/../at/all"],
         ["config.json", "no/at/all", "nowhere"]),
        ("model/shards", "..", ["../config.json"], ["config.json"]),
        (".", "{absolute}/model", ["{absolute}/model/config.json"], ["config.json"]),
        (".", "linked/model", ["model/config.json", "linked/model/README.md"],
         ["README.md", "config.json"]),
        (".", "model", ["elsewhere", "modelx/a", "../outside", "/"], []),
    ],
)  # fmt: skip
def test_ignored_paths(tools, key, model_dir, tmp_path, cwd, model, ignored, expected):
    """They are meant from the working directory, recorded relative to the model; those outside
    are passed over."""
    (tmp_path / "linked").symlink_to(".")
    fill = {"absolute": tmp_path}
    options = [part for path in ignored for part in ("--ignore-paths", path.format(**fill))]
    git = [".git", ".gitattributes", ".github", ".gitignore"]
    for name, tool in tools.items():
        bundle = tmp_path / f"{name}.bundle"
        succeed(tool, "sign", "key", model.format(**fill), "--private_key", key.private,
                "--signature", bundle, *options, cwd=tmp_path / cwd)  # fmt: skip
        assert signed_ignore(bundle) == sorted(git + expected), name
    assert signed_names(tmp_path / "stand-in.bundle") == signed_names(tmp_path / "reference.bundle")


def test_an_ignored_path_outside_is_told_of(stand_in, key, model_dir, tmp_path):
    result = succeed(stand_in, "sign", "key", "model", "--private-key", key.private,
                     "--ignore-paths", "elsewhere", cwd=tmp_path)  # fmt: skip
    assert "elsewhere lies outside the model" in result.err
    result = succeed(stand_in, "--log-level", "ERROR", "sign", "key", "model", "--private-key",
                     key.private, "--ignore-paths", "elsewhere", cwd=tmp_path)  # fmt: skip
    assert result.err == ""


@pytest.mark.parametrize("signer, verifier", PAIRS)
def test_a_signature_inside_the_model(tools, key, model_dir, tmp_path, signer, verifier):
    bundle = model_dir / "model.sig"
    for _ in range(2):  # the second time it is there already
        succeed(tools[signer], "sign", "key", ".", "--private_key", key.private, cwd=model_dir)
    assert "model.sig" in signed_ignore(bundle)
    for signature in ("model.sig", bundle, "shards/../model.sig"):
        succeed(tools[verifier], "verify", "key", ".", "--signature", signature, "--public_key",
                key.public, cwd=model_dir)  # fmt: skip


def test_a_signature_named_by_a_link(tools, key, model_dir, tmp_path):
    """Signed under one name, and named by a link from outside afterwards."""
    succeed(tools["reference"], "sign", "key", "model", "--private_key", key.private, cwd=tmp_path)
    (tmp_path / "model.sig").rename(model_dir / "moved.sig")
    (tmp_path / "link.sig").symlink_to("model/moved.sig")
    for tool in tools.values():
        succeed(tool, "verify", "key", "model", "--signature", "link.sig", "--public_key",
                key.public, cwd=tmp_path)  # fmt: skip


@pytest.mark.parametrize("signer, verifier", PAIRS)
def test_git_paths(tools, key, model_dir, tmp_path, signer, verifier):
    (model_dir / ".git").mkdir()
    (model_dir / ".git" / "config").write_text("[core]\n")
    (model_dir / ".gitignore").write_text("*.tmp\n")
    sign = ["sign", "key", "model", "--private_key", key.private]
    check = ["verify", "key", "model", "--signature", "model.sig", "--public_key", key.public]
    succeed(tools[signer], *sign, cwd=tmp_path)
    assert ".gitignore" not in signed_names(tmp_path / "model.sig")
    succeed(tools[verifier], *check, cwd=tmp_path)
    succeed(tools[verifier], *check, "--no-ignore-git-paths", cwd=tmp_path)  # signed as ignored
    succeed(tools[signer], *sign, "--no-ignore-git-paths", cwd=tmp_path)
    assert ".git/config" in signed_names(tmp_path / "model.sig")
    succeed(tools[verifier], *check, "--no-ignore-git-paths", cwd=tmp_path)
    (model_dir / ".git" / "hook").write_text("evil\n")
    refuse(tools[verifier], *check, "--no-ignore-git-paths", cwd=tmp_path)


@pytest.mark.parametrize("signer, verifier", PAIRS)
def test_unsigned_files(tools, key, model_dir, tmp_path, signer, verifier):
    succeed(tools[signer], "sign", "key", "model", "--private_key", key.private, cwd=tmp_path)
    check = ["verify", "key", "model", "--signature", "model.sig", "--public_key", key.public]
    (model_dir / "extra").write_text("not signed\n")
    (model_dir / "extra.d").mkdir()
    (model_dir / "extra.d" / "link").symlink_to("/etc/passwd")
    refuse(tools[verifier], *check, cwd=tmp_path)
    refuse(tools[verifier], *check, "--no-ignore_unsigned_files", cwd=tmp_path)
    succeed(tools[verifier], *check, "--ignore_unsigned_files", cwd=tmp_path)
    (model_dir / "config.json").unlink()
    refuse(tools[verifier], *check, "--ignore_unsigned_files", cwd=tmp_path)


@pytest.mark.parametrize("signer, verifier", PAIRS)
def test_links_to_files_inside(tools, key, model_dir, tmp_path, signer, verifier):
    sign = ["sign", "key", "model", "--private_key", key.private]
    check = ["verify", "key", "model", "--signature", "model.sig", "--public_key", key.public]
    (model_dir / "shards" / "link").symlink_to("../config.json")
    refuse(tools[signer], *sign, cwd=tmp_path)
    succeed(tools[signer], *sign, "--allow_symlinks", cwd=tmp_path)
    assert "shards/link" in signed_names(tmp_path / "model.sig")
    succeed(tools[verifier], *check, "--allow_symlinks", cwd=tmp_path)
    refuse(tools[verifier], *check, cwd=tmp_path)
    (model_dir / "shards" / "link").unlink()
    (model_dir / "shards" / "link").symlink_to("../README.md")
    refuse(tools[verifier], *check, "--allow_symlinks", cwd=tmp_path)


@pytest.mark.parametrize("end", ["", "/", "/.", "//"])
def test_a_linked_model(both, key, model_dir, tmp_path, end):
    (tmp_path / "current").symlink_to("model")
    model = "current" + end
    sign = ["sign", "key", model, "--private_key", key.private]
    check = ["verify", "key", model, "--signature", "model.sig", "--public_key", key.public]
    assert both(*sign) == FAILED
    assert both(*sign, "--allow_symlinks") == SUCCEEDED
    assert both(*check, "--allow_symlinks") == SUCCEEDED
    assert both(*check) == FAILED


def test_a_linked_file(both, key, model_file, tmp_path):
    (tmp_path / "current").symlink_to(model_file.name)
    sign = ["sign", "key", "current", "--private_key", key.private]
    assert both(*sign) == FAILED
    assert both(*sign, "--allow_symlinks") == SUCCEEDED
    check = ["verify", "key", "current", "--signature", "model.sig", "--public_key", key.public]
    assert both(*check, "--allow_symlinks") == SUCCEEDED


# ---- the same exit status -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sign"],
        ["verify"],
        ["bogus"],
        ["-x"],
        ["--bogus"],
        ["--log-level"],
        ["--log-level", "loud", "sign", "key", "m"],
        ["--log-level=info", "sign", "key", "m"],
        ["sign", "--bogus"],
        ["sign", "key"],
        ["sign", "key", "m"],
        ["sign", "key", "--private_key", "k"],
        ["sign", "key", "m", "--private_key"],
        ["sign", "key", "m", "n", "--private_key", "k"],
        ["sign", "key", "m", "--private_key", "k", "--allow_symlinks=1"],
        ["sign", "key", "m", "--private_key", "k", "--ignore-path", "a"],
        ["sign", "key", "m", "--private_key", "k", "-s"],
        ["sign", "key", "m", "--private_key", "k", "--public_key", "p"],
        ["sign", "key", "--", "m", "--private_key", "k"],
        ["sign", "key", "m", "--bogus", "--help"],
        ["sign", "certificate", "m", "--private_key", "k"],
        ["sign", "certificate", "m", "--private_key", "k", "--signing_certificate", "c",
         "--password", "p"],
        ["verify", "key", "m"],
        ["verify", "key", "m", "--signature", "s"],
        ["verify", "key", "m", "--public_key", "k"],
        ["verify", "certificate", "m"],
        ["verify", "pkcs11-key", "m"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_misuse(both, arguments):
    assert both(*arguments) == MISUSED


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["-h"],
        ["--version"],
        ["--log-level", "Error", "sign", "--help"],
        ["verify", "-h"],
        ["sign", "key", "--help"],
        ["sign", "key", "m", "n", "-h"],
        ["verify", "certificate", "m", "--help"],
        ["sign", "sigstore", "--help"],
    ],
    ids=" ".join,
)
def test_help(both, arguments):
    assert both(*arguments) == SUCCEEDED


@pytest.mark.parametrize(
    "arguments",
    [
        ["sign", "key", "nowhere", "--private_key", "{key.private}"],
        ["sign", "key", "model", "--private_key", "nowhere"],
        ["sign", "key", "model", "--private_key", "{key.public}"],
        ["sign", "key", "model", "--private_key", "{key.encrypted}"],
        ["sign", "key", "model", "--private_key", "{rsa.private}"],
        ["sign", "key", "model", "--private_key", "{ed.private}"],
        ["sign", "key", "model", "--private_key", "{key.private}", "--password", "needless"],
        ["sign", "key", "model", "--private_key", "{key.private}", "--signature", "model"],
        ["sign", "key", "model", "--private_key", "{key.private}", "--signature", "no/model.sig"],
        ["sign", "certificate", "model", "--private_key", "{key.private}",
         "--signing_certificate", "nowhere"],
        ["sign", "certificate", "model", "--private_key", "{key.private}",
         "--signing_certificate", "{pki.root.path}", "--certificate_chain", "{pki.root.path}"],
        ["verify", "key", "model", "--signature", "nowhere", "--public_key", "{key.public}"],
        ["verify", "key", "model", "--signature", "model.sig", "--public_key", "nowhere"],
        ["verify", "key", "model", "--signature", "model.sig", "--public_key", "{other.public}"],
        ["verify", "key", "model", "--signature", "model.sig", "--public_key", "{rsa.public}"],
        ["verify", "key", "model", "--signature", "model.sig", "--public_key", "{key.private}"],
        ["verify", "key", "nowhere", "--signature", "model.sig", "--public_key", "{key.public}"],
        ["verify", "key", "model/config.json", "--signature", "model.sig", "--public_key",
         "{key.public}"],
        ["verify", "key", "model", "--signature", "model/config.json", "--public_key",
         "{key.public}"],
        ["verify", "certificate", "model", "--signature", "model.sig", "--certificate_chain",
         "{pki.root.path}"],
        ["verify", "certificate", "model", "--signature", "model.sig", "--certificate_chain",
         "nowhere"],
        ["sign", "model"],
        ["verify", "pkcs11", "--signature", "model.sig", "--identity", "a",
         "--identity_provider", "b"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_failures(stand_in, reference, keys, key, pki, model_dir, tmp_path, arguments):
    """Refusals and failures alike are 1. The methods with a network are not tried there."""
    succeed(stand_in, "sign", "key", "model", "--private-key", key.private, cwd=tmp_path)
    fill = {"key": key, "pki": pki, "other": keys["openssl", "ec-p256", "other"],
            "rsa": keys["openssl", "rsa-3072"], "ed": keys["openssl", "ed25519"]}  # fmt: skip
    arguments = [argument.format(**fill) for argument in arguments]
    refuse(stand_in, *arguments, cwd=tmp_path)
    if arguments[1] in ("key", "certificate"):
        refuse(reference, *arguments, cwd=tmp_path)
    succeed(stand_in, "verify", "key", "model", "--signature", "model.sig", "--public-key",
            key.public, cwd=tmp_path)  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        lambda model: support.flip(model / "config.json", 0),
        lambda model: (model / "config.json").unlink(),
        lambda model: (model / "new").write_text(""),
        lambda model: (model / "config.json").rename(model / "config2.json"),
        lambda model: (model / "link").symlink_to("config.json"),
        lambda model: os.mkfifo(model / "pipe"),
        lambda model: shutil.rmtree(model),
    ],
    ids=["bit", "missing", "extra", "renamed", "link", "pipe", "gone"],
)
def test_changed_models(both, stand_in, key, model_dir, tmp_path, change):
    succeed(stand_in, "sign", "key", "model", "--private-key", key.private, cwd=tmp_path)
    check = ["verify", "key", "model", "--signature", "model.sig", "--public_key", key.public]
    assert both(*check) == SUCCEEDED
    change(model_dir)
    assert both(*check) == FAILED


@pytest.mark.parametrize("options", [
    {"starts": -30, "ends": -1},
    {"starts": -30, "ends": -1, "eku": None},
    {"eku": None},
    {"digital_signature": None},
    {"digital_signature": None, "eku": None},
], ids=str)  # fmt: skip
def test_certificates(both, stand_in, pki, model_dir, tmp_path, options):
    """Judged at the leaf's own start, and without an extended key usage if need be."""
    root = pki.issue(f"root {options}", None, ca=True, starts=-100)
    leaf = pki.leaf(f"leaf {options}", issuer=root, **options)
    succeed(stand_in, "sign", "certificate", "model", "--private-key", leaf.key.private,
            "--signing-certificate", leaf.path, cwd=tmp_path)  # fmt: skip
    status = both("verify", "certificate", "model", "--signature", "model.sig",
                  "--certificate_chain", root.path)  # fmt: skip
    assert status == (FAILED if len(options) == 2 and not any(options.values()) else SUCCEEDED)


def test_fingerprints(tools, pki, model_dir, tmp_path):
    leaf = pki.leaf("fingerprints")
    succeed(tools["reference"], "sign", "certificate", "model", "--private_key", leaf.key.private,
            "--signing_certificate", leaf.path, "--certificate_chain", pki.intermediate.path,
            cwd=tmp_path)  # fmt: skip
    for tool in tools.values():
        result = succeed(tool, "verify", "certificate", "model", "--signature", "model.sig",
                         "--certificate_chain", pki.root.path, "--log_fingerprints",
                         cwd=tmp_path)  # fmt: skip
        assert result.out == "Verification succeeded\n"
        assert leaf.fingerprint in result.err.replace(":", "").lower()


def oms_cases():
    """Bundles of several releases, rightly and wrongly paired with models and keys."""
    root = pathlib.Path(__file__).resolve().parents[2]
    folder = pathlib.Path(os.environ.get("HALLMARK_VECTORS", root.parent / "shared" / "vectors"))
    index = folder / "oms-compat" / "index.json"
    return json.loads(index.read_bytes())["cases"] if index.exists() else []


@pytest.mark.parametrize("case", oms_cases(), ids=lambda case: case["id"])
def test_bundles_of_other_releases(both, shared_vectors, case):
    if case["method"] not in ("key", "certificate"):
        pytest.skip("needs a network")
    arguments = ["verify", case["method"], case["model"], "--signature", case["bundle"]]
    for path in case.get("ignore", []):
        arguments += ["--ignore-paths", path]
    for path in case.get("trusted_certificates", []):
        arguments += ["--certificate_chain", path]
    if "public_key" in case:
        arguments += ["--public_key", case["public_key"]]
    status = both(*arguments, cwd=shared_vectors)
    assert status == (SUCCEEDED if case["verdict"] == "accept" else FAILED)


# ---- digest ---------------------------------------------------------------------------------------

DIGEST = """
import hashlib, pathlib, sys
import model_signing
config = model_signing.hashing.Config().set_ignored_paths(
    paths=sys.argv[3:], ignore_git_paths=sys.argv[2] == "no git")
digest = hashlib.sha256()
for descriptor in config.hash(pathlib.Path(sys.argv[1])).resource_descriptors():
    digest.update(descriptor.digest.digest_value)
print("sha256:" + digest.hexdigest())
"""


def reference_digest(reference, model, git="no git", *ignored):
    """What its command prints from the release after 1.1.1 on."""
    run = support.Program(reference.python)
    return run("-c", DIGEST, model, git, *ignored, expect=0).out


def test_digest(stand_in, reference, model_dir, model_file, tmp_path):
    """Also where the order by components is not that of the names as text."""
    for name in ("a/b", "a-b/x", "a.txt", "a/b.c/d", "a/b-c", "a0", "\u00fc/x", "\u00fc-", "a\x01b",
                 ".git/config", ".gitignore"):  # fmt: skip
        path = model_dir / name if name != "a/b" else model_dir / "a" / "b" / "leaf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    for model in (model_dir, model_file):
        assert stand_in("digest", model).out == reference_digest(reference, model)
    with_git = stand_in("digest", "model", "--no-ignore-git-paths", cwd=tmp_path).out
    assert with_git == reference_digest(reference, model_dir, "git")
    assert with_git != stand_in("digest", "model", cwd=tmp_path).out
    partly = stand_in("digest", "model", "--ignore-paths", "model/a", cwd=tmp_path).out
    assert partly == reference_digest(reference, model_dir, "no git", "a")


def test_digest_failures(stand_in, tmp_path, model_dir):
    assert stand_in("digest").rc == MISUSED
    assert stand_in("digest", model_dir, "--signature", "x").rc == MISUSED
    assert stand_in("digest", "--help").rc == SUCCEEDED
    result = refuse(stand_in, "digest", tmp_path / "nowhere", why="Computing digest failed: ")
    assert result.out == ""


# ---- where it is stricter -------------------------------------------------------------------------


def forge(bundle, key, names, ignored=(), symlinks=False):
    """A bundle over any names, with a good signature: {name: content}."""
    resources = [
        {"name": name, "digest": hashlib.sha256(data).hexdigest(), "algorithm": "sha256"}
        for name, data in names.items()
    ]
    root = hashlib.sha256(b"".join(bytes.fromhex(r["digest"]) for r in resources)).hexdigest()
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "model", "digest": {"sha256": root}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "resources": resources,
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": symlinks,
                              "ignore_paths": list(ignored)},
        },
    }  # fmt: skip
    payload = json.dumps(statement).encode()
    kind = b"application/vnd.in-toto+json"
    pae = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    hint = hashlib.sha256(support.public_pem(key.python)).hexdigest()
    signature = key.python.sign(pae, ec.ECDSA(hashes.SHA256()))
    content = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": kind.decode(),
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    bundle.write_text(json.dumps(content))


@pytest.fixture
def forged(tools, key, tmp_path):
    """forged(names, ..., options=[...]) -> exit statuses of stand-in and reference."""

    def run(names, *options, **how):
        forge(tmp_path / "forged.sig", key, names, **how)
        check = ["verify", "key", "model", "--signature", "forged.sig", "--public_key", key.public]
        return tuple(tool(*check, *options, cwd=tmp_path).rc for tool in tools.values())

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a").write_bytes(b"a")
    return run


def test_forging_works(forged):
    assert forged({"a": b"a"}) == (SUCCEEDED, SUCCEEDED)
    assert forged({"a": b"b"}) == (FAILED, FAILED)


def test_names_that_lead_outside(forged, tmp_path):
    (tmp_path / "outside").write_bytes(b"o")
    names = {"a": b"a", "../outside": b"o"}
    assert forged(names) == (FAILED, FAILED)
    assert forged(names, "--ignore_unsigned_files") == (FAILED, SUCCEEDED)


@pytest.mark.parametrize("name", ["./a", "a/", ".//a/."])
def test_names_that_are_not_plain(forged, name):
    assert forged({name: b"a"}) == (FAILED, SUCCEEDED)


def test_a_linked_directory_on_the_way(forged, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b").write_bytes(b"b")
    (tmp_path / "model" / "d").symlink_to("../elsewhere")
    names = {"a": b"a", "d/b": b"b"}
    assert forged(names, "--ignore_unsigned_files") == (FAILED, SUCCEEDED)
    assert forged(names, "--ignore_unsigned_files", "--allow_symlinks", symlinks=True)[0] == FAILED


@pytest.mark.parametrize("whole", ["", "."])
def test_a_signature_of_nothing(forged, whole):
    assert forged({}, ignored=[whole]) == (FAILED, SUCCEEDED)


def test_links_that_were_not_signed(forged, tmp_path):
    (tmp_path / "model" / "a").rename(tmp_path / "model" / "b")
    (tmp_path / "model" / "a").symlink_to("b")
    names = {"a": b"a", "b": b"a"}
    assert forged(names, "--allow_symlinks", symlinks=False) == (FAILED, SUCCEEDED)
    assert forged(names, "--allow_symlinks", symlinks=True) == (SUCCEEDED, SUCCEEDED)


def test_links_that_lead_outside(tools, key, model_dir, tmp_path):
    (tmp_path / "outside").write_text("outside\n")
    (model_dir / "link").symlink_to("../outside")
    sign = ["sign", "key", "model", "--private_key", key.private, "--allow_symlinks"]
    refuse(tools["stand-in"], *sign, cwd=tmp_path, why="link")
    assert not (tmp_path / "model.sig").exists()
    succeed(tools["reference"], *sign, cwd=tmp_path)
    refuse(tools["stand-in"], "verify", "key", "model", "--signature", "model.sig",
           "--public_key", key.public, "--allow_symlinks", cwd=tmp_path)  # fmt: skip


@pytest.mark.parametrize("ignored", ["model", "./model/", "model/.", "model/shards/..", "link"])
def test_ignoring_the_whole_model(tools, key, model_dir, tmp_path, ignored):
    (tmp_path / "link").symlink_to("model")
    sign = ["sign", "key", "model", "--private_key", key.private, "--ignore-paths", ignored]
    refuse(tools["stand-in"], *sign, cwd=tmp_path, why="the whole model")
    assert not (tmp_path / "model.sig").exists()
    succeed(tools["reference"], *sign, cwd=tmp_path)
    check = ["verify", "key", "model", "--signature", "model.sig", "--public_key", key.public]
    refuse(tools["stand-in"], *check, cwd=tmp_path)
    refuse(tools["stand-in"], *check, "--ignore-paths", ignored, cwd=tmp_path)


def test_an_ignored_link_makes_no_other_hole(stand_in, key, model_dir, tmp_path):
    """The reference leaves out what the link leads to."""
    (model_dir / "link").symlink_to("config.json")
    succeed(stand_in, "sign", "key", "model", "--private-key", key.private, "--ignore-paths",
            "model/link", cwd=tmp_path)  # fmt: skip
    assert "config.json" in signed_names(tmp_path / "model.sig")
    assert "link" in signed_ignore(tmp_path / "model.sig")


def test_empty_models(tools, key, tmp_path):
    (tmp_path / "model").mkdir()
    sign = ["sign", "key", "model", "--private_key", key.private]
    refuse(tools["stand-in"], *sign, cwd=tmp_path)
    refuse(tools["stand-in"], "digest", "model", cwd=tmp_path)
    refuse(tools["stand-in"], "sign", "key", "", "--private_key", key.private, cwd=tmp_path)
    succeed(tools["reference"], *sign, cwd=tmp_path)


def test_no_roots_of_the_web(stand_in, pki, model_dir, tmp_path):
    leaf = pki.leaf("web")
    succeed(stand_in, "sign", "certificate", "model", "--private-key", leaf.key.private,
            "--signing-certificate", leaf.path, cwd=tmp_path)  # fmt: skip
    refuse(stand_in, "verify", "certificate", "model", "--signature", "model.sig", cwd=tmp_path,
           why="--certificate-chain")  # fmt: skip


def test_certificates_for_something_else(tools, pki, model_dir, tmp_path):
    """Such as a web server's, which says digitalSignature as well."""
    leaf = pki.leaf("server", eku=[ExtendedKeyUsageOID.SERVER_AUTH])
    succeed(tools["reference"], "sign", "certificate", "model", "--private_key", leaf.key.private,
            "--signing_certificate", leaf.path, "--certificate_chain", pki.intermediate.path,
            cwd=tmp_path)  # fmt: skip
    check = ["verify", "certificate", "model", "--signature", "model.sig", "--certificate_chain",
             pki.root.path]  # fmt: skip
    succeed(tools["reference"], *check, cwd=tmp_path)
    refuse(tools["stand-in"], *check, cwd=tmp_path, why="not for signing models")


def test_keys_that_others_can_read(stand_in, key, model_dir, tmp_path):
    private = tmp_path / "open.pem"
    shutil.copy(key.private, private)
    private.chmod(0o644)
    refuse(stand_in, "sign", "key", "model", "--private-key", private, cwd=tmp_path, why="chmod")


@pytest.mark.parametrize("method", ["key", "certificate"])
def test_the_method_is_not_up_to_the_bundle(stand_in, key, pki, model_dir, tmp_path, method):
    leaf = pki.leaf(f"method {method}")
    sign = ["sign", "certificate", "model", "--signing-certificate", leaf.path]
    if method == "certificate":
        sign = ["sign", "key", "model"]
    succeed(stand_in, *sign, "--private-key", leaf.key.private, cwd=tmp_path)
    believe = {"key": ["--public-key", leaf.key.public],
               "certificate": ["--certificate-chain", pki.root.path]}  # fmt: skip
    refuse(stand_in, "verify", method, "model", "--signature", "model.sig", *believe[method],
           cwd=tmp_path)  # fmt: skip


def test_only_elliptic_keys(hallmark, stand_in, keys, model_dir, tmp_path):
    """RSA is an extension that the reference does not read."""
    rsa = keys["openssl", "rsa-3072"]
    hallmark("sign", model_dir, "--key", rsa.private, "--signature", tmp_path / "r.sig", expect=0)
    refuse(stand_in, "verify", "key", "model", "--signature", "r.sig", "--public-key", rsa.public,
           cwd=tmp_path, why="only elliptic curve keys")  # fmt: skip


@pytest.mark.parametrize("arguments", [
    ["sign", "sigstore", "model"],
    ["sign", "model"],
    ["sign", "model", "--signature", "x"],
    ["sign", "pkcs11-key", "model", "--pkcs11_uri", "pkcs11:"],
    ["sign", "pkcs11-certificate", "model"],
    ["verify", "sigstore", "model"],
    ["verify", "model"],
], ids=" ".join)  # fmt: skip
def test_methods_that_are_not_there(stand_in, model_dir, tmp_path, arguments):
    result = refuse(stand_in, *arguments, cwd=tmp_path, why="not supported by this stand-in")
    assert result.err.startswith("Signing" if arguments[0] == "sign" else "Verification")


# ---- the rest -------------------------------------------------------------------------------------


def test_password(stand_in, key, model_dir, tmp_path):
    """In 1.1.1 of the reference the option fails whatever it is given."""
    sign = ["sign", "key", "model", "--private-key", key.encrypted]
    password = support.PASSPHRASE.decode()
    for given in (["--password", password], [f"--password={password}"]):
        result = succeed(stand_in, *sign, *given, cwd=tmp_path)
        assert "--password can be read by others" in result.err
        assert password not in result.err
    refuse(stand_in, *sign, "--password", "wrong", cwd=tmp_path)
    refuse(stand_in, *sign, "--password", "", cwd=tmp_path)


def test_log_levels(stand_in, key, model_dir, tmp_path):
    sign = ["sign", "key", "model", "--private-key", key.private]
    for level in ("debug", "INFO"):
        assert key.fingerprint in stand_in("--log-level", level, *sign, cwd=tmp_path).err
    for level in ("Warning", "error", "CRITICAL"):
        assert stand_in("--log-level", level, *sign, cwd=tmp_path).err == ""


@pytest.mark.parametrize("arguments", [
    ["digest", "model"],
    ["sign", "key", "model", "--private-key", "{key.private}"],
    ["sign", "key", "--help"],
], ids=" ".join)  # fmt: skip
def test_outputs_that_fail(stand_in, key, model_dir, tmp_path, arguments):
    """A success that nobody was told of is none."""
    command = stand_in.command(*[argument.format(key=key) for argument in arguments])
    shell = support.Program("/bin/sh")
    result = shell("-c", '"$@" >/dev/full', "sh", *command, cwd=tmp_path)
    assert result.rc == FAILED, result


def test_it_is_a_command_as_well(hallmark, stand_in, model_dir):
    assert hallmark("model-signing", "digest", model_dir).out == stand_in("digest", model_dir).out
    for result in (hallmark("model-signing", "--help"), stand_in("--help")):
        assert result.rc == SUCCEEDED
        assert "Stricter than the tool" in result.out
    assert stand_in("--version").out.startswith("model_signing, version 1.1.1 ")
