"""What changed since the run before is found, by how much it may change; the rest is quiet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis_pipeline.dataset import Dataset
from tamis_pipeline.drift import DriftConfig, drift, stability_index
from tamis_pipeline.readers import read_dataset
from tamis_pipeline.statistics import DAY, Statistics, statistics

START = 1_700_000_000.0
COLOURS = ("red", "green", "blue")


class Shop:
    """A data set whose every part can be changed."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.items = pl.DataFrame(
            {
                "item_id": [f"i{n}" for n in range(300)],
                "colour": rng.choice(COLOURS, 300),
                "price": rng.lognormal(3, 1, 300),
                "text": ["words"] * 300,
            }
        )
        self.events = pl.DataFrame(
            {
                "user_id": [f"u{n % 40}" for n in range(2_000)],
                "item_id": [f"i{n % 300}" for n in range(2_000)],
                "timestamp": START + np.linspace(0, 30 * DAY, 2_000),
                "event_type": rng.choice(["view", "click"], 2_000),
            }
        )

    def read(self, directory: Path) -> Dataset:
        self.items.write_parquet(directory / "items.parquet")
        self.events.write_parquet(directory / "interactions.parquet")
        return read_dataset("own", directory)


@pytest.fixture
def before(tmp_path: Path) -> Statistics:
    return statistics(Shop().read(tmp_path))


def found(before: Statistics, shop: Shop, directory: Path) -> list[str]:
    return [str(each) for each in drift(before, shop.read(directory), DriftConfig())]


def test_nothing_is_found_where_nothing_changed(before: Statistics, tmp_path: Path) -> None:
    assert found(before, Shop(), tmp_path) == []


def test_another_sample_of_the_same_is_no_drift(before: Statistics, tmp_path: Path) -> None:
    assert found(before, Shop(seed=1), tmp_path) == []


def test_statistics_come_back_from_json(before: Statistics) -> None:
    assert Statistics.model_validate_json(before.model_dump_json()) == before


def when(name: str, value: object) -> pl.Expr:
    """``value`` for a third of the rows."""
    third = pl.int_range(pl.len()) % 3 == 0
    return pl.when(third).then(pl.lit(value)).otherwise(pl.col(name)).alias(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (when("colour", None), "items.colour: missing grew by 0.333, allowed 0.05"),
        (when("text", ""), "items.text: missing grew by 0.333"),
        (when("colour", "mauve"), "items.colour: share of values not seen before 0.333"),
        (pl.col("price") * 20, "items.price: stability index"),
        (pl.lit("red").alias("colour"), "items.colour: stability index"),
        (pl.lit(1.5).alias("colour"), "items.colour was category and is number: kinds changed"),
    ],
)
def test_a_column_of_items_that_changed_is_found(
    before: Statistics, tmp_path: Path, change: pl.Expr, message: str
) -> None:
    shop = Shop()
    shop.items = shop.items.with_columns(change)
    assert any(line.startswith(message) for line in found(before, shop, tmp_path))


def test_a_column_that_is_gone_is_found(before: Statistics, tmp_path: Path) -> None:
    shop = Shop()
    shop.items = shop.items.drop("price")
    assert found(before, shop, tmp_path)[0].startswith("items.price: the column is gone")


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (pl.col("timestamp") < START + 20 * DAY, "days by which the last event is earlier"),
        (
            ~pl.col("timestamp").is_between(START + 10 * DAY, START + 19 * DAY),
            "longest time without an event, days 9",
        ),
        (pl.int_range(pl.len()) % 3 == 0, "events a day fell by a factor of"),
    ],
)
def test_events_that_are_missing_are_found(
    before: Statistics, tmp_path: Path, kept: pl.Expr, message: str
) -> None:
    shop = Shop()
    shop.events = shop.events.filter(kept)
    assert any(message in line for line in found(before, shop, tmp_path))


def test_rows_that_can_not_be_used_any_more_are_found(before: Statistics, tmp_path: Path) -> None:
    shop = Shop()
    shop.events = shop.events.with_columns(when("item_id", "ghost"))
    assert any("with an unknown item: share grew by" in line for line in
               found(before, shop, tmp_path))  # fmt: skip


shares = st.lists(st.floats(0.01, 1), min_size=1, max_size=6).map(
    lambda weights: {str(n): weight / sum(weights) for n, weight in enumerate(weights)}
)


@given(shares, shares)
def test_the_stability_index_is_a_symmetric_distance(
    left: dict[str, float], right: dict[str, float]
) -> None:
    assert stability_index(left, left) == 0
    assert stability_index(left, right) >= 0
    assert stability_index(left, right) == pytest.approx(stability_index(right, left))


def test_the_stability_index_by_hand() -> None:
    # (0.6 - 0.5) ln(0.6 / 0.5) + (0.4 - 0.5) ln(0.4 / 0.5)
    assert stability_index({"a": 0.5, "b": 0.5}, {"a": 0.6, "b": 0.4}) == pytest.approx(
        0.04055, abs=1e-5
    )
