"""DeepFM (Guo et al., IJCAI 2017), trained on what the serving funnel would have ranked.

Positives are events that the two-tower did not learn from, so that its affinity means the same in
training as when serving; negatives are drawn like candidates: from the two-tower's own neighbours,
by popularity, and uniformly. Features come from ``bundles.features``, as of the event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from tamis_pipeline.dataset import Interactions
from tamis_pipeline.split import by_user
from tamis_pipeline.twotower import Towers
from tamis_server.bundles import features
from tamis_server.bundles.manifest import FeatureSchema
from tamis_server.bundles.neighbours import Neighbours
from tamis_server.bundles.query_tower import clock, encode

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Params = dict[str, Any]
Batch = tuple[Any, ...]
_AFFINITY = 10.0  # about 1 / the two-tower's temperature: products as logits


@dataclass(frozen=True, slots=True)
class DeepFMConfig:
    embedding: int = 16
    hidden: tuple[int, int, int] = (128, 64, 32)
    hard_negatives: int = 16
    popular_negatives: int = 3
    uniform_negatives: int = 1
    neighbours: int = 500
    popular: int = 100
    batch: int = 4096
    epochs: int = 12
    patience: int = 2
    rate: float = 1e-3
    weight_decay: float = 1e-2
    dropout: float = 0.2


@dataclass(frozen=True, slots=True)
class ItemTables:
    """What the ranker knows of items: fields, dense (without vectors), log popularity,
    vectors, and what goes with what."""

    fields: Int32
    dense: Float32
    log_popularity: Float32
    vectors: Float32
    neighbours: Neighbours


@dataclass(frozen=True, slots=True)
class Exposures:
    """One request a row: users' inputs, and ``items`` int32[n, c], its positive in column 0."""

    user_fields: Int32
    user_dense: Float32
    items: Int32
    cross: Float32


def exposures(
    events: Interactions,
    asked: Interactions,
    tables: ItemTables,
    towers: Towers,
    popularity: Float32,
    config: DeepFMConfig,
    rng: np.random.Generator,
) -> Exposures:
    """What would have been ranked just before each positive of ``asked``, given ``events``.

    Positives that retrieval would have missed are left out: with them a ranker would learn that
    items far from the query do better than those near it.
    """
    users = int(max(events.users.max(initial=0), asked.users.max(initial=0))) + 1
    past = by_user(events, users)
    positions = np.flatnonzero(features.is_positive(asked.kinds))
    share = (popularity + 0.1) / (popularity + 0.1).sum()
    everything = np.arange(tables.vectors.shape[0])
    most_popular = set(np.argsort(-popularity, kind="stable")[: config.popular].tolist())
    found: tuple[list[Int32], list[Float32], list[Int32], list[Float32]] = ([], [], [], [])
    length = towers.encoder["recency_bias"].shape[0]
    popular = rng.choice(everything, (positions.shape[0], config.popular_negatives), p=share)
    for number, position in enumerate(positions.tolist()):
        own = past[asked.users[position]]
        time = asked.times[position]
        before = own[events.times[own] < time]
        rows, times, kinds = (
            events.items[before], events.times[before], events.kinds[before]
        )  # fmt: skip
        history = np.full((1, length), -1, np.int32)
        what = np.zeros((1, length), np.uint8)
        latest = slice(None, None, -1)
        history[0, : min(length, rows.shape[0])] = rows[-length:][latest]
        what[0, : min(length, rows.shape[0])] = kinds[-length:][latest]
        query = encode(towers.encoder, history, what, clock(np.array([time])))[0]
        target = asked.items[position]
        near = np.argpartition(
            -(tables.vectors @ query), min(config.neighbours, everything.size - 1)
        )
        near = near[: config.neighbours]
        if target not in near and target not in most_popular:
            continue  # retrieval would not have found it: there was nothing to rank
        hard = near[~np.isin(near, events.items[own]) & (near != target)]
        negatives = [
            rng.choice(hard if hard.shape[0] else everything, config.hard_negatives),
            popular[number],
            rng.choice(everything, config.uniform_negatives),
        ]
        items = np.concatenate([[target], *negatives]).astype(np.int32)
        items[1:][items[1:] == target] = rng.choice(everything)
        fields, dense = features.user_features(
            rows, times, kinds, time, tables.fields, tables.log_popularity
        )
        known = query if rows.shape[0] else None
        found[0].append(fields)
        found[1].append(np.concatenate([dense, query]))
        found[2].append(items)
        near_past = features.cross_features(
            tables.vectors, tables.neighbours, items, known, rows, kinds
        )
        found[3].append(near_past)
    if not found[0]:
        raise ValueError("no positive event to learn ranking from")
    return Exposures(np.stack(found[0]), np.stack(found[1]), np.stack(found[2]), np.stack(found[3]))


