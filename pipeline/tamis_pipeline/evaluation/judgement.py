"""Lists judged: every metric of every method, one row a user, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis_pipeline.evaluation import metrics, variety
from tamis_pipeline.evaluation.confidence import intervals

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
PAGE = 20
ACCURACY = (
    "Recall@100", "Recall@20", "Recall@10", "Precision@10", "HR@10", "NDCG@10", "NDCG@20",
    "MRR@20", "MAP@20",
)  # fmt: skip
VARIETY = ("novelty@20", "diversity@20")


@dataclass(frozen=True, slots=True)
class Method:
    """pages int32[asked, PAGE] are what is shown; deep int32[asked, 100 or more] what stands
    behind: the same list, but where a page was diversified."""

    pages: Int32
    deep: Int32

    def take(self, which: npt.NDArray[Any]) -> Method:
        return Method(self.pages[which], self.deep[which])


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What variety is measured by: counts float32[items], of users who met each item; users: how
    many there are; vectors float32[items, d]: how like two items are."""

    counts: Float32
    users: int
    vectors: Float32


def accuracy(method: Method, relevant: Sequence[Int32]) -> Float64:
    """float64[asked, len(ACCURACY)]."""
    sizes = np.array([rows.shape[0] for rows in relevant], np.int64)
    page, deep = metrics.found(method.pages, relevant), metrics.found(method.deep, relevant)
    return np.stack(
        [
            metrics.recall(deep, sizes, 100),
            metrics.recall(page, sizes, 20),
            metrics.recall(page, sizes, 10),
            metrics.precision(page, 10),
            metrics.hit_rate(page, 10),
            metrics.ndcg(page, sizes, 10),
            metrics.ndcg(page, sizes, 20),
            metrics.reciprocal_rank(page),
            metrics.average_precision(page, sizes, 20),
        ],
        axis=1,
    )


def judge(
    methods: Mapping[str, Method], relevant: Sequence[Int32], yardstick: Yardstick, seed: int
) -> dict[str, Any]:
    """methods: each metric's mean, with coverage@20; intervals: 95 %, of those with one value a
    user; differences: of the first method to each other, with the interval of the difference."""
    values = {name: accuracy(method, relevant) for name, method in methods.items()}
    varied = {name: _variety(method, yardstick) for name, method in methods.items()}
    means: dict[str, dict[str, float]] = {}
    bounds: dict[str, dict[str, list[float]]] = {}
    for name, method in methods.items():
        columns = np.concatenate([values[name], varied[name]], axis=1)
        found = dict(zip((*ACCURACY, *VARIETY), intervals(columns, seed), strict=True))
        means[name] = {metric: each.mean for metric, each in found.items()}
        means[name]["coverage@20"] = variety.coverage(method.pages, yardstick.vectors.shape[0])
        bounds[name] = {metric: [each.low, each.high] for metric, each in found.items()}
    first, *others = methods
    differences = {
        other: {
            metric: [each.mean, each.low, each.high]
            for metric, each in zip(
                ACCURACY, intervals(values[first] - values[other], seed), strict=True
            )
        }
        for other in others
    }
    return {"methods": means, "intervals": bounds, "differences": differences}


def means(methods: Mapping[str, Method], relevant: Sequence[Int32]) -> dict[str, dict[str, float]]:
    """Accuracy alone, without intervals."""
    return {
        name: dict(zip(ACCURACY, accuracy(method, relevant).mean(axis=0).tolist(), strict=True))
        for name, method in methods.items()
    }


def _variety(method: Method, yardstick: Yardstick) -> Float64:
    return np.stack(
        [
            variety.novelty(method.pages, yardstick.counts, yardstick.users),
            variety.diversity(method.pages, yardstick.vectors),
        ],
        axis=1,
    )
