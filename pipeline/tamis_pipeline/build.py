"""The stages from a data set to an evaluated bundle, as a graph: each names what it works on.

    read ─┬─ retrieval ──┬─ ranker ─┐
          ├─ neighbours ─┤          │
    embed ┴──────────────┴──────────┴─ index ── evaluate ── seal

A stage is a property: asking for one does what it needs and no more, and what is in the workspace
already is not done again (see ``workspace``). To add a stage, write its function in a module of its
own, and here name its inputs, its settings and that module.
"""

from __future__ import annotations

import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

from tamis_pipeline import (
    bundle,
    leakage,
    neighbours,
    preparation,
    provenance,
    query_model,
    ranking,
    statistics,
    twotower,
)
from tamis_pipeline.bundle import BundleParts, ContentParts, ItemTowerParts, seal, write_bundle
from tamis_pipeline.config import PipelineConfig
from tamis_pipeline.content import CLIP, Content
from tamis_pipeline.drift import drift
from tamis_pipeline.embedding import embed as embedding
from tamis_pipeline.embedding import work as encoding
from tamis_pipeline.embedding.work import InProcess
from tamis_pipeline.encoders.port import open_encoder
from tamis_pipeline.evaluation import report
from tamis_pipeline.leakage import require_no_leak
from tamis_pipeline.preparation import Prepared
from tamis_pipeline.progress import Progress
from tamis_pipeline.ranking import Ranked
from tamis_pipeline.readers import read_catalogue
from tamis_pipeline.run import RUN, Run, read_run
from tamis_pipeline.statistics import Statistics
from tamis_pipeline.twotower import Towers
from tamis_pipeline.workspace import Kept, Workspace, open_workspace
from tamis_server.bundles.manifest import Manifest
from tamis_server.bundles.neighbours import Neighbours

Together = tuple[Neighbours, Neighbours]  # of what towers learn from; of all training

_BATCH = 64


