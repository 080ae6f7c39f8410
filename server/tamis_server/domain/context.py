"""One request, frozen. Preparations return an enriched copy; stages only read it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis_server.domain.candidates import NO_KEYS, NO_ROWS, Bits, Keys, Rows, Vectors
from tamis_server.domain.varied import varied

NO_TIMES: npt.NDArray[np.float64] = np.empty(0, np.float64)
NO_KINDS: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
_NO_COUNTS: npt.NDArray[np.uint32] = np.zeros(9, np.uint32)
_NO_COUNTS.setflags(write=False)


class EventKind(IntEnum):
    """What a user did with an item. The value is stored in bundles and state: never renumber."""

    UNSPECIFIED = 0
    VIEW = 1
    CLICK = 2
    ADD_TO_CART = 3
    PURCHASE = 4
    LIKE = 5
    DISLIKE = 6
    IMPRESSION = 7
    HIDE = 8


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment of the monotonic clock."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left; negative once passed."""
        return self.at - monotonic()


@dataclass(frozen=True, slots=True)
class UserState:
    """Everything the store knows of a user, oldest event first, keyed independently of bundles.

    keys uint64[L], times float64[L] (Unix seconds), kinds uint8[L] (``EventKind``);
    counts uint32[9]: events ever recorded, by kind;
    seen: Bloom filters uint32[blocks, 8] (split-block), a key in any of them was met before;
    exact uint64[e]: keys surely met before.
    """

    keys: Keys = field(default_factory=lambda: NO_KEYS)
    times: npt.NDArray[np.float64] = field(default_factory=lambda: NO_TIMES)
    kinds: npt.NDArray[np.uint8] = field(default_factory=lambda: NO_KINDS)
    counts: npt.NDArray[np.uint32] = field(default_factory=lambda: _NO_COUNTS)
    seen: tuple[npt.NDArray[np.uint32], ...] = ()
    exact: Keys = field(default_factory=lambda: NO_KEYS)

    def after(self, earlier: UserState) -> UserState:
        """Both together. What they have in common (item, kind, millisecond) counts once."""
        if not self.keys.shape[0]:
            return earlier
        if not earlier.keys.shape[0]:
            return self
        first, order = earlier, slice(None)
        if self.times[0] <= earlier.times[-1]:
            new = ~np.isin(earlier.identities(), self.identities())
            first = UserState(earlier.keys[new], earlier.times[new], earlier.kinds[new])
            times = np.concatenate([first.times, self.times])
            order = np.argsort(times, kind="stable")  # type: ignore[assignment]
        return replace(
            self,
            keys=np.concatenate([first.keys, self.keys])[order],
            times=np.concatenate([first.times, self.times])[order],
            kinds=np.concatenate([first.kinds, self.kinds])[order],
            exact=np.concatenate([earlier.exact, self.exact]),
        )

    def identities(self) -> Keys:
        """uint64[L]: equal for events that are the same one."""
        moments = np.round(self.times * 1e3).astype(np.int64).astype(np.uint64)
        return self.keys ^ (moments * np.uint64(0x9E3779B97F4A7C15)) ^ self.kinds


NOBODY = UserState()


@dataclass(frozen=True, slots=True)
class KnownUser:
    """What a bundle knows of a user: the state as of then, and the profile int32[p], as codes."""

    state: UserState
    profile: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class History:
    """The part of a user's past that the bundle being served knows, oldest first."""

    rows: Rows = field(default_factory=lambda: NO_ROWS)
    times: npt.NDArray[np.float64] = field(default_factory=lambda: NO_TIMES)
    kinds: npt.NDArray[np.uint8] = field(default_factory=lambda: NO_KINDS)

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    def refused(self) -> Rows:
        """What the user disliked or asked not to be shown."""
        return self.rows[np.isin(self.kinds, (EventKind.DISLIKE, EventKind.HIDE))]


NO_HISTORY = History()


class Operator(Enum):
    IN = "in"
    NOT_IN = "not_in"
    RANGE = "range"


@dataclass(frozen=True, slots=True)
class Predicate:
    """A condition on an attribute. IN, NOT_IN: ``values``; RANGE: low <= x <= high, None open."""

    attribute: str
    operator: Operator
    values: tuple[str | float | bool, ...] = ()
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Depiction:
    """Something to be encoded: in words, by the bytes of a picture, or both; never neither.

    text_field, picture_field: where they stand in the request.
    """

    text: str
    picture: bytes = b""
    text_field: str = "text"
    picture_field: str = "image"


@dataclass(frozen=True, slots=True)
class Eligible:
    """The rows a request may be answered with: bits uint64[ceil(n/64)] and how many are set."""

    bits: Bits
    count: int


@dataclass(frozen=True)
class RequestContext:
    """What is asked and what is known of who asks. ``now`` is Unix seconds.

    The last block is filled in by preparations; a stage that needs one of them and finds it
    missing works without it (a cold user has no query vector). ``query`` float32[d] is of the user,
    ``sought_vector`` float32[c] of what is searched for. ``met``: a bit for each row that the
    user surely met, uint64[ceil(rows / 64)]. ``profile``: of the user, None where the bundle does
    not know it. ``variant``: of the experiment; "": none runs.
    """

    request_id: str
    user_id: str
    limit: int
    deadline: Deadline
    now: float
    session_id: str = ""
    surface: str = ""
    device: str = ""
    locale: str = ""
    region: str = ""
    variant: str = ""
    predicates: tuple[Predicate, ...] = ()
    excluded: Rows = field(default_factory=lambda: NO_ROWS)
    anchors: Rows = field(default_factory=lambda: NO_ROWS)
    sought: Depiction | None = None

    state: UserState = NOBODY
    history: History = NO_HISTORY
    profile: npt.NDArray[np.int32] | None = None
    query: Vectors | None = None
    sought_vector: Vectors | None = None
    met: Bits | None = None
    eligible: Eligible | None = None

    def knowing(self, **known: Any) -> RequestContext:
        """The same with fields that have become known."""
        return varied(self, **known)
