"""Items added or changed since the bundle, in the spare rows behind it: the delta segment."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis_kernels import dot_rows, select, top_k
from tamis_server.adapters.embedded.availability import AvailableRows
from tamis_server.adapters.embedded.catalogue import BundleCatalogue
from tamis_server.adapters.embedded.deepfm import NativeDeepFM
from tamis_server.adapters.embedded.eligibility import AttributeEligibility
from tamis_server.adapters.embedded.hnsw import NearestItems
from tamis_server.adapters.embedded.sources import Ordered
from tamis_server.bundles import features
from tamis_server.bundles.loader import Bundle
from tamis_server.domain.candidates import Keys, Rows, Scored, Scores, Vectors
from tamis_server.domain.changes import Availability, Change, Deletion, Upsert
from tamis_server.domain.context import Eligible
from tamis_server.domain.ports import Item, ItemTower

log = logging.getLogger(__name__)
_QUARANTINE_S = 60.0  # before a row becomes another item's: requests that know it have ended
_NEIGHBOURS = 8


class LiveItems:
    """Puts changes of the catalogue into the tables of one engine.

    A changed item of the bundle gets a row of its own and the bundle's row is hidden. What training
    would have learnt of a new item (its place in histories, its fields) comes from its neighbours.
    A bundle whose data is newer than an upsert has it already.
    """

    def __init__(
        self,
        bundle: Bundle,
        catalogue: BundleCatalogue,
        available: AvailableRows,
        eligibility: AttributeEligibility,
        nearest: NearestItems,
        ranker: NativeDeepFM,
        popular: Ordered,
        fresh: Ordered,
        trending: Ordered,
        tower: ItemTower | None,
        space: str,
    ) -> None:
        """space: of the bundle's content vectors, "" where it has no encoder."""
        self._bundle = bundle
        self._catalogue = catalogue
        self._available = available
        self._eligibility = eligibility
        self._nearest = nearest
        self._ranker = ranker
        self._popular = popular
        self._fresh = fresh
        self._trending = trending
        self._tower = tower
        self._space = space
        self._most_popular = float(bundle.popularity.max(initial=0.0))
        self._row: dict[int, int] = {}
        self._free: deque[tuple[float, int]] = deque()
        self._next = bundle.manifest.items
        self._codes: dict[int, dict[Any, int]] | None = None
        self.rows: Rows = np.empty(0, np.int32)
        self.content_rows: Rows = np.empty(0, np.int32)  # of them those with a content vector
        self.refused = 0

    @property
    def places(self) -> bool:
        """Whether items without a vector, which the bundle does not know, can be placed."""
        return self._tower is not None

    @property
    def capacity(self) -> int:
        return self._bundle.rows - self._bundle.manifest.items

    def __len__(self) -> int:
        return len(self._row)

    def apply(self, changes: Sequence[Change]) -> None:
        """Make the changes, in their order."""
        upserts: dict[int, Upsert] = {}
        flags: dict[int, bool] = {}
        for change in changes:
            if isinstance(change, Upsert):
                upserts[change.key] = change
                flags.pop(change.key, None)
            elif isinstance(change, Deletion):
                upserts.pop(change.key, None)
                flags.pop(change.key, None)
                self._remove(change.key)
            elif isinstance(change, Availability):
                flags[change.key] = change.available
        if upserts:
            self._put(list(upserts.values()))
        if flags:
            rows = self._catalogue.rows_of(np.fromiter(flags, np.uint64, len(flags)))
            known = rows >= 0
            self._available.set(rows[known], np.array(list(flags.values()), np.bool_)[known])

    def trend(self, keys: Keys, scores: Scores) -> None:
        rows = self._catalogue.rows_of(keys)
        known = rows >= 0
        self._trending.replace(rows[known], scores[known])

    def _remove(self, key: int) -> None:
        keys = np.array([key], np.uint64)
        rows = np.concatenate([self._catalogue.rows_of(keys), self._catalogue.bundle_rows_of(keys)])
        rows = rows[rows >= 0]
        self._available.set(rows, np.zeros(rows.shape[0], np.bool_))
        self._catalogue.remove(key)
        row = self._row.pop(key, None)
        if row is not None:
            self._free.append((time.monotonic() + _QUARANTINE_S, row))
            self._bundle.neighbours.move(np.array([-1], np.int32), np.array([row], np.int32))
            self.rows = self.rows[self.rows != row]
            self.content_rows = self.content_rows[self.content_rows != row]

    def _put(self, upserts: list[Upsert]) -> None:
        keys = np.array([upsert.key for upsert in upserts], np.uint64)
        base_rows = self._catalogue.bundle_rows_of(keys).tolist()
        placed: list[tuple[Upsert, int, int, Vectors]] = []
        for upsert, base in zip(upserts, base_rows, strict=True):
            if base >= 0 and upsert.time <= self._bundle.manifest.as_of:
                continue
            vector = self._vector(upsert, base)
            if vector.shape[0] != self._bundle.manifest.dim:
                self._refuse(upsert, f"its vector is {vector.shape[0]} wide")
                continue
            row = self._row_for(upsert.key)
            if row is None:
                self._refuse(upsert, f"all {self.capacity} live rows are taken")
                continue
            placed.append((upsert, row, base, vector))
        if placed:
            self._fill(placed)

    def _vector(self, upsert: Upsert, base: int) -> Vectors:
        """float32[d]; of another width, or float32[0], where it is of no use here."""
        if upsert.vector.shape[0]:
            return upsert.vector
        if base >= 0:
            vector: Vectors = self._bundle.vectors[base]
            return vector
        if self._tower is None:
            return upsert.vector
        placed = self._tower.place([upsert.item], self._content(upsert, base)[None, :])
        found: Vectors = placed[0]
        return found

    def _content(self, upsert: Upsert, base: int) -> Vectors:
        """float32[c], zero where nothing is known of how the item looks and reads."""
        content = self._bundle.content
        if content is None:
            return upsert.content[:0]
        if upsert.content.shape[0] == content.spec.dim and upsert.space == self._space:
            return upsert.content
        found: Vectors = content.vectors[base] if base >= 0 else np.zeros_like(content.vectors[0])
        return found

    def _row_for(self, key: int) -> int | None:
        row = self._row.get(key)
        if row is None:
            if self._free and self._free[0][0] <= time.monotonic():
                _, row = self._free.popleft()
            elif self._next < self._bundle.rows:
                row, self._next = self._next, self._next + 1
            else:
                return None
            self._row[key] = row
        return row

    def _fill(self, placed: list[tuple[Upsert, int, int, Vectors]]) -> None:
        bundle = self._bundle
        rows = np.array([row for _, row, _, _ in placed], np.int32)
        base = np.array([base for _, _, base, _ in placed], np.int32)
        vectors = np.stack([vector for *_, vector in placed]).astype(np.float32)
        created = np.array([upsert.created_at for upsert, *_ in placed])
        known = base >= 0
        popularity = np.where(known, bundle.popularity[base], np.float32(0))
        neighbours = self._nearest.neighbours(vectors, _NEIGHBOURS)
        bundle.vectors[rows] = vectors
        bundle.popularity[rows] = popularity
        bundle.item_dense[rows] = features.item_dense(
            popularity, created, bundle.manifest.as_of, self._most_popular
        )
        table = bundle.encoder["history_table"]
        for (upsert, row, before, _), near in zip(placed, neighbours, strict=True):
            weights = np.exp(10.0 * (near.scores - near.scores.max(initial=-1.0)))
            weights /= weights.sum() or 1.0
            table[row] = table[before] if before >= 0 else weights @ table[near.rows]
            bundle.item_fields[row] = self._fields(upsert.item, near.rows, weights)
            self._catalogue.put(row, upsert.key, upsert.item)
            self._eligibility.put(row, upsert.item.attributes)
        bundle.neighbours.move(base, rows)
        self._ranker.refresh(rows)
        self.rows = np.union1d(self.rows, rows).astype(np.int32)
        if bundle.content is not None:
            content = np.stack([self._content(upsert, before) for upsert, _, before, _ in placed])
            bundle.content.vectors[rows] = content
            known_rows = rows[content.any(axis=1)]
            others = np.setdiff1d(self.content_rows, rows)
            self.content_rows = np.union1d(others, known_rows).astype(np.int32)
        hidden = base[known]
        flags = np.array([upsert.item.available for upsert, *_ in placed], np.bool_)
        self._available.set(
            np.concatenate([hidden, rows]),
            np.concatenate([np.zeros(hidden.shape[0], np.bool_), flags]),
        )
        self._popular.put(rows, popularity)
        age = np.maximum(bundle.manifest.as_of - created, 0.0) / features.DAY
        self._fresh.put(rows, (1.0 / (1.0 + age)).astype(np.float32))

    def _fields(
        self, item: Item, near: Rows, weights: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.int32]:
        """The ranker's fields: by value where the bundle shows which code a value has, otherwise
        what most of the neighbours have."""
        if self._codes is None:
            self._codes = _codes(self._bundle)
        found = np.zeros(self._bundle.item_fields.shape[1], np.int32)
        for column, field in enumerate(self._bundle.manifest.features.item_fields):
            code = self._codes.get(column, {}).get(item.attributes.get(field.name))
            if code is None and column not in self._codes and near.shape[0]:
                votes = np.bincount(self._bundle.item_fields[near, column], weights)
                code = int(votes.argmax())
            found[column] = code or 0
        return found

    def _refuse(self, upsert: Upsert, reason: str) -> None:
        self.refused += 1
        log.error("item %s can't be served: %s", upsert.item.item_id, reason)


