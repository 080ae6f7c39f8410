"""``run.json``: what a bundle was made from and with, so that it can be made again.

It lies in the bundle, but is no part of what the bundle's id is made of: it holds durations.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tamis_pipeline import provenance
from tamis_pipeline.config import ConfigRejected, PipelineConfig, first
from tamis_pipeline.dataset import Dataset
from tamis_pipeline.statistics import Statistics
from tamis_pipeline.workspace import StageRecord
from tamis_server.bundles.manifest import Manifest
from tamis_server.domain.errors import FailureCategory, TamisError

RUN = "run.json"


class InputsDiffer(TamisError):
    """What a bundle is to be made from again is not what it was made from; names the files."""

    category = FailureCategory.CLIENT


class TunedFrom(BaseModel):
    """pairing_id: of its item vectors, which are the first rows of those that are served now;
    as_of: Unix seconds of the last event that it had learned from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundle_id: str
    pairing_id: str
    as_of: float


class Run(BaseModel):
    """config: all of it, the seed too; source: where the input was, as the command named it;
    inputs, outputs: SHA-256 by file name; left_out: rows dropped or mended, by reason and rule;
    noted: what was used although something is missing; code: digest of the pipeline's source;
    commit: of git, null outside a checkout; statistics: of the input; drift: what of it was out of
    bounds; tuned_from: the bundle that this one goes on from, null where it was trained anew."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundle_id: str
    name: str
    config: dict[str, Any]
    source: str
    inputs: dict[str, str]
    left_out: dict[str, int]
    noted: dict[str, int]
    code: str
    commit: str | None
    python: str
    libraries: dict[str, str]
    stages: tuple[StageRecord, ...]
    outputs: dict[str, str]
    statistics: Statistics
    drift: tuple[str, ...]
    tuned_from: TunedFrom | None = None

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        config: PipelineConfig,
        source: Path,
        inputs: dict[str, str],
        data: Dataset,
        stages: tuple[StageRecord, ...],
        statistics: Statistics,
        drift: tuple[str, ...],
        tuned_from: TunedFrom | None,
    ) -> Run:
        return cls(
            bundle_id=manifest.bundle_id,
            name=manifest.name,
            config=config.model_dump(mode="json"),
            source=str(source),
            inputs=inputs,
            left_out=dict(data.problems),
            noted=dict(data.noted),
            code=provenance.code("tamis_pipeline.build"),
            commit=provenance.commit(),
            python=platform.python_version(),
            libraries=provenance.libraries(),
            stages=stages,
            outputs={name: entry.sha256 for name, entry in manifest.files.items()},
            statistics=statistics,
            drift=drift,
            tuned_from=tuned_from,
        )

    def settings(self) -> PipelineConfig:
        """What the run was told. Raises ConfigRejected."""
        try:
            return PipelineConfig.model_validate(self.config)
        except ValidationError as error:
            problem = first(error, PipelineConfig)
            raise ConfigRejected(f"{RUN} of {self.bundle_id}: config.{problem}") from None

    def require(self, inputs: dict[str, str]) -> None:
        """Raises InputsDiffer unless ``inputs`` are those of this run."""
        changed = sorted(
            name for name in {*self.inputs, *inputs} if self.inputs.get(name) != inputs.get(name)
        )
        if changed:
            raise InputsDiffer(
                f"{self.bundle_id} can't be made again: {', '.join(changed)} differ from what it "
                "was made from"
            )

    def differences(self, again: Run) -> list[str]:
        """What is not the same in the same run done again, causes first."""
        found = []
        if again.code != self.code:
            found.append(f"code: commit {self.commit} then, {again.commit} now")
        if again.python != self.python:
            found.append(f"python: {self.python} then, {again.python} now")
        for name in sorted({*self.libraries, *again.libraries}):
            then, now = self.libraries.get(name), again.libraries.get(name)
            if then != now:
                found.append(f"{name}: {then} then, {now} now")
        outputs = sorted({*self.outputs, *again.outputs})
        changed = [name for name in outputs if self.outputs.get(name) != again.outputs.get(name)]
        return found + [f"{name}: another content" for name in changed]


def read_run(path: Path) -> Run:
    """A run.json, or that of a bundle's directory. Raises ConfigRejected."""
    file = path / RUN if path.is_dir() else path
    try:
        return Run.model_validate_json(file.read_bytes())
    except OSError as error:
        raise ConfigRejected(f"{file}: {error.strerror}") from None
    except ValidationError as error:
        raise ConfigRejected(f"{file}: {first(error, Run)}") from None
