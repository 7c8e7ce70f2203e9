"""`fit`, `old_fit` and Sentence Transformers train alike."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from rankwright import CrossEncoder, ListNetLoss
from rankwright.errors import (
    ColumnError,
    InputError,
)
from rankwright.training import arguments, fit_loop
from tests.tiny import save_tiny
from tests.training.fit.fits import FITS, QUIET, SGD, STILL, assert_same, examples, moved, state


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


def test_a_loss_of_ours_and_mixed_precision(make: Callable[..., CrossEncoder]) -> None:
    model = make()
    before = state(model)
    with pytest.raises(ColumnError):  # that loss wants lists; it is handed on as it is
        model.fit(examples(4), loss_fct=ListNetLoss(model), **QUIET)
    for method in FITS:
        model = make()
        getattr(model, method)(examples(8), use_amp=True, **{**QUIET, **SGD})
        assert 1e-4 < moved(before, model) < 1


@pytest.mark.parametrize("native", [True, False])
def test_mixed_precision_only_where_the_processor_has_it(
    make: Callable[..., CrossEncoder],
    native: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    best = torch.bfloat16 if native else torch.float32
    for module in (arguments, fit_loop):
        monkeypatch.setattr(module, "resolve_precision", lambda precision, device: best)
    for method in FITS:
        model = make()
        seen = set()

        def loss(logits: torch.Tensor, labels: torch.Tensor, seen: set[torch.dtype] = seen) -> Any:
            seen.add(logits.dtype)
            return (logits.float() - labels).square().mean()

        caplog.clear()
        with caplog.at_level(logging.WARNING, "rankwright"):
            getattr(model, method)(examples(8), loss_fct=loss, use_amp=True, **QUIET)
        # The trainer hands losses float32, whatever it computes in.
        assert seen == {best if method == "old_fit" else torch.float32}
        assert ("use_amp=True" in caplog.text) is not native


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


def test_old_fit_takes_what_fit_takes(make: Callable[..., CrossEncoder]) -> None:
    assert inspect.signature(CrossEncoder.old_fit) == inspect.signature(CrossEncoder.fit)
    by_name, by_place = make(), make()
    torch.manual_seed(0)
    by_name.old_fit(examples(6), epochs=2, scheduler="constantlr", **QUIET | {"warmup_steps": 5})
    kept = [by_place, examples(6), None, 2, None, None, "constantlr", 5]
    torch.manual_seed(0)
    CrossEncoder.old_fit(*kept, show_progress_bar=False)
    assert_same(state(by_name), state(by_place))
    with pytest.raises(TypeError, match="no_such_option"):
        by_name.old_fit(examples(6), no_such_option=1)
