"""Metrics of a ranker's probabilities: do they order (AUC, GAUC), are they true (logloss, ECE).

labels bool[n]; scores and probabilities float[n]; groups int[n]: the request each belongs to.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]


def auc(labels: Mask, scores: Floats) -> float:
    """The chance that a positive scores above a negative, a tie counting half (Hanley, McNeil,
    Radiology 1982). NaN where either is missing."""
    return float(_auc_of_groups(labels, scores, np.zeros(labels.shape[0], np.int64))[0])


def gauc(labels: Mask, scores: Floats, groups: Ints) -> float:
    """AUC within each group, mean over groups by their size (Zhu et al., KDD 2017, eq. 6); groups
    of one class only are left out. NaN where all are."""
    values = _auc_of_groups(labels, scores, groups)
    _, sizes = np.unique(groups, return_counts=True)
    usable = np.isfinite(values)
    if not usable.any():
        return float("nan")
    return float(np.average(values[usable], weights=sizes[usable]))


def logloss(labels: Mask, probabilities: Floats) -> float:
    """Mean negative log-likelihood in nats; probabilities are kept 1e-7 away from 0 and 1."""
    sure = np.clip(probabilities.astype(np.float64), 1e-7, 1.0 - 1e-7)
    return float(-np.where(labels, np.log(sure), np.log1p(-sure)).mean())


def ece(labels: Mask, probabilities: Floats, bins: int = 15) -> float:
    """Expected calibration error (Naeini et al., AAAI 2015) over bins of equal count: the mean gap
    between what was foretold and what came."""
    foretold, came, counts = reliability(labels, probabilities, bins)
    return float(np.average(np.abs(foretold - came), weights=counts))


def reliability(labels: Mask, probabilities: Floats, bins: int = 15) -> tuple[Float64, ...]:
    """Of each bin of equal count, from low to high: the mean probability, the share of positives,
    and how many. Equal probabilities stay together, so there may be fewer bins."""
    values, inverse, counts = np.unique(
        probabilities.astype(np.float64), return_inverse=True, return_counts=True
    )
    positives = np.bincount(inverse, labels.astype(np.float64))
    middle = np.cumsum(counts) - 0.5 * counts
    bin_of = np.minimum((middle * bins / labels.shape[0]).astype(np.int64), bins - 1)
    _, bin_of = np.unique(bin_of, return_inverse=True)
    size: Float64 = np.bincount(bin_of, counts).astype(np.float64)
    return np.bincount(bin_of, values * counts) / size, np.bincount(bin_of, positives) / size, size


def _auc_of_groups(labels: Mask, scores: Floats, groups: Ints) -> Float64:
    """float64[groups]: by the rank sum of the positives, ranks of ties being their mean."""
    _, group = np.unique(groups, return_inverse=True)
    count = int(group.max(initial=0)) + 1
    order = np.lexsort((scores, group))
    g, s, y = group[order], scores[order], labels[order].astype(np.float64)
    starts = np.flatnonzero(np.concatenate([[True], (g[1:] != g[:-1]) | (s[1:] != s[:-1])]))
    lengths = np.diff(np.concatenate([starts, [g.shape[0]]]))
    ranks = np.repeat(starts + 0.5 * (lengths + 1.0), lengths)  # from 1, over all groups
    first = np.searchsorted(g, np.arange(count))
    positives = np.bincount(g, y, minlength=count)
    negatives = np.bincount(g, 1.0 - y, minlength=count)
    rank_sum = np.bincount(g, (ranks - first[g]) * y, minlength=count)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Float64 = (rank_sum - positives * (positives + 1.0) / 2.0) / (positives * negatives)
    return result
