"""Exported models on OpenVINO."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwright.engine.cpu import available_cores
from rankwright.engine.environment import variables
from rankwright.engine.exported import TOKEN_BUDGET
from rankwright.errors import MissingDependencyError, ModelError

__all__ = ["OpenVinoBackend", "openvino_module", "without_reports"]

_TYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}


def openvino_module(purpose: str) -> Any:
    """The ``openvino`` package.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        with without_reports():
            import openvino
    except ImportError as error:
        raise MissingDependencyError.for_package("openvino", "openvino", purpose) from error
    return openvino


@contextmanager
def without_reports() -> Iterator[None]:
    """Imports in the block do not set up reports to the package's makers.

    OpenVINO and NNCF make a client number in the home folder when they are imported, and tell their
    makers how they are used unless somebody objects. They refrain where continuous integration
    runs, which these variables say.
    """
    with variables({"CI": "true", "NNCF_CI": "true"}):
        yield


class OpenVinoBackend:
    """An OpenVINO model (``.xml`` with its ``.bin``) on the CPU.

    Args:
        path: The ``.xml`` file.
        threads: How many batches run at once, each on one core; None for all cores.
        precision: ``"fp32"``, ``"bf16"`` or ``"int8"``, what the file was exported as. Without
            being told, OpenVINO would compute in bfloat16 wherever the hardware can.

    Raises:
        MissingDependencyError: OpenVINO is not installed.
        ModelError: The file cannot be loaded, or its inputs are not a reranker's.
    """

    name = "openvino"
    token_budget = TOKEN_BUDGET
    width_step = 8  # code is generated for every new shape

    def __init__(self, path: Path, threads: int | None = None, precision: str = "fp32") -> None:
        openvino = openvino_module("Running an OpenVINO model")
        self.threads = self.concurrency = threads or available_cores()
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "NUM_STREAMS": self.concurrency,
            "INFERENCE_NUM_THREADS": self.concurrency,
        }
        try:
            core = openvino.Core()
            model = core.read_model(str(path))
            self.inputs = frozenset(tensor.get_any_name() for tensor in model.inputs)
            compiled = core.compile_model(model, "CPU", settings)
        except Exception as error:  # OpenVINO raises plain RuntimeErrors
            reason = " ".join(str(error).split())
            raise ModelError(
                f"{path} cannot be loaded by OpenVINO {openvino.__version__}: {reason}. The file "
                "is damaged, its .bin is missing, or it was made for a newer release: export the "
                "model again."
            ) from error
        if "input_ids" not in self.inputs or len(model.outputs) != 1:
            raise ModelError(
                f"{path} takes {sorted(self.inputs)} and gives {len(model.outputs)} tensors; "
                "expected input_ids, attention_mask and perhaps token_type_ids, and logits. It is "
                "no exported reranker."
            )
        real = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.computes = "int8" if precision == "int8" else _TYPES.get(real, real)
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(self.concurrency):
            self._idle.put(compiled.create_infer_request())
        # OpenVINO's binding to numpy sets itself up on first use, and two threads that do so at
        # the same time wait for each other for ever: so the first use is here, in one thread.
        short = np.zeros((1, self.width_step), np.int64)
        self({name: short + (name == "attention_mask") for name in self.inputs})

    def __call__(self, features: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """See `rankwright.engine.exported.Backend`."""
        request = self._idle.get()
        try:
            found = request.infer({name: features[name] for name in self.inputs})[0]
            return np.array(found, np.float32)  # a copy: the request reuses its memory
        finally:
            self._idle.put(request)
