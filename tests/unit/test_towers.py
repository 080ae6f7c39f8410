"""What is served of the towers is what was trained; new items are placed by what they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime import InferenceSession

from tamis_kernels import QueryTower
from tamis_pipeline import towers, twotower
from tamis_pipeline.dataset import Interactions
from tamis_pipeline.query_model import query_encoder
from tamis_pipeline.synthetic import random_parts
from tamis_pipeline.vocabulary import ItemFields
from tamis_pipeline.windows import between, grouped, within
from tamis_server.bundles.item_tower import ItemTower
from tamis_server.bundles.manifest import ENCODER_ARRAYS, FieldSpec
from tamis_server.bundles.profiles import Profiles
from tamis_server.bundles.query_tower import HEARD, clock, clock_at, context, encode
from tamis_server.bundles.vocabulary import AttributeCodes, Vocabulary

ITEMS, WIDTH = 40, 6
CONFIG = twotower.TwoTowerConfig(
    dim=8,
    hidden=8,
    history=6,
    batch=64,
    uniform_negatives=16,
    hard_negatives=16,
    hard_depth=10,
    epochs=8,
    patience=8,
    recall_at=5,
)


def catalogue() -> tuple[ItemFields, np.ndarray]:
    """Items of two kinds, odd and even, in fields, words and content."""
    vocabulary = Vocabulary(
        attributes=(
            AttributeCodes(attribute="parity", kind="category", values=("even", "odd")),
            AttributeCodes(attribute="size", kind="number", edges=(10.0, 20.0)),
        ),
        word_buckets=32,
        words=3,
    )
    kinds = ["odd" if item % 2 else "even" for item in range(ITEMS)]
    fields = vocabulary.fields({"parity": kinds, "size": list(range(ITEMS))}, ITEMS)
    words = vocabulary.hashed([f"{kind} thing" for kind in kinds])
    content = np.random.default_rng(1).normal(size=(ITEMS, WIDTH)).astype(np.float32)
    content[:, 0] += np.where(np.arange(ITEMS) % 2, 5, -5)
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    return ItemFields(vocabulary, fields, words), content


_SHARES = (0.4, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05)


def behaviour(seed: int = 0, users: int = 60, most: int = ITEMS - 4) -> Interactions:
    """Users keep to odd or to even items; the last four items nobody meets."""
    rng = np.random.default_rng(seed)
    rows = [
        (user, item, float(1e6 + 5000 * n + user), rng.choice([1, 2, 4, 5, 6, 7, 8], p=_SHARES))
        for user in range(users)
        for n, item in enumerate(rng.permutation(np.arange(user % 2, most, 2))[:10])
    ]  # fmt: skip
    rows.sort(key=lambda row: row[2])
    columns = list(zip(*rows, strict=True))
    return Interactions(
        np.array(columns[0], np.int32),
        np.array(columns[1], np.int32),
        np.array(columns[2]),
        np.array(columns[3], np.uint8),
    )


def cut(events: Interactions) -> tuple[Interactions, Interactions]:
    late = events.times > np.quantile(events.times, 0.8)
    return events.take(~late), events.take(late)


@pytest.fixture(scope="module")
def trained() -> twotower.Towers:
    fields, content = catalogue()
    fit, validation = cut(behaviour())
    return twotower.train(fields, content, fit, validation, CONFIG, 0, lambda _: None)


@given(seed=st.integers(0, 1000), length=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_queries_are_served_as_they_were_trained(
    trained: twotower.Towers, seed: int, length: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(-1, ITEMS, (3, length)).astype(np.int32)
    kinds = rng.integers(0, 9, (3, length)).astype(np.uint8)
    context = clock(rng.uniform(0, 2e9, 3))
    served = encode(trained.encoder, rows, kinds, context)
    kept = slice(None, CONFIG.history)
    expected = np.asarray(
        towers.queries(
            trained.encoder,  # type: ignore[arg-type]  # arrays are arrays
            trained.encoder["history_table"],  # type: ignore[arg-type]
            rows[:, kept],  # type: ignore[arg-type]
            kinds[:, kept],  # type: ignore[arg-type]
            context,  # type: ignore[arg-type]
        )
    )
    heard = ((rows >= 0) & ~np.isin(kinds, [0, 7]))[:, kept].any(axis=1)
    np.testing.assert_allclose(served[heard], expected[heard], atol=1e-5)
    assert not served[~heard].any()


@given(seed=st.integers(0, 1000), length=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_one_user_is_served_by_the_kernel_as_many_are_in_numpy(
    trained: twotower.Towers, seed: int, length: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(-1, ITEMS, (1, length)).astype(np.int32)
    kinds = rng.integers(0, 9, (1, length)).astype(np.uint8)
    time = float(rng.uniform(0, 2e9))
    expected = encode(trained.encoder, rows, kinds, clock(np.array([time])))[0]
    arrays = {name: np.ascontiguousarray(trained.encoder[name]) for name in ENCODER_ARRAYS}
    kernel = QueryTower(**arrays, heard=HEARD)
    oldest_first = rows[0, ::-1].copy(), kinds[0, ::-1].copy()
    np.testing.assert_allclose(
        kernel.encode(*oldest_first, clock_at(time)), expected, rtol=0, atol=1e-5
    )


def test_a_profile_says_what_a_history_does_not() -> None:
    """Everybody starts anywhere; the plan decides whether it goes on with odd or even items."""
    rng = np.random.default_rng(0)
    rows = [
        (user, int(item), 1e6 + 5000 * n + user)
        for user in range(200)
        for n, item in enumerate((rng.integers(ITEMS), *rng.choice(ITEMS // 2, 2) * 2 + user % 2))
    ]
    users, items, times = zip(*sorted(rows, key=lambda row: row[2]), strict=True)
    events = Interactions(
        np.array(users, np.int32),
        np.array(items, np.int32),
        np.array(times),
        np.full(len(rows), 2, np.uint8),
    )
    plan = (FieldSpec(name="profile_plan", size=3),)
    profiles = Profiles(plan, (1 + np.arange(200, dtype=np.int32) % 2)[:, None])
    fields, content = catalogue()
    fit, validation = cut(events)
    config = replace(CONFIG, epochs=12, rate=2e-2, timed=False)
    found = twotower.train(fields, content, fit, validation, config, 0, lambda _: None, profiles)
    assert found.profile == plan
    at = np.array([1e6])
    even, odd, unknown = (
        encode(
            found.encoder,
            np.array([[7]], np.int32),
            np.full((1, 1), 2, np.uint8),
            context(at, np.array([[code]], np.int32), plan),
        )[0]
        for code in (1, 2, 0)
    )
    of_even, of_odd = (found.vectors[start::2].mean(axis=0) for start in (0, 1))
    assert even @ (of_even - of_odd) > unknown @ (of_even - of_odd) > odd @ (of_even - of_odd)
    assert even @ of_even > even @ of_odd
    assert odd @ of_odd > odd @ of_even


def test_new_items_are_served_as_training_places_items_it_never_met(
    trained: twotower.Towers,
) -> None:
    fields, content = catalogue()
    tower = ItemTower(fields.vocabulary, trained.item_tower)
    new = slice(ITEMS - 4, ITEMS)
    placed = tower.vectors(fields.values[new], fields.words[new], content[new])
    np.testing.assert_allclose(placed, trained.vectors[new], atol=1e-5)
    histories = tower.histories(fields.values[new], content[new])
    np.testing.assert_allclose(
        histories, trained.encoder["history_table"][new], rtol=1e-3, atol=1e-5
    )


def test_items_nobody_met_are_near_those_who_like_their_kind(trained: twotower.Towers) -> None:
    even = encode(
        trained.encoder,
        np.array([[0, 2, 4, 6]], np.int32),
        np.full((1, 4), 2, np.uint8),
        clock(np.array([1e6])),
    )[0]
    scores = trained.vectors[ITEMS - 4 :] @ even
    assert scores[[0, 2]].min() > scores[[1, 3]].max()


def test_the_same_seed_trains_the_same_towers(trained: twotower.Towers) -> None:
    fields, content = catalogue()
    fit, validation = cut(behaviour())
    again = twotower.train(fields, content, fit, validation, CONFIG, 0, lambda _: None)
    np.testing.assert_array_equal(again.vectors, trained.vectors)


def test_tuning_changes_queries_alone(trained: twotower.Towers) -> None:
    fields, content = catalogue()
    fit, validation = cut(behaviour(seed=5))
    said: list[str] = []
    tuned = twotower.tune(
        trained, fields, content, fit, validation, float(fit.times[-200]), CONFIG, 1, said.append
    )
    np.testing.assert_array_equal(tuned.vectors, trained.vectors)
    for name in ("field", "word", "content"):
        np.testing.assert_array_equal(tuned.item_tower[name], trained.item_tower[name])
    assert (tuned.encoder["history_table"] != trained.encoder["history_table"]).any()
    checked = between(fit, validation, timed=True)
    assert twotower.recall_at(tuned, checked, 5) > twotower.recall_at(trained, checked, 5)
    assert said[0].startswith("before learning")


def test_tuning_begins_where_training_ended(trained: twotower.Towers) -> None:
    fields, content = catalogue()
    fit, validation = cut(behaviour())
    never = replace(CONFIG, epochs=0)
    same = twotower.tune(
        trained, fields, content, fit, validation, -np.inf, never, 1, lambda _: None
    )
    for name, array in trained.encoder.items():
        np.testing.assert_allclose(same.encoder[name], array, atol=1e-6)


def windows(events: Interactions, ordered: bool) -> list[tuple[int, int, list[int]]]:
    """The examples as loops: user, target, history latest first."""
    by_user: dict[int, list[int]] = {}
    for position, user in enumerate(events.users.tolist()):
        by_user.setdefault(user, []).append(position)
    found = []
    for user, own in sorted(by_user.items()):
        met: set[int] = set()
        for place, position in enumerate(own):
            item, kind = int(events.items[position]), int(events.kinds[position])
            if kind in (1, 2, 3, 4, 5) and item not in met:
                others = own[:place] if ordered else [each for each in own if each != position]
                found.append((user, item, [int(events.items[each]) for each in others[::-1]]))
                met.add(item)
    return found


@given(
    of=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 5), st.sampled_from([1, 2, 6, 7])), max_size=30
    ),
    ordered=st.booleans(),
    length=st.integers(1, 6),
)
@settings(deadline=None)
def test_histories_are_what_came_before_or_all_the_rest(
    of: list[tuple[int, int, int]], ordered: bool, length: int
) -> None:
    users, items, kinds = np.array(of, np.int32).reshape(-1, 3).T.copy()
    times = np.arange(len(of), dtype=np.float64)
    events = Interactions(users, items, times, kinds.astype(np.uint8))
    examples = within(events, ordered, timed=True)
    rows, _ = examples.histories(length)
    expected = windows(events, ordered)
    assert examples.targets.tolist() == [target for _, target, _ in expected]
    for found, (_, _, history) in zip(rows, expected, strict=True):
        wanted = history[:length]
        assert found.tolist() == wanted + [-1] * (length - len(wanted))


def test_learning_may_begin_late_with_histories_from_before() -> None:
    events = behaviour()
    moment = float(np.median(events.times))
    every, late = (within(events, True, True, since) for since in (-np.inf, moment))
    order = np.argsort(events.users, kind="stable")
    kept = events.times[order][every.ends] >= moment  # an ordered history ends at its example
    assert late.targets.tolist() == every.targets[kept].tolist()
    np.testing.assert_array_equal(late.histories(6)[0], every.histories(6)[0][kept])


def test_validation_asks_for_what_was_not_met_before() -> None:
    fit, validation = cut(behaviour())
    examples = between(fit, validation, timed=True)
    met = {*zip(fit.users.tolist(), fit.items.tolist(), strict=True)}
    columns = (validation.users.tolist(), validation.items.tolist(), validation.kinds.tolist())
    asked = [
        item
        for user, item, kind in zip(*columns, strict=True)
        if kind in (1, 2, 3, 4, 5) and (user, item) not in met
    ]
    assert examples.targets.tolist() == asked


@given(
    of=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=40),
    size=st.integers(1, 5),
)
@settings(deadline=None)
def test_what_is_asked_together_is_of_one_user_who_keeps_half_as_history(
    of: list[tuple[int, int]], size: int
) -> None:
    users, items = np.array(of, np.int32).reshape(-1, 2).T.copy()
    kinds = np.full(len(of), 1, np.uint8)
    events = Interactions(users, items, np.arange(len(of), dtype=np.float64), kinds)
    examples = within(events, ordered=False, timed=True)
    groups = grouped(examples, size, np.random.default_rng(0))
    assert sorted(groups[groups >= 0].tolist()) == list(range(len(examples)))
    for group in groups:
        together = group[group >= 0]
        assert group[0] >= 0
        assert np.unique(examples.starts[together]).shape == (1,)
        whole = (examples.starts == examples.starts[together[0]]).sum()
        assert together.shape[0] <= max(1, whole // 2)


def test_where_order_says_nothing_towers_learn_from_all_others() -> None:
    fit, validation = cut(behaviour())
    config = replace(CONFIG, ordered=False, timed=False, targets=4, epochs=3)
    fields, content = catalogue()
    found = twotower.train(fields, content, fit, validation, config, 0, lambda _: None)
    assert not found.encoder["recency_bias"].any()
    asked = between(fit, validation, timed=False, ordered=False)
    later = np.array([(fit.users == user).sum() for user in validation.users.tolist()])
    assert (asked.ends - asked.starts).max() == later.max()
    untrained = twotower.train(
        fields, content, fit, validation, replace(config, epochs=0), 0, lambda _: None
    )
    assert twotower.recall_at(found, asked, 5) > twotower.recall_at(untrained, asked, 5)


@settings(deadline=None, max_examples=30)  # opening a model is slow
@given(
    n=st.integers(1, 4),
    length=st.integers(1, CONFIG.history),
    seed=st.integers(0, 1000),
)
def test_the_query_encoder_as_onnx_is_the_one_that_serves(n: int, length: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    encoder = random_parts(items=ITEMS, seed=seed % 5).encoder
    longest = encoder["recency_bias"].shape[0]
    rows = rng.integers(-1, ITEMS, (n, min(length, longest))).astype(np.int32)
    kinds = np.where(rows >= 0, rng.integers(0, 9, rows.shape), 0).astype(np.uint8)
    context = clock(rng.uniform(0, 2e9, n))
    given_ = {
        "events": encoder["history_table"][np.maximum(rows, 0)].astype(np.float32),
        "kinds": kinds.astype(np.int32),
        "context": context,
    }
    (found,) = InferenceSession(query_encoder(encoder)).run(["query"], given_)
    np.testing.assert_allclose(found, encode(encoder, rows, kinds, context), rtol=0, atol=1e-5)
