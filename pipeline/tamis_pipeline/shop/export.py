"""Writes the demo shop as a data set in the pipeline's generic format (docs/own-data.md)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tamis_pipeline.shop.catalogue import Product
from tamis_pipeline.shop.shoppers import EVENT_TYPES, PURCHASE, Behaviour

ITEMS = "items.parquet"
INTERACTIONS = "interactions.parquet"
ATTRIBUTES = (
    "category", "cut", "colour", "pattern", "material",
    "gender", "season", "brand", "price", "tags",
)  # fmt: skip


def items_table(products: list[Product]) -> pa.Table:
    """One row per product: the format's own columns, then ``ATTRIBUTES``."""
    columns: dict[str, Any] = {
        "item_id": pa.array([p.item_id for p in products], pa.string()),
        "title": pa.array([p.title for p in products], pa.string()),
        "text": pa.array([p.text for p in products], pa.string()),
        "image": pa.array([p.image for p in products], pa.string()),
        "available": pa.array([p.available for p in products], pa.bool_()),
        "created_at": pa.array([p.created_at for p in products], pa.float64()),
    }
    types = {"price": pa.float64(), "tags": pa.list_(pa.string())}
    for name in ATTRIBUTES:
        values = [getattr(product, name) for product in products]
        columns[name] = pa.array(values, types.get(name, pa.string()))
    return pa.table(columns)


def interactions_table(products: list[Product], behaviour: Behaviour) -> pa.Table:
    """One row per event, by time; ``value`` is the price paid, null where nothing was bought."""
    prices = np.array([product.price for product in products])[behaviour.products]
    bought = behaviour.types == PURCHASE
    item_ids = [product.item_id for product in products]
    return pa.table(
        {
            "user_id": pa.array([shopper_id(n) for n in behaviour.shoppers.tolist()], pa.string()),
            "item_id": pa.array([item_ids[n] for n in behaviour.products.tolist()], pa.string()),
            "timestamp": pa.array(behaviour.times, pa.float64()),
            "event_type": pa.array([EVENT_TYPES[n] for n in behaviour.types.tolist()], pa.string()),
            "value": pa.array(prices, pa.float64(), mask=~bought),
        }
    )


def shopper_id(number: int) -> str:
    return f"shopper-{number:04d}"


def write_shop(products: list[Product], behaviour: Behaviour, out: Path) -> None:
    """Write both tables into the directory ``out``, made where absent."""
    out.mkdir(parents=True, exist_ok=True)
    pq.write_table(items_table(products), out / ITEMS, compression="zstd")
    pq.write_table(interactions_table(products, behaviour), out / INTERACTIONS, compression="zstd")


def write_pictures(products: list[Product], out: Path, drawn: Callable[[], object]) -> None:
    """Draw every product to its ``image`` under ``out``, calling ``drawn`` after each."""
    from tamis_pipeline.shop.pictures import draw  # noqa: PLC0415 Pillow is an extra

    (out / "pictures").mkdir(parents=True, exist_ok=True)
    for product in products:
        draw(product.item_id, product.category, product.cut, product.colour, product.pattern).save(
            out / product.image
        )
        drawn()
