"""Runs locust (``loadtest/locustfile.py``) as a process of its own and takes its answers over.

locust's users are threads of gevent's, which patches the standard library of its process; and they
wait for an answer before they ask again (a closed loop), so that latency counts from when a
request was sent.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from scenarios.answers import Answers
from scenarios.plans import Step

_FILE = Path(__file__).resolve().parents[1] / "locustfile.py"
_TOO_LONG_S = 60.0


class NoLocust(Exception):
    """locust is not installed, or did not run: says what to do, or what it said."""


def installed() -> bool:
    return importlib.util.find_spec("locust") is not None


def run(
    scenario: str, target: str, bundle: Path, steps: Sequence[Step], capacity: float
) -> Answers:
    """Every answer of the scenario, from when its users began. Raises NoLocust."""
    if not installed():
        raise NoLocust("locust is not there; pip install -e '.[loadtest]' installs it")
    with TemporaryDirectory() as scratch:
        written = Path(scratch) / "answers.npz"
        command = [
            sys.executable, "-m", "locust", "-f", str(_FILE), "--headless", "--only-summary",
            "--host", target, "--bundle", str(bundle.resolve()), "--scenario", scenario,
            "--capacity", str(capacity), "--step-seconds", str(steps[0].seconds),
            "--answers", str(written), "--exit-code-on-error", "0", "--stop-timeout", "10",
        ]  # fmt: skip
        ran = subprocess.run(
            command, capture_output=True, text=True, check=False,
            timeout=sum(step.seconds for step in steps) + _TOO_LONG_S,
        )  # fmt: skip
        if ran.returncode or not written.is_file():
            raise NoLocust(f"locust ended with {ran.returncode}: {ran.stderr[-2000:]}")
        return Answers.read(written)
