"""Bundles of random content, valid in every respect, of any size: for tests and load tests.

Nothing is trained, so what they recommend means nothing; what it costs does.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis_pipeline.bundle import BundleParts, ContentParts
from tamis_pipeline.rankers.objectives import DEFAULT
from tamis_server.bundles import features
from tamis_server.bundles.manifest import (
    Attribute,
    ContentSpec,
    FeatureSchema,
    FieldSpec,
    HnswSpec,
    IndexSpec,
)
from tamis_server.bundles.query_tower import HEARD, context_slots

Float32 = npt.NDArray[np.float32]

AS_OF = 1_700_000_000.0
COLOURS = ("red", "green", "blue", "black")
TAGS = ("new", "sale", "eco")
PROFILE = (FieldSpec(name="profile_plan", size=4), FieldSpec(name="profile_age", size=8))


def random_parts(
    items: int = 200,
    users: int = 20,
    dim: int = 16,
    seed: int = 0,
    name: str = "random",
    as_of: float = AS_OF,
    index: IndexSpec = HnswSpec(m=8, ef_construction=64, ef_search=64),  # noqa: B008 frozen
    content: int = 0,
    profiled: bool = False,
) -> BundleParts:
    """A bundle of random vectors, attributes, histories and weights.

    content: how wide the content vectors are, one item in ten without; 0: a bundle without them.
    profiled: users have a plan and an age, some of them not known.

    Vectors are clustered, about a hundred items to a cluster, as learned ones are.

    Attributes: colour (category), tags, price (number), organic (boolean); some values missing;
    a tenth of the items unavailable. Users are ``user-0`` ... with up to 30 events each.
    """
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(1 + items // 100, dim)).astype(np.float32)
    vectors = centres[rng.integers(0, centres.shape[0], items)]
    vectors += rng.normal(size=(items, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    created = as_of - rng.uniform(0, 365 * 86_400, items)
    popularity = np.floor(rng.pareto(1.0, items)).astype(np.float32)
    colour = rng.integers(0, len(COLOURS) + 1, items)
    item_fields = np.stack([colour, rng.integers(0, 6, items)], axis=1).astype(np.int32)
    item_specs = (FieldSpec(name="colour", size=len(COLOURS) + 1), FieldSpec(name="shape", size=6))
    profile = PROFILE if profiled else ()
    schema = FeatureSchema(
        user_fields=features.user_field_specs(item_specs, profile),
        item_fields=item_specs,
        user_dense=features.USER_DENSE,
        item_dense=features.ITEM_DENSE,
        cross=features.CROSS,
        profile_fields=profile,
    )
    return BundleParts(
        name=name,
        as_of=as_of,
        seed=seed,
        items=pa.table(
            {
                "item_id": [f"item-{row}" for row in range(items)],
                "title": [f"Item {row}" for row in range(items)],
                "text": [f"The text of item {row}" for row in range(items)],
                "image": [f"images/{row}.png" for row in range(items)],
                "available": rng.random(items) > 0.1,
                "created_at": created,
                "colour": [COLOURS[value - 1] if value else None for value in colour],
                "tags": pa.array(
                    [[tag for tag in TAGS if rng.random() < 0.3] for _ in range(items)],
                    pa.list_(pa.string()),
                ),
                "price": pa.array(
                    [
                        None if rng.random() < 0.05 else float(rng.integers(1, 100))
                        for _ in range(items)
                    ],
                    pa.float64(),
                ),
                "organic": rng.random(items) < 0.5,
            }
        ),
        attributes=(
            Attribute(name="colour", kind="category"),
            Attribute(name="tags", kind="tags"),
            Attribute(name="price", kind="number"),
            Attribute(name="organic", kind="boolean"),
        ),
        vectors=vectors,
        item_fields=item_fields,
        item_dense=features.item_dense(popularity, created, as_of),
        popularity=popularity,
        features=schema,
        objectives=DEFAULT,
        encoder=_encoder(rng, items, dim, profile),
        ranker=_ranker(rng, schema, dim),
        users=_users(rng, users, items, as_of, profile),
        evaluation={"note": "random weights: nothing to evaluate"},
        index=index,
        neighbours=_neighbours(np.random.default_rng((seed, 2)), items),
        content=_content(np.random.default_rng((seed, 1)), items, content) if content else None,
    )


def _neighbours(rng: np.random.Generator, items: int, width: int = 10) -> dict[str, Any]:
    rows = rng.integers(0, items, (items, width)).astype(np.int32)
    weights = rng.uniform(-0.1, 0.5, (items, width)).astype(np.float32)
    none = rng.random((items, width)) < 0.2
    return {
        "rows": np.where(none, -1, rows).astype(np.int32),
        "weights": np.where(none, 0, weights).astype(np.float32),
    }


def _content(rng: np.random.Generator, items: int, dim: int) -> ContentParts:
    vectors = rng.normal(size=(items, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[rng.random(items) < 0.1] = 0.0
    spec = ContentSpec(
        encoder="random", dim=dim, text_weight=0.5, image_weight=0.5, image_size=32, max_tokens=16
    )
    return ContentParts(vectors, spec)


def _normal(rng: np.random.Generator, *shape: int) -> Float32:
    scale = np.float32(np.sqrt(shape[0]))
    return (rng.normal(size=shape).astype(np.float32) / scale).astype(np.float32)


def _encoder(
    rng: np.random.Generator,
    items: int,
    dim: int,
    profile: Sequence[FieldSpec],
    width: int = 64,
    hidden: int = 64,
) -> dict[str, Float32]:
    normal, heads = partial(_normal, rng), 2
    ages = np.arange(50)[:, None]
    return {
        "history_table": normal(1, items, width)[0].astype(np.float16),
        "seeds": normal(width, heads),
        "kind_bias": np.zeros((HEARD.shape[0], heads), np.float32),
        "recency_bias": (np.log([0.99, 0.8]) * ages).astype(np.float32),
        "kind_weight": np.array([0, 1, 1, 2, 3, 2, -1, 0, -1], np.float32),
        "context_table": normal(context_slots(profile), width),
        "w_context": normal(width, hidden),
        "skip": normal(heads * width, dim),
        "w1": normal(heads * width, hidden),
        "b1": np.zeros(hidden, np.float32),
        "w2": normal(hidden, dim),
        "b2": np.zeros(dim, np.float32),
    }


def _ranker(
    rng: np.random.Generator, schema: FeatureSchema, dim: int, e: int = 16
) -> dict[str, Float32]:
    h1, h2, h3 = 128, 64, 32
    normal = partial(_normal, rng)
    users = sum(field.size for field in schema.user_fields)
    items = sum(field.size for field in schema.item_fields)
    user_dense, item_dense = len(schema.user_dense) + dim, len(schema.item_dense) + dim
    return {
        "user_embedding": 0.1 * normal(1, users, e)[0],
        "user_linear": 0.1 * normal(1, users)[0],
        "item_embedding": 0.1 * normal(1, items, e)[0],
        "item_linear": 0.1 * normal(1, items)[0],
        "user_dense_linear": normal(user_dense),
        "item_dense_linear": normal(item_dense),
        "cross_linear": normal(len(schema.cross)),
        "w1_user": normal(len(schema.user_fields) * e + user_dense, h1),
        "w1_item": normal(len(schema.item_fields) * e + item_dense, h1),
        "w1_cross": normal(len(schema.cross), h1),
        "b1": np.zeros(h1, np.float32),
        "w2": normal(h1, h2),
        "b2": np.zeros(h2, np.float32),
        "w3": normal(h2, h3),
        "b3": np.zeros(h3, np.float32),
        "w_out": normal(len(DEFAULT), h3),
        "wide": np.array([1.0, 0.8], np.float32),
        "bias": np.array([-1.0, -1.5], np.float32),
    }


def _users(
    rng: np.random.Generator, users: int, items: int, as_of: float, profile: Sequence[FieldSpec]
) -> pa.Table:
    rows, times, kinds = [], [], []
    for _ in range(users):
        count = int(rng.integers(0, 31))
        rows.append(rng.integers(0, items, count).astype(np.int32))
        times.append(np.sort(as_of - rng.uniform(0, 30 * 86_400, count)))
        kinds.append(rng.choice([1, 2, 3, 4, 5, 6, 7], count).astype(np.uint8))
    columns = {
        "user_id": pa.array([f"user-{user}" for user in range(users)]),
        "rows": pa.array(rows, pa.list_(pa.int32())),
        "times": pa.array(times, pa.list_(pa.float64())),
        "kinds": pa.array(kinds, pa.list_(pa.uint8())),
    }
    if profile:
        codes = np.stack([rng.integers(0, field.size, users) for field in profile], axis=1)
        columns["profile"] = pa.array(list(codes), pa.list_(pa.int32()))
    return pa.table(columns)
