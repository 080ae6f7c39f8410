"""What counts in the mean of parameters."""

from __future__ import annotations

import numpy as np
import pytest

from tamis_pipeline.averaging import newest


def test_the_first_steps_count_alike_and_what_was_there_before_them_nothing() -> None:
    values = np.random.default_rng(0).normal(size=10)
    mean = 1e9
    for step, value in enumerate(values):
        mean += newest(step, 10) * (value - mean)
    assert mean == pytest.approx(values.mean())


def test_later_the_mean_forgets_within_some_spans() -> None:
    mean = 0.0
    for step in range(200):
        mean += newest(step, 20) * ((0.0 if step < 20 else 1.0) - mean)
    assert 0.999 < mean < 1.0
