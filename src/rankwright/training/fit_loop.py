"""`old_fit`: training as a plain loop over padded batches."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from rankwright.engine.precision import resolve_precision
from rankwright.errors import TrainingError
from rankwright.training.fitting import (
    FitOptions,
    Judge,
    as_evaluator,
    as_loader,
    build_optimizer,
    build_scheduler,
)

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = ["old_fit"]

logger = logging.getLogger(__name__)


def old_fit(model: CrossEncoder, data: Any, evaluator: Any = None, **options: Any) -> None:
    """See `CrossEncoder.old_fit`."""
    chosen = FitOptions(**options)
    judge = Judge(model, as_evaluator(evaluator, model.num_labels), chosen)
    loader = as_loader(data, model.smart_batching_collate)
    optimizer = build_optimizer(model, chosen)
    scheduler = build_scheduler(optimizer, chosen, len(loader) * int(chosen.epochs))
    step = _Step(model, chosen, optimizer, scheduler)
    hidden = not chosen.show_progress_bar
    model.train()
    for epoch in tqdm(range(int(chosen.epochs)), desc="Epoch", disable=hidden):
        batches = tqdm(loader, desc="Iteration", smoothing=0.05, disable=hidden)
        for number, (features, labels) in enumerate(batches, start=1):
            step(features, labels)
            if judge.due(number):
                judge(epoch, number)
        judge(epoch, -1)
    model.eval()
    judge.finish()


class _Step:
    """One optimiser step."""

    def __init__(
        self, model: CrossEncoder, options: FitOptions, optimizer: Any, scheduler: Any
    ) -> None:
        self.model = model
        self.options = options
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.loss_fct = options.loss_fct
        if self.loss_fct is None:
            self.loss_fct = (
                nn.BCEWithLogitsLoss() if model.num_labels == 1 else nn.CrossEntropyLoss()
            )
        on_gpu = model.device.type == "cuda"
        self.kind = torch.float16 if on_gpu else resolve_precision("auto", model.device)
        self.mixed = options.use_amp and self.kind != torch.float32
        if options.use_amp and not self.mixed:
            logger.warning(
                "use_amp=True: %s has no instructions for bfloat16, so training is in float32.",
                "this processor" if model.device.type == "cpu" else model.device,
            )
        # Only float16 needs its gradients scaled.
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=options.use_amp and on_gpu)

    def __call__(self, features: Any, labels: Tensor) -> None:
        device = self.model.device
        inputs = {name: value.to(device) for name, value in features.items()}
        self.optimizer.zero_grad()
        with torch.autocast(device.type, dtype=self.kind, enabled=self.mixed):
            logits = self.model.model(**inputs, return_dict=True).logits
            if self.options.activation_fct is not None:
                logits = self.options.activation_fct(logits)
            if self.model.num_labels == 1:
                logits = logits.view(-1)
            assert self.loss_fct is not None
            loss = self.loss_fct(logits, labels.to(device))
        if not bool(torch.isfinite(loss)):
            raise TrainingError(
                f"the loss is {float(loss.detach())}. Lower the learning rate, lengthen the "
                "warm-up, or train without use_amp; check that labels are sensible."
            )
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.model.parameters(), self.options.max_grad_norm)
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() >= scale:  # else the step was skipped
            self.scheduler.step()
