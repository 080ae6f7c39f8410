"""A user state store that is measured."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import partial
from time import perf_counter

from tamis_server.domain.candidates import Mask
from tamis_server.domain.context import UserState
from tamis_server.domain.events import Events
from tamis_server.domain.ports import UserStateStore
from tamis_server.domain.seen import false_positive_rate
from tamis_server.observability.metrics import Metrics

_SAMPLED = 64  # one read in so many is looked at: what it tells changes slowly


class MeasuredUsers:
    """Another store, with its times, the age of what it brings and the rate of its filters."""

    def __init__(self, store: UserStateStore, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._reads = 0

    async def read(self, user_id: str, now: float) -> UserState:
        start, outcome = perf_counter(), "error"
        try:
            state = await self._store.read(user_id, now)
            outcome = "ok"
        finally:
            self._metrics.store("read", outcome, perf_counter() - start)
        self._reads += 1
        if self._reads % _SAMPLED == 1 and state.keys.shape[0]:
            age_s = now - float(state.times[-1])
            self._metrics.user_read(age_s, false_positive_rate(state.seen))
        return state

    def record(self, events: Events) -> Awaitable[Mask]:
        recording = asyncio.ensure_future(self._store.record(events))
        recording.add_done_callback(partial(self._recorded, perf_counter()))
        return recording

    def _recorded(self, start: float, recording: asyncio.Future[Mask]) -> None:
        failed = recording.cancelled() or recording.exception() is not None
        self._metrics.store("record", "error" if failed else "ok", perf_counter() - start)
