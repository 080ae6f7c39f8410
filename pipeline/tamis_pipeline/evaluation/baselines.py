"""What a recommender has to be better than, on the same split and with the same care: settings of
each are chosen by the validation part, and then it learns the whole training part.

item-kNN: cosine of the k nearest (Sarwar et al., WWW 2001). EASE: Steck, WWW 2019. ALS: Hu, Koren,
Volinsky, ICDM 2008. BPR: Rendle et al., UAI 2009; ``implicit``
draws its negatives by popularity, which costs it accuracy. All but EASE by ``implicit``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import CosineRecommender
from implicit.utils import ParameterWarning
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from tamis_pipeline.dataset import Interactions
from tamis_pipeline.evaluation.choosing import Scorer, judges, worth
from tamis_pipeline.neighbours import ease
from tamis_pipeline.split import Split
from tamis_server.bundles.features import is_positive

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Settings = Mapping[str, float]

_LARGEST = 12_000  # items met in training whose matrix EASE inverts


@dataclass(frozen=True, slots=True)
class Baseline:
    """fit(matrix float32[users, items], settings, seed) gives the scorer; None: it can't."""

    name: str
    fit: Callable[[csr_matrix, Settings, int], Scorer | None]
    grid: tuple[Settings, ...]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A baseline that has learned, and the settings that were chosen."""

    scorer: Scorer
    settings: Settings


def fitted(baseline: Baseline, parts: Split, available: Mask, seed: int) -> Fitted | None:
    """Chosen by validation, learned from all of the training part; None where it can't learn so
    much. available bool[items]: what may be shown."""
    settings = baseline.grid[0]
    if len(baseline.grid) > 1:
        asked, items = judges(parts, seed), available.shape[0]
        if asked:
            tried = [_learn(baseline, each, parts.fit, items, seed) for each in baseline.grid]
            found = [-1.0 if each is None else worth(each, asked, available) for each in tried]
            settings = baseline.grid[int(np.argmax(found))]
    scorer = _learn(baseline, settings, parts.train, available.shape[0], seed)
    if scorer is None:
        return None
    return Fitted(scorer, settings)


def _learn(
    baseline: Baseline, settings: Settings, events: Interactions, items: int, seed: int
) -> Scorer | None:
    positive = is_positive(events.kinds)
    users, rows = events.users[positive], events.items[positive]
    shape = (int(events.users.max()) + 1, items)
    matrix = csr_matrix((np.ones(users.shape[0], np.float32), (users, rows)), shape=shape)
    matrix.data[:] = 1.0  # met twice is met
    with threadpool_limits(1), warnings.catch_warnings():
        # one thread: the same sums in the same order, and implicit asks for it. It also warns of
        # a conversion that it has made itself
        warnings.simplefilter("ignore", ParameterWarning)
        return baseline.fit(matrix, settings, seed)


def _neighbours(matrix: csr_matrix, settings: Settings, _: int) -> Scorer:
    model = CosineRecommender(K=int(settings["neighbours"]), num_threads=1)
    model.fit(matrix, show_progress=False)
    similarity = model.similarity.astype(np.float32)
    return lambda users: np.asarray((matrix[users] @ similarity.T).todense(), np.float32)


def _ease(matrix: csr_matrix, settings: Settings, _: int) -> Scorer | None:
    met = np.flatnonzero(np.diff(matrix.tocsc().indptr))
    if met.shape[0] > _LARGEST:
        return None
    known = matrix[:, met]
    weights = ease(np.asarray((known.T @ known).todense(), np.float32), settings["ridge"])

    def score(users: npt.NDArray[np.intp]) -> Float32:
        scores = np.full((users.shape[0], matrix.shape[1]), -np.inf, np.float32)
        scores[:, met] = known[users] @ weights
        return scores

    return score


def _als(matrix: csr_matrix, settings: Settings, seed: int) -> Scorer:
    model = AlternatingLeastSquares(
        factors=int(settings["factors"]),
        regularization=settings["regularisation"],
        alpha=settings["alpha"],
        iterations=15,
        random_state=seed,
        num_threads=1,
    )
    return _factors(model, matrix)


def _bpr(matrix: csr_matrix, settings: Settings, seed: int) -> Scorer:
    model = BayesianPersonalizedRanking(
        factors=int(settings["factors"]),
        learning_rate=settings["rate"],
        regularization=settings["regularisation"],
        iterations=int(settings["epochs"]),
        random_state=seed,
        num_threads=1,
    )
    return _factors(model, matrix)


def _factors(model: Any, matrix: csr_matrix) -> Scorer:
    model.fit(matrix, show_progress=False)
    of_users, of_items = np.asarray(model.user_factors), np.asarray(model.item_factors)
    return lambda users: np.asarray(of_users[users] @ of_items.T, np.float32)


BASELINES = (
    Baseline("item-kNN", _neighbours, tuple({"neighbours": k} for k in (20, 100, 500))),
    Baseline("EASE", _ease, tuple({"ridge": r} for r in (100, 200, 500, 1000))),
    Baseline(
        "ALS",
        _als,
        tuple({"factors": 64, "regularisation": 0.05, "alpha": a} for a in (1, 5, 20)),
    ),
    Baseline(
        "BPR",
        _bpr,
        tuple(
            {"factors": 64, "rate": rate, "regularisation": 0.01, "epochs": epochs}
            for rate, epochs in ((0.01, 25), (0.01, 50), (0.01, 100))
        ),
    ),
)
