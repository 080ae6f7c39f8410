"""The query encoder in NumPy: a recency-weighted pool of the history and a small residual MLP."""

from __future__ import annotations

import numpy as np

from tamis_server.bundles import manifest as fmt
from tamis_server.bundles.loader import Bundle
from tamis_server.domain.candidates import Vectors
from tamis_server.domain.context import RequestContext
from tamis_server.domain.errors import BundleRejected


class PooledQueryEncoder:
    """The function of ``bundles.manifest.ENCODER_ARRAYS``."""

    def __init__(self, bundle: Bundle) -> None:
        weights = {
            name: bundle.encoder[name].astype(np.float32, copy=False) for name in fmt.ENCODER_ARRAYS
        }
        self._history = weights["history_table"]
        self._kind = weights["kind_weight"]
        self._recency = weights["recency"]
        self._skip = weights["skip"]
        self._w1, self._b1 = weights["w1"], weights["b1"]
        self._w2, self._b2 = weights["w2"], weights["b2"]
        e, d, h = self._history.shape[1], bundle.manifest.dim, self._b1.shape[0]
        for name, shape in (
            ("history_table", (bundle.rows, e)),
            ("kind_weight", (9,)),
            ("skip", (e, d)),
            ("w1", (e, h)),
            ("w2", (h, d)),
            ("b2", (d,)),
        ):
            if weights[name].shape != shape:
                reason = f"{name} is {weights[name].shape} where {shape} fits"
                raise BundleRejected(fmt.ENCODER, reason)

    async def encode(self, ctx: RequestContext) -> Vectors | None:
        """A unit vector float32[d], or None where the history says nothing."""
        last = self._recency.shape[0]
        rows = ctx.history.rows[-last:][::-1]
        if not rows.shape[0]:
            return None
        weights = self._kind[ctx.history.kinds[-last:][::-1]] * self._recency[: rows.shape[0]]
        total = float(np.abs(weights).sum())
        if total < 1e-6:
            return None
        pooled = (weights / np.float32(total)) @ self._history[rows]
        hidden = np.maximum(pooled @ self._w1 + self._b1, 0.0)
        query = pooled @ self._skip + hidden @ self._w2 + self._b2
        norm = np.sqrt(query @ query)
        return (query / norm).astype(np.float32) if norm > 1e-12 else None
