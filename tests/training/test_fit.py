"""`CrossEncoder.fit` and `old_fit`: programs from before there was a trainer."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from rankwright import CrossEncoder, InputExample, ListNetLoss
from rankwright.errors import (
    ColumnError,
    EmptyDataError,
    InputError,
    InputTypeError,
    LabelError,
    TrainingError,
)
from rankwright.evaluation import SentenceEvaluator
from rankwright.util import batch_to_device
from tests.tiny import save_tiny
from tests.training.stub import rows

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
FITS = ["fit", "old_fit"]
QUIET: dict[str, Any] = {"show_progress_bar": False, "warmup_steps": 0}
SGD: dict[str, Any] = {"optimizer_class": torch.optim.SGD, "optimizer_params": {"lr": 0.05}}


def examples(count: int = 20, classes: int = 0) -> list[InputExample]:
    return [
        InputExample(
            texts=[r["query"], r["document"]], label=i % classes if classes else r["label"]
        )
        for i, r in enumerate(rows(count))
    ]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., CrossEncoder]:
    def build(**options: Any) -> CrossEncoder:
        labels = options.pop("num_labels", 1)
        folder = tmp_path / f"base-{labels}"
        if not folder.exists():
            save_tiny(folder, num_labels=labels, **STILL)
        return CrossEncoder(str(folder), device="cpu", **options)

    return build


def state(model: CrossEncoder) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.model.state_dict().items()}


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], atol: float = 2e-6) -> None:
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, atol=atol, rtol=1e-4, msg=name)


def moved(before: dict[str, torch.Tensor], model: CrossEncoder) -> float:
    return max(float((v - before[n]).abs().max()) for n, v in state(model).items())


# --- the same result three ways -----------------------------------------------------------------


@pytest.mark.parametrize(
    "scheduler",
    [
        "constantlr",
        "WarmupConstant",
        "warmuplinear",
        "warmupcosine",
        "warmupcosinewithhardrestarts",
        lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5),
    ],
)
def test_fit_equals_old_fit(make: Callable[..., CrossEncoder], scheduler: Any) -> None:
    found = []
    for method in FITS:
        model = make()
        torch.manual_seed(7)
        # 22 examples: the last batch of an epoch is a short one.
        loader = DataLoader(examples(22), shuffle=True, batch_size=4)
        options = {**QUIET, **SGD, "scheduler": scheduler, "warmup_steps": 3, "epochs": 2}
        before = state(model)
        getattr(model, method)(loader, **options)
        assert moved(before, model) > 1e-3
        assert not model.training
        assert not model.model.training
        found.append(state(model))
    assert_same(*found)


def test_schedules_differ(make: Callable[..., CrossEncoder]) -> None:
    ends = []
    for scheduler in ("constantlr", "warmupconstant", "warmuplinear", "warmupcosine"):
        model = make()
        loader = DataLoader(examples(24), batch_size=4)
        model.fit(loader, **{**QUIET, **SGD, "scheduler": scheduler, "warmup_steps": 2})
        ends.append(float(model.model.classifier.weight.detach().double().sum()))
    assert len({round(end, 6) for end in ends}) == 4


@pytest.mark.parametrize(
    ("num_labels", "loss_fct"),
    [
        (1, nn.MSELoss()),
        (1, nn.BCEWithLogitsLoss(pos_weight=torch.tensor(4.0))),
        (1, lambda logits, labels: (logits - labels).abs().mean()),
        (3, None),
        (3, nn.CrossEntropyLoss(label_smoothing=0.1)),
    ],
)
def test_losses(make: Callable[..., CrossEncoder], num_labels: int, loss_fct: Any) -> None:
    found = []
    for method in FITS:
        model = make(num_labels=num_labels)
        loader = DataLoader(examples(16, classes=0 if num_labels == 1 else 3), batch_size=4)
        options = {**QUIET, **SGD, "loss_fct": loss_fct, "activation_fct": nn.Tanh()}
        getattr(model, method)(loader, **options)
        found.append(state(model))
    assert_same(*found)


def test_a_scheduler_object_brings_its_optimizer(make: Callable[..., CrossEncoder]) -> None:
    found = []
    for method in FITS:
        model = make()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        getattr(model, method)(DataLoader(examples(12), batch_size=4), scheduler=schedule, **QUIET)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05 * 0.5**3)
        found.append(state(model))
    assert_same(*found)
    other = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=0.1)
    with pytest.raises(InputError, match="none of this model's parameters"):
        make().fit(
            DataLoader(examples(4)),
            scheduler=torch.optim.lr_scheduler.ExponentialLR(other, 0.5),
            **QUIET,
        )
    with pytest.raises(InputError, match="ReduceLROnPlateau"):
        make().fit(
            DataLoader(examples(4)), scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau, **QUIET
        )


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("num_labels", [1, 3])
@pytest.mark.parametrize("scheduler", ["warmuplinear", "warmupcosine"])
def test_as_the_peer_trains(tmp_path: Path, num_labels: int, scheduler: str) -> None:
    peer = pytest.importorskip("sentence_transformers")
    folder = save_tiny(tmp_path / "base", num_labels=num_labels, **STILL)
    found = []
    for kind in (CrossEncoder, peer.CrossEncoder):
        model = kind(str(folder), device="cpu", num_labels=num_labels)
        data = [
            peer.InputExample(texts=e.texts, label=int(e.label))
            for e in examples(18, classes=0 if num_labels == 1 else 3)
        ]
        torch.manual_seed(3)
        loader = DataLoader(data, shuffle=True, batch_size=4, drop_last=True)
        options = {"scheduler": scheduler, "warmup_steps": 2, "epochs": 2, "weight_decay": 0.1}
        model.old_fit(loader, **{**QUIET, **SGD, **options})
        found.append({n: v.clone() for n, v in model.model.state_dict().items()})
    assert_same(found[0], {name: found[1][name] for name in found[0]}, atol=1e-6)


def test_adamw_is_the_default(make: Callable[..., CrossEncoder]) -> None:
    # One step of AdamW moves every weight with a gradient by the learning rate; the decay of 2e-5
    # x 0.01 is far below that.
    for method in FITS:
        model = make()
        before = state(model)
        getattr(model, method)(
            DataLoader(examples(8), batch_size=8), scheduler="constantlr", **QUIET
        )
        assert moved(before, model) == pytest.approx(2e-5, rel=0.1)


# --- batches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", FITS)
def test_the_dataloader_is_obeyed_and_left_alone(
    make: Callable[..., CrossEncoder], method: str
) -> None:
    model = make()
    data = examples(11)
    seen: list[torch.Tensor] = []

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append(labels.clone())
        return logits.sum() * 0.0 + labels.sum() * 0.0

    for i, example in enumerate(data):
        example.label = i / 100
    collate = list
    for options, sizes in (
        ({"batch_size": 4, "drop_last": True}, [4, 4]),
        ({"batch_size": 4}, [4, 4, 3]),
        ({"batch_sampler": [[0, 1], [5, 4, 3]]}, [2, 3]),
        ({"batch_size": 4, "num_workers": 1}, [4, 4, 3]),
    ):
        seen.clear()
        loader: Any = DataLoader(data, collate_fn=collate, **options)
        getattr(model, method)(loader, loss_fct=loss, **QUIET)
        assert [len(labels) for labels in seen] == sizes
        assert loader.collate_fn is collate
        order = [round(100 * x) for labels in seen for x in labels.tolist()]
        assert (
            order
            == ([0, 1, 5, 4, 3] if len(sizes) == 2 and sizes[0] == 2 else [*range(11)])[
                : sum(sizes)
            ]
        )
    seen.clear()
    torch.manual_seed(5)
    getattr(model, method)(DataLoader(data, shuffle=True), loss_fct=loss, epochs=2, **QUIET)
    order = [round(100 * float(labels)) for labels in seen]
    torch.manual_seed(5)
    expected = [
        round(100 * example.label)
        for _ in range(2)
        for (example,) in DataLoader(data, shuffle=True, collate_fn=list)
    ]
    assert order == expected
    assert order[:11] != order[11:]


@pytest.mark.parametrize("method", FITS)
def test_labels_that_are_all_zero_are_labels(
    make: Callable[..., CrossEncoder], method: str
) -> None:
    model = make()
    data = examples(8)
    for example in data:
        example.label = 0
    pairs = [(e.texts or [])[:2] for e in data]
    before = model.predict(pairs).mean()
    getattr(model, method)(DataLoader(data, batch_size=4), epochs=3, **{**QUIET, **SGD})
    assert model.predict(pairs).mean() < before


@pytest.mark.parametrize("method", FITS)
def test_plain_lists(make: Callable[..., CrossEncoder], tmp_path: Path, method: str) -> None:
    # As programs of users do: lists of tuples instead of dataloader and evaluator.
    model = make()
    data = [(e.texts[0], e.texts[1], e.label) for e in examples(20) if e.texts]
    scores: list[tuple[float, int, int]] = []
    getattr(model, method)(
        train_dataloader=data,
        evaluator=data,
        epochs=2,
        output_path=str(tmp_path / "out"),
        callback=lambda *given: scores.append(given),
        show_progress_bar=False,
    )
    assert [(epoch, steps) for _, epoch, steps in scores] == [(0, -1), (1, -1)]
    assert all(0 <= score <= 1 for score, _, _ in scores)
    assert CrossEncoder(str(tmp_path / "out")).predict([("a", "b")]).shape == (1,)
    assert list((tmp_path / "out").glob("CrossEncoderClassificationEvaluator*.csv"))
    graded = [(q, d, i / 20) for i, (q, d, _) in enumerate(data)]
    getattr(model, method)(graded, evaluator=graded, output_path=str(tmp_path / "b"), **QUIET)
    assert list((tmp_path / "b").glob("CrossEncoderCorrelationEvaluator*.csv"))
    getattr(model, method)(
        [{"query": q, "answer": d, "label": label} for q, d, label in data], evaluator=[], **QUIET
    )


# --- evaluation and saving ----------------------------------------------------------------------


class Scripted(SentenceEvaluator):
    """Gives one prepared score after the other, and leaves the model in evaluation mode."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = iter(scores)
        self.calls: list[tuple[Any, int, int]] = []
        self.states: list[dict[str, torch.Tensor]] = []

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> Any:
        self.calls.append((output_path, epoch, steps))
        self.states.append(state(model))
        model.model.eval()
        return next(self.scores)


