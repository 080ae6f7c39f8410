"""Conditions that items have to fulfil, as a person types them."""

from __future__ import annotations

import re
from typing import Any

import typer

from tamis.v1 import recommend_service_pb2 as pb

_CONDITION = re.compile(r"\s*([^<>=!]*[^<>=!\s])\s*(<=|>=|!=|=)\s*([^<>=!\s].*)")
_VALUE = re.compile(r'\s*(?:"([^"]*)"|([^",]*[^",\s]))\s*(?:,|$)')
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_ALLOWED = (
    "name=value, name!=value (of several values, with commas between: one of them, none of them), "
    "name<=number or name>=number; a value in quotes is text"
)


def filters(where: list[str] | None, exclude: list[str] | None) -> dict[str, Any]:
    """The fields of a request that say what may not be in its answer."""
    return {
        "predicates": [predicate(condition) for condition in where or ()],
        "excluded_item_ids": exclude or (),
    }


def predicate(condition: str) -> pb.Predicate:
    """Raises BadParameter, which says what is allowed."""
    found = _CONDITION.fullmatch(condition)
    values = _values(found[3]) if found else []
    if found is None or not values:
        raise typer.BadParameter(f"{condition!r} is not {_ALLOWED}", param_hint="--where")
    name, operator, _ = found.groups()
    if operator in ("=", "!="):
        field = "in" if operator == "=" else "not_in"
        listed: dict[str, Any] = {field: pb.ValueList(values=values)}
        return pb.Predicate(attribute=name, **listed)
    if len(values) > 1 or not values[0].HasField("number"):
        raise typer.BadParameter(
            f"{condition!r}: {operator} takes one number; allowed is {_ALLOWED}",
            param_hint="--where",
        )
    bound = "maximum" if operator == "<=" else "minimum"
    return pb.Predicate(attribute=name, range=pb.Range(**{bound: values[0].number}))


def _values(text: str) -> list[pb.Value]:
    """Empty where the text is no list of values."""
    found, place = [], 0
    while place < len(text):
        match = _VALUE.match(text, place)
        if match is None:
            return []
        quoted, plain = match.groups()
        found.append(pb.Value(text=quoted) if plain is None else _value(plain))
        place = match.end()
    return found


def _value(plain: str) -> pb.Value:
    if _NUMBER.fullmatch(plain):
        return pb.Value(number=float(plain))
    if plain in ("true", "false"):
        return pb.Value(boolean=plain == "true")
    return pb.Value(text=plain)
