"""A model of Triton's python backend that does as the file ``mode`` beside its versions says.

It computes what the ONNX model of the same repository does: ok; slow: 200 ms later; slower: 500 ms;
nan: one of its probabilities is none; shape: a candidate too few; crash: its process dies.
"""

import os
import time
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton

LATER_S = {"slow": 0.2, "slower": 0.5}


class TritonPythonModel:
    def initialize(self, args):
        self.home = Path(args["model_repository"])
        self.session = onnxruntime.InferenceSession(self.home / "real.onnx")

    def execute(self, requests):
        mode = (self.home / "mode").read_text()
        if mode == "crash":
            os._exit(1)
        time.sleep(LATER_S.get(mode, 0.0))
        return [self.answer(request, mode) for request in requests]

    def answer(self, request, mode):
        feed = {each.name(): each.as_numpy() for each in request.inputs()}
        probabilities, pairing = self.session.run(["probabilities", "pairing"], feed)
        if mode == "nan":
            probabilities[0, 0, 0] = np.nan
        if mode == "shape":
            probabilities = np.ascontiguousarray(probabilities[:, :1])
        tensors = [triton.Tensor("probabilities", probabilities), triton.Tensor("pairing", pairing)]
        return triton.InferenceResponse(tensors)
