# SPDX-License-Identifier: Apache-2.0
"""Keys: making them, and reading what other tools made."""

import os
import re
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization

import support

TYPES = {
    "ec-p256": "P-256",
    "ec-p384": "P-384",
    "ec-p521": "P-521",
    "rsa-3072": "3072 bit",
    "rsa-4096": "4096 bit",
    "ed25519": "ED25519",
}
PASSPHRASE = support.PASSPHRASE.decode()


@pytest.fixture
def passphrase_file(tmp_path):
    return support.write_private(tmp_path / "passphrase", support.PASSPHRASE + b"\n")


def mode(path):
    return path.stat().st_mode & 0o7777


def works(hallmark, model, private, public, *options):
    """Signs with one half and verifies with the other."""
    hallmark("sign", model, "--key", private, *options, expect=support.OK)
    hallmark("verify", model, "--key", public, expect=support.OK)


# ---- making keys --------------------------------------------------------------------------------


@pytest.mark.parametrize("key_type", TYPES)
def test_generate_each_type(hallmark, openssl, tmp_path, model_file, key_type):
    private = tmp_path / "key.pem"
    public = tmp_path / "key.pub"
    result = hallmark("key", "generate", "--type", key_type, "--no-passphrase", private, expect=0)
    assert result.out == ""
    assert (mode(private), mode(public)) == (0o600, 0o644)
    assert private.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert public.read_bytes().startswith(b"-----BEGIN PUBLIC KEY-----\n")
    shown = openssl("pkey", "-in", private, "-noout", "-text").decode()
    assert TYPES[key_type] in shown
    assert openssl("pkey", "-in", private, "-pubout") == public.read_bytes()
    loaded = serialization.load_pem_private_key(private.read_bytes(), None)
    assert support.public_pem(loaded) == public.read_bytes()
    works(hallmark, model_file, private, public)


def test_the_default_type_is_p256(hallmark, openssl, tmp_path):
    hallmark("key", "generate", "--no-passphrase", tmp_path / "key.pem", expect=0)
    assert b"P-256" in openssl("pkey", "-in", tmp_path / "key.pem", "-noout", "-text")


def test_every_key_is_another(hallmark, tmp_path):
    for name in ("a", "b"):
        hallmark("key", "generate", "--no-passphrase", tmp_path / f"{name}.pem", expect=0)
    assert (tmp_path / "a.pub").read_bytes() != (tmp_path / "b.pub").read_bytes()


def test_a_strict_umask_is_kept_to(hallmark, tmp_path):
    command = hallmark.command("key", "generate", "--no-passphrase", tmp_path / "key.pem")
    subprocess.run(["sh", "-c", 'umask 077; exec "$@"', "sh", *command], check=True,
                   env=hallmark.environment())  # fmt: skip
    assert (mode(tmp_path / "key.pem"), mode(tmp_path / "key.pub")) == (0o600, 0o600)


def test_a_loose_umask_does_not_open_the_private_key(hallmark, tmp_path):
    command = hallmark.command("key", "generate", "--no-passphrase", tmp_path / "key.pem")
    subprocess.run(["sh", "-c", 'umask 000; exec "$@"', "sh", *command], check=True,
                   env=hallmark.environment())  # fmt: skip
    assert (mode(tmp_path / "key.pem"), mode(tmp_path / "key.pub")) == (0o600, 0o644)


def test_names_of_the_two_files(hallmark, tmp_path):
    for name, public in {"a.pem": "a.pub", "b": "b.pub", "c.key": "c.key.pub"}.items():
        hallmark("key", "generate", "--no-passphrase", tmp_path / name, expect=0)
        assert (tmp_path / public).exists()


@pytest.mark.parametrize("existing", ["key.pem", "key.pub"])
def test_nothing_is_written_over(hallmark, tmp_path, existing):
    (tmp_path / existing).write_text("old")
    result = hallmark("key", "generate", "--no-passphrase", tmp_path / "key.pem", expect=2)
    assert existing in result.err and "exists" in result.err
    assert support.snapshot(tmp_path).keys() == {existing}
    assert (tmp_path / existing).read_text() == "old"


def test_not_even_through_a_link(hallmark, tmp_path):
    (tmp_path / "key.pem").symlink_to("elsewhere")
    hallmark("key", "generate", "--no-passphrase", tmp_path / "key.pem", expect=2)
    assert support.snapshot(tmp_path) == {"key.pem": ("link", "elsewhere")}


def test_a_missing_folder(hallmark, tmp_path):
    result = hallmark("key", "generate", "--no-passphrase", tmp_path / "no" / "key.pem", expect=3)
    assert str(tmp_path / "no") in result.err


