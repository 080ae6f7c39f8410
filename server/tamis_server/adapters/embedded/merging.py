"""Merges the sources' lists by reciprocal rank."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tamis_kernels import fuse_ranks
from tamis_server.domain.candidates import Candidates, Scored, Source

_DAMPING = 60  # the k of the paper


class ReciprocalRankMerger:
    """Weighted reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009).

    Scores of different sources can't be compared, ranks can. The batch comes best first.
    """

    def merge(self, found: Sequence[tuple[Source, float, Scored]]) -> Candidates:
        sources, weights, lists = zip(*found, strict=True) if found else ((), (), ())
        rows = [np.ascontiguousarray(scored.rows) for scored in lists]
        return Candidates(*fuse_ranks(rows, weights, sources, _DAMPING))


class AsFound:
    """The list of a single source with its own scores, which then mean something."""

    def merge(self, found: Sequence[tuple[Source, float, Scored]]) -> Candidates:
        ((source, _, scored),) = found
        sources = np.full(scored.rows.shape[0], 1 << source, np.uint32)
        return Candidates(scored.rows, scored.scores, sources)
