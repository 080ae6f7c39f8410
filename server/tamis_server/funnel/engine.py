"""All that answers requests from one bundle; swapped whole, so a request never sees two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tamis_server.domain.candidates import Keys, Mask, Scores
from tamis_server.domain.changes import Change
from tamis_server.domain.context import RequestContext
from tamis_server.domain.errors import NotOffered
from tamis_server.domain.ports import Catalogue, ContentEncoder
from tamis_server.domain.slate import Slate
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

    @property
    def places(self) -> bool:
        """Whether items without a vector, which the bundle does not know, can be placed."""

    def __len__(self) -> int: ...

    def apply(self, changes: Sequence[Change]) -> None:
        """Make changes of the catalogue."""

    def known(self, keys: Keys) -> Mask:
        """Of which of the items the bundle knows without any change."""

    def trend(self, keys: Keys, scores: Scores) -> None:
        """These items trend now, best first, and no others."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What an engine has done so far. queries: of nearest items, by index and way of searching;
    encoded: texts and pictures, by which; quality: share of the candidates worked on now."""

    queries: Mapping[tuple[str, str], float]
    encoded: Mapping[str, float]
    quality: float


class Answers(Protocol):
    """What gives a slate for a request."""

    async def run(self, ctx: RequestContext) -> Slate: ...


def no_variant(_: str) -> str:
    """Of whoever it is, where no experiment runs."""
    return ""


@dataclass(frozen=True, slots=True)
class Engine:
    """variant_of: which variant of the experiment a user's requests get, by the user's id; "" where
    there is none."""

    bundle: BundleInfo
    catalogue: Catalogue
    recommend: Funnel
    related: Funnel
    search: Answers
    live: LiveChanges
    content: ContentEncoder | None
    measures: Callable[[], Measures]
    variant_of: Callable[[str], str] = no_variant


class NoSearch:
    """In the place of a funnel where there is nothing to search by."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def run(self, ctx: RequestContext) -> Slate:
        """Raises NotOffered."""
        raise NotOffered(f"search: {self._reason}")


class Engines(Protocol):
    """Hands out the engine that is being served now; take it once a request."""

    @property
    def current(self) -> Engine: ...
