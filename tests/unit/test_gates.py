"""A bundle that is worse than the one being served by more than it may be is told so."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tamis_pipeline.gates import NotPromoted, judge

METRIC = "methods/whole funnel/NDCG@20"
values = st.floats(0, 1)


def report(value: object) -> dict[str, object]:
    return {"methods": {"whole funnel": {"NDCG@20": value}}}


@given(values, values, values)
def test_a_metric_passes_unless_it_falls_by_more_than_its_margin(
    serving: float, new: float, margin: float
) -> None:
    [verdict] = judge(report(serving), report(new), {METRIC: margin})
    assert verdict.passed == (new >= serving - margin)


def test_a_metric_that_only_the_new_bundle_lacks_fails() -> None:
    for lacking in ({}, report(None), report("0.9"), {"methods": 3}):
        [verdict] = judge(report(0.1), lacking, {METRIC: 0.5})
        assert not verdict.passed
        assert "not measured, serving 0.1000" in str(verdict)


def test_a_metric_that_the_serving_bundle_lacks_decides_nothing() -> None:
    assert judge({}, report(0.1), {METRIC: 0.0})[0].passed
    assert judge({}, {}, {METRIC: 0.0})[0].passed


def test_the_refusal_names_metric_values_and_margin_of_what_failed_only() -> None:
    serving = {"a": 0.5, "b": 0.5}
    verdicts = judge(serving, {"a": 0.4, "b": 0.5}, {"a": 0.05, "b": 0.05})
    message = str(NotPromoted("new-1", "old-1", verdicts))
    assert message == (
        "new-1 is not promoted over old-1: a: 0.4000, serving 0.5000, may fall by 0.05"
    )
