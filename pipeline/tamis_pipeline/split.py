"""Splits by time, and those of published protocols. What is learned or counted comes from the
training part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tamis_pipeline.dataset import DatasetRejected, HeldOut, Interactions

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Split:
    """fit: what the two-tower learns from; validation: what stops it and what the ranker learns
    from; test: what is measured. ``train`` is fit and validation together."""

    fit: Interactions
    validation: Interactions
    test: Interactions
    train: Interactions


HOW = ("global", "per-user", "leave-one-out", "random", "given")


def split(
    events: Interactions,
    how: str,
    test: float,
    validation: float,
    seed: int = 0,
    held_out: HeldOut | None = None,
) -> Split:
    """Cut off ``test`` of the events, then ``validation`` of the rest.

    global: the last of them, at one moment for all, as in production. per-user: each user's own
    last events; needed where users come once and never again, so that a cut at one moment leaves
    nobody known to test. leave-one-out: the last event of each user who has two, and what validates
    is per-user. random: any of them, whatever their time. given: the pairs that the data set came
    with are the test, and any of the rest validate. Only the first three keep a user's future out
    of training; leave-one-out and given have no use for ``test``.
    """
    rng = np.random.default_rng(seed)
    match how:
        case "global":
            tested = _last_of_all(events, test)
            late = partial(_last_of_all, fraction=validation)
        case "per-user":
            tested = _last_of_each(events, test)
            late = partial(_last_of_each, fraction=validation)
        case "leave-one-out":
            tested = _last_one_of_each(events)
            late = partial(_last_of_each, fraction=validation)
        case "random":
            tested = _any(events, test, rng)
            late = partial(_any, fraction=validation, rng=rng)
        case "given":
            if held_out is None:
                raise DatasetRejected("split: given, but this data set comes without a test part")
            tested = _given(events, held_out)
            late = partial(_any, fraction=validation, rng=rng)
        case _:
            raise DatasetRejected(f"split: {how!r} is not known; there are {', '.join(HOW)}")
    train = events.take(~tested)
    validated = late(train)
    return Split(train.take(~validated), train.take(validated), events.take(tested), train)


def newest(events: Interactions, after: float, test: float, validation: float) -> Split:
    """As global, but the shares are of what came ``after`` that moment (Unix seconds): all before
    is in ``fit``."""
    new = events.times > after
    tested = new.copy()
    tested[new] = _last_of_all(events.take(new), test)
    taught = new & ~tested
    validated = taught.copy()
    validated[taught] = _last_of_all(events.take(taught), validation)
    return Split(
        events.take(~tested & ~validated),
        events.take(validated),
        events.take(tested),
        events.take(~tested),
    )


def _last_of_all(events: Interactions, fraction: float) -> Mask:
    moment = np.quantile(events.times, 1.0 - fraction)
    mask: Mask = events.times > moment
    return mask


def _last_of_each(events: Interactions, fraction: float) -> Mask:
    """Cut at a time, not at a count: events of one second have no order to respect."""
    late = np.zeros(len(events), np.bool_)
    for own in by_user(events):
        count = int(own.shape[0] * fraction)
        if count:
            late[own] = events.times[own] >= events.times[own[-count]]
    return late


def _last_one_of_each(events: Interactions) -> Mask:
    last = np.zeros(len(events), np.bool_)
    last[[own[-1] for own in by_user(events) if own.shape[0] > 1]] = True
    return last


def _any(events: Interactions, fraction: float, rng: np.random.Generator) -> Mask:
    drawn = np.zeros(len(events), np.bool_)
    drawn[rng.permutation(len(events))[: round(len(events) * fraction)]] = True
    return drawn


def _given(events: Interactions, held_out: HeldOut) -> Mask:
    items = int(max(events.items.max(), held_out.items.max())) + 1
    pairs = events.users.astype(np.int64) * items + events.items
    mask: Mask = np.isin(pairs, held_out.users.astype(np.int64) * items + held_out.items)
    return mask


def by_user(events: Interactions, users: int | None = None) -> list[npt.NDArray[np.intp]]:
    """Positions of each user's events, in order of time."""
    count = (int(events.users.max(initial=-1)) + 1) if users is None else users
    order = np.argsort(events.users, kind="stable")
    bounds = np.searchsorted(events.users[order], np.arange(count + 1))
    return [order[start:end] for start, end in pairwise(bounds)]
