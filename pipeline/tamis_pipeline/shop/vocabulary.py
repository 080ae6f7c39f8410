"""What the demo shop's products are made of: kinds, colours, materials, brands, styles."""

from __future__ import annotations

from dataclasses import dataclass

STYLES = ("classic", "street", "sporty", "romantic", "outdoor", "minimal")
PATTERNS = ("plain", "striped", "dotted", "checked", "floral")
GENDERS = ("women", "men", "unisex")
SEASONS = ("spring", "summer", "autumn", "winter")
ALL_YEAR = "all-year"

COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (43, 43, 48),
    "charcoal": (80, 84, 92),
    "grey": (158, 162, 168),
    "white": (246, 246, 243),
    "cream": (240, 228, 204),
    "beige": (214, 194, 164),
    "camel": (190, 144, 92),
    "brown": (116, 78, 56),
    "navy": (38, 52, 92),
    "blue": (58, 104, 178),
    "sky": (142, 188, 224),
    "teal": (36, 128, 130),
    "green": (62, 132, 84),
    "olive": (112, 116, 66),
    "mint": (170, 216, 190),
    "yellow": (244, 212, 96),
    "mustard": (210, 160, 46),
    "orange": (232, 132, 62),
    "rust": (178, 84, 50),
    "red": (200, 54, 60),
    "burgundy": (116, 36, 56),
    "pink": (232, 132, 164),
    "blush": (240, 202, 196),
    "lilac": (190, 168, 216),
}


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of product. ``styles`` and ``patterns`` weigh the tuples of those names, in order;
    ``women`` and ``men`` are probabilities (the rest is unisex); ``price`` is a median in euros."""

    name: str
    share: float
    cuts: tuple[str, ...]
    materials: tuple[str, ...]
    price: float
    women: float
    men: float
    seasons: tuple[str, ...]
    styles: tuple[float, ...]
    patterns: tuple[float, ...]


ANY = (ALL_YEAR,)
WARM = ("spring", "summer")
COLD = ("autumn", "winter")

CATEGORIES = (
    Category(
        "dress", 11, ("wrap dress", "shirt dress", "slip dress", "midi dress", "maxi dress"),
        ("viscose", "linen", "cotton", "silk"), 79, 1.0, 0.0, ("spring", "summer", ALL_YEAR),
        (2, 1, 0.3, 4, 0.3, 2), (4, 2, 2, 1, 4),
    ),
    Category(
        "t-shirt", 12, ("t-shirt", "v-neck t-shirt", "long-sleeved t-shirt", "tank top"),
        ("cotton", "organic cotton", "linen", "jersey"), 24, 0.4, 0.4, ("summer", ALL_YEAR),
        (2, 4, 3, 1, 1, 3), (6, 4, 1, 0, 1),
    ),
    Category(
        "shirt", 10, ("shirt", "oxford shirt", "camp-collar shirt", "blouse"),
        ("cotton", "linen", "flannel", "silk"), 55, 0.4, 0.55, ("spring", "summer", ALL_YEAR),
        (4, 1, 0.2, 1, 2, 2), (4, 3, 1, 4, 2),
    ),
    Category(
        "sweater", 10, ("crew-neck", "v-neck jumper", "roll-neck", "cardigan"),
        ("merino", "cashmere", "lambswool", "cotton"), 89, 0.45, 0.4, COLD,
        (4, 1, 0.3, 1, 2, 3), (6, 4, 1, 1, 0),
    ),
    Category(
        "hoodie", 6, ("hoodie", "zip hoodie", "sweatshirt"),
        ("cotton fleece", "organic cotton", "jersey"), 59, 0.2, 0.3, ("autumn", ALL_YEAR),
        (0.3, 5, 5, 0.1, 2, 1), (8, 1, 0, 0, 0),
    ),
    Category(
        "jacket", 8, ("bomber jacket", "blazer", "rain jacket", "denim jacket", "puffer jacket"),
        ("nylon", "wool", "denim", "leather"), 139, 0.4, 0.45, ("spring", *COLD),
        (3, 3, 1, 0.5, 4, 2), (8, 0.5, 0, 1.5, 0),
    ),
    Category(
        "coat", 5, ("wool coat", "trench coat", "parka", "duffle coat"),
        ("wool", "cotton gabardine", "recycled nylon"), 199, 0.5, 0.45, COLD,
        (4, 1, 0.2, 1, 3, 3), (7, 0, 0, 3, 0),
    ),
    Category(
        "trousers", 8, ("chinos", "wide-leg trousers", "pleated trousers", "joggers"),
        ("cotton twill", "wool", "linen", "jersey"), 69, 0.45, 0.5, ANY,
        (3, 2, 2, 0.5, 2, 3), (7, 1, 0, 2, 0),
    ),
    Category(
        "jeans", 7, ("straight jeans", "slim jeans", "wide jeans", "high-rise jeans"),
        ("denim", "stretch denim"), 79, 0.5, 0.45, ANY,
        (2, 4, 0.2, 0.5, 1, 2), (1, 0, 0, 0, 0),
    ),
    Category(
        "shorts", 4, ("chino shorts", "running shorts", "bermuda shorts"),
        ("cotton twill", "linen", "jersey"), 39, 0.3, 0.6, ("summer",),
        (2, 2, 4, 0.2, 2, 1), (5, 1, 0.5, 1, 1),
    ),
    Category(
        "skirt", 5, ("pleated skirt", "mini skirt", "midi skirt", "wrap skirt"),
        ("viscose", "denim", "wool", "linen"), 55, 1.0, 0.0, ("spring", "summer", ALL_YEAR),
        (3, 1, 0.3, 4, 0.2, 2), (4, 1, 2, 2, 3),
    ),
    Category(
        "sneakers", 7, ("low-top sneakers", "high-top sneakers", "running shoes"),
        ("leather", "canvas", "mesh", "suede"), 95, 0.2, 0.3, ANY,
        (1, 4, 5, 0.2, 2, 2), (8, 0.5, 0, 0.5, 0.3),
    ),
    Category(
        "boots", 4, ("chelsea boots", "lace-up boots", "hiking boots"),
        ("leather", "suede", "nubuck"), 149, 0.45, 0.45, COLD,
        (3, 2, 0.1, 1, 4, 2), (1, 0, 0, 0, 0),
    ),
    Category(
        "bag", 6, ("tote bag", "shoulder bag", "backpack", "bucket bag"),
        ("leather", "canvas", "recycled nylon"), 99, 0.5, 0.1, ANY,
        (3, 2, 1, 2, 2, 3), (7, 1, 1, 1, 1),
    ),
    Category(
        "hat", 4, ("beanie", "bucket hat", "baseball cap"),
        ("merino", "cotton", "corduroy"), 29, 0.15, 0.15, (ALL_YEAR, *COLD),
        (0.5, 4, 3, 0.3, 3, 1), (7, 2, 0.5, 1.5, 0.5),
    ),
    Category(
        "scarf", 3, ("scarf", "square scarf", "stole"),
        ("silk", "cashmere", "lambswool", "cotton"), 45, 0.4, 0.2, (ALL_YEAR, *COLD),
        (4, 0.3, 0.1, 4, 1, 2), (3, 3, 2, 4, 4),
    ),
)  # fmt: skip

# cuts that only some of their category's materials suit
CUT_MATERIALS = {
    "oxford shirt": ("cotton",),
    "bomber jacket": ("nylon", "leather"),
    "blazer": ("wool", "linen"),
    "rain jacket": ("nylon", "recycled nylon"),
    "denim jacket": ("denim",),
    "puffer jacket": ("nylon", "recycled nylon"),
    "wool coat": ("wool",),
    "trench coat": ("cotton gabardine",),
    "parka": ("recycled nylon", "cotton gabardine"),
    "duffle coat": ("wool",),
    "joggers": ("jersey",),
    "running shorts": ("jersey", "recycled nylon"),
    "running shoes": ("mesh",),
    "high-top sneakers": ("leather", "canvas", "suede"),
    "beanie": ("merino",),
    "bucket hat": ("cotton", "corduroy"),
    "baseball cap": ("cotton", "corduroy"),
    "square scarf": ("silk", "cotton"),
    "pleated skirt": ("viscose", "wool"),
}
STYLE_COLOURS = {
    "classic": ("navy", "camel", "white", "burgundy", "grey", "beige", "black"),
    "street": ("black", "charcoal", "orange", "white", "olive", "red", "blue"),
    "sporty": ("grey", "blue", "red", "black", "mint", "yellow", "white"),
    "romantic": ("blush", "pink", "lilac", "cream", "red", "mint", "sky"),
    "outdoor": ("olive", "rust", "green", "brown", "mustard", "navy", "teal"),
    "minimal": ("black", "white", "beige", "cream", "charcoal", "grey", "sky"),
}
DENIM_COLOURS = ("navy", "blue", "sky", "black", "grey", "white")
OCCASIONS = {
    "classic": ("office", "weekend", "celebration"),
    "street": ("weekend", "city", "festival"),
    "sporty": ("training", "weekend", "travel"),
    "romantic": ("celebration", "holiday", "evening"),
    "outdoor": ("hiking", "travel", "weekend"),
    "minimal": ("office", "city", "evening"),
}


@dataclass(frozen=True, slots=True)
class Brand:
    """``level`` multiplies prices; ``styles`` are what the house is known for."""

    name: str
    level: float
    styles: tuple[str, ...]


BRANDS = (
    Brand("Ardenne", 1.5, ("classic",)),
    Brand("Maison Ober", 1.9, ("romantic", "classic")),
    Brand("Northlight", 1.1, ("outdoor", "minimal")),
    Brand("Fjell & Daughters", 1.4, ("outdoor",)),
    Brand("Kessel Works", 1.0, ("street",)),
    Brand("Lune Basse", 1.2, ("romantic",)),
    Brand("Papierhaus", 1.3, ("minimal",)),
    Brand("Harbour Nine", 0.9, ("classic", "outdoor")),
    Brand("Tempo Verde", 0.8, ("sporty",)),
    Brand("Second Lap", 1.0, ("sporty", "street")),
    Brand("Corner Court", 0.7, ("street", "sporty")),
    Brand("Plain Sunday", 0.6, ("minimal", "classic")),
    Brand("Ofelia", 0.7, ("romantic",)),
    Brand("Steiger", 1.6, ("minimal", "classic")),
    Brand("Brackwater", 0.8, ("outdoor", "street")),
    Brand("Everyday Co-op", 0.5, ("minimal", "sporty", "street")),
)
