# SPDX-License-Identifier: Apache-2.0
"""Keys in PKCS#11 tokens: a real SoftHSM, driven by its own tools, by OpenSC's and by us.

What SoftHSM never does (lock a PIN, lose its token, have a keypad) a shim in front of it does; see
pkcs11_shim.c.
"""

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess

import oracle
import pytest
import support
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

SOFTHSM = next(
    (
        path
        for path in (
            "/usr/lib/softhsm/libsofthsm2.so",
            "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
            "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
            "/usr/lib64/pkcs11/libsofthsm2.so",
            "/usr/lib64/softhsm/libsofthsm.so",
        )
        if os.path.exists(path)
    ),
    None,
)
PIN = "pin-4711-secret"
GENERATED = ["ec-p256", "ec-p384", "ec-p521", "rsa-3072", "rsa-4096", "ed25519"]
# What pkcs11-tool calls them.
TOOL_TYPES = {
    "ec-p256": "EC:prime256v1",
    "ec-p384": "EC:secp384r1",
    "ec-p521": "EC:secp521r1",
    "rsa-2048": "rsa:2048",
    "rsa-3072": "rsa:3072",
    "ed25519": "EC:edwards25519",
}


class Store:
    """Tokens of one SoftHSM, in a folder of their own."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        (self.folder / "tokens").mkdir(parents=True)
        configuration = self.folder / "softhsm.conf"
        configuration.write_text(
            f"directories.tokendir = {self.folder}/tokens\nobjectstore.backend = file\n"
            "log.level = ERROR\nslots.removable = false\n"
        )
        self.env = {"SOFTHSM2_CONF": str(configuration), "HOME": str(self.folder)}
        self.module = SOFTHSM
        self.pin_file = support.write_private(self.folder / "pin", PIN.encode() + b"\n")

    def run(self, *command):
        done = subprocess.run(
            [*map(str, command)], env=os.environ | self.env, capture_output=True, timeout=120,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout.decode("utf-8", "replace")

    def token(self, label):
        self.run("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin",
                 "so-pin-4711", "--pin", PIN)  # fmt: skip
        return self

    def tool(self, token, *arguments):
        return self.run("pkcs11-tool", "--module", self.module, "--token-label", token, "--login",
                        "--pin", PIN, *arguments)  # fmt: skip

    def make(self, token, key_type, label, number, *more):
        """A key pair by pkcs11-tool."""
        self.tool(token, "--keypairgen", "--key-type", TOOL_TYPES[key_type], "--label", label,
                  "--id", number, *more)  # fmt: skip

    def uri(self, path, **query):
        """With the PIN in a file unless another one is named, or pin=None."""
        query = {name.replace("_", "-"): value for name, value in query.items()}
        query.setdefault("module-path", self.module)
        if "pin-value" not in query and "pin" not in query:
            query.setdefault("pin-source", f"file:{self.pin_file}")
        query.pop("pin", None)
        text = "&".join(f"{name}={value}" for name, value in query.items())
        return f"pkcs11:{path}?{text}"

    def objects(self, token):
        return self.tool(token, "--list-objects")


@pytest.fixture(scope="module")
def has_pkcs11(hallmark):
    if SOFTHSM is None or not shutil.which("softhsm2-util") or not shutil.which("pkcs11-tool"):
        pytest.skip("no SoftHSM or no OpenSC: run scripts/setup.sh test")
    if "PKCS#11: p11-kit" not in hallmark("--version", expect=0).out:
        pytest.skip("this build is without PKCS#11")


@pytest.fixture
def store(has_pkcs11, tmp_path):
    return Store(tmp_path / "hsm").token("My Token")


@pytest.fixture(scope="module")
def shared(has_pkcs11, tmp_path_factory):
    """A token that tests only read, with a key of every type by pkcs11-tool."""
    made = Store(tmp_path_factory.mktemp("hsm") / "hsm").token("shared")
    for number, key_type in enumerate(TOOL_TYPES, 1):
        made.make("shared", key_type, key_type, f"{number:02x}")
    return made


# SoftHSM 2.6.1 forgets a text of 13 bytes for each Ed25519 key that it reads.
LEAKS = {"ASAN_OPTIONS": support.sanitizer_options()["ASAN_OPTIONS"] + ":detect_leaks=0"}


@pytest.fixture
def run(hallmark):
    """hallmark with a store's environment; the PIN must never be in what it prints."""

    def go(store, *arguments, env=None, **options):
        leaks = LEAKS if any("ed25519" in str(argument) for argument in arguments) else {}
        result = hallmark(*arguments, env=store.env | leaks | (env or {}), **options)
        assert PIN not in result.out + result.err
        assert not {"pin-value", "pin-source"} & set(result.out.replace("=", " ").split())
        return result

    return go


def test_a_build_without_it_says_so(hallmark, tmp_path, model_file):
    if "PKCS#11: none" not in hallmark("--version", expect=0).out:
        pytest.skip("this build has it")
    uri = f"pkcs11:object=x?pin-value={PIN}"
    for command in (["sign", model_file, "--key", uri], ["verify", model_file, "--key", uri],
                    ["verify", model_file, "--root", uri], ["key", "generate", uri]):  # fmt: skip
        result = hallmark(*command, expect=3)
        assert "hallmark: this build is without PKCS#11 (p11-kit)" in result.err and PIN not in result.err