@pytest.mark.parametrize("method", FITS)
def test_evaluations_callback_and_best_model(
    make: Callable[..., CrossEncoder], tmp_path: Path, method: str
) -> None:
    model = make()
    evaluator = Scripted([0.1, 0.9, 0.3, 0.8, 0.2, float("nan")])
    told: list[tuple[float, int, int]] = []
    training: list[bool] = []
    forward = model.model.forward
    model.model.forward = lambda *a, **k: training.append(model.model.training) or forward(*a, **k)
    getattr(model, method)(
        DataLoader(examples(20), batch_size=4),
        evaluator=evaluator,
        epochs=2,
        evaluation_steps=2,
        output_path=str(tmp_path / "out"),
        callback=lambda *given: told.append(given),
        **{**QUIET, **SGD},
    )
    del model.model.forward
    path = str(tmp_path / "out")
    when = [(0, 2), (0, 4), (0, -1), (1, 2), (1, 4), (1, -1)]
    assert evaluator.calls == [(path, *moment) for moment in when]
    assert [(epoch, steps) for _, epoch, steps in told] == when
    assert [score for score, _, _ in told][:5] == [0.1, 0.9, 0.3, 0.8, 0.2]
    assert all(training)
    assert model.best_score == 0.9
    assert_same(state(CrossEncoder(path, device="cpu")), evaluator.states[1], atol=0)
    assert "# " in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("method", FITS)
