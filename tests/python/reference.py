#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: reference.py [--write]

The reference in docs/python.md, made of the installed package's signatures and docstrings. Without
--write it says whether the page has it as it should be.
"""

import ast
import functools
import inspect
import pathlib
import re
import sys
import textwrap

import hallmark

PAGE = pathlib.Path(__file__).resolve().parent.parent.parent / "docs" / "python.md"
BEGIN = "<!-- The rest is made by tests/python/reference.py --write. -->\n"
WIDTH = 120

VERBS = ["sign", "verify", "open", "digest", "inspect", "resign", "generate_key"]
KEYRING = ["rotate", "revoke", "export", "describe", "describe_key"]
OBJECTS = ["Model", "SecureModelLoader", "Store", "Quarantine", "Config", "Recorder", "Policy",
           "TrustedKeyring", "Explanation", "Signer", "Report"]  # fmt: skip
PARTS = ["SignerInfo", "Certificate", "Finding", "Entry", "IgnoredPath", "UnsignedPath",
         "Statement", "PolicyOutcome", "SignatureOutcome", "StoreOutcome", "Provenance", "Reused", "Part"]  # fmt: skip
ERRORS = ["HallmarkError", "RefusedError", "IntegrityError", "SignatureVerificationError",
          "UnsignedModelError", "LetThroughError", "MalformedSignatureError",
          "UntrustedSignerError", "RevokedKeyError", "ExpiredError", "RollbackError",
          "ProvenanceError", "UnsupportedError", "UsageError", "UndecidedError",
          "LetThroughWarning"]  # fmt: skip
REST = ["load_weights", "version", "build_info", "harden_process"]
VALUES = ["Event", "StrPath", "StrPaths", "Texts", "Passphrase", "Time", "Progress", "Reason", "SHARD_SIZE"]
# Modules with functions of their own, and titles for them.
MODULES = {
    "ledger": "The ledger",
    "torch": "Checkpoints of PyTorch",
    "safetensors": "Safetensors",
    "transformers": "Transformers",
    "checkpoint": "Functions for sig-json",
    "artifact": "Functions for manifest-json",
}


# ---- what the sources say -----------------------------------------------------------------------


@functools.lru_cache(maxsize=None)
def tree_of(file):
    return ast.parse(pathlib.Path(file).read_text())


def strings_behind(body):
    """{name: (annotation, text)} of assignments and the texts that stand behind them."""
    found = {}
    for statement, behind in zip(body, [*body[1:], None]):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name, kind = statement.target.id, ast.unparse(statement.annotation)
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name, kind = statement.targets[0].id, ""
        else:
            continue
        is_text = isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant)
        found[name] = (kind, behind.value.value if is_text else "")
    return found


def fields_of(cls):
    for node in tree_of(inspect.getsourcefile(cls)).body:
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
            return {k: v for k, v in strings_behind(node.body).items() if not k.startswith("_")}
    raise LookupError(cls)


def value_text(name):
    package = pathlib.Path(hallmark.__file__).parent
    for file in ("_values.py", "_loader.py", "__init__.py"):
        found = strings_behind(tree_of(package / file).body)
        if found.get(name, ("", ""))[1]:
            return found[name][1]
    return ""


def described(thing, name):
    """Whether there is something to read about it."""
    if inspect.isclass(thing) or inspect.isfunction(thing):
        return bool(inspect.getdoc(thing))
    return bool(value_text(name))


def functions():
    """All that take parameters."""
    named = [getattr(hallmark, name) for name in VERBS]
    named += [getattr(hallmark.keyring, name) for name in KEYRING]
    named += [getattr(hallmark.ledger, name) for name in ("read", "verify", "checkpoint")]
    named += [hallmark.Store.open, hallmark.Store.status, hallmark.Store.deploy,
              hallmark.Store.rollback, hallmark.Store.check, hallmark.Store.gc,
              hallmark.Quarantine.release, hallmark.Config.load, hallmark.Config.set,
              hallmark.Config.describe]  # fmt: skip
    return [*named, hallmark.Policy.describe, hallmark.Policy.explain, hallmark.Report.text]


# ---- Markdown -----------------------------------------------------------------------------------


def inline(text):
    return re.sub(r"\s+", " ", text.replace("``", "`")).strip()


def wrapped(text, first="", rest=""):
    return textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=rest,
                         break_long_words=False, break_on_hyphens=False)  # fmt: skip


def parse(doc):
    """Paragraphs, parameters and exceptions of a docstring."""
    head, *fields = re.split(r"^:(?=param|raises)", doc or "", flags=re.MULTILINE)
    paragraphs = [inline(part) for part in re.split(r"\n\s*\n", head.strip()) if part.strip()]
    split = [re.match(r"(param|raises) ([\w.]+): *(.*)", field, re.DOTALL) for field in fields]
    return paragraphs, [(m[1], m[2], inline(m[3])) for m in split]


def signature(function, name):
    found = inspect.signature(function)
    words, starred = [], False
    for parameter in found.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            starred = True
            words.append("*")
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
        starred = starred or parameter.kind is parameter.VAR_POSITIONAL
        words.append(stars.get(parameter.kind, "") + parameter.name + default)
    result = found.return_annotation
    arrow = f" -> {result}" if result not in (found.empty, "None") else ""
    return f"{name}({', '.join(words)}){arrow}"


def fields_list(function, fields):
    kinds = {name: p.annotation for name, p in inspect.signature(function).parameters.items()}
    for what, name, text in fields:
        if what == "param":
            yield wrapped(f"`{name}` (`{kinds[name]}`): {text}", "- ", "  ")
        else:
            yield wrapped(f"Raises `{name}`: {text}", "- ", "  ")


def block(title, doc, function=None, level="###"):
    paragraphs, fields = parse(doc)
    lines = [f"{level} `{title}`", ""]
    for paragraph in paragraphs:
        lines += [wrapped(paragraph), ""]
    if fields and function is not None:
        lines += [*fields_list(function, fields), ""]
    return lines


def function_block(function, name):
    shown = signature(function, name)
    lines = block(name + "()", function.__doc__ and inspect.getdoc(function), function)
    code = textwrap.fill(shown, 100, subsequent_indent="    ", break_long_words=False,
                         break_on_hyphens=False)  # fmt: skip
    return [*lines[:2], "```", code, "```", "", *lines[2:]]


def members(cls):
    for name, member in vars(cls).items():
        if name.startswith("_"):
            continue
        if hasattr(member, "func"):
            member = property(member.func)
        if isinstance(member, property):
            kind = member.fget.__annotations__["return"]
            yield wrapped(f"`{name}` (`{kind}`): {inline(inspect.getdoc(member.fget))}", "- ", "  ")
        else:
            function = getattr(member, "__func__", member)
            if not inspect.isfunction(function):
                continue
            shown = signature(function, name)
            if isinstance(member, classmethod):
                shown = shown.replace("cls, ", "").replace("(cls)", "()")
            paragraphs, fields = parse(inspect.getdoc(function))
            yield wrapped(f"`{shown}`: {' '.join(paragraphs)}", "- ", "  ")
            for _, parameter, text in fields:
                yield wrapped(f"`{parameter}`: {text}", "  - ", "    ")


def class_block(cls, name):
    made = "__init__" in vars(cls) and name in (
        "hallmark.Policy", "hallmark.Signer", "hallmark.SecureModelLoader",
        "hallmark.Recorder",
        "hallmark.safetensors.safe_open",
    )  # fmt: skip
    lines = block(name, inspect.getdoc(cls), cls if made else None)
    for field, (kind, text) in fields_of(cls).items():
        lines.append(wrapped(f"`{field}` (`{kind}`)" + (f": {inline(text)}" if text else ""), "- ",
                             "  "))  # fmt: skip
    lines += members(cls) if name not in ERRORS else []
    return [*lines, ""]


def error_lines(name):
    cls = getattr(hallmark, name)
    bases = ", ".join(base.__name__ for base in cls.__bases__)
    yield wrapped(f"`hallmark.{name}` ({bases}): {inline(inspect.getdoc(cls))}", "- ", "  ")
    if name == "HallmarkError":
        for field, (kind, text) in fields_of(cls).items():
            yield wrapped(f"`{field}` (`{kind}`): {inline(text)}", "  - ", "    ")


def module_lines(name, title):
    module = getattr(hallmark, name)
    lines = [f"## {title}", ""]
    for paragraph in parse(module.__doc__)[0]:
        lines += [wrapped(paragraph), ""]
    for each in module.__all__:
        thing = getattr(module, each)
        if inspect.isfunction(thing):
            lines += function_block(thing, f"hallmark.{name}.{each}")
        elif thing.__module__ == module.__name__:
            lines += class_block(thing, f"hallmark.{name}.{each}")
    return lines


def reference():
    lines = ["## Functions", ""]
    for name in VERBS:
        lines += function_block(getattr(hallmark, name), f"hallmark.{name}")
    lines += ["## Keyrings", "", wrapped(inline(hallmark.keyring.__doc__)), ""]
    for name in KEYRING:
        lines += function_block(getattr(hallmark.keyring, name), f"hallmark.keyring.{name}")
    for name in ("Keyring", "Key", "Revocation"):
        lines += class_block(getattr(hallmark.keyring, name), f"hallmark.keyring.{name}")
    for name, title in MODULES.items():
        lines += module_lines(name, title)
    lines += ["## Objects", ""]
    for name in OBJECTS + PARTS:
        lines += class_block(getattr(hallmark, name), f"hallmark.{name}")
    lines += ["## Exceptions", ""]
    for name in ERRORS:
        lines += error_lines(name)
    lines += ["", "## Values", ""]
    for name in VALUES:
        lines.append(wrapped(f"`hallmark.{name}`: {inline(value_text(name))}", "- ", "  "))
    lines += ["", "## The library", ""]
    for name in REST:
        lines += function_block(getattr(hallmark, name), f"hallmark.{name}")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def updated(page):
    """The page with its reference as it should be."""
    before, found, _ = page.partition(BEGIN)
    assert found, f"{PAGE}: no line {BEGIN!r}"
    return before + BEGIN + "\n" + reference()


def main():
    page = PAGE.read_text()
    if "--write" in sys.argv[1:]:
        PAGE.write_text(updated(page))
    elif page != updated(page):
        sys.exit(f"{PAGE} is out of date: tests/python/reference.py --write")


if __name__ == "__main__":
    main()
