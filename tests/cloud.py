# SPDX-License-Identifier: Apache-2.0
"""Servers for the tests of key services. All of them listen on loopback only."""

import base64
import contextlib
import datetime
import http.client
import http.server
import ipaddress
import json
import secrets
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse

import support
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.x509.oid import NameOID

PYTHON = support.ROOT / "build" / "venv-cloud" / "bin" / "python"
MOTO = support.ROOT / "tests" / "interop" / "moto_kms.py"

# Whatever the caller's environment says of clouds and proxies must not reach the program.
PREFIXES = ("AWS_", "AZURE_", "IDENTITY_", "MSI_", "CURL_", "SSL_CERT", "http_proxy", "https_proxy",
            "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")  # fmt: skip


def clean(environment):
    """None for each variable of the kind: Program() then leaves it out."""
    return {name: None for name in environment if name.startswith(PREFIXES)}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process=None, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process is None or process.poll() is None, "the server ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens at port {port}")


def tls_certificate(folder, name="localhost"):
    """A self-signed certificate for `name` and 127.0.0.2: paths of certificate and key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.2"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.crt", folder / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(support.private_pem(key))
    return paths


# ---- AWS ----------------------------------------------------------------------------------------


class Moto:
    """moto's server in a process of its own."""

    def __init__(self, *options, secure=False):
        self.port = free_port()
        self.url = f"{'https' if secure else 'http'}://localhost:{self.port}"
        self.process = subprocess.Popen(
            [PYTHON, MOTO, "-p", str(self.port), *map(str, options)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "MOTO_ACCOUNT_ID": "123456789012"},
        )  # fmt: skip
        self.secure = secure

    def __enter__(self):
        wait_for(self.port, self.process)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)

    def post(self, path, body, headers):
        if self.secure:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection = http.client.HTTPSConnection("localhost", self.port, context=context)
        else:
            connection = http.client.HTTPConnection("localhost", self.port)
        with contextlib.closing(connection):
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
            assert answer.status == 200, data
            return data

    def kms(self, operation, region="us-east-1", **parameters):
        """An operation of KMS as its administrator, who is not asked who he is."""
        scope = f"AKIAADMIN/20260101/{region}/kms/aws4_request"
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"TrentService.{operation}",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=, Signature=",
        }
        return json.loads(self.post("/", json.dumps(parameters), headers) or "null")

    def iam(self, action, **parameters):
        scope = "AKIAADMIN/20260101/us-east-1/iam/aws4_request"
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=, Signature=",
        }
        body = urllib.parse.urlencode({"Action": action, "Version": "2010-05-08", **parameters})
        return self.post("/", body, headers).decode()

    def demand_authorization(self, demand):
        """From now on a request must be signed by somebody who may do what it asks."""
        self.post("/moto-api/reset-auth", b"0" if demand else b"inf", {})

    def key(self, spec, usage="SIGN_VERIFY", region="us-east-1"):
        made = self.kms("CreateKey", region, KeySpec=spec, KeyUsage=usage)["KeyMetadata"]
        return MotoKey(self, made["KeyId"], made["Arn"], region)


class MotoKey:
    def __init__(self, server, key_id, arn, region):
        self.server, self.id, self.arn, self.region = server, key_id, arn, region
        self.uri = f"awskms:///{arn}"

    def public(self):
        der = self.server.kms("GetPublicKey", self.region, KeyId=self.id)["PublicKey"]
        return serialization.load_der_public_key(base64.b64decode(der))

    def alias(self, name):
        self.server.kms("CreateAlias", self.region, AliasName=f"alias/{name}", TargetKeyId=self.id)

    def disable(self):
        self.server.kms("DisableKey", self.region, KeyId=self.id)


# ---- in between ---------------------------------------------------------------------------------


class Server:
    """An HTTP server in a thread. `answer(request) -> (status, headers, body)` says what it does;
    `requests` is what came: (method, path, headers, body)."""

    def __init__(self, answer, certificate=None, host="127.0.0.1"):
        self.requests = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self):
                length = int(self.headers.get("Content-Length") or 0)
                request = (self.command, self.path, self.headers, self.rfile.read(length))
                outer.requests.append(request)
                answered = answer(request)
                if answered is None:  # hang up
                    self.close_connection = True
                    return
                status, headers, body = answered
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = serve

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((host, 0), Handler)
        self.server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.server.handle_error = lambda *_: None
        self.port = self.server.server_address[1]
        self.url = f"{'https' if certificate else 'http'}://localhost:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def json_answer(status, value, **headers):
    headers = {name.replace("_", "-"): text for name, text in headers.items()}
    return status, {"Content-Type": "application/json", **headers}, json.dumps(value).encode()


