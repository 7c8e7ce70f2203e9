"""transformers' TrainingArguments, one by one: each works here or is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers.trainer
from transformers import EarlyStoppingCallback, TrainerCallback

from rankwright import CrossEncoder, CrossEncoderTrainer, SequentialEvaluator
from rankwright.errors import InputError, TrainingError
from rankwright.training.checkpoints import MARKER
from tests.tiny import save_tiny
from tests.training.stub import StubEncoder, rows
from tests.training.test_trainer import arguments, weights


class Script:
    """An evaluator whose scores are known beforehand."""

    def __init__(self, values: list[float], metric: str = "dev_ndcg@10", greater: bool = True):
        self.values = list(values)
        self.primary_metric = metric
        self.greater_is_better = greater

    def __call__(self, model: Any, output_path: str, epoch: float, steps: int) -> dict[str, float]:
        return {self.primary_metric: self.values.pop(0), f"{self.primary_metric}_twin": 0.0}


def trainer_for(folder: Path, **options: Any) -> CrossEncoderTrainer:
    data = options.pop("data", None) or rows(12)
    parts = {name: options.pop(name) for name in ("evaluator", "callbacks") if name in options}
    held_out = options.pop("eval_dataset", None)
    options = {"evaluate_base": False} | options
    return CrossEncoderTrainer(
        model=StubEncoder(), args=arguments(folder, **options), train_dataset=data,
        eval_dataset=held_out, **parts,
    )  # fmt: skip


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


# --- evaluation and the best model -------------------------------------------------------------


def best_of(trainer: CrossEncoderTrainer) -> str:
    trainer.train()
    return Path(trainer.state.best_model_checkpoint).name


EVERY_STEP = {
    "max_steps": 3,
    "eval_strategy": "steps",
    "eval_steps": 1,
    "save_strategy": "steps",
    "save_steps": 1,
    "load_best_model_at_end": True,
}


@pytest.mark.parametrize(
    ("metric", "asked", "greater", "given", "expected"),
    [
        ("dev_ndcg@10", "eval_dev_ndcg@10", True, None, "checkpoint-2"),
        ("dev_ndcg@10", "dev_ndcg@10", True, None, "checkpoint-2"),
        ("org/data_map", "eval_org/data_map", True, None, "checkpoint-2"),
        ("dev_mse", "eval_dev_mse", True, None, "checkpoint-2"),  # the evaluator knows better
        ("dev_gap", "eval_dev_gap", False, None, "checkpoint-1"),
        ("dev_gap", "eval_dev_gap", False, True, "checkpoint-2"),  # the user knows best
    ],
)
def test_the_best_model_by_any_metric(
    tmp_path: Path, metric: str, asked: str, greater: bool, given: bool | None, expected: str
) -> None:
    judge = Script([0.1, 0.9, 0.5], metric, greater)
    trainer = trainer_for(
        tmp_path, evaluator=judge, metric_for_best_model=asked, greater_is_better=given,
        **EVERY_STEP,
    )  # fmt: skip
    assert best_of(trainer) == expected
    best = StubEncoder()
    from rankwright.training.weights import load_weights

    load_weights(best.model, trainer.state.best_model_checkpoint)
    for name, value in weights(best).items():
        assert torch.equal(trainer.model.model.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("metric", "expected"), [("dev_rmse", "checkpoint-1"), ("dev_twin", "checkpoint-2")]
)
def test_names_of_errors_are_better_lower(tmp_path: Path, metric: str, expected: str) -> None:
    scores = iter([0.1, 0.9, 0.5])
    trainer = trainer_for(
        tmp_path, evaluator=lambda *a, **k: {metric: next(scores)},
        metric_for_best_model=f"eval_{metric}", **EVERY_STEP,
    )  # fmt: skip
    assert best_of(trainer) == expected


def test_an_evaluator_inside_another_is_asked_too(tmp_path: Path) -> None:
    nested = SequentialEvaluator([Script([1, 1, 1]), Script([0.3, 0.1, 0.2], "b_gap", False)])
    trainer = trainer_for(
        tmp_path, evaluator=nested, metric_for_best_model="eval_b_gap", **EVERY_STEP
    )
    assert best_of(trainer) == "checkpoint-2"


def test_a_metric_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    trainer = trainer_for(
        tmp_path, evaluator=Script([0.1]), metric_for_best_model="eval_ndcg", **EVERY_STEP
    )
    with pytest.raises(KeyError, match="dev_ndcg@10"):
        trainer.train()


def test_save_strategy_best_saves_improvements_only(tmp_path: Path) -> None:
    trainer = trainer_for(
        tmp_path, evaluator=Script([0.1, 0.5, 0.4, 0.6]), max_steps=4, eval_strategy="steps",
        eval_steps=1, save_strategy="best", metric_for_best_model="eval_dev_ndcg@10",
    )  # fmt: skip
    trainer.train()
    saved = sorted(p.name for p in tmp_path.glob("checkpoint-*"))
    assert saved == ["checkpoint-1", "checkpoint-2", "checkpoint-4"]
    assert all((tmp_path / name / MARKER).is_file() for name in saved)


def test_early_stopping(tmp_path: Path) -> None:
    options = EVERY_STEP | {"max_steps": 6}
    trainer = trainer_for(
        tmp_path, evaluator=Script([0.1, 0.5, 0.4, 0.3, 0.9]),
        metric_for_best_model="eval_dev_ndcg@10",
        callbacks=[EarlyStoppingCallback(early_stopping_patience=2)], **options,
    )  # fmt: skip
    assert best_of(trainer) == "checkpoint-2"
    assert trainer.state.global_step == 4


def evaluated(trainer: CrossEncoderTrainer) -> list[int]:
    return [e["step"] for e in trainer.state.log_history if "eval_dev_ndcg@10" in e]


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"eval_strategy": "steps", "eval_steps": 2}, [2, 4]),
        ({"eval_strategy": "steps", "eval_steps": 0.25}, [1, 2, 3, 4]),
        ({"eval_strategy": "steps", "eval_steps": 1, "eval_delay": 3}, [3, 4]),
        ({"eval_strategy": "epoch"}, [3, 4]),
        ({"eval_on_start": True}, [0]),
        ({"eval_on_start": True, "evaluate_base": True}, [0]),
        ({"eval_strategy": "steps", "eval_steps": 4, "evaluate_base": True}, [0, 4]),
    ],
)
def test_when_evaluators_run(tmp_path: Path, options: dict[str, Any], steps: list[int]) -> None:
    trainer = trainer_for(tmp_path, evaluator=Script([0.5] * 9), max_steps=4, **options)
    trainer.train()
    assert evaluated(trainer) == steps


# --- saving ------------------------------------------------------------------------------------


def test_save_only_model_cannot_be_resumed_but_loaded(tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    trainer_for(tmp_path, save_only_model=True, **options).train()
    assert not (tmp_path / "checkpoint-2" / "optimizer.pt").exists()
    for resume in (True, tmp_path / "checkpoint-1"):
        with pytest.raises(TrainingError, match="save_only_model"):
            trainer_for(tmp_path, **options).train(resume_from_checkpoint=resume)


class FakeHub:
    """Keeps what is uploaded, as lists of file names."""

    def __init__(self) -> None:
        self.created: list[dict[str, Any]] = []
        self.uploads: list[tuple[str, set[str], str]] = []

    def create_repo(self, name: str, **options: Any) -> Any:
        self.created.append({"name": name, **options})
        return SimpleNamespace(repo_id=f"me/{name}", repo_url="https://hub/me")

    def upload_folder(self, folder_path: str, **options: Any) -> Any:
        ignored = options.get("ignore_patterns") or []
        files = {
            path.relative_to(folder_path).as_posix()
            for path in Path(folder_path).rglob("*")
            if path.is_file()
            and not any(path.relative_to(folder_path).match(f"{p}/*") for p in ignored)
        }
        self.uploads.append((options.get("path_in_repo", ""), files, options["commit_message"]))
        done: Future[Any] = Future()
        done.set_result(SimpleNamespace(commit_url="https://hub/me/commit"))
        return done if options.get("run_as_future") else done.result()

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


MODEL_FILES = {
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors",
    "modules.json",
    "rankwright.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.mark.parametrize("strategy", ["every_save", "checkpoint", "end"])
def test_push_to_hub_sends_the_whole_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    hub = FakeHub()
    monkeypatch.setattr(transformers.trainer, "hf_api", lambda: hub)
    args = arguments(
        tmp_path / "mine", push_to_hub=True, hub_strategy=strategy, hub_private_repo=True,
        hub_token="secret", max_steps=2, save_strategy="steps", save_steps=2,
    )  # fmt: skip
    trainer = CrossEncoderTrainer(
        model=CrossEncoder(save_tiny(tmp_path / "base")), args=args, train_dataset=rows(8)
    )
    trainer.train()
    assert hub.created[0]["private"] is True
    during = [upload for upload in hub.uploads if upload[2].startswith("Training in progress")]
    assert len(during) == {"every_save": 1, "checkpoint": 2, "end": 0}[strategy]
    for _, files, _ in during:
        assert files >= MODEL_FILES
    if strategy == "checkpoint":
        assert during[1][0] == "last-checkpoint"
        assert {"optimizer.pt", MARKER} <= during[1][1]
    trainer.push_to_hub()
    path, files, _ = hub.uploads[-1]
    assert path == ""
    assert MODEL_FILES | {"README.md"} <= files
    assert not any("optimizer" in name for name in files)
    pushed = CrossEncoder(tmp_path / "mine")
    assert pushed.contract == trainer.model.contract
    assert "secret" not in (tmp_path / "mine" / "README.md").read_text(encoding="utf-8")


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
