"""Exported models on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwright.engine.cpu import available_cores
from rankwright.engine.exported import TOKEN_BUDGET
from rankwright.errors import MissingDependencyError, ModelError

__all__ = ["OnnxBackend"]


class OnnxBackend:
    """A ``.onnx`` file on ONNX Runtime's CPU provider.

    Args:
        path: The file; external data beside it is found by ONNX Runtime.
        threads: How many batches run at once, each on one core; None for all cores.
        precision: ``"fp32"`` or ``"int8"``, what the file was exported as.

    Raises:
        MissingDependencyError: ONNX Runtime is not installed.
        ModelError: The file cannot be loaded, or its inputs and outputs are not a reranker's.
    """

    name = "onnx"
    token_budget = TOKEN_BUDGET
    width_step = 1

    def __init__(self, path: Path, threads: int | None = None, precision: str = "fp32") -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingDependencyError.for_package(
                "onnxruntime", "onnx", "Running a .onnx file"
            ) from error
        self.threads = self.concurrency = threads or available_cores()
        self.computes = "int8" if precision == "int8" else "float32"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the threads that call run() are the parallelism
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no public base
            reason = " ".join(str(error).split())
            raise ModelError(
                f"{path} cannot be loaded by ONNX Runtime {onnxruntime.__version__}: {reason}. "
                "The file is damaged, or was made for a newer release: export the model again."
            ) from error
        self.inputs = frozenset(tensor.name for tensor in self._session.get_inputs())
        outputs = [tensor.name for tensor in self._session.get_outputs()]
        unknown = self.inputs - {"input_ids", "attention_mask", "token_type_ids"}
        if unknown or "input_ids" not in self.inputs or "logits" not in outputs:
            raise ModelError(
                f"{path} takes {sorted(self.inputs)} and gives {outputs}; expected input_ids, "
                "attention_mask and perhaps token_type_ids, and logits. It is no exported reranker."
            )

    def __call__(self, features: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """See `rankwright.engine.exported.Backend`."""
        wanted = {name: features[name] for name in self.inputs}
        logits: NDArray[np.float32] = self._session.run(["logits"], wanted)[0]
        return logits.astype(np.float32, copy=False)
