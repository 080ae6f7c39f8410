"""CLIP (Radford et al., ICML 2021) as two ONNX towers: texts and pictures into one space.

A directory holds it, wherever it came from (trained here, a hub, a Hugging Face checkpoint):

========================  ==========================================================================
text.onnx                 input_ids int64[n, length] and, where the graph asks for it,
                          attention_mask int64[n, length] -> float32[n, dim], the first output
vision.onnx               pixel_values float32[n, 3, height, width] -> float32[n, dim], the first
tokenizer.json            of Hugging Face ``tokenizers``, with its padding token
preprocessor_config.json  see ``bundles.pictures``
clip.json                 ``Card``: widths, and the digest of each of the four
========================  ==========================================================================

Offline and online encode with this one class, and fuse with this one function. onnxruntime,
tokenizers and Pillow (the ``clip`` extra) are imported when they are used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tamis_server.bundles.manifest import ContentSpec, digest
from tamis_server.bundles.pictures import PREPROCESSOR, Preprocessing, decode
from tamis_server.domain.errors import BundleRejected

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from PIL.Image import Image
    from tokenizers import Tokenizer

T = TypeVar("T")
Float32 = npt.NDArray[np.float32]

TEXT = "text.onnx"
VISION = "vision.onnx"
TOKENIZER = "tokenizer.json"
CARD = "clip.json"
WEIGHED = (TEXT, VISION, TOKENIZER, PREPROCESSOR)
CLIP_FILES = (*WEIGHED, CARD)
CPU = ("CPUExecutionProvider",)
_SHORTEST = 1e-6  # a vector shorter than that has no direction


class Card(BaseModel):
    """clip.json. max_tokens: longer texts are cut; files: SHA-256, as hex, of the other four."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dim: int = Field(ge=1)
    max_tokens: int = Field(ge=1)
    image_size: int = Field(ge=1)
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """Equal for equal towers: what vectors made by them may be kept under."""
        table = "".join(f"{name} {value}\n" for name, value in sorted(self.files.items()))
        return hashlib.sha256(f"{self.max_tokens}\n{table}".encode()).hexdigest()


def write_card(directory: Path, dim: int, max_tokens: int, image_size: int) -> Card:
    """Seal the other four files of ``directory``."""
    files = {name: digest(directory / name) for name in WEIGHED}
    card = Card(dim=dim, max_tokens=max_tokens, image_size=image_size, files=files)
    (directory / CARD).write_text(card.model_dump_json(indent=2) + "\n", "utf-8")
    return card


