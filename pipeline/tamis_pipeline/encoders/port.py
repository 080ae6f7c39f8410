"""The port, and the names by which encoders are opened."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL.Image import Image

from tamis_pipeline.extras import needs
from tamis_server.bundles.clip import CPU
from tamis_server.domain.errors import FailureCategory, TamisError

Float32 = npt.NDArray[np.float32]

DEFAULT_PAIR = "Qdrant/clip-ViT-B-32"
DEFAULT_CHECKPOINT = "openai/clip-vit-base-patch32"
DEMO_SHOP = "demo-shop"  # the CLIP that comes with the package, of `make demo-clip`
ROUTES = (
    f"onnx:DIRECTORY, onnx:{DEMO_SHOP}, "
    f"onnx:NAME (of a pair on the hub; without it {DEFAULT_PAIR}), "
    f"transformers:NAME_OR_DIRECTORY (without it {DEFAULT_CHECKPOINT})"
)


class EncoderRejected(TamisError):
    """An encoder that can't be opened; names it and says why."""

    category = FailureCategory.CLIENT


class Encoder(Protocol):
    """Two towers into one space; equal digests mean equal vectors."""

    @property
    def dim(self) -> int: ...

    @property
    def digest(self) -> str: ...

    @property
    def image_size(self) -> int: ...

    @property
    def max_tokens(self) -> int: ...

    def texts(self, texts: Sequence[str]) -> Float32:
        """float32[n, dim], unit rows; a blank text gives a zero row."""

    def pixels(self, picture: Image) -> Float32:
        """float32[3, height, width]: what the tower sees of an RGB picture; much less than it."""

    def images(self, pixels: Sequence[Float32]) -> Float32:
        """float32[n, dim], unit rows, of what ``pixels`` gave."""

    def export(self, directory: Path) -> None:
        """Write the towers into an existing directory, in the layout of ``bundles.clip``."""


def open_encoder(name: str, providers: Sequence[str] = CPU, threads: int = 0) -> Encoder:
    """The encoder called ``ROUTE:WHICH``; providers are onnxruntime's, for the route ``onnx``.

    Raises EncoderRejected, too where the route's extra is not installed, and BundleRejected for a
    directory in another layout.
    """
    route, _, which = name.partition(":")
    if route == "onnx":
        from tamis_pipeline.encoders.towers import OnnxEncoder  # noqa: PLC0415 see below

        return OnnxEncoder(_directory(which), providers, threads)
    if route == "transformers":
        try:
            from tamis_pipeline.encoders.huggingface import HuggingFaceEncoder  # noqa: PLC0415
        except ModuleNotFoundError as missing:
            reason = needs(missing, "clip-torch")
            raise EncoderRejected(f"encoder {name!r}: {reason}") from None
        return HuggingFaceEncoder(which or DEFAULT_CHECKPOINT)
    raise EncoderRejected(f"encoder {name!r}: no such route; there are {ROUTES}")


def _directory(which: str) -> Path:
    if which == DEMO_SHOP:
        return Path(str(files("tamis_pipeline.shop") / "clip"))
    if which and Path(which).is_dir():
        return Path(which)
    from tamis_pipeline.encoders import hub  # noqa: PLC0415 one way needs not what others need

    return hub.fetch(which)
