# SPDX-License-Identifier: Apache-2.0
"""Cases: a signature file that the oracle made, with one thing broken, or odd but right.

A case changes it at one step: before the signature (`signed`), so that the file is well signed and
wrong all the same, or after it (`written`, `text`). `reason` None: it is verified.
"""

import copy
import dataclasses
import json
import typing

import oracle
import pytest
import support

FILES = {
    "README.md": b"# model\n",
    "__init__.py": b"",
    "a b 'c' \u00fc:\n.txt": b"odd",
    "config.json": b"{}\n",
    "layers/0/weights.bin": support.content("weights", 2500),
    "layers/1.bin": support.content("more", 1000),
}


@dataclasses.dataclass
class Case:
    name: str
    reason: str | None  # None: verified
    says: str = ""  # in the message, or for an accepted one in its warnings
    signed: typing.Callable = None  # changes what is signed
    written: typing.Callable = None  # changes the signature file as a dict
    text: typing.Callable = None  # changes the signature file's bytes
    options: tuple = ()
    more: dict = dataclasses.field(default_factory=dict)


def named(cases):
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), sorted(n for n in names if names.count(n) > 1)
    return [pytest.param(case, id=case.name) for case in cases]


def put(*path_and_value):
    """A change: the value at the end of a path of names and indexes."""
    *path, last, value = path_and_value

    def change(document):
        for step in path:
            document = document[step]
        if value is DROP:
            del document[last]
        elif isinstance(document, list) and last == len(document):
            document.append(copy.deepcopy(value))
        else:
            document[last] = copy.deepcopy(value)

    return change


DROP = object()


def apply(change, document):
    """A change works in place or gives something new."""
    changed = change(document) if change else None
    return document if changed is None else changed


def to_bytes(document):
    """JSON text, with what JSON cannot hold (a lone surrogate) left as Python writes it."""
    return document if isinstance(document, bytes) else json.dumps(document, indent=1).encode()


def check(result, case):
    report = result.json()
    if case.reason is None:
        assert (result.rc, report["status"], report["reason"]) == (support.OK, "verified", None), (
            result
        )
        assert case.says in "\n".join(report["warnings"]), result
    else:
        assert (result.rc, report["status"]) == (support.REFUSED, "refused"), result
        assert report["reason"] == case.reason, result
        assert case.says in report["message"], result
        # A refused model has no verified files and no signer that could be mistaken for one.
        assert report["entries"] == [], result
    return report


# ---- changes to bundles and statements of oms ---------------------------------------------------


def predicate(*path_and_value):
    return put("predicate", *path_and_value)


def how(*path_and_value):
    return predicate("serialization", *path_and_value)


def resource(*path_and_value):
    """Changes a resource; the root digest follows."""

    def change(document):
        predicate("resources", *path_and_value)(document)
        return oracle.reroot(document)

    return change


def envelope(*path_and_value):
    return put("dsseEnvelope", *path_and_value)


def material(*path_and_value):
    return put("verificationMaterial", *path_and_value)


# ---- changes to texts ---------------------------------------------------------------------------


def swap(text, old, new):
    assert old in text
    return text.replace(old, new, 1)


def in_text(old, new):
    return lambda text: swap(text, old, new)


def loose_bits(text):
    """The last character before the padding carries four bits that mean nothing."""
    assert text.endswith("==")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return text[:-3] + alphabet[alphabet.index(text[-3]) ^ 1] + "=="
