# SPDX-License-Identifier: Apache-2.0
"""One model digested in parts, and signed from them."""

import base64
import json
import os
import re

import pytest

import support
from support import OK, REFUSED, UNDECIDED, USAGE

SHARDS = ["--shard-size", "20000"]


@pytest.fixture
def digest(hallmark, tmp_path):
    """digest(model, n, *options) makes all parts, and gives their paths."""

    def run(model, count, *options, folder="parts", numbers=None):
        (tmp_path / folder).mkdir(exist_ok=True)
        paths = []
        for number in numbers or range(1, count + 1):
            path = tmp_path / folder / f"part-{number}.json"
            hallmark("digest", model, *options, "--part", f"{number}/{count}", "--out", path,
                     expect=OK)  # fmt: skip
            paths.append(path)
        return paths

    return run


@pytest.fixture
def put_together(hallmark, ec, tmp_path):
    """put_together(model, parts, *options) signs to a place outside the model."""

    def run(model, parts, *options, expect=OK, words=None):
        out = tmp_path / "parts.sig"
        result = hallmark("sign", model, "--parts", *parts, "--key", ec.private, "--signature", out,
                          *options, expect=expect)  # fmt: skip
        if expect != OK:
            assert not out.exists()
            assert re.search(words, result.err), result
        return out

    return run


def statement(signature):
    return base64.b64decode(json.loads(signature.read_text())["dsseEnvelope"]["payload"])


def whole(sign, model, tmp_path, *options):
    out = tmp_path / "whole.sig"
    sign(model, "--signature", out, *options)
    return statement(out)


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def entries(paths):
    return [(path, entry) for path in paths for entry in json.loads(path.read_text())["entries"]]


# ---- what must come out -------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 40])
@pytest.mark.parametrize("options", [[], SHARDS, ["--hash", "blake3", *SHARDS],
                                     ["--hash", "blake2b", "--files"]])  # fmt: skip
def test_the_statement_is_that_of_one_run(sign, verify, digest, put_together, model_dir, tmp_path,
                                          count, options):  # fmt: skip
    parts = digest(model_dir, count, *options)
    signature = put_together(model_dir, reversed(parts))
    assert statement(signature) == whole(sign, model_dir, tmp_path, *options)
    verify(model_dir, "--signature", signature)


def test_single_file(sign, digest, put_together, model_file, tmp_path):
    parts = digest(model_file, 3, *SHARDS)
    assert all(json.loads(path.read_text())["entries"] for path in parts)
    signature = put_together(model_file, parts)
    assert statement(signature) == whole(sign, model_file, tmp_path, *SHARDS)


def test_nothing_of_the_model_is_read(hallmark, ec, digest, model_dir):
    parts = digest(model_dir, 2)
    report = hallmark("sign", model_dir, "--parts", *parts, "--key", ec.private, "--json",
                      expect=OK).json()  # fmt: skip
    files = len([path for path in model_dir.rglob("*") if path.is_file()]) - 1  # model.sig
    assert report["reused"]["from"] == "parts"
    assert report["reused"]["files"] == files and report["reused"]["files_read"] == 0
    assert report["reused"]["bytes"] > 0 and report["reused"]["bytes_read"] == 0
    assert any("not computed again" in warning for warning in report["warnings"])
    if os.geteuid() != 0:
        for path in model_dir.rglob("*"):
            path.chmod(0o000 if path.is_file() else 0o700)
        hallmark("sign", model_dir, "--parts", *parts, "--key", ec.private, expect=OK)


def test_sign_again_in_the_default_place(hallmark, ec, digest, verify, model_dir):
    for _ in range(2):
        parts = digest(model_dir, 2)
        hallmark("sign", model_dir, "--parts", *parts, "--key", ec.private, expect=OK)
        verify(model_dir)


def test_the_reference_verifies(reference, ec, digest, hallmark, model_dir):
    parts = digest(model_dir, 3)
    hallmark("sign", model_dir, "--parts", *parts, "--key", ec.private, expect=OK)
    result = reference("verify", "key", model_dir, "--signature", model_dir / "model.sig",
                       "--public_key", ec.public)  # fmt: skip
    assert result.rc == 0, result


