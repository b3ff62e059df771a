# SPDX-License-Identifier: Apache-2.0
"""Help, mistakes on the command line, and the manual: all say the same."""

import pathlib
import re
import sqlite3

import pytest

import support

COMMANDS = [["key", "generate"], ["key", "list"], ["key", "show"], ["key", "rotate"],
            ["key", "revoke"], ["key", "export"], ["sign"], ["verify"], ["resign"], ["digest"], ["inspect"],
            ["policy", "check"], ["policy", "explain"], ["config", "check"],
            ["log", "verify"], ["log", "checkpoint"], ["log"], ["deploy"], ["rollback"],
            ["check"], ["status"], ["gc"], ["quarantine", "list"], ["quarantine", "show"],
            ["quarantine", "release"], ["quarantine", "purge"]]  # fmt: skip
MAN = support.ROOT / "docs" / "man"

# Every option there is, so that none comes or goes unseen.
OPTIONS = {
    "key generate": "type public passphrase-file passphrase-fd no-passphrase help",
    "key list": "json help",
    "key show": "version json help",
    "key rotate": "type passphrase-file passphrase-fd no-passphrase signs-from not-after signer "
                  "base-name remove-old-private config ledger log help",
    "key revoke": "version reason since config ledger log help",
    "key export": "key passphrase-file passphrase-fd out expires help",
    "sign": "key passphrase-file passphrase-fd cert chain format signature hash files shards "
            "shard-size shards-signature ignore include-git follow-symlinks name-dot signer-id "
            "key-version metadata provenance parts reuse jobs list json no-progress config ledger log help",
    "verify": "policy key root keyring keyring-key keyring-signer keyring-min-version "
              "identity-subject identity-san identity-fingerprint signature format name "
              "provenance require-provenance provenance-dataset provenance-builder "
              "ignore include-git ignore-unsigned strict-paths fail-fast allow-symlinks "
              "allow-v0.2.0 allow-expired-certificates allow-missing-eku jobs list json "
              "no-progress config ledger log help",
    "resign": "key passphrase-file passphrase-fd policy jobs list json no-progress config ledger log help",
    "digest": "hash files shards shard-size ignore include-git follow-symlinks part out jobs list json "
              "no-progress help",
    "deploy": "name policy key store group config ledger log signature provenance ignore dry-run "
              "no-switch full jobs list json no-progress help",
    "rollback": "to policy key store group config ledger log jobs list json no-progress help",
    "inspect": "list json help",
    "check": "every service leave-bad policy key store group config ledger log jobs list json "
             "no-progress help",
    "status": "json store config help",
    "gc": "keep dry-run json store group config ledger log help",
    "quarantine list": "json store config help",
    "quarantine show": "json store config help",
    "quarantine release": "policy key dry-run no-switch store group config ledger log jobs list "
                          "json no-progress help",
    "quarantine purge": "older-than store group config ledger log help",
    "config check": "json help",
    "policy check": "json help",
    "policy explain": "policy name json help",
    "log": "json since model event limit ledger store config help",
    "log verify": "key checkpoint json ledger store config help",
    "log checkpoint": "key passphrase-file passphrase-fd out ledger store config help",
}  # fmt: skip


def ids(command):
    return " ".join(command)


def listed(text):
    """Options and their arguments in a help text: one that begins a line."""
    return dict(re.findall(r"^  --([a-z0-9.-]+)(?: ([A-Z][A-Za-z.]*))?", text, re.MULTILINE))


@pytest.mark.parametrize("command", COMMANDS, ids=ids)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(hallmark, command, option):
    result = hallmark(*command, option, expect=0)
    assert result.err == "" and result.out.startswith(f"Usage: hallmark {ids(command)} ")
    assert set(listed(result.out)) == set(OPTIONS[ids(command)].split())
    assert max(map(len, result.out.splitlines())) <= 100


@pytest.mark.parametrize("command", COMMANDS, ids=ids)
def test_help_among_other_words(hallmark, command):
    """Nothing is done, whatever stands beside it."""
    hallmark(*command, "--json", "x", "y", "--help", expect=(0, 2))
    hallmark(*command, "x", "--help", expect=0)


@pytest.mark.parametrize("command", COMMANDS, ids=ids)
def test_every_option_says_what_it_is_for(hallmark, command):
    text = hallmark(*command, "--help", expect=0).out
    body = text.split("Options:\n")[1].split("\n\n")[0]
    for block in re.split(r"^  (?=--)", body, flags=re.MULTILINE)[1:]:
        words = re.sub(r"\s+", " ", block).split(" ", 1)[1]
        assert len(words) > 10 and words.rstrip().endswith("."), block


@pytest.mark.parametrize("command", COMMANDS, ids=ids)
def test_options_take_what_help_says(hallmark, command):
    """One that has an argument wants it; one that has none takes none."""
    for option, argument in listed(hallmark(*command, "--help", expect=0).out).items():
        if option == "help":
            continue
        if argument:
            result = hallmark(*command, f"--{option}", expect=2)
            assert f"--{option} wants {argument}" in result.err
        else:
            result = hallmark(*command, f"--{option}=x", expect=2)
            assert f"--{option} takes no value" in result.err


def test_overview(hallmark):
    for word in ("--help", "-h", "help"):
        result = hallmark(word, expect=0)
        for command in [*COMMANDS, ["model-signing"]]:
            assert re.search(rf"^  {ids(command)}  +[A-Z].*\.$", result.out, re.MULTILINE)
        assert result.err == "" and "Exit status" in result.out


