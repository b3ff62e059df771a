# SPDX-License-Identifier: Apache-2.0
"""Every allocation, read, write, sync, rename ... made to fail in turn.

Each run has to end with a clean error or with the right result: no crash, no hang, no "verified"
for a model that is not; the signature file is the old one or a good new one; no litter.
"""

import dataclasses
import errno
import json
import os
import shutil
import signal
import stat
import struct
import subprocess
import time

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

    def __init__(self, program, library, folder, state):
        self.program = program
        self.library = library
        self.report = folder / "report"
        self.state = state

    def __call__(self, arguments, fault_class=None, at=0, mode="fail", number=None, signals=(),
                 env=None, **settings):  # fmt: skip
        self.report.unlink(missing_ok=True)
        settings = self.settings(fault_class, at, mode=mode, errno=number, **settings)
        result = self.program(*arguments, env={**settings, **(env or {})}, signals=signals)
        assert result.rc != 124, f"the shim could not be set up\n{result}"
        calls, fired, name = struct.unpack("=QQ48s", self.report.read_bytes())
        return result, Report(calls, fired, name.rstrip(b"\0").decode())

    def settings(self, fault_class, at, **settings):
        """What the environment has to say for it."""
        return {
            "HALLMARK_STATE_DIR": self.state,
            "LD_PRELOAD": self.library,
            "HM_FAULT_CLASS": fault_class,
            "HM_FAULT_AT": at,
            "HM_FAULT_REPORT": self.report,
            **{f"HM_FAULT_{key.upper()}": value for key, value in settings.items()},
        }


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
def shim(hallmark, shim_library, tmp_path, tmp_path_factory):
    return Shim(hallmark, shim_library, tmp_path_factory.mktemp("shim"), tmp_path / "state")


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


class SignBoth(Sign):
    """Signing files and shards: of a failure both signatures stay as they were, or are new."""

    def __init__(self, hallmark, keys, folder, *, old=True):
        self.second = folder / "shards.sig"
        self.second_old = None
        super().__init__(hallmark, keys, folder, "oms", directory=True, old=old)
        if old:
            self.second_old = self.second.read_bytes()
        self.names |= {"shards.sig"}

    def arguments(self, *more):
        return super().arguments("--files", "--shard-size", "4K", "--shards-signature",
                                 self.second, *more)  # fmt: skip

    def reset(self):
        super().reset()
        self.second.unlink(missing_ok=True)
        if self.second_old is not None:
            self.second.write_bytes(self.second_old)

    def check_file(self):
        super().check_file()
        found = self.second.read_bytes() if self.second.exists() else None
        if found != self.second_old:
            assert found is not None, "the old signature is gone"
            self.hallmark("verify", self.model, "--signature", self.second, "--key",
                          self.key.public, expect=support.OK)  # fmt: skip

    def check(self, result, report):
        super().check(result, report)
        if report.name not in ("unlink", "unlinkat"):
            new = [path.exists() and path.read_bytes() != old for path, old in
                   ((self.signature, self.old), (self.second, self.second_old))]  # fmt: skip
            assert new[0] == new[1], "one signature is new, the other is not"
class SignFromParts(Sign):
    """Putting together what other machines digested."""

    def __init__(self, hallmark, keys, folder):
        super().__init__(hallmark, keys, folder, "oms", directory=True)
        self.parts = [folder / f"part-{number}" for number in (1, 2)]
        for number, path in enumerate(self.parts, 1):
            hallmark("digest", self.model, "--part", f"{number}/2", "--out", path, expect=support.OK)
        self.names = set(support.snapshot(folder))

    def arguments(self, *more):
        parts = ["--parts", *self.parts] if hasattr(self, "parts") else []
        return [*super().arguments(*more), *parts]


class SignAgain(Sign):
    """Signing anew with the digests of an older signature, but for one file."""

    def __init__(self, hallmark, keys, folder):
        super().__init__(hallmark, keys, folder, "oms", directory=True)
        time.sleep(3.1)  # younger files prove nothing
        self.reused = folder / "reused.sig"
        first = ["sign", self.model, "--key", self.key.private, "--signature", self.reused]
        hallmark(*first, expect=support.OK)
        hallmark(*first, "--reuse", self.reused, expect=support.OK)
        (self.model / "config.json").write_text("[]\n")
        hallmark(*super().arguments(), expect=support.OK)
        self.old = self.signature.read_bytes()
        hallmark(*self.arguments(), expect=support.OK)
        self.record = folder / "the.sig.state"
        self.old_record = self.record.read_bytes()
        self.names = set(support.snapshot(folder))

    def arguments(self, *more):
        reuse = ["--reuse", self.reused] if hasattr(self, "reused") else []
        return [*super().arguments(*more), *reuse]

    def reset(self):
        super().reset()
        self.record.write_bytes(self.old_record)

    def check(self, result, report):
        super().check(result, report)
        if result.rc == support.OK and self.record.read_bytes() != self.old_record:
            again = self.hallmark(*super().arguments(), "--reuse", self.signature, "--json")
            assert again.rc == support.OK, again


