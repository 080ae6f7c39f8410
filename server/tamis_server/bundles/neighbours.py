"""Item-to-item weights: which items go with which, as behaviour shows.

The one definition of the feature ``co_affinity`` that training and serving share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tamis_kernels import affine_rows, affinities

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """rows int32[items, k]: what each item speaks for (or against), -1 where there is no more;
    weights float32[items, k]: how much, 0 where there is no more. Items that came while serving
    have no neighbours and are nobody's, but one that was changed goes on as what it was:
    learnt_as int32[all rows] is its row of ``rows``, -1 for a new one; shown_at int32[items] says
    where the item of a row of ``rows`` is now. Without both of them all are where they were.
    """

    rows: Int32
    weights: Float32
    learnt_as: Int32 | None = None
    shown_at: Int32 | None = None

    @classmethod
    def none(cls) -> Neighbours:
        """Nothing goes with anything."""
        return cls(np.empty((0, 0), np.int32), np.empty((0, 0), np.float32))

    def with_spare(self, spare: int) -> Neighbours:
        """With room for items that come later."""
        items = self.rows.shape[0]
        own = np.arange(items, dtype=np.int32)
        learnt_as = np.concatenate([own, np.full(spare, -1, np.int32)])
        return replace(self, learnt_as=learnt_as, shown_at=own) if items else self

    def move(self, learnt_as: Int32, rows: Int32) -> None:
        """What was learnt as these, -1: nothing, is at ``rows`` from now on."""
        if self.learnt_as is None or self.shown_at is None:
            return
        before = self.learnt_as[rows]
        before = before[before >= 0]
        self.shown_at[before] = before
        self.learnt_as[rows] = learnt_as
        known = learnt_as >= 0
        self.shown_at[learnt_as[known]] = rows[known]

    def towards(self, history: Int32, candidates: Int32) -> Float32:
        """float32[candidates]: the sum over the distinct items of ``history`` of their weight for
        each candidate."""
        learnt = self._learnt(history), self._learnt(candidates)
        return affinities(self.rows, self.weights, *learnt)

    def around(self, history: Int32) -> tuple[Int32, Float32]:
        """rows int32[m] and scores float32[m]: what ``history`` speaks for, unordered by
        score; its own items and what it speaks against are left out."""
        rows, scores = affine_rows(self.rows, self.weights, self._learnt(history))
        return (rows if self.shown_at is None else self.shown_at.take(rows)), scores

    def _learnt(self, rows: Int32) -> Int32:
        """Their rows of ``rows``, outside of it where they have none."""
        return rows if self.learnt_as is None else self.learnt_as.take(rows)
