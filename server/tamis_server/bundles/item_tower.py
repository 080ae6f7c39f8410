"""The item tower in NumPy, for items that training never met: from what is known of them alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis_server.bundles.vocabulary import Vocabulary

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]

# With f the sum of the field sizes, w word buckets, c the width of content (0: none):
ARRAYS = (
    "field",  # float32[f, d]
    "word",  # float32[w, d]
    "content",  # float32[c, d]
    "history_field",  # float32[f, e]
    "history_content",  # float32[c, e]
)


@dataclass(frozen=True, slots=True)
class ItemTower:
    """Places items by their fields (int32[n, fields]), hashed words (int32[n, words], -1: no more)
    and content vectors (float32[n, c], a zero row where there is none)."""

    vocabulary: Vocabulary
    arrays: Mapping[str, npt.NDArray[Any]]

    def vectors(self, fields: Int32, words: Int32, content: Float32) -> Float32:
        """float32[n, d], unit length: where queries look for them."""
        found = self._fields("field", fields) + content @ self.arrays["content"]
        present = (words >= 0)[..., None]
        words_of = self.arrays["word"][np.maximum(words, 0)] * present
        found = found + words_of.sum(axis=1) / np.maximum(present.sum(axis=1), 1)
        norm = np.sqrt(np.square(found).sum(axis=1, keepdims=True))
        unit: Float32 = (found / np.maximum(norm, 1e-6)).astype(np.float32)
        return unit

    def histories(self, fields: Int32, content: Float32) -> Float32:
        """float32[n, e]: their rows of ``history_table``."""
        about: Float32 = content @ self.arrays["history_content"]
        return self._fields("history_field", fields) + about

    def _fields(self, name: str, fields: Int32) -> Float32:
        sizes = [spec.size for spec in self.vocabulary.specs]
        offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        found: Float32 = self.arrays[name][fields + offsets].mean(axis=1)
        return found
