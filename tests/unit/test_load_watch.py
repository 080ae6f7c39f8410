"""Whether what a server takes grows: a leak is told from peaks and from a restart."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from serving import Server

from scenarios import DEMO
from scenarios.disturbances import Releases
from scenarios.watch import growth, watching
from tamis_server.bundles.loader import verify

AT_S = np.arange(0.0, 1200.0, 5.0)


def noisy(values: np.ndarray) -> list[float]:
    found: list[float] = (values + np.random.default_rng(0).normal(0, 1, values.shape)).tolist()
    return found


def test_a_leak_is_found_under_the_peaks_of_swaps() -> None:
    peaks = np.where(np.arange(AT_S.size) % 12 == 0, 200.0, 0.0)
    leaking = growth(AT_S.tolist(), noisy(300 + 0.02 * AT_S + peaks), [])
    flat = growth(AT_S.tolist(), noisy(300 + peaks), [])
    assert leaking == pytest.approx(0.02, rel=0.1)
    assert flat == pytest.approx(0.0, abs=0.004)


def test_what_two_bundles_take_during_swaps_is_left_out() -> None:
    begins = np.arange(10.0, 1200.0, 30.0)
    swaps = np.stack([begins, begins + 4], axis=1).ravel().tolist()
    both = ((AT_S[:, None] >= begins) & (AT_S[:, None] <= begins + 7)).any(axis=1)
    # ever more of both, as the machine gets busy, is nothing that stays
    values = noisy(300 + np.where(both, 100 + 0.2 * AT_S, 0))
    assert growth(AT_S.tolist(), values, [], swaps) == pytest.approx(0.0, abs=0.004)
    leaking = noisy(300 + 0.02 * AT_S + np.where(both, 100, 0))
    assert growth(AT_S.tolist(), leaking, [], swaps) == pytest.approx(0.02, rel=0.1)


def test_a_leak_that_a_restart_ends_is_a_leak_all_the_same() -> None:
    saw = 300 + 0.05 * (AT_S % 400)
    found = growth(AT_S.tolist(), noisy(saw), [400.0, 401.0, 800.0, 801.0])
    assert found == pytest.approx(0.05, rel=0.1)
    assert growth(AT_S.tolist(), noisy(300 + 0 * AT_S), [400.0, 401.0]) == pytest.approx(
        0.0, abs=0.004
    )


def test_caches_that_fill_at_first_are_no_leak_and_a_short_run_tells_nothing() -> None:
    filling = 300 + 100 * np.minimum(AT_S / 200, 1)
    found = growth(AT_S.tolist(), noisy(filling), [])
    assert found == pytest.approx(0.0, abs=0.004)
    assert growth(AT_S[:20].tolist(), noisy(AT_S[:20]), []) is None


def test_what_a_process_takes_is_sampled_until_the_end() -> None:
    with watching(Server("", os.getpid()), every_s=60) as seen:
        pass
    assert len(seen.at_s) == len(seen.memory_mb) == len(seen.descriptors) >= 1
    assert seen.memory_mb[0] > seen.anonymous_mb[0] > 10
    assert seen.descriptors[0] > 2
    assert {series.plot for series in seen.series()} == {"Memory", "Descriptors"}


def test_releases_are_whole_bundles_that_differ_in_nothing_but_their_ids(tmp_path: Path) -> None:
    releases = Releases(DEMO, tmp_path)
    manifests = [verify(releases.link)]
    manifests += [verify(releases.link) for _ in range(2) if releases.release()]
    assert [each.bundle_id for each in manifests] == [*releases.ids, releases.ids[0]]
    assert manifests[0].files == manifests[1].files
    assert manifests[0].bundle_id == verify(DEMO).bundle_id