@pytest.mark.parametrize("allowed", [0, 100])
def test_both_files_or_neither_when_the_disk_is_full(hallmark, tmp_path, allowed, sanitizer):
    """A P-256 private key has 241 bytes in PEM, its public key 178; neither file may have more
    than `allowed`, as on a full disk."""
    if sanitizer == "tsan" and allowed == 0:
        pytest.skip("the sanitizer itself needs to write a byte")
    command = hallmark.command("key", "generate", "--no-passphrase", tmp_path / "key.pem")
    limited = ["prlimit", f"--fsize={allowed}", *command]
    done = subprocess.run(limited, env=hallmark.environment(), capture_output=True, check=False)
    assert done.returncode == 3, done.stderr
    assert b"cannot write" in done.stderr
    assert support.snapshot(tmp_path) == {}


def test_only_the_public_key_fits(hallmark, tmp_path):
    """The private key is written first: with room for 200 bytes it fails; with 250 both fit."""
    command = hallmark.command("key", "generate", "--no-passphrase", tmp_path / "key.pem")
    environment = hallmark.environment()
    assert subprocess.run(["prlimit", "--fsize=200", *command], env=environment,
                          capture_output=True, check=False).returncode == 3  # fmt: skip
    assert support.snapshot(tmp_path) == {}
    subprocess.run(["prlimit", "--fsize=250", *command], env=environment, check=True)
    assert support.snapshot(tmp_path).keys() == {"key.pem", "key.pub"}


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--type", "rsa-1024", "key.pem"], "ed25519"),
        (["--type", "dsa", "key.pem"], "ec-p256"),
        ([], "private key"),
        (["a.pem", "b.pem"], "private key"),
        (["--passphrase-file", "x", "key.pem"], "passphrase"),
        ([""], "file"),
    ],
)
def test_wrong_use(hallmark, tmp_path, arguments, said):
    result = hallmark("key", "generate", "--no-passphrase", *arguments, cwd=tmp_path, expect=2)
    assert said in result.err
    assert support.snapshot(tmp_path) == {}


# ---- passphrases --------------------------------------------------------------------------------


def test_passphrase_from_a_file(hallmark, openssl, tmp_path, model_file, passphrase_file):
    private = tmp_path / "key.pem"
    hallmark("key", "generate", "--passphrase-file", passphrase_file, private, expect=0)
    assert private.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    loaded = serialization.load_pem_private_key(private.read_bytes(), support.PASSPHRASE)
    assert support.public_pem(loaded) == (tmp_path / "key.pub").read_bytes()
    openssl("pkey", "-in", private, "-passin", f"pass:{PASSPHRASE}", "-noout")
    parsed = openssl("asn1parse", "-in", private).decode()
    assert "PBKDF2" in parsed and "hmacWithSHA256" in parsed and "aes-256-cbc" in parsed
    works(hallmark, model_file, private, tmp_path / "key.pub", "--passphrase-file",
          passphrase_file)  # fmt: skip


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\nsecond line\n"])
def test_only_the_first_line_counts(hallmark, keys, tmp_path, model_file, ending):
    key = keys["python", "ec-p256"]
    path = support.write_private(tmp_path / "pass", support.PASSPHRASE + ending)
    hallmark("sign", model_file, "--key", key.encrypted, "--passphrase-file", path, expect=0)


def test_passphrase_from_a_descriptor(hallmark, keys, model_file):
    key = keys["openssl", "ec-p256"]
    reader, writer = os.pipe()
    os.write(writer, support.PASSPHRASE + b"\n")
    os.close(writer)
    hallmark("sign", model_file, "--key", key.encrypted, "--passphrase-fd", str(reader),
             pass_fds=[reader], expect=0)  # fmt: skip
    os.close(reader)


@pytest.mark.parametrize("descriptor", ["77", "99999999999"])
def test_a_descriptor_that_is_not_open(hallmark, keys, model_file, descriptor):
    result = hallmark("sign", model_file, "--key", keys["openssl", "ec-p256"].encrypted,
                      "--passphrase-fd", descriptor, expect=3)  # fmt: skip
    assert f"descriptor {descriptor}" in result.err


def test_a_wrong_passphrase(hallmark, keys, tmp_path, model_file):
    wrong = support.write_private(tmp_path / "wrong", b"not it\n")
    for maker in ("openssl", "python"):
        result = hallmark("sign", model_file, "--key", keys[maker, "ec-p256"].encrypted,
                          "--passphrase-file", wrong, expect=3)  # fmt: skip
        assert "passphrase" in result.err and "wrong" in result.err
    assert not (tmp_path / "weights.safetensors.sig").exists()


