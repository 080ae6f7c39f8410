"""The repository itself: what it says is there is there, and nothing is that must not be."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRACKED = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
]
DOCS = [path for path in TRACKED if path.suffix == ".md"]


def test_the_repository_is_a_checkout() -> None:
    assert TRACKED, "these tests read the files that git tracks"


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_in_the_docs_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if not target.startswith(("http:", "https:")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_make_help_describes_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    described = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert set(phony[1].split()) <= described


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_in_the_docs_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = re.findall(r"(?:^\s+|`)make ([a-z-]+)", path.read_text(), re.MULTILINE)
    assert set(commands) <= targets


def test_no_path_of_a_machine_and_no_registry_host_is_tracked() -> None:
    # in halves, so that this file does not find itself
    forbidden = re.compile(
        "|".join(
            ("/wo" + "rk/", "/ro" + "ot/", "py" + r"pi\.", "npm" + r"js\.", "pythonhos" + "ted")
        )
    )
    binary = {".npz", ".npy", ".hnsw", ".onnx", ".parquet", ".png"}
    for path in TRACKED:
        if path.suffix in binary or not path.is_file():
            continue
        found = forbidden.search(path.read_text("utf-8"))
        assert found is None, f"{path.relative_to(ROOT)}: {found}"


def test_every_root_that_holds_packages_is_mapped() -> None:
    setup = (ROOT / "setup.py").read_text()
    for path in TRACKED:
        if path.name == "__init__.py" and path.parent.name.startswith("tamis"):
            root = str(path.parent.parent.relative_to(ROOT))
            assert f'"{root}"' in setup or path.parent.parent.name.startswith("tamis")
