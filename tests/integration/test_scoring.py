"""Batch scoring: each user's best items, as the bundle's own models order them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from support.engines import AS_OF, Bench, bench_of, request
from tamis_pipeline.cli import app
from tamis_pipeline.dataset import DatasetRejected
from tamis_pipeline.progress import Progress
from tamis_pipeline.rankers.exposures import ExposureConfig
from tamis_pipeline.scoring import score as scoring
from tamis_pipeline.scoring.score import RESULT, best, score
from tamis_pipeline.shards import here
from tamis_pipeline.synthetic import random_parts
from tamis_server.bundles.manifest import VECTORS
from tamis_server.domain.errors import BundleRejected

K = 15
KNOWING = 30  # users; of the last nothing is known


def quietly() -> Progress:
    return Progress(Console(file=StringIO()))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    parts = random_parts(items=120, users=KNOWING, as_of=AS_OF)
    nothing = pa.table(
        {
            "user_id": ["stranger"],
            "rows": pa.array([[]], pa.list_(pa.int32())),
            "times": pa.array([[]], pa.list_(pa.float64())),
            "kinds": pa.array([[]], pa.list_(pa.uint8())),
        }
    )
    users = pa.concat_tables([parts.users, nothing])
    return bench_of(replace(parts, users=users), tmp_path_factory.mktemp("shop") / "bundle")


@pytest.fixture(scope="module")
def scored(shop: Bench) -> dict[str, list[tuple[str, float]]]:
    """By user, what all shards hold."""
    out = shop.bundle.directory.with_name("scored")
    done = score(shop.bundle.directory, out, K, here, 4, quietly())
    silent = sum(not user["rows"] for user in shop.bundle.users.to_pylist())
    assert (done.users, done.without_history, done.shards) == (KNOWING + 1, silent, 4)
    assert sorted(path.name for path in out.iterdir()) == [
        f"part-{n:05d}.parquet" for n in range(4)
    ]
    table = pq.read_table(out)
    assert table.schema.equals(RESULT)
    return {
        row["user_id"]: list(zip(row["item_ids"], row["scores"], strict=True))
        for row in table.to_pylist()
    }


def test_nobody_is_shown_what_was_met_or_can_not_be_had(
    shop: Bench, scored: dict[str, list[tuple[str, float]]]
) -> None:
    items = shop.bundle.items
    available = dict(zip(items["item_id"].to_pylist(), items["available"].to_pylist(), strict=True))
    for user in shop.bundle.users.to_pylist():
        found = scored[user["user_id"]]
        ids = [item_id for item_id, _ in found]
        assert len(ids) == len(set(ids)) == K
        assert not set(ids) & {f"item-{row}" for row in user["rows"]}
        assert all(available[item_id] for item_id in ids)
        scores = [value for _, value in found]
        assert scores == sorted(scores, reverse=True)


async def test_scores_are_those_that_a_server_gives(
    shop: Bench, scored: dict[str, list[tuple[str, float]]]
) -> None:
    compared = 0
    for user_id, found in scored.items():
        slate = await shop.engine.recommend.run(request(user_id, 100, now=AS_OF))
        ranked = slate.candidates
        served = {
            f"item-{row}": value for row, value in zip(ranked.rows, ranked.scores, strict=True)
        }
        for item_id, value in found:
            if item_id in served:
                assert value == pytest.approx(served[item_id], abs=1e-4)
                compared += 1
    assert compared > KNOWING * K / 2


def test_of_whom_nothing_is_known_gets_popular_items(
    shop: Bench, scored: dict[str, list[tuple[str, float]]]
) -> None:
    available = np.array(shop.bundle.items["available"].to_pylist())
    popular = np.sort(shop.bundle.popularity[:120][available])[::-1][ExposureConfig().popular - 1]
    for item_id, _ in scored["stranger"]:
        assert shop.bundle.popularity[int(item_id.removeprefix("item-"))] >= popular


def test_other_shards_and_chosen_users_change_no_list(
    shop: Bench, scored: dict[str, list[tuple[str, float]]], tmp_path: Path
) -> None:
    chosen = ["user-7", "stranger", "user-2"]
    (tmp_path / "users.txt").write_text("\n".join(chosen) + "\n")
    options = ["score", "--bundle", str(shop.bundle.directory), "--out", str(tmp_path / "out")]
    options += ["--users", str(tmp_path / "users.txt"), "--k", str(K), "--shards", "1", "--json"]
    done = CliRunner().invoke(app, options)
    assert json.loads(done.stdout)["users"] == 3
    [part] = (tmp_path / "out").iterdir()
    rows = pq.read_table(part).to_pylist()
    assert [row["user_id"] for row in rows] == chosen
    for row in rows:
        assert row["item_ids"] == [item_id for item_id, _ in scored[row["user_id"]]]
        np.testing.assert_allclose(
            row["scores"], [value for _, value in scored[row["user_id"]]], atol=1e-6
        )


def test_a_later_moment_is_another_question(
    shop: Bench, scored: dict[str, list[tuple[str, float]]], tmp_path: Path
) -> None:
    later = AS_OF + 12 * 3600
    score(shop.bundle.directory, tmp_path / "out", K, here, 1, quietly(), later, ["user-3"])
    [row] = pq.read_table(tmp_path / "out").to_pylist()
    assert row["scores"] != [value for _, value in scored["user-3"]]


def test_users_and_bundles_that_are_not_there_are_refused(shop: Bench, tmp_path: Path) -> None:
    bundle, out = shop.bundle.directory, tmp_path / "out"
    with pytest.raises(DatasetRejected, match=r"1 are not in random-.*, as 'nobody'"):
        score(bundle, out, K, here, 1, quietly(), None, ["user-1", "nobody"])
    with pytest.raises(DatasetRejected, match="there are no users to score for"):
        score(bundle, out, K, here, 1, quietly(), None, [])
    with pytest.raises(BundleRejected, match="not found in"):
        score(tmp_path, out, K, here, 1, quietly())
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    (copy / VECTORS).write_bytes(b"others")
    with pytest.raises(BundleRejected, match="is not what the manifest says"):
        score(copy, out, K, here, 1, quietly())
    assert not out.exists()


def test_a_run_that_stops_leaves_the_scores_that_were_there(
    shop: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    score(shop.bundle.directory, out, K, here, 2, quietly(), None, ["user-1", "user-2"])
    before = pq.read_table(out)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scoring.training, "predict", stop)
    with pytest.raises(KeyboardInterrupt):
        score(shop.bundle.directory, out, K, here, 2, quietly(), None, ["user-3"])
    assert pq.read_table(out).equals(before)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@given(
    lists=st.lists(
        st.lists(st.tuples(st.integers(-1, 9), st.sampled_from([0.1, 0.2, np.nan])), max_size=6),
        min_size=1,
        max_size=4,
    ),
    k=st.integers(1, 7),
)
def test_the_best_are_the_highest_scores_and_then_the_lowest_rows(
    lists: list[list[tuple[int, float]]], k: int
) -> None:
    width = max(map(len, lists))
    items = np.full((len(lists), width), -1, np.int32)
    scores = np.zeros((len(lists), width), np.float32)
    for number, own in enumerate(lists):
        for place, (item, value) in enumerate(own):
            items[number, place], scores[number, place] = item, value
    rows, lengths, values = best(items, scores, k)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    for number, own in enumerate(lists):
        fit = [(item, np.float32(v)) for item, v in own if item >= 0 and not np.isnan(v)]
        expected = sorted(fit, key=lambda each: (-each[1], each[0]))[:k]
        mine = slice(starts[number], starts[number + 1])
        assert list(zip(rows[mine].tolist(), values[mine], strict=True)) == expected
