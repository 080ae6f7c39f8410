"""What rankers predict, each a head of its own: which events count as success."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tamis_pipeline.rankers.requests import UInt16
from tamis_server.bundles.manifest import Objective
from tamis_server.domain.context import EventKind

# the first is what a model's progress is judged by: it must hold of every positive
DEFAULT = (
    Objective(name="click", events=("view", "click", "add_to_cart", "purchase", "like"), weight=1),
    Objective(name="like", events=("purchase", "like"), weight=1),
)


def labels(outcomes: UInt16, objectives: Sequence[Objective]) -> npt.NDArray[np.float32]:
    """float32[n, o]: 1 where one of the events of the objective happened, otherwise 0."""
    wanted = [
        sum(1 << EventKind[event.upper()] for event in objective.events) for objective in objectives
    ]
    return (outcomes[:, None] & np.array(wanted, np.uint16) > 0).astype(np.float32)
