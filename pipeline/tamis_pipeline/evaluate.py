"""Evaluation on the held-out last part: the whole funnel through gRPC, beside simple baselines."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt
from google.protobuf.timestamp_pb2 import Timestamp

from tamis.v1 import recommend_service_pb2 as pb
from tamis_client import TamisClient
from tamis_pipeline import deepfm
from tamis_pipeline.config import PipelineConfig
from tamis_pipeline.dataset import Interactions
from tamis_pipeline.preparation import Prepared
from tamis_pipeline.progress import Progress
from tamis_pipeline.ranking import feature_schema, item_tables
from tamis_pipeline.split import Split, by_user
from tamis_pipeline.twotower import Towers
from tamis_server.bundles.features import is_positive
from tamis_server.bundles.neighbours import Neighbours
from tamis_server.bundles.query_tower import clock, encode

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
DEPTH = 100  # how deep the lists go that are judged


def measure(
    bundle: Path,
    prepared: Prepared,
    towers: Towers,
    neighbours: Neighbours,
    ranker: tuple[dict[str, Float32], float],
    config: PipelineConfig,
    progress: Progress,
) -> dict[str, Any]:
    """What goes into evaluation.json."""
    data, parts, popularity = prepared.data, prepared.parts, prepared.popularity
    asked = questions(parts)
    available = data.items.column("available").to_numpy(zero_copy_only=False).astype(np.bool_)
    lists = baselines(asked, parts.train, popularity, towers, available)
    with progress.count("requests", len(asked)) as advance:
        item_ids = data.items.column("item_id").to_pylist()
        funnel = through_grpc(bundle, asked, data.user_ids, item_ids, advance)
    results = table(asked, {"whole funnel": funnel, **lists}, data.items.num_rows)
    tables = item_tables(prepared, towers, neighbours)
    held_out = deepfm.exposures(
        parts.train,
        _first_positives(parts.test),
        tables,
        towers,
        popularity,
        config.ranking.deepfm,
        np.random.default_rng(config.seed + 1),
    )
    auc = deepfm.auc_of(ranker[0], held_out, tables, feature_schema(prepared.fields))
    progress.note("\n" + markdown(results) + f"\n\nAUC of the ranker: {auc:.4f}")
    return {
        "split": config.split.model_dump(),
        "users": len(asked),
        "users_left_out": left_out(parts),
        "methods": results,
        "ranker": {
            "AUC": auc,
            "requests": int(held_out.items.shape[0]),
            "validation AUC": ranker[1],
        },
        "left_out": dict(data.problems),
    }


def _first_positives(events: Interactions) -> Interactions:
    """Each user's first held-out positive: the one whose past is all in the training part."""
    positive = events.take(is_positive(events.kinds))
    return positive.take(np.array([own[0] for own in by_user(positive) if own.shape[0]], np.intp))


@dataclass(frozen=True, slots=True)
class Question:
    """One user of the test part: what is known, what came, and when it was asked."""

    user: int
    relevant: Int32
    history: Int32
    kinds: npt.NDArray[np.uint8]
    time: float


def questions(split: Split) -> list[Question]:
    """Users with at least one held-out positive that they had not met in training."""
    users = int(max(split.train.users.max(initial=0), split.test.users.max(initial=0))) + 1
    past, future = by_user(split.train, users), by_user(split.test, users)
    asked = []
    for user, (before, after) in enumerate(zip(past, future, strict=True)):
        rows = split.test.items[after][is_positive(split.test.kinds[after])]
        relevant = np.setdiff1d(rows, split.train.items[before]).astype(np.int32)
        if relevant.shape[0] and before.shape[0]:
            asked.append(
                Question(
                    user,
                    relevant,
                    split.train.items[before],
                    split.train.kinds[before],
                    float(split.test.times[after[0]]),
                )
            )
    return asked


def left_out(split: Split) -> dict[str, int]:
    """How many users of the test part are not asked about, by the reason."""
    counts = {"no past": 0, "nothing new": 0}
    known = set(split.train.users.tolist())
    asked = {question.user for question in questions(split)}
    for user in set(split.test.users.tolist()) - asked:
        counts["nothing new" if user in known else "no past"] += 1
    return counts


def table(
    asked: Sequence[Question],
    lists: Mapping[str, Sequence[Sequence[int]]],
    items: int,
) -> dict[str, dict[str, float]]:
    """Recall@100, Recall@20, NDCG@20, HR@10 and coverage of each method's ranked lists."""
    return {name: _metrics(asked, ranked, items) for name, ranked in lists.items()}


