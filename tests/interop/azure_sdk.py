# SPDX-License-Identifier: Apache-2.0
"""Microsoft's SDK, as a check on the tests' own vault: gets a key, signs a digest with it.

usage: azure_sdk.py VAULT-URL KEY ALGORITHM DIGEST-HEX CA-FILE

Run by the Python of build/venv-cloud, with the credentials in the environment. Prints JSON: the
version it got and the raw signature in hex."""

import json
import sys

from azure.core.pipeline.transport import RequestsTransport
from azure.identity import ClientSecretCredential
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient

from os import environ

url, name, algorithm, digest, ca_file = sys.argv[1:]
transport = RequestsTransport(connection_verify=ca_file)
credential = ClientSecretCredential(
    environ["AZURE_TENANT_ID"], environ["AZURE_CLIENT_ID"], environ["AZURE_CLIENT_SECRET"],
    authority=environ["AZURE_AUTHORITY_HOST"], disable_instance_discovery=True,
    transport=RequestsTransport(connection_verify=ca_file),
)  # fmt: skip
client = KeyClient(url, credential, verify_challenge_resource=False, transport=transport)
key = client.get_key(name)
crypto = CryptographyClient(
    key, credential, verify_challenge_resource=False,
    transport=RequestsTransport(connection_verify=ca_file),
)  # fmt: skip
result = crypto.sign(algorithm, bytes.fromhex(digest))
print(json.dumps({"version": key.properties.version, "signature": result.signature.hex()}))
