"""A column of the wrong type stops with file, column and row; a missing value never does."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis_pipeline.dataset import DatasetRejected, iso_time
from tamis_pipeline.readers import read_dataset
from tamis_pipeline.readers.columns import checked

PATH = Path("shop/items.csv")


@pytest.mark.parametrize(
    ("name", "values", "wrong", "what"),
    [
        ("timestamp", ["2026-01-01", "", None, "2026-01-02"], "yesterday", "a time is"),
        ("created_at", ["2026-01-01T10:00:00"], "n/a", "a time is"),
        ("timestamp", [[1]], [2], "a time is"),
        ("available", [True, None], "maybe", "true or false"),
        ("available", [0, 1, None], 2, "true or false"),
        ("value", ["1.5", ""], "free", "a number"),
        ("item_id", [["a"]], ["b"], "an id is"),
        ("title", [["a"]], ["b"], "is to be text"),
        ("price", ["1.5", "2", "", None] * 10, "cheap", "holds numbers otherwise"),
        ("size", [{"w": 1}], {"w": 2}, "an attribute is"),
    ],
)
def test_the_first_value_of_the_wrong_type_is_named(
    name: str, values: list[Any], wrong: Any, what: str
) -> None:
    good = pl.DataFrame({name: pl.Series(values, strict=False)})
    if not good.schema[name].is_nested():
        checked(good, PATH)
    else:
        values = [None] * len(values)  # there is no good one of this type
    rows = [*values, wrong, wrong]
    column = [None if row is None else str(row) for row in rows]
    mixed = isinstance(wrong, str)
    frame = pl.DataFrame({name: pl.Series(column if mixed else rows)})
    row = len(values) + 1 if name != "available" or not mixed else 1
    with pytest.raises(DatasetRejected, match=rf"shop/items\.csv, column {name}, row {row}: ") as e:
        checked(frame, PATH)
    assert what in str(e.value)


def test_words_that_are_numbers_now_and_then_are_a_category() -> None:
    checked(pl.DataFrame({"size": ["S", "M", "38", "40", "L"]}), PATH)


def test_a_late_value_of_the_wrong_type_is_found(tmp_path: Path) -> None:
    rows = [f"i{n},{n}.5" for n in range(20_000)]
    rows[15_000] = "i15000,n/a"
    (tmp_path / "items.csv").write_text("item_id,price\n" + "\n".join(rows))
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp\nu,i1,1\n")
    with pytest.raises(DatasetRejected, match=r"items\.csv, column price, row 15001: 'n/a'"):
        read_dataset("own", tmp_path)


MILLISECONDS = 1_767_261_600_000


@pytest.mark.parametrize(
    ("name", "good", "wrong", "hint"),
    [
        ("timestamp", 1_767_261_600, MILLISECONDS, "; are these milliseconds?"),
        ("created_at", 1_767_261_600.5, float(MILLISECONDS), "; are these milliseconds?"),
        ("received_at", 0, MILLISECONDS * 1_000, "; are these microseconds?"),
        ("timestamp", None, MILLISECONDS * 1_000_000, "; are these nanoseconds?"),
        ("timestamp", 4_102_444_800, -1, "; a number is seconds"),
        ("timestamp", float("nan"), float("inf"), "; a number is seconds"),
        ("created_at", "1862-05-01", "9999-12-31", "a time is from 0001-01-01 to 2100-01-01"),
        ("timestamp", "1970-01-01", "1969-12-31T23:59:59Z", "from 1970-01-01 to 2100-01-01"),
        ("timestamp", datetime(2026, 1, 1), datetime(5000, 1, 1), "to 2100-01-01"),  # noqa: DTZ001
    ],
)
def test_a_time_that_can_not_be_meant_is_named_with_its_row(
    name: str, good: Any, wrong: Any, hint: str
) -> None:
    checked(pl.DataFrame({name: pl.Series([good, good, None], strict=False)}), PATH)
    frame = pl.DataFrame({name: pl.Series([good, good, None, wrong], strict=False)})
    with pytest.raises(DatasetRejected, match=rf"items\.csv, column {name}, row 4: ") as caught:
        checked(frame, PATH)
    assert hint in str(caught.value)


def test_a_column_of_times_that_are_all_missing_is_no_reason_to_stop(tmp_path: Path) -> None:
    pl.DataFrame({"item_id": ["a"], "created_at": [None]}).write_parquet(tmp_path / "items.parquet")
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp\nu,a,1\n")
    data = read_dataset("own", tmp_path)
    assert data.items.column("created_at").to_pylist() == [None]


def test_times_of_several_forms_in_one_column_are_all_read() -> None:
    same = ["2026-01-01T10:00", "2026-01-01 10:00:00", "2026-01-01T12:00:00.0+0200",
            "2026-01-01T10:00:00Z", " 2026-01-01T12:00+02:00"]  # fmt: skip
    found = pl.DataFrame({"t": same}).select(iso_time(pl.col("t")).dt.epoch("s")).to_series()
    assert found.to_list() == [1_767_261_600] * len(same)


identifiers = st.sampled_from(["a", "b", "c", "", None])
times = st.none() | st.sampled_from(
    ["", "2026-01-01", "2026-01-01T10:00:00+02:00", "2026-01-01 10:00:00"]
)
kinds = st.sampled_from(["view", "purchase", "stare", "", None])
rows = st.lists(st.tuples(identifiers, identifiers, times, kinds), max_size=30)


@settings(deadline=None)
@given(rows)
def test_every_interaction_is_used_or_counted(events: list[tuple[str | None, ...]]) -> None:
    names = ("user_id", "item_id", "timestamp", "event_type")
    always = ("a", "a", "2025-01-01", "view")
    frame = pl.DataFrame([always, *events], schema=dict.fromkeys(names, pl.String), orient="row")
    with TemporaryDirectory() as directory:
        pl.DataFrame({"item_id": ["a", "b"]}).write_csv(Path(directory) / "items.csv")
        frame.write_parquet(Path(directory) / "interactions.parquet")
        data = read_dataset("own", Path(directory))
    usable = {
        event for event in [always, *events]
        if event[0] and event[1] in ("a", "b") and event[2] and event[3] in ("view", "purchase")
    }  # fmt: skip
    assert len(data.interactions) == len(usable)
    dropped = sum(n for reason, n in data.problems.items() if reason.startswith("interactions"))
    assert len(data.interactions) + dropped == len(frame)
    assert (data.interactions.times[1:] >= data.interactions.times[:-1]).all()


numbers = st.none() | st.floats(width=32) | st.just(float("nan"))


@settings(deadline=None)
@given(st.lists(numbers, min_size=1, max_size=20))
def test_numbers_that_are_none_are_missing_and_counted(values: list[float | None]) -> None:
    with TemporaryDirectory() as directory:
        frame = pl.DataFrame(
            {"item_id": [f"i{n}" for n in range(len(values))], "price": values},
            schema={"item_id": pl.String, "price": pl.Float64},
        )
        frame.write_parquet(Path(directory) / "items.parquet")
        event = {"user_id": ["u"], "item_id": ["i0"], "timestamp": [datetime.now(UTC)]}
        pl.DataFrame(event).write_parquet(Path(directory) / "interactions.parquet")
        data = read_dataset("own", Path(directory))
    found = data.items.column("price").to_pylist()
    for value, kept in zip(values, found, strict=True):
        finite = value is not None and abs(value) < float("inf")
        assert (kept is not None) == finite
    strange = sum(value is not None and not abs(value) < float("inf") for value in values)
    reason = "items whose price is no finite number (taken as missing)"
    assert data.problems.get(reason, 0) == strange
