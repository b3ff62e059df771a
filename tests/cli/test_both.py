# SPDX-License-Identifier: Apache-2.0
"""hallmark sign --files --shards: two signatures of one model, after reading it once."""

import collections
import errno
import json
import os
import pty
import re
import select
import shutil
import subprocess
import time

import pytest

import oracle
import support

FILES = {
    "config.json": b"{}",
    "weights.bin": support.content("weights", 300_000),
    "a/shard": support.content("shard", 65_536),
    "a/shards": support.content("shards", 131_072),
    "a/less": support.content("less", 65_535),
    "a/more": support.content("more", 65_537),
    "empty": b"",
}
BOTH = ["--files", "--shard-size", "64K"]
HASHES = ["sha256", "blake2b", "blake3"]
SIGNATURES = ["model.sig", "model.shards.sig"]


@pytest.fixture
def signed(sign, tree):
    folder = tree(FILES)
    sign(folder, *BOTH)
    return folder


def check_both(folder, key, files, hash_name="sha256", size=65_536):
    """By an implementation of its own; gives the two statements."""
    whole = oracle.verify_oms((folder / "model.sig").read_bytes(), key, files)
    shards = oracle.verify_oms((folder / "model.shards.sig").read_bytes(), key, files)
    for statement, method in ((whole, "files"), (shards, "shards")):
        how = statement["predicate"]["serialization"]
        assert (how["method"], how["hash_type"]) == (method, hash_name)
        assert set(SIGNATURES) <= set(how["ignore_paths"])
    assert shards["predicate"]["serialization"]["shard_size"] == size
    return whole, shards


# ---- what is signed -----------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", ["1", "2", "5"])
@pytest.mark.parametrize("size", ["64", "1000", "65536", "65537", "131072", "1M"])
@pytest.mark.parametrize("hash_name", HASHES)
def test_both_against_another_implementation(sign, verify, ec, tree, hash_name, size, jobs):
    folder = tree(FILES)
    sign(folder, "--files", "--shard-size", size, "--hash", hash_name, "--jobs", jobs)
    number = 1 << 20 if size == "1M" else int(size)
    check_both(folder, ec.python.public_key(), FILES, hash_name, number)
    for name in SIGNATURES:
        report = verify(folder, "--signature", folder / name)
        assert report["model"]["files"] == len(FILES)
        assert report["signature"]["path"] == str(folder / name)


def test_each_is_the_same_as_when_signed_alone(sign, ec, tree):
    """But for the signature itself, which is never the same twice, and the other one's place."""
    both, files, shards = (tree(FILES, name) for name in ("both", "files", "shards"))
    sign(both, *BOTH)
    sign(files, "--files")
    sign(shards, "--shard-size", "64K")
    for mine, alone in ((both / "model.sig", files), (both / "model.shards.sig", shards)):
        one = oracle.read_oms(mine.read_bytes())[0]
        other = oracle.read_oms((alone / "model.sig").read_bytes())[0]
        one["predicate"]["serialization"]["ignore_paths"].remove("model.shards.sig")
        one["subject"][0]["name"] = other["subject"][0]["name"]
        assert one == other


def test_default_size(sign, ec, tree):
    folder = tree(FILES)
    sign(folder, "--files", "--shards")
    check_both(folder, ec.python.public_key(), FILES, size=64 << 20)


def test_reference_verifies_the_files(reference, signed, ec, tmp_path):
    command = ["verify", "key", signed, "--signature", signed / "model.sig",
               "--public_key", ec.public]  # fmt: skip
    assert reference(*command).rc == 0
    (signed / "extra").write_bytes(b"1")
    assert reference(*command).rc != 0


