"""The README's comparison with Sentence Transformers 6.2, row by row, both sides run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import datasets
import numpy as np
import pytest
import torch

import rankwright
from tests.tiny import save_tiny

pytestmark = [pytest.mark.peer, pytest.mark.slow]
peer: Any = pytest.importorskip("sentence_transformers")
VERSION = "6.2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "model", "bert")


class Knowing:
    """A model that knows which text is relevant."""

    model_card_data = MagicMock()  # their evaluator writes to it

    def predict(self, pairs: Any, **_: Any) -> np.ndarray[Any, Any]:
        grades = {"best": 2.0, "good": 1.0}
        return np.array([grades.get(document, 0.0) for _, document in pairs])


def test_the_release_is_the_one_that_is_named() -> None:
    assert peer.__version__.startswith(VERSION)
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    assert f"| Sentence Transformers {VERSION} | Rankwright |" in readme


PROGRAM = """
from datasets import Dataset
from PACKAGE import CrossEncoder
from PACKAGE.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from PACKAGE.cross_encoder.evaluation import CrossEncoderRerankingEvaluator
from PACKAGE.cross_encoder.losses import BinaryCrossEntropyLoss
from PACKAGE.evaluation import SequentialEvaluator
from PACKAGE.training_args import BatchSamplers
from PACKAGE.util import mine_hard_negatives

model = CrossEncoder(base, num_labels=1, max_length=32)
rows = {"query": ["sort a list", "open the file"] * 4, "document": ["sort", "file"] * 4}
train_dataset = Dataset.from_dict({**rows, "label": [1, 0] * 4})
samples = [{"query": "sort a list", "positive": ["sort"], "negative": ["file", "open"]}]
evaluator = SequentialEvaluator([CrossEncoderRerankingEvaluator(samples, name="dev")])
trainer = CrossEncoderTrainer(
    model=model,
    args=CrossEncoderTrainingArguments(
        output_dir="run",
        num_train_epochs=2,
        per_device_train_batch_size=4,
        batch_sampler=BatchSamplers.BATCH_SAMPLER,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="eval_dev_ndcg@10",
        report_to="none",
        use_cpu=True,
    ),
    train_dataset=train_dataset,
    loss=BinaryCrossEntropyLoss(model),
    evaluator=evaluator,
)
trainer.train()
model.save_pretrained("final")
scores = CrossEncoder("final").predict([("sort a list", "sort"), ("sort a list", "file")])
best = model.rank("sort a list", ["file", "sort"], top_k=1)[0]["corpus_id"]
"""


@pytest.mark.filterwarnings("ignore:Importing from:DeprecationWarning")
@pytest.mark.parametrize("package", ["sentence_transformers", "rankwright"])
def test_a_program_with_only_the_package_name_replaced(
    package: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"base": str(folder)}
    exec(PROGRAM.replace("PACKAGE", package), names)
    assert names["scores"].shape == (2,)
    assert names["best"] in (0, 1)
    assert names["trainer"].state.global_step == 4


def test_training_on_a_stream(folder: Path, tmp_path: Path) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        for number in range(8):
            yield {"query": "how do i sort", "document": "sort a list", "label": number % 2}

    stream = datasets.IterableDataset.from_generator(rows)
    settings: dict[str, Any] = {"max_steps": 2, "per_device_train_batch_size": 2}
    settings |= {"report_to": "none", "use_cpu": True, "save_strategy": "no"}

    def trainer(package: Any) -> Any:
        return package.CrossEncoderTrainer(
            model=package.CrossEncoder(str(folder), num_labels=1),
            args=package.CrossEncoderTrainingArguments(str(tmp_path / "run"), **settings),
            train_dataset=stream,
        )

    with pytest.raises(ValueError, match="IterableDataset"):
        trainer(peer)
    ours = trainer(rankwright)
    ours.train()
    assert ours.state.global_step == 2


def test_documents_that_the_first_stage_missed() -> None:
    sample = {"query": "q", "positive": ["good", "missed"], "documents": ["bad", "good"]}

    def ndcg(package: Any) -> tuple[float, float]:
        evaluator = package.CrossEncoderRerankingEvaluator([sample], always_rerank_positives=False)
        found = evaluator(Knowing())
        return found["ndcg@10"], found["base_ndcg@10"]

    import sentence_transformers.cross_encoder.evaluation as theirs

    assert ndcg(theirs)[0] == pytest.approx(1.0)
    ideal = 1 + 1 / np.log2(3)  # two relevant documents, at ranks 1 and 2
    assert ndcg(rankwright)[0] == pytest.approx(1 / ideal)
    assert ndcg(rankwright)[1] == pytest.approx((1 / np.log2(3)) / ideal)


def test_graded_relevance() -> None:
    import sentence_transformers.cross_encoder.evaluation as theirs

    class Swapped(Knowing):
        def predict(self, pairs: Any, **_: Any) -> np.ndarray[Any, Any]:
            return np.array([{"best": 1.0, "good": 2.0}.get(d, 0.0) for _, d in pairs])

    sample = {"query": "q", "positive": {"best": 2, "good": 1}, "documents": ["best", "good", "x"]}
    graded = rankwright.CrossEncoderRerankingEvaluator([sample])
    assert graded(Knowing())["ndcg@10"] == pytest.approx(1.0)
    expected = (1 + 2 / np.log2(3)) / (2 + 1 / np.log2(3))
    assert graded(Swapped())["ndcg@10"] == pytest.approx(expected)
    with pytest.raises(TypeError):
        theirs.CrossEncoderRerankingEvaluator([sample])(Knowing())
    # There, any order of the relevant documents is a perfect one.
    flat = theirs.CrossEncoderRerankingEvaluator([{**sample, "positive": ["best", "good"]}])
    assert flat(Swapped())["ndcg@10"] == flat(Knowing())["ndcg@10"] == pytest.approx(1.0)


def test_an_activation_with_parameters(folder: Path, tmp_path: Path) -> None:
    def slope(package: Any) -> float:
        path = str(tmp_path / package.__name__)
        model = package.CrossEncoder(str(folder), activation_fn=torch.nn.LeakyReLU(0.3))
        model.save_pretrained(path)
        return package.CrossEncoder(path).activation_fn.negative_slope

    assert slope(peer) == pytest.approx(0.01)
    assert slope(rankwright) == pytest.approx(0.3)


def test_a_name_in_the_json_of_a_folder(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["sentence_transformers"] = {"activation_fn": "torch.initial_seed", "version": "5.0.0"}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    called = peer.CrossEncoder(str(folder)).activation_fn
    assert called == torch.initial_seed()
    with pytest.raises(rankwright.errors.UnsafeModelError, match="initial_seed"):
        rankwright.CrossEncoder(folder)


def test_the_callers_options(folder: Path) -> None:
    def after(package: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        tokenizer: dict[str, Any] = {}
        config: dict[str, Any] = {}
        package.CrossEncoder(
            str(folder),
            max_length=16,
            num_labels=1,
            processor_kwargs=tokenizer,
            config_kwargs=config,
        )
        return tokenizer, config

    assert all(after(peer))
    assert not any(after(rankwright))