def train(
    data: Exposures,
    tables: ItemTables,
    schema: FeatureSchema,
    config: DeepFMConfig,
    seed: int,
    report: Callable[[str], None],
) -> tuple[dict[str, Float32], float]:
    """The ranker's arrays (``RANKER_ARRAYS``) and its AUC on a tenth kept aside."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(data.items.shape[0])
    aside = max(1, order.shape[0] // 10)
    checked, learned = order[:aside], order[aside:] if order.shape[0] > 1 else order
    item_inputs = (
        jnp.asarray(tables.fields),
        jnp.asarray(np.concatenate([tables.dense, tables.vectors], axis=1)),
    )
    params = _initial(schema, tables, config, seed)
    optimiser = optax.adamw(config.rate, weight_decay=config.weight_decay)
    state = optimiser.init(params)
    offsets = _offsets(schema)
    step = jax.jit(
        partial(_step, optimiser=optimiser, offsets=offsets, dropout=config.dropout),
        donate_argnums=(0, 1),
    )
    score = jax.jit(partial(_logits, offsets=offsets))
    key = jax.random.key(seed)
    auc = _auc(np.asarray(score(params, item_inputs, _batch(data, checked))))
    report(f"the two-tower's order: AUC {auc:.4f}")
    best, best_auc, since = jax.tree.map(np.array, params), auc, 0
    requests = max(1, config.batch // data.items.shape[1])
    for epoch in range(config.epochs):
        shuffled = rng.permutation(learned)
        size = min(requests, shuffled.shape[0])
        losses = []
        for start in range(0, shuffled.shape[0] - size + 1, size):
            key, used = jax.random.split(key)
            batch = _batch(data, shuffled[start : start + size])
            params, state, loss = step(params, state, item_inputs, batch, used)
            losses.append(loss)
        auc = _auc(np.asarray(score(params, item_inputs, _batch(data, checked))))
        report(f"epoch {epoch + 1}: loss {float(np.mean(losses)):.4f}, AUC {auc:.4f}")
        if auc > best_auc:
            best, best_auc, since = jax.tree.map(np.array, params), auc, 0
        else:
            since += 1
            if since >= config.patience:
                break
    return {name: np.asarray(value, np.float32) for name, value in best.items()}, best_auc


def auc_of(
    ranker: dict[str, Float32], data: Exposures, tables: ItemTables, schema: FeatureSchema
) -> float:
    """Mean over requests of the share of negatives that score below the positive."""
    inputs = (
        jnp.asarray(tables.fields),
        jnp.asarray(np.concatenate([tables.dense, tables.vectors], axis=1)),
    )
    everything = np.arange(data.items.shape[0])
    return _auc(np.asarray(_logits(ranker, inputs, _batch(data, everything), _offsets(schema))))


def _auc(logits: Float32) -> float:
    positive, negatives = logits[:, :1], logits[:, 1:]
    return float(((positive > negatives) + 0.5 * (positive == negatives)).mean())


def _batch(data: Exposures, chosen: npt.NDArray[np.intp]) -> Batch:
    return (
        data.user_fields[chosen], data.user_dense[chosen], data.items[chosen], data.cross[chosen]
    )  # fmt: skip


def _offsets(schema: FeatureSchema) -> tuple[Int32, Int32]:
    def of(sizes: list[int]) -> Int32:
        return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)

    return of([f.size for f in schema.user_fields]), of([f.size for f in schema.item_fields])


def _initial(schema: FeatureSchema, tables: ItemTables, config: DeepFMConfig, seed: int) -> Params:
    rng = np.random.default_rng(seed)
    e = config.embedding
    h1, h2, h3 = config.hidden
    dim = tables.vectors.shape[1]
    users = sum(field.size for field in schema.user_fields)
    items = sum(field.size for field in schema.item_fields)
    user_dense, item_dense = len(schema.user_dense) + dim, len(schema.item_dense) + dim
    cross = len(schema.cross)

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
        "item_dense_linear": jnp.zeros(item_dense),
        # the two-tower's own order to begin with: the ranker learns what to change in it
        "cross_linear": jnp.zeros(cross).at[0].set(_AFFINITY),
        "w1_user": normal(len(schema.user_fields) * e + user_dense, h1, scale=first),
        "w1_item": normal(len(schema.item_fields) * e + item_dense, h1, scale=first),
        "w1_cross": normal(cross, h1, scale=first),
        "b1": jnp.zeros(h1),
        "w2": normal(h1, h2, scale=(2.0 / h1) ** 0.5),
        "b2": jnp.zeros(h2),
        "w3": normal(h2, h3, scale=(2.0 / h2) ** 0.5),
        "b3": jnp.zeros(h3),
        "w_out": normal(h3, scale=0.1 * (1.0 / h3) ** 0.5),
        "bias": jnp.asarray([-0.75 * _AFFINITY]),
    }


def _logits(
    params: Params,
    item_inputs: tuple[jax.Array, jax.Array],
    batch: Batch,
    offsets: tuple[Int32, Int32],
    key: jax.Array | None = None,
    dropout: float = 0.0,
) -> jax.Array:
    """float32[n, c], the whole model over n requests of c items."""
    user_fields, user_dense, items, cross = batch
    user = params["user_embedding"][user_fields + offsets[0]]  # [n, f, e]
    item_slots = item_inputs[0][items] + offsets[1]
    item = params["item_embedding"][item_slots]  # [n, c, f, e]
    item_dense = item_inputs[1][items]
    total = user.sum(1)[:, None] + item.sum(2)
    squares = (user**2).sum((1, 2))[:, None] + (item**2).sum((2, 3))
    wide = ((total**2).sum(-1) - squares) / 2
    wide += (params["user_linear"][user_fields + offsets[0]].sum(1))[:, None]
    wide += params["item_linear"][item_slots].sum(2)
    wide += (user_dense @ params["user_dense_linear"])[:, None]
    wide += item_dense @ params["item_dense_linear"] + cross @ params["cross_linear"]
    flat_user = jnp.concatenate([user.reshape(user.shape[0], -1), user_dense], 1)
    flat_item = jnp.concatenate([item.reshape(*item.shape[:2], -1), item_dense], 2)
    hidden = jax.nn.relu(
        (flat_user @ params["w1_user"])[:, None]
        + flat_item @ params["w1_item"]
        + cross @ params["w1_cross"]
        + params["b1"]
    )
    if key is not None:
        kept = jax.random.bernoulli(key, 1 - dropout, hidden.shape)
        hidden = jnp.where(kept, hidden / (1 - dropout), 0)
    hidden = jax.nn.relu(hidden @ params["w2"] + params["b2"])
    hidden = jax.nn.relu(hidden @ params["w3"] + params["b3"])
    return wide + hidden @ params["w_out"] + params["bias"][0]


def _loss(
    params: Params,
    item_inputs: tuple[jax.Array, jax.Array],
    batch: Batch,
    key: jax.Array,
    offsets: tuple[Int32, Int32],
    dropout: float,
) -> jax.Array:
    logits = _logits(params, item_inputs, batch, offsets, key, dropout)
    labels = jnp.zeros_like(logits).at[:, 0].set(1.0)
    # the list's order is what is wanted; the second term keeps scores probabilities
    order = optax.softmax_cross_entropy(logits, labels).mean()
    return order + optax.sigmoid_binary_cross_entropy(logits, labels).mean()


def _step(
    params: Params,
    state: optax.OptState,
    item_inputs: tuple[jax.Array, jax.Array],
    batch: Batch,
    key: jax.Array,
    *,
    optimiser: optax.GradientTransformation,
    offsets: tuple[Int32, Int32],
    dropout: float,
) -> tuple[Params, optax.OptState, jax.Array]:
    loss, grads = jax.value_and_grad(_loss)(params, item_inputs, batch, key, offsets, dropout)
    updates, state = optimiser.update(grads, state, params)
    return optax.apply_updates(params, updates), state, loss