def test_single_file(sign, verify, hallmark, ec, tmp_path):
    model = tmp_path / "weights.bin"
    model.write_bytes(FILES["weights.bin"])
    report = sign(model, *BOTH, "--json").json()
    assert report["signature"]["path"] == f"{model}.sig"
    assert report["signature"]["shards_path"] == f"{model}.shards.sig"
    assert verify(model)["signature"]["path"] == f"{model}.shards.sig"
    assert verify(model, "--signature", f"{model}.sig")["model"]["method"] == "files"
    support.flip(model, 250_000)
    for more in ([], ["--signature", f"{model}.sig"]):
        assert verify(model, *more, expect=1)["reason"] == "digest-mismatch"


def test_reference_verifies_a_single_file(reference, sign, verify, ec, tmp_path):
    model = tmp_path / "weights.bin"
    model.write_bytes(FILES["weights.bin"])
    sign(model, *BOTH, "--name-dot")
    verify(model)
    assert reference("verify", "key", model, "--signature", f"{model}.sig",
                     "--public_key", ec.public).rc == 0  # fmt: skip


def test_places(sign, verify, tree, tmp_path):
    folder = tree(FILES)
    inside, outside = folder / "a" / "of files", tmp_path / "of shards"
    text = sign(folder, *BOTH, "--signature", inside, "--shards-signature", outside).out
    assert re.search(rf"(?m)^  signature +{inside}$", text)
    assert re.search(rf"(?m)^  and of shards +{outside}$", text)
    assert not any((folder / name).exists() for name in SIGNATURES)
    assert verify(folder, "--signature", inside)["model"]["method"] == "files"
    assert verify(folder, "--signature", outside)["model"]["method"] == "shards"
    ignored = oracle.read_oms(outside.read_bytes())[0]["predicate"]["serialization"]["ignore_paths"]
    assert "a/of files" in ignored and "model.shards.sig" not in ignored


@pytest.mark.parametrize("second", ["x.sig", "./x.sig", "../tree/x.sig", "a/../x.sig"])
def test_one_place_for_both(sign, tree, second):
    folder = tree(FILES)
    said = sign(folder, *BOTH, "--signature", folder / "x.sig",
                "--shards-signature", f"{folder}/{second}", expect=2).err  # fmt: skip
    assert "two files would be written" in said
    assert not (folder / "x.sig").exists()


def test_symlinks_and_ignored_paths(sign, verify, ec, tree):
    folder = tree({**FILES, "logs/x": b"1"})
    (folder / "link").symlink_to("weights.bin")
    sign(folder, *BOTH, "--follow-symlinks", "--ignore", "logs", "--hash", "blake3")
    (folder / "logs" / "y").write_bytes(b"2")
    for name in SIGNATURES:
        statement = oracle.read_oms((folder / name).read_bytes())[0]
        assert statement["predicate"]["serialization"]["allow_symlinks"]
        assert "logs" in statement["predicate"]["serialization"]["ignore_paths"]
        verify(folder, "--signature", folder / name, "--allow-symlinks")
        verify(folder, "--signature", folder / name, expect=1)


def test_empty_files(sign, verify, hallmark, ec, tree):
    folder = tree(FILES)
    sign(folder, *BOTH)
    (folder / "empty").unlink()
    for name in SIGNATURES:
        assert verify(folder, "--signature", folder / name, expect=1)["status"] == "refused"
    (folder / "empty").touch()
    (folder / "another").touch()
    for name in SIGNATURES:
        assert verify(folder, "--signature", folder / name, expect=1)["status"] == "refused"
    nothing = tree({"empty": b""}, "nothing")
    assert "no byte to sign" in sign(nothing, *BOTH, expect=1).err
    assert sorted(os.listdir(nothing)) == ["empty"]


def test_certificates(hallmark, pki, tree):
    folder = tree(FILES)
    leaf = pki.leaf("both")
    hallmark("sign", folder, *BOTH, "--key", leaf.key.private, "--cert", leaf.path,
             "--chain", pki.intermediate.path, expect=0)  # fmt: skip
    for name in SIGNATURES:
        hallmark("verify", folder, "--root", pki.root.path, "--signature", folder / name, expect=0)


