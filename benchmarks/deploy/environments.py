"""The environments of Sentence Transformers: its own, and one with its OpenVINO backend.

Its ONNX backend needs optimum-onnx, no release of which installs beside transformers 5, which
Sentence Transformers 6.2 needs: pip finds no solution. Its OpenVINO backend needs an older
transformers than its PyTorch backend is measured with, hence the second environment.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.engine.client import ROOT, WorkerError, installed, peer_python

__all__ = ["ONNX_NOTE", "python_of"]

ONNX_NOTE = (
    "Sentence Transformers' ONNX backend needs optimum-onnx, whose releases need transformers "
    "below 4.58, while Sentence Transformers 6.2 needs 5.0 or newer: they do not install together. "
    "The plain loop on ONNX Runtime stands for it."
)
OPENVINO = (
    "torch==2.13.0",
    "sentence-transformers==6.2.0",
    "optimum-intel[openvino]==2.2.0",
)


def python_of(name: str) -> Path:
    """The Python of an environment, which is made on first use.

    Args:
        name: "ours", "peer" or "peer-openvino".

    Raises:
        WorkerError: It could not be installed.
    """
    if name == "ours":
        return Path(sys.executable)
    try:
        if name == "peer":
            return peer_python()
        folder = ROOT / ".venv-peer-openvino"
        # torchvision comes along unasked, built for GPUs, and fails beside torch for CPUs.
        return installed(folder, "optimum-intel", OPENVINO, unwanted=("torchvision",))
    except subprocess.CalledProcessError as error:
        raise WorkerError(f"the environment {name} could not be installed: {error}") from error
