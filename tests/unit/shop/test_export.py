from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from typer import Typer
from typer.testing import CliRunner

from tamis_pipeline.shop.catalogue import Product
from tamis_pipeline.shop.cli import shop
from tamis_pipeline.shop.export import (
    ATTRIBUTES,
    INTERACTIONS,
    ITEMS,
    interactions_table,
    items_table,
    write_shop,
)
from tamis_pipeline.shop.shoppers import EVENT_TYPES, Behaviour


def test_every_attribute_is_typed_and_filled(products: list[Product]) -> None:
    table = items_table(products)
    for name in ATTRIBUTES:
        kind = {"price": pa.float64(), "tags": pa.list_(pa.string())}.get(name, pa.string())
        assert table.schema.field(name).type == kind
        assert table.column(name).null_count == 0
    assert table.schema.field("available").type == pa.bool_()
    assert table.schema.field("created_at").type == pa.float64()


def test_an_event_names_a_shopper_a_product_and_a_type(
    products: list[Product], behaviour: Behaviour
) -> None:
    table = interactions_table(products, behaviour)
    assert table.num_rows == behaviour.times.shape[0]
    users = set(table.column("user_id").to_pylist())
    assert all(re.fullmatch(r"shopper-\d{4}", str(user)) for user in users)
    assert set(table.column("item_id").to_pylist()) <= {p.item_id for p in products}
    assert set(table.column("event_type").to_pylist()) == set(EVENT_TYPES)


def test_a_purchase_is_worth_its_price_and_nothing_else_has_a_value(
    products: list[Product], behaviour: Behaviour
) -> None:
    prices = {product.item_id: product.price for product in products}
    for event in interactions_table(products, behaviour).to_pylist():
        bought = event["event_type"] == "purchase"
        assert event["value"] == (prices[event["item_id"]] if bought else None)


def test_the_same_shop_is_written_byte_for_byte(
    products: list[Product], behaviour: Behaviour, tmp_path: Path
) -> None:
    digests = []
    for name in ("one", "two"):
        write_shop(products, behaviour, tmp_path / name)
        files = sorted((tmp_path / name).iterdir())
        assert [file.name for file in files] == [INTERACTIONS, ITEMS]
        digests.append([sha256(file.read_bytes()).hexdigest() for file in files])
    assert digests[0] == digests[1]


def test_the_command_writes_tables_and_every_picture(tmp_path: Path) -> None:
    app = Typer()
    app.command()(shop)
    arguments = ["--out", str(tmp_path), "--products", "20", "--shoppers", "3", "--pictures"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    images = pq.read_table(tmp_path / ITEMS).column("image").to_pylist()
    assert len(images) == 20
    assert all((tmp_path / str(image)).stat().st_size > 500 for image in images)


def test_the_command_refuses_a_shop_without_products(tmp_path: Path) -> None:
    app = Typer()
    app.command()(shop)
    result = CliRunner().invoke(app, ["--out", str(tmp_path), "--products", "0"])
    assert result.exit_code == 2
