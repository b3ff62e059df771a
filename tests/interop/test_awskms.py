# SPDX-License-Identifier: Apache-2.0
"""Keys in AWS KMS, which is here moto's server (see moto_kms.py), over loopback only."""

import email.utils
import json
import os
import re
import time

import cloud
import oracle
import pytest
import support
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

# moto's access keys have this shape; without enforcement any will do.
ID, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
TOKEN = "FwoGZ/token=="
SPECS = {
    "ECC_NIST_P256": "ECDSA P-256 SHA-256",
    "ECC_NIST_P384": "ECDSA P-384 SHA-384",
    "ECC_NIST_P521": "ECDSA P-521 SHA-512",
    "RSA_2048": "RSA-PSS SHA-256",
    "RSA_3072": "RSA-PSS SHA-256",
    "RSA_4096": "RSA-PSS SHA-256",
}


@pytest.fixture
def aws(tmp_path, moto, nowhere):
    """aws(NAME=value, ...): an environment in which nothing but loopback is asked, with credentials
    from the environment unless told otherwise (None: not set)."""
    home = tmp_path / "home"
    home.mkdir()

    def environment(**changes):
        return {
            **cloud.clean(os.environ),
            "HOME": home,
            "AWS_ACCESS_KEY_ID": ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": moto.url,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{nowhere}",
            **changes,
        }

    return environment


NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}


@pytest.fixture(scope="session")
def key(moto):
    return moto.key("ECC_NIST_P256")


@pytest.fixture
def sign(hallmark, model_file, tmp_path):
    """sign(uri, env, expect) a model; nothing may be written unless all is well, and no secret may
    be said."""

    def run(uri, env, expect=support.OK, hidden=(), *options):
        signature = tmp_path / "out.sig"
        result = hallmark("sign", model_file, "--key", uri, "--signature", signature, *options,
                          env=env, expect=expect)  # fmt: skip
        assert signature.exists() == (expect == support.OK)
        no_secrets(result, *hidden)
        return result if expect != support.OK else signature

    return run


def no_secrets(result, *more):
    for secret in (SECRET, TOKEN, *more):
        assert secret not in result.out + result.err


def check_signature(path, public, files):
    """By Python's cryptography and nothing of ours."""
    text = path.read_text()
    if hasattr(public, "curve"):
        oracle.verify_oms(text, public, files)
        return
    _, payload, signature, _ = oracle.read_oms(text)
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    public.verify(signature, oracle.pae(payload), pss, hashes.SHA256())


# ---- signing and verifying ----------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS)
def test_each_kind_of_key(hallmark, moto, aws, sign, model_file, tmp_path, spec):
    key = moto.key(spec)
    signature = sign(key.uri, aws())
    check_signature(signature, key.public(), {model_file.name: model_file.read_bytes()})
    verify = ["verify", model_file, "--signature", signature, "--key"]
    report = hallmark(*verify, key.uri, "--json", env=aws(), expect=support.OK).json()
    assert report["signer"]["algorithm"] == SPECS[spec]
    public = tmp_path / "key.pub"
    public.write_bytes(oracle.public_pem(key.public()))
    hallmark(*verify, public, expect=support.OK)


def test_another_key_is_not_believed(hallmark, moto, aws, sign, key, model_file):
    signature = sign(key.uri, aws())
    other = moto.key("ECC_NIST_P256")
    result = hallmark("verify", model_file, "--signature", signature, "--key", other.uri,
                      env=aws(), expect=support.REFUSED)  # fmt: skip
    assert "untrusted-signer" in result.err or "bad-signature" in result.err


def test_a_changed_model_is_refused(hallmark, aws, sign, key, model_file):
    signature = sign(key.uri, aws())
    support.flip(model_file, 77)
    hallmark("verify", model_file, "--signature", signature, "--key", key.uri, env=aws(),
             expect=support.REFUSED)  # fmt: skip


def test_the_key_by_id_and_alias(aws, sign, moto, model_file):
    key = moto.key("ECC_NIST_P256")
    key.alias("team/models_v1")
    for uri in (f"awskms:///{key.id}", "awskms:///alias/team/models_v1", f"awskms:///{key.arn}",
                "awskms:///" + key.arn.rsplit(":", 1)[0] + ":alias/team/models_v1"):  # fmt: skip
        check_signature(sign(uri, aws()), key.public(), {model_file.name: model_file.read_bytes()})
        (model_file.parent / "out.sig").unlink()


