"""Scores as probabilities: Platt scaling (Platt, 1999) for each objective, and how good it is.

It is fitted on whole candidate lists, so that the rate of positives is the one of serving, whatever
share of negatives a model learned from. The two numbers are folded into the heads: free to serve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
BINS = 15
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Platt:
    """probability = sigmoid(scale * logit + shift)."""

    scale: float
    shift: float

    def probabilities(self, logits: npt.NDArray[np.floating]) -> Float64:
        return sigmoid(self.scale * logits.astype(np.float64) + self.shift)


def platt(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.bool_]) -> Platt:
    """The maximum-likelihood fit of n logits to their labels, by Newton's method.

    Where all labels are equal nothing can be learned but the rate: one success and one failure are
    added to them (Platt's own remedy), and scale stays 1 where the fit would turn the order round.
    """
    x = logits.astype(np.float64)
    hits, misses = float(labels.sum()), float((~labels).sum())
    targets = np.where(labels, (hits + 1) / (hits + 2), 1 / (misses + 2))
    rate = (hits + 1) / (hits + misses + 2)
    centre = float(x.mean())
    x = x - centre
    scale, shift = 1.0, float(np.log(rate / (1 - rate)))
    loss = _loss(x, targets, scale, shift)
    for _ in range(_STEPS):
        p = sigmoid(scale * x + shift)
        weight = np.maximum(p * (1 - p), 1e-12)
        gradient = np.array([((p - targets) * x).sum(), (p - targets).sum()])
        cross = (weight * x).sum()
        hessian = np.array([[(weight * x * x).sum() + 1e-9, cross], [cross, weight.sum() + 1e-9]])
        step = np.linalg.solve(hessian, gradient)
        length = 1.0
        while length > 1e-6:
            tried = (scale - length * step[0], shift - length * step[1])
            after = _loss(x, targets, *tried)
            if after < loss:
                break
            length /= 2
        else:
            break
        (scale, shift), gained, loss = tried, loss - after, after
        if gained < 1e-12 * max(1.0, abs(loss)):
            break
    if scale <= 0:
        return Platt(1.0, float(np.log(rate / (1 - rate))) - centre)
    return Platt(float(scale), float(shift - scale * centre))


def sigmoid(x: npt.NDArray[np.floating]) -> Float64:
    decayed = np.exp(-np.abs(x))
    found: Float64 = np.where(x >= 0, 1, decayed) / (1 + decayed)
    return found


def _loss(x: Float64, targets: Float64, scale: float, shift: float) -> float:
    logits = scale * x + shift
    return float((np.logaddexp(0, logits) - targets * logits).sum())


def fold(params: dict[str, Float32], fits: list[Platt]) -> dict[str, Float32]:
    """``params`` whose heads (w_out, wide and bias) give calibrated logits."""
    scale = np.array([fit.scale for fit in fits], np.float32)
    shift = np.array([fit.shift for fit in fits], np.float32)
    return {
        **params,
        "w_out": params["w_out"] * scale[:, None],
        "wide": params["wide"] * scale,
        "bias": params["bias"] * scale + shift,
    }
