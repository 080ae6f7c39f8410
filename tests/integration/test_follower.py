"""`tamis bundle follow`: a link that leads to the bundle published last, and a Triton beside it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from support.ranking_models import linear_ranker
from support.triton import require_triton
from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.publish import DirectoryBundles, publish
from tamis_pipeline.synthetic import random_parts
from tamis_server.bundles.manifest import MODELS, read_manifest
from tamis_server.bundles.s3 import S3Bundles
from triton_local.server import TritonServer


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two, whose models rank differently."""
    root = tmp_path_factory.mktemp("bundles")
    made = []
    for number in range(2):
        model = linear_ranker(items=50, cross=1, objectives=1, seed=number)
        parts = random_parts(items=50, users=5, seed=number)
        parts = replace(parts, name=f"shop-{number}", models={"linear/1/model.onnx": model})
        write_bundle(parts, root / str(number))
        made.append(root / str(number))
    return made


class Following:
    """The command as a process, line after line of its log."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def until(self, words: str) -> str:
        """The next line that has these words."""
        assert self.process.stderr is not None
        seen = []
        for line in self.process.stderr:
            seen.append(line)
            if words in line:
                return str(json.loads(line)["message"])
        raise AssertionError(f"no {words!r} in {seen}")


@contextmanager
def following(url: str, directory: Path) -> Iterator[Following]:
    command = [sys.executable, "-m", "tamis_server", "bundle", "follow", url, str(directory)]
    with subprocess.Popen([*command, "--watch", "0.1"], stderr=subprocess.PIPE, text=True) as run:
        try:
            yield Following(run)
        finally:
            run.kill()


def test_the_link_leads_to_what_is_published_and_back(
    s3: S3Bundles, bundles: list[Path], tmp_path: Path
) -> None:
    first, second = (read_manifest(bundle).bundle_id for bundle in bundles)
    link = tmp_path / "current"
    publish(bundles[0], s3, {})
    with following(s3.url, tmp_path) as run:
        assert run.until("leads to") == f"{link} leads to bundle {first}"
        assert read_manifest(link).bundle_id == first
        assert not link.readlink().is_absolute(), "another container mounts it elsewhere"
        before = max(path.stat().st_mtime_ns for path in (link / MODELS).rglob("*"))
        publish(bundles[1], s3, {})
        run.until(second)
        assert read_manifest(link).bundle_id == second
        s3.point(first)
        run.until(first)
        assert read_manifest(link).bundle_id == first
        after = min(path.stat().st_mtime_ns for path in (link / MODELS).rglob("*"))
        assert after > before, "or who looks at times would not load it again"
        run.process.send_signal(signal.SIGTERM)
        assert run.process.wait(30) == 0


def test_with_nothing_published_it_ends_and_says_so(s3: S3Bundles, tmp_path: Path) -> None:
    with following(s3.url, tmp_path) as run:
        assert run.process.stderr is not None
        assert "no bundle has been published there" in run.process.stderr.read()
        assert run.process.wait(30) == 2


def test_a_triton_that_polls_ranks_by_the_new_bundle_and_fails_no_call(
    s3: S3Bundles, bundles: list[Path], tmp_path: Path
) -> None:
    require_triton()
    publish(bundles[0], s3, {})
    rows = triton.InferInput("rows", [1, 50], "INT32")
    rows.set_data_from_numpy(np.arange(50, dtype=np.int32)[None])
    cross = triton.InferInput("cross", [1, 50, 1], "FP32")
    cross.set_data_from_numpy(np.zeros((1, 50, 1), np.float32))
    polling = ("--model-control-mode=poll", "--repository-poll-secs=1")
    with following(s3.url, tmp_path) as run:
        run.until("leads to")
        with (
            TritonServer(tmp_path / "current" / MODELS, *polling) as server,
            triton.InferenceServerClient(server.endpoint) as client,
        ):

            def answer() -> bytes:
                found = client.infer("linear", [rows, cross]).as_numpy("probabilities")
                return bytes(found.tobytes())

            before = answer()
            publish(bundles[1], s3, {})
            while (after := answer()) == before:
                pass
            s3.point(read_manifest(bundles[0]).bundle_id)
            while answer() == after:
                pass
            assert answer() == before


def test_a_directory_of_published_bundles_has_a_link_that_can_be_moved(
    bundles: list[Path], tmp_path: Path
) -> None:
    published = DirectoryBundles(tmp_path / "here")
    publish(bundles[0], published, {})
    (tmp_path / "here").rename(tmp_path / "there")
    link = tmp_path / "there" / "current"
    assert read_manifest(link).bundle_id == read_manifest(bundles[0]).bundle_id
