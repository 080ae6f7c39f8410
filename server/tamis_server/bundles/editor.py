"""Changes of the catalogue as callers ask for them: placed, stored and in effect."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tamis_server.bundles.clip import document
from tamis_server.bundles.live import LiveCatalogue
from tamis_server.domain.candidates import Keys, Mask, Vectors
from tamis_server.domain.changes import Availability, Deletion, Upsert
from tamis_server.domain.context import Depiction
from tamis_server.domain.errors import FieldViolation, InvalidRequest, Overloaded
from tamis_server.domain.ports import ContentEncoder, Item
from tamis_server.funnel.engine import Engines


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item to be. vector float32[d] of any length but 0, or None; created_at in Unix seconds;
    picture: its bytes, empty where none came."""

    item: Item
    vector: Vectors | None
    created_at: float
    picture: bytes = b""


class CatalogueEditor:
    """Makes changes durable, and returns when the next request here sees them.

    An item that comes without a vector has that of the bundle being served, or is placed by its
    item tower; where the bundle has neither, it is refused. Where the bundle has an encoder the
    content of new items is encoded, and that of known ones if a picture came with them.
    """

    def __init__(
        self,
        engines: Engines,
        live: LiveCatalogue,
        keys_of: Callable[[Sequence[str]], Keys],
    ) -> None:
        self._engines = engines
        self._live = live
        self._keys_of = keys_of

    async def set_availability(self, flags: Sequence[tuple[str, bool]]) -> None:
        """Raises DependencyFailed and Overloaded."""
        now, keys = time.time(), self._keys_of([item_id for item_id, _ in flags]).tolist()
        await self._live.publish(
            [
                Availability(key, now, available)
                for key, (_, available) in zip(keys, flags, strict=True)
            ]
        )

    async def upsert(self, items: Sequence[NewItem]) -> None:
        """Raises InvalidRequest, DependencyFailed and Overloaded."""
        now, engine = time.time(), self._engines.current
        keys = self._keys_of([new.item.item_id for new in items])
        if len(engine.live) + len(items) > engine.live.capacity:
            raise Overloaded("the live catalogue (a new bundle must be built)", 60.0)
        known = engine.catalogue.bundle_rows_of(keys) >= 0
        if not engine.live.places:
            _refuse_unplaced(items, known)
        contents = await _encoded(engine.content, items, known)
        space = "" if engine.content is None else engine.content.space
        await self._live.publish(
            [
                Upsert(key, now, new.item, _unit(new.vector), new.created_at, content, space)
                for key, new, content in zip(keys.tolist(), items, contents, strict=True)
            ]
        )

    async def delete(self, item_ids: Sequence[str]) -> int:
        """How many of them were known. Raises DependencyFailed and Overloaded."""
        now, keys = time.time(), self._keys_of(item_ids).tolist()
        known = int((self._engines.current.catalogue.rows(item_ids) >= 0).sum())
        await self._live.publish([Deletion(key, now) for key in keys])
        return known


def _refuse_unplaced(items: Sequence[NewItem], known: Mask) -> None:
    lacking = [
        position for position, new in enumerate(items) if new.vector is None and not known[position]
    ]
    if lacking:
        raise InvalidRequest(
            [
                FieldViolation(
                    f"items[{position}].vector",
                    "is empty: the bundle does not know the item and has no item tower that "
                    "could place it",
                )
                for position in lacking
            ]
        )


async def _encoded(
    encoder: ContentEncoder | None, items: Sequence[NewItem], known: Mask
) -> list[Vectors]:
    """How each item looks and reads; float32[0] where that is the bundle's to say, or nobody's."""
    contents = [np.empty(0, np.float32) for _ in items]
    asked = [
        (position, depiction)
        for position, depiction in enumerate(_depiction(*pair) for pair in enumerate(items))
        if depiction.picture or (depiction.text and not known[position])
    ]
    if encoder is not None and asked:
        vectors = await encoder.encode([depiction for _, depiction in asked])
        for (position, _), vector in zip(asked, vectors, strict=True):
            if vector.any():
                contents[position] = vector
    return contents


def _depiction(position: int, new: NewItem) -> Depiction:
    text = document(new.item.title, new.item.text)
    field = f"items[{position}]"
    return Depiction(text, new.picture, f"{field}.item.text", f"{field}.picture")


def _unit(vector: Vectors | None) -> Vectors:
    if vector is None:
        return np.empty(0, np.float32)
    return (vector / np.linalg.norm(vector)).astype(np.float32)
