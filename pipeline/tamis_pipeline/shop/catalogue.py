"""Invents the demo shop's products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from tamis_pipeline.shop import vocabulary as words

T = TypeVar("T")

DAY = 86_400.0
END = 1_780_272_000.0  # 2026-06-01 00:00 UTC: the moment the data set was taken
YEAR = 365.0
NEW_DAYS = 21.0
NEW_SHARE = 0.08
SOLD_OUT_SHARE = 0.06
SOLD_OUT_DAYS = 45.0


@dataclass(frozen=True, slots=True)
class Product:
    """``created_at`` and ``sold_out_at`` are Unix seconds, the latter inf while in stock; ``price``
    is in euros; ``appeal`` is how much anybody likes it (normal, mean 0), known to no model."""

    item_id: str
    title: str
    text: str
    category: str
    cut: str
    colour: str
    pattern: str
    material: str
    gender: str
    season: str
    brand: str
    style: str
    price: float
    tags: tuple[str, ...]
    created_at: float
    sold_out_at: float
    appeal: float

    @property
    def available(self) -> bool:
        return self.sold_out_at > END

    @property
    def image(self) -> str:
        """Where ``export`` puts the picture, relative to the data set."""
        return f"pictures/{self.item_id}.png"


def make_products(count: int, seed: int) -> list[Product]:
    """``count`` products in the order they came into the shop, ids numbered within a category."""
    rng = np.random.default_rng([seed, 1])
    new = rng.random(count) < NEW_SHARE
    age = np.where(new, rng.uniform(0.0, NEW_DAYS, count), rng.uniform(NEW_DAYS, YEAR, count))
    numbers = dict.fromkeys((category.name for category in words.CATEGORIES), 0)
    products = []
    for created_at in np.sort(np.floor(END - age * DAY)).tolist():
        category = _pick(rng, words.CATEGORIES, [c.share for c in words.CATEGORIES])
        products.append(_product(rng, category, numbers[category.name], created_at))
        numbers[category.name] += 1
    return products


def _product(
    rng: np.random.Generator, category: words.Category, number: int, created_at: float
) -> Product:
    style = _pick(rng, words.STYLES, category.styles)
    brand = _pick(rng, words.BRANDS, [4.0 if style in b.styles else 0.25 for b in words.BRANDS])
    cut = _pick(rng, category.cuts)
    material = _pick(rng, words.CUT_MATERIALS.get(cut, category.materials))
    palette = words.DENIM_COLOURS if "denim" in material else words.STYLE_COLOURS[style]
    colour = _pick(
        rng, tuple(words.COLOURS), [12.0 if c in palette else 0.4 for c in words.COLOURS]
    )
    pattern = _pick(rng, words.PATTERNS, category.patterns)
    if material in ("denim", "stretch denim", "leather", "suede", "mesh"):
        pattern = "plain"
    gender = _pick(
        rng, words.GENDERS, (category.women, category.men, 1 - category.women - category.men)
    )
    season = _pick(rng, category.seasons)
    occasion = _pick(rng, words.OCCASIONS[style])
    fit = _pick(rng, tuple(_FITS), (6, 2, 1, 1)) if category.name not in _UNFITTED else ""
    sale = bool(rng.random() < 0.15)
    price = category.price * brand.level * rng.lognormal(0.0, 0.22) * (0.7 if sale else 1.0)
    sold_out_at = float("inf")
    if rng.random() < SOLD_OUT_SHARE:
        earliest = max(created_at, END - SOLD_OUT_DAYS * DAY)
        sold_out_at = float(np.floor(rng.uniform(earliest, END)))
    tags = [style, occasion]
    tags += ["sale"] * sale
    tags += ["sustainable"] * material.startswith(("organic", "recycled"))
    return Product(
        item_id=f"{category.name}-{number:04d}",
        title=_title(pattern, material, cut, colour, fit),
        text=_text(cut, material, colour, pattern, season, occasion, brand.name, fit),
        category=category.name,
        cut=cut,
        colour=colour,
        pattern=pattern,
        material=material,
        gender=gender,
        season=season,
        brand=brand.name,
        style=style,
        price=max(round(price) - 0.05, 4.95),
        tags=tuple(tags),
        created_at=created_at,
        sold_out_at=sold_out_at,
        appeal=float(rng.normal()),
    )


def _pick(
    rng: np.random.Generator, choices: Sequence[T], weights: Sequence[float] | None = None
) -> T:
    if weights is None:
        return choices[int(rng.integers(len(choices)))]
    cumulated = np.cumsum(weights)
    return choices[int(np.searchsorted(cumulated, rng.random() * cumulated[-1], side="right"))]


def _title(pattern: str, material: str, cut: str, colour: str, fit: str) -> str:
    """Such as ``Striped merino crew-neck, navy``."""
    adjective = {"plain": "", "dotted": "polka-dot"}.get(pattern, pattern)
    fabric = "" if material.rsplit(maxsplit=1)[-1] in cut else material  # no "wool wool coat"
    shape = fit if fit != "regular" else ""
    phrase = " ".join(part for part in (shape, adjective, fabric, cut) if part)
    return f"{phrase[0].upper()}{phrase[1:]}, {colour}"


_UNFITTED = ("sneakers", "boots", "bag", "hat", "scarf")
_FITS = {
    "regular": "Cut for a regular fit",
    "relaxed": "Cut easy, with room to move",
    "slim": "Cut close to the body",
    "oversized": "Cut wide on purpose",
}
_SURFACES = {
    "plain": "in one clear {colour}",
    "striped": "with even stripes on {colour}",
    "dotted": "scattered with dots on {colour}",
    "checked": "in a check on {colour}",
    "floral": "with a flower print on {colour}",
}


def _text(
    cut: str, material: str, colour: str, pattern: str, season: str,
    occasion: str, brand: str, fit: str,
) -> str:  # fmt: skip
    surface = _SURFACES[pattern].format(colour=colour)
    when = "all year round" if season == words.ALL_YEAR else f"in {season}"
    return (
        f"{_subject(cut)} in {material} by {brand}, {surface}. "
        f"{_FITS.get(fit, 'Made to last')}. Made for {_FOR[occasion]}, worn {when}."
    )


_FOR = {
    "office": "the office",
    "weekend": "the weekend",
    "celebration": "celebrations",
    "city": "the city",
    "festival": "festivals",
    "training": "training",
    "travel": "travelling",
    "holiday": "holidays",
    "evening": "evenings out",
    "hiking": "long walks",
}
_PAIRS = ("trousers", "jeans", "shorts", "chinos", "joggers", "boots", "sneakers", "shoes")


def _subject(cut: str) -> str:
    if cut.rsplit(maxsplit=1)[-1] in _PAIRS:
        return f"A pair of {cut}"
    return f"{'An' if cut[0] in 'aeiou' else 'A'} {cut}"
