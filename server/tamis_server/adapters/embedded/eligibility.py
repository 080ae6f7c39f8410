"""Attribute predicates and availability: what a request may be answered with, exactly."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyroaring import BitMap

from tamis_kernels import bits_of
from tamis_server.adapters.embedded.availability import AvailableRows
from tamis_server.bundles.loader import Bundle
from tamis_server.domain.candidates import Bits, Rows
from tamis_server.domain.context import Eligible, Operator, Predicate
from tamis_server.domain.errors import ContractViolation


class AttributeEligibility:
    """Answers which rows may be shown.

    Categories, tags and booleans: a roaring bitmap per value. Numbers: a sorted column. A missing
    value matches no IN and no RANGE, and every NOT_IN. Kept are the bits that recent predicate sets
    match, and their conjunction with the available rows as long as those stay the same.
    """

    def __init__(self, bundle: Bundle, available: AvailableRows, cached: int = 256) -> None:
        self._rows = bundle.rows
        self._available = available
        self._values: dict[str, _Values] = {}
        self._numbers: dict[str, _Numbers] = {}
        for attribute in bundle.manifest.attributes:
            column = bundle.items.column(attribute.name)
            if attribute.kind == "number":
                numbers = column.cast(pa.float64()).to_numpy()
                self._numbers[attribute.name] = _Numbers(numbers, bundle.rows)
            else:
                self._values[attribute.name] = _Values(column, attribute.kind)
        self._cached = cached
        self._matching: OrderedDict[tuple[Predicate, ...], Bits] = OrderedDict()
        self._eligible: dict[tuple[Predicate, ...], Eligible] = {}
        self._version = available.version

    def eligible(self, predicates: Sequence[Predicate], excluded: Rows) -> Eligible:
        """bits uint64[ceil(rows / 64)] of the rows that may be shown, and their count."""
        if self._version != self._available.version:
            self._eligible.clear()
            self._version = self._available.version
        key = tuple(predicates)
        found = self._eligible.get(key)
        if found is None:
            bits = self._available.bits
            if key:
                bits = bits & self._bits(key)
            found = Eligible(bits, int(np.bitwise_count(bits).sum()))
            self._eligible[key] = found
        elif key:
            self._matching.move_to_end(key)
        return _without(found, excluded) if excluded.shape[0] else found

    def put(self, row: int, attributes: Mapping[str, Any]) -> None:
        """The row has these attributes now and no others."""
        for name, values in self._values.items():
            values.put(row, attributes.get(name))
        for name, numbers in self._numbers.items():
            numbers.put(row, attributes.get(name))
        self._matching.clear()
        self._eligible.clear()

    def _bits(self, predicates: tuple[Predicate, ...]) -> Bits:
        found = self._matching.get(predicates)
        if found is None:
            found = self._dense(self._matches(predicates))
            self._matching[predicates] = found
            if len(self._matching) > self._cached:
                dropped, _ = self._matching.popitem(last=False)
                self._eligible.pop(dropped, None)
        return found

    def _matches(self, predicates: Iterable[Predicate]) -> BitMap:
        allowed = BitMap(range(self._rows))
        for predicate in predicates:
            matching = self._matching_rows(predicate)
            if predicate.operator is Operator.NOT_IN:
                allowed -= matching
            else:
                allowed &= matching
        return allowed

    def _matching_rows(self, predicate: Predicate) -> BitMap:
        numbers = self._numbers.get(predicate.attribute)
        if numbers is not None:
            return numbers.matching(predicate)
        values = self._values.get(predicate.attribute)
        if values is None:
            raise ContractViolation(f"no attribute {predicate.attribute} in this bundle")
        return values.matching(predicate)

    def _dense(self, rows: BitMap) -> Bits:
        mask = np.zeros(-(-self._rows // 64) * 64, np.bool_)
        mask[np.asarray(rows.to_array(), np.uint32)] = True
        return np.packbits(mask, bitorder="little").view(np.uint64)


class _Values:
    """A category, tags or a boolean: the rows of each value."""

    def __init__(self, column: pa.ChunkedArray, kind: str) -> None:
        rows = pa.array(np.arange(len(column), dtype=np.uint32))
        if kind == "tags":
            rows = rows.take(pc.list_parent_indices(column).combine_chunks())
            column = pc.list_flatten(column)
        pairs = pa.table({"value": column, "row": rows}).filter(pc.field("value").is_valid())
        groups: Mapping[str, list[Any]] = (
            pairs.group_by("value").aggregate([("row", "list")]).to_pydict()
        )
        self._rows: dict[Any, BitMap] = {
            value: BitMap(rows)
            for value, rows in zip(groups["value"], groups["row_list"], strict=True)
        }
        self._put: dict[int, list[Any]] = {}

    def matching(self, predicate: Predicate) -> BitMap:
        found = (self._rows[value] for value in predicate.values if value in self._rows)
        return BitMap.union(BitMap(), *found)

    def put(self, row: int, value: Any) -> None:
        for before in self._put.pop(row, ()):
            self._rows[before].discard(row)
        values = value if isinstance(value, list) else [] if value is None else [value]
        self._put[row] = values
        for each in values:
            self._rows.setdefault(each, BitMap()).add(row)


class _Numbers:
    """A number: the column, and its rows in the order of their values."""

    def __init__(self, numbers: npt.NDArray[np.float64], rows: int) -> None:
        self._column = np.full(rows, np.nan)
        self._column[: numbers.shape[0]] = numbers
        self._sort()

    def matching(self, predicate: Predicate) -> BitMap:
        if predicate.operator is not Operator.RANGE:
            spans = [self._span(float(value), float(value)) for value in predicate.values]
        else:
            low = -np.inf if predicate.low is None else predicate.low
            high = np.inf if predicate.high is None else predicate.high
            spans = [self._span(low, high)]
        return BitMap(np.concatenate(spans)) if spans else BitMap()

    def put(self, row: int, value: float | None) -> None:
        self._column[row] = np.nan if value is None else value
        self._sorted = False

    def _span(self, low: float, high: float) -> npt.NDArray[np.uint32]:
        if not self._sorted:
            self._sort()
        start = np.searchsorted(self._ordered, low, side="left")
        end = np.searchsorted(self._ordered, high, side="right")
        return self._order[start:end]

    def _sort(self) -> None:
        present = np.flatnonzero(~np.isnan(self._column))
        order = present[np.argsort(self._column[present], kind="stable")]
        self._order = order.astype(np.uint32)
        self._ordered = self._column[order]
        self._sorted = True


def _without(eligible: Eligible, excluded: Rows) -> Eligible:
    bits = eligible.bits & ~bits_of(excluded, eligible.bits.shape[0])  # unknown ids are -1
    return Eligible(bits, int(np.bitwise_count(bits).sum()))
