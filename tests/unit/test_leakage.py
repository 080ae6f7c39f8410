"""The check for leaks is one that can fail: whatever of the test part is put in, it finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.dataset import Interactions
from tamis_pipeline.leakage import Leaked, require_no_leak, shared
from tamis_pipeline.split import Split
from tamis_pipeline.synthetic import random_parts
from tamis_server.bundles.manifest import POPULARITY, USERS

USER_IDS = tuple(f"user-{n}" for n in range(20))


def events(rows: list[tuple[int, int, int, int]]) -> Interactions:
    columns = np.array(rows, np.float64).reshape(-1, 4).T
    return Interactions(
        columns[0].astype(np.int32), columns[1].astype(np.int32), columns[2],
        columns[3].astype(np.uint8),
    )  # fmt: skip


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_bundle(random_parts(items=50, users=20), tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def parts(bundle: Path) -> Split:
    """What the bundle may know is each item once; the test is one event more of user 3."""
    train = events([(0, item, item, 1) for item in range(50)])
    return Split(train, train.take(np.zeros(50, bool)), events([(3, 7, 99, 1)]), train)


def test_a_bundle_that_knows_nothing_of_the_test_passes(bundle: Path, parts: Split) -> None:
    require_no_leak(bundle, parts, USER_IDS)


def test_an_event_of_the_test_in_training_is_found(bundle: Path, parts: Split) -> None:
    leaky = Split(parts.fit, parts.validation, parts.train.take(np.array([4])), parts.train)
    with pytest.raises(Leaked, match=r"the training part \(1\)"):
        require_no_leak(bundle, leaky, USER_IDS)


def test_an_event_of_the_test_in_a_history_is_found(bundle: Path, parts: Split) -> None:
    known = pq.read_table(bundle / USERS).to_pylist()
    user = next(number for number, each in enumerate(known) if each["rows"])
    own = known[user]
    row = (user, own["rows"][0], own["times"][0], own["kinds"][0])
    test = Interactions(
        np.array(row[:1], np.int32), np.array(row[1:2], np.int32),
        np.array(row[2:3]), np.array(row[3:], np.uint8),
    )  # fmt: skip
    with pytest.raises(Leaked, match=r"users\.parquet \(1\)"):
        require_no_leak(bundle, Split(parts.fit, parts.validation, test, parts.train), USER_IDS)


def test_popularity_that_only_the_test_can_have_given_is_found(bundle: Path, parts: Split) -> None:
    popularity = np.load(bundle / POPULARITY)
    popularity[7] = 1
    np.save(bundle / POPULARITY, popularity)
    without = parts.train.take(parts.train.items != 7)
    with pytest.raises(Leaked, match=r"popularity\.npy"):
        require_no_leak(bundle, Split(without, without, parts.test, without), USER_IDS)


rows = st.lists(st.tuples(*(st.integers(0, 3),) * 3, st.integers(1, 2)), max_size=20)


@given(rows, rows)
def test_shared_events_are_those_of_both_lists(
    left: list[tuple[int, int, int, int]], right: list[tuple[int, int, int, int]]
) -> None:
    expected = sum(event in left for event in right)
    assert shared(events(left), events(right)) == expected
