"""DeepFM in process: ``bundles.factorised`` over the items of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from tamis_server.bundles import features
from tamis_server.bundles import manifest as fmt
from tamis_server.bundles.factorised import FactorisedDeepFM, Precision
from tamis_server.bundles.loader import Bundle
from tamis_server.domain.candidates import Candidates, Rows, Scores
from tamis_server.domain.context import RequestContext
from tamis_server.domain.errors import BundleRejected

Float32 = npt.NDArray[np.float32]
_CHUNK = 2048  # items at a time: what is made of them on the way to the table stays in the cache


class NativeDeepFM:
    """Scores the candidates of one user by the kernel: the mean of the objectives' probabilities.

    weights: of the mean, by objective; empty: those of the bundle. threads: that fill the table.
    """

    def __init__(
        self,
        bundle: Bundle,
        weights: Mapping[str, float],
        precision: Precision = "f32",
        threads: int = 1,
    ) -> None:
        _check(bundle)
        self.shares = _shares(bundle, weights)
        self._bundle = bundle
        self._item_fields = bundle.item_fields
        self._most_popular = float(bundle.popularity.max(initial=0.0))
        self.log_popularity = features.log_popularity(bundle.popularity)
        self._model = FactorisedDeepFM(
            bundle.ranker, bundle.manifest.features, bundle.rows, precision
        )
        items = bundle.manifest.items
        parts = [slice(start, min(start + _CHUNK, items)) for start in range(0, items, _CHUNK)]
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(self._fill, parts))
        self._no_query = np.zeros(bundle.manifest.dim, np.float32)
        self._no_profile = np.zeros(len(bundle.manifest.features.profile_fields), np.int32)

    def refresh(self, rows: Rows) -> None:
        """The bundle's tables say something new of these items."""
        popularity = self._bundle.popularity[rows]
        self.log_popularity[rows] = features.log_popularity(popularity, self._most_popular)
        self._fill(rows)

    def _fill(self, rows: Rows | slice) -> None:
        bundle = self._bundle
        dense = np.concatenate([bundle.item_dense[rows], bundle.vectors[rows]], axis=1)
        self._model.put(rows, bundle.item_fields[rows], dense)

    async def score(self, ctx: RequestContext, candidates: Candidates) -> Scores:
        history = ctx.history
        fields, dense = features.user_features(
            history.rows,
            history.times,
            history.kinds,
            ctx.now,
            self._item_fields,
            self.log_popularity,
            self._no_profile if ctx.profile is None else ctx.profile,
        )
        query = self._no_query if ctx.query is None else ctx.query
        probabilities = self._model.score(
            fields,
            np.concatenate([dense, query]),
            candidates.rows,
            candidates.columns["cross"],
        )
        return probabilities @ self.shares


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
    served = features.user_field_specs(schema.item_fields, schema.profile_fields)
    if schema.user_fields != served:
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