def read_card(directory: Path) -> Card:
    """The card, once the files are found to be those it names. Raises BundleRejected."""
    try:
        card = Card.model_validate(json.loads((directory / CARD).read_text("utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise BundleRejected(CARD, f"{directory}: {_first_line(error)}") from None
    for name in WEIGHED:
        path = directory / name
        if not path.is_file():
            raise BundleRejected(name, f"not found in {directory}")
        if digest(path) != card.files.get(name):
            raise BundleRejected(name, f"not the file that {CARD} names (SHA-256 differs)")
    return card


class Clip:
    """Both towers, loaded. Its methods may be called from several threads at once."""

    def __init__(
        self,
        card: Card,
        text: InferenceSession,
        vision: InferenceSession,
        tokenizer: Tokenizer,
        preprocessing: Preprocessing,
    ) -> None:
        self.card = card
        self._text, self._vision = text, vision
        self._tokenizer = tokenizer
        self._preprocessing = preprocessing
        self._text_inputs = {node.name for node in text.get_inputs()}
        self._vision_input = str(vision.get_inputs()[0].name)

    @classmethod
    def load(cls, directory: Path, providers: Sequence[str] = CPU, threads: int = 0) -> Clip:
        """threads: of one call, 0 for as many as there are cores. Raises BundleRejected for files
        that are missing, damaged or no such model, ModuleNotFoundError without the extra."""
        card = read_card(directory)
        return cls(
            card,
            _session(directory / TEXT, providers, threads),
            _session(directory / VISION, providers, threads),
            _tokenizer(directory / TOKENIZER, card.max_tokens),
            Preprocessing.load(directory / PREPROCESSOR),
        )

    @property
    def dim(self) -> int:
        return self.card.dim

    def texts(self, texts: Sequence[str]) -> Float32:
        """float32[n, dim], unit rows; a blank text gives a zero row."""
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        encodings = self._tokenizer.encode_batch(list(texts))
        inputs = {
            "input_ids": np.array([found.ids for found in encodings], np.int64),
            "attention_mask": np.array([found.attention_mask for found in encodings], np.int64),
        }
        asked = {name: values for name, values in inputs.items() if name in self._text_inputs}
        found = self._unit(self._text.run(None, asked)[0], TEXT)
        found[[not text.strip() for text in texts]] = 0.0
        return found

    def pixels(self, image: bytes | Image) -> Float32:
        """float32[3, height, width]: what the vision tower sees of a picture, encoded or RGB.

        Raises UnreadablePicture for bytes that can't be decoded.
        """
        return self._preprocessing(decode(image) if isinstance(image, bytes) else image)

    def images(self, images: Sequence[bytes | Image | Float32]) -> Float32:
        """float32[n, dim], unit rows, of pictures or of their ``pixels``. Raises as that."""
        if not images:
            return np.zeros((0, self.dim), np.float32)
        # one after the other: decoded, a picture can be thousands of times as large as it is then
        pixels = np.stack(
            [image if isinstance(image, np.ndarray) else self.pixels(image) for image in images]
        )
        return self._unit(self._vision.run(None, {self._vision_input: pixels})[0], VISION)

    def _unit(self, found: Any, file: str) -> Float32:
        if found.ndim != 2 or found.shape[1] != self.dim:
            raise BundleRejected(file, f"gives {list(found.shape)}, not [n, {self.dim}]")
        return normalised(found.astype(np.float32, copy=False))


def document(title: str, text: str) -> str:
    """What the text tower is given of an item."""
    return ". ".join(part for part in (title.strip(), text.strip()) if part)


def normalised(vectors: Float32) -> Float32:
    """Unit rows; those without a direction become zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.zeros_like(vectors)
    np.divide(vectors, length, out=unit, where=length > _SHORTEST)
    return unit


def fuse(
    texts: Float32, images: Float32, has_image: npt.NDArray[np.bool_], spec: ContentSpec
) -> Float32:
    """Unit vectors float32[n, c] of texts and pictures float32[n, c], both unit or zero rows.

    The weighted sum of both; where one is missing (no picture, or a zero row) the other alone,
    whatever its weight; where both are missing a zero row.
    """
    pictures = images * has_image[:, None]
    both = texts.any(axis=1) & pictures.any(axis=1)
    weight_text = np.where(both, spec.text_weight, 1.0).astype(np.float32)[:, None]
    weight_image = np.where(both, spec.image_weight, 1.0).astype(np.float32)[:, None]
    return normalised(weight_text * texts + weight_image * pictures)


def _session(path: Path, providers: Sequence[str], threads: int) -> InferenceSession:
    import onnxruntime  # noqa: PLC0415 an extra, and slow to import

    absent = [name for name in providers if name not in onnxruntime.get_available_providers()]
    if absent:
        raise BundleRejected(
            path.name,
            f"provider {', '.join(absent)} is not there; "
            f"there are {', '.join(onnxruntime.get_available_providers())}",
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return _or_rejected(
        path,
        lambda: onnxruntime.InferenceSession(str(path), options, providers=list(providers)),
    )


def _tokenizer(path: Path, max_tokens: int) -> Tokenizer:
    from tokenizers import Tokenizer  # noqa: PLC0415 an extra, and slow to import

    tokenizer = _or_rejected(path, lambda: Tokenizer.from_file(str(path)))
    padding = tokenizer.padding
    if padding is None:
        raise BundleRejected(path.name, "names no padding token")
    tokenizer.enable_truncation(max_tokens)
    # to the longest of a batch: a query of four words is not the price of 77
    tokenizer.enable_padding(
        pad_id=padding["pad_id"], pad_token=padding["pad_token"], direction=padding["direction"]
    )
    return tokenizer


def _or_rejected(path: Path, make: Callable[[], T]) -> T:
    try:
        return make()
    except Exception as error:  # both libraries raise bare Exception for a damaged file
        raise BundleRejected(path.name, _first_line(error)) from None


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
