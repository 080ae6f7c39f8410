"""An item tower of random weights for the random bundles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tamis_pipeline.bundle import BundleParts, ItemTowerParts
from tamis_pipeline.synthetic import COLOURS
from tamis_server.bundles.vocabulary import AttributeCodes, Vocabulary

VOCABULARY = Vocabulary(
    attributes=(
        AttributeCodes(attribute="colour", kind="category", values=COLOURS),
        AttributeCodes(attribute="shape", kind="category", values=tuple("abcde")),
    ),
    profile=(  # as random_parts' users are known, where they are
        AttributeCodes(attribute="plan", kind="category", values=("free", "plus", "pro")),
        AttributeCodes(attribute="age", kind="number", edges=(18, 25, 35, 45, 55, 65)),
    ),
    word_buckets=64,
    words=4,
)


def with_item_tower(parts: BundleParts, seed: int = 0) -> BundleParts:
    """``parts`` with a tower that looks at fields, words and, where there is any, content."""
    rng = np.random.default_rng((seed, 2))
    d, e = parts.vectors.shape[1], parts.encoder["history_table"].shape[1]
    f = sum(spec.size for spec in VOCABULARY.specs)
    c = 0 if parts.content is None else parts.content.spec.dim
    shapes = {
        "field": (f, d),
        "word": (VOCABULARY.word_buckets, d),
        "content": (c, d),
        "history_field": (f, e),
        "history_content": (c, e),
    }
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return replace(parts, item_tower=ItemTowerParts(arrays, VOCABULARY.model_dump(mode="json")))
