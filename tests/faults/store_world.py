# SPDX-License-Identifier: Apache-2.0
"""A store with models whose every byte is known, and what must hold of it.

Nothing here asks the program what is right: files are hashed by hashlib, links are read by
os.readlink, the ledger is read by Python's sqlite3 and its chain computed again. docs/store.md and
docs/ledger.md say what lies where.
"""

import collections
import hashlib
import json
import os
import pathlib
import re
import shutil
import sqlite3
import stat
import subprocess
import tempfile

import support
import tracing

NAME = "bert"
CURRENT = re.compile(r"versions/([0-9a-f]{64})/model")
SWITCHES = ("activated", "rolled-back", "deactivated")
ENTRIES = "SELECT sequence, previous, digest, id, event FROM {} ORDER BY sequence"
TEMPORARY = re.compile(r"\.hallmark-|^\.tmp|-journal$|^staging-|^journal\.json$")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def files_beneath(folder):
    """relative path -> SHA-256 of every regular file; anything else but folders is an error."""
    found = {}
    for path, folders, names in os.walk(folder):
        for name in names + folders:
            full = os.path.join(path, name)
            mode = os.lstat(full).st_mode
            assert stat.S_ISREG(mode) or stat.S_ISDIR(mode), f"{full} is no file"
            if stat.S_ISREG(mode):
                with open(full, "rb") as file:
                    found[os.path.relpath(full, folder)] = sha256(file.read())
    return found


