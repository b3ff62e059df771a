# SPDX-License-Identifier: Apache-2.0
"""A store for tests: deploying to it, breaking what is in it, and looking at what became of it."""

import http.server
import json
import os
import pathlib
import threading

import support

NAME = "m"
POLICY = """
version: 1
signers:
  training:
    keys: training.pub
models:
  - name: "*"
    signers: training
"""


class Store:
    """hallmark with a store, a policy and a key of its own, all below one folder."""

    def __init__(self, hallmark, folder, key, environment=None):
        self.hallmark = hallmark
        self.folder = pathlib.Path(folder)
        self.key = key
        self.path = self.folder / "store"
        self.policy = self.folder / "policy.yaml"
        self.policy.write_text(POLICY)
        (self.folder / "training.pub").write_bytes(key.public.read_bytes())
        self.environment = {
            "HALLMARK_STORE": self.path,
            "HALLMARK_POLICY": self.policy,
            "HALLMARK_STATE_DIR": self.folder / "state",
            **(environment or {}),
        }

    def run(self, *arguments, expect=support.OK, env=None, **more):
        return self.hallmark(*arguments, expect=expect, env={**self.environment, **(env or {})},
                             **more)  # fmt: skip

    def source(self, version, sign=True):
        """A model of three files, another one for every version; signed."""
        folder = self.folder / f"source-{version}"
        (folder / "sub").mkdir(parents=True)
        (folder / "weights.safetensors").write_bytes(support.content(("weights", version), 50_000))
        (folder / "config.json").write_text(json.dumps({"version": version}))
        (folder / "sub" / "empty").write_bytes(b"")
        if sign:
            self.hallmark("sign", folder, "--key", self.key.private, expect=support.OK)
        return folder

    def deploy(self, source, *options, name=NAME, expect=support.OK, **more):
        return self.run("deploy", source, "--name", name, *options, expect=expect, **more)

    def versions(self, count, name=NAME):
        """Deploys versions 0, 1, ... and returns their digests."""
        digests = []
        for number in range(count):
            folder = self.folder / f"source-{number}"
            self.deploy(folder if folder.exists() else self.source(number), name=name,
                        env={"HALLMARK_TIME": 1_800_000_000 + number})  # fmt: skip
            digests.append(self.current(name))
        return digests

    # ---- looking

    def place(self, name=NAME):
        return self.path / "models" / name

    def current(self, name=NAME):
        """The digest that `current` leads to, or None; by the link alone."""
        link = self.place(name) / "current"
        if not os.path.lexists(link):
            return None
        first, digest, last = os.readlink(link).split("/")
        assert (first, last) == ("versions", "model")
        return digest

    def stored(self, name=NAME):
        return sorted(path.name for path in (self.place(name) / "versions").iterdir())

    def served(self, name=NAME):
        """What whoever serves would read."""
        return support.snapshot(self.place(name) / "current")

    def held(self):
        return self.run("quarantine", "list", "--json").json()["entries"]

    def status(self, name=NAME):
        (model,) = self.run("status", name, "--json").json()["models"]
        return model

    def events(self, *words):
        """The ledger's events in their order: (event, first digits of the version)."""
        lines = self.run("log", "--json").out.splitlines()
        found = [event_of(json.loads(line)) for line in lines]
        return [event for event in found if not words or event["event"] in words]

    def told(self, *words):
        return [(event["event"], event.get("digest")) for event in self.events(*words)]

    # ---- breaking

    def file(self, digest, name="weights.safetensors", model=NAME):
        return self.place(model) / "versions" / digest / "model" / name

    def tamper(self, digest, name="weights.safetensors", model=NAME):
        """As root, or as whoever got hold of the owner's account, would."""
        path = self.file(digest, name, model)
        path.chmod(0o644)
        support.flip(path, 7)
        path.chmod(0o444)

    def is_sound(self):
        """Nothing half done lies about."""
        rest = [path for path in self.path.glob("models/*/*")
                if path.name not in ("current", "versions", "state.json", "lock")]  # fmt: skip
        return rest == []


def event_of(line):
    return line.get("event") if isinstance(line.get("event"), dict) else line


class Receiver:
    """A real HTTP server that keeps what is sent to it."""

    def __init__(self):
        received = self.received = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append(json.loads(body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hallmark"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
