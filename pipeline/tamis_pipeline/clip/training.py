"""Contrastive training on pairs of picture and text: symmetric InfoNCE over the batch, with a
learnt temperature (Radford et al., ICML 2021)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax
from tokenizers import Tokenizer

from tamis_pipeline.clip import vocabulary
from tamis_pipeline.clip.retrieval import recalls
from tamis_pipeline.clip.towers import (
    ClipConfig,
    Float32,
    JaxOps,
    Params,
    folded,
    initial,
    read,
    see,
)

UInt8 = npt.NDArray[np.uint8]
Int32 = npt.NDArray[np.int32]
MEAN, STD = 0.5, 0.25
_MOST_SCALE = float(np.log(100))  # as in the paper: beyond it training is unstable
_OPS = JaxOps()


class Pairs(NamedTuple):
    """pixels uint8[n, size, size, 3], ids int32[n, length], mask float32[n, length]."""

    pixels: UInt8
    ids: Int32
    mask: Float32

    @property
    def number(self) -> int:
        return int(self.pixels.shape[0])

    def take(self, which: npt.NDArray[np.intp]) -> Pairs:
        return Pairs(self.pixels[which], self.ids[which], self.mask[which])


@dataclass(frozen=True, slots=True)
class Trained:
    """weights: of both towers, as ``towers.folded`` gives them."""

    config: ClipConfig
    tokenizer: Tokenizer
    weights: dict[str, Float32]


def pairs(tokenizer: Tokenizer, pixels: UInt8, texts: Sequence[str], config: ClipConfig) -> Pairs:
    ids, mask = vocabulary.numbered(tokenizer, texts, config.max_tokens)
    return Pairs(pixels, ids, mask)


def train(
    learn: tuple[UInt8, Sequence[str]],
    check: tuple[UInt8, Sequence[str]],
    config: ClipConfig,
    seed: int,
    report: Callable[[str], None],
) -> Trained:
    """Towers that find the partners of ``check`` best; the vocabulary is that of ``learn``.

    Pictures uint8[n, size, size, 3], each with its text.
    """
    tokenizer = vocabulary.learn(learn[1], config.pieces, config.max_tokens)
    shown, held = (pairs(tokenizer, *part, config) for part in (learn, check))
    params = initial(config, tokenizer.get_vocab_size(), seed)
    rng = np.random.default_rng(seed)
    batch = min(config.batch, shown.number)
    steps = max(1, shown.number // batch)
    total = config.epochs * steps
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.rate, min(2 * steps, total // 2), total, 0.01 * config.rate
    )
    optimiser = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=config.decay)
    )
    state = optimiser.init(params)
    step = jax.jit(partial(_step, optimiser=optimiser, stages=len(config.channels)))
    best, best_recall, since = folded(params), -1.0, 0
    for epoch in range(config.epochs):
        losses = []
        for part in _batches(shown, batch, config, rng):
            params, state, loss = step(params, state, part)
            losses.append(loss)
        weights = folded(params)
        recall = _recall(weights, held, config)
        report(f"epoch {epoch + 1}: loss {float(np.mean(losses)):.3f}, recall@5 {recall:.4f}")
        if recall > best_recall:
            best, best_recall, since = weights, recall, 0
        else:
            since += 1
            if since >= config.patience:
                break
    return Trained(config, tokenizer, {name: np.asarray(best[name], np.float32) for name in best})


def vectors(weights: Params, given: Pairs, config: ClipConfig) -> tuple[Float32, Float32]:
    """float32[n, dim] of the texts and of the pictures, unit rows."""
    found_texts, found_images = [], []
    for start in range(0, given.number, config.batch):
        part = given.take(np.arange(start, min(start + config.batch, given.number)))
        text, image = _towers(weights, part, len(config.channels))
        found_texts.append(np.asarray(text))
        found_images.append(np.asarray(image))
    return np.concatenate(found_texts), np.concatenate(found_images)


def _recall(weights: Params, held: Pairs, config: ClipConfig) -> float:
    text, image = vectors(weights, held, config)
    return (recalls(text, image, (5,))[5] + recalls(image, text, (5,))[5]) / 2


def _batches(
    shown: Pairs, batch: int, config: ClipConfig, rng: np.random.Generator
) -> Iterator[Pairs]:
    order = rng.permutation(shown.number)
    for start in range(0, shown.number - batch + 1, batch):
        part = shown.take(order[start : start + batch])
        kept = part.mask * (rng.random(part.mask.shape) >= config.dropout)
        kept = np.where(kept.any(axis=1, keepdims=True), kept, part.mask)
        yield Pairs(_moved(part.pixels, config.shift, rng), part.ids, kept.astype(np.float32))


def _moved(pixels: UInt8, shift: int, rng: np.random.Generator) -> UInt8:
    """Mirrored half of the time, and moved by up to ``shift`` pixels."""
    edge = ((0, 0), (shift, shift), (shift, shift), (0, 0))
    padded = np.pad(pixels, edge, mode="edge")
    number, height, width = pixels.shape[:3]
    found = np.empty_like(pixels)
    moves = rng.integers(0, (2 * shift + 1, 2 * shift + 1, 2), (number, 3))
    for row, (top, left, mirrored) in enumerate(moves.tolist()):
        view = padded[row, top : top + height, left : left + width]
        found[row] = view[:, ::-1] if mirrored else view
    return found


def _unit(x: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-12))


@partial(jax.jit, static_argnames="stages")
def _towers(weights: Params, given: Pairs, stages: int) -> tuple[jax.Array, jax.Array]:
    values = (jnp.asarray(given.pixels, jnp.float32) / 255 - MEAN) / STD
    text = _unit(read(_OPS, weights, jnp.asarray(given.ids), jnp.asarray(given.mask)))
    return text, _unit(see(_OPS, weights, values, stages))


def _loss(params: Params, given: Pairs, stages: int) -> jax.Array:
    text, image = _towers(folded(params), given, stages)
    logits = jnp.exp(jnp.minimum(params["log_scale"], _MOST_SCALE)) * text @ image.T
    # another product with the very same text is no wrong answer
    ids = jnp.asarray(given.ids)
    same = (ids[:, None, :] == ids[None, :, :]).all(-1)
    own = jnp.arange(ids.shape[0])
    logits = jnp.where(same.at[own, own].set(False), -1e9, logits)
    ways = [
        optax.softmax_cross_entropy_with_integer_labels(way, own).mean()
        for way in (logits, logits.T)
    ]
    return (ways[0] + ways[1]) / 2


def _step(
    params: Params,
    state: optax.OptState,
    given: Pairs,
    *,
    optimiser: optax.GradientTransformation,
    stages: int,
) -> tuple[Params, optax.OptState, jax.Array]:
    loss, grads = jax.value_and_grad(_loss)(params, given, stages)
    updates, state = optimiser.update(grads, state, params)
    return optax.apply_updates(params, updates), state, loss
