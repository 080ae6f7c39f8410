"""One ranker, one score: as it was trained, as ONNX and as it is served; and on the same inputs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from support.engines import AS_OF, Bench, bench, request
from support.events import Event, columns
from tamis_kernels import available_levels, with_level
from tamis_pipeline.dataset import Interactions
from tamis_pipeline.rankers import deepfm, export, training
from tamis_pipeline.rankers.exposures import ExposureConfig, Exposures, ItemTables, listed
from tamis_pipeline.rankers.precision import losses
from tamis_pipeline.rankers.requests import Requests, requests
from tamis_pipeline.twotower import Towers
from tamis_server.adapters.embedded import deepfm as adapter
from tamis_server.adapters.embedded import features as hydration
from tamis_server.adapters.embedded.deepfm import NativeDeepFM
from tamis_server.adapters.embedded.features import ColumnFeatures
from tamis_server.adapters.ranking_inputs import RankingInputs
from tamis_server.bundles import features
from tamis_server.bundles.factorised import Precision
from tamis_server.bundles.loader import Bundle
from tamis_server.domain.candidates import Candidates
from tamis_server.domain.context import EventKind, RequestContext
from tamis_server.domain.errors import BundleRejected

ITEMS, USERS = 400, 40


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    directory = tmp_path_factory.mktemp("bundle") / "shop"
    return bench(directory, items=ITEMS, users=USERS, profiled=True)


def tables_of(bundle: Bundle) -> ItemTables:
    n = bundle.manifest.items
    return ItemTables(
        fields=bundle.item_fields[:n],
        dense=bundle.item_dense[:n],
        popularity=bundle.popularity[:n],
        log_popularity=features.log_popularity(bundle.popularity[:n]),
        vectors=bundle.vectors[:n],
        neighbours=bundle.neighbours,
    )


def histories_of(bundle: Bundle) -> Interactions:
    """All that the bundle knows of users, by time."""
    users = bundle.users.to_pylist()
    columns = {
        name: np.concatenate([np.array(user[name], dtype) for user in users])
        for name, dtype in (("rows", np.int32), ("times", np.float64), ("kinds", np.uint8))
    }
    who = np.repeat(np.arange(len(users)), [len(user["rows"]) for user in users]).astype(np.int32)
    order = np.argsort(columns["times"], kind="stable")
    return Interactions(
        who[order], columns["rows"][order], columns["times"][order], columns["kinds"][order]
    )


def exposed(bundle: Bundle, asked: Requests) -> Exposures:
    encoder = {name: np.asarray(a) for name, a in bundle.encoder.items()}
    towers = Towers(bundle.vectors, encoder, profile=bundle.profiles.fields)
    config = ExposureConfig(personal=ITEMS, popular=ITEMS, candidates=ITEMS)
    return listed(asked, tables_of(bundle), towers, config)


@pytest.mark.parametrize("level", available_levels())
def test_kernel_onnx_and_jax_give_the_same_probabilities_and_order(shop: Bench, level: str) -> None:
    bundle, manifest = shop.bundle, shop.bundle.manifest
    events = histories_of(bundle)
    data = exposed(bundle, requests(events, events, profiles=bundle.profiles))
    params = {name: bundle.ranker[name] for name in bundle.ranker if name != "pairing_id"}
    model = deepfm.DeepFM(
        manifest.features, manifest.dim, len(manifest.objectives), deepfm.DeepFMConfig()
    )
    tables = tables_of(bundle)
    trained = 1 / (1 + np.exp(-training.predict(model, params, training.item_inputs(tables), data)))
    session = onnxruntime.InferenceSession(export.deepfm(params, manifest.features))
    weights = np.array([objective.weight for objective in manifest.objectives])
    weights = weights / weights.sum()
    with with_level(level):
        ranker = NativeDeepFM(bundle, {})
    for row in range(0, len(data), max(1, len(data) // 60)):
        items = np.maximum(data.items[row], 0)
        (exported,) = session.run(
            None,
            {
                "user_fields": data.user_fields[row : row + 1],
                "user_dense": data.user_dense[row : row + 1],
                "item_fields": tables.fields[items][None],
                "item_dense": tables.all_dense()[items][None],
                "cross": data.cross[row : row + 1],
            },
        )
        np.testing.assert_allclose(exported[0], trained[row], atol=1e-4)
        native = served(ranker, shop, data, row)
        there = data.items[row] >= 0
        expected = (exported[0] @ weights)[there]
        np.testing.assert_allclose(native[there], expected, atol=1e-4)
        assert best(native[there]) == best(expected)


@pytest.mark.parametrize(("precision", "error"), [("f16", 2e-3), ("int8", 2e-2)])
def test_lower_precisions_stay_near_float32_and_know_what_they_cost(
    shop: Bench, precision: Precision, error: float
) -> None:
    bundle, manifest = shop.bundle, shop.bundle.manifest
    events = histories_of(bundle)
    data = exposed(bundle, requests(events, events, profiles=bundle.profiles))
    exact, less = NativeDeepFM(bundle, {}), NativeDeepFM(bundle, {}, precision)
    scores = [served(ranker, shop, data, 0) for ranker in (exact, less)]
    np.testing.assert_allclose(scores[1], scores[0], atol=error)
    assert not np.array_equal(*scores)
    params = {name: bundle.ranker[name] for name in bundle.ranker if name != "pairing_id"}
    cost = losses(params, manifest.features, manifest.objectives, tables_of(bundle), data)
    assert 0 < cost[precision]["mean error"] < cost[precision]["largest error"] < error
    assert 0.9 < cost[precision]["top-20 overlap"] <= 1
    assert cost[precision]["bytes an item"] < 0.6 * cost["f32"]["bytes an item"]
    assert cost["f32"]["largest error"] == 0
    assert cost["f32"]["top-20 overlap"] == 1


def best(scores: np.ndarray) -> list[int]:
    """The first 20, equal scores (to what float32 can tell) in the order of rows."""
    return np.lexsort((np.arange(scores.shape[0]), -scores.round(6)))[:20].tolist()


def served(ranker: NativeDeepFM, shop: Bench, data: Exposures, row: int) -> np.ndarray:
    """The native scores of an exposure's candidates, from the features that it has."""
    rows = np.maximum(data.items[row], 0)
    candidates = Candidates(
        rows,
        np.zeros(rows.shape[0], np.float32),
        np.zeros(rows.shape[0], np.uint32),
        {"cross": data.cross[row]},
    )
    dim = shop.bundle.manifest.dim
    asked = replace(request(), query=data.user_dense[row, -dim:])
    fields, dense = data.user_fields[row], data.user_dense[row, :-dim]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(features, "user_features", lambda *_: (fields, dense))
        return asyncio.run(ranker.score(asked, candidates))


