"""Settings are chosen by the validation part: who judges, and by what."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from tamis_pipeline.evaluation import metrics
from tamis_pipeline.evaluation.protocols import Question, best, questions
from tamis_pipeline.split import Split

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Scorer = Callable[[npt.NDArray[np.intp]], Float32]  # users [n] -> float32[n, items]

BLOCK = 256  # users scored at once
_JUDGES = 1_000  # users of the validation part by whom settings are chosen, at most
_SHOWN = 20


def judges(parts: Split, seed: int) -> list[Question]:
    """Users of the validation part, of whom ``parts.fit`` is known."""
    found = questions(Split(parts.fit, parts.fit, parts.validation, parts.fit))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(found))[:_JUDGES])
    return [found[number] for number in chosen]


def worth(scorer: Scorer, asked: Sequence[Question], available: Mask) -> float:
    """NDCG@20."""
    relevant = [question.relevant for question in asked]
    hits = metrics.found(lists(scorer, asked, available, _SHOWN), relevant)
    sizes = np.array([rows.shape[0] for rows in relevant], np.int64)
    return float(metrics.ndcg(hits, sizes, _SHOWN).mean())


def lists(scorer: Scorer, asked: Sequence[Question], available: Mask, depth: int) -> Int32:
    """int32[asked, depth]: the best unseen available items."""
    found = [np.empty((0, depth), np.int32)]
    for start in range(0, len(asked), BLOCK):
        block = asked[start : start + BLOCK]
        scores = scorer(np.array([question.user for question in block], np.intp))
        histories = [question.history for question in block]
        found.append(best(scores, histories, available, depth))
    return np.concatenate(found)
