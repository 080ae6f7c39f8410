"""The query tower over the history of a request."""

from __future__ import annotations

import numpy as np

from tamis_server.bundles import manifest as fmt
from tamis_server.bundles.loader import Bundle
from tamis_server.bundles.query_tower import HEARD, HOURS, WEEKDAYS, clock, encode
from tamis_server.domain.candidates import Vectors
from tamis_server.domain.context import RequestContext
from tamis_server.domain.errors import BundleRejected


class AttentiveQueryEncoder:
    """The function of ``bundles.query_tower``."""

    def __init__(self, bundle: Bundle) -> None:
        self._encoder = {
            name: bundle.encoder[name].astype(np.float32, copy=False) for name in fmt.ENCODER_ARRAYS
        }
        e, d = self._encoder["history_table"].shape[-1], bundle.manifest.dim
        hidden, heads = self._encoder["b1"].shape[-1], self._encoder["seeds"].shape[-1]
        self._length = self._encoder["recency_bias"].shape[0]
        for name, shape in {
            "history_table": (bundle.rows, e),
            "seeds": (e, heads),
            "kind_bias": (HEARD.shape[0], heads),
            "recency_bias": (self._length, heads),
            "kind_weight": (HEARD.shape[0],),
            "context_table": (HOURS + WEEKDAYS, e),
            "w_context": (e, hidden),
            "skip": (heads * e, d),
            "w1": (heads * e, hidden),
            "b1": (hidden,),
            "w2": (hidden, d),
            "b2": (d,),
        }.items():
            if self._encoder[name].shape != shape:
                reason = f"{name} is {self._encoder[name].shape} where {shape} fits"
                raise BundleRejected(fmt.ENCODER, reason)

    async def encode(self, ctx: RequestContext) -> Vectors | None:
        """A unit vector float32[d], or None where the history says nothing."""
        latest = slice(-1, -self._length - 1, -1)
        rows, kinds = ctx.history.rows[None, latest], ctx.history.kinds[None, latest]
        if not rows.shape[1]:
            return None
        query = encode(self._encoder, rows, kinds, clock(np.array([ctx.now])))[0]
        return query if query.any() else None
