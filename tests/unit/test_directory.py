"""A directory is replaced whole: who looks at it finds the old one or the new one, always."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tamis_server.bundles import directory
from tamis_server.bundles.directory import replacing


def write(out: Path, text: str) -> None:
    with replacing(out) as temporary:
        (temporary / "a").write_text(text)
        (temporary / "b").write_text(text)


@pytest.mark.parametrize("exchanging", [True, False])
def test_what_was_there_is_replaced_and_nothing_else_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanging: bool
) -> None:
    if not exchanging:
        monkeypatch.setattr(directory, "_exchange", lambda *_: False)
    for text in ("old", "new"):
        write(tmp_path / "out", text)
        assert (tmp_path / "out" / "a").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")

    def fail() -> None:
        with replacing(tmp_path / "out") as temporary:
            (temporary / "a").write_text("new")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert (tmp_path / "out" / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(sys.platform != "linux", reason="names change places at once on Linux only")
def test_who_looks_always_finds_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "0")
    missing: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                out.stat()
            except FileNotFoundError:
                missing.append(1)

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(100):
        write(out, str(number))
    done.set()
    reader.join()
    assert not missing


def test_what_a_killed_process_left_is_swept_away_and_that_of_a_living_one_is_not(
    tmp_path: Path,
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for pid in (dead.pid, os.getppid()):
        (tmp_path / f".out.{pid}.partial").mkdir()
    write(tmp_path / "out", "new")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"out", f".out.{os.getppid()}.partial"}