def test_an_empty_passphrase_protects_nothing(hallmark, tmp_path):
    empty = support.write_private(tmp_path / "empty", b"\n")
    result = hallmark("key", "generate", "--passphrase-file", empty, tmp_path / "k.pem", expect=2)
    assert "--no-passphrase" in result.err
    assert not (tmp_path / "k.pem").exists()


def test_a_passphrase_of_a_million_characters(hallmark, tmp_path):
    long = support.write_private(tmp_path / "long", b"x" * 1_000_000)
    result = hallmark("key", "generate", "--passphrase-file", long, tmp_path / "k.pem", expect=3)
    assert "passphrase" in result.err
    assert not (tmp_path / "k.pem").exists()


def test_a_missing_passphrase_file(hallmark, tmp_path):
    result = hallmark("key", "generate", "--passphrase-file", tmp_path / "no", tmp_path / "k.pem",
                      expect=3)  # fmt: skip
    assert str(tmp_path / "no") in result.err
    assert support.snapshot(tmp_path) == {}


def test_without_a_terminal_nobody_is_asked(hallmark, keys, model_file):
    """In a session of its own the program has no terminal to open."""
    command = hallmark.command("sign", model_file, "--key", keys["openssl", "ec-p256"].encrypted)
    done = subprocess.run(command, env=hallmark.environment(), stdin=subprocess.DEVNULL,
                          start_new_session=True, capture_output=True, check=False)  # fmt: skip
    assert done.returncode == 3
    assert b"--passphrase-file" in done.stderr


# ---- the prompt ---------------------------------------------------------------------------------


def test_prompt_when_making_a_key(hallmark, tmp_path):
    terminal = support.Terminal(hallmark, "key", "generate", tmp_path / "key.pem")
    terminal.wait_for(b": ")
    assert b"key.pem" in terminal.shown and not terminal.echoes()
    terminal.type(support.PASSPHRASE + b"\n")
    terminal.wait_for(b"again: ")
    terminal.type(support.PASSPHRASE + b"\n")
    assert terminal.end() == 0, terminal.shown
    assert support.PASSPHRASE not in terminal.shown
    pem = (tmp_path / "key.pem").read_bytes()
    serialization.load_pem_private_key(pem, support.PASSPHRASE)


def test_prompt_when_signing(hallmark, keys, model_file):
    terminal = support.Terminal(hallmark, "sign", model_file, "--key", keys["python", "ec-p256"].encrypted)
    terminal.wait_for(b": ")
    terminal.type(support.PASSPHRASE + b"\n")
    assert terminal.end() == 0, terminal.shown
    assert support.PASSPHRASE not in terminal.shown and b"again" not in terminal.shown


def test_two_passphrases_that_differ(hallmark, tmp_path):
    terminal = support.Terminal(hallmark, "key", "generate", tmp_path / "key.pem")
    terminal.wait_for(b": ")
    terminal.type(b"one\n")
    terminal.wait_for(b"again: ")
    terminal.type(b"two\n")
    assert terminal.end() == 3
    assert b"differ" in terminal.shown
    assert support.snapshot(tmp_path) == {}


def test_control_c_at_the_prompt(hallmark, keys, model_file):
    """It ends the command, and the terminal shows again what is typed."""
    terminal = support.Terminal(hallmark, "sign", model_file, "--key", keys["python", "ec-p256"].encrypted)
    terminal.wait_for(b": ")
    assert not terminal.echoes()
    terminal.type(b"half a pass\x03")
    terminal.wait_for(b"hallmark:")
    assert terminal.echoes()
    assert terminal.end() == 3


def test_a_name_cannot_write_on_the_terminal_that_asks(hallmark, keys, tmp_path, model_file):
    key = tmp_path / "\x1b[2Jevil\n.pem"
    support.write_private(key, keys["python", "ec-p256"].encrypted.read_bytes())
    terminal = support.Terminal(hallmark, "sign", model_file, "--key", key)
    terminal.wait_for(b": ")
    terminal.type(b"\n")
    assert terminal.end() == 3
    assert b"\x1b" not in terminal.shown


# ---- keys of other makers -----------------------------------------------------------------------


@pytest.mark.parametrize("maker", ["openssl", "python"])
@pytest.mark.parametrize("key_type", support.KEY_TYPES)
def test_keys_of_each_maker(hallmark, keys, model_file, maker, key_type):
    key = keys[maker, key_type]
    works(hallmark, model_file, key.private, key.public)
    report = hallmark("verify", model_file, "--key", key.public, "--json", expect=0).json()
    assert report["signer"]["key_fingerprint"] == key.fingerprint
    assert report["signer"]["key_type"] == key_type


