"""Notices while training runs that a model has collapsed, and says what to do.

A cross-encoder that is trained at too high a rate can end up giving every pair the same score. The
loss then stays at the value of a model that knows nothing (ln n for a softmax over n documents,
ln 2 for binary labels that are balanced), training runs on to its end, and the result is worthless.

How it is noticed: on every fourth training step the loss, and its gradient g by the scores, are
also computed where all pairs have their average score m; the loss there is that of knowing nothing.
Where scores s deviate from m in a direction that lowers the loss, ``-g * (s - m)`` is positive. Its
sum over a step is the *gain*: for binary cross-entropy, say, it is the covariance of scores and
labels. Noise, which dropout brings, adds nothing to it on average, so the mean gain over a window
divided by its standard error is a t statistic of "the scores tell something": one rule for all
losses, whatever their size, their group sizes and the balance of their labels.

The figures stay on the device until a window is full, so training waits for them once in 64 steps.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from rankwright.losses.base import Loss

__all__ = ["CollapseWatch", "Window", "combiner", "is_first_process"]

logger = logging.getLogger(__name__)

EVERY = 4
"""Steps from one sample to the next."""
WINDOW = 64
"""Steps of a window: 16 samples."""
FLAT = 1e-4
"""Scores are constant if their standard deviation is below this share of their mean, or below
this share of 0.1 if the mean is smaller, in every sample of a window."""
NO_GAIN = 2.0
"""t below which the scores of a window tell no more than constant ones."""
SURE_GAIN = 5.0
"""t from which on they certainly tell something."""
NEAR = 0.99
"""The loss counts as that of knowing nothing from this share of it on; below, t is not asked."""
LOST = 0.1
"""What is left of the best sure gain, at most, when it counts as lost, in two windows on end."""
PATIENCE_SHARE = 0.3
"""Share of all steps after which nothing learned is worth a warning: at least four windows, and the
end of the warm-up."""
ZERO_GRADIENT = 1e-8
"""Norm below which a gradient is zero."""

_HELP = {
    "constant scores": (
        "all pairs get the same score (spread {flat:.1e} of their size) in {steps} steps on end: "
        "the model has collapsed. Lower the learning rate (by a factor of 3 to 10), lengthen the "
        "warm-up, and start again from the base or from a checkpoint before it."
    ),
    "lost gain": (
        "the loss is back at that of a model that scores every pair alike ({loss:.4f} against "
        "{chance:.4f}), after it had been clearly below: the model has collapsed. Lower the "
        "learning rate, lengthen the warm-up, and start again from a checkpoint before it."
    ),
    "nothing learned": (
        "the loss has never left that of a model that scores every pair alike ({loss:.4f} against "
        "{chance:.4f}). If the learning rate is high (above 1e-4 for a base model), lower it by a "
        "factor of 10; if it is very low, raise it; and check that labels belong to their texts."
    ),
    "no gradient": (
        "the gradient is zero (norm {gradient:.1e}) in {steps} steps on end, though the loss is "
        "{loss:.4f}: nothing is learned any more. Look for an activation that is saturated, frozen "
        "layers, or scores that have grown too large; lower the learning rate."
    ),
    "nothing to learn": (
        "loss and gradient are zero since the first step: no query has documents that differ in "
        "their labels. Check the label column, and that every list has positives and negatives."
    ),
}


@dataclass(frozen=True)
class Window:
    """Figures of one window, over all processes.

    Attributes:
        loss: Mean loss.
        chance: Mean loss of constant scores.
        flat: Largest standard deviation of the scores of a sample, as a share of their size.
        gradient: Largest norm of the gradient; infinite where it is not known.
        gain: Mean gain of the samples that have labels to tell apart; None without such.
        error: Standard error of that mean.
    """

    loss: float
    chance: float
    flat: float
    gradient: float
    gain: float | None
    error: float

    @property
    def t(self) -> float:
        """Gain per standard error; NaN where there is no gain to speak of."""
        return math.nan if self.gain is None else _pooled([self])[1]


class CollapseWatch(TrainerCallback):
    """Collects figures of the training steps and judges them, window by window.

    Args:
        action: ``"warn"``, ``"stop"`` (a warning, then training ends as if all steps were done) or
            ``"ignore"``.
        combine: With several processes, what makes the elementwise ``"sum"`` or ``"max"`` of all
            their tensors: ``combine(tensor, how)``; every process then judges alike.
    """

    def __init__(
        self, action: str = "warn", combine: Callable[[Tensor, str], Tensor] | None = None
    ) -> None:
        self.action = action
        self.combine = combine
        self._reset()

    def _reset(self) -> None:
        self.found: dict[str, int] = {}
        """Kind of collapse -> step at which it was noticed."""
        self._steps = 0
        self._judged = 0
        self._scores: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._windows: list[Window] = []
        self._pending: str | None = None

    @property
    def due(self) -> bool:
        """Whether this step is to be looked at."""
        return self.action != "ignore" and self._steps % EVERY == 0

    @torch.no_grad()
    def saw_scores(
        self,
        loss: Loss,
        scores: Tensor,
        labels: Tensor | None,
        group_sizes: Tensor | None,
        value: Tensor | Mapping[str, Tensor],
    ) -> None:
        """Takes note of the scores of a training step, or of a part of one.

        Args:
            loss: What is trained on.
            scores: ``(P,)`` or ``(P, num_labels)``.
            labels: As the loss gets them.
            group_sizes: As the loss gets them.
            value: What the loss made of them.
        """
        if not self.due or len(scores) < 2:
            return
        scores = scores.detach().float()
        mean = scores.mean(dim=0, keepdim=True)
        alike = mean.expand_as(scores).clone().requires_grad_()
        with torch.enable_grad():
            chance = _total(loss.compute(alike, labels, group_sizes))
            (slope,) = torch.autograd.grad(chance, alike)
        # Where all labels are equal no score is better than another, and the slope is even.
        uneven = (slope - slope.mean(dim=0)).abs().sum()
        usable = torch.isfinite(uneven) & (uneven > 1e-6 * slope.abs().sum())
        gain = torch.where(usable, -(slope * (scores - mean)).sum(), 0.0)
        spread = (scores - mean).square().mean(dim=0).sqrt()
        flat = (spread / mean[0].abs().clamp(min=0.1)).max()
        figures = (_total(value), chance, gain, gain.square(), usable, flat)
        self._scores.append(torch.stack([f.detach().float().reshape(()) for f in figures]))

    def saw_gradient(self, norm: Any) -> None:
        """Takes note of the norm of a gradient."""
        if self.action != "ignore":
            self._norms.append(torch.as_tensor(norm).detach().float().reshape(()))

    def step_done(self) -> None:
        """Counts a forward and backward pass."""
        self._steps += 1

    # --- judging ------------------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts anew."""
        self._reset()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Judges whenever a window is full."""
        if self.action == "ignore" or self._steps - self._judged < WINDOW:
            return
        self._close_window()
        late = max(4 * WINDOW, PATIENCE_SHARE * state.max_steps, args.get_warmup_steps(
            state.max_steps))  # fmt: skip
        kind = self._kind(enough=state.global_step >= late)
        if kind is not None and kind not in self.found:
            self._report(kind, state.global_step)
            if self.action == "stop":
                if is_first_process():
                    logger.warning("Training stops here, because of on_collapse='stop'.")
                control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Judges runs of at least one window that were too short for a verdict before."""
        if self.action == "ignore" or self._steps < WINDOW:
            return
        if self._steps - self._judged >= WINDOW // 2:
            self._close_window()
        kind = self._kind(enough=bool(self._windows))
        if kind is not None and not self.found:
            self._report(kind, state.global_step)

    def _close_window(self) -> None:
        self._judged = self._steps
        window = self._summed()
        self._scores, self._norms = [], []
        if window is not None:
            self._windows.append(window)

    def _summed(self) -> Window | None:
        count = len(self._scores)
        known = [*self._scores, *self._norms]
        device = known[0].device if known else torch.device("cpu")
        figures = torch.stack(self._scores) if count else torch.zeros(0, 6, device=device)
        norm = torch.full((), math.inf, device=device)
        if self._norms:
            norm = torch.stack([n.to(device) for n in self._norms]).max()
        flat = figures[:, 5].max() if count else torch.zeros((), device=device)
        sums = torch.cat([figures[:, :5].sum(0), torch.full((1,), float(count), device=device)])
        largest = torch.stack([flat, norm])
        if self.combine is not None:
            sums, largest = self.combine(sums, "sum"), self.combine(largest, "max")
        loss, chance, gain, square, usable, samples = sums.tolist()
        flattest, gradient = largest.tolist()
        if samples == 0:
            return None
        mean = gain / usable if usable >= 4 else None
        error = 0.0
        if mean is not None:
            error = math.sqrt(max(square / usable - mean**2, 0.0) / (usable - 1))
        return Window(loss / samples, chance / samples, flattest, gradient, mean, error)

    def _kind(self, *, enough: bool) -> str | None:
        """What the latest window shows, if anything."""
        if not self._windows:
            return None
        latest = self._windows[-1]
        if latest.flat < FLAT:
            return "constant scores"
        if latest.gradient < ZERO_GRADIENT:
            if latest.loss > 0.01 * abs(latest.chance) + 1e-4:
                return "no gradient"
            if all(window.loss == 0 for window in self._windows):
                return "nothing to learn"
        told = [window for window in self._windows if not math.isnan(window.t)]
        sure = [w.gain for w in told if w.t >= SURE_GAIN and w.gain is not None]
        if not sure:
            nothing = bool(told) and _is_chance(told[-4:])
            return "nothing learned" if enough and nothing else None
        gone = _is_chance(told[-2:]) and _pooled(told[-2:])[0] < LOST * max(sure)
        return "lost gain" if len(told) > 2 and gone else None

    def _report(self, kind: str, step: int) -> None:
        self.found[kind] = step
        if not is_first_process():
            return
        window = self._windows[-1]
        text = _HELP[kind].format(
            loss=window.loss,
            chance=window.chance,
            flat=window.flat,
            gradient=window.gradient,
            steps=min(self._steps, WINDOW),
        )
        logger.warning("Step %d: %s", step, text)


