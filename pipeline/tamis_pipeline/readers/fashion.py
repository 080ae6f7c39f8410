"""Fashion Product Images (small): a catalogue with pictures, and nobody who buys from it."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from tamis_pipeline.dataset import Tables
from tamis_pipeline.readers.columns import NUMBER, TEXT, WHOLE
from tamis_pipeline.readers.files import read_csv

_TEXTS = (
    "gender", "masterCategory", "subCategory", "articleType", "baseColour", "season", "usage",
    "productDisplayName",
)  # fmt: skip
_COLUMNS = {"id": WHOLE, "year": NUMBER, **dict.fromkeys(_TEXTS, TEXT)}


def read(directory: Path) -> Tables:
    """styles.csv, and images/<id>.jpg of those that have one. Raises DatasetRejected."""
    styles = read_csv(directory / "styles.csv", _COLUMNS)
    pictures = {path.stem for path in (directory / "images").glob("*.jpg")}
    item_id = pl.col("id").cast(pl.String)
    described = [pl.col(name) for name in ("articleType", "baseColour", "season", "usage")]
    items = styles.select(
        item_id=item_id,
        title=pl.col("productDisplayName"),
        text=pl.concat_str(described, separator=", ", ignore_nulls=True),
        image=pl.when(item_id.is_in(sorted(pictures))).then("images/" + item_id + ".jpg"),
        article=pl.col("articleType"),
        category=pl.col("masterCategory"),
        subcategory=pl.col("subCategory"),
        colour=pl.col("baseColour"),
        gender=pl.col("gender"),
        season=pl.col("season"),
        usage=pl.col("usage"),
        year=pl.col("year"),
    )
    return Tables(items)
