"""``tamis pipeline score``: the best items for each user, as Parquet shards.

Candidates are found as those that the ranker learned from (``rankers.exposures``), and scored by
the bundle's DeepFM. What a server adds to that, other sources and re-ranking, is left to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis_pipeline.dataset import DatasetRejected
from tamis_pipeline.histories import histories, profiles_of
from tamis_pipeline.progress import Progress
from tamis_pipeline.rankers import training
from tamis_pipeline.rankers.deepfm import DeepFM, DeepFMConfig
from tamis_pipeline.rankers.exposures import ExposureConfig, ItemTables, offered
from tamis_pipeline.rankers.requests import standing
from tamis_pipeline.ranking import DEEPFM
from tamis_pipeline.served import Served
from tamis_pipeline.shards import Engine, write_shards
from tamis_pipeline.twotower import Towers
from tamis_server.bundles.directory import replacing

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
RESULT = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_ids", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float32())),
    ]
)
_CANDIDATES = ExposureConfig()


@dataclass(frozen=True, slots=True)
class Scored:
    """What was written: users, of whom ``without_history`` got popular items; and shards."""

    users: int
    without_history: int
    shards: int


class Scorer:
    """Users, as in users.parquet, to ``RESULT``."""

    def __init__(self, bundle: Served, k: int, time: float) -> None:
        """k: items a user, at most; time: Unix seconds at which all are asked."""
        manifest = bundle.manifest
        self._k, self._time = k, time
        self._item_ids = np.array(bundle.item_ids, dtype=np.object_)
        self._available = bundle.available
        self._tables: ItemTables = bundle.tables
        self._towers: Towers = bundle.towers
        self._items = training.item_inputs(self._tables)
        # of a configuration only dropout is looked at, when learning
        self._model = DeepFM(
            manifest.features, manifest.dim, len(manifest.objectives), DeepFMConfig()
        )
        self._params = bundle.rankers[DEEPFM]
        weights = np.array([each.weight for each in manifest.objectives], np.float32)
        self._weights = weights / weights.sum()

    def __call__(self, users: pa.Table) -> pa.Table:
        asked = standing(histories(users), profiles_of(users), self._time)
        lists = offered(asked, self._tables, self._towers, _CANDIDATES, self._available)
        logits = training.predict(self._model, self._params, self._items, lists)
        scores = (1.0 / (1.0 + np.exp(-logits)) @ self._weights).astype(np.float32)
        found, lengths, values = best(lists.items, scores, self._k)
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        ids = pa.array(self._item_ids[found], pa.string())
        return pa.table(
            [
                users.column("user_id").combine_chunks(),
                pa.ListArray.from_arrays(offsets, ids),
                pa.ListArray.from_arrays(offsets, pa.array(values, pa.float32())),
            ],
            schema=RESULT,
        )


def best(items: Int32, scores: Float32, k: int) -> tuple[Int32, npt.NDArray[np.int64], Float32]:
    """Of items int32[n, c], -1 where there is none, the k highest of scores float32[n, c], ties by
    row: their rows, one list after the other, how long each list is int64[n], and their scores."""
    sunk = np.where((items >= 0) & ~np.isnan(scores), scores, -np.inf)
    order = np.lexsort((items, -sunk), axis=1)[:, :k]
    rows, values = (np.take_along_axis(each, order, 1) for each in (items, sunk))
    there = values > -np.inf
    return rows[there], there.sum(axis=1), values[there]


def score(
    directory: Path,
    out: Path,
    k: int,
    engine: Engine,
    shards: int,
    progress: Progress,
    time: float | None = None,
    user_ids: list[str] | None = None,
) -> Scored:
    """Write ``part-00000.parquet`` … to ``out``, all or nothing, for the users of the bundle in
    ``directory``, or those of ``user_ids`` alone.

    time: Unix seconds at which all are asked; else the bundle's own, that of the last event it
    learned from. Raises BundleRejected, and DatasetRejected for users that the bundle has not.
    """
    bundle = Served.checked(directory)
    users = _chosen(bundle, user_ids)
    asked_at = bundle.manifest.as_of if time is None else time
    source = directory.absolute()
    with replacing(out) as temporary:
        parts = write_shards(users, temporary / "users", shards)

        def make() -> Callable[[Path], pa.Table]:
            scorer = Scorer(Served(source), k, asked_at)

            def work(shard: Path) -> pa.Table:
                found = scorer(pq.read_table(shard))
                pq.write_table(found, temporary / f"part-{shard.stem}.parquet", compression="zstd")
                return pa.table({"users": [found.num_rows]})

            return work

        with progress.count("scored", users.num_rows) as advance:
            for done in engine(parts, make):
                for _ in range(sum(done["users"].to_pylist())):
                    advance()
        for part in parts:
            part.unlink()
        (temporary / "users").rmdir()
    lengths = users.column("rows").combine_chunks().value_lengths().to_numpy()
    return Scored(users.num_rows, int((lengths == 0).sum()), len(parts))


def _chosen(bundle: Served, user_ids: list[str] | None) -> pa.Table:
    users = bundle.users
    if user_ids is None:
        chosen = users
    else:
        row_of = {each: row for row, each in enumerate(users.column("user_id").to_pylist())}
        unknown = [each for each in user_ids if each not in row_of]
        if unknown:
            raise DatasetRejected(
                f"users: {len(unknown)} are not in {bundle.manifest.bundle_id}, as {unknown[0]!r}"
            )
        rows = [row_of[each] for each in dict.fromkeys(user_ids)]
        chosen = users.take(pa.array(rows, pa.int64()))
    if not chosen.num_rows:
        raise DatasetRejected(f"{bundle.manifest.bundle_id}: there are no users to score for")
    return chosen
