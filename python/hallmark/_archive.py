# SPDX-License-Identifier: Apache-2.0
"""The names in a zip file, where all readers agree on them.

Readers look for a zip file's directory in different ways: by the offset that is recorded, or right
in front of the end record. With two directories in a file one of them sees other names than are
loaded. So nothing is taken but what torch writes: a directory that lies where both look.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, Iterator, List, NoReturn, Optional, Tuple

_END = struct.Struct("<4s4H2LH")  # the end record, without a comment
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")  # of the record above
_ENTRY = struct.Struct("<4s6H3L5H2L")

_NAME_MAX = 255
"""torch cuts off what is longer, and so sees another name."""


class BadArchive(Exception):
    """Why a file is no zip file, or not one that all readers read alike."""


def _bad(why: str) -> NoReturn:
    raise BadArchive(why)


def names(file: BinaryIO) -> List[bytes]:
    """The names of all that is in a zip file, as they are stored.

    :raises BadArchive: it is none, or other readers may see other names.
    """
    size = file.seek(0, os.SEEK_END)
    if size < _END.size:
        _bad("it is too short")
    file.seek(size - _END.size)
    mark, disk, first_disk, here, count, length, offset, comment = _END.unpack(file.read(_END.size))
    if mark != b"PK\5\6" or comment != 0:
        _bad("it does not end as zip files do")
    count, length, offset, end = _end64(file, size - _END.size) or (
        count,
        length,
        offset,
        size - _END.size,
    )
    if disk != 0 or first_disk != 0 or offset + length != end:
        _bad("its directory is not in front of its end")
    file.seek(offset)
    found = list(_entries(file.read(length)))
    if len(found) != count:
        _bad("its directory has not as many entries as it says")
    return found


def _end64(file: BinaryIO, end: int) -> Optional[Tuple[int, int, int, int]]:
    """What the end record of a large file says, and where it begins; None: there is none."""
    start = end - _LOCATOR.size - _END64.size
    if start < 0:
        return None
    file.seek(start)
    record = _END64.unpack(file.read(_END64.size))
    locator = _LOCATOR.unpack(file.read(_LOCATOR.size))
    if locator[0] != b"PK\6\7":
        return None
    if locator[2] != start or record[0] != b"PK\6\6":
        _bad("its end record is elsewhere")
    return record[7], record[8], record[9], start


def _entries(directory: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(directory):
        if len(directory) - at < _ENTRY.size:
            _bad("its directory is cut off")
        entry = _ENTRY.unpack_from(directory, at)
        start = at + _ENTRY.size
        name = directory[start : start + entry[10]]
        if entry[0] != b"PK\1\2" or len(name) != entry[10]:
            _bad("its directory is not one")
        if len(name) > _NAME_MAX or b"\0" in name:
            _bad("a name in it is too long, or cut off by a NUL byte")
        yield name
        at = start + sum(entry[10:13])
    if at != len(directory):
        _bad("its directory is cut off")
