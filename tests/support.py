# SPDX-License-Identifier: Apache-2.0
"""Helpers for the tests of the program: running it, and making models, keys and certificates."""

import dataclasses
import datetime
import hashlib
import importlib.util
import json
import os
import pathlib
import pty
import re
import select
import subprocess
import termios
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ROOT = pathlib.Path(__file__).resolve().parent.parent

# The exit statuses of the program.
OK, REFUSED, USAGE, UNDECIDED = 0, 1, 2, 3

SANITIZER_STATUS = 99
SANITIZER_REPORT = re.compile(
    rb"==\d+==ERROR: |WARNING: ThreadSanitizer|: runtime error: |LeakSanitizer|"
    rb"==\d+== (Invalid|Conditional jump|Use of uninit)"
)


# ---- running ------------------------------------------------------------------------------------


@dataclasses.dataclass
class Result:
    """How a run ended."""

    rc: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self):
        return self.stdout.decode("utf-8", "replace")

    @property
    def err(self):
        return self.stderr.decode("utf-8", "replace")

    def json(self):
        return json.loads(self.stdout)

    def __str__(self):
        return f"exit status {self.rc}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def sanitizer_options():
    """A report ends the program with a status that no test takes for a verdict."""
    common = f"exitcode={SANITIZER_STATUS}"
    return {
        "ASAN_OPTIONS": f"detect_leaks=1:allocator_may_return_null=1:{common}",
        "UBSAN_OPTIONS": f"halt_on_error=1:print_stacktrace=1:{common}",
        "LSAN_OPTIONS": common,
        "TSAN_OPTIONS": f"halt_on_error=1:second_deadlock_stack=1:{common}",
    }


class Program:
    """The program under test. A crash, a hang or a sanitizer's report fails the test."""

    def __init__(self, binary, wrapper=()):
        self.binary = pathlib.Path(binary)
        self.wrapper = list(wrapper)

    def environment(self, extra=None):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HALLMARK_", "HM_"))}
        kept.update(LC_ALL="C.UTF-8", **sanitizer_options())
        kept.update(extra or {})
        return {key: str(value) for key, value in kept.items() if value is not None}

    def command(self, *arguments):
        """As bytes: names that are not UTF-8 can be given as they are."""
        return [
            argument if isinstance(argument, bytes) else os.fsencode(str(argument))
            for argument in [*self.wrapper, self.binary, *arguments]
        ]

    def __call__(self, *arguments, input=b"", env=None, cwd=None, timeout=60, expect=None,
                 signals=(), pass_fds=()):  # fmt: skip
        """Runs it. `expect`: the exit status (or several) that must come; `signals`: those by
        which it may end; `env`: additions to the environment, None values removed."""
        if isinstance(input, str):
            input = input.encode()
        if self.wrapper:
            timeout *= 20
        done = subprocess.run(
            self.command(*arguments),
            input=input,
            env=self.environment(env),
            cwd=cwd,
            capture_output=True,
            timeout=timeout,
            check=False,
            pass_fds=pass_fds,
        )
        result = Result(done.returncode, done.stdout, done.stderr)
        if SANITIZER_REPORT.search(result.stderr) or result.rc == SANITIZER_STATUS:
            pytest.fail(f"a sanitizer complains: {arguments}\n{result}")
        if result.rc < 0 and -result.rc not in signals:
            pytest.fail(f"died of signal {-result.rc}: {arguments}\n{result}")
        if expect is not None:
            wanted = (expect,) if isinstance(expect, int) else tuple(expect)
            assert result.rc in wanted, f"expected status {expect}: {arguments}\n{result}"
        return result


class Terminal:
    """Runs the program on a terminal of its own."""

    def __init__(self, hallmark, *arguments, env=None):
        self.shown = b""
        command, environment = hallmark.command(*arguments), hallmark.environment(env)
        self.child, self.master = pty.fork()
        if self.child == 0:
            os.execve(command[0], command, environment)

    def wait_for(self, text, seconds=60):
        """Reads until the screen shows this."""
        before = len(self.shown)
        end = time.monotonic() + seconds
        while text not in self.shown[before:]:
            assert time.monotonic() < end, f"{text!r} does not come: {self.shown!r}"
            ready, _, _ = select.select([self.master], [], [], 1)
            if ready:
                try:
                    got = os.read(self.master, 4096)
                except OSError:  # the other side is closed
                    got = b""
                assert got, f"ended before {text!r}: {self.shown!r}"
                self.shown += got

    def type(self, text):
        os.write(self.master, text)

    def echoes(self):
        return bool(termios.tcgetattr(self.master)[3] & termios.ECHO)

    def end(self):
        """The exit status."""
        while True:
            try:
                got = os.read(self.master, 4096)
            except OSError:
                got = b""
            if not got:
                break
            self.shown += got
        _, status = os.waitpid(self.child, 0)
        os.close(self.master)
        return os.waitstatus_to_exitcode(status)


