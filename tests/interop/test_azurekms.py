# SPDX-License-Identifier: Apache-2.0
"""Keys in Azure Key Vault: a vault of the tests' own (cloud.Vault), which Microsoft's SDK is made
to use as well, over loopback only."""

import hashlib
import json
import os
import subprocess

import cloud
import oracle
import pytest
import support
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

KINDS = {
    "P-256": "ECDSA P-256 SHA-256",
    "P-384": "ECDSA P-384 SHA-384",
    "P-521": "ECDSA P-521 SHA-512",
    "2048": "RSA-PSS SHA-256",
    "3072": "RSA-PSS SHA-256",
    "4096": "RSA-PSS SHA-256",
}


@pytest.fixture(scope="module")
def vault(tls):
    with cloud.Vault(tls) as server:
        server.key("signer", "P-256")
        yield server


@pytest.fixture(autouse=True)
def fresh(vault):
    yield
    vault.before = lambda request: None
    vault.tokens.clear()
    vault.server.requests.clear()
    vault.plain.requests.clear()


@pytest.fixture
def azure(tmp_path, vault, tls, nowhere):
    """azure(NAME=value, ...): an environment in which nothing but loopback is asked, with a
    client's secret unless told otherwise (None: not set)."""

    def environment(**changes):
        return {
            **cloud.clean(os.environ),
            "HOME": tmp_path,
            "SSL_CERT_FILE": tls[0],
            "AZURE_TENANT_ID": vault.TENANT,
            "AZURE_CLIENT_ID": vault.CLIENT,
            "AZURE_CLIENT_SECRET": vault.SECRET,
            "AZURE_AUTHORITY_HOST": vault.server.url,
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://127.0.0.1:{nowhere}",
            **changes,
        }

    return environment


@pytest.fixture
def sign(hallmark, model_file, tmp_path, vault):
    """sign(uri, env, expect) a model; nothing may be written unless all is well, and no secret may
    be said."""

    def run(uri, env, expect=support.OK):
        signature = tmp_path / "out.sig"
        result = hallmark("sign", model_file, "--key", uri, "--signature", signature, env=env,
                          expect=expect)  # fmt: skip
        assert signature.exists() == (expect == support.OK)
        for secret in (vault.SECRET, vault.ASSERTION, vault.HEADER, *vault.tokens):
            assert secret not in result.out + result.err
        return result if expect != support.OK else signature

    return run


def check_signature(path, public, model):
    """By Python's cryptography and nothing of ours."""
    if hasattr(public, "curve"):
        oracle.verify_oms(path.read_text(), public, {model.name: model.read_bytes()})
        return
    _, payload, signature, _ = oracle.read_oms(path.read_text())
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    public.verify(signature, oracle.pae(payload), pss, hashes.SHA256())


