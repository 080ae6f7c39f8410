"""The catalogue of a bundle: where item ids, keys and rows meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis_kernels import xxh64
from tamis_server.bundles import manifest as fmt
from tamis_server.bundles.loader import Bundle
from tamis_server.domain.candidates import Keys, Rows
from tamis_server.domain.context import History, UserState
from tamis_server.domain.errors import BundleRejected
from tamis_server.domain.ports import AttributeType, Item


def item_keys(item_ids: Sequence[str]) -> Keys:
    """uint64[n]: XXH64 of each id's UTF-8 bytes, the item's name in bundle-independent state."""
    encoded = [item_id.encode() for item_id in item_ids]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(data) for data in encoded], out=offsets[1:])
    return xxh64(np.frombuffer(b"".join(encoded), np.uint8), offsets)


class BundleCatalogue:
    """Items by row, id or key. Look-ups are binary searches in sorted keys: no object per item."""

    def __init__(self, bundle: Bundle) -> None:
        self._items = bundle.items
        ids: list[str] = bundle.items.column("item_id").to_pylist()
        self._ids = ids
        self._keys = item_keys(ids)
        order = np.argsort(self._keys, kind="stable")
        self._sorted_keys = self._keys[order]
        self._rows_by_key = order.astype(np.int32)
        if (self._sorted_keys[1:] == self._sorted_keys[:-1]).any():
            raise BundleRejected(fmt.ITEMS, "two items share an item_id (or its 64-bit hash)")
        self._attributes = {
            attribute.name: AttributeType(attribute.name, attribute.kind)
            for attribute in bundle.manifest.attributes
        }

    @property
    def size(self) -> int:
        return len(self._ids)

    @property
    def attributes(self) -> Mapping[str, AttributeType]:
        return self._attributes

    def rows(self, item_ids: Sequence[str]) -> Rows:
        """int32[n]; -1 for an unknown id."""
        return self._rows_of(item_keys(item_ids))

    def item_ids(self, rows: Rows) -> list[str]:
        return [self._ids[row] for row in rows.tolist()]

    def keys(self, rows: Rows) -> Keys:
        return self._keys[rows]

    def history(self, state: UserState) -> History:
        """The events of a user whose items this bundle knows, oldest first."""
        rows = self._rows_of(state.keys)
        known = rows >= 0
        if known.all():
            return History(rows, state.times, state.kinds)
        return History(rows[known], state.times[known], state.kinds[known])

    def items(self, rows: Rows, attributes: Sequence[str] | None = None) -> list[Item]:
        names = list(self._attributes if attributes is None else attributes)
        columns = ["item_id", "title", "text", "image", "available", *names]
        table: pa.Table = self._items.select(columns).take(pa.array(rows))
        return [
            Item(
                item_id=record["item_id"],
                title=record["title"] or "",
                text=record["text"] or "",
                image=record["image"] or "",
                available=bool(record["available"]),
                attributes=_present(record, names),
            )
            for record in table.to_pylist()
        ]

    def _rows_of(self, keys: Keys) -> Rows:
        if not keys.shape[0]:
            return np.empty(0, np.int32)
        at = np.searchsorted(self._sorted_keys, keys)
        at[at == self._sorted_keys.shape[0]] = 0
        found: npt.NDArray[np.bool_] = self._sorted_keys[at] == keys
        return np.where(found, self._rows_by_key[at], np.int32(-1))


def _present(record: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: record[name] for name in names if record[name] not in (None, [])}
