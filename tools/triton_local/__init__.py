"""A real tritonserver on this machine, without a container or a GPU: for tests, demo and bench.

The binary is NVIDIA's, from the wheel of nvidia-pytriton; `make triton-install` puts it into
.tools/triton. Only the backend library for ONNX is not in that wheel: ``backends/onnxruntime`` is a
stand-in for it in Python, so that the same model repository is served here and on a cluster.
"""
