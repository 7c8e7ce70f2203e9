"""The models that are measured: one trained cross-encoder, and every export of it.

.venv/bin/python -m benchmarks.deploy.prepare WORK DATA SETTINGS

runs in a process of its own, so that nothing of it stays in memory while others are measured.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

from benchmarks.deploy.settings import Settings
from benchmarks.engine import workloads

from rankwright.data.types import RankingData

__all__ = ["OURS", "prepare"]

OURS = (
    ("onnx", "fp32"),
    ("onnx", "int8"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("native", "fp32"),
    ("native", "int16"),
)
BATCH = 32
LEARNING_RATE = 5e-5
LENIENT = {"min_kendall_tau": -1.0, "max_ndcg_drop": 1.0, "max_difference": 1e9}
"""For --quick: a model that was hardly trained gives scores that say nothing."""


def prepare(work: Path, data: Path | None, settings: Settings, quick: bool) -> None:
    """Fills ``work`` with ``model``, ``plain`` and a folder per export of ours.

    Args:
        work: Where to.
        data: Folder of nl2bash; None trains on code search.
        settings: How much training.
        quick: Keep exports whatever they score.
    """
    source = workloads.read("A" if data is None else "B", data)
    if data is None:
        _train(work, source, settings)
    else:
        _tune(work, data / workloads.FOLDERS["B"], settings)
    _plain(work, settings)
    _ours(work, source, quick)


def _train(work: Path, source: RankingData, settings: Settings) -> None:
    from datasets import Dataset

    from rankwright import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
    from rankwright.losses import BinaryCrossEntropyLoss
    from rankwright.recipes.demo import minilm_folder

    pairs = workloads.pairs(source, settings.train_steps * BATCH)
    rows = Dataset.from_dict(
        {
            "query": [query for query, _, _ in pairs],
            "document": [document for _, document, _ in pairs],
            "label": [label for _, _, label in pairs],
        }
    )
    model = CrossEncoder(
        minilm_folder(), num_labels=1, seed=settings.seed, max_length=512, device="cpu"
    )
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(work / "trainer"),
        num_train_epochs=1,
        per_device_train_batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        seed=settings.seed,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    CrossEncoderTrainer(
        model=model, args=arguments, train_dataset=rows, loss=BinaryCrossEntropyLoss(model)
    ).train()
    model.save_pretrained(work / "model")


def _tune(work: Path, source: Path, settings: Settings) -> None:
    from rankwright import CrossEncoder
    from rankwright.recipes.demo import minilm_folder
    from rankwright.recipes.pipeline import PipelineOptions, run_pipeline
    from rankwright.recipes.recipe import (
        DataRecipe,
        EvaluationRecipe,
        FirstStageRecipe,
        ModelRecipe,
        Recipe,
        TrainingRecipe,
    )

    recipe = Recipe(
        data=DataRecipe(source=str(source), max_queries=settings.train_queries),
        model=ModelRecipe(base=str(minilm_folder()), max_length=512),
        output=str(work / "tuned"),
        # What judges it on the way takes longer than training; the figures here are others.
        first_stage=FirstStageRecipe(depth=20),
        training=TrainingRecipe(eval_times=1, max_dev_queries=40),
        evaluation=EvaluationRecipe(max_test_queries=50),
        seed=settings.seed,
    )
    run_pipeline(recipe, PipelineOptions(overwrite=True))
    # A model that is no better than BM25 is put aside there; it is measured all the same.
    rejected = work / "tuned" / "rejected-model"
    model = CrossEncoder(rejected if rejected.is_dir() else work / "tuned", device="cpu")
    model.save_pretrained(work / "model")


def _plain(work: Path, settings: Settings) -> None:
    """What one gets from transformers and each engine's own tools, all layers whole."""
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from transformers import AutoModelForSequenceClassification

    folder = work / "plain"
    folder.mkdir(parents=True, exist_ok=True)
    model = AutoModelForSequenceClassification.from_pretrained(
        work / "model", attn_implementation="eager"
    ).eval()
    names = ["input_ids", "attention_mask", "token_type_ids"]
    ids = torch.ones(2, 9, dtype=torch.long)
    mask = ids.clone()
    mask[1, 5:] = 0
    file = folder / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The exporter that Optimum uses; ONNX Runtime knows its graphs best.
        torch.onnx.export(
            model,
            (ids, mask, torch.zeros_like(ids)),
            str(file),
            input_names=names,
            output_names=["logits"],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in names},
            opset_version=17,
            dynamo=False,
        )
    # Optimum's preset for AVX2 has unsigned weights, ONNX Runtime's default signed ones.
    quantize_dynamic(file, folder / "model_int8.onnx", weight_type=QuantType.QInt8)
    quantize_dynamic(file, folder / "model_uint8.onnx", weight_type=QuantType.QUInt8)
    _plain_openvino(work, file, settings)


def _plain_openvino(work: Path, file: Path, settings: Settings) -> None:
    from rankwright import CrossEncoder
    from rankwright.export.judge import ModelParts, calibration_batches
    from rankwright.export.to_openvino import quantise_openvino, read_onnx, save_openvino

    plain = read_onnx(file)
    save_openvino(plain, file.with_suffix(".xml"))
    model = CrossEncoder(work / "model", device="cpu", precision="float32")
    pairs = workloads.pairs(workloads.read("A"), settings.tuning_pairs)
    batches = calibration_batches(
        ModelParts(model, model.pair_tokenizer), [(query, text) for query, text, _ in pairs]
    )
    whole = quantise_openvino(plain, frozenset(), batches, full_range=None)
    save_openvino(whole, file.with_name("model_int8.xml"))


def _ours(work: Path, source: RankingData, quick: bool) -> None:
    from rankwright import export_model
    from rankwright.errors import ExportError
    from rankwright.export import ExportOptions, PairOptions

    limits: dict[str, Any] = LENIENT if quick else {}
    for backend, precision in OURS:
        options = ExportOptions(
            backend=backend,
            precision=precision,
            output=work / f"{backend}-{precision}",
            pairs=PairOptions(data=source),
            overwrite=True,
            **limits,
        )
        try:
            report = export_model(work / "model", options)
        except ExportError as error:  # the gate: its row will be named as not measured
            print(f"{backend} {precision}: {error}", flush=True)
            continue
        print(f"{backend} {precision}: {report.agreement}; in float32: {report.kept}", flush=True)


if __name__ == "__main__":
    said = json.loads(sys.argv[1])
    prepare(
        Path(said["work"]),
        None if said["data"] is None else Path(said["data"]),
        Settings(**said["settings"]),
        said["quick"],
    )
