"""What a run of the pipeline is told, typed: one TOML file a data set, one section a part.

A section is the frozen dataclass of the module that reads it, or a model here where several do. To
give a model settings, nest its dataclass in a section. A key that is not known is refused by name.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    field_validator,
)

from tamis_pipeline.drift import DriftConfig
from tamis_pipeline.embedding.embed import EmbedConfig
from tamis_pipeline.indexing import AutoIndex
from tamis_pipeline.neighbours import NeighboursConfig
from tamis_pipeline.rankers import objectives
from tamis_pipeline.rankers.boosted import BoostedConfig
from tamis_pipeline.rankers.deepfm import DeepFMConfig
from tamis_pipeline.rankers.exposures import ExposureConfig
from tamis_pipeline.rankers.transformer import TransformerConfig
from tamis_pipeline.twotower import TwoTowerConfig
from tamis_server.bundles.manifest import HnswSpec, IvfSpec, Objective
from tamis_server.domain.errors import FailureCategory, TamisError


class ConfigRejected(TamisError):
    """A configuration that can't be used: names the file, the key and what is allowed."""

    category = FailureCategory.CLIENT


class _Section(BaseModel):
    # inf has no JSON of its own: written as text, and read back
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class DatasetConfig(_Section):
    """kind: the format, one of ``readers.READERS``. opinions: whether a dislike is one; without,
    whatever was met counts as a view, as in published protocols for implicit feedback. profiles:
    whether models know the attributes of users, where there are any."""

    kind: str = "own"
    opinions: bool = True
    profiles: bool = True


class SplitConfig(_Section):
    """how: see ``split.split``. test: the share of the events that is measured; validation: the
    share of the rest that stops and teaches."""

    how: Literal["global", "per-user", "leave-one-out", "random", "given"] = "global"
    test: float = Field(0.1, gt=0, lt=1)
    validation: float = Field(0.15, gt=0, lt=1)


class PopularityConfig(_Section):
    """half_life_days: an event that long ago counts half; inf: all count alike."""

    half_life_days: float = Field(30.0, gt=0)


class RetrievalConfig(_Section):
    """The models that say what is near to whom, and what goes with what."""

    two_tower: TwoTowerConfig = TwoTowerConfig()
    neighbours: NeighboursConfig = NeighboursConfig()