# ---- signing ------------------------------------------------------------------------------------


def read_public(store, token, key_type, label, der):
    """The public key as pkcs11-tool shows it."""
    if key_type.startswith("rsa"):
        store.tool(token, "--read-object", "--type", "pubkey", "--label", label, "-o", der)
        return serialization.load_der_public_key(der.read_bytes())
    listed = store.tool(token, "--list-objects", "--type", "pubkey")
    for shown in listed.split("Public Key Object")[1:]:
        if re.search(rf"label: +{label}$", shown, re.MULTILINE):
            point = bytes.fromhex(re.search(r"EC_POINT: +([0-9a-f]+)$", shown, re.MULTILINE)[1])
    bare = point[3 if point[1] == 0x81 else 2 :]
    if key_type == "ed25519":
        return ed25519.Ed25519PublicKey.from_public_bytes(bare)
    return ec.EllipticCurvePublicKey.from_encoded_point(support.CURVES[key_type](), bare)


def public_file(store, token, key_type, path):
    """The same in PEM; the label is the type."""
    key = read_public(store, token, key_type, key_type, path.with_suffix(".der"))
    path.write_bytes(
        key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return path


@pytest.mark.parametrize("key_type", TOOL_TYPES)
def test_keys_made_by_pkcs11_tool(run, hallmark, shared, tmp_path, model_file, key_type):
    uri = f"token=shared;object={key_type}"
    run(shared, "sign", model_file, "--key", shared.uri(uri), expect=0)
    report = run(shared, "verify", model_file, "--key", shared.uri(uri, pin=None), "--json",
                 expect=0).json()  # fmt: skip
    assert report["signer"]["key_type"] == key_type
    public = public_file(shared, "shared", key_type, tmp_path / "key.pub")
    hallmark("verify", model_file, "--key", public, expect=0)
    support.flip(model_file, 7)
    hallmark("verify", model_file, "--key", public, expect=1)


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "ec-p521"])
def test_the_reference_verifies(run, current, shared, tmp_path, model_dir, key_type):
    public = public_file(shared, "shared", key_type, tmp_path / "key.pub")
    run(shared, "sign", model_dir, "--key", shared.uri(f"object={key_type}"), expect=0)
    current.verify(model_dir, model_dir / "model.sig", public, expect=True)
    support.flip(model_dir / "README.md", 0)
    current.verify(model_dir, model_dir / "model.sig", public, expect=False)


@pytest.mark.parametrize("key_type", ["rsa-2048", "rsa-3072"])
def test_the_json_formats(run, shared, tmp_path, model_file, metadata_file, key_type):
    """The longest salt that fits, checked by Python's cryptography."""
    public = serialization.load_pem_public_key(
        public_file(shared, "shared", key_type, tmp_path / "key.pub").read_bytes()
    )
    uri = shared.uri(f"object={key_type}")
    run(shared, "sign", model_file, "--key", uri, "--format", "sig-json", "--metadata",
        metadata_file, expect=0)  # fmt: skip
    text = model_file.with_name(model_file.name + ".sig").read_text()
    oracle.verify_sig_json(text, public, model_file)
    assert PIN not in text and "pkcs11" not in text
    run(shared, "sign", model_file, "--key", uri, "--format", "manifest-json", expect=0)
    manifest = json.loads(model_file.with_suffix(".manifest.json").read_text())
    oracle.verify_manifest_json(manifest, public, model_file.parent)


def test_a_key_by_its_id(run, shared, model_file):
    run(shared, "sign", model_file, "--key", shared.uri("token=shared;id=%01"), expect=0)
    result = run(shared, "verify", model_file, "--key", shared.uri("object=ec-p256", pin=None),
                 "--json", expect=0)  # fmt: skip
    assert result.json()["signer"]["key_type"] == "ec-p256"
    run(shared, "verify", model_file, "--key", shared.uri("object=ec-p384"), expect=1)


@pytest.mark.parametrize("spelling", ["PKCS11:", "Pkcs11:"])
def test_the_scheme_in_any_case(run, shared, model_file, spelling):
    uri = shared.uri("object=ec-p256;type=private").replace("pkcs11:", spelling)
    run(shared, "sign", model_file, "--key", uri, expect=0)