def test_ignored_and_linked_alike(hallmark, ec, digest, put_together, sign, model_dir, tmp_path):
    (model_dir / "link").symlink_to("config.json")
    (model_dir / ".git").mkdir()
    (model_dir / ".git" / "config").write_text("x")
    options = ["--ignore", "shards", "--follow-symlinks", "--include-git"]
    parts = digest(model_dir, 2, *options)
    signature = put_together(model_dir, parts, *options)
    assert statement(signature) == whole(sign, model_dir, tmp_path, *options)


def test_report_of_a_part(hallmark, model_dir, tmp_path):
    out = tmp_path / "part.json"
    report = hallmark("digest", model_dir, "--part", "2/3", "--out", out, "--json",
                      expect=OK).json()  # fmt: skip
    assert report["part"] == {"part": 2, "parts": 3, "path": str(out)}
    assert report["model"]["model_digest"] is None and report["model"]["root_digest"] is None
    listed = json.loads(out.read_text())["entries"]
    assert [entry["digest"] for entry in report["entries"]] == [e["digest"] for e in listed]
    assert "2 of 3" in hallmark("digest", model_dir, "--part", "2/3", "--out", out, expect=OK).out


# ---- how it is split ----------------------------------------------------------------------------


def loads(parts):
    return [sum(entry["end"] - entry["start"] for entry in json.loads(path.read_text())["entries"])
            for path in parts]  # fmt: skip


@pytest.mark.parametrize("count", [2, 3, 7])
def test_shares_of_shards_are_even(digest, tree, count):
    model = tree({f"f{n}": b"x" * (n * 17_000) for n in range(1, 20)})
    shares = loads(digest(model, count, "--shard-size", "8192"))
    assert max(shares) - min(shares) <= 2 * 8192


def test_large_files_are_not_put_together(digest, tree):
    model = tree({"a": b"x" * 900_000, "b": b"x" * 800_000, "c": b"x" * 500_000, "d": b"x" * 400_000})
    parts = digest(model, 2)
    assert sorted(loads(parts)) == [1_300_000, 1_300_000]


def test_many_small_files_count_by_number(digest, tree):
    """One file of 8 MiB costs as much as some 64 empty ones, not as none."""
    files = {f"s/{n:03}": b"" for n in range(128)} | {"big": b"x" * (8 << 20)}
    parts = digest(tree(files), 2)
    numbers = sorted(len(json.loads(path.read_text())["entries"]) for path in parts)
    assert sum(numbers) == 129 and 25 <= numbers[0] <= 45


def test_the_split_depends_on_names_and_sizes_only(digest, tree):
    files = {f"d{n % 3}/f{n}": support.content(n, n * 999 % 5000) for n in range(60)}
    one = digest(tree(files, "one"), 5, folder="p1")
    other_order = dict(reversed(files.items()))
    two = digest(tree({k: v[::-1] for k, v in other_order.items()}, "two"), 5, folder="p2")
    for left, right in zip(one, two, strict=True):
        names = [[e["name"] for e in json.loads(p.read_text())["entries"]] for p in (left, right)]
        assert names[0] == names[1]


def test_more_parts_than_files(digest, put_together, verify, tree):
    model = tree({"a": b"a", "empty": b""})
    parts = digest(model, 5)
    assert sum(not json.loads(path.read_text())["entries"] for path in parts) == 3
    verify(model, "--signature", put_together(model, parts))


def test_empty_files_of_shards_are_bound(digest, put_together, verify, tree):
    model = tree({"a": b"a" * 50, "empty": b""})
    signature = put_together(model, digest(model, 2, "--shard-size", "16"))
    verify(model, "--signature", signature)
    (model / "empty").unlink()
    verify(model, "--signature", signature, expect=REFUSED)


# ---- parts that do not fit ----------------------------------------------------------------------


def test_missing_part(digest, put_together, model_dir):
    parts = digest(model_dir, 3)
    put_together(model_dir, [parts[0], parts[2]], expect=USAGE, words="part 2 of 3 is missing")


def test_doubled_part(digest, put_together, model_dir):
    parts = digest(model_dir, 3)
    put_together(model_dir, [*parts, parts[1]], expect=USAGE, words="both part 2 of 3")


