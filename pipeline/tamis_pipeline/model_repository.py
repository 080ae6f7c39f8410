"""The configurations that make ONNX models a Triton model repository, derived from their graphs.

For NAME/VERSION/model.onnx there are NAME/config.pbtxt (on a GPU where there is one) and
NAME/configs/cpu.pbtxt (``tritonserver --model-config-name=cpu``). Every name, type and shape is the
graph's own, so a server needs no auto-completion; see docs/ranking.md for the fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

import onnx
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton

from tamis_server.bundles.ranking_contract import PER_CANDIDATE

MODEL = "model.onnx"
MAX_BATCH = 64  # users in one run
_CPU_INSTANCES = 2
_CANDIDATES, _SEQUENCE = 512, 8  # what warms up a free dimension
_TYPES = {
    "BOOL": triton.TYPE_BOOL,
    "UINT8": triton.TYPE_UINT8,
    "INT8": triton.TYPE_INT8,
    "INT32": triton.TYPE_INT32,
    "INT64": triton.TYPE_INT64,
    "FLOAT16": triton.TYPE_FP16,
    "FLOAT": triton.TYPE_FP32,
    "DOUBLE": triton.TYPE_FP64,
}


def configurations(models: Mapping[str, bytes]) -> dict[str, bytes]:
    """The configuration files to lie beside ``models``, both by path within the repository.

    A model with several versions is described by its highest one. Raises ValueError for a graph
    that Triton can't serve.
    """
    newest: dict[str, tuple[int, bytes]] = {}
    for path, model in models.items():
        name, version, file = PurePosixPath(path).parts
        if file == MODEL and int(version) > newest.get(name, (0, b""))[0]:
            newest[name] = (int(version), model)
    files: dict[str, bytes] = {}
    for name, (_, model) in sorted(newest.items()):
        gpu = configuration(name, onnx.load_model_from_string(model).graph)
        cpu = triton.ModelConfig()
        cpu.CopyFrom(gpu)
        cpu.instance_group[0].kind = triton.ModelInstanceGroup.KIND_CPU
        cpu.instance_group[0].count = _CPU_INSTANCES
        files[f"{name}/config.pbtxt"] = _text(gpu)
        files[f"{name}/configs/cpu.pbtxt"] = _text(cpu)
    return files


def configuration(name: str, graph: onnx.GraphProto) -> triton.ModelConfig:
    """How Triton serves ``graph``: batched dynamically where its first dimensions are free."""
    constants = {each.name for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]
    batched = all(_shape(each)[:1] == [-1] for each in (*inputs, *graph.output))
    for each in (*inputs, *graph.output):
        if not _shape(each)[batched:]:
            raise ValueError(f"tensor {each.name}: Triton wants a dimension beside the batch's")
    config = triton.ModelConfig(
        name=name,
        backend="onnxruntime",
        max_batch_size=MAX_BATCH if batched else 0,
        input=[
            triton.ModelInput(name=each.name, data_type=_type(each), dims=_shape(each)[batched:])
            for each in inputs
        ],
        output=[
            triton.ModelOutput(name=each.name, data_type=_type(each), dims=_shape(each)[batched:])
            for each in graph.output
        ],
        # no kind: the GPU where there is one
        instance_group=[triton.ModelInstanceGroup(count=1)],
        # the server keeps the version that is being replaced until all have moved on
        version_policy=triton.ModelVersionPolicy(
            latest=triton.ModelVersionPolicy.Latest(num_versions=2)
        ),
        model_warmup=_warm_up(inputs, batched),
    )
    if batched:
        # neither priorities nor queue limits: they disable prefetching, and stall
        config.dynamic_batching.SetInParent()
    # an instance a core, rather than one instance on all of them
    config.parameters["intra_op_thread_count"].string_value = "1"
    return config


def _warm_up(inputs: Iterable[onnx.ValueInfoProto], batched: bool) -> list[triton.ModelWarmup]:
    """One run on zeros; none where a free dimension could mean anything."""
    warm_up = triton.ModelWarmup(name="zeros", batch_size=int(batched))
    for each in inputs:
        dims = _shape(each)[batched:]
        if each.name in PER_CANDIDATE:
            dims = [_CANDIDATES if size < 0 else size for size in dims]
        elif dims[:1] == [-1]:
            dims = [_SEQUENCE, *dims[1:]]
        if -1 in dims:
            return []
        warm_up.inputs[each.name].CopyFrom(
            triton.ModelWarmup.Input(data_type=_type(each), dims=dims, zero_data=True)
        )
    return [warm_up]


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    """-1 where a dimension is free."""
    dimensions = value.type.tensor_type.shape.dim
    return [each.dim_value if each.HasField("dim_value") else -1 for each in dimensions]


def _type(value: onnx.ValueInfoProto) -> triton.DataType:
    kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
    if kind not in _TYPES:
        raise ValueError(f"tensor {value.name}: Triton is not given tensors of type {kind}")
    return _TYPES[kind]


def _text(config: triton.ModelConfig) -> bytes:
    return str(text_format.MessageToString(config)).encode()
