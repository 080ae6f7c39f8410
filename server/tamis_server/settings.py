"""Settings: defaults < file (TOML) < environment (TAMIS_SECTION__KEY) < command line.

One model per concern; an unknown key is an error, wherever it comes from.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from tamis_server.domain.errors import FailureCategory, TamisError
from tamis_server.fields import described, field_at, model_in, value_of
from tamis_server.variables import slip

PREFIX = "TAMIS_"
KindName = Literal[
    "view", "click", "add_to_cart", "purchase", "like", "dislike", "impression", "hide"
]


class SettingsError(TamisError):
    """A setting that can't be: names it and says what is allowed, in one line."""

    category = FailureCategory.CLIENT


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(_Section):
    listen: str = Field("127.0.0.1:50051", description="host:port; port 0 takes a free one")
    workers: int = Field(
        1, ge=1, le=256, description="processes that serve, best one a core; they share a bundle"
    )
    stuck_s: float = Field(
        30.0, ge=0, description="a worker that does nothing for so long is replaced; 0: none is"
    )
    default_timeout_s: float = Field(1.0, gt=0, description="deadline of a call that brings none")
    min_timeout_s: float = Field(0.001, ge=0, description="a call with less left is refused")
    drain_s: float = Field(10.0, ge=0, description="how long in-flight requests may take at exit")
    drain_delay_s: float = Field(
        0.5, ge=0, description="between NOT_SERVING and refusing connections, for load balancers"
    )
    max_connection_age_s: float = Field(
        300.0, gt=0, description="connections end by age, so that clients find new servers"
    )
    access_log: bool = Field(True, description="a JSON line per request")


class BundleSettings(_Section):
    path: Path | None = Field(None, description="directory of the bundle to serve")
    url: str | None = Field(
        None, description="s3://bucket/prefix of published bundles, in place of path"
    )
    cache: Path = Field(
        Path(".cache/bundles"), description="directory for bundles that url is fetched into"
    )
    watch_s: float = Field(
        5.0, ge=0, description="how often to look for a new one; 0: on SIGHUP only"
    )


class SeenGroupSettings(_Section):
    """Event kinds whose items are not shown again, and for how long."""

    name: str = Field(
        pattern="^[a-z][a-z0-9_]{0,31}$",
        description="up to 32 of a-z, 0-9 and _, a letter first",
    )
    kinds: tuple[KindName, ...] = Field(min_length=1, description="of events")
    window_days: float = Field(365.0, ge=0, description="how long; 0: for ever")
    generations: int = Field(
        5, ge=2, le=64, description="filters at once; up to window / (generations - 1) longer"
    )
    expected: int = Field(64, ge=1, le=1_000_000, description="items a generation is sized for")
    rate: float = Field(
        0.01, gt=1e-6, le=0.5, description="share of items never met that may be dropped with them"
    )
    exact: int = Field(
        0, ge=0, le=65_536, description="items a generation keeps without error; then a filter"
    )


_MET = SeenGroupSettings(name="met", kinds=("view", "click", "add_to_cart"))
_DECIDED = SeenGroupSettings(
    name="decided", kinds=("purchase", "like", "dislike", "hide"), window_days=0, exact=4096
)