def test_lower_can_be_better(
    make: Callable[..., CrossEncoder], tmp_path: Path, method: str
) -> None:
    evaluator = Scripted([0.5, 0.2, 0.4])
    evaluator.greater_is_better = False
    model = make()
    getattr(model, method)(
        DataLoader(examples(4), batch_size=4), evaluator, 3, output_path=str(tmp_path / "out"),
        **{**QUIET, **SGD},
    )  # fmt: skip
    assert model.best_score == 0.2
    assert_same(state(CrossEncoder(str(tmp_path / "out"))), evaluator.states[1], atol=0)


@pytest.mark.parametrize("method", FITS)
@pytest.mark.parametrize("with_evaluator", [False, True])
def test_the_last_model_is_saved_where_no_best_is_kept(
    make: Callable[..., CrossEncoder], tmp_path: Path, method: str, with_evaluator: bool
) -> None:
    model = make()
    getattr(model, method)(
        DataLoader(examples(8), batch_size=4),
        Scripted([0.9, 0.1]) if with_evaluator else None,
        2,
        save_best_model=False,
        output_path=str(tmp_path / "out"),
        **{**QUIET, **SGD},
    )
    assert_same(state(CrossEncoder(str(tmp_path / "out"))), state(model), atol=0)
    if method == "fit":
        card = (tmp_path / "out" / "README.md").read_text()
        assert "BinaryCrossEntropyLoss" in card


