"""What training would have learnt of new items, as the items nearest to them have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis_server.adapters.embedded.nearest import NearestItems
from tamis_server.bundles.loader import Bundle
from tamis_server.domain.candidates import Rows, Vectors
from tamis_server.domain.ports import Item

_NEIGHBOURS = 8


class Neighbourhood:
    """For bundles without an item tower."""

    def __init__(self, bundle: Bundle, nearest: NearestItems) -> None:
        self._bundle = bundle
        self._nearest = nearest
        self._codes: dict[int, dict[Any, int]] | None = None

    def around(
        self, items: Sequence[Item], vectors: Vectors
    ) -> tuple[npt.NDArray[np.int32], Vectors]:
        """The ranker's fields int32[n, fields], and rows of ``history_table`` float32[n, e]."""
        table = self._bundle.encoder["history_table"]
        fields = np.zeros((len(items), self._bundle.item_fields.shape[1]), np.int32)
        histories = np.zeros((len(items), table.shape[1]), np.float32)
        neighbours = self._nearest.neighbours(vectors, _NEIGHBOURS)
        for position, (item, near) in enumerate(zip(items, neighbours, strict=True)):
            weights = np.exp(10.0 * (near.scores - near.scores.max(initial=-1.0)))
            weights /= weights.sum() or 1.0
            histories[position] = weights @ table[near.rows]
            fields[position] = self._fields(item, near.rows, weights)
        return fields, histories

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
