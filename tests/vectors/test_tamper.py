# SPDX-License-Identifier: Apache-2.0
"""Everything changed, one thing at a time: each byte of a signature file, and a model in every way.

A changed signature file may pass only if what changed is covered by no signature, and what that is
stands here by name.
"""

import concurrent.futures
import dataclasses
import json
import os
import re
import shutil

import oracle
import pytest
import support

FILES = {"config.json": b"{}\n", "sub/weights.bin": support.content("tamper", 40)}


@dataclasses.dataclass
class Signed:
    model: object  # what `verify` is given
    signature: object
    believed: list
    harmless: str  # paths in the signature file that no signature covers
    gone: str = "(?!)"  # members that may vanish altogether (renamed, and passed over as unknown)


def in_folder(tmp_path):
    return oracle.write_files(tmp_path / "model", FILES)


def sign(hallmark, model, key, *options):
    file = model.parent / "under-test.sig"
    hallmark("sign", model, "--key", key.private, "--signature", file, *options,
             expect=support.OK)  # fmt: skip
    return file


# A hint only chooses among the keys that are believed; without one all of them are tried. The log
# is not used.
OMS_GONE = r"verificationMaterial\.(publicKey\.hint|tlogEntries)"


def oms_key(hallmark, keys, tmp_path, *options):
    key = keys["python", "ec-p256"]
    model = in_folder(tmp_path)
    file = sign(hallmark, model, key, *options)
    return Signed(model, file, ["--key", key.public], "(?!)", OMS_GONE)


def oms_shards(hallmark, keys, tmp_path):
    return oms_key(hallmark, keys, tmp_path, "--shard-size", "16")


def oms_certificate(hallmark, pki, tmp_path):
    leaf = pki.leaf("tamper")
    model = in_folder(tmp_path)
    file = sign(hallmark, model, leaf.key, "--cert", leaf.path, "--chain", pki.intermediate.path)
    return Signed(model, file, ["--root", pki.root.path], "(?!)", OMS_GONE)


def sig_json(hallmark, keys, tmp_path):
    key = keys["python", "rsa-2048"]
    model = in_folder(tmp_path) / "config.json"
    metadata = support.make_metadata(tmp_path / "metadata.json")
    file = sign(hallmark, model, key, "--format", "sig-json", "--metadata", metadata)
    return Signed(model, file, ["--key", key.public], "(?!)")


MANIFEST_CLAIMS = "signer|signed_at|key_size|key_version"


def manifest_json(hallmark, keys, tmp_path):
    key = keys["python", "rsa-2048"]
    model = in_folder(tmp_path) / "config.json"
    file = sign(hallmark, model, key, "--format", "manifest-json", "--signer-id", "ci",
                "--key-version", "7")  # fmt: skip
    return Signed(model, file, ["--key", key.public], MANIFEST_CLAIMS, "key_version")


def bundle_manifest(hallmark, keys, tmp_path):
    key = keys["python", "rsa-2048"]
    folder = in_folder(tmp_path)
    oracle.write_files(folder, {"weights.bin": b"w"})
    models = [folder / "config.json", folder / "weights.bin"]
    file = folder.parent / "under-test.sig"
    hallmark("sign", *models, "--format", "manifest-json", "--key", key.private, "--signature",
             file, "--signer-id", "ci", expect=support.OK)  # fmt: skip
    claims = rf"artifacts\.\d+\.({MANIFEST_CLAIMS})|bundle_signed_at"
    return Signed(folder, file, ["--key", key.public], claims)


SIGNED = {
    "oms-key": oms_key,
    "oms-certificate": oms_certificate,
    "oms-shards": oms_shards,
    "sig-json": sig_json,
    "manifest-json": manifest_json,
    "bundle-manifest": bundle_manifest,
}


@pytest.fixture
def signed(request, hallmark, keys, pki, tmp_path):
    owner = pki if request.param == "oms-certificate" else keys
    return SIGNED[request.param](hallmark, owner, tmp_path)


# ---- each byte of a signature file --------------------------------------------------------------


def leaves(value, path=""):
    """{path: value} of everything in a JSON text, empty containers included."""
    if isinstance(value, dict) and value:
        pairs = value.items()
    elif isinstance(value, list) and value:
        pairs = enumerate(value)
    else:
        return {path: value}
    found = {}
    for name, member in pairs:
        found |= leaves(member, f"{path}.{name}" if path else str(name))
    return found


def changes(before, after):
    """Paths whose value changed, that are gone, and that are new."""
    before, after = leaves(before), leaves(after)
    changed = {
        path
        for path in before.keys() & after.keys()
        if (type(before[path]), before[path]) != (type(after[path]), after[path])
    }
    return changed, before.keys() - after.keys(), after.keys() - before.keys()


