"""The histories a bundle was built with: what is known of users beside what the store has."""

from __future__ import annotations

import numpy as np

from tamis_kernels import KeyIndex
from tamis_server.bundles.ids import Ids
from tamis_server.bundles.loader import Bundle
from tamis_server.domain.candidates import Keys
from tamis_server.domain.context import KnownUser, UserState
from tamis_server.domain.seen import SeenPolicy


class BundleHistories:
    """Histories by user id, as states; what counts as met is exact."""

    def __init__(self, bundle: Bundle, keys: Keys, policy: SeenPolicy) -> None:
        """keys uint64[items]: of the bundle's items by row."""
        users = bundle.users
        self._ids = Ids(users.column("user_id"))
        self._position = KeyIndex(self._ids.keys())
        self._keys = keys
        self._profiles = bundle.profiles.of(np.arange(users.num_rows))
        self._windows = policy.windows()
        self._columns = {}
        for name, dtype in (("rows", np.int32), ("times", np.float64), ("kinds", np.uint8)):
            lists = users.column(name).combine_chunks()
            self._columns[name] = lists.values.to_numpy().astype(dtype, copy=False)
            self._offsets = lists.offsets.to_numpy()

    def of(self, user_id: str, now: float) -> KnownUser | None:
        """The user as of the bundle; None for one it does not know."""
        position = self._position.find_text(user_id)
        if position < 0 or self._ids.at(position) != user_id:
            return None
        own = slice(self._offsets.item(position), self._offsets.item(position + 1))
        times, kinds = self._columns["times"][own], self._columns["kinds"][own]
        keys = self._keys.take(self._columns["rows"][own])
        met = times >= now - self._windows.take(kinds)  # NaN: not remembered, so False
        state = UserState(keys=keys, times=times, kinds=kinds, exact=keys[met])
        return KnownUser(state, self._profiles[position])
