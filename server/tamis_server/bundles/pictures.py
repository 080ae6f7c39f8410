"""From the bytes of a picture to what a vision tower takes: CLIP's preprocessing, as its
``preprocessor_config.json`` declares it (the keys of Hugging Face's CLIPImageProcessor).

Pillow (the ``clip`` extra) is imported when the first picture comes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tamis_server.domain.errors import BundleRejected, FailureCategory, TamisError

if TYPE_CHECKING:
    from PIL.Image import Image

Float32 = npt.NDArray[np.float32]

PREPROCESSOR = "preprocessor_config.json"
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # Pillow knows some that run programs
MOST_PIXELS = 50_000_000
_CHANNELS = 3
_PROCESSORS = ("CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPFeatureExtractor")


class UnreadablePicture(TamisError):
    """Bytes that are no picture, or too large a one; says which."""

    category = FailureCategory.CLIENT


def decode(data: bytes) -> Image:
    """An RGB picture, transparency on white. Raises UnreadablePicture."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 an extra, and slow to import

    try:
        with Image.open(BytesIO(data), formats=FORMATS) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise UnreadablePicture(
                    f"{opened.width} x {opened.height} pixels: at most {MOST_PIXELS} are allowed"
                )
            opened.load()
            if not opened.has_transparency_data:
                return opened.convert("RGB")
            white = Image.new("RGBA", opened.size, "white")
            return Image.alpha_composite(white, opened.convert("RGBA")).convert("RGB")
    except UnidentifiedImageError:
        raise UnreadablePicture(f"not a picture of a known format ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombError:
        raise UnreadablePicture(f"at most {MOST_PIXELS} pixels are allowed") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        # what Pillow's readers raise for damaged files
        raise UnreadablePicture(f"damaged: {error}") from None


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """shortest_edge or size (height, width): how it is resized, keeping the shape or not; crop
    (height, width): the middle that is kept; mean, std float32[3, 1, 1]: of values in 0..1."""

    shortest_edge: int | None
    size: tuple[int, int] | None
    crop: tuple[int, int] | None
    resample: int
    scale: float
    mean: Float32
    std: Float32

    @classmethod
    def load(cls, path: Path) -> Preprocessing:
        """Raises BundleRejected."""
        try:
            return cls.parse(json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            raise BundleRejected(path.name, f"not found in {path.parent}") from None
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise BundleRejected(path.name, f"{type(error).__name__}: {error}") from None

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Preprocessing:
        """Raises KeyError or ValueError for what is missing or not known."""
        kind = config.get("image_processor_type") or config.get("feature_extractor_type")
        if kind is not None and kind not in _PROCESSORS:
            raise ValueError(f"{kind} is not known; there are {', '.join(_PROCESSORS)}")
        edge, size, crop = None, None, None
        if config.get("do_resize", True):
            edge, size = _edge_or_size(config["size"])
        if config.get("do_center_crop", True):
            crop = _height_width(config["crop_size"])
        normalised = config.get("do_normalize", True)
        mean = config["image_mean"] if normalised else [0.0] * _CHANNELS
        std = config["image_std"] if normalised else [1.0] * _CHANNELS
        return cls(
            shortest_edge=edge,
            size=size,
            crop=crop,
            resample=int(config.get("resample", 3)),
            scale=float(config.get("rescale_factor", 1 / 255))
            if config.get("do_rescale", True)
            else 1.0,
            mean=np.array(mean, np.float32).reshape(_CHANNELS, 1, 1),
            std=np.array(std, np.float32).reshape(_CHANNELS, 1, 1),
        )

    @property
    def edge(self) -> int:
        """Height in pixels of what the tower sees; 0: that of the picture."""
        if self.crop is not None:
            return self.crop[0]
        return self.shortest_edge or 0 if self.size is None else self.size[0]

    def __call__(self, picture: Image) -> Float32:
        """float32[3, height, width] of an RGB picture."""
        framed = np.asarray(self.framed(picture), np.float32).transpose(2, 0, 1)
        found: Float32 = (framed * np.float32(self.scale) - self.mean) / self.std
        return found

    def framed(self, picture: Image) -> Image:
        """The part of an RGB picture that is looked at, in the size that it is looked at."""
        from PIL import Image  # noqa: PLC0415 an extra, and slow to import

        resample = Image.Resampling(self.resample)
        if self.size is not None:
            picture = picture.resize((self.size[1], self.size[0]), resample)
        elif self.shortest_edge is not None:
            short, long = sorted(picture.size)
            edges = (self.shortest_edge, int(self.shortest_edge * long / short))
            upright = picture.width <= picture.height
            picture = picture.resize(edges if upright else edges[::-1], resample)
        return picture if self.crop is None else _middle(picture, *self.crop)


def _middle(picture: Image, height: int, width: int) -> Image:
    # Pillow fills what lies outside the picture with black, as CLIP's own processor does
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def _edge_or_size(size: Any) -> tuple[int | None, tuple[int, int] | None]:
    if isinstance(size, int):
        return size, None
    if "shortest_edge" in size:
        return int(size["shortest_edge"]), None
    return None, _height_width(size)


def _height_width(size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    return int(size["height"]), int(size["width"])
