"""Two-tower retrieval (Yi et al., RecSys 2019): in-batch sampled softmax with logQ correction.

The item tower sums an id embedding, those of the item's fields and of its words, and normalises:
an item never met still gets a vector. The query tower is the function that bundles declare
(``ENCODER_ARRAYS``), its history table being a second embedding of the same inputs.
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
from tamis_pipeline.vocabulary import TOKEN_BUCKETS, ItemFields
from tamis_server.bundles.features import is_positive

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]
Params = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TwoTowerConfig:
    """dim: width of item vectors; extra_negatives: uniform ones, shared by a batch."""

    dim: int = 64
    hidden: int = 128
    history: int = 50
    batch: int = 1024
    extra_negatives: int = 2048
    epochs: int = 30
    patience: int = 2
    rate: float = 2e-3
    temperature: float = 0.08
    dropout: float = 0.2


@dataclass(frozen=True, slots=True)
class Towers:
    """What goes into the bundle: item vectors float32[items, dim] and the encoder's arrays."""

    vectors: Float32
    encoder: dict[str, Float32]


@dataclass(frozen=True, slots=True)
class Examples:
    """targets int32[n]; rows int32[n, history] latest first, -1 where none; kinds uint8 alike."""

    targets: Int32
    rows: Int32
    kinds: UInt8


def histories(before: Interactions, asked: Interactions, length: int) -> Examples:
    """For each positive of ``asked`` the user's latest events among ``before``, itself left out."""
    users = int(max(before.users.max(initial=0), asked.users.max(initial=0))) + 1
    past = by_user(before, users)
    positions = np.flatnonzero(is_positive(asked.kinds))
    rows = np.full((positions.shape[0], length), -1, np.int32)
    kinds = np.zeros((positions.shape[0], length), np.uint8)
    for example, position in enumerate(positions.tolist()):
        own = past[asked.users[position]]
        if before is asked:
            end = int(np.searchsorted(own, position))
        else:
            end = int(np.searchsorted(before.times[own], asked.times[position], side="right"))
        latest = own[max(0, end - length) : end][::-1]
        rows[example, : latest.shape[0]] = before.items[latest]
        kinds[example, : latest.shape[0]] = before.kinds[latest]
    return Examples(asked.items[positions], rows, kinds)


def train(
    fields: ItemFields,
    words: Int32,
    fit: Interactions,
    validation: Interactions,
    config: TwoTowerConfig,
    seed: int,
    report: Callable[[str], None],
) -> Towers:
    """Train until recall@100 of the validation positives stops growing; the best epoch is kept."""
    examples = histories(fit, fit, config.history)
    known = (examples.rows >= 0).any(axis=1)
    examples = Examples(examples.targets[known], examples.rows[known], examples.kinds[known])
    checked = histories(fit, validation, config.history)
    items = words.shape[0]
    counts = np.bincount(fit.items[is_positive(fit.kinds)], minlength=items).astype(np.float32)
    inputs = (jnp.asarray(_slots(fields)), jnp.asarray(words))
    log_q = jnp.asarray(np.log((counts + 0.1) / (counts + 0.1).sum()))
    params = _initial(fields, items, config, seed)
    optimiser = optax.adamw(config.rate, weight_decay=1e-4)
    state = optimiser.init(params)
    rng, key = np.random.default_rng(seed), jax.random.key(seed)
    step = jax.jit(
        partial(_step, optimiser=optimiser, config=config, items=items), donate_argnums=(0, 1)
    )
    best, best_recall, since = _export(params, inputs), -1.0, 0
    for epoch in range(config.epochs):
        order = rng.permutation(examples.targets.shape[0])
        losses = []
        size = min(config.batch, order.shape[0])
        for start in range(0, order.shape[0] - size + 1, size):
            chosen = order[start : start + size]
            key, used = jax.random.split(key)
            batch = (examples.targets[chosen], examples.rows[chosen], examples.kinds[chosen])
            params, state, loss = step(params, state, inputs, log_q, batch, used)
            losses.append(loss)
        towers = _export(params, inputs)
        recall = recall_at(towers, checked, 100)
        report(f"epoch {epoch + 1}: loss {float(np.mean(losses)):.3f}, recall@100 {recall:.4f}")
        if recall > best_recall:
            best, best_recall, since = towers, recall, 0
        else:
            since += 1
            if since > config.patience:
                break
    return best


def encode(encoder: dict[str, Float32], rows: Int32, kinds: UInt8) -> Float32:
    """Query vectors float32[n, dim] of histories as in Examples; zero where there is no history."""
    weights = encoder["kind_weight"][kinds] * encoder["recency"][: rows.shape[1]] * (rows >= 0)
    total = np.abs(weights).sum(axis=1, keepdims=True)
    pooled = np.einsum("nl,nle->ne", weights, encoder["history_table"][np.maximum(rows, 0)])
    pooled = pooled / np.maximum(total, 1e-6)
    hidden = np.maximum(pooled @ encoder["w1"] + encoder["b1"], 0)
    query = pooled @ encoder["skip"] + hidden @ encoder["w2"] + encoder["b2"]
    norm = np.linalg.norm(query, axis=1, keepdims=True)
    found: Float32 = np.where(total > 1e-6, query / np.maximum(norm, 1e-12), 0).astype(np.float32)
    return found


