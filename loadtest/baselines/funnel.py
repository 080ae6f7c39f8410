"""The funnel as a competent engineer would first write it, with the libraries everybody knows.

The same models, features, sources, quotas and rules as Tamis with its default settings: hnswlib
finds, NumPy filters and gathers, onnxruntime ranks, MMR is a loop over NumPy. What it does not have
is what Tamis was built for: searching under a filter (it asks for twice as many and drops),
precomputed item halves of the ranker, kernels, shared or hot-swapped bundles, budgets, degradation,
a trace.

The query encoder and the features are not rewritten: they come with the model, in NumPy, and are
the same functions that it was trained with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import hnswlib
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pyarrow.parquet as pq

from baselines.users import Event
from tamis.v1 import recommend_service_pb2 as pb
from tamis_pipeline.rankers import export
from tamis_server.bundles import features, query_tower
from tamis_server.bundles import manifest as fmt
from tamis_server.bundles.neighbours import Neighbours

Rows = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

PERSONAL, RECENT, TOGETHER, POPULAR, FRESH = 300, 150, 300, 100, 50
WEIGHTS = (1.0, 0.7, 1.0, 0.3, 0.2)
SOURCES = (
    (pb.CANDIDATE_SOURCE_PERSONAL, pb.REASON_CODE_MATCHES_TASTE),
    (pb.CANDIDATE_SOURCE_RECENT, pb.REASON_CODE_SIMILAR_TO_RECENT),
    (pb.CANDIDATE_SOURCE_CO_OCCURRENCE, pb.REASON_CODE_OFTEN_TOGETHER),
    (pb.CANDIDATE_SOURCE_POPULAR, pb.REASON_CODE_POPULAR),
    (pb.CANDIDATE_SOURCE_FRESH, pb.REASON_CODE_NEW_ARRIVAL),
)
ANCHORS, DAMPING, RANKED, POOL, TRADE_OFF = 3, 60, 500, 5, 0.95
OVERSAMPLED = 2  # about half of the items pass the benchmark's filter
YEAR, FRESH_DAYS = 365 * 86_400.0, 30
MET, DECIDED = {1, 2, 3}, {4, 5, 6, 8}  # event kinds; not shown for a year, never again


class Funnel:
    """Everything that answers Recommend from one bundle, read into memory."""

    def __init__(self, directory: Path) -> None:
        manifest = fmt.read_manifest(directory)
        items = pq.read_table(directory / fmt.ITEMS)
        self.bundle_id, self._dim = manifest.bundle_id, manifest.dim
        self.ids: list[str] = items["item_id"].to_pylist()
        self._row_of = {item_id: row for row, item_id in enumerate(self.ids)}
        self._available = items["available"].to_numpy(zero_copy_only=False)
        self._columns = {
            each.name: items[each.name].to_numpy(zero_copy_only=False)
            for each in manifest.attributes
            if each.kind in {"number", "boolean"}
        }
        self._codes: dict[str, tuple[npt.NDArray[np.int32], dict[str, int]]] = {}
        for each in manifest.attributes:
            if each.kind == "category":
                encoded = items[each.name].combine_chunks().dictionary_encode()
                codes = encoded.indices.fill_null(-1).to_numpy().astype(np.int32)
                values = encoded.dictionary.to_pylist()
                self._codes[each.name] = codes, {value: code for code, value in enumerate(values)}
        self._vectors = np.load(directory / fmt.VECTORS)
        self._index = hnswlib.Index(space="ip", dim=self._dim)
        self._index.load_index(str(directory / fmt.INDEX.hnsw))
        self._index.set_num_threads(1)
        self._index.set_ef(300)
        popularity = np.load(directory / fmt.POPULARITY)
        self._popular = np.argsort(-popularity, kind="stable").astype(np.int32)
        age = manifest.as_of - items["created_at"].to_numpy().astype(np.float64)
        young = np.flatnonzero(age <= FRESH_DAYS * 86_400)
        self._fresh = young[np.argsort(age[young], kind="stable")].astype(np.int32)
        self._log_popularity = features.log_popularity(popularity)
        with np.load(directory / fmt.FEATURES) as arrays:
            self._item_fields = arrays["item_fields"]
            self._item_dense = np.concatenate([arrays["item_dense"], self._vectors], axis=1)
        with np.load(directory / fmt.ENCODER) as arrays:
            self._encoder = {name: arrays[name] for name in fmt.ENCODER_ARRAYS}
        self._neighbours = Neighbours.none()
        if fmt.NEIGHBOURS in manifest.files:
            with np.load(directory / fmt.NEIGHBOURS) as arrays:
                self._neighbours = Neighbours(arrays["rows"], arrays["weights"])
        weights = np.array([each.weight for each in manifest.objectives], np.float32)
        self._shares = weights / weights.sum()
        with np.load(directory / fmt.RANKER) as arrays:
            model = export.deepfm({n: arrays[n] for n in fmt.RANKER_ARRAYS}, manifest.features)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._ranker = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def recommend(
        self, request: pb.RecommendRequest, events: Sequence[Event], now: float
    ) -> list[pb.RecommendedItem]:
        """The items of the answer; ``events``: the user's, oldest first."""
        rows = np.array([self._row_of[event.item_id] for event in events], np.int32)
        times = np.array([event.time for event in events])
        kinds = np.array([event.kind for event in events], np.uint8)
        query = self._query(rows, kinds, now)
        lists = self._retrieve(query, rows[features.is_positive(kinds)])
        dropped = {
            row
            for row, time, kind in zip(rows.tolist(), times.tolist(), kinds.tolist(), strict=True)
            if kind in DECIDED or (kind in MET and time >= now - YEAR)
        }
        dropped |= {self._row_of.get(item_id, -1) for item_id in request.excluded_item_ids}
        candidates, found_by = self._merge(
            [
                self._kept(found, request.predicates, dropped)[:quota]
                for found, quota in zip(
                    lists, (PERSONAL, RECENT, TOGETHER, POPULAR, FRESH), strict=True
                )
            ]
        )
        if not candidates.size:
            return []
        scores = self._rank(candidates, query, rows, times, kinds, now)
        chosen = self._diverse(candidates, scores, request.page_size or 20)
        return [
            pb.RecommendedItem(
                item_id=self.ids[candidates[place]],
                rank=rank,
                score=scores[place],
                sources=[SOURCES[number][0] for number in found_by[candidates[place]]],
                reasons=[SOURCES[number][1] for number in found_by[candidates[place]]],
            )
            for rank, place in enumerate(chosen, start=1)
        ]

    def _query(self, rows: Rows, kinds: npt.NDArray[np.uint8], now: float) -> Floats | None:
        if not rows.size:
            return None
        latest = slice(-1, -len(self._encoder["recency_bias"]) - 1, -1)
        # of bundles without profiles, as those of the load tests are
        clock = query_tower.clock(np.array([now]))
        query = query_tower.encode(self._encoder, rows[None, latest], kinds[None, latest], clock)
        return query[0] if query[0].any() else None

    def _retrieve(self, query: Floats | None, liked: Rows) -> list[Rows]:
        """Each source's rows, best first, more than its quota: filters come afterwards."""
        nothing = np.empty(0, np.int32)
        personal, recent, together = nothing, nothing, nothing
        if query is not None:
            personal = self._nearest(query[None, :], OVERSAMPLED * PERSONAL)[0][0]
        anchors = list(dict.fromkeys(liked[::-1].tolist()))[:ANCHORS]
        if anchors:
            each = OVERSAMPLED * (RECENT // len(anchors) + 1)
            rows, distances = self._nearest(self._vectors[anchors], each)
            order = np.argsort(distances, axis=None, kind="stable")
            near = rows.ravel()[order].tolist()
            recent = np.array([r for r in dict.fromkeys(near) if r not in anchors], np.int32)
        if liked.size:
            rows, weights = self._neighbours.around(liked)
            together = rows[np.argsort(-weights, kind="stable")]
        return [
            personal,
            recent,
            together,
            self._popular[: 2 * OVERSAMPLED * POPULAR],
            self._fresh[: 2 * OVERSAMPLED * FRESH],
        ]

    def _nearest(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        k = min(k, len(self.ids))
        self._index.set_ef(max(300, k))
        rows, distances = self._index.knn_query(queries, k)
        return rows.astype(np.int32), distances

    def _kept(self, rows: Rows, predicates: Iterable[pb.Predicate], dropped: set[int]) -> Rows:
        mask = self._available[rows]
        for predicate in predicates:
            mask = mask & self._matches(rows, predicate)
        rows = rows[mask]
        return np.array([row for row in rows.tolist() if row not in dropped], np.int32)

    def _matches(self, rows: Rows, predicate: pb.Predicate) -> npt.NDArray[np.bool_]:
        name, kind = predicate.attribute, predicate.WhichOneof("condition")
        if kind == "range":
            values = self._columns[name][rows]
            high = predicate.range.maximum if predicate.range.HasField("maximum") else np.inf
            low = predicate.range.minimum if predicate.range.HasField("minimum") else -np.inf
            return np.asarray((values >= low) & (values <= high))
        wanted = getattr(predicate, kind or "in").values
        if name in self._codes:
            codes, code_of = self._codes[name]
            found = np.isin(codes[rows], [code_of.get(value.text, -2) for value in wanted])
        else:
            found = np.isin(self._columns[name][rows], [value.boolean for value in wanted])
        return found if kind == "in" else ~found

    def _merge(self, lists: Sequence[Rows]) -> tuple[Rows, dict[int, list[int]]]:
        """Reciprocal rank fusion; who found each."""
        fused: dict[int, float] = {}
        found_by: dict[int, list[int]] = {}
        for number, (rows, weight) in enumerate(zip(lists, WEIGHTS, strict=True)):
            for rank, row in enumerate(rows.tolist(), start=1):
                fused[row] = fused.get(row, 0.0) + weight / (DAMPING + rank)
                found_by.setdefault(row, []).append(number)
        best = sorted(fused, key=lambda row: (-fused[row], row))[:RANKED]
        return np.array(best, np.int32), found_by

    def _rank(
        self,
        candidates: Rows,
        query: Floats | None,
        rows: Rows,
        times: npt.NDArray[np.float64],
        kinds: npt.NDArray[np.uint8],
        now: float,
    ) -> Floats:
        fields, dense = features.user_features(
            rows, times, kinds, now, self._item_fields, self._log_popularity
        )
        taste = np.zeros(self._dim, np.float32) if query is None else query
        cross = features.cross_features(
            self._vectors, self._neighbours, candidates, query, rows, kinds
        )
        (probabilities,) = self._ranker.run(
            None,
            {
                "user_fields": fields[None],
                "user_dense": np.concatenate([dense, taste])[None],
                "item_fields": self._item_fields[candidates][None],
                "item_dense": self._item_dense[candidates][None],
                "cross": cross[None],
            },
        )
        scores: Floats = probabilities[0] @ self._shares
        return scores

    def _diverse(self, candidates: Rows, scores: Floats, limit: int) -> list[int]:
        """Maximal marginal relevance over the best; places among the candidates."""
        best = np.argsort(-scores, kind="stable")[: POOL * limit]
        vectors = self._vectors[candidates[best]]
        low, span = scores[best].min(), np.ptp(scores[best])
        relevance = (scores[best] - low) / span if span > 0 else np.ones(best.size)
        nearest = np.zeros(best.size)
        left = np.ones(best.size, np.bool_)
        chosen: list[int] = []
        while len(chosen) < min(limit, best.size):
            value = np.where(left, TRADE_OFF * relevance - (1 - TRADE_OFF) * nearest, -np.inf)
            place = int(np.argmax(value))
            chosen.append(int(best[place]))
            left[place] = False
            similarity = vectors @ vectors[place]
            nearest = similarity if len(chosen) == 1 else np.maximum(nearest, similarity)
        return chosen
