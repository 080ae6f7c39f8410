"""Stand-in for libtriton_onnxruntime.so: serves 1/model.onnx with the onnxruntime wheel.

Runs inside Triton's python backend, which finds it by ``backend: "onnxruntime"``. Scheduler,
batcher, versions, warm-up, gRPC, metrics and statistics are the real server's.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        return config

    def initialize(self, args):
        config = json.loads(args["model_config"])
        given = {key: value["string_value"] for key, value in config["parameters"].items()}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(given.get("intra_op_thread_count", 1))
        options.inter_op_num_threads = int(given.get("inter_op_thread_count", 1))
        name = config.get("default_model_filename") or "model.onnx"
        file = Path(args["model_repository"]) / args["model_version"] / name
        self.session = onnxruntime.InferenceSession(file, options, ["CPUExecutionProvider"])
        self.inputs = [each["name"] for each in config["input"]]
        self.outputs = [each["name"] for each in config["output"]]

    def execute(self, requests):
        """One run of the model for all requests whose inputs fit together."""
        given = [
            [triton.get_input_tensor_by_name(each, name).as_numpy() for name in self.inputs]
            for each in requests
        ]
        groups = {}
        for position, arrays in enumerate(given):
            groups.setdefault(tuple(array.shape[1:] for array in arrays), []).append(position)
        responses = [None] * len(requests)
        for positions in groups.values():
            feed = {
                name: np.concatenate([given[position][index] for position in positions])
                for index, name in enumerate(self.inputs)
            }
            results, start = self.session.run(self.outputs, feed), 0
            for position in positions:
                end = start + given[position][0].shape[0]
                parts = zip(self.outputs, results, strict=True)
                responses[position] = triton.InferenceResponse(
                    [triton.Tensor(name, result[start:end]) for name, result in parts]
                )
                start = end
        return responses
