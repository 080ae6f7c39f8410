"""Candidates of one request, as parallel columns. Strings exist only at the edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tamis_server.domain.errors import ContractViolation
from tamis_server.domain.varied import varied

Rows = npt.NDArray[np.int32]  # item rows of the bundle being served
Keys = npt.NDArray[np.uint64]  # XXH64 of the item id: the same in every bundle
Scores = npt.NDArray[np.float32]
Vectors = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint64]  # one bit a row, little-endian within each word
Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int32]  # positions within a batch
Columns = Mapping[str, npt.NDArray[Any]]

NO_ROWS: Rows = np.empty(0, np.int32)
NO_SCORES: Scores = np.empty(0, np.float32)
NO_KEYS: Keys = np.empty(0, np.uint64)
NO_COLUMNS: Columns = MappingProxyType({})
NO_COUNTS: Mapping[str, int] = MappingProxyType({})


class Source(IntEnum):
    """Where a candidate came from; the value is its bit in ``Candidates.sources``."""

    PERSONAL = 0  # nearest to the user's query vector
    RECENT = 1  # nearest to items the user met last
    POPULAR = 2
    FRESH = 3
    RELATED = 4  # nearest to the item asked about
    TRENDING = 5  # many do something with it now
    CONTENT = 6  # looks or reads like items the user met last, or like the item asked about
    SEARCH = 7  # looks or reads like what was searched for
    CO_OCCURRENCE = 8  # often met by those who met the same items


class DegradationLevel(IntEnum):
    """How far an answer is from the best the system can give; higher is worse."""

    FULL = 0
    FEWER_CANDIDATES = 1
    LIGHT_RANKER = 2
    RETRIEVAL_ORDER = 3
    POPULARITY = 4


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an answer is degraded: the stage (or source) that failed, how, and what that costs."""

    stage: str
    reason: str
    level: DegradationLevel


class Scored(NamedTuple):
    """What one source found: rows int32[n], scores float32[n], best first. -1 rows are holes."""

    rows: Rows
    scores: Scores


NOTHING = Scored(NO_ROWS, NO_SCORES)


@dataclass(frozen=True)
class Candidates:
    """The batch that flows through the funnel; position i is one item.

    rows int32[n]; scores float32[n], higher is better; sources uint32[n], a bit per ``Source``;
    columns: per-candidate features, each with n rows; counts: what the stage that made this batch
    counted (found by each source, dropped by each filter); causes: what went wrong on the way.
    """

    rows: Rows = field(default_factory=lambda: NO_ROWS)
    scores: Scores = field(default_factory=lambda: NO_SCORES)
    sources: npt.NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    columns: Columns = field(default_factory=lambda: NO_COLUMNS)
    counts: Mapping[str, int] = field(default_factory=lambda: NO_COUNTS)
    causes: tuple[Cause, ...] = ()

    def __post_init__(self) -> None:
        n = self.rows.shape[0]
        if self.scores.shape != (n,) or self.sources.shape != (n,):
            raise ContractViolation(
                f"ragged batch: {n} rows, scores {self.scores.shape}, sources {self.sources.shape}"
            )
        for name, column in self.columns.items():
            if column.shape[0] != n:
                raise ContractViolation(f"ragged batch: {n} rows, {name} {column.shape}")

    def __len__(self) -> int:
        return len(self.rows)

    def having(self, **fields: Any) -> Candidates:
        """The same with other fields. Raises ContractViolation."""
        new = varied(self, **fields)
        new.__post_init__()
        return new

    def take(self, positions: Positions) -> Candidates:
        """The candidates at ``positions``, in that order; nothing was counted yet of these."""
        return self.having(
            rows=self.rows.take(positions),
            scores=self.scores.take(positions),
            sources=self.sources.take(positions),
            columns={name: column.take(positions, 0) for name, column in self.columns.items()},
            counts=NO_COUNTS,
        )

    def first(self, count: int) -> Candidates:
        """The first ``count`` of them; nothing was counted yet of these."""
        return self.having(
            rows=self.rows[:count],
            scores=self.scores[:count],
            sources=self.sources[:count],
            columns={name: column[:count] for name, column in self.columns.items()},
            counts=NO_COUNTS,
        )


NO_CANDIDATES = Candidates()