@pytest.mark.parametrize(
    "uri",
    ["awskms:", "awskms:///", "awskms://", "awskms:/x", "awskms:///x", "awskms:///alias/",
     "awskms:///arn:aws:kms:us-east-1:1:key/x", "awskms:///arn:aws:s3:us-east-1:123456789012:key/x",
     "awskms:///alias/a?b", "awskms:///alias/a\nb", "awskms:///../../x",
     "awskms:///arn:aws:kms:evil.example.org/:1:alias/x",
     "awskms://user@localhost/alias/x", "awskms://localhost#/alias/x"],
)  # fmt: skip
def test_uris_that_name_no_key(sign, aws, uri):
    result = sign(uri, aws(), support.USAGE)
    assert "awskms" in result.err or "endpoint" in result.err


def test_an_endpoint_in_the_uri_is_asked_by_tls(hallmark, aws, tls, model_file, tmp_path):
    """As Sigstore's tools have it. The variables that name an endpoint have no say then."""
    with cloud.Moto("-c", tls[0], "-k", tls[1], secure=True) as server:
        key = server.key("ECC_NIST_P384")
        uri = f"awskms://localhost:{server.port}/{key.id}"
        command = ["sign", model_file, "--key", uri, "--signature", tmp_path / "s"]
        result = hallmark(*command, env=aws(), expect=support.UNDECIDED)
        assert "certificate" in result.err and "SSL_CERT_FILE" in result.err
        for variable in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"):
            hallmark(*command, env=aws(**{variable: tls[0]}), expect=support.OK)
        check_signature(tmp_path / "s", key.public(), {model_file.name: model_file.read_bytes()})
        # The certificate is not for this name.
        uri = f"awskms://127.0.0.1:{server.port}/{key.id}"
        result = hallmark("verify", model_file, "--signature", tmp_path / "s", "--key", uri,
                          env=aws(SSL_CERT_FILE=tls[0]), expect=support.UNDECIDED)  # fmt: skip
        assert "cannot reach AWS KMS at https://127.0.0.1" in result.err


def test_plain_http_only_to_this_machine(sign, aws, key):
    result = sign(key.uri, aws(AWS_ENDPOINT_URL_KMS="http://kms.example.org/"), support.USAGE)
    assert "plain http is only for this machine" in result.err


def test_other_protocols_are_not_spoken(sign, aws, key):
    result = sign(key.uri, aws(AWS_ENDPOINT_URL_KMS="file:///etc/passwd"), support.USAGE)
    assert "https://" in result.err


@pytest.mark.parametrize("chosen", ["sig-json", "manifest-json"])
@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P384"])
def test_what_kms_cannot_sign_is_said_first(hallmark, moto, aws, spec, chosen, tmp_path,
                                            metadata_file):  # fmt: skip
    """The JSON formats want RSA-PSS with the longest salt. The model would take minutes to read."""
    key = moto.key(spec)
    model = tmp_path / "weights.bin"
    model.touch()
    os.truncate(model, 1 << 40)
    result = hallmark("sign", model, "--key", key.uri, "--format", chosen, "--metadata",
                      metadata_file, env=aws(), expect=support.USAGE)  # fmt: skip
    if spec == "RSA_2048":
        message = ("hallmark: AWS KMS cannot sign for sig-json: it makes no RSA-PSS signatures with "
                   "the longest salt")  # fmt: skip
        assert message.replace("sig-json", chosen) in result.err
    else:
        assert "RSA key" in result.err


def test_keys_of_no_use(sign, moto, aws):
    encrypting = moto.key("RSA_2048", "ENCRYPT_DECRYPT")
    assert "SIGN_VERIFY" in sign(encrypting.uri, aws(), support.USAGE).err
    koblitz = moto.key("ECC_SECG_P256K1")
    assert "secp256k1" in sign(koblitz.uri, aws(), support.UNDECIDED).err


# ---- refusals -----------------------------------------------------------------------------------


