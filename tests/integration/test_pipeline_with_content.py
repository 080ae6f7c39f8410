"""A bundle that knows what its items look and read like, from the configuration of one encoder."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from support.clips import write_random_clip
from tamis_pipeline.build import Pipeline
from tamis_pipeline.config import PipelineConfig, RankingConfig, RetrievalConfig
from tamis_pipeline.embedding.embed import EmbedConfig
from tamis_pipeline.progress import Progress
from tamis_pipeline.rankers.deepfm import DeepFMConfig
from tamis_pipeline.rankers.exposures import ExposureConfig
from tamis_pipeline.rankers.training import TrainingConfig
from tamis_pipeline.shop.catalogue import make_products
from tamis_pipeline.shop.export import write_pictures, write_shop
from tamis_pipeline.shop.shoppers import simulate
from tamis_pipeline.twotower import TwoTowerConfig
from tamis_pipeline.workspace import open_workspace
from tamis_server.bundles.clip import Clip, document, fuse


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shop")
    products = make_products(60, seed=1)
    write_shop(products, simulate(products, 40, seed=1), directory)
    write_pictures(products[:20], directory, lambda: None)
    return directory


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> PipelineConfig:
    towers = write_random_clip(tmp_path_factory.mktemp("clip"))
    return PipelineConfig(
        content=EmbedConfig(f"onnx:{towers}", text_weight=0.5),
        retrieval=RetrievalConfig(
            two_tower=TwoTowerConfig(dim=8, hidden=8, history=5, batch=128, epochs=1)
        ),
        ranking=RankingConfig(
            exposures=ExposureConfig(personal=20, together=20),
            deepfm=DeepFMConfig(embedding=4, hidden=(8, 8, 8), training=TrainingConfig(epochs=1)),
        ),
    )


def test_a_bundle_holds_content_vectors_and_the_clip_that_made_them(
    data: Path, config: PipelineConfig, tmp_path: Path
) -> None:
    progress = Progress(Console(file=StringIO()))
    with open_workspace(tmp_path, progress) as workspace:
        pipeline = Pipeline(config, data, "shop", workspace, progress)
        bundle = pipeline.index.value
    assert pipeline.content is not None
    clip, spec = Clip.load(bundle / "clip"), pipeline.content.value.spec
    assert spec.text_weight == 0.5
    item = pipeline.read.value.data.items.slice(0, 1).to_pylist()[0]
    wanted = fuse(
        clip.texts([document(item["title"], item["text"])]),
        clip.images([(data / item["image"]).read_bytes()]),
        np.array([True]),
        spec,
    )
    found = np.load(bundle / "content.npy")
    assert found.shape == (60, clip.dim)
    np.testing.assert_allclose(found[:1], wanted, atol=1e-6)


def test_a_new_picture_makes_one_new_vector_and_nothing_else_is_encoded(
    data: Path, config: PipelineConfig, tmp_path: Path
) -> None:
    console = Console(file=StringIO(), width=120)

    def vectors() -> tuple[np.ndarray, str]:
        console.file = StringIO()
        with open_workspace(tmp_path, Progress(console)) as workspace:
            pipeline = Pipeline(config, data, "shop", workspace, Progress(console))
            assert pipeline.content is not None
            return pipeline.content.value.vectors, console.file.getvalue()

    before, _ = vectors()
    again, said = vectors()
    np.testing.assert_array_equal(before, again)
    assert "embed: kept from an earlier run" in said
    picture = next((data / "pictures").iterdir())
    Image.new("RGB", (9, 9), "magenta").save(picture)
    after, said = vectors()
    assert "0 texts and 1 pictures to encode" in said
    assert (before != after).any(axis=1).sum() == 1


def test_a_configuration_without_an_encoder_makes_no_content(data: Path, tmp_path: Path) -> None:
    progress = Progress(Console(file=StringIO()))
    with open_workspace(tmp_path, progress) as workspace:
        pipeline = Pipeline(PipelineConfig(), data, "shop", workspace, progress)
        assert pipeline.embed is None
        assert pipeline.content is None
