# SPDX-License-Identifier: Apache-2.0
"""What the failure of power can leave of the changes that a run made.

The tracer records, for each change, what is where afterwards and what the changed file holds. From
that this model knows at each point what is durable and what is only in memory:

- the content and the mode of a file are durable as of its last fsync, names as of the last fsync of
  their directory; a file that was never synced is empty;
- what is not durable may have reached the disk nevertheless, each change for itself and in any
  order; a file may have got half of what was written.

A change of names is whole or not there, also a rename from one directory to another, which one
fsync of either makes durable: so it is in every file system with a journal. What was mapped and
stored into has no content one could rely on.
"""

import dataclasses
import hashlib
import os
import random
import stat

# What becomes of changes that are not durable: of the names, of the contents.
VARIANTS = {
    "contents-lost": ("kept", "lost"),
    "contents-torn": ("kept", "half"),
    "names-lost": ("lost", "kept"),
    "all-lost": ("lost", "lost"),
}


@dataclasses.dataclass
class File:
    """An inode; `*_d` is what is durable of it."""

    kind: int
    mode: int
    mode_d: int
    target: str | None = None
    data: bytes = b""
    data_d: bytes = b""
    mapped: bool = False

    def content(self, fate):
        if self.mapped:
            return b""
        if fate == "kept" or self.data == self.data_d:
            return self.data
        half = (len(self.data) + 1) // 2
        return self.data_d if fate == "lost" else self.data[:half] + self.data_d[half:]


@dataclasses.dataclass
class Image:
    """A tree to be made: (path, mode, target or content or None, number of the inode)."""

    entries: list

    def key(self):
        digest = hashlib.sha256()
        for path, mode, content, _ in self.entries:
            digest.update(repr((path, mode, content)).encode())
        return digest.digest()

    def build(self):
        """Beneath the roots, which must be empty."""
        made = {}
        for path, mode, content, inode in self.entries:
            if isinstance(content, str):
                os.symlink(os.fsencode(content.encode("latin-1")), path)
            elif content is None:
                os.mkdir(path, 0o700)
            elif inode in made:
                os.link(made[inode], path)
            else:
                made[inode] = path
                with open(path, "wb") as out:
                    out.write(content)
        for path, mode, content, _ in reversed(self.entries):
            if not isinstance(content, str):
                os.chmod(path, stat.S_IMODE(mode))


class Disk:
    """The state after a number of recorded changes."""

    def __init__(self, start, contents, states):
        self.states = states
        self.roots = start["roots"]
        self.files = {}
        self.names = {}  # directory -> name -> inode
        self.names_d = {}
        self.pending = []  # lists of (directory, name, inode or None)
        self._see(start)
        for inode, path in self._paths():
            file = self.files[inode]
            if stat.S_ISREG(file.kind):
                file.data = file.data_d = contents[path]
        self._sync_all()

    def _see(self, change):
        """Takes over what is where now."""
        names = {inode: {} for inode in self.roots.values()}
        for entry in change["tree"]:
            inode, mode = entry["inode"], entry["mode"]
            names.setdefault(entry["in"], {})[entry["name"]] = inode
            if stat.S_ISDIR(mode):
                names.setdefault(inode, {})
            file = self.files.setdefault(inode, File(mode, mode, mode, entry.get("target")))
            file.mode = mode
        changed = []
        for folder in {**self.names, **names}:
            old, new = self.names.get(folder, {}), names.get(folder, {})
            changed += [(folder, name, new.get(name)) for name in {**old, **new}
                        if old.get(name) != new.get(name)]  # fmt: skip
        self.names = names
        if changed:
            self.pending.append(changed)

    def _apply(self, names, changes):
        for folder, name, inode in changes:
            entries = names.setdefault(folder, {})
            if inode is None:
                entries.pop(name, None)
            else:
                entries[name] = inode

    def _sync_file(self, inode):
        file = self.files.get(inode)
        if file is not None:
            file.data_d, file.mode_d = file.data, file.mode
        for changes in [c for c in self.pending if any(folder == inode for folder, *_ in c)]:
            self._apply(self.names_d, changes)
            self.pending.remove(changes)

    def _sync_all(self):
        for changes in self.pending:
            self._apply(self.names_d, changes)
        self.pending = []
        for file in self.files.values():
            file.data_d, file.mode_d = file.data, file.mode

    def step(self, change):
        """One more change."""
        if "tree" not in change:  # it failed
            return
        inode = change.get("written") or change.get("mapped") or change.get("synced")
        if inode not in (None, "all"):
            mode = change["mode"]
            file = self.files.setdefault(inode, File(mode, mode, mode))
            file.mode = mode
            copy = self.states / str(change["n"])
            if "written" in change and copy.exists():
                file.data = copy.read_bytes()
            file.mapped = file.mapped or "mapped" in change
        self._see(change)
        if change.get("synced") == "all":
            self._sync_all()
        elif "synced" in change:
            self._sync_file(inode)

    def _paths(self, names=None):
        """(inode, path) of everything beneath the roots, parents first."""
        names = self.names if names is None else names
        stack = [(inode, path) for path, inode in self.roots.items()]
        while stack:
            folder, path = stack.pop()
            for name, inode in sorted(names.get(folder, {}).items()):
                found = f"{path}/{name}"
                yield inode, found
                if stat.S_ISDIR(self.files[inode].kind):
                    stack.append((inode, found))

    def _image(self, names, fate_of):
        entries = []
        for inode, path in self._paths(names):
            file = self.files[inode]
            fate = fate_of(inode)
            mode = file.mode if fate == "kept" else file.mode_d
            content = file.target
            if stat.S_ISREG(file.kind):
                content = file.content(fate)
            entries.append((path.encode("latin-1"), mode, content, inode))
        return Image(sorted(entries, key=lambda entry: entry[0]))

    def after_failure(self, variant):
        """The tree that is found when power is back."""
        names = {folder: dict(entries) for folder, entries in self.names_d.items()}
        if variant in VARIANTS:
            fate_of_names, fate = VARIANTS[variant]
            for changes in self.pending if fate_of_names == "kept" else []:
                self._apply(names, changes)
            return self._image(names, lambda inode: fate)
        dice = random.Random(variant)
        for changes in self.pending:
            if dice.random() < 0.5:
                self._apply(names, changes)
        fates = {inode: dice.choice(["kept", "lost", "half"]) for inode in self.files}
        return self._image(names, fates.__getitem__)


def contents_beneath(roots):
    """Every file's bytes, by path; to be read before the run that is recorded."""
    found = {}
    for root in roots:
        for folder, _, names in os.walk(os.fsencode(root)):
            for name in names:
                path = os.path.join(folder, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    with open(path, "rb") as file:
                        found[path.decode("latin-1")] = file.read()
    return found


def failures(trace, contents, states, dice=2):
    """(point, variant, image): each different tree that a failure of power after some change may
    leave, once; and again those after the last change, when the command may have said that all is
    done."""
    disk = Disk(trace.changes[0], contents, states)
    seen = set()
    for change in trace.changes[1:]:
        disk.step(change)
        if change is trace.changes[-1]:
            seen.clear()
        tosses = [f"random {change['n']}.{i}" for i in range(dice)] if disk.pending else []
        for variant in [*VARIANTS, *tosses]:
            image = disk.after_failure(variant)
            key = image.key()
            if key not in seen:
                seen.add(key)
                yield change["n"], variant, image
