"""The model repository that the pipeline writes, in a real Triton server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc as client
from tritonclient.utils import np_to_triton_dtype

from support.clips import write_random_clip
from support.ranking_models import linear_ranker, write_repository
from support.triton import require_triton
from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.query_model import PATH, query_encoder
from tamis_pipeline.synthetic import random_parts
from tamis_server.bundles.query_tower import clock
from triton_local.server import TritonServer

MODEL = linear_ranker(items=100, cross=3, objectives=2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    require_triton()
    repository = tmp_path_factory.mktemp("repository")
    with TritonServer(write_repository(repository, {"linear/1/model.onnx": MODEL})) as started:
        yield started


def test_it_answers_as_onnxruntime_does_for_several_users_at_once(server: TritonServer) -> None:
    rng = np.random.default_rng(0)
    given = {
        "rows": rng.integers(-1, 120, (5, 40)).astype(np.int32),
        "cross": rng.normal(size=(5, 40, 3)).astype(np.float32),
    }
    inputs = []
    for name, array in given.items():
        kind = "INT32" if array.dtype == np.int32 else "FP32"
        inputs.append(client.InferInput(name, array.shape, kind))
        inputs[-1].set_data_from_numpy(array)
    connection = client.InferenceServerClient(server.endpoint)
    found = connection.infer("linear", inputs).as_numpy("probabilities")
    (wanted,) = onnxruntime.InferenceSession(MODEL).run(["probabilities"], given)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
    connection.close()


def test_it_has_warmed_up_and_runs_an_instance_a_core(server: TritonServer) -> None:
    connection = client.InferenceServerClient(server.endpoint)
    config = connection.get_model_config("linear").config
    assert config.instance_group[0].count == 2
    assert config.model_warmup[0].name == "zeros"
    connection.close()


def test_a_server_that_can_not_serve_its_repository_says_why(tmp_path: Path) -> None:
    require_triton()
    repository = write_repository(tmp_path, {"linear/1/model.onnx": MODEL})
    (repository / "linear/1/model.onnx").write_bytes(b"no model")
    with pytest.raises(RuntimeError, match=r"tritonserver ended with 1:\n(.*\n)*.*linear"):
        TritonServer(repository).__enter__()


def test_a_stopped_server_starts_again_on_its_ports(tmp_path: Path) -> None:
    require_triton()
    repository = write_repository(tmp_path, {"linear/1/model.onnx": MODEL})
    with TritonServer(repository) as server:
        endpoint = server.endpoint
        server.stop()
        server.start()
        connection = client.InferenceServerClient(endpoint)
        assert connection.is_model_ready("linear")
        connection.close()


def test_it_serves_the_query_encoder_and_both_towers_of_clip(tmp_path: Path) -> None:
    require_triton()
    clip = write_random_clip(tmp_path / "clip")
    parts = random_parts(items=50, content=16)
    assert parts.content is not None
    models = {PATH: query_encoder(parts.encoder)}
    parts = replace(parts, content=replace(parts.content, clip=clip), models=models)
    write_bundle(parts, tmp_path / "bundle")
    repository = tmp_path / "bundle" / "models"
    rng = np.random.default_rng(0)
    width = parts.encoder["history_table"].shape[1]
    asked = {
        "query_encoder": {
            "events": rng.normal(size=(3, 5, width)).astype(np.float32),
            "kinds": rng.integers(0, 9, (3, 5)).astype(np.int32),
            "context": clock(rng.uniform(0, 2e9, 3)),
        },
        "clip_text": {"input_ids": rng.integers(0, 9, (3, 6))},
        "clip_vision": {"pixel_values": rng.normal(size=(3, 3, 8, 8)).astype(np.float32)},
    }
    with TritonServer(repository) as server:
        connection = client.InferenceServerClient(server.endpoint)
        for name, given in asked.items():
            session = onnxruntime.InferenceSession(str(repository / name / "1" / "model.onnx"))
            (wanted,) = session.run(None, given)
            inputs = []
            for tensor, array in given.items():
                inputs.append(
                    client.InferInput(tensor, array.shape, np_to_triton_dtype(array.dtype))
                )
                inputs[-1].set_data_from_numpy(array)
            answer = connection.infer(name, inputs)
            found = answer.as_numpy(session.get_outputs()[0].name)
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
        connection.close()
