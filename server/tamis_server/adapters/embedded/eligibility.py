"""Availability and attribute predicates: roaring bitmaps for algebra, dense bits when hot."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyroaring import BitMap

from tamis_kernels import select
from tamis_server.bundles.loader import Bundle
from tamis_server.domain.candidates import Bits, Mask, Rows
from tamis_server.domain.context import Eligible, Operator, Predicate
from tamis_server.domain.errors import ContractViolation


class AttributeEligibility:
    """Answers which rows may be shown; the bits of recent predicate sets are kept.

    Categories, tags and booleans: a bitmap per value. Numbers: the column itself, compared.
    A missing value matches no IN and no RANGE, and every NOT_IN.
    """

    def __init__(self, bundle: Bundle, cached: int = 256) -> None:
        self._size = bundle.manifest.items
        available = bundle.items.column("available").to_numpy(zero_copy_only=False)
        self._available = BitMap(np.flatnonzero(available.astype(np.bool_)).astype(np.uint32))
        self._values: dict[str, dict[Any, BitMap]] = {}
        self._numbers: dict[str, npt.NDArray[np.float64]] = {}
        for attribute in bundle.manifest.attributes:
            column = bundle.items.column(attribute.name)
            if attribute.kind == "number":
                self._numbers[attribute.name] = column.cast(pa.float64()).to_numpy()
            else:
                self._values[attribute.name] = _bitmaps(column, attribute.kind)
        self._cached = cached
        self._cache: OrderedDict[tuple[Predicate, ...], Eligible] = OrderedDict()

    def eligible(self, predicates: Sequence[Predicate], excluded: Rows) -> Eligible:
        """bits uint64[ceil(items / 64)] of the rows that may be shown, and their count."""
        key = tuple(predicates)
        found = self._cache.get(key)
        if found is None:
            found = self._dense(self._allowed(key))
            self._cache[key] = found
            if len(self._cache) > self._cached:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(key)
        return _without(found, excluded) if excluded.shape[0] else found

    def _allowed(self, predicates: Iterable[Predicate]) -> BitMap:
        allowed = self._available
        for predicate in predicates:
            matching = self._matching(predicate)
            if predicate.operator is Operator.NOT_IN:
                allowed = allowed - matching
            else:
                allowed = allowed & matching
        return allowed

    def _matching(self, predicate: Predicate) -> BitMap:
        numbers = self._numbers.get(predicate.attribute)
        if numbers is not None:
            return BitMap(np.flatnonzero(_compare(numbers, predicate)).astype(np.uint32))
        bitmaps = self._values.get(predicate.attribute)
        if bitmaps is None:
            raise ContractViolation(f"no attribute {predicate.attribute} in this bundle")
        return BitMap.union(BitMap(), *(bitmaps[v] for v in predicate.values if v in bitmaps))

    def _dense(self, rows: BitMap) -> Eligible:
        mask = np.zeros(-(-self._size // 64) * 64, np.bool_)
        mask[np.asarray(rows.to_array(), np.uint32)] = True
        return Eligible(np.packbits(mask, bitorder="little").view(np.uint64), len(rows))


def _bitmaps(column: pa.ChunkedArray, kind: str) -> dict[Any, BitMap]:
    rows = pa.array(np.arange(len(column), dtype=np.uint32))
    if kind == "tags":
        rows = rows.take(pc.list_parent_indices(column).combine_chunks())
        column = pc.list_flatten(column)
    pairs = pa.table({"value": column, "row": rows}).filter(pc.field("value").is_valid())
    groups: Mapping[str, list[Any]] = (
        pairs.group_by("value").aggregate([("row", "list")]).to_pydict()
    )
    return {
        value: BitMap(rows) for value, rows in zip(groups["value"], groups["row_list"], strict=True)
    }


def _compare(numbers: npt.NDArray[np.float64], predicate: Predicate) -> Mask:
    if predicate.operator is not Operator.RANGE:
        return np.isin(numbers, np.array(predicate.values, np.float64))
    low = -np.inf if predicate.low is None else predicate.low
    high = np.inf if predicate.high is None else predicate.high
    return (numbers >= low) & (numbers <= high)


def _without(eligible: Eligible, excluded: Rows) -> Eligible:
    rows = np.unique(excluded)
    rows = rows[select(eligible.bits, rows)]  # those that count; unknown ids are -1
    bits: Bits = eligible.bits.copy()
    np.bitwise_and.at(bits, rows >> 6, ~(np.uint64(1) << (rows & 63).astype(np.uint64)))
    return Eligible(bits, eligible.count - int(rows.shape[0]))