def test_version(hallmark):
    result = hallmark("--version", expect=0)
    version = re.search(r"version: '([0-9.]+)'", (support.ROOT / "meson.build").read_text())
    assert result.out.startswith(f"hallmark {version.group(1)}\n")
    assert "OpenSSL" in result.out and result.err == ""
    assert f"SQLite: {sqlite3.sqlite_version}\n" in result.out and "PostgreSQL: " in result.out


def test_nothing_at_all(hallmark):
    result = hallmark(expect=2)
    assert result.out == "" and "Commands:" in result.err


@pytest.mark.parametrize("words, said", [
    (["sing"], "there is no command 'sing'"),
    (["--sign"], "there is no command '--sign'"),
    (["SIGN"], "there is no command 'SIGN'"),
    (["sig"], "there is no command 'sig'"),
    (["key"], "hallmark key generate"),
    (["key", "gen"], "hallmark key generate"),
    (["key", "generate2"], "hallmark key generate"),
    ([""], "there is no command ''"),
    (["."], "there is no command '.'"),
])  # fmt: skip
def test_mistyped_commands(hallmark, tmp_path, words, said):
    result = hallmark(*words, cwd=tmp_path, expect=2)
    assert result.out == "" and said in result.err
    assert support.snapshot(tmp_path) == {}


@pytest.mark.parametrize("words, meant", [
    (["sing"], ["sign"]), (["sig"], ["sign"]), (["signn"], ["sign"]), (["sagn"], ["sign"]),
    (["vreify", "x"], ["verify"]), (["ke", "rotate"], ["key rotate"]),
    (["key", "rotat"], ["key rotate"]), (["key", "hsow"], ["key show"]), (["resing"], ["resign"]),
    (["x"], []), ([""], []), (["si"], []), (["SIGN"], []), (["key"], []), (["key", "gen"], []),
])  # fmt: skip
def test_what_was_meant(hallmark, words, meant):
    """One slip is forgiven with a word, but nothing is run."""
    result = hallmark(*words, expect=2)
    assert re.findall("did you mean 'hallmark (.*)'", result.err) == meant


@pytest.mark.parametrize("command", COMMANDS, ids=ids)
@pytest.mark.parametrize("option", ["--nonsense", "--jso", "--JSON", "-j", "-x", "--json_", "--=x"])
def test_mistyped_options(hallmark, tmp_path, command, option):
    """An unknown or shortened option is never taken for a file, or for another option."""
    result = hallmark(*command, option, "model", cwd=tmp_path, expect=2)
    assert f"there is no option '{option.split('=')[0]}'" in result.err
    assert f"Try 'hallmark {ids(command)} --help'" in result.err
    assert result.out == "" and support.snapshot(tmp_path) == {}


def test_the_first_mistake_is_told_first(hallmark):
    result = hallmark("verify", "model", "--nonsense", expect=2)
    first, second, *rest = result.err.splitlines()
    assert "there is no option" in first and "--help" in second and rest == []


def test_equals_signs(hallmark, ec, tree):
    folder = tree({"w": b"w"})
    hallmark("sign", folder, f"--key={ec.private}", f"--signature={folder}/a=b.sig", expect=0)
    assert (folder / "a=b.sig").exists()
    result = hallmark("sign", folder, "--key=", expect=2)
    assert "key" in result.err


# ---- the manual ---------------------------------------------------------------------------------


def page(command):
    """`hallmark key` is one page for all that is done with keys."""
    return MAN / f"hallmark-{command[0]}.1.scd"


def section(command):
    """The part of its page that is about a command: all of it, or what stands under its name."""
    text = page(command).read_text()
    under = re.search(rf"^## hallmark {ids(command)}\n(.*?)(?=^##? )", text, re.DOTALL | re.MULTILINE)
    return under.group(1) if under else text


def in_manual(text):
    """The options that have an entry: a line of their own, in bold."""
    found = {}
    for line in text.splitlines():
        if re.match(r"\*\\?-\\?-", line):
            plain = re.sub(r"[\\*_]", "", line)
            for option in re.findall(r"--([a-z0-9.-]+)(?:[ =]([A-Z][A-Za-z.]*))?", plain):
                found[option[0]] = option[1]
    return found


@pytest.mark.parametrize("command", COMMANDS, ids=ids)
def test_the_manual_has_the_options_of_help(hallmark, command):
    """A page for several commands has the options of all of them."""
    options = {}
    for other in COMMANDS:
        if section(other) == section(command):
            options |= listed(hallmark(*other, "--help", expect=0).out)
    manual = in_manual(section(command))
    options.pop("help")
    manual.pop("help", None)
    assert manual == options


def test_the_manual_names_every_command(hallmark):
    text = (MAN / "hallmark.1.scd").read_text()
    for command in COMMANDS:
        assert f"*hallmark-{command[0]}*(1)" in text
    for status in "01234":
        assert re.search(rf"^\s*[|*]?.*\*?{status}\*?", text, re.MULTILINE)


def test_every_page_belongs_to_a_command(hallmark):
    known = {page(command).name for command in COMMANDS}
    known |= {"hallmark.1.scd", "hallmark-model-signing.1.scd"}
    assert {path.name for path in pathlib.Path(MAN).glob("*.1.scd")} <= known


@pytest.mark.parametrize("group", ["key", "policy", "config"])
def test_help_of_a_group(hallmark, group):
    result = hallmark(group, "--help", expect=0)
    listed_there = [line.split()[2] for line in result.out.splitlines()]
    assert listed_there == [command[1] for command in COMMANDS if command[0] == group]
    assert result.err == ""
    assert hallmark(group, expect=2).out == ""
