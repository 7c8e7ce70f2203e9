"""Collapse is named, and nothing else is."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import rankwright.losses as losses
from rankwright.training.guards import WINDOW, CollapseWatch

MODEL: Any = SimpleNamespace(num_labels=1)
GROUPS, SIZE = 8, 10

Draw = Callable[[int, Tensor, torch.Generator], Tensor]


def lists(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One relevant document in ten, at any place."""
    labels = torch.zeros(GROUPS, SIZE)
    labels[torch.arange(GROUPS), torch.randint(SIZE, (GROUPS,), generator=generator)] = 1.0
    return labels.flatten(), torch.full((GROUPS,), SIZE)


LOSSES = {
    "BinaryCrossEntropyLoss": lambda: losses.BinaryCrossEntropyLoss(MODEL),
    "weighted": lambda: losses.BinaryCrossEntropyLoss(MODEL, pos_weight=torch.tensor(9.0)),
    "GroupSoftmaxLoss": lambda: losses.GroupSoftmaxLoss(MODEL),
    "ListNetLoss": lambda: losses.ListNetLoss(MODEL),
    "MarginMSELoss": lambda: losses.MarginMSELoss(MODEL),
    "MSELoss": lambda: losses.MSELoss(MODEL),
    "RankNetLoss": lambda: losses.RankNetLoss(MODEL),
    "LambdaLoss": lambda: losses.LambdaLoss(MODEL),
    "NDCGLoss1": lambda: losses.LambdaLoss(MODEL, weighting_scheme=losses.NDCGLoss1Scheme()),
    "ListMLELoss": lambda: losses.ListMLELoss(MODEL, respect_input_order=False),
    "ADRMSELoss": lambda: losses.ADRMSELoss(MODEL),
}
ALONE = {"BinaryCrossEntropyLoss", "weighted", "MSELoss"}


