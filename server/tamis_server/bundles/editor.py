"""Changes of the catalogue as callers ask for them: placed, stored and in effect."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tamis_server.bundles.live import LiveCatalogue
from tamis_server.domain.candidates import Keys, Vectors
from tamis_server.domain.changes import Availability, Deletion, Upsert
from tamis_server.domain.errors import FieldViolation, InvalidRequest, Overloaded
from tamis_server.domain.ports import Item, ItemEncoder
from tamis_server.funnel.engine import Engines


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item to be. vector float32[d] of any length but 0, or None; created_at in Unix seconds."""

    item: Item
    vector: Vectors | None
    created_at: float


class CatalogueEditor:
    """Makes changes durable, and returns when the next request here sees them.

    encoder: places items that come without a vector; without one those are refused, unless the
    bundle being served knows the item and so has a vector of it.
    """

    def __init__(
        self,
        engines: Engines,
        live: LiveCatalogue,
        keys_of: Callable[[Sequence[str]], Keys],
        encoder: ItemEncoder | None,
    ) -> None:
        self._engines = engines
        self._live = live
        self._keys_of = keys_of
        self._encoder = encoder

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
        vectors = await self._vectors(items, keys)
        await self._live.publish(
            [
                Upsert(key, now, new.item, vector, new.created_at)
                for key, new, vector in zip(keys.tolist(), items, vectors, strict=True)
            ]
        )

    async def delete(self, item_ids: Sequence[str]) -> int:
        """How many of them were known. Raises DependencyFailed and Overloaded."""
        now, keys = time.time(), self._keys_of(item_ids).tolist()
        known = int((self._engines.current.catalogue.rows(item_ids) >= 0).sum())
        await self._live.publish([Deletion(key, now) for key in keys])
        return known

    async def _vectors(self, items: Sequence[NewItem], keys: Keys) -> list[Vectors]:
        """Unit vectors; empty where the bundle's own is meant."""
        vectors: list[Vectors] = []
        lacking = []
        in_bundle = self._engines.current.catalogue.bundle_rows_of(keys) >= 0
        for position, (new, known) in enumerate(zip(items, in_bundle.tolist(), strict=True)):
            vector = np.empty(0, np.float32)
            if new.vector is not None:
                vector = (new.vector / np.linalg.norm(new.vector)).astype(np.float32)
            elif self._encoder is not None or not known:
                lacking.append(position)
            vectors.append(vector)
        if lacking and self._encoder is None:
            raise InvalidRequest(
                [
                    FieldViolation(
                        f"items[{position}].vector",
                        "is empty: the bundle does not know the item and no item encoder is "
                        "configured that could place it",
                    )
                    for position in lacking
                ]
            )
        if lacking and self._encoder is not None:
            encoded = await self._encoder.encode([items[position].item for position in lacking])
            for position, vector in zip(lacking, encoded, strict=True):
                vectors[position] = vector
        return vectors