class Seen:
    """The features that a server computed while it answered."""

    def __init__(self, patched: pytest.MonkeyPatch) -> None:
        self.user: tuple[np.ndarray, np.ndarray] | None = None
        self.query: np.ndarray | None = None
        self.ctx = request()
        self.cross: dict[int, np.ndarray] = {}
        user_features, cross_features = features.user_features, features.cross_features

        def user(*arguments: Any) -> Any:
            self.user = user_features(*arguments)
            return self.user

        def cross(vectors: Any, neighbours: Any, rows: Any, query: Any, *rest: Any) -> Any:
            found = cross_features(vectors, neighbours, rows, query, *rest)
            self.query = query
            self.cross = dict(zip(rows.tolist(), found, strict=True))
            return found

        columns = ColumnFeatures.columns

        async def hydrate(self_: Any, ctx: RequestContext, rows: Any) -> Any:
            self.ctx = ctx
            return await columns(self_, ctx, rows)

        patched.setattr(ColumnFeatures, "columns", hydrate)
        patched.setattr(adapter.features, "user_features", user)
        patched.setattr(hydration, "cross_features", cross)


async def test_features_while_serving_are_those_of_training(
    shop: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users go on where the bundle's histories end; their events come through the store, and each
    positive is once asked for by a real request and once made an exposure."""
    rng = np.random.default_rng(5)
    known = histories_of(shop.bundle)
    count = 150
    new = Interactions(
        rng.integers(0, USERS, count).astype(np.int32),
        rng.integers(0, ITEMS, count).astype(np.int32),
        AS_OF + np.sort(rng.uniform(1, 3e5, count)).round(3),
        rng.choice([1, 2, 3, 4, 5, 6, 8], count).astype(np.uint8),
    )
    together = Interactions(
        *(
            np.concatenate([getattr(part, name) for part in (known, new)])
            for name in ("users", "items", "times", "kinds")
        )
    )
    asked = requests(together, new, profiles=shop.bundle.profiles)
    moments = {(float(asked.times[i]), int(asked.targets[i])): i for i in range(len(asked))}
    seen = Seen(monkeypatch)
    ids = shop.bundle.users.column("user_id").to_pylist()
    compared = candidates = 0
    for user, item, time, kind in zip(
        new.users.tolist(), new.items.tolist(), new.times.tolist(), new.kinds.tolist(), strict=True
    ):
        if (time, item) in moments:
            await shop.engine.recommend.run(request(ids[user], 20, now=time))
            which = np.array([moments[time, item]])
            exposure = exposed(shop.bundle, asked.take(which))
            candidates += compare(seen, exposure)
            compare_history(shop.bundle, seen.ctx, exposure)
            compared += 1
        event = Event(f"e{time}-{user}-{item}", ids[user], f"item-{item}", EventKind(kind), time)
        assert (await shop.store.record(columns(event))).all()
    assert compared > 50
    assert candidates > 1_000


def compare_history(bundle: Bundle, ctx: RequestContext, exposure: Exposures) -> None:
    """What sequence models read of the past, as served and as trained."""
    data = training.batch_of(exposure)
    names = ("history_fields", "history_dense", "history_kinds", "history_ages")
    length = exposure.history_items.shape[1]
    served = RankingInputs(bundle, names, length, features.log_popularity(bundle.popularity)).of(
        ctx, Candidates()
    )
    tables = tables_of(bundle)
    np.testing.assert_array_equal(served["history_kinds"], data.history_kinds[0])
    np.testing.assert_array_equal(served["history_ages"], data.history_ages[0])
    np.testing.assert_array_equal(served["history_fields"], tables.fields[data.history_items[0]])
    np.testing.assert_array_equal(
        served["history_dense"], tables.all_dense()[data.history_items[0]]
    )


def compare(seen: Seen, exposure: Exposures) -> int:
    """The features of one request, both ways; how many candidates were the same."""
    assert seen.user is not None
    fields, dense = seen.user
    assert exposure.user_fields[0].tolist() == fields.tolist()
    np.testing.assert_array_equal(exposure.user_dense[0, : dense.shape[0]], dense)
    query = exposure.user_dense[0, dense.shape[0] :]
    np.testing.assert_allclose(
        query, np.zeros_like(query) if seen.query is None else seen.query, atol=1e-6
    )
    common = 0
    for column, candidate in enumerate(exposure.items[0].tolist()):
        if candidate in seen.cross:
            np.testing.assert_allclose(exposure.cross[0, column], seen.cross[candidate], atol=1e-6)
            common += 1
    return common


async def test_the_served_score_is_the_mean_of_the_objectives_by_the_weights_set(
    shop: Bench,
) -> None:
    bundle = shop.bundle
    rows = np.arange(50, dtype=np.int32)
    cross = np.random.default_rng(0).normal(size=(50, len(features.CROSS))).astype(np.float32)
    candidates = Candidates(
        rows, np.zeros(50, np.float32), np.zeros(50, np.uint32), {"cross": cross}
    )

    async def scores(**weights: float) -> np.ndarray:
        return await NativeDeepFM(bundle, weights).score(request(), candidates)

    click, like = await scores(click=1), await scores(like=2)
    assert not np.allclose(click, like)
    np.testing.assert_allclose(await scores(), (click + like) / 2, rtol=1e-5)
    np.testing.assert_allclose(await scores(click=3, like=1), 0.75 * click + 0.25 * like, rtol=1e-5)


def test_weights_of_objectives_that_the_bundle_has_not_are_refused(shop: Bench) -> None:
    with pytest.raises(BundleRejected, match=r"no objective buy, .*; it has click, like"):
        NativeDeepFM(shop.bundle, {"buy": 1.0})
    with pytest.raises(BundleRejected, match="weight 0"):
        NativeDeepFM(shop.bundle, {"like": 0.0})