# ---- the vault itself ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, algorithm", [("P-256", "ES256"), ("P-521", "ES512"), ("2048", "PS256")]
)
def test_the_vault_is_one_to_microsofts_sdk(vault, azure, tls, kind, algorithm):
    if not cloud.PYTHON.exists():
        pytest.skip(f"no {cloud.PYTHON}: run scripts/setup.sh test")
    key = vault.key(f"sdk-{kind}", kind)
    digest = hashlib.new("sha512" if algorithm == "ES512" else "sha256", b"message").digest()
    environment = support.Program("true").environment(azure())
    done = subprocess.run(
        [cloud.PYTHON, support.ROOT / "tests" / "interop" / "azure_sdk.py", vault.server.url,
         f"sdk-{kind}", algorithm, digest.hex(), tls[0]],
        env=environment, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["version"] == key.version
    # The SDK asked this server, and did not sign with anything of its own.
    assert any("/sign?" in request[1] for request in vault.server.requests)


# ---- signing and verifying ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_key(hallmark, vault, azure, sign, model_file, tmp_path, kind):
    key = vault.key(f"key-{kind}", kind, hardware=kind in ("P-384", "3072"))
    uri = vault.uri(f"key-{kind}")
    signature = sign(uri, azure())
    check_signature(signature, key.private.public_key(), model_file)
    verify = ["verify", model_file, "--signature", signature, "--key"]
    report = hallmark(*verify, uri, "--json", env=azure(), expect=support.OK).json()
    assert report["signer"]["algorithm"] == KINDS[kind]
    public = tmp_path / "key.pub"
    public.write_bytes(support.public_pem(key.private))
    hallmark(*verify, public, expect=support.OK)


@pytest.mark.parametrize("kind", ["P-256", "P-521"])
def test_every_signature_has_one_spelling(vault, azure, sign, model_file, kind):
    """r and s come with leading zeros or without: some of forty signatures have a short one."""
    key = vault.keys["signer"][-1] if kind == "P-256" else vault.key("long", kind)
    for _ in range(8):
        signature = sign(vault.uri("signer" if kind == "P-256" else "long"), azure())
        check_signature(signature, key.private.public_key(), model_file)
        signature.unlink()


def test_a_version_is_kept_to(hallmark, vault, azure, sign, model_file):
    old = vault.key("rotated", "P-256")
    new = vault.key("rotated", "P-256")
    signature = sign(vault.uri("rotated", old.version), azure())
    check_signature(signature, old.private.public_key(), model_file)
    verify = ["verify", model_file, "--signature", signature, "--key"]
    hallmark(*verify, vault.uri("rotated", old.version), env=azure(), expect=support.OK)
    hallmark(*verify, vault.uri("rotated"), env=azure(), expect=support.REFUSED)
    signature.unlink()
    check_signature(sign(vault.uri("rotated"), azure()), new.private.public_key(), model_file)


def test_a_rotation_in_between_does_not_matter(vault, azure, sign, model_file):
    """The newest version is asked for once; what signs is the version whose public half came."""
    first = vault.key("moving", "P-256")

    def rotate(request):
        if "/sign?" in request[1] and len(vault.keys["moving"]) == 1:
            vault.key("moving", "P-256")

    vault.before = rotate
    check_signature(sign(vault.uri("moving"), azure()), first.private.public_key(), model_file)
    assert len(vault.keys["moving"]) == 2


@pytest.mark.parametrize(
    "uri",
    ["azurekms:", "azurekms://", "azurekms://vault", "azurekms://vault/key",
     "azurekms://v.vault.azure.net/", "azurekms://v.vault.azure.net/a/b/c",
     "azurekms://v.vault.azure.net/a?b=c", "azurekms://u@v.vault.azure.net/a",
     "azurekms://v.vault.azure.net/../secrets", "azurekms://v.vault.azure.net/a/notaversion!",
     "azurekms:///key", "azurekms://v.vault.azure.net:x/key", "azurekms://[::1]:8443/key"],
)  # fmt: skip
def test_uris_that_name_no_key(sign, azure, uri, vault):
    result = sign(uri, azure(), support.USAGE)
    assert "azurekms://VAULT.vault.azure.net/KEY" in result.err
    assert vault.server.requests == []


def test_what_a_vault_cannot_sign_is_said_first(hallmark, vault, azure, model_file,
                                                metadata_file):  # fmt: skip
    os.truncate(model_file, 1 << 40)  # would take minutes to read
    vault.key("pss", "2048")
    result = hallmark("sign", model_file, "--key", vault.uri("pss"), "--format", "sig-json",
                      "--metadata", metadata_file, env=azure(), expect=support.USAGE)  # fmt: skip
    assert "longest salt" in result.err
    assert not any("/sign?" in request[1] for request in vault.server.requests)


# ---- trust --------------------------------------------------------------------------------------


def test_a_certificate_that_is_not_trusted(sign, azure, vault):
    result = sign(vault.uri("signer"), azure(SSL_CERT_FILE=None), support.UNDECIDED)
    assert "certificate" in result.err and "SSL_CERT_FILE" in result.err
    assert vault.server.requests == []


def test_a_certificate_for_another_name(sign, azure, vault):
    uri = f"azurekms://127.0.0.1:{vault.server.port}/signer"
    result = sign(uri, azure(), support.UNDECIDED)
    assert f"cannot reach Azure Key Vault at https://127.0.0.1:{vault.server.port}" in result.err


def test_a_secret_does_not_go_over_plain_http(sign, azure, vault):
    result = sign(vault.uri("signer"), azure(AZURE_AUTHORITY_HOST="http://login.example.org"),
                  support.USAGE)  # fmt: skip
    assert "plain http is only for this machine" in result.err


def test_a_token_is_for_the_vault_that_is_asked(sign, azure, vault):
    """A token for the real vaults would let whoever the URI names use them."""
    sign(vault.uri("signer"), azure())
    assert set(vault.tokens.values()) == {f"https://{vault.host}"}


# ---- refusals -----------------------------------------------------------------------------------


def test_a_disabled_key(hallmark, sign, vault, azure, model_file):
    key = vault.key("disabled", "P-256")
    signature = sign(vault.uri("disabled"), azure())
    key.enabled = False
    result = hallmark("sign", model_file, "--key", vault.uri("disabled"), env=azure(),
                      expect=support.UNDECIDED)  # fmt: skip
    assert "is disabled" in result.err
    result = hallmark("verify", model_file, "--signature", signature, "--key",
                      vault.uri("disabled"), env=azure(), expect=support.UNDECIDED)  # fmt: skip
    assert "is disabled" in result.err


def test_a_key_disabled_while_the_model_is_hashed(sign, vault, azure):
    key = vault.key("vanishing", "P-256")

    def disable(request):
        key.enabled = "/sign?" not in request[1]

    vault.before = disable
    result = sign(vault.uri("vanishing"), azure(), support.UNDECIDED)
    assert "HTTP 403 Forbidden" in result.err and "enable the key" in result.err


def test_no_such_key(sign, vault, azure):
    result = sign(vault.uri("nothing"), azure(), support.UNDECIDED)
    assert "HTTP 404 KeyNotFound" in result.err and "check the vault" in result.err


def test_an_identity_without_permission(sign, vault, azure):
    vault.before = lambda request: ("/keys/" in request[1] or None) and cloud.error(
        403, "Forbidden", "Caller is not authorized to perform action on resource.",
        "ForbiddenByRbac")  # fmt: skip
    result = sign(vault.uri("signer"), azure(), support.UNDECIDED)
    assert "Caller is not authorized" in result.err and "Key Vault Crypto User" in result.err


def test_throttling_is_waited_out(sign, vault, azure):
    answers = [cloud.error(429, "Throttled", "slower", Retry_After="1"),
               cloud.error(503, "ServiceUnavailable", "later")]  # fmt: skip

    def busy(request):
        return answers.pop() if answers and "/sign?" in request[1] else None

    vault.before = busy
    sign(vault.uri("signer"), azure())
    assert sum("/sign?" in request[1] for request in vault.server.requests) == 3


def test_a_vault_that_is_down(sign, azure, nowhere):
    result = sign(f"azurekms://localhost:{nowhere}/signer", azure(), support.UNDECIDED)
    assert f"cannot reach Azure Key Vault at https://localhost:{nowhere}" in result.err


def test_a_vault_that_hangs_up(sign, vault, azure, tls):
    with cloud.Server(lambda request: None, tls) as server:
        result = sign(f"azurekms://localhost:{server.port}/signer", azure(), support.UNDECIDED)
        assert len(server.requests) == 4
    assert "cannot reach Azure Key Vault" in result.err


@pytest.mark.parametrize(
    "change",
    [{"key": None}, {"key": {}}, {"attributes": None}, {"attributes": {"enabled": "yes"}},
     {"key": {"kid": "x"}}, {"key": {"kid": "https://v/keys/a/zz"}},
     {"key": {"kid": "https://v/keys/a/12", "kty": "oct", "k": "AAAA"}},
     {"key": {"kid": "https://v/keys/a/12", "kty": "EC", "crv": "P-256K", "x": "AA", "y": "AA"}},
     {"key": {"kid": "https://v/keys/a/12", "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}},
     {"key": {"kid": "https://v/keys/a/12", "kty": "EC", "crv": "P-256", "x": "A" * 43,
              "y": "A" * 43}},
     {"key": {"kid": "https://v/keys/a/12", "kty": "RSA", "n": "A+A=", "e": "AQAB"}},
     {"key": {"kid": "https://v/keys/a/12", "kty": "RSA", "n": "AQAB", "e": "AQAB"}}],
    ids=range(12),
)  # fmt: skip
def test_answers_that_make_no_sense(sign, vault, azure, change):
    key = vault.keys["signer"][-1]
    bundle = {"key": key.jwk("https://v/keys/a/12"), "attributes": {"enabled": True}} | change

    def lie(request):
        return cloud.json_answer(200, bundle) if "/keys/" in request[1] else None

    vault.before = lie
    sign(vault.uri("signer"), azure(), support.UNDECIDED)


@pytest.mark.parametrize("value", ["", "AA", "A" * 87, "A" * 1000, "!!!!", None, 3])
def test_signatures_that_make_no_sense(sign, vault, azure, value):
    def lie(request):
        return cloud.json_answer(200, {"value": value}) if "/sign?" in request[1] else None

    vault.before = lie
    sign(vault.uri("signer"), azure(), support.UNDECIDED)


def test_secrets_that_a_service_repeats_are_not_shown(sign, vault, azure):
    vault.before = lambda request: ("/keys/" in request[1] or None) and cloud.error(
        401, "Unauthorized", "bad token: " + request[2]["Authorization"])  # fmt: skip
    result = sign(vault.uri("signer"), azure(), support.UNDECIDED)
    assert "repeats a secret" in result.err


# ---- credentials --------------------------------------------------------------------------------

NO_SECRET = {"AZURE_CLIENT_SECRET": None}


def test_a_wrong_secret(sign, vault, azure):
    """The answer of the tests' Entra ID repeats it."""
    result = sign(vault.uri("signer"), azure(AZURE_CLIENT_SECRET="wrong-secret-of-a-client"),
                  support.UNDECIDED)  # fmt: skip
    assert "Microsoft Entra ID" in result.err and "HTTP 401 invalid_client" in result.err
    assert "AZURE_CLIENT_SECRET" in result.err and "wrong-secret-of-a-client" not in result.err


def test_a_secret_without_the_rest(sign, vault, azure):
    result = sign(vault.uri("signer"), azure(AZURE_TENANT_ID=None), support.UNDECIDED)
    assert "AZURE_TENANT_ID" in result.err
    result = sign(vault.uri("signer"), azure(AZURE_TENANT_ID="../x"), support.UNDECIDED)
    assert "HTTP 404" in result.err  # escaped, it is a tenant that is not known


def test_workload_identity(sign, vault, azure, tmp_path):
    token = tmp_path / "federated"
    token.write_text(vault.ASSERTION + "\n")
    sign(vault.uri("signer"), azure(**NO_SECRET, AZURE_FEDERATED_TOKEN_FILE=token))
    (tmp_path / "out.sig").unlink()
    token.write_text("not a token")
    result = sign(vault.uri("signer"), azure(**NO_SECRET, AZURE_FEDERATED_TOKEN_FILE=token),
                  support.UNDECIDED)  # fmt: skip
    assert "holds no token" in result.err


def test_managed_identity_of_a_machine(sign, vault, azure):
    env = azure(**NO_SECRET, AZURE_TENANT_ID=None, AZURE_CLIENT_ID=None,
                AZURE_POD_IDENTITY_AUTHORITY_HOST=vault.plain.url)  # fmt: skip
    sign(vault.uri("signer"), env)
    assert all(request[2]["Metadata"] == "true" for request in vault.plain.requests)


def test_managed_identity_by_client_id(sign, vault, azure, tmp_path):
    env = dict(**NO_SECRET, AZURE_POD_IDENTITY_AUTHORITY_HOST=vault.plain.url)
    sign(vault.uri("signer"), azure(**env))
    (tmp_path / "out.sig").unlink()
    result = sign(vault.uri("signer"), azure(**env, AZURE_CLIENT_ID="other"), support.UNDECIDED)
    assert "Identity not found" in result.err


def test_managed_identity_of_app_service(sign, vault, azure):
    env = azure(**NO_SECRET, IDENTITY_ENDPOINT=vault.plain.url + "/app-service/token",
                IDENTITY_HEADER=vault.HEADER)  # fmt: skip
    sign(vault.uri("signer"), env)


def test_no_credentials_says_where_it_looked(sign, vault, azure):
    result = sign(vault.uri("signer"), azure(**NO_SECRET), support.UNDECIDED)
    for place in ("AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_ENDPOINT",
                  "managed identity endpoint at http://127.0.0.1"):  # fmt: skip
        assert place in result.err
