"""Trains the two towers: sampled softmax with logQ correction (Yi et al., RecSys 2019).

Negatives are the batch's own targets, uniform ones, and hard ones: items that the model of the last
epoch places nearest to queries, drawn as often as they are. A column's correction is how often all
three together are expected to draw its item (the balance heuristic: Veach, Guibas, SIGGRAPH 1995).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from tamis_pipeline import towers
from tamis_pipeline.averaging import newest
from tamis_pipeline.dataset import Interactions
from tamis_pipeline.vocabulary import ItemFields
from tamis_pipeline.windows import Examples, between, grouped, window, within
from tamis_server.bundles.features import is_positive
from tamis_server.bundles.manifest import ENCODER_ARRAYS, FieldSpec
from tamis_server.bundles.profiles import NO_PROFILES, Profiles
from tamis_server.bundles.query_tower import encode

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
# validation examples that are looked at, at most: by a tenth of them a recall of 0.09 has a
# standard error of 0.003, and epochs differ by less
_CHECKED = 100_000
_PROBES = 2_048  # examples that hard negatives are found for
_NEVER = -1e9


@dataclass(frozen=True, slots=True)
class TwoTowerConfig:
    """dim: width of item vectors; heads: of the history's attention; ordered: a history is what
    came before (false: all other events, for data without times); timed: hour and weekday are
    known; targets: how many of a user's events are asked about at once where it is not ordered,
    the others being the history; uniform_negatives, hard_negatives: shared by a batch; hard_depth:
    how near they stand; id_dropout: how often an item is known by its fields, words and content
    alone; patience: epochs without a better validation recall@recall_at.
    """

    dim: int = 64
    heads: int = 2
    hidden: int = 128
    history: int = 50
    ordered: bool = True
    timed: bool = True
    targets: int = 16
    batch: int = 1024
    uniform_negatives: int = 2048
    hard_negatives: int = 512
    hard_depth: int = 100
    epochs: int = 30
    patience: int = 2
    recall_at: int = 100
    rate: float = 2e-3
    weight_decay: float = 1e-4
    temperature: float = 0.08
    history_dropout: float = 0.2
    id_dropout: float = 0.1

    @property
    def sizes(self) -> towers.TowerSizes:
        return towers.TowerSizes(self.dim, self.heads, self.hidden, self.history)


@dataclass(frozen=True, slots=True)
class Towers:
    """vectors float32[items, dim], encoder (``ENCODER_ARRAYS``) and item_tower
    (``item_tower.ARRAYS``) go into the bundle, and are all that ``tune`` goes on from. profile:
    the fields of users that the encoder knows."""

    vectors: Float32
    encoder: dict[str, Float32]
    item_tower: dict[str, Float32] = field(default_factory=dict)
    profile: tuple[FieldSpec, ...] = ()


def train(
    fields: ItemFields,
    content: Float32 | None,
    fit: Interactions,
    validation: Interactions,
    config: TwoTowerConfig,
    seed: int,
    report: Callable[[str], None],
    profiles: Profiles = NO_PROFILES,
) -> Towers:
    """Train until recall of the validation positives stops growing; the best epoch is kept.

    content: float32[items, c].
    """
    items = fields.values.shape[0]
    counts = _counts(fit, items)
    inputs = towers.item_inputs(fields, content, counts > 0)
    width = inputs.content.shape[1]
    ordered, profile = config.ordered, profiles.fields
    params = towers.initial(config.sizes, fields, items, width, seed, ordered, profile)
    if not _knows_context(config, profiles):
        params["w_context"] = jnp.zeros_like(params["w_context"])
    examples = within(fit, ordered, config.timed, profiles=profiles)
    return _learned(
        params, (), inputs, examples, counts, fit, validation, config, seed, report, profiles
    )


def tune(
    start: Towers,
    fields: ItemFields,
    content: Float32 | None,
    fit: Interactions,
    validation: Interactions,
    since: float,
    config: TwoTowerConfig,
    seed: int,
    report: Callable[[str], None],
    profiles: Profiles = NO_PROFILES,
) -> Towers:
    """Go on from ``start`` as ``train`` would, its item vectors staying what they are to the bit:
    only the query tower learns, from what was taken to at ``since`` (Unix seconds) or later.

    ``config.sizes`` are those of ``start``, which has a row for each item of ``fields``.
    """
    counts = _counts(fit, start.vectors.shape[0])
    inputs = towers.item_inputs(fields, content, counts > 0)
    params = towers.resumed(start.vectors, start.encoder, start.item_tower, inputs)
    fixed = tuple(name for name in params if name.startswith("item."))
    examples = within(fit, config.ordered, config.timed, since, profiles)
    return _learned(
        params, fixed, inputs, examples, counts, fit, validation, config, seed, report, profiles
    )


def recall_at(found: Towers, examples: Examples, k: int) -> float:
    """Share of examples whose target is among the k nearest, the history being left out."""
    hits, length = 0, found.encoder["recency_bias"].shape[0]
    for start in range(0, len(examples), 512):
        part = examples.take(np.arange(start, min(start + 512, len(examples))))
        rows, kinds = part.histories(length)
        scores = encode(found.encoder, rows, kinds, part.context) @ found.vectors.T
        target = scores[np.arange(len(part)), part.targets].copy()
        users, slots = np.nonzero(rows >= 0)
        scores[users, rows[users, slots]] = -np.inf
        hits += int(((scores > target[:, None]).sum(axis=1) < k).sum())
    return hits / max(len(examples), 1)


class _Loop:
    """What stays the same from epoch to epoch, on the device."""

    def __init__(
        self,
        config: TwoTowerConfig,
        inputs: towers.ItemInputs,
        examples: Examples,
        counts: npt.NDArray[np.intp],
        frozen: towers.Params,
        rng: np.random.Generator,
    ) -> None:
        self.config = config
        self.inputs = inputs
        self.examples = examples
        self.frozen = frozen
        self._rng = rng
        self._targets = 1 if config.ordered else config.targets
        groups = grouped(examples, self._targets, rng).shape[0]
        self._size = min(max(1, config.batch // self._targets), groups)
        smooth = counts + 0.1
        drawn = self._size * self._targets
        self._drawn = drawn * smooth / smooth.sum() + config.uniform_negatives / len(counts)
        self._steps = 0
        self._events = (jnp.asarray(examples.items), jnp.asarray(examples.kinds))

    def epoch(
        self, trained: towers.Params, mean: towers.Params, state: optax.OptState, key: jax.Array
    ) -> tuple[towers.Params, towers.Params, optax.OptState, float]:
        """One pass over the examples; the loss is its mean. mean: of the parameters so far."""
        pool = self._hard(trained)
        expected = self._drawn
        if pool.shape[0]:
            share = np.bincount(pool, minlength=expected.shape[0]) / pool.shape[0]
            expected = expected + self.config.hard_negatives * share
        log_expected = jnp.asarray(np.log(expected), jnp.float32)
        groups, losses = grouped(self.examples, self._targets, self._rng), []
        starts = range(0, len(groups) - self._size + 1, self._size)
        for number, start in enumerate(starts):
            batch = self._batch(groups[start : start + self._size])
            hard = self._rng.choice(pool, self.config.hard_negatives) if pool.shape[0] else pool
            # inputs are arguments: as constants XLA would fold them, for minutes
            trained, mean, state, loss = _step(
                trained,
                mean,
                newest(self._steps, len(starts)),
                state,
                (self.frozen, self.inputs),
                batch,
                hard,
                log_expected,
                jax.random.fold_in(key, number),
                config=self.config,
            )
            losses.append(loss)
            self._steps += 1
        return trained, mean, state, float(np.mean(losses)) if losses else float("nan")

    def _batch(self, groups: npt.NDArray[np.intp]) -> tuple[Any, ...]:
        """groups [n, k]: of each the history, without its own events int32[n, k], and targets
        int32[n, k], -1 where there are no more."""
        one, there = self.examples.take(groups[:, 0]), groups >= 0
        targets = np.where(there, self.examples.targets[groups], -1)
        own = np.where(there, self.examples.own[groups], -1)
        return (*self._events, targets, one.starts, one.ends, own, one.context)

    def _hard(self, trained: towers.Params) -> Int32:
        """int32[n]: items near to the queries of some examples, each as often as it is near."""
        depth = min(self.config.hard_depth, self.inputs.slots.shape[0])
        if not self.config.hard_negatives or not len(self.examples):
            return np.empty(0, np.int32)
        asked = self._rng.integers(0, len(self.examples), _PROBES)
        params = {**self.frozen, **trained}
        vectors = np.asarray(_tables(params, self.inputs)[0])
        batch = self._batch(asked[:, None])
        found = np.asarray(_asked(params, self.inputs, batch, length=self.config.history))
        pools = []
        for start in range(0, _PROBES, 256):
            scores = found[start : start + 256] @ vectors.T
            pools.append(np.argpartition(-scores, depth - 1, axis=1)[:, :depth].ravel())
        return np.concatenate(pools).astype(np.int32)


def _counts(fit: Interactions, items: int) -> npt.NDArray[np.intp]:
    """intp[items]: positives of each."""
    return np.bincount(fit.items[is_positive(fit.kinds)], minlength=items)


def _learned(
    params: towers.Params,
    fixed: tuple[str, ...],
    inputs: towers.ItemInputs,
    examples: Examples,
    counts: npt.NDArray[np.intp],
    fit: Interactions,
    validation: Interactions,
    config: TwoTowerConfig,
    seed: int,
    report: Callable[[str], None],
    profiles: Profiles,
) -> Towers:
    """The best of what ``params``, but for those named ``fixed``, become epoch by epoch: each time
    their mean (``averaging``) over about an epoch."""
    fixed += () if _knows_context(config, profiles) else ("w_context", "context_table")
    fixed += () if config.ordered else ("recency_bias",)
    frozen = {name: value for name, value in params.items() if name in fixed}
    trained = {name: value for name, value in params.items() if name not in fixed}
    examples = examples.take(examples.ends - (examples.own >= 0) > examples.starts)
    loop = _Loop(config, inputs, examples, counts, frozen, np.random.default_rng(seed))
    checked = between(fit, validation, config.timed, config.ordered, profiles)
    if len(checked) > _CHECKED:
        chosen = np.random.default_rng(seed).choice(len(checked), _CHECKED, replace=False)
        checked = checked.take(np.sort(chosen))
    state, key = _optimiser(config).init(trained), jax.random.key(seed)
    mean = jax.tree.map(jnp.array, trained)
    best = _export({**frozen, **trained}, inputs)
    best_recall, since = recall_at(best, checked, config.recall_at), 0
    report(f"before learning: recall@{config.recall_at} {best_recall:.4f}")
    for epoch in range(config.epochs):
        of_epoch = jax.random.fold_in(key, epoch)
        trained, mean, state, loss = loop.epoch(trained, mean, state, of_epoch)
        found = _export({**frozen, **mean}, inputs)
        recall = recall_at(found, checked, config.recall_at)
        report(f"epoch {epoch + 1}: loss {loss:.3f}, recall@{config.recall_at} {recall:.4f}")
        if recall > best_recall or not len(checked):  # nothing to check with: the last is kept
            best, best_recall, since = found, recall, 0
        else:
            since += 1
            if since > config.patience:
                break
    return replace(best, profile=profiles.fields)


def _knows_context(config: TwoTowerConfig, profiles: Profiles) -> bool:
    return config.timed or bool(profiles.fields)


def _optimiser(config: TwoTowerConfig) -> optax.GradientTransformation:
    return optax.adamw(config.rate, weight_decay=config.weight_decay)


@jax.jit
def _tables(params: towers.Params, inputs: towers.ItemInputs) -> tuple[jax.Array, jax.Array]:
    """Item vectors and the history table."""
    return towers.item_vectors(params, inputs), towers.history_table(params, inputs)


def _queries(
    params: towers.Params,
    inputs: towers.ItemInputs,
    batch: tuple[Any, ...],
    length: int,
    kept: jax.Array | None = None,
    heard: Callable[[jax.Array], jax.Array] = lambda rows: rows,
) -> jax.Array:
    items, kinds, _, starts, ends, own, context = batch
    everywhere, nowhere = jnp.arange(items.shape[0]), jnp.full(starts.shape, -1)
    slots, of_rows = window(jnp, everywhere, kinds, starts, ends, nowhere, length)
    hidden = (slots < 0) | (slots[:, :, None] == own[:, None, :]).any(-1)
    rows = jnp.where(hidden, -1, items[slots])
    table = towers.history_table(params, inputs, kept)
    return towers.queries(params, table, heard(rows), of_rows, context)


_asked = jax.jit(_queries, static_argnames="length")


def _loss(
    trained: towers.Params,
    fixed: tuple[towers.Params, towers.ItemInputs],
    batch: tuple[Any, ...],
    hard: jax.Array,
    log_expected: jax.Array,
    key: jax.Array,
    config: TwoTowerConfig,
) -> jax.Array:
    frozen, inputs = fixed
    params = {**frozen, **trained}
    items, targets = inputs.slots.shape[0], batch[2]
    lost, of_items, of_history, drawn = jax.random.split(key, 4)

    def heard(rows: jax.Array) -> jax.Array:
        return jnp.where(jax.random.bernoulli(lost, config.history_dropout, rows.shape), -1, rows)

    def known(of: jax.Array) -> jax.Array:
        return jax.random.bernoulli(of, 1 - config.id_dropout, (items, 1)).astype(jnp.float32)

    query = _queries(params, inputs, batch, config.history, known(of_history), heard)
    uniform = jax.random.randint(drawn, (config.uniform_negatives,), 0, items)
    n, k = targets.shape
    columns = jnp.concatenate([jnp.maximum(targets, 0).ravel(), uniform, hard])
    if items <= columns.shape[0]:
        vectors = towers.item_vectors(params, inputs, None, known(of_items))[columns]
    else:
        vectors = towers.item_vectors(params, inputs, columns, known(of_items))
    logits = query @ vectors.T / config.temperature - log_expected[columns]
    # what a user is asked about together is no negative of one another; what fills up is nobody's
    theirs = (columns[None, :, None] == targets[:, None, :]).any(-1)
    filled = jnp.concatenate([targets.ravel() < 0, jnp.zeros(columns.shape[0] - n * k, bool)])
    others = jax.nn.logsumexp(jnp.where(theirs | filled, _NEVER, logits), 1, keepdims=True)
    chosen = logits[jnp.arange(n)[:, None], jnp.arange(n * k).reshape(n, k)]
    there = targets >= 0
    return (jnp.logaddexp(others, chosen) - chosen).sum(where=there) / there.sum()


@partial(jax.jit, static_argnames="config", donate_argnums=(0, 1, 3))
def _step(
    trained: towers.Params,
    mean: towers.Params,
    share: float,
    state: optax.OptState,
    fixed: tuple[towers.Params, towers.ItemInputs],
    batch: tuple[Any, ...],
    hard: jax.Array,
    log_expected: jax.Array,
    key: jax.Array,
    *,
    config: TwoTowerConfig,
) -> tuple[towers.Params, towers.Params, optax.OptState, jax.Array]:
    loss, grads = jax.value_and_grad(_loss)(trained, fixed, batch, hard, log_expected, key, config)
    updates, state = _optimiser(config).update(grads, state, trained)
    trained = optax.apply_updates(trained, updates)
    return trained, optax.incremental_update(trained, mean, share), state, loss


def _export(params: towers.Params, inputs: towers.ItemInputs) -> Towers:
    plain = {name: np.array(value, np.float32) for name, value in params.items()}
    vectors, table = (np.array(each) for each in _tables(params, inputs))
    encoder = {name: plain[name] for name in ENCODER_ARRAYS if name != "history_table"}
    return Towers(
        vectors,
        {**encoder, "history_table": table.astype(np.float16)},
        {
            "field": plain["item.field"],
            "word": plain["item.word"],
            "content": plain["item.content"],
            "history_field": plain["history.field"],
            "history_content": plain["history.content"],
        },
    )
