# SPDX-License-Identifier: Apache-2.0
"""moto's server, brought nearer to the KMS that it stands in for.

usage: moto_kms.py -p PORT [more of moto_server's options]

Run by the Python of build/venv-cloud. As it comes, moto hashes what it is told is a digest already,
makes PSS salts as long as they can be, and signs with keys that are disabled. The KMS of AWS does
none of that (its API reference, Sign, and "Key states"), so these three are put right here. The
rest, from the checking of request signatures to STS and instance metadata, is moto's.
"""

import contextvars
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from moto.core.exceptions import JsonRESTError
from moto.kms import responses
from moto.kms import utils as moto_utils
from moto.server import main

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
message_type = contextvars.ContextVar("message_type", default="RAW")


def hash_of(algorithm):
    real = HASHES[algorithm[-3:]]
    return real, utils.Prehashed(real) if message_type.get() == "DIGEST" else real


def check_digest(message, algorithm):
    if message_type.get() == "DIGEST" and len(message) != HASHES[algorithm[-3:]].digest_size:
        raise JsonRESTError("ValidationException", "Digest is invalid length for algorithm.")


def sign_ec(self, message, algorithm):
    moto_utils.validate_signing_algorithm(algorithm, self.valid_signing_algorithms)
    check_digest(message, algorithm)
    return self.private_key.sign(message, ec.ECDSA(hash_of(algorithm)[1]))


original_sign_rsa = moto_utils.RSAPrivateKey.sign


def sign_rsa(self, message, algorithm):
    if not algorithm.startswith("RSASSA_PSS"):
        return original_sign_rsa(self, message, algorithm)
    check_digest(message, algorithm)
    real, given = hash_of(algorithm)
    pss = padding.PSS(mgf=padding.MGF1(real), salt_length=real.digest_size)
    return self.private_key.sign(message, pss, given)


original_sign = responses.KmsResponse.sign
original_public = responses.KmsResponse.get_public_key


def refuse_disabled(self):
    key_id = self._get_param("KeyId")
    self._validate_key_id(key_id)
    key = self.kms_backend.describe_key(key_id)
    if key.key_state != "Enabled":
        raise JsonRESTError("DisabledException", f"{key.arn} is disabled.")


def sign(self):
    refuse_disabled(self)
    message_type.set(self._get_param("MessageType") or "RAW")
    return original_sign(self)


def get_public_key(self):
    refuse_disabled(self)
    return original_public(self)


moto_utils.ECDSAPrivateKey.sign = sign_ec
moto_utils.RSAPrivateKey.sign = sign_rsa
responses.KmsResponse.sign = sign
responses.KmsResponse.get_public_key = get_public_key

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