def test_a_disabled_key(hallmark, sign, moto, aws, model_file):
    key = moto.key("ECC_NIST_P256")
    signature = sign(key.uri, aws())
    key.disable()
    result = hallmark("sign", model_file, "--key", key.uri, env=aws(), expect=support.UNDECIDED)
    assert "AWS KMS" in result.err and "HTTP 400 DisabledException" in result.err
    assert "enable the key" in result.err
    result = hallmark("verify", model_file, "--signature", signature, "--key", key.uri, "--json",
                      env=aws(), expect=support.UNDECIDED)  # fmt: skip
    assert "DisabledException" in result.out + result.err


def test_a_region_without_the_key(sign, aws, key):
    result = sign(f"awskms:///{key.id}", aws(AWS_REGION="eu-central-1"), support.UNDECIDED)
    assert "NotFoundException" in result.err and "eu-central-1" in result.err


def test_the_region_of_an_arn_wins(sign, moto, aws):
    key = moto.key("ECC_NIST_P256", region="eu-west-3")
    sign(key.uri, aws(AWS_REGION="eu-central-1"))


def test_regions(sign, moto, aws, tmp_path):
    key = moto.key("ECC_NIST_P256", region="eu-west-3")
    uri = f"awskms:///{key.id}"
    config = tmp_path / "config"
    config.write_text("[default]\nregion = us-east-1\n[profile ci]\nregion=eu-west-3 # Paris\n")
    sign(uri, aws(AWS_REGION=None, AWS_DEFAULT_REGION="eu-west-3"))
    (tmp_path / "out.sig").unlink()
    sign(uri, aws(AWS_REGION=None, AWS_CONFIG_FILE=config, AWS_PROFILE="ci"))
    (tmp_path / "out.sig").unlink()
    result = sign(uri, aws(AWS_REGION=None, AWS_EC2_METADATA_DISABLED="true"), support.UNDECIDED)
    assert "no AWS region is known" in result.err and "AWS_REGION" in result.err
    result = sign(uri, aws(AWS_REGION="evil.example.org/"), support.UNDECIDED)
    assert "no name of an AWS region" in result.err


def test_throttling_is_waited_out(aws, sign, moto, key, model_file):
    def busy(number, request):
        if number in (1, 3):
            return cloud.json_answer(400, {"__type": "ThrottlingException", "message": "slower"})
        return cloud.json_answer(429, {}) if number == 2 else None

    with cloud.proxy(moto.port, busy) as front:
        signature = sign(key.uri, aws(AWS_ENDPOINT_URL_KMS=front.url))
        assert len(front.requests) == 5  # GetPublicKey four times, Sign once
    check_signature(signature, key.public(), {model_file.name: model_file.read_bytes()})


def test_retry_after_is_heeded(aws, sign, moto, key):
    times = []

    def busy(number, request):
        times.append(time.monotonic())
        return cloud.json_answer(503, {}, Retry_After="2") if number == 1 else None

    with cloud.proxy(moto.port, busy) as front:
        sign(key.uri, aws(AWS_ENDPOINT_URL_KMS=front.url))
    assert times[1] - times[0] >= 2


def test_throttling_without_end(aws, sign, key, moto):
    def busy(number, request):
        return cloud.json_answer(400, {"__type": "ThrottlingException", "message": "slower"})

    with cloud.proxy(moto.port, busy) as front:
        result = sign(key.uri, aws(AWS_ENDPOINT_URL_KMS=front.url), support.UNDECIDED)
        assert len(front.requests) == 4
    assert "ThrottlingException" in result.err and "try again later" in result.err


def test_what_is_refused_is_not_asked_again(aws, sign, key):
    def refuse(request):
        return cloud.json_answer(400, {"__type": "AccessDeniedException", "Message": "not you"})

    with cloud.Server(refuse) as server:
        result = sign(key.uri, aws(AWS_ENDPOINT_URL_KMS=server.url), support.UNDECIDED)
        assert len(server.requests) == 1
    assert "AccessDeniedException: not you" in result.err and "kms:Sign" in result.err


