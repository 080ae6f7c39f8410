"""Calibrated scores are the rates that come true, and keep their order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis_pipeline.rankers.calibration import Platt, fold, platt, sigmoid


def test_the_fit_finds_the_scale_and_shift_that_made_the_labels() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(2.0, 3.0, 200_000)
    labels = rng.random(logits.shape[0]) < sigmoid(0.4 * logits - 3.0)
    found = platt(logits, labels)
    assert found.scale == pytest.approx(0.4, abs=0.02)
    assert found.shift == pytest.approx(-3.0, abs=0.06)
    assert found.probabilities(logits).mean() == pytest.approx(labels.mean(), rel=1e-3)


@given(
    st.lists(st.tuples(st.floats(-50, 50), st.booleans()), min_size=1, max_size=60),
)
@settings(deadline=None)
def test_probabilities_keep_the_order_of_the_logits(pairs: list[tuple[float, bool]]) -> None:
    logits, labels = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    found = platt(logits, labels)
    assert found.scale > 0
    assert np.isfinite(found.shift)
    assert (np.diff(found.probabilities(np.sort(logits))) >= 0).all()


@pytest.mark.parametrize("label", [True, False])
def test_labels_that_are_all_equal_give_a_probability_short_of_certainty(label: bool) -> None:
    found = platt(np.zeros(8), np.full(8, label))
    probability = found.probabilities(np.zeros(1))[0]
    assert 0 < probability < 1
    assert (probability > 0.5) == label


def test_folded_heads_give_the_calibrated_logits() -> None:
    rng = np.random.default_rng(1)
    params = {
        "w_out": rng.normal(size=(2, 5)).astype(np.float32),
        "wide": rng.normal(size=2).astype(np.float32),
        "bias": rng.normal(size=2).astype(np.float32),
    }
    hidden, wide = rng.normal(size=(7, 5)), rng.normal(size=(7, 1))
    fits = [Platt(0.5, -1.0), Platt(2.0, 0.25)]

    def logits(p: dict[str, np.ndarray]) -> np.ndarray:
        return hidden @ p["w_out"].T + wide * p["wide"] + p["bias"]

    expected = logits(params) * [0.5, 2.0] + [-1.0, 0.25]
    np.testing.assert_allclose(logits(fold(params, fits)), expected, rtol=1e-5, atol=1e-6)
