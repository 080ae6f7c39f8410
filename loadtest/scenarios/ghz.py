"""ghz against every RPC, and its JSON in our format. Needs ``make tools``.

Rounds go through all RPCs by turns, so that what disturbs the machine disturbs all of them. ghz
counts from when a request was sent, and does not look into answers: it tells no degradation.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scenarios import data
from scenarios.answers import OK, UNKNOWN_LEVEL, Answers, Recorder
from scenarios.report import Phase
from scenarios.rpcs import RPCS, Rpc

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / ".tools" / "bin" / "ghz"
CONFIGURATIONS = ROOT / "loadtest" / "ghz"
_TOO_LONG_S = 60.0


class NoGhz(Exception):
    """ghz is not installed, or did not run: says what to do, or what it said."""


def run(
    target: str, bundle: Path, rpcs: Sequence[Rpc], *, rounds: int, seconds: float
) -> tuple[Answers, list[Phase]]:
    """All answers of all rounds, and a phase named after its RPC for each run of ghz.
    Raises NoGhz."""
    if not PROGRAM.is_file():
        raise NoGhz("ghz is not there; make tools installs it where Go is there")
    outputs: list[tuple[Rpc, Mapping[str, Any]]] = []
    with TemporaryDirectory() as scratch:
        directory = Path(scratch)
        for number in range(rounds):
            data.write(bundle, directory, seed=number)
            outputs += [(rpc, _run(rpc, target, directory, seconds)) for rpc in rpcs]
    return converted(outputs)


def converted(outputs: Sequence[tuple[Rpc, Mapping[str, Any]]]) -> tuple[Answers, list[Phase]]:
    """What ghz printed with ``--format json``, in order of time."""
    recorder = Recorder()
    phases: list[Phase] = []
    begin: float | None = None
    for rpc, output in outputs:
        rows = list(_rows(rpc, output))
        if not rows:
            raise NoGhz(f"ghz for {rpc.name}: not one request was sent")
        # ghz dates its report when it begins, but to the second: the first request says it better
        start = min(row[0] for row in rows)
        begin = start if begin is None else begin
        for at, latency_s, name, code, level in rows:
            recorder.add(at - begin, latency_s, name, code, level)
        end = max(start + output["total"] / 1e9, max(row[0] for row in rows) + 1e-9)
        phases.append(Phase(name=rpc.name, start_s=start - begin, end_s=end - begin))
    return recorder.answers(), phases


def servable(has_clip: bool) -> list[Rpc]:
    """The RPCs that a bundle can answer: Search needs CLIP."""
    return [rpc for rpc in RPCS.values() if has_clip or rpc.name != "Search"]


def _run(rpc: Rpc, target: str, directory: Path, seconds: float) -> Mapping[str, Any]:
    command = [
        str(PROGRAM),
        "--config", str(CONFIGURATIONS / f"{rpc.snake}.json"),
        "--data-file", str(directory / f"{rpc.snake}.json"),
        "--duration", f"{seconds}s",
        "--format", "json",
        target,
    ]  # fmt: skip
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=seconds + _TOO_LONG_S,
        check=False,
    )
    if ran.returncode:
        raise NoGhz(f"ghz for {rpc.name}: {ran.stderr.strip() or ran.stdout.strip()[:500]}")
    output: Mapping[str, Any] = json.loads(ran.stdout)
    return output


def _rows(rpc: Rpc, output: Mapping[str, Any]) -> Iterator[tuple[float, float, str, str, int]]:
    """Unix time when it was sent, latency, RPC, code, level. ghz notes when a request ended."""
    for detail in output["details"] or ():
        latency_s = detail["latency"] / 1e9
        sent = datetime.fromisoformat(detail["timestamp"]).timestamp() - latency_s
        yield sent, latency_s, rpc.name, _code(detail["status"]), UNKNOWN_LEVEL


def _code(status: str) -> str:
    """grpc-go's spelling of a status (DeadlineExceeded) in that of the others."""
    return OK if status == OK else re.sub(r"(?<!^)(?=[A-Z])", "_", status).upper()
