"""The outlines of the demo shop's garments, in a unit square, x to the right and y down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass

Point = tuple[float, float]
Polygon = tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Silhouette:
    """``inside`` is drawn first in a darker tone (the back of a collar, a strap), ``body`` takes
    colour and pattern, ``trim`` is a pale accent (soles, buttons), ``lines`` are seams."""

    body: tuple[Polygon, ...]
    inside: tuple[Polygon, ...] = ()
    trim: tuple[Polygon, ...] = ()
    lines: tuple[Polygon, ...] = ()


def silhouette(category: str, cut: str) -> Silhouette:
    """Raises KeyError for a category the shop doesn't know."""
    shape = _BY_CATEGORY[category](cut)
    heights = [y for polygon in (*shape.body, *shape.inside, *shape.trim) for _, y in polygon]
    down = 0.5 - (min(heights) + max(heights)) / 2
    return Silhouette(*(_lowered(part, down) for part in astuple(shape)))


def _lowered(polygons: tuple[Polygon, ...], down: float) -> tuple[Polygon, ...]:
    return tuple(tuple((x, y + down) for x, y in polygon) for polygon in polygons)


def _mirror(polygon: Polygon) -> Polygon:
    return tuple((1.0 - x, y) for x, y in polygon)


def _both(*polygons: Polygon) -> tuple[Polygon, ...]:
    return tuple(side for polygon in polygons for side in (polygon, _mirror(polygon)))


def _symmetric(half: Polygon) -> Polygon:
    """Closes the right half of an outline, given from its top centre to its bottom centre."""
    return (*half, *reversed(_mirror(half)))


def _disc(x: float, y: float, radius: float) -> Polygon:
    r, d = radius, radius * 0.7
    return (
        (x + r, y), (x + d, y + d), (x, y + r), (x - d, y + d),
        (x - r, y), (x - d, y - d), (x, y - r), (x + d, y - d),
    )  # fmt: skip


_CREW, _V, _HIGH = 0.05, 0.17, 0.0
_SLEEVES: dict[str, Polygon] = {
    "short": ((0.67, 0.19), (0.74, 0.2), (0.87, 0.37), (0.78, 0.44), (0.68, 0.34)),
    "long": ((0.67, 0.19), (0.74, 0.21), (0.8, 0.34), (0.87, 0.74), (0.78, 0.76), (0.68, 0.4)),
}


def _top(
    sleeve: str, hem: float, neck: float, waist: float = 0.175, flare: float = 0.19
) -> Silhouette:
    """Neck to hem: ``hem`` is its height, ``waist`` and ``flare`` half widths, ``neck`` a depth."""
    middle = min(hem - 0.06, 0.52)
    strap = 0.19 if sleeve else 0.14
    half = (
        (0.5, 0.16 + neck), (0.59, 0.14), (0.5 + strap, 0.18), (0.5 + strap, 0.33),
        (0.5 + waist, middle), (0.5 + flare, hem), (0.5, hem + 0.01),
    )  # fmt: skip
    sleeves = _both(_SLEEVES[sleeve]) if sleeve else ()
    back = () if neck == _HIGH else (((0.41, 0.14), (0.59, 0.14), (0.5, 0.18 + neck)),)
    seams = _both(((0.68, 0.2), (0.675, 0.36))) if sleeve else ()
    return Silhouette((*sleeves, _symmetric(half)), back, (), seams)


def _fronted(base: Silhouette, hem: float, start: float) -> Silhouette:
    """An opening down the front, with buttons."""
    count = max(3, round((hem - start) / 0.1))
    step = (hem - start) / count
    buttons = tuple(_disc(0.525, start + step * (n + 0.5), 0.012) for n in range(count))
    return Silhouette(
        base.body, base.inside, (*base.trim, *buttons), (*base.lines, ((0.5, start), (0.5, hem)))
    )


_COLLAR = _both(((0.5, 0.2), (0.585, 0.125), (0.63, 0.16), (0.56, 0.27)))
_LAPEL = _both(((0.5, 0.42), (0.58, 0.125), (0.65, 0.17), (0.63, 0.26)))


def _collared(base: Silhouette, collar: tuple[Polygon, ...]) -> Silhouette:
    edges = tuple((*polygon, polygon[0]) for polygon in collar)
    return Silhouette((*base.body, *collar), base.inside, base.trim, (*base.lines, *edges))


