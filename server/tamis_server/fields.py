"""What a tree of pydantic models says of its fields: found by path, described, read from text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

_BOUNDS = {
    annotated_types.Ge: ("ge", "at least {}"),
    annotated_types.Gt: ("gt", "above {}"),
    annotated_types.Le: ("le", "at most {}"),
    annotated_types.Lt: ("lt", "below {}"),
}


def field_at(model: type[BaseModel], path: Iterable[Any]) -> FieldInfo | None:
    """The field of that path; places in lists don't count. None: there is none."""
    field: FieldInfo | None = None
    inside: type[BaseModel] | None = model
    for name in path:
        if isinstance(name, int):
            continue
        field = inside.model_fields.get(str(name)) if inside else None
        inside = model_in(field.annotation) if field else None
    return field


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds: itself, one of several, or where there may be none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(model_in, get_args(annotation))), None)


def is_structured(field: FieldInfo) -> bool:
    """Whether its values have parts, so that text gives them as JSON."""
    return model_in(field.annotation) is not None or get_origin(field.annotation) in (tuple, dict)


def value_of(field: FieldInfo | None, text: str) -> Any:
    """What ``text`` means there. Raises ValueError where it should be JSON and is not."""
    return json.loads(text) if field is not None and is_structured(field) else text


def described(field: FieldInfo) -> str:
    """What it is and what is allowed, in a line."""
    allowed = [", ".join(map(str, choices))] if (choices := _choices(field.annotation)) else []
    for limit in field.metadata:
        if type(limit) in _BOUNDS:
            name, words = _BOUNDS[type(limit)]
            allowed.append(words.format(f"{getattr(limit, name):,}"))
    known = f" ({', '.join(allowed)})" if allowed else ""
    return f"{field.description}{known}"


def paths(model: type[BaseModel], *above: str) -> Iterator[Sequence[str]]:
    """Of all fields below, those within fields too, as far as no list is in between."""
    for name, field in model.model_fields.items():
        yield (*above, name)
        inside = model_in(field.annotation)
        if inside is not None and get_origin(field.annotation) is not tuple:
            yield from paths(inside, *above, name)


def _choices(annotation: Any) -> Sequence[Any]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next(filter(None, map(_choices, get_args(annotation))), ())
