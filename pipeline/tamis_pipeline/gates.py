"""Whether a new bundle may take the place of the one being served, by what was measured of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tamis_server.domain.errors import TamisError


@dataclass(frozen=True, slots=True)
class Verdict:
    """One metric of both bundles, None where one has not been measured by it."""

    metric: str
    serving: float | None
    new: float | None
    margin: float

    @property
    def passed(self) -> bool:
        """Not more than the margin below; a metric that the serving bundle lacks decides nothing,
        one that only the new bundle lacks fails."""
        if self.serving is None:
            return True
        return self.new is not None and self.new >= self.serving - self.margin

    def __str__(self) -> str:
        new = "not measured" if self.new is None else f"{self.new:.4f}"
        serving = "not measured" if self.serving is None else f"{self.serving:.4f}"
        return f"{self.metric}: {new}, serving {serving}, may fall by {self.margin:g}"


class NotPromoted(TamisError):
    """A bundle that is worse than the one being served by more than it may be."""

    def __init__(self, bundle_id: str, serving_id: str, verdicts: list[Verdict]) -> None:
        self.verdicts = verdicts
        reasons = "; ".join(str(each) for each in verdicts if not each.passed)
        super().__init__(f"{bundle_id} is not promoted over {serving_id}: {reasons}")


def judge(
    serving: Mapping[str, Any], new: Mapping[str, Any], margins: Mapping[str, float]
) -> list[Verdict]:
    """A verdict for each metric of ``margins``. Metrics are paths into evaluation.json, as in
    ``methods/whole funnel/NDCG@20``; higher is better."""
    return [
        Verdict(metric, _metric(serving, metric), _metric(new, metric), margin)
        for metric, margin in margins.items()
    ]


def measured_beside(new: Mapping[str, Any], serving_id: str) -> Mapping[str, Any] | None:
    """What ``new``, the report of a new bundle, says of ``serving_id``: measured by the same
    questions, so that both can be compared. None where it says nothing of that one."""
    found = new.get("serving")
    beside = isinstance(found, Mapping) and found.get("bundle_id") == serving_id
    return found if beside else None


def _metric(report: Any, path: str) -> float | None:
    for key in path.split("/"):
        report = report.get(key) if isinstance(report, Mapping) else None
    number = isinstance(report, int | float) and not isinstance(report, bool)
    return float(report) if number else None
