"""DeepFM in process (Guo et al., IJCAI 2017), split into a user's part and a table of items' parts.

The FM term over all fields is ``(|s|^2 - sum |v|^2) / 2`` with ``s`` the sum of the field
embeddings; with ``s = s_u + s_i`` it falls apart into a term of the user, one of the item and
``s_u . s_i``. Likewise the first layer's product is a user's row plus an item's row. The items'
parts are computed once a bundle, the user's once a request: the same function, exact in float32.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tamis_kernels import DeepFM
from tamis_server.bundles import features
from tamis_server.bundles import manifest as fmt
from tamis_server.bundles.loader import Arrays, Bundle
from tamis_server.domain.candidates import Candidates, Rows, Scores
from tamis_server.domain.context import RequestContext
from tamis_server.domain.errors import BundleRejected

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
_LAYERS = ("w1_cross", "cross_linear", "w2", "b2", "w3", "b3", "w_out", "wide", "bias")
_CHUNK = 16_384  # items at a time, so that the table's build needs little beside the table


class NativeDeepFM:
    """Scores the candidates of one user by the kernel: the mean of the objectives' probabilities.

    weights: of the mean, by objective; empty: those of the bundle.
    """

    def __init__(self, bundle: Bundle, weights: Mapping[str, float]) -> None:
        _check(bundle)
        schema, arrays = bundle.manifest.features, bundle.ranker
        self.shares = _shares(bundle, weights)
        self._bundle = bundle
        self._item_fields = bundle.item_fields
        self._most_popular = float(bundle.popularity.max(initial=0.0))
        self.log_popularity = features.log_popularity(bundle.popularity)
        self._user = _Side(arrays, "user", [field.size for field in schema.user_fields])
        self._item = _Side(arrays, "item", [field.size for field in schema.item_fields])
        shapes = ((arrays["b1"].shape[0],), (arrays["item_embedding"].shape[1],), ())
        self._tables = tuple(np.zeros((bundle.rows, *shape), np.float32) for shape in shapes)
        for start in range(0, bundle.manifest.items, _CHUNK):
            end = min(start + _CHUNK, bundle.manifest.items)
            self._fill(np.arange(start, end, dtype=np.int32))
        self._b1 = arrays["b1"].astype(np.float32)
        self._no_query = np.zeros(bundle.manifest.dim, np.float32)
        self._kernel = DeepFM(
            *self._tables,
            *(np.ascontiguousarray(arrays[name], np.float32) for name in _LAYERS),
        )

    def refresh(self, rows: Rows) -> None:
        """The bundle's tables say something new of these items."""
        popularity = self._bundle.popularity[rows]
        self.log_popularity[rows] = features.log_popularity(popularity, self._most_popular)
        self._fill(rows)

    def _fill(self, rows: Rows) -> None:
        bundle = self._bundle
        dense = np.concatenate([bundle.item_dense[rows], bundle.vectors[rows]], axis=1)
        parts = self._item.parts(bundle.item_fields[rows], dense)
        for table, part in zip(self._tables, parts, strict=True):
            table[rows] = part

    async def score(self, ctx: RequestContext, candidates: Candidates) -> Scores:
        history = ctx.history
        fields, dense = features.user_features(
            history.rows,
            history.times,
            history.kinds,
            ctx.now,
            self._item_fields,
            self.log_popularity,
        )
        query = self._no_query if ctx.query is None else ctx.query
        hidden, factors, bias = self._user.parts(
            fields[None, :], np.concatenate([dense, query])[None, :]
        )
        probabilities = self._kernel.score(
            hidden[0] + self._b1,
            factors[0],
            float(bias[0]),
            candidates.rows,
            np.ascontiguousarray(candidates.columns["cross"], np.float32),
        )
        return probabilities @ self.shares


class _Side:
    """What one side (user or item) adds to the model's sums."""

    def __init__(self, weights: Arrays, side: str, sizes: list[int]) -> None:
        self._offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        self._embedding: Float32 = weights[f"{side}_embedding"].astype(np.float32)
        self._linear: Float32 = weights[f"{side}_linear"].astype(np.float32)
        self._dense_linear: Float32 = weights[f"{side}_dense_linear"].astype(np.float32)
        self._w1: Float32 = weights[f"w1_{side}"].astype(np.float32)

    def parts(self, fields: Int32, dense: Float32) -> tuple[Float32, Float32, Float32]:
        """hidden float32[n, h1], factors float32[n, e] and bias float32[n] of n users or items."""
        slots = fields + self._offsets
        embedded = self._embedding[slots]  # [n, fields, e]
        factors = embedded.sum(axis=1)
        squares = np.square(embedded).sum(axis=(1, 2))
        bias = (np.square(factors).sum(axis=1) - squares) / np.float32(2)
        bias += self._linear[slots].sum(axis=1) + dense @ self._dense_linear
        flat = embedded.reshape(embedded.shape[0], -1)
        return np.concatenate([flat, dense], axis=1) @ self._w1, factors, bias


def _shares(bundle: Bundle, weights: Mapping[str, float]) -> Float32:
    """float32[objectives], of sum 1."""
    objectives = {objective.name: objective.weight for objective in bundle.manifest.objectives}
    unknown = set(weights) - set(objectives)
    if unknown:
        raise BundleRejected(
            fmt.MANIFEST,
            f"has no objective {', '.join(sorted(unknown))}, which the setting ranking.objectives "
            f"names; it has {', '.join(objectives)}",
        )
    wanted = weights or objectives
    shares = np.array([wanted.get(name, 0.0) for name in objectives], np.float32)
    if not shares.sum() > 0:
        raise BundleRejected(fmt.MANIFEST, "objectives: all have weight 0")
    found: Float32 = shares / shares.sum()
    return found


def _check(bundle: Bundle) -> None:
    schema, weights = bundle.manifest.features, bundle.ranker
    e, h1 = weights["user_embedding"].shape[1], weights["b1"].shape[0]
    h2, h3 = weights["b2"].shape[0], weights["b3"].shape[0]
    heads = len(bundle.manifest.objectives)
    users = sum(field.size for field in schema.user_fields)
    items = sum(field.size for field in schema.item_fields)
    user_dense = len(schema.user_dense) + bundle.manifest.dim
    item_dense = len(schema.item_dense) + bundle.manifest.dim
    for name, shape in {
        "user_embedding": (users, e),
        "user_linear": (users,),
        "item_embedding": (items, e),
        "item_linear": (items,),
        "user_dense_linear": (user_dense,),
        "item_dense_linear": (item_dense,),
        "cross_linear": (len(schema.cross),),
        "w1_user": (len(schema.user_fields) * e + user_dense, h1),
        "w1_item": (len(schema.item_fields) * e + item_dense, h1),
        "w1_cross": (len(schema.cross), h1),
        "w2": (h1, h2),
        "w3": (h2, h3),
        "w_out": (heads, h3),
        "wide": (heads,),
        "bias": (heads,),
    }.items():
        if weights[name].shape != shape:
            raise BundleRejected(fmt.RANKER, f"{name} is {weights[name].shape} where {shape} fits")
    if schema.user_fields != features.user_field_specs(schema.item_fields):
        raise BundleRejected(
            fmt.MANIFEST, "features.user_fields are not those this server computes"
        )
    for field, known in (
        ("user_dense", features.USER_DENSE),
        ("item_dense", features.ITEM_DENSE),
        ("cross", features.CROSS),
    ):
        if getattr(schema, field) != known:
            raise BundleRejected(
                fmt.MANIFEST, f"features.{field} are not those this server computes: {known}"
            )
