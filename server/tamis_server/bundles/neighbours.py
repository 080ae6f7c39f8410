"""Item-to-item weights: which items go with which, as behaviour shows.

NumPy only: the one definition of the feature ``co_affinity`` that training and serving share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """rows int32[items, k]: what each item speaks for (or against), -1 where there is no more;
    weights float32[items, k]: how much, 0 where there is no more. Items from ``items`` on, those
    that came while serving, have no neighbours and are nobody's.
    """

    rows: Int32
    weights: Float32

    @classmethod
    def none(cls) -> Neighbours:
        """Nothing goes with anything."""
        return cls(np.empty((0, 0), np.int32), np.empty((0, 0), np.float32))

    def towards(self, history: Int32, candidates: Int32) -> Float32:
        """float32[candidates]: the sum over the distinct items of ``history`` of their weight for
        each candidate."""
        total = self._total(history)
        inside = candidates < total.shape[0]
        return np.where(inside, total[np.where(inside, candidates, 0)], 0).astype(np.float32)

    def around(self, history: Int32) -> tuple[Int32, Float32]:
        """rows int32[m] ascending and scores float32[m]: what ``history`` speaks for, unordered by
        score; its own items and what it speaks against are left out."""
        total = self._total(history)
        total[history[history < total.shape[0]]] = 0
        rows = np.flatnonzero(total > 0).astype(np.int32)
        return rows, total[rows].astype(np.float32)

    def _total(self, history: Int32) -> npt.NDArray[np.float64]:
        """float64[items, at least one]: summed in the order of rows: the same for every caller."""
        known = np.unique(history[history < self.rows.shape[0]])
        near = self.rows[known].ravel()
        # -1 counts for the item behind the last, with weight 0
        total: npt.NDArray[np.float64] = np.bincount(
            np.where(near < 0, self.rows.shape[0], near),
            self.weights[known].ravel(),
            minlength=self.rows.shape[0] + 1,
        ).astype(np.float64)
        return total
