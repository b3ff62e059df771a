# SPDX-License-Identifier: Apache-2.0
"""Every allocation, read, write, sync, rename ... made to fail in turn.

Each run has to end with a clean error or with the right result: no crash, no hang, no "verified"
for a model that is not; the signature file is the old one or a good new one; no litter.
"""

import dataclasses
import errno
import json
import os
import signal
import stat
import struct
import subprocess

import pytest

import support

CLASSES = [
    "alloc", "open", "read", "write", "sync", "rename", "link", "unlink", "stat", "readdir",
    "close", "map", "thread", "mode",
]  # fmt: skip
# More calls than that are sampled evenly.
MOST_RUNS = 100 if os.environ.get("HALLMARK_SANITIZER") else 400
MOST_RUNS_OF_LIBRARIES = 120


# ---- the shim -----------------------------------------------------------------------------------


@dataclasses.dataclass
class Report:
    calls: int
    fired: int
    name: str


class Shim:
    """Runs the program with calls that fail; see shim.c for the settings."""

    def __init__(self, program, library, folder):
        self.program = program
        self.library = library
        self.report = folder / "report"

    def __call__(self, arguments, fault_class=None, at=0, mode="fail", number=None, signals=(),
                 **settings):  # fmt: skip
        self.report.unlink(missing_ok=True)
        env = {
            "LD_PRELOAD": self.library,
            "HM_FAULT_CLASS": fault_class,
            "HM_FAULT_AT": at,
            "HM_FAULT_MODE": mode,
            "HM_FAULT_ERRNO": number,
            "HM_FAULT_REPORT": self.report,
            **{f"HM_FAULT_{key.upper()}": value for key, value in settings.items()},
        }
        result = self.program(*arguments, env=env, signals=signals)
        assert result.rc != 124, f"the shim could not be set up\n{result}"
        calls, fired, name = struct.unpack("=QQ48s", self.report.read_bytes())
        return result, Report(calls, fired, name.rstrip(b"\0").decode())


@pytest.fixture(scope="session")
def shim_library(hallmark, sanitizer):
    """Built beside the program, or beside the release build when that is somewhere else."""
    if sanitizer == "tsan" or hallmark.wrapper:
        pytest.skip("the shim does not go with ThreadSanitizer and valgrind")
    folder = hallmark.binary.parent
    if not (folder / "build.ninja").exists():
        folder = support.ROOT / "build"
    target = "tests/faults/libhmfault.so"
    subprocess.run(
        ["ninja", "-C", str(folder), "--quiet", target], check=True, stdout=subprocess.DEVNULL
    )
    return folder / target


@pytest.fixture
def shim(hallmark, shim_library, tmp_path_factory):
    return Shim(hallmark, shim_library, tmp_path_factory.mktemp("shim"))


# ---- what is run --------------------------------------------------------------------------------


class Sign:
    """Signing over an older signature, or where there was none."""

    statuses = (support.OK, support.UNDECIDED)

    def __init__(self, hallmark, keys, folder, format_name, *, directory=False, old=True):
        self.hallmark = hallmark
        self.key = keys["openssl", "ec-p256" if format_name == "oms" else "rsa-2048"]
        self.folder = folder
        self.format_name = format_name
        # Small, so that a run takes few milliseconds; several reads all the same.
        self.model = folder / "model"
        if directory:
            self.model.mkdir()
            (self.model / "sub").mkdir()
            (self.model / "sub" / "weights.bin").write_bytes(support.content("w", 70_000))
            (self.model / "config.json").write_text("{}\n")
            (self.model / "empty").write_bytes(b"")
        else:
            self.model.write_bytes(support.content("w", 70_000))
        self.metadata = support.make_metadata(folder / "metadata.json")
        self.signature = folder / "the.sig"
        self.old = None
        if old:
            hallmark(*self.arguments("--signer-id", "old") if format_name != "oms"
                     else self.arguments(), expect=support.OK)  # fmt: skip
            self.old = self.signature.read_bytes()
        self.names = set(support.snapshot(folder)) | {"the.sig"}

    def arguments(self, *more):
        options = ["--format", self.format_name, "--signature", self.signature, *more]
        if self.format_name == "sig-json":
            options += ["--metadata", self.metadata]
        return ["sign", self.model, "--key", self.key.private, "--jobs", "2", *options]

    def reset(self):
        self.signature.unlink(missing_ok=True)
        if self.old is not None:
            self.signature.write_bytes(self.old)

    def good_signature(self):
        return self.hallmark(
            "verify", self.model, "--signature", self.signature, "--key", self.key.public
        )

    def check_file(self):
        """The old signature or a good new one."""
        found = self.signature.read_bytes() if self.signature.exists() else None
        if found != self.old:
            assert found is not None, "the old signature is gone"
            result = self.good_signature()
            assert result.rc == support.OK, f"a signature that does not verify\n{result}"

    def check_litter(self):
        extra = set(support.snapshot(self.folder)) - self.names
        assert not extra, f"litter: {extra}"

    def check(self, result, report):
        if result.rc == support.OK:
            assert self.signature.exists()
            assert self.good_signature().rc == support.OK
        self.check_file()
        if report.name not in ("unlink", "unlinkat"):
            self.check_litter()


