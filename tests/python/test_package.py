# SPDX-License-Identifier: Apache-2.0
"""The package as it is installed: what the wheel holds, on which Pythons it runs, its types, its
documentation, and that it lacks nothing that the command has."""

import inspect
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile

import pytest

import hallmark
import support
from hallmark._hints import in_python
from python import reference as documentation

ROOT = support.ROOT
TOOLS = pathlib.Path(sys.executable).parent


def run(*command, expect=0, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=250, check=False, **options)  # fmt: skip
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


# ---- the wheel ----------------------------------------------------------------------------------


def test_what_is_tested_is_the_wheel(wheel):
    folder = pathlib.Path(hallmark.__file__).parent
    assert folder.parent == pathlib.Path(sysconfig.get_path("platlib"))
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith("hallmark/")]
        assert names
        for name in names:
            assert archive.read(name) == (folder.parent / name).read_bytes(), name


def test_what_the_wheel_holds(wheel):
    assert wheel.name == f"hallmark-{hallmark.__version__}-cp39-abi3-{platform_tag()}.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        assert b"Requires-Dist" not in archive.read(metadata)
    sources = {
        f"hallmark/{path.name}"
        for path in (ROOT / "python" / "hallmark").iterdir()
        if path.suffix in (".py", ".pyi", ".typed")
    }
    assert names == sources | {"hallmark/_core.abi3.so"} and "hallmark/py.typed" in names


def platform_tag():
    return re.sub("[-.]", "_", sysconfig.get_platform())


def test_the_extension_shows_nothing_but_its_entry():
    core = pathlib.Path(hallmark._core.__file__)
    names = [line.split()[-1] for line in run("nm", "-D", "--defined-only", core).splitlines()]
    assert names == ["PyInit__core"]


def test_it_keeps_to_the_limited_api(wheel):
    assert "0 ABI version mismatches and 0 ABI violations" in " ".join(
        run(TOOLS / "abi3audit", "--verbose", wheel).split()
    )


def test_what_it_needs_of_the_system(wheel):
    """No library that the documentation does not name."""
    linked = run("readelf", "-d", hallmark._core.__file__)
    needed = set(re.findall(r"\(NEEDED\).*\[(.*?)\.so", linked))
    assert needed <= {"libcrypto", "libyaml-0", "libp11-kit", "libc", "libblake3", "ld-linux-x86-64"}
    page = (ROOT / "docs" / "python.md").read_text()
    for name in needed - {"libc", "ld-linux-x86-64"}:
        assert f"`{name}" in page, name
    assert "platform tag" in run(TOOLS / "auditwheel", "show", wheel)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no checkout of git")
def test_the_source_distribution_is_what_is_in_git(tmp_path):
    """Of the last commit, as meson-python makes it."""
    environment = {**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}"}
    run(TOOLS / "python", "-m", "build", "--sdist", "--no-isolation", "--skip-dependency-check",
        "--outdir", tmp_path, ROOT, env=environment)  # fmt: skip
    (file,) = tmp_path.glob("hallmark-*.tar.gz")
    with tarfile.open(file) as archive:
        files = {each.name.partition("/")[2] for each in archive if not each.isdir()}
    tracked = set(run("git", "-C", ROOT, "ls-tree", "-r", "--name-only", "HEAD").splitlines())
    assert files - {"PKG-INFO"} == tracked


# ---- other Pythons ------------------------------------------------------------------------------


def pythons():
    """Every CPython from 3.9 on that this machine has, one of each version."""
    found = {}
    places = ["/usr/bin/python3"]
    places += [shutil.which(f"python3.{minor}") or "" for minor in range(9, 20)]
    places += sorted(pathlib.Path("~/.pyenv/versions").expanduser().glob("3.*/bin/python"))
    ask = "import sys; print(sys.implementation.name, sys.version_info[0], sys.version_info[1])"
    for place in filter(None, map(str, places)):
        done = subprocess.run([place, "-c", ask], capture_output=True, text=True, check=False)
        name, *version = done.stdout.split() or [""]
        if name == "cpython" and tuple(map(int, version)) >= (3, 9):
            found.setdefault(".".join(version), place)
    return found


PYTHONS = pythons()

SMOKE = """
import os, pathlib, sys, hallmark
assert not [name for name in sys.modules if name.split(".")[0] in ("torch", "numpy", "tqdm")]
os.mkdir("model")
pathlib.Path("model/weights").write_text("1 2 3")
hallmark.generate_key("k.pem", passphrase=lambda prompt: "secret")
hallmark.sign("model", "k.pem", passphrase="secret", metadata={"framework": "none"})
report = hallmark.verify("model", hallmark.Policy(keys="k.pub", require_provenance=True))
assert report.verified and report.files == ("weights",)
pathlib.Path("model/weights").write_text("1 2 4")
try:
    hallmark.verify("model", key="k.pub", progress=lambda done, total: None)
except hallmark.IntegrityError as error:
    print(sys.version_info[:2], error.reason)
"""