class StateSettings(_Section):
    url: str = Field(
        "lmdb://tamis-state",
        pattern=r"^(lmdb://.+|rediss?://.+|rediss?\+cluster://.+)$",
        description="lmdb://directory, redis://, rediss://, redis+cluster:// or rediss+cluster://",
    )
    max_history: int = Field(512, ge=1, le=100_000, description="events kept per user")
    seen: tuple[SeenGroupSettings, ...] = Field(
        (_MET, _DECIDED), description="what is not shown again; kinds in no group are shown again"
    )
    event_id_window_s: float = Field(
        86_400.0, gt=0, description="an event id that comes again within it counts once"
    )
    user_ttl_days: float = Field(
        400.0, gt=0, description="users are forgotten so long after their last event"
    )
    half_life_h: float = Field(6.0, gt=0, description="of item counters and trending scores")
    catalogue_log: int = Field(
        100_000, ge=100, description="changes of the catalogue that workers can catch up by"
    )
    fsync: Literal["commit", "interval", "never"] = Field(
        "commit",
        description="LMDB: what the death of the machine may cost: nothing (commit), the last "
        "commit (interval), or all of the state (never)",
    )
    fsync_interval_s: float = Field(
        1.0, gt=0, description="LMDB: with fsync = interval, how long until the last is on disk too"
    )
    map_mb: int = Field(1024, ge=1, description="LMDB: first size of the map; it grows")
    timeout_s: float = Field(0.05, gt=0, description="Redis: of a read; degraded beyond")
    write_timeout_s: float = Field(2.0, gt=0, description="Redis: of a write; refused beyond")
    connections: int = Field(32, ge=1, description="Redis: at most, per worker")
    namespace: str = Field(
        "tamis",
        pattern="^[A-Za-z0-9._-]{1,64}$",
        description="Redis: first part of every key, up to 64 of A-Z, a-z, 0-9 and . _ -",
    )
    ca_file: Path | None = Field(None, description="Redis by TLS: who signs its certificate")

    @field_validator("seen")
    @classmethod
    def _once(cls, groups: tuple[SeenGroupSettings, ...]) -> tuple[SeenGroupSettings, ...]:
        for what in ("name", "kinds"):
            given: list[str] = []
            for group in groups:
                value = getattr(group, what)
                given += [value] if isinstance(value, str) else value
            twice = sorted({each for each in given if given.count(each) > 1})
            if twice:
                raise ValueError(f"{what} given twice: {', '.join(twice)}")
        return groups


class CatalogueSettings(_Section):
    capacity: int = Field(
        20_000, ge=0, le=1_000_000, description="items that may be added or changed until a rebuild"
    )
    rebuild_at: int = Field(
        5_000, ge=1, description="so many of them, and the status says that a rebuild is due"
    )


class EventsSettings(_Section):
    unknown_items: Literal["store", "refuse"] = Field(
        "store", description="what to do with events of items that the catalogue does not know"
    )
    log_dir: Path | None = Field(None, description="directory of the event log; none: no log")
    log_rotate_mb: float = Field(
        64.0, gt=0, le=1024, description="a file is closed at this size (MiB, before compression)"
    )
    log_rotate_s: float = Field(300.0, gt=0, description="and this long after its first event")
    log_flush_s: float = Field(
        0.2, gt=0, le=60, description="how long events gather before they are synced to disk"
    )
    log_max_pending: int = Field(
        100_000, ge=1, description="events waiting to be written; beyond it they are dropped"
    )

    @field_validator("log_dir", mode="before")
    @classmethod
    def _is_a_directory(cls, value: Any) -> Any:
        # an unset variable in a template would otherwise mean the working directory
        if value == "":
            raise PydanticCustomError("empty", "is empty; leave it out for no event log")
        return value


class RetrievalSettings(_Section):
    personal: int = Field(300, ge=0, le=10_000, description="candidates near the query vector")
    recent: int = Field(150, ge=0, le=10_000, description="candidates around recent items")
    together: int = Field(300, ge=0, le=10_000, description="candidates often met with the user's")
    popular: int = Field(100, ge=1, le=10_000, description="candidates popular with all")
    fresh: int = Field(50, ge=0, le=10_000, description="candidates new in the catalogue")
    trending: int = Field(100, ge=0, le=10_000, description="candidates many do something with now")
    content: int = Field(
        100, ge=0, le=10_000, description="candidates that look or read like recent items"
    )
    trending_refresh_s: float = Field(5.0, gt=0, description="how often to ask what trends")
    fresh_days: float = Field(30.0, gt=0, description="how long an item counts as new")
    related: int = Field(200, ge=1, le=10_000, description="candidates of RelatedItems")
    personal_weight: float = Field(1.0, ge=0, description="of personal, when all are merged")
    recent_weight: float = Field(0.7, ge=0, description="likewise")
    together_weight: float = Field(1.0, ge=0, description="likewise")
    popular_weight: float = Field(0.3, ge=0, description="likewise")
    fresh_weight: float = Field(0.2, ge=0, description="likewise")
    trending_weight: float = Field(0.2, ge=0, description="likewise")
    content_weight: float = Field(0.3, ge=0, description="likewise, and in RelatedItems")
    source_timeout_s: float = Field(0.1, gt=0, description="of a source; then it is left out")
    ef_search: int = Field(
        300, ge=1, description="HNSW beam for 100 results; never below the bundle's own"
    )
    exact_below: int | None = Field(
        None, ge=0, description="scan so many eligible items exactly; default: as the costs say"
    )


