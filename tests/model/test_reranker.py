from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rankwright import CrossEncoder, Reranker
from rankwright.engine import cpu
from rankwright.errors import (
    ConfigError,
    InputError,
    InputTypeError,
    ModelError,
    ModelNotFoundError,
    ScoreError,
)
from rankwright.model import ActivationSpec, ScoringContract, runtime
from rankwright.model.exports import read_exports, write_exports
from rankwright.model.folder import ModelFolder
from tests.exported import LIMITS, closeness, copied, export, tiny_folder
from tests.model.folders import edit

PAIRS = [
    ("how do i sort", "sort a list of files by size " * 3),
    ("open", "close the file"),
    ("a", "b"),
    ("open", "close the file"),
    ("search " * 30, "word"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with prompts, an activation with a parameter, fusion, and two exports."""
    path = tmp_path_factory.mktemp("reranker") / "m"
    tiny_folder(path)
    model = CrossEncoder(
        path,
        prompts={"search": "find: ", "none": ""},
        default_prompt_name="search",
        max_length=40,
        activation_fn=torch.nn.Softplus(beta=2.0),
    )
    model.fusion = {"weight": 0.4, "normalisation": "min-max"}
    model.save_pretrained(path, create_model_card=False)
    export(path)
    export(path, precision="int8", **LIMITS)
    return path


@pytest.fixture(scope="module")
def pair(folder: Path) -> tuple[Reranker, CrossEncoder]:
    return Reranker(folder, precision="fp32"), CrossEncoder(folder, device="cpu")


def test_predict_is_that_of_the_cross_encoder(pair: tuple[Reranker, CrossEncoder]) -> None:
    ours, theirs = pair
    found = ours.predict(PAIRS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, theirs.predict(PAIRS), atol=1e-5)
    assert found[1] == found[3]
    options: list[dict[str, Any]] = [
        {"prompt_name": "none"},
        {"prompt": "sort "},
        {"max_length": 9},
        {"activation_fn": "tanh"},
        {"activation_fn": torch.nn.Hardtanh(-5, 5)},
        {"batch_size": 1},
    ]
    for option in options:
        np.testing.assert_allclose(
            ours.predict(PAIRS, **option), theirs.predict(PAIRS, **option), atol=1e-5
        )
    single = ours.predict(("open", "close"))
    assert single.shape == ()
    assert float(single) == pytest.approx(float(theirs.predict(("open", "close"))), abs=1e-5)
    assert ours.predict([]).shape == (0,)
    tensor = ours.predict(PAIRS, convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor)
    assert len(ours.predict(PAIRS, convert_to_numpy=False)) == len(PAIRS)


def test_score_tells_the_same(pair: tuple[Reranker, CrossEncoder]) -> None:
    ours, theirs = (model.score(PAIRS) for model in pair)
    np.testing.assert_array_equal(ours.lengths, theirs.lengths)
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-5)
    assert (ours.truncated, ours.max_length) == (theirs.truncated, theirs.max_length)
    assert ours.truncated > 0


def test_rank_is_that_of_the_cross_encoder(pair: tuple[Reranker, CrossEncoder]) -> None:
    documents = [{"id": f"d{i}", "text": text, "year": i} for i, (_, text) in enumerate(PAIRS)]
    options: list[dict[str, Any]] = [
        {},
        {"top_k": 2, "return_documents": True},
        {"first_stage_scores": [5.0, 4.0, 3.0, 2.0, 1.0]},
    ]
    for option in options:
        ours, theirs = (model.rank("sort files", documents, **option) for model in pair)
        assert [{**hit, "score": 0, "reranker_score": 0} for hit in ours] == [
            {**hit, "score": 0, "reranker_score": 0} for hit in theirs
        ]
        for a, b in zip(ours, theirs, strict=True):
            assert a["score"] == pytest.approx(b["score"], abs=1e-4)
            assert type(a["score"]) is float


def test_the_contract_is_the_folders(pair: tuple[Reranker, CrossEncoder]) -> None:
    ours, theirs = pair
    for name in ("prompts", "default_prompt_name", "max_length", "fusion", "calibration"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.num_labels == 1
    assert (ours.backend, ours.precision, ours.computes) == ("onnx", "fp32", "float32")
    assert ours.file_name == "onnx/model.onnx"


def test_arguments_go_before_the_folder(folder: Path) -> None:
    model = Reranker(
        folder,
        prompts={"x": "y "},
        default_prompt_name="x",
        max_length=12,
        activation_fn="logsigmoid",
    )
    assert (model.prompts, model.default_prompt_name, model.max_length) == ({"x": "y "}, "x", 12)
    assert model.predict(PAIRS).max() < 0
    with pytest.raises(InputError, match="No prompt is named 'z'"):
        Reranker(folder, default_prompt_name="z")
    with pytest.raises(InputError, match="more than this model has positions for: 80"):
        Reranker(folder, max_length=81)


def test_threads_share_one_model(folder: Path) -> None:
    model = Reranker(folder, precision="fp32", threads=2)
    longest = [9, 12, 20, 40]
    wanted = {n: model.predict(PAIRS, max_length=n) for n in longest}
    with ThreadPoolExecutor(4) as threads:
        jobs = [(n, threads.submit(model.predict, PAIRS, max_length=n)) for n in longest * 10]
        for n, job in jobs:
            np.testing.assert_allclose(job.result(), wanted[n], atol=1e-6)


@pytest.mark.slow
def test_several_labels(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "m", num_labels=3)
    export(folder)
    ours, theirs = Reranker(folder), CrossEncoder(folder, device="cpu")
    assert closeness(ours.predict(PAIRS), theirs.predict(PAIRS)) < 1e-5
    soft = ours.predict(PAIRS, apply_softmax=True)
    np.testing.assert_allclose(soft.sum(1), 1, atol=1e-6)
    assert closeness(soft, theirs.predict(PAIRS, apply_softmax=True)) < 1e-5
    assert ours.predict([]).shape == (0, 3)
    with pytest.raises(InputError, match="one label; this one has 3"):
        ours.rank("a", ["b"])


def test_mistakes(pair: tuple[Reranker, CrossEncoder], folder: Path) -> None:
    model = pair[0]
    with pytest.raises(InputTypeError, match="bare string"):
        model.predict("ab")
    with pytest.raises(InputError, match="batch_size=0"):
        model.predict(PAIRS, batch_size=0)
    with pytest.raises(InputError, match="run on the CPU"):
        model.predict(PAIRS, device="cuda")
    with pytest.raises(InputError, match="top_k=0"):
        model.rank("a", ["b"], top_k=0)
    with pytest.raises(InputError, match="cannot be passed together"):
        model.rank("a", ["b"], first_stage_scores=[1.0], activation_fn="tanh")
    with pytest.raises(InputTypeError, match="same shape"):
        model.predict(PAIRS, activation_fn=lambda logits: logits[:1])
    with pytest.raises(ScoreError, match="score of 5 of 5 pairs is NaN"):
        model.predict(PAIRS, activation_fn=lambda logits: logits * np.nan)
    with pytest.raises(InputError, match="backend='torch' is not known.*CrossEncoder"):
        Reranker(folder, backend="torch")
    with pytest.raises(InputError, match="precision='int4'"):
        Reranker(folder, precision="int4")
    with pytest.raises(InputError, match="threads=0"):
        Reranker(folder, threads=0)
    with pytest.warns(FutureWarning, match="activation_fct is now activation_fn") as noted:
        model.predict(PAIRS, activation_fct="tanh")
    assert [warning.filename for warning in noted] == [__file__]


# --- which export is taken --------------------------------------------------------------------


def change(folder: Path, edits: Callable[[Any], Any]) -> None:
    exports = read_exports(ModelFolder(folder))
    write_exports(folder, replace(exports, entries=tuple(map(edits, exports.entries))))


def test_the_fastest_on_this_machine_is_taken(folder: Path, tmp_path: Path) -> None:
    here = cpu.machine_name()
    for fast in ("fp32", "int8"):
        path = copied(folder, tmp_path / fast)
        slow = {"int8": "fp32", "fp32": "int8"}[fast]
        speeds = {fast: {here: 9.0}, slow: {here: 1.0}}
        change(path, lambda e, speeds=speeds: replace(e, speed=speeds[e.precision]))
        assert Reranker(path).precision == fast
    change(path, lambda e: replace(e, speed={"another machine": 9.0}))
    assert Reranker(path).precision == "int8"


def test_an_export_that_was_not_verified_is_passed_over(folder: Path, tmp_path: Path) -> None:
    path = copied(folder, tmp_path / "m")
    change(path, lambda e: replace(e, verified=() if e.precision == "int8" else e.verified))
    assert Reranker(path).precision == "fp32"
    assert Reranker(path, precision="int8").precision == "int8"  # asked for
    # what bfloat16 gives is another question on a machine that computes it otherwise
    change(path, lambda e: replace(e, verified=("bfloat16",)))
    assert Reranker(path).precision == "fp32"


def test_without_proof_float32_is_taken_with_a_warning(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = copied(folder, tmp_path / "m")
    (path / "exports.json").unlink()
    assert Reranker(path).file_name == "onnx/model.onnx"
    assert "without proof" in caplog.text
    (path / "onnx" / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"none .* can be used here: .* not verified for int8"):
        Reranker(path)


def test_a_file_that_was_replaced_is_not_trusted(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = copied(folder, tmp_path / "m")
    name = next((path / "onnx").glob("model_qint8*"))
    name.write_bytes((path / "onnx" / "model.onnx").read_bytes())
    assert Reranker(path).precision == "fp32"
    assert "was replaced since it was verified" in caplog.text


def test_exports_of_former_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    path = copied(folder, tmp_path / "m")
    model = CrossEncoder(path, device="cpu")
    with torch.no_grad():
        model.model.classifier.weight.mul_(-1)
    model.model.save_pretrained(path)
    with pytest.raises(ModelError, match="other weights than those"):
        Reranker(path)
    (path / "model.safetensors").unlink()  # nothing to compare with
    Reranker(path)


def test_weights_of_8_bits_are_not_run_where_they_overflow(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied(folder, tmp_path / "m")
    change(path, lambda e: replace(e, full_range=e.precision == "int8"))
    monkeypatch.setattr(runtime, "exact_int8", lambda: False)
    assert Reranker(path).precision == "fp32"
    with pytest.raises(ModelError, match="for processors with VNNI"):
        Reranker(path, precision="int8")


def test_what_is_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no exported model for openvino; it has onnx"):
        Reranker(folder, backend="openvino")
    bare = tiny_folder(tmp_path / "bare")
    with pytest.raises(ModelNotFoundError, match="rankwright export MODEL"):
        Reranker(bare)
    with pytest.raises(ModelNotFoundError, match="There is no folder"):
        Reranker("./nowhere")


def test_broken_folders(folder: Path, tmp_path: Path) -> None:
    path = copied(folder, tmp_path / "m")
    (path / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing"):
        Reranker(path)
    path = copied(folder, tmp_path / "n")
    edit(path / "config.json", architectures=["BertModel"])
    with pytest.raises(ModelError, match="no sequence-classification head"):
        Reranker(path)
    path = copied(folder, tmp_path / "o")
    contract = ScoringContract(ActivationSpec("Sigmoid", {"x": 1}), max_length=9).to_dict()
    (path / "config_sentence_transformers.json").unlink()
    edit(path / "rankwright.json", contract=contract)
    with pytest.raises(ConfigError, match=r"no parameters \['x'\]"):
        Reranker(path)


# --- without torch ----------------------------------------------------------------------------

PROGRAM = """
import json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "datasets"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
import rankwright
model = rankwright.Reranker(sys.argv[1], precision="fp32")
pairs = [tuple(pair) for pair in json.loads(sys.argv[2])]
scores = model.predict(pairs)
hits = model.rank("sort", [text for _, text in pairs], top_k=2)
from rankwright.export import verify_model
report = verify_model(sys.argv[1])
assert not {"torch", "transformers"} & set(sys.modules)
try:
    model.predict(pairs, convert_to_tensor=True)
except rankwright.errors.MissingDependencyError as error:
    missing = str(error)
print(json.dumps([scores.tolist(), hits, missing, [c.to_dict() for c in report.checks]]))
"""


def test_it_runs_where_torch_and_transformers_cannot_be_imported(
    folder: Path, pair: tuple[Reranker, CrossEncoder]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), json.dumps(PAIRS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    scores, hits, missing, checks = json.loads(done.stdout)
    np.testing.assert_allclose(scores, pair[1].predict(PAIRS), atol=1e-5)
    wanted = pair[1].rank("sort", [text for _, text in PAIRS], top_k=2)
    assert [hit["corpus_id"] for hit in hits] == [hit["corpus_id"] for hit in wanted]
    assert "rankwright[train]" in missing
    found = {check["name"]: check["ok"] for check in checks}
    assert found["onnx fp32"] is True
    assert found["torch float32"] is None


def test_progress(pair: tuple[Reranker, CrossEncoder], capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("rankwright").setLevel(logging.WARNING)
    pair[0].predict(PAIRS)
    assert capsys.readouterr().err == ""
    pair[0].predict(PAIRS, show_progress_bar=True)
    assert "Scoring: 100%" in capsys.readouterr().err