@pytest.mark.parametrize("maker", ["openssl", "python"])
@pytest.mark.parametrize("key_type", ["ec-p384", "rsa-2048", "ed25519"])
def test_encrypted_keys_of_each_maker(hallmark, keys, model_file, passphrase_file, maker, key_type):
    key = keys[maker, key_type]
    works(hallmark, model_file, key.encrypted, key.public, "--passphrase-file", passphrase_file)


@pytest.mark.parametrize("passphrase", [None, support.PASSPHRASE])
@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p521", "rsa-2048"])
def test_traditional_keys(hallmark, keys, tmp_path, model_file, passphrase_file, key_type,
                          passphrase):  # fmt: skip
    """SEC1 and PKCS#1, as `EC PRIVATE KEY` and `RSA PRIVATE KEY`, with RFC 1421 encryption."""
    key = keys["python", key_type]
    encryption = (serialization.BestAvailableEncryption(passphrase) if passphrase
                  else serialization.NoEncryption())  # fmt: skip
    pem = key.python.private_bytes(serialization.Encoding.PEM,
                                   serialization.PrivateFormat.TraditionalOpenSSL,
                                   encryption)  # fmt: skip
    assert (b"Proc-Type: 4,ENCRYPTED" in pem) == (passphrase is not None)
    private = support.write_private(tmp_path / "key.pem", pem)
    works(hallmark, model_file, private, key.public, "--passphrase-file", passphrase_file)


@pytest.mark.parametrize("how", [["-v2", "aes-128-cbc"], ["-v2", "des3"], ["-scrypt"]])
def test_pkcs8_encryptions(hallmark, openssl, keys, tmp_path, model_file, passphrase_file, how):
    key = keys["openssl", "ec-p256"]
    private = support.write_private(tmp_path / "key.pem", b"")
    openssl("pkcs8", "-topk8", "-in", key.private, "-out", private, *how, "-passout",
            f"pass:{PASSPHRASE}")  # fmt: skip
    works(hallmark, model_file, private, key.public, "--passphrase-file", passphrase_file)


def test_curve_parameters_before_the_key(hallmark, openssl, tmp_path, model_file):
    """As `openssl ecparam -genkey` writes it."""
    pem = openssl("ecparam", "-name", "prime256v1", "-genkey")
    assert pem.startswith(b"-----BEGIN EC PARAMETERS-----")
    private = support.write_private(tmp_path / "key.pem", pem)
    public = tmp_path / "key.pub"
    public.write_bytes(openssl("pkey", "-in", private, "-pubout"))
    works(hallmark, model_file, private, public)


@pytest.mark.parametrize("change", [
    lambda pem: b"some text\nbefore it\n" + pem,
    lambda pem: pem.replace(b"\n", b"\r\n"),
    lambda pem: pem.rstrip(b"\n"),
])  # fmt: skip
def test_spellings_of_pem(hallmark, keys, tmp_path, model_file, change):
    key = keys["python", "rsa-2048"]
    private = support.write_private(tmp_path / "key.pem", change(key.private.read_bytes()))
    public = tmp_path / "key.pub"
    public.write_bytes(change(key.public.read_bytes()))
    works(hallmark, model_file, private, public)


def test_public_keys_in_pkcs1(hallmark, openssl, keys, tmp_path, model_file):
    key = keys["python", "rsa-2048"]
    public = tmp_path / "key.pub"
    public.write_bytes(openssl("rsa", "-in", key.private, "-RSAPublicKey_out"))
    works(hallmark, model_file, key.private, public)


# ---- keys that are refused ----------------------------------------------------------------------


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o666, 0o610])
def test_a_private_key_that_others_can_read(hallmark, keys, tmp_path, model_file, bits):
    private = tmp_path / "key.pem"
    private.write_bytes(keys["python", "ec-p256"].private.read_bytes())
    private.chmod(bits)
    result = hallmark("sign", model_file, "--key", private, expect=3)
    assert f"chmod 600 {private}" in result.err
    private.chmod(0o400)
    hallmark("sign", model_file, "--key", private, expect=0)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away takes root")
def test_a_private_key_of_somebody_else(hallmark, keys, tmp_path, model_file):
    pem = keys["python", "ec-p256"].private.read_bytes()
    private = support.write_private(tmp_path / "key.pem", pem)
    os.chown(private, 12345, 12345)
    result = hallmark("sign", model_file, "--key", private, expect=3)
    assert "another user" in result.err and "install -m 600" in result.err


