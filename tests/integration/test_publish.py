"""Publishing to a directory and to S3: whole bundles only, the pointer last, no worse ones."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import boto3
import pytest

from support.s3 import BUCKET, PREFIX
from support.servers import running
from tamis_client import AsyncTamisClient
from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.gates import NotPromoted
from tamis_pipeline.publish import DirectoryBundles, Store, publish, store_of
from tamis_pipeline.synthetic import random_parts
from tamis_server.app import Application
from tamis_server.bundles.loader import load
from tamis_server.bundles.manifest import EVALUATION, MANIFEST, VECTORS, read_manifest
from tamis_server.bundles.mirror import Mirror
from tamis_server.bundles.s3 import CURRENT, S3Bundles
from tamis_server.domain.errors import BundleRejected, DependencyFailed
from tamis_server.settings import SettingsError, load_settings

MARGINS = {"quality": 0.01}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Good, better and bad, by what was measured."""
    root = tmp_path_factory.mktemp("bundles")
    parts = random_parts(items=50, users=5)
    for name, quality in (("good", 0.5), ("better", 0.6), ("bad", 0.3)):
        write_bundle(replace(parts, name=name, evaluation={"quality": quality}), root / name)
    return {path.name: path for path in root.iterdir()}


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "s3":
        found: S3Bundles = request.getfixturevalue("s3")
        return found
    return DirectoryBundles(tmp_path / "published")


def id_of(bundle: Path) -> str:
    return read_manifest(bundle).bundle_id


def test_what_is_published_is_what_is_served(store: Store, bundles: dict[str, Path]) -> None:
    assert store.current() is None
    assert publish(bundles["good"], store, MARGINS) == []
    assert store.current() == id_of(bundles["good"])
    [verdict] = publish(bundles["better"], store, MARGINS)
    assert verdict.passed
    assert store.current() == id_of(bundles["better"])
    report = store.read(id_of(bundles["good"]), EVALUATION)
    assert report is not None, "the one before stays, to go back to"


def test_publishing_again_changes_nothing(store: Store, bundles: dict[str, Path]) -> None:
    publish(bundles["good"], store, MARGINS)
    publish(bundles["good"], store, MARGINS)
    assert store.current() == id_of(bundles["good"])


def test_a_worse_bundle_is_not_promoted_unless_forced(
    store: Store, bundles: dict[str, Path]
) -> None:
    publish(bundles["good"], store, MARGINS)
    with pytest.raises(NotPromoted, match=r"quality: 0\.3000, serving 0\.5000, may fall by 0\.01"):
        publish(bundles["bad"], store, MARGINS)
    assert store.current() == id_of(bundles["good"])
    assert store.read(id_of(bundles["bad"]), MANIFEST) is None, "nor is it stored"
    publish(bundles["bad"], store, MARGINS, force=True)
    assert store.current() == id_of(bundles["bad"])


def test_a_damaged_bundle_is_refused_and_what_is_served_stays(
    store: Store, bundles: dict[str, Path], tmp_path: Path
) -> None:
    publish(bundles["good"], store, MARGINS)
    write_bundle(random_parts(items=50, users=5, name="torn"), tmp_path / "torn")
    with (tmp_path / "torn" / VECTORS).open("ab") as file:
        file.write(b"more")
    with pytest.raises(BundleRejected, match=r"vectors\.npy: is not what the manifest says"):
        publish(tmp_path / "torn", store, MARGINS)
    assert store.current() == id_of(bundles["good"])