# ---- verification --------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--strict-paths"], ["--format", "oms"], ["--fail-fast"]])
def test_shards_are_preferred(signed, verify, options):
    report = verify(signed, *options)
    assert report["signature"]["path"] == str(signed / "model.shards.sig")
    assert report["model"]["method"] == "shards"
    assert "model.sig" in [hole["path"] for hole in report["ignored"]]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("signature", SIGNATURES)
def test_a_change_is_seen_by_either(signed, verify, name, signature):
    with open(signed / name, "ab") as out:
        out.write(b"!")
    report = verify(signed, "--signature", signed / signature, expect=1)
    assert report["reason"] in ("digest-mismatch", "extra-file")


@pytest.mark.parametrize("gone", SIGNATURES)
@pytest.mark.parametrize("options", [[], ["--strict-paths"]])
def test_either_alone_is_as_good(signed, verify, gone, options):
    (signed / gone).unlink()
    left = next(name for name in SIGNATURES if name != gone)
    assert verify(signed, *options)["signature"]["path"] == str(signed / left)
    support.flip(signed / "weights.bin", 299_999)
    assert verify(signed, *options, expect=1)["reason"] == "digest-mismatch"


def test_without_both_it_is_unsigned(signed, verify):
    for name in SIGNATURES:
        (signed / name).unlink()
    assert verify(signed, expect=1)["reason"] == "unsigned"


@pytest.mark.parametrize("text", [b"", b"{}", b"not a signature"])
def test_no_falling_back_to_the_files(signed, verify, text):
    (signed / "model.shards.sig").write_bytes(text)
    assert verify(signed, expect=1)["reason"] == "malformed"


def test_shards_by_another_key_are_refused(signed, verify, hallmark, keys, tree, tmp_path):
    other = keys["python", "ec-p384"]
    copy = tree(FILES, "copy")
    hallmark("sign", copy, *BOTH, "--key", other.private, expect=0)
    shutil.copy(copy / "model.shards.sig", signed / "model.shards.sig")
    assert verify(signed, expect=1)["status"] == "refused"


def test_another_format_is_not_looked_for_in_its_place(sign, hallmark, rsa, ec, model_file):
    sign(model_file, *BOTH)
    hallmark("sign", model_file, "--key", rsa.private, "--format", "manifest-json",
             "--signature", f"{model_file}.sig.json", expect=0)  # fmt: skip
    os.rename(f"{model_file}.sig.json", f"{model_file}.sig")
    report = hallmark("verify", model_file, "--key", rsa.public, "--format", "manifest-json",
                      "--json", expect=0).json()  # fmt: skip
    assert report["signature"]["path"] == f"{model_file}.sig"


def test_other_files_in_the_default_places_are_no_signatures(sign, verify, tree):
    """Strict paths pass over the two names only where the signature says so."""
    folder = tree(FILES)
    sign(folder, "--files")
    (folder / "model.shards.sig").write_bytes(b"anything")
    report = verify(folder, "--signature", folder / "model.sig", "--strict-paths", expect=1)
    assert report["reason"] == "extra-file"


# ---- what was there before ----------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--files"], ["--shards"], ["--shard-size", "1M"]])
def test_stale_shards_are_refused(signed, sign, options):
    before = support.snapshot(signed)
    result = sign(signed, *options, expect=2)
    assert "model.shards.sig" in result.err and "--files --shards" in result.err
    assert sign(signed, *options, "--signature", signed / "model.sig", expect=2).rc == 2
    assert support.snapshot(signed) == before
    (signed / "model.shards.sig").unlink()
    sign(signed, *options)


def test_stale_shards_of_a_single_file(sign, model_file, hallmark, rsa, metadata_file):
    sign(model_file, *BOTH)
    assert "shards.sig" in sign(model_file, expect=2).err
    os.unlink(f"{model_file}.sig")
    assert "shards.sig" in hallmark("sign", model_file, "--key", rsa.private, "--format",
        "sig-json", "--metadata", metadata_file, expect=2).err  # fmt: skip


