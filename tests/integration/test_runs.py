"""Runs of the pipeline as a person starts them: killed, on a full disk, changed, done again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tamis_pipeline.run import RUN, read_run
from tamis_pipeline.shop.catalogue import make_products
from tamis_pipeline.shop.export import write_shop
from tamis_pipeline.shop.shoppers import simulate
from tamis_server.bundles.loader import verify
from tamis_server.bundles.manifest import VECTORS

TINY = """
seed = 3
[retrieval.two_tower]
dim = 16
hidden = 16
history = 10
batch = 256
epochs = 1
[ranking.exposures]
personal = 50
[ranking.deepfm]
embedding = 8
hidden = [32, 16, 16]
[ranking.deepfm.training]
epochs = 1
"""


def tamis(*options: str | Path, started_by: Sequence[str] = ()) -> subprocess.Popen[str]:
    command = [*started_by, sys.executable, "-m", "tamis_server", "pipeline", *map(str, options)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


def done(process: subprocess.Popen[str], status: int = 0) -> str:
    """What it said."""
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == status, stderr
    return stderr


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shop")
    products = make_products(120, seed=1)
    write_shop(products, simulate(products, 40, seed=1), directory)
    return directory


@pytest.fixture(scope="module")
def killed(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a build was killed while it trained the ranker, and what it had done is kept."""
    root = tmp_path_factory.mktemp("killed")
    (root / "tiny.toml").write_text(TINY)
    process = tamis("build", "--input", shop, "--out", root / "bundle", *options(root))
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("ranker"):
            process.kill()
            break
    process.communicate()
    assert process.returncode == -9
    assert not (root / "bundle").exists()
    return root


@pytest.fixture(scope="module")
def resumed(shop: Path, killed: Path) -> str:
    process = tamis("build", "--input", shop, "--out", killed / "bundle", *options(killed))
    return done(process)


def options(root: Path) -> list[str | Path]:
    return ["--config", root / "tiny.toml", "--work", root / "work"]


def test_a_killed_run_goes_on_where_it_was(resumed: str, killed: Path) -> None:
    assert "read: kept from an earlier run" in resumed
    assert "retrieval: kept from an earlier run" in resumed
    assert "ranker: kept" not in resumed
    verify(killed / "bundle")
    assert not list((killed / "work").glob(".*")), "nothing half-written is left"


def test_a_change_of_the_ranker_does_not_train_the_towers_again(
    shop: Path, killed: Path, resumed: str
) -> None:
    changed = killed / "changed.toml"
    changed.write_text(TINY.replace("embedding = 8", "embedding = 4"))
    said = done(tamis("train", "--input", shop, "--config", changed, "--work", killed / "work"))
    assert "retrieval: kept from an earlier run" in said
    assert "ranker: kept" not in said


def test_a_full_disk_is_said_in_a_line_and_leaves_the_last_good_bundle(
    shop: Path, killed: Path, resumed: str, tmp_path: Path
) -> None:
    before = verify(killed / "bundle").bundle_id

    options = ("--input", shop, "--out", killed / "bundle", "--work", tmp_path / "work")
    full = ("bash", "-c", 'ulimit -f 10; exec "$@"', "--")  # KiB a file
    said = done(
        tamis("build", *options, "--config", killed / "tiny.toml", started_by=full), status=1
    )
    assert "what was there before has not been touched" in said.splitlines()[-1]
    assert verify(killed / "bundle").bundle_id == before
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["lock"]


def test_a_run_says_what_a_bundle_was_made_from(shop: Path, killed: Path, resumed: str) -> None:
    run = read_run(killed / "bundle")
    manifest = verify(killed / "bundle")
    assert run.bundle_id == manifest.bundle_id
    assert set(run.inputs) >= {"items.parquet", "interactions.parquet"}
    assert run.outputs == {name: entry.sha256 for name, entry in manifest.files.items()}
    assert run.config["seed"] == 3
    assert [stage.name for stage in run.stages][:4] == [
        "read", "retrieval", "neighbours", "ranker",
    ]  # fmt: skip
    assert all(stage.seconds >= 0 for stage in run.stages)
    assert run.libraries["numpy"]


def test_a_bundle_is_made_again_from_what_it_says_of_itself(
    shop: Path, killed: Path, resumed: str, tmp_path: Path
) -> None:
    said = done(tamis("build", "--from-manifest", killed / "bundle", "--out", tmp_path / "again"))
    assert "the same bundle as before" in said
    assert verify(tmp_path / "again").bundle_id == verify(killed / "bundle").bundle_id


def test_a_bundle_is_not_made_again_from_another_input(
    shop: Path, killed: Path, resumed: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in shop.iterdir():
        os.link(path, other / path.name)
    (other / "items.parquet").unlink()
    (other / "items.csv").write_text("item_id\na\n")
    said = done(
        tamis(
            "build", "--from-manifest", killed / "bundle", "--input", other,
            "--out", tmp_path / "again",
        ),
        status=2,
    )  # fmt: skip
    assert "items.csv, items.parquet differ from what it was made from" in said
    assert not (tmp_path / "again").exists()


def test_drift_against_the_bundle_is_nothing_for_its_own_input(
    shop: Path, killed: Path, resumed: str
) -> None:
    process = tamis("drift", "--input", shop, "--against", killed / "bundle", "--json")
    out, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert json.loads(out) == []


def test_a_bundle_of_another_run_is_named_by_what_differs(killed: Path, resumed: str) -> None:
    run = read_run(killed / "bundle" / RUN)
    changed = run.model_copy(
        update={
            "libraries": {**run.libraries, "numpy": "1.0"},
            "outputs": {**run.outputs, VECTORS: "0" * 64},
        }
    )
    assert run.differences(run) == []
    assert run.differences(changed) == [
        f"numpy: {run.libraries['numpy']} then, 1.0 now",
        "vectors.npy: another content",
    ]