def run(
    loss: Any,
    draw: Draw,
    *,
    steps: int = 512,
    max_steps: int = 512,
    action: str = "warn",
    norm: float = 1.0,
    grouped: bool = True,
    batch: Callable[[torch.Generator], tuple[Tensor, Tensor]] = lists,
    **options: Any,
) -> CollapseWatch:
    """Steps in which the model's scores are ``draw(step, labels, generator)``."""
    watch = CollapseWatch(action, **options)
    args = SimpleNamespace(get_warmup_steps=lambda steps: steps // 10)
    state, control = SimpleNamespace(global_step=0, max_steps=max_steps), SimpleNamespace(
        should_training_stop=False)  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    watch.on_train_begin(args, state, control)
    for step in range(steps):
        if watch.due:  # other steps are not looked at; leaving them out saves time
            labels, sizes = batch(generator)
            scores = draw(step, labels, generator)
            groups = sizes if grouped else None
            watch.saw_scores(loss, scores, labels, groups, loss.compute(scores, labels, groups))
        watch.saw_gradient(torch.tensor(norm))
        watch.step_done()
        state.global_step += 1
        watch.on_step_end(args, state, control)
        if control.should_training_stop:
            break
    watch.on_train_end(args, state, control)
    watch.stopped_at = state.global_step if control.should_training_stop else None  # type: ignore[attr-defined]
    return watch


def noise(scale: float) -> Draw:
    """What dropout makes of a model that has collapsed."""
    return lambda step, labels, generator: (
        -1.5 + scale * torch.randn(len(labels), generator=generator)
    )


def learning(step: int, labels: Tensor, generator: torch.Generator) -> Tensor:
    strength = min(3.0, step / 60)
    return strength * (labels - 0.5) + 0.3 * torch.randn(len(labels), generator=generator)


def weak(step: int, labels: Tensor, generator: torch.Generator) -> Tensor:
    """A little better than chance, as on noisy data."""
    return 0.25 * labels + 0.2 * torch.randn(len(labels), generator=generator)


def collapsing(step: int, labels: Tensor, generator: torch.Generator) -> Tensor:
    return (learning if step < 200 else noise(0.1))(step, labels, generator)


@pytest.mark.parametrize("draw", [learning, weak])
@pytest.mark.parametrize("name", LOSSES)
def test_no_alarm_where_something_is_learned(name: str, draw: Draw, caplog: Any) -> None:
    watch = run(LOSSES[name](), draw, grouped=name not in ALONE)
    assert watch.found == {}
    assert not caplog.records


@pytest.mark.parametrize("name", LOSSES)
def test_a_model_that_never_learns_is_named_once_and_late(name: str, caplog: Any) -> None:
    watch = run(LOSSES[name](), noise(0.1), grouped=name not in ALONE)
    assert list(watch.found) == ["nothing learned"]
    assert watch.found["nothing learned"] in range(4 * WINDOW, 512 + 1)
    assert len(caplog.records) == 1
    assert "has never left that of a model that scores every pair alike" in caplog.text
    assert "learning rate" in caplog.text


@pytest.mark.parametrize("name", LOSSES)
def test_a_collapse_after_learning_is_named(name: str, caplog: Any) -> None:
    watch = run(LOSSES[name](), collapsing, grouped=name not in ALONE)
    assert list(watch.found) == ["lost gain"]
    # It takes two windows, or a little longer by chance.
    assert 200 + WINDOW < watch.found["lost gain"] < 200 + 5 * WINDOW
    assert "the model has collapsed" in caplog.text


def test_the_levels_named_are_ln_n_and_ln_2(caplog: Any) -> None:
    run(losses.GroupSoftmaxLoss(MODEL), noise(1e-3))
    level = round(math.log(SIZE), 2)
    assert f"({level}" in caplog.text
    assert f"against {math.log(SIZE):.4f})" in caplog.text

    def balanced(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        labels = torch.tensor([0.0, 1.0]).repeat(20)
        return labels, torch.full((20,), 2)

    caplog.clear()
    run(losses.BinaryCrossEntropyLoss(MODEL), lambda s, labels, g: noise(0.01)(s, labels, g) + 1.5,
        grouped=False, batch=balanced)  # fmt: skip
    assert f"against {math.log(2):.4f})" in caplog.text


@pytest.mark.parametrize("value", [0.0, 3.0, -40.0])
@pytest.mark.parametrize("name", LOSSES)
def test_constant_scores_are_named_in_the_first_window(
    name: str, value: float, caplog: Any
) -> None:
    spread = 1e-6 * max(abs(value), 0.1)
    watch = run(
        LOSSES[name](),
        lambda step, labels, generator: value + spread * torch.randn(len(labels)),
        grouped=name not in ALONE,
    )
    assert watch.found["constant scores"] == WINDOW
    assert "all pairs get the same score" in caplog.text


def test_small_scores_in_an_order_are_not_constant(caplog: Any) -> None:
    run(losses.GroupSoftmaxLoss(MODEL), lambda step, labels, g: 1e-3 * learning(step, labels, g))
    assert not caplog.records


def test_batches_of_one_class_are_no_collapse(caplog: Any) -> None:
    """Rows sorted by label: a constant is the best there is for each batch."""
    kinds = iter(range(10_000))

    def sorted_rows(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        label = float(next(kinds) > 256)
        return torch.full((16,), label), torch.full((4,), 4)

    watch = run(losses.BinaryCrossEntropyLoss(MODEL), learning, grouped=False, batch=sorted_rows)
    assert watch.found == {}


def test_zero_gradient_is_named(caplog: Any) -> None:
    watch = run(losses.GroupSoftmaxLoss(MODEL), weak, norm=0.0)
    assert watch.found == {"no gradient": WINDOW}
    assert "the gradient is zero (norm 0.0e+00) in 64 steps on end" in caplog.text


def test_zero_gradient_without_a_loss_is_the_end_of_learning(caplog: Any) -> None:
    def perfect(step: int, labels: Tensor, generator: torch.Generator) -> Tensor:
        return learning(step, labels, generator) if step < 100 else 80 * labels

    watch = run(losses.GroupSoftmaxLoss(MODEL), perfect, norm=0.0, steps=90)
    assert list(watch.found) == ["no gradient"]
    caplog.clear()

    def later(step: int, labels: Tensor, generator: torch.Generator) -> Tensor:
        return 80 * labels

    watch = run(losses.GroupSoftmaxLoss(MODEL), later, norm=0.0)
    assert list(watch.found) == ["nothing to learn"]  # exactly zero from the first step on


def test_lists_with_nothing_to_tell_apart_are_named(caplog: Any) -> None:
    def blank(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return torch.zeros(12), torch.full((4,), 3)

    watch = run(losses.RankNetLoss(MODEL), weak_without_labels, norm=0.0, batch=blank)
    assert list(watch.found) == ["nothing to learn"]
    assert "Check the label column" in caplog.text


def weak_without_labels(step: int, labels: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(len(labels), generator=generator)


@pytest.mark.parametrize("steps", [1, 20, 63])
def test_short_runs_are_left_alone(steps: int, caplog: Any) -> None:
    run(losses.GroupSoftmaxLoss(MODEL), noise(0.1), steps=steps, max_steps=steps)
    assert not caplog.records


def test_a_run_of_some_length_is_judged_at_its_end(caplog: Any) -> None:
    watch = run(losses.GroupSoftmaxLoss(MODEL), noise(0.1), steps=70, max_steps=70)
    assert watch.found == {"nothing learned": 70}
    caplog.clear()
    run(losses.GroupSoftmaxLoss(MODEL), learning, steps=70, max_steps=70)
    assert not caplog.records


def test_stop_and_ignore(caplog: Any) -> None:
    watch = run(losses.GroupSoftmaxLoss(MODEL), collapsing, action="stop")
    assert watch.stopped_at == watch.found["lost gain"] < 512  # type: ignore[attr-defined]
    assert "on_collapse='stop'" in caplog.text
    caplog.clear()
    watch = run(losses.GroupSoftmaxLoss(MODEL), collapsing, action="ignore", norm=0.0)
    assert watch.found == {}
    assert watch.stopped_at is None  # type: ignore[attr-defined]
    assert not caplog.records


def test_several_labels_and_components(caplog: Any) -> None:
    loss = losses.CrossEntropyLoss(SimpleNamespace(num_labels=3))  # type: ignore[arg-type]

    def batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return torch.randint(3, (24,), generator=generator), torch.ones(24, dtype=torch.int64)

    def collapsed(step: int, labels: Tensor, generator: torch.Generator) -> Tensor:
        return 0.1 * torch.randn(len(labels), 3, generator=generator)

    def fine(step: int, labels: Tensor, generator: torch.Generator) -> Tensor:
        return collapsed(step, labels, generator) + torch.nn.functional.one_hot(labels, 3)

    assert list(run(loss, collapsed, grouped=False, batch=batch).found) == ["nothing learned"]
    assert run(loss, fine, grouped=False, batch=batch).found == {}

    class Components(losses.GroupSoftmaxLoss):
        def compute(self, *args: Any) -> Any:
            whole = super().compute(*args)
            return {"a": whole / 4, "b": whole * 3 / 4}

    assert list(run(Components(MODEL), collapsing).found) == ["lost gain"]


def test_several_processes_judge_alike() -> None:
    """The other process has half as many pairs and sees a gradient."""
    seen: list[tuple[str, list[float]]] = []

    def combine(tensor: Tensor, how: str) -> Tensor:
        seen.append((how, tensor.tolist()))
        return tensor * 2 if how == "sum" else torch.maximum(tensor, torch.tensor([0.0, 0.5]))

    watch = run(losses.GroupSoftmaxLoss(MODEL), noise(0.1), norm=0.0, combine=combine)
    assert list(watch.found) == ["nothing learned"]  # and not "no gradient"
    assert [how for how, _ in seen[:2]] == ["sum", "max"]
    assert len(seen) == 2 * 512 // WINDOW


def test_a_pair_alone_in_its_batch_tells_nothing(caplog: Any) -> None:
    def single(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return torch.ones(1), torch.ones(1, dtype=torch.int64)

    run(losses.BinaryCrossEntropyLoss(MODEL), noise(0.0), grouped=False, batch=single)
    assert not caplog.records


def test_nothing_waits_within_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are read off the device once per window."""
    reads = []
    for name in ("tolist", "item", "__bool__", "__float__", "__int__"):
        plain = getattr(Tensor, name)

        def watched(self: Tensor, *args: Any, _plain: Any = plain, _name: str = name) -> Any:
            reads.append(_name)
            return _plain(self, *args)

        monkeypatch.setattr(Tensor, name, watched)
    loss = losses.MSELoss(MODEL)
    watch = CollapseWatch()
    labels, scores = torch.rand(8), torch.rand(8)
    state = SimpleNamespace(global_step=0, max_steps=1000)
    args = SimpleNamespace(get_warmup_steps=lambda steps: 0)
    counts = []
    for step in range(2 * WINDOW):
        value = loss.compute(scores, labels, None)
        reads.clear()
        watch.saw_scores(loss, scores, labels, None, value)
        watch.saw_gradient(torch.tensor(1.0))
        watch.step_done()
        state.global_step = step + 1
        watch.on_step_end(args, state, SimpleNamespace())
        counts.append(len(reads))
    assert [i for i, count in enumerate(counts) if count] == [WINDOW - 1, 2 * WINDOW - 1]
    assert max(counts) <= 4
