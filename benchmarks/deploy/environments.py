"""The environments of Sentence Transformers: its own, and one with its OpenVINO backend.

Its ONNX backend needs optimum-onnx, no release of which installs beside transformers 5, which
Sentence Transformers 6.2 needs: pip finds no solution. Its OpenVINO backend needs an older
transformers than its PyTorch backend is measured with, hence the second environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.engine.client import ROOT, WorkerError, peer_python

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
        return peer_python() if name == "peer" else _openvino(ROOT / ".venv-peer-openvino")
    except subprocess.CalledProcessError as error:
        raise WorkerError(f"the environment {name} could not be installed: {error}") from error


def _openvino(folder: Path) -> Path:
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / ".ready"
    wanted = "\n".join(OPENVINO)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    print(f"Installing optimum-intel into {folder.name} (some minutes)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [python, "-m", "pip"]
    subprocess.run([*pip, "install", "--quiet", *OPENVINO], check=True)
    # It comes along unasked, built for GPUs; beside torch for CPUs, importing it fails.
    subprocess.run([*pip, "uninstall", "--quiet", "--yes", "torchvision"], check=True)
    stamp.write_text(wanted, encoding="utf-8")
    return python
