"""Item-to-item weights from behaviour: sparse EASE, or cosines where the catalogue is large.

EASE^R (Steck, WWW 2019) predicts an item from all others by one ridge regression with a closed
form; kept to the strongest entries of each column it loses much. So the dense solution only says
which items each is to be predicted from, and the regression is solved again with those alone (as
fsSLIM does: Ning, Karypis, ICDM 2011). Where the dense inverse costs too much the weights are
cosines, shrunk by support (item-kNN).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.linalg import get_lapack_funcs

from tamis_pipeline.dataset import Interactions
from tamis_pipeline.evaluation.choosing import judges, worth
from tamis_pipeline.split import Split
from tamis_server.bundles.features import is_positive
from tamis_server.bundles.neighbours import Neighbours

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Floats = TypeVar("Floats", Float32, Float64)
Int64 = npt.NDArray[np.int64]
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class NeighboursConfig:
    """support: from how many items each is predicted; width: how many an item may speak for;
    ridges: weights of the penalty, in interactions, of which the validation part chooses; dense:
    most items (that anybody met) for the dense inverse, which takes 8 bytes x items² and items³
    multiplications; shrink: of cosines, in interactions."""

    support: int = 50
    width: int = 100
    ridges: tuple[float, ...] = (100.0, 200.0, 500.0)
    dense: int = 15_000
    shrink: float = 10.0


def learn(
    parts: Split, items: int, config: NeighboursConfig, seed: int
) -> tuple[Neighbours, Neighbours]:
    """Of ``parts.fit``, and of all of ``parts.train``; with the ridge that is best for whom the
    former knows and the validation part asks about."""
    ridge = _chosen(parts, items, config, seed)
    return fit(parts.fit, items, config, ridge), fit(parts.train, items, config, ridge)


def fit(events: Interactions, items: int, config: NeighboursConfig, ridge: float) -> Neighbours:
    """Weights between the items that users took to, from the positives of ``events``."""
    taken = _taken(events, items)
    met = np.flatnonzero(np.asarray(taken.sum(axis=0)).ravel())
    taken = taken[:, met]
    dense = met.shape[0] <= config.dense
    found = _sparse_ease(taken, config, ridge) if dense else _cosines(taken, config)
    return _widened(found, met, items)


def _taken(events: Interactions, items: int) -> sparse.csr_matrix:
    positive = is_positive(events.kinds)
    users = int(events.users.max(initial=-1)) + 1
    pairs = (events.users[positive], events.items[positive])
    taken = sparse.csr_matrix(
        (np.ones(pairs[0].shape[0]), pairs), shape=(users, items), dtype=np.float64
    )
    taken.data[:] = 1.0  # twice is once
    return taken


def _chosen(parts: Split, items: int, config: NeighboursConfig, seed: int) -> float:
    """By the dense solution, which all others are kept close to."""
    taken = _taken(parts.fit, items).astype(np.float32)
    met = np.flatnonzero(np.asarray(taken.sum(axis=0)).ravel())
    asked = judges(parts, seed) if 1 < met.shape[0] <= config.dense else []
    if len(config.ridges) == 1 or not asked:
        return config.ridges[0]
    taken, available = taken[:, met], np.ones(items, np.bool_)
    gram = np.asarray((taken.T @ taken).todense(), np.float32)

    def worth_of(ridge: float) -> float:
        weights = ease(gram, ridge)

        def scorer(users: npt.NDArray[np.intp]) -> Float32:
            scores = np.full((users.shape[0], items), -np.inf, np.float32)
            scores[:, met] = taken[users] @ weights
            return scores

        return worth(scorer, asked, available)

    return max(config.ridges, key=worth_of)


def _sparse_ease(taken: sparse.csr_matrix, config: NeighboursConfig, ridge: float) -> Neighbours:
    gram = np.asarray((taken.T @ taken).todense())
    items = gram.shape[0]
    k = min(config.support, items - 1)
    if k < 1:
        return Neighbours.none()
    support = _strongest(ease(gram, ridge), k)
    weights = _solved(gram, support, ridge)
    # solved item by item; kept by the item that speaks
    targets = np.repeat(np.arange(items), k)
    speaking = sparse.csr_matrix(
        (weights.ravel(), (support.ravel(), targets)), shape=(items, items)
    )
    return _cut(speaking, config.width)


def ease(gram: Floats, ridge: float) -> Floats:
    """The dense solution, as ``gram`` is: entry (i, j) is the weight of i for j, 0 on the diagonal.

    gram float[items, items]: how many users took to both.
    """
    regular = gram + ridge * np.eye(gram.shape[0], dtype=gram.dtype)
    # by Cholesky, which gives the lower half: a quarter of the time of a general inverse
    potrf, potri = get_lapack_funcs(("potrf", "potri"), (regular,))
    factor, _ = potrf(regular, lower=1, overwrite_a=1)
    inverse, _ = potri(factor, lower=1, overwrite_c=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    weights: Floats = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights


def _strongest(weights: Float64, k: int) -> Int64:
    """int64[items, k]: rows of the k largest absolute values of each column, ascending."""
    found = np.empty((weights.shape[0], k), np.int64)
    for start in range(0, weights.shape[0], _BLOCK):
        block = np.abs(weights[:, start : start + _BLOCK]).T.copy()
        own = np.arange(block.shape[0])
        block[own, start + own] = -1.0  # an item does not predict itself
        found[start : start + _BLOCK] = np.argpartition(-block, k - 1, axis=1)[:, :k]
    return np.sort(found, axis=1)


def _solved(gram: Float64, support: Int64, ridge: float) -> Float64:
    """float64[items, k]: the ridge regression of each item on its support."""
    weights = np.empty(support.shape, np.float64)
    penalty = ridge * np.eye(support.shape[1])
    for start in range(0, support.shape[0], _BLOCK):
        chosen = support[start : start + _BLOCK]
        targets = np.arange(start, start + chosen.shape[0])
        left = gram[chosen[:, :, None], chosen[:, None, :]] + penalty
        right = gram[chosen, targets[:, None]]
        weights[start : start + _BLOCK] = np.linalg.solve(left, right[..., None])[..., 0]
    return weights


def _cosines(taken: sparse.csr_matrix, config: NeighboursConfig) -> Neighbours:
    counts = np.asarray(taken.sum(axis=0)).ravel()
    columns = taken.tocsc()
    blocks = []
    for start in range(0, counts.shape[0], _BLOCK):
        together = (columns[:, start : start + _BLOCK].T @ taken).tocoo()
        row, column = together.row + start, together.col
        other = row != column
        row, column = row[other], column[other]
        scale = np.sqrt(counts[row] * counts[column]) + config.shrink
        block = sparse.csr_matrix(
            (together.data[other] / scale, (row - start, column)), shape=together.shape
        )
        blocks.append(_cut(block, config.width))
    return Neighbours(
        np.concatenate([block.rows for block in blocks]),
        np.concatenate([block.weights for block in blocks]),
    )


def _cut(weights: sparse.csr_matrix, width: int) -> Neighbours:
    """The ``width`` strongest entries of each row, by row number."""
    weights.sort_indices()
    rows = np.full((weights.shape[0], width), -1, np.int32)
    values = np.zeros((weights.shape[0], width), np.float32)
    for row in range(weights.shape[0]):
        own = slice(weights.indptr[row], weights.indptr[row + 1])
        columns, entries = weights.indices[own], weights.data[own]
        if columns.shape[0] > width:
            kept = np.sort(np.argsort(-np.abs(entries), kind="stable")[:width])
            columns, entries = columns[kept], entries[kept]
        rows[row, : columns.shape[0]] = columns
        values[row, : columns.shape[0]] = entries
    return Neighbours(rows, values)


def _widened(among: Neighbours, met: Int64, items: int) -> Neighbours:
    """From numbers among the items that were met to rows of the catalogue."""
    width = among.rows.shape[1]
    rows = np.full((items, width), -1, np.int32)
    weights = np.zeros((items, width), np.float32)
    if width:
        rows[met] = np.where(among.rows >= 0, met[among.rows], -1)
        weights[met] = among.weights
    return Neighbours(rows, weights)
