"""By what orders are compared: how high they put the positive of each request."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def gain(scores: npt.NDArray[np.floating], items: npt.NDArray[np.int32], places: int) -> float:
    """The mean of ``gains``."""
    return float(gains(scores, items, places).mean())


def gains(
    scores: npt.NDArray[np.floating], items: npt.NDArray[np.int32], places: int
) -> npt.NDArray[np.float64]:
    """float64[n]: of each request 1 / log2(1 + place of the positive, in column 0), 0 beyond
    ``places``: NDCG@places of one relevant item. Ties count half.

    scores float[n, c]; items int32[n, c], -1 where there is none.
    """
    positive, others, there = scores[:, :1], scores[:, 1:], items[:, 1:] >= 0
    above = ((others > positive) & there).sum(axis=1)
    above = above + ((others == positive) & there).sum(axis=1) / 2
    return np.where(above < places, 1 / np.log2(2 + above), 0.0)


def surely_better(found: npt.NDArray[np.float64], best: npt.NDArray[np.float64]) -> bool:
    """Whether one order's ``gains`` float64[n] are above those that another has for the same
    requests by more than the standard error of their difference (paired). What gains less may be
    noise, and whoever takes the best of many tries would learn it."""
    more = found - best
    return bool(more.mean() > more.std() / more.shape[0] ** 0.5)
