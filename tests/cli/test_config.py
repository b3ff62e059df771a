# SPDX-License-Identifier: Apache-2.0
"""The configuration: what it may say, what is shown of it, and how it chooses the policy."""

import json
import os
import re

import pytest

SECRET = "correct horse battery staple"


@pytest.fixture
def write(tmp_path):
    """write(text, mode=0o600): a configuration with that text behind its first line."""

    def make(text, mode=0o600, first="hallmark-config: 1\n", name="config.yaml"):
        path = tmp_path / name
        path.write_text(first + text)
        path.chmod(mode)
        return path

    return make


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return path


def check(hallmark, path, **more):
    return hallmark("config", "check", "--json", path, expect=0, **more).json()


FULL = """\
store: store
policy: policies/p.yaml
ledger: sqlite:events.db
outbox: waiting
log: json
keep: 7
serving-group: serving
checkpoints: {key: keys/ledger, file: /mnt/elsewhere/checkpoint, every: 50}
check: {every: 5m, when-none-is-good: leave}
quarantine: {keep-refused: false, limit: 64MiB}
alerts:
  - name: ops
    webhook: https://hooks.example.com/T0/B1/sEcReT?token=hush
    secret-file: secret
    authorization-file: secret
    ca-file: ca.pem
    timeout: 9s
    events: [refused, quarantined]
  - {name: page, command: [bin/page, --now, sEcReT]}
  - {name: log, syslog: local3, events: verified}
  - {name: other, syslog: {facility: daemon, socket: dev/log}}
"""


def test_everything(hallmark, write, secret, tmp_path):
    said = check(hallmark, write(FULL))
    alerts = said.pop("alerts")
    assert said == {
        "file": str(tmp_path / "config.yaml"),
        "store": str(tmp_path / "store"),
        "policy": str(tmp_path / "policies/p.yaml"),
        "ledger": f"sqlite:{tmp_path}/events.db",
        "outbox": str(tmp_path / "waiting"),
        "checkpoints": {"key": str(tmp_path / "keys/ledger"), "file": "/mnt/elsewhere/checkpoint",
                        "every": 50},
        "log": "json",
        "keep": 7,
        "check": {"every": 300, "when-none-is-good": "leave"},
        "quarantine": {"keep-refused": False, "limit": 64 << 20},
        "serving-group": "serving",
    }  # fmt: skip
    assert alerts[0] == {"name": "ops", "webhook": "https://hooks.example.com/...", "signed": True,
                         "authorized": True, "ca-file": str(tmp_path / "ca.pem"), "timeout": 9,
                         "events": ["refused", "quarantined"]}  # fmt: skip
    assert alerts[1]["command"] == str(tmp_path / "bin/page") and alerts[1]["timeout"] == 5
    usual = ["refused", "undecided", "let-through", "repaired", "rolled-back", "deactivated",
                 "quarantined"]  # fmt: skip
    assert alerts[1]["events"] == usual
    assert alerts[2]["syslog"] == "local3" and alerts[2]["events"] == ["verified"]
    assert alerts[3]["syslog"] == f"daemon at {tmp_path}/dev/log"


def test_no_secret_is_shown(hallmark, write, secret):
    uri = "postgresql://me:sEcReT@db.example.com:5432/events?password=sEcReT"
    text = FULL.replace("sqlite:events.db", uri).replace(
        "key: keys/ledger", "key: 'pkcs11:token=t?pin-value=sEcReT'")  # fmt: skip
    path = write(text)
    for options in ([], ["--json"]):
        shown = hallmark("config", "check", *options, path, expect=0).out
        assert "sEcReT" not in shown and "hush" not in shown and SECRET not in shown
        assert "postgresql://db.example.com:5432/..." in shown and "pkcs11:token=t" in shown


def test_defaults(hallmark, write):
    said = check(hallmark, write(""))
    assert said["store"] is said["policy"] is said["ledger"] is said["serving-group"] is None
    assert said["log"] == "none" and said["keep"] == 3 and said["alerts"] == []
    assert said["check"] == {"every": 0, "when-none-is-good": "remove"}
    assert said["quarantine"] == {"keep-refused": True, "limit": 50 << 30}


def test_the_store_has_a_ledger(hallmark, write, tmp_path):
    assert check(hallmark, write("store: s\n"))["ledger"] == f"sqlite:{tmp_path}/s/ledger.db"


