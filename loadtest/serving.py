"""Servers under load, each a process of its own (with its workers, where it has any)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
QUIET = ("server.access_log=false", "bundle.watch_s=0")
_LAST_LINES = 20


@dataclass(frozen=True, slots=True)
class Server:
    """A server and what it takes of the machine, workers included."""

    target: str
    pid: int

    def processes(self) -> list[int]:
        """Its own id and those of its descendants."""
        found, new = [], [self.pid]
        while new:
            found += new
            new = [child for pid in new for child in _children(pid)]
        return found

    def cpu_seconds(self) -> float:
        spent = 0
        for pid in self.processes():
            with suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                spent += int(fields[11]) + int(fields[12])
        return spent / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        """Resident memory of all of them; pages that they share count for each."""
        return self._memory_mb("Rss")

    def pss_mb(self) -> float:
        """Resident memory of all of them; pages that they share count once."""
        return self._memory_mb("Pss")

    def anonymous_mb(self) -> float:
        """``pss_mb`` without pages of files, which the system takes back when it needs them: those
        of the embedded store grow with what it keeps."""
        return self._memory_mb("Pss_Anon") + self._memory_mb("Pss_Shmem")

    def _memory_mb(self, field: str) -> float:
        total = 0
        for pid in self.processes():
            with suppress(OSError):  # it is gone
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                found = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
                if found is None:
                    raise RuntimeError(f"/proc/{pid}/smaps_rollup: no {field} (Linux 5.3 has it)")
                total += int(found[1])
        return total / 1024

    def descriptors(self) -> int:
        total = 0
        for pid in self.processes():
            with suppress(OSError):
                total += len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return total


def _children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@contextmanager
def server(*command: str) -> Iterator[Server]:
    """A Python program that says on standard error on which port it serves, until the end of the
    block. Raises RuntimeError with its last words where it doesn't come up."""
    process = subprocess.Popen(
        [sys.executable, *command], stderr=subprocess.PIPE, text=True, cwd=HERE
    )
    assert process.stderr is not None
    said: deque[str] = deque(maxlen=_LAST_LINES)
    reader: threading.Thread | None = None
    try:
        for line in process.stderr:
            said.append(line)
            match = re.search(r'"port": (\d+)', line)
            if match:
                break
        else:
            raise RuntimeError(f"{' '.join(command)} did not start:\n{''.join(said)}")
        # what it says later must be read, or it would wait for a reader
        reader = threading.Thread(target=said.extend, args=(process.stderr,), daemon=True)
        reader.start()
        yield Server(f"127.0.0.1:{match[1]}", process.pid)
    finally:
        process.terminate()
        process.wait(timeout=60)
        if reader is not None:
            reader.join(timeout=60)
        process.stderr.close()


@contextmanager
def served(bundle: Path, *settings: str) -> Iterator[Server]:
    """``tamis serve`` of a bundle with an empty store; settings: section.key=value."""
    with TemporaryDirectory() as state:
        chosen = [f"state.url=lmdb://{state}", *QUIET, *settings]
        arguments = [part for setting in chosen for part in ("--set", setting)]
        command = ("-m", "tamis_server", "serve", "--bundle", str(bundle.absolute()))
        with server(*command, "--listen", "127.0.0.1:0", *arguments) as under:
            yield under
