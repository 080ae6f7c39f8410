"""What is known before candidates are looked for: the user, the query vector, what may be shown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from tamis_server.domain.context import RequestContext
from tamis_server.domain.ports import Catalogue, Eligibility, QueryEncoder, UserStateStore


@dataclass(frozen=True, slots=True)
class UserState:
    """One read for everything about the user, resolved to the bundle's rows."""

    store: UserStateStore
    catalogue: Catalogue
    name: ClassVar[str] = "user_state"

    async def prepare(self, ctx: RequestContext) -> RequestContext:
        if not ctx.user_id:
            return ctx
        state = await self.store.read(ctx.user_id)
        return replace(ctx, state=state, history=self.catalogue.history(state))


@dataclass(frozen=True, slots=True)
class QueryEncoding:
    encoder: QueryEncoder
    name: ClassVar[str] = "query_encoding"

    async def prepare(self, ctx: RequestContext) -> RequestContext:
        return replace(ctx, query=await self.encoder.encode(ctx))


@dataclass(frozen=True, slots=True)
class EligibleItems:
    eligibility: Eligibility
    name: ClassVar[str] = "eligibility"

    async def prepare(self, ctx: RequestContext) -> RequestContext:
        return replace(ctx, eligible=self.eligibility.eligible(ctx.predicates, ctx.excluded))
