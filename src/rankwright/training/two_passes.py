"""A large step in parts, for several processes.

Within one process, `chunks.score_in_parts` recomputes each part in the backward pass. Several
processes share gradients in their wrapper's forward and backward passes, which must come in pairs.
So here the scores of all parts are computed first, without activations; the loss gives the
gradient at each score; and then each part has one forward and backward pass of its own, in which
these gradients are put in (Gao et al., 2021, "Scaling Deep Contrastive Learning Batch Size under
Memory Limited Setup"). The processes exchange gradients in the last part only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rankwright.engine.batch import PackedBatch
from rankwright.losses.segments import as_real
from rankwright.training.chunks import take

__all__ = ["Part", "first_pass"]


@dataclass(frozen=True)
class Part:
    """A part of a step, with what its backward pass needs.

    Attributes:
        batch: p of the step's pairs.
        gradient: ``(p,)`` or ``(p, num_labels)``: of the loss, at their scores.
        random_state: That the first pass had, so that dropout draws the same masks.
        own: Parameters of the loss itself with their gradients; they go with the first part.
    """

    batch: PackedBatch
    gradient: Tensor
    random_state: tuple[Tensor, Tensor | None]
    own: tuple[tuple[Tensor, Tensor], ...] = ()

    def loss(self, model: Callable[[PackedBatch], Tensor]) -> Tensor:
        """A number whose gradient is that of this part; not the value of the loss."""
        _set_random_state(self.random_state, self.gradient.device)
        result = (as_real(model(self.batch)) * self.gradient).sum()
        for parameter, gradient in self.own:
            result = result + (parameter * gradient).sum()
        return result


def first_pass(
    model: Callable[[PackedBatch], Tensor],
    batch: PackedBatch,
    mini_batch_size: int,
    loss: tuple[Callable[[Tensor], Tensor], Sequence[Tensor]],
) -> tuple[Tensor, list[Part]]:
    """The loss of a step, and its parts.

    Args:
        model: Scores a packed batch.
        batch: P pairs.
        mini_batch_size: Most pairs per part.
        loss: Makes the loss from the scores of all pairs; and its own parameters.

    Returns:
        The loss, without graph, and the parts, longest pairs first.
    """
    order = torch.argsort(batch.lengths, descending=True, stable=True)
    device = batch.input_ids.device
    batches, states, scored = [], [], []
    with torch.no_grad():
        for pairs in torch.split(order, mini_batch_size):
            batches.append(take(batch, pairs))
            states.append(_random_state(device))
            scored.append(as_real(model(batches[-1])))
    place = order.to(device)
    joined = torch.cat(scored)
    scores = torch.empty_like(joined)
    scores[place] = joined
    scores.requires_grad_()
    compute, parameters = loss
    value = compute(scores)
    found = torch.autograd.grad(value, [scores, *parameters], allow_unused=True)
    gradient = torch.zeros_like(scores) if found[0] is None else found[0]
    own = tuple((p, g) for p, g in zip(parameters, found[1:], strict=True) if g is not None)
    gradients = torch.split(gradient[place], mini_batch_size)
    parts = [
        Part(one, g, state, own if number == 0 else ())
        for number, (one, g, state) in enumerate(zip(batches, gradients, states, strict=True))
    ]
    return value.detach(), parts


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), cuda


def _set_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
