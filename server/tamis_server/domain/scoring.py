"""Ranking models as the funnel's adapters see them: named arrays in, named arrays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from tamis_server.domain.context import Deadline

Arrays = Mapping[str, npt.NDArray[Any]]
Outputs = Arrays
_HISTORY = 50  # events, for a model that takes any number


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model reads and gives: shapes by name, the users' dimension first, -1: any."""

    inputs: Mapping[str, tuple[int, ...]]
    outputs: Sequence[str]

    @property
    def history(self) -> int:
        """How many events it reads."""
        lengths = [shape[1] for name, shape in self.inputs.items() if name.startswith("history_")]
        return _HISTORY if -1 in lengths else max(lengths, default=0)


class ScoringModel(Protocol):
    """Runs one ranking model, wherever it is."""

    @property
    def name(self) -> str: ...

    async def signature(self, deadline: Deadline) -> Signature:
        """Raises DependencyFailed."""

    async def run(
        self, inputs: Arrays, deadline: Deadline, check: Callable[[Outputs], None]
    ) -> Outputs:
        """Its outputs by name. Raises DependencyFailed, also where ``check`` does: then the
        answer counts as a failure."""