def _dress(cut: str) -> Silhouette:
    if cut == "slip dress":
        return _top("", 0.84, 0.13, 0.12, 0.22)
    if cut == "shirt dress":
        return _fronted(_collared(_top("long", 0.84, 0.1, 0.16, 0.23), _COLLAR), 0.84, 0.28)
    hem = {"maxi dress": 0.96, "wrap dress": 0.8}.get(cut, 0.87)
    base = _top("short", hem, _V if cut == "wrap dress" else _CREW, 0.13, 0.29)
    return Silhouette(base.body, base.inside, (), (*base.lines, ((0.37, 0.51), (0.63, 0.51))))


def _tee(cut: str) -> Silhouette:
    if cut == "tank top":
        return _top("", 0.8, 0.13)
    return _top("long" if "long" in cut else "short", 0.8, _V if "v-neck" in cut else _CREW)


def _shirt(cut: str) -> Silhouette:
    sleeve = "short" if "camp" in cut else "long"
    return _fronted(_collared(_top(sleeve, 0.82, 0.1), _COLLAR), 0.82, 0.28)


def _sweater(cut: str) -> Silhouette:
    if cut == "cardigan":
        return _fronted(_top("long", 0.78, 0.22), 0.78, 0.4)
    base = _top("long", 0.78, {"crew-neck": _CREW, "roll-neck": _HIGH}.get(cut, _V))
    roll: tuple[Polygon, ...] = ()
    if cut == "roll-neck":
        roll = (((0.415, 0.08), (0.585, 0.08), (0.6, 0.19), (0.5, 0.21), (0.4, 0.19)),)
    rib = (((0.3, 0.73), (0.7, 0.73)), *((*p, p[0]) for p in roll))
    return Silhouette((*base.body, *roll), base.inside, (), (*base.lines, *rib))


def _hoodie(cut: str) -> Silhouette:
    base = _top("long", 0.78, _CREW)
    lines = (*base.lines, ((0.3, 0.73), (0.7, 0.73)))
    if cut == "sweatshirt":
        return Silhouette(base.body, base.inside, (), lines)
    hood = ((0.38, 0.2), (0.36, 0.1), (0.5, 0.03), (0.64, 0.1), (0.62, 0.2), (0.5, 0.26))
    opening = ((0.43, 0.17), (0.43, 0.11), (0.5, 0.08), (0.57, 0.11), (0.57, 0.17), (0.5, 0.23))
    pocket = ((0.39, 0.72), (0.42, 0.56), (0.58, 0.56), (0.61, 0.72))
    zip_line = (((0.5, 0.25), (0.5, 0.79)),) if cut == "zip hoodie" else ()
    cords = _both(((0.515, 0.24), (0.53, 0.24), (0.53, 0.38), (0.515, 0.38)))
    return Silhouette((*base.body, hood), (opening,), cords, (*lines, pocket, *zip_line))


def _jacket(cut: str) -> Silhouette:
    hem = 0.8 if cut == "rain jacket" else 0.74
    base = _top("long", hem, 0.1, 0.21, 0.21)
    if cut == "blazer":
        return _fronted(_collared(_top("long", 0.8, 0.22), _LAPEL), 0.8, 0.5)
    if cut == "denim jacket":
        pockets = _both(((0.56, 0.36), (0.65, 0.36), (0.65, 0.46), (0.56, 0.46), (0.56, 0.36)))
        faced = _fronted(_collared(base, _COLLAR), hem, 0.28)
        return Silhouette(faced.body, faced.inside, faced.trim, (*faced.lines, *pockets))
    lines = [*base.lines, ((0.5, 0.24), (0.5, hem))]
    if cut == "puffer jacket":
        lines += [((0.31, y), (0.69, y)) for y in (0.32, 0.42, 0.52, 0.62)]
    if cut == "bomber jacket":
        lines.append(((0.29, 0.69), (0.71, 0.69)))
    collar = ((0.4, 0.11), (0.6, 0.11), (0.62, 0.2), (0.5, 0.26), (0.38, 0.2))
    return Silhouette((*base.body, collar), (), (), (*lines, (*collar, collar[0])))


