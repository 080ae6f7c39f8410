"""docs/ranking.md as written: a model of one's own, from the template to a served answer."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from support.deep_shop import deep_shop, write_deep_bundle
from support.triton import require_triton
from tamis_server.bundles.manifest import read_manifest
from tamis_server.cli import check
from tamis_server.domain.candidates import DegradationLevel
from triton_local.server import TritonServer

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "docs" / "triton-models"
PAGE = (ROOT / "docs" / "ranking.md").read_text()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_deep_bundle(tmp_path_factory.mktemp("deep") / "bundle")


def linked() -> list[Path]:
    return [ROOT / "docs" / path for path in re.findall(r"\((triton-models/[^)]+)\)", PAGE)]


def test_the_page_links_every_template() -> None:
    assert set(linked()) == {path for path in TEMPLATES.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["pytorch", "tensorflow", "tensorrt", "python"])
def test_a_template_is_a_model_configuration_and_keeps_the_contract(
    name: str, bundle: Path
) -> None:
    text = (TEMPLATES / name / "config.pbtxt").read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert config.HasField("dynamic_batching")
    assert check.problems(config, read_manifest(bundle)) == []


def test_every_breach_is_told(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "config.pbtxt").write_text(
        """
        input [ { name: "cross" data_type: TYPE_FP16 dims: [ -1, 3 ] },
                { name: "rows" data_type: TYPE_INT32 dims: [ -1, 1 ] },
                { name: "colour" data_type: TYPE_INT32 dims: [ -1 ] } ]
        output [ { name: "probabilities" data_type: TYPE_FP32 dims: [ -1, 7 ] } ]
        """
    )
    done = tamis("bundle", "check-model", str(tmp_path), "--bundle", str(bundle))
    assert done.returncode == 2
    for told in ("max_batch_size", "input cross: TYPE_FP16", "input rows", "input colour: no such",
                 "output probabilities", "output pairing: missing"):  # fmt: skip
        assert told in done.stderr


def tamis(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tamis_server", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_the_steps_of_the_page_run(tmp_path: Path, bundle: Path) -> None:
    require_triton()
    steps = "\n".join(re.findall(r"^ {7}(\S.*)$", PAGE, re.MULTILINE))
    prepared, _, _ = steps.partition("tamis serve")
    script = prepared.replace("pipeline/tamis_pipeline/shop/bundle", str(bundle))
    script = script.replace("my-models", str(tmp_path / "my-models"))
    assert script.count("check-model") == 2
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = subprocess.Popen(
        ["bash", "-euc", script + "\nkill %1"],
        cwd=ROOT, env={**os.environ, "PATH": path}, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        said, complaints = ran.communicate(timeout=120)
    finally:
        if ran.poll() is None:
            os.killpg(ran.pid, signal.SIGKILL)
    assert ran.returncode == 0, complaints
    assert "my_ranker: fits" in said
    assert "candidates in" in said


async def test_a_foreign_model_ranks_live_and_known_items_alike(
    tmp_path: Path, bundle: Path
) -> None:
    require_triton()
    shutil.copytree(TEMPLATES / "python", tmp_path / "my_ranker")
    with TritonServer(tmp_path) as server:
        async with deep_shop(bundle, [server.endpoint], "my_ranker") as shop:
            slate = await shop.until(DegradationLevel.FULL)
            assert [trace.outcome for trace in slate.trace if trace.stage == "ranking"] == ["ok"]