class SearchSettings(_Section):
    candidates: int = Field(200, ge=1, le=10_000, description="most similar items, then ranked")
    taste: float = Field(
        0.3, ge=0, le=1, description="0: by similarity alone; 1: by the user's taste alone"
    )
    timeout_s: float = Field(0.5, gt=0, description="of encoding what is searched for")
    threads: int = Field(1, ge=0, description="of one encoding; 0: as many as cores")


_MODEL = r"[A-Za-z0-9_][A-Za-z0-9_.-]*(:[1-9][0-9]*)?"
_RANKER = rf"^$|^onnx://{_MODEL}$|^triton://[^,/\s]+:\d+(,[^,/\s]+:\d+)*/{_MODEL}$"
_RANKS = (
    "the model that ranks: onnx://model[:version] of the bundle, in this process, or "
    "triton://host:port[,host:port]/model[:version]; empty: the native DeepFM"
)
_NAME = "^[a-z0-9][a-z0-9_.-]{0,63}$"
_NAMED = "up to 64 of a-z, 0-9 and _ . -, a letter or digit first"


class VariantSettings(_Section):
    """What some users' candidates are ranked by instead of ranking.url."""

    name: str = Field(pattern=_NAME, description=_NAMED)
    url: str = Field("", pattern=_RANKER, description=_RANKS)
    share: float = Field(gt=0, le=1, description="of the users")


class ExperimentSettings(_Section):
    """An A/B test of rankers; users are divided by a hash of its name and their id."""

    name: str = Field(pattern=_NAME, description=_NAMED)
    variants: tuple[VariantSettings, ...] = Field(
        min_length=1, description="the rest of the users is the variant control, by ranking.url"
    )

    @field_validator("variants")
    @classmethod
    def _whole(cls, variants: tuple[VariantSettings, ...]) -> tuple[VariantSettings, ...]:
        names = [variant.name for variant in variants]
        if len({*names, "control"}) <= len(names):
            raise PydanticCustomError(
                "variants", "each needs a name of its own, and not control; they are {names}",
                {"names": ", ".join(names)},
            )  # fmt: skip
        whole = sum(variant.share for variant in variants)
        if whole > 1 + 1e-9:
            raise PydanticCustomError(
                "variants", "their shares make {whole}, at most 1 is allowed",
                {"whole": f"{whole:g}"},
            )  # fmt: skip
        return variants


class RankingSettings(_Section):
    candidates: int = Field(500, ge=1, le=10_000, description="candidates ranked, after filtering")
    url: str = Field("", pattern=_RANKER, description=_RANKS)
    precision: Literal["f32", "f16", "int8"] = Field(
        "f32", description="of the native DeepFM; what it costs is in the bundle's report.md"
    )
    timeout_s: float = Field(0.1, gt=0, description="of that model; then the native DeepFM ranks")
    reserve_s: float = Field(
        0.01, ge=0, description="of a request's deadline, kept for ranking without that model"
    )
    calls: int = Field(2, ge=1, le=64, description="runs of that model at once, for each server")
    users_per_call: int = Field(16, ge=1, le=64, description="requests that may share a run")
    experiment: ExperimentSettings | None = Field(
        None, description="other models for some of the users"
    )
    objectives: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {}, description="weight of each objective in the score; empty: the bundle's own"
    )