def is_first_process() -> bool:
    """Whether this is the only process or the first one: what all of them know, one says."""
    joined = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not joined or torch.distributed.get_rank() == 0


def combiner(accelerator: Any) -> Callable[[Tensor, str], Tensor] | None:
    """What `CollapseWatch` needs with several processes; None with one."""
    if accelerator.num_processes == 1:
        return None

    def combine(tensor: Tensor, how: str) -> Tensor:
        every = accelerator.gather(tensor[None])
        return every.sum(0) if how == "sum" else every.max(0).values  # type: ignore[no-any-return]

    return combine


def _is_chance(windows: list[Window]) -> bool:
    loss, chance = (sum(getattr(w, name) for w in windows) for name in ("loss", "chance"))
    return bool(loss >= NEAR * chance and _pooled(windows)[1] < NO_GAIN)


def _pooled(windows: list[Window]) -> tuple[float, float]:
    """Mean gain of several windows, and its t."""
    gain = sum(window.gain or 0.0 for window in windows) / len(windows)
    error = math.sqrt(sum(window.error**2 for window in windows)) / len(windows)
    return gain, gain / error if error > 0 else math.copysign(math.inf, gain or -1.0)


def _total(value: Tensor | Mapping[str, Tensor]) -> Tensor:
    if isinstance(value, Tensor):
        return value
    return sum((part.reshape(()) for part in value.values()), torch.zeros(()))