def test_the_environment_stands_above_the_file(hallmark, write):
    path = write("store: s\npolicy: p\nledger: l\n")
    env = {"HALLMARK_STORE": "/e/s", "HALLMARK_POLICY": "/e/p", "HALLMARK_LEDGER": "/e/l"}
    said = check(hallmark, path, env=env)
    assert (said["store"], said["policy"], said["ledger"]) == ("/e/s", "/e/p", "/e/l")
    named = hallmark("config", "check", "--json", env={"HALLMARK_CONFIG": path}, expect=0).json()
    assert named["file"] == str(path)


@pytest.mark.parametrize(
    "text, place, words",
    [
        ("stor: x\n", "2:1", 'did you mean "store"'),
        ("store: x\nstore: y\n", "3:1", "second time"),
        ("log: text\n", "2:6", "neither none nor json"),
        ("keep: 0\n", "2:7", "at least 1"),
        ("keep: -1\n", "2:7", "number"),
        ("check: {every: 5}\n", "2:16", "text"),
        ("check: {every: 5x}\n", "2:16", "not a span of time"),
        ("check: {every: 0s}\n", "2:16", "not a span of time"),
        ("check: {every: 99999999999d}\n", "2:16", "not a span of time"),
        ("check: {when-none-is-good: keep}\n", "2:28", "neither remove nor leave"),
        ("quarantine: {limit: 5Q}\n", "2:21", "not a size"),
        ("quarantine: {limit: 99999999T}\n", "2:21", "not a size"),
        ("quarantine: {limit: MiB}\n", "2:21", "not a size"),
        ("quarantine: {keep-refused: 1}\n", "2:28", "true or false"),
        ("checkpoints: {file: x}\n", "2:14", '"key" is missing'),
        ("alerts: {}\n", "2:9", "a list"),
        ("alerts: [{name: a}]\n", "2:10", "needs one of"),
        ("alerts: [{webhook: 'https://a'}]\n", "2:10", '"name" is missing'),
        ("alerts: [{name: a/b, syslog: user}]\n", "2:17", "letters, digits"),
        ("alerts: [{name: a, syslog: user}, {name: a, syslog: user}]\n", "2:42", "already"),
        ("alerts: [{name: a, syslog: user, command: [/x]}]\n", "2:28", "has one of"),
        ("alerts: [{name: a, syslog: local9}]\n", "2:28", "not a syslog facility"),
        ("alerts: [{name: a, command: [x]}]\n", "2:30", "with a '/'"),
        ("alerts: [{name: a, command: []}]\n", "2:29", "empty"),
        ("alerts: [{name: a, webhook: 'ftp://x'}]\n", "2:29", "https://"),
        ("alerts: [{name: a, webhook: 'http://example.com'}]\n", "2:29", "plain http"),
        ("alerts: [{name: a, webhook: 'http://127.0.0.1.example.com/'}]\n", "2:29", "plain http"),
        ("alerts: [{name: a, webhook: 'http://[::1]example.com/'}]\n", "2:29", "no host"),
        ("alerts: [{name: a, webhook: 'https://u:p@example.com'}]\n", "2:29", "user name"),
        ("alerts: [{name: a, webhook: 'https:///x'}]\n", "2:29", "no host"),
        ("alerts: [{name: a, webhook: \"https://a/\\r\\nX: y\"}]\n", "2:29", "white space"),
        ("alerts: [{name: a, syslog: user, timeout: 2m}]\n", "2:43", "from 1s to 60s"),
        ("alerts: [{name: a, syslog: user, events: [refusd]}]\n", "2:43", 'mean "refused"'),
        ("alerts: [{name: a, syslog: user, events: []}]\n", "2:42", "empty"),
        ("alerts: [{name: a, syslog: user, events: [alert-failed]}]\n", "2:43", "alerts that failed"),
        ("alerts: [{name: a, syslog: user, secret-file: secret}]\n", "2:34", "does not"),
    ],
)
def test_mistakes(hallmark, write, secret, text, place, words):
    path = write(text)
    result = hallmark("config", "check", path, expect=3)
    assert f"{path}:{place}: " in result.err, result.err
    assert words in result.err or words == "does not", result.err


@pytest.mark.parametrize("first", ["", "hallmark-config: 2\n", "hallmark-config: '1'\n"])
def test_version(hallmark, write, first):
    assert "config.yaml" in hallmark("config", "check", write("keep: 2\n", first=first), expect=3).err


