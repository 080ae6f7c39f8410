"""Items added or changed since the bundle, in the spare rows behind it: the delta segment."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tamis_kernels import dot_rows, select, top_k
from tamis_server.adapters.embedded.availability import AvailableRows
from tamis_server.adapters.embedded.catalogue import BundleCatalogue
from tamis_server.adapters.embedded.deepfm import NativeDeepFM
from tamis_server.adapters.embedded.eligibility import AttributeEligibility
from tamis_server.adapters.embedded.nearest import NearestItems
from tamis_server.adapters.embedded.neighbourhood import Neighbourhood
from tamis_server.adapters.embedded.sources import Ordered
from tamis_server.bundles import features
from tamis_server.bundles.loader import Bundle
from tamis_server.domain.candidates import Keys, Mask, Rows, Scored, Scores, Vectors
from tamis_server.domain.changes import Availability, Change, Deletion, Upsert
from tamis_server.domain.context import Eligible
from tamis_server.domain.ports import ItemTower, Placement

log = logging.getLogger(__name__)
_QUARANTINE_S = 60.0  # before a row becomes another item's: requests that know it have ended


@dataclass(frozen=True, slots=True)
class _Placed:
    """An upsert in its row: position among those due; base: its row in the bundle or -1."""

    position: int
    upsert: Upsert
    base: int
    row: int
    vector: Vectors
    content: Vectors


class LiveItems:
    """Puts changes of the catalogue into the tables of one engine.

    A changed item of the bundle gets a row of its own and the bundle's row is hidden. What training
    would have learnt of a new item (its place in histories, its fields) comes from the item tower,
    or where the bundle has none from its neighbours. A bundle whose data is newer than an upsert
    has it already.
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
        self._neighbourhood = Neighbourhood(bundle, nearest)
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

    def known(self, keys: Keys) -> Mask:
        """Of which of the items the bundle knows without any change."""
        return self._catalogue.bundle_rows_of(keys) >= 0

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
        as_of = self._bundle.manifest.as_of
        due = [
            (self._fitting(upsert), base)
            for upsert, base in zip(upserts, base_rows, strict=True)
            if base < 0 or upsert.time > as_of
        ]
        contents = [self._content(upsert, base) for upsert, base in due]
        placement = None
        if self._tower is not None and due:
            items = [upsert.item for upsert, _ in due]
            placement = self._tower.place(items, np.stack(contents))
        placed: list[_Placed] = []
        for position, (upsert, base) in enumerate(due):
            vector = upsert.vector
            if not vector.shape[0] and base >= 0:
                vector = self._bundle.vectors[base]
            elif not vector.shape[0] and placement is not None:
                vector = placement.vectors[position]
            if vector.shape[0] != self._bundle.manifest.dim:
                self._refuse(upsert, f"its vector is {vector.shape[0]} wide")
                continue
            row = self._row_for(upsert.key)
            if row is None:
                self._refuse(upsert, f"all {self.capacity} live rows are taken")
                continue
            placed.append(_Placed(position, upsert, base, row, vector, contents[position]))
        if placed:
            self._fill(placed, placement)

    def _fitting(self, upsert: Upsert) -> Upsert:
        """Without attributes that are of another kind in this bundle than when it was stored."""
        attributes = upsert.item.attributes
        odd = [
            attribute
            for attribute in self._bundle.manifest.attributes
            if attribute.name in attributes
            and not _is_of(attribute.kind, attributes[attribute.name])
        ]
        if not odd:
            return upsert
        for attribute in odd:
            log.warning(
                "item %s: its %s is %r where the bundle has a %s: it is left out",
                upsert.item.item_id,
                attribute.name,
                attributes[attribute.name],
                attribute.kind,
            )
        names = {attribute.name for attribute in odd}
        kept = {name: value for name, value in attributes.items() if name not in names}
        return replace(upsert, item=replace(upsert.item, attributes=kept))

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

    def _fill(self, placed: list[_Placed], placement: Placement | None) -> None:
        bundle = self._bundle
        rows = np.array([each.row for each in placed], np.int32)
        base = np.array([each.base for each in placed], np.int32)
        vectors = np.stack([each.vector for each in placed]).astype(np.float32)
        created = np.array([each.upsert.created_at for each in placed])
        items = [each.upsert.item for each in placed]
        known = base >= 0
        popularity = np.where(known, bundle.popularity[base], np.float32(0))
        if placement is None:
            fields, histories = self._neighbourhood.around(items, vectors)
        else:
            positions = [each.position for each in placed]
            fields, histories = placement.fields[positions], placement.histories[positions]
        bundle.vectors[rows] = vectors
        bundle.popularity[rows] = popularity
        bundle.item_fields[rows] = fields
        bundle.item_dense[rows] = features.item_dense(
            popularity, created, bundle.manifest.as_of, self._most_popular
        )
        table = bundle.encoder["history_table"]
        table[rows] = np.where(known[:, None], table[base], histories)
        for row, each in zip(rows.tolist(), placed, strict=True):
            self._catalogue.put(row, each.upsert.key, each.upsert.item)
            self._eligibility.put(row, each.upsert.item.attributes)
        bundle.neighbours.move(base, rows)
        self._ranker.refresh(rows)
        self.rows = np.union1d(self.rows, rows).astype(np.int32)
        self._fill_content(rows, np.stack([each.content for each in placed]))
        hidden = base[known]
        flags = np.array([item.available for item in items], np.bool_)
        self._available.set(
            np.concatenate([hidden, rows]),
            np.concatenate([np.zeros(hidden.shape[0], np.bool_), flags]),
        )
        self._popular.put(rows, popularity)
        age = np.maximum(bundle.manifest.as_of - created, 0.0) / features.DAY
        self._fresh.put(rows, (1.0 / (1.0 + age)).astype(np.float32))

    def _fill_content(self, rows: Rows, content: Vectors) -> None:
        if self._bundle.content is None:
            return
        self._bundle.content.vectors[rows] = content
        others = np.setdiff1d(self.content_rows, rows)
        self.content_rows = np.union1d(others, rows[content.any(axis=1)]).astype(np.int32)

    def _refuse(self, upsert: Upsert, reason: str) -> None:
        self.refused += 1
        log.error("item %s can't be served: %s", upsert.item.item_id, reason)


def _is_of(kind: str, value: object) -> bool:
    match kind:
        case "category":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return isinstance(value, list) and all(isinstance(each, str) for each in value)


class NearestWithLive:
    """NearestItems of the bundle and, exactly, of what came since: the rows that ``live`` gives."""

    def __init__(self, nearest: NearestItems, live: Callable[[], Rows]) -> None:
        self._nearest = nearest
        self._live = live

    @property
    def vectors(self) -> Vectors:
        return self._nearest.vectors

    def search(self, queries: Vectors, k: int, eligible: Eligible | None) -> list[Scored]:
        """As NearestItems.search."""
        rows = self._live()
        if not rows.shape[0]:
            return self._nearest.search(queries, k, eligible)
        if eligible is not None:
            rows = rows[select(eligible.bits, rows)]
            eligible = Eligible(eligible.bits, eligible.count - int(rows.shape[0]))
        found = self._nearest.search(queries, k, eligible)
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
