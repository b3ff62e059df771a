# SPDX-License-Identifier: Apache-2.0
"""Drills, end to end: replacing a key in order, and answering a stolen one, as
docs/key-management.md has it step by step."""

import fcntl
import json
import os
import shutil
import signal
import subprocess

import pytest

import support

COUNT = 5


def files(number):
    """Many small names make a report that is longer than a pipe holds."""
    weights = {"weights.safetensors": support.content(number, 50_000)}
    return weights | {f"shards/{i:03}.bin": f"{number} {i}".encode() for i in range(120)}


class Drill:
    """A keyring, an admin, and what verifiers are given."""

    def __init__(self, hallmark, admin, folder):
        self.run = hallmark
        self.admin = admin
        self.folder = folder
        self.ring = folder / "keys"
        self.export_file = folder / "keyring.export"
        self.env = {"HALLMARK_STATE_DIR": folder / "state"}

    def rotate(self, *options):
        self.run("key", "rotate", self.ring, "--no-passphrase", "--signer", "acme", *options,
                 expect=0)  # fmt: skip

    def export(self):
        self.run("key", "export", self.ring, "--key", self.admin.private, "--out",
                 self.export_file, expect=0)  # fmt: skip

    def policy(self, name, signers, *rules):
        path = self.folder / name
        path.write_text(json.dumps({"version": 1, "signers": signers, "models": list(rules)}))
        return path

    def by_export(self, file=None):
        return {"keyring": {"file": str(file or self.export_file), "key": str(self.admin.public)}}

    def public(self, version):
        return str(self.ring / f"signing_key_v{version}.pub")

    def sign(self, model, key=None):
        self.run("sign", model, "--key", key or self.ring, expect=0)
        return model

    def verify(self, model, policy, expect=support.OK):
        """The reason of the verdict."""
        return self.run("verify", model, "--policy", policy, "--json", env=self.env,
                        expect=expect).json()["reason"]  # fmt: skip

    def resign_command(self, models, policy):
        return ("resign", *models, "--policy", policy, "--key", self.ring, "--list")

    def resign(self, models, policy, expect=support.OK):
        reports = self.run(*self.resign_command(models, policy), "--json", env=self.env,
                           expect=expect).json()  # fmt: skip
        return [report["status"] for report in reports]


@pytest.fixture
def drill(hallmark, keys, tmp_path):
    made = Drill(hallmark, keys["openssl", "ec-p384", "admin"], tmp_path)
    made.rotate()
    return made


