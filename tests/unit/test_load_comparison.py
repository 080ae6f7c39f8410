"""Two load reports: a regression is found where there is one, and noise is not taken for one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from scenarios import report
from scenarios.comparison import Change, NotComparable, compare
from scenarios.report import SHARE, Figure, Report

COMPARE = Path(__file__).resolve().parents[2] / "loadtest" / "compare.py"


def a_report(pair: str = "", rate: str = "100", **figures: Sequence[float]) -> Report:
    """Names that end in rps are better higher, others lower; failed is a share."""
    return Report(
        scenario="open-loop",
        tool="driver",
        pair=pair,
        about={},
        parameters={"rate": rate},
        figures=tuple(
            Figure(
                name=name,
                unit=SHARE if name == "failed" else "",
                better="higher" if name.endswith("rps") else "lower",
                rounds=tuple(rounds),
            )
            for name, rounds in figures.items()
        ),
        rows=(),
    )


def only(changes: list[Change]) -> Change:
    (change,) = changes
    return change


def noise(seed: int, rounds: int = 6, size: float = 0.03) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(0, size, rounds))


def test_a_slower_answer_and_a_lower_rate_are_worse_and_the_reverse_is_better() -> None:
    before = a_report(p99=10 * noise(0), rps=100 * noise(1))
    slower = a_report(p99=13 * noise(2), rps=70 * noise(3))
    assert [each.regressed() for each in compare(before, slower)] == [True, True]
    assert [each.improved() for each in compare(slower, before)] == [True, True]
    p99, _ = compare(before, slower)
    assert p99.low < 0.3 < p99.high
    assert p99.change == pytest.approx(0.3, abs=0.05)


def test_what_drifts_in_both_hides_nothing_from_a_pair() -> None:
    drift = np.linspace(1, 3, 6)  # the machine got three times slower meanwhile
    one, other = 10 * drift * noise(0, size=0.01), 11.5 * drift * noise(1, size=0.01)
    assert only(compare(a_report("run", p99=one), a_report("run", p99=other))).regressed()
    assert not only(compare(a_report(p99=one), a_report(p99=other))).regressed()
    assert not only(compare(a_report("x", p99=one), a_report("y", p99=other))).regressed()


@pytest.mark.parametrize("pair", ["", "run"])
def test_noise_alone_seldom_raises_an_alarm_over_twenty_figures(pair: str) -> None:
    alarms = 0
    for seed in range(100):
        one, other = (
            {f"p{number}": 10 * noise(10_000 * seed + 100 * side + number) for number in range(20)}
            for side in range(2)
        )
        changes = compare(a_report(pair, **one), a_report(pair, **other))
        alarms += any(each.regressed() for each in changes)
    assert alarms <= 9  # 5 % allowed for worse and better together: P(more than 9) is 0.0003


def test_a_change_nobody_would_act_upon_is_let_pass_however_certain() -> None:
    change = only(compare(a_report(p50=[10.0] * 6), a_report(p50=[10.1] * 6)))
    assert change.p == 0.0
    assert not change.regressed()
    assert change.regressed(tolerance=0.005)


def test_requests_that_begin_to_fail_are_a_regression() -> None:
    before, after = a_report(failed=[0.0] * 6), a_report(failed=[0.1, 0.12, 0.08, 0.1, 0.11, 0.09])
    assert only(compare(before, after)).regressed()
    assert not only(compare(before, before)).regressed()


@pytest.mark.parametrize("before", [0.0, 0.001])
def test_a_few_failures_in_a_hundred_are_a_regression_and_a_few_in_ten_thousand_are_not(
    before: float,
) -> None:
    def failed(share: float) -> Report:
        return a_report("run", failed=share * noise(1, rounds=12))

    assert only(compare(failed(before), failed(before + 0.028))).regressed()
    assert not only(compare(failed(before), failed(before + 0.0004))).regressed()
    assert only(compare(failed(before + 0.028), failed(before))).improved()


def test_reports_of_different_loads_and_of_too_few_rounds_are_not_compared() -> None:
    with pytest.raises(NotComparable, match="parameters"):
        compare(a_report(rate="100", p99=[1, 2, 3]), a_report(rate="90", p99=[1, 2, 3]))
    with pytest.raises(NotComparable, match="2 and 2 rounds"):
        compare(a_report(p99=[1, 2]), a_report(p99=[1, 2]))
    with pytest.raises(NotComparable, match="no figure"):
        compare(a_report(p99=[1, 2, 3]), a_report(p50=[1, 2, 3]))


def test_the_command_fails_on_a_regression_and_on_what_it_cannot_compare(tmp_path: Path) -> None:
    good, bad, other = tmp_path / "good.json", tmp_path / "bad.json", tmp_path / "other.json"
    report.write_text(good, a_report(p99=10 * noise(0)).model_dump_json())
    report.write_text(bad, a_report(p99=20 * noise(1)).model_dump_json())
    report.write_text(other, "{}")

    def ran(*paths: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(COMPARE), *map(str, paths)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ran(good, good).returncode == 0
    assert ran(bad, good).returncode == 0
    worse = ran(good, bad)
    assert worse.returncode == 1
    assert "WORSE" in worse.stdout
    refused = ran(good, other)
    assert refused.returncode == 2
    assert "other.json" in refused.stderr