def baselines(
    asked: Sequence[Question],
    train: Interactions,
    popularity: Float32,
    towers: Towers,
    available: npt.NDArray[np.bool_],
) -> dict[str, list[list[int]]]:
    """The best DEPTH unseen available items by popularity, item-kNN and the two-tower alone."""
    items = popularity.shape[0]
    matrix = np.zeros((int(train.users.max()) + 1, items), np.float32)
    positive = is_positive(train.kinds)
    matrix[train.users[positive], train.items[positive]] = 1.0
    scaled = matrix / np.maximum(np.linalg.norm(matrix, axis=0), 1e-9)
    users = np.array([question.user for question in asked])
    # a user's row times the item-item cosines, without making the item-item matrix
    neighbours = (matrix[users] @ scaled.T) @ scaled
    queries = np.concatenate([_query(towers, question) for question in asked])
    return {
        "popularity": _best(asked, np.tile(popularity, (len(asked), 1)), available),
        "item-kNN": _best(asked, neighbours, available),
        "two-tower alone": _best(asked, queries @ towers.vectors.T, available),
    }


def through_grpc(
    bundle: Path,
    asked: Sequence[Question],
    user_ids: Sequence[str],
    item_ids: Sequence[str],
    advance: Callable[[], None],
) -> list[list[int]]:
    """What a real server recommends to each user, DEPTH items, at the time of the question."""
    row_of = {item_id: row for row, item_id in enumerate(item_ids)}
    found = []
    with server(bundle) as target, TamisClient(target, timeout_s=10.0) as client:
        for question in asked:
            time = Timestamp()
            time.FromNanoseconds(int(question.time * 1e9))
            response = client.recommend(
                user_id=user_ids[question.user],
                page_size=DEPTH,
                context=pb.Context(time=time),
            )
            found.append([row_of[item.item_id] for item in response.items])
            advance()
    return found


@contextmanager
def server(bundle: Path) -> Iterator[str]:
    """A Tamis server of its own on a free port, that remembers nothing. Yields host:port."""
    command = [sys.executable, "-m", "tamis_server", "serve", "--bundle", str(bundle)]
    command += ["--listen", "127.0.0.1:0", "--set", "server.access_log=false"]
    with (
        TemporaryDirectory() as state,
        subprocess.Popen(  # noqa: S603 ours
            [*command, "--set", f"state.url=lmdb://{state}"], stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        stderr = cast("IO[str]", process.stderr)
        try:
            port = _port(stderr)
            drain = threading.Thread(target=stderr.read)  # a full pipe would stop the server
            drain.start()
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
        drain.join()


def _port(log: IO[str]) -> int:
    lines = []
    for line in log:
        lines.append(line)
        match = re.search(r'"port": (\d+)', line)
        if match:
            return int(match[1])
    raise RuntimeError("the server did not start:\n" + "".join(lines))


def markdown(results: Mapping[str, Mapping[str, float]]) -> str:
    """The table for people."""
    columns = list(next(iter(results.values())))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in results.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[column]:.4f}" for column in columns) + " |")
    return "\n".join(lines)


def _metrics(
    asked: Sequence[Question], ranked: Sequence[Sequence[int]], items: int
) -> dict[str, float]:
    sums = dict.fromkeys(("Recall@100", "Recall@20", "NDCG@20", "HR@10"), 0.0)
    shown: set[int] = set()
    discount = 1.0 / np.log2(np.arange(2, 22))
    for question, rows in zip(asked, ranked, strict=True):
        hits = np.isin(np.array(rows[:DEPTH], np.int64), question.relevant)
        relevant = question.relevant.shape[0]
        sums["Recall@100"] += hits.sum() / relevant
        sums["Recall@20"] += hits[:20].sum() / relevant
        top = hits[:20]
        sums["NDCG@20"] += (top * discount[: top.shape[0]]).sum() / discount[
            : min(relevant, 20)
        ].sum()
        sums["HR@10"] += float(hits[:10].any())
        shown.update(rows[:20])
    means = {name: float(total) / len(asked) for name, total in sums.items()}
    return {**means, "coverage@20": len(shown) / items}


def _best(
    asked: Sequence[Question], scores: Float32, available: npt.NDArray[np.bool_]
) -> list[list[int]]:
    lists = []
    for question, row in zip(asked, scores, strict=True):
        left = np.where(available, row, -np.inf)
        left[question.history] = -np.inf
        order = np.argsort(-left, kind="stable")[:DEPTH]
        lists.append(order[np.isfinite(left[order])].tolist())
    return lists


def _query(towers: Towers, question: Question) -> Float32:
    length = towers.encoder["recency_bias"].shape[0]
    rows = np.full((1, length), -1, np.int32)
    kinds = np.zeros((1, length), np.uint8)
    count = min(length, question.history.shape[0])
    rows[0, :count] = question.history[::-1][:count]
    kinds[0, :count] = question.kinds[::-1][:count]
    return encode(towers.encoder, rows, kinds, clock(np.array([question.time])))
