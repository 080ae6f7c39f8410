"""Search by words and pictures, and what items look and read like, through a real server."""

from __future__ import annotations

import asyncio
import io
import json
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.engines import Recorder, bench_of, request
from support.looks import DIM, SPEC, depicted_parts, picture, title_of
from support.servers import Running, running
from tamis.v1 import item_pb2
from tamis.v1 import recommend_service_pb2 as pb
from tamis.v1.catalog_service_pb2 import NewItem
from tamis_client import (
    AsyncTamisClient,
    DeadlineExceeded,
    InvalidRequest,
    NotOffered,
    TamisClient,
)
from tamis_pipeline.bundle import ContentParts, write_bundle
from tamis_pipeline.synthetic import random_parts
from tamis_server.bundles.clip import Clip, fuse
from tamis_server.bundles.loader import Content, load
from tamis_server.domain.candidates import DegradationLevel, Mask
from tamis_server.domain.context import Depiction, UserState
from tamis_server.domain.errors import DependencyFailed
from tamis_server.domain.events import Events
from tamis_server.engines import build_engine
from tamis_server.settings import Settings
from tamis_server.tables import Tables

PAGE = Path(__file__).resolve().parents[2] / "docs" / "search.md"
# time enough even where others have the machine: what is found is shown here, not how soon
BY_SIMILARITY = {"reranking": {"trade_off": 1.0}, "search": {"candidates": 500, "timeout_s": 5.0}}


@pytest.fixture(scope="module")
def depicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundle") / "depicted"
    write_bundle(depicted_parts(tmp_path_factory.mktemp("clip")), directory)
    return directory


class Gone:
    """A state store that can't be reached."""

    async def read(self, user_id: str, now: float) -> UserState:
        raise DependencyFailed("store", "gone")

    async def record(self, events: Events) -> Mask:
        raise DependencyFailed("store", "gone")


@asynccontextmanager
async def connected(server: Running) -> AsyncIterator[AsyncTamisClient]:
    async with AsyncTamisClient(server.target, timeout_s=10.0) as client:
        yield client


@pytest.fixture
async def client(depicted: Path) -> AsyncIterator[AsyncTamisClient]:
    async with running(depicted, BY_SIMILARITY) as server, connected(server) as client:
        yield client


async def titles(client: AsyncTamisClient, response: pb.SearchResponse) -> list[str]:
    found = (await client.get_items([item.item_id for item in response.items])).items
    return [item.title for item in found]


def content_of(bundle: Path) -> tuple[Content, np.ndarray, np.ndarray]:
    """The content of a bundle, which of its items may be shown, and their ids."""
    loaded = load(bundle)
    assert loaded.content is not None
    available = loaded.items.column("available").to_numpy(zero_copy_only=False)
    ids = np.array(loaded.items.column("item_id").to_pylist())
    return loaded.content, available.astype(bool), ids


@pytest.mark.parametrize(
    ("text", "colour"), [("red dress", ""), ("", "blue"), ("green shoe", "green"), (" shirt ", "")]
)
async def test_what_is_most_similar_is_found_in_order_of_similarity(
    client: AsyncTamisClient, depicted: Path, text: str, colour: str
) -> None:
    content, available, ids = content_of(depicted)
    assert content.clip is not None
    clip = Clip.load(content.clip, threads=1)
    texts = clip.texts([text.strip()]) if text else np.zeros((1, DIM), np.float32)
    images = clip.images([picture(colour)]) if colour else np.zeros((1, DIM), np.float32)
    query = fuse(texts, images, np.array([bool(colour)]), SPEC)[0]
    rows = np.flatnonzero(available & content.vectors.any(axis=1))
    products = content.vectors[rows] @ query
    best = rows[np.lexsort((rows, -products))]

    image = picture(colour) if colour else b""
    response = await client.search(text=text, image=image, page_size=500)
    found = [item.score for item in response.items]
    np.testing.assert_allclose(found, np.sort(products)[::-1], atol=1e-5)
    assert {item.item_id for item in response.items} == {*ids[best]}
    assert all(list(item.sources) == [pb.CANDIDATE_SOURCE_SEARCH] for item in response.items)
    assert all(list(item.reasons) == [pb.REASON_CODE_MATCHES_SEARCH] for item in response.items)
    assert response.degradation.level == pb.DEGRADATION_LEVEL_FULL


async def test_words_find_the_items_that_they_describe(client: AsyncTamisClient) -> None:
    response = await client.search(text="Red dress", page_size=3, trace=True)
    assert {*await titles(client, response)} == {"red dress"}
    assert [stage.stage for stage in response.trace.stages] == [
        "search_encoding",
        "user_history",
        "user_state",
        "eligibility",
        "query_encoding",
        "retrieval",
        "filtering",
        "hydration",
        "ranking",
        "reranking",
    ]


