"""Per-candidate features from the bundle's columns."""

from __future__ import annotations

from tamis_server.bundles.features import cross_features
from tamis_server.bundles.loader import Bundle
from tamis_server.domain.candidates import Columns, Rows
from tamis_server.domain.context import RequestContext


class ColumnFeatures:
    """``cross`` float32[n, cross]: how near each candidate is to the user's taste.

    What belongs to the item alone is not gathered: the ranker keeps it as a table by row.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._vectors = bundle.vectors
        self._neighbours = bundle.neighbours

    async def columns(self, ctx: RequestContext, rows: Rows) -> Columns:
        history = ctx.history
        return {
            "cross": cross_features(
                self._vectors, self._neighbours, rows, ctx.query, history.rows, history.kinds
            )
        }
