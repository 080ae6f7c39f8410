"""What the funnel needs from the world. Adapters implement these; stages hold one each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tamis_server.domain.candidates import (
    Candidates,
    Columns,
    Keys,
    Mask,
    Positions,
    Rows,
    Scored,
    Scores,
    Source,
    Vectors,
)
from tamis_server.domain.context import (
    Eligible,
    Event,
    History,
    Predicate,
    RequestContext,
    UserState,
)


class UserStateStore(Protocol):
    """Durable per-user state. A recorded event is seen by the next ``read`` of that user."""

    async def read(self, user_id: str) -> UserState:
        """Everything known of the user; an empty state for an unknown one."""

    async def record(self, events: Sequence[Event]) -> int:
        """Store the events; a repeated event id counts once. Returns how many were new."""


class EventLog(Protocol):
    """Keeps what users did for retraining. Never in a request's way: it neither waits nor raises,
    and what it has no room for it drops and counts."""

    def append(self, events: Sequence[Event]) -> None:
        """Take over events that the store has acknowledged as new."""

    async def close(self) -> None:
        """On return all that was taken over is kept; what comes later is dropped."""


class QueryEncoder(Protocol):
    """The user tower."""

    async def encode(self, ctx: RequestContext) -> Vectors | None:
        """A unit vector float32[d], or None for a user without usable history."""


class Eligibility(Protocol):
    """Availability and attribute predicates, exactly."""

    def eligible(self, predicates: Sequence[Predicate], excluded: Rows) -> Eligible:
        """The rows that may be shown."""


class CandidateSource(Protocol):
    """One way to find candidates."""

    @property
    def source(self) -> Source: ...

    async def retrieve(self, ctx: RequestContext, quota: int) -> Scored:
        """At most ``quota`` rows, best first, eligible ones only as far as that is cheap."""


class CandidateMerger(Protocol):
    """Joins what the sources found into one batch, each item once, with its provenance."""

    def merge(self, found: Sequence[tuple[Source, float, Scored]]) -> Candidates:
        """``found``: source, its weight, its list. Scores order the batch for want of a ranker."""


class CandidateFilter(Protocol):
    """Keeps or drops candidates, exactly."""

    @property
    def name(self) -> str: ...

    def keep(self, ctx: RequestContext, rows: Rows) -> Mask:
        """bool[n]: True where the candidate stays."""


class FeatureStore(Protocol):
    """Per-candidate features, gathered by row."""

    async def columns(self, ctx: RequestContext, rows: Rows) -> Columns:
        """Named columns, each with ``len(rows)`` rows."""


class Ranker(Protocol):
    """Scores candidates for one request."""

    async def score(self, ctx: RequestContext, candidates: Candidates) -> Scores:
        """float32[n], higher is better; calibrated probabilities where the model has them."""


class Reranker(Protocol):
    """Chooses and orders the slate."""

    def select(self, ctx: RequestContext, candidates: Candidates) -> Positions:
        """int32[<= ctx.limit]: positions of the chosen candidates, in slate order."""


@dataclass(frozen=True, slots=True)
class AttributeType:
    """An attribute of the catalogue: kind is category, tags, number or boolean."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Item:
    """One catalogue entry as callers see it. Missing attributes are absent from the mapping."""

    item_id: str
    title: str
    text: str
    image: str
    available: bool
    attributes: Mapping[str, Any]


class Catalogue(Protocol):
    """The items of the bundle being served: the only place where rows and ids meet."""

    @property
    def size(self) -> int: ...

    @property
    def attributes(self) -> Mapping[str, AttributeType]: ...

    def rows(self, item_ids: Sequence[str]) -> Rows:
        """int32[n]; -1 for an unknown id."""

    def item_ids(self, rows: Rows) -> list[str]: ...

    def items(self, rows: Rows, attributes: Sequence[str] | None = None) -> list[Item]:
        """The items with the named attributes; all of them when None."""

    def history(self, state: UserState) -> History:
        """The events of a user whose items this bundle knows."""

    def keys(self, rows: Rows) -> Keys: ...