def test_a_public_key_to_sign_with(hallmark, keys, tmp_path, model_file):
    pem = keys["python", "ec-p256"].public.read_bytes()
    private = support.write_private(tmp_path / "key.pem", pem)
    result = hallmark("sign", model_file, "--key", private, expect=2)
    assert "public key" in result.err and "private key" in result.err


def test_a_private_key_to_verify_with(hallmark, keys, model_file):
    key = keys["python", "ec-p256"]
    hallmark("sign", model_file, "--key", key.private, expect=0)
    for private in (key.private, key.encrypted):
        result = hallmark("verify", model_file, "--key", private, expect=2)
        assert "private key" in result.err and ".pub" in result.err


def test_a_certificate_to_verify_with(hallmark, keys, pki, model_file):
    hallmark("sign", model_file, "--key", keys["python", "ec-p256"].private, expect=0)
    result = hallmark("verify", model_file, "--key", pki.root.path, expect=2)
    assert "--root" in result.err


UNUSABLE = {
    "an old RSA key": (["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"], "2048"),
    "a foreign curve": (["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"],
                        "secp256k1"),
    "a curve spelt out": (["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt",
                           "ec_param_enc:explicit"], "spelt out"),
    "Ed448": (["-algorithm", "ED448"], "ED448"),
    "X25519": (["-algorithm", "X25519"], "X25519"),
}  # fmt: skip


@pytest.mark.parametrize("which", UNUSABLE)
def test_kinds_of_keys_that_are_not_used(hallmark, openssl, keys, tmp_path, model_file, which):
    how, said = UNUSABLE[which]
    private = support.write_private(tmp_path / "key.pem", openssl("genpkey", *how))
    result = hallmark("sign", model_file, "--key", private, expect=(1, 3))
    assert said in result.err, result
    public = tmp_path / "key.pub"
    public.write_bytes(openssl("pkey", "-in", private, "-pubout"))
    hallmark("sign", model_file, "--key", keys["python", "ec-p256"].private, expect=0)
    result = hallmark("verify", model_file, "--key", public, expect=(1, 3))
    assert said in result.err, result


DAMAGED = {
    "empty": b"",
    "text": b"this is no key\n",
    "zeros": bytes(1000),
    "half": None,
    "no base64": b"-----BEGIN PRIVATE KEY-----\n????\n-----END PRIVATE KEY-----\n",
    "no key": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    "huge": b"x" * 70_000,
    "ssh": b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
}


@pytest.mark.parametrize("which", DAMAGED)
def test_damaged_key_files(hallmark, keys, tmp_path, model_file, which):
    good = keys["python", "rsa-2048"]
    data = DAMAGED[which]
    private = support.write_private(
        tmp_path / "key.pem", data if data is not None else good.private.read_bytes()[:900]
    )
    result = hallmark("sign", model_file, "--key", private, expect=3)
    assert str(private) in result.err
    assert not re.search(r"error:[0-9A-F]{8}", result.err), "libcrypto's own text"
    hallmark("sign", model_file, "--key", good.private, expect=0)
    public = tmp_path / "key.pub"
    public.write_bytes(data if data is not None else good.public.read_bytes()[:300])
    result = hallmark("verify", model_file, "--key", public, expect=(2, 3))
    assert str(public) in result.err


def test_key_files_that_are_not_there_or_not_files(hallmark, keys, tmp_path, model_file):
    os.mkfifo(tmp_path / "fifo", 0o600)
    hallmark("sign", model_file, "--key", keys["python", "ec-p256"].private, expect=0)
    for path in (tmp_path / "none", tmp_path, tmp_path / "fifo", "/dev/null"):
        result = hallmark("sign", model_file, "--key", path, timeout=10, expect=3)
        assert str(path) in result.err
        result = hallmark("verify", model_file, "--key", path, timeout=10, expect=3)
        assert str(path) in result.err


def test_a_key_service_that_is_not_known(hallmark, model_file):
    result = hallmark("sign", model_file, "--key", "kms:alias/model", expect=2)
    assert "kms:" in result.err


@pytest.mark.parametrize("format_name", ["sig-json", "manifest-json"])
def test_formats_that_need_rsa_say_so(hallmark, keys, model_file, metadata_file, format_name):
    options = ["--metadata", metadata_file] if format_name == "sig-json" else []
    for key_type in ("ec-p256", "ed25519"):
        result = hallmark("sign", model_file, "--key", keys["python", key_type].private, "--format",
                          format_name, *options, expect=2)  # fmt: skip
        assert "RSA" in result.err and "hallmark key generate --type rsa-4096" in result.err
