"""All that answers requests from one bundle; swapped whole, so a request never sees two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tamis_server.domain.candidates import Keys, Scores
from tamis_server.domain.changes import Change
from tamis_server.domain.ports import Catalogue
from tamis_server.funnel.funnel import Funnel


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """What callers may know of the bundle being served. ``as_of`` is Unix seconds."""

    bundle_id: str
    name: str
    as_of: float
    items: int
    users: int
    dim: int
    pairing_id: str


class LiveChanges(Protocol):
    """What changes in an engine while it serves."""

    @property
    def capacity(self) -> int: ...

    def __len__(self) -> int: ...

    def apply(self, changes: Sequence[Change]) -> None:
        """Make changes of the catalogue."""

    def trend(self, keys: Keys, scores: Scores) -> None:
        """These items trend now, best first, and no others."""


@dataclass(frozen=True, slots=True)
class Engine:
    bundle: BundleInfo
    catalogue: Catalogue
    recommend: Funnel
    related: Funnel
    live: LiveChanges
    searches: Callable[[], Mapping[str, float]]  # queries so far by way of searching


class Engines(Protocol):
    """Hands out the engine that is being served now; take it once a request."""

    @property
    def current(self) -> Engine: ...
