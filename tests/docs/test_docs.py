# SPDX-License-Identifier: Apache-2.0
"""The documentation is true: commands print what pages show, links lead somewhere, the schema
describes the reports, the examples work."""

import copy
import json
import os
import pathlib
import re
import shutil
import subprocess
import urllib.parse

import jsonschema
import pytest
from cryptography import x509

import support
from docs import console

ROOT = support.ROOT
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "tests").glob("*.md")])
SHOWN = [page for page in PAGES if "```console\n" in page.read_text()]
MANUALS = sorted((DOCS / "man").glob("*.scd"))


def names(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


def has_tokens(hallmark):
    module = pathlib.Path("/usr/lib/softhsm/libsofthsm2.so")
    built = "PKCS#11: p11-kit" in hallmark("--version", expect=0).out
    return built and module.exists() and shutil.which("softhsm2-util") is not None


# ---- commands -----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", SHOWN, ids=names(SHOWN))
def test_commands_print_what_the_page_shows(hallmark, tmp_path, page):
    if page.name == "pkcs11.md" and not has_tokens(hallmark):
        pytest.skip("no SoftHSM where Debian has it, or a build without PKCS#11")
    commands = console.run_page(page, tmp_path, hallmark.binary, support.sanitizer_options())
    assert commands
    for command in commands:
        assert not command.failed(), command.shown(command.output)
        assert command.matches(), f"the page says\n{command.expected}\n" + command.shown(
            command.output
        )


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ("a\n", "a\n", True),
        ("a\n", "b\n", False),
        ("a\n", "a\nb\n", False),
        ("a\n...\n", "a\nb\nc\n", True),
        ("...\nc\n", "a\nb\nc\n", True),
        ("...\n", "", True),
        ("a...z\n", "abcz\n", True),
        ("a...z\n", "a\nz\n", False),
        ("key " + "0" * 64 + "\n", "key " + "f" * 64 + "\n", True),
        ("key " + "0" * 64 + "\n", "key " + "f" * 63 + "\n", False),
        ("at 2026-01-05T20:31:07Z\n", "at 2027-02-06T21:32:08Z\n", True),
    ],
)
def test_the_comparison_itself(expected, actual, same):
    assert console.matches(expected, actual) is same


# ---- links --------------------------------------------------------------------------------------


def anchors(page):
    """As GitHub makes them from headings."""
    for heading in re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE):
        text = re.sub(r"[^\w\- ]", "", heading.strip().lower())
        yield text.replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = urllib.parse.unquote(target).partition("#")
        place = (page.parent / path) if path else page
        if not place.exists() or (fragment and fragment not in anchors(place)):
            broken.append(target)
    assert not broken


