"""User state in this process's memory: for one worker and for trying things out. Not durable."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tamis_server.adapters.embedded.bloom import LayeredBloom
from tamis_server.adapters.embedded.catalogue import item_keys
from tamis_server.bundles.loader import Bundle
from tamis_server.domain.candidates import Keys, Rows
from tamis_server.domain.context import Event, EventKind, UserState

_UNSEEN = (EventKind.UNSPECIFIED, EventKind.IMPRESSION)  # not a meeting of user and item


class _KeyedByRow(Protocol):
    def keys(self, rows: Rows) -> Keys: ...


class BundleHistories:
    """The histories a bundle was built with: what an empty store knows of its users."""

    def __init__(self, bundle: Bundle, catalogue: _KeyedByRow) -> None:
        users = bundle.users
        ids: list[str] = users.column("user_id").to_pylist()
        self._position = {user_id: position for position, user_id in enumerate(ids)}
        self._catalogue = catalogue
        self._columns = {}
        for name, dtype in (("rows", np.int32), ("times", np.float64), ("kinds", np.uint8)):
            lists = users.column(name).combine_chunks()
            self._columns[name] = lists.values.to_numpy().astype(dtype, copy=False)
            self._offsets = lists.offsets.to_numpy()

    def __contains__(self, user_id: str) -> bool:
        return user_id in self._position

    def of(self, user_id: str) -> tuple[Keys, npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
        """keys uint64[L], times float64[L], kinds uint8[L]; empty for an unknown user."""
        position = self._position.get(user_id)
        start, end = (0, 0) if position is None else self._offsets[position : position + 2]
        rows, times, kinds = (self._columns[name][start:end] for name in ("rows", "times", "kinds"))
        return self._catalogue.keys(rows), times, kinds


class _User:
    """One user's past, oldest event first, the oldest beyond the bound forgotten but still seen."""

    def __init__(self) -> None:
        self.state = UserState()
        self._bloom = LayeredBloom()

    def add(
        self,
        keys: Keys,
        times: npt.NDArray[np.float64],
        kinds: npt.NDArray[np.uint8],
        max_history: int,
    ) -> None:
        times = np.concatenate([self.state.times, times])
        order = np.argsort(times, kind="stable")[-max_history:]
        self._bloom.add(keys[~np.isin(kinds, _UNSEEN)])
        self.state = UserState(
            keys=np.concatenate([self.state.keys, keys])[order],
            times=times[order],
            kinds=np.concatenate([self.state.kinds, kinds])[order],
            seen=self._bloom.layers,
            seen_count=self._bloom.count,
        )


class MemoryUserState:
    """A UserStateStore that forgets at exit. Event ids are remembered for the last ``window``."""

    def __init__(self, *, max_history: int, window: int = 1_000_000) -> None:
        self._max_history = max_history
        self._window = window
        self._users: dict[str, _User] = {}
        self._event_ids: OrderedDict[str, None] = OrderedDict()
        self._histories: BundleHistories | None = None

    def seed(self, histories: BundleHistories) -> None:
        """What is known of users not met here yet."""
        self._histories = histories

    async def read(self, user_id: str) -> UserState:
        user = self._users.get(user_id)
        if user is None:
            if self._histories is None or user_id not in self._histories:
                return UserState()
            user = self._users[user_id] = self._first(user_id)
        return user.state

    async def record(self, events: Sequence[Event]) -> int:
        """Store the events whose ids are new; returns how many."""
        new: dict[str, list[Event]] = {}
        for event in events:
            if event.event_id in self._event_ids:
                continue
            self._event_ids[event.event_id] = None
            new.setdefault(event.user_id, []).append(event)
        while len(self._event_ids) > self._window:
            self._event_ids.popitem(last=False)
        for user_id, theirs in new.items():
            user = self._users.get(user_id)
            if user is None:
                user = self._users[user_id] = self._first(user_id)
            user.add(
                item_keys([event.item_id for event in theirs]),
                np.array([event.time for event in theirs], np.float64),
                np.array([event.kind for event in theirs], np.uint8),
                self._max_history,
            )
        return sum(len(theirs) for theirs in new.values())

    def _first(self, user_id: str) -> _User:
        user = _User()
        if self._histories is not None:
            user.add(*self._histories.of(user_id), self._max_history)
        return user