def test_as_another_user_than_root(run, hallmark, shared, tmp_path, model_file):
    """Hardened, a process cannot look into its own /proc; modules work nevertheless."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("takes root and setpriv")
    command = ["setpriv", "--reuid=65534", "--clear-groups", *hallmark.command(
        "sign", model_file, "--key", shared.uri("object=ec-p256", pin_value=PIN),
        "--signature", "/dev/stdout")]  # fmt: skip
    for path in [shared.folder, *shared.folder.rglob("*")]:
        os.chown(path, 65534, 65534)
    for path in (model_file, *model_file.parents, *shared.folder.parents):
        if path.is_relative_to("/tmp") and path != pathlib.Path("/tmp"):
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
    os.chown(model_file.parent, 65534, 65534)
    command[-1] = os.fsencode(model_file.parent / "out.sig")
    try:
        done = subprocess.run(command, env=hallmark.environment(shared.env), capture_output=True,
                              timeout=60, check=False)  # fmt: skip
    finally:
        for path in [shared.folder, *shared.folder.rglob("*")]:
            os.chown(path, 0, 0)
    assert done.returncode == 0, done.stderr


# ---- PINs ---------------------------------------------------------------------------------------


def signs(run, store, model, *arguments, **options):
    return run(store, "sign", model, *arguments, **options)


def test_pin_from_the_uri(run, shared, model_file):
    signs(run, shared, model_file, "--key", shared.uri("object=ec-p256", pin_value=PIN), expect=0)
    escaped = "".join(f"%{byte:02x}" for byte in PIN.encode())
    signs(run, shared, model_file, "--key", shared.uri("object=ec-p256", pin_value=escaped),
          expect=0)  # fmt: skip


def test_pin_from_a_passphrase_file(run, shared, model_file):
    signs(run, shared, model_file, "--key", shared.uri("object=ec-p256", pin=None),
          "--passphrase-file", shared.pin_file, expect=0)  # fmt: skip


def test_pin_from_a_descriptor(run, shared, model_file):
    reading, writing = os.pipe()
    os.write(writing, PIN.encode() + b"\n")
    os.close(writing)
    signs(run, shared, model_file, "--key", shared.uri("object=ec-p256", pin=None),
          "--passphrase-fd", reading, pass_fds=[reading], expect=0)  # fmt: skip
    os.close(reading)


@pytest.mark.parametrize("form", ["file:{}", "file://{}", "{}"])
def test_pin_source(run, shared, model_file, form):
    uri = shared.uri("object=ec-p256", pin_source=form.format(shared.pin_file))
    signs(run, shared, model_file, "--key", uri, expect=0)


@pytest.mark.parametrize("text", [PIN, PIN + "\r\n", PIN + "\nsecond line\n"])
def test_the_first_line_of_a_pin_source_counts(run, shared, tmp_path, model_file, text):
    file = support.write_private(tmp_path / "the pin", text.encode())
    source = f"file:{file}".replace(" ", "%20")
    signs(run, shared, model_file, "--key", shared.uri("object=ec-p256", pin_source=source),
          expect=0)  # fmt: skip


def test_a_pin_source_that_others_can_read(run, shared, tmp_path, model_file):
    file = support.write_private(tmp_path / "pin", PIN.encode())
    file.chmod(0o640)
    result = signs(run, shared, model_file, "--key",
                   shared.uri("object=ec-p256", pin_source=f"file:{file}"), expect=3)  # fmt: skip
    assert f"the PIN file {file} is open to other users" in result.err and "chmod 600" in result.err


def test_an_empty_pin_is_not_tried(run, shared, shim, tmp_path, model_file):
    file = support.write_private(tmp_path / "pin", b"\n")
    uri = shared.uri("object=ec-p256", pin_source=f"file:{file}", module_path=shim.module)
    result = signs(run, shared, model_file, "--key", uri, env=shim.env(), expect=3)
    assert "is empty" in result.err
    assert shim.notes() == []


def test_pin_by_prompt(hallmark, shared, model_file):
    uri = shared.uri("object=ec-p256", pin=None)
    terminal = support.Terminal(hallmark, "sign", model_file, "--key", uri, env=shared.env)
    terminal.wait_for(b": ")
    assert b'token "shared" (its PIN' in terminal.shown and not terminal.echoes()
    terminal.type(PIN.encode() + b"\n")
    assert terminal.end() == 0, terminal.shown
    assert PIN.encode() not in terminal.shown and b"again" not in terminal.shown


def test_no_pin_to_be_had(run, hallmark, shared, model_file):
    command = hallmark.command("sign", model_file, "--key", shared.uri("object=ec-p256", pin=None))
    done = subprocess.run(command, env=hallmark.environment(shared.env), start_new_session=True,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False)  # fmt: skip
    assert done.returncode == 3 and b"--passphrase-file" in done.stderr


def test_a_wrong_pin_is_tried_once(run, shared, shim, tmp_path, model_file):
    wrong = support.write_private(tmp_path / "wrong", b"not-the-pin\n")
    uri = shared.uri("object=ec-p256", module_path=shim.module, pin=None)
    result = run(shared, "sign", model_file, "--key", uri, "--passphrase-file", wrong,
                 env=shim.env(), expect=3)  # fmt: skip
    assert 'the PIN for the token "shared" is wrong' in result.err
    assert "not-the-pin" not in result.out + result.err
    assert shim.notes() == ["login 160"]
    assert [path.name for path in model_file.parent.glob(f"{model_file.name}*")] == [model_file.name]


def test_what_is_opened_is_closed(run, shared, shim, model_file):
    uri = shared.uri("object=ec-p256", module_path=shim.module)
    run(shared, "sign", model_file, "--key", uri, env=shim.env("calls"), expect=0)
    assert shim.notes() == ["start 0", "open 0", "login 0", "sign 0", "close 0", "end 0"]
    shim.log.unlink()
    run(shared, "verify", model_file, "--key", uri, env=shim.env("calls"), expect=0)
    assert shim.notes() == ["start 0", "open 0", "close 0", "end 0"]


def test_a_key_that_wants_the_pin_each_time(run, store, shim, model_file):
    store.make("My Token", "ec-p256", "key", "01", "--always-auth")
    for secret in ({"pin_value": PIN}, {}):
        result = run(store, "sign", model_file, "--key",
                     store.uri("object=key", module_path=shim.module, **secret), env=shim.env(),
                     expect=0)  # fmt: skip
        assert result.out
    assert shim.notes() == ["login 0", "again 0", "sign 0"] * 2
    run(store, "verify", model_file, "--key", store.uri("object=key"), expect=0)


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace")
def test_the_pin_is_written_nowhere(hallmark, store, sanitizer, tmp_path, model_file):
    if sanitizer or hallmark.wrapper:
        pytest.skip("not under a sanitizer")
    store.make("My Token", "ec-p256", "key", "01")
    trace = tmp_path / "trace"
    key = store.uri("object=key", pin=None)
    command = hallmark.command("sign", model_file, "--key", key, "--passphrase-file",
                               store.pin_file, "--json")  # fmt: skip
    subprocess.run(["strace", "-f", "-qq", "-s", "100000", "-e",
                    "trace=write,writev,pwrite64,sendto,sendmsg,read", "-o", trace, *command],
                   env=hallmark.environment(store.env), check=True, capture_output=True)  # fmt: skip
    lines = trace.read_text().splitlines()
    assert "write(" in trace.read_text()
    # The program reads passphrases byte by byte, so the PIN is in no single read either.
    assert not [line for line in lines if PIN in line]


# ---- which key ----------------------------------------------------------------------------------


def test_two_keys_of_one_label(run, store, model_file):
    store.make("My Token", "ec-p256", "twin", "01")
    store.make("My Token", "ec-p384", "twin", "02")
    result = run(store, "sign", model_file, "--key", store.uri("object=twin"), expect=2)
    assert "fits 2 private keys" in result.err
    assert '"twin" (id=%01)' in result.err and '"twin" (id=%02)' in result.err
    run(store, "sign", model_file, "--key", store.uri("object=twin;id=%02"), expect=0)
    result = run(store, "verify", model_file, "--key", store.uri("object=twin"), expect=2)
    assert "several public keys" in result.err
    run(store, "verify", model_file, "--key", store.uri("object=twin;id=%02"), expect=0)
    run(store, "verify", model_file, "--key", store.uri("object=twin;id=%01"), expect=1)


def test_a_key_that_is_not_there(run, shared, model_file):
    result = run(shared, "sign", model_file, "--key", shared.uri("object=none"), expect=3)
    assert "no private key for pkcs11:object=none" in result.err
    assert '"ec-p384" (id=%02)' in result.err
    result = run(shared, "verify", model_file, "--key", shared.uri("object=none"), expect=3)
    assert "no public key for pkcs11:object=none" in result.err
    assert not model_file.with_name(model_file.name + ".sig").exists()


def test_a_token_that_is_not_there(run, shared, model_file):
    for command in ("sign", "verify"):
        result = run(shared, command, model_file, "--key", shared.uri("token=other;object=x"),
                     expect=3)  # fmt: skip
        assert "there is no token for pkcs11:token=other;object=x" in result.err
        assert '"shared" (slot-id=' in result.err


def test_several_tokens(run, store, model_file):
    """The one that shows the key without a login is taken; a PIN goes to no other."""
    store.token("Second").make("Second", "ec-p256", "key", "01")
    run(store, "sign", model_file, "--key", store.uri("object=key"), expect=0)
    run(store, "verify", model_file, "--key", store.uri("object=key"), expect=0)
    store.make("My Token", "ec-p256", "key", "01")
    result = run(store, "sign", model_file, "--key", store.uri("object=key"), expect=2)
    assert "fits 2 tokens" in result.err and '"My Token"' in result.err
    result = run(store, "verify", model_file, "--key", store.uri("object=key"), expect=2)
    assert "several public keys" in result.err
    run(store, "sign", model_file, "--key", store.uri("token=Second;object=key"), expect=0)
    run(store, "verify", model_file, "--key", store.uri("token=Second;object=key"), expect=0)
    run(store, "verify", model_file, "--key", store.uri("token=My%20Token;object=key"), expect=1)


def test_a_token_by_serial_and_slot(run, shared, model_file):
    slots = shared.run("pkcs11-tool", "--module", SOFTHSM, "--list-token-slots")
    serial = slots.split("serial num")[1].split(":")[1].split()[0]
    number = int(slots.split("(0x")[1].split(")")[0], 16)
    for path in (f"serial={serial}", f"slot-id={number}", "model=SoftHSM%20v2",
                 "manufacturer=SoftHSM%20project"):  # fmt: skip
        run(shared, "sign", model_file, "--key", shared.uri(f"{path};object=ec-p256"), expect=0)
    for path in (f"serial={serial[:-1]}", f"slot-id={number + 1}", "model=SoftHSM%20v3"):
        run(shared, "sign", model_file, "--key", shared.uri(f"{path};object=ec-p256"), expect=3)


def test_a_missing_module(run, shared, tmp_path, model_file):
    text = tmp_path / "text.so"
    text.write_text("no library\n")
    for path in (tmp_path / "none.so", text):
        result = run(shared, "sign", model_file, "--key",
                     shared.uri("object=x", module_path=path), expect=3)  # fmt: skip
        assert f"cannot load the PKCS#11 module {path}" in result.err
        assert result.err.count("\n") == 2, "nothing but our own two lines"


def test_modules_by_name(run, shared, model_file):
    """SoftHSM's Debian package registers itself with p11-kit."""
    if not list(pathlib.Path("/usr/share/p11-kit/modules").glob("softhsm2.module")):
        pytest.skip("SoftHSM is not registered with p11-kit")
    path, source = "pkcs11:object=ec-p256", f"pin-source=file:{shared.pin_file}"
    for uri in (f"{path}?module-name=softhsm2&{source}", f"{path}?module-name=SoftHSM2&{source}",
                f"{path}?{source}"):  # fmt: skip
        run(shared, "sign", model_file, "--key", uri, expect=0)
    result = run(shared, "sign", model_file, "--key", f"{path}?module-name=none", expect=3)
    assert 'no PKCS#11 module named "none"' in result.err and "softhsm2" in result.err


