"""How the level is chosen and refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tamis_kernels
from tamis_kernels import available_levels, set_level, with_level

KERNELS = Path(tamis_kernels.__file__).parents[1]


def imported_with(wanted: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "import tamis_kernels; print(tamis_kernels.level())"],
        env={**os.environ, "TAMIS_KERNELS": wanted, "PYTHONPATH": str(KERNELS)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_environment_picks_the_level_at_import(level: str) -> None:
    assert imported_with(level).stdout.strip() == level


def test_without_a_wish_the_best_level_is_taken() -> None:
    assert imported_with("").stdout.strip() == available_levels()[-1]


def test_an_unknown_level_is_an_import_error_that_says_what_there_is() -> None:
    done = imported_with("sse9")
    assert done.returncode == 1
    assert "ImportError: TAMIS_KERNELS=sse9 is unknown or cannot run here" in done.stderr
    assert ", ".join(available_levels()) in done.stderr


def test_an_unknown_level_is_refused_and_the_old_one_stays(level: str) -> None:
    with pytest.raises(ValueError, match="'sse9' is unknown or cannot run here"):
        set_level("sse9")
    assert tamis_kernels.level() == level


def test_with_level_returns_to_the_level_before(level: str) -> None:
    with with_level("reference"):
        assert tamis_kernels.level() == "reference"
    assert tamis_kernels.level() == level