async def test_conditions_and_exclusions_hold_for_everything_found(
    client: AsyncTamisClient,
) -> None:
    everything = await client.search(text="red dress", page_size=500)
    top = everything.items[0].item_id
    without = await client.search(
        text="red dress", page_size=500, excluded_item_ids=[top], attributes=["colour"],
        predicates=[
            pb.Predicate(
                attribute="colour", **{"in": pb.ValueList(values=[pb.Value(text="blue")])}
            )
        ],
    )  # fmt: skip
    assert without.items
    assert top not in {item.item_id for item in without.items}
    assert {item.attributes["colour"].text for item in without.items} == {"blue"}
    assert without.shortfall_reason == pb.SHORTFALL_REASON_FEW_ELIGIBLE_ITEMS


async def test_who_is_looking_decides_among_what_is_similar(depicted: Path) -> None:
    async with running(depicted) as server, connected(server) as client:
        anybody = await client.search(text="red dress", page_size=50)
        somebody = await client.search(text="red dress", page_size=50, user_id="user-3")
        unknown = await client.search(text="red dress", page_size=50, user_id="nobody")
        order = [item.item_id for item in anybody.items]
        assert [item.item_id for item in unknown.items] == order
        assert [item.item_id for item in somebody.items] != order
        assert "red dress" in (await titles(client, somebody))[:3]
        assert all(0 <= item.score <= 1 for item in somebody.items)


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({}, "text", "one of them must be given"),
        ({"text": " \n"}, "text", "one of them must be given"),
        ({"text": "x" * 4_097}, "text", "4097 bytes, at most 4096"),
        ({"image": b"x" * ((8 << 20) + 1)}, "image", "at most 8388608"),
        ({"image": b"no picture"}, "image", "not a picture of a known format"),
        ({"image": picture("red")[:45]}, "image", "damaged"),
        ({"text": "a", "page_size": 501}, "page_size", "allowed are 1 to 500"),
        ({"text": "a", "user_id": "\n"}, "user_id", "not printable"),
    ],
)
async def test_what_is_wrong_with_a_search_is_said_by_field(
    client: AsyncTamisClient, fields: dict[str, object], field: str, says: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await client.search(**fields)
    assert [violation.field for violation in caught.value.violations] == [field]
    assert says in caught.value.violations[0].description


async def test_a_bad_picture_fails_its_own_search_alone(client: AsyncTamisClient) -> None:
    alone = await client.search(text="blue shoe", page_size=5)

    async def ask(number: int) -> pb.SearchResponse | None:
        try:
            image = b"no picture" if number % 3 == 0 else b""
            return await client.search(text="blue shoe", image=image, page_size=5)
        except InvalidRequest:
            return None

    answers = await asyncio.gather(*(ask(number) for number in range(60)))
    assert [answer is None for answer in answers] == [number % 3 == 0 for number in range(60)]
    for answer in answers:
        if answer is not None:
            assert [item.item_id for item in answer.items] == [i.item_id for i in alone.items]


async def refused(client: AsyncTamisClient) -> NotOffered:
    with pytest.raises(NotOffered) as caught:
        await client.search(text="red dress")
    return caught.value


async def test_a_bundle_that_can_not_encode_says_so_and_what_is_missing(
    bundle: Path, tmp_path: Path
) -> None:
    async with running(bundle) as server, connected(server) as client:
        assert "has no content vectors" in (await refused(client)).message
    parts = depicted_parts(tmp_path / "clip")
    assert parts.content is not None
    write_bundle(replace(parts, content=replace(parts.content, clip=None)), tmp_path / "no-clip")
    async with running(tmp_path / "no-clip") as server, connected(server) as client:
        assert "not the CLIP" in (await refused(client)).message
        alike = await client.related_items(item_ids=["item-2"], page_size=50)
        assert any(pb.CANDIDATE_SOURCE_CONTENT in item.sources for item in alike.items)


async def test_an_installation_that_can_not_encode_serves_the_rest_and_says_what_to_install(
    depicted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not there
    async with running(depicted) as server, connected(server) as client:
        assert "pip install -c constraints.txt -e '.[clip]'" in (await refused(client)).message
        await client.upsert_items([new_item("worded", "red dress")])
        answer = await client.recommend(user_id="user-3", page_size=100)
        assert any(pb.CANDIDATE_SOURCE_CONTENT in item.sources for item in answer.items)


async def test_a_search_whose_encoding_is_late_has_no_answer_and_holds_up_nobody(
    depicted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, encode = threading.Event(), Clip.texts

    def slow(clip: Clip, texts: Sequence[str]) -> np.ndarray:
        if "slow" in texts:
            go_on.wait(60)
        return encode(clip, texts)

    monkeypatch.setattr(Clip, "texts", slow)
    sections = {"search": {"timeout_s": 0.2}}
    async with running(depicted, sections) as server, connected(server) as client:
        try:
            with pytest.raises(DeadlineExceeded, match="search_encoding"):
                await client.search(text="slow")
            assert len((await client.recommend(user_id="user-3")).items) == 20
        finally:
            go_on.set()


async def test_without_the_state_store_a_search_is_answered_by_similarity_and_says_so(
    tmp_path: Path,
) -> None:
    shop = bench_of(depicted_parts(tmp_path / "clip"), tmp_path / "bundle")
    engine = build_engine(Tables.of(shop.bundle, Settings()), Gone(), Settings(), Recorder())
    slate = await engine.search.run(request("ada", sought=Depiction("red dress")))
    assert [cause.stage for cause in slate.causes] == ["user_state"]
    assert slate.level is DegradationLevel.RETRIEVAL_ORDER
    scores = slate.candidates.scores
    assert scores[0] == pytest.approx(1, abs=1e-5)
    assert len(slate.candidates) == 10


async def test_recommendations_and_related_items_come_from_looks_too(
    client: AsyncTamisClient,
) -> None:
    response = await client.recommend(user_id="user-3", page_size=100, trace=True)
    counts = next(stage for stage in response.trace.stages if stage.stage == "retrieval").counts
    assert counts["content"] > 0
    alike = [item for item in response.items if pb.CANDIDATE_SOURCE_CONTENT in item.sources]
    assert alike
    assert all(pb.REASON_CODE_SIMILAR_CONTENT in item.reasons for item in alike)
    related = await client.related_items(item_ids=["item-2"], page_size=100)
    assert title_of(2) == "blue shoe"
    looks = [item for item in related.items if pb.CANDIDATE_SOURCE_CONTENT in item.sources]
    found = (await client.get_items([item.item_id for item in looks])).items
    assert [item.title for item in found].count("blue shoe") >= 5


async def test_an_item_that_neither_looks_nor_reads_like_anything_is_never_found_by_it(
    client: AsyncTamisClient,
) -> None:
    found = await client.search(text="dress", page_size=500)
    assert not {"item-118", "item-119"} & {item.item_id for item in found.items}
    related = await client.related_items(item_ids=["item-119"], page_size=100)
    assert all(pb.CANDIDATE_SOURCE_CONTENT not in item.sources for item in related.items)


def new_item(item_id: str, title: str, image: bytes = b"", *, seed: int = 0) -> NewItem:
    vector = np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
    item = item_pb2.Item(item_id=item_id, title=title, available=True)
    return NewItem(item=item, vector=vector, picture=image)


async def test_a_new_item_is_found_at_once_by_its_words_and_by_its_picture(
    client: AsyncTamisClient,
) -> None:
    await client.upsert_items(
        [
            new_item("worded", "summer winter summer"),
            new_item("shown", "", picture("green"), seed=1),
            new_item("silent", "", seed=2),
        ]
    )
    by_words = await client.search(text="summer winter summer", page_size=3)
    assert by_words.items[0].item_id == "worded"
    assert by_words.items[0].score == pytest.approx(1, abs=1e-5)
    by_picture = await client.search(image=picture("green"), page_size=3)
    assert by_picture.items[0].item_id == "shown"
    everything = await client.search(text="red", page_size=500)
    assert "silent" not in {item.item_id for item in everything.items}
    related = await client.related_items(item_ids=["shown"], page_size=100)
    assert any(pb.CANDIDATE_SOURCE_CONTENT in item.sources for item in related.items)
    await client.delete_items(["worded"])
    again = await client.search(text="summer winter summer", page_size=500)
    assert "worded" not in {item.item_id for item in again.items}


async def test_a_changed_item_keeps_its_looks_unless_a_picture_comes(
    client: AsyncTamisClient,
) -> None:
    assert title_of(2) == "blue shoe"
    changed = item_pb2.Item(item_id="item-2", title="green shirt", available=True)
    await client.upsert_items([NewItem(item=changed)])
    assert "item-2" in {
        item.item_id for item in (await client.search(text="blue shoe", page_size=20)).items
    }
    await client.upsert_items([NewItem(item=changed, picture=picture("green"))])
    response = await client.search(text="green shirt", image=picture("green"), page_size=500)
    scores = {item.item_id: item.score for item in response.items}
    assert scores["item-2"] == pytest.approx(1, abs=1e-5)


async def test_a_picture_that_is_none_is_refused_by_its_item(client: AsyncTamisClient) -> None:
    items = [new_item(f"n-{n}", "red dress", seed=n) for n in range(12)]
    items[10].picture = b"no picture"
    with pytest.raises(InvalidRequest) as caught:
        await client.upsert_items(items)
    assert [violation.field for violation in caught.value.violations] == ["items[10].picture"]
    assert (await client.get_items(["n-0"])).unknown_item_ids == ["n-0"]


async def test_what_came_since_is_still_found_after_a_swap_unless_the_towers_are_others(
    depicted: Path, tmp_path: Path
) -> None:
    moving = tmp_path / "bundle"
    parts = depicted_parts(tmp_path / "clip")
    write_bundle(parts, moving)
    async with running(moving, BY_SIMILARITY) as server, connected(server) as client:
        await client.upsert_items([new_item("worded", "summer winter summer")])
        write_bundle(replace(parts, name="next"), moving)
        await server.application.reload()
        found = await client.search(text="summer winter summer", page_size=1)
        assert found.items[0].item_id == "worded"
        write_bundle(depicted_parts(tmp_path / "other-clip", seed=5), moving)
        await server.application.reload()
        found = await client.search(text="summer winter summer", page_size=500)
        assert "worded" not in {item.item_id for item in found.items}


async def test_every_usual_format_is_read_and_transparency_is_white(
    client: AsyncTamisClient,
) -> None:
    clear = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(clear, "PNG")
    white = io.BytesIO()
    Image.new("RGB", (8, 8), "white").save(white, "BMP")
    images = [picture("red", kind) for kind in ("PNG", "GIF", "BMP", "WEBP", "JPEG")]
    for image in (*images, clear.getvalue(), white.getvalue()):
        assert len((await client.search(image=image, page_size=3)).items) == 3


async def test_towers_of_another_width_are_refused(tmp_path: Path) -> None:
    parts = depicted_parts(tmp_path / "clip")
    assert parts.content is not None
    wide = random_parts(items=120, users=20, content=DIM + 1).content
    assert wide is not None
    content = ContentParts(wide.vectors, wide.spec, parts.content.clip)
    write_bundle(replace(parts, content=content), tmp_path / "bundle")
    with pytest.raises(Exception, match="clip: its vectors are 16 wide"):
        async with running(tmp_path / "bundle"):
            pass


async def test_the_command_line_searches_by_words_and_by_picture(
    depicted: Path, tmp_path: Path
) -> None:
    (tmp_path / "blue.png").write_bytes(picture("blue"))

    async def tamis(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tamis_server", "search", *arguments]
        return await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
        )

    async with running(depicted) as server:
        ask = ("--target", server.target, "--timeout", "20")
        shown = await tamis("red dress", "--user", "user-3", "-n", "3", *ask)
        assert shown.returncode == 0, shown.stderr
        assert "matches search" in shown.stdout
        assert "search_encoding" in shown.stdout
        pictured = await tamis("--image", str(tmp_path / "blue.png"), "--json", *ask)
        assert len(json.loads(pictured.stdout)["items"]) == 10
        nothing = await tamis(*ask)
        assert nothing.returncode == 2
        assert "give words" in nothing.stderr


async def test_the_example_of_the_documentation_runs_as_written(depicted: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    async with running(depicted) as server:
        code = example.replace("127.0.0.1:50051", server.target).replace(
            'Path("photo.jpg").read_bytes()', repr(picture("red", "JPEG"))
        )
        command = [sys.executable, "-c", code]
        result = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
        )
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 10


async def test_both_clients_find_the_same(depicted: Path) -> None:
    async with running(depicted) as server, connected(server) as client:

        def ask() -> list[str]:
            with TamisClient(server.target, timeout_s=10.0) as blocking:
                return [i.item_id for i in blocking.search(text="blue shirt").items]

        blocking = await asyncio.to_thread(ask)
        assert blocking == [i.item_id for i in (await client.search(text="blue shirt")).items]


async def test_what_was_encoded_and_searched_is_measured(depicted: Path) -> None:
    sections = {"metrics": {"listen": "127.0.0.1:0"}}
    async with running(depicted, sections) as server, connected(server) as client:
        await client.search(text="red dress", image=picture("red"))
        await client.search(text="red dress")
        address = f"http://127.0.0.1:{server.application.metrics_port}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(address).read().decode())
    # each once more than asked: the warm-up
    assert 'tamis_encoded_total{kind="text"} 3.0' in text
    assert 'tamis_encoded_total{kind="picture"} 2.0' in text
    assert 'tamis_searches_total{index="content",way="exact"} 2.0' in text
    assert 'tamis_stage_duration_seconds_count{outcome="ok",stage="search_encoding"} 2.0' in text


def test_a_server_without_content_loads_nothing_that_encodes(bundle: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tamis_server.engines import build_engine\n"
        "from tamis_server.settings import Settings\n"
        "from tamis_server.tables import Tables\n"
        "build_engine(Tables.load(Path(sys.argv[1]), Settings()), None, Settings(), None)\n"
        "print(sorted({'onnxruntime', 'tokenizers', 'PIL', 'onnx'} & sys.modules.keys()))\n"
    )
    command = [sys.executable, "-c", code, str(bundle)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert shown == "[]\n"
