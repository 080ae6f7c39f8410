"""A bundle goes on learning, day by day: its vectors stay, its queries follow what happens."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from support.looks import DIM, depicted_parts, picture
from support.towers import VOCABULARY, with_item_tower
from tamis_pipeline import provenance
from tamis_pipeline.build import rebuild
from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.cli import app
from tamis_pipeline.config import (
    ConfigRejected,
    EvaluationConfig,
    FinetuneConfig,
    PipelineConfig,
    RankingConfig,
    RetrievalConfig,
)
from tamis_pipeline.dataset import DatasetRejected
from tamis_pipeline.finetuning import finetune
from tamis_pipeline.gates import NotPromoted
from tamis_pipeline.histories import histories
from tamis_pipeline.progress import Progress
from tamis_pipeline.publish import DirectoryBundles, publish
from tamis_pipeline.rankers.exposures import ExposureConfig
from tamis_pipeline.readers import read_dataset
from tamis_pipeline.run import RUN, Run, read_run
from tamis_pipeline.served import Served
from tamis_pipeline.statistics import statistics
from tamis_pipeline.twotower import TwoTowerConfig
from tamis_server.bundles.clip import Clip, fuse
from tamis_server.bundles.loader import load
from tamis_server.bundles.manifest import CLIP, ENCODER, MANIFEST, RANKER, VECTORS, read_manifest
from tamis_server.domain.errors import BundleRejected

CONFIG = PipelineConfig(
    seed=3,
    retrieval=RetrievalConfig(
        two_tower=TwoTowerConfig(batch=64, uniform_negatives=64, hard_negatives=0, recall_at=5)
    ),
    ranking=RankingConfig(exposures=ExposureConfig(personal=20, together=20, popular=10)),
    finetune=FinetuneConfig(epochs=3, rate=3.0),
    evaluation=EvaluationConfig(baselines=()),
)
ITEMS, USERS = 60, 30
START, HOUR, DAY = 1_790_000_000.0, 3600.0, 86_400.0
NEW = ("new-0", "new-1", "new-2")  # items that come on Tuesday
PROFILES = pl.DataFrame(
    [
        {"user_id": f"user-{user}", "plan": ("free", "pro", "gold")[user % 3], "age": 20 + user}
        for user in range(1, USERS + 3)
    ]
)
FUNNEL, BEFORE = "whole funnel", "whole funnel of the bundle before"
METRIC = f"methods/{FUNNEL}/NDCG@20"


@dataclass(frozen=True)
class Days:
    """The shop's data at the end of each day, and the bundles made of it."""

    root: Path

    def data(self, day: str) -> Path:
        return self.root / f"{day}-data"

    def bundle(self, day: str) -> Path:
        return self.root / day

    def tables(self, day: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        items, events = (
            pl.read_parquet(self.data(day) / f"{name}.parquet")
            for name in ("items", "interactions")
        )
        return items, events.sort("timestamp")


def quietly() -> Progress:
    return Progress(Console(file=StringIO()))


def walks(day: int, users: range, length: int) -> pl.DataFrame:
    """What users do in a day: each goes through the items in steps of seven."""
    rows = [
        {
            "user_id": f"user-{user}",
            "item_id": f"item-{(user * 11 + 7 * (day * 5 + step)) % ITEMS}",
            "timestamp": START + day * DAY + step * HOUR + user,
            "event_type": ("click", "purchase")[step % 2],
        }
        for user in users
        for step in range(length)
    ]
    return pl.DataFrame(rows)


def write(directory: Path, items: pl.DataFrame, events: pl.DataFrame) -> Path:
    """A data set, its items in an order of its own."""
    directory.mkdir()
    items.reverse().write_parquet(directory / "items.parquet")
    PROFILES.write_parquet(directory / "users.parquet")
    events.write_parquet(directory / "interactions.parquet")
    return directory


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Days:
    """Monday's bundle has random weights; Tuesday's and Wednesday's go on, each from the one
    before."""
    days = Days(tmp_path_factory.mktemp("days"))
    parts = with_item_tower(depicted_parts(days.root / "clip", ITEMS, profiled=True))
    items = pl.DataFrame(parts.items)
    new = items[:3].with_columns(
        item_id=pl.Series(NEW),
        title=pl.Series(["blue shoe", "red dress", "green shirt"]),
        image=pl.Series(["blue.png", None, "lost.png"]),
    )
    clicks = pl.DataFrame(
        {
            "user_id": ["user-1", "user-2"],
            "item_id": ["new-0", "new-1"],
            "timestamp": [START + DAY + 90, START + DAY + 95],
            "event_type": ["click", "click"],
        }
    )
    monday = walks(0, range(USERS), 5)
    tuesday = pl.concat([monday, walks(1, range(USERS + 3), 5), clicks])
    wednesday = pl.concat([tuesday, walks(2, range(USERS + 3), 5)])
    write(days.data("monday"), items, monday)
    for day, events in (("tuesday", tuesday), ("wednesday", wednesday)):
        write(days.data(day), pl.concat([items, new]), events)
        (days.data(day) / "blue.png").write_bytes(picture("blue"))

    row_of = {item_id: row for row, item_id in enumerate(items["item_id"])}
    own = monday.with_columns(row=pl.col("item_id").replace_strict(row_of, return_dtype=pl.Int32))
    own = own.group_by("user_id", maintain_order=True).agg("row", "timestamp", "event_type")
    kinds = [[{"click": 2, "purchase": 4}[each] for each in kind] for kind in own["event_type"]]
    users = {
        "user_id": own["user_id"].to_list(),
        "rows": pa.array(own["row"].to_list(), pa.list_(pa.int32())),
        "times": pa.array(own["timestamp"].to_list(), pa.list_(pa.float64())),
        "kinds": pa.array(kinds, pa.list_(pa.uint8())),
    }
    about = own.select("user_id").join(PROFILES, on="user_id", how="left", maintain_order="left")
    known = VOCABULARY.profiles(about.to_dict(as_series=False), len(about))
    users["profile"] = pa.array(list(known.codes), pa.list_(pa.int32()))
    as_of = monday["timestamp"].max()
    assert isinstance(as_of, float)
    manifest = write_bundle(
        replace(parts, name="shop", as_of=as_of, users=pa.table(users)), days.bundle("monday")
    )
    data = read_dataset("own", days.data("monday"))
    inputs = provenance.inputs(days.data("monday"))
    seen = statistics(data)
    run = Run.of(manifest, CONFIG, days.data("monday"), inputs, data, (), seen, (), None)
    (days.bundle("monday") / RUN).write_text(run.model_dump_json())

    jax.config.update("jax_disable_most_optimizations", True)  # most of the time is compiling
    for before, after in (("monday", "tuesday"), ("tuesday", "wednesday")):
        finetune(
            days.bundle(before), days.data(after), days.bundle(after), quietly(),
            work=days.root / f"{after}-work",
        )  # fmt: skip
    jax.config.update("jax_disable_most_optimizations", False)
    return days


def test_item_vectors_stay_and_queries_do_not(days: Days) -> None:
    monday, tuesday, wednesday = (
        load(days.bundle(day)) for day in ("monday", "tuesday", "wednesday")
    )
    assert tuesday.manifest.items == ITEMS + len(NEW)
    np.testing.assert_array_equal(tuesday.vectors[:ITEMS], monday.vectors)
    ids = tuesday.items["item_id"].to_pylist()
    assert ids[:ITEMS] == monday.items["item_id"].to_pylist()
    assert set(ids[ITEMS:]) == set(NEW)
    assert tuesday.manifest.pairing_id != monday.manifest.pairing_id
    assert wednesday.manifest.pairing_id == tuesday.manifest.pairing_id, "no item was new"
    for before, after in ((monday, tuesday), (tuesday, wednesday)):
        assert after.manifest.as_of > before.manifest.as_of
        assert (after.encoder["w1"] != before.encoder["w1"]).any()
        assert after.item_tower is not None
        assert before.item_tower is not None
        np.testing.assert_array_equal(after.item_tower["word"], before.item_tower["word"])
    # a ranker stays where a day's few requests don't surely say that it got better
    assert (wednesday.ranker["w1_cross"] != monday.ranker["w1_cross"]).any()


def test_users_stay_known_as_the_bundle_knows_them_and_new_ones_become_so(days: Days) -> None:
    monday, wednesday = load(days.bundle("monday")), load(days.bundle("wednesday"))
    assert wednesday.manifest.features == monday.manifest.features
    ids = wednesday.users["user_id"].to_pylist()
    codes = dict(zip(ids, wednesday.profiles.codes.tolist(), strict=True))
    assert codes["user-0"] == [0, 0], "not in the table of users"
    assert codes["user-1"] == [3, 2], "pro, 21"
    assert codes["user-2"] == [0, 2], "a plan that is new"
    assert codes[f"user-{USERS + 1}"] == [3, 5], "pro, 51: came on Tuesday"
    at = monday.encoder["context_table"].shape[0] - 8  # of ages
    assert (wednesday.encoder["context_table"][at:] != monday.encoder["context_table"][at:]).any()


def test_new_items_are_encoded_and_placed_as_the_bundle_would_while_serving(days: Days) -> None:
    tuesday = Served(days.bundle("tuesday"))
    new = tuesday.items.slice(ITEMS).to_pydict()
    clip = Clip.load(days.bundle("monday") / CLIP, threads=1)
    pictured = np.array([name == "blue.png" for name in new["image"]])
    pictures = np.zeros((len(NEW), DIM), np.float32)
    pictures[pictured] = clip.images([picture("blue")])
    assert tuesday.content is not None
    assert tuesday.manifest.content is not None
    assert tuesday.manifest.content == read_manifest(days.bundle("monday")).content
    texts = [" ".join(both) for both in zip(new["title"], new["text"], strict=True)]
    looks = fuse(clip.texts(texts), pictures, pictured, tuesday.manifest.content)
    np.testing.assert_allclose(tuesday.content[ITEMS:], looks, atol=1e-6)
    tower = tuesday.item_tower
    placed = tower.vectors(
        tower.vocabulary.fields(new, len(NEW)), tower.vocabulary.hashed(texts), looks
    )
    np.testing.assert_allclose(tuesday.towers.vectors[ITEMS:], placed, atol=1e-6)


def test_the_run_says_what_a_bundle_was_tuned_from(days: Days) -> None:
    for before, after in (("monday", "tuesday"), ("tuesday", "wednesday")):
        run, manifest = read_run(days.bundle(after)), read_manifest(days.bundle(before))
        assert run.tuned_from is not None
        assert run.tuned_from.bundle_id == manifest.bundle_id
        assert run.tuned_from.pairing_id == manifest.pairing_id
        assert run.bundle_id == read_manifest(days.bundle(after)).bundle_id
    assert read_run(days.bundle("monday")).tuned_from is None
    with pytest.raises(ConfigRejected, match=r"was tuned from shop-.*tamis pipeline finetune"):
        rebuild(read_run(days.bundle("tuesday")), days.root / "again", quietly())


def test_both_bundles_are_asked_the_same_with_the_same_histories(days: Days) -> None:
    [serving] = (days.root / "tuesday-work").glob("serving-*/result")
    there, here = (histories(Served(each).users) for each in (serving, days.bundle("tuesday")))
    old = here.take(here.items < ITEMS)
    assert len(old) < len(here)
    for name in ("users", "items", "times", "kinds"):
        np.testing.assert_array_equal(getattr(there, name), getattr(old, name))
    report = json.loads((days.bundle("tuesday") / "evaluation.json").read_text())
    assert report["serving"]["bundle_id"] == read_manifest(days.bundle("monday")).bundle_id
    assert report["serving"]["methods"] == {FUNNEL: report["methods"][BEFORE]}
    assert BEFORE in (days.bundle("tuesday") / "report.md").read_text()


def test_promotion_is_decided_by_the_same_questions(days: Days, tmp_path: Path) -> None:
    means = json.loads((days.bundle("tuesday") / "evaluation.json").read_text())["methods"]
    old, new = means[BEFORE]["NDCG@20"], means[FUNNEL]["NDCG@20"]
    store = DirectoryBundles(tmp_path / "live")
    publish(days.bundle("monday"), store, {METRIC: 0.0})
    with pytest.raises(NotPromoted, match=f"{new:.4f}, serving {old:.4f}"):
        publish(days.bundle("tuesday"), store, {METRIC: old - new - 0.01})
    [verdict] = publish(days.bundle("tuesday"), store, {METRIC: 1.0})
    assert (verdict.serving, verdict.new) == (old, new)


def test_a_run_done_again_does_nothing_again(days: Days) -> None:
    said = StringIO()
    again = finetune(
        days.bundle("tuesday"), days.data("wednesday"), days.root / "twice",
        Progress(Console(file=said)), work=days.root / "wednesday-work",
    )  # fmt: skip
    assert again.bundle_id == read_manifest(days.bundle("wednesday")).bundle_id
    for stage in ("read", "retrieval", "ranker", "serving", "evaluate"):
        assert f"{stage}: kept from an earlier run" in said.getvalue()


def refused(days: Days, source: Path) -> str:
    """Why Monday's bundle can't go on with ``source``."""
    with pytest.raises(DatasetRejected) as caught:
        finetune(days.bundle("monday"), source, days.root / "never", quietly())
    assert not (days.root / "never").exists()
    return str(caught.value)


def test_another_catalogue_is_refused(days: Days, tmp_path: Path) -> None:
    items, events = days.tables("tuesday")
    gone = items.filter(~pl.col("item_id").is_in(["item-0", "item-1"]))
    said = refused(days, write(tmp_path / "gone", gone, events))
    assert "2 of the bundle's 60 are not there (item-0, item-1)" in said
    said = refused(days, write(tmp_path / "other", items.drop("colour"), events))
    assert "those of the bundle are colour (category), tags (tags)" in said


def test_fewer_events_are_refused(days: Days, tmp_path: Path) -> None:
    items, events = days.tables("tuesday")
    said = refused(days, write(tmp_path / "cut", items, events[20:]))
    assert "20 of the 150 events that shop-" in said
    assert "it must hold them all, and newer ones" in said


def test_nothing_new_and_too_little_new_are_refused(days: Days, tmp_path: Path) -> None:
    assert "there is nothing new to learn" in refused(days, days.data("monday"))
    items, events = days.tables("tuesday")
    said = refused(days, write(tmp_path / "one", items, events[:151]))
    assert "1 events later than 2026-" in said
    assert "too few to learn from, to stop by and to measure" in said


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (MANIFEST, b'{"format_version": 1}', "format_version: Input should be 2"),
        (VECTORS, b"others", "is not what the manifest says"),
        (ENCODER, None, "No such file"),
        (RUN, None, r"run\.json: No such file"),
    ],
)
def test_a_bundle_that_can_not_go_on_is_refused(
    days: Days, tmp_path: Path, name: str, change: bytes | None, message: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(days.bundle("monday"), copy)
    (copy / name).unlink()
    if change is not None:
        (copy / name).write_bytes(change)
    with pytest.raises((BundleRejected, ConfigRejected), match=message):
        finetune(copy, days.data("tuesday"), tmp_path / "never", quietly())


def test_a_ranker_of_another_training_run_is_refused(days: Days, tmp_path: Path) -> None:
    parts = with_item_tower(depicted_parts(days.root / "clip", ITEMS, seed=1))
    write_bundle(parts, tmp_path / "other")
    copy = tmp_path / "copy"
    shutil.copytree(days.bundle("monday"), copy)
    shutil.copy(tmp_path / "other" / RANKER, copy / RANKER)
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["files"][RANKER] = json.loads((tmp_path / "other" / MANIFEST).read_text())["files"][
        RANKER
    ]
    (copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleRejected, match=r"ranker\.npz: is paired with"):
        finetune(copy, days.data("tuesday"), tmp_path / "never", quietly())


def test_the_command_prints_the_id_and_hands_on_why_not(days: Days, tmp_path: Path) -> None:
    def run(data: str) -> Result:
        options = ["--bundle", days.bundle("monday"), "--input", days.data(data)]
        options += ["--out", tmp_path / "out", "--work", days.root / "tuesday-work"]
        return CliRunner().invoke(app, ["finetune", *map(str, options)])

    done = run("tuesday")
    assert done.stdout.split()[-1] == read_manifest(days.bundle("tuesday")).bundle_id
    assert isinstance(run("monday").exception, DatasetRejected)
