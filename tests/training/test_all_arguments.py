"""transformers' TrainingArguments, one by one: each works here or is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import EarlyStoppingCallback, TrainerCallback

from rankwright import CrossEncoderTrainer
from rankwright.errors import InputError
from tests.training.runs import arguments, weights
from tests.training.scripted import EVERY_STEP, Script, trainer_for
from tests.training.stub import StubEncoder, rows

# --- refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label_smoothing_factor": 0.1}, "CrossEntropyLoss"),
        ({"neftune_noise_alpha": 5.0}, "hidden_dropout_prob"),
        ({"torch_compile": True}, "compiled anew"),
        ({"torch_compile_mode": "default"}, "compiled anew"),
        ({"use_liger_kernel": True}, "language models"),
        ({"bf16_full_eval": True}, "round the weights"),
        ({"fp16_full_eval": True}, "round the weights"),
        ({"batch_eval_metrics": True}, "evaluators"),
        ({"include_for_metrics": ["inputs"]}, "evaluators"),
        ({"label_names": ["label"]}, "Rename the column"),
        ({"deepspeed": {"zero_optimization": {"stage": 2}}}, "torchrun"),
        ({"fsdp": "shard_grad_op"}, "full_shard"),
    ],
)
def test_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        arguments(tmp_path, **options)


def test_split_batches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="split_batches"):
        trainer_for(tmp_path, accelerator_config={"split_batches": True})


# --- optimisation ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adamw_torch", "AdamW"),
        ("adamw_torch_fused", "AdamW"),
        ("sgd", "SGD"),
        ("adafactor", "Adafactor"),
        ("adagrad", "Adagrad"),
        ("rmsprop", "RMSprop"),
    ],
)
def test_optimizers_by_name_with_rates_by_name(tmp_path: Path, name: str, kind: str) -> None:
    trainer = trainer_for(
        tmp_path, optim=name, learning_rate=1e-3, lr_scheduler_type="constant",
        learning_rate_mapping={"classifier": 0.0}, weight_decay=0.0,
    )  # fmt: skip
    before = weights(trainer.model)
    trainer.train()
    assert type(trainer.optimizer.optimizer).__name__ == kind
    after = weights(trainer.model)
    moved = {n for n in before if not torch.equal(before[n], after[n])}
    assert "bert.pooler.dense.weight" in moved
    assert not any("classifier" in n for n in moved)


def linear(step: int) -> float:
    return step / 2 if step < 2 else (8 - step) / 6


def cosine(step: int) -> float:
    return step / 2 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / 6))


SCHEDULES: list[tuple[str, Callable[[int], float], dict[str, Any]]] = [
    ("linear", linear, {}),
    ("cosine", cosine, {}),
    ("constant", lambda step: 1.0, {}),
    ("constant_with_warmup", lambda step: min(1.0, step / 2), {}),
    ("inverse_sqrt", lambda step: step / 2 if step < 2 else math.sqrt(2 / step), {}),
    (
        "cosine_with_min_lr",
        lambda s: s / 2 if s < 2 else 0.1 + 0.9 * cosine(s),
        {"min_lr_rate": 0.1},
    ),
]


@pytest.mark.parametrize(("name", "shape", "options"), SCHEDULES, ids=[s[0] for s in SCHEDULES])
def test_schedules(
    tmp_path: Path, name: str, shape: Callable[[int], float], options: dict[str, Any]
) -> None:
    trainer = trainer_for(
        tmp_path, max_steps=8, warmup_steps=2, lr_scheduler_type=name, logging_steps=1,
        lr_scheduler_kwargs=({"timescale": 2} if name == "inverse_sqrt" else {}) | options,
    )  # fmt: skip
    trainer.train()
    rates = [e["learning_rate"] for e in trainer.state.log_history if "learning_rate" in e]
    assert rates == pytest.approx([1e-3 * shape(step) for step in range(8)])


def test_max_grad_norm(tmp_path: Path) -> None:
    trainer = trainer_for(
        tmp_path, optim="sgd", max_steps=1, max_grad_norm=0.01, learning_rate=0.5, logging_steps=1
    )
    before = weights(trainer.model)
    trainer.train()
    after = weights(trainer.model)
    step = math.sqrt(sum(float(((after[n] - v) ** 2).sum()) for n, v in before.items()))
    assert step == pytest.approx(0.5 * 0.01, rel=1e-3)
    assert trainer.state.log_history[0]["grad_norm"] > 0.01


class Hungry(StubEncoder):
    """Runs out of memory with more than two pairs at a time."""

    seen: list[int]

    def forward(self, batch: Any) -> Any:
        self.seen = [*getattr(self, "seen", []), batch.num_pairs]
        if batch.num_pairs > 2 and self.training:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return super().forward(batch)


def test_auto_find_batch_size(tmp_path: Path) -> None:
    model = Hungry()
    args = arguments(tmp_path, per_device_train_batch_size=3, auto_find_batch_size=True)
    trainer = CrossEncoderTrainer(model=model, args=args, train_dataset=rows(12))
    trainer.train()
    assert model.seen[0] == 3
    assert model.seen[-6:] == [2] * 6
    assert trainer.state.global_step == 6


# --- data order, logging and the rest ----------------------------------------------------------


def order_of(folder: Path, **options: Any) -> list[int]:
    seen: list[int] = []

    class Looking(CrossEncoderTrainer):
        def training_step(self, model: Any, inputs: Any, *args: Any) -> Any:
            seen.append(int(inputs["lengths"].sum()))
            return super().training_step(model, inputs, *args)

    made = arguments(folder, **options)
    Looking(model=StubEncoder(), args=made, train_dataset=rows(14)).train()
    return seen


def test_seeds_and_incomplete_batches(tmp_path: Path) -> None:
    first = order_of(tmp_path, seed=1)
    assert len(first) == 4
    assert order_of(tmp_path, seed=1) == first
    assert order_of(tmp_path, seed=2) != first
    assert order_of(tmp_path, seed=2, data_seed=1) == first
    assert len(order_of(tmp_path, dataloader_drop_last=True)) == 3
    # Ordered by length, batches are longest first within a window; in order they are as given.
    assert order_of(tmp_path, train_sampling_strategy="sequential") != first


def test_workers_may_finish_in_any_order(tmp_path: Path) -> None:
    options = {"dataloader_num_workers": 2, "train_sampling_strategy": "sequential"}
    expected = order_of(tmp_path, **options)
    assert sorted(order_of(tmp_path, dataloader_in_order=False, **options)) == sorted(expected)


def test_logging(tmp_path: Path) -> None:
    trainer = trainer_for(
        tmp_path, num_train_epochs=2, logging_strategy="epoch", logging_first_step=True,
        include_num_input_tokens_seen="all",
    )  # fmt: skip
    trainer.train()
    steps = [e["step"] for e in trainer.state.log_history if "loss" in e]
    assert steps == [1, 3, 6]
    data = rows(12)
    pairs = [(row["query"], row["document"]) for row in data]
    tokens = int(trainer.model.pair_tokenizer.encode(pairs, 48).lengths.sum())
    assert trainer.state.num_input_tokens_seen == 2 * tokens


def test_full_determinism_and_debugging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "unset")  # put back afterwards
    try:
        found = []
        for name in ("a", "b"):
            trainer = trainer_for(
                tmp_path / name, full_determinism=True, debug="underflow_overflow",
                torch_empty_cache_steps=1, skip_memory_metrics=True,
            )  # fmt: skip
            trainer.train()
            found.append(weights(trainer.model))
        assert all(torch.equal(found[0][n], found[1][n]) for n in found[0])
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False


def test_callback_states_come_back(tmp_path: Path) -> None:
    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = state.global_step == 3

    options: dict[str, Any] = EVERY_STEP | {
        "max_steps": 6, "metric_for_best_model": "eval_dev_ndcg@10",
        "restore_callback_states_from_checkpoint": True,
    }  # fmt: skip
    patient = EarlyStoppingCallback(early_stopping_patience=3)
    trainer_for(
        tmp_path, evaluator=Script([0.5, 0.4, 0.3]), callbacks=[patient, Stop()], **options
    ).train()
    state = json.loads((tmp_path / "checkpoint-3" / "trainer_state.json").read_text())
    kept = state["stateful_callbacks"]["EarlyStoppingCallback"]
    assert kept["attributes"]["early_stopping_patience_counter"] == 2
    again = trainer_for(
        tmp_path, evaluator=Script([0.2, 0.9, 0.9]),
        callbacks=[EarlyStoppingCallback(early_stopping_patience=3)], **options,
    )  # fmt: skip
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 4
