"""What the funnel needs from the world. Adapters implement these; stages hold one each."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tamis_server.domain.candidates import (
    Bits,
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
    Depiction,
    Eligible,
    History,
    KnownUser,
    Predicate,
    RequestContext,
    UserState,
)
from tamis_server.domain.events import Events


class UserStateStore(Protocol):
    """Durable per-user state. A recorded event is seen by the next ``read`` of that user."""

    async def read(self, user_id: str, now: float) -> UserState:
        """Everything known of the user at ``now`` (Unix seconds); empty for an unknown one.

        Raises DependencyFailed.
        """

    def record(self, events: Events) -> Awaitable[Mask]:
        """Store the events and count their items; a repeated event id of a user counts once.

        bool[n]: which of them were new. Raises DependencyFailed and Overloaded; then none of them
        is promised, some may be stored, and recording them again is safe.
        """


@dataclass(frozen=True, slots=True)
class ItemCounters:
    """Recent activity around items, decayed to now: each float64[n], 0 where there was none.

    trending: events weighted by kind; last: Unix time of the latest event, NaN without one.
    """

    views: npt.NDArray[np.float64]
    purchases: npt.NDArray[np.float64]
    trending: npt.NDArray[np.float64]
    last: npt.NDArray[np.float64]


class ItemActivity(Protocol):
    """What all users together do with items, as events tell it."""

    @property
    def lost(self) -> int:
        """Recorded events whose items could not be counted."""

    async def counters(self, keys: Keys, now: float) -> ItemCounters:
        """Of each item. Raises DependencyFailed."""

    async def trending(self, most: int, now: float) -> tuple[Keys, Scores]:
        """The most active items, at most ``most``, best first: keys uint64[n], scores float32[n].

        Raises DependencyFailed.
        """


class Histories(Protocol):
    """What the bundle being served knows of users."""

    def of(self, user_id: str, now: float) -> KnownUser | None:
        """None for a user it does not know."""


class EventLog(Protocol):
    """Keeps what users did for retraining. Never in a request's way: it neither waits nor raises,
    and what it has no room for it drops and counts."""

    def append(self, events: Events) -> None:
        """Take over events that the store has acknowledged as new."""

    async def close(self) -> None:
        """On return all that was taken over is kept; what comes later is dropped."""


class QueryEncoder(Protocol):
    """The user tower."""

    async def encode(self, ctx: RequestContext) -> Vectors | None:
        """A unit vector float32[d], or None for a user without usable history."""


class ContentEncoder(Protocol):
    """CLIP's towers: texts and pictures to where items that look and read like them are."""

    @property
    def space(self) -> str:
        """Names the towers: vectors of another space are of no use beside theirs."""

    async def encode(self, depictions: Sequence[Depiction]) -> Vectors:
        """float32[n, c], unit rows, zero where a text says nothing to the tower and there is no
        picture. Raises InvalidRequest for what is no picture, and Overloaded.
        """


class Eligibility(Protocol):
    """Availability and attribute predicates, exactly."""

    def eligible(self, predicates: Sequence[Predicate], excluded: Rows) -> Eligible:
        """The rows that may be shown."""


class CandidateSource(Protocol):
    """One way to find candidates."""

    @property
    def source(self) -> Source: ...

    def retrieve(self, ctx: RequestContext, quota: int) -> Scored | Awaitable[Scored]:
        """At most ``quota`` rows, best first, eligible ones only as far as that is cheap: now, or
        where it must wait for them, something to await."""


class CandidateMerger(Protocol):
    """Joins what the sources found into one batch, each item once, with its provenance."""

    def merge(self, found: Sequence[tuple[Source, float, Scored]]) -> Candidates:
        """``found``: source, its weight, its list. Scores order the batch for want of a ranker."""


class CandidateFilter(Protocol):
    """Keeps or drops candidates, exactly."""

    @property
    def name(self) -> str: ...

    def keep(self, ctx: RequestContext, rows: Rows) -> Positions:
        """int32[m]: the positions of the rows that stay, ascending."""


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
    """The items being served: the only place where rows and ids meet."""

    @property
    def size(self) -> int: ...

    @property
    def attributes(self) -> Mapping[str, AttributeType]: ...

    def rows(self, item_ids: Sequence[str]) -> Rows:
        """int32[n]; -1 for an unknown id."""

    def bundle_rows_of(self, keys: Keys) -> Rows:
        """int32[n]: rows in the bundle, whatever came since; -1 where it does not have the key."""

    def item_ids(self, rows: Rows) -> list[str]: ...

    def items(self, rows: Rows, attributes: Sequence[str] | None = None) -> list[Item]:
        """The items with the named attributes; all of them when None."""

    def history(self, state: UserState) -> History:
        """The events of a user whose items this bundle knows."""

    def keys(self, rows: Rows) -> Keys: ...

    def bits(self, keys: Keys) -> Bits:
        """uint64[ceil(rows / 64)]: a bit for the row of each known key."""


class CatalogueStore(Protocol):
    """Durable changes of the catalogue, in one order for all who follow them.

    Positions count changes; they start again only where the store lost its data.
    """

    async def publish(self, stored: Sequence[bytes]) -> int:
        """Keep changes (``domain.changes.encode``) and return the position after the last.

        Raises DependencyFailed; then none of them is promised.
        """

    async def snapshot(self) -> tuple[int, list[bytes]]:
        """The position, and the last change of each facet of each item. Raises DependencyFailed."""

    async def since(self, position: int) -> tuple[int, list[bytes]] | None:
        """What came after ``position``, waiting a moment for it, and the position after that.

        None where the store can't tell any more: a snapshot is needed. Raises DependencyFailed.
        """

    async def forget(self, stamps: Sequence[bytes]) -> None:
        """Drop the changes with these stamps (``domain.changes.stamp``) for good, but none that has
        taken the place of one of them. Raises DependencyFailed.
        """


@dataclass(frozen=True, slots=True)
class Placement:
    """Where items belong.

    vectors float32[n, d], unit length; fields int32[n, fields], the ranker's; histories
    float32[n, e]: what it says of users that they met them.
    """

    vectors: Vectors
    fields: npt.NDArray[np.int32]
    histories: Vectors


class ItemTower(Protocol):
    """Places items that training did not meet, by what they are."""

    def place(self, items: Sequence[Item], content: Vectors) -> Placement:
        """content float32[n, c]: how they look and read, zero rows where that is not known."""
