"""What is known before candidates are looked for: the user, the query vector, what may be shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tamis_server.domain.context import RequestContext
from tamis_server.domain.context import UserState as State
from tamis_server.domain.errors import ContractViolation, FieldViolation, InvalidRequest
from tamis_server.domain.ports import (
    Catalogue,
    ContentEncoder,
    Eligibility,
    Histories,
    QueryEncoder,
    UserStateStore,
)


@dataclass(frozen=True, slots=True)
class UserHistory:
    """What the bundle knows of the user: all there is while the store can't be asked."""

    histories: Histories
    catalogue: Catalogue
    name: ClassVar[str] = "user_history"

    async def prepare(self, ctx: RequestContext) -> RequestContext:
        known = self.histories.of(ctx.user_id, ctx.now) if ctx.user_id else None
        if known is None:
            return ctx
        return _knowing(ctx, known.state, self.catalogue, profile=known.profile)


@dataclass(frozen=True, slots=True)
class UserState:
    """One read for everything the store has of the user, joined to what the bundle knows."""

    store: UserStateStore
    catalogue: Catalogue
    name: ClassVar[str] = "user_state"

    async def prepare(self, ctx: RequestContext) -> RequestContext:
        if not ctx.user_id:
            return ctx
        stored = await self.store.read(ctx.user_id, ctx.now)
        if not stored.keys.shape[0]:
            return ctx
        return _knowing(ctx, stored.after(ctx.state), self.catalogue)


def _knowing(
    ctx: RequestContext, state: State, catalogue: Catalogue, **known: Any
) -> RequestContext:
    """The request with what is known of its user, in the rows of the catalogue."""
    met = catalogue.bits(state.exact) if state.exact.shape[0] else None
    return ctx.knowing(state=state, history=catalogue.history(state), met=met, **known)


@dataclass(frozen=True, slots=True)
class QueryEncoding:
    encoder: QueryEncoder
    name: ClassVar[str] = "query_encoding"

    async def prepare(self, ctx: RequestContext) -> RequestContext:
        return ctx.knowing(query=await self.encoder.encode(ctx))


@dataclass(frozen=True, slots=True)
class SearchEncoding:
    """Where items are that look or read like what is searched for."""

    encoder: ContentEncoder
    name: ClassVar[str] = "search_encoding"

    async def prepare(self, ctx: RequestContext) -> RequestContext:
        if ctx.sought is None:
            raise ContractViolation("a search without anything to look for")
        (vector,) = await self.encoder.encode([ctx.sought])
        if not vector.any():
            raise InvalidRequest(
                [FieldViolation(ctx.sought.text_field, "has no word that the encoder knows")]
            )
        return ctx.knowing(sought_vector=vector)


@dataclass(frozen=True, slots=True)
class EligibleItems:
    """refused: whether what the user hid or disliked may be shown."""

    eligibility: Eligibility
    refused: bool = True
    name: ClassVar[str] = "eligibility"

    async def prepare(self, ctx: RequestContext) -> RequestContext:
        excluded = ctx.excluded
        if not self.refused and len(ctx.history):
            excluded = np.concatenate([excluded, ctx.history.refused()])
        return ctx.knowing(eligible=self.eligibility.eligible(ctx.predicates, excluded))