def test_a_service_that_is_down(hallmark, aws, sign, key, nowhere, model_file):
    result = sign(key.uri, aws(AWS_ENDPOINT_URL_KMS=f"http://127.0.0.1:{nowhere}"),
                  support.UNDECIDED)  # fmt: skip
    assert f"cannot reach AWS KMS at http://127.0.0.1:{nowhere}" in result.err


def test_a_service_that_goes_down_before_it_signs(aws, sign, moto, key):
    """The model is hashed by then; there must be no signature file."""

    def gone(number, request):
        signing = request[2]["X-Amz-Target"].endswith(".Sign")
        return cloud.json_answer(500, {"__type": "KMSInternalException"}) if signing else None

    with cloud.proxy(moto.port, gone) as front:
        result = sign(key.uri, aws(AWS_ENDPOINT_URL_KMS=front.url), support.UNDECIDED)
    assert "HTTP 500 KMSInternalException" in result.err


def test_a_signature_by_another_key_does_not_leave(aws, sign, moto, key):
    """A service, or who stands for it, that signs with something else."""
    other = moto.key("ECC_NIST_P256")

    def swap(number, request):
        method, path, headers, body = request
        if not headers["X-Amz-Target"].endswith(".Sign"):
            return None
        asked = json.loads(body) | {"KeyId": other.id}
        return cloud.json_answer(200, moto.kms("Sign", **asked))

    with cloud.proxy(moto.port, swap) as front:
        result = sign(key.uri, aws(AWS_ENDPOINT_URL_KMS=front.url), support.UNDECIDED)
    assert "does not verify" in result.err


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"KeyUsage": "SIGN_VERIFY"}',
     b'{"KeyUsage": "SIGN_VERIFY", "PublicKey": 1}',
     b'{"KeyUsage": "SIGN_VERIFY", "PublicKey": "%%%"}',
     b'{"KeyUsage": "SIGN_VERIFY", "PublicKey": "AAAA"}',
     b'{"KeyUsage": "SIGN_VERIFY", "PublicKey": ""}'],
    ids=range(9),
)  # fmt: skip
def test_answers_that_make_no_sense(aws, sign, key, body):
    with cloud.Server(lambda request: (200, {}, body)) as server:
        env = aws(AWS_ENDPOINT_URL_KMS=server.url)
        sign(key.uri, env, (support.UNDECIDED, support.USAGE) if b"SIGN" not in body else 3)


def test_answers_without_end(aws, sign, key, moto):
    """A good answer, but for what is behind it."""
    answer = json.dumps(moto.kms("GetPublicKey", KeyId=key.id)).encode()
    with cloud.Server(lambda request: (200, {}, answer + b" " * 65_536)) as server:
        result = sign(key.uri, aws(AWS_ENDPOINT_URL_KMS=server.url), support.UNDECIDED)
    assert "larger than the 65536 bytes" in result.err


def test_redirects_are_not_followed(aws, sign, key, moto):
    away = (307, {"Location": moto.url}, b"")
    with cloud.Server(lambda request: away) as server:
        result = sign(key.uri, aws(AWS_ENDPOINT_URL_KMS=server.url), support.UNDECIDED)
    assert "HTTP 307" in result.err


def test_secrets_that_a_service_repeats_are_not_shown(aws, sign, key):
    """AWS's own answer to a bad signature repeats the request that it saw, token included."""

    def repeat(request):
        return cloud.json_answer(400, {"__type": f"Bad{TOKEN}", "message": f"{SECRET} {TOKEN}"})

    with cloud.Server(repeat) as server:
        env = aws(AWS_ENDPOINT_URL_KMS=server.url, AWS_SESSION_TOKEN=TOKEN)
        result = sign(key.uri, env, support.UNDECIDED)
    assert "repeats a secret" in result.err


def test_foreign_text_does_not_steer_a_terminal(aws, sign, key):
    def paint(request):
        return cloud.json_answer(400, {"__type": "A\x1b[31m", "message": "red \u202e\x1b[31m text"})

    with cloud.Server(paint) as server:
        result = sign(key.uri, aws(AWS_ENDPOINT_URL_KMS=server.url), support.UNDECIDED)
    assert "\x1b" not in result.err and "\u202e" not in result.err


