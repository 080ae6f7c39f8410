"""A bundle as the pipeline reads it, to go on from it or to score with it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis_pipeline.integrity import require_whole
from tamis_pipeline.rankers.exposures import ItemTables
from tamis_pipeline.ranking import DEEPFM, TRANSFORMER, WEIGHTS
from tamis_pipeline.twotower import Towers
from tamis_server.bundles import features
from tamis_server.bundles import manifest as fmt
from tamis_server.bundles.item_tower import ItemTower
from tamis_server.bundles.neighbours import Neighbours
from tamis_server.bundles.vocabulary import Vocabulary
from tamis_server.domain.errors import BundleRejected

Float32 = npt.NDArray[np.float32]
_PAIRING = "pairing_id"


class Served:
    """Its parts, each read when it is asked for first."""

    def __init__(self, directory: Path) -> None:
        """Raises BundleRejected for a bundle of another format."""
        self.directory = directory
        self.manifest = fmt.read_manifest(directory)

    @classmethod
    def checked(cls, directory: Path) -> Served:
        """Raises BundleRejected where a file is not what the manifest says, or encoder, item tower
        and ranker do not belong to the item vectors."""
        found = cls(directory)
        require_whole(directory)
        pairing = found.manifest.pairing_id
        if fmt.pairing_id(directory / fmt.VECTORS) != pairing:
            raise BundleRejected(fmt.VECTORS, f"is not what {pairing} was made with")
        for name in (fmt.ENCODER, fmt.RANKER, fmt.ITEM_TOWER):
            if name in found.manifest.files:
                with np.load(directory / name, allow_pickle=False) as archive:
                    own = str(archive[_PAIRING])
                if own != pairing:
                    raise BundleRejected(name, f"is paired with {own}, the manifest with {pairing}")
        return found

    @cached_property
    def item_ids(self) -> list[str]:
        ids: list[str] = self.items.column("item_id").to_pylist()
        return ids

    @cached_property
    def items(self) -> pa.Table:
        return pq.read_table(self.directory / fmt.ITEMS)

    @cached_property
    def users(self) -> pa.Table:
        return pq.read_table(self.directory / fmt.USERS)

    @cached_property
    def available(self) -> npt.NDArray[np.bool_]:
        """bool[items]."""
        column = self.items.column("available").to_numpy(zero_copy_only=False)
        return np.asarray(column, np.bool_)

    @cached_property
    def tables(self) -> ItemTables:
        """What rankers know of items, as the bundle has it."""
        features_of_items = self._arrays(fmt.FEATURES)
        popularity = np.load(self.directory / fmt.POPULARITY)
        neighbours = Neighbours.none()
        if fmt.NEIGHBOURS in self.manifest.files:
            neighbours = Neighbours(**self._arrays(fmt.NEIGHBOURS))
        return ItemTables(
            fields=features_of_items["item_fields"],
            dense=features_of_items["item_dense"],
            popularity=popularity,
            log_popularity=features.log_popularity(popularity),
            vectors=self.towers.vectors,
            neighbours=neighbours,
        )

    @cached_property
    def towers(self) -> Towers:
        """Without an item tower where the bundle has none."""
        vectors = np.load(self.directory / fmt.VECTORS)
        tower = fmt.ITEM_TOWER in self.manifest.files
        return Towers(
            vectors,
            self._arrays(fmt.ENCODER),
            self._arrays(fmt.ITEM_TOWER) if tower else {},
            self.manifest.features.profile_fields,
        )

    @cached_property
    def item_tower(self) -> ItemTower:
        """Raises BundleRejected where the bundle has none."""
        if fmt.ITEM_TOWER not in self.manifest.files:
            raise BundleRejected(fmt.ITEM_TOWER, f"is not there: {self.directory} places no items")
        text = (self.directory / fmt.VOCABULARY).read_text("utf-8")
        return ItemTower(Vocabulary.model_validate_json(text), self.towers.item_tower)

    @cached_property
    def rankers(self) -> dict[str, dict[str, Float32]]:
        """Arrays of the models that learning can go on from, as ``ranking.rank`` takes them."""
        found = {DEEPFM: self._arrays(fmt.RANKER)}
        weights = f"{fmt.MODELS}/{WEIGHTS}"
        if weights in self.manifest.files:
            found[TRANSFORMER] = self._arrays(weights)
        return found

    @cached_property
    def content(self) -> Float32 | None:
        """float32[items, c]."""
        if self.manifest.content is None:
            return None
        vectors: Float32 = np.load(self.directory / fmt.CONTENT)
        return vectors

    def _arrays(self, name: str) -> dict[str, Any]:
        with np.load(self.directory / name, allow_pickle=False) as archive:
            arrays: Mapping[str, Any] = {key: archive[key] for key in archive.files}
        return {key: array for key, array in arrays.items() if key != _PAIRING}