class Verify:
    """Verifying, with a model that is as signed, or is not."""

    def __init__(self, hallmark, keys, folder, format_name, *, directory=False, tampered=False):
        signing = Sign(hallmark, keys, folder, format_name, directory=directory)
        self.key = signing.key
        self.model = signing.model
        self.signature = signing.signature
        self.before = support.snapshot(folder)
        self.folder = folder
        self.statuses = (support.OK, support.UNDECIDED)
        if tampered:
            self.statuses = (support.REFUSED, support.UNDECIDED)
            support.flip(self.model / "sub" / "weights.bin" if directory else self.model, -1)
            self.before = support.snapshot(folder)

    def arguments(self):
        return ["verify", self.model, "--signature", self.signature, "--key", self.key.public,
                "--jobs", "2"]  # fmt: skip

    def reset(self):
        pass

    def check(self, result, _report):
        assert support.snapshot(self.folder) == self.before


class VerifyByPolicy(Verify):
    """The same by a policy file that demands two signatures and a digest."""

    def __init__(self, hallmark, keys, folder, *, tampered=False):
        super().__init__(hallmark, keys, folder, "oms", directory=True)
        digest = hallmark("digest", self.model, "--json", expect=support.OK).json()
        other = keys["python", "ec-p256", "second"]
        second = folder / "second.sig"
        hallmark("sign", self.model, "--key", other.private, "--signature", second, expect=support.OK)
        self.policy = folder / "policy.yaml"
        self.policy.write_text(json.dumps({
            "version": 1,
            "signers": {"a": {"keys": [{"file": str(self.key.public), "version": 1}]},
                        "b": {"keys": [str(other.public)]}},
            "models": [{"name": "other", "signers": "a"},
                       {"path": "/**", "signers": ["a", "b"], "threshold": 2, "format": "oms",
                        "pinned": {"model": digest["model"]["model_digest"]}}],
        }))  # fmt: skip
        self.signatures = ["--signature", self.signature, "--signature", second]
        if tampered:
            self.statuses = (support.REFUSED, support.UNDECIDED)
            support.flip(self.model / "sub" / "weights.bin", -1)
        self.before = support.snapshot(folder)

    def arguments(self):
        return ["verify", self.model, "--policy", self.policy, *self.signatures, "--jobs", "2"]


class Digest:
    """Digesting a directory; a digest that is printed is the right one."""

    statuses = (support.OK, support.UNDECIDED)

    def __init__(self, hallmark, keys, folder):
        signing = Sign(hallmark, keys, folder, "oms", directory=True)
        self.model = signing.model
        self.right = hallmark(*self.arguments(), expect=support.OK).stdout

    def arguments(self):
        return ["digest", self.model, "--jobs", "2", "--list"]

    def reset(self):
        pass

    def check(self, result, _report):
        if result.rc == support.OK:
            assert result.stdout == self.right