@pytest.mark.parametrize("version", PYTHONS)
def test_a_clean_environment(version, wheel, tmp_path):
    run(PYTHONS[version], "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--disable-pip-version-check", "--no-index", wheel)
    (tmp_path / "work").mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    out = run(python, "-W", "error", "-c", SMOKE, cwd=tmp_path / "work", env=environment)
    assert out == f"({version.replace('.', ', ')}) digest-mismatch\n"


# ---- types --------------------------------------------------------------------------------------


def test_types_are_strict(tmp_path):
    run(TOOLS / "mypy", "--strict", "--cache-dir", tmp_path / "cache", "-p", "hallmark",
        cwd=tmp_path)  # fmt: skip
    out = run(TOOLS / "python", "-m", "mypy.stubtest", "hallmark._core", cwd=tmp_path)
    assert "no issues" in out


USER = """
import pathlib
import hallmark
report = hallmark.verify(pathlib.Path("m"), key=["k"], progress=lambda done, total: print(done))
reveal_type(report)
reveal_type(report.findings[0].reason)
hallmark.verify(3, key="k")
hallmark.sign("m", "k", hahs="sha256")
report.status = "verified"
"""


def test_types_help_the_caller(tmp_path):
    (tmp_path / "user.py").write_text(USER)
    out = run(TOOLS / "mypy", "--strict", "--cache-dir", tmp_path / "cache", "user.py", expect=1,
              cwd=tmp_path)  # fmt: skip
    assert 'Revealed type is "hallmark._report.Report"' in out
    assert "bad-signature" in out  # the words are known
    lines = sorted({int(line) for line in re.findall(r"user.py:(\d+): error", out)})
    assert lines == [7, 8, 9]


# ---- documentation ------------------------------------------------------------------------------


def test_the_reference_is_up_to_date():
    page = documentation.PAGE.read_text()
    assert page == documentation.updated(page), "tests/python/reference.py --write"


def test_every_public_name_is_documented():
    page = documentation.PAGE.read_text()
    for name in hallmark.__all__:
        if name != "__version__" and not inspect.ismodule(getattr(hallmark, name)):
            assert f"`hallmark.{name}" in page, name
            assert documentation.described(getattr(hallmark, name), name), name
    for module in ("keyring", *documentation.MODULES):
        for name in getattr(hallmark, module).__all__:
            thing = getattr(getattr(hallmark, module), name)
            if thing.__module__ == f"hallmark.{module}":
                assert f"`hallmark.{module}.{name}" in page and inspect.getdoc(thing), name


@pytest.mark.parametrize("function", documentation.functions(), ids=lambda f: f.__name__)
def test_every_parameter_is_documented(function):
    parameters = [name for name in inspect.signature(function).parameters if name != "self"]
    described = re.findall(r":param (\w+):", inspect.getdoc(function) or "")
    assert described == parameters


# ---- the command --------------------------------------------------------------------------------

