"""Histories as windows into one list of events, cut out where they are used."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis_pipeline.dataset import Interactions
from tamis_server.bundles.features import is_positive
from tamis_server.bundles.profiles import NO_PROFILES, Profiles
from tamis_server.bundles.query_tower import HOURS, context

Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Examples:
    """items int32[m], kinds uint8[m]: events by user and time. Of each of n examples: targets, and
    the history [starts, ends) without the event ``own`` (-1: with all); context int32[n, 2 + p]:
    slots as ``query_tower.context`` gives."""

    items: Int32
    kinds: UInt8
    targets: Int32
    starts: Int32
    ends: Int32
    own: Int32
    context: Int32

    def __len__(self) -> int:
        return int(self.targets.shape[0])

    def take(self, which: npt.NDArray[Any]) -> Examples:
        return Examples(
            self.items,
            self.kinds,
            *(
                each[which]
                for each in (self.targets, self.starts, self.ends, self.own, self.context)
            ),
        )

    def histories(self, length: int) -> tuple[Int32, UInt8]:
        """rows int32[n, length], latest first, -1 where there is none, and kinds alike."""
        found = window(np, self.items, self.kinds, self.starts, self.ends, self.own, length)
        return found[0].astype(np.int32), found[1].astype(np.uint8)


def window(
    xp: ModuleType, items: Any, kinds: Any, starts: Any, ends: Any, own: Any, length: int
) -> tuple[Any, Any]:
    """The last ``length`` events of each history, latest first; xp: numpy or jax.numpy."""
    slots = ends[:, None] - 1 - xp.arange(length, dtype=xp.int32)
    slots = slots - (slots <= own[:, None])  # steps over the example's own event
    there = slots >= starts[:, None]
    slots = xp.maximum(slots, 0)
    return xp.where(there, items[slots], -1), xp.where(there, kinds[slots], 0)


def within(
    events: Interactions,
    ordered: bool,
    timed: bool,
    since: float = -np.inf,
    profiles: Profiles = NO_PROFILES,
) -> Examples:
    """Each first meeting of a user and an item to which the user took, at ``since`` (Unix seconds)
    or later, and the user's other events: those before it, or all (``ordered`` false: their order
    says nothing)."""
    order, bounds = _by_user(events)
    items, users = events.items[order], events.users[order]
    positive = np.flatnonzero(is_positive(events.kinds[order]))
    _, first = np.unique(_pairs(users[positive], items[positive]), return_index=True)
    chosen = positive[np.sort(first)]
    chosen = chosen[events.times[order][chosen] >= since]
    starts = bounds[users[chosen]]
    ends = chosen if ordered else bounds[users[chosen] + 1]
    return Examples(
        items,
        events.kinds[order],
        items[chosen],
        starts.astype(np.int32),
        ends.astype(np.int32),
        np.full(chosen.shape[0], -1, np.int32) if ordered else chosen.astype(np.int32),
        _context(events.times[order][chosen], timed, users[chosen], profiles),
    )


def between(
    before: Interactions,
    asked: Interactions,
    timed: bool,
    ordered: bool = True,
    profiles: Profiles = NO_PROFILES,
) -> Examples:
    """Each item that a user took to in ``asked``, not met ``before``, and what came before it; all
    that the user did ``before`` where it is not ``ordered``."""
    order, bounds = _by_user(before, int(asked.users.max(initial=-1)) + 1)
    new = is_positive(asked.kinds) & ~np.isin(
        _pairs(asked.users, asked.items), _pairs(before.users, before.items)
    )
    positions = np.flatnonzero(new)
    users, times = asked.users[positions], before.times[order]
    until = asked.times[positions] if ordered else np.full(users.shape[0], np.inf)
    ends = [
        bounds[user] + np.searchsorted(times[bounds[user] : bounds[user + 1]], time, side="right")
        for user, time in zip(users.tolist(), until.tolist(), strict=True)
    ]
    return Examples(
        before.items[order],
        before.kinds[order],
        asked.items[positions],
        bounds[users].astype(np.int32),
        np.array(ends, np.int32),
        np.full(positions.shape[0], -1, np.int32),
        _context(asked.times[positions], timed, users, profiles),
    )


def grouped(examples: Examples, size: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """intp[g, size]: numbers of examples of one user each, in random order, -1 where there are no
    more; at most half of a user's examples together, so that the others are its history."""
    order = rng.permutation(len(examples))
    order = order[np.argsort(examples.starts[order], kind="stable")]
    _, begin, count = np.unique(examples.starts[order], return_index=True, return_counts=True)
    sizes = np.clip(count // 2, 1, size)
    groups = -(-count // sizes)
    place = np.arange(order.shape[0]) - np.repeat(begin, count)
    per = np.repeat(sizes, count)
    group = np.repeat(np.cumsum(groups) - groups, count) + place // per
    found = np.full((int(groups.sum()), size), -1, np.intp)
    found[group, place % per] = order
    return rng.permutation(found)


def _by_user(
    events: Interactions, users: int = 0
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """An order by user and time, and where each user begins in it, with one bound more."""
    order = np.argsort(events.users, kind="stable")
    count = max(users, int(events.users.max(initial=-1)) + 1)
    return order, np.searchsorted(events.users[order], np.arange(count + 1))


def _pairs(users: Int32, items: Int32) -> npt.NDArray[np.int64]:
    pairs: npt.NDArray[np.int64] = users.astype(np.int64) << 32 | items
    return pairs


def _context(
    times: npt.NDArray[np.float64], timed: bool, users: Int32, profiles: Profiles
) -> Int32:
    found = context(times, profiles.of(users), profiles.fields)
    if not timed:
        found[:, :2] = 0, HOURS  # not known
    return found
