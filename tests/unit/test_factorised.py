"""The split DeepFM is the whole one, whatever of it is dead."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis_pipeline.bundle import BundleParts
from tamis_pipeline.synthetic import random_parts
from tamis_server.bundles.factorised import FactorisedDeepFM

ITEMS = 20
PARTS = random_parts(items=ITEMS, users=2, dim=4)


def whole(parts: BundleParts, w: dict[str, np.ndarray], user: np.ndarray, dense: np.ndarray,
          row: int, cross: np.ndarray) -> np.ndarray:  # fmt: skip
    """Probabilities of one item, as the paper has it: everything side by side into one network."""
    at = {
        side: np.cumsum([0, *(field.size for field in fields)])[:-1]
        for side, fields in (
            ("user", parts.features.user_fields),
            ("item", parts.features.item_fields),
        )
    }
    slots = {"user": user + at["user"], "item": parts.item_fields[row] + at["item"]}
    known = {"user": dense, "item": np.concatenate([parts.item_dense[row], parts.vectors[row]])}
    embedded = np.concatenate([w[f"{side}_embedding"][slots[side]] for side in slots])
    wide = ((embedded.sum(0) ** 2).sum() - (embedded**2).sum()) / 2 + cross @ w["cross_linear"]
    hidden = cross @ w["w1_cross"] + w["b1"]
    for side in slots:
        wide += w[f"{side}_linear"][slots[side]].sum() + known[side] @ w[f"{side}_dense_linear"]
        own = np.concatenate([w[f"{side}_embedding"][slots[side]].ravel(), known[side]])
        hidden = hidden + own @ w[f"w1_{side}"]
    hidden = np.maximum(np.maximum(hidden, 0) @ w["w2"] + w["b2"], 0)
    hidden = np.maximum(hidden @ w["w3"] + w["b3"], 0)
    logits = w["w_out"] @ hidden + wide * w["wide"] + w["bias"]
    return np.asarray(1 / (1 + np.exp(-logits)))


@given(
    dead=st.sampled_from(["none", "some", "all"]), layer=st.sampled_from(["w_out", "w3", "w2"]),
    seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_units_that_reach_no_output_change_nothing(dead: str, layer: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = {name: np.array(array) for name, array in PARTS.ranker.items()}
    if dead != "none":
        width = weights[layer].shape[1]
        share = rng.random(width) < (0.7 if dead == "some" else 2)
        weights[layer][:, share] = 0
    schema = PARTS.features
    user = np.array([rng.integers(field.size) for field in schema.user_fields], np.int32)
    dense = rng.normal(size=len(schema.user_dense) + 4).astype(np.float32)
    cross = rng.normal(size=(ITEMS, len(schema.cross))).astype(np.float32)
    model = FactorisedDeepFM(weights, schema, ITEMS)
    model.put(
        slice(None), PARTS.item_fields, np.concatenate([PARTS.item_dense, PARTS.vectors], axis=1)
    )
    found = model.score(user, dense, np.arange(ITEMS, dtype=np.int32), cross)
    expected = [whole(PARTS, weights, user, dense, row, cross[row]) for row in range(ITEMS)]
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-5)


def test_a_model_of_its_linear_part_alone_takes_an_eighth_of_the_memory() -> None:
    linear = {**PARTS.ranker, "w_out": np.zeros_like(PARTS.ranker["w_out"])}
    sizes = [
        FactorisedDeepFM(each, PARTS.features, 1).item_bytes for each in (PARTS.ranker, linear)
    ]
    assert sizes == [4 * (128 + 16 + 1), 4 * (16 + 1)]


@pytest.mark.parametrize("precision", ["f16", "int8"])
def test_it_is_served_at_any_precision(precision: str) -> None:
    linear = {**PARTS.ranker, "w_out": np.zeros_like(PARTS.ranker["w_out"])}
    rows, rng = np.arange(ITEMS, dtype=np.int32), np.random.default_rng(0)
    user = np.zeros(len(PARTS.features.user_fields), np.int32)
    dense = rng.normal(size=len(PARTS.features.user_dense) + 4).astype(np.float32)
    cross = rng.normal(size=(ITEMS, len(PARTS.features.cross))).astype(np.float32)
    scores = []
    for each in ("f32", precision):
        model = FactorisedDeepFM(linear, PARTS.features, ITEMS, each)  # type: ignore[arg-type]
        model.put(
            rows, PARTS.item_fields, np.concatenate([PARTS.item_dense, PARTS.vectors], axis=1)
        )
        scores.append(model.score(user, dense, rows, cross))
    np.testing.assert_allclose(scores[1], scores[0], atol=2e-3)
