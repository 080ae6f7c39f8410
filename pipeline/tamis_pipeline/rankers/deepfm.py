"""DeepFM (Guo et al., IJCAI 2017) with a head for each objective over one body.

The function that bundles declare (``RANKER_ARRAYS``) and that ``tamis_kernels.DeepFM`` computes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from tamis_pipeline.rankers.simple import Simple
from tamis_pipeline.rankers.training import Batch, Items, Params, TrainingConfig
from tamis_server.bundles.manifest import FeatureSchema

Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class DeepFMConfig:
    embedding: int = 16
    hidden: tuple[int, int, int] = (128, 64, 32)
    dropout: float = 0.2
    training: TrainingConfig = field(default_factory=TrainingConfig)


def offsets(schema: FeatureSchema) -> tuple[Int32, Int32]:
    """Where the values of each user field, and of each item field, begin in their table."""

    def of(sizes: list[int]) -> Int32:
        return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)

    return of([f.size for f in schema.user_fields]), of([f.size for f in schema.item_fields])


class DeepFM:
    """``training.Model``; dim: width of the item vectors."""

    def __init__(
        self, schema: FeatureSchema, dim: int, objectives: int, config: DeepFMConfig
    ) -> None:
        self._schema = schema
        self._dim = dim
        self._objectives = objectives
        self._config = config
        self._offsets = offsets(schema)

    def initial(self, seed: int, simple: Simple) -> Params:
        """The best simple order to begin with: the model learns what to change in it."""
        schema, e, (h1, h2, h3) = self._schema, self._config.embedding, self._config.hidden
        rng = np.random.default_rng(seed)
        users = sum(spec.size for spec in schema.user_fields)
        items = sum(spec.size for spec in schema.item_fields)
        user_dense = len(schema.user_dense) + self._dim
        item_dense = len(schema.item_dense) + self._dim
        cross, heads = len(schema.cross), self._objectives

        def normal(*shape: int, scale: float) -> jax.Array:
            return jnp.asarray(rng.normal(size=shape, scale=scale), jnp.float32)

        width = (len(schema.user_fields) + len(schema.item_fields)) * e + user_dense + item_dense
        first = (2.0 / (width + cross)) ** 0.5
        return {
            "user_embedding": normal(users, e, scale=0.01),
            "user_linear": jnp.zeros(users),
            "item_embedding": normal(items, e, scale=0.01),
            "item_linear": jnp.zeros(items),
            "user_dense_linear": jnp.zeros(user_dense),
            "item_dense_linear": jnp.concatenate([jnp.asarray(simple.dense), jnp.zeros(self._dim)]),
            "cross_linear": jnp.asarray(simple.cross),
            "w1_user": normal(len(schema.user_fields) * e + user_dense, h1, scale=first),
            "w1_item": normal(len(schema.item_fields) * e + item_dense, h1, scale=first),
            "w1_cross": normal(cross, h1, scale=first),
            "b1": jnp.zeros(h1),
            "w2": normal(h1, h2, scale=(2.0 / h1) ** 0.5),
            "b2": jnp.zeros(h2),
            "w3": normal(h2, h3, scale=(2.0 / h2) ** 0.5),
            "b3": jnp.zeros(h3),
            "w_out": jnp.zeros((heads, h3)),
            "wide": jnp.ones(heads),
            "bias": jnp.full(heads, simple.bias),
        }

    def logits(
        self, params: Params, items: Items, batch: Batch, key: jax.Array | None
    ) -> jax.Array:
        """float32[n, c, o], the whole model over n requests of c items."""
        user_slots = batch.user_fields + self._offsets[0]
        item_slots = items.fields[batch.items] + self._offsets[1]
        user = params["user_embedding"][user_slots]  # [n, f, e]
        item = params["item_embedding"][item_slots]  # [n, c, f, e]
        item_dense = items.dense[batch.items]
        total = user.sum(1)[:, None] + item.sum(2)
        squares = (user**2).sum((1, 2))[:, None] + (item**2).sum((2, 3))
        wide = ((total**2).sum(-1) - squares) / 2
        wide += (params["user_linear"][user_slots].sum(1))[:, None]
        wide += params["item_linear"][item_slots].sum(2)
        wide += (batch.user_dense @ params["user_dense_linear"])[:, None]
        wide += item_dense @ params["item_dense_linear"] + batch.cross @ params["cross_linear"]
        flat_user = jnp.concatenate([user.reshape(user.shape[0], -1), batch.user_dense], 1)
        flat_item = jnp.concatenate([item.reshape(*item.shape[:2], -1), item_dense], 2)
        hidden = jax.nn.relu(
            (flat_user @ params["w1_user"])[:, None]
            + flat_item @ params["w1_item"]
            + batch.cross @ params["w1_cross"]
            + params["b1"]
        )
        hidden = dropped(hidden, key, self._config.dropout)
        hidden = jax.nn.relu(hidden @ params["w2"] + params["b2"])
        hidden = jax.nn.relu(hidden @ params["w3"] + params["b3"])
        return heads(params, hidden, wide)


def heads(params: Params, hidden: jax.Array, wide: jax.Array) -> jax.Array:
    """float32[n, c, o] of the last layer [n, c, h] and the wide part [n, c]."""
    logits: jax.Array = hidden @ params["w_out"].T + wide[..., None] * params["wide"]
    logits += params["bias"]
    return logits


def dropped(x: jax.Array, key: jax.Array | None, rate: float) -> jax.Array:
    """``x`` with a share of zeros; as it is without a key."""
    if key is None:
        return x
    kept: Any = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0)
