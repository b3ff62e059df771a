# SPDX-License-Identifier: Apache-2.0
"""Runs in the reference's interpreter: one request per line, one answer per line, both JSON.

Starting Python and importing the reference takes a second; hundreds of runs share that here. A
request is {"cli": [argument, ...]} for its command line, or {"sign" or "verify": {...}} for its
Python interface, which alone knows shards and other hashes.
"""

import json
import pathlib
import sys
import traceback

import click.testing
import model_signing
from model_signing import _cli
from model_signing import signing as signing_module


def hashing(how):
    config = model_signing.hashing.Config()
    options = {"hashing_algorithm": how.get("hash", "sha256")}
    if how.get("shard_size"):
        config.use_shard_serialization(shard_size=how["shard_size"], **options)
    else:
        config.use_file_serialization(**options)
    ignored = [pathlib.Path(path) for path in how.get("ignore", [])]
    return config.set_ignored_paths(paths=ignored)


# Releases before 1.1.0 first make a keyless signer, whatever is asked for, and that one needs the
# network.
signing_module.sigstore.Signer = lambda **_: None


def sign(model, signature, key, how):
    # A passphrase has to be bytes, though the interface says text, and the command line gives that.
    password = how["password"].encode() if "password" in how else None
    config = model_signing.signing.Config()
    config.use_elliptic_key_signer(private_key=key, password=password)
    config.set_hashing_config(hashing(how)).sign(model, signature)


def verify(model, signature, key, how):
    """`how` None: the reference finds out by itself."""
    config = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=key)
    if how is not None:
        config.set_hashing_config(hashing(how))
    config.verify(pathlib.Path(model), signature)


def command_line(arguments):
    result = click.testing.CliRunner().invoke(_cli.main, arguments)
    text = result.output
    if result.exception and not isinstance(result.exception, SystemExit):
        text += repr(result.exception)
    # 0.3.1 says so, but ends with status 0 all the same.
    failed = "failed with error" in text
    return {"rc": result.exit_code or int(failed), "text": text}


def answer(request):
    if "cli" in request:
        return command_line(request["cli"])
    try:
        for name, function in (("sign", sign), ("verify", verify)):
            if name in request:
                function(**request[name])
        return {"rc": 0, "text": ""}
    except Exception:  # whatever it is, it is no "yes"
        return {"rc": 1, "text": traceback.format_exc()}


def main():
    out = sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=out, flush=True)


main()
