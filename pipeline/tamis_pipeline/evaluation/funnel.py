"""The whole funnel, asked as a client asks it: a real server over gRPC."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections import defaultdict
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
from tamis_pipeline.dataset import HeldOut
from tamis_pipeline.evaluation.protocols import Question, given_candidates
from tamis_pipeline.progress import Progress

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_PREFIX = "CANDIDATE_SOURCE_"


@dataclass(frozen=True, slots=True)
class Answers:
    """pages int32[asked, page]: what was recommended, -1 padded; ranked int32[asked, depth]: what
    a page of depth holds, nearly all that was ranked; sources: which of ``ranked`` each candidate
    source had found, bool[asked, depth]; stages: means over the requests for pages; degraded: how
    many pages were not of full quality."""

    pages: Int32
    ranked: Int32
    sources: Mapping[str, Mask]
    stages: Sequence[Mapping[str, Any]]
    degraded: int


class Client:
    """Asks a server of ``bundle``; user_ids and item_ids by number, as the data set has them;
    trade_off: its ``reranking.trade_off``, None: its default."""

    def __init__(
        self,
        bundle: Path,
        user_ids: Sequence[str],
        item_ids: Sequence[str],
        progress: Progress,
        trade_off: float | None = None,
    ) -> None:
        self._bundle = bundle
        self._trade_off = trade_off
        self._user_ids = user_ids
        self._item_ids = item_ids
        self._row_of = {item_id: row for row, item_id in enumerate(item_ids)}
        self._progress = progress

    def ask(self, asked: Sequence[Question], page: int, depth: int) -> Answers:
        """Twice about each question, at its time: for a page as shops show it, and for one so long
        that it tells what was retrieved."""
        pages = np.full((len(asked), page), -1, np.int32)
        ranked = np.full((len(asked), depth), -1, np.int32)
        sources: dict[str, Mask] = defaultdict(lambda: np.zeros(ranked.shape, np.bool_))
        traces, degraded = [], 0
        with self._connected(len(asked)) as (client, advance):
            for number, question in enumerate(asked):
                user_id = self._user_ids[question.user]
                context = pb.Context(time=_timestamp(question.time))
                shown = client.recommend(
                    user_id=user_id, context=context, page_size=page, trace=True
                )
                pages[number, : len(shown.items)] = self._rows(shown)
                traces.append(shown.trace)
                degraded += shown.degradation.level != pb.DEGRADATION_LEVEL_FULL
                long = client.recommend(user_id=user_id, context=context, page_size=depth)
                ranked[number, : len(long.items)] = self._rows(long)
                for place, item in enumerate(long.items):
                    for source in item.sources:
                        sources[_name(source)][number, place] = True
                advance()
        return Answers(pages, ranked, dict(sorted(sources.items())), stages(traces), degraded)

    def places(self, held_out: HeldOut, times: Sequence[float]) -> Int64:
        """int64[n]: the place of each held-out item, all but it and its negatives being excluded;
        after all of them where it is not in the answer."""
        candidates = given_candidates(held_out)
        found = np.full(candidates.shape[0], candidates.shape[1], np.int64)
        with self._connected(found.shape[0]) as (client, advance):
            for number, own in enumerate(candidates):
                kept = set(own.tolist())
                others = [each for row, each in enumerate(self._item_ids) if row not in kept]
                answer = client.recommend(
                    user_id=self._user_ids[held_out.users[number]],
                    context=pb.Context(time=_timestamp(times[number])),
                    page_size=candidates.shape[1],
                    excluded_item_ids=others,
                )
                rows = self._rows(answer)
                if own[0] in rows:
                    found[number] = rows.index(own[0])
                advance()
        return found

    def _rows(self, answer: pb.RecommendResponse) -> list[int]:
        return [self._row_of[item.item_id] for item in answer.items]

    @contextmanager
    def _connected(self, requests: int) -> Iterator[tuple[TamisClient, Callable[[], None]]]:
        with (
            self._progress.count("requests", requests) as advance,
            server(self._bundle, self._trade_off) as target,
            TamisClient(target, timeout_s=30.0) as client,
        ):
            yield client, advance


def stages(traces: Sequence[pb.Trace]) -> list[dict[str, Any]]:
    """Of each stage, in order: mean candidates in and out, and counts by name. Times are left out:
    the same seed makes the same report."""
    sums: dict[str, dict[str, float]] = {}
    for trace in traces:
        for stage in trace.stages:
            total = sums.setdefault(stage.stage, defaultdict(float))
            total["in"] += stage.candidates_in
            total["out"] += stage.candidates_out
            for name, count in sorted(stage.counts.items()):  # a map of protobuf has no order
                total[f"count {name}"] += count
    return [
        {"stage": name, **{key: value / len(traces) for key, value in total.items()}}
        for name, total in sums.items()
    ]


def _timestamp(seconds: float) -> Timestamp:
    time = Timestamp()
    time.FromNanoseconds(int(seconds * 1e9))
    return time


def _name(source: pb.CandidateSource.ValueType) -> str:
    return pb.CandidateSource.Name(source).removeprefix(_PREFIX).lower()


@contextmanager
def server(bundle: Path, trade_off: float | None = None) -> Iterator[str]:
    """A Tamis server of its own on a free port, that remembers nothing. Yields host:port."""
    command = [sys.executable, "-m", "tamis_server", "serve", "--bundle", str(bundle)]
    command += ["--listen", "127.0.0.1:0", "--set", "server.access_log=false"]
    # quality is measured, not speed: on a busy machine no source shall be given up
    command += ["--set", "retrieval.source_timeout_s=30", "--set", "ranking.timeout_s=30"]
    # nor shall fewer candidates be ranked, or a question be refused
    command += ["--set", "protection.target_s=30", "--set", "protection.wait_s=30"]
    if trade_off is not None:
        command += ["--set", f"reranking.trade_off={trade_off}"]
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
