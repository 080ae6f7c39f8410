"""The exact filters behind retrieval: eligibility and what the user has met."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tamis_kernels import bloom_absent, select
from tamis_server.domain.candidates import Positions, Rows
from tamis_server.domain.context import RequestContext
from tamis_server.domain.ports import Catalogue


@dataclass(frozen=True, slots=True)
class EligibleFilter:
    """Keeps what the request may be answered with: available, matching, not excluded."""

    name: ClassVar[str] = "ineligible"

    def keep(self, ctx: RequestContext, rows: Rows) -> Positions:
        if ctx.eligible is None:
            return np.arange(rows.shape[0], dtype=np.int32)
        return select(ctx.eligible.bits, rows)


@dataclass(frozen=True, slots=True)
class SeenFilter:
    """Drops what the user has met, exactly known or by a Bloom filter: never a false negative."""

    catalogue: Catalogue
    name: ClassVar[str] = "seen"

    def keep(self, ctx: RequestContext, rows: Rows) -> Positions:
        if ctx.met is None:
            kept = np.arange(rows.shape[0], dtype=np.int32)
        else:
            kept = select(ctx.met, rows, wanted=False)
        if ctx.state.seen:
            keys = self.catalogue.keys(rows.take(kept))
            kept = kept.take(bloom_absent(ctx.state.seen, keys))
        return kept