class DigestPart:
    """A part is there as a whole or not at all."""

    statuses = (support.OK, support.UNDECIDED)

    def __init__(self, hallmark, keys, folder):
        self.model = Sign(hallmark, keys, folder, "oms", directory=True).model
        self.folder = folder
        self.out = folder / "part"
        hallmark(*self.arguments(), expect=support.OK)
        self.first = self.out.read_bytes()
        self.right = self.digests()
        self.names = set(support.snapshot(folder))

    def digests(self):
        part = json.loads(self.out.read_text())
        return part["tree"], part["entries"]

    def arguments(self):
        return ["digest", self.model, "--jobs", "2", "--part", "1/2", "--out", self.out]

    def reset(self):
        self.out.write_bytes(self.first)

    def check(self, result, report):
        assert self.digests() == self.right
        if report.name not in ("unlink", "unlinkat"):
            assert set(support.snapshot(self.folder)) == self.names


class SignWithProvenance(Sign):
    """Two files: both new, or both as they were."""

    def __init__(self, hallmark, keys, folder, *, old=True):
        self.provenance = folder / "the.provenance.sigstore.json"
        super().__init__(hallmark, keys, folder, "oms", directory=True, old=old)
        self.old_provenance = self.provenance.read_bytes() if old else None
        self.names |= {self.provenance.name}

    def arguments(self, *more):
        return super().arguments("--metadata", self.metadata, *more)

    def reset(self):
        super().reset()
        self.provenance.unlink(missing_ok=True)
        if self.old_provenance is not None:
            self.provenance.write_bytes(self.old_provenance)

    def check_file(self):
        """A new signature has its statement; this is what holds of killed runs too."""
        super().check_file()
        found = self.signature.read_bytes() if self.signature.exists() else None
        if found != self.old:
            demanded = ["--signature", self.signature, "--require-provenance"]
            self.hallmark("verify", self.model, "--key", self.key.public, *demanded,
                          expect=support.OK)  # fmt: skip
            assert self.provenance.read_bytes() != self.old_provenance

    def check(self, result, report):
        super().check(result, report)
        if result.rc != support.OK and report.name not in ("unlink", "unlinkat"):
            found = self.provenance.read_bytes() if self.provenance.exists() else None
            kept = self.signature.exists() and self.signature.read_bytes() == self.old
            # Where every later call fails as well, the old statement cannot be put back.
            assert found in (self.old_provenance, None) or not kept


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


class VerifyWithProvenance(Verify):
    """With a statement beside the signature, which is demanded; `tampered`: it is not as signed."""

    def __init__(self, hallmark, keys, folder, *, tampered=False):
        signing = SignWithProvenance(hallmark, keys, folder)
        self.key, self.model, self.signature = signing.key, signing.model, signing.signature
        self.folder = folder
        self.statuses = (support.REFUSED if tampered else support.OK, support.UNDECIDED)
        if tampered:
            text = signing.provenance.read_text()
            signing.provenance.write_text(text.replace('"payload":"e', '"payload":"f'))
            assert signing.provenance.read_text() != text
        self.before = support.snapshot(folder)

    def arguments(self):
        return [*super().arguments(), "--require-provenance"]


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


class Keyring:
    """A keyring with one version, and an export of it."""

    statuses = (support.OK, support.UNDECIDED)

    def __init__(self, hallmark, keys, folder):
        self.hallmark = hallmark
        self.folder = folder
        self.admin = keys["openssl", "ec-p384"]
        self.ring = folder / "ring"
        self.export = folder / "export"
        self.saved = folder / "saved"
        hallmark("key", "rotate", "--no-passphrase", self.ring, expect=support.OK)
        hallmark("key", "export", self.ring, *self.to_export(), expect=support.OK)
        shutil.copytree(self.ring, self.saved)
        self.exported = self.export.read_bytes()

    def to_export(self):
        return ["--key", self.admin.private, "--out", self.export]

    def reset(self):
        shutil.rmtree(self.ring)
        shutil.copytree(self.saved, self.ring)
        self.export.write_bytes(self.exported)

    def list(self):
        return self.hallmark("key", "list", self.ring, "--json", expect=support.OK).json()