class RankingConfig(_Section):
    """The models that order what was retrieved. models: which are trained; deepfm, which serves,
    is always among them, and boosted is only measured. objectives: what they predict; every
    positive must fulfil the first."""

    models: tuple[Literal["deepfm", "transformer", "boosted"], ...] = ("deepfm",)
    objectives: tuple[Objective, ...] = Field(objectives.DEFAULT, min_length=1)
    exposures: ExposureConfig = ExposureConfig()
    deepfm: DeepFMConfig = DeepFMConfig()
    transformer: TransformerConfig = TransformerConfig()
    boosted: BoostedConfig = BoostedConfig()

    @field_validator("models")
    @classmethod
    def _serves(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        if "deepfm" not in models:
            raise ValueError("deepfm must be among them: it is what the server ranks with")
        return models


class FinetuneConfig(_Section):
    """How a bundle goes on learning (``finetuning``). test: the share of the events it does not
    know, the last of them, that is measured; validation: the share of the rest, again the last,
    that stops the query tower and teaches the ranker; recent: for each event that it does not know
    the query tower learns again from so many before; rate, epochs: of both models, the rate as a
    share of that of training."""

    test: float = Field(0.2, gt=0, lt=1)
    validation: float = Field(0.3, gt=0, lt=1)
    recent: float = Field(1.0, ge=0)
    rate: float = Field(0.3, gt=0)
    epochs: int = Field(5, ge=1)


class EvaluationConfig(_Section):
    """baselines: those that the funnel is compared with, beside popularity and the two-tower;
    trade_off: ``reranking.trade_off`` of the server that is asked, 1 being its order by relevance;
    without one it is asked with its default."""

    baselines: tuple[Literal["item-kNN", "EASE", "ALS", "BPR"], ...] = (
        "item-kNN", "EASE", "ALS", "BPR",
    )  # fmt: skip
    trade_off: float | None = Field(None, ge=0, le=1)


class GatesConfig(_Section):
    """margins: by how much a new bundle may measure less than the one served; metrics are paths
    into evaluation.json, higher is better."""

    margins: dict[str, float] = {
        "methods/whole funnel/Recall@20": 0.01,
        "methods/whole funnel/NDCG@20": 0.01,
    }


def _kind(index: Any) -> Any:
    """By which what is wrong with an index is told of its own kind, not of all there are."""
    return index.get("kind", "hnsw") if isinstance(index, dict) else getattr(index, "kind", None)


Index = Annotated[
    Annotated[HnswSpec, Tag("hnsw")]
    | Annotated[IvfSpec, Tag("ivf")]
    | Annotated[AutoIndex, Tag("auto")],
    Discriminator(_kind),
]


class PipelineConfig(_Section):
    """All of it. seed: the same seed, input, configuration and code make the same bundle. content:
    without it a bundle knows nothing of what items look and read like."""

    seed: int = Field(0, ge=0)
    dataset: DatasetConfig = DatasetConfig()
    split: SplitConfig = SplitConfig()
    popularity: PopularityConfig = PopularityConfig()
    content: EmbedConfig | None = None
    retrieval: RetrievalConfig = RetrievalConfig()
    ranking: RankingConfig = RankingConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    gates: GatesConfig = GatesConfig()
    drift: DriftConfig = DriftConfig()
    index: Index = HnswSpec()


def load_config(config: str) -> PipelineConfig:
    """``config`` is a TOML file, or the name of one of ``names()``. Raises ConfigRejected."""
    path = Path(config)
    if not path.suffix and config in names():
        text = (files("tamis_pipeline.configs") / f"{config}.toml").read_text("utf-8")
    else:
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            known = ", ".join(names())
            raise ConfigRejected(
                f"{config}: {getattr(error, 'strerror', error)}; a configuration is a TOML file, "
                f"or one of {known}"
            ) from None
    try:
        return PipelineConfig.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigRejected(f"{config}: not TOML: {error}") from None
    except ValidationError as error:
        raise ConfigRejected(f"{config}: {first(error, PipelineConfig)}") from None


def names() -> list[str]:
    """The configurations that come with the package."""
    found = (Path(entry.name) for entry in files("tamis_pipeline.configs").iterdir())
    return sorted(path.stem for path in found if path.suffix == ".toml")


def plain(section: object) -> Any:
    """A section as what JSON can hold."""
    return TypeAdapter(type(section)).dump_python(section, mode="json")


def first(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing that is wrong with a ``model``: where it is, and what."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        known = ", ".join(_keys(model.model_json_schema(), problem["loc"][:-1]))
        return f"{where}: there is no such key; there are {known}"
    return f"{where}: {problem['msg']}, not {problem['input']!r}"


def _keys(schema: Mapping[str, Any], where: tuple[int | str, ...]) -> list[str]:
    """What may stand in the section at ``where``, a path as pydantic gives it."""
    sections = [schema]
    for part in where:
        sections = [
            inner
            for section in sections
            for child in _children(section, part)
            for inner in _alternatives(child, schema["$defs"])
        ]
    return sorted({key for section in sections for key in section.get("properties", {})})


def _children(section: Mapping[str, Any], part: int | str) -> Iterator[Mapping[str, Any]]:
    properties = section.get("properties", {})
    if isinstance(part, int):
        yield section.get("items", {})
    elif part in properties:
        yield properties[part]
    elif properties.get("kind", {}).get("const") == part:  # of several sections, the one meant
        yield section


def _alternatives(
    section: Mapping[str, Any], known: Mapping[str, Any]
) -> Iterator[Mapping[str, Any]]:
    if "$ref" in section:
        yield from _alternatives(known[section["$ref"].rpartition("/")[2]], known)
    elif "anyOf" in section or "oneOf" in section:
        for each in section.get("anyOf", section.get("oneOf")):
            yield from _alternatives(each, known)
    else:
        yield section
