"""Attribute predicates and availability: what a request may be answered with, exactly."""

from __future__ import annotations

from array import array
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

    Categories, tags and booleans: a roaring bitmap per value. Numbers: a column. A missing value
    matches no IN and no RANGE, and every NOT_IN. Kept are the bits that recent predicate sets
    match, and their conjunction with the available rows as long as those stay the same.
    """

    def __init__(self, bundle: Bundle, available: AvailableRows, cached: int = 256) -> None:
        words = available.bits.shape[0]
        self._every = bits_of(np.arange(bundle.rows, dtype=np.int32), words)
        self._available = available
        self._values: dict[str, _Values] = {}
        self._numbers: dict[str, _Numbers] = {}
        for attribute in bundle.manifest.attributes:
            column = bundle.items.column(attribute.name)
            if attribute.kind == "number":
                numbers = column.cast(pa.float64()).to_numpy()
                self._numbers[attribute.name] = _Numbers(numbers, words)
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
        """The row, behind the bundle's, has these attributes now and no others."""
        for name, values in self._values.items():
            values.put(row, attributes.get(name))
        for name, numbers in self._numbers.items():
            numbers.put(row, attributes.get(name))
        self._matching.clear()
        self._eligible.clear()

    def _bits(self, predicates: tuple[Predicate, ...]) -> Bits:
        found = self._matching.get(predicates)
        if found is None:
            found = self._matches(predicates)
            self._matching[predicates] = found
            if len(self._matching) > self._cached:
                dropped, _ = self._matching.popitem(last=False)
                self._eligible.pop(dropped, None)
        return found

    def _matches(self, predicates: Iterable[Predicate]) -> Bits:
        allowed = self._every.copy()
        for predicate in predicates:
            matching = self._matching_rows(predicate)
            if predicate.operator is Operator.NOT_IN:
                allowed &= ~matching
            else:
                allowed &= matching
        return allowed

    def _matching_rows(self, predicate: Predicate) -> Bits:
        numbers = self._numbers.get(predicate.attribute)
        if numbers is not None:
            return numbers.matching(predicate)
        values = self._values.get(predicate.attribute)
        if values is None:
            raise ContractViolation(f"no attribute {predicate.attribute} in this bundle")
        return bits_of(values.matching(predicate), self._every.shape[0])


class _Values:
    """A category, tags or a boolean: the rows of each value."""

    def __init__(self, column: pa.ChunkedArray, kind: str) -> None:
        rows = np.arange(len(column), dtype=np.uint32)
        if kind == "tags":
            rows = rows[pc.list_parent_indices(column).to_numpy()]
            column = pc.list_flatten(column)
        encoded = column.dictionary_encode().combine_chunks()
        values = encoded.dictionary.to_pylist()
        codes = encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
        codes = codes.astype(np.min_scalar_type(len(values)))  # narrow ones are sorted fast
        ends = np.cumsum(np.bincount(codes, minlength=len(values)))
        ordered = np.split(rows[np.argsort(codes, kind="stable")], ends)
        self._rows = {
            value: BitMap(array("I", rows_of_it.tobytes()))
            for value, rows_of_it in zip(values, ordered, strict=False)  # missing ones are last
        }
        self._put: dict[int, list[Any]] = {}

    def matching(self, predicate: Predicate) -> Rows:
        found = (self._rows[value] for value in predicate.values if value in self._rows)
        return np.frombuffer(BitMap.union(BitMap(), *found).to_array(), np.int32)

    def put(self, row: int, value: Any) -> None:
        for before in self._put.pop(row, ()):
            self._rows[before].discard(row)
        values = value if isinstance(value, list) else [] if value is None else [value]
        self._put[row] = values
        for each in values:
            self._rows.setdefault(each, BitMap()).add(row)


class _Numbers:
    """A number: the column, which is read from end to end. That takes 1 ms for a million rows,
    less than to gather the rows of a range from an order of them."""

    def __init__(self, numbers: npt.NDArray[np.float64], words: int) -> None:
        self._column = np.full(64 * words, np.nan)
        self._column[: numbers.shape[0]] = numbers

    def matching(self, predicate: Predicate) -> Bits:
        if predicate.operator is Operator.RANGE:
            low = -np.inf if predicate.low is None else predicate.low
            high = np.inf if predicate.high is None else predicate.high
            found = (self._column >= low) & (self._column <= high)
        else:
            found = np.isin(self._column, np.array(predicate.values, np.float64))
        return np.packbits(found, bitorder="little").view(np.uint64)

    def put(self, row: int, value: float | None) -> None:
        self._column[row] = np.nan if value is None else value


def _without(eligible: Eligible, excluded: Rows) -> Eligible:
    bits = eligible.bits & ~bits_of(excluded, eligible.bits.shape[0])  # unknown ids are -1
    return Eligible(bits, int(np.bitwise_count(bits).sum()))