@pytest.mark.parametrize("step", ["put", "point"])
def test_a_run_that_stops_in_between_leaves_what_is_served(
    store: Store, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    publish(bundles["good"], store, MARGINS)
    with monkeypatch.context() as patched:
        patched.setattr(type(store), step, stop)
        with pytest.raises(KeyboardInterrupt):
            publish(bundles["better"], store, MARGINS)
    assert store.current() == id_of(bundles["good"])
    publish(bundles["better"], store, MARGINS)
    assert store.current() == id_of(bundles["better"])


def test_a_server_can_load_what_the_directory_points_to(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    publish(bundles["good"], DirectoryBundles(tmp_path / "live"), MARGINS)
    assert load(tmp_path / "live" / "current").manifest.name == "good"
    assert sorted(path.name for path in (tmp_path / "live").iterdir()) == sorted(
        ["current", id_of(bundles["good"])]
    )


def test_a_fetched_bundle_is_the_published_one(
    s3: S3Bundles, bundles: dict[str, Path], tmp_path: Path
) -> None:
    publish(bundles["good"], s3, MARGINS)
    bundle_id = s3.current()
    assert bundle_id is not None
    fetched = s3.fetch(bundle_id, tmp_path)
    assert load(fetched).manifest == read_manifest(bundles["good"])
    assert s3.fetch(bundle_id, tmp_path) == fetched, "and is there the next time"
    assert [path.name for path in tmp_path.iterdir()] == [bundle_id]


def test_an_object_that_was_changed_is_refused_and_nothing_kept(
    s3: S3Bundles, bundles: dict[str, Path], tmp_path: Path
) -> None:
    publish(bundles["good"], s3, MARGINS)
    key = f"{PREFIX}/{id_of(bundles['good'])}/{VECTORS}"
    boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"other")
    with pytest.raises(BundleRejected, match=r"vectors\.npy.* not what its manifest says"):
        s3.fetch(id_of(bundles["good"]), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_manifest_is_the_last_of_a_bundle_and_the_pointer_the_last_of_all(
    s3: S3Bundles, bundles: dict[str, Path]
) -> None:
    publish(bundles["good"], s3, MARGINS)
    objects = boto3.resource("s3").Bucket(BUCKET).objects.filter(Prefix=PREFIX)
    times = {each.key.rsplit("/", 1)[1]: each.last_modified for each in objects}
    assert times[CURRENT] == max(times.values())
    assert times[MANIFEST] >= max(times[name] for name in times if name not in (CURRENT, MANIFEST))


async def test_a_server_follows_what_is_published_to_s3(
    s3: S3Bundles,
    bundles: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = tmp_path / "cache"
    sections = {"bundle": {"url": s3.url, "cache": cache, "watch_s": 0}}
    publish(bundles["good"], s3, MARGINS)
    async with (
        running(bundles["good"], sections) as server,
        AsyncTamisClient(server.target, timeout_s=5.0) as client,
    ):
        assert (await client.recommend()).bundle_id == id_of(bundles["good"])
        with monkeypatch.context() as patched:
            patched.setattr(S3Bundles, "current", _unreachable)
            await server.application.reload()
        assert (await client.recommend()).bundle_id == id_of(bundles["good"])
        assert "unreachable" in (await client.status()).last_rejection
        for name in ("better", "bad"):
            publish(bundles[name], s3, MARGINS, force=True)
            await server.application.reload()
            assert (await client.recommend()).bundle_id == id_of(bundles[name])
    kept = {path.name for path in cache.iterdir() if path.is_dir()}
    assert kept == {id_of(bundles["better"]), id_of(bundles["bad"])}, "the one before, and no more"


async def test_a_server_starts_with_what_it_served_last_while_s3_can_t_be_reached(
    s3: S3Bundles,
    bundles: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sections = {"bundle": {"url": s3.url, "cache": tmp_path / "cache", "watch_s": 0}}
    for name in ("better", "good"):
        publish(bundles[name], s3, MARGINS, force=True)
        async with running(bundles["good"], sections):
            pass
    monkeypatch.setattr(S3Bundles, "current", _unreachable)
    async with (
        running(bundles["good"], sections) as server,
        AsyncTamisClient(server.target, timeout_s=5.0) as client,
    ):
        assert (await client.recommend()).bundle_id == id_of(bundles["good"])


def test_without_s3_and_anything_fetched_nothing_is_served(
    s3: S3Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(S3Bundles, "current", _unreachable)
    with pytest.raises(DependencyFailed, match="unreachable"):
        Mirror(s3.url, tmp_path / "cache").locate()


def test_a_fetched_bundle_that_lost_some_of_it_is_fetched_again(
    s3: S3Bundles, bundles: dict[str, Path], tmp_path: Path
) -> None:
    publish(bundles["good"], s3, MARGINS)
    mirror = Mirror(s3.url, tmp_path)
    (mirror.locate() / VECTORS).write_bytes(b"")
    assert load(mirror.locate()).manifest == read_manifest(bundles["good"])


def test_a_full_disk_is_a_failure_that_may_pass(
    s3: S3Bundles, bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    publish(bundles["good"], s3, MARGINS)
    mirror = Mirror(s3.url, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(S3Bundles, "_download", full)
        with pytest.raises(DependencyFailed, match="No space left"):
            mirror.locate()
    assert mirror.locate().name == id_of(bundles["good"])


@pytest.mark.parametrize(
    "pointer", [b"", b"[]", b'{"bundle": "good"}', b'{"bundle_id": 1}', b'{"bundle_id": "../x"}']
)
def test_a_pointer_that_names_no_bundle_is_refused(
    s3: S3Bundles, tmp_path: Path, pointer: bytes
) -> None:
    boto3.client("s3").put_object(Bucket=BUCKET, Key=f"{PREFIX}/{CURRENT}", Body=pointer)
    with pytest.raises(BundleRejected, match=r"current\.json: is not"):
        Mirror(s3.url, tmp_path).locate()


def test_a_manifest_can_t_have_anything_written_elsewhere(
    s3: S3Bundles, bundles: dict[str, Path], tmp_path: Path
) -> None:
    publish(bundles["good"], s3, MARGINS)
    bundle_id = id_of(bundles["good"])
    manifest = json.loads((bundles["good"] / MANIFEST).read_text())
    manifest["files"]["../../elsewhere"] = manifest["files"].pop(VECTORS)
    body = json.dumps(manifest).encode()
    store = boto3.client("s3")
    store.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{bundle_id}/{MANIFEST}", Body=body)
    store.put_object(Bucket=BUCKET, Key=f"{PREFIX}/elsewhere", Body=b"harm")
    with pytest.raises(BundleRejected, match="files"):
        s3.fetch(bundle_id, tmp_path / "cache")
    assert [path.name for path in tmp_path.rglob("*")] == ["cache"]


def _unreachable(store: S3Bundles) -> str:
    raise DependencyFailed(store.url, "unreachable")


async def test_a_server_is_told_to_serve_a_directory_or_s3_but_not_both(
    bundles: dict[str, Path],
) -> None:
    with pytest.raises(SettingsError, match=r"bundle\.path and bundle\.url: one of them"):
        Application(load_settings(None, {"bundle": {"path": bundles["good"], "url": "s3://b"}}))


def test_a_store_that_can_not_be_reached_is_named(
    s3: S3Bundles, monkeypatch: pytest.MonkeyPatch, bundles: dict[str, Path]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(DependencyFailed, match="s3://models/x"):
        publish(bundles["good"], S3Bundles("s3://models/x"), MARGINS)


def test_a_target_of_another_form_is_refused() -> None:
    with pytest.raises(BundleRejected, match="is not s3://bucket/prefix"):
        store_of("gs://bucket/prefix")


def test_the_command_says_what_it_did_and_why_not(bundles: dict[str, Path], tmp_path: Path) -> None:
    def run(bundle: str, *options: str) -> subprocess.CompletedProcess[str]:
        config = tmp_path / "gates.toml"
        config.write_text("[gates.margins]\nquality = 0.01\n")
        command = [sys.executable, "-m", "tamis_server", "pipeline", "publish", "--json"]
        command += ["--bundle", str(bundles[bundle]), "--to", str(tmp_path / "live")]
        command += ["--config", str(config), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run("good").returncode == 0
    refused = run("bad")
    assert refused.returncode == 3
    assert "quality: 0.3000, serving 0.5000, may fall by 0.01" in refused.stderr
    assert refused.stderr.count("\n") == 1
    forced = run("bad", "--force")
    assert forced.returncode == 0
    assert json.loads(forced.stdout)["bundle_id"] == id_of(bundles["bad"])
