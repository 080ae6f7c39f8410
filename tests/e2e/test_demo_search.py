"""The demo shop searched by words and pictures, with the CLIP that comes with it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from support.servers import server_process
from tamis.v1 import item_pb2
from tamis.v1.catalog_service_pb2 import NewItem
from tamis_client import TamisClient
from tamis_pipeline.shop.pictures import draw
from tamis_server.bundles.clip import Clip, document, fuse
from tamis_server.bundles.manifest import read_manifest

SHOP = Path(str(files("tamis_pipeline.shop") / "bundle"))


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with server_process(SHOP) as server:
        yield server.target


@pytest.fixture
def client(target: str) -> Iterator[TamisClient]:
    with TamisClient(target, timeout_s=10.0) as client:
        yield client


def picture(item_id: str, category: str, cut: str, colour: str, pattern: str) -> bytes:
    buffer = io.BytesIO()
    draw(item_id, category, cut, colour, pattern).save(buffer, "PNG")
    return buffer.getvalue()


def test_words_find_what_they_say(target: str) -> None:
    command = [sys.executable, "-m", "tamis_server", "search", "red dress", "--json"]
    command += ["--target", target, "--timeout", "10", "-n", "3"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    for item in json.loads(shown)["items"]:
        assert item["item_id"].startswith("dress-")


def test_a_picture_finds_what_looks_like_it(client: TamisClient) -> None:
    image = picture("nobody-s", "boots", "hiking boots", "black", "plain")
    found = client.search(image=image, page_size=5, attributes=["category", "colour"])
    assert {item.attributes["category"].text for item in found.items} == {"boots"}
    assert {item.attributes["colour"].text for item in found.items} <= {"black", "charcoal"}


def test_a_new_item_without_a_vector_is_found_by_its_words_and_its_picture(
    client: TamisClient,
) -> None:
    image = picture("new-1", "bag", "backpack", "teal", "dotted")
    new = item_pb2.Item(item_id="new-1", title="Polka-dot canvas backpack, teal", available=True)
    client.upsert_items([NewItem(item=new, picture=image)])
    for found in (client.search(text=new.title), client.search(image=image)):
        assert "new-1" in [item.item_id for item in found.items[:5]]


def test_items_were_encoded_by_the_towers_that_are_served() -> None:
    clip = Clip.load(SHOP / "clip", threads=1)
    item = pq.read_table(SHOP / "items.parquet").slice(0, 1).to_pylist()[0]
    looks = draw(item["item_id"], item["category"], item["cut"], item["colour"], item["pattern"])
    texts, images = clip.texts([document(item["title"], item["text"])]), clip.images([looks])
    spec = read_manifest(SHOP).content
    assert spec is not None
    wanted = fuse(texts, images, np.array([True]), spec)
    np.testing.assert_allclose(np.load(SHOP / "content.npy")[:1], wanted, atol=1e-5)