def test_parts_of_two_splittings(digest, put_together, model_dir):
    parts = digest(model_dir, 3) + digest(model_dir, 4, folder="four")[3:]
    put_together(model_dir, parts, expect=USAGE, words="differ in the number of parts")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--hash", "blake3"], "differ in --hash"),
        (SHARDS, "differ in --files or --shards"),
        (["--ignore", "shards"], "differ in --ignore"),
        (["--follow-symlinks"], "differ in --follow-symlinks"),
    ],
)
def test_parts_made_differently(digest, put_together, model_dir, options, words):
    first, _ = digest(model_dir, 2)
    _, second = digest(model_dir, 2, *options, folder="other")
    put_together(model_dir, [first, second], expect=USAGE, words=words)


def test_parts_of_two_shard_sizes(digest, put_together, model_dir):
    first, _ = digest(model_dir, 2, *SHARDS)
    _, second = digest(model_dir, 2, "--shard-size", "20001", folder="other")
    put_together(model_dir, [first, second], expect=USAGE, words="differ in --shard-size")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--hash", "blake3"], "not made with the --hash"),
        (["--shard-size", "19999"], "not made with the --files, --shards or --shard-size"),
        (["--shards"], "not made with the --files, --shards or --shard-size"),
        (["--files"], "not made with the --files, --shards or --shard-size"),
        (["--follow-symlinks"], "not made with the --follow-symlinks"),
        (["--ignore", "shards"], "do not leave out shards"),
        (["--include-git"], r"leave out \.git"),
        (["--format", "manifest-json"], "is a directory|for oms|whole files"),
    ],
)
def test_options_that_disagree(digest, put_together, model_dir, options, words):
    (model_dir / ".git").mkdir()
    (model_dir / ".git" / "config").write_text("x")
    parts = digest(model_dir, 2, *SHARDS)
    put_together(model_dir, parts, *options, expect=USAGE, words=words)


def test_options_that_agree(digest, put_together, model_dir):
    parts = digest(model_dir, 2, *SHARDS, "--hash", "blake3")
    put_together(model_dir, parts, *SHARDS, "--hash", "blake3")
    (whole_files,) = digest(model_dir, 1)
    put_together(model_dir, [whole_files], "--files", "--hash", "sha256")


def test_only_the_parts_ignore_something(digest, put_together, model_dir):
    parts = digest(model_dir, 2, "--ignore", "shards")
    put_together(model_dir, parts, expect=USAGE, words="the parts leave out shards")


def test_rules_without_effect_may_differ(digest, put_together, verify, model_dir):
    parts = digest(model_dir, 2, "--ignore", "nowhere", "--ignore", "README.md/x")
    verify(model_dir, "--signature", put_together(model_dir, parts, "--ignore", "elsewhere"))


def test_a_signature_inside_that_is_not_replaced(sign, digest, put_together, model_dir):
    """It would be signed as a file of the model, and the parts do not have it."""
    sign(model_dir)
    parts = digest(model_dir, 2)
    put_together(model_dir, parts, expect=USAGE, words="the parts leave out model.sig")
    put_together(model_dir, parts, "--ignore", "model.sig")


def test_other_formats_take_no_parts(hallmark, keys, digest, model_file, tmp_path):
    parts = digest(model_file, 1)
    result = hallmark("sign", model_file, "--parts", *parts, "--format", "manifest-json", "--key",
                      keys["python", "rsa-2048"].private, expect=USAGE)  # fmt: skip
    assert "for oms" in result.err


def test_several_models_and_parts(hallmark, ec, digest, model_dir, model_file):
    parts = digest(model_dir, 1)
    hallmark("sign", model_dir, model_file, "--parts", *parts, "--key", ec.private, "--signature",
             "x.sig", expect=USAGE)  # fmt: skip


# ---- parts of another tree, or of another time --------------------------------------------------


def test_part_of_another_model(digest, put_together, tree):
    ours = tree({"a": b"a" * 100, "b": b"b" * 90}, "ours")
    theirs = tree({"a": b"a" * 100, "c": b"b" * 90}, "theirs")
    first, second = digest(ours, 2)
    _, foreign = digest(theirs, 2, folder="theirs-parts")
    put_together(ours, [first, foreign], expect=REFUSED, words="is of a tree of 2 files.*\n.*part 2/2")
    put_together(ours, [first, second])