def check_harmless(signed, original, data, report):
    """What passed differs from what was signed in nothing that a signature covers."""
    changed, gone, new = changes(json.loads(original), json.loads(data))
    for path in changed:
        assert re.fullmatch(signed.harmless, path), f"{path} changed, and the file passed"
    for path in gone:
        assert re.fullmatch(signed.gone, path), f"{path} is gone, and the file passed"
    assert len(new) == len(gone), (new, gone)
    for path in new:
        assert path.rpartition(".")[0] in {g.rpartition(".")[0] for g in gone}
    # White space makes no difference; the values do, and those are claims, never stated facts.
    claimed = {item["name"].replace("[", ".").replace("]", "") for item in report["claimed"]}
    assert changed <= claimed
    stated = {item["name"] for item in report["stated"]}
    assert not (changed | new) & stated


def flips(data, step):
    """One bit of each byte; of every other letter the one that changes its case."""
    for offset in range(0, len(data), step):
        letter = chr(data[offset]).isalpha()
        mask = 0x20 if letter and offset % 2 else 1 << (offset % 3)
        changed = bytearray(data)
        changed[offset] ^= mask
        yield offset, mask, bytes(changed)


@pytest.mark.parametrize("signed", SIGNED, indirect=True)
def test_each_byte_of_a_signature_file(hallmark, sanitizer, signed, tmp_path):
    original = signed.signature.read_bytes()
    verify = ["verify", signed.model, "--json", *signed.believed, "--signature"]
    whole = hallmark(*verify, signed.signature, expect=support.OK).json()
    folder = tmp_path / "flipped"
    folder.mkdir()

    def run(flip):
        offset, mask, data = flip
        file = folder / f"{offset}-{mask}"
        file.write_bytes(data)
        result = hallmark(*verify, file)
        file.unlink()
        return offset, mask, data, result

    passed = {}
    slow = sanitizer or hallmark.wrapper
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for offset, mask, data, result in pool.map(run, flips(original, 7 if slow else 1)):
            report = result.json()
            if result.rc == support.OK:
                assert report["status"] == "verified"
                assert report["entries"] == whole["entries"]
                check_harmless(signed, original, data, report)
                changed, gone, _ = changes(json.loads(original), json.loads(data))
                for path in changed or gone:
                    passed[path] = passed.get(path, 0) + 1
            else:
                where = f"byte {offset} ^ {mask:#x}: {result}"
                assert (result.rc, report["status"]) == (support.REFUSED, "refused"), where
                assert report["entries"] == [], where
    # Were nothing let pass where nothing is covered, this test would not see anything either.
    print("harmless:", dict(sorted(passed.items())))
    if not slow and not signed.harmless == "(?!)":
        assert passed


@pytest.mark.parametrize("signed", SIGNED, indirect=True)
def test_each_length_of_a_signature_file(hallmark, sanitizer, signed, tmp_path):
    """Cut off anywhere, it is no signature: a file that is still being written, say."""
    original = signed.signature.read_bytes()
    step = 131 if sanitizer or hallmark.wrapper else 31
    for length in [*range(0, len(original), step), len(original) - 1]:
        file = tmp_path / "cut-off"
        file.write_bytes(original[:length])
        result = hallmark("verify", signed.model, "--signature", file, *signed.believed, "--json")
        assert (result.rc, result.json()["reason"]) == (support.REFUSED, "malformed"), length


@pytest.mark.parametrize("signed", SIGNED, indirect=True)
def test_signature_of_another_model(hallmark, signed, keys, tmp_path):
    """The signature, good as it is, beside a model with the same names."""
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "model", other)
    (other / "config.json").write_bytes(b"[]\n")
    model = other if signed.model.is_dir() else other / "config.json"
    result = hallmark("verify", model, "--signature", signed.signature, *signed.believed, "--json",
                      expect=support.REFUSED)  # fmt: skip
    assert result.json()["reason"] == "digest-mismatch"


# ---- a model, in every way ----------------------------------------------------------------------

TREE = {
    "README.md": b"# model\n",
    "__init__.py": b"",
    "config.json": b"{}\n",
    "a/twin.bin": support.content("one", 60),
    "b/twin.bin": support.content("two", 60),
    "weights.bin": support.content("weights", 100),
}
SHARD = 20


def write(name, data):
    return lambda folder: oracle.write_files(folder, {name: data})


def remove(name):
    return lambda folder: (folder / name).unlink()


def rename(old, new):
    def change(folder):
        (folder / new).parent.mkdir(parents=True, exist_ok=True)
        (folder / old).rename(folder / new)

    return change


