"""Computes what ranking models read (``bundles.ranking_contract``), and joins it for a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis_server.bundles import features
from tamis_server.bundles.loader import Bundle
from tamis_server.bundles.ranking_contract import BY_ROW, PER_CANDIDATE, shapes
from tamis_server.domain.candidates import Candidates
from tamis_server.domain.context import RequestContext
from tamis_server.domain.errors import ContractViolation

Array = npt.NDArray[Any]
Inputs = Mapping[str, Array]
_HISTORY = ("history_rows", "history_fields", "history_dense", "history_kinds", "history_ages")
_FILL = 64  # lists are as long as a multiple of it, so that more of them are equally long


class RankingInputs:
    """Computes what one model reads, for one user at a time."""

    def __init__(
        self,
        bundle: Bundle,
        names: Sequence[str],
        history: int,
        log_popularity: npt.NDArray[np.float32],
    ) -> None:
        """names: the model's inputs; history: how many events it reads.

        log_popularity float32[rows]: ``features.log_popularity``, kept up to date by its owner.
        """
        unknown = set(names) - set(shapes(bundle.manifest))
        if unknown:
            raise ContractViolation(f"no input of a ranking model: {', '.join(sorted(unknown))}")
        self._bundle = bundle
        self._names = tuple(names)
        self._history = history
        self._log_popularity = log_popularity
        self._no_query = np.zeros(bundle.manifest.dim, np.float32)
        self._no_profile = np.zeros(len(bundle.manifest.features.profile_fields), np.int32)

    @property
    def by_row(self) -> bool:
        """Whether the model knows the bundle's items, and no others."""
        return bool(BY_ROW & set(self._names))

    def of(self, ctx: RequestContext, candidates: Candidates) -> Inputs:
        """One user's, without the users' dimension."""
        found: dict[str, Array] = {}
        if "user_fields" in self._names or "user_dense" in self._names:
            found["user_fields"], found["user_dense"] = self._user(ctx)
        if any(name in self._names for name in _HISTORY):
            found.update(self._past(ctx))
        rows = candidates.rows
        lazily: dict[str, Callable[[], Array]] = {
            "rows": lambda: rows,
            "cross": lambda: candidates.columns["cross"],
            "item_fields": lambda: self._bundle.item_fields[rows],
            "item_dense": lambda: self._dense(rows),
        }
        for name in self._names:
            if name not in found:
                found[name] = lazily[name]()
        return {name: found[name] for name in self._names}

    def _user(self, ctx: RequestContext) -> tuple[Array, Array]:
        past = ctx.history
        fields, dense = features.user_features(
            past.rows,
            past.times,
            past.kinds,
            ctx.now,
            self._bundle.item_fields,
            self._log_popularity,
            self._no_profile if ctx.profile is None else ctx.profile,
        )
        query = self._no_query if ctx.query is None else ctx.query
        return fields, np.concatenate([dense, query])

    def _past(self, ctx: RequestContext) -> dict[str, Array]:
        count = min(len(ctx.history), self._history)
        latest = slice(None, -count - 1, -1)
        rows = np.full(self._history, -1, np.int32)
        kinds = np.zeros(self._history, np.int32)
        times = np.zeros(self._history)
        if count:
            rows[:count] = ctx.history.rows[latest]
            kinds[:count] = ctx.history.kinds[latest]
            times[:count] = ctx.history.times[latest]
        known = np.maximum(rows, 0)
        return {
            "history_rows": rows,
            "history_fields": self._bundle.item_fields[known],
            "history_dense": self._dense(known),
            "history_kinds": kinds,
            "history_ages": features.ages(times, ctx.now),
        }

    def _dense(self, rows: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        return np.concatenate([self._bundle.item_dense[rows], self._bundle.vectors[rows]], axis=1)


def joined(users: Sequence[Inputs]) -> dict[str, Array]:
    """Several users' inputs as one run's."""
    most = max(_candidates(user) for user in users)
    length = -(-most // _FILL) * _FILL
    found: dict[str, Array] = {}
    for name, first in users[0].items():
        if name not in PER_CANDIDATE:
            found[name] = np.stack([user[name] for user in users])
            continue
        fill = -1 if name == "rows" else 0
        array = np.full((len(users), length, *first.shape[1:]), fill, first.dtype)
        for position, user in enumerate(users):
            array[position, : user[name].shape[0]] = user[name]
        found[name] = array
    return found


def _candidates(user: Inputs) -> int:
    return max((user[name].shape[0] for name in PER_CANDIDATE if name in user), default=0)