@pytest.mark.parametrize("off, word", [(-7200, "ahead of"), (7200, "behind")])
def test_a_wrong_clock_is_named(aws, sign, key, off, word):
    def refuse(request):
        return (400, {"Date": email.utils.formatdate(time.time() + off, usegmt=True)},
                b'{"__type": "InvalidSignatureException", "message": "Signature expired: ..."}')  # fmt: skip

    # The server sends a Date of its own before; the later one counts.
    with cloud.Server(refuse) as server:
        result = sign(key.uri, aws(AWS_ENDPOINT_URL_KMS=server.url), support.UNDECIDED)
    assert re.search(rf"clock is 7(19|20)\d s {word}", result.err), result


def test_requests_have_the_real_time(aws, sign, key, moto):
    """HALLMARK_TIME stands in for the clock in reports, not towards a service with one."""
    with cloud.proxy(moto.port, lambda *_: None) as front:
        sign(key.uri, aws(AWS_ENDPOINT_URL_KMS=front.url, HALLMARK_TIME="1000000000"))
        dates = {request[2]["X-Amz-Date"][:4] for request in front.requests}
    assert dates <= {time.strftime("%Y", time.gmtime(time.time() + off)) for off in (-60, 60)}


# ---- credentials --------------------------------------------------------------------------------


def signed_by(server):
    """The access key ids that requests were signed with."""
    headers = [request[2].get("Authorization", "") for request in server.requests]
    return {name for header in headers for name in re.findall("Credential=([^/]+)/", header)}


def test_no_credentials_says_where_it_looked(aws, sign, key):
    result = sign(key.uri, aws(**NO_KEYS), support.UNDECIDED)
    for place in ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "profile default",
                  "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "http://127.0.0.1:"):  # fmt: skip
        assert place in result.err
    result = sign(key.uri, aws(**NO_KEYS, AWS_EC2_METADATA_DISABLED="true"), support.UNDECIDED)
    assert "AWS_EC2_METADATA_DISABLED" in result.err


def test_half_of_a_pair(aws, sign, key):
    result = sign(key.uri, aws(AWS_SECRET_ACCESS_KEY=None), support.UNDECIDED)
    assert "incomplete" in result.err and "environment" in result.err


def test_credentials_from_the_shared_file(aws, sign, moto, key, tmp_path):
    shared = tmp_path / "credentials"
    shared.write_text(
        "# a comment\n[other]\naws_access_key_id=AKIAOTHER\naws_secret_access_key=no\n\n"
        f"[ci]\naws_access_key_id = AKIACI\n aws_nested = x\naws_secret_access_key = {SECRET}\n"
        f"aws_session_token={TOKEN}\n[default]\naws_access_key_id=AKIADEFAULT\n"
        f"aws_secret_access_key={SECRET}\n"
    )
    with cloud.proxy(moto.port, lambda number, request: None) as front:
        env = dict(AWS_ENDPOINT_URL_KMS=front.url, AWS_SHARED_CREDENTIALS_FILE=shared, **NO_KEYS)
        sign(key.uri, aws(**env))
        assert signed_by(front) == {"AKIADEFAULT"}
        front.requests.clear()
        (tmp_path / "out.sig").unlink()
        sign(key.uri, aws(**env, AWS_PROFILE="ci"))
        assert signed_by(front) == {"AKIACI"}
        assert front.requests[0][2]["X-Amz-Security-Token"] == TOKEN


def test_credentials_from_the_home_directory(aws, sign, moto, key, tmp_path):
    folder = tmp_path / "home" / ".aws"
    env = aws(**NO_KEYS, AWS_REGION=None)
    folder.mkdir()
    (folder / "config").write_text(
        f"[default]\nregion=us-east-1\naws_access_key_id=AKIAHOME\naws_secret_access_key={SECRET}\n"
    )
    sign(f"awskms:///{key.id}", env)


def test_a_profile_by_ways_not_known_here(aws, sign, key, tmp_path):
    config = tmp_path / "config"
    config.write_text("[profile sso]\nsso_session = corp\n")
    result = sign(key.uri, aws(**NO_KEYS, AWS_CONFIG_FILE=config, AWS_PROFILE="sso"),
                  support.UNDECIDED)  # fmt: skip
    assert "sso_session, which is not supported" in result.err


