"""Daily fine-tuning: a bundle learns from the events that it does not know, its item vectors as
they are.

The same graph as ``build``'s, begun otherwise. Items of the bundle keep their rows, vectors and
content; new ones come behind them, placed by the bundle's item tower and encoded by its CLIP.
Query tower and rankers go on from the bundle's own arrays; what is counted (popularity, neighbours)
is counted anew. The bundle is asked the same questions as the new one, with the same histories.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from tamis_pipeline import bundle, histories, provenance, tuning_data, twotower
from tamis_pipeline.build import Float32, Pipeline
from tamis_pipeline.bundle import ContentParts, with_users
from tamis_pipeline.config import PipelineConfig, RankingConfig, SplitConfig
from tamis_pipeline.content import Content
from tamis_pipeline.embedding import embed as embedding
from tamis_pipeline.embedding import work as encoding
from tamis_pipeline.embedding.embed import Documents, EmbedConfig
from tamis_pipeline.embedding.work import InProcess
from tamis_pipeline.encoders.port import open_encoder
from tamis_pipeline.evaluation.report import Serving
from tamis_pipeline.histories import known_users
from tamis_pipeline.preparation import Prepared
from tamis_pipeline.progress import Progress
from tamis_pipeline.rankers.training import TrainingConfig
from tamis_pipeline.readers import read_catalogue
from tamis_pipeline.run import Run, TunedFrom, read_run
from tamis_pipeline.served import Served
from tamis_pipeline.twotower import Towers
from tamis_pipeline.vocabulary import ItemFields
from tamis_pipeline.workspace import Kept, Workspace, workspace_for
from tamis_server.bundles import manifest as fmt

_BATCH = 64


def finetune(
    directory: Path,
    source: Path,
    out: Path,
    progress: Progress,
    config: PipelineConfig | None = None,
    work: Path | None = None,
) -> fmt.Manifest:
    """Put to ``out`` what the bundle in ``directory`` becomes with the newer events of ``source``.

    config: whose settings of fine-tuning, evaluation and drift are used; else those that the bundle
    was made with. Raises BundleRejected, ConfigRejected for a bundle without its run.json,
    DatasetRejected for a data set that the bundle can't go on with, and WorkspaceBusy.
    """
    served, run = Served.checked(directory), read_run(directory)
    settings = run.settings()
    chosen = settings if config is None else config
    settings = settings.model_copy(
        update={
            "finetune": chosen.finetune,
            "evaluation": chosen.evaluation,
            "drift": chosen.drift,
            # what newest() does, as the report calls it
            "split": SplitConfig(
                how="global", test=chosen.finetune.test, validation=chosen.finetune.validation
            ),
        }
    )
    with workspace_for(out, work, progress) as workspace:
        return FineTuning(served, run, settings, source, workspace, progress).seal(out)


class FineTuning(Pipeline):
    """The graph that begins with a bundle."""

    def __init__(
        self,
        served: Served,
        run: Run,
        config: PipelineConfig,
        source: Path,
        work: Workspace,
        progress: Progress,
    ) -> None:
        super().__init__(config, source, served.manifest.name, work, progress)
        self._served = served
        self._run = run

    @property
    def tuned_from(self) -> TunedFrom:
        manifest = self._served.manifest
        return TunedFrom(
            bundle_id=manifest.bundle_id, pairing_id=manifest.pairing_id, as_of=manifest.as_of
        )

    def before(self, out: Path) -> Run:
        return self._run

    @cached_property
    def read(self) -> Kept[Prepared]:
        config = self.config
        return self.noted(
            self.work.value(
                "read",
                lambda: tuning_data.prepare(self._served, self._run, self.source, config),
                of=[provenance.combined(self.inputs), self._served.manifest.bundle_id],
                settings=[config.dataset, config.finetune, config.popularity],
                code=[tuning_data],
            )
        )

    @cached_property
    def embed(self) -> Kept[Path] | None:
        """Content vectors of new items, if the bundle has them and can encode."""
        manifest, kind = self._served.manifest, self.config.dataset.kind
        if manifest.content is None or not manifest.has_clip:
            return None
        documents = self._new_documents(kind)
        if documents is None:
            return None
        encoder = open_encoder(f"onnx:{self._served.directory / fmt.CLIP}")
        spec = manifest.content
        how = EmbedConfig(spec.encoder, spec.text_weight, spec.image_weight)
        return self.work.files(
            "embed",
            lambda out: embedding.embed(
                documents,
                encoder,
                InProcess(encoder, _BATCH),
                how,
                out,
                self.work.beside("embed.cache"),
                self.progress,
            ),
            of=[provenance.combined(self.inputs), manifest.bundle_id],
            settings=[kind, how],
            code=[embedding, encoding],
        )

    @cached_property
    def content(self) -> Kept[ContentParts] | None:
        known, spec = self._served.content, self._served.manifest.content
        if known is None or spec is None:
            return None
        new_ids = self.read.value.data.items["item_id"].to_pylist()[known.shape[0] :]
        new, digests = np.zeros((len(new_ids), spec.dim), np.float32), {}
        if self.embed is not None:
            new = Content.load(self.embed.value, new_ids).vectors
            digests["new items"] = self.embed.digest
        clip = self._served.directory / fmt.CLIP if self._served.manifest.has_clip else None
        return Kept(
            ContentParts(np.concatenate([known, new]), spec, clip),
            provenance.combined({"bundle": self._served.manifest.bundle_id, **digests}),
        )

    @cached_property
    def retrieval(self) -> Kept[Towers]:
        prepared, tuning = self.read, self.config.finetune
        content = None if self.content is None else self.content.value.vectors
        parts, after = prepared.value.parts, self._served.manifest.as_of
        full = self.config.retrieval.two_tower
        how = replace(full, rate=full.rate * tuning.rate, epochs=tuning.epochs)
        return self.work.value(
            "retrieval",
            lambda: twotower.tune(
                extended(self._served, prepared.value.fields, content),
                prepared.value.fields,
                content,
                parts.fit,
                parts.validation,
                tuning_data.since(parts, after, tuning.recent),
                how,
                self.config.seed,
                self.progress.note,
                prepared.value.profiles,
            ),
            of=[
                prepared,
                self._served.manifest.bundle_id,
                *([self.content] if self.content else []),
            ],
            settings=[how, tuning, self.config.seed],
            code=[twotower, "tamis_pipeline.finetuning"],
        )

    @property
    def learning(self) -> RankingConfig:
        """Of the bundle's models and objectives; but for rate and epochs as they were trained."""
        full, tuning = self.config.ranking, self.config.finetune

        def slower(training: TrainingConfig) -> TrainingConfig:
            return replace(training, rate=training.rate * tuning.rate, epochs=tuning.epochs)

        return full.model_copy(
            update={
                "deepfm": replace(full.deepfm, training=slower(full.deepfm.training)),
                "transformer": replace(
                    full.transformer, training=slower(full.transformer.training)
                ),
            }
        )

    @cached_property
    def initial(self) -> Kept[dict[str, dict[str, Float32]]]:
        return Kept(self._served.rankers, self._served.manifest.bundle_id)

    @cached_property
    def serving(self) -> Kept[Serving]:
        """With the histories of the training part, but for events with items that it has not."""
        prepared, train = self.read.value, self.read.value.parts.train
        known = train.take(train.items < self._served.manifest.items)
        users = known_users(prepared.data, prepared.profiles, known)
        kept = self.work.files(
            "serving",
            lambda out: with_users(self._served.directory, users, out),
            of=[self.read, self._served.manifest.bundle_id],
            settings=[],
            code=[bundle, histories],
        )
        return Kept(Serving(kept.value, self._served.manifest.bundle_id), kept.digest)

    def _new_documents(self, kind: str) -> Documents | None:
        catalogue = read_catalogue(kind, self.source)
        known = pl.Series(self._served.item_ids)
        new = catalogue.filter(~pl.col("item_id").cast(pl.String).is_in(known.implode()))
        return None if new.is_empty() else embedding.documents(new, self.source)


def extended(served: Served, fields: ItemFields, content: Float32 | None) -> Towers:
    """The bundle's towers, with a row for each item of ``fields`` (and of content float32[items,
    c]) behind the bundle's own: where its item tower puts it."""
    found, tower, known = served.towers, served.item_tower, served.manifest.items
    values, words = fields.values[known:], fields.words[known:]
    looks = np.zeros((values.shape[0], 0), np.float32) if content is None else content[known:]
    table = np.concatenate([found.encoder["history_table"], tower.histories(values, looks)])
    return Towers(
        np.concatenate([found.vectors, tower.vectors(values, words, looks)]),
        {**found.encoder, "history_table": table.astype(np.float16)},
        found.item_tower,
        found.profile,
    )
