"""What users did, many at once: a column a property, since no step asks for one event alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, compress
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis_server.domain.candidates import Mask


@dataclass(frozen=True, slots=True)
class Events:
    """n things that users did with items, every column of that length.

    event_ids: each unique among the events of its user; kinds uint8[n] (``EventKind``); times
    float64[n], Unix seconds; session_ids, request_ids: "" where not known; positions int32[n], from
    1, 0 where not known; known bool[n]: whether the catalogue being served knows the item: others
    are kept, but not counted.
    """

    event_ids: list[str]
    user_ids: list[str]
    item_ids: list[str]
    kinds: npt.NDArray[np.uint8]
    times: npt.NDArray[np.float64]
    session_ids: list[str]
    request_ids: list[str]
    positions: npt.NDArray[np.int32]
    known: Mask

    @classmethod
    def joined(cls, parts: Sequence[Events]) -> Events:
        """One after another. At least one part."""
        return parts[0] if len(parts) == 1 else cls(*map(_together, *map(_columns, parts)))

    def __len__(self) -> int:
        return len(self.event_ids)

    def part(self, start: int, end: int) -> Events:
        """Those from ``start`` on and before ``end``."""
        return Events(*(column[start:end] for column in _columns(self)))

    def where(self, chosen: Mask) -> Events:
        """Those that are chosen, bool[n]."""
        if chosen.all():
            return self
        flags = chosen.tolist()
        return Events(*(_where(column, chosen, flags) for column in _columns(self)))


def _columns(events: Events) -> list[Any]:
    return [getattr(events, name) for name in Events.__slots__]


def _together(*columns: Any) -> Any:
    return list(chain(*columns)) if isinstance(columns[0], list) else np.concatenate(columns)


def _where(column: Any, chosen: Mask, flags: list[bool]) -> Any:
    return list(compress(column, flags)) if isinstance(column, list) else column[chosen]
