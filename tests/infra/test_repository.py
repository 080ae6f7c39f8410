"""The repository itself: what it says is there is there, and nothing is that must not be."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_group

from tamis_pipeline import cli as pipeline
from tamis_server import cli as server

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


# a command of the tool, in a line of code or between backquotes, as far as it goes
COMMAND = re.compile(
    r"(?:^ {4}[^#\n]*?|`)(?<![\w/.-])(?<!-n )tamis ([a-z][a-z-]*(?: [a-z][a-z-]*)*)([^`|&#\n]*)",
    re.MULTILINE,
)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_in_the_docs_exists_with_its_options(path: Path) -> None:
    commands = {**get_group(server.app).commands, "pipeline": get_group(pipeline.app)}
    for words, rest in COMMAND.findall(path.read_text().replace("\\\n", " ")):
        first, *others = words.split()
        assert first in commands, f"tamis {words}"
        command: Any = commands[first]
        for word in others:
            command = getattr(command, "commands", {}).get(word, command)
        known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest))
        assert named <= known | {"--help"}, f"tamis {words}"


def test_the_docs_are_read_for_commands() -> None:
    found = [words for path in DOCS for words, _ in COMMAND.findall(path.read_text())]
    assert {"serve", "pipeline build", "bundle verify", "status"} <= set(found)


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
