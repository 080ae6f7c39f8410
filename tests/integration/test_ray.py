"""On a Ray cluster, here a local one, work comes out as in one process."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from support.clips import WORDS, write_random_clip
from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.content import Content
from tamis_pipeline.embedding.embed import EmbedConfig, documents, embed
from tamis_pipeline.embedding.sharded import Sharded
from tamis_pipeline.embedding.work import Engine, InProcess
from tamis_pipeline.encoders.port import open_encoder
from tamis_pipeline.progress import Progress
from tamis_pipeline.scoring.score import score
from tamis_pipeline.shards import here, write_shards
from tamis_pipeline.synthetic import random_parts

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ModuleType]:
    """``tamis_pipeline.cluster``, on one local cluster for all tests."""
    ray = pytest.importorskip("ray", reason="Ray is an extra: make test-ray")
    from tamis_pipeline import cluster

    yield cluster
    ray.shutdown()


def quietly() -> Progress:
    return Progress(Console(file=StringIO()))


def test_more_workers_than_cpus_finish_all_the_same(cluster: ModuleType, tmp_path: Path) -> None:
    shards = write_shards(pa.table({"row": list(range(20))}), tmp_path / "shards", 10)
    done = list(cluster.OnRay(64)(shards, lambda: pq.read_table))
    assert sorted(row for table in done for row in table["row"].to_pylist()) == list(range(20))
    assert list(cluster.OnRay(2)([], lambda: pq.read_table)) == []


def test_what_a_worker_can_not_do_is_said(cluster: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "shard.parquet").write_text("no table")
    with pytest.raises(Exception, match=r"shard\.parquet|Parquet magic"):
        list(cluster.OnRay(1)([tmp_path / "shard.parquet"], lambda: pq.read_table))


def test_a_catalogue_is_embedded_alike(cluster: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(12):
        colour = tuple(rng.integers(0, 256, 3).tolist())
        Image.new("RGB", (9, 9), colour).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"broken")
    items = pl.DataFrame(
        {
            "item_id": [str(number) for number in range(30)],
            "title": [" ".join(rng.choice(WORDS, 3)) for _ in range(30)],
            "image": [f"{number}.png" if number < 12 else None for number in range(30)],
        }
    )
    name = f"onnx:{write_random_clip(tmp_path / 'towers')}"
    encoder, ids = open_encoder(name), items["item_id"].to_list()

    def run(label: str, engine: Engine) -> Content:
        report = embed(
            documents(items, tmp_path),
            encoder,
            engine,
            EmbedConfig(name),
            tmp_path / label,
            tmp_path / f"{label}.cache",
            quietly(),
        )
        assert (report.broken, report.encoded_pictures) == (1, 11)
        return Content.load(tmp_path / label, ids)

    on_ray = Sharded(cluster.OnRay(2), name, ["CPUExecutionProvider"], 4, 6, tmp_path / "shards")
    here_, there = run("here", InProcess(encoder, 4)), run("there", on_ray)
    np.testing.assert_array_equal(here_.has_image, there.has_image)
    np.testing.assert_allclose(here_.vectors, there.vectors, atol=1e-6)
    assert not (tmp_path / "shards").exists()


def test_users_are_scored_alike(cluster: ModuleType, tmp_path: Path) -> None:
    write_bundle(random_parts(items=80, users=30), tmp_path / "bundle")
    for name, engine in (("here", here), ("there", cluster.OnRay(2))):
        score(tmp_path / "bundle", tmp_path / name, 10, engine, 3, quietly())
    parts = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert parts == sorted(path.name for path in (tmp_path / "there").iterdir())
    for part in parts:
        one, other = (pq.read_table(tmp_path / name / part) for name in ("here", "there"))
        assert one.drop(["scores"]) == other.drop(["scores"])
        for mine, theirs in zip(one["scores"], other["scores"], strict=True):
            np.testing.assert_allclose(mine.as_py(), theirs.as_py(), atol=1e-6)
