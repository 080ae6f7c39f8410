"""The soak: 70 % of what the server can do for a long time, while bundles are swapped and workers
restarted. No request may fail, and neither memory nor descriptors may grow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from serving import Server, served

from scenarios import locust
from scenarios.answers import Answers
from scenarios.disturbances import Disturbances, Releases, disturbing
from scenarios.plans import Step
from scenarios.report import Series
from scenarios.watch import Watched, growth, watching

WORKERS = 2
# an error is an error, not a refusal while a neighbour has the machine
SETTINGS = ("protection.wait_s=10", f"server.workers={WORKERS}")
_DISTURBED, _RESTART_EACH = 40, 20  # times in a run, two of them by a restart
_SAMPLES = 240
_GROWTH = 0.05  # of the level, over the whole run


@dataclass(frozen=True, slots=True)
class Place:
    """The server, and the bundles it is offered by turns."""

    under: Server
    releases: Releases


@contextmanager
def place(bundle: Path) -> Iterator[Place]:
    """Served by several workers, from a directory of its own, as its content changes."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory()))
        releases = Releases(bundle, scratch)
        yield Place(stack.enter_context(served(releases.link, *SETTINGS)), releases)


def run(
    soaked: Place, bundle: Path, steps: list[Step], capacity: float
) -> tuple[Answers, dict[str, bool], list[Series]]:
    """Answers, what had to be true, and curves of what the server took."""
    seconds = sum(step.seconds for step in steps)
    under, every_s = soaked.under, seconds / _DISTURBED
    with (
        watching(under, every_s=max(seconds / _SAMPLES, 0.5)) as seen,
        disturbing(
            under, soaked.releases, every_s=every_s, restart_each=_RESTART_EACH
        ) as disturbed,
    ):
        answers = locust.run("soak", under.target, bundle, steps, capacity)
    return answers, _checks(answers, disturbed, seen), seen.series()


def _checks(answers: Answers, disturbed: Disturbances, seen: Watched) -> dict[str, bool]:
    failed = int((~answers.good).sum())
    happened = f"{disturbed.swaps} swaps and {disturbed.restarts} restarts were carried through"
    checks = {
        f"no request failed ({failed} of {len(answers):,})": failed == 0,
        "; ".join([happened, *disturbed.failed]): not disturbed.failed and disturbed.swaps > 0,
    }
    for name, unit, values in (
        ("memory", "MiB", seen.anonymous_mb),
        ("descriptors", "open", seen.descriptors),
    ):
        slope = growth(seen.at_s, values, disturbed.restarted_at_s, disturbed.swapped_at_s)
        if slope is not None:
            level, grown = float(np.median(values)), slope * seen.at_s[-1]
            said = f"{name} flat: {grown:+.1f} over the run at {level:,.0f} {unit}"
            checks[said] = grown <= _GROWTH * level
    return checks