def test_a_damaged_shared_file_is_not_quoted(aws, sign, key, tmp_path):
    shared = tmp_path / "credentials"
    shared.write_text(f"[default]\n{SECRET}\n")
    result = sign(key.uri, aws(**NO_KEYS, AWS_SHARED_CREDENTIALS_FILE=shared), support.UNDECIDED)
    assert "line 2" in result.err


def test_web_identity(aws, sign, moto, key, tmp_path):
    token = tmp_path / "token"
    token.write_text("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl\n")
    role = "arn:aws:iam::123456789012:role/signer"
    with cloud.proxy(moto.port, lambda number, request: None) as front:
        env = aws(**NO_KEYS, AWS_ENDPOINT_URL_STS=front.url, AWS_ENDPOINT_URL_KMS=front.url,
                  AWS_WEB_IDENTITY_TOKEN_FILE=token, AWS_ROLE_ARN=role)  # fmt: skip
        sign(key.uri, env, support.OK, [token.read_text().strip()])
        assert b"AssumeRoleWithWebIdentity" in front.requests[0][3]
        assert all(name.startswith("ASIA") for name in signed_by(front))
        assert "X-Amz-Security-Token" in front.requests[1][2]


def test_web_identity_refused(aws, sign, key, tmp_path):
    token = tmp_path / "token"
    token.write_text("eyJhbGciOiJSUzI1NiJ9.e30.c2ln")
    xml = (b"<ErrorResponse><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code>"
           b"<Message>Couldn't verify eyJhbGciOiJSUzI1NiJ9.e30.c2ln</Message></Error>"
           b"</ErrorResponse>")  # fmt: skip
    with cloud.Server(lambda request: (400, {}, xml)) as sts:
        env = aws(**NO_KEYS, AWS_ENDPOINT_URL_STS=sts.url, AWS_WEB_IDENTITY_TOKEN_FILE=token,
                  AWS_ROLE_ARN="arn:aws:iam::1:role/x")  # fmt: skip
        result = sign(key.uri, env, support.UNDECIDED, ["eyJhbGciOiJSUzI1NiJ9"])
    assert "AWS STS" in result.err and "HTTP 400 InvalidIdentityToken" in result.err
    env = aws(**NO_KEYS, AWS_WEB_IDENTITY_TOKEN_FILE=token)
    assert "AWS_ROLE_ARN" in sign(key.uri, env, support.UNDECIDED).err
    env = aws(**NO_KEYS, AWS_WEB_IDENTITY_TOKEN_FILE=tmp_path / "no", AWS_ROLE_ARN="x")
    assert "web identity token" in sign(key.uri, env, support.UNDECIDED).err


def test_container_credentials(aws, sign, moto, key, tmp_path):
    given = {"AccessKeyId": "ASIACONTAINER", "SecretAccessKey": SECRET, "Token": TOKEN,
             "Expiration": "2100-01-01T00:00:00Z"}  # fmt: skip
    token = tmp_path / "token"
    token.write_text("pod-identity-token\n")

    def answer(request):
        good = request[2].get("Authorization") == "pod-identity-token"
        return cloud.json_answer(200, given) if good else cloud.json_answer(401, {})

    with cloud.Server(answer) as service, cloud.proxy(moto.port, lambda *_: None) as front:
        env = dict(**NO_KEYS, AWS_CONTAINER_CREDENTIALS_FULL_URI=service.url + "/creds",
                   AWS_ENDPOINT_URL_KMS=front.url)  # fmt: skip
        sign(key.uri, aws(**env, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=token))
        assert signed_by(front) == {"ASIACONTAINER"}
        (tmp_path / "out.sig").unlink()
        sign(key.uri, aws(**env, AWS_CONTAINER_AUTHORIZATION_TOKEN="pod-identity-token"))
        (tmp_path / "out.sig").unlink()
        result = sign(key.uri, aws(**env), support.UNDECIDED)
        assert "credential service" in result.err and "HTTP 401" in result.err