BAD_URIS = {
    "unknown": ("token=a;objekt=b", '"objekt", which is not known'),
    "unknown query": ("token=a?modulepath=/x", '"modulepath", which is not known'),
    "twice": ("token=a;token=b", '"token" twice'),
    "no value": ("token=;object=x", "without a value"),
    "no equals": ("token", 'without "="'),
    "space": ("token=My Token;object=x", "a space or control character"),
    "percent": ("object=x?module-path=/%zz", "hexadecimal"),
    "percent in path": ("object=%zz", "cannot be read"),
    "nul": (f"object=x?pin-value=a%00{PIN}", "hexadecimal"),
    "program": ("object=x?pin-source=|echo%20" + PIN, "no file:/PATH"),
    "relative source": (f"object=x?pin-source=file:{PIN}", "no file:/PATH"),
    "relative module": ("object=x?module-path=x.so", 'does not begin with "/"'),
    "both pins": (f"object=x?pin-value={PIN}&pin-source=file:/x", "both"),
    "both modules": ("object=x?module-path=/x&module-name=y", "both"),
    "a type that is unknown": ("object=x;type=key", "value that cannot be"),
    "pin in path": (f"object=x;pin-value={PIN}", 'before the "?"'),
    "pin in value": (f"object=x&pin-value={PIN}", "inside another attribute"),
    "pin behind a second ?": (f"object=x?module-path=/x?pin-value={PIN}", "inside another"),
    "pin behind ;": (f"object=x?module-path=/x;PIN-VALUE={PIN}", "inside another"),
    "pin mistyped": (f"object=x?pin-value:{PIN}", 'without "="'),
    "pin as a name": (f"object=x?{PIN}=", "not known"),
    "empty pin": ("object=x?pin-value=", "empty"),
    "ends in ?": ("object=x?", 'ends in "?"'),
    "ends in ;": ("object=x;", "ends in a separator"),
    "fragment": ("slot-id=x", "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("which", BAD_URIS)
def test_uris_that_are_refused(run, store, tmp_path, model_file, which):
    rest, said = BAD_URIS[which]
    uri = "pkcs11:" + rest
    for command in (["sign", model_file, "--key", uri], ["verify", model_file, "--key", uri],
                    ["verify", model_file, "--root", uri], ["key", "generate", uri],
                    ["sign", model_file, "--key", uri, "--json"]):  # fmt: skip
        result = run(store, *command, expect=2)
        assert said in result.err + result.out.replace('\\"', '"'), result


def test_types_that_do_not_fit(run, shared, model_file):
    for command, kind in (("sign", "public"), ("sign", "cert"), ("verify", "data")):
        run(shared, command, model_file, "--key", shared.uri(f"object=ec-p256;type={kind}"),
            expect=2)  # fmt: skip
    run(shared, "verify", model_file, "--root", shared.uri("object=x;type=private"), expect=2)
    result = run(shared, "verify", model_file, "--key", shared.uri("token=shared"), expect=2)
    assert "names no object to believe" in result.err


def test_kinds_of_keys_that_are_not_used(run, store, model_file):
    store.tool("My Token", "--keypairgen", "--key-type", "EC:secp256k1", "--label", "k1",
               "--id", "01")  # fmt: skip
    store.tool("My Token", "--keypairgen", "--key-type", "rsa:1024", "--label", "small", "--id",
               "02")  # fmt: skip
    result = run(store, "sign", model_file, "--key", store.uri("object=k1"), expect=1)
    assert "secp256k1" in result.err
    result = run(store, "sign", model_file, "--key", store.uri("object=small"), expect=1)
    assert "1024 bits" in result.err
    assert not model_file.with_name(model_file.name + ".sig").exists()


def test_a_key_without_its_public_object(run, store, tmp_path, model_file):
    """Its certificate does instead; without either it is not used."""
    key = support.generate_key("ec-p384")
    der = tmp_path / "key.der"
    der.write_bytes(key.private_bytes(serialization.Encoding.DER,
                                      serialization.PrivateFormat.PKCS8,
                                      serialization.NoEncryption()))  # fmt: skip
    store.tool("My Token", "--write-object", der, "--type", "privkey", "--label", "k", "--id", "07",
               "--usage-sign")  # fmt: skip
    result = run(store, "sign", model_file, "--key", store.uri("object=k"), expect=3)
    assert "has no public half" in result.err
    pki = support.Pki(tmp_path)
    leaf = pki.leaf("leaf", key=support.save_key(tmp_path, "copy", "ec-p384", key))
    put_certificate(store, leaf, "other label", "07")
    run(store, "sign", model_file, "--key", store.uri("object=k"), expect=0)
    run(store, "verify", model_file, "--key", leaf.key.public, expect=0)


# ---- certificates -------------------------------------------------------------------------------


def put_certificate(store, certificate, label, number):
    der = certificate.path.with_suffix(".der")
    der.write_bytes(certificate.x509.public_bytes(serialization.Encoding.DER))
    store.tool("My Token", "--write-object", der, "--type", "cert", "--label", label, "--id",
               number)  # fmt: skip


@pytest.fixture
def certified(store, tmp_path):
    """A token with an imported key, its certificate, the intermediate and the root."""
    (tmp_path / "pki").mkdir()
    pki = support.Pki(tmp_path / "pki")
    leaf = pki.leaf("signer", "ec-p256")
    store.tool("My Token", "--write-object", leaf.key.private, "--type", "privkey", "--label",
               "signer", "--id", "0a", "--usage-sign")  # fmt: skip
    store.tool("My Token", "--write-object", leaf.key.public, "--type", "pubkey", "--label",
               "signer", "--id", "0a")  # fmt: skip
    put_certificate(store, leaf, "signer", "0a")
    put_certificate(store, pki.intermediate, "intermediate", "0b")
    put_certificate(store, pki.root, "root", "0c")
    store.leaf, store.pki = leaf, pki
    return store


def bare_key_as_certificate(store):
    """A key pair without a certificate, asked for as a certificate."""
    store.make("My Token", "ec-p256", "bare", "0d")
    return store.uri("object=bare;type=cert")


def test_certificates_on_the_token(run, hallmark, certified, model_dir):
    leaf = certified.uri("token=My%20Token;object=signer;type=cert", pin=None)
    chain = certified.uri("object=intermediate", pin=None)
    run(certified, "sign", model_dir, "--key", certified.uri("object=signer"), "--cert", leaf,
        "--chain", chain, expect=0)  # fmt: skip
    report = hallmark("verify", model_dir, "--root", certified.pki.root.path, "--json",
                      expect=0).json()  # fmt: skip
    assert report["signer"]["certificate"]["fingerprint"] == certified.leaf.fingerprint
    run(certified, "verify", model_dir, "--root", certified.uri("object=root"), expect=0)
    run(certified, "verify", model_dir, "--root", certified.uri("object=signer"), expect=1)
    run(certified, "sign", model_dir, "--key", certified.uri("object=signer"), expect=0)
    run(certified, "verify", model_dir, "--key", leaf, expect=0)
    run(certified, "verify", model_dir, "--key", certified.uri("object=root"), expect=1)
    result = run(certified, "verify", model_dir, "--key", bare_key_as_certificate(certified), expect=3)
    assert "no public key for" in result.err
    run(certified, "sign", model_dir, "--key", certified.uri("object=signer"), "--cert", leaf,
        "--chain", chain, expect=0)  # fmt: skip
    support.flip(model_dir / "README.md", 0)
    hallmark("verify", model_dir, "--root", certified.pki.root.path, expect=1)


def test_certificates_that_do_not_fit(run, certified, model_dir):
    key = certified.uri("object=signer")
    result = run(certified, "sign", model_dir, "--key", key, "--cert",
                 certified.uri("object=intermediate", pin_value=PIN), expect=2)  # fmt: skip
    assert "for another key" in result.err
    result = run(certified, "sign", model_dir, "--key", key, "--cert",
                 certified.uri("object=none", pin_value=PIN), expect=3)  # fmt: skip
    assert "no certificate for pkcs11:object=none" in result.err
    result = run(certified, "sign", model_dir, "--key", key, "--cert",
                 certified.uri("token=My%20Token", pin_value=PIN), expect=2)  # fmt: skip
    assert "fits 3 certificates" in result.err
    assert not (model_dir / "model.sig").exists()


# ---- making keys --------------------------------------------------------------------------------


@pytest.mark.parametrize("key_type", GENERATED)
def test_generate_each_type(run, hallmark, store, openssl, tmp_path, model_file, key_type):
    uri, public = store.uri(f"token=My%20Token;object=made-{key_type}"), tmp_path / "made.pub"
    result = run(store, "key", "generate", uri, "--type", key_type, "--public", public, expect=0)
    assert result.out == ""
    assert {path.name for path in tmp_path.glob("made*")} == {"made.pub"}
    openssl("pkey", "-pubin", "-in", public, "-noout")
    run(store, "sign", model_file, "--key", uri, expect=0)
    report = hallmark("verify", model_file, "--key", public, "--json", expect=0).json()
    assert report["signer"]["key_type"] == key_type
    der = serialization.load_pem_public_key(public.read_bytes()).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)  # fmt: skip
    assert report["signer"]["key_fingerprint"] == hashlib.sha256(der).hexdigest()
    private = private_object(store)
    assert "sensitive, always sensitive, never extractable" in private
    assert "Usage:      sign\n" in private
    assert f"label:      made-{key_type}\n" in private


def private_object(store):
    listed = store.objects("My Token")
    return listed[listed.index("Private Key Object") :].split("Public Key Object")[0]


def test_the_private_key_does_not_come_out(run, store, tmp_path):
    run(store, "key", "generate", store.uri("token=My%20Token;object=made;id=%2a%2b"), expect=0)
    assert "ID:         2a2b" in private_object(store)
    if shutil.which("p11tool"):
        export = ["p11tool", "--provider", SOFTHSM, "--login", "--set-pin", PIN, "--export"]
        with pytest.raises(AssertionError, match="not available"):
            store.run(*export, "pkcs11:object=made;type=private")


def test_ids_are_random(run, store):
    for name in ("a", "b"):
        run(store, "key", "generate", store.uri(f"token=My%20Token;object={name}"), expect=0)
    ids = {line for line in store.objects("My Token").splitlines() if "ID:" in line}
    assert len(ids) == 2 and all(len(line.split()[-1]) == 32 for line in ids)


def test_pin_when_making_a_key(run, hallmark, store):
    uri = store.uri("token=My%20Token;object=made", pin=None)
    terminal = support.Terminal(hallmark, "key", "generate", uri, env=store.env)
    terminal.wait_for(b": ")
    terminal.type(PIN.encode() + b"\n")
    assert terminal.end() == 0, terminal.shown
    assert PIN.encode() not in terminal.shown and b"again" not in terminal.shown
    uri = store.uri("token=My%20Token;object=two", pin=None)
    run(store, "key", "generate", uri, "--passphrase-file", store.pin_file, expect=0)
    run(store, "key", "generate", uri, "--no-passphrase", expect=2)


def test_nothing_is_written_over(run, store, tmp_path):
    first = store.uri("token=My%20Token;object=made;id=%01")
    run(store, "key", "generate", first, expect=0)
    before = store.objects("My Token")
    for path, said in (("object=made", "label"), ("object=made;id=%02", "label"),
                       ("object=new;id=%01", "id")):  # fmt: skip
        result = run(store, "key", "generate", store.uri(f"token=My%20Token;{path}"), "--public",
                     tmp_path / "new.pub", expect=2)  # fmt: skip
        assert f"a key with this {said} exists" in result.err and '"made"' in result.err
    (tmp_path / "there.pub").write_text("old")
    uri = store.uri("token=My%20Token;object=new")
    run(store, "key", "generate", uri, "--public", tmp_path / "there.pub", expect=2)
    assert (tmp_path / "there.pub").read_text() == "old"
    # The file cannot be written: the key is removed again.
    run(store, "key", "generate", uri, "--public", tmp_path / "no" / "new.pub", expect=3)
    assert sorted(store.objects("My Token").split()) == sorted(before.split())
    assert not (tmp_path / "new.pub").exists()


def test_generation_that_is_not_clear(run, store):
    result = run(store, "key", "generate", store.uri("token=My%20Token"), expect=2)
    assert "names no label" in result.err
    store.token("Second")
    result = run(store, "key", "generate", store.uri("object=new"), expect=2)
    assert "fits 2 tokens" in result.err
    result = run(store, "key", "generate", store.uri("token=none;object=new"), expect=3)
    assert "no token for" in result.err
    result = run(store, "key", "generate", store.uri("token=Second;object=x"), "--type", "dsa",
                 expect=2)  # fmt: skip
    assert "not a type of key" in result.err


def test_public_names_the_file_of_a_pem_key_too(hallmark, tmp_path):
    hallmark("key", "generate", "--no-passphrase", "--public", tmp_path / "x.pub",
             tmp_path / "y.pem", expect=0)  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {"x.pub", "y.pem"}


# ---- what SoftHSM never does --------------------------------------------------------------------


class Shim:
    def __init__(self, module, log):
        self.module, self.log = module, log

    def env(self, does=""):
        return {"PKCS11_SHIM": does, "PKCS11_SHIM_MODULE": SOFTHSM, "PKCS11_SHIM_PIN": PIN,
                "PKCS11_SHIM_LOG": self.log}  # fmt: skip

    def notes(self):
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture(scope="module")
def shim_module(tmp_path_factory):
    module = tmp_path_factory.mktemp("shim") / "shim.so"
    flags = subprocess.run(["pkg-config", "--cflags", "p11-kit-1"], capture_output=True, text=True,
                           check=False)  # fmt: skip
    if flags.returncode != 0 or not shutil.which("cc"):
        pytest.skip("no compiler, or no p11-kit headers")
    source = pathlib.Path(__file__).with_name("pkcs11_shim.c")
    subprocess.run(["cc", "-shared", "-fPIC", *flags.stdout.split(), source, "-o", module, "-ldl"],
                   check=True)  # fmt: skip
    return module


@pytest.fixture
def shim(shim_module, tmp_path):
    return Shim(shim_module, tmp_path / "shim.log")


TROUBLES = {
    "locked": ("is locked", []),
    "locks": ("is locked", ["login 164"]),
    "no-pin-set": ("was never set", []),
    "removed": ("token", ["login 0", "sign 50"]),
    "faulty": ("its public half does not verify", ["login 0", "sign 0"]),
    "short": ("made a signature of 63 bytes, not 64", ["login 0", "sign 0"]),
    "gone": ("cannot open a session", []),
    "no-start": ("cannot start the PKCS#11 module", []),
    "no-public": ("has no public half", ["login 0"]),
}


@pytest.mark.parametrize("does", TROUBLES)
def test_troubles_of_tokens(run, shared, shim, model_file, does):
    said, notes = TROUBLES[does]
    uri = shared.uri("token=shared;object=ec-p256", module_path=shim.module)
    result = run(shared, "sign", model_file, "--key", uri, env=shim.env(does), expect=3)
    assert said in result.err, result
    assert shim.notes() == notes
    assert not model_file.with_name(model_file.name + ".sig").exists()
    assert len(result.err.splitlines()) in (1, 2)


def told(result, message):
    """The user sees the message, and finds it in the documentation; "..." is anything."""
    shown = re.sub(r"slot-id=\d+", "slot-id=7", result.err)
    # Tokens list their objects in any order.
    shown = shown.replace('"x" (id=%02), "x" (id=%01)', '"x" (id=%01), "x" (id=%02)')
    assert all(part in shown for part in message.split("...")), result
    assert message in (support.ROOT / "docs" / "troubleshooting.md").read_text()


def test_messages_of_the_page(run, has_pkcs11, shim, tmp_path, model_file):
    store = Store(tmp_path / "hsm").token("Release")
    store.make("Release", "ec-p256", "models-2026", "03")
    for number in ("01", "02"):
        store.make("Release", "ec-p256", "x", number)

    def fails(path, does="", **query):
        query.setdefault("module_path", shim.module)
        return run(store, "sign", model_file, "--key", store.uri(path, **query),
                   env=shim.env(does), expect=(2, 3))  # fmt: skip

    key = "object=models-2026"
    result = fails(f"token=Relaese;{key}")
    told(result, "hallmark: there is no token for pkcs11:token=Relaese;object=models-2026")
    told(result, 'hallmark: tokens that are there: "Release" (slot-id=7)')
    told(fails(key, module_path="/usr/lib/none.so"),
         "hallmark: cannot load the PKCS#11 module /usr/lib/none.so: ...")  # fmt: skip
    result = fails(key, pin_value="1")
    told(result, 'hallmark: the PIN for the token "Release" is wrong')
    told(result, "hallmark: it was tried once and is not tried again: tokens lock themselves after "
         "a few wrong ones")  # fmt: skip
    told(fails(key, "locked"), 'hallmark: the PIN of the token "Release" is locked')
    told(fails("object=y"),
         'hallmark: there is no private key for pkcs11:object=y on the token "Release"')  # fmt: skip
    told(fails("object=x"), 'hallmark: pkcs11:object=x fits 2 private keys on the token "Release": '
         '"x" (id=%01), "x" (id=%02)')  # fmt: skip
    told(fails(key, "no-public"),
         'hallmark: the token "Release" has no public half of pkcs11:object=models-2026')  # fmt: skip
    told(fails(key, "removed"),
         'hallmark: the token "Release" did not sign with pkcs11:object=models-2026: ...')  # fmt: skip


def test_the_last_try_is_told(run, shared, shim, tmp_path, hallmark, model_file):
    wrong = support.write_private(tmp_path / "wrong", b"4711-is-wrong\n")
    uri = shared.uri("object=ec-p256", module_path=shim.module, pin=None)
    result = run(shared, "sign", model_file, "--key", uri, "--passphrase-file", wrong,
                 env=shim.env("final-try"), expect=3)  # fmt: skip
    assert "was wrong, and is locked now" in result.err
    assert shim.notes() == ["login 160"]
    terminal = support.Terminal(hallmark, "sign", model_file, "--key", uri,
                                env=shared.env | shim.env("final-try"))  # fmt: skip
    terminal.wait_for(b": ")
    assert b"the last try before it is locked" in terminal.shown
    terminal.type(PIN.encode() + b"\n")
    assert terminal.end() == 0, terminal.shown


def test_a_keypad_asks_by_itself(run, shared, shim, model_file):
    uri = shared.uri("object=ec-p256", module_path=shim.module, pin=None)
    run(shared, "sign", model_file, "--key", uri, env=shim.env("keypad"), expect=0)
    assert shim.notes() == ["login 0", "sign 0"]


def test_a_point_without_its_wrapping(run, shared, shim, tmp_path, model_file):
    uri = shared.uri("object=ec-p256", module_path=shim.module)
    run(shared, "sign", model_file, "--key", uri, env=shim.env("bare-point"), expect=0)
    run(shared, "verify", model_file, "--key", uri, env=shim.env("bare-point"), expect=0)
    run(shared, "verify", model_file, "--key", shared.uri("object=ec-p256"), expect=0)


def test_a_token_that_lets_keys_out(run, store, shim):
    uri = store.uri("token=My%20Token;object=made", module_path=shim.module)
    result = run(store, "key", "generate", uri, env=shim.env("readable"), expect=3)
    assert "can be read out" in result.err
    assert "Key Object" not in store.objects("My Token")


@pytest.mark.parametrize("does", ["faulty", "few-mechanisms"])
def test_keys_that_do_not_work_are_removed(run, store, shim, tmp_path, does):
    uri = store.uri("token=My%20Token;object=made", module_path=shim.module)
    run(store, "key", "generate", uri, "--public", tmp_path / "made.pub", env=shim.env(does),
        expect=3)  # fmt: skip
    assert "Key Object" not in store.objects("My Token")
    assert not (tmp_path / "made.pub").exists()


def test_control_c_while_a_pin_is_asked_for(hallmark, shared, model_file):
    uri = shared.uri("object=ec-p256", pin=None)
    terminal = support.Terminal(hallmark, "sign", model_file, "--key", uri, env=shared.env)
    terminal.wait_for(b": ")
    terminal.type(b"\x03")
    assert terminal.end() == 3
    assert not model_file.with_name(model_file.name + ".sig").exists()
