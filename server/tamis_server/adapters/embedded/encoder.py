"""The query tower over the history of a request."""

from __future__ import annotations

import numpy as np

from tamis_kernels import QueryTower
from tamis_server.bundles import manifest as fmt
from tamis_server.bundles.loader import Bundle
from tamis_server.bundles.query_tower import HEARD, clock_at, context_slots, profile_offsets
from tamis_server.domain.candidates import Vectors
from tamis_server.domain.context import RequestContext
from tamis_server.domain.errors import BundleRejected


class AttentiveQueryEncoder:
    """The function of ``bundles.query_tower``, by the kernel. Items are read from the bundle's own
    table, which changes while serving."""

    def __init__(self, bundle: Bundle) -> None:
        table = bundle.encoder["history_table"].astype(np.float16, copy=False)
        encoder = {
            name: np.ascontiguousarray(bundle.encoder[name], np.float32)
            for name in fmt.ENCODER_ARRAYS
            if name != "history_table"
        }
        e, d = table.shape[-1], bundle.manifest.dim
        if table.shape != (bundle.rows, e):
            reason = f"history_table is {table.shape} where {(bundle.rows, e)} fits"
            raise BundleRejected(fmt.ENCODER, reason)
        profile = bundle.manifest.features.profile_fields
        hidden, heads = encoder["b1"].shape[-1], encoder["seeds"].shape[-1]
        for name, shape in {
            "seeds": (e, heads),
            "kind_bias": (HEARD.shape[0], heads),
            "recency_bias": (encoder["recency_bias"].shape[0], heads),
            "kind_weight": (HEARD.shape[0],),
            "context_table": (context_slots(profile), e),
            "w_context": (e, hidden),
            "skip": (heads * e, d),
            "w1": (heads * e, hidden),
            "b1": (hidden,),
            "w2": (hidden, d),
            "b2": (d,),
        }.items():
            if encoder[name].shape != shape:
                reason = f"{name} is {encoder[name].shape} where {shape} fits"
                raise BundleRejected(fmt.ENCODER, reason)
        self._unknown = profile_offsets(profile)  # the slots of codes 0
        self._tower = QueryTower(table, **encoder, heard=HEARD)

    async def encode(self, ctx: RequestContext) -> Vectors | None:
        """A unit vector float32[d], or None where the history says nothing."""
        history = ctx.history
        if not history.rows.shape[0]:
            return None
        context = clock_at(ctx.now)
        if self._unknown.shape[0]:
            about = self._unknown if ctx.profile is None else self._unknown + ctx.profile
            context = np.concatenate([context, about])
        query = self._tower.encode(history.rows, history.kinds, context)
        return query if np.count_nonzero(query) else None
