"""Time-based splits. Everything learned or counted comes from the training part."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tamis_pipeline.dataset import Interactions


@dataclass(frozen=True, slots=True)
class Split:
    """fit: what the two-tower learns from; validation: what stops it and what the ranker learns
    from; test: what is measured. ``train`` is fit and validation together."""

    fit: Interactions
    validation: Interactions
    test: Interactions
    train: Interactions


def split(events: Interactions, how: str, test: float, validation: float) -> Split:
    """Cut off the last ``test`` of the events, then the last ``validation`` of the rest.

    global: at one moment for all, as in production. per-user: each user's own last events; needed
    where users come once and never again, so that a cut at one moment leaves nobody known to test.
    """
    last = _last_of_all if how == "global" else _last_of_each
    held_out = last(events, test)
    train = events.take(~held_out)
    late = last(train, validation)
    return Split(train.take(~late), train.take(late), events.take(held_out), train)


def _last_of_all(events: Interactions, fraction: float) -> npt.NDArray[np.bool_]:
    moment = np.quantile(events.times, 1.0 - fraction)
    mask: npt.NDArray[np.bool_] = events.times > moment
    return mask


def _last_of_each(events: Interactions, fraction: float) -> npt.NDArray[np.bool_]:
    """Cut at a time, not at a count: events of one second have no order to respect."""
    late = np.zeros(len(events), np.bool_)
    for own in by_user(events):
        count = int(own.shape[0] * fraction)
        if count:
            late[own] = events.times[own] >= events.times[own[-count]]
    return late


def by_user(events: Interactions, users: int | None = None) -> list[npt.NDArray[np.intp]]:
    """Positions of each user's events, in order of time."""
    count = (int(events.users.max(initial=-1)) + 1) if users is None else users
    order = np.argsort(events.users, kind="stable")
    bounds = np.searchsorted(events.users[order], np.arange(count + 1))
    return [order[start:end] for start, end in pairwise(bounds)]
