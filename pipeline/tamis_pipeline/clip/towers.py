"""The two towers of a small CLIP, each written once and run by whoever brings the operations.

``Ops`` is what they are made of: ``JaxOps`` trains them, ``export.OnnxOps`` writes them down.

Vision: a residual network without normalisation layers (Brock et al., ICLR 2021: standardised,
scaled kernels), so that what is exported is convolutions and nothing else; every stage after the
first says what it saw, so that colours and patterns need not get through all of it. Text: word
pieces, pooled by how much each matters (additive attention, Bahdanau et al., ICLR 2015), and a
residual layer: titles of products are short, and the order of their words says little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

V = TypeVar("V")
Float32 = npt.NDArray[np.float32]
Params = dict[str, Any]
_RELU_GAIN = float(np.sqrt(2 / (1 - 1 / np.pi)))  # of relu: keeps the variance of unit input
NOTHING = -1e9


@dataclass(frozen=True, slots=True)
class ClipConfig:
    """dim: width of the vectors; channels: of the vision tower, at least two, each at half the size
    of the one before; pieces: most word pieces in the vocabulary; dropout: share of a text's pieces
    left out; shift: pixels by which a picture is moved; patience: epochs without gain."""

    dim: int = 128
    channels: tuple[int, ...] = (24, 48, 96, 192)
    image_size: int = 64
    width: int = 128
    pieces: int = 4_000
    max_tokens: int = 32
    batch: int = 256
    epochs: int = 40
    patience: int = 10
    rate: float = 2e-3
    decay: float = 0.05
    dropout: float = 0.15
    shift: int = 4


class Ops(Protocol[V]):
    """Operations on values of one kind: arrays, or names in a graph."""

    def convolve(self, x: V, kernel: V, bias: V, stride: int) -> V:
        """Kernel [3 or 1, the same, in, out]; the border is filled with zeros."""

    def dense(self, x: V, matrix: V) -> V: ...

    def add(self, x: V, y: V) -> V: ...

    def relu(self, x: V) -> V: ...

    def tanh(self, x: V) -> V: ...

    def spatial_mean(self, x: V) -> V:
        """[n, channels]"""

    def lookup(self, table: V, ids: V) -> V:
        """[n, length, width]"""

    def attend(self, values: V, scores: V, mask: V) -> V:
        """[n, width]: the mean of values [n, length, width], weighed by the softmax of scores
        [n, length, 1] where mask [n, length] is 1."""


def see(ops: Ops[V], w: Mapping[str, V], pixels: V, stages: int) -> V:
    """[n, dim] of pictures [n, size, size, 3] (in a graph: [n, 3, size, size])."""
    x = ops.relu(ops.convolve(pixels, w["down0"], w["down0_bias"], 2))
    seen: list[V] = []
    for stage in range(1, stages):
        x = ops.relu(ops.convolve(x, w[f"down{stage}"], w[f"down{stage}_bias"], 2))
        y = ops.relu(ops.convolve(x, w[f"in{stage}"], w[f"in{stage}_bias"], 1))
        y = ops.relu(ops.convolve(y, w[f"mid{stage}"], w[f"mid{stage}_bias"], 1))
        y = ops.convolve(y, w[f"out{stage}"], w[f"out{stage}_bias"], 1)
        x = ops.relu(ops.add(x, y))
        seen.append(ops.dense(ops.spatial_mean(x), w[f"head{stage}"]))
    return reduce(ops.add, seen)


def read(ops: Ops[V], w: Mapping[str, V], ids: V, mask: V) -> V:
    """[n, dim] of word pieces, ids [n, length] and mask [n, length]."""
    pieces = ops.lookup(w["pieces"], ids)
    scores = ops.dense(ops.tanh(ops.dense(pieces, w["attend"])), w["attend_score"])
    pooled = ops.attend(pieces, scores, mask)
    hidden = ops.relu(ops.add(ops.dense(pooled, w["hidden"]), w["hidden_bias"]))
    return ops.dense(ops.add(pooled, ops.dense(hidden, w["hidden_out"])), w["text_head"])


class JaxOps:
    """Arrays, pictures with channels last."""

    def convolve(self, x: jax.Array, kernel: jax.Array, bias: jax.Array, stride: int) -> jax.Array:
        edge = kernel.shape[0] // 2
        found = jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            [(edge, edge)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return found + bias

    def dense(self, x: jax.Array, matrix: jax.Array) -> jax.Array:
        return x @ matrix

    def add(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return x + y

    def relu(self, x: jax.Array) -> jax.Array:
        return jax.nn.relu(x)

    def tanh(self, x: jax.Array) -> jax.Array:
        return jnp.tanh(x)

    def spatial_mean(self, x: jax.Array) -> jax.Array:
        return x.mean(axis=(1, 2))

    def lookup(self, table: jax.Array, ids: jax.Array) -> jax.Array:
        return table[ids]

    def attend(self, values: jax.Array, scores: jax.Array, mask: jax.Array) -> jax.Array:
        masked = scores + (1.0 - mask[..., None]) * NOTHING
        return (jax.nn.softmax(masked, axis=1) * values).sum(axis=1)


def initial(config: ClipConfig, pieces: int, seed: int) -> Params:
    """What is learnt; ``folded`` makes weights of it."""
    rng = np.random.default_rng(seed)
    params: Params = {"log_scale": jnp.asarray(np.log(1 / 0.07), jnp.float32)}

    def normal(name: str, *shape: int, scale: float) -> None:
        params[name] = jnp.asarray(rng.normal(size=shape, scale=scale), jnp.float32)

    def kernel(name: str, edge: int, before: int, after: int, gain: float) -> None:
        normal(name, edge, edge, before, after, scale=1.0)
        params[f"{name}_gain"] = jnp.full(after, gain, jnp.float32)
        params[f"{name}_bias"] = jnp.zeros(after, jnp.float32)

    before = 3
    for stage, after in enumerate(config.channels):
        kernel(f"down{stage}", 3, before, after, 1.0)
        if stage:
            kernel(f"in{stage}", 1, after, after // 2, 1.0)
            kernel(f"mid{stage}", 3, after // 2, after // 2, 1.0)
            kernel(f"out{stage}", 1, after // 2, after, 0.2)  # at first the way around counts most
            normal(f"head{stage}", after, config.dim, scale=sum(config.channels[1:]) ** -0.5)
        before = after
    width = config.width
    normal("pieces", pieces, width, scale=0.1)
    normal("attend", width, width // 2, scale=width**-0.5)
    normal("attend_score", width // 2, 1, scale=width**-0.5)
    normal("hidden", width, 2 * width, scale=width**-0.5)
    params["hidden_bias"] = jnp.zeros(2 * width, jnp.float32)
    normal("hidden_out", 2 * width, width, scale=0.3 * width**-0.5)
    normal("text_head", width, config.dim, scale=width**-0.5)
    return params


def folded(params: Params) -> Params:
    """The weights of ``see`` and ``read``: kernels standardised over what goes into each output."""
    weights = {name: value for name, value in params.items() if not name.endswith("_gain")}
    for name, value in params.items():
        if f"{name}_gain" in params:
            fan_in = value.shape[0] * value.shape[1] * value.shape[2]
            centred = value - value.mean(axis=(0, 1, 2))
            spread = jnp.sqrt((centred**2).mean(axis=(0, 1, 2)) + 1e-8)
            scale = params[f"{name}_gain"] * _RELU_GAIN * fan_in**-0.5
            weights[name] = centred / spread * scale
    return weights
