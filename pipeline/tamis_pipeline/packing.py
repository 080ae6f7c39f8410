"""Results of stages as files that any program can read: npz, Parquet and JSON, and no pickle.

``structure.json`` is the value with its arrays replaced by names in ``arrays.npz``, its tables by
Parquet files; dataclasses and pydantic models are named by where they are defined.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

_STRUCTURE, _ARRAYS = "structure.json", "arrays.npz"
_OURS = ("tamis_pipeline.", "tamis_server.")


def pack(value: object, directory: Path) -> None:
    """Write ``value`` to an empty directory: None, bool, int, float, str, bytes, arrays, Arrow
    tables, and tuples, lists, mappings by str, dataclasses and models of these. Raises TypeError.
    """
    packer = _Packer(directory)
    structure = packer.node(value)
    with (directory / _ARRAYS).open("wb") as file:
        np.savez(file, **packer.arrays)
    text = json.dumps(structure, indent=1)  # in its order: a mapping has one
    (directory / _STRUCTURE).write_text(text + "\n", "utf-8")


def unpack(directory: Path) -> Any:
    """What ``pack`` was given; mappings come back as dict."""
    structure = json.loads((directory / _STRUCTURE).read_text("utf-8"))
    with np.load(directory / _ARRAYS, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return _value(structure, arrays, directory)


class _Packer:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._tables = 0
        self.arrays: dict[str, Any] = {}

    def node(self, value: object) -> Any:  # noqa: PLR0911 one a kind of value
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, bytes):
            return {"bytes": self._array(np.frombuffer(value, np.uint8))}
        if isinstance(value, np.ndarray):
            return {"array": self._array(value)}
        if isinstance(value, pa.Table):
            return {"table": self._table(value)}
        if isinstance(value, tuple | list):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [self.node(each) for each in value]}
        if isinstance(value, Mapping):
            return {"mapping": {str(key): self.node(each) for key, each in value.items()}}
        if isinstance(value, BaseModel):
            return {"model": _path(value), "value": value.model_dump(mode="json")}
        if is_dataclass(value):
            inside = {each.name: self.node(getattr(value, each.name)) for each in fields(value)}
            return {"record": _path(value), "fields": inside}
        raise TypeError(f"a {type(value).__name__} can't be kept as files")

    def _array(self, array: npt.NDArray[Any]) -> str:
        if array.dtype.hasobject:
            raise TypeError("an array of objects can't be kept as files")
        name = f"a{len(self.arrays)}"
        self.arrays[name] = array
        return name

    def _table(self, table: pa.Table) -> str:
        name = f"t{self._tables}.parquet"
        self._tables += 1
        pq.write_table(table, self._directory / name, compression="zstd")
        return name


def _path(value: object) -> str:
    return f"{type(value).__module__}:{type(value).__qualname__}"


def _class(path: str) -> Any:
    module, _, name = path.partition(":")
    if not module.startswith(_OURS):
        raise ValueError(f"{path} is no class of this program")
    return getattr(import_module(module), name)


def _value(  # noqa: PLR0911 one a kind of value
    node: Any, arrays: Mapping[str, npt.NDArray[Any]], directory: Path
) -> Any:
    def inside(child: Any) -> Any:
        return _value(child, arrays, directory)

    match node:
        case {"bytes": str(name)}:
            return arrays[name].tobytes()
        case {"array": str(name)}:
            return arrays[name]
        case {"table": str(name)}:
            return pq.read_table(directory / name)
        case {"tuple": children}:
            return tuple(inside(child) for child in children)
        case {"list": children}:
            return [inside(child) for child in children]
        case {"mapping": children}:
            return {key: inside(child) for key, child in children.items()}
        case {"model": str(path), "value": value}:
            return _class(path).model_validate(value)
        case {"record": str(path), "fields": children}:
            return _class(path)(**{key: inside(child) for key, child in children.items()})
        case _:
            return node
