"""What became of each request of a run, as columns: written while it runs, read afterwards."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message

from tamis.v1 import recommend_service_pb2 as pb

OK = "OK"
UNKNOWN_LEVEL = 0  # the RPC or the tool does not tell
LEVELS = {
    number: name.removeprefix("DEGRADATION_LEVEL_").lower()
    for name, number in pb.DegradationLevel.items()
    if number
}


def level_of(response: Message) -> int:
    """The DegradationLevel of an answer, of a batch the worst; 0 where answers have none."""
    if isinstance(response, pb.BatchRecommendResponse):
        return max((level_of(each.response) for each in response.results), default=UNKNOWN_LEVEL)
    if isinstance(response, pb.RecommendResponse | pb.RelatedItemsResponse | pb.SearchResponse):
        return response.degradation.level
    return UNKNOWN_LEVEL


@dataclass(frozen=True)
class Answers:
    """Columns of equal length, in order of ``at_s``.

    at_s: float64, seconds since the run began when a request was due (open loop) or sent;
    latency_s: float64, from then to the answer or the failure; rpc, code: names (of the gRPC
    status, OK where it went well); level: int64, DegradationLevel, 0 where it is not told.
    began_s: when that was by ``perf_counter``, which is one clock for all processes of a machine;
    0 where the tool does not tell.
    """

    at_s: npt.NDArray[np.float64]
    latency_s: npt.NDArray[np.float64]
    rpc: npt.NDArray[np.str_]
    code: npt.NDArray[np.str_]
    level: npt.NDArray[np.int64]
    began_s: float = 0.0

    def __len__(self) -> int:
        return int(self.at_s.shape[0])

    def where(self, chosen: npt.NDArray[np.bool_]) -> Answers:
        return Answers(
            self.at_s[chosen],
            self.latency_s[chosen],
            self.rpc[chosen],
            self.code[chosen],
            self.level[chosen],
            self.began_s,
        )

    def between(self, start_s: float, end_s: float) -> Answers:
        return self.where((self.at_s >= start_s) & (self.at_s < end_s))

    @property
    def good(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.code == OK)

    def write(self, path: Path) -> None:
        """As .npz, whole or not at all."""
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez_compressed(
                file,
                at_s=self.at_s,
                latency_s=self.latency_s,
                rpc=self.rpc,
                code=self.code,
                level=self.level,
                began_s=self.began_s,
            )
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)

    @classmethod
    def read(cls, path: Path) -> Self:
        with np.load(path, allow_pickle=False) as columns:
            began_s = float(columns["began_s"])
            names = [name for name in cls.__dataclass_fields__ if name != "began_s"]
            return cls(**{name: columns[name] for name in names}, began_s=began_s)


class Recorder:
    """Gathers answers, in any order; ``began_s`` as of Answers."""

    def __init__(self, began_s: float = 0.0) -> None:
        self._began_s = began_s
        self._rows: list[tuple[float, float, str, str, int]] = []

    def add(self, at_s: float, latency_s: float, rpc: str, code: str, level: int) -> None:
        self._rows.append((at_s, latency_s, rpc, code, level))

    def answers(self) -> Answers:
        rows = sorted(self._rows)
        at_s, latency_s, rpc, code, level = zip(*rows, strict=True) if rows else ((),) * 5
        return Answers(
            np.array(at_s, np.float64),
            np.array(latency_s, np.float64),
            np.array(rpc, np.str_),
            np.array(code, np.str_),
            np.array(level, np.int64),
            self._began_s,
        )
