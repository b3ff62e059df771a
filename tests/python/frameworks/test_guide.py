# SPDX-License-Identifier: Apache-2.0
"""docs/python-guide.md, from top to bottom."""

import re

import support

PAGE = support.ROOT / "docs" / "python-guide.md"
SHOWN = [
    "signed",
    "digest-mismatch",
    "do not serve classifier.pt: digest-mismatch",
    "[2, 5, 6, 3]",
    "bert",
]


def test_the_guide_runs(tmp_path, monkeypatch, capsys):
    from fastapi.testclient import TestClient

    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) > 8
    names = {"__name__": "guide"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert capsys.readouterr().out.splitlines() == SHOWN
    assert names["accuracy"] > 0.9
    with TestClient(names["app"]) as client:
        assert client.get("/classify", params={"x": 1, "y": 1}).json() == {"class": 1}
        assert client.get("/classify", params={"x": -1, "y": 1}).json() == {"class": 0}


def test_the_service_does_not_start_with_another_model(tmp_path, monkeypatch):
    import hallmark
    import pytest
    import torch
    from fastapi.testclient import TestClient

    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    service = [block for block in blocks if "FastAPI(" in block]
    wanted = [block for block in blocks if "generate_key" in block or "def classifier" in block]
    names = {"__name__": "guide"}
    for block in [*wanted, *service]:
        exec(compile(block, str(PAGE), "exec"), names)
    torch.save(names["classifier"]().state_dict(), "classifier.pt")
    with pytest.raises(hallmark.RefusedError), TestClient(names["app"]):
        pass