def swap(one, other):
    def change(folder):
        first, second = (folder / one).read_bytes(), (folder / other).read_bytes()
        assert first != second
        (folder / one).write_bytes(second)
        (folder / other).write_bytes(first)

    return change


def edit(name, change):
    def changed(folder):
        path = folder / name
        before = path.read_bytes()
        path.write_bytes(change(before))
        assert path.read_bytes() != before

    return changed


def replace(name, make):
    def change(folder):
        (folder / name).unlink()
        make(folder / name)

    return change


def to_link_with_same_content(path):
    target = path.parent.parent / "kept" / path.name
    oracle.write_files(target.parent, {target.name: TREE["weights.bin"]})
    path.symlink_to(target)


def add_link(name, target):
    return lambda folder: (folder / name).symlink_to(target)


def shards_swapped(data):
    return data[SHARD : 2 * SHARD] + data[:SHARD] + data[2 * SHARD :]


def touched(folder):
    """No change: nothing signs times, modes or empty directories."""
    os.utime(folder / "weights.bin", (1, 1))
    (folder / "README.md").chmod(0o600)
    (folder / "empty").mkdir()


SAME = ("digest-mismatch", {"weights.bin"})
# name: (change, reason, names in the findings; of shards those of the files that hold them)
CHANGES = {
    "nothing": (lambda folder: None, None, set()),
    "times-modes-empty-folders": (touched, None, set()),
    "first-byte": (edit("weights.bin", lambda d: bytes([d[0] ^ 1]) + d[1:]), *SAME),
    "middle-bit": (edit("weights.bin", lambda d: d[:50] + bytes([d[50] ^ 128]) + d[51:]), *SAME),
    "last-byte": (edit("weights.bin", lambda d: d[:-1] + bytes([d[-1] ^ 1])), *SAME),
    "shards-swapped": (edit("weights.bin", shards_swapped), *SAME),
    "byte-inserted": (edit("weights.bin", lambda d: b"\0" + d), *SAME),
    "byte-less-at-the-start": (edit("weights.bin", lambda d: d[1:]), *SAME),
    "byte-less": (edit("weights.bin", lambda d: d[:-1]), *SAME),
    "byte-more": (edit("README.md", lambda d: d + b"\0"), "digest-mismatch", {"README.md"}),
    "line-ends": (edit("config.json", lambda d: b"{}\r\n"), "digest-mismatch", {"config.json"}),
    "empty-file-filled": (edit("__init__.py", lambda d: b"import os\n"), "-", {"__init__.py"}),
    "file-emptied": (write("config.json", b""), "-", {"config.json"}),
    "file-removed": (remove("config.json"), "missing-file", {"config.json"}),
    "empty-file-removed": (remove("__init__.py"), "missing-file", {"__init__.py"}),
    "file-added": (write("hook.py", b"x"), "extra-file", {"hook.py"}),
    "empty-file-added": (write("a/__init__.py", b""), "extra-file", {"a/__init__.py"}),
    "dot-file-added": (write(".hidden", b"x"), "extra-file", {".hidden"}),
    "file-added-deep": (write("x/y/z", b"x"), "extra-file", {"x/y/z"}),
    "file-renamed": (rename("config.json", "config2.json"), "missing-file",
                     {"config.json", "config2.json"}),
    "case-changed": (rename("config.json", "Config.json"), "missing-file",
                     {"config.json", "Config.json"}),
    "file-moved": (rename("config.json", "a/config.json"), "missing-file",
                   {"config.json", "a/config.json"}),
    "folder-renamed": (rename("a", "c"), "missing-file", {"a/twin.bin", "c/twin.bin"}),
    "two-files-swapped": (swap("a/twin.bin", "b/twin.bin"), "digest-mismatch",
                          {"a/twin.bin", "b/twin.bin"}),
    "file-replaced-by-link": (replace("weights.bin", to_link_with_same_content), "missing-file",
                              {"weights.bin"}),
    "file-replaced-by-folder": (replace("weights.bin", lambda path: path.mkdir()), "missing-file",
                                {"weights.bin"}),
    "file-replaced-by-full-folder": (
        replace("weights.bin", lambda path: oracle.write_files(path, {"x": b"x"})),
        "missing-file", {"weights.bin", "weights.bin/x"}),
    "file-replaced-by-pipe": (replace("weights.bin", os.mkfifo), "missing-file", {"weights.bin"}),
    "link-added": (add_link("link", "config.json"), "extra-file", {"link"}),
    "link-to-folder-added": (add_link("link", "a"), "extra-file", {"link"}),
    "link-to-nowhere-added": (add_link("link", "gone"), "extra-file", {"link"}),
    "pipe-added": (lambda folder: os.mkfifo(folder / "pipe"), "extra-file", {"pipe"}),
}  # fmt: skip