def proxy(target_port, before):
    """A server in front of one at `target_port`: `before(number, request)` may give an answer of
    its own to the request of that number; where it gives None the request goes through."""
    count = [0]

    def answer(request):
        count[0] += 1
        own = before(count[0], request)
        if own is not None:
            return own
        method, path, headers, body = request
        connection = http.client.HTTPConnection("127.0.0.1", target_port)
        with contextlib.closing(connection):
            connection.request(method, path, body, dict(headers.items()))
            real = connection.getresponse()
            return real.status, {"Content-Type": real.headers["Content-Type"]}, real.read()

    return Server(answer)


# ---- Azure --------------------------------------------------------------------------------------


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def number(value, length=None):
    return b64url(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


def error(status, code, message, inner=None, **headers):
    body = {"error": {"code": code, "message": message}}
    if inner:
        body["error"]["innererror"] = {"code": inner}
    return json_answer(status, body, **headers)


class VaultKey:
    CURVES = {"P-256": (ec.SECP256R1, 32, "ES256", hashes.SHA256()),
              "P-384": (ec.SECP384R1, 48, "ES384", hashes.SHA384()),
              "P-521": (ec.SECP521R1, 66, "ES512", hashes.SHA512())}  # fmt: skip

    def __init__(self, kind, hardware=False):
        self.kind, self.enabled, self.hardware = kind, True, hardware
        self.version = secrets.token_hex(16)
        if kind in self.CURVES:
            self.private = ec.generate_private_key(self.CURVES[kind][0]())
        else:
            self.private = rsa.generate_private_key(65537, int(kind))

    def jwk(self, kid):
        numbers = self.private.public_key().public_numbers()
        suffix = "-HSM" if self.hardware else ""
        if self.kind in self.CURVES:
            size = self.CURVES[self.kind][1]
            return {"kid": kid, "kty": "EC" + suffix, "crv": self.kind, "key_ops": ["sign"],
                    "x": number(numbers.x, size), "y": number(numbers.y, size)}  # fmt: skip
        return {"kid": kid, "kty": "RSA" + suffix, "key_ops": ["sign"], "n": number(numbers.n),
                "e": number(numbers.e)}  # fmt: skip

    def sign(self, algorithm, digest):
        """None when the algorithm is not for this key."""
        if self.kind in self.CURVES:
            _, size, name, hashing = self.CURVES[self.kind]
            if algorithm != name or len(digest) != hashing.digest_size:
                return None
            der = self.private.sign(digest, ec.ECDSA(utils.Prehashed(hashing)))
            return b"".join(n.to_bytes(size, "big") for n in utils.decode_dss_signature(der))
        if algorithm != "PS256" or len(digest) != 32:
            return None
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
        return self.private.sign(digest, pss, utils.Prehashed(hashes.SHA256()))


class Vault:
    """Azure Key Vault's keys, Entra ID and the managed identity endpoints, after their REST
    references: https://learn.microsoft.com/rest/api/keyvault/keys, "OAuth 2.0 client credentials
    flow" and "How to use managed identities". test_azurekms.py has Microsoft's SDK drive it too."""

    TENANT = "11111111-2222-3333-4444-555555555555"
    CLIENT = "66666666-7777-8888-9999-000000000000"
    SECRET = "a-client-secret~with/odd+characters&=%"
    ASSERTION = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ3b3JrbG9hZCJ9.signature-of-the-cluster"
    HEADER = "a-header-of-app-service"

    def __init__(self, certificate):
        self.keys = {}
        self.tokens = {}
        self.before = lambda request: None
        self.server = Server(self.answer, certificate)
        self.plain = Server(self.answer)  # instance metadata is http
        self.host = f"localhost:{self.server.port}"

    def __enter__(self):
        self.server.__enter__()
        self.plain.__enter__()
        return self

    def __exit__(self, *_):
        self.plain.__exit__()
        self.server.__exit__()

    def key(self, name, kind, hardware=False):
        self.keys.setdefault(name, []).append(VaultKey(kind, hardware))
        return self.keys[name][-1]

    def uri(self, name, version=None):
        return f"azurekms://{self.host}/{name}" + (f"/{version}" if version else "")

    # -- tokens

    def issue(self, audience):
        token = f"eyJhbGciOiJub25lIn0.{secrets.token_urlsafe(24)}.token-of-the-test"
        self.tokens[token] = audience
        return json_answer(200, {"token_type": "Bearer", "expires_in": 3599, "access_token": token})

    def oauth(self, body):
        form = dict(urllib.parse.parse_qsl(body.decode()))
        by_secret = form.get("client_secret") == self.SECRET
        by_assertion = form.get("client_assertion") == self.ASSERTION and form.get(
            "client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"  # fmt: skip
        if form.get("grant_type") != "client_credentials" or form.get("client_id") != self.CLIENT:
            return json_answer(400, {"error": "unauthorized_client",
                                     "error_description": "AADSTS700016: no such application"})  # fmt: skip
        if not by_secret and not by_assertion:
            said = form.get("client_secret", "")
            return json_answer(401, {"error": "invalid_client", "error_description":
                               f"AADSTS7000215: Invalid client secret provided: {said}"})  # fmt: skip
        scope = form.get("scope", "")
        if not scope.endswith("/.default"):
            return json_answer(400, {"error": "invalid_scope", "error_description": "AADSTS70011"})
        return self.issue(scope.removesuffix("/.default"))

    def managed(self, query, headers, app_service):
        right = (headers.get("X-IDENTITY-HEADER") == self.HEADER if app_service
                 else headers.get("Metadata") == "true")  # fmt: skip
        version = "2019-08-01" if app_service else "2018-02-01"
        if not right or query.get("api-version") != [version]:
            return json_answer(400, {"error": "invalid_request"})
        if query.get("client_id", [self.CLIENT]) != [self.CLIENT]:
            return json_answer(400, {"error": "invalid_request",
                                     "error_description": "Identity not found"})  # fmt: skip
        return self.issue(query["resource"][0])

    # -- the vault

    def authorized(self, headers):
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        return scheme == "Bearer" and self.tokens.get(token) == f"https://{self.host}"

    def find(self, name, version):
        versions = self.keys.get(name, [])
        return next((k for k in reversed(versions) if version in (None, k.version)), None)

    def vault(self, method, parts, headers, body):
        if not self.authorized(headers):
            challenge = (f'Bearer authorization="https://{self.host}/{self.TENANT}", '
                         f'resource="https://{self.host}"')  # fmt: skip
            return error(401, "Unauthorized", "AKV10000: Request is missing a Bearer token.",
                         WWW_Authenticate=challenge)  # fmt: skip
        sign = parts[-1] == "sign"
        name, version = parts[0], (parts[1:-1] if sign else parts[1:])
        key = self.find(name, version[0] if version and version[0] else None)
        if key is None:
            return error(404, "KeyNotFound", f"A key with (name/id) {name} was not found.")
        kid = f"https://{self.host}/keys/{name}/{key.version}"
        if not sign and method == "GET":
            return json_answer(200, {"key": key.jwk(kid), "attributes": {"enabled": key.enabled}})
        if not key.enabled:
            return error(403, "Forbidden", "Operation sign is not allowed on a disabled key.",
                         "KeyDisabled")  # fmt: skip
        asked = json.loads(body)
        signature = key.sign(asked["alg"], unb64url(asked["value"]))
        if signature is None:
            return error(400, "BadParameter", f"Key and signing algorithm {asked['alg']} differ")
        return json_answer(200, {"kid": kid, "value": b64url(signature)})

    def answer(self, request):
        method, path, headers, body = request
        own = self.before(request)
        if own is not None:
            return own
        url = urllib.parse.urlsplit(path)
        query = urllib.parse.parse_qs(url.query)
        if url.path == f"/{self.TENANT}/oauth2/v2.0/token" and method == "POST":
            return self.oauth(body)
        if url.path in ("/metadata/identity/oauth2/token", "/app-service/token"):
            return self.managed(query, headers, url.path.startswith("/app"))
        if url.path == f"/{self.TENANT}/v2.0/.well-known/openid-configuration":
            base = f"{self.server.url}/{self.TENANT}"
            return json_answer(200, {"issuer": f"{base}/v2.0",
                                     "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                                     "token_endpoint": f"{base}/oauth2/v2.0/token"})  # fmt: skip
        parts = url.path.strip("/").split("/")
        if parts[0] == "keys" and query.get("api-version"):
            return self.vault(method, parts[1:], headers, body)
        return error(404, "NotFound", "no such resource")
