"""Made-up users have tastes, do nothing impossible, and are of the seed."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from tamis_pipeline.cli import app
from tamis_pipeline.dataset import DatasetRejected
from tamis_pipeline.readers import read_dataset
from tamis_pipeline.simulation import DAY, DAYS, END, simulate, write


@pytest.fixture
def catalogue() -> pl.DataFrame:
    number = pl.int_range(300, eager=True)
    return pl.DataFrame(
        {
            "item_id": number.cast(pl.String),
            "title": ["Plain shirt", "Red hat", None] * 100,
            "image": ["pictures/a.png", "../../escape.png", None] * 100,
            "category": ["shirt", "hat", "shoe", "sock", None] * 60,
            "price": number.cast(pl.Float64),
        }
    )


def test_users_look_before_they_click_and_at_nothing_twice(catalogue: pl.DataFrame) -> None:
    events = simulate(catalogue, 30, seed=1)
    assert events["user_id"].n_unique() == 30
    assert events["timestamp"].is_between(END - DAYS * DAY, END).all()
    assert events["timestamp"].is_sorted()
    views = events.filter(event_type="view")
    assert views.select("user_id", "item_id").is_duplicated().sum() == 0
    for own in events.partition_by("user_id", "item_id"):
        assert own["event_type"][0] == "view"


def test_tastes_differ(catalogue: pl.DataFrame) -> None:
    views = simulate(catalogue, 40, seed=1).filter(event_type="view").join(catalogue, on="item_id")
    shares = views.group_by("user_id").agg(
        most=pl.col("category").value_counts(sort=True).first().struct.field("count") / pl.len(),
        views=pl.len(),
    )
    assert shares.filter(pl.col("views") > 10)["most"].mean() > 0.35


def test_more_users_leave_the_others_as_they_were(catalogue: pl.DataFrame) -> None:
    few, many = simulate(catalogue, 5, seed=1), simulate(catalogue, 9, seed=1)
    assert few.equals(many.filter(pl.col("user_id").is_in(few["user_id"].unique().to_list())))
    assert not few.equals(simulate(catalogue, 5, seed=2))


def test_a_catalogue_becomes_a_data_set_that_can_be_read(
    catalogue: pl.DataFrame, tmp_path: Path
) -> None:
    source, out = tmp_path / "catalogue", tmp_path / "deep" / "data"
    (source / "pictures").mkdir(parents=True)
    (source / "pictures" / "a.png").write_bytes(b"picture")
    (tmp_path / "escape.png").write_bytes(b"not of the catalogue")
    catalogue.write_parquet(source / "items.parquet")
    with pytest.raises(DatasetRejected, match="tamis pipeline simulate"):
        read_dataset("own", source)
    count = write("own", source, out, users=20, seed=3)
    data = read_dataset("own", out)
    assert len(data.interactions) == count
    assert (out / "pictures" / "a.png").read_bytes() == b"picture"
    assert len([path for path in out.rglob("*") if path.is_file()]) == 3


def test_a_catalogue_in_another_format_is_named_as_every_command_names_it(tmp_path: Path) -> None:
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,A (1990),Drama\n2,B,Drama\n")
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n")
    arguments = ["--input", str(tmp_path), "--out", str(tmp_path / "out"), "--users", "3"]
    done = CliRunner().invoke(app, ["simulate", *arguments, "--dataset", "movielens-small"])
    assert done.exit_code == 0, done.output
    assert set(read_dataset("own", tmp_path / "out").items["item_id"].to_pylist()) == {"1", "2"}