class MeanSquaredError(SentenceEvaluator):
    """What users' evaluators look like: they call the transformers model themselves."""

    def __init__(self, dataloader: Any) -> None:
        super().__init__()
        self.dataloader = dataloader

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> float:
        model.model.eval()
        self.dataloader.collate_fn = model.smart_batching_collate
        losses = []
        for features, labels in self.dataloader:
            features = batch_to_device(features, model.device)
            with torch.no_grad():
                logits = torch.sigmoid(model.model(**features, return_dict=True).logits)
            if model.config.num_labels == 1:
                logits = logits.view(-1)
            losses.append(nn.functional.mse_loss(logits, labels).item())
        if output_path is not None:
            path = os.path.join(output_path, "mse.csv")
            with open(path, "a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow([epoch, steps, np.mean(losses)])
        return float(np.mean(losses))


@pytest.mark.parametrize("method", FITS)
def test_an_evaluator_that_calls_the_inner_model(
    make: Callable[..., CrossEncoder], tmp_path: Path, method: str
) -> None:
    model = make()
    evaluator = MeanSquaredError(DataLoader(examples(8), batch_size=4))
    evaluator.greater_is_better = False
    getattr(model, method)(
        DataLoader(examples(8), batch_size=4), evaluator, epochs=3,
        output_path=str(tmp_path / "out"), **{**QUIET, **SGD},
    )  # fmt: skip
    with open(tmp_path / "out" / "mse.csv", encoding="utf-8") as file:
        found = [float(row[2]) for row in csv.reader(file)]
    assert found[-1] < found[0]
    best = CrossEncoder(str(tmp_path / "out"), device="cpu")
    assert evaluator(best) == pytest.approx(min(found), abs=1e-6)


# --- collating ----------------------------------------------------------------------------------


@pytest.mark.parametrize("num_labels", [1, 3])
def test_collated_batches_score_as_predict_does(
    make: Callable[..., CrossEncoder], num_labels: int
) -> None:
    model = make(
        num_labels=num_labels,
        max_length=16,
        prompts={"ask": "query how "},
        default_prompt_name="ask",
        activation_fn="identity",
    )
    batch = [
        InputExample(texts=[f"  {e.texts[0]} ", e.texts[1]], label=1)
        for e in examples(6)
        if e.texts
    ]
    features, labels = model.smart_batching_collate(batch)
    assert labels.tolist() == [1] * 6
    assert labels.dtype == (torch.float32 if num_labels == 1 else torch.int64)
    assert features["input_ids"].shape[1] <= 16
    with torch.no_grad():
        logits = model.model(**features, return_dict=True).logits
    expected = model.predict([((e.texts or [])[0].strip(), (e.texts or [])[1]) for e in batch])
    np.testing.assert_allclose(logits.squeeze(-1).numpy(), expected, atol=1e-5)
    texts_only = model.smart_batching_collate_text_only([e.texts or [] for e in batch])
    torch.testing.assert_close(dict(texts_only), dict(features))
    single = model.smart_batching_collate_text_only([["sort"], ["a list of files"]])
    assert single["attention_mask"].sum(1).tolist()[0] < single["attention_mask"].shape[1]
    with pytest.raises(ColumnError, match=r"items of \[1, 2\] texts"):
        model.smart_batching_collate_text_only([["a"], ["a", "b"]])


def test_language_models_need_more_than_padding(make: Callable[..., CrossEncoder]) -> None:
    model = make()
    model._tokens = object()  # type: ignore[assignment]
    with pytest.raises(InputError, match="language model"):
        model.smart_batching_collate(examples(2))


def test_batch_to_device() -> None:
    batch = {"x": torch.zeros(2), "names": ["a"]}
    assert batch_to_device(batch, "meta") is batch
    assert batch["x"].device.type == "meta"  # type: ignore[attr-defined]
    assert batch["names"] == ["a"]


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", FITS)
@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        ([], {}, EmptyDataError, "empty list"),
        ([InputExample(texts=["a", "b", "c"])], {}, ColumnError, "two texts"),
        ([InputExample(texts=["a", 3])], {}, ColumnError, "two texts"),  # type: ignore[list-item]
        ([InputExample()], {}, ColumnError, "two texts"),
        ([{"query": "a", "document": "b"}], {}, LabelError, "no label"),
        (["text"], {}, InputTypeError, "InputExample"),
        (3, {}, InputError, "DataLoader"),
        (DataLoader(range(2), batch_size=None), {}, InputError, "batch_size=None"),  # type: ignore[arg-type]
        (DataLoader(range(2), batch_size=4, drop_last=True), {}, EmptyDataError, "no batches"),  # type: ignore[arg-type]
        ([("a", "b", 1)], {"scheduler": "cyclic"}, InputError, "'warmuplinear'"),
        (
            [("a", "b", 1)],
            {"loss_fct": lambda x, y: x.sum() * float("nan")},
            TrainingError,
            "loss is nan",
        ),
    ],
)
def test_refused(
    make: Callable[..., CrossEncoder],
    method: str,
    data: Any,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        getattr(make(), method)(data, **{**QUIET, **options})


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(examples(4))


def test_more_that_is_refused(make: Callable[..., CrossEncoder], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no length"):
        make().fit(DataLoader(Stream(), batch_size=2), **QUIET)
    with pytest.raises(LabelError, match="from 0 to 1"):
        make().fit([("a", "b", 3.5)], **QUIET)
    model = make()
    model.activation_fn = lambda x: x
    with pytest.raises(InputError):
        model.fit([("a", "b", 1)], output_path=str(tmp_path / "out"), **QUIET)
    assert not (tmp_path / "out").exists()


def test_a_loss_of_ours_and_mixed_precision(make: Callable[..., CrossEncoder]) -> None:
    model = make()
    before = state(model)
    with pytest.raises(ColumnError):  # that loss wants lists; it is handed on as it is
        model.fit(examples(4), loss_fct=ListNetLoss(model), **QUIET)
    for method in FITS:
        model = make()
        getattr(model, method)(examples(8), use_amp=True, **{**QUIET, **SGD})
        assert 1e-4 < moved(before, model) < 1


def test_nothing_is_left_behind(
    make: Callable[..., CrossEncoder],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for method in FITS:
        getattr(make(), method)(examples(4), **QUIET)
    assert list(here.iterdir()) == []
    assert capsys.readouterr().out == ""