# Options of the command, and what stands for them here. What is not listed has its own name.
RECORDING = {"config": hallmark.Recorder, "ledger": hallmark.Recorder, "log": hallmark.Recorder}
STORE = {name: hallmark.Config for name in ("store", "group", "config", "ledger", "log")}
LOOK = {"store": hallmark.Store.open, "config": hallmark.Config, "json": hallmark.Store.status}
REPORT = {"list": hallmark.Report.text, "json": hallmark.Report.json, "no-progress": "progress"}
COMMANDS = {
    "sign": (hallmark.sign, {
        **RECORDING,
        "passphrase-file": "passphrase", "passphrase-fd": "passphrase", "cert": hallmark.Signer,
        "chain": hallmark.Signer, "shards": "shard_size", "list": hallmark.Report.text,
        "json": hallmark.Report.json, "no-progress": "progress",
    }),
    "verify": (hallmark.verify, {
        **RECORDING,
        "root": hallmark.Policy, "keyring": hallmark.Policy,
        "keyring-key": hallmark.TrustedKeyring, "keyring-signer": hallmark.TrustedKeyring,
        "keyring-min-version": hallmark.TrustedKeyring, "identity-subject": hallmark.Policy,
        "identity-san": hallmark.Policy, "identity-fingerprint": hallmark.Policy,
        "format": hallmark.Policy, "require-provenance": hallmark.Policy,
        "provenance-dataset": hallmark.Policy, "provenance-builder": hallmark.Policy,
        "allow-symlinks": hallmark.Policy, "allow-v0.2.0": hallmark.Policy,
        "allow-expired-certificates": hallmark.Policy, "allow-missing-eku": hallmark.Policy,
        "list": hallmark.Report.text, "json": hallmark.Report.json, "no-progress": "progress",
    }),
    "resign": (hallmark.resign, {
        **RECORDING,
        "passphrase-file": "passphrase", "passphrase-fd": "passphrase",
        "list": hallmark.Report.text, "json": hallmark.Report.json, "no-progress": "progress",
    }),
    "digest": (hallmark.digest, {
        "files": "shard_size", "shards": "shard_size", "list": hallmark.Report.text,
        "json": hallmark.Report.json, "no-progress": "progress",
    }),
    "inspect": (hallmark.inspect, {
        "list": hallmark.Report.text, "json": hallmark.Report.json,
    }),
    "policy check": (hallmark.Policy.describe, {}),
    "policy explain": (hallmark.Policy.explain, {
        "policy": hallmark.Policy.load, "json": hallmark.Explanation,
    }),
    "key generate": (hallmark.generate_key, {
        "passphrase-file": "passphrase", "passphrase-fd": "passphrase", "no-passphrase": "plain",
    }),
    "deploy": (hallmark.Store.deploy, {"name": "name", **STORE, **REPORT}),
    "rollback": (hallmark.Store.rollback, {**STORE, **REPORT}),
    "check": (hallmark.Store.check, {
        **STORE, **REPORT, "every": "routine", "service": "routine",
    }),
    "status": (hallmark.Store.status, LOOK),
    "quarantine list": (hallmark.Quarantine.list, LOOK),
    "quarantine show": (hallmark.Quarantine.show, LOOK),
    "quarantine release": (hallmark.Quarantine.release, {**STORE, **REPORT}),
    "quarantine purge": (hallmark.Quarantine.purge, STORE),
    "gc": (hallmark.Store.gc, {**STORE, "json": hallmark.Store.status}),
    "log": (hallmark.ledger.read, {"json": hallmark.ledger.Entry}),
    "log verify": (hallmark.ledger.verify, {"json": hallmark.ledger.Verification}),
    "log checkpoint": (hallmark.ledger.checkpoint, {
        "passphrase-file": "passphrase", "passphrase-fd": "passphrase",
    }),
    "config check": (hallmark.Config.describe, {}),
    "key list": (hallmark.keyring.describe, {"json": hallmark.keyring.Keyring}),
    "key show": (hallmark.keyring.describe_key, {"json": hallmark.keyring.Key}),
    "key rotate": (hallmark.keyring.rotate, {
        **RECORDING,
        "passphrase-file": "passphrase", "passphrase-fd": "passphrase", "no-passphrase": "plain",
    }),
    "key revoke": (hallmark.keyring.revoke, RECORDING),
    "key export": (hallmark.keyring.export, {
        "passphrase-file": "passphrase", "passphrase-fd": "passphrase",
    }),
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_the_command_is_here(program, command):
    function, elsewhere = COMMANDS[command]
    options = re.findall(r"^  --([a-z0-9.-]+)", program(*command.split(), "--help", expect=0).out,
                         re.MULTILINE)  # fmt: skip
    parameters = set(inspect.signature(function).parameters)
    for option in set(options) - {"help"}:
        place = elsewhere.get(option, option.replace("-", "_"))
        if isinstance(place, str):
            assert place in parameters, option
    assert set(elsewhere) <= set(options)


def options_in_hints():
    """The text of all calls that add a hint, in the library's sources, where it names an option."""
    for source in sorted((ROOT / "src").rglob("*.c")):
        for call in re.findall(r"hm_error_add_hint\(([^;]*);", source.read_text()):
            hint = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', call)).replace('\\"', '"')
            if re.search(r"(?<!\S)--[a-z]", hint):
                yield hint


def test_hints_name_parameters():
    classes = (hallmark.Policy, hallmark.TrustedKeyring, hallmark.Signer, hallmark.Recorder)
    known = {"store"}  # a setting
    for each in (*documentation.functions(), *classes):
        known |= set(inspect.signature(each).parameters)
    hints = list(options_in_hints())
    assert len(hints) > 30
    for hint in hints:
        said = in_python(hint)
        rest = re.sub(r"`[^`]*`|'[^']*'|hallmark [a-z].*", "", said)
        assert not re.search(r"(?<!\S)--[a-z]", rest), said
        assert set(re.findall(r"\b([a-z_]+)=(?!file)", rest)) <= known, said


def test_hints_keep_commands_and_names():
    assert in_python("name it with --signature") == "name it with signature="
    assert in_python("use --format oms, or --root") == 'use format="oms", or roots='
    assert in_python("say --shard-size 5 or --store DIR") == "say shard_size=5 or store=DIR"
    for kept in ("`hallmark sign --reuse`", "digest: hallmark digest --part 1/2 --out x", "a--key"):
        assert in_python(kept) == kept


def test_every_command_is_here(program):
    listed = re.findall(r"^  (\w+(?: \w+)?)  ", program("--help", expect=0).out, re.MULTILINE)
    assert set(COMMANDS) == set(listed)


def test_the_version_is_the_library_s(program):
    out = program("--version", expect=0).out
    assert out.startswith(f"hallmark {hallmark.version()}\n")
    assert hallmark.__version__ == hallmark.version()
    assert out == f"hallmark {hallmark.version()}\n{hallmark.build_info()}"
