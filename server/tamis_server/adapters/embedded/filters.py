"""The exact filters behind retrieval: eligibility and what the user has met."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tamis_kernels import bloom_test, select
from tamis_server.domain.candidates import Mask, Rows
from tamis_server.domain.context import RequestContext
from tamis_server.domain.ports import Catalogue


@dataclass(frozen=True, slots=True)
class EligibleFilter:
    """Keeps what the request may be answered with: available, matching, not excluded."""

    name: ClassVar[str] = "ineligible"

    def keep(self, ctx: RequestContext, rows: Rows) -> Mask:
        mask = np.ones(rows.shape[0], np.bool_)
        if ctx.eligible is not None:
            mask[:] = False
            mask[select(ctx.eligible.bits, rows)] = True
        return mask


@dataclass(frozen=True, slots=True)
class SeenFilter:
    """Drops what the user has met, exactly known or by a Bloom filter: never a false negative."""

    catalogue: Catalogue
    name: ClassVar[str] = "seen"

    def keep(self, ctx: RequestContext, rows: Rows) -> Mask:
        mask = np.ones(rows.shape[0], np.bool_)
        if ctx.met is not None:
            mask[select(ctx.met, rows)] = False
        if ctx.state.seen:
            keys = self.catalogue.keys(rows)
            for blocks in ctx.state.seen:
                mask &= ~bloom_test(blocks, keys)
        return mask
