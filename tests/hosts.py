# SPDX-License-Identifier: Apache-2.0
"""A host that records what its commands do."""

import contextlib
import json
import os
import sqlite3

import cloud
import jsonschema
import pytest
import support

SECRET = b"correct horse battery staple"
SCHEMA = json.loads((support.ROOT / "docs" / "event.schema.json").read_text())


class Host:
    """A host with a configuration, a signed model and one that was changed after it was signed."""

    def __init__(self, hallmark, folder, key):
        self.hallmark, self.folder, self.key = hallmark, folder, key
        self.ledger = folder / "ledger.db"
        self.outbox = folder / "outbox"
        self.config = folder / "config.yaml"
        self.env = {**cloud.clean(os.environ), "HALLMARK_CONFIG": self.config}
        self.good, self.bad = folder / "good", folder / "bad"
        for model in (self.good, self.bad):
            support.make_model(model)
            hallmark("sign", model, "--key", key.private, expect=0)
        with open(self.bad / "config.json", "ab") as file:
            file.write(b"!")
        (folder / "secret").write_bytes(SECRET + b"\n")
        (folder / "secret").chmod(0o600)
        self.configure()

    def configure(self, *alerts, ledger="sqlite:ledger.db", more=""):
        text = "hallmark-config: 1\noutbox: outbox\n" + more
        text += f"ledger: {ledger}\n" if ledger else ""
        if alerts:
            text += "alerts:\n" + "".join(f"  - {json.dumps(alert)}\n" for alert in alerts)
        self.config.write_text(text)
        self.config.chmod(0o600)

    def verify(self, model, *options, expect, env=None, **more):
        return self.hallmark("verify", model, "--key", self.key.public, *options, expect=expect,
                             env={**self.env, **(env or {})}, **more)  # fmt: skip

    def events(self, word=None):
        with contextlib.closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True)) as db:
            rows = db.execute("SELECT event FROM entries ORDER BY sequence").fetchall()
        events = [json.loads(row[0]) for row in rows]
        for event in events:
            jsonschema.validate(event, SCHEMA)
        return [event for event in events if word in (None, event["event"])]

    def waiting(self, suffix):
        return sorted(self.outbox.glob(f"*{suffix}")) if self.outbox.exists() else []


@pytest.fixture
def host(hallmark, tmp_path, ec):
    return Host(hallmark, tmp_path, ec)
