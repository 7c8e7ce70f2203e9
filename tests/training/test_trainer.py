"""The trainer: its steps are those of a plain loop, and what it does around them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, IterableDataset
from torch.nn import functional as F

from rankwright.errors import (
    InputError,
    TrainingError,
)
from rankwright.losses import BinaryCrossEntropyLoss, GroupSoftmaxLoss
from rankwright.training import CrossEncoderTrainer
from rankwright.training.samplers import SamplerOptions, ShuffledSampler
from tests.training.runs import arguments, weights
from tests.training.stub import StubEncoder, rows


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_packed_training_equals_a_plain_padded_loop(tmp_path: Path, family: str) -> None:
    data = rows(24)
    options = {} if family != "modernbert" else {"attention_dropout": 0.0}
    ours, plain = StubEncoder(family, **options), StubEncoder(family, **options)
    args = arguments(
        tmp_path,
        num_train_epochs=2,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        optim="adamw_torch",
        # Some gradients are zero but for rounding (attention ignores a bias on all keys), and
        # Adam with its usual 1e-8 would blow that rounding up to whole steps.
        adam_epsilon=1e-4,
        max_grad_norm=1.0,
    )
    CrossEncoderTrainer(model=ours, args=args, train_dataset=data).train()

    optimizer = torch.optim.AdamW(plain.model.parameters(), lr=1e-3, eps=1e-4, weight_decay=0.0)
    plain.model.train()
    sampler = ShuffledSampler(len(data), SamplerOptions(4, seed=args.seed))
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for batch in sampler:
            chosen = [data[i] for i in batch]
            features = plain.tokenizer(
                [r["query"] for r in chosen],
                [r["document"] for r in chosen],
                padding=True,
                truncation=True,
                max_length=plain.max_length,
                return_tensors="pt",
            )
            logits = plain.model(**features).logits[:, 0]
            labels = torch.tensor([r["label"] for r in chosen])
            F.binary_cross_entropy_with_logits(logits, labels).backward()
            torch.nn.utils.clip_grad_norm_(plain.model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

    before = StubEncoder(family, **options)
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(ours.model.state_dict()[name], value, atol=1e-5, rtol=1e-5)
    start, end = weights(before), weights(ours)
    moved = max(float((end[name] - start[name]).abs().max()) for name in end)
    assert moved > 2e-3


def test_the_loss_falls_and_is_logged(tmp_path: Path) -> None:
    model = StubEncoder()
    args = arguments(tmp_path, num_train_epochs=8, logging_steps=6, learning_rate=3e-3)
    trainer = CrossEncoderTrainer(model=model, args=args, train_dataset=rows(24))
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.5 * losses[0]


def test_listwise_groups_train(tmp_path: Path) -> None:
    data = [
        {
            "q": f"sort {i}",
            "docs": ["sort files", "open", "move a"][: 2 + i % 2],
            "labels": [1, 0, 0][: 2 + i % 2],
        }
        for i in range(8)
    ]
    model = StubEncoder()
    before = weights(model)
    CrossEncoderTrainer(
        model=model, args=arguments(tmp_path), train_dataset=data, loss=GroupSoftmaxLoss
    ).train()
    assert not torch.equal(before["classifier.weight"], weights(model)["classifier.weight"])


@pytest.mark.parametrize("steps", [2, 3])
def test_gradient_accumulation_equals_one_large_batch(tmp_path: Path, steps: int) -> None:
    data = rows(4 * steps)
    whole, parts = StubEncoder(), StubEncoder()
    common = {"max_grad_norm": 0.0, "optim": "sgd", "train_sampling_strategy": "sequential"}
    CrossEncoderTrainer(
        model=whole,
        train_dataset=data,
        args=arguments(tmp_path, per_device_train_batch_size=4 * steps, **common),
    ).train()
    CrossEncoderTrainer(
        model=parts,
        train_dataset=data,
        args=arguments(tmp_path, gradient_accumulation_steps=steps, **common),
    ).train()
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], value, atol=1e-6, rtol=1e-5)


def test_one_forward_pass_per_step(tmp_path: Path) -> None:
    model = StubEncoder()
    calls = []
    forward = model.forward
    model.forward = lambda batch: calls.append(batch.num_pairs) or forward(batch)
    data = [{"q": "sort", "a": "sort files", "b": "open", "c": "move"}] * 6
    CrossEncoderTrainer(
        model=model, args=arguments(tmp_path), train_dataset=data, loss=GroupSoftmaxLoss(model)
    ).train()
    assert calls == [12, 6]


def test_bf16_autocast_wraps_the_forward_pass_and_is_undone(tmp_path: Path) -> None:
    model = StubEncoder()
    seen = []

    def forward(self: Any, batch: Any) -> torch.Tensor:
        seen.append(torch.is_autocast_enabled("cpu"))
        return StubEncoder.forward(self, batch)

    kind = type("Watching", (StubEncoder,), {"forward": forward})
    model = kind()
    CrossEncoderTrainer(
        model=model, args=arguments(tmp_path, bf16=True, emulate_bf16=True), train_dataset=rows(8)
    ).train()
    assert seen == [True, True]
    assert not {"forward", "_original_forward"} & set(vars(model))
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_nan_loss_stops_before_the_weights_are_touched(tmp_path: Path) -> None:
    model = StubEncoder()

    class Poisoned(BinaryCrossEntropyLoss):
        calls = 0

        def compute(self, *args: Any) -> torch.Tensor:
            self.calls += 1
            return super().compute(*args) * (float("nan") if self.calls == 3 else 1.0)

    trainer = CrossEncoderTrainer(
        model=model,
        train_dataset=rows(20),
        loss=Poisoned(model),
        # Watching for collapse would count as a call.
        args=arguments(tmp_path, on_collapse="ignore"),
    )
    with pytest.raises(TrainingError, match="the loss is nan at step 3"):
        trainer.train()
    assert trainer.state.global_step == 2
    assert not trainer.is_in_train
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_a_gradient_that_is_no_number_stops_before_the_weights_are_touched(
    tmp_path: Path,
) -> None:
    model = StubEncoder()

    class Steep(BinaryCrossEntropyLoss):
        def compute(self, scores: Any, *args: Any) -> torch.Tensor:
            # The root's slope at 0 is infinite, and infinity times 0 is not a number.
            return super().compute(scores, *args) + ((scores - scores).pow(2)).sum().sqrt()

    before = weights(model)
    trainer = CrossEncoderTrainer(
        model=model, args=arguments(tmp_path), train_dataset=rows(8), loss=Steep(model)
    )
    with pytest.raises(TrainingError, match="the gradient is nan at step 1"):
        trainer.train()
    assert all(torch.equal(before[name], value) for name, value in weights(model).items())


def test_truncated_pairs_are_counted_and_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = StubEncoder()
    model.max_length = 12
    data = [{"q": "sort", "d": "files " * n, "label": 1.0} for n in (1, 2, 30, 40)]
    with caplog.at_level(logging.INFO, "rankwright"):
        CrossEncoderTrainer(
            model=model, args=arguments(tmp_path, num_train_epochs=2), train_dataset=data
        ).train()
    assert [r for r in caplog.messages if "lost tokens" in r] == [
        "4 of 8 training pairs (50.0 %) were longer than the model's max_length and lost tokens. "
        "Set a larger max_length, or split long documents."
    ]


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.slow
def test_workers_give_the_same_weights(
    tmp_path: Path, context: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data = Dataset.from_list(rows(24))
    alone, helped = StubEncoder(), StubEncoder()
    CrossEncoderTrainer(model=alone, args=arguments(tmp_path), train_dataset=data).train()
    args = arguments(tmp_path, dataloader_num_workers=2, dataloader_multiprocessing_context=context)
    CrossEncoderTrainer(model=helped, args=args, train_dataset=data).train()
    for name, value in weights(alone).items():
        assert torch.equal(weights(helped)[name], value)
    assert "huggingface/tokenizers" not in capfd.readouterr().err


def test_streaming_gives_what_a_list_in_order_gives(tmp_path: Path) -> None:
    data = rows(24)
    stream = IterableDataset.from_generator(lambda: iter(data))
    streamed, listed = StubEncoder(), StubEncoder()
    args = arguments(tmp_path, max_steps=9)
    CrossEncoderTrainer(model=streamed, args=args, train_dataset=stream).train()
    CrossEncoderTrainer(
        model=listed,
        args=arguments(tmp_path, max_steps=9, train_sampling_strategy="sequential"),
        train_dataset=data,
    ).train()
    for name, value in weights(listed).items():
        assert torch.equal(weights(streamed)[name], value)


def test_learning_rates_by_name(tmp_path: Path) -> None:
    model = StubEncoder()
    before = weights(model)
    args = arguments(tmp_path, learning_rate_mapping={r"embeddings": 0.0, r"classifier": 1e-2})
    trainer = CrossEncoderTrainer(model=model, args=args, train_dataset=rows(8))
    trainer.train()
    after = weights(model)
    assert all(torch.equal(before[n], after[n]) for n in after if "embeddings" in n)
    assert not torch.equal(before["classifier.weight"], after["classifier.weight"])
    grouped = [p for g in trainer.optimizer.param_groups for p in g["params"]]
    assert len({id(p) for p in grouped}) == len(grouped) == len(list(model.parameters()))
    bad = arguments(tmp_path, learning_rate_mapping={"no_such_layer": 1.0})
    with pytest.raises(InputError, match="'no_such_layer' matches no parameter"):
        CrossEncoderTrainer(model=model, args=bad, train_dataset=rows(8)).train()


def test_parameters_of_the_loss_are_trained(tmp_path: Path) -> None:
    class Tempered(BinaryCrossEntropyLoss):
        def __init__(self, model: Any) -> None:
            super().__init__(model)
            self.bias = torch.nn.Parameter(torch.zeros(()))

        def compute(self, scores: Any, labels: Any, group_sizes: Any) -> torch.Tensor:
            return super().compute(scores + self.bias, labels, group_sizes)

    model = StubEncoder()
    loss = Tempered(model)
    CrossEncoderTrainer(
        model=model, args=arguments(tmp_path), train_dataset=rows(8), loss=loss
    ).train()
    assert loss.bias.item() != 0.0


def test_prompts_reach_the_queries(tmp_path: Path) -> None:
    model = StubEncoder()
    model.prompts, model.default_prompt_name = {"search": "query: "}, "search"
    made = CrossEncoderTrainer(model=model, args=arguments(tmp_path)).data_collator
    assert made.pairs.prompt == "query: "
    args = arguments(tmp_path, prompts="find ")
    assert CrossEncoderTrainer(model=model, args=args).data_collator.pairs.prompt == "find "
    by_column = CrossEncoderTrainer(model=model, args=arguments(tmp_path, prompts={"d": "text: "}))
    inputs = by_column.data_collator([{"q": "sort", "d": "files", "label": 1.0}])
    expected = model.tokenizer("sort", "text: files")["input_ids"]
    assert inputs["input_ids"].tolist() == expected


def test_save_model_writes_the_whole_model(tmp_path: Path) -> None:
    trainer = CrossEncoderTrainer(model=StubEncoder(), args=arguments(tmp_path))
    trainer.save_model(str(tmp_path / "final"))
    names = {p.name for p in (tmp_path / "final").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert not any(name.endswith((".bin", ".pt", ".pth")) for name in names)


def test_model_init_makes_the_model(tmp_path: Path) -> None:
    trainer = CrossEncoderTrainer(
        model_init=lambda: StubEncoder(),
        args=arguments(tmp_path),
        train_dataset=rows(8),
        loss=BinaryCrossEntropyLoss,
    )
    trainer.train()
    assert trainer.state.global_step == 2


def test_training_leaves_no_warnings_from_transformers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        CrossEncoderTrainer(
            model=StubEncoder(),
            args=arguments(tmp_path, save_strategy="epoch"),
            train_dataset=rows(8),
        ).train()
    assert caplog.messages == []
