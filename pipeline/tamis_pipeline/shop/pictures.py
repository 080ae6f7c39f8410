"""Draws the demo shop's products: silhouette, colour, pattern, soft light.

Everything is drawn at ``_OVER`` times the size and reduced, which is the anti-aliasing. A picture
depends on the arguments alone; needs Pillow (the ``train`` extra).
"""

from __future__ import annotations

from math import hypot
from zlib import crc32

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from tamis_pipeline.shop.silhouettes import Point, Polygon, silhouette
from tamis_pipeline.shop.vocabulary import COLOURS

SIZE = 96  # pixels
_OVER = 4
_CANVAS = SIZE * _OVER
_ROUNDING = 0.028  # of the picture's width
_LIGHT, _FLOOR = (250, 249, 247), (233, 231, 227)  # background, top and bottom

Colour = tuple[int, int, int]


def draw(item_id: str, category: str, cut: str, colour: str, pattern: str) -> Image.Image:
    """An RGB picture of ``SIZE`` x ``SIZE``. Raises KeyError for an unknown category or colour."""
    rng = np.random.default_rng(crc32(item_id.encode()))
    shape = silhouette(category, cut)
    base = COLOURS[colour]
    body = _mask(shape.body)
    inside = _mask(shape.inside)
    trim = _mask(shape.trim)
    whole = ImageChops.lighter(ImageChops.lighter(body, inside), trim)

    picture = _background()
    shadow = ImageChops.offset(whole, _CANVAS // 60, _CANVAS // 32)
    shadow = shadow.filter(ImageFilter.GaussianBlur(_CANVAS / 38))
    picture.paste((120, 116, 112), mask=shadow.point(lambda value: value * 0.4))
    picture.paste(_shade(base, 0.62), mask=inside)
    cloth = _patterned(base, pattern, rng)
    picture.paste(ImageChops.multiply(cloth, _light(body)), mask=body)
    picture.paste((238, 234, 226) if _brightness(base) < 190 else _shade(base, 0.72), mask=trim)
    seams = ImageChops.multiply(_seams(shape.lines), whole)
    picture.paste(_shade(base, 0.68 if _brightness(base) > 70 else 1.75), mask=seams)
    return picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def _smoothed(polygon: Polygon) -> Polygon:
    """Chaikin's corner cutting, of at most ``_ROUNDING`` from a corner: hems stay straight."""
    for _ in range(3):
        cut: list[Point] = []
        for (x0, y0), (x1, y1) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
            share = min(0.25, _ROUNDING / max(hypot(x1 - x0, y1 - y0), 1e-9))
            cut.append((x0 + share * (x1 - x0), y0 + share * (y1 - y0)))
            cut.append((x1 - share * (x1 - x0), y1 - share * (y1 - y0)))
        polygon = tuple(cut)
    return polygon


def _scaled(polygon: Polygon) -> list[Point]:
    return [(x * _CANVAS, y * _CANVAS) for x, y in polygon]


def _mask(polygons: tuple[Polygon, ...]) -> Image.Image:
    mask = Image.new("L", (_CANVAS, _CANVAS), 0)
    pen = ImageDraw.Draw(mask)
    for polygon in polygons:
        pen.polygon(_scaled(_smoothed(polygon)), fill=255)
    return mask


def _background() -> Image.Image:
    ramp = Image.linear_gradient("L").resize((_CANVAS, _CANVAS))
    floor = Image.new("RGB", (_CANVAS, _CANVAS), _FLOOR)
    floor.paste(_LIGHT, mask=ImageChops.invert(ramp))
    return floor


def _light(mask: Image.Image) -> Image.Image:
    """Darker towards the edges of the cloth, as if it were round."""
    soft = mask.filter(ImageFilter.GaussianBlur(_CANVAS / 30))
    tone = soft.point(lambda value: min(255.0, 158.0 + value * 0.4))
    return Image.merge("RGB", (tone, tone, tone))


def _patterned(base: Colour, pattern: str, rng: np.random.Generator) -> Image.Image:
    cloth = Image.new("RGB", (_CANVAS, _CANVAS), base)
    if pattern == "plain":
        return cloth
    second = _second(base, rng)
    step = _CANVAS / float(rng.choice([11, 14, 17]))
    if pattern == "striped":
        _stripes(cloth, second, step, upright=bool(rng.random() < 0.3))
    elif pattern == "checked":
        _checks(cloth, second, step * 1.6)
    elif pattern == "dotted":
        _dots(cloth, second, step)
    elif pattern == "floral":
        _flowers(cloth, second, rng)
    else:
        raise ValueError(f"pattern is {pattern!r}: not one of vocabulary.PATTERNS")
    return cloth


def _stripes(cloth: Image.Image, colour: Colour, step: float, *, upright: bool) -> None:
    pen = ImageDraw.Draw(cloth)
    for at in np.arange(step / 2, _CANVAS, step).tolist():
        ends = (at, 0, at, _CANVAS) if upright else (0, at, _CANVAS, at)
        pen.line(ends, fill=colour, width=round(step * 0.42))


def _checks(cloth: Image.Image, colour: Colour, step: float) -> None:
    band = Image.new("L", cloth.size, 0)
    pen = ImageDraw.Draw(band)
    for at in np.arange(0.0, _CANVAS, step).tolist():
        pen.line((0, at, _CANVAS, at), fill=120, width=round(step * 0.42))
    upright = band.transpose(Image.Transpose.ROTATE_90)
    cloth.paste(colour, mask=ImageChops.add(band, upright))  # twice as dense where they cross


def _dots(cloth: Image.Image, colour: Colour, step: float) -> None:
    pen = ImageDraw.Draw(cloth)
    radius = step * 0.24
    for line, y in enumerate(np.arange(step / 2, _CANVAS, step * 0.87).tolist()):
        for x in np.arange(step / 2 * (1 + line % 2), _CANVAS, step).tolist():
            pen.circle((x, y), radius, fill=colour)


def _flowers(cloth: Image.Image, colour: Colour, rng: np.random.Generator) -> None:
    pen = ImageDraw.Draw(cloth)
    cell = _CANVAS / 8
    for row in range(9):
        for column in range(9):
            x, y = (np.array([column, row]) + rng.uniform(-0.3, 0.3, 2)) * cell
            petal = cell * float(rng.uniform(0.13, 0.2))
            turn = float(rng.uniform(0.0, 2 * np.pi))
            for angle in turn + np.arange(5) * (2 * np.pi / 5):
                at = (x + 1.3 * petal * np.cos(angle), y + 1.3 * petal * np.sin(angle))
                pen.circle(at, petal, fill=colour)
            pen.circle((x, y), petal * 0.8, fill=COLOURS["mustard"])


def _seams(lines: tuple[Polygon, ...]) -> Image.Image:
    mask = Image.new("L", (_CANVAS, _CANVAS), 0)
    pen = ImageDraw.Draw(mask)
    for line in lines:
        pen.line(_scaled(line), fill=255, width=_CANVAS // 110, joint="curve")
    return mask


def _second(base: Colour, rng: np.random.Generator) -> Colour:
    """A pattern's colour: pale on dark cloth, dark on pale cloth, now and then its own tone."""
    if rng.random() < 0.25:
        return _shade(base, 0.7) if _brightness(base) > 110 else _shade(base, 1.9)
    names = ("white", "cream", "blush", "sky") if _brightness(base) < 160 else (
        "navy", "burgundy", "green", "charcoal", "rust"
    )  # fmt: skip
    return COLOURS[names[int(rng.integers(len(names)))]]


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, round(channel * factor)) for channel in colour)
    return red, green, blue


def _brightness(colour: Colour) -> float:
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue
