"""A command whose libraries are missing says what installs them."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from tamis_pipeline.extras import module_of

ROOT = Path(__file__).resolve().parents[2]


def test_a_missing_library_is_named_with_a_command_that_a_checkout_has(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "tamis_pipeline.indexing", raising=False)
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    with pytest.raises(SystemExit) as caught:
        module_of("indexing")
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "needs hnswlib: in the checkout, .venv/bin/pip install -c constraints.txt" in said
    assert said.endswith(" -e '.[train]'\n")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "train" in project["optional-dependencies"]
    assert (ROOT / "constraints.txt").is_file()
