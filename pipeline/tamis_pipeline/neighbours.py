"""Item-to-item weights from behaviour: sparse EASE, or cosines where the catalogue is large.

EASE^R (Steck, WWW 2019) predicts an item from all others by one ridge regression with a closed
form; kept to the strongest entries of each column it loses much. So the dense solution only says
which items each is to be predicted from, and the regression is solved again with those alone (as
fsSLIM does: Ning, Karypis, ICDM 2011). Where the dense inverse costs too much the weights are
cosines, shrunk by support (item-kNN).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.linalg import lapack

from tamis_pipeline.dataset import Interactions
from tamis_server.bundles.features import is_positive
from tamis_server.bundles.neighbours import Neighbours

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class NeighboursConfig:
    """support: from how many items each is predicted; width: how many an item may speak for;
    ridge: the weight of the penalty, in interactions; dense: most items (that anybody met) for
    the dense inverse, which takes 8 bytes x items² and items³ multiplications; shrink: of cosines,
    in interactions."""

    support: int = 50
    width: int = 100
    ridge: float = 200.0
    dense: int = 15_000
    shrink: float = 10.0


def fit(events: Interactions, items: int, config: NeighboursConfig) -> Neighbours:
    """Weights between the items that users took to, from the positives of ``events``."""
    positive = is_positive(events.kinds)
    users = int(events.users.max(initial=-1)) + 1
    pairs = (events.users[positive], events.items[positive])
    taken = sparse.csr_matrix(
        (np.ones(pairs[0].shape[0]), pairs), shape=(users, items), dtype=np.float64
    )
    taken.data[:] = 1.0  # twice is once
    met = np.flatnonzero(np.asarray(taken.sum(axis=0)).ravel())
    taken = taken[:, met]
    weigh = _sparse_ease if met.shape[0] <= config.dense else _cosines
    return _widened(weigh(taken, config), met, items)


def _sparse_ease(taken: sparse.csr_matrix, config: NeighboursConfig) -> Neighbours:
    gram = np.asarray((taken.T @ taken).todense())
    items = gram.shape[0]
    k = min(config.support, items - 1)
    if k < 1:
        return Neighbours.none()
    support = _strongest(_ease(gram, config.ridge), k)
    weights = _solved(gram, support, config.ridge)
    # solved item by item; kept by the item that speaks
    targets = np.repeat(np.arange(items), k)
    speaking = sparse.csr_matrix(
        (weights.ravel(), (support.ravel(), targets)), shape=(items, items)
    )
    return _cut(speaking, config.width)


def _ease(gram: Float64, ridge: float) -> Float64:
    """float64[items, items]: entry (i, j) is the weight of i for j; 0 on the diagonal."""
    regular = gram + ridge * np.eye(gram.shape[0])
    factor, _ = lapack.dpotrf(regular, lower=1, overwrite_a=1)
    inverse, _ = lapack.dpotri(factor, lower=1, overwrite_c=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    weights: Float64 = -inverse / np.diag(inverse)
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