def _coat(cut: str) -> Silhouette:
    base = _fronted(_collared(_top("long", 0.92, 0.22, 0.2, 0.24), _LAPEL), 0.92, 0.44)
    belt = ((0.3, 0.53), (0.7, 0.53)), ((0.3, 0.58), (0.7, 0.58))
    pockets = _both(((0.58, 0.64), (0.66, 0.62)))
    extra = belt if cut == "trench coat" else pockets
    return Silhouette(base.body, base.inside, base.trim, (*base.lines, *extra))


def _legs(hem: float, width: float, spread: float) -> Silhouette:
    """Two legs: ``width`` of one at the hem, ``spread`` how far out its middle stands."""
    half = (
        (0.5, 0.1), (0.65, 0.1), (0.68, 0.3), (0.5 + spread + width / 2, hem),
        (0.5 + spread - width / 2, hem), (0.505, 0.38),
    )  # fmt: skip
    pockets = _both(((0.57, 0.15), (0.66, 0.24)))
    return Silhouette(
        (_symmetric(half),),
        (),
        (),
        (((0.35, 0.15), (0.65, 0.15)), ((0.5, 0.1), (0.5, 0.36)), *pockets),
    )


def _long_legs(cut: str) -> Silhouette:
    wide = "wide" in cut or "pleated" in cut
    slim = "slim" in cut or cut == "joggers"
    return _legs(0.94, 0.21 if wide else 0.11 if slim else 0.15, 0.14 if wide else 0.11)


def _shorts(cut: str) -> Silhouette:
    return _legs({"running shorts": 0.5, "bermuda shorts": 0.66}.get(cut, 0.58), 0.21, 0.12)


def _skirt(cut: str) -> Silhouette:
    hem = {"mini skirt": 0.6, "midi skirt": 0.86}.get(cut, 0.74)
    flare = 0.33 if cut == "pleated skirt" else 0.25
    half = ((0.5, 0.16), (0.62, 0.16), (0.68, 0.34), (0.5 + flare, hem), (0.5, hem + 0.02))
    lines: list[Polygon] = [((0.37, 0.21), (0.63, 0.21))]
    if cut == "pleated skirt":
        lines += [((0.5 + x * 0.4, 0.22), (0.5 + x, hem)) for x in (-0.22, -0.11, 0.0, 0.11, 0.22)]
    if cut == "wrap skirt":
        lines.append(((0.58, 0.21), (0.62, 0.45), (0.56, hem)))
    return Silhouette((_symmetric(half),), (), (), tuple(lines))


def _sneakers(cut: str) -> Silhouette:
    ankle = 0.24 if "high" in cut else 0.38
    body = (
        (0.12, 0.66), (0.13, 0.5), (0.14, ankle), (0.36, ankle - 0.01), (0.42, 0.44),
        (0.62, 0.52), (0.84, 0.57), (0.9, 0.66), (0.88, 0.7), (0.12, 0.7),
    )  # fmt: skip
    sole = ((0.1, 0.67), (0.9, 0.67), (0.93, 0.71), (0.88, 0.77), (0.13, 0.77), (0.09, 0.72))
    laces = tuple(
        ((x, y), (x + 0.06, y - 0.06)) for x, y in ((0.4, 0.53), (0.46, 0.56), (0.52, 0.59))
    )
    side = ((0.2, 0.66), (0.38, 0.58), (0.34, 0.66))
    return Silhouette((body,), (), (sole,), (*laces, side, ((0.72, 0.55), (0.68, 0.67))))


def _boots(cut: str) -> Silhouette:
    top = 0.2 if cut == "lace-up boots" else 0.27
    body = (
        (0.2, 0.72), (0.22, 0.5), (0.2, top), (0.46, top), (0.47, 0.48),
        (0.62, 0.56), (0.82, 0.61), (0.87, 0.7), (0.86, 0.75), (0.2, 0.75),
    )  # fmt: skip
    sole = ((0.19, 0.74), (0.88, 0.74), (0.88, 0.79), (0.42, 0.79), (0.4, 0.82), (0.19, 0.82))
    if cut == "chelsea boots":
        lines: tuple[Polygon, ...] = (((0.28, top), (0.31, 0.46), (0.38, 0.46), (0.41, top)),)
    else:
        lines = tuple(((0.38, y), (0.47, y - 0.03)) for y in (0.32, 0.39, 0.46, 0.53))
    return Silhouette((body,), (sole,), (), lines)