class RerankingSettings(_Section):
    method: Literal["mmr", "dpp"] = Field(
        "mmr", description="maximal marginal relevance, or a determinantal point process"
    )
    trade_off: float = Field(0.95, ge=0, le=1, description="1 pure relevance, 0 pure diversity")
    pool: int = Field(5, ge=1, le=100, description="chosen among pool x page size candidates")


class ProtectionSettings(_Section):
    target_s: float = Field(
        0.1, gt=0, description="99 of 100 answers in this time, or fewer candidates are ranked"
    )
    least_quality: float = Field(
        0.2, gt=0, le=1, description="never less than this share of ranking.candidates"
    )
    wait_s: float = Field(
        0.1, gt=0, description="requests that would wait longer than about this are refused"
    )
    max_in_flight: int = Field(1000, ge=1, description="requests answered at once, at most")


class MetricsSettings(_Section):
    listen: str = Field(
        "", pattern=r"^$|^.*:\d+$", description="host:port of /metrics for Prometheus; empty: none"
    )


class LogSettings(_Section):
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="of log lines, at least"
    )


class Settings(BaseSettings):
    """All of them."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    server: ServerSettings = ServerSettings()
    bundle: BundleSettings = BundleSettings()
    state: StateSettings = StateSettings()
    events: EventsSettings = EventsSettings()
    catalogue: CatalogueSettings = CatalogueSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    search: SearchSettings = SearchSettings()
    ranking: RankingSettings = RankingSettings()
    reranking: RerankingSettings = RerankingSettings()
    protection: ProtectionSettings = ProtectionSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()


def load_settings(
    file: Path | None = None, command_line: Mapping[str, Mapping[str, Any]] | None = None
) -> Settings:
    """The effective settings. ``command_line``: section -> key -> value. Raises SettingsError."""
    for variable, text in os.environ.items():
        if wrong := slip(Settings, PREFIX, variable, text):
            raise SettingsError(f"variable {variable}: {wrong}")
    if file is not None and not file.is_file():
        raise SettingsError(f"settings file {file}: not found")

    class Effective(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 not a source here
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 nor is this
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            toml = TomlConfigSettingsSource(settings_cls, toml_file=file)
            return init_settings, env_settings, toml

    given: dict[str, Any] = {
        section: dict(values) for section, values in (command_line or {}).items() if values
    }
    try:
        return Effective(**given)
    except ValidationError as error:
        raise SettingsError(_one_line(error)) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"settings file {file}: {error}") from None


def assigned(assignments: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What ``load_settings`` takes, from ``section.key=value`` or ``section.key.key=value``; lists
    and whole groups are JSON. Raises SettingsError."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        *parents, key = path = name.split(".")
        if not (equals and parents and all(path)):
            raise SettingsError(f"{assignment!r} is not section.key=value")
        inside = values
        for parent in parents:
            inside = inside.setdefault(parent, {})
            if not isinstance(inside, dict):
                raise SettingsError(f"{assignment!r}: {parent} has a value, and no settings in it")
        try:
            inside[key] = value_of(field_at(Settings, path), text)
        except ValueError as error:
            raise SettingsError(f"setting {name}: it is JSON: {error} (given: {text!r})") from None
    return values


def _one_line(error: ValidationError) -> str:
    found = error.errors()  # what has a wrong name is missing under the right one, too
    first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
    *parents, _ = path = first["loc"]
    where = ".".join(str(part) for part in path)
    field = field_at(Settings, path)
    if first["type"] == "extra_forbidden":
        above = field_at(Settings, parents)
        model = Settings if above is None else model_in(above.annotation)
        known = ", ".join(sorted(model.model_fields)) if model else "none"
        return f"setting {where}: no such setting; there are {known}"
    if first["type"] == "string_pattern_mismatch" and field is not None:
        return f"setting {where}: it is {described(field)} (given: {first['input']!r})"
    return f"setting {where}: {first['msg']} (given: {first['input']!r})"