# The shard method has no entry for an empty file. The program's own signatures bind those by the
# model digest, and then say so of the model as a whole.
BY_SHARDS = {
    "empty-file-filled": ("extra-file", {"__init__.py"}),
    "file-emptied": ("digest-mismatch", {"config.json"}),
    "empty-file-removed": ("digest-mismatch", {"."}),
    "empty-file-added": ("digest-mismatch", {"."}),
}
BY_FILES = {
    "empty-file-filled": ("digest-mismatch", {"__init__.py"}),
    "file-emptied": ("digest-mismatch", {"config.json"}),
}


def file_of(name):
    """The file that a shard is of."""
    return re.sub(r":\d+:\d+$", "", name)


@pytest.mark.parametrize("shards", [False, True], ids=["files", "shards"])
@pytest.mark.parametrize("name", CHANGES)
def test_each_change_of_a_model(hallmark, keys, tmp_path, name, shards):
    change, reason, names = CHANGES[name]
    reason, names = (BY_SHARDS if shards else BY_FILES).get(name, (reason, names))
    key = keys["python", "ec-p256"]
    folder = oracle.write_files(tmp_path / "model", TREE)
    hallmark("sign", folder, "--key", key.private, *(["--shard-size", SHARD] if shards else []),
             expect=support.OK)  # fmt: skip
    change(folder)
    verify = ["verify", folder, "--key", key.public, "--json"]
    result = hallmark(*verify)
    report = result.json()
    if reason is None:
        assert result.rc == support.OK, result
        assert {file_of(e["name"]) for e in report["entries"]} == set(TREE)
        return
    assert (result.rc, report["reason"]) == (support.REFUSED, reason), result
    assert {file_of(finding["name"]) for finding in report["findings"]} == names, result
    assert report["entries"] == []
    fast = hallmark(*verify, "--fail-fast", expect=support.REFUSED).json()
    assert fast["findings"], "the first difference is told of"
    one_thread = hallmark(*verify, "--jobs", "1", expect=support.REFUSED).json()
    assert one_thread["findings"] == report["findings"]


@pytest.mark.parametrize("format_name", ["sig-json", "manifest-json"])
@pytest.mark.parametrize("name", [n for n, (_, r, f) in CHANGES.items() if f == {"weights.bin"}])
def test_each_change_of_a_file(hallmark, keys, tmp_path, metadata_file, format_name, name):
    change, reason, _ = CHANGES[name]
    key = keys["python", "rsa-2048"]
    folder = oracle.write_files(tmp_path / "model", TREE)
    file = folder / "weights.bin"
    signature = tmp_path / "weights.sig"
    more = ["--metadata", metadata_file] if format_name == "sig-json" else []
    hallmark("sign", file, "--key", key.private, "--format", format_name, *more, "--signature",
             signature, expect=support.OK)  # fmt: skip
    verify = ["verify", file, "--key", key.public, "--signature", signature, "--json"]
    hallmark(*verify, expect=support.OK)
    change(folder)
    result = hallmark(*verify)
    if reason == "missing-file":
        # A link, a folder or a pipe in the file's place is not looked into: the call is refused.
        assert result.rc != support.OK, result
    else:
        assert (result.rc, result.json()["reason"]) == (support.REFUSED, reason), result
    assert result.json()["entries"] == []


def test_each_byte_of_a_model(hallmark, keys, sanitizer, tmp_path):
    """Each one of a small model's bytes, by files and by shards."""
    key = keys["python", "ec-p256"]
    folder = oracle.write_files(tmp_path / "model", FILES)
    by_files, by_shards = tmp_path / "files.sig", tmp_path / "shards.sig"
    sign_it = ["sign", folder, "--key", key.private, "--signature"]
    hallmark(*sign_it, by_files, expect=support.OK)
    hallmark(*sign_it, by_shards, "--shard-size", "7", expect=support.OK)
    for name, data in FILES.items():
        for offset in range(0, len(data), 7 if sanitizer or hallmark.wrapper else 1):
            support.flip(folder / name, offset, offset % 8)
            for signature in (by_files, by_shards):
                result = hallmark("verify", folder, "--key", key.public, "--signature", signature,
                                  "--json", expect=support.REFUSED)  # fmt: skip
                start = offset // 7 * 7
                shard = f"{name}:{start}:{min(start + 7, len(data))}"
                wanted = name if signature == by_files else shard
                found = [(f["reason"], f["name"]) for f in result.json()["findings"]]
                assert found == [("digest-mismatch", wanted)]
            support.flip(folder / name, offset, offset % 8)
    for signature in (by_files, by_shards):
        hallmark("verify", folder, "--key", key.public, "--signature", signature, expect=support.OK)
