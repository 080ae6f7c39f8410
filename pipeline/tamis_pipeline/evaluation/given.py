"""The published NCF protocol (He et al., WWW 2017): one held-out item among 99 given negatives."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tamis_pipeline.dataset import HeldOut
from tamis_pipeline.evaluation import metrics
from tamis_pipeline.evaluation.choosing import BLOCK, Scorer
from tamis_pipeline.evaluation.confidence import intervals
from tamis_pipeline.evaluation.protocols import given_candidates, given_hits, given_places

Int64 = npt.NDArray[np.int64]
K = 10


def places(scorer: Scorer, held_out: HeldOut) -> Int64:
    """int64[n]: the place, from 0, of each held-out item by what ``scorer`` says; what it leaves
    out (-inf) comes last."""
    candidates = given_candidates(held_out)
    found = []
    for start in range(0, candidates.shape[0], BLOCK):
        block = slice(start, start + BLOCK)
        scores = scorer(held_out.users[block].astype(np.intp))
        own = np.take_along_axis(scores, candidates[block].astype(np.int64), axis=1)
        part = HeldOut(held_out.users[block], held_out.items[block], held_out.negatives[block])
        found.append(given_places(np.maximum(own, np.finfo(np.float32).min), part))
    return np.concatenate(found)


def judge(found: Mapping[str, Int64], seed: int) -> dict[str, dict[str, list[float]]]:
    """HR@10 and NDCG@10 of each method's places: mean, and the bounds of its 95 % interval."""
    judged = {}
    for name, own in found.items():
        hits = given_hits(own, K)
        one = np.ones(hits.shape[0], np.int64)
        values = np.stack([metrics.hit_rate(hits, K), metrics.ndcg(hits, one, K)], axis=1)
        rate, gain = intervals(values, seed)
        judged[name] = {
            "HR@10": [rate.mean, rate.low, rate.high],
            "NDCG@10": [gain.mean, gain.low, gain.high],
        }
    return judged