def test_signed_again(signed, sign, verify, ec):
    files = {**FILES, "weights.bin": support.content("other weights", 200_001)}
    (signed / "weights.bin").write_bytes(files["weights.bin"])
    assert verify(signed, expect=1)["reason"] == "digest-mismatch"
    sign(signed, *BOTH)
    check_both(signed, ec.python.public_key(), files)
    assert sorted(os.listdir(signed)) == sorted(["a", "config.json", "empty", "weights.bin",
                                                 *SIGNATURES])  # fmt: skip


def test_after_whole_files_alone(sign, verify, ec, tree):
    folder = tree(FILES)
    sign(folder)
    sign(folder, *BOTH)
    check_both(folder, ec.python.public_key(), FILES)


@pytest.mark.parametrize("name", SIGNATURES)
@pytest.mark.parametrize("kind", ["file", "folder", "pipe", "link"])
def test_other_things_are_not_written_over(sign, tree, name, kind):
    folder = tree(FILES)
    if kind == "file":
        (folder / name).write_bytes(b"precious")
    elif kind == "folder":
        (folder / name).mkdir()
    elif kind == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to("config.json")
    before = sorted(os.listdir(folder))
    assert "not written over" in sign(folder, *BOTH, expect=2).err
    assert sorted(os.listdir(folder)) == before
    assert (folder / "config.json").read_bytes() == b"{}"


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("chattr") is None, reason="no chattr")
def test_neither_is_written_where_one_cannot_be(sign, tree, tmp_path, existing):
    folder = tree(FILES)
    closed = tmp_path / "closed"
    closed.mkdir()
    places = ["--signature", folder / "model.sig", "--shards-signature", closed / "x" / "s.sig"]
    if existing:
        sign(folder)
    before = support.snapshot(folder)
    assert sign(folder, *BOTH, *places, expect=3).rc == 3
    assert support.snapshot(folder) == before


STRACE = shutil.which("strace")


def strace(hallmark, arguments, *options):
    """Threads and all; with -o a file for each."""
    command = [STRACE, "-ff" if "-o" in options else "-f", "-qq", *options, *hallmark.command(*arguments)]
    return subprocess.run(command, env=hallmark.environment(), capture_output=True, timeout=120,
                          check=False)  # fmt: skip


@pytest.fixture
def can_trace(hallmark, sanitizer):
    if STRACE is None or sanitizer or hallmark.wrapper:
        pytest.skip("no strace, or not of this build")
    if strace(hallmark, ["--version"], "-e", "trace=none").returncode != 0:
        pytest.skip("processes cannot be traced here")


@pytest.mark.parametrize("existing", [[], ["model.sig"], ["model.shards.sig"], SIGNATURES])
@pytest.mark.parametrize("call, when", [("linkat", 1), ("linkat", 2), ("renameat", 1),
                                        ("renameat2", 2), ("fsync", 1), ("fsync", 2),
                                        ("fsync", 3), ("fsync", 4)])  # fmt: skip
def test_a_failure_changes_neither(can_trace, hallmark, sign, tree, ec, existing, call, when):
    folder = tree(FILES)
    sign(folder, *BOTH)
    for name in SIGNATURES:
        if name not in existing:
            (folder / name).unlink()
    before = support.snapshot(folder)
    inject = f"inject={call}:error=EIO:when={when}"
    done = strace(hallmark, ["sign", folder, "--key", ec.private, *BOTH],
                  "-e", f"trace={call}", "-e", inject)  # fmt: skip
    injected = b"(INJECTED)" in done.stderr
    if call == "renameat2" and injected:
        assert done.returncode == 0  # a plain rename does as well
    else:
        assert done.returncode == (3 if injected else 0), done.stderr
    if done.returncode != 0:
        assert support.snapshot(folder) == before
    else:
        check_both(folder, ec.python.public_key(), FILES)
    assert not [name for name in os.listdir(folder) if name.startswith(".hallmark")]


