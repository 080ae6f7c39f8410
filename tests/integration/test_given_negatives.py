"""NCF's protocol: the whole funnel tells a held-out item from the negatives that were given."""

from __future__ import annotations

import gzip
import json
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from tamis_client import TamisClient
from tamis_pipeline import build as pipeline
from tamis_pipeline.config import (
    DatasetConfig,
    EvaluationConfig,
    PipelineConfig,
    RankingConfig,
    RetrievalConfig,
    SplitConfig,
)
from tamis_pipeline.evaluation.funnel import server
from tamis_pipeline.progress import Progress
from tamis_pipeline.rankers.deepfm import DeepFMConfig
from tamis_pipeline.rankers.exposures import ExposureConfig
from tamis_pipeline.rankers.training import TrainingConfig
from tamis_pipeline.twotower import TwoTowerConfig

ITEMS, USERS, EACH, NEGATIVES = 60, 40, 8, 30
CONFIG = PipelineConfig(
    dataset=DatasetConfig(kind="movielens-1m-ncf", opinions=False),
    split=SplitConfig(how="given", validation=0.2),
    retrieval=RetrievalConfig(
        two_tower=TwoTowerConfig(dim=8, hidden=8, history=10, batch=64, epochs=1, ordered=False)
    ),
    ranking=RankingConfig(
        exposures=ExposureConfig(personal=ITEMS, candidates=ITEMS),
        deepfm=DeepFMConfig(embedding=4, hidden=(8, 8, 8), training=TrainingConfig(epochs=1)),
    ),
    evaluation=EvaluationConfig(baselines=(), trade_off=0.0),
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each user goes through the items in steps of seven; the last one is held out."""
    root = tmp_path_factory.mktemp("ncf")
    walks = [[(user * 11 + 7 * step) % ITEMS for step in range(EACH)] for user in range(USERS)]
    movies = [f"{item}::{item} (1990)::Drama" for item in range(ITEMS)]
    (root / "movies.dat").write_text("\n".join(movies) + "\n")
    people = [f"{user + 1}::F::25::1::10000" for user in range(USERS)]
    (root / "users.dat").write_text("\n".join(people) + "\n")
    pairs = [(str(user + 1), str(item)) for user, walk in enumerate(walks) for item in walk]
    pl.DataFrame(pairs, ["userID", "movieID"], orient="row").write_parquet(root / "ratings.parquet")
    numbers = [f"{item}\t{item}" for item in range(ITEMS)]
    (root / "ncf_item_map.tsv").write_text("\n".join(["ncf_item\tmovie_id", *numbers]) + "\n")
    with gzip.open(root / "ml-1m.test.negative.gz", "wt") as file:
        for user, walk in enumerate(walks):
            unmet = [str(item) for item in range(ITEMS) if item not in walk][:NEGATIVES]
            file.write("\t".join([f"({user},{walk[-1]})", *unmet]) + "\n")
    out = root / "bundle"
    pipeline.build(CONFIG, root, out, "ncf", Progress(Console(file=StringIO())))
    return out


def test_the_funnel_is_asked_as_configured_and_with_the_servers_default_too(built: Path) -> None:
    report = json.loads((built / "evaluation.json").read_text())
    assert report["trade_off"] == 0.0
    found = report["given negatives"]
    assert set(found) == {
        "whole funnel",
        "whole funnel with the server's default trade-off",
        "two-tower alone",
        "co-occurrence alone",
        "popularity",
    }
    for metrics in found.values():
        for mean, low, high in metrics.values():
            assert 0 <= low <= mean <= high <= 1
    assert found["whole funnel"] != found["whole funnel with the server's default trade-off"]
    assert "asked with reranking.trade_off = 0; seed 0" in (built / "report.md").read_text()


@pytest.mark.parametrize(("trade_off", "by_relevance"), [(1.0, True), (0.0, False)])
def test_the_server_that_is_asked_gives_up_no_relevance_at_one(
    built: Path, trade_off: float, by_relevance: bool
) -> None:
    with server(built, trade_off) as target, TamisClient(target, timeout_s=30.0) as client:
        scores = [item.score for item in client.recommend(user_id="1", page_size=20).items]
    assert (scores == sorted(scores, reverse=True)) == by_relevance