def test_whoever_else_can_write_it_is_not_believed(hallmark, write):
    for mode in (0o620, 0o602):
        result = hallmark("config", "check", write("keep: 2\n", mode=mode), expect=3)
        assert "can be changed by other users" in result.err
    hallmark("config", "check", write("keep: 2\n", mode=0o644), expect=0)


@pytest.mark.parametrize("mode, good", [(0o600, True), (0o640, True), (0o644, False), (0o604, False),
                                        (0o660, False)])  # fmt: skip
def test_secrets_are_secret(hallmark, write, secret, mode, good):
    path = write("alerts: [{name: a, webhook: 'https://a', secret-file: secret}]\n")
    secret.chmod(mode)
    result = hallmark("config", "check", path, expect=0 if good else 3)
    assert good or f"{path}:2:55: " in result.err


@pytest.mark.parametrize("content, key", [
    ("", "secret-file"), ("", "authorization-file"),
    ("a" * 20 + "\0", "secret-file"), ("Bearer x\nX-Evil: 1", "authorization-file"),
    ("Bearer \x01", "authorization-file"), ("x" * 5000, "secret-file"),
])  # fmt: skip
def test_bad_secrets(hallmark, write, secret, content, key):
    secret.write_text(content)
    path = write(f"alerts: [{{name: a, webhook: 'https://a', {key}: secret}}]\n")
    result = hallmark("config", "check", path, expect=3)
    assert re.search(r"config\.yaml:2:\d+: ", result.err)
    assert content == "" or content not in result.err


def test_short_secret(hallmark, write, secret):
    secret.write_text("7Qz9Kf")
    path = write("alerts: [{name: a, webhook: 'https://a', secret-file: secret}]\n")
    result = hallmark("config", "check", path, expect=3)
    assert "shorter than 16 bytes" in result.err and "7Qz9Kf" not in result.err


def test_missing_file(hallmark, tmp_path):
    """Whoever names a configuration does not want to go without."""
    for env, names in (({"HALLMARK_CONFIG": tmp_path / "no"}, []), ({}, [tmp_path / "no"])):
        assert "No such file" in hallmark("config", "check", *names, env=env, expect=3).err


def test_a_broken_configuration_decides_nothing(hallmark, write, sign, verify, model_dir):
    sign(model_dir)
    env = {"HALLMARK_CONFIG": write("kep: 2\n")}
    report = verify(model_dir, expect=3, env=env)
    assert report["status"] == "undecided" and "kep" in report["message"]
    verify(model_dir, env={"HALLMARK_CONFIG": write("keep: 2\n")})


def test_policy_of_the_configuration(hallmark, write, sign, ec, model_dir, tmp_path):
    """Option, environment, configuration, in this order."""
    sign(model_dir)

    def policy(name, keys):
        path = tmp_path / name
        rule = f"models:\n  - {{name: '*', signers: [{name}]}}\n"
        path.write_text(f"version: 1\nsigners:\n  {name}: {{keys: [{keys}]}}\n{rule}")
        return path

    def signer(*options, env=None):
        env = {"HALLMARK_CONFIG": config, **(env or {})}
        report = hallmark("verify", model_dir, "--json", *options, env=env, expect=0).json()
        return report["signer"].get("name")

    policy("one", ec.public)
    two, three = policy("two", ec.public), policy("three", ec.public)
    config = write("policy: one\n")
    assert signer() == "one"
    assert signer(env={"HALLMARK_POLICY": two}) == "two"
    assert signer("--policy", three, env={"HALLMARK_POLICY": two}) == "three"
    assert signer("--key", ec.public) is None
    env = {"HALLMARK_CONFIG": config}
    assert "one" in hallmark("policy", "check", env=env, expect=0).out
    assert hallmark("policy", "explain", model_dir, "--json", env=env, expect=0).json()


def test_sizes_of_options(hallmark, sign, model_dir):
    """The same reading of sizes."""
    for size in ("1MiB", "1M", "1048576", "1024K"):
        digest = hallmark("digest", model_dir, "--json", "--shard-size", size, expect=0).json()
        assert "1048576" in json.dumps(digest)
    for size in ("1m", "1MB", "M", "", "1KiBx", "-1", " 1", "99999999999999999999", "99999999T"):
        assert "wants a number" in hallmark("digest", model_dir, "--shard-size", size, expect=2).err


def test_owner(hallmark, write):
    """Only root can give a file away."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    path = write("keep: 2\n")
    os.chown(path, 12345, 12345)
    assert "can be changed by other users" in hallmark("config", "check", path, expect=3).err
