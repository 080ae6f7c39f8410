"""The soak: 70 % of what the server can do for a long time, while bundles are swapped and workers
restarted. No request may fail, but for a few that a worker that goes had not looked at, and neither
memory nor descriptors may grow."""

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
_NOT_LOOKED_AT = ("CANCELLED", "UNAVAILABLE")
_LOST_S = 0.25  # at a restart at most what comes in this time
_SETTLING_S = 2.0  # from the end of a restart until all are connected again, on a busy machine


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
    happened = f"{disturbed.swaps} swaps and {disturbed.restarts} restarts were carried through"
    checks = {
        **failures(answers, disturbed),
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


def failures(answers: Answers, disturbed: Disturbances) -> dict[str, bool]:
    """What failed by itself, and what came back because a worker went.

    A worker that goes gives back calls that it had not looked at, and connections that it had not
    accepted. Clients send those again; a load test counts them, and there may be few.
    """
    restarts = list(zip(disturbed.restarted_at_s[::2], disturbed.restarted_at_s[1::2], strict=True))
    at_s = answers.at_s + (answers.began_s - disturbed.began_s)
    meanwhile = np.zeros(len(answers), np.bool_)
    for begin, end in restarts:
        meanwhile |= (at_s >= begin) & (at_s < end + _SETTLING_S)
    given_back = meanwhile & np.isin(answers.code, _NOT_LOOKED_AT)
    failed, lost = int((~answers.good & ~given_back).sum()), int(given_back.sum())
    rate = len(answers) / float(np.ptp(answers.at_s)) if len(answers) > 1 else 0.0
    return {
        f"no request failed ({failed} of {len(answers):,})": failed == 0,
        f"{lost} of {int(meanwhile.sum()):,} that came while workers were restarted had to be sent "
        "again": lost <= _LOST_S * rate * len(restarts),
    }
