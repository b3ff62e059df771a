# SPDX-License-Identifier: Apache-2.0
"""usage: loading.py ACTION FOLDER [KEY SIGNATURE]

Loads the one safetensors file of a folder, touches every page of it, and prints the seconds that
took, without the start of Python and its imports.

plain      by safetensors, unverified
verified   by hallmark
reference  verified by model-signing, and then loaded by safetensors
first      by hallmark, until the first tensor is there
quarter    by hallmark, every fourth tensor; an error when more than 30 % of the file was read
"""

import pathlib
import sys
import time

import numpy
import safetensors.numpy

ACTION, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])
KEY, SIGNATURE = (*sys.argv[3:], None, None)[:2]
PAGE_OF_FLOATS = 1024
SMALL = 256 << 20
if ACTION == "reference":
    import model_signing
elif ACTION != "plain":
    import hallmark.safetensors


def the_file() -> pathlib.Path:
    (file,) = FOLDER.iterdir()
    return file


def touch(tensors: dict[str, numpy.ndarray]) -> None:
    for tensor in tensors.values():
        tensor[::PAGE_OF_FLOATS].view("uint32").max()


def plain() -> None:
    touch(safetensors.numpy.load_file(the_file()))


def reference() -> None:
    verifier = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=KEY)
    verifier.verify(FOLDER, SIGNATURE)
    plain()


def verified() -> None:
    touch(hallmark.safetensors.load_file(FOLDER, key=KEY, signature=SIGNATURE, framework="np"))


def some(names: slice) -> None:
    with hallmark.safetensors.safe_open(FOLDER, "np", key=KEY, signature=SIGNATURE) as file:
        touch({name: file.get_tensor(name) for name in file.offset_keys()[names]})


def first() -> None:
    some(slice(1))


def bytes_read() -> int:
    lines = pathlib.Path("/proc/self/io").read_text().splitlines()
    return int(lines[0].removeprefix("rchar: "))


def quarter() -> None:
    """A rank's share: neighbours, as a tensor-parallel server has them."""
    before = bytes_read()
    some(slice(16))
    size = the_file().stat().st_size
    share = (bytes_read() - before) / size
    if share > 0.3 and size > SMALL:  # where a few shards are the file, one more is a lot
        sys.exit(f"{share:.1%} of the file were read for a quarter of its tensors")


def main() -> None:
    action = {each.__name__: each for each in (plain, reference, verified, first, quarter)}[ACTION]
    started = time.perf_counter()
    action()
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
