# SPDX-License-Identifier: Apache-2.0
"""usage: stopped.py MODEL KEY FOLDER

Runs under the preloaded stopper. Loads a model again and again, in every way; at one read after the
other the file is changed in every way. Prints how many loads there were, and of how many the bytes
were handed out; ends with an error when bytes were that nobody signed.
"""

import ctypes
import os
import pathlib
import sys

import hallmark

MODEL, KEY, FOLDER = sys.argv[1:]
GOOD = pathlib.Path(MODEL).read_bytes()
BAD = bytes(byte ^ 255 for byte in GOOD)
ACTION = ctypes.CFUNCTYPE(None)
stopper = ctypes.CDLL(None)
policy = hallmark.Policy(keys=KEY)


def rewrite():
    with open(MODEL, "r+b") as file:
        file.write(BAD)


def truncate():
    os.truncate(MODEL, len(GOOD) // 2)


def grow():
    with open(MODEL, "ab") as file:
        file.write(b"more")


def replace():
    beside = os.path.join(FOLDER, "beside")
    pathlib.Path(beside).write_bytes(BAD)
    os.replace(beside, MODEL)


def swap():
    """For a link, by which the name leads elsewhere."""
    elsewhere = os.path.join(FOLDER, "elsewhere")
    pathlib.Path(elsewhere).write_bytes(BAD)
    os.unlink(MODEL)
    os.symlink(elsewhere, MODEL)


def whole(model):
    return bytes(model.buffer())


def by_path(model):
    return pathlib.Path(model.path()).read_bytes()


def lazily(model):
    return model.open(lazy=True).read()


def attempt(way, change, read, before):
    """The reads that there were, and what was handed out."""
    if os.path.islink(MODEL):
        os.unlink(MODEL)
    pathlib.Path(MODEL).write_bytes(GOOD)
    action = ACTION(change)
    stopper.stopper_arm(read, before, MODEL.encode(), action)
    found = None
    try:
        with hallmark.open(MODEL, policy, jobs=1) as model:
            found = way(model)
    except hallmark.HallmarkError as error:
        assert error.status in ("refused", "undecided"), error
    return stopper.stopper_disarm(), found


def main():
    loads = handed = 0
    for way in (whole, by_path, lazily):
        reads, found = attempt(way, rewrite, 1_000_000, True)
        assert found == GOOD and reads > 2, "nothing would be stopped"
        for change in (rewrite, truncate, grow, replace, swap):
            for before in (True, False):
                for read in range(1, reads + 1):
                    stopped, found = attempt(way, change, read, before)
                    assert stopped >= read and found in (None, GOOD), (way, change, before, read)
                    loads, handed = loads + 1, handed + (found is not None)
    print(loads, handed)


main()
