"""Fits a ranker to exposures: any model that gives a logit for each candidate and objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from tamis_pipeline.averaging import newest
from tamis_pipeline.dataset import Interactions
from tamis_pipeline.rankers import calibration
from tamis_pipeline.rankers.exposures import (
    ExposureConfig,
    Exposures,
    ItemTables,
    joined,
    listed,
    sampled,
)
from tamis_pipeline.rankers.gain import gains, surely_better
from tamis_pipeline.rankers.objectives import labels
from tamis_pipeline.rankers.requests import requests
from tamis_pipeline.rankers.simple import Simple, simple
from tamis_pipeline.twotower import Towers
from tamis_server.bundles.manifest import Objective
from tamis_server.bundles.profiles import Profiles

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Params = dict[str, Any]
Array = Any  # of JAX while it traces, of NumPy before


class Items(NamedTuple):
    """All items: fields int32[items, f] and dense float32[items, d], vectors included."""

    fields: jax.Array
    dense: jax.Array


class Batch(NamedTuple):
    """Some exposures, as in Exposures, but with item 0 where there is none."""

    user_fields: Array
    user_dense: Array
    items: Array
    cross: Array
    history_items: Array
    history_kinds: Array
    history_ages: Array


class Model(Protocol):
    """A ranker's form. Its heads are arrays w_out [o, h], wide [o] and bias [o]."""

    def __hash__(self) -> int: ...

    def initial(self, seed: int, simple: Simple) -> Params:
        """What learning begins with: the order of ``simple``."""

    def logits(
        self, params: Params, items: Items, batch: Batch, key: jax.Array | None
    ) -> jax.Array:
        """float32[n, c, o]. key: for dropout; without one there is none."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """batch: candidates of a step; epochs: at most; patience: epochs without a higher gain, then
    learning stops; rate, weight_decay: AdamW's."""

    batch: int = 4096
    epochs: int = 12
    patience: int = 2
    rate: float = 1e-3
    weight_decay: float = 1e-2


@dataclass(frozen=True, slots=True)
class Lessons:
    """learned: what is fitted; lists: what stops and calibrates it, whole lists of other requests;
    simple: the order that learning begins with; places: how many count in ``gain``."""

    learned: Exposures
    lists: Exposures
    simple: Simple
    places: int


