# SPDX-License-Identifier: Apache-2.0
"""usage: shards.py hash|sign MODEL SHARD_SIZE [PRIVATE_KEY SIGNATURE]

model-signing with shards, which its command line does not offer. Prints the seconds that its own
work took: starting Python and loading its modules is left out.
"""

import pathlib
import sys
import time

from model_signing import hashing, signing


def main() -> None:
    action, model, shard_size, *rest = sys.argv[1:]
    hasher = hashing.Config().use_shard_serialization(shard_size=int(shard_size))
    started = time.perf_counter()
    if action == "hash":
        hasher.hash(pathlib.Path(model))
    else:
        key, signature = map(pathlib.Path, rest)
        signer = signing.Config().use_elliptic_key_signer(private_key=key)
        signer.set_hashing_config(hasher).sign(pathlib.Path(model), signature)
    print(time.perf_counter() - started)


main()
