"""Whether the columns of a data set's tables hold what they are to hold; else: file, column, row.

What is missing is no matter here: it is dropped or mended and counted (``dataset.assemble``). A
value of another type is: all others of its column would change their meaning with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from tamis_pipeline.dataset import DatasetRejected, iso_time, seconds

# what a column of a published file holds
TEXT, WHOLE, NUMBER = pl.String, pl.Int64, pl.Float64
_WHAT: Mapping[type[pl.DataType], str] = {
    WHOLE: "is to be a whole number",
    NUMBER: "is to be a number",
}

_IDS = ("item_id", "user_id")
_TEXTS = ("title", "text", "image", "event_type", "event_id", "session_id", "request_id")
# the first moment each may be: works may be older than Unix, what people did with them is not
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = {
    "timestamp": _EPOCH,
    "received_at": _EPOCH,
    "created_at": datetime(1, 1, 1, tzinfo=UTC),
}
# the last: milliseconds since 1970 taken for seconds are later from 17 February 1970 on. Not the
# present: whether a data set can be read must not change with the day
_LAST = datetime(2100, 1, 1, tzinfo=UTC)
_UNITS = {"milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
_NUMBERS = ("value", "position")
# of the texts in a column of a csv file so many are numbers: then it is one of numbers
_MOSTLY = 0.9


def checked(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """``frame`` as it was read from ``path``. Raises DatasetRejected, naming the first row (from 1,
    without the header) whose value is of the wrong type."""
    for column in frame.get_columns():
        _rule(column.name)(column, path)
    return frame


def converted(
    texts: pl.DataFrame, path: Path, columns: Mapping[str, type[pl.DataType]]
) -> pl.DataFrame:
    """``texts``, all strings, as they were read from ``path``, with ``columns`` as what they are:
    TEXT, WHOLE or NUMBER; a blank number is missing. Raises DatasetRejected as ``checked``."""
    for name, kind in columns.items():
        if kind != TEXT:
            column = texts[name].str.strip_chars()
            numbers = column.cast(kind, strict=False)
            _refuse(texts[name], path, _WHAT[kind], _filled(column) & numbers.is_null())
            texts = texts.with_columns(numbers)
            if name in _TIMES:
                _possible(numbers, path)
    return texts


def _rule(name: str) -> Callable[[pl.Series, Path], None]:
    if name in _IDS:
        return _identifier
    if name in _TEXTS:
        return _text
    if name in _TIMES:
        return _time
    if name in _NUMBERS:
        return _number
    return _flag if name == "available" else _attribute


def _identifier(column: pl.Series, path: Path) -> None:
    if not (_is_text(column) or column.dtype.is_integer() or column.dtype == pl.Null):
        _refuse(column, path, "an id is text or a whole number", column.is_not_null())


def _text(column: pl.Series, path: Path) -> None:
    if column.dtype.is_nested() or column.dtype == pl.Binary:
        _refuse(column, path, "is to be text", column.is_not_null())


def _time(column: pl.Series, path: Path) -> None:
    what = "a time is a number (Unix seconds), a timestamp or ISO 8601 text"
    if _is_text(column):
        texts = column.cast(pl.String)
        known = pl.select(iso_time(pl.lit(texts))).to_series().is_not_null()
        _refuse(column, path, what, _filled(texts) & ~known)
    elif not (column.dtype.is_numeric() or column.dtype.is_temporal() or column.dtype == pl.Null):
        _refuse(column, path, what, column.is_not_null())
    _possible(column, path)


def _possible(column: pl.Series, path: Path) -> None:
    """Raises DatasetRejected for the first time that can't be meant; NaN is a missing one."""
    frame, earliest = column.to_frame(), _TIMES[column.name]
    times = frame.select(seconds(frame, str(path), column.name)).to_series()
    first, last = earliest.timestamp(), _LAST.timestamp()
    wrong = ~times.is_between(first, last) & times.is_not_nan()
    outside = times.filter(wrong)
    if not outside.is_empty():
        meant = [unit for unit, each in _UNITS.items() if first <= outside[0] / each <= last]
        hint = f"; are these {meant[0]}?" if meant else ""
        what = f"a time is from {earliest.date()} to {_LAST.date()}; a number is seconds"
        _refuse(column, path, what + hint, wrong)


def _number(column: pl.Series, path: Path) -> None:
    if _is_text(column):
        texts = column.cast(pl.String)
        _refuse(column, path, "is to be a number", _filled(texts) & ~_numeric(texts))
    elif not (column.dtype.is_numeric() or column.dtype == pl.Null):
        _refuse(column, path, "is to be a number", column.is_not_null())


def _flag(column: pl.Series, path: Path) -> None:
    what = "is to be true or false"
    if column.dtype.is_numeric():
        _refuse(column, path, what, column.is_not_null() & ~column.is_in([0, 1]))
    elif column.dtype not in (pl.Boolean, pl.Null):
        _refuse(column, path, what, column.is_not_null())


def _attribute(column: pl.Series, path: Path) -> None:
    if _is_text(column):
        texts = column.cast(pl.String)
        filled, numeric = _filled(texts), _numeric(texts)
        if numeric.sum() >= _MOSTLY * max(int(filled.sum()), 1):
            _refuse(column, path, "holds numbers otherwise", filled & ~numeric)
    elif not (
        column.dtype.is_numeric()
        or column.dtype in (pl.Boolean, pl.Null, pl.List(pl.String), pl.List(pl.Null))
    ):
        what = "an attribute is text, a list of texts, a number or a boolean"
        _refuse(column, path, what, column.is_not_null())


def _is_text(column: pl.Series) -> bool:
    return column.dtype in (pl.String, pl.Categorical, pl.Enum)


def _filled(texts: pl.Series) -> pl.Series:
    return (texts.str.strip_chars() != "").fill_null(False)


def _numeric(texts: pl.Series) -> pl.Series:
    return texts.str.strip_chars().cast(pl.Float64, strict=False).is_not_null()


def _refuse(column: pl.Series, path: Path, what: str, wrong: pl.Series) -> None:
    """Raises DatasetRejected for the first row that is wrong, if there is one."""
    row = wrong.fill_null(False).arg_max()
    if row is not None and wrong[row]:
        raise DatasetRejected(
            f"{path}, column {column.name}, row {row + 1}: {column[row]!r} ({column.dtype}); {what}"
        )
