"""DeepFM (Guo et al., IJCAI 2017), split into a user's part and a table of items' parts.

The FM term over all fields is ``(|s|^2 - sum |v|^2) / 2`` with ``s`` the sum of the field
embeddings; with ``s = s_u + s_i`` it falls apart into a term of the user, one of the item and
``s_u . s_i``. Likewise the first layer's product is a user's row plus an item's row. The items'
parts are computed once a bundle, the user's once a request: the same function, exact in float32.

The one definition for the server and for what the pipeline measures of each precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from tamis_kernels import DeepFM, DeepFMSide, halved
from tamis_server.bundles.manifest import FeatureSchema

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Weights = Mapping[str, npt.NDArray[Any]]

Precision = Literal["f32", "f16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_LAYERS = {  # by the kernel's name
    "cross_hidden": "w1_cross",
    **{name: name for name in ("cross_linear", "w2", "b2", "w3", "b3", "w_out", "wide", "bias")},
}


class FactorisedDeepFM:
    """Scores items for one user at a time; ``rows`` items, whose parts ``put`` sets.

    weights: ``manifest.RANKER_ARRAYS``, of matching shapes. precision: "f16" keeps the items' parts
    in half the memory, "int8" also computes the second and the third layer in codes of 8 bits.
    """

    def __init__(
        self, weights: Weights, schema: FeatureSchema, rows: int, precision: Precision = "f32"
    ) -> None:
        weights = _reaching(weights)
        b1 = weights["b1"].astype(np.float32)  # the user's part has it
        self._user = _Side(weights, "user", [field.size for field in schema.user_fields], b1)
        self._item = _Side(weights, "item", [field.size for field in schema.item_fields], 0 * b1)
        cell = np.float32 if precision == "f32" else np.float16
        h1, e = weights["b1"].shape[0], weights["item_embedding"].shape[1]
        hidden, factors = np.zeros((rows, h1), cell), np.zeros((rows, e), cell)
        self._tables = hidden, factors, np.zeros(rows, np.float32)
        layers = {
            own: np.ascontiguousarray(weights[name], np.float32) for own, name in _LAYERS.items()
        }
        self._kernel = DeepFM(*self._tables, **layers, int8=precision == "int8")

    @property
    def item_bytes(self) -> int:
        """What one item takes in memory."""
        return sum(table[:1].nbytes for table in self._tables)

    def put(self, rows: Int32 | slice, fields: Int32, dense: Float32) -> None:
        """Items of these rows have these fields int32[n, f] and dense features float32[n, d].
        Of different rows it may be called at once."""
        hidden, factors, bias = self._tables
        parts = self._item.parts(fields, dense)
        half = hidden.dtype == np.float16
        hidden[rows] = halved(parts[0]) if half else parts[0]
        factors[rows] = halved(parts[1]) if half else parts[1]
        bias[rows] = parts[2]

    def score(self, fields: Int32, dense: Float32, rows: Int32, cross: Float32) -> Float32:
        """Probabilities float32[n, objectives] of rows int32[n] for the user of fields int32[f] and
        dense float32[d]; cross float32[n, x]."""
        hidden, factors, bias = self._user.parts(fields[None, :], dense[None, :])
        return self._kernel.score(
            hidden[0],
            factors[0],
            float(bias[0]),
            rows,
            np.ascontiguousarray(cross, np.float32),
        )


def _reaching(weights: Weights) -> Weights:
    """Without the hidden units that no output hears of: the same function for less.

    None of them is heard where learning kept the order that it began with, which is the linear
    part's alone.
    """
    third = np.flatnonzero(weights["w_out"].any(axis=0))
    second = np.flatnonzero(weights["w3"][:, third].any(axis=1))
    first = np.flatnonzero(weights["w2"][:, second].any(axis=1))
    return {
        **weights,
        **{name: weights[name][:, first] for name in ("w1_user", "w1_item", "w1_cross")},
        "b1": weights["b1"][first],
        "w2": weights["w2"][np.ix_(first, second)],
        "b2": weights["b2"][second],
        "w3": weights["w3"][np.ix_(second, third)],
        "b3": weights["b3"][third],
        "w_out": weights["w_out"][:, third],
    }


class _Side:
    """What one side (user or item) adds to the model's sums, from its fields."""

    def __init__(self, weights: Weights, side: str, sizes: list[int], b1: Float32) -> None:
        self._offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
        arrays = {
            "embedding": f"{side}_embedding",
            "linear": f"{side}_linear",
            "dense_linear": f"{side}_dense_linear",
            "w1": f"w1_{side}",
        }
        floats = {
            own: np.ascontiguousarray(weights[name], np.float32) for own, name in arrays.items()
        }
        self._kernel = DeepFMSide(**floats, b1=b1, fields=len(sizes))

    def parts(self, fields: Int32, dense: Float32) -> tuple[Float32, Float32, Float32]:
        """hidden float32[n, h1], factors float32[n, e] and bias float32[n] of n users or items."""
        return self._kernel.parts(fields + self._offsets, dense)
