"""``tamis pipeline shop``: write the demo shop as a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from tamis_pipeline.shop.catalogue import make_products
from tamis_pipeline.shop.export import write_pictures, write_shop
from tamis_pipeline.shop.shoppers import simulate

Out = Annotated[Path, typer.Option(help="Directory to write the data set to.", file_okay=False)]
Pictures = Annotated[bool, typer.Option("--pictures", help="Draw a PNG of every product, too.")]
Products = Annotated[int, typer.Option(min=1, max=10_000, help="How many products.")]
Shoppers = Annotated[int, typer.Option(min=1, max=10_000, help="How many shoppers.")]
Seed = Annotated[int, typer.Option(min=0, help="Decides everything: same seed, same shop.")]


def shop(
    out: Out,
    pictures: Pictures = False,
    products: Products = 3000,
    shoppers: Shoppers = 1500,
    seed: Seed = 7,
) -> None:
    """Make the demo shop: products, and what its shoppers did in 90 days."""
    console = Console(stderr=True)
    catalogue = make_products(products, seed)
    with console.status(f"{shoppers} shoppers at {products} products"):
        behaviour = simulate(catalogue, shoppers, seed)
    write_shop(catalogue, behaviour, out)
    console.print(f"{out}: {products} products, {behaviour.times.shape[0]} events")
    if pictures:
        with Progress(console=console) as progress:
            task = progress.add_task("Pictures", total=products)
            write_pictures(catalogue, out, lambda: progress.advance(task))
