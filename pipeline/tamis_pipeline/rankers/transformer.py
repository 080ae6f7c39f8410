"""A Transformer over the last interactions and the candidate (BST: Chen et al., DLP-KDD 2019).

The history attends to itself once a request; each candidate then attends to the history, as its
target, so that the cost of a candidate is that of one row of attention (as in DIN, KDD 2018). What
comes out goes through an MLP with the user's and the cross features, to a head an objective.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from tamis_pipeline.rankers.deepfm import dropped, heads, offsets
from tamis_pipeline.rankers.simple import Simple
from tamis_pipeline.rankers.training import Batch, Items, Params, TrainingConfig
from tamis_server.bundles.manifest import FeatureSchema

EPSILON = 1e-5  # of layer norms
HIDDEN_FROM = -1e9  # added to the logits of attention where there is no event
KINDS = 9  # EventKind


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """width: of a token; heads: of attention, which divide it."""

    width: int = 32
    heads: int = 2
    hidden: tuple[int, int] = (64, 32)
    dropout: float = 0.2
    training: TrainingConfig = field(default_factory=TrainingConfig)


class Transformer:
    """``training.Model``; dim: width of the item vectors; history: events it looks at."""

    def __init__(
        self,
        schema: FeatureSchema,
        dim: int,
        history: int,
        objectives: int,
        config: TransformerConfig,
    ) -> None:
        if config.width % config.heads:
            raise ValueError(f"width {config.width} can't be cut into {config.heads} heads")
        self._schema = schema
        self._dim = dim
        self._history = history
        self._objectives = objectives
        self._config = config
        self._offsets = offsets(schema)

    def initial(self, seed: int, simple: Simple) -> Params:
        """The best simple order to begin with: the model learns what to change in it."""
        schema, d, (h1, h2) = self._schema, self._config.width, self._config.hidden
        rng = np.random.default_rng(seed)
        cross = len(schema.cross)

        def normal(*shape: int, scale: float) -> jax.Array:
            return jnp.asarray(rng.normal(size=shape, scale=scale), jnp.float32)

        def layer(inputs: int, outputs: int) -> jax.Array:
            return normal(inputs, outputs, scale=inputs**-0.5)

        params: Params = {
            "user_embedding": normal(sum(f.size for f in schema.user_fields), d, scale=0.05),
            "item_embedding": normal(sum(f.size for f in schema.item_fields), d, scale=0.05),
            "user_dense": layer(len(schema.user_dense) + self._dim, d),
            "item_dense": layer(len(schema.item_dense) + self._dim, d),
            "kind": normal(KINDS, d, scale=0.05),
            "position": normal(self._history, d, scale=0.05),
            "age": normal(d, scale=0.05),
            "start": normal(d, scale=0.05),
            "w1": layer(3 * d + cross, h1),
            "b1": jnp.zeros(h1),
            "w2": layer(h1, h2),
            "b2": jnp.zeros(h2),
            "item_linear": jnp.concatenate([jnp.asarray(simple.dense), jnp.zeros(self._dim)]),
            "cross_linear": jnp.asarray(simple.cross),
            "w_out": jnp.zeros((self._objectives, h2)),
            "wide": jnp.ones(self._objectives),
            "bias": jnp.full(self._objectives, simple.bias),
        }
        for name in ("self", "target"):
            params |= {f"{name}_{part}": layer(d, d) for part in ("q", "k", "v", "o")}
            params |= {f"{name}_norm": jnp.ones(d), f"{name}_shift": jnp.zeros(d)}
        params |= {"forward_norm": jnp.ones(d), "forward_shift": jnp.zeros(d)}
        params |= {"forward_1": layer(d, 2 * d), "forward_2": layer(2 * d, d)}
        return params

    def logits(
        self, params: Params, items: Items, batch: Batch, key: jax.Array | None
    ) -> jax.Array:
        """float32[n, c, o], over n requests of c items."""
        user = params["user_embedding"][batch.user_fields + self._offsets[0]].sum(1)
        user += batch.user_dense @ params["user_dense"]  # [n, d]
        candidates = self._tokens(params, items, batch.items)  # [n, c, d]
        history, hidden = self._past(params, items, batch)
        attended = self._attention(params, "target", candidates, history, hidden)
        mixed = [attended, attended * candidates, candidates + user[:, None], batch.cross]
        x = jax.nn.relu(jnp.concatenate(mixed, -1) @ params["w1"] + params["b1"])
        x = dropped(x, key, self._config.dropout)
        x = jax.nn.relu(x @ params["w2"] + params["b2"])
        wide = batch.cross @ params["cross_linear"]
        wide += items.dense[batch.items] @ params["item_linear"]
        return heads(params, x, wide)

    def _tokens(self, params: Params, items: Items, rows: jax.Array) -> jax.Array:
        slots = items.fields[rows] + self._offsets[1]
        tokens: jax.Array = params["item_embedding"][slots].sum(-2)
        return tokens + items.dense[rows] @ params["item_dense"]

    def _past(self, params: Params, items: Items, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Tokens [n, l + 1, d] of the history after it attended to itself, and what hides those
        that are none [n, l + 1]. The last one is always there, and stands for nothing."""
        x = self._tokens(params, items, batch.history_items) + params["kind"][batch.history_kinds]
        x += params["position"] + batch.history_ages[..., None] * params["age"]
        n = x.shape[0]
        start = jnp.broadcast_to(params["start"], (n, 1, x.shape[2]))
        x = jnp.concatenate([x, start], 1)
        hidden = jnp.where(batch.history_kinds > 0, 0.0, HIDDEN_FROM)
        hidden = jnp.concatenate([hidden, jnp.zeros((n, 1))], 1)
        x = x + self._attention(params, "self", x, x, hidden)
        inner = _norm(x, params["forward_norm"], params["forward_shift"])
        return x + jax.nn.relu(inner @ params["forward_1"]) @ params["forward_2"], hidden

    def _attention(
        self, params: Params, name: str, asking: jax.Array, asked: jax.Array, hidden: jax.Array
    ) -> jax.Array:
        """float32[n, a, d]: each of ``asking`` [n, a, d] to all of ``asked`` [n, l, d]."""
        count = self._config.heads
        norm, shift = params[f"{name}_norm"], params[f"{name}_shift"]
        asking, asked = _norm(asking, norm, shift), _norm(asked, norm, shift)

        def split(x: jax.Array) -> jax.Array:
            return x.reshape(*x.shape[:2], count, -1).transpose(0, 2, 1, 3)  # [n, heads, ., d / h]

        query = split(asking @ params[f"{name}_q"])
        keys, values = split(asked @ params[f"{name}_k"]), split(asked @ params[f"{name}_v"])
        products = query @ keys.transpose(0, 1, 3, 2) / (self._config.width / count) ** 0.5
        weights = jax.nn.softmax(products + hidden[:, None, None], -1)
        mixed = (weights @ values).transpose(0, 2, 1, 3)
        joined: jax.Array = mixed.reshape(asking.shape) @ params[f"{name}_o"]
        return joined


def _norm(x: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(variance + EPSILON) * scale + shift