@pytest.mark.parametrize("change", ["grow", "add", "remove", "rename"])
def test_names_and_sizes_that_changed(digest, put_together, model_dir, change):
    parts = digest(model_dir, 2)
    if change == "grow":
        with open(model_dir / "README.md", "a") as out:
            out.write("more")
    elif change == "add":
        (model_dir / "new").write_bytes(b"")
    elif change == "remove":
        (model_dir / "README.md").unlink()
    else:
        (model_dir / "README.md").rename(model_dir / "README")
    put_together(model_dir, parts, expect=REFUSED, words="digest all parts again")


def test_file_that_changed_since(digest, put_together, verify, model_dir):
    parts = digest(model_dir, 3)
    support.flip(model_dir / "README.md", 0)
    os.utime(model_dir / "README.md", (1, 1))
    (stale,) = [path for path, entry in entries(parts) if entry["name"] == "README.md"]
    number = re.search(r"\d+", stale.stem)[0]
    put_together(model_dir, parts, expect=REFUSED,
                 words=f"README.md changed after .*{stale.name} was made.*(.|\n)*"
                       f"digest --part {number}/3")  # fmt: skip
    digest(model_dir, 3, numbers=[int(number)])
    verify(model_dir, "--signature", put_together(model_dir, parts))


def test_file_that_changes_while_a_part_is_made(digest, put_together, model_dir):
    """Nanoseconds count."""
    parts = digest(model_dir, 2)
    path = model_dir / "README.md"
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    put_together(model_dir, parts, expect=REFUSED, words="README.md changed after")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    put_together(model_dir, parts)


# ---- parts that were tampered with --------------------------------------------------------------


def change_entry(**members):
    return lambda part: part["entries"][0].update(members)


TAMPERED = {
    "format": (lambda p: p.update(format="hallmark-part-v2"), REFUSED, "not a part that this version"),
    "part-0": (lambda p: p.update(part=0), REFUSED, "no possible part"),
    "part-3": (lambda p: p.update(part=3), REFUSED, "no possible part"),
    "parts": (lambda p: p.update(parts=1 << 20), REFUSED, "no possible part"),
    "part-float": (lambda p: p.update(part=1.5), REFUSED, "not an integer"),
    "negative": (change_entry(start=-1), REFUSED, "not an integer"),
    "part-text": (lambda p: p.update(part="1"), REFUSED, "part"),
    "method": (lambda p: p.update(method="files"), REFUSED, "make no sense"),
    "method-unknown": (lambda p: p.update(method="rows"), REFUSED, "make no sense"),
    "hash": (lambda p: p.update(hash="md5"), REFUSED, "make no sense"),
    "size-0": (lambda p: p.update(shard_size=0), REFUSED, "make no sense"),
    "member": (lambda p: p.update(more=1), REFUSED, "more"),
    "member-tree": (lambda p: p["tree"].update(more=1), REFUSED, "more"),
    "member-entry": (change_entry(more=1), REFUSED, "more"),
    "lacking": (lambda p: p.pop("follow_symlinks"), REFUSED, "follow_symlinks"),
    "ignore-order": (lambda p: p["ignore"].reverse(), REFUSED, "not a sorted list"),
    "ignore-outside": (lambda p: p.update(ignore=["../x"]), REFUSED, "not a sorted list"),
    "ignore-types": (lambda p: p.update(ignore=[1]), REFUSED, "not a sorted list"),
    "tree-digest": (lambda p: p["tree"].update(digest="0" * 64), REFUSED, "is of a tree"),
    "tree-hex": (lambda p: p["tree"].update(digest="0"), REFUSED, "64 lower-case"),
    "name-outside": (change_entry(name="../x"), REFUSED, "that cannot be"),
    "name-other": (change_entry(name="!no"), REFUSED, "not in the model"),
    "digest": (change_entry(digest="00"), REFUSED, "that cannot be"),
    "digest-case": (change_entry(digest="A" * 64), REFUSED, "that cannot be"),
    "end": (change_entry(end=19_999), REFUSED, "that cannot be"),
    "start": (change_entry(start=1), REFUSED, "that cannot be"),
    "size": (change_entry(size=0, start=0, end=0), REFUSED, "changed after"),
    "mtime": (change_entry(mtime="0.0"), REFUSED, "changed after"),
    "dropped": (lambda p: p["entries"].pop(0), REFUSED, "no part has the digest of"),
    "doubled": (lambda p: p["entries"].insert(0, p["entries"][0]), REFUSED, "something twice"),
    "order": (lambda p: p["entries"].reverse(), REFUSED, "not sorted"),
    "no-object": (lambda p: p.update(entries=[1]), REFUSED, "not an object"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered_part(digest, put_together, model_dir, name):
    parts = digest(model_dir, 2, *SHARDS)
    change, status, words = TAMPERED[name]
    edit(parts[0], change)
    put_together(model_dir, parts, expect=status, words=words)


def test_entry_in_two_parts(digest, put_together, model_dir):
    parts = digest(model_dir, 2, *SHARDS)
    stolen = json.loads(parts[1].read_text())["entries"][0]

    def add(part):
        part["entries"].append(stolen)
        part["entries"].sort(key=lambda entry: (entry["name"].encode(), entry["start"]))

    edit(parts[0], add)
    put_together(model_dir, parts, expect=REFUSED, words="two parts have a digest of")


def test_a_wrong_digest_is_found_by_verifying(digest, put_together, verify, model_dir):
    """Parts are believed: what they get wrong is signed, and does not verify."""
    parts = digest(model_dir, 2)
    edit(parts[0], change_entry(digest="0" * 64))
    report = verify(model_dir, "--signature", put_together(model_dir, parts), expect=REFUSED)
    assert report["reason"] == "digest-mismatch"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b"null"])