class Rotate(Keyring):
    """The keyring is the old one or the new one, and the next rotation goes on from there."""

    def arguments(self):
        return ["key", "rotate", "--no-passphrase", self.ring]

    def check(self, result, _report):
        versions = [key["version"] for key in self.list()["keys"]]
        assert versions == [1, 2] if result.rc == support.OK else versions in ([1], [1, 2])
        for path in self.ring.iterdir():
            if path.suffix == ".pem":
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, f"{path} is open to others"
        self.hallmark(*self.arguments(), expect=support.OK)
        listed = self.list()
        assert [k["version"] for k in listed["keys"]] == [*versions, versions[-1] + 1]
        assert listed["strays"] == []
        names = {path.name for path in self.ring.iterdir()}
        made = {f"signing_key_v{k['version']}.{end}" for k in listed["keys"]
                for end in ("pem", "pub")}  # fmt: skip
        assert names == made | {"keyring.json", ".lock"}


class Revoke(Keyring):
    """Revoked when it says so; and never half."""

    def arguments(self):
        return ["key", "revoke", self.ring, "--version", 1, "--reason", "stolen"]

    def check(self, result, _report):
        (key,) = self.list()["keys"]
        assert key["status"] == "revoked" if result.rc == support.OK else True


class Export(Keyring):
    """A good export, the old or the new one; no number is used twice."""

    def arguments(self):
        return ["key", "export", self.ring, *self.to_export()]

    def check(self, result, _report):
        if result.rc == support.OK:
            assert self.export.read_bytes() != self.exported
        if self.export.read_bytes() != self.exported:
            assert self.list()["export_version"] == 2


class VerifyByKeyring(Keyring):
    """Verified only by a good export that was remembered."""

    def __init__(self, hallmark, keys, folder):
        super().__init__(hallmark, keys, folder)
        self.model = folder / "model"
        self.model.write_bytes(support.content("w", 1000))
        hallmark("sign", self.model, "--key", self.ring, expect=support.OK)
        self.state = folder / "state"

    def arguments(self):
        return ["verify", self.model, "--keyring", self.export, "--keyring-key", self.admin.public]

    @property
    def env(self):
        return {"HALLMARK_STATE_DIR": self.state}

    def reset(self):
        shutil.rmtree(self.state, ignore_errors=True)

    def check(self, result, _report):
        if result.rc == support.OK:
            (seen,) = self.state.rglob("*.json")
            assert '"version": 1,' in seen.read_text()
        self.hallmark(*self.arguments(), env=self.env, expect=support.OK)


class Ledger:
    """Three entries, a checkpoint that covers two of them, and who may sign the next."""

    statuses = (support.OK, support.UNDECIDED)

    def __init__(self, hallmark, keys, folder):
        self.hallmark = hallmark
        self.key = keys["openssl", "ec-p256"]
        self.ledger, self.saved = folder / "ledger.db", folder / "saved.db"
        self.checkpoint, self.old = folder / "checkpoint", None
        self.model = folder / "model"
        self.model.write_bytes(support.content("w", 1000))
        record = ["--ledger", self.ledger]
        hallmark("sign", self.model, "--key", self.key.private, *record, expect=support.OK)
        hallmark(*self.to_verify(), *record, expect=support.OK)
        hallmark(*self.to_sign(), expect=support.OK)
        hallmark(*self.to_verify(), *record, expect=support.OK)
        self.old = self.checkpoint.read_bytes()
        shutil.copy(self.ledger, self.saved)

    def to_verify(self):
        return ["verify", self.model, "--key", self.key.public]

    def to_sign(self):
        return ["log", "checkpoint", "--ledger", self.ledger, "--key", self.key.private,
                "--out", self.checkpoint]  # fmt: skip

    def reset(self):
        (self.ledger.parent / "ledger.db-journal").unlink(missing_ok=True)
        shutil.copy(self.saved, self.ledger)
        self.checkpoint.write_bytes(self.old)

    def newest(self):
        """The ledger holds, and what the file says of it is true."""
        return self.hallmark("log", "verify", "--ledger", self.ledger, "--key", self.key.public,
                             "--checkpoint", self.checkpoint, "--json",
                             env={"HALLMARK_STATE_DIR": "none"}, expect=support.OK).json()  # fmt: skip


class LogVerify(Ledger):
    """What cannot be read is no finding."""

    def arguments(self):
        return ["log", "verify", "--ledger", self.ledger, "--key", self.key.public,
                "--checkpoint", self.checkpoint]  # fmt: skip

    def check(self, result, _report):
        assert self.newest()["newest"]["sequence"] == 3


class LogRead(Ledger):
    """All entries, or it says that they are not."""

    def arguments(self):
        return ["log", "--ledger", self.ledger, "--json"]

    def check(self, result, _report):
        assert result.rc == support.UNDECIDED or len(result.out.splitlines()) == 3