def test_instance_metadata(aws, sign, moto, key):
    """IMDSv2 of moto: a token first, then role and credentials; the region too."""
    with cloud.proxy(moto.port, lambda *_: None) as front:
        env = aws(**NO_KEYS, AWS_REGION=None, AWS_EC2_METADATA_SERVICE_ENDPOINT=front.url + "/",
                  AWS_ENDPOINT_URL_KMS=front.url)  # fmt: skip
        sign(f"awskms:///{key.id}", env, support.OK, ["test-secret-key"])
        assert signed_by(front) == {"test-key"}
        asked = [(r[0], r[1]) for r in front.requests]
        assert asked[0] == ("PUT", "/latest/api/token")
        assert ("GET", "/latest/meta-data/placement/region") in asked
        assert all(r[2].get("X-aws-ec2-metadata-token") for r in front.requests if r[0] == "GET")


def test_instance_metadata_with_a_hostile_role(aws, sign, key):
    def answer(request):
        if request[0] == "PUT":
            return 200, {}, b"token"
        return 200, {}, b"../../../user-data"

    with cloud.Server(answer) as service:
        env = aws(**NO_KEYS, AWS_EC2_METADATA_SERVICE_ENDPOINT=service.url)
        result = sign(key.uri, env, support.UNDECIDED)
        assert len(service.requests) == 2
    assert "names no role" in result.err


# ---- request signatures, checked by botocore inside moto -----------------------------------------


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A moto that checks who asks: (server, key, access key id, secret)."""
    with cloud.Moto() as server:
        key = server.key("ECC_NIST_P256")
        server.iam("CreateUser", UserName="signer")
        policy = {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["kms:GetPublicKey", "kms:Sign"], "Resource": "*"}]}  # fmt: skip
        server.iam("PutUserPolicy", UserName="signer", PolicyName="p",
                   PolicyDocument=json.dumps(policy))  # fmt: skip
        made = server.iam("CreateAccessKey", UserName="signer")
        server.iam("CreateUser", UserName="stranger")
        other = server.iam("CreateAccessKey", UserName="stranger")
        server.demand_authorization(True)
        pairs = [(re.search("<AccessKeyId>(.*?)<", x).group(1),
                  re.search("<SecretAccessKey>(.*?)<", x).group(1)) for x in (made, other)]  # fmt: skip
        yield server, key, pairs[0], pairs[1]


def test_requests_are_signed_as_botocore_signs_them(aws, sign, strict):
    server, key, (key_id, secret), _ = strict
    env = aws(AWS_ENDPOINT_URL_KMS=server.url, AWS_ACCESS_KEY_ID=key_id,
              AWS_SECRET_ACCESS_KEY=secret)  # fmt: skip
    sign(key.uri, env, support.OK, [secret])


def test_a_wrong_secret(aws, sign, strict):
    server, key, (key_id, secret), _ = strict
    env = aws(AWS_ENDPOINT_URL_KMS=server.url, AWS_ACCESS_KEY_ID=key_id,
              AWS_SECRET_ACCESS_KEY=secret[:-1] + "!")  # fmt: skip
    result = sign(key.uri, env, support.UNDECIDED, [secret[:-1]])
    assert "HTTP 403" in result.err and "from the environment" in result.err


def test_an_identity_without_permission(aws, sign, strict):
    server, key, _, (key_id, secret) = strict
    env = aws(AWS_ENDPOINT_URL_KMS=server.url, AWS_ACCESS_KEY_ID=key_id,
              AWS_SECRET_ACCESS_KEY=secret)  # fmt: skip
    result = sign(key.uri, env, support.UNDECIDED, [secret])
    assert "AWS KMS did not give the public key of" in result.err
    assert "HTTP 403" in result.err and "kms:Sign" in result.err


# ---- one scheme more or less ---------------------------------------------------------------------


def test_key_services_that_are_not_known(hallmark, model_file):
    for uri in ("gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k", "hashivault://k"):
        result = hallmark("sign", model_file, "--key", uri, expect=support.USAGE)
        assert "awskms:" in result.err and "azurekms:" in result.err
        if uri.startswith("gcpkms:"):
            assert 'hallmark: keys of the kind "gcpkms:" are not known' in result.err
        else:
            assert 'keys of the kind "hashivault:" are not known' in result.err


def test_the_build_says_what_it_has(hallmark):
    assert "HTTPS: libcurl/" in hallmark("--version", expect=support.OK).out
