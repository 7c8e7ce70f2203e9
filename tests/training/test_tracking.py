"""`report_to`: TensorBoard and CodeCarbon as they are, the others as fakes that record."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from torch.utils.data import BatchSampler, SequentialSampler
from transformers.integrations import integration_utils

from rankwright import CrossEncoder, CrossEncoderTrainer
from tests.tiny import save_tiny
from tests.training.runs import arguments
from tests.training.stub import StubEncoder, rows


def in_order(dataset: Any, batch_size: int, drop_last: bool, **_: Any) -> BatchSampler:
    """A function among the arguments, which no tracker may stumble over."""
    return BatchSampler(SequentialSampler(dataset), batch_size, drop_last)


def judge(model: Any, output_path: str, epoch: float, steps: int) -> dict[str, float]:
    return {"dev_ndcg@10": 0.25 + steps}


def train(folder: Path, report_to: Any, model: Any = None, **options: Any) -> CrossEncoderTrainer:
    args = arguments(
        folder, report_to=report_to, logging_steps=1, max_steps=3, eval_strategy="steps",
        eval_steps=3, batch_sampler=in_order, learning_rate_mapping={"classifier": 1e-2},
        run_name="first run",
    )  # fmt: skip
    trainer = CrossEncoderTrainer(
        model=model or StubEncoder(), args=args, train_dataset=rows(12), evaluator=judge, **options
    )
    trainer.train()
    return trainer


# protobuf's own C extension, on some versions of Python.
@pytest.mark.filterwarnings("ignore:Type google:DeprecationWarning")
def test_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = train(tmp_path, "tensorboard")
    (folder,) = {path.parent for path in tmp_path.rglob("events.out.tfevents.*")}
    events = EventAccumulator(str(folder)).Reload()
    losses = {e.step: e.value for e in events.Scalars("train/loss")}
    logged = {e["step"]: e["loss"] for e in trainer.state.log_history if "loss" in e}
    assert losses == pytest.approx(logged)
    assert sorted(losses) == [1, 2, 3]
    score = events.Scalars("eval/dev_ndcg@10")[-1]
    assert (score.step, score.value) == (3, 3.25)
    assert "args/text_summary" in events.Tags()["tensors"]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """CodeCarbon without the network, by which it would ask where it is."""
    codecarbon = pytest.importorskip("codecarbon")

    def tracker(**options: Any) -> Any:
        return codecarbon.OfflineEmissionsTracker(
            country_iso_code="FRA", log_level="critical", allow_multiple_runs=True,
            force_cpu_power=50, force_ram_power=5, tracking_mode="process", **options,
        )  # fmt: skip

    monkeypatch.setattr(codecarbon, "EmissionsTracker", tracker)


@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:codecarbon")
@pytest.mark.filterwarnings("ignore::FutureWarning:codecarbon")
def test_codecarbon_reaches_the_model_card(tmp_path: Path) -> None:
    model = CrossEncoder(save_tiny(tmp_path / "base"))
    train(tmp_path / "run", "codecarbon", model=model)
    found = model.model_card_data.emissions
    assert found is not None
    assert found.emissions > 0
    assert found.energy is not None
    assert found.energy > found.emissions  # France: far less than 1 kg per kWh
    assert found.hours is not None
    assert 0 < found.hours < 1
    assert (tmp_path / "run" / "emissions.csv").is_file()
    assert "co2_eq_emissions" in model.model_card()


def test_no_emissions_without_a_measurement(tmp_path: Path) -> None:
    model = CrossEncoder(save_tiny(tmp_path / "base"))
    train(tmp_path / "run", "none", model=model)
    assert model.model_card_data.emissions is None


def fake_wandb() -> tuple[ModuleType, SimpleNamespace]:
    seen = SimpleNamespace(config={}, logs=[], summary={}, started={})
    module: Any = ModuleType("wandb")

    class Config(dict[str, Any]):
        def update(self, values: dict[str, Any], **_: Any) -> None:  # type: ignore[override]
            seen.config.update(values)

    def init(**options: Any) -> None:
        seen.started.update(options)
        module.run = SimpleNamespace(summary=seen.summary, _label=lambda **_: None, id="1")

    module.run, module.config, module.init = None, Config(), init
    module.log = seen.logs.append
    module.define_metric = lambda *a, **k: None
    module.finish = lambda: None
    module.termwarn = lambda *a, **k: None
    return module, seen


def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, seen = fake_wandb()
    errors: Any = ModuleType("wandb.sdk.lib.config_util")
    errors.ConfigError = KeyError
    for name in ("wandb", "wandb.sdk", "wandb.sdk.lib"):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "wandb.sdk.lib.config_util", errors)
    monkeypatch.setattr(integration_utils, "is_wandb_available", lambda: True)
    train(tmp_path, "wandb")
    assert seen.started["name"] == "first run"
    assert seen.config["learning_rate"] == 1e-3
    assert seen.config["hidden_size"] == 32
    losses = [entry["train/loss"] for entry in seen.logs if "train/loss" in entry]
    assert len(losses) == 3
    assert any(entry.get("eval/dev_ndcg@10") == 3.25 for entry in seen.logs)
    assert "train_runtime" in seen.summary


def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, seen = fake_wandb()
    loose: Any = module
    loose.context_vars = SimpleNamespace(current_space_id=SimpleNamespace(get=lambda: None))
    monkeypatch.setitem(sys.modules, "trackio", module)
    monkeypatch.setattr(integration_utils, "is_trackio_available", lambda: True)
    train(tmp_path, "trackio")
    assert seen.started["name"] == "first run"
    assert seen.config["learning_rate"] == 1e-3
    assert len([entry for entry in seen.logs if "train/loss" in entry]) == 3
    assert any(entry.get("eval/dev_ndcg@10") == 3.25 for entry in seen.logs)


def test_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parameters: dict[str, Any] = {}
    logs: list[tuple[int, dict[str, float]]] = []
    runs: list[str | None] = []
    module: Any = ModuleType("mlflow")
    module.__version__ = "3.17.2"
    module.is_tracking_uri_set = lambda: True
    module.get_tracking_uri = lambda: "file:somewhere"
    info = SimpleNamespace(info=SimpleNamespace(run_id="1"))
    module.active_run = lambda: info if len(runs) == 1 else None
    module.start_run = lambda run_name, nested: runs.append(run_name)
    module.end_run = lambda: runs.append(None)
    module.set_experiment = lambda name: None
    module.log_params = lambda values, synchronous: parameters.update(values)
    module.log_metrics = lambda metrics, step, synchronous: logs.append((step, metrics))
    module.utils = SimpleNamespace()
    validation: Any = ModuleType("mlflow.utils.validation")
    validation.MAX_PARAMS_TAGS_PER_BATCH, validation.MAX_PARAM_VAL_LENGTH = 100, 500
    for name, value in {"mlflow": module, "mlflow.utils": module.utils}.items():
        monkeypatch.setitem(sys.modules, name, value)
    monkeypatch.setitem(sys.modules, "mlflow.utils.validation", validation)
    module.utils.validation = validation
    monkeypatch.setattr(integration_utils, "is_mlflow_available", lambda: True)
    with caplog.at_level(logging.ERROR):
        train(tmp_path, "mlflow")
    assert runs == ["first run", None]
    assert parameters["learning_rate"] == 1e-3
    assert len([step for step, metrics in logs if "loss" in metrics]) == 3
    assert any(metrics.get("eval_dev_ndcg_10") == 3.25 for _, metrics in logs)
