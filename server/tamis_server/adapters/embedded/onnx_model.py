"""A ranking model of the bundle, run in this process by onnxruntime on threads of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy.typing as npt

from tamis_server.domain.context import Deadline
from tamis_server.domain.errors import DependencyFailed
from tamis_server.domain.scoring import Outputs, Signature


class OnnxModel:
    """``at_once`` runs side by side, each on one thread."""

    def __init__(self, name: str, file: Path, *, at_once: int) -> None:
        """Raises ModuleNotFoundError, and ValueError where the file is no model."""
        import onnxruntime  # noqa: PLC0415 only who ranks by it pays for it

        self.name = f"onnx model {name}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(file, options, ["CPUExecutionProvider"])
        except Exception as error:  # of classes that onnxruntime does not export
            raise ValueError(f"onnxruntime can't load it: {error}") from None
        self._outputs = [each.name for each in self._session.get_outputs()]
        self._signature = Signature(
            {
                each.name: tuple(size if isinstance(size, int) else -1 for size in each.shape)
                for each in self._session.get_inputs()
            },
            self._outputs,
        )
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix=name)

    async def signature(self, deadline: Deadline) -> Signature:
        return self._signature

    async def run(
        self,
        inputs: Mapping[str, npt.NDArray[Any]],
        deadline: Deadline,
        check: Callable[[Outputs], None],
    ) -> Outputs:
        """Raises DependencyFailed."""
        loop = asyncio.get_running_loop()
        outputs = await loop.run_in_executor(self._pool, self._run, dict(inputs))
        check(outputs)
        return outputs

    def _run(self, inputs: dict[str, npt.NDArray[Any]]) -> Outputs:
        try:
            results = self._session.run(self._outputs, inputs)
        except Exception as error:  # of classes that onnxruntime does not export
            raise DependencyFailed(self.name, str(error)) from None
        return dict(zip(self._outputs, results, strict=True))