def recall_at(towers: Towers, examples: Examples, k: int) -> float:
    """Share of examples whose target is among the k nearest, the history being left out."""
    hits, n = 0, examples.targets.shape[0]
    for start in range(0, n, 512):
        part = slice(start, start + 512)
        rows = examples.rows[part]
        scores = encode(towers.encoder, rows, examples.kinds[part]) @ towers.vectors.T
        target = scores[np.arange(rows.shape[0]), examples.targets[part]].copy()
        users, slots = np.nonzero(rows >= 0)
        scores[users, rows[users, slots]] = -np.inf
        hits += int(((scores > target[:, None]).sum(axis=1) < k).sum())
    return float(hits / max(n, 1))


def _slots(fields: ItemFields) -> Int32:
    sizes = [spec.size for spec in fields.specs]
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    slots: Int32 = (fields.values + offsets).astype(np.int32)
    return slots


def _initial(fields: ItemFields, items: int, config: TwoTowerConfig, seed: int) -> Params:
    rng = np.random.default_rng(seed)
    d, h = config.dim, config.hidden
    slots = sum(spec.size for spec in fields.specs)

    def normal(*shape: int, scale: float) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape, scale=scale), jnp.float32)

    def tower() -> Params:
        return {
            "id": normal(items, d, scale=0.1),
            "field": normal(slots, d, scale=0.05),
            "word": normal(TOKEN_BUCKETS, d, scale=0.05),
        }

    return {
        "item": tower(),
        "history": tower(),
        # by EventKind: nothing, view, click, cart, purchase, like, dislike, impression, hide
        "kind_weight": jnp.asarray([0, 0.5, 0.6, 1, 1.5, 1.2, -0.3, 0, -0.5], jnp.float32),
        "recency": jnp.asarray(0.98 ** np.arange(config.history), jnp.float32),
        "skip": jnp.eye(d, dtype=jnp.float32) + normal(d, d, scale=0.02),
        "w1": normal(d, h, scale=d**-0.5),
        "b1": jnp.zeros(h),
        "w2": normal(h, d, scale=0.1 * h**-0.5),
        "b2": jnp.zeros(d),
    }


def _embed(tower: Params, rows: jax.Array | None, inputs: tuple[jax.Array, jax.Array]) -> jax.Array:
    slots, words = inputs
    ids = tower["id"]
    if rows is not None:
        slots, words, ids = slots[rows], words[rows], ids[rows]
    present = (words >= 0)[..., None]
    word = (tower["word"][jnp.maximum(words, 0)] * present).sum(-2)
    word = word / jnp.maximum(present.sum(-2), 1)
    return ids + tower["field"][slots].mean(-2) + word


def _normalise(x: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-12))


def _loss(
    params: Params,
    inputs: tuple[jax.Array, jax.Array],
    log_q: jax.Array,
    batch: tuple[jax.Array, jax.Array, jax.Array],
    key: jax.Array,
    config: TwoTowerConfig,
    items: int,
) -> jax.Array:
    targets, rows, kinds = batch
    drop, draw = jax.random.split(key)
    table = _embed(params["history"], None, inputs)
    kept = (rows >= 0) & (jax.random.uniform(drop, rows.shape) >= config.dropout)
    weights = params["kind_weight"][kinds] * params["recency"][None, :] * kept
    pooled = jnp.einsum("nl,nle->ne", weights, table[jnp.maximum(rows, 0)])
    pooled = pooled / jnp.maximum(jnp.abs(weights).sum(1, keepdims=True), 1e-6)
    hidden = jax.nn.relu(pooled @ params["w1"] + params["b1"])
    query = _normalise(pooled @ params["skip"] + hidden @ params["w2"] + params["b2"])
    # negatives: the batch's own targets, drawn as often as they are popular, and uniform ones
    uniform = jax.random.randint(draw, (config.extra_negatives,), 0, items)
    columns = jnp.concatenate([targets, uniform])
    size = targets.shape[0]
    log_drawn = jnp.concatenate(
        [
            log_q[targets] + jnp.log(size),
            jnp.full(config.extra_negatives, jnp.log(config.extra_negatives / items)),
        ]
    )
    logits = query @ _normalise(_embed(params["item"], columns, inputs)).T / config.temperature
    logits = logits - log_drawn[None, :]
    own = jnp.arange(size)
    accidental = (columns[None, :] == targets[:, None]).at[own, own].set(False)
    logits = jnp.where(accidental, -1e9, logits)
    return optax.softmax_cross_entropy_with_integer_labels(logits, own).mean()


def _step(
    params: Params,
    state: optax.OptState,
    inputs: tuple[jax.Array, jax.Array],
    log_q: jax.Array,
    batch: tuple[jax.Array, jax.Array, jax.Array],
    key: jax.Array,
    *,
    optimiser: optax.GradientTransformation,
    config: TwoTowerConfig,
    items: int,
) -> tuple[Params, optax.OptState, jax.Array]:
    loss, grads = jax.value_and_grad(_loss)(params, inputs, log_q, batch, key, config, items)
    updates, state = optimiser.update(grads, state, params)
    return optax.apply_updates(params, updates), state, loss


def _export(params: Params, inputs: tuple[jax.Array, jax.Array]) -> Towers:
    names = ("kind_weight", "recency", "skip", "w1", "b1", "w2", "b2")
    encoder = {name: np.asarray(params[name], np.float32) for name in names}
    encoder["history_table"] = np.asarray(_embed(params["history"], None, inputs), np.float32)
    vectors = np.asarray(_normalise(_embed(params["item"], None, inputs)), np.float32)
    return Towers(vectors, encoder)
