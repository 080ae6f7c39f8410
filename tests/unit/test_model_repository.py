from __future__ import annotations

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from onnx import TensorProto, helper
from tritonclient.grpc import model_config_pb2

from support.ranking_models import linear_ranker
from tamis_pipeline.model_repository import configurations


def parsed(text: bytes) -> model_config_pb2.ModelConfig:
    return text_format.Parse(text.decode(), model_config_pb2.ModelConfig())


def test_a_model_gets_a_configuration_for_gpus_and_one_for_cpus() -> None:
    files = configurations({"linear/1/model.onnx": linear_ranker(10, 3, 2)})
    assert set(files) == {"linear/config.pbtxt", "linear/configs/cpu.pbtxt"}
    anywhere, cpu = (parsed(files[name]) for name in sorted(files))
    assert anywhere.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_AUTO
    assert cpu.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_CPU
    for config in (anywhere, cpu):
        assert config.name == "linear"
        assert config.max_batch_size == 64
        assert config.HasField("dynamic_batching")
        assert {each.name: list(each.dims) for each in config.input} == {
            "rows": [-1],
            "cross": [-1, 3],
        }
        assert [(each.name, list(each.dims)) for each in config.output] == [
            ("probabilities", [-1, 2])
        ]
        assert list(config.model_warmup[0].inputs["cross"].dims) == [512, 3]


def test_the_highest_version_describes_the_model() -> None:
    models = {f"m/{v}/model.onnx": linear_ranker(10, v, 1) for v in (9, 10)}
    config = parsed(configurations(models)["m/config.pbtxt"])
    assert {each.name: list(each.dims) for each in config.input}["cross"] == [-1, 10]


def fixed(kind: int) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "fixed",
        [helper.make_tensor_value_info("x", kind, [2, 3])],
        [helper.make_tensor_value_info("y", kind, [2, 3])],
    )
    return bytes(helper.make_model(graph).SerializeToString())


def test_a_model_without_a_free_first_dimension_is_not_batched() -> None:
    config = parsed(configurations({"m/1/model.onnx": fixed(TensorProto.FLOAT)})["m/config.pbtxt"])
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [2, 3]


def test_a_type_that_triton_does_not_know_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"tensor x: .* COMPLEX64"):
        configurations({"m/1/model.onnx": fixed(TensorProto.COMPLEX64)})


def test_every_type_that_models_may_use_is_named_alike_by_both() -> None:
    for kind in (np.bool_, np.uint8, np.int32, np.int64, np.float16, np.float32):
        tensor = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        assert configurations({"m/1/model.onnx": fixed(tensor)})


def test_a_model_whose_free_dimensions_say_nothing_is_not_warmed_up() -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["pixels"], ["y"])],
        "vision",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["b", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 3, "h", "w"])],
    )
    model = bytes(helper.make_model(graph).SerializeToString())
    config = parsed(configurations({"m/1/model.onnx": model})["m/config.pbtxt"])
    assert config.max_batch_size == 64
    assert not config.model_warmup
