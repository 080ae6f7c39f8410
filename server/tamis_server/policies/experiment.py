"""Which variant of an experiment a user gets: always the same one, and nobody keeps a list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

CONTROL = "control"
_WHOLE = 2.0**64


@dataclass(frozen=True, slots=True)
class Experiment:
    """``shares`` of the users, by variant; the rest, and whoever is not known, is CONTROL.

    Users are spread by a hash of the experiment's name and their id, so that two experiments
    divide them independently. A share that grows keeps the users it had.
    """

    name: str
    shares: Mapping[str, float]

    def variant(self, user_id: str) -> str:
        if not user_id:
            return CONTROL
        digest = blake2b(f"{self.name}\0{user_id}".encode(), digest_size=8).digest()
        place, start = int.from_bytes(digest, "big") / _WHOLE, 0.0
        for variant, share in self.shares.items():
            if start <= place < start + share:
                return variant
            start += share
        return CONTROL