def lessons(
    past: Interactions,
    asked: Interactions,
    profiles: Profiles,
    tables: ItemTables,
    towers: Towers,
    config: ExposureConfig,
    ordered: bool,
    seed: int,
) -> Lessons:
    """From the positives of ``asked``, which the two-tower must not have learned from; a fifth of
    the requests is kept aside, ``config.lists`` at most. ordered: see ``requests``. Raises
    DatasetRejected where there is nothing to learn from."""
    rng = np.random.default_rng(seed)
    moments = requests(past, asked, ordered, profiles).looking_ahead(rng)
    # set aside are all users' first, then all their second: each counts alike, as in evaluation
    order = rng.permutation(len(moments))
    order = order[np.argsort(_turns(moments.users[order]), kind="stable")]
    aside = max(1, min(order.shape[0] // 5, config.lists))
    rest = rng.permutation(order[aside:])[: config.requests] if order.shape[0] > 1 else order
    learned = sampled(moments.take(np.sort(rest)), tables, towers, config, rng)
    lists = listed(moments.take(order[:aside]), tables, towers, config)
    # a handful of weights learns nothing by heart: the more lists say what is better, the surer
    more = listed(moments.take(order[aside : aside + config.lists]), tables, towers, config)
    start = simple(learned, joined([lists, more]), tables, config.places)
    return Lessons(learned, lists, start, config.places)


def _turns(users: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
    """intp[n]: how many of the same user came earlier."""
    by_user = np.argsort(users, kind="stable")
    _, begin, count = np.unique(users[by_user], return_index=True, return_counts=True)
    turns = np.empty(users.shape[0], np.intp)
    turns[by_user] = np.arange(users.shape[0]) - np.repeat(begin, count)
    return turns


@dataclass(frozen=True, slots=True)
class Trained:
    """params: arrays, calibrated; raw: as they were learned; fits: what is between them, by head;
    gain: of what was kept, on whole lists, by the first objective."""

    params: dict[str, Float32]
    raw: dict[str, Float32]
    gain: float
    fits: list[calibration.Platt]


def train(
    model: Model,
    lessons: Lessons,
    tables: ItemTables,
    objectives: Sequence[Objective],
    config: TrainingConfig,
    seed: int,
    report: Callable[[str], None],
    initial: Mapping[str, Float32] | None = None,
) -> Trained:
    """Learn until the order of whole lists stops getting better. What learning began with is kept
    until an epoch is surely better, and that until another is. What is measured and kept is the
    mean of parameters over about an epoch (``averaging``).

    initial: parameters to begin with, of a model already calibrated, for daily fine-tuning.
    """
    items = item_inputs(tables)
    begun = dict(initial) if initial else model.initial(seed, lessons.simple)
    params = jax.tree.map(jnp.asarray, begun)
    optimiser = optax.adamw(config.rate, weight_decay=config.weight_decay)
    state = optimiser.init(params)
    requests = min(max(1, config.batch // lessons.learned.items.shape[1]), len(lessons.learned))
    of_epoch, done = len(lessons.learned) // requests, 0
    mean = jax.tree.map(jnp.array, params)
    step = jax.jit(_step_of(model, optimiser), donate_argnums=(0, 1, 2))
    rng, key = np.random.default_rng(seed), jax.random.key(seed)
    learned, wanted = lessons.learned, labels(lessons.learned.outcomes, objectives)

    def measured() -> Float64:
        logits = predict(model, mean, items, lessons.lists)
        return gains(logits[..., 0], lessons.lists.items, lessons.places)

    kept, kept_gains = jax.tree.map(np.array, mean), measured()
    highest, since = float(kept_gains.mean()), 0
    report(f"before learning: gain {highest:.4f}")
    for epoch in range(config.epochs):
        order = rng.permutation(len(learned))
        losses = []
        for start in range(0, len(learned) - requests + 1, requests):
            chosen = order[start : start + requests]
            key, used = jax.random.split(key)
            batch = batch_of(learned.take(chosen))
            params, mean, state, loss = step(
                params, mean, newest(done, of_epoch), state, items, batch, wanted[chosen], used
            )
            losses.append(loss)
            done += 1
        found = measured()
        better = surely_better(found, kept_gains)
        if better:
            kept, kept_gains = jax.tree.map(np.array, mean), found
        report(
            f"epoch {epoch + 1}: loss {float(np.mean(losses)):.4f}, gain {found.mean():.4f}"
            + (", kept" if better else "")
        )
        if found.mean() > highest:
            highest, since = float(found.mean()), 0
        else:
            since += 1
            if since >= config.patience:
                break
    fits = calibrated(predict(model, kept, items, lessons.lists), lessons.lists, objectives)
    arrays = {name: np.asarray(value, np.float32) for name, value in kept.items()}
    return Trained(calibration.fold(arrays, fits), arrays, float(kept_gains.mean()), fits)


def calibrated(
    logits: Float32, lists: Exposures, objectives: Sequence[Objective]
) -> list[calibration.Platt]:
    """A fit for each objective; logits float32[n, c, o]."""
    there, hits = lists.items >= 0, labels(lists.outcomes, objectives) > 0
    fits = []
    for head in range(len(objectives)):
        wanted = np.zeros(there.shape, np.bool_)
        wanted[:, 0] = hits[:, head]
        fits.append(calibration.platt(logits[..., head][there], wanted[there]))
    return fits


def predict(model: Model, params: Mapping[str, Any], items: Items, data: Exposures) -> Float32:
    """Logits float32[n, c, o]."""
    size = max(1, min(len(data), 32_768 // data.items.shape[1]))
    score = _scoring(model)
    found = []
    for start in range(0, len(data), size):
        # one shape, one compilation: the last block is filled up with what came before
        chosen = np.arange(start, start + size) % len(data)
        logits = np.asarray(score(dict(params), items, batch_of(data.take(chosen))))
        found.append(logits[: len(data) - start])
    return np.concatenate(found)


@lru_cache(maxsize=4)
def _scoring(model: Model) -> Callable[[Params, Items, Batch], jax.Array]:
    """Compiled once a model and shape, however often it is asked."""
    return jax.jit(lambda params, items, batch: model.logits(params, items, batch, None))


def item_inputs(tables: ItemTables) -> Items:
    return Items(jnp.asarray(tables.fields), jnp.asarray(tables.all_dense()))


def batch_of(data: Exposures) -> Batch:
    return Batch(
        data.user_fields,
        data.user_dense,
        np.maximum(data.items, 0),
        data.cross,
        np.maximum(data.history_items, 0),
        data.history_kinds,
        data.history_ages,
    )


def _step_of(model: Model, optimiser: optax.GradientTransformation) -> Callable[..., Any]:
    def loss_of(
        params: Params, items: Items, batch: Batch, wanted: jax.Array, key: jax.Array
    ) -> jax.Array:
        """wanted float32[n, o]: whether the positive fulfilled each objective."""
        logits = model.logits(params, items, batch, key)
        hits = jnp.zeros_like(logits).at[:, 0].set(wanted)
        # the list's order is what is wanted; the second term keeps scores near probabilities
        order = optax.softmax_cross_entropy(logits, hits, axis=1).sum() / wanted.sum().clip(1)
        loss: jax.Array = order + optax.sigmoid_binary_cross_entropy(logits, hits).mean()
        return loss

    def step(
        params: Params,
        mean: Params,
        share: float,
        state: optax.OptState,
        items: Items,
        batch: Batch,
        wanted: jax.Array,
        key: jax.Array,
    ) -> tuple[Params, Params, optax.OptState, jax.Array]:
        loss, grads = jax.value_and_grad(loss_of)(params, items, batch, wanted, key)
        updates, state = optimiser.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return params, optax.incremental_update(params, mean, share), state, loss

    return step
