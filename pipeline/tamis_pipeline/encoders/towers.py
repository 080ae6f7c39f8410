"""Route ``onnx``: a directory in the layout of ``tamis_server.bundles.clip``."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from PIL.Image import Image

from tamis_pipeline.encoders.port import Float32
from tamis_server.bundles.clip import CLIP_FILES, CPU, Clip


class OnnxEncoder:
    """Towers that run as they will be served."""

    def __init__(self, directory: Path, providers: Sequence[str] = CPU, threads: int = 0) -> None:
        """Raises BundleRejected."""
        self._directory = directory
        self._clip = Clip.load(directory, providers, threads)

    @property
    def dim(self) -> int:
        return self._clip.dim

    @property
    def digest(self) -> str:
        return self._clip.card.digest

    @property
    def image_size(self) -> int:
        return self._clip.card.image_size

    @property
    def max_tokens(self) -> int:
        return self._clip.card.max_tokens

    def texts(self, texts: Sequence[str]) -> Float32:
        return self._clip.texts(texts)

    def pixels(self, picture: Image) -> Float32:
        return self._clip.pixels(picture)

    def images(self, pixels: Sequence[Float32]) -> Float32:
        return self._clip.images(pixels)

    def export(self, directory: Path) -> None:
        for name in CLIP_FILES:
            shutil.copyfile(self._directory / name, directory / name)
