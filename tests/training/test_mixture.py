"""Training and evaluating on several data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, DatasetDict, IterableDatasetDict
from torch.nn import functional as F

from rankwright.errors import InputError
from rankwright.losses import (
    BinaryCrossEntropyLoss,
    ListNetLoss,
    MSELoss,
    MultipleNegativesRankingLoss,
)
from rankwright.training import CrossEncoderTrainer
from rankwright.training.collator import CollatorByName, PackingCollator
from tests.training.mixtures import (
    FLAT,
    LISTS,
    PAIRS,
    TRIPLES,
    assert_different,
    assert_same,
    data,
    losses,
    stream,
    trained,
)
from tests.training.runs import arguments, weights
from tests.training.stub import StubEncoder

# --- several data sets ------------------------------------------------------------------------


def watched(model: StubEncoder, loss: Any, seen: list[tuple[str, int]]) -> Any:
    """Losses that note what they are given."""
    made = {
        name: given if isinstance(given, torch.nn.Module) else given(model)
        for name, given in loss.items()
    }
    for name, one in made.items():

        def compute(scores: Any, *rest: Any, name: str = name, plain: Any = one.compute) -> Any:
            if scores.requires_grad:
                seen.append((name, len(scores)))
            return plain(scores, *rest)

        one.compute = compute
    return made


def test_every_batch_goes_to_the_loss_of_its_data_set(tmp_path: Path) -> None:
    model = StubEncoder()
    seen: list[tuple[str, int]] = []
    args = arguments(tmp_path, on_collapse="ignore", max_tokens_per_pass=20)
    trainer = CrossEncoderTrainer(
        model=model, args=args, train_dataset=data(), loss=watched(model, losses(model), seen)
    )
    before = weights(model)
    trainer.train()
    assert trainer.state.global_step == 3 + 2 + 1
    pairs: dict[str, int] = dict.fromkeys(data(), 0)
    for name, count in seen:
        pairs[name] += count
    # Every row once: 10 pairs; lists of 2 and 3; triples with one drawn negative each.
    assert pairs == {"pairs": 10, "lists": 15, "triples": 9}
    assert_different(before, weights(model))
    assert isinstance(trainer.loss, dict)


@pytest.mark.parametrize("kind", [dict, DatasetDict])
def test_one_data_set_with_a_name_trains_as_without(tmp_path: Path, kind: type) -> None:
    plain = Dataset.from_list(PAIRS)
    assert_same(
        trained(tmp_path, kind({"only": plain}), {"only": BinaryCrossEntropyLoss}),
        trained(tmp_path, plain),
    )


def test_one_step_of_a_mixture_is_that_of_its_data_set(tmp_path: Path) -> None:
    """The sum of the gradients, computed apart: one batch of each with plain SGD."""
    common = {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.0, "max_steps": 1}
    model = StubEncoder()
    start = weights(model)
    both = trained(
        tmp_path, {"a": PAIRS[:4], "b": LISTS[:4]},
        {"a": BinaryCrossEntropyLoss, "b": ListNetLoss}, gradient_accumulation_steps=2, **common,
    )  # fmt: skip
    a = trained(tmp_path, PAIRS[:4], BinaryCrossEntropyLoss, **common)
    b = trained(tmp_path, LISTS[:4], ListNetLoss, **common)
    for name, value in start.items():
        if value.is_floating_point():
            mean = ((a[name] - value) + (b[name] - value)) / 2
            torch.testing.assert_close(both[name] - value, mean, atol=1e-5, rtol=1e-4)


def test_each_data_set_has_its_evaluation_loss(tmp_path: Path) -> None:
    model = StubEncoder()
    calls: list[int] = []

    def evaluator(model: Any, output_path: str, epoch: float, steps: int) -> dict[str, float]:
        calls.append(steps)
        return {"quality": 0.5}

    trainer = CrossEncoderTrainer(
        model=model,
        args=arguments(tmp_path, per_device_eval_batch_size=4),
        eval_dataset=data(),
        loss=losses(model),
        evaluator=evaluator,
    )
    metrics = trainer.evaluate()
    scores = model.predict([(r["query"], r["document"]) for r in PAIRS])
    labels = torch.tensor([r["label"] for r in PAIRS])
    expected = F.binary_cross_entropy_with_logits(scores, labels)
    assert metrics["eval_pairs_loss"] == pytest.approx(float(expected), rel=1e-5)
    per_list = []
    for row in LISTS:
        scores = model.predict([(row["question"], text) for text in row["texts"]])
        target = torch.tensor(row["labels"]).softmax(0)
        per_list.append(-(target * scores.log_softmax(0)).sum())
    # 4 lists and 2: the mean over lists, not over batches.
    assert metrics["eval_lists_loss"] == pytest.approx(float(sum(per_list) / 6), rel=1e-5)
    assert metrics["eval_triples_loss"] > 0
    assert metrics["eval_quality"] == 0.5
    assert "eval_loss" not in metrics
    assert len(calls) == 1
    (logged,) = [entry for entry in trainer.state.log_history if "eval_quality" in entry]
    assert logged["eval_lists_loss"] == metrics["eval_lists_loss"]
    for one in ("lists", {"lists": LISTS}):
        loader = trainer.get_eval_dataloader(one)
        assert {batch["dataset_name"] for batch in loader} == {"lists"}
    again = trainer.evaluate({"lists": LISTS[:3]}, metric_key_prefix="test")
    assert again["test_lists_loss"] == pytest.approx(float(sum(per_list[:3]) / 3), rel=1e-5)
    with pytest.raises(
        InputError, match="no data set called 'list' in eval_dataset; it has 'pairs'"
    ):
        trainer.get_eval_dataloader("list")
    with pytest.raises(InputError, match="no loss for a data set without a name; it was made for"):
        trainer.evaluate(PAIRS)


@pytest.mark.parametrize("size", [3, 4, 10])
def test_the_evaluation_loss_does_not_depend_on_the_batch_size(tmp_path: Path, size: int) -> None:
    model = StubEncoder()
    for found, loss in ((PAIRS, None), (stream(PAIRS), None), (LISTS, BinaryCrossEntropyLoss)):
        args = arguments(tmp_path, per_device_eval_batch_size=size)
        trainer = CrossEncoderTrainer(model=model, args=args, eval_dataset=found, loss=loss)
        if found is LISTS:
            pairs = [(r["question"], t) for r in LISTS for t in r["texts"]]
            labels = torch.tensor([label for r in LISTS for label in r["labels"]])
        else:
            pairs = [(r["query"], r["document"]) for r in PAIRS]
            labels = torch.tensor([r["label"] for r in PAIRS])
        expected = F.binary_cross_entropy_with_logits(model.predict(pairs), labels)
        assert trainer.evaluate()["eval_loss"] == pytest.approx(float(expected), rel=1e-5)


def test_the_best_model_by_the_loss_on_one_of_them(tmp_path: Path) -> None:
    args = arguments(
        tmp_path, eval_strategy="epoch", save_strategy="epoch", num_train_epochs=2,
        load_best_model_at_end=True, metric_for_best_model="eval_b_loss",
    )  # fmt: skip
    trainer = CrossEncoderTrainer(
        model=StubEncoder(), args=args, train_dataset=PAIRS, eval_dataset={"a": PAIRS, "b": PAIRS}
    )
    trainer.train()
    assert trainer.state.best_metric is not None
    args.metric_for_best_model = "loss"
    with pytest.raises(InputError, match="Name one of 'eval_a_loss', 'eval_b_loss'"):
        CrossEncoderTrainer(model=StubEncoder(), args=args, eval_dataset={"a": PAIRS, "b": PAIRS})


def test_a_batch_sampler_for_each_data_set(tmp_path: Path) -> None:
    args = arguments(
        tmp_path, batch_sampler={"pairs": "no_duplicates", "lists": "query_grouped"},
    )  # fmt: skip
    trainer = CrossEncoderTrainer(
        model=StubEncoder(), args=args, train_dataset={"pairs": TRIPLES * 2, "lists": FLAT},
        loss={"pairs": MultipleNegativesRankingLoss, "lists": ListNetLoss},
    )  # fmt: skip
    made = trainer.get_train_dataloader().batch_sampler.batch_samplers
    assert [type(one).__name__ for one in made] == ["NoDuplicatesSampler", "QueryGroupedSampler"]
    trainer.train()


def test_prompts_by_data_set_and_column(tmp_path: Path) -> None:
    model = StubEncoder()
    prompts = {"pairs": "find ", "lists": {"texts": "read "}}
    trainer = CrossEncoderTrainer(
        model=model, args=arguments(tmp_path, prompts=prompts), train_dataset=data(),
        loss=losses(model),
    )  # fmt: skip
    collators = trainer.data_collator
    assert isinstance(collators, CollatorByName)
    made: Any = collators.collators
    assert made["pairs"].pairs.prompt == "find "
    assert made["triples"].pairs.prompt == ""
    found = made["lists"]([{"question": "sort", "texts": ["a", "b"], "labels": [1, 0]}])
    expected = [model.tokenizer("sort", f"read {text}")["input_ids"] for text in ("a", "b")]
    assert found["input_ids"].tolist() == [*expected[0], *expected[1]]
    with pytest.raises(InputError, match="names 'pears', which is no data set"):
        CrossEncoderTrainer(
            model=model, args=arguments(tmp_path, prompts={"pears": "", "pairs": ""}),
            train_dataset=data(), loss=losses(model),
        )  # fmt: skip


def test_a_collator_of_ones_own_knows_the_data_set(tmp_path: Path) -> None:
    model = StubEncoder()
    plain = PackingCollator(
        BinaryCrossEntropyLoss(model).pairs, model.pair_tokenizer, model.max_length
    )
    seen = []

    def collate(found: Any) -> Any:
        seen.append(found.dataset_name)
        return plain(found)

    trainer = CrossEncoderTrainer(
        model=model, args=arguments(tmp_path), train_dataset={"a": PAIRS, "b": PAIRS},
        loss={"a": BinaryCrossEntropyLoss, "b": MSELoss}, data_collator=collate,
    )  # fmt: skip
    trainer.train()
    assert sorted(seen) == ["a"] * 3 + ["b"] * 3


def test_workers_give_a_mixture_in_the_same_order(tmp_path: Path) -> None:
    model = StubEncoder()
    found = []
    for workers in (0, 2):
        args = arguments(
            tmp_path, dataloader_num_workers=workers,
            multi_dataset_batch_sampler={"pairs": 2.0, "lists": 1.0, "triples": 0.5},
        )  # fmt: skip
        trainer = CrossEncoderTrainer(
            model=model, args=args, train_dataset=data(), loss=losses(model)
        )
        found.append([(b["dataset_name"], b["input_ids"].tolist())
                      for b in trainer.get_train_dataloader()])  # fmt: skip
    assert found[0] == found[1]
    assert len(found[0]) == 6


# --- streams ----------------------------------------------------------------------------------


def test_streams_obey_the_batch_sampler(tmp_path: Path) -> None:
    doubled = [row for row in PAIRS for _ in range(2)]
    found = [
        trained(tmp_path, stream(doubled), max_steps=2, **options)
        for options in (
            {},
            {"batch_sampler": "no_duplicates"},
            {"train_sampling_strategy": "group_by_length"},
        )
    ]
    assert_different(found[0], found[1])
    assert_different(found[0], found[2])


def test_a_mixture_of_streams(tmp_path: Path) -> None:
    model = StubEncoder()
    streams = {"pairs": stream(PAIRS), "lists": stream(LISTS)}
    options = {"max_steps": 6, "multi_dataset_batch_sampler": {"pairs": 2.0, "lists": 1.0}}
    loss = {"pairs": BinaryCrossEntropyLoss, "lists": ListNetLoss}
    trainer = CrossEncoderTrainer(
        model=model, args=arguments(tmp_path, **options), loss=loss,
        train_dataset=IterableDatasetDict(streams), eval_dataset=IterableDatasetDict(streams),
    )  # fmt: skip
    found = [batch["dataset_name"] for batch, _ in zip(
        trainer.get_train_dataloader(), range(6), strict=False)]  # fmt: skip
    assert sorted(found) == ["lists"] * 2 + ["pairs"] * 4
    trainer.train()
    assert {"eval_pairs_loss", "eval_lists_loss"} <= trainer.evaluate().keys()
    # One of them may have a length.
    trained(tmp_path, {"pairs": PAIRS, "lists": stream(LISTS)}, loss, **options)
