"""A Transformer that the pipeline exports ranks in process, from the past that is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from support.engines import AS_OF, SPARE, Recorder, request
from support.triton import require_triton
from tamis_pipeline import item_tables
from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.rankers import export, training
from tamis_pipeline.rankers.exposures import Exposures, ItemTables
from tamis_pipeline.rankers.simple import Simple
from tamis_pipeline.rankers.transformer import Transformer, TransformerConfig
from tamis_pipeline.synthetic import random_parts
from tamis_server.adapters.embedded.encoder import AttentiveQueryEncoder
from tamis_server.bundles import features
from tamis_server.bundles.loader import Bundle, load
from tamis_server.domain.candidates import DegradationLevel
from tamis_server.domain.context import History
from tamis_server.domain.slate import Slate
from tamis_server.engines import build_engine
from tamis_server.rankers import open_triton
from tamis_server.settings import RankingSettings, Settings, StateSettings
from tamis_server.stores import open_stores
from tamis_server.tables import Tables
from triton_local.server import TritonServer

HISTORY = 8


def shop(directory: Path) -> tuple[Bundle, Transformer, training.Params]:
    """A bundle with a random Transformer."""
    parts = random_parts(items=120, users=10, as_of=AS_OF)
    schema, dim = parts.features, parts.vectors.shape[1]
    model = Transformer(schema, dim, HISTORY, 2, TransformerConfig(width=16, heads=2))
    rng = np.random.default_rng(0)
    cross, dense = (np.ones(len(each), np.float32) for each in (schema.cross, schema.item_dense))
    params = {
        name: np.asarray(array) + rng.normal(size=array.shape, scale=0.1).astype(np.float32)
        for name, array in model.initial(0, Simple(cross, dense, 0.0)).items()
    }
    exported = export.transformer(params, schema, 2)
    write_bundle(replace(parts, models={"transformer/1/model.onnx": exported}), directory)
    return load(directory, spare=SPARE), model, params


async def answered(bundle: Bundle, state: Path, url: str) -> Slate:
    stores = open_stores(StateSettings(url=f"lmdb://{state}", fsync="never"))
    settings = Settings(ranking=RankingSettings(url=url, timeout_s=10.0))
    triton = open_triton(settings.ranking)
    engine = build_engine(Tables.of(bundle, settings), stores.users, settings, Recorder(), triton)
    slate = await engine.recommend.run(request("user-3", 20))
    assert slate.level is DegradationLevel.FULL, slate.causes
    assert len(slate.candidates) == 20
    for model in triton.values():
        await model.close()
    await stores.close()
    return slate


async def test_a_transformer_in_process_ranks_as_it_was_trained_to(tmp_path: Path) -> None:
    bundle, model, params = shop(tmp_path / "b")
    slate = await answered(bundle, tmp_path / "state", "onnx://transformer")
    other = await answered(bundle, tmp_path / "state", "")
    assert slate.candidates.scores.tolist() != other.candidates.scores.tolist()
    expected = await jax_scores(bundle, model, params, slate.candidates.rows)
    np.testing.assert_allclose(slate.candidates.scores, expected, atol=1e-4)


async def test_one_that_has_no_room_for_the_items_is_told_their_features_and_ranks_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, _, _ = shop(tmp_path / "b")
    knowing = await answered(bundle, tmp_path / "state", "onnx://transformer")
    monkeypatch.setattr(item_tables, "_LARGEST", 0)
    bundle, _, _ = shop(tmp_path / "without")
    graph = onnx.load(bundle.directory / "models/transformer/1/model.onnx").graph
    assert {"item_dense", "history_dense"} <= {each.name for each in graph.input}
    told = await answered(bundle, tmp_path / "state", "onnx://transformer")
    np.testing.assert_array_equal(told.candidates.rows, knowing.candidates.rows)
    np.testing.assert_allclose(told.candidates.scores, knowing.candidates.scores, atol=1e-6)


@pytest.mark.parametrize("room", [True, False], ids=["with the items", "without the items"])
async def test_a_transformer_on_triton_ranks_as_it_does_in_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: bool
) -> None:
    require_triton()
    if not room:
        monkeypatch.setattr(item_tables, "_LARGEST", 0)
    bundle, _, _ = shop(tmp_path / "b")
    local = await answered(bundle, tmp_path / "state", "onnx://transformer")
    with TritonServer(bundle.directory / "models") as server:
        url = f"triton://{server.endpoint}/transformer"
        remote = await answered(bundle, tmp_path / "state", url)
    np.testing.assert_array_equal(local.candidates.rows, remote.candidates.rows)
    np.testing.assert_allclose(local.candidates.scores, remote.candidates.scores, atol=1e-6)


async def jax_scores(
    bundle: Bundle, model: Transformer, params: training.Params, rows: np.ndarray
) -> np.ndarray:
    """What the model gives in JAX for user-3 at the time of the bundle."""
    past = next(user for user in bundle.users.to_pylist() if user["user_id"] == "user-3")
    items, kinds = np.array(past["rows"], np.int32), np.array(past["kinds"], np.uint8)
    times = np.array(past["times"])
    fields, dense = features.user_features(
        items,
        times,
        kinds,
        AS_OF,
        bundle.item_fields,
        features.log_popularity(bundle.popularity),
    )
    asked = request(history=History(items, times, kinds))
    query = await AttentiveQueryEncoder(bundle).encode(asked)
    assert query is not None
    cross = features.cross_features(bundle.vectors, bundle.neighbours, rows, query, items, kinds)
    latest = slice(None, -HISTORY - 1, -1)
    count = min(HISTORY, items.shape[0])
    history = np.full((1, HISTORY), -1, np.int32)
    what = np.zeros((1, HISTORY), np.uint8)
    when = np.zeros((1, HISTORY))
    history[0, :count], what[0, :count], when[0, :count] = (
        column[latest] for column in (items, kinds, times)
    )
    data = Exposures(
        fields[None],
        np.concatenate([dense, query])[None],
        rows[None],
        cross[None],
        np.zeros(1, np.uint16),
        history,
        what,
        features.ages(when, AS_OF),
    )
    n = bundle.manifest.items
    tables = ItemTables(
        bundle.item_fields[:n],
        bundle.item_dense[:n],
        bundle.popularity[:n],
        features.log_popularity(bundle.popularity[:n]),
        bundle.vectors[:n],
    )
    logits = training.predict(model, params, training.item_inputs(tables), data)[0]
    return (1 / (1 + np.exp(-logits))).mean(axis=1)
