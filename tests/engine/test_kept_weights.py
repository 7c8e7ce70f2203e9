"""Kept weights follow every change, are never saved or copied, and serve many threads."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rankwright import CrossEncoder
from rankwright.engine.native.choice import compiling
from rankwright.engine.ops import WeightCache, forget_weights, linear
from rankwright.engine.pack import pack
from rankwright.engine.scorers import build_scorer
from tests.engine.test_packed_equals_padded import padded_logits, random_pairs
from tests.tiny import save_tiny, tiny_model

pytestmark = pytest.mark.usefixtures("calls")  # all of it with prepacked products
LENGTHS = [1, 2, 3, 64, 64, 63, 40, 9, 9, 17]


def step(model: nn.Module, scorer: Callable, batch: object) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    scorer(batch).sum().backward()
    optimizer.step()


def load(model: nn.Module, scorer: Callable, batch: object) -> None:
    model.load_state_dict(tiny_model("bert", seed=1)[0].state_dict())


def in_place(model: nn.Module, scorer: Callable, batch: object) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.9)


def unseen(model: nn.Module, scorer: Callable, batch: object) -> None:
    for parameter in model.parameters():
        parameter.data.mul_(0.9)
    forget_weights()


def exchanged(model: nn.Module, scorer: Callable, batch: object) -> None:
    layer = model.bert.encoder.layer[0].intermediate.dense
    layer.weight = nn.Parameter(layer.weight.detach() * 0.5)


@pytest.mark.parametrize("change", [step, load, in_place, unseen, exchanged])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_changed_weights_are_noticed(change: Callable, mode: Callable, calls: list) -> None:
    model, _ = tiny_model("bert")
    scorer = build_scorer(model)
    pairs = random_pairs("bert", [9, 12])
    with mode():
        before = scorer(pack(pairs))
    change(model, scorer, pack(pairs))
    with mode():
        after = scorer(pack(pairs))
        expected = padded_logits(model, pairs)
    torch.testing.assert_close(after, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(before, after, atol=1e-4)
    assert calls


def test_only_one_form_of_a_weight_is_kept() -> None:
    layers, cache = (nn.Linear(6, 5), nn.Linear(6, 4)), WeightCache()
    x = torch.randn(3, 6)
    expected = torch.cat([layer(x) for layer in layers], -1)
    for _ in range(2):
        with torch.inference_mode():
            torch.testing.assert_close(linear(x, layers, cache), expected)
        assert [weight.is_mkldnn for _, (weight, _) in cache._kept.values()] == [True]
        torch.testing.assert_close(linear(x, layers, cache), expected)
        assert [weight.is_mkldnn for _, (weight, _) in cache._kept.values()] == [False]


def test_gradients_after_prediction_in_inference_mode() -> None:
    model, _ = tiny_model("bert")
    scorer = build_scorer(model)
    batch = pack(random_pairs("bert", [9, 30]))

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        scorer(batch).sum().backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    expected = gradients()
    with torch.inference_mode():
        scorer(batch)
    for found, wanted in zip(gradients(), expected, strict=True):
        assert torch.equal(found, wanted)


# --- copies, files, threads -------------------------------------------------------------------


def test_a_model_that_has_predicted_can_be_copied_and_saved(tmp_path: Path, calls: list) -> None:
    model = CrossEncoder(str(save_tiny(tmp_path / "tiny")), device="cpu")
    pairs = [("sort a list", "how do i sort"), ("read", "write a file by name")]
    expected = model.predict(pairs)
    assert calls
    scorer = pickle.loads(pickle.dumps(model.scorer))
    scores = scorer(pack(random_pairs("bert", [9, 12])), training=False)
    twin = copy.deepcopy(model.scorer)
    assert torch.equal(twin(pack(random_pairs("bert", [9, 12])), training=False), scores)
    np.testing.assert_array_equal(copy.deepcopy(model).predict(pairs), expected)
    model.save_pretrained(str(tmp_path / "saved"))
    again = CrossEncoder(str(tmp_path / "saved"), device="cpu")
    np.testing.assert_array_equal(again.predict(pairs), expected)


def test_a_copied_cache_is_empty() -> None:
    layer, cache = nn.Linear(6, 5), WeightCache()
    x = torch.randn(3, 6)
    with torch.no_grad():
        linear(x, (layer,), cache)
    for other in (copy.copy(cache), copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert not other._kept
        with torch.no_grad():
            torch.testing.assert_close(linear(x, (layer,), other), layer(x))
        forget_weights()
        assert not other._kept, "a copy is told like any other"


def test_predictions_from_many_threads(calls: list) -> None:
    model, _ = tiny_model("bert")
    scorer = build_scorer(model)
    batches = [pack(random_pairs("bert", LENGTHS, seed)) for seed in range(6)]

    def scores(number: int) -> torch.Tensor:
        if number % 7 == 3:
            forget_weights()  # as another thread's training would
        # What `calls` chooses holds for its own thread.
        with torch.inference_mode(), compiling(0):
            return scorer(batches[number % 6], training=False)

    expected = [scores(number) for number in range(6)]
    with ThreadPoolExecutor(8) as pool:
        for number, found in enumerate(pool.map(scores, range(60))):
            assert torch.equal(found, expected[number % 6])
