"""Parts of a step with a backward pass each: the gradient of the whole is the reference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rankwright.engine.pack import pack
from rankwright.training.two_passes import first_pass
from tests.training.stub import StubEncoder, rows

WORDS = [(row["query"], row["document"]) for row in rows(11, 3)]


def gradients(model: StubEncoder, scale: nn.Parameter) -> dict[str, Tensor]:
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    assert scale.grad is not None
    found["scale"] = scale.grad.clone()
    model.zero_grad()
    scale.grad = None
    return found


def softmax(scores: Tensor, scale: Tensor) -> Tensor:
    """Cannot be taken apart: every score has an influence on every gradient."""
    weights = torch.linspace(-1, 1, scores.numel(), dtype=scores.dtype).view_as(scores)
    return (torch.log_softmax(scores.flatten() * scale, 0).view_as(scores) * weights).sum()


@pytest.mark.parametrize(("num_labels", "size"), [(1, 4), (1, 1), (1, 11), (3, 5)])
def test_same_loss_and_gradient_in_double_precision(num_labels: int, size: int) -> None:
    model = StubEncoder(num_labels=num_labels).double().train()
    scale = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))
    batch = pack(model.pair_tokenizer.encode(WORDS, 48))
    # The scorer hands out float32 scores; this reference calls the padded model instead.
    expected = softmax(model(batch).double(), scale)
    expected.backward()
    whole = gradients(model, scale)
    loss, parts = first_pass(model, batch, size, (lambda s: softmax(s.double(), scale), [scale]))
    assert len(parts) == -(-len(WORDS) // size)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-6, atol=1e-6)
    for part in parts:
        part.loss(model).backward()
    found = gradients(model, scale)
    assert found.keys() == whole.keys()
    for name, value in whole.items():
        torch.testing.assert_close(found[name], value, rtol=2e-5, atol=1e-6, msg=name)


def test_dropout_draws_the_same_masks_in_both_passes() -> None:
    model = StubEncoder(hidden_dropout_prob=0.4).train()
    batch = pack(model.pair_tokenizer.encode(WORDS, 48))
    seen: list[Tensor] = []

    def watched(part: Any) -> Tensor:
        scores = model(part)
        seen.append(scores.detach())
        return scores

    torch.manual_seed(1)
    _, parts = first_pass(watched, batch, 3, (lambda scores: (scores**2).sum(), []))
    after = torch.get_rng_state()
    torch.rand(5)
    for part in parts:
        part.loss(watched).backward()
    assert len(seen) == 8
    for first, second in zip(seen[:4], seen[4:], strict=True):
        assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), after)
