"""What the demo shop's shoppers like: latent preferences over the products, drifting with time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis_pipeline.shop import vocabulary as words
from tamis_pipeline.shop.catalogue import Product

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

_CATEGORIES = tuple(category.name for category in words.CATEGORIES)
_BRANDS = tuple(brand.name for brand in words.BRANDS)
_MEDIANS = {category.name: category.price for category in words.CATEGORIES}
# how strongly a shopper cares: the standard deviation of his liking of one value, in logits
_STRENGTHS = {"category": 1.3, "colour": 1.0, "pattern": 0.8, "brand": 0.8, "style": 0.4}
_STYLE_PULL = 3.0  # logits between the style a shopper lives in and one he has no part in
_APPEAL = 0.7
_STEP = 0.35  # of a random walk, in shares of the strength a period
_PRICE_WIDTH = 0.55  # in log euros


@dataclass(frozen=True, slots=True)
class Shelf:
    """The products as columns, int64[products] codes and float64[products] numbers."""

    codes: dict[str, Int64]
    gender: Int64
    relative_price: Float64  # log of the price over the category's median
    appeal: Float64
    created_at: Float64
    sold_out_at: Float64

    @classmethod
    def of(cls, products: list[Product]) -> Shelf:
        values: dict[str, tuple[str, ...]] = {
            "category": _CATEGORIES,
            "colour": tuple(words.COLOURS),
            "pattern": words.PATTERNS,
            "brand": _BRANDS,
            "style": words.STYLES,
        }
        return cls(
            codes={name: _codes(products, name, names) for name, names in values.items()},
            gender=_codes(products, "gender", words.GENDERS),
            relative_price=np.log([p.price / _MEDIANS[p.category] for p in products]),
            appeal=np.array([p.appeal for p in products]),
            created_at=np.array([p.created_at for p in products]),
            sold_out_at=np.array([p.sold_out_at for p in products]),
        )


def _codes(products: list[Product], name: str, values: tuple[str, ...]) -> Int64:
    index = {value: code for code, value in enumerate(values)}
    return np.array([index[getattr(product, name)] for product in products], np.int64)


@dataclass(slots=True)
class Taste:
    """One shopper's liking of each value of each attribute, in logits."""

    likings: dict[str, Float64]
    genders: Float64  # float64[len(GENDERS)]
    budget: float  # log of what he pays over what is usual

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Taste:
        sizes = {
            "category": len(_CATEGORIES),
            "colour": len(words.COLOURS),
            "pattern": len(words.PATTERNS),
            "brand": len(_BRANDS),
            "style": len(words.STYLES),
        }
        likings = {name: rng.normal(0.0, _STRENGTHS[name], size) for name, size in sizes.items()}
        likings["style"] += _STYLE_PULL * rng.dirichlet(np.full(len(words.STYLES), 0.35))
        return cls(likings, _genders(rng), float(rng.normal(0.0, 0.45)))

    def drift(self, rng: np.random.Generator) -> None:
        """One period of a random walk that keeps the strengths: every liking moves a little."""
        keep = float(np.sqrt(1.0 - _STEP**2))
        for name in ("category", "colour", "pattern"):
            liking = self.likings[name]
            step = rng.normal(0.0, _STEP * _STRENGTHS[name], liking.shape[0])
            self.likings[name] = keep * liking + step

    def utilities(self, shelf: Shelf) -> Float64:
        """float64[products]: logits of being looked at."""
        total: Float64 = _APPEAL * shelf.appeal + self.genders[shelf.gender]
        for name, liking in self.likings.items():
            total = total + liking[shelf.codes[name]]
        off = (shelf.relative_price - self.budget) / _PRICE_WIDTH
        total -= 0.5 * off * off
        return total


def _genders(rng: np.random.Generator) -> Float64:
    who = rng.random()
    if who < 0.5:
        return np.array([0.0, -4.0, -0.3])
    if who < 0.9:
        return np.array([-4.0, 0.0, -0.3])
    return np.zeros(3)


def softmax(logits: npt.NDArray[np.floating[Any]]) -> Float64:
    """float64[n]: probabilities; -inf gives 0."""
    weights: Any = np.exp(logits - logits.max())
    return np.asarray(weights / weights.sum(), np.float64)