class World:
    """Models, keys, a policy and a store, all beneath `base`; what commands change is in work/."""

    def __init__(self, hallmark, keys, base, *, sizes=(5000, 300), ledger=None):
        self.hallmark = hallmark
        self.base = pathlib.Path(base)
        self.work = self.base / "work"
        self.store = self.work / "store"
        self.sources = self.base / "sources"
        self.policy = self.base / "policy.yaml"
        self.config = self.base / "config.yaml"
        self.sizes = sizes
        self.ledger = ledger  # a PostgreSQL URI; otherwise the store's own file
        self.key = keys["openssl", "ec-p256"]
        self.stranger = keys["openssl", "ec-p256", "stranger"]
        self.known = {}  # model digest -> {path: SHA-256}: what may be served
        self.signatures = collections.defaultdict(set)  # model digest -> SHA-256 of signature files
        self.digests = {}  # label -> model digest
        self.work.mkdir()
        self.sources.mkdir()
        self.believe(self.key)
        self.config.write_text("hallmark-config: 1\nquarantine:\n  keep-refused: true\n")
        self.config.chmod(0o600)

    def believe(self, *keys):
        signers = {f"team{i}": {"keys": [str(key.public)]} for i, key in enumerate(keys)}
        models = [{"path": "/**", "signers": list(signers)}]
        self.policy.write_text(
            json.dumps({"version": 1, "signers": signers, "models": models})
        )

    def believe_only(self, label):
        """Whoever signed it: only this model."""
        model = {"path": "/**", "signers": "team", "pinned": {"model": self.digests[label]}}
        signers = {"team": {"keys": [str(self.key.public)]}}
        self.policy.write_text(json.dumps({"version": 1, "signers": signers, "models": [model]}))

    @property
    def env(self):
        return {
            "HALLMARK_STATE_DIR": self.work / "state",
            "HALLMARK_STORE": self.store,
            "HALLMARK_POLICY": self.policy,
            "HALLMARK_CONFIG": self.config,
            "HALLMARK_LEDGER": self.ledger,
        }

    def run(self, *arguments, **options):
        return self.hallmark(*arguments, env=self.env, **options)

    # ---- models ---------------------------------------------------------------------------------

    def model(self, label, *, key=None, signed=True):
        """A model of this label; the same label has the same bytes."""
        folder = self.sources / label
        folder.mkdir()
        (folder / "layers").mkdir()
        (folder / "layers" / "weights.bin").write_bytes(support.content(label, self.sizes[0]))
        (folder / "vocabulary").write_bytes(support.content("all", self.sizes[1]))
        (folder / "config.json").write_text(json.dumps({"name": label}))
        found = self.hallmark("digest", folder, "--json", expect=support.OK).json()
        digest = found["model"]["model_digest"]
        if signed:
            self.sign(folder, key or self.key)
        self.digests[label] = digest
        content = files_beneath(folder)
        signature = content.pop("model.sig", None)
        self.known[digest] = content
        if signature:
            self.signatures[digest].add(signature)
        return folder

    def sign(self, folder, key):
        self.hallmark("sign", folder, "--key", key.private, expect=support.OK)

    def signed_again(self, label, key):
        """The same model, signed by somebody else: LABEL-again."""
        folder = self.sources / f"{label}-again"
        shutil.copytree(self.sources / label, folder)
        (folder / "model.sig").unlink()
        self.sign(folder, key)
        self.signatures[self.digests[label]].add(sha256((folder / "model.sig").read_bytes()))

    def tampered(self, label, like):
        """A copy with the signature of the original, and one byte that is not."""
        folder = self.sources / label
        shutil.copytree(self.sources / like, folder)
        support.flip(folder / "layers" / "weights.bin", -1)
        return folder

    # ---- the store, as it lies there ------------------------------------------------------------

    def place(self, name=NAME):
        return self.store / "models" / name

    def current(self, name=NAME):
        """The digest that `current` leads to, None when there is none."""
        try:
            target = os.readlink(self.place(name) / "current")
        except FileNotFoundError:
            return None
        match = CURRENT.fullmatch(target)
        assert match, f"current leads to {target}"
        return match[1]

    def version(self, label, name=NAME):
        return self.place(name) / "versions" / self.digests[label]

    def corrupt(self, label, name=NAME):
        """Somebody else changes a byte of a version on disk."""
        support.flip(self.version(label, name) / "model" / "layers" / "weights.bin", 7)

    def check_version(self, folder, digest):
        """A version's folder holds the very bytes of a good model, and its signature."""
        assert digest in self.known, f"{digest} is no good model"
        found = files_beneath(folder / "model")
        proof = found.pop("model.sig", None)
        assert found == self.known[digest], f"{folder} is not the model that its name says"
        signatures = self.signatures[digest]
        assert proof in signatures, f"the signature in {folder} is not one that was made"

    def check_current(self, name=NAME, also=()):
        """What is served is good. `also`: digests of versions that have been tampered with."""
        digest = self.current(name)
        if digest is not None and digest not in also:
            self.check_version(self.place(name) / "versions" / digest, digest)
        return digest

    # ---- the ledger -----------------------------------------------------------------------------

    def events(self):
        """All events, the chain computed anew."""
        if self.ledger:
            return self._chain(*self._read_postgres())
        if not (self.store / "ledger.db").exists():
            return []
        with tempfile.TemporaryDirectory() as scratch:
            for path in self.store.glob("ledger.db*"):
                shutil.copy(path, scratch)
            db = sqlite3.connect(f"{scratch}/ledger.db")
            try:
                if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'ledger'").fetchall():
                    return []
                assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                [(first,)] = db.execute("SELECT id FROM ledger").fetchall()
                return self._chain(first, db.execute(ENTRIES.format("entries")).fetchall())
            finally:
                db.close()

    def _read_postgres(self):
        def ask(text):
            done = subprocess.run(["psql", self.ledger, "-XAtqc", text], capture_output=True,
                                  check=True)  # fmt: skip
            return done.stdout.decode().splitlines()

        rows = [row.split("|", 4) for row in ask(ENTRIES.format("hallmark.entries"))]
        (first,) = ask("SELECT id FROM hallmark.ledger")
        return first, [(int(row[0]), *row[1:]) for row in rows]

    @staticmethod
    def _chain(previous, rows):
        events, ids = [], set()
        for number, (sequence, before, digest, identifier, text) in enumerate(rows, 1):
            entry = f'{{"sequence":{number},"previous":"{previous}","event":{text}}}'
            assert (sequence, before, digest) == (number, previous, sha256(entry.encode()))
            event = json.loads(text)
            assert event["id"] == identifier and identifier not in ids
            ids.add(identifier)
            events.append(event)
            previous = digest
        return events

    def own_events(self):
        """Those of this store: others may share the ledger."""
        return [event for event in self.events() if event.get("store") == str(self.store)]

    def check_events(self, name=NAME):
        """They tell how it came that the store is as it is: every switch once and in order."""
        served, present, held = None, set(), {}
        for event in self.own_events():
            kind = event["event"]
            if kind in ("quarantined", "purged", "released") and event.get("quarantine"):
                self._held(held, event)
            if event.get("model") != name:
                continue
            digest = event.get("digest")
            if kind == "refused" and event.get("reason") == "missing-file" and digest is None:
                served = None  # a check with a full disk takes it away and can't record it
            if kind in SWITCHES:
                assert event.get("previous") == served, f"{kind} out of order: {event}"
                served = None if kind == "deactivated" else digest
            if kind in ("deployed", "repaired"):
                present.add(digest)
            elif kind == "removed":
                assert digest in present, f"removed what was not there: {event}"
                present.discard(digest)
        assert served == self.current(name), "the events do not lead to what is current"
        versions = self.place(name) / "versions"
        there = set(os.listdir(versions)) if versions.is_dir() else set()
        assert there <= present, f"versions without an event: {there - present}"
        assert set(held) == set(self.quarantine()), "quarantine is not what the events say"

    @staticmethod
    def _held(held, event):
        entry = event["quarantine"]
        if event["event"] == "quarantined":
            assert entry not in held, f"quarantined twice: {event}"
            held[entry] = event
        else:
            assert held.pop(entry, None), f"not in quarantine: {event}"

    def count(self, *kinds, name=NAME):
        return sum(event["event"] in kinds and event.get("model") == name
                   for event in self.own_events())  # fmt: skip

    # ---- quarantine and the whole ---------------------------------------------------------------

    def quarantine(self):
        """id -> entry.json"""
        folder = self.store / "quarantine"
        if not folder.is_dir():
            return {}
        return {entry.name: json.loads((entry / "entry.json").read_text())
                for entry in folder.iterdir()}  # fmt: skip

    def check_quarantine(self):
        for identifier, entry in self.quarantine().items():
            folder = self.store / "quarantine" / identifier
            assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0, f"{folder} is open"
            assert entry["id"] == identifier, entry
            # Why it was refused may be lost where there was no memory to say it.
            assert entry["reason"] or entry["message"] == "out of memory", entry
            assert {path.name for path in folder.iterdir()} <= {"entry.json", "held"}
            if entry.get("content"):
                assert files_beneath(folder / "held" / "model"), f"{folder} holds nothing"

    def check_clean(self, name=NAME, bad=()):
        """Nothing is under way, nothing was left behind, and all that is kept is good.
        `bad`: digests of versions that have been tampered with and not been looked at since."""
        for path, folders, names in os.walk(self.work):
            for entry in folders + names:
                inside = os.path.relpath(os.path.join(path, entry), self.store)
                if not re.search(r"/(model|held)/", inside):
                    assert not TEMPORARY.search(entry), f"left behind: {inside}"
        place = self.place(name)
        if place.is_dir():
            expected = {"lock", "current", "state.json", "versions"}
            extra = {path.name for path in place.iterdir()} - expected
            assert not extra, f"left behind: {extra}"
            versions = place / "versions"
            for folder in versions.iterdir() if versions.is_dir() else []:
                self.check_one(folder, bad)
        self.check_current(name, bad)
        self.check_quarantine()
        self.check_events(name)

    def check_one(self, folder, bad):
        assert json.loads((folder / "version.json").read_text())
        assert {path.name for path in folder.iterdir()} == {"version.json", "model"}
        if folder.name in bad:
            return
        self.check_version(folder, folder.name)
        for path in (folder / "model").rglob("*"):
            assert not stat.S_IMODE(path.stat().st_mode) & 0o222, f"{path} can be written to"

    # ---- again and again ------------------------------------------------------------------------

    def save(self):
        shutil.copytree(self.work, self.base / "saved", symlinks=True)

    def restore(self):
        self.empty()
        shutil.copytree(self.base / "saved", self.work, symlinks=True, dirs_exist_ok=True)

    def empty(self):
        tracing.remove(self.work)
        self.work.mkdir()