def test_no_part_at_all(digest, put_together, model_dir, content):
    parts = digest(model_dir, 2)
    parts[1].write_bytes(content)
    put_together(model_dir, parts, expect=REFUSED, words="part-2.json")


def test_part_that_is_not_there(digest, put_together, model_dir, tmp_path):
    parts = digest(model_dir, 1)
    put_together(model_dir, [*parts, tmp_path / "none"], expect=UNDECIDED, words="none")


# ---- where parts are written --------------------------------------------------------------------


def test_not_inside_the_model(hallmark, model_dir):
    for out in (model_dir / "part.json", model_dir / "shards" / "part.json"):
        result = hallmark("digest", model_dir, "--part", "1/1", "--out", out, expect=USAGE)
        assert "inside the model" in result.err and not out.exists()


def test_nothing_else_is_written_over(hallmark, model_dir, model_file, tmp_path):
    other = tmp_path / "notes.txt"
    other.write_text("precious")
    digest_one = ["--part", "1/1", "--out"]
    result = hallmark("digest", model_dir, *digest_one, other, expect=USAGE)
    assert "not an older part" in result.err and other.read_text() == "precious"
    before = model_file.read_bytes()
    hallmark("digest", model_file, *digest_one, model_file, expect=USAGE)
    assert model_file.read_bytes() == before
    link = tmp_path / "link.json"
    link.symlink_to(other)
    hallmark("digest", model_dir, *digest_one, link, expect=USAGE)
    hallmark("digest", model_dir, *digest_one, tmp_path, expect=USAGE)
    hallmark("digest", model_dir, *digest_one, tmp_path / "none" / "p.json", expect=UNDECIDED)


# ---- the command line ---------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/", "/3", "a/3", "1/0", "1/3/3", "-1/3",
                                  "+1/3", " 1/3", "1 /3", "1/70000", "1/9999999", ""])  # fmt: skip
def test_parts_that_cannot_be(hallmark, model_dir, tmp_path, text):
    out = tmp_path / "p.json"
    hallmark("digest", model_dir, f"--part={text}", "--out", out, expect=USAGE)
    assert not out.exists()


def test_part_and_out_go_together(hallmark, model_dir, tmp_path):
    hallmark("digest", model_dir, "--part", "1/2", expect=USAGE)
    hallmark("digest", model_dir, "--out", tmp_path / "x", expect=USAGE)


def test_words_up_to_the_next_option(hallmark, ec, digest, model_dir):
    parts = digest(model_dir, 3)
    key = ["--key", ec.private]
    hallmark("sign", model_dir, *key, "--parts", *parts, expect=OK)
    hallmark("sign", *key, "--parts", *parts, "--", model_dir, expect=OK)
    hallmark("sign", "--parts", parts[0], "--parts", *parts[1:], *key, model_dir, expect=OK)
    hallmark("sign", *[f"--parts={path}" for path in parts], model_dir, *key, expect=OK)
    result = hallmark("sign", *key, "--parts", *parts, model_dir, expect=USAGE)
    assert "before --parts" in result.err
    hallmark("sign", model_dir, *key, "--parts", expect=USAGE)