def _bag(cut: str) -> Silhouette:
    if cut == "backpack":
        body = _symmetric(((0.5, 0.16), (0.66, 0.18), (0.74, 0.34), (0.76, 0.84), (0.5, 0.86)))
        handle = ((0.42, 0.18), (0.43, 0.08), (0.57, 0.08), (0.58, 0.18))
        pocket = ((0.33, 0.6), (0.67, 0.6), (0.67, 0.8), (0.33, 0.8), (0.33, 0.6))
        return Silhouette((body,), (handle,), (), (pocket, ((0.27, 0.4), (0.73, 0.4))))
    low = {"tote bag": (0.32, 0.27), "bucket bag": (0.24, 0.27)}.get(cut, (0.33, 0.3))
    top = 0.52 if cut == "shoulder bag" else 0.4
    body = _symmetric(((0.5, top), (0.5 + low[1], top), (0.5 + low[0], 0.84), (0.5, 0.86)))
    outer = ((0.3, top + 0.04), (0.36, 0.14), (0.64, 0.14), (0.7, top + 0.04))
    inner = ((0.66, top + 0.04), (0.61, 0.19), (0.39, 0.19), (0.34, top + 0.04))
    flap: Polygon = ((0.22, top + 0.02), (0.5, top + 0.17), (0.78, top + 0.02))
    lines = (flap,) if cut == "shoulder bag" else (((0.23, top + 0.07), (0.77, top + 0.07)),)
    clasp = (_disc(0.5, top + 0.12, 0.022),) if cut != "tote bag" else ()
    return Silhouette((body,), ((*outer, *inner),), clasp, lines)


def _hat(cut: str) -> Silhouette:
    dome = ((0.5, 0.24), (0.64, 0.27), (0.74, 0.42), (0.76, 0.6), (0.5, 0.64))
    if cut == "bucket hat":
        brim = _symmetric(((0.5, 0.56), (0.74, 0.55), (0.9, 0.7), (0.5, 0.8)))
        return Silhouette(
            (_symmetric(dome), brim), (), (), (((0.26, 0.57), (0.5, 0.62), (0.74, 0.57)),)
        )
    if cut == "baseball cap":
        peak = ((0.5, 0.58), (0.76, 0.56), (0.95, 0.66), (0.93, 0.7), (0.7, 0.66))
        seam = (((0.5, 0.24), (0.5, 0.64)), ((0.5, 0.24), (0.64, 0.4), (0.66, 0.62)))
        return Silhouette((_symmetric(dome),), (peak,), (_disc(0.5, 0.24, 0.02),), seam)
    cuff = ((0.22, 0.58), (0.78, 0.58), (0.78, 0.74), (0.22, 0.74))
    ribs = tuple(((x, 0.59), (x, 0.73)) for x in (0.32, 0.41, 0.5, 0.59, 0.68))
    return Silhouette(
        (_symmetric(dome), cuff), (), (_disc(0.5, 0.21, 0.06),), ((*cuff, cuff[0]), *ribs)
    )


def _scarf(cut: str) -> Silhouette:
    if cut == "square scarf":
        square = ((0.18, 0.22), (0.8, 0.18), (0.84, 0.8), (0.2, 0.84))
        edge = ((0.23, 0.27), (0.76, 0.235), (0.79, 0.75), (0.25, 0.79), (0.23, 0.27))
        return Silhouette((square,), (), (), (edge,))
    loop = ((0.3, 0.14), (0.7, 0.14), (0.76, 0.3), (0.62, 0.42), (0.38, 0.42), (0.24, 0.3))
    left = ((0.36, 0.36), (0.52, 0.38), (0.47, 0.86), (0.3, 0.84))
    right = ((0.48, 0.36), (0.64, 0.36), (0.7, 0.7), (0.54, 0.74))
    folds = (((0.3, 0.24), (0.5, 0.33), (0.7, 0.24)), ((0.32, 0.79), (0.47, 0.81)))
    return Silhouette((right, left, loop), (), (), folds)


_BY_CATEGORY: dict[str, Callable[[str], Silhouette]] = {
    "dress": _dress,
    "t-shirt": _tee,
    "shirt": _shirt,
    "sweater": _sweater,
    "hoodie": _hoodie,
    "jacket": _jacket,
    "coat": _coat,
    "trousers": _long_legs,
    "jeans": _long_legs,
    "shorts": _shorts,
    "skirt": _skirt,
    "sneakers": _sneakers,
    "boots": _boots,
    "bag": _bag,
    "hat": _hat,
    "scarf": _scarf,
}