class Pipeline:
    """The graph over one data set, in one workspace."""

    def __init__(
        self, config: PipelineConfig, source: Path, name: str, work: Workspace, progress: Progress
    ) -> None:
        self._config = config
        self._source = source
        self._name = name
        self._work = work
        self._progress = progress

    @cached_property
    def inputs(self) -> dict[str, str]:
        """Digests of the files of the data set. Raises DatasetRejected."""
        return provenance.inputs(self._source)

    @cached_property
    def read(self) -> Kept[Prepared]:
        config = self._config
        prepared = self._work.value(
            "read",
            lambda: preparation.prepare(self._source, config),
            of=[provenance.combined(self.inputs)],
            settings=[config.dataset, config.split, config.popularity, config.seed],
            code=[preparation],
        )
        data = prepared.value.data
        for what, count in (*data.problems.items(), *data.noted.items()):
            self._progress.note(f"{count} {what}")
        return prepared

    @cached_property
    def embed(self) -> Kept[Path] | None:
        """Content vectors and the CLIP that made them (see ``content``), if one is configured.

        Raises EncoderRejected and BundleRejected.
        """
        config, kind = self._config.content, self._config.dataset.kind
        if config is None:
            return None
        encoder = open_encoder(config.encoder)
        return self._work.files(
            "embed",
            lambda out: embedding.embed(
                embedding.documents(read_catalogue(kind, self._source), self._source),
                encoder,
                InProcess(encoder, _BATCH),
                config,
                out,
                self._work.beside("embed.cache"),
                self._progress,
            ),
            of=[provenance.combined(self.inputs), encoder.digest],
            settings=[kind, config],
            code=[embedding, encoding],
        )

    @cached_property
    def content(self) -> Content | None:
        """Of the items of ``read``."""
        if self.embed is None:
            return None
        return Content.load(self.embed.value, self.read.value.data.items["item_id"].to_pylist())

    @cached_property
    def statistics(self) -> Kept[Statistics]:
        prepared = self.read
        return self._work.value(
            "statistics",
            lambda: statistics.statistics(prepared.value.data),
            of=[prepared],
            settings=[],
            code=[statistics],
        )

    @cached_property
    def retrieval(self) -> Kept[Towers]:
        prepared, config = self.read, self._config
        return self._work.value(
            "retrieval",
            lambda: twotower.train(
                prepared.value.fields,
                None if self.content is None else self.content.vectors,
                prepared.value.parts.fit,
                prepared.value.parts.validation,
                config.retrieval.two_tower,
                config.seed,
                self._progress.note,
            ),
            of=[prepared, *([self.embed] if self.embed else [])],
            settings=[config.retrieval, config.seed],
            code=[twotower],
        )

    @cached_property
    def neighbours(self) -> Kept[Together]:
        prepared, config = self.read, self._config.retrieval.neighbours
        items = prepared.value.data.items.num_rows
        return self._work.value(
            "neighbours",
            lambda: neighbours.learn(prepared.value.parts, items, config, self._config.seed),
            of=[prepared],
            settings=[config, self._config.seed],
            code=[neighbours],
        )

    @cached_property
    def ranker(self) -> Kept[Ranked]:
        prepared, towers, config = self.read, self.retrieval, self._config
        together = self.neighbours
        return self._work.value(
            "ranker",
            lambda: ranking.rank(
                prepared.value,
                towers.value,
                together.value[0],
                config.ranking,
                config.seed,
                self._progress.note,
                ordered=config.retrieval.two_tower.ordered,
            ),
            of=[prepared, towers, together],
            settings=[config.ranking, config.retrieval.two_tower.ordered, config.seed],
            code=[ranking],
        )

    @cached_property
    def index(self) -> Kept[Path]:
        """The bundle, but for what evaluation will say of it."""
        prepared, towers, ranker = self.read, self.retrieval, self.ranker
        together = self.neighbours
        return self._work.files(
            "index",
            lambda out: write_bundle(self._parts(), out),
            of=[prepared, towers, together, ranker, *([self.embed] if self.embed else [])],
            settings=[self._name, self._config.index, self._config.seed],
            code=[bundle, ranking],
        )

    @cached_property
    def evaluate(self) -> Kept[dict[str, Any]]:
        prepared, towers, ranker, draft = self.read, self.retrieval, self.ranker, self.index
        config, data, together = self._config, self.read.value.data, self.neighbours

        def measure() -> dict[str, Any]:
            require_no_leak(draft.value, prepared.value.parts, data.user_ids)
            return report.measure(
                draft.value,
                prepared.value,
                towers.value,
                together.value[1],
                ranker.value,
                config,
                self._progress,
            )

        return self._work.value(
            "evaluate",
            measure,
            of=[prepared, towers, together, ranker, draft],
            settings=[config.split, config.ranking, config.evaluation, config.seed],
            code=[report, leakage, "tamis_server.__main__"],  # it asks a server
        )

    def seal(self, out: Path) -> Manifest:
        """Put the bundle and its run.json to ``out``, replacing what was there only once all is on
        disk."""
        draft, measured = self.index, self.evaluate
        seen, drifted = self.statistics.value, self._drift(out)

        def run(manifest: Manifest) -> dict[str, str]:
            made = Run.of(
                manifest,
                self._config,
                self._source,
                self.inputs,
                self.read.value.data,
                tuple(self._work.records.values()),
                seen,
                drifted,
            )
            return {RUN: made.model_dump_json(indent=1) + "\n"}

        with self._progress.stage("seal"):
            return seal(draft.value, measured.value, out, run)

    def _drift(self, out: Path) -> tuple[str, ...]:
        """What changed since the run whose bundle is at ``out``."""
        if not (out / RUN).is_file():
            return ()
        before = read_run(out).statistics
        found = drift(before, self.read.value.data, self._config.drift)
        for finding in found:
            self._progress.note(f"changed since the bundle at {out}: {finding}")
        return tuple(map(str, found))

    def _parts(self) -> BundleParts:
        prepared, towers, together = self.read.value, self.retrieval.value, self.neighbours.value[1]
        tables = ranking.item_tables(prepared, towers, together)
        content = None
        if self.embed is not None and self.content is not None:
            content = ContentParts(self.content.vectors, self.content.spec, self.embed.value / CLIP)
        return BundleParts(
            name=self._name,
            as_of=prepared.as_of,
            seed=self._config.seed,
            items=prepared.data.items,
            attributes=prepared.data.attributes,
            vectors=towers.vectors,
            item_fields=tables.fields,
            item_dense=tables.dense,
            popularity=prepared.popularity,
            features=ranking.feature_schema(prepared.fields),
            encoder=towers.encoder,
            ranker=self.ranker.value.params,
            models={
                **self.ranker.value.models,
                query_model.PATH: query_model.query_encoder(towers.encoder),
            },
            objectives=self._config.ranking.objectives,
            users=preparation.known_users(prepared.data, prepared.parts.train),
            evaluation={},
            index=self._config.index,
            content=content,
            item_tower=ItemTowerParts(
                towers.item_tower, prepared.fields.vocabulary.model_dump(mode="json")
            ),
            neighbours={"rows": together.rows, "weights": together.weights},
        )


def build(
    config: PipelineConfig,
    source: Path,
    out: Path,
    name: str,
    progress: Progress,
    work: Path | None = None,
    again: Run | None = None,
) -> Manifest:
    """Do all stages, and put the bundle to ``out``. Raises DatasetRejected and WorkspaceBusy.

    work: where results of stages are kept for later runs; without one they are kept beside
    ``out``, until the bundle is complete. again: the run that is to be repeated; raises
    InputsDiffer where the input is another.
    """
    directory = work if work is not None else out.absolute().with_name(f".{out.name}.work")
    with open_workspace(directory, progress) as workspace:
        pipeline = Pipeline(config, source, name, workspace, progress)
        if again is not None:
            again.require(pipeline.inputs)
        manifest = pipeline.seal(out)
    if work is None:
        shutil.rmtree(directory)
    return manifest


def rebuild(
    run: Run, out: Path, progress: Progress, source: Path | None = None, work: Path | None = None
) -> Manifest:
    """Make a bundle again from its ``run``, and say where it came out otherwise, and why.

    Raises InputsDiffer where the files of the data set are not those of the run.
    """
    config = PipelineConfig.model_validate(run.config)
    where = Path(run.source) if source is None else source
    manifest = build(config, where, out, run.name, progress, work, run)
    differences = run.differences(read_run(out))
    for difference in differences or ["the same bundle as before"]:
        progress.note(difference)
    return manifest
