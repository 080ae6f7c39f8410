"""How good a ranker is on whole candidate lists that it did not learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis_pipeline.evaluation import probabilities as metrics
from tamis_pipeline.rankers.calibration import Platt
from tamis_pipeline.rankers.exposures import Exposures
from tamis_pipeline.rankers.objectives import labels
from tamis_server.bundles.manifest import Objective

Quality = dict[str, dict[str, Any]]


def quality(
    logits: npt.NDArray[np.float32],
    fits: Sequence[Platt],
    lists: Exposures,
    objectives: Sequence[Objective],
) -> Quality:
    """By objective: AUC, GAUC, and of the probabilities that ``fits`` make of logits
    float32[n, c, o] logloss and ECE, with that of the logits as they are beside it, and what was
    foretold and came in each bin. AUC and GAUC are None where there is nothing to tell apart: no
    item of the lists was taken to so."""
    there, hits = lists.items >= 0, labels(lists.outcomes, objectives) > 0
    groups = np.repeat(np.arange(len(lists)), lists.items.shape[1])[there.ravel()]
    found: Quality = {}
    for head, (objective, fit) in enumerate(zip(objectives, fits, strict=True)):
        wanted = np.zeros(there.shape, np.bool_)
        wanted[:, 0] = hits[:, head]
        wanted, scores = wanted[there], logits[..., head][there].astype(np.float64)
        calibrated = fit.probabilities(scores)
        foretold, came, _ = metrics.reliability(wanted, calibrated)
        found[objective.name] = {
            "AUC": _defined(metrics.auc(wanted, scores)),
            "GAUC": _defined(metrics.gauc(wanted, scores, groups)),
            "logloss": metrics.logloss(wanted, calibrated),
            "ECE": metrics.ece(wanted, calibrated),
            "ECE uncalibrated": metrics.ece(wanted, Platt(1.0, 0.0).probabilities(scores)),
            "rate": float(wanted.mean()),
            "foretold": foretold.tolist(),
            "came": came.tolist(),
        }
    return found


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value  # JSON has no NaN