class Generate:
    """Making a key pair: both files or neither, and the private one never open to others."""

    statuses = (support.OK, support.UNDECIDED)

    def __init__(self, hallmark, folder):
        self.folder = folder / "keys"
        self.folder.mkdir()
        self.hallmark = hallmark
        self.private = self.folder / "new.pem"
        self.public = self.folder / "new.pub"

    def arguments(self):
        return ["key", "generate", "--no-passphrase", self.private]

    def reset(self):
        for path in self.folder.iterdir():
            path.unlink()

    def check(self, result, report):
        names = sorted(path.name for path in self.folder.iterdir())
        if result.rc == support.OK:
            assert names == ["new.pem", "new.pub"]
        elif report.name not in ("unlink", "unlinkat"):
            assert names == [], f"left behind: {names}"
        self.check_files()

    def check_files(self):
        for path in self.folder.iterdir():
            if path != self.public:
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, f"{path} is open to others"
        if self.private.exists():
            support.openssl("pkey", "-in", self.private, "-noout")
        if self.public.exists():
            support.openssl("pkey", "-pubin", "-in", self.public, "-noout")


SCENARIOS = {
    "sign-oms-directory": lambda h, k, f: Sign(h, k, f, "oms", directory=True),
    "sign-oms-new": lambda h, k, f: Sign(h, k, f, "oms", directory=True, old=False),
    "sign-oms-file": lambda h, k, f: Sign(h, k, f, "oms"),
    "sign-sig-json": lambda h, k, f: Sign(h, k, f, "sig-json"),
    "sign-manifest-json": lambda h, k, f: Sign(h, k, f, "manifest-json"),
    "verify-oms-directory": lambda h, k, f: Verify(h, k, f, "oms", directory=True),
    "verify-oms-file": lambda h, k, f: Verify(h, k, f, "oms"),
    "verify-sig-json": lambda h, k, f: Verify(h, k, f, "sig-json"),
    "verify-manifest-json": lambda h, k, f: Verify(h, k, f, "manifest-json"),
    "tampered-oms": lambda h, k, f: Verify(h, k, f, "oms", directory=True, tampered=True),
    "tampered-sig-json": lambda h, k, f: Verify(h, k, f, "sig-json", tampered=True),
    "tampered-manifest-json": lambda h, k, f: Verify(h, k, f, "manifest-json", tampered=True),
    "verify-policy": lambda h, k, f: VerifyByPolicy(h, k, f),
    "tampered-policy": lambda h, k, f: VerifyByPolicy(h, k, f, tampered=True),
    "digest": lambda h, k, f: Digest(h, k, f),
    "generate": lambda h, _k, f: Generate(h, f),
}


@pytest.fixture
def scenario(request, hallmark, keys, tmp_path, shim_library):
    return SCENARIOS[request.param](hallmark, keys, tmp_path)


each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, indirect=True)


def chosen(calls, most):
    """1 .. calls, or so many of them, evenly spread."""
    if calls <= most:
        return range(1, calls + 1)
    return sorted({1 + round(i * (calls - 1) / (most - 1)) for i in range(most)})


def fail_each(shim, scenario, fault_class, most=MOST_RUNS, statuses=None, **settings):
    """Lets each call of the class fail in turn."""
    scenario.reset()
    counts = {key: value for key, value in settings.items() if key not in ("number", "mode")}
    result, report = shim(scenario.arguments(), fault_class, **counts)
    assert result.rc in scenario.statuses and result.rc != support.UNDECIDED, result
    problems = []
    for at in chosen(report.calls, most):
        scenario.reset()
        result, report = shim(scenario.arguments(), fault_class, at, **settings)
        try:
            allowed = statuses or scenario.statuses
            assert result.rc in allowed, f"status {result.rc}, not {allowed}"
            assert result.rc != support.UNDECIDED or result.stderr, "an error without a word"
            scenario.check(result, report)
        except AssertionError as problem:
            problems.append(f"{fault_class} call {at} failed ({report.name}): {problem}\n{result}")
    if problems:
        shown = "\n\n".join(problems[:5])
        pytest.fail(f"{len(problems)} faults went wrong, such as\n{shown}", pytrace=False)


# ---- the tests ----------------------------------------------------------------------------------


