"""Whatever is asked, every item of the answer may be shown; and what may be shown is not withheld.

The reference here is a funnel written the slow and obvious way, over Python sets and dicts.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.engines import AS_OF, Bench, bench, request
from tamis_pipeline.synthetic import COLOURS, TAGS
from tamis_server.domain.context import EventKind, Operator, Predicate
from tamis_server.domain.slate import Shortfall
from tamis_server.settings import RetrievalSettings, Settings

ITEMS = 300


@pytest.fixture(scope="module", params=["graph", "exact scan"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    directory = tmp_path_factory.mktemp("bundle") / "shop"
    exact_below = 0 if request.param == "graph" else 10_000
    chosen = Settings(retrieval=RetrievalSettings(exact_below=exact_below))
    return bench(directory, chosen, items=ITEMS, users=30, profiled=True)


def matches(item: dict[str, Any], predicate: Predicate) -> bool:
    value = item[predicate.attribute]
    values = value if isinstance(value, list) else [] if value is None else [value]
    if predicate.operator is Operator.RANGE:
        low = -np.inf if predicate.low is None else predicate.low
        high = np.inf if predicate.high is None else predicate.high
        return any(low <= each <= high for each in values)
    hit = any(each in predicate.values for each in values)
    return hit if predicate.operator is Operator.IN else not hit


def eligible(shop: Bench, predicates: list[Predicate], excluded: set[int]) -> set[int]:
    return {
        row
        for row, item in enumerate(shop.bundle.items.to_pylist())
        if item["available"]
        and row not in excluded
        and all(matches(item, predicate) for predicate in predicates)
    }


def seen(shop: Bench, user_id: str) -> set[int]:
    for user in shop.bundle.users.to_pylist():
        if user["user_id"] == user_id:
            pairs = zip(user["rows"], user["kinds"], strict=True)
            return {row for row, kind in pairs if kind != EventKind.IMPRESSION}
    return set()


operators = st.sampled_from([Operator.IN, Operator.NOT_IN])
some = {"min_size": 0, "max_size": 3}
bounds = st.one_of(st.none(), st.integers(0, 100).map(float))
predicates = st.lists(
    st.one_of(
        st.builds(
            lambda operator, values: Predicate("colour", operator, tuple(values)),
            operators,
            st.lists(st.sampled_from((*COLOURS, "mauve")), **some),
        ),
        st.builds(
            lambda operator, values: Predicate("tags", operator, tuple(values)),
            operators,
            st.lists(st.sampled_from(TAGS), **some),
        ),
        st.builds(
            lambda operator, value: Predicate("organic", operator, (value,)),
            operators,
            st.booleans(),
        ),
        st.builds(
            lambda low, high: Predicate("price", Operator.RANGE, low=low, high=high), bounds, bounds
        ),
        st.builds(
            lambda operator, values: Predicate("price", operator, tuple(map(float, values))),
            operators,
            st.lists(st.integers(1, 100), **some),
        ),
    ),
    max_size=3,
)


@given(
    user=st.integers(0, 35),
    limit=st.integers(1, 60),
    predicates=predicates,
    excluded=st.sets(st.integers(-1, ITEMS - 1), max_size=ITEMS),
)
@settings(max_examples=150, deadline=None)
def test_a_slate_holds_what_may_be_shown_and_as_much_of_it_as_was_asked(
    shop: Bench, user: int, limit: int, predicates: list[Predicate], excluded: set[int]
) -> None:
    user_id = f"user-{user}"
    asked = request(
        user_id,
        limit,
        predicates=tuple(predicates),
        excluded=np.array(sorted(excluded), np.int32),
    )
    slate = asyncio.run(shop.engine.recommend.run(asked))
    rows = slate.candidates.rows.tolist()
    allowed = eligible(shop, predicates, excluded)
    met = seen(shop, user_id)

    assert len(rows) == len(set(rows)), "no item twice"
    assert set(rows) <= allowed, "available, matching, not excluded"
    assert not set(rows) & met, "nothing the user has met"
    assert not slate.causes
    # a Bloom filter may take a new item for a seen one, 1 in 1,000 here, never the other way
    wanted = min(limit, len(allowed - met))
    assert wanted - 2 <= len(rows) <= wanted
    if len(rows) < limit:
        assert slate.shortfall is not Shortfall.NONE
        assert (slate.shortfall is Shortfall.NO_ELIGIBLE_ITEMS) == (not allowed)
    else:
        assert slate.shortfall is Shortfall.NONE
    assert np.isfinite(slate.candidates.scores).all()
    assert (slate.candidates.sources > 0).all(), "every item says where it came from"


@given(row=st.integers(0, ITEMS - 1), limit=st.integers(1, 40), predicates=predicates)
@settings(max_examples=60, deadline=None)
def test_related_items_may_be_shown_and_are_not_the_item_itself(
    shop: Bench, row: int, limit: int, predicates: list[Predicate]
) -> None:
    anchors = np.array([row], np.int32)
    asked = request("", limit, anchors=anchors, predicates=tuple(predicates))
    rows = asyncio.run(shop.engine.related.run(asked)).candidates.rows.tolist()
    assert row not in rows
    assert set(rows) <= eligible(shop, predicates, set())


def test_the_same_request_gets_the_same_slate(shop: Bench) -> None:
    asked = request("user-3", 20)
    first, second = (asyncio.run(shop.engine.recommend.run(asked)).candidates for _ in range(2))
    assert first.rows.tolist() == second.rows.tolist()
    assert first.scores.tolist() == second.scores.tolist()


def test_the_native_ranker_scores_what_the_unfactorised_model_scores(shop: Bench) -> None:
    """The whole DeepFM over concatenated inputs, as it was trained, against the split one."""
    from tamis_server.bundles import features

    bundle, weights = shop.bundle, shop.bundle.ranker
    user = next(each for each in bundle.users.to_pylist() if each["rows"] and all(each["profile"]))
    asked = request(user["user_id"], 20)
    slate = asyncio.run(shop.engine.recommend.run(asked))
    history, profile = shop.history(user["user_id"]), np.array(user["profile"])
    fields, dense = features.user_features(
        history.rows,
        history.times,
        history.kinds,
        asked.now,
        bundle.item_fields,
        features.log_popularity(bundle.popularity),
    )
    fields = np.concatenate([fields, profile])
    query = query_vector(bundle, history.rows, history.kinds, profile)
    cross = features.cross_features(
        bundle.vectors,
        bundle.neighbours,
        slate.candidates.rows,
        query,
        history.rows,
        history.kinds,
    )
    schema = bundle.manifest.features
    user_at = np.cumsum([0, *(field.size for field in schema.user_fields)])[:-1]
    item_at = np.cumsum([0, *(field.size for field in schema.item_fields)])[:-1]
    for row, near, score in zip(slate.candidates.rows, cross, slate.candidates.scores, strict=True):
        user_embedded = weights["user_embedding"][fields + user_at]
        item_embedded = weights["item_embedding"][bundle.item_fields[row] + item_at]
        embedded = np.concatenate([user_embedded, item_embedded]).astype(np.float64)
        total = embedded.sum(axis=0)
        user_dense = np.concatenate([dense, query])
        item_dense = np.concatenate([bundle.item_dense[row], bundle.vectors[row]])
        wide = (
            ((total**2).sum() - (embedded**2).sum()) / 2
            + weights["user_linear"][fields + user_at].sum()
            + weights["item_linear"][bundle.item_fields[row] + item_at].sum()
            + user_dense @ weights["user_dense_linear"]
            + item_dense @ weights["item_dense_linear"]
            + near @ weights["cross_linear"]
        )
        hidden = (
            np.concatenate([user_embedded.ravel(), user_dense]) @ weights["w1_user"]
            + np.concatenate([item_embedded.ravel(), item_dense]) @ weights["w1_item"]
            + near @ weights["w1_cross"]
            + weights["b1"]
        )
        hidden = np.maximum(np.maximum(hidden, 0) @ weights["w2"] + weights["b2"], 0)
        hidden = np.maximum(hidden @ weights["w3"] + weights["b3"], 0)
        logits = weights["w_out"] @ hidden + wide * weights["wide"] + weights["bias"]
        mean = (1 / (1 + np.exp(-logits))).mean()  # the objectives weigh the same
        assert score == pytest.approx(mean, abs=1e-5)


def query_vector(
    bundle: Any, rows: np.ndarray, kinds: np.ndarray, profile: np.ndarray
) -> np.ndarray:
    """The query encoder as loops over heads and events, at the time of the bundle."""
    w = bundle.encoder
    heard = [
        (row, kind, age)
        for age, (row, kind) in enumerate(zip(rows[::-1], kinds[::-1], strict=True))
        if age < len(w["recency_bias"]) and kind not in (0, 7)
    ]
    pools = []
    for head in range(w["seeds"].shape[1]):
        total, pool = 0.0, np.zeros(w["history_table"].shape[1])
        for row, kind, age in heard:
            event = w["history_table"][row].astype(np.float64)
            logit = event @ w["seeds"][:, head] + w["kind_bias"][kind, head]
            attention = np.exp(logit + w["recency_bias"][age, head])
            total += attention
            pool += attention * w["kind_weight"][kind] * event
        pools.append(pool / total)
    pooled = np.concatenate(pools)
    moment = datetime.fromtimestamp(AS_OF, UTC)
    about = w["context_table"][1 + moment.hour] + w["context_table"][25 + 1 + moment.weekday()]
    slot = 25 + 8  # behind hours and weekdays
    for field, code in zip(bundle.manifest.features.profile_fields, profile, strict=True):
        about = about + w["context_table"][slot + code]
        slot += field.size
    hidden = np.maximum(pooled @ w["w1"] + about @ w["w_context"] + w["b1"], 0)
    query = pooled @ w["skip"] + hidden @ w["w2"] + w["b2"]
    return (query / np.linalg.norm(query)).astype(np.float32)
