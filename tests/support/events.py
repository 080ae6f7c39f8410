"""Events one by one, as tests think of them, and the columns that the server wants."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

from tamis_server.domain.context import EventKind
from tamis_server.domain.events import Events


@dataclass(frozen=True, slots=True)
class Event:
    event_id: str
    user_id: str
    item_id: str
    kind: EventKind
    time: float
    session_id: str = ""
    request_id: str = ""
    position: int = 0
    known: bool = True


def columns(*events: Event) -> Events:
    rows = [list(column) for column in zip(*map(astuple, events), strict=True)]
    ids, users, items, kinds, times, sessions, requests, positions, known = rows or [[]] * 9
    return Events(
        ids,
        users,
        items,
        np.array(kinds, np.uint8),
        np.array(times, np.float64),
        sessions,
        requests,
        np.array(positions, np.int32),
        np.array(known, np.bool_),
    )
