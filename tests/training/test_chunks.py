from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rankwright.engine.batch import PackedBatch
from rankwright.losses import BinaryCrossEntropyLoss, ListNetLoss
from rankwright.training import CrossEncoderTrainer, PackingCollator
from rankwright.training.chunks import score_in_parts, take
from tests.training.runs import arguments, weights
from tests.training.stub import StubEncoder, rows


def packed(model: StubEncoder, count: int) -> PackedBatch:
    collate = PackingCollator(
        BinaryCrossEntropyLoss(model).pairs, model.pair_tokenizer, model.max_length
    )
    return PackedBatch.from_dict(collate(rows(count)))


def test_taking_pairs_out_of_a_batch() -> None:
    batch = packed(StubEncoder(), 5)
    pieces = batch.input_ids.split(batch.lengths.tolist())
    part = take(batch, torch.tensor([3, 0]))
    assert torch.equal(part.input_ids, torch.cat((pieces[3], pieces[0])))
    assert part.lengths.tolist() == [len(pieces[3]), len(pieces[0])]
    assert part.position_ids.tolist() == [*range(len(pieces[3])), *range(len(pieces[0]))]
    assert part.token_type_ids.shape == part.input_ids.shape


@pytest.mark.parametrize("size", [1, 3, 7, 100])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_parts_give_the_scores_and_gradients_of_the_whole(size: int, dropout: float) -> None:
    model = StubEncoder(hidden_dropout_prob=dropout).train(dropout > 0)
    batch = packed(model, 7)
    torch.manual_seed(5)
    scores = score_in_parts(model, batch, size)
    (scores * torch.arange(7)).square().sum().backward()
    found = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    torch.manual_seed(5)
    order = torch.argsort(batch.lengths, descending=True, stable=True)
    whole = torch.cat([model(take(batch, part)) for part in order.split(size)])
    whole = whole[torch.argsort(order)]
    torch.testing.assert_close(scores, whole)
    (whole * torch.arange(7)).square().sum().backward()
    for a, p in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad, atol=1e-5, rtol=1e-4)
    if dropout == 0.0:
        torch.testing.assert_close(scores, model(batch), atol=1e-5, rtol=1e-5)


def test_memory_is_bounded_by_the_mini_batch() -> None:
    model = StubEncoder()
    batch = packed(model, 24)

    def saved(size: int | None) -> int:
        total = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
            model(batch) if size is None else score_in_parts(model, batch, size)
        return total

    # What stays alive between the passes: hardly more than the inputs of each part.
    assert saved(4) < saved(None) / 20


def test_a_loss_with_mini_batches_trains_to_the_same_weights(tmp_path: Path) -> None:
    data = [
        {"q": f"sort {i % 3}", "docs": ["sort files", "open", "move a b c"], "labels": [2, 0, 1]}
        for i in range(8)
    ]
    trained = []
    for size in (None, 2, -1):
        model = StubEncoder()
        args = arguments(tmp_path, optim="sgd", learning_rate=0.05)
        CrossEncoderTrainer(
            model=model, args=args, train_dataset=data,
            loss=ListNetLoss(model, mini_batch_size=size),
        ).train()  # fmt: skip
        trained.append(weights(model))
    for other in trained[1:]:
        for name, value in trained[0].items():
            torch.testing.assert_close(other[name], value, atol=1e-6, rtol=1e-5)
