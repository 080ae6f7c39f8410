"""The stages from a data set to an evaluated bundle, as a graph: each names what it works on.

    read ─┬─ retrieval ──┬─ ranker ─┐
          ├─ neighbours ─┤          │
    embed ┴──────────────┴──────────┴─ index ── evaluate ── seal

A stage is a property: asking for one does what it needs and no more, and what is in the workspace
already is not done again (see ``workspace``). To add a stage, write its function in a module of its
own, and here name its inputs, its settings and that module. ``finetuning`` begins the same graph
otherwise.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis_pipeline import (
    bundle,
    histories,
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
from tamis_pipeline.config import ConfigRejected, PipelineConfig, RankingConfig
from tamis_pipeline.content import CLIP, Content
from tamis_pipeline.drift import drift
from tamis_pipeline.embedding import embed as embedding
from tamis_pipeline.embedding import work as encoding
from tamis_pipeline.embedding.work import InProcess
from tamis_pipeline.encoders.port import open_encoder
from tamis_pipeline.evaluation import report
from tamis_pipeline.evaluation.protocols import some_questions
from tamis_pipeline.evaluation.report import Serving
from tamis_pipeline.histories import known_users
from tamis_pipeline.leakage import require_no_leak
from tamis_pipeline.preparation import Prepared
from tamis_pipeline.progress import Progress
from tamis_pipeline.ranking import Ranked
from tamis_pipeline.readers import read_catalogue
from tamis_pipeline.run import RUN, Run, TunedFrom, read_run
from tamis_pipeline.statistics import Statistics
from tamis_pipeline.twotower import Towers
from tamis_pipeline.workspace import Kept, Workspace, workspace_for
from tamis_server.bundles.manifest import Manifest
from tamis_server.bundles.neighbours import Neighbours

Float32 = npt.NDArray[np.float32]
Together = tuple[Neighbours, Neighbours]  # of what towers learn from; of all training

_BATCH = 64


class Pipeline:
    """The graph over one data set, in one workspace."""

    def __init__(
        self, config: PipelineConfig, source: Path, name: str, work: Workspace, progress: Progress
    ) -> None:
        self.config = config
        self.source = source
        self.name = name
        self.work = work
        self.progress = progress

    @cached_property
    def inputs(self) -> dict[str, str]:
        """Digests of the files of the data set. Raises DatasetRejected."""
        return provenance.inputs(self.source)

    @cached_property
    def read(self) -> Kept[Prepared]:
        config = self.config
        return self.noted(
            self.work.value(
                "read",
                lambda: preparation.prepare(self.source, config),
                of=[provenance.combined(self.inputs)],
                settings=[config.dataset, config.split, config.popularity, config.seed],
                code=[preparation],
            )
        )

    def noted(self, prepared: Kept[Prepared]) -> Kept[Prepared]:
        """``prepared``, having said what is strange about it."""
        data = prepared.value.data
        for what, count in (*data.problems.items(), *data.noted.items()):
            self.progress.note(f"{count} {what}")
        return prepared

    @cached_property
    def embed(self) -> Kept[Path] | None:
        """Content vectors and the CLIP that made them (see ``content``), if one is configured.

        Raises EncoderRejected and BundleRejected.
        """
        config, kind = self.config.content, self.config.dataset.kind
        if config is None:
            return None
        encoder = open_encoder(config.encoder)
        return self.work.files(
            "embed",
            lambda out: embedding.embed(
                embedding.documents(read_catalogue(kind, self.source), self.source),
                encoder,
                InProcess(encoder, _BATCH),
                config,
                out,
                self.work.beside("embed.cache"),
                self.progress,
            ),
            of=[provenance.combined(self.inputs), encoder.digest],
            settings=[kind, config],
            code=[embedding, encoding],
        )

    @cached_property
    def content(self) -> Kept[ContentParts] | None:
        """Of the items of ``read``."""
        embedded = self.embed
        if embedded is None:
            return None
        found = Content.load(embedded.value, self.read.value.data.items["item_id"].to_pylist())
        parts = ContentParts(found.vectors, found.spec, embedded.value / CLIP)
        return Kept(parts, embedded.digest)

    @cached_property
    def statistics(self) -> Kept[Statistics]:
        prepared = self.read
        return self.work.value(
            "statistics",
            lambda: statistics.statistics(prepared.value.data),
            of=[prepared],
            settings=[],
            code=[statistics],
        )

    @cached_property
    def retrieval(self) -> Kept[Towers]:
        prepared, config = self.read, self.config
        return self.work.value(
            "retrieval",
            lambda: twotower.train(
                prepared.value.fields,
                None if self.content is None else self.content.value.vectors,
                prepared.value.parts.fit,
                prepared.value.parts.validation,
                config.retrieval.two_tower,
                config.seed,
                self.progress.note,
                prepared.value.profiles,
            ),
            of=[prepared, *([self.content] if self.content else [])],
            settings=[config.retrieval, config.seed],
            code=[twotower],
        )

    @cached_property
    def neighbours(self) -> Kept[Together]:
        prepared, config = self.read, self.config.retrieval.neighbours
        items = prepared.value.data.items.num_rows
        return self.work.value(
            "neighbours",
            lambda: neighbours.learn(prepared.value.parts, items, config, self.config.seed),
            of=[prepared],
            settings=[config, self.config.seed],
            code=[neighbours],
        )

    @property
    def learning(self) -> RankingConfig:
        """How rankers learn."""
        return self.config.ranking

    @property
    def initial(self) -> Kept[dict[str, dict[str, Float32]]] | None:
        """What rankers go on from (see ``ranking.rank``), if they don't begin anew."""
        return None

    @cached_property
    def ranker(self) -> Kept[Ranked]:
        prepared, towers, config = self.read, self.retrieval, self.config
        together, initial = self.neighbours, self.initial
        return self.work.value(
            "ranker",
            lambda: ranking.rank(
                prepared.value,
                towers.value,
                together.value[0],
                self.learning,
                config.seed,
                self.progress.note,
                None if initial is None else initial.value,
                ordered=config.retrieval.two_tower.ordered,
            ),
            of=[prepared, towers, together, *([initial] if initial else [])],
            settings=[self.learning, config.retrieval.two_tower.ordered, config.seed],
            code=[ranking],
        )

    @cached_property
    def index(self) -> Kept[Path]:
        """The bundle, but for what evaluation will say of it."""
        prepared, towers, ranker = self.read, self.retrieval, self.ranker
        together = self.neighbours
        return self.work.files(
            "index",
            lambda out: write_bundle(self._parts(), out, self.progress.note),
            of=[prepared, towers, together, ranker, *([self.content] if self.content else [])],
            settings=[self.name, self.config.index, self.config.seed],
            code=[bundle, histories, query_model, ranking],
        )

    @property
    def serving(self) -> Kept[Serving] | None:
        """The bundle that this one is compared with, if there is one."""
        return None

    @cached_property
    def evaluate(self) -> Kept[dict[str, Any]]:
        """Raises DatasetRejected, before anything is trained, where nobody can be asked."""
        some_questions(self.read.value.parts)
        prepared, towers, ranker, draft = self.read, self.retrieval, self.ranker, self.index
        serving, together = self.serving, self.neighbours
        config, data = self.config, self.read.value.data

        def measure() -> dict[str, Any]:
            require_no_leak(draft.value, prepared.value.parts, data.user_ids)
            return report.measure(
                draft.value,
                prepared.value,
                towers.value,
                together.value[1],
                ranker.value,
                config,
                self.progress,
                None if serving is None else serving.value,
            )

        return self.work.value(
            "evaluate",
            measure,
            of=[prepared, towers, together, ranker, draft, *([serving] if serving else [])],
            settings=[config.split, config.ranking, config.evaluation, config.seed],
            code=[report, leakage, "tamis_server.__main__"],  # it asks a server
        )

    def seal(self, out: Path) -> Manifest:
        """Put the bundle and its run.json to ``out``, replacing what was there only once all is on
        disk."""
        measured, draft = self.evaluate, self.index
        seen, drifted = self.statistics.value, self._drift(self.before(out))

        def run(manifest: Manifest) -> dict[str, str]:
            made = Run.of(
                manifest,
                # made again, it gets this index, however fast another may be by then
                self.config.model_copy(update={"index": manifest.index}),
                self.source,
                self.inputs,
                self.read.value.data,
                tuple(self.work.records.values()),
                seen,
                drifted,
                self.tuned_from,
            )
            return {RUN: made.model_dump_json(indent=1) + "\n"}

        with self.progress.stage("seal"):
            return seal(draft.value, measured.value, out, run)

    @property
    def tuned_from(self) -> TunedFrom | None:
        return None

    def before(self, out: Path) -> Run | None:
        """The run that the data set is compared with: that of the bundle at ``out``."""
        return read_run(out) if (out / RUN).is_file() else None

    def _drift(self, before: Run | None) -> tuple[str, ...]:
        if before is None:
            return ()
        found = drift(before.statistics, self.read.value.data, self.config.drift)
        for finding in found:
            self.progress.note(f"changed since {before.bundle_id}: {finding}")
        return tuple(map(str, found))

    def _parts(self) -> BundleParts:
        prepared, towers, together = self.read.value, self.retrieval.value, self.neighbours.value[1]
        tables = ranking.item_tables(prepared, towers, together)
        return BundleParts(
            name=self.name,
            as_of=prepared.as_of,
            seed=self.config.seed,
            items=prepared.data.items,
            attributes=prepared.data.attributes,
            vectors=towers.vectors,
            item_fields=tables.fields,
            item_dense=tables.dense,
            popularity=prepared.popularity,
            features=ranking.feature_schema(prepared),
            encoder=towers.encoder,
            ranker=self.ranker.value.params,
            models={
                **self.ranker.value.models,
                query_model.PATH: query_model.query_encoder(towers.encoder, len(towers.profile)),
            },
            objectives=self.config.ranking.objectives,
            users=known_users(prepared.data, prepared.profiles, prepared.parts.train),
            evaluation={},
            index=self.config.index,
            content=None if self.content is None else self.content.value,
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
    with workspace_for(out, work, progress) as workspace:
        pipeline = Pipeline(config, source, name, workspace, progress)
        if again is not None:
            again.require(pipeline.inputs)
        return pipeline.seal(out)


def rebuild(
    run: Run, out: Path, progress: Progress, source: Path | None = None, work: Path | None = None
) -> Manifest:
    """Make a bundle again from its ``run``, and say where it came out otherwise, and why.

    Raises InputsDiffer where the files of the data set are not those of the run, ConfigRejected for
    that of a bundle that was tuned.
    """
    config = run.settings()
    if run.tuned_from is not None:
        raise ConfigRejected(
            f"{run.bundle_id} was tuned from {run.tuned_from.bundle_id}: tamis pipeline finetune "
            "makes it again from that"
        )
    where = Path(run.source) if source is None else source
    manifest = build(config, where, out, run.name, progress, work, run)
    differences = run.differences(read_run(out))
    for difference in differences or ["the same bundle as before"]:
        progress.note(difference)
    return manifest
