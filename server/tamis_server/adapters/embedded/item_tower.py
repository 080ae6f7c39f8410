"""Where items belong that training did not meet, by the tower and the vocabulary of a bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic import ValidationError

from tamis_server.bundles import item_tower as towers
from tamis_server.bundles import manifest as fmt
from tamis_server.bundles.loader import Arrays, Bundle
from tamis_server.bundles.vocabulary import Vocabulary
from tamis_server.domain.candidates import Vectors
from tamis_server.domain.errors import BundleRejected
from tamis_server.domain.ports import Item, Placement


class TrainedItemTower:
    """The function of ``bundles.item_tower``, fed as training fed it."""

    def __init__(self, vocabulary: Vocabulary, tower: towers.ItemTower) -> None:
        self._vocabulary = vocabulary
        self._tower = tower
        self._width = int(tower.arrays["content"].shape[0])

    def place(self, items: Sequence[Item], content: Vectors) -> Placement:
        """As the port says; a tower that learnt nothing from content looks at none."""
        columns = {
            each.attribute: [item.attributes.get(each.attribute) for item in items]
            for each in self._vocabulary.attributes
        }
        fields = self._vocabulary.fields(columns, len(items))
        words = self._vocabulary.hashed([f"{item.title} {item.text}" for item in items])
        known = content[:, : self._width]
        return Placement(
            vectors=self._tower.vectors(fields, words, known),
            fields=fields,
            histories=self._tower.histories(fields, known),
        )


def item_tower(bundle: Bundle) -> TrainedItemTower | None:
    """The bundle's own, None where it has none. Raises BundleRejected."""
    arrays = bundle.item_tower
    if arrays is None:
        return None
    try:
        text = (bundle.directory / fmt.VOCABULARY).read_text("utf-8")
        vocabulary = Vocabulary.model_validate(json.loads(text))
    except (OSError, ValueError, ValidationError) as error:
        raise BundleRejected(fmt.VOCABULARY, str(error).splitlines()[0]) from None
    if vocabulary.specs != bundle.manifest.features.item_fields:
        raise BundleRejected(fmt.VOCABULARY, "its fields are not those of the manifest")
    _check(bundle, arrays, vocabulary)
    return TrainedItemTower(vocabulary, towers.ItemTower(vocabulary, arrays))


def _check(bundle: Bundle, arrays: Arrays, vocabulary: Vocabulary) -> None:
    missing = [name for name in towers.ARRAYS if name not in arrays]
    if missing:
        raise BundleRejected(fmt.ITEM_TOWER, f"lacks {', '.join(missing)}")
    d, e = bundle.manifest.dim, bundle.encoder["history_table"].shape[1]
    f = sum(spec.size for spec in vocabulary.specs)
    c = arrays["content"].shape[0]
    if c and (bundle.content is None or bundle.content.spec.dim != c):
        raise BundleRejected(
            fmt.ITEM_TOWER, f"takes content of {c} numbers, the bundle has no such content"
        )
    for name, shape in {
        "field": (f, d),
        "word": (vocabulary.word_buckets, d),
        "content": (c, d),
        "history_field": (f, e),
        "history_content": (c, e),
    }.items():
        if arrays[name].shape != shape:
            found = arrays[name].shape
            raise BundleRejected(fmt.ITEM_TOWER, f"{name} is {found} where {shape} fits")