def openssl(*arguments, input=None):
    command = ["openssl", *map(str, arguments)]
    done = subprocess.run(command, input=input, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return done.stdout


def vectors_folder():
    """More vectors, which are not part of the project; they may be missing."""
    return pathlib.Path(os.environ.get("HALLMARK_VECTORS", ROOT.parent / "shared" / "vectors"))


# ---- models -------------------------------------------------------------------------------------


def _load_make_model():
    spec = importlib.util.spec_from_file_location("make_model", ROOT / "scripts" / "make-model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_make_model = _load_make_model()


def content(seed, length):
    """Bytes that look random and depend on nothing but the seed."""
    return hashlib.shake_256(str(seed).encode()).digest(length)


def make_model(folder, seed=1):
    """The same seed makes the same tree."""
    folder = pathlib.Path(folder)
    _make_model.write_model(folder, total_bytes=300_000, seed=seed)
    (folder / "shards").mkdir()
    for number in (1, 2):
        shard = folder / "shards" / f"model-0000{number}-of-00002.safetensors"
        shard.write_bytes(content((seed, number), 70_000 + number))
    (folder / "README.md").write_text("# A model\n")
    (folder / "__init__.py").write_bytes(b"")
    (folder / "a name with spaces, 'quotes' and \u00fcml\u00e4ute.txt").write_text("odd\n")
    (folder / ".hidden").write_text("dot files count too\n")
    return folder


def make_model_file(path, seed=1):
    """One weights file."""
    path = pathlib.Path(path)
    path.write_bytes(content(("file", seed), 100_003))
    return path


METADATA = {
    "dataset_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "training_start": "2026-01-05T08:00:00Z",
    "training_end": "2026-01-05T20:00:00Z",
    "hyperparameters": {"learning_rate": 1e-05, "epochs": 3, "layers": [256, 256]},
    "framework_version": "torch 2.9.1",
}


def make_metadata(path):
    path = pathlib.Path(path)
    path.write_text(json.dumps(METADATA, indent=2))
    return path


def flip(path, offset, bit=0):
    """Changes one bit of a file in place; negative offsets count from the end."""
    data = bytearray(pathlib.Path(path).read_bytes())
    data[offset] ^= 1 << bit
    pathlib.Path(path).write_bytes(data)


def snapshot(folder):
    """Every name beneath a folder with what it is, to compare before and after."""
    folder = pathlib.Path(folder)
    found = {}
    for path in sorted(folder.rglob("*")):
        name = os.fsdecode(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = ("directory",)
        elif path.is_file():
            found[name] = ("file", hashlib.sha256(path.read_bytes()).hexdigest())
        else:
            found[name] = ("special",)
    return found


# ---- keys ---------------------------------------------------------------------------------------

CURVES = {"ec-p256": ec.SECP256R1, "ec-p384": ec.SECP384R1, "ec-p521": ec.SECP521R1}
OPENSSL_GROUPS = {"ec-p256": "P-256", "ec-p384": "P-384", "ec-p521": "P-521"}
RSA_BITS = {"rsa-2048": 2048, "rsa-3072": 3072, "rsa-4096": 4096}
KEY_TYPES = [*CURVES, *RSA_BITS, "ed25519"]
PASSPHRASE = b"correct horse battery staple"


@dataclasses.dataclass
class Key:
    """A key pair on disk: PEM files, and the private key for Python."""

    type: str
    private: pathlib.Path
    public: pathlib.Path
    encrypted: pathlib.Path  # the private key again, under PASSPHRASE
    python: object

    @property
    def fingerprint(self):
        der = self.python.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return hashlib.sha256(der).hexdigest()


def generate_key(key_type):
    """A private key for Python's cryptography."""
    if key_type in CURVES:
        return ec.generate_private_key(CURVES[key_type]())
    if key_type in RSA_BITS:
        return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS[key_type])
    assert key_type == "ed25519", key_type
    return ed25519.Ed25519PrivateKey.generate()


def write_private(path, data):
    """A file that only its owner can read, as the program demands."""
    path = pathlib.Path(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(data)
    return path


def private_pem(key, passphrase=None):
    encryption = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def public_pem(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def save_key(folder, name, key_type, key):
    folder = pathlib.Path(folder)
    private = write_private(folder / f"{name}.pem", private_pem(key))
    encrypted = write_private(folder / f"{name}.enc.pem", private_pem(key, PASSPHRASE))
    public = folder / f"{name}.pub"
    public.write_bytes(public_pem(key))
    return Key(key_type, private, public, encrypted, key)


class Keys:
    """Key pairs, made when first asked for: keys["openssl", "rsa-3072"], keys["python", ...].
    Each asked-for name is made once, so keys[maker, type] is always the same key, and
    keys[maker, type, "other"] another one."""

    def __init__(self, folder):
        self.folder = folder
        self.made = {}

    def __getitem__(self, wanted):
        if wanted not in self.made:
            maker, key_type, *rest = wanted
            name = "-".join([maker, key_type, *rest])
            make = {"python": self._by_python, "openssl": self._by_openssl}[maker]
            self.made[wanted] = make(name, key_type)
        return self.made[wanted]

    def _by_python(self, name, key_type):
        return save_key(self.folder, name, key_type, generate_key(key_type))

    def _by_openssl(self, name, key_type):
        if key_type in OPENSSL_GROUPS:
            how = ["-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{OPENSSL_GROUPS[key_type]}"]
        elif key_type in RSA_BITS:
            how = ["-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{RSA_BITS[key_type]}"]
        else:
            how = ["-algorithm", "ED25519"]
        pem = openssl("genpkey", *how)
        private = write_private(self.folder / f"{name}.pem", pem)
        public = self.folder / f"{name}.pub"
        public.write_bytes(openssl("pkey", "-in", private, "-pubout"))
        encrypted = write_private(self.folder / f"{name}.enc.pem", b"")
        openssl("pkcs8", "-topk8", "-in", private, "-out", encrypted, "-v2", "aes-256-cbc",
                "-passout", f"pass:{PASSPHRASE.decode()}")  # fmt: skip
        return Key(key_type, private, public, encrypted,
                   serialization.load_pem_private_key(pem, None))  # fmt: skip


# ---- certificates -------------------------------------------------------------------------------


@dataclasses.dataclass
class Certificate:
    path: pathlib.Path
    key: Key
    x509: x509.Certificate

    @property
    def fingerprint(self):
        return self.x509.fingerprint(hashes.SHA256()).hex()


def utc_now():
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)


class Pki:
    """A root, an intermediate under it, and leaves on demand."""

    def __init__(self, folder):
        self.folder = folder
        self.root = self.issue("root", None, ca=True)
        self.intermediate = self.issue("intermediate", self.root, ca=True)

    def leaf(self, name, key_type="ec-p256", issuer=None, **options):
        return self.issue(name, issuer or self.intermediate, key_type=key_type, **options)

    def issue(self, name, issuer, key_type="ec-p256", ca=False, key=None, starts=-1, ends=365,
              eku=(ExtendedKeyUsageOID.CODE_SIGNING,), digital_signature=True, san=(),
              organization="Test"):  # fmt: skip
        """Issues a certificate. `starts` and `ends` are days from now; `eku` None: without;
        `digital_signature` None: without key usage; `issuer` None: self-signed."""
        key = key or save_key(self.folder, f"{name}-key", key_type, generate_key(key_type))
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        signer = issuer.key.python if issuer else key.python
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.x509.subject if issuer else subject)
            .public_key(key.python.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(utc_now() + datetime.timedelta(days=starts))
            .not_valid_after(utc_now() + datetime.timedelta(days=ends))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.python.public_key()), critical=False
            )
        )
        if issuer:
            builder = builder.add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
                critical=False,
            )
        if digital_signature is not None:
            usage = x509.KeyUsage(
                digital_signature=digital_signature and not ca, content_commitment=False,
                key_encipherment=False, data_encipherment=False, key_agreement=False,
                key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
            )  # fmt: skip
            builder = builder.add_extension(usage, critical=True)
        if eku is not None and not ca:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(eku)), critical=False)
        if san:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(san)), critical=False)
        algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        made = builder.sign(signer, algorithm)
        path = self.folder / f"{name}.crt"
        path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        return Certificate(path, key, made)
