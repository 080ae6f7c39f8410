"""The answer to one request, before it becomes a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from tamis_server.domain.candidates import NO_COUNTS, Candidates, Cause, DegradationLevel


class Shortfall(Enum):
    """Why there are fewer items than were asked for."""

    NONE = "none"
    NO_ELIGIBLE_ITEMS = "no_eligible_items"  # predicates, availability, exclusions leave none
    FEW_ELIGIBLE_ITEMS = "few_eligible_items"  # ... leave fewer than asked
    ALL_SEEN = "all_seen"  # enough are eligible, but the user has met them
    INCOMPLETE_RETRIEVAL = "incomplete_retrieval"  # a source was late or failed


class StageTrace(NamedTuple):
    """What one stage did: outcome is ok, error or timeout."""

    stage: str
    outcome: str
    seconds: float
    rows_in: int
    rows_out: int
    counts: Mapping[str, int] = NO_COUNTS


@dataclass(frozen=True, slots=True)
class Slate:
    """Items in the order to show, with how good the answer is and how it came about."""

    candidates: Candidates
    causes: tuple[Cause, ...] = ()
    shortfall: Shortfall = Shortfall.NONE
    trace: tuple[StageTrace, ...] = ()
    variant: str = ""

    @property
    def level(self) -> DegradationLevel:
        return max((cause.level for cause in self.causes), default=DegradationLevel.FULL)
