"""How sure a mean over users is: percentile bootstrap (Efron, Tibshirani, 1993, chapter 13).

Users are drawn, not events: a user's events hang together. The same seed draws the same users, so
that intervals of several methods over the same users are of the same draws. For a difference, give
the differences: one method's values less the other's, user by user.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
SAMPLES = 1_000
_AT_ONCE = 4_000_000  # counts held at once


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, and the bounds that hold ``level`` of its bootstrap samples."""

    mean: float
    low: float
    high: float


def intervals(
    values: Float64, seed: int = 0, samples: int = SAMPLES, level: float = 0.95
) -> list[Interval]:
    """Of the mean of each column of ``values`` float64[n, m], one row a user.

    Raises ValueError where there is no user.
    """
    if not values.shape[0]:
        raise ValueError("no user to take a mean of")
    means = np.concatenate([counts @ values for counts in _draws(values.shape[0], seed, samples)])
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(means / values.shape[0], [tail, 1.0 - tail], axis=0)
    return [Interval(*map(float, row)) for row in zip(values.mean(axis=0), low, high, strict=True)]


def interval(values: Float64, seed: int = 0, samples: int = SAMPLES) -> Interval:
    """Of the mean of ``values`` float64[n], one a user."""
    return intervals(values[:, None], seed, samples)[0]


def _draws(users: int, seed: int, samples: int) -> Iterator[Float64]:
    """How often each user is drawn in each sample: float64[samples, users], in parts."""
    rng = np.random.default_rng(seed)
    chances = np.full(users, 1.0 / users)
    part = max(1, min(samples, _AT_ONCE // users))
    for start in range(0, samples, part):
        size = min(part, samples - start)
        yield rng.multinomial(users, chances, size).astype(np.float64)
