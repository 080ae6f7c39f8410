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
from tamis_pipeline.evaluation.protocols import Question

Int32 = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
_PREFIX = "CANDIDATE_SOURCE_"


@dataclass(frozen=True, slots=True)
class Answers:
    """pages int32[asked, page]: what was recommended, -1 padded; ranked int32[asked, depth]: what
    a page of depth holds, nearly all that was ranked; sources: which of ``ranked`` each candidate
    source had found, bool[asked, depth]; stages: means over the requests for pages."""

    pages: Int32
    ranked: Int32
    sources: Mapping[str, Mask]
    stages: Sequence[Mapping[str, Any]]


def ask(
    bundle: Path,
    asked: Sequence[Question],
    user_ids: Sequence[str],
    item_ids: Sequence[str],
    page: int,
    depth: int,
    advance: Callable[[], None],
) -> Answers:
    """Ask a server of ``bundle`` twice about each question, at its time: for a page as shops show
    it, and for one so long that it tells what was retrieved."""
    row_of = {item_id: row for row, item_id in enumerate(item_ids)}
    pages = np.full((len(asked), page), -1, np.int32)
    ranked = np.full((len(asked), depth), -1, np.int32)
    sources: dict[str, Mask] = defaultdict(lambda: np.zeros(ranked.shape, np.bool_))
    traces = []
    with server(bundle) as target, TamisClient(target, timeout_s=10.0) as client:
        for number, question in enumerate(asked):
            time = Timestamp()
            time.FromNanoseconds(int(question.time * 1e9))
            context = pb.Context(time=time)
            user_id = user_ids[question.user]
            shown = client.recommend(user_id=user_id, page_size=page, context=context, trace=True)
            rows = [row_of[item.item_id] for item in shown.items]
            pages[number, : len(rows)] = rows
            traces.append(shown.trace)
            long = client.recommend(user_id=user_id, page_size=depth, context=context)
            for place, item in enumerate(long.items):
                ranked[number, place] = row_of[item.item_id]
                for source in item.sources:
                    name = pb.CandidateSource.Name(source).removeprefix(_PREFIX).lower()
                    sources[name][number, place] = True
            advance()
    return Answers(pages, ranked, dict(sorted(sources.items())), stages(traces))


def stages(traces: Sequence[pb.Trace]) -> list[dict[str, Any]]:
    """Of each stage, in order: mean candidates in and out, and counts by name. Times are left out:
    the same seed makes the same report."""
    sums: dict[str, dict[str, float]] = {}
    for trace in traces:
        for stage in trace.stages:
            total = sums.setdefault(stage.stage, defaultdict(float))
            total["in"] += stage.candidates_in
            total["out"] += stage.candidates_out
            for name, count in stage.counts.items():
                total[f"count {name}"] += count
    return [
        {"stage": name, **{key: value / len(traces) for key, value in total.items()}}
        for name, total in sums.items()
    ]


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