@pytest.mark.parametrize("call, when", [("linkat", 1), ("linkat", 2), ("renameat2", 1),
                                        ("renameat2", 2), ("fsync", 3)])  # fmt: skip
@pytest.mark.parametrize("existing", [False, True])
def test_killed_in_between(can_trace, hallmark, sign, verify, tree, ec, call, when, existing):
    """Each signature is the old one or the new one, and an old one is refused."""
    folder = tree(FILES)
    if existing:
        sign(folder, *BOTH)
        support.flip(folder / "weights.bin", 5)
    strace(hallmark, ["sign", folder, "--key", ec.private, *BOTH],
           "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}")  # fmt: skip
    for name in SIGNATURES:
        if (folder / name).exists():
            oracle.read_oms((folder / name).read_bytes())
            result = hallmark("verify", folder, "--key", ec.public, "--signature", folder / name,
                              "--ignore-unsigned", "--json", expect=(0, 1))  # fmt: skip
            assert result.json()["reason"] in (None, "digest-mismatch")
    sign(folder, *BOTH)
    verify(folder, "--strict-paths")
    assert not [name for name in os.listdir(folder) if name.startswith(".hallmark")]


# ---- one pass -----------------------------------------------------------------------------------


def bytes_read(trace, path):
    """How often each piece of the file was read or mapped: {(offset, length): times}."""
    covered = collections.Counter()
    for line in trace.splitlines():
        if f"<{path}>" not in line:
            continue
        read = re.search(r"pread64\(\d+<[^>]*>, .*, (\d+), (\d+)\) += (\d+)$", line)
        shown = re.search(r"mmap\(.*?, (\d+), .*, \d+<[^>]*>, (0x[0-9a-f]+|0)\) += 0x", line)
        if read:
            covered[int(read[2]), int(read[3])] += 1
        elif shown:
            covered[int(shown[2], 0), int(shown[1])] += 1
        else:  # one byte asks whether a piece is in the page cache
            assert re.search(r"mmap\(|preadv2\(.*RWF_NOWAIT\) += (1|-1 .*)$", line), line
    return covered


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("hash_name, size", [("sha256", "1M"), ("sha256", "1000001"),
                                             ("blake2b", "1M"), ("blake3", "1M")])  # fmt: skip
def test_every_byte_is_read_once(can_trace, hallmark, ec, tmp_path, jobs, hash_name, size):
    model = tmp_path / "weights.bin"
    length = 20_000_003
    model.write_bytes(support.content("long", 1_000_001) * 19 + b"x" * (length - 19_000_019))
    done = strace(hallmark, ["sign", model, "--key", ec.private, "--files", "--shard-size", size,
                             "--hash", hash_name, "--jobs", jobs],
                  "-y", "-s", "0", "-o", tmp_path / "trace",
                  "-e", "trace=read,readv,pread64,preadv,preadv2,mmap,sendfile,copy_file_range",
                  )  # fmt: skip
    assert done.returncode == 0, done.stderr
    trace = "".join(path.read_text() for path in tmp_path.glob("trace.*"))
    covered = bytes_read(trace, model)
    assert covered and set(covered.values()) == {1}
    end = 0
    for offset, count in sorted(covered):
        assert end - 4096 < offset <= end, "a gap, or bytes that were read twice"
        end = offset + count
    assert end == length or end - length < 4096


# ---- a word on terminals -------------------------------------------------------------------------


def on_terminal(hallmark, *arguments):
    """Standard error is a terminal; gives (status, standard output, what the terminal shows)."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(hallmark.command(*arguments), env=hallmark.environment(),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=follower)  # fmt: skip
    os.close(follower)
    shown = b""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if select.select([leader], [], [], 1)[0]:
            try:
                data = os.read(leader, 65536)
            except OSError as error:
                assert error.errno == errno.EIO
                break
            if not data:
                break
            shown += data
    os.close(leader)
    out = process.communicate(timeout=60)[0]
    progress = r"\r\x1b\[K[^\r\n]*(?=\r\x1b\[K)"
    return process.returncode, out.decode(), re.sub(progress, "", shown.decode()).strip("\r\x1b[K")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Sparse: 1.25 GiB in one file."""
    folder = tmp_path_factory.mktemp("large") / "model"
    folder.mkdir()
    with open(folder / "weights.bin", "wb") as out:
        out.truncate(5 << 28)
    return folder