# ---- the schema ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def schema():
    content = json.loads((DOCS / "report.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(content)
    return jsonschema.Draft202012Validator(content)


@pytest.fixture
def fits(hallmark, schema):
    """Runs a command with --json; its report must fit the schema and the exit status."""

    def run(*arguments, expect, **options):
        report = hallmark(*arguments, "--json", expect=expect, **options).json()
        schema.validate(report)
        status = {1: "refused", 2: "usage", 3: "undecided"}
        assert report["operation"] == arguments[0]
        if expect == 0:
            assert report["status"] not in status.values()
        else:
            assert report["status"] == status[expect]
        return report

    return run


@pytest.fixture
def signed(hallmark, keys, model_dir):
    hallmark("sign", model_dir, "--key", keys["openssl", "ec-p256"].private, expect=0)
    return model_dir


def test_reports_of_signing(fits, keys, model_dir, model_file, metadata_file, tmp_path):
    ec = keys["openssl", "ec-p256"].private
    rsa = keys["openssl", "rsa-3072"].private
    report = fits("sign", model_dir, "--key", ec, "--ignore", "shards", expect=0)
    assert {note["by"] for note in report["ignored"]} == {"caller"}
    fits("sign", model_dir, "--key", ec, "--shard-size", "64K", "--hash", "blake2b", expect=0)
    assert fits("sign", model_file, "--key", rsa, expect=0)["warnings"]
    fits("sign", model_file, "--key", rsa, "--format", "manifest-json", expect=0)
    fits("sign", model_file, "--key", rsa, "--format", "sig-json", "--metadata", metadata_file,
         "--signature", tmp_path / "it.sig", expect=0)  # fmt: skip
    fits("sign", model_file, "--key", ec, "--format", "sig-json", expect=2)
    fits("sign", model_file, "--key", tmp_path / "no.pem", expect=3)
    os.mkfifo(model_dir / "pipe")
    assert fits("sign", model_dir, "--key", ec, expect=1)["reason"] == "unsupported"


@pytest.mark.parametrize("key_type", support.KEY_TYPES)
def test_reports_of_every_key(fits, hallmark, keys, model_file, key_type):
    key = keys["python", key_type]
    hallmark("sign", model_file, "--key", key.private, expect=0)
    report = fits("verify", model_file, "--key", key.public, expect=0)
    assert report["signer"]["key_type"] == key_type
    assert report["signer"]["key_fingerprint"] == key.fingerprint


def test_reports_of_a_verification(fits, keys, signed):
    key = keys["openssl", "ec-p256"].public
    report = fits("verify", signed, "--key", key, expect=0)
    assert len(report["entries"]) == report["model"]["files"] > 5
    assert report["model"]["bytes"] == sum(e["end"] - e["start"] for e in report["entries"])
    (signed / "extra").write_text("x")
    assert fits("verify", signed, "--key", key, "--ignore-unsigned", expect=0)["unsigned"]
    (signed / "config.json").write_text("{}")
    (signed / "README.md").unlink()
    report = fits("verify", signed, "--key", key, expect=1)
    assert {finding["reason"] for finding in report["findings"]} == {
        "digest-mismatch", "missing-file", "extra-file",
    }  # fmt: skip
    assert report["signer"] is not None
    fits("verify", signed, "--key", key, "--fail-fast", expect=1)
    (signed / "model.sig").unlink()
    report = fits("verify", signed, "--key", key, expect=1)
    assert report["reason"] == "unsigned" and report["signer"] is None
    fits("verify", signed, "--key", key, "--strict-paths", "--ignore", "x", expect=2)
    fits("verify", signed / "nowhere", "--key", key, expect=3)


def test_reports_of_a_certificate(fits, hallmark, pki, model_dir):
    names_ = [x509.RFC822Name("ci@example.org"), x509.DNSName("example.org")]
    leaf = pki.leaf("documented", san=names_)
    hallmark("sign", model_dir, "--key", leaf.key.private, "--cert", leaf.path, "--chain",
             pki.intermediate.path, expect=0)  # fmt: skip
    report = fits("verify", model_dir, "--root", pki.root.path, expect=0)
    certificate = report["signer"]["certificate"]
    assert certificate["fingerprint"] == leaf.fingerprint
    assert certificate["alternative_names"] == ["email:ci@example.org", "DNS:example.org"]
    fits("inspect", model_dir / "model.sig", expect=0)


def test_reports_of_the_json_formats(fits, hallmark, keys, model_file, metadata_file):
    key = keys["openssl", "rsa-3072"]
    sign = ["sign", model_file, "--key", key.private, "--format"]
    hallmark(*sign, "sig-json", "--metadata", metadata_file, expect=0)
    report = fits("verify", model_file, "--key", key.public, expect=0)
    stated = {statement["name"]: statement["value"] for statement in report["stated"]}
    assert stated["training_metadata.hyperparameters"] == support.METADATA["hyperparameters"]
    hallmark(*sign, "manifest-json", expect=0)
    manifest = model_file.with_suffix(".manifest.json")
    report = fits("verify", model_file, "--key", key.public, "--signature", manifest, expect=0)
    assert report["claimed"] and report["warnings"]
    assert fits("inspect", manifest, expect=0)["entries"][0]["end"] is None


def test_reports_of_digest_and_inspection(fits, signed, tmp_path):
    for options in ([], ["--shard-size", "50000"], ["--hash", "blake3"], ["--hash", "blake2b"]):
        fits("digest", signed, *options, expect=0)
    fits("digest", signed, "--hash", "md5", expect=2)
    fits("digest", tmp_path / "nowhere", expect=3)
    fits("inspect", signed / "model.sig", expect=0)
    fits("inspect", tmp_path / "nowhere", expect=3)
    assert fits("inspect", signed / "config.json", expect=1)["reason"] == "malformed"


def test_reports_of_parts_and_reuse(fits, keys, signed, schema, tmp_path):
    key = keys["openssl", "ec-p256"].private
    part = fits("digest", signed, "--part", "1/1", "--out", tmp_path / "part", expect=0)
    assert part["part"]["parts"] == 1 and part["reused"] is None
    empty = fits("digest", signed, "--part", "50/50", "--out", tmp_path / "none", expect=0)
    assert empty["entries"] == []
    report = fits("sign", signed, "--key", key, "--parts", tmp_path / "part", expect=0)
    assert report["reused"]["from"] == "parts"
    report = fits("sign", signed, "--key", key, "--reuse", signed / "model.sig", expect=0)
    assert report["reused"]["from"] == "signature"
    fits("sign", signed, "--key", key, "--parts", tmp_path / "none", expect=2)
    assert not schema.is_valid(part | {"part": None})
    assert not schema.is_valid(report | {"part": part["part"]})
    assert not schema.is_valid(part | {"reused": report["reused"]})


def test_inspection_counts_files_not_shards(fits, hallmark, keys, model_dir):
    hallmark("sign", model_dir, "--key", keys["openssl", "ec-p256"].private, "--shard-size",
             "10000", expect=0)  # fmt: skip
    report = fits("inspect", model_dir / "model.sig", expect=0)
    assert report["model"]["files"] == len({entry["name"] for entry in report["entries"]})
    assert report["model"]["files"] < len(report["entries"])
    assert report["model"]["bytes"] == sum(e["end"] - e["start"] for e in report["entries"])


def test_reports_of_odd_names(fits, hallmark, keys, tmp_path):
    model = tmp_path / "m"
    model.mkdir()
    for name in (b"new\nline", b'"quoted"', b"back\\slash", b"\x1b[31mred", "\u2028".encode()):
        (model / os.fsdecode(name)).write_bytes(b"x")
    key = keys["openssl", "ec-p256"]
    hallmark("sign", model, "--key", key.private, expect=0)
    report = fits("verify", model, "--key", key.public, expect=0)
    assert {entry["name"] for entry in report["entries"]} == {
        os.fsdecode(path.name) for path in model.iterdir() if path.name != "model.sig"
    }
    (model / os.fsdecode(b"not\xffutf8")).write_bytes(b"x")
    report = fits("verify", model, "--key", key.public, expect=1)
    assert report["findings"][0]["name"] == "not\ufffdutf8"


def test_usage_that_the_command_line_finds_is_no_report(hallmark, signed):
    result = hallmark("verify", signed, "--json", expect=2)
    assert result.out == "" and "say whom to believe" in result.err


def every_object(value, path=()):
    if isinstance(value, dict):
        yield path
        for key, member in value.items():
            yield from every_object(member, (*path, key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from every_object(member, (*path, index))


def at(value, path):
    for step in path:
        value = value[step]
    return value


def test_the_schema_is_strict(hallmark, keys, pki, signed, schema):
    """It refuses any report with a member more, or less, or of another type."""
    (signed / "config.json").write_text("{}")
    public = keys["openssl", "ec-p256"].public
    refused = hallmark("verify", signed, "--key", public, "--json", expect=1).json()
    leaf = pki.leaf("strict")
    hallmark("sign", signed, "--key", leaf.key.private, "--cert", leaf.path, "--chain",
             pki.intermediate.path, expect=0)  # fmt: skip
    verified = hallmark("verify", signed, "--root", pki.root.path, "--json", expect=0).json()
    for report in (refused, verified):
        schema.validate(report)
        for path in every_object(report):
            more = copy.deepcopy(report)
            at(more, path)["surprise"] = 1
            assert not schema.is_valid(more), path
            for name in at(report, path):
                less = copy.deepcopy(report)
                del at(less, path)[name]
                assert not schema.is_valid(less), (*path, name)
                if name != "value":
                    other = copy.deepcopy(report)
                    at(other, path)[name] = 1.5
                    assert not schema.is_valid(other), (*path, name)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "refused"},
        {"status": "signed"},
        {"status": "fine"},
        {"operation": "sign"},
        {"operation": "inspect"},
        {"reason": "digest-mismatch"},
        {"message": "all is well"},
        {"signer": None},
        {"entries": []},
        {"schema": "hallmark-report-v2"},
        {"time": "yesterday"},
    ],
    ids=lambda change: "-".join(map(str, *change.items())),
)
def test_the_schema_refuses_contradictions(hallmark, keys, signed, schema, change):
    public = keys["openssl", "ec-p256"].public
    report = hallmark("verify", signed, "--key", public, "--json", expect=0).json()
    schema.validate(report)
    assert not schema.is_valid(report | change)


# ---- the script that computes model digests -----------------------------------------------------

ODD_NAMES = ["a.txt", "a-b/x", "a/b", "-dash", "sp ace", "new\nline", "tail\n", "quo\"te'", "co:lon:0:1",
             "back\\slash", "\u00fcml\u00e4ut", "*", "[x]", "?", "\u65e5\u672c", "Z", "z", ".dot",
             "sub/.git/hook", ".gitmodules", "\x7f", "$(x)"]  # fmt: skip


@pytest.fixture
def odd_model(tmp_path):
    model = tmp_path / "odd"
    for number, name in enumerate(ODD_NAMES):
        path = model / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(support.content(number, number * 37 % 200))
    (model / "empty").write_bytes(b"")
    (model / ".git").mkdir()
    (model / ".git" / "config").write_text("ignored")
    (model / "left out").mkdir()
    (model / "left out" / "x").write_text("ignored too")
    return model


def script(*arguments, cwd=None):
    command = [DOCS / "examples" / "model-digest.sh", *map(os.fspath, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def model_digest(hallmark, *arguments, cwd=None):
    report = hallmark("digest", "--json", *arguments, cwd=cwd, expect=0).json()
    return report["model"]["model_digest"]


HASHES = ["sha256", "blake2b"] + (["blake3"] if shutil.which("b3sum") else [])


@pytest.mark.parametrize("hash_name", HASHES)
@pytest.mark.parametrize("shards", [[], ["--shard-size", "1"], ["--shard-size", "64"],
                                    ["--shard-size", "100000"]])  # fmt: skip
def test_script_and_program_agree(hallmark, odd_model, shards, hash_name):
    options = [*shards, "--hash", hash_name, "--ignore", "left out"]
    ours = script(*options, odd_model)
    assert ours == model_digest(hallmark, odd_model, *options)


def test_script_and_program_agree_on_single_files(hallmark, tmp_path):
    for name in ("model.bin", "-dash", "tail\n", "sp ace"):
        (tmp_path / name).write_bytes(support.content(name, 1000))
        for shards in ([], ["--shard-size", "300"]):
            expected = model_digest(hallmark, *shards, "--", name, cwd=tmp_path)
            assert script(*shards, tmp_path / name) == expected


def test_verification_shows_that_digest(hallmark, keys, odd_model):
    key = keys["openssl", "ec-p256"]
    for shards in ([], ["--shard-size", "64"]):
        hallmark("sign", odd_model, "--key", key.private, "--ignore", "left out", *shards, expect=0)
        report = hallmark("verify", odd_model, "--key", key.public, "--json", expect=0).json()
        digest = script(*shards, "--ignore", "left out", "--ignore", "model.sig", odd_model)
        assert report["model"]["model_digest"] == digest


@pytest.mark.parametrize("change", ["content", "name", "size", "add", "remove", "swap"])
def test_model_digest_tells_models_apart(hallmark, odd_model, change):
    before = {*map(lambda o: model_digest(hallmark, odd_model, *o), ([], ["--shard-size", "64"]))}
    assert len(before) == 2
    if change == "content":
        support.flip(odd_model / "sp ace", 0)
    elif change == "name":
        (odd_model / "sp ace").rename(odd_model / "space")
    elif change == "size":
        with open(odd_model / "empty", "ab") as out:
            out.write(b"\0")
    elif change == "add":
        (odd_model / "another").write_bytes(b"")
    elif change == "remove":
        (odd_model / "empty").unlink()
    else:
        (odd_model / "sp ace").rename(odd_model / "aside")
        (odd_model / "Z").rename(odd_model / "sp ace")
        (odd_model / "aside").rename(odd_model / "Z")
    after = {*map(lambda o: model_digest(hallmark, odd_model, *o), ([], ["--shard-size", "64"]))}
    assert not before & after


# ---- the example in C ---------------------------------------------------------------------------


@pytest.fixture(params=["shared", "static"])
def example(request, hallmark, sanitizer, tmp_path):
    """examples/verify.c, built as the user guide says, against the library beside the program."""
    folder = hallmark.binary.parent
    library = folder / {"shared": "libhallmark.so", "static": "libhallmark.a"}[request.param]
    if sanitizer or not library.exists():
        pytest.skip("no plain library beside the program")
    if b"__gcov_merge_add" in library.read_bytes():
        pytest.skip("the library is built for coverage")
    flags = [f"-I{ROOT / 'include'}"]
    if request.param == "shared":
        flags += [f"-L{folder}", "-lhallmark", f"-Wl,-rpath,{folder}"]
    else:
        needs = (folder / "meson-private" / "hallmark.pc").read_text()
        links = [f"-l{name}" for name in ("curl", "p11-kit") if name in needs]
        flags += [str(library), "-lcrypto", *links, "-pthread"]
    program = tmp_path / "verify"
    source = DOCS / "examples" / "verify.c"
    subprocess.run(
        ["cc", "-std=c17", "-Wall", "-Wextra", "-Werror", source, *flags, "-o", program],
        check=True,
        timeout=120,
    )
    return program


def test_example_in_c(example, hallmark, keys, model_dir, tmp_path):
    key = keys["openssl", "ec-p256"]

    def run(*arguments):
        done = subprocess.run([example, *arguments], capture_output=True, timeout=60, check=False)
        return support.Result(done.returncode, done.stdout, done.stderr)

    assert run().rc == 2
    result = run(model_dir, key.public)
    assert result.rc == 1 and "(unsigned)" in result.err
    hallmark("sign", model_dir, "--key", key.private, expect=0)
    report = hallmark("verify", model_dir, "--key", key.public, "--json", expect=0).json()
    result = run(model_dir, key.public)
    assert result.rc == 0, result
    wanted = [f"verified, model digest {report['model']['model_digest']}"]
    assert result.out.splitlines() == wanted + [entry["name"] for entry in report["entries"]]
    (model_dir / "README.md").unlink()
    result = run(model_dir, key.public)
    assert result.rc == 1 and result.out == ""
    assert "  missing-file README.md" in result.err
    assert run(model_dir, keys["openssl", "ec-p256", "other"].public).rc == 1
    assert run(model_dir, tmp_path / "none.pub").rc == 3


# ---- manual pages -------------------------------------------------------------------------------

COMMANDS = ["key generate", "key list", "key show", "key rotate", "key revoke", "key export", "sign",
            "verify", "digest", "inspect"]


def manual_of(command):
    return DOCS / "man" / f"hallmark-{command.split()[0]}.1.scd"


def manual_text(command):
    """Of a page about several commands, what stands under this one's name."""
    text = manual_of(command).read_text()
    under = re.search(rf"^## hallmark {command}\n(.*?)(?=^##? )", text, re.DOTALL | re.MULTILINE)
    return under.group(1) if under else text


@pytest.mark.parametrize("page", MANUALS, ids=names(MANUALS))
def test_manual_pages_compile(page):
    if shutil.which("scdoc") is None:
        pytest.skip("no scdoc")
    done = subprocess.run(
        ["scdoc"], input=page.read_bytes(), capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b'.\\" Generated by scdoc')


@pytest.mark.parametrize("command", COMMANDS)
def test_manual_pages_have_every_option(hallmark, command):
    """With the same argument, and none that is not there."""
    text = hallmark(*command.split(), "--help", expect=0).out
    offered = set(re.findall(r"^  (--[a-z0-9.-]+(?: \S+)?)(?=  |$)", text, re.MULTILINE))
    offered -= {"--help"}
    described = set()
    for line in re.findall(r"^\*(--.*)$", manual_text(command), re.MULTILINE):
        described.add(re.sub(r"[*_\\]", "", line).strip())
    assert described - {"--help"} == offered


def test_every_command_has_a_manual_page(hallmark):
    text = hallmark("--help", expect=0).out
    commands = re.findall(r"^  (\S+(?: [a-z]+)?)  +[A-Z]", text, re.MULTILINE)
    assert set(COMMANDS) <= set(commands)
    for command in commands:
        assert manual_of(command).exists(), command


def test_meson_knows_the_manual_pages():
    text = (ROOT / "meson.build").read_text()
    listed = re.search(r"^manual_pages = \[(.*?)\]", text, re.MULTILINE | re.DOTALL).group(1)
    assert sorted(re.findall(r"'([^']+)'", listed)) == [page.stem for page in MANUALS]
