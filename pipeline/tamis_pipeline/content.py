"""Content vectors of items: what ``tamis pipeline embed`` writes and models and bundles take."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tamis_pipeline.dataset import DatasetRejected
from tamis_server.bundles.manifest import ContentSpec

VECTORS = "content.npy"
HAS_IMAGE = "has_image.npy"
ITEM_IDS = "item_ids.json"
CARD = "embedding.json"
CLIP = "clip"


@dataclass(frozen=True, slots=True)
class Content:
    """vectors float32[items, c], unit rows, zero where an item has neither text nor picture;
    has_image bool[items]: a picture is part of the vector."""

    vectors: npt.NDArray[np.float32]
    has_image: npt.NDArray[np.bool_]
    spec: ContentSpec

    @classmethod
    def load(cls, directory: Path, item_ids: Sequence[str]) -> Content:
        """Of ``item_ids``, in their order; items that were not embedded have zero rows.

        Raises DatasetRejected for a directory that ``embed`` did not write.
        """
        try:
            spec = ContentSpec.model_validate(json.loads((directory / CARD).read_text())["spec"])
            vectors = np.load(directory / VECTORS)
            has_image = np.load(directory / HAS_IMAGE)
            ids: list[str] = json.loads((directory / ITEM_IDS).read_text("utf-8"))
        except (OSError, KeyError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise DatasetRejected(
                f"{directory}: not what tamis pipeline embed writes: {reason}"
            ) from None
        if vectors.shape != (len(ids), spec.dim) or has_image.shape != (len(ids),):
            raise DatasetRejected(
                f"{directory}: {len(ids)} ids, but {VECTORS} is {list(vectors.shape)} and "
                f"{HAS_IMAGE} {list(has_image.shape)}"
            )
        row_of = {item_id: row for row, item_id in enumerate(ids)}
        rows = np.array([row_of.get(item_id, -1) for item_id in item_ids], np.intp)
        known = rows >= 0
        aligned = np.zeros((len(item_ids), spec.dim), np.float32)
        aligned[known] = vectors[rows[known]]
        pictured = np.zeros(len(item_ids), np.bool_)
        pictured[known] = has_image[rows[known]]
        return cls(aligned, pictured, spec)

    def save(self, directory: Path, item_ids: Sequence[str]) -> None:
        """Into an existing directory; ``CARD`` and the towers are ``embed``'s to write."""
        np.save(directory / VECTORS, self.vectors)
        np.save(directory / HAS_IMAGE, self.has_image)
        (directory / ITEM_IDS).write_text(json.dumps(list(item_ids)) + "\n", "utf-8")
