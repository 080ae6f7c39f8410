"""The best simple order: a weighted sum of what a candidate is known by.

Learning begins with it, so that a model has to find only what a sum can't say, and early stopping
never leaves it with less. Weights are searched for that put positives highest: coordinate ascent
on ``gain`` (Metzler, Croft, Information Retrieval 2007) from the best feature alone, where a step
must be ``surely_better``. The most likely weights (conditional logit: McFadden,
1974) are not the best at the top of a list; likelihood only says how sure the best are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tamis_pipeline.rankers.exposures import Exposures, ItemTables
from tamis_pipeline.rankers.gain import gain, gains, surely_better

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
_REQUESTS = 5_000  # looked at, at most: there are a handful of weights
_CANDIDATES = 8_000_000  # of whole lists, at most
_ROUNDS = 8
_STEPS = (0.5, -0.5, 0.2, -0.2, 0.05, -0.05)  # of the largest weight
_PENALTY = 1e-3  # on weights of features of unit deviation, a request


@dataclass(frozen=True, slots=True)
class Simple:
    """Weights: cross float32[x] of the cross features, dense float32[d] of ``ItemTables.dense``.
    bias: with it scores are about the logarithms of probabilities."""

    cross: Float32
    dense: Float32
    bias: float

    def score(self, data: Exposures, tables: ItemTables) -> Float32:
        """float32[n, c]."""
        dense = tables.dense @ self.dense
        found: Float32 = data.cross @ self.cross + dense[np.maximum(data.items, 0)]
        return found


def simple(learned: Exposures, lists: Exposures, tables: ItemTables, places: int) -> Simple:
    """The order of the best gain at ``places`` on whole ``lists``; its scale is the likeliest on
    ``learned``. In both the positive of each request is in column 0."""
    learned = _some(learned, _REQUESTS)
    lists = _some(lists, max(1, _CANDIDATES // lists.items.shape[1]))
    known, whole = _known(learned, tables), _known(lists, tables)
    deviation = known[learned.items >= 0].std(axis=0)
    unit = np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0).astype(np.float32)
    known, whole = known * unit, whole * unit
    alone = [gain(whole[..., each], lists.items, places) for each in range(unit.shape[0])]
    weights = _ascended(np.eye(unit.shape[0])[np.argmax(alone)], whole, lists.items, places)
    scores = known @ weights.astype(np.float32)
    scale = float(_likeliest(scores[..., None], learned.items)[0])
    weights = weights * (scale if scale > 0 else 1.0)
    wholly = np.where(lists.items >= 0, whole.astype(np.float64) @ weights, -np.inf)
    bias = -float(_log_sum(wholly).mean())
    both, crossed = (weights * unit).astype(np.float32), learned.cross.shape[2]
    return Simple(both[:crossed], both[crossed:], bias)


def _some(data: Exposures, most: int) -> Exposures:
    return data.take(slice(0, None, -(-len(data) // most)))


def _known(data: Exposures, tables: ItemTables) -> Float32:
    """float32[n, c, f]."""
    return np.concatenate([data.cross, tables.dense[np.maximum(data.items, 0)]], axis=2)


def _ascended(weights: Float64, x: Float32, items: npt.NDArray[np.int32], places: int) -> Float64:
    """Weights float64[f] that no single step makes better for sure."""
    weights = weights.copy()
    scores = x @ weights.astype(np.float32)
    best = gains(scores, items, places)
    for _ in range(_ROUNDS):
        before = best
        for feature in range(weights.shape[0]):
            for step in np.array(_STEPS, np.float32) * np.float32(np.abs(weights).max()):
                tried = scores + step * x[..., feature]
                found = gains(tried, items, places)
                if surely_better(found, best):
                    scores, best = tried, found
                    weights[feature] += step
        if best is before:
            break
    return weights


def _likeliest(features: Float32, items: npt.NDArray[np.int32]) -> Float64:
    """float64[f], if softmax chooses the positive of each request: a convex problem, by Newton's
    method with step halving. features float32[n, c, f]."""
    there = items >= 0
    x = (features - features[:, :1]).astype(np.float64)
    weights = np.zeros(x.shape[2])
    loss, chances = _loss(x, there, weights)
    for _ in range(30):
        mean = np.einsum("nc,ncf->nf", chances, x)
        gradient = mean.mean(axis=0) + _PENALTY * weights
        spread = np.einsum("nc,ncf,ncg->fg", chances, x, x, optimize=True) / x.shape[0]
        curve = spread - mean.T @ mean / x.shape[0] + _PENALTY * np.eye(weights.shape[0])
        step, length = np.linalg.solve(curve, gradient), 1.0
        while length > 1e-4:
            after, found = _loss(x, there, weights - length * step)
            if after < loss:
                break
            length /= 2
        else:
            break
        weights, gained, loss, chances = weights - length * step, loss - after, after, found
        if gained < 1e-9:
            break
    return weights


def _loss(x: Float64, there: npt.NDArray[np.bool_], weights: Float64) -> tuple[float, Float64]:
    """And the probability of each candidate, float64[n, c]; the positive's own score is 0."""
    scores = np.where(there, x @ weights, -np.inf)
    total = _log_sum(scores)
    loss = float(total.mean()) + _PENALTY / 2 * float(weights @ weights)
    return loss, np.exp(scores - total[:, None])


def _log_sum(scores: Float64) -> Float64:
    top = scores.max(axis=1, keepdims=True)
    found: Float64 = np.log(np.exp(scores - top).sum(axis=1)) + top[:, 0]
    return found