class NearestWithLive:
    """NearestItems of the bundle and, exactly, of what came since: the rows that ``live`` gives."""

    def __init__(self, nearest: NearestItems, live: Callable[[], Rows]) -> None:
        self._nearest = nearest
        self._live = live

    @property
    def vectors(self) -> Vectors:
        return self._nearest.vectors

    async def search(self, queries: Vectors, k: int, eligible: Eligible | None) -> list[Scored]:
        """As NearestItems.search."""
        rows = self._live()
        if not rows.shape[0]:
            return await self._nearest.search(queries, k, eligible)
        if eligible is not None:
            rows = rows[select(eligible.bits, rows)]
            eligible = Eligible(eligible.bits, eligible.count - int(rows.shape[0]))
        found = await self._nearest.search(queries, k, eligible)
        if not rows.shape[0]:
            return found
        products = dot_rows(self.vectors, rows, queries)
        return [
            _best(scored, rows, np.ascontiguousarray(products[:, column]), k)
            for column, scored in enumerate(found)
        ]


def _best(scored: Scored, rows: Rows, scores: Scores, k: int) -> Scored:
    rows = np.concatenate([scored.rows, rows])
    scores = np.concatenate([scored.scores, scores])
    best = top_k(scores, rows, k)
    return Scored(rows[best], scores[best])


def _codes(bundle: Bundle) -> dict[int, dict[Any, int]]:
    """Which code each value has, for the fields that are an attribute under the same name."""
    kinds = {attribute.name: attribute.kind for attribute in bundle.manifest.attributes}
    found: dict[int, dict[Any, int]] = {}
    for column, field in enumerate(bundle.manifest.features.item_fields):
        if kinds.get(field.name) in ("category", "boolean"):
            values = bundle.items.column(field.name).to_pylist()
            codes = bundle.item_fields[: len(values), column].tolist()
            pairs = set(zip(values, codes, strict=True))
            # a value too rare for a code of its own has 0, like a missing one
            by_value = dict(pairs)
            if len(by_value) == len(pairs):
                found[column] = by_value
    return found
