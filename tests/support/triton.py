"""Real Triton servers for tests; where there is none, CI fails and others skip, saying so."""

from __future__ import annotations

import os

import pytest

from triton_local.server import NoTriton, installed


def require_triton() -> None:
    """Skip the test where no server is installed, unless this is CI."""
    try:
        installed()
    except NoTriton as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have a Triton server: {error}")
        pytest.skip(f"no Triton server: {error}")


def report() -> str:
    """A line for pytest's header."""
    try:
        return f"tritonserver: {installed()}"
    except NoTriton as error:
        return f"tritonserver: none, tests that need one are skipped ({error})"
