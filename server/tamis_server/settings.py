"""Settings: defaults < file (TOML) < environment (TAMIS_SECTION__KEY) < command line.

One model per concern; an unknown key is an error, wherever it comes from.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import (
    SettingsError as SettingsSourceError,
)

from tamis_server.domain.errors import FailureCategory, TamisError

PREFIX = "TAMIS_"


class SettingsError(TamisError):
    """A setting that can't be: names it and says what is allowed, in one line."""

    category = FailureCategory.CLIENT


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(_Section):
    listen: str = Field("127.0.0.1:50051", description="host:port; port 0 takes a free one")
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
    watch_s: float = Field(
        5.0, ge=0, description="how often to look for a new one; 0: on SIGHUP only"
    )


class StateSettings(_Section):
    url: Literal["memory://"] = Field("memory://", description="where user state lives")
    max_history: int = Field(512, ge=1, le=100_000, description="events kept per user")


class RetrievalSettings(_Section):
    personal: int = Field(300, ge=0, le=10_000, description="candidates near the query vector")
    recent: int = Field(150, ge=0, le=10_000, description="candidates around recent items")
    popular: int = Field(100, ge=1, le=10_000)
    fresh: int = Field(50, ge=0, le=10_000)
    fresh_days: float = Field(30.0, gt=0, description="how long an item counts as new")
    related: int = Field(200, ge=1, le=10_000, description="candidates of RelatedItems")
    personal_weight: float = Field(1.0, ge=0)
    recent_weight: float = Field(0.7, ge=0)
    popular_weight: float = Field(0.3, ge=0)
    fresh_weight: float = Field(0.2, ge=0)
    source_timeout_s: float = Field(0.1, gt=0)
    ef_search: int = Field(
        300, ge=1, description="HNSW beam for 100 results; never below the bundle's own"
    )
    exact_below: int | None = Field(
        None, ge=0, description="scan so many eligible items exactly; default: as the costs say"
    )


class RankingSettings(_Section):
    candidates: int = Field(500, ge=1, le=10_000, description="candidates ranked, after filtering")
    timeout_s: float = Field(0.1, gt=0)


class RerankingSettings(_Section):
    trade_off: float = Field(
        0.95, ge=0, le=1, description="MMR: 1 pure relevance, 0 pure diversity"
    )
    pool: int = Field(5, ge=1, le=100, description="MMR chooses among pool x page size candidates")


class LogSettings(_Section):
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(BaseSettings):
    """All of them."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    server: ServerSettings = ServerSettings()
    bundle: BundleSettings = BundleSettings()
    state: StateSettings = StateSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    ranking: RankingSettings = RankingSettings()
    reranking: RerankingSettings = RerankingSettings()
    log: LogSettings = LogSettings()


def load_settings(
    file: Path | None = None, command_line: Mapping[str, Mapping[str, Any]] | None = None
) -> Settings:
    """The effective settings. ``command_line``: section -> key -> value. Raises SettingsError."""
    _refuse_unknown_variables()
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
    except SettingsSourceError as error:
        raise SettingsError(str(error)) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"settings file {file}: {error}") from None


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    *parents, _ = first["loc"]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"setting {where}: {first['msg']} (given: {first['input']!r})"
    fields: Mapping[str, Any] = Settings.model_fields
    for parent in parents:
        fields = fields[str(parent)].annotation.model_fields
    return f"setting {where}: no such setting; there are {', '.join(sorted(fields))}"


def _refuse_unknown_variables() -> None:
    """pydantic-settings overlooks variables of sections that don't exist: a typo must not pass."""
    for variable in os.environ:
        section, separator, _ = variable.removeprefix(PREFIX).partition("__")
        if (
            variable.startswith(PREFIX)
            and separator
            and section.lower() not in Settings.model_fields
        ):
            known = ", ".join(sorted(Settings.model_fields))
            raise SettingsError(
                f"variable {variable}: no section {section.lower()}; there are {known}"
            )
