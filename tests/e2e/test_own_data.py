"""docs/own-data.md as written: from a catalogue with pictures to answers of a server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from support.servers import server_process
from tamis_pipeline.shop.catalogue import Product, make_products
from tamis_pipeline.shop.export import ATTRIBUTES, items_table, write_pictures

PAGE = Path(__file__).resolve().parents[2] / "docs" / "own-data.md"
PRODUCTS = 90


def commands(heading: str) -> list[str]:
    """What the page says to type under a heading, from its own data on: environment aside."""
    (section,) = re.findall(
        rf"^## {heading}\n(.*?)(?=^## )", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    typed = re.findall(r"^ {4}(\S.*)$", section, re.MULTILINE)
    return [line for line in typed if not line.startswith("make ")]


def run(line: str, where: Path) -> str:
    """One line typed in ``where``: what it printed."""
    here = line.replace(".venv/bin/tamis", f"{sys.executable} -m tamis_server")
    environment = {**os.environ, "COLUMNS": "160"}
    done = subprocess.run(
        ["bash", "-euc", here], cwd=where, env=environment, text=True, capture_output=True,
        timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def products() -> list[Product]:
    return make_products(PRODUCTS, seed=5)


@pytest.fixture(scope="module")
def shop(products: list[Product], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's steps have been done, up to the server's."""
    where = tmp_path_factory.mktemp("shop")
    write_pictures(products, where / "catalogue", lambda: None)
    plain = [name for name in ("item_id", "title", "text", "image", *ATTRIBUTES) if name != "tags"]
    items = pl.from_arrow(items_table(products).select(plain))
    assert isinstance(items, pl.DataFrame)
    items.write_csv(where / "catalogue" / "items.csv")
    (simulate,) = commands("A catalogue without users")
    run(simulate.replace("CATALOGUE", "catalogue").replace("--users 1000", "--users 60"), where)
    steps = commands("From tables to answers")
    serve = steps.index(".venv/bin/tamis serve --bundle bundles/my-shop")
    for step in steps[:serve]:
        run(step.replace("DIR", "my-shop-data"), where)
    return where


def test_the_steps_of_the_page_lead_to_answers(shop: Path, products: list[Product]) -> None:
    steps = commands("From tables to answers")
    asked = steps[steps.index(".venv/bin/tamis serve --bundle bundles/my-shop") + 1 :]
    product = products[40]
    fill = {"USER": "user-00001", "ITEM": product.item_id, "WORDS": product.colour}
    fill["PICTURE"] = f"my-shop-data/{product.image}"
    said: dict[str, str] = {}
    with server_process(shop / "bundles/my-shop") as server:
        for step in asked:
            line = re.sub("|".join(fill), lambda found: fill[found[0]], step)
            said[step] = run(f"{line} --target {server.target} --timeout 10", shop)
    assert [step.split()[1] for step in asked] == ["recommend", "related", "search", "search"]
    assert all("full quality" in answer for answer in said.values())
    by_words, by_picture = (said[step] for step in asked if " search " in step)
    assert product.colour in by_words
    assert product.title in by_picture


def test_the_report_stands_beside_simple_methods(shop: Path) -> None:
    report = (shop / "bundles/my-shop/report.md").read_text("utf-8")
    assert "whole funnel" in report
    assert "popularity" in report
