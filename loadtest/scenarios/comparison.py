"""Whether one report is worse than another beyond what its own noise explains.

Each figure is compared by the logarithms of its rounds' values, so that a change is a ratio;
shares, which may be 0, by their differences. Reports measured in one run by turns are compared
round by round (Student's paired t-test): what disturbed the machine disturbed both. Others are
compared as two samples (Welch's), which sees less, and can't tell a slower server from a slower
day. The p-values of all figures are corrected together (Holm, "A simple sequentially rejective
multiple test procedure", 1979), so that many figures don't make a false alarm likely.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from scenarios.report import SHARE, Figure, Report

SIGNIFICANT = 0.05
TOLERANCE = 0.03  # a change that nobody would act upon is no regression, however certain
SHARE_TOLERANCE = 0.001  # of shares, whose changes are absolute: one request more in a thousand
_LEAST_ROUNDS = 3


class NotComparable(Exception):
    """Two reports of different things: says what differs."""


@dataclass(frozen=True, slots=True)
class Change:
    """Of one figure, from A to B.

    change: relative (0.1: 10 % more), of shares absolute; low, high: its 95 % interval; p:
    corrected, two-sided; worse_by: the change towards worse, below 0 where it is better.
    """

    figure: Figure
    after: Figure
    change: float
    low: float
    high: float
    p: float

    @property
    def worse_by(self) -> float:
        return self.change if self.figure.better == "lower" else -self.change

    def regressed(self, tolerance: float = TOLERANCE) -> bool:
        return self.p < SIGNIFICANT and self.worse_by > self._let_pass(tolerance)

    def improved(self, tolerance: float = TOLERANCE) -> bool:
        return self.p < SIGNIFICANT and self.worse_by < -self._let_pass(tolerance)

    def _let_pass(self, tolerance: float) -> float:
        return min(tolerance, SHARE_TOLERANCE) if self.figure.unit == SHARE else tolerance


def compare(before: Report, after: Report) -> list[Change]:
    """The figures that both have, in order of ``before``. Raises NotComparable."""
    for what in ("scenario", "tool", "parameters"):
        ours, theirs = getattr(before, what), getattr(after, what)
        if ours != theirs:
            raise NotComparable(f"{what}: {ours} and {theirs}; the two must be the same")
    theirs = {figure.name: figure for figure in after.figures}
    both = [(each, theirs[each.name]) for each in before.figures if each.name in theirs]
    if not both:
        raise NotComparable("no figure is in both reports")
    paired = are_paired(before, after)
    return _corrected([_change(ours, other, paired=paired) for ours, other in both])


def are_paired(before: Report, after: Report) -> bool:
    """Whether they were measured in one run, by turns."""
    return before.pair == after.pair != ""


def _change(before: Figure, after: Figure, *, paired: bool) -> Change:
    rounds = len(before.rounds), len(after.rounds)
    if min(rounds) < _LEAST_ROUNDS or (paired and rounds[0] != rounds[1]):
        raise NotComparable(
            f"{before.name}: {rounds[0]} and {rounds[1]} rounds; its noise is not known below "
            f"{_LEAST_ROUNDS}, and a pair has as many on both sides"
        )
    one, other = np.array(before.rounds), np.array(after.rounds)
    relative = before.unit != SHARE and bool((one > 0).all() and (other > 0).all())
    if relative:
        one, other = np.log(one), np.log(other)
    middle = float(other.mean() - one.mean())
    spread = (other - one).std() if paired else max(one.std(), other.std())
    if spread < 1e-12:  # then a t-test has nothing to divide by
        low, high, p = middle, middle, 1.0 if abs(middle) < 1e-12 else 0.0
    else:
        test = (
            stats.ttest_rel(other, one) if paired else stats.ttest_ind(other, one, equal_var=False)
        )
        bounds = test.confidence_interval(0.95)
        low, high, p = float(bounds.low), float(bounds.high), float(test.pvalue)
    if relative:
        middle, low, high = (math.expm1(value) for value in (middle, low, high))
    return Change(before, after, middle, low, high, p)


def _corrected(changes: Sequence[Change]) -> list[Change]:
    """With Holm's p-values."""
    order = sorted(range(len(changes)), key=lambda place: changes[place].p)
    found, least = list(changes), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, changes[place].p * (len(changes) - rank)))
        found[place] = replace(changes[place], p=least)
    return found
