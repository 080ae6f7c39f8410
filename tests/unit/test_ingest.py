"""Ingest: what servers logged becomes a data set, each event once, the same every time."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from support.events import Event, columns
from tamis_pipeline.cli import app
from tamis_pipeline.dataset import DatasetRejected
from tamis_pipeline.ingest import ingest
from tamis_pipeline.readers import read_dataset
from tamis_server import eventlog
from tamis_server.domain.context import EventKind
from tamis_server.eventlog import Received, SegmentRejected

ITEMS = "item_id,title\nhat,Hat\ncoat,Coat\n"
INTERACTIONS = """user_id,item_id,timestamp,event_type,value
old,hat,1970-01-01T00:00:10Z,purchase,9.5
old,coat,1970-01-01T00:00:40Z,view,
"""


def happened(
    event_id: str,
    time: float,
    item_id: str = "hat",
    kind: EventKind = EventKind.CLICK,
    at: float = 0,
    user_id: str = "new",
) -> Received:
    event = Event(event_id, user_id, item_id, kind, time, "visit", "answer", 2)
    return Received(columns(event), at or time)


def segment(directory: Path, number: int, *received: Received) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / f"{eventlog.stem(0.0, 'ab12', number)}.parquet"
    pq.write_table(pa.Table.from_batches([eventlog.to_batch(received)]), path)
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    directory = tmp_path / "log"
    segment(directory, 1, happened("c", 30), happened("a", 20))
    segment(
        directory, 2, happened("a", 21, at=22), happened("b", 20, "ghost", EventKind.IMPRESSION)
    )
    return directory


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "shop"
    (directory / "pictures").mkdir(parents=True)
    (directory / "pictures" / "hat.png").write_bytes(b"picture")
    (directory / "items.csv").write_text(ITEMS)
    (directory / "interactions.csv").write_text(INTERACTIONS)
    return directory


def written(out: Path) -> pl.DataFrame:
    return pl.read_parquet(out / "interactions.parquet")


def test_logged_events_join_those_known_by_time_and_each_id_once(
    log: Path, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "next"
    result = ingest([log], out, source)
    table = written(out)
    assert table["timestamp"].to_list() == [10, 20, 20, 30, 40]
    assert table["event_id"].to_list() == [None, "b", "a", "c", None]
    assert table["value"].to_list() == [9.5, None, None, None, None]
    assert result.kinds == {"click": 2, "impression": 1}
    assert (result.files, result.events, result.duplicates, result.known) == (2, 3, 1, 2)
    assert (result.unknown_items, result.outside, result.unfinished) == (1, 0, 0)


def test_what_led_to_an_event_and_where_it_stood_is_kept(
    log: Path, source: Path, tmp_path: Path
) -> None:
    ingest([log], tmp_path / "next", source)
    row = written(tmp_path / "next").row(1, named=True)
    assert (row["session_id"], row["request_id"], row["position"]) == ("visit", "answer", 2)


def test_the_result_is_a_data_set_with_all_that_the_input_had(
    log: Path, source: Path, tmp_path: Path
) -> None:
    ingest([log], tmp_path / "next", source)
    assert (tmp_path / "next" / "pictures" / "hat.png").read_bytes() == b"picture"
    assert not (tmp_path / "next" / "interactions.csv").exists()
    data = read_dataset("own", tmp_path / "next")
    assert data.user_ids == ("new", "old")
    assert data.interactions.times.tolist() == [10, 20, 30, 40]
    assert data.problems == {"interactions with an unknown item": 1}


def test_without_an_input_the_items_are_those_of_the_events(log: Path, tmp_path: Path) -> None:
    result = ingest([log], tmp_path / "next")
    data = read_dataset("own", tmp_path / "next")
    assert data.items.column("item_id").to_pylist() == ["ghost", "hat"]
    assert len(data.interactions) == 3
    assert (result.known, result.unknown_items) == (0, 0)


def test_what_was_ingested_before_is_not_taken_again(
    log: Path, source: Path, tmp_path: Path
) -> None:
    ingest([log], tmp_path / "next", source)
    segment(log, 3, happened("d", 50))
    result = ingest([log], tmp_path / "next", tmp_path / "next")
    assert (result.events, result.duplicates, result.known) == (1, 4, 5)
    assert written(tmp_path / "next").height == 6
    assert not list(tmp_path.glob(".next*"))


def test_an_event_id_that_two_users_have_is_two_events(
    log: Path, source: Path, tmp_path: Path
) -> None:
    segment(log, 3, happened("a", 50, user_id="other"))
    result = ingest([log], tmp_path / "next", source)
    same = written(tmp_path / "next").filter(pl.col("event_id") == "a")
    assert same["user_id"].to_list() == ["new", "other"]
    assert (result.events, result.duplicates) == (4, 1)
    segment(log, 4, happened("b", 60, user_id="other"))
    result = ingest([log], tmp_path / "next", tmp_path / "next")
    same = written(tmp_path / "next").filter(pl.col("event_id") == "b")
    assert same["user_id"].to_list() == ["new", "other"]
    assert (result.events, result.duplicates) == (1, 5)


def test_the_same_events_make_the_same_file_however_they_were_spread(
    log: Path, source: Path, tmp_path: Path
) -> None:
    ingest([log], tmp_path / "one", source)
    one, two = tmp_path / "pod-1", tmp_path / "pod-2"
    segment(one, 1, happened("b", 20, "ghost", EventKind.IMPRESSION))
    segment(one, 2, happened("a", 21, at=22), happened("c", 30))
    segment(two, 1, happened("a", 20))
    ingest([two, one], tmp_path / "two", source)
    name = "interactions.parquet"
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_span_of_time_bounds_the_logged_events_only(
    log: Path, source: Path, tmp_path: Path
) -> None:
    since = datetime.fromtimestamp(20, UTC).replace(tzinfo=None)
    until = datetime.fromtimestamp(30, UTC)
    result = ingest([log], tmp_path / "next", source, since, until)
    assert written(tmp_path / "next")["timestamp"].to_list() == [10, 20, 20, 40]
    assert (result.outside, result.duplicates) == (1, 1)


def test_files_that_are_still_written_are_no_part(log: Path, tmp_path: Path) -> None:
    stem = eventlog.stem(0.0, "ab12", 9)
    (log / f"{stem}.journal").write_bytes(b"")
    (log / f"{stem}.parquet.partial").write_bytes(b"PAR1")
    result = ingest([log], tmp_path / "next")
    assert (result.files, result.unfinished) == (2, 1)


def strange_name(log: Path) -> Path:
    path = log / "sales.parquet"
    shutil.copy(next(log.iterdir()), path)
    return path


def cut_short(log: Path) -> Path:
    path = segment(log, 3, happened("d", 1))
    path.write_bytes(path.read_bytes()[:-9])
    return path


def foreign(log: Path) -> Path:
    path = segment(log, 3, happened("d", 1))
    pq.write_table(pa.table({"user_id": ["u"]}), path)
    return path


def newer(log: Path) -> Path:
    path = segment(log, 3, happened("d", 1))
    table = pq.read_table(path)
    metadata = dict.fromkeys(table.schema.metadata, b"2")
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


@pytest.mark.parametrize("spoil", [strange_name, cut_short, foreign, newer])
def test_a_foreign_or_corrupt_file_is_refused_by_name_and_nothing_is_written(
    log: Path, tmp_path: Path, spoil: object
) -> None:
    path = spoil(log)  # type: ignore[operator]
    with pytest.raises(SegmentRejected, match=path.name):
        ingest([log], tmp_path / "next")
    assert [each.name for each in tmp_path.iterdir()] == ["log"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"interactions.csv": "user_id,item_id\nu,hat\n"}, "no column timestamp"),
        ({"items.csv": "name\nhat\n"}, "no column item_id"),
        ({"interactions.csv": "user_id,item_id,timestamp,position\nu,hat,1,top\n"}, "position"),
    ],
)
def test_an_input_that_can_not_be_is_refused(
    log: Path, source: Path, tmp_path: Path, changes: dict[str, str], says: str
) -> None:
    for name, text in changes.items():
        (source / name).write_text(text)
    with pytest.raises(DatasetRejected, match=says):
        ingest([log], tmp_path / "next", source)
    assert not (tmp_path / "next").exists()


def test_an_output_inside_its_input_is_refused(log: Path, source: Path) -> None:
    with pytest.raises(DatasetRejected, match="lies in the input"):
        ingest([log], source / "next", source)


def test_nothing_to_ingest_is_said(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    with pytest.raises(DatasetRejected, match="no event to ingest"):
        ingest([tmp_path / "log"], tmp_path / "next")
    with pytest.raises(DatasetRejected, match="not a directory"):
        ingest([tmp_path / "nowhere"], tmp_path / "next")


def test_the_command_prints_its_counts(log: Path, source: Path, tmp_path: Path) -> None:
    options = ["--log", str(log), "--input", str(source), "--until", "1970-01-01T00:00:30Z"]
    arguments = ["ingest", *options, "--out", str(tmp_path / "next")]
    plain = CliRunner().invoke(app, arguments)
    assert plain.exit_code == 0, plain.output
    assert "duplicates     1\n" in plain.output
    machine = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert machine["kinds"] == {"click": 1, "impression": 1}
    assert machine["outside"] == 1
