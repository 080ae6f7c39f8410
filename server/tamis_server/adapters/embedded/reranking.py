"""Re-ranking for diversity."""

from __future__ import annotations

from typing import Literal

from tamis_kernels import best_scaled, dpp, mmr
from tamis_server.bundles.loader import Bundle
from tamis_server.domain.candidates import Candidates, Positions
from tamis_server.domain.context import RequestContext

_METHODS = {"mmr": mmr, "dpp": dpp}


class Diversity:
    """A diverse slate of the best of the ranked candidates, by one of the methods of the kernels.

    Relevance is the score brought to 0..1 over the pool, so that ``trade_off`` means the same for
    every ranker: 1 is pure relevance, 0 pure diversity. The pool (``pool`` times the slate) bounds
    the relevance that may be given up.
    """

    def __init__(
        self, bundle: Bundle, *, method: Literal["mmr", "dpp"], trade_off: float, pool: int
    ) -> None:
        self._vectors = bundle.vectors
        self._pick = _METHODS[method]
        self._trade_off = trade_off
        self._pool = pool

    def select(self, ctx: RequestContext, candidates: Candidates) -> Positions:
        wanted = ctx.limit * self._pool
        best, relevance = best_scaled(candidates.scores, candidates.rows, wanted)
        rows = candidates.rows.take(best)
        picked: Positions = self._pick(self._vectors, rows, relevance, ctx.limit, self._trade_off)
        chosen: Positions = best.take(picked)
        return chosen
