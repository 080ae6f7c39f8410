"""On a Ray cluster, here a local one, embedding gives what it gives in one process."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from support.clips import WORDS, write_random_clip
from tamis_pipeline.content import Content
from tamis_pipeline.embedding.embed import EmbedConfig, documents, embed
from tamis_pipeline.embedding.work import Engine, InProcess, write_shards
from tamis_pipeline.encoders.port import open_encoder
from tamis_pipeline.progress import Progress


@pytest.mark.parametrize(("rows", "shards"), [(0, 3), (1, 3), (7, 3), (9, 3), (5, 1), (4, 9)])
def test_shards_are_the_whole_table_in_as_many_parts_as_asked_for(
    tmp_path: Path, rows: int, shards: int
) -> None:
    paths = write_shards(pa.table({"row": list(range(rows))}), tmp_path / "shards", shards)
    parts = [pq.read_table(path)["row"].to_pylist() for path in paths]
    assert [row for part in parts for row in part] == list(range(rows))
    assert len(parts) <= shards
    assert all(parts)


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_ray_gives_what_one_process_gives(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is an extra: make test-ray")
    from tamis_pipeline.embedding.cluster import OnRay

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
            Progress(Console(file=StringIO())),
        )
        assert (report.broken, report.encoded_pictures) == (1, 11)
        return Content.load(tmp_path / label, ids)

    here = run("here", InProcess(encoder, 4))
    there = run("there", OnRay(name, ["CPUExecutionProvider"], 4, 2, tmp_path / "shards"))
    np.testing.assert_array_equal(here.has_image, there.has_image)
    np.testing.assert_allclose(here.vectors, there.vectors, atol=1e-6)
    assert not (tmp_path / "shards").exists()
