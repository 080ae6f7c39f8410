"""Moments at which somebody could have been asked: just before each first positive."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tamis_pipeline.dataset import Interactions
from tamis_server.bundles.features import is_positive
from tamis_server.bundles.profiles import NO_PROFILES, Profiles

Int32 = npt.NDArray[np.int32]
UInt16 = npt.NDArray[np.uint16]
Positions = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Requests:
    """``past`` is sorted by user and time: users[i] did past[begin[i]:end[i]] before times[i], and
    past[begin[i]:last[i]] in all.

    profiles int32[n, p]: codes, of the user; targets int32[n]: an item met then or later; outcomes
    uint16[n]: bit k is set where an event of kind k with that item followed.
    """

    past: Interactions
    users: Int32
    profiles: Int32
    begin: Positions
    end: Positions
    last: Positions
    times: npt.NDArray[np.float64]
    targets: Int32
    outcomes: UInt16

    def __len__(self) -> int:
        return int(self.targets.shape[0])

    def take(self, chosen: Positions) -> Requests:
        return Requests(
            self.past,
            self.users[chosen],
            self.profiles[chosen],
            self.begin[chosen],
            self.end[chosen],
            self.last[chosen],
            self.times[chosen],
            self.targets[chosen],
            self.outcomes[chosen],
        )

    def looking_ahead(self, rng: np.random.Generator) -> Requests:
        """Each at a moment drawn among its own and those of its user's requests before it.

        An answer shall hold what the user takes to from then on, not only what comes next, which
        resembles what came last more than the rest does. These are sorted by user and time.
        """
        _, first, user = np.unique(self.users, return_index=True, return_inverse=True)
        earliest = first[user]
        before = np.arange(len(self)) - earliest
        moment = earliest + (rng.random(len(self)) * (before + 1)).astype(np.intp)
        return replace(self, end=self.end[moment], times=self.times[moment])


def requests(
    past: Interactions,
    asked: Interactions,
    ordered: bool = True,
    profiles: Profiles = NO_PROFILES,
) -> Requests:
    """A request before the first positive of ``asked`` with each item, by user and time.

    What is known then are the events of ``past`` that are earlier, so that nothing leaks from
    later ones. Not ``ordered``, where times say nothing: all events of ``past`` that are not in
    ``asked``, and the request comes after them. An item met before is left out: serving would not
    show it again.
    """
    unknown = np.zeros(len(past), np.bool_) if ordered else _among(past, asked)
    order = np.lexsort((past.times, unknown, past.users))
    past, known = past.take(order), np.flatnonzero(~unknown[order])
    users = int(max(past.users.max(initial=-1), asked.users.max(initial=-1))) + 1
    firsts, outcomes = _first_positives(asked)
    wanted = asked.take(firsts)
    bounds = np.searchsorted(past.users, np.arange(users + 1))
    begin, last = bounds[wanted.users], bounds[wanted.users + 1]
    before = past.take(known)
    if ordered:
        end, times, until = _earlier(past, wanted), wanted.times, wanted.times
    else:
        end = begin + np.bincount(before.users, minlength=users)[wanted.users]
        latest = past.times[np.maximum(end - 1, 0)]
        times = np.where(end > begin, np.maximum(wanted.times, latest), wanted.times)
        until = np.full(len(wanted), np.inf)
    known_of = profiles.of(wanted.users)
    found = Requests(past, wanted.users, known_of, begin, end, last, times, wanted.items, outcomes)
    return found.take(np.flatnonzero(~_met(before, wanted, until)))


def _earlier(past: Interactions, wanted: Interactions) -> Positions:
    """Where in ``past``, by user and time, the time of each of ``wanted`` would stand."""
    moments = np.unique(past.times)
    step = moments.shape[0] + 1  # one number for user and time, in the order of both
    keys = past.users.astype(np.int64) * step + np.searchsorted(moments, past.times)
    now = wanted.users.astype(np.int64) * step + np.searchsorted(moments, wanted.times)
    return np.searchsorted(keys, now)


def _among(events: Interactions, others: Interactions) -> npt.NDArray[np.bool_]:
    """bool[n]: of events, whether they are in ``others``: user, item and time."""
    pairs = [each.users.astype(np.int64) << 32 | each.items for each in (events, others)]
    _, pair = np.unique(np.concatenate(pairs), return_inverse=True)
    moments, moment = np.unique(np.concatenate([events.times, others.times]), return_inverse=True)
    keys = pair * moments.shape[0] + moment
    found: npt.NDArray[np.bool_] = np.isin(keys[: len(events)], keys[len(events) :])
    return found


def standing(past: Interactions, profiles: Int32, time: float) -> Requests:
    """One request of each user 0, 1, … at ``time`` (Unix seconds), of which nobody knows what came
    of it: targets are -1. Known is what of ``past`` is not later, and profiles int32[users, p]."""
    users = profiles.shape[0]
    past = past.take(past.times <= time)
    past = past.take(np.lexsort((past.times, past.users)))
    bounds = np.searchsorted(past.users, np.arange(users + 1))
    return Requests(
        past,
        np.arange(users, dtype=np.int32),
        profiles,
        bounds[:-1],
        bounds[1:],
        bounds[1:],
        np.full(users, time),
        np.full(users, -1, np.int32),
        np.zeros(users, np.uint16),
    )


def _first_positives(asked: Interactions) -> tuple[Positions, UInt16]:
    """Positions, by user and time, and the kinds that followed, as bits."""
    order = np.lexsort((asked.times, asked.items, asked.users))
    order = order[is_positive(asked.kinds[order])]
    pairs = np.stack([asked.users[order], asked.items[order]])
    new = np.ones(order.shape[0], np.bool_)
    new[1:] = (pairs[:, 1:] != pairs[:, :-1]).any(axis=0)
    firsts = order[new]
    bits = np.left_shift(np.uint16(1), asked.kinds[order].astype(np.uint16))
    starts = np.flatnonzero(new)
    outcomes = np.bitwise_or.reduceat(bits, starts) if starts.shape[0] else bits
    by_time = np.lexsort((asked.times[firsts], asked.users[firsts]))
    return firsts[by_time], outcomes[by_time].astype(np.uint16)


def _met(
    past: Interactions, wanted: Interactions, until: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """bool[n]: the user had an event with the item before ``until``, float64[n]."""
    items = int(max(past.items.max(initial=-1), wanted.items.max(initial=-1))) + 1
    pairs = past.users.astype(np.int64) * items + past.items
    order = np.lexsort((past.times, pairs))
    pairs, times = pairs[order], past.times[order]
    asked = wanted.users.astype(np.int64) * items + wanted.items
    at = np.minimum(np.searchsorted(pairs, asked), max(pairs.shape[0] - 1, 0))
    if not pairs.shape[0]:
        return np.zeros(len(wanted), np.bool_)
    met: npt.NDArray[np.bool_] = (pairs[at] == asked) & (times[at] < until)
    return met
