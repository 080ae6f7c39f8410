"""Opens the model that ranks, by the setting ranking.url. The native DeepFM is always there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tamis_server.adapters.embedded.deepfm import NativeDeepFM
from tamis_server.adapters.embedded.onnx_model import OnnxModel
from tamis_server.adapters.scoring import ModelRanker
from tamis_server.adapters.variants import RankerByVariant
from tamis_server.bundles.loader import Bundle
from tamis_server.bundles.manifest import MODELS
from tamis_server.domain.errors import BundleRejected, installing
from tamis_server.domain.ports import Ranker
from tamis_server.domain.scoring import ScoringModel
from tamis_server.policies.experiment import CONTROL, Experiment
from tamis_server.settings import RankingSettings, SettingsError

if TYPE_CHECKING:
    from tamis_server.adapters.remote.triton import TritonModel


@dataclass(frozen=True, slots=True)
class _Url:
    scheme: str
    addresses: tuple[str, ...]
    model: str
    version: str


def experiment(settings: RankingSettings) -> Experiment | None:
    """The one that runs, if any."""
    wanted = settings.experiment
    if wanted is None:
        return None
    return Experiment(wanted.name, {each.name: each.share for each in wanted.variants})


def urls(settings: RankingSettings) -> dict[str, str]:
    """What ranks, by variant: the setting url, and those of the experiment."""
    running = settings.experiment
    if running is None:
        return {"": settings.url}
    return {CONTROL: settings.url, **{each.name: each.url for each in running.variants}}


def open_triton(settings: RankingSettings) -> dict[str, TritonModel]:
    """The models on their servers, by URL, for the life of this process. Raises SettingsError."""
    wanted = {url for url in urls(settings).values() if url.startswith("triton:")}
    return {url: _open(_parse(url), settings) for url in sorted(wanted)}


def _open(url: _Url, settings: RankingSettings) -> TritonModel:
    try:
        # only who ranks by it needs it installed
        from tamis_server.adapters.remote.triton import TritonModel  # noqa: PLC0415
        from tamis_server.adapters.remote.triton_endpoint import ModelName  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"setting ranking.url: {error.name} is not installed: {installing('triton')}"
        ) from None
    model = ModelName(url.model, url.version)
    return TritonModel(url.addresses, model, calls=settings.calls)


def deep_ranker(
    bundle: Bundle,
    triton: Mapping[str, TritonModel],
    light: NativeDeepFM,
    settings: RankingSettings,
) -> Ranker | None:
    """What ranks before ``light`` does; None where that ranks alone. Raises BundleRejected."""
    made: dict[str, Ranker] = {"": light}
    wanted = urls(settings)
    for url in wanted.values():
        if url not in made:
            made[url] = _model_ranker(bundle, url, triton.get(url), light, settings)
    if "" in wanted:
        ranker = made[wanted[""]]
        return None if ranker is light else ranker
    by_variant = {variant: made[url] for variant, url in wanted.items()}
    return RankerByVariant({**by_variant, "": by_variant[CONTROL]})  # a warm-up is nobody's


def _model_ranker(
    bundle: Bundle,
    text: str,
    triton: TritonModel | None,
    light: NativeDeepFM,
    settings: RankingSettings,
) -> ModelRanker:
    url = _parse(text)
    model: ScoringModel = _onnx(bundle, url, settings) if triton is None else triton
    return ModelRanker(
        bundle,
        model,
        light,
        shares=light.shares,
        log_popularity=light.log_popularity,
        timeout_s=settings.timeout_s,
        at_once=settings.calls * max(1, len(url.addresses)),
        users=settings.users_per_call,
    )


def _onnx(bundle: Bundle, url: _Url, settings: RankingSettings) -> OnnxModel:
    where = f"{MODELS}/{url.model}"
    files = sorted(
        (path for path in (bundle.directory / where).glob("*/model.onnx")),
        key=lambda path: int(path.parent.name),
    )
    if url.version:
        files = [path for path in files if path.parent.name == url.version]
    if not files:
        raise BundleRejected(where, "not in the bundle, but the setting ranking.url names it")
    try:
        return OnnxModel(url.model, files[-1], at_once=settings.calls)
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"setting ranking.url: {error.name} is not installed: {installing('clip')}"
        ) from None
    except ValueError as error:
        raise BundleRejected(f"{where}/{files[-1].parent.name}/model.onnx", str(error)) from None


def _parse(url: str) -> _Url:
    """The setting's pattern has been checked, and it is not empty."""
    scheme, _, rest = url.partition("://")
    addresses, _, model = rest.rpartition("/")
    name, _, version = model.partition(":")
    return _Url(scheme, tuple(filter(None, addresses.split(","))), name, version)
