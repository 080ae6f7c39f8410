"""How a test part is asked about: all items ranked, or a few that came with the data set.

Full ranking leaves out what the user met in training, and ranks the rest of the catalogue. Given
negatives is the protocol of NCF (He et al., WWW 2017): one held-out item among 99 that the user
never met, HR@k and NDCG@k by its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tamis_pipeline.dataset import DatasetRejected, HeldOut
from tamis_pipeline.split import Split, by_user
from tamis_server.bundles.features import is_positive

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Question:
    """One user of the test part: what is known (oldest first), what came, when it was asked."""

    user: int
    relevant: Int32
    history: Int32
    kinds: npt.NDArray[np.uint8]
    time: float


def questions(split: Split) -> list[Question]:
    """Users of whom something is known, with a held-out positive that they had not met before."""
    return [question for question in _all(split) if question.history.shape[0]]


def some_questions(split: Split) -> list[Question]:
    """``questions``. Raises DatasetRejected where there is none."""
    found = questions(split)
    if not found:
        why, users = left_out(split), np.unique(split.test.users).shape[0]
        raise DatasetRejected(
            "split: nobody can be asked: the test part has no user with a past who took to "
            f"something new (of its {users} users {why['no past']} have no past, "
            f"{why['nothing new']} took to nothing new); more data, a larger split.test or "
            "another split.how may leave some"
        )
    return found


def newcomers(split: Split) -> list[Question]:
    """Users of whom nothing is known, with a held-out positive."""
    return [question for question in _all(split) if not question.history.shape[0]]


def left_out(split: Split) -> dict[str, int]:
    """How many users of the test part are not among ``questions``, by the reason."""
    asked = _all(split)
    new = sum(not question.history.shape[0] for question in asked)
    return {"no past": new, "nothing new": np.unique(split.test.users).shape[0] - len(asked)}


def _all(split: Split) -> list[Question]:
    users = int(max(split.train.users.max(initial=0), split.test.users.max(initial=0))) + 1
    past, future = by_user(split.train, users), by_user(split.test, users)
    asked = []
    for user, (before, after) in enumerate(zip(past, future, strict=True)):
        rows = split.test.items[after][is_positive(split.test.kinds[after])]
        history = split.train.items[before]
        relevant = np.setdiff1d(rows, history).astype(np.int32)
        if relevant.shape[0]:
            # where the split is not by time, what is known may be later than what is asked
            time = max(split.test.times[after[0]], split.train.times[before].max(initial=-np.inf))
            kinds = split.train.kinds[before]
            asked.append(Question(user, relevant, history, kinds, float(time)))
    return asked


def best(scores: Float32, histories: Sequence[Int32], available: Mask, depth: int) -> Int32:
    """int32[n, depth]: each user's ``depth`` best available items that are not in the history, -1
    where there are no more; ties by row. scores float32[n, items]; -inf: not to be shown."""
    lists = np.full((len(histories), depth), -1, np.int32)
    for number, (history, row) in enumerate(zip(histories, scores, strict=True)):
        left = np.where(available, row, -np.inf)
        left[history] = -np.inf
        # all that could be among the best, ties at the border too, then in order
        border = np.partition(left, -depth)[-depth] if depth < left.shape[0] else -np.inf
        possible = np.flatnonzero((left >= border) & np.isfinite(left))
        order = possible[np.argsort(-left[possible], kind="stable")][:depth]
        lists[number, : order.shape[0]] = order
    return lists


def given_places(scores: Float32 | Float64, held_out: HeldOut) -> Int64:
    """int64[n]: the place, from 0, of each held-out item among its negatives.

    scores float[n, 1 + m]: of the held-out item, then of its negatives. A tie is the held-out
    item's, and a negative that is itself the held-out item does not count: so the published figures
    of ItemPop come out. Raises ValueError for scores that are not finite.
    """
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite: there is no place to give")
    others = held_out.negatives != held_out.items[:, None]
    places: Int64 = ((scores[:, 1:] > scores[:, :1]) & others).sum(axis=1)
    return places


def given_candidates(held_out: HeldOut) -> Int32:
    """int32[n, 1 + m]: what to score for ``given_places``."""
    return np.concatenate([held_out.items[:, None], held_out.negatives], axis=1)


def given_hits(places: Int64, depth: int) -> Mask:
    """bool[n, depth]: as ``metrics`` wants it; there is one relevant item each."""
    mask: Mask = places[:, None] == np.arange(depth)
    return mask
