"""From data to a bundle: no leak, the same seed the same bundle, a stopped run taken up again."""

from __future__ import annotations

import json
import os
from io import StringIO
from math import inf
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from tamis_pipeline import build as pipeline
from tamis_pipeline import towers, twotower
from tamis_pipeline.config import PipelineConfig, RankingConfig, RetrievalConfig
from tamis_pipeline.dataset import DatasetRejected
from tamis_pipeline.evaluation.protocols import questions
from tamis_pipeline.progress import Progress
from tamis_pipeline.rankers import training
from tamis_pipeline.rankers.deepfm import DeepFMConfig
from tamis_pipeline.rankers.exposures import ExposureConfig
from tamis_pipeline.rankers.training import TrainingConfig
from tamis_pipeline.readers import read_dataset
from tamis_pipeline.shop.catalogue import make_products
from tamis_pipeline.shop.export import write_shop
from tamis_pipeline.shop.shoppers import simulate
from tamis_pipeline.split import Split, split
from tamis_server.adapters.embedded.encoder import AttentiveQueryEncoder
from tamis_server.bundles import features
from tamis_server.bundles.loader import load
from tamis_server.bundles.query_tower import context
from tamis_server.domain.context import Deadline, History, RequestContext

CONFIG = PipelineConfig(
    seed=3,
    retrieval=RetrievalConfig(
        two_tower=twotower.TwoTowerConfig(dim=16, hidden=16, history=10, batch=256, epochs=2)
    ),
    ranking=RankingConfig(
        exposures=ExposureConfig(personal=50, together=50),
        deepfm=DeepFMConfig(embedding=8, hidden=(32, 16, 16), training=TrainingConfig(epochs=2)),
    ),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shop")
    products = make_products(150, seed=1)
    write_shop(products, simulate(products, 60, seed=1), directory)
    events = pl.read_parquet(directory / "interactions.parquet")
    users = events.select(pl.col("user_id").unique().sort())
    number = pl.int_range(pl.len())
    users.with_columns(
        plan=pl.when(number % 2 == 0).then(pl.lit("free")).otherwise(pl.lit("pro")),
        age=20 + number,
        mail=pl.col("user_id") + "@example.org",
    ).write_csv(directory / "users.csv")
    return directory


@pytest.fixture(scope="module")
def built(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "tiny"
    pipeline.build(CONFIG, data, out, "tiny", Progress(Console(file=StringIO())))
    return out


@pytest.fixture(scope="module", params=["global", "per-user"])
def cut(request: pytest.FixtureRequest, data: Path) -> Split:
    return split(read_dataset("own", data).interactions, request.param, 0.2, 0.2)


def test_the_bundle_loads_and_reports_the_funnel_beside_its_baselines(built: Path) -> None:
    bundle = load(built)
    report = json.loads((built / "evaluation.json").read_text())
    simple = {"popularity", "item-kNN", "EASE", "ALS", "BPR"}
    assert set(report["methods"]) == {
        "whole funnel",
        "two-tower alone",
        "co-occurrence alone",
        *simple,
    }
    for name, row in report["methods"].items():
        assert {"Recall@100", "NDCG@10", "HR@10", "MRR@20", "coverage@20"} <= set(row)
        most = {"diversity@20": 2.0, "novelty@20": inf}  # cosines may be negative
        strange = {k: v for k, v in row.items() if not 0 <= v <= most.get(k, 1.0)}
        assert not strange, name
        for metric, (low, high) in report["intervals"][name].items():
            assert low <= row[metric] <= high
    for model in ("two-tower", "deepfm"):
        for objective in ("click", "like"):
            assert 0 <= report["ranker"][f"{model}, {objective}"]["AUC"] <= 1
    assert report["retrieval"]["server: all sources"]["Recall@500"] > 0
    assert [stage["stage"] for stage in report["stages"]][-1] == "reranking"
    page = (built / "report.html").read_text()
    assert "whole funnel" in page
    assert "http" not in page, "a page that needs nothing else"
    assert "| whole funnel |" in (built / "report.md").read_text()
    assert bundle.manifest.seed == 3
    assert [path.name for path in built.parent.iterdir()] == ["tiny"], "no work left behind"


def test_a_data_set_without_anybody_to_ask_is_refused_before_anything_is_trained(
    tmp_path: Path,
) -> None:
    (tmp_path / "items.csv").write_text("item_id\na\nb\n")
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp\nu,a,1\n")
    log = StringIO()
    with pytest.raises(DatasetRejected, match="nobody can be asked"):
        pipeline.build(CONFIG, tmp_path, tmp_path / "b", "tiny", Progress(Console(file=log)))
    assert "retrieval" not in log.getvalue()


def test_models_know_of_users_what_several_have_in_common(built: Path) -> None:
    bundle, encoder = load(built), np.load(built / "encoder.npz")
    fields = bundle.manifest.features.profile_fields
    sizes = {field.name: field.size for field in fields}
    assert sizes == {"profile_plan": 3, "profile_age": 9, "profile_mail": 1}
    assert bundle.manifest.features.user_fields[-3:] == fields
    plans, ages, mails = bundle.profiles.codes.T
    assert sorted(set(plans.tolist())) == [1, 2]
    assert sorted(set(ages.tolist())) == [*range(1, 9)]
    assert not mails.any(), "nobody shares one"
    assert encoder["context_table"].shape[0] == 25 + 8 + 3 + 9 + 1


def test_the_same_seed_makes_the_same_bundle(data: Path, built: Path, tmp_path: Path) -> None:
    progress = Progress(Console(file=StringIO()))
    again = pipeline.build(CONFIG, data, tmp_path / "again", "tiny", progress)
    assert again.bundle_id == load(built).manifest.bundle_id


def test_a_run_that_was_stopped_is_taken_up_where_it_was(
    data: Path, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def never(*_: object) -> None:
        raise AssertionError("the two-tower was trained again")

    progress = Progress(Console(file=StringIO()))
    with monkeypatch.context() as patched:
        patched.setattr(training, "train", stop)
        with pytest.raises(KeyboardInterrupt):
            pipeline.build(CONFIG, data, tmp_path / "tiny", "tiny", progress)
    assert not (tmp_path / "tiny").exists()
    monkeypatch.setattr(twotower, "train", never)
    resumed = pipeline.build(CONFIG, data, tmp_path / "tiny", "tiny", progress)
    assert resumed.bundle_id == load(built).manifest.bundle_id


def test_every_part_of_the_split_is_later_than_the_one_before_for_each_user(cut: Split) -> None:
    for user in np.unique(cut.test.users):
        times = [part.times[part.users == user] for part in (cut.fit, cut.validation, cut.test)]
        for before, after in ((times[0], times[1]), (times[1], times[2]), (times[0], times[2])):
            if before.size and after.size:
                assert before.max() <= after.min()
    assert len(cut.fit) + len(cut.validation) == len(cut.train)


def test_nobody_is_asked_for_what_is_in_the_training_part(cut: Split) -> None:
    asked = questions(cut)
    assert asked
    for question in asked:
        known = cut.train.items[cut.train.users == question.user]
        assert not np.isin(question.relevant, known).any()
        assert question.time >= cut.train.times[cut.train.users == question.user].max()


def test_popularity_and_histories_know_nothing_of_the_test_part(data: Path, built: Path) -> None:
    bundle = load(built)
    how = CONFIG.split
    parts = split(read_dataset("own", data).interactions, how.how, how.test, how.validation)
    assert bundle.manifest.as_of == parts.train.times.max() < parts.test.times.min()
    met = np.zeros(bundle.manifest.items, bool)
    met[parts.train.items[features.is_positive(parts.train.kinds)]] = True
    assert ((bundle.popularity > 0) == met).all()
    times = bundle.users.column("times").combine_chunks().flatten().to_numpy()
    assert times.max() < parts.test.times.min()


async def test_the_server_encodes_a_history_as_training_did(built: Path) -> None:
    bundle = load(built)
    server = AttentiveQueryEncoder(bundle)
    arrays = {name: np.asarray(array) for name, array in bundle.encoder.items()}
    now = bundle.manifest.as_of
    compared = 0
    for user in bundle.users.to_pylist()[:20]:
        rows = np.array(user["rows"], np.int32)
        kinds = np.array(user["kinds"], np.uint8)
        history = History(rows, np.array(user["times"]), kinds)
        profile = np.array(user["profile"], np.int32)
        ctx = RequestContext(
            "r", "u", 1, Deadline.after(9), now=now, history=history, profile=profile
        )
        query = await server.encode(ctx)
        latest = slice(None, -arrays["recency_bias"].shape[0] - 1, -1)
        trained = towers.queries(
            arrays, arrays["history_table"], rows[None, latest], kinds[None, latest],
            context(np.array([now]), profile[None], bundle.manifest.features.profile_fields),
        )  # fmt: skip
        if query is not None:
            np.testing.assert_allclose(query, trained[0], atol=1e-5)
            compared += 1
    assert compared


def test_movielens_is_read_whole() -> None:
    root = Path(
        os.environ.get("TAMIS_TEST_DATA", Path(__file__).resolve().parents[3] / "shared/data")
    )
    if not (root / "movielens-small").is_dir():
        pytest.skip(f"MovieLens latest-small is not there: {root / 'movielens-small'}")
    data = read_dataset("movielens-small", root / "movielens-small")
    assert data.items.num_rows == 9_742
    assert len(data.user_ids) == 610
    assert len(data.interactions) == 100_836
    assert not data.problems
