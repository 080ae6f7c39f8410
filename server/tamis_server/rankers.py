"""Opens the model that ranks, by the setting ranking.url. The native DeepFM is always there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tamis_server.adapters.embedded.deepfm import NativeDeepFM
from tamis_server.adapters.embedded.onnx_model import OnnxModel
from tamis_server.adapters.scoring import ModelRanker
from tamis_server.bundles.loader import Bundle
from tamis_server.bundles.manifest import MODELS
from tamis_server.domain.errors import BundleRejected
from tamis_server.domain.scoring import ScoringModel
from tamis_server.settings import RankingSettings, SettingsError

if TYPE_CHECKING:
    from tamis_server.adapters.remote.triton import TritonModel


@dataclass(frozen=True, slots=True)
class _Url:
    scheme: str
    addresses: tuple[str, ...]
    model: str
    version: str


def open_triton(settings: RankingSettings) -> TritonModel | None:
    """The model on its servers, for the life of this process; None where none is wanted.

    Raises SettingsError.
    """
    url = _parse(settings.url)
    if url is None or url.scheme != "triton":
        return None
    try:
        # only who ranks by it needs it installed
        from tamis_server.adapters.remote.triton import TritonModel  # noqa: PLC0415
        from tamis_server.adapters.remote.triton_endpoint import ModelName  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"setting ranking.url: {error.name} is not installed: pip install 'tamis[triton]'"
        ) from None
    model = ModelName(url.model, url.version)
    return TritonModel(url.addresses, model, calls=settings.calls)


def deep_ranker(
    bundle: Bundle, triton: TritonModel | None, light: NativeDeepFM, settings: RankingSettings
) -> ModelRanker | None:
    """What ranks before ``light`` does; None where that ranks alone. Raises BundleRejected."""
    url = _parse(settings.url)
    if url is None:
        return None
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
            f"setting ranking.url: {error.name} is not installed: pip install 'tamis[clip]'"
        ) from None
    except ValueError as error:
        raise BundleRejected(f"{where}/{files[-1].parent.name}/model.onnx", str(error)) from None


def _parse(url: str) -> _Url | None:
    """The setting's pattern has been checked."""
    if not url:
        return None
    scheme, _, rest = url.partition("://")
    addresses, _, model = rest.rpartition("/")
    name, _, version = model.partition(":")
    return _Url(scheme, tuple(filter(None, addresses.split(","))), name, version)
