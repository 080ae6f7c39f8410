"""Merges the sources' lists by reciprocal rank."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tamis_kernels import merge, top_k
from tamis_server.domain.candidates import Candidates, Scored, Source

_DAMPING = 60  # the k of the paper


class ReciprocalRankMerger:
    """Weighted reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009).

    Scores of different sources can't be compared, ranks can. The batch comes best first.
    """

    def merge(self, found: Sequence[tuple[Source, float, Scored]]) -> Candidates:
        rows, scores, positions = merge(
            [np.ascontiguousarray(scored.rows) for _, _, scored in found],
            [_reciprocal(weight, scored.rows.shape[0]) for _, weight, scored in found],
        )
        sources = np.zeros(rows.shape[0], np.uint32)
        for position, (source, _, _) in enumerate(found):
            has = (positions >> np.uint32(position)) & np.uint32(1)
            sources |= has << np.uint32(source)
        return Candidates(rows, scores, sources).take(top_k(scores, rows, rows.shape[0]))


class AsFound:
    """The list of a single source with its own scores, which then mean something."""

    def merge(self, found: Sequence[tuple[Source, float, Scored]]) -> Candidates:
        ((source, _, scored),) = found
        sources = np.full(scored.rows.shape[0], 1 << source, np.uint32)
        return Candidates(scored.rows, scored.scores, sources)


def _reciprocal(weight: float, count: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    ranks = np.arange(1, count + 1, dtype=np.float32)
    return np.float32(weight) / (_DAMPING + ranks)
