"""The catalogue being served: where item ids, keys and rows meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from tamis_kernels import KeyIndex, bits_of
from tamis_server.adapters.embedded.availability import AvailableRows
from tamis_server.bundles import manifest as fmt
from tamis_server.bundles.ids import Ids, item_keys
from tamis_server.bundles.loader import Bundle
from tamis_server.domain.candidates import Bits, Keys, Rows
from tamis_server.domain.context import History, UserState
from tamis_server.domain.errors import BundleRejected
from tamis_server.domain.ports import AttributeType, Item


class BundleCatalogue:
    """Items by row, id or key: those of the bundle and, behind them, those that came since.

    Look-ups go by a hash table of keys: no object per item of the bundle.
    """

    def __init__(self, bundle: Bundle, available: AvailableRows) -> None:
        self._items = bundle.items
        self._available = available
        self._ids = Ids(bundle.items.column("item_id"))
        self._keys = np.zeros(bundle.rows, np.uint64)
        self._keys[: self.size] = self._ids.keys()
        self._base = KeyIndex(self.bundle_keys)
        if self._base.distinct < self.size:
            raise BundleRejected(fmt.ITEMS, "two items share an item_id (or its 64-bit hash)")
        self._attributes = {
            attribute.name: AttributeType(attribute.name, attribute.kind)
            for attribute in bundle.manifest.attributes
        }
        self._live: dict[int, int] = {}  # row by key; -1: taken out
        self._live_items: dict[int, Item] = {}  # by row
        self._overlay: tuple[KeyIndex, Rows] | None = None

    @property
    def size(self) -> int:
        """Rows of the bundle; what came since lies behind them."""
        return len(self._ids)

    @property
    def attributes(self) -> Mapping[str, AttributeType]:
        return self._attributes

    @property
    def bundle_keys(self) -> Keys:
        """uint64[size]: of the bundle's items by row."""
        return self._keys[: self.size]

    def rows(self, item_ids: Sequence[str]) -> Rows:
        """int32[n]; -1 for an unknown id."""
        return self.rows_of(item_keys(item_ids))

    def rows_of(self, keys: Keys) -> Rows:
        """int32[n]; -1 for an unknown key."""
        rows = self._base.find(keys)
        if not self._live:
            return rows
        if self._overlay is None:
            live_keys = np.fromiter(self._live.keys(), np.uint64, len(self._live))
            live_rows = np.fromiter(self._live.values(), np.int32, len(self._live))
            self._overlay = KeyIndex(live_keys), live_rows
        index, live_rows = self._overlay
        at = index.find(keys)
        return np.where(at >= 0, live_rows[at], rows)

    def bundle_rows_of(self, keys: Keys) -> Rows:
        """int32[n]: rows in the bundle, whatever came since; -1 where it does not have the key."""
        return self._base.find(keys)

    def item_ids(self, rows: Rows) -> list[str]:
        size = self.size
        if not self._live_items:
            return self._ids.of(rows)
        known = iter(self._ids.of(rows[rows < size]))
        return [
            next(known) if row < size else self._live_items[row].item_id for row in rows.tolist()
        ]

    def keys(self, rows: Rows) -> Keys:
        return self._keys.take(rows)

    def bits(self, keys: Keys) -> Bits:
        """uint64[ceil(rows / 64)]: a bit for the row of each known key."""
        return bits_of(self.rows_of(keys), self._available.bits.shape[0])

    def history(self, state: UserState) -> History:
        """The events of a user whose items this catalogue knows, oldest first."""
        rows = self.rows_of(state.keys)
        known = rows >= 0
        if np.count_nonzero(known) == len(rows):
            return History(rows, state.times, state.kinds)
        return History(rows[known], state.times[known], state.kinds[known])

    def items(self, rows: Rows, attributes: Sequence[str] | None = None) -> list[Item]:
        names = list(self._attributes if attributes is None else attributes)
        columns = ["item_id", "title", "text", "image", *names]
        base = rows < self.size
        table: pa.Table = self._items.select(columns).take(pa.array(rows[base]))
        records = iter(table.to_pylist())
        available = self._available.of(rows).tolist()
        return [
            _item(next(records), flag, names)
            if row < self.size
            else _part(self._live_items[row], flag, names)
            for row, flag in zip(rows.tolist(), available, strict=True)
        ]

    def put(self, row: int, key: int, item: Item) -> None:
        """The item is at this row, behind the bundle's, from now on."""
        self._keys[row] = key
        self._live[key] = row
        self._live_items[row] = item
        self._overlay = None

    def remove(self, key: int) -> None:
        """No look-up finds the item any more; requests under way still can name it."""
        self._live[key] = -1
        self._overlay = None


def _item(record: Mapping[str, Any], available: bool, names: Sequence[str]) -> Item:
    return Item(
        item_id=record["item_id"],
        title=record["title"] or "",
        text=record["text"] or "",
        image=record["image"] or "",
        available=available,
        attributes={name: record[name] for name in names if record[name] not in (None, [])},
    )


def _part(item: Item, available: bool, names: Sequence[str]) -> Item:
    attributes = {name: item.attributes[name] for name in names if name in item.attributes}
    return replace(item, available=available, attributes=attributes)