class LogCheckpoint(Ledger):
    """The old checkpoint or the new one, in the file and in the ledger."""

    def arguments(self):
        return self.to_sign()

    def check(self, result, _report):
        report = self.newest()
        assert report["checkpoints"] in ((2,) if result.rc == support.OK else (1, 2))
        assert report["covered"]["sequence"] == 3 or self.checkpoint.read_bytes() == self.old
        if result.rc == support.OK:
            assert self.checkpoint.read_bytes() != self.old


class Record(Ledger):
    """Verified only when that stands in the ledger, or waits for it on the disk."""

    def __init__(self, hallmark, keys, folder):
        super().__init__(hallmark, keys, folder)
        self.config = folder / "config.yaml"
        self.outbox = folder / "outbox"
        self.config.write_text("hallmark-config: 1\noutbox: outbox\nledger: sqlite:ledger.db\n"
                               f"checkpoints: {{key: {self.key.private}, file: checkpoint, every: 2}}\n")
        self.config.chmod(0o600)

    def arguments(self):
        return [*self.to_verify(), "--config", self.config]

    def reset(self):
        super().reset()
        shutil.rmtree(self.outbox, ignore_errors=True)

    def check(self, result, _report):
        newest = self.newest()["newest"]["sequence"]
        waiting = len(list(self.outbox.glob("*.event"))) if self.outbox.exists() else 0
        if result.rc == support.OK:
            assert newest == 4 or waiting == 1, (newest, waiting)
        self.hallmark(*self.arguments(), expect=support.OK)
        assert self.newest()["newest"]["sequence"] in (newest + 1, newest + 2)


SCENARIOS = {
    "sign-oms-directory": lambda h, k, f: Sign(h, k, f, "oms", directory=True),
    "sign-oms-new": lambda h, k, f: Sign(h, k, f, "oms", directory=True, old=False),
    "sign-oms-file": lambda h, k, f: Sign(h, k, f, "oms"),
    "sign-both": lambda h, k, f: SignBoth(h, k, f),
    "sign-both-new": lambda h, k, f: SignBoth(h, k, f, old=False),
    "sign-oms-parts": lambda h, k, f: SignFromParts(h, k, f),
    "sign-oms-again": lambda h, k, f: SignAgain(h, k, f),
    "sign-provenance": lambda h, k, f: SignWithProvenance(h, k, f),
    "sign-provenance-new": lambda h, k, f: SignWithProvenance(h, k, f, old=False),
    "sign-sig-json": lambda h, k, f: Sign(h, k, f, "sig-json"),
    "sign-manifest-json": lambda h, k, f: Sign(h, k, f, "manifest-json"),
    "verify-oms-directory": lambda h, k, f: Verify(h, k, f, "oms", directory=True),
    "verify-oms-file": lambda h, k, f: Verify(h, k, f, "oms"),
    "verify-sig-json": lambda h, k, f: Verify(h, k, f, "sig-json"),
    "verify-manifest-json": lambda h, k, f: Verify(h, k, f, "manifest-json"),
    "tampered-oms": lambda h, k, f: Verify(h, k, f, "oms", directory=True, tampered=True),
    "tampered-sig-json": lambda h, k, f: Verify(h, k, f, "sig-json", tampered=True),
    "tampered-manifest-json": lambda h, k, f: Verify(h, k, f, "manifest-json", tampered=True),
    "verify-provenance": lambda h, k, f: VerifyWithProvenance(h, k, f),
    "tampered-provenance": lambda h, k, f: VerifyWithProvenance(h, k, f, tampered=True),
    "verify-policy": lambda h, k, f: VerifyByPolicy(h, k, f),
    "tampered-policy": lambda h, k, f: VerifyByPolicy(h, k, f, tampered=True),
    "digest": lambda h, k, f: Digest(h, k, f),
    "digest-part": lambda h, k, f: DigestPart(h, k, f),
    "generate": lambda h, _k, f: Generate(h, f),
    "rotate": Rotate,
    "revoke": Revoke,
    "export": Export,
    "verify-keyring": VerifyByKeyring,
    "log": LogRead,
    "log-verify": LogVerify,
    "log-checkpoint": LogCheckpoint,
    "record": Record,
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


@pytest.mark.parametrize(
    "scenario", ["rotate", "revoke", "export", "verify-keyring"], indirect=True
)
def test_killed_while_a_keyring_is_used(shim, scenario):
    """Killed before any step that changes a file: all is as it was, or as it was to become."""
    result, report = shim(scenario.arguments(), "change")
    assert result.rc == support.OK and report.calls > 0
    for at in range(1, report.calls + 1):
        scenario.reset()
        result, report = shim(
            scenario.arguments(), "change", at, mode="kill", signals=(signal.SIGKILL,)
        )
        assert report.fired == 1 and result.rc == -signal.SIGKILL
        scenario.check(result, report)


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
