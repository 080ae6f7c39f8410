"""Writes TOML, which the standard library only reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def document(values: Mapping[str, Any]) -> str:
    """``values`` as TOML: tables, texts, numbers, booleans, and lists of them; None, which TOML
    lacks, as a comment."""
    return "\n".join(_table(values, ())).lstrip("\n") + "\n"


def _table(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    # what is not in a table of its own comes first: below a heading it would be that table's
    for key, value in values.items():
        if value is None:
            yield f"# {_key(key)} is not set"
        elif not _tabular(value):
            yield f"{_key(key)} = {inline(value)}"
    for key, value in values.items():
        if _tabular(value):
            where = (*path, _key(key))
            name, one = ".".join(where), isinstance(value, Mapping)
            for each in (value,) if one else value:
                yield from ("", f"[{name}]" if one else f"[[{name}]]", *_table(each, where))


def _tabular(value: object) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(each, Mapping) for each in value)
    return isinstance(value, Mapping)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else inline(key)


def inline(value: object) -> str:
    """A value in one line."""
    if isinstance(value, Mapping):
        inside = (f"{_key(key)} = {inline(each)}" for key, each in value.items())
        return f"{{ {', '.join(inside)} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(inline, value))}]"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but that TOML wants one for DEL
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)
