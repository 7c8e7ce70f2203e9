"""Every loss, worked through in mini-batches and in parts, has the gradients of one pass."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rankwright import losses
from rankwright.engine.batch import PackedBatch
from rankwright.training import CrossEncoderTrainer, PackingCollator, chunks
from tests.losses.cases import CASES, Case
from tests.training.runs import arguments
from tests.training.stub import StubEncoder

every_loss = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
SIZES = [4, 1, 3, 2, 6, 3]
WORDS = "sort files by size name date list copy move open shell table row column".split()


class Float64Encoder(StubEncoder):
    """A little network in float64 in place of the encoder, and a record of its passes."""

    def __init__(self, num_labels: int) -> None:
        super().__init__(num_labels=num_labels)
        generator = torch.Generator().manual_seed(1)
        vocabulary = self.model.config.vocab_size
        table = torch.randn(vocabulary, 6, generator=generator, dtype=torch.float64)
        self.table, self.dropout = nn.Parameter(table), nn.Dropout()
        head = torch.randn(6, num_labels, generator=generator, dtype=torch.float64)
        self.head = nn.Parameter(head)
        self.passes: list[int] = []

    def forward(self, batch: PackedBatch) -> Tensor:
        self.passes.append(batch.num_pairs)
        states = self.table[batch.input_ids] * (1 + batch.position_ids[:, None] % 7)
        pairs = [part.mean(0) for part in states.split(batch.lengths.tolist())]
        scores = self.dropout(torch.tanh(torch.stack(pairs))) @ self.head
        return scores[:, 0] if self.num_labels == 1 else scores


def rows_for(case: Case) -> list[dict[str, Any]]:
    """Rows whose labels are of the kind the loss takes, of various lengths."""
    generator = torch.Generator().manual_seed(2)

    def text() -> str:
        count = int(torch.randint(1, 9, (), generator=generator))
        return " ".join(WORDS[i] for i in torch.randint(len(WORDS), (count,), generator=generator))

    labels = iter(case.example(SIZES, 5)[1].tolist())
    if case.labels == "classes":
        return [{"q": text(), "d": text(), "label": label} for label in labels]
    if isinstance(case.loss(), losses.MultipleNegativesRankingLoss):
        return [{"q": text(), "p": text(), "n": text()} for _ in SIZES]
    return [
        {
            "q": text(),
            "docs": [text() for _ in range(n)],
            "labels": [next(labels) for _ in range(n)],
        }
        for n in SIZES
    ]


@functools.cache
def trainer_for(num_labels: int) -> CrossEncoderTrainer:
    model = Float64Encoder(num_labels)
    folder = Path(tempfile.mkdtemp(prefix="rankwright-test-"))
    data = [{"q": "a", "d": "b", "label": 0}]
    trainer = CrossEncoderTrainer(model=model, args=arguments(folder), train_dataset=data)
    folder.rmdir()
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def step(
    case: Case, mini_batch_size: int | None, dropout: float = 0.0, tokens: int | None = None
) -> tuple[Tensor, list[Tensor], list[int]]:
    """The loss and the gradients of one training step, and the pairs in each of its passes."""
    trainer = trainer_for(3 if case.labels == "classes" else 1)
    model: Any = trainer.model
    model.dropout.p, model.passes = dropout, []
    model.zero_grad()
    loss = trainer.loss = case.make(model)
    loss.mini_batch_size = mini_batch_size
    trainer.args.max_tokens_per_pass = tokens
    collate = PackingCollator(loss.pairs, model.pair_tokenizer, model.max_length)
    inputs = collate(rows_for(case))
    torch.manual_seed(7)
    value = trainer.training_step(model, inputs)
    return value, [model.table.grad.clone(), model.head.grad.clone()], model.passes


@every_loss
@pytest.mark.parametrize("size", [1, 3, 5])
def test_mini_batches_give_the_gradients_of_one_pass(case: Case, size: int) -> None:
    loss, gradients, passes = step(case, size)
    whole, expected, one = step(case, None)
    assert len(one) == 1
    assert max(passes) <= size  # whichever pass it is, for the scores or for the gradients
    assert max(map(float, (g.abs().max() for g in expected))) > 1e-4
    torch.testing.assert_close(loss, whole, atol=0, rtol=1e-6)
    for found, gradient in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, gradient, atol=1e-12, rtol=1e-5)


@every_loss
def test_parts_by_tokens_give_the_gradients_of_one_pass(case: Case) -> None:
    _, gradients, passes = step(case, None, tokens=40)
    _, expected, _ = step(case, None)
    assert (len(passes) > 1) == case.separable
    for found, gradient in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, gradient, atol=1e-12, rtol=1e-5)


@every_loss
def test_dropout_is_drawn_again_as_it_was(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same passes with all activations kept, hence with one mask each, are the reference."""
    loss, gradients, passes = step(case, 3, dropout=0.5)

    def keeping(function: Callable[..., Tensor], *args: Any, **_: Any) -> Tensor:
        return function(*args)

    monkeypatch.setattr(chunks, "checkpoint", keeping)
    kept_loss, expected, kept = step(case, 3, dropout=0.5)
    assert len(kept) <= len(passes)
    torch.testing.assert_close(loss, kept_loss, atol=0, rtol=0)
    for found, gradient in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, gradient, atol=1e-14, rtol=1e-9)
    _, without, _ = step(case, 3)
    assert not torch.allclose(gradients[0], without[0], rtol=1e-3)


def test_losses_that_can_be_taken_apart_score_every_pair_once() -> None:
    """Only a list longer than the mini-batch is scored twice, and all lists of other losses."""
    total = sum(SIZES)
    assert sum(step(CASES["ListNet"], 6)[2]) == total
    assert sum(step(CASES["ListNet"], 5)[2]) == total + 6
    assert sum(step(CASES["Lambda k"], 6)[2]) == 2 * total


def test_lists_without_documents_make_no_part_of_their_own() -> None:
    model = Float64Encoder(1)
    loss = losses.ListNetLoss(model)
    collate = PackingCollator(loss.pairs, model.pair_tokenizer, model.max_length)
    data = [{"q": "sort", "docs": docs, "labels": [0.0] * len(docs)} for docs in ([], ["a"], [])]
    batch = PackedBatch.from_dict(collate(data * 3))
    parts = chunks.share_out(batch, loss, 1)
    assert [part.num_pairs for part, _ in parts] == [1, 1, 1]
    assert sum(share for _, share in parts) == pytest.approx(1.0)
