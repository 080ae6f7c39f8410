"""Users and items apart: a mean over all hides those for whom it is bad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tamis_pipeline.evaluation.protocols import Question

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
COLD = 5  # a user with so many events or fewer


@dataclass(frozen=True, slots=True)
class Segment:
    """users bool[asked]: who is in it; items bool[items]: what counts as relevant to them."""

    name: str
    users: Mask
    items: Mask


def segments(asked: Sequence[Question], counts: Float32) -> list[Segment]:
    """Those that somebody is in. counts float32[items]: positives of each item in training.

    Users by how much is known of them: cold ones, and terciles of all, heavy ones the upper. Items
    never met in training are cold: whoever took to one later is asked for these alone.
    """
    lengths = np.array([question.history.shape[0] for question in asked], np.int64)
    low, high = np.quantile(lengths, [1 / 3, 2 / 3]) if len(asked) else (0, 0)
    every, cold = np.ones(counts.shape[0], np.bool_), counts == 0
    found = [
        Segment(f"cold users (at most {COLD} events)", lengths <= COLD, every),
        Segment(f"light users (at most {low:.0f})", lengths <= low, every),
        Segment("middling users", (lengths > low) & (lengths <= high), every),
        Segment(f"heavy users (more than {high:.0f})", lengths > high, every),
        Segment("items met in training", _any(asked, ~cold), ~cold),
        Segment("cold items (not met in training)", _any(asked, cold), cold),
    ]
    return [segment for segment in found if segment.users.any()]


def within(asked: Sequence[Question], segment: Segment) -> list[npt.NDArray[np.int32]]:
    """The relevant items, that count in the segment, of each of its users."""
    return [
        question.relevant[segment.items[question.relevant]]
        for question, there in zip(asked, segment.users, strict=True)
        if there
    ]


def _any(asked: Sequence[Question], items: Mask) -> Mask:
    return np.array([items[question.relevant].any() for question in asked], np.bool_)
