"""Where finished stages are kept, so that a stage whose inputs are the same is not done again.

A stage is known by its fingerprint: its name, the digests of the results it works on, its settings,
its code and the libraries. A result is a directory ``STAGE-FINGERPRINT`` that is there whole or not
at all, so a run that was killed goes on where it was.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from tamis_pipeline import provenance
from tamis_pipeline.config import plain
from tamis_pipeline.packing import pack, unpack
from tamis_pipeline.progress import Progress
from tamis_server.bundles.directory import replacing
from tamis_server.domain.errors import FailureCategory, TamisError

T = TypeVar("T")
_RECORD, _RESULT = "stage.json", "result"


class WorkspaceBusy(TamisError):
    """Another run works in this directory."""

    category = FailureCategory.CLIENT


class StageRecord(BaseModel):
    """How a result came to be. digest: of its files; of: digests of the results it was made from;
    seconds: what making it took, whenever that was."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    fingerprint: str
    of: tuple[str, ...]
    settings: tuple[Any, ...]
    code: str
    libraries: dict[str, str]
    digest: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Kept(Generic[T]):
    """A result, and the digest of its files: equal digests, equal results."""

    value: T
    digest: str


class Workspace:
    """Stages by fingerprint, in one directory. Made by ``open_workspace``."""

    def __init__(self, directory: Path, progress: Progress) -> None:
        self._directory = directory
        self._progress = progress
        self.records: dict[str, StageRecord] = {}

    def beside(self, name: str) -> Path:
        """A file for what a stage keeps for its next run, whatever that works on."""
        return self._directory / name

    def value(
        self,
        name: str,
        make: Callable[[], T],
        *,
        of: Sequence[Kept[Any] | str],
        settings: Sequence[object],
        code: Sequence[ModuleType | str],
    ) -> Kept[T]:
        """What ``make`` gives (see ``packing`` for what that may be), made or from disk.

        of: the results, or digests, that it works on; settings: what else decides it; code: the
        modules that do the work, what they import counting with them.
        """
        path, digest = self._once(
            name, lambda directory: pack(make(), directory), of, settings, code
        )
        # from disk even if just made: a run taken up must not differ from one that went through
        return Kept(unpack(path), digest)

    def files(
        self,
        name: str,
        fill: Callable[[Path], object],
        *,
        of: Sequence[Kept[Any] | str],
        settings: Sequence[object],
        code: Sequence[ModuleType | str],
    ) -> Kept[Path]:
        """The same for a stage that fills a directory."""
        return Kept(*self._once(name, fill, of, settings, code))

    def _once(
        self,
        name: str,
        fill: Callable[[Path], object],
        of: Sequence[Kept[Any] | str],
        settings: Sequence[object],
        code: Sequence[ModuleType | str],
    ) -> tuple[Path, str]:
        about: dict[str, Any] = {
            "name": name,
            "of": [each if isinstance(each, str) else each.digest for each in of],
            "settings": [plain(each) for each in settings],
            "code": provenance.code(
                *(each if isinstance(each, str) else each.__name__ for each in code)
            ),
            "libraries": provenance.libraries(),
        }
        text = json.dumps(about, sort_keys=True)
        about["fingerprint"] = hashlib.sha256(text.encode()).hexdigest()[:16]
        path = self._directory / f"{name}-{about['fingerprint']}"
        if not path.is_dir():
            self._make(path, fill, about)
        else:
            self._progress.note(f"{name}: kept from an earlier run")
        record = StageRecord.model_validate_json((path / _RECORD).read_bytes())
        self.records[name] = record
        return path / _RESULT, record.digest

    def _make(self, path: Path, fill: Callable[[Path], object], about: dict[str, Any]) -> None:
        with replacing(path) as temporary, self._progress.stage(about["name"]):
            start = perf_counter()
            (temporary / _RESULT).mkdir()
            fill(temporary / _RESULT)
            record = StageRecord(
                **about,
                digest=provenance.tree(temporary / _RESULT),
                seconds=round(perf_counter() - start, 3),
            )
            (temporary / _RECORD).write_text(record.model_dump_json(indent=1) + "\n", "utf-8")


@contextmanager
def open_workspace(directory: Path, progress: Progress) -> Iterator[Workspace]:
    """One run at a time. Raises WorkspaceBusy."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkspaceBusy(f"{directory}: another run works in it") from None
        yield Workspace(directory, progress)


@contextmanager
def workspace_for(out: Path, work: Path | None, progress: Progress) -> Iterator[Workspace]:
    """In ``work``; without it beside ``out``, until all is done. Raises WorkspaceBusy."""
    directory = work if work is not None else out.absolute().with_name(f".{out.name}.work")
    with open_workspace(directory, progress) as workspace:
        yield workspace
    if work is None:
        shutil.rmtree(directory)