def kill_after(drill, models, policy, wanted):
    """Runs it into a pipe that holds less than one report, so that it stands still while the report
    of the model `wanted` is being read, and kills it there. Returns what it had said."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    command = drill.run.command(*drill.resign_command(models, policy))
    running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=write,
                               stderr=subprocess.DEVNULL,
                               env=drill.run.environment(drill.env))  # fmt: skip
    os.close(write)
    said = b""
    while f"resigned: {wanted}\n".encode() not in said:
        got = os.read(read, 256)
        assert got, f"it ended before {wanted}: {said!r}"
        said += got
    running.send_signal(signal.SIGKILL)
    assert running.wait(timeout=60) == -signal.SIGKILL
    os.close(read)
    return said


def test_rotation(drill, tree):
    """A quarter ends. The key's next version signs, all models are moved to it, and the policy
    follows. One model was tampered with; the run is killed half way and started again."""
    models = [drill.sign(tree(files(i), f"model{i}")) for i in range(COUNT)]
    archived = drill.sign(tree({"weights.bin": b"of last year"}, "archived"))
    where = {"path": f"{drill.folder}/model*", "signers": "acme"}
    old_policy = drill.policy("old.yaml", {"acme": {"keys": drill.public(1)}}, where)
    support.flip(models[1] / "weights.safetensors", 4321)
    tampered = support.snapshot(models[1])

    drill.rotate()
    new_policy = drill.policy("new.yaml", {"acme": {"keys": drill.public(2)}}, where)
    kill_after(drill, models, old_policy, models[2])

    # What was done is whole, what was not is untouched: no model is between the keys.
    moved = [model for model in models if good(drill, model, new_policy)]
    left = [model for model in models if good(drill, model, old_policy)]
    assert models[0] in moved and models[2] in moved and models[-1] in left
    assert sorted([*moved, *left, models[1]]) == models
    assert support.snapshot(models[1]) == tampered

    statuses = drill.resign(models, old_policy, expect=support.REFUSED)
    assert statuses == [
        "refused" if model == models[1] else "unchanged" if model in moved else "resigned"
        for model in models
    ]
    assert support.snapshot(models[1]) == tampered
    for model in models:
        if model == models[1]:
            assert drill.verify(model, new_policy, support.REFUSED) == "untrusted-signer"
            assert drill.verify(model, old_policy, support.REFUSED) == "digest-mismatch"
        else:
            drill.verify(model, new_policy)
            assert drill.verify(model, old_policy, support.REFUSED) == "untrusted-signer"

    # The old public key is kept, in the keyring and in policies for what nobody signs again.
    archive = drill.policy("archive.yaml", {"acme": {"keys": [drill.public(1), drill.public(2)]}},
                           {"name": "archived", "signers": "acme"})  # fmt: skip
    drill.verify(archived, archive)
    drill.export()
    by_export = drill.policy("export.yaml", {"acme": drill.by_export()},
                             {"path": f"{drill.folder}/**", "signers": "acme"})  # fmt: skip
    for model in [archived, models[0]]:
        drill.verify(model, by_export)


def good(drill, model, policy):
    return drill.run("verify", model, "--policy", policy, env=drill.env, expect=(0, 1)).rc == 0


def test_rotation_by_the_export_alone(drill, tree):
    """Where verifiers have the export, models may be moved at leisure: both versions verify."""
    model = drill.sign(tree(files(1), "model"))
    drill.rotate()
    drill.export()
    policy = drill.policy("policy.yaml", {"acme": drill.by_export()},
                          {"name": "model", "signers": "acme"})  # fmt: skip
    drill.verify(model, policy)
    assert drill.resign([model], policy) == ["resigned"]
    drill.verify(model, policy)
    assert drill.resign([model], policy) == ["unchanged"]


def test_stolen_key(drill, tree, hallmark):
    """A laptop with the signing key is gone. Step by step as the page on keys says, and with a thief
    who signs what he likes at every step."""
    names = ("bert", "resnet")
    models = [drill.sign(tree(files(i), f"srv/{name}")) for i, name in enumerate(names)]
    for model in models:  # kept apart, as every model should be
        shutil.copytree(model, drill.folder / "backup" / model.name)
    drill.export()
    before = drill.folder / "before.export"
    shutil.copy(drill.export_file, before)
    where = {"path": f"{drill.folder}/srv/*", "signers": "acme"}
    policy = drill.policy("policy.yaml", {"acme": drill.by_export()}, where)
    rolled_back = drill.policy("rolled-back.yaml", {"acme": drill.by_export(before)}, where)
    drill.verify(models[0], policy)

    # The thief has version 1, and a model of his own. Until he is noticed, he is believed.
    stolen = drill.folder / "stolen.pem"
    support.write_private(stolen, (drill.ring / "signing_key_v1.pem").read_bytes())
    evil = tree(files(0) | {"weights.safetensors": b"backdoor"}, "srv/evil")
    drill.sign(evil, stolen)
    drill.verify(evil, policy)

    # 1, 2: revoke, and tell every verifier.
    hallmark("key", "revoke", drill.ring, "--version", 1, "--reason", "laptop stolen", "--since",
             "2026-01-01", expect=0)  # fmt: skip
    assert hallmark("sign", models[0], "--key", drill.ring, expect=1).rc == support.REFUSED
    drill.export()
    for model in [evil, *models]:
        assert drill.verify(model, policy, support.REFUSED) == "revoked-key"

    # The thief brings the export from before, and dates his signature back.
    for model in [evil, *models]:
        report = hallmark("verify", model, "--policy", rolled_back, "--json", env=drill.env,
                          expect=support.REFUSED).json()  # fmt: skip
        assert report["reason"] == "rollback"

    # 3: list what is affected.
    listed = [model.name for model in sorted((drill.folder / "srv").iterdir())
              if drill.run("verify", model, "--policy", policy, "--json", env=drill.env,
                           expect=1).json()["reason"] == "revoked-key"]  # fmt: skip
    assert listed == ["bert", "evil", "resnet"]

    # Nothing that rests on the stolen key is signed again, the thief's model least of all.
    drill.rotate()
    snapshots = [support.snapshot(model) for model in [evil, *models]]
    assert drill.resign([evil, *models], policy, support.REFUSED) == 3 * ["refused"]
    assert [support.snapshot(model) for model in [evil, *models]] == snapshots

    # 4: known-good copies, whose digests are pinned. The thief has been at one of those in place.
    (models[1] / "weights.safetensors").write_bytes(b"backdoor")
    drill.sign(models[1], stolen)
    drill.export()
    rules = []
    for model in models:
        digest = hallmark("digest", drill.folder / "backup" / model.name, "--ignore", "model.sig",
                          "--json", expect=0).json()["model"]["model_digest"]  # fmt: skip
        rules.append({"name": model.name, "signers": "acme", "pinned": {"model": digest}})
    pinned = drill.policy("pinned.yaml", {"acme": drill.by_export()}, *rules)
    for model in models:
        copy = drill.folder / "backup" / model.name
        assert drill.verify(copy, pinned, support.REFUSED) == "revoked-key"
        drill.sign(copy)
        drill.verify(copy, pinned)

    # 5: and back. What is put in place verifies, what was the thief's does not, by either policy.
    assert drill.verify(models[1], pinned, support.REFUSED) == "revoked-key"
    drill.sign(models[1])  # a careless admin signs what lies there: the pin catches that
    assert drill.verify(models[1], pinned, support.REFUSED) == "pinned-digest-mismatch"
    for model in models:
        shutil.rmtree(model)
        shutil.copytree(drill.folder / "backup" / model.name, model)
        drill.verify(model, pinned)
        drill.verify(model, policy)
    assert drill.verify(evil, policy, support.REFUSED) == "revoked-key"
    assert drill.verify(evil, rolled_back, support.REFUSED) == "rollback"


def test_stolen_key_with_bare_keys(drill, tree, hallmark):
    """The same for a team without a keyring: the policy file itself revokes."""
    model = drill.sign(tree(files(1), "model"))
    drill.rotate()
    shown = hallmark("key", "show", drill.public(1), "--json", expect=0).json()
    rule = {"name": "model", "signers": "acme"}
    keys = {"acme": {"keys": [drill.public(1), drill.public(2)]}}
    policy = drill.policy("policy.yaml", keys, rule)
    drill.verify(model, policy)
    text = json.loads(policy.read_text())
    text["revoked"] = [{"fingerprint": shown["fingerprint"], "since": "2026-01-01"}]
    policy.write_text(json.dumps(text))
    assert drill.verify(model, policy, support.REFUSED) == "revoked-key"
    assert drill.resign([model], policy, support.REFUSED) == ["refused"]
    drill.sign(model)
    drill.verify(model, policy)
