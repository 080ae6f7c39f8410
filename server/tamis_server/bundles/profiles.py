"""What is known of users by themselves (country, age, plan) beside what they did, as codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tamis_server.bundles.manifest import FieldSpec

Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Profiles:
    """fields: what there is of each user; codes int32[users, fields]: 0 unknown, else below the
    field's size."""

    fields: tuple[FieldSpec, ...]
    codes: Int32

    def of(self, users: npt.NDArray[np.integer]) -> Int32:
        """int32[n, fields] of users by number."""
        if not self.fields:
            return np.zeros((users.shape[0], 0), np.int32)
        found: Int32 = self.codes[users]
        return found


NO_PROFILES = Profiles((), np.zeros((0, 0), np.int32))