def not_worth_it(sanitizer, hallmark):
    if sanitizer or hallmark.wrapper:
        pytest.skip("takes too long")


def test_word_on_a_terminal(hallmark, ec, large, sanitizer):
    not_worth_it(sanitizer, hallmark)
    sign = ["sign", large, "--key", ec.private, "--jobs", "2"]
    verify = ["verify", large, "--key", ec.public, "--jobs", "2"]
    for command in (sign, verify):
        rc, out, shown = on_terminal(hallmark, *command)
        assert rc == 0
        times = re.search(r"by shards .* about (\d+) times as fast", shown)
        assert times and 2 <= int(times[1]) <= 16, shown
        assert "--files --shards" in shown and "times as fast" not in out
        for quiet in ("--json", "--no-progress"):
            rc, out, shown = on_terminal(hallmark, *command, quiet)
            assert (rc, shown) == (0, "")
    assert hallmark(*verify, expect=0).err == ""
    assert on_terminal(hallmark, *sign, "--files", "--shards")[::2] == (0, "")
    assert on_terminal(hallmark, *verify)[::2] == (0, "")
    (large / "model.shards.sig").unlink()
    (large / "model.sig").unlink()


def test_no_word_where_shards_gain_nothing(hallmark, ec, large, sanitizer, model_dir):
    not_worth_it(sanitizer, hallmark)
    signature = large.parent / "blake3.sig"
    rc, _, shown = on_terminal(hallmark, "sign", large, "--key", ec.private, "--hash", "blake3",
                               "--signature", signature)  # fmt: skip
    assert (rc, shown) == (0, "")
    rc, _, shown = on_terminal(hallmark, "sign", model_dir, "--key", ec.private)
    assert (rc, shown) == (0, "")
    rc, _, shown = on_terminal(hallmark, "digest", large, "--jobs", "2")
    assert (rc, shown) == (0, "")


def test_report_names_both(signed, sign, verify):
    report = json.loads(sign(signed, *BOTH, "--json").out)
    assert report["signature"] == {
        "path": str(signed / "model.sig"),
        "shards_path": str(signed / "model.shards.sig"),
        "format": "oms",
    }
    assert report["model"]["method"] == "files"
    assert verify(signed)["signature"]["shards_path"] is None


def test_digest_shows_one(hallmark, tree):
    for both in (["--files", "--shards"], ["--files", "--shard-size", "8"]):
        assert "only one of" in hallmark("digest", tree(FILES), *both, expect=2).err


@pytest.mark.parametrize("what", ["directory", "file", "stranger"])
def test_strict_paths_pass_over_believed_signatures_only(hallmark, ec, keys, tree, tmp_path, what):
    """Whatever stands where the other signature belongs is content, unless it is a good one."""
    model = tree({"w": b"weights"})
    other = keys["openssl", "ec-p256", "other"]
    hallmark("sign", model, "--key", ec.private, "--files", "--shard-size", "1K", expect=0)
    place = model / "model.sig"
    hallmark("verify", model, "--key", ec.public, "--strict-paths", expect=0)
    if what == "stranger":
        hallmark("sign", model, "--key", other.private, "--signature", tmp_path / "x.sig", expect=0)
        place.write_bytes((tmp_path / "x.sig").read_bytes())
    else:
        place.unlink()
        place.mkdir() if what == "directory" else place.write_text("import os")
        if what == "directory":
            (place / "__init__.py").write_text("import os")
    result = hallmark("verify", model, "--key", ec.public, "--strict-paths", "--json", expect=1)
    assert result.json()["reason"] == "extra-file"
