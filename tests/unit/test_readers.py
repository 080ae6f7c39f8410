"""Published data sets in the formats they come in: small ones made here, whole where they are."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import polars as pl
import pytest

from tamis_pipeline.dataset import DatasetRejected
from tamis_pipeline.readers import read_catalogue, read_dataset
from tamis_server.domain.context import EventKind


@pytest.fixture
def hundred(tmp_path: Path) -> Path:
    flags = {1: "0|1|1", 2: "1|0|0"}
    movies = [f"{n}|Film {n} (199{n})|01-Jan-199{n}||url|{own}" for n, own in flags.items()]
    (tmp_path / "u.genre").write_text("unknown|0\nAction|1\nComedy|2\n\n")
    (tmp_path / "u.item").write_text("\n".join(movies) + "\n")
    (tmp_path / "u.user").write_text("1|24|M|writer|85711\n2|50|F|other|T8H1N\n")
    ratings = ["0\t1\t5\t100", "1\t1\t5\t100", "1\t2\t1\t90", "2\t2\t3\t110"]
    (tmp_path / "u.data").write_text("\n".join(ratings) + "\n")
    return tmp_path


@pytest.fixture
def ncf(tmp_path: Path) -> Path:
    (tmp_path / "movies.dat").write_bytes(
        "10::Caf\xe9 (1990)::Comedy\n20::B (1991)::Drama\n30::C (1992)::Drama\n".encode("latin-1")
    )
    (tmp_path / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::70072\n")
    pairs = {"userID": ["1", "1", "2", "2"], "movieID": ["10", "20", "20", "30"]}
    pl.DataFrame(pairs).write_parquet(tmp_path / "ratings.parquet")
    (tmp_path / "ncf_item_map.tsv").write_text("ncf_item\tmovie_id\n0\t10\n1\t20\n2\t30\n")
    with gzip.open(tmp_path / "ml-1m.test.negative.gz", "wt") as file:
        file.write("(0,0)\t2\n(1,2)\t0\n")
    return tmp_path


def test_movielens_100k_has_profiles_and_counts_a_user_nobody_knows(hundred: Path) -> None:
    data = read_dataset("movielens-100k", hundred)
    assert data.user_ids == ("1", "2")
    assert list(data.problems.values()) == [1]
    assert data.interactions.kinds.tolist() == [EventKind.DISLIKE, EventKind.LIKE, EventKind.VIEW]
    assert data.items.column("genres").to_pylist() == [["Action", "Comedy"], []]
    assert data.profiles is not None
    assert data.profiles.column("user_id").to_pylist() == ["1", "2"]
    assert data.profiles.column("region").to_pylist() == ["8", "T"]
    kinds = {attribute.name: attribute.kind for attribute in data.profile_attributes}
    assert kinds == {"age": "number", "gender": "category", "occupation": "category",
                     "region": "category"}  # fmt: skip


def test_without_opinions_whatever_was_met_is_a_view(hundred: Path) -> None:
    data = read_dataset("movielens-100k", hundred, opinions=False)
    assert data.interactions.kinds.tolist() == [EventKind.VIEW] * 3


def test_a_line_of_the_wrong_width_is_refused_by_its_number(hundred: Path) -> None:
    (hundred / "u.data").write_text("1\t1\t5\t100\n1\t2\t5\n")
    with pytest.raises(DatasetRejected, match=r"u\.data, line 2: 3 fields.*stars"):
        read_dataset("movielens-100k", hundred)


def test_ncf_has_its_pairs_in_the_order_of_the_file_and_the_given_negatives(ncf: Path) -> None:
    data = read_dataset("movielens-1m-ncf", ncf)
    assert data.items.column("title").to_pylist()[0] == "Caf\xe9 (1990)"
    assert data.interactions.items.tolist() == [0, 1, 1, 2]
    assert data.interactions.users.tolist() == [0, 0, 1, 1]
    assert data.held_out is not None
    assert data.held_out.users.tolist() == [0, 1]
    assert data.held_out.items.tolist() == [0, 2]
    assert data.held_out.negatives.tolist() == [[2], [0]]


def test_an_item_that_the_map_does_not_know_is_refused_by_its_line(ncf: Path) -> None:
    with gzip.open(ncf / "ml-1m.test.negative.gz", "wt") as file:
        file.write("(0,0)\t2\n(1,7)\t0\n")
    with pytest.raises(DatasetRejected, match=r"negative\.gz, line 2.*'7'"):
        read_dataset("movielens-1m-ncf", ncf)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "movies.csv").write_text('movieId,title,genres\n1,"A, B (1990)",Drama\n2,C,Drama\n')
    (tmp_path / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n1,1,4.5,100\n1,2,,101\n"
    )
    return tmp_path


def test_a_missing_number_stops_nothing(small: Path) -> None:
    data = read_dataset("movielens-small", small)
    assert data.items.column("title").to_pylist() == ["A, B (1990)", "C"]
    assert data.interactions.kinds.tolist() == [EventKind.LIKE, EventKind.DISLIKE]


@pytest.mark.parametrize(
    ("name", "found", "wrong", "where"),
    [
        ("ratings.csv", "4.5", "good", "column rating, row 1: 'good' (String); is to be a number"),
        ("ratings.csv", ",101", ",now", "column timestamp, row 2: 'now'"),
        ("ratings.csv", ",101", ",964982703000", "column timestamp, row 2: 964982703000"),
        ("ratings.csv", "1,2,", "me,2,", "column userId, row 2: 'me'"),
        ("movies.csv", "2,C", "2.5,C", "column movieId, row 2: '2.5' (String); is to be a whole"),
    ],
)
def test_a_wrong_value_of_movielens_is_named(
    small: Path, name: str, found: str, wrong: str, where: str
) -> None:
    text = (small / name).read_text()
    (small / name).write_text(text.replace(found, wrong, 1))
    with pytest.raises(DatasetRejected) as caught:
        read_dataset("movielens-small", small)
    assert f"{small / name}, {where}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "found", "wrong", "where"),
    [
        ("u.data", "\t90", "\tlate", "column timestamp, row 3: 'late'"),
        ("u.user", "|50|", "|old|", "column age, row 2: 'old'"),
        ("u.item", "|0|1|1", "|0|yes|1", "column Action, row 1: 'yes'"),
    ],
)
def test_a_wrong_value_of_movielens_100k_is_named(
    hundred: Path, name: str, found: str, wrong: str, where: str
) -> None:
    text = (hundred / name).read_text()
    (hundred / name).write_text(text.replace(found, wrong, 1))
    with pytest.raises(DatasetRejected) as caught:
        read_dataset("movielens-100k", hundred)
    assert f"{hundred / name}, {where}" in str(caught.value)


def test_a_wrong_value_of_ncf_and_of_fashion_is_named(ncf: Path) -> None:
    pairs = {"userID": ["1", "2"], "movieID": ["10", "ten"]}
    pl.DataFrame(pairs).write_parquet(ncf / "ratings.parquet")
    with pytest.raises(DatasetRejected, match=r"ratings\.parquet, column movieID, row 2: 'ten'"):
        read_dataset("movielens-1m-ncf", ncf)
    header = "id,gender,masterCategory,subCategory,articleType,baseColour,season,year,usage"
    rows = ["1,Men,A,B,Shirt,Blue,Fall,2011,Casual,A shirt", "2,Men,A,B,Shirt,Blue,Fall,MMXI,,"]
    (ncf / "styles.csv").write_text("\n".join([f"{header},productDisplayName", *rows]) + "\n")
    with pytest.raises(DatasetRejected, match=r"styles\.csv, column year, row 2: 'MMXI'"):
        read_catalogue("fashion-small", ncf)


def test_the_published_data_sets_are_read_whole() -> None:
    root = Path(
        os.environ.get("TAMIS_TEST_DATA", Path(__file__).resolve().parents[3] / "shared/data")
    )
    if not (root / "movielens-100k").is_dir():
        pytest.skip(f"published data sets are not there: {root}")
    data = read_dataset("movielens-100k", root / "movielens-100k")
    assert (data.items.num_rows, len(data.user_ids), len(data.interactions)) == (1682, 943, 100_000)
    catalogue = read_catalogue("fashion-small", root / "fashion-small")
    assert len(catalogue) == 6_000
    assert catalogue["image"].null_count() == 0
