# SPDX-License-Identifier: Apache-2.0
"""The Python that the documentation shows runs, from top to bottom of a page."""

import re

import pytest

import support

PAGES = [support.ROOT / "docs" / "python.md", support.ROOT / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_s_python_runs(page, tmp_path, monkeypatch, keys, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for name in ("model", "other"):
        support.make_model(tmp_path / name)
    (tmp_path / "other.pub").write_bytes(keys["python", "ec-p256"].public.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HALLMARK_STATE_DIR", str(tmp_path / "state"))
    for name in ("CONFIG", "STORE", "LEDGER", "POLICY"):
        monkeypatch.delenv(f"HALLMARK_{name}", raising=False)
    names = {"__name__": "page"}
    for block in blocks:
        if "verify(" in block and "progress" in block:
            import hallmark

            hallmark.sign("model/", "signer.pem", passphrase="correct horse")
        exec(compile(block, str(page), "exec"), names)
    shown = capsys.readouterr().out
    if page.name == "python.md":
        assert "digest-mismatch\nconfig.json\n" in shown and shown.endswith("100%\n")