@each_scenario
@pytest.mark.parametrize("fault_class", CLASSES)
def test_each_call_fails(shim, scenario, fault_class):
    fail_each(shim, scenario, fault_class)


@each_scenario
@pytest.mark.slow
def test_allocations_of_libraries_fail(shim, scenario, sanitizer):
    """Also those that libcrypto makes. It may take such a failure for a bad signature."""
    if sanitizer:
        pytest.skip("with a sanitizer only the program's own allocations can be made to fail")
    statuses = {*scenario.statuses, support.REFUSED}
    fail_each(shim, scenario, "alloc", MOST_RUNS_OF_LIBRARIES, statuses, all=1)


@each_scenario
def test_disk_is_full(shim, scenario):
    fail_each(shim, scenario, "write", mode="keep", number=errno.ENOSPC)


@each_scenario
def test_descriptors_run_out(shim, scenario):
    fail_each(shim, scenario, "open", mode="keep", number=errno.EMFILE)


@each_scenario
@pytest.mark.parametrize("fault_class", ["read", "write"])
def test_interrupted_calls_are_made_again(shim, scenario, fault_class):
    statuses = set(scenario.statuses) - {support.UNDECIDED}
    fail_each(shim, scenario, fault_class, statuses=statuses, number=errno.EINTR)


@each_scenario
@pytest.mark.parametrize("fault_class", ["read", "write"])
def test_short_reads_and_writes_change_nothing(shim, scenario, fault_class):
    scenario.reset()
    result, report = shim(scenario.arguments(), fault_class, mode="short")
    assert result.rc in scenario.statuses and result.rc != support.UNDECIDED, result
    scenario.check(result, report)


@each_scenario
def test_old_kernel_without_openat2(shim, scenario):
    scenario.reset()
    result, report = shim(scenario.arguments(), no_openat2=1)
    assert result.rc in scenario.statuses and result.rc != support.UNDECIDED, result
    scenario.check(result, report)


@each_scenario
def test_fewer_threads_than_wanted(shim, scenario):
    """Threads are there for speed: without them the result is the same."""
    statuses = set(scenario.statuses) - {support.UNDECIDED}
    fail_each(shim, scenario, "thread", mode="keep", statuses=statuses)


@pytest.mark.parametrize(
    "scenario", [name for name in SCENARIOS if name.startswith("sign-")], indirect=True
)
def test_killed_while_signing(shim, scenario):
    """Killed before any step that changes a file: the old signature is there or a good new one;
    and the next run cleans up what the killed one left."""
    result, report = shim(scenario.arguments(), "change")
    assert result.rc == support.OK and report.calls > 0
    for at in range(1, report.calls + 1):
        scenario.reset()
        result, report = shim(
            scenario.arguments(), "change", at, mode="kill", signals=(signal.SIGKILL,)
        )
        assert report.fired == 1 and result.rc == -signal.SIGKILL
        scenario.check_file()
        scenario.hallmark(*scenario.arguments(), expect=support.OK)
        assert scenario.good_signature().rc == support.OK
        scenario.check_litter()


@pytest.mark.parametrize("scenario", ["generate"], indirect=True)
def test_killed_while_generating(shim, scenario):
    """What is there is whole, and the private key is never open to others."""
    result, report = shim(scenario.arguments(), "change")
    assert result.rc == support.OK and report.calls > 0
    for at in range(1, report.calls + 1):
        scenario.reset()
        shim(scenario.arguments(), "change", at, mode="kill", signals=(signal.SIGKILL,))
        scenario.check_files()


def test_the_shim_itself(shim, hallmark, model_file, keys):
    """Faults do reach the program: reading the model fails, and it says so."""
    arguments = ["sign", model_file, "--key", keys["openssl", "ec-p256"].private]
    result, report = shim(arguments, "read", 1, number=errno.EIO)
    assert report.fired == 1
    assert result.rc == support.UNDECIDED
    assert os.strerror(errno.EIO) in result.err
    result, report = shim(arguments, "alloc", 1)
    assert report.fired == 1 and report.name != ""
    assert result.rc == support.UNDECIDED
    hallmark(*arguments, expect=support.OK)
