"""Nearest items among the allowed ones, by whatever index a bundle has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from types import MappingProxyType
from typing import Protocol

import numpy as np

from tamis_server.adapters.embedded.filter_plan import Way
from tamis_server.domain.candidates import Bits, Rows, Scored, Scores, Vectors
from tamis_server.domain.context import Eligible


@dataclass(frozen=True, slots=True)
class Found:
    """For each query its rows; completed: how many of the queries needed a scan beside."""

    of: list[Scored]
    way: Way
    completed: int = 0


class Searcher(Protocol):
    """An index over the rows 0 to ``size - 1``.

    A filter costs time rather than recall.
    """

    @property
    def size(self) -> int: ...

    def search(self, queries: Vectors, k: int, bits: Bits | None, allowed: int) -> Found:
        """For each row of queries float32[q, d] at most ``k`` allowed rows with their products,
        best first. bits: the allowed rows, of which there are ``allowed``; None: all are."""


@dataclass(slots=True)
class Tally:
    """What one way of searching has done: queries, those that a scan had to complete, seconds."""

    queries: int = 0
    completed: int = 0
    seconds: float = 0.0


class NearestItems:
    """Inner-product neighbours among the rows of a searcher, best first.

    vectors: float32[rows, d], the searcher's from row 0 on; present: a bit for each row of the
    searcher that has a vector worth finding, uint64[ceil(size / 64)], None where all have.
    """

    def __init__(
        self, searcher: Searcher, vectors: Vectors, *, present: Bits | None = None
    ) -> None:
        self._searcher = searcher
        self._vectors = vectors
        self._size = searcher.size
        self._present = present
        self._tallies = {way: Tally() for way in Way}

    @property
    def vectors(self) -> Vectors:
        return self._vectors

    @property
    def size(self) -> int:
        """How many rows, from 0 on, are searched."""
        return self._size

    @property
    def tallies(self) -> Mapping[Way, Tally]:
        """What each way of searching has done so far."""
        return MappingProxyType(self._tallies)

    def search(self, queries: Vectors, k: int, eligible: Eligible | None) -> list[Scored]:
        """For each row of queries float32[q, d] at most ``k`` eligible rows with their products.

        Bits of rows from ``size`` on are passed over.
        """
        bits, allowed = self._allowed(eligible)
        start = perf_counter()
        found = self._searcher.search(queries, k, bits, allowed)
        tally = self._tallies[found.way]
        tally.queries += queries.shape[0]
        tally.completed += found.completed
        tally.seconds += perf_counter() - start
        return found.of

    def neighbours(self, queries: Vectors, k: int) -> list[Scored]:
        """For each row of queries its k nearest of all rows."""
        return self._searcher.search(queries, min(k, self._size), None, self._size).of

    def _allowed(self, eligible: Eligible | None) -> tuple[Bits | None, int]:
        """Bits of the rows that may be found, None for all, and how many they are."""
        if self._present is not None:
            bits = self._present
            if eligible is not None:
                bits = bits & eligible.bits[: bits.shape[0]]
            return bits, int(np.bitwise_count(bits).sum())
        if eligible is None:
            return None, self._size
        # a count may include rows beyond ours
        within = eligible.count < self._size
        allowed = eligible.count if within else _count(eligible.bits, self._size)
        return (eligible.bits if allowed < self._size else None), allowed


def _count(bits: Bits, size: int) -> int:
    """How many of the first ``size`` bits are set."""
    whole, rest = divmod(size, 64)
    last = int(bits[whole]) & ((1 << rest) - 1) if rest else 0
    return int(np.bitwise_count(bits[:whole]).sum()) + last.bit_count()


def scored(rows: Rows, scores: Scores) -> Scored:
    """A kernel's row of results, without the -1 that fill it up."""
    if len(rows) and rows.item(-1) >= 0:  # mostly as many are found as were asked for
        return Scored(rows, scores)
    count = int(np.count_nonzero(rows >= 0))
    return Scored(rows[:count], scores[:count])
