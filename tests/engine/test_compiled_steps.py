"""Training steps of a model in the compiled library, against float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification

from rankwright.engine.batch import PackedBatch
from rankwright.engine.encoders import packed_encoder
from rankwright.engine.native import library
from rankwright.engine.native.choice import compiling

pytestmark = pytest.mark.skipif(
    library.unavailable() is not None, reason=f"the compiled library: {library.unavailable()}"
)
LENGTHS = np.array([3, 17, 1, 40, 16, 8, 7, 17])


@pytest.fixture(autouse=True)
def _compiled() -> Iterator[None]:
    with compiling(32):
        yield


def classifier(**options: Any) -> Any:
    config = BertConfig(
        vocab_size=120,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=4,
        num_hidden_layers=2,
        max_position_embeddings=64,
        num_labels=1,
        **options,
    )
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def packed(seed: int = 0) -> PackedBatch:
    rng = np.random.default_rng(seed)
    total = int(LENGTHS.sum())
    return PackedBatch(
        input_ids=torch.from_numpy(rng.integers(0, 120, total)),
        position_ids=torch.from_numpy(np.concatenate([np.arange(n) for n in LENGTHS])),
        lengths=torch.from_numpy(LENGTHS),
        token_type_ids=torch.from_numpy(rng.integers(0, 2, total)),
    )


def gradients(model: Any, dtype: torch.dtype, first_only: bool) -> dict[str, Tensor]:
    encoder = packed_encoder(model.bert)
    assert encoder is not None
    model.zero_grad()
    hidden, layout = encoder.encode(packed(), dtype=dtype, training=True, first_only=first_only)
    # Padding counts for nothing, and the order of slots must not matter.
    rows = slice(None) if layout.padding is None else ~layout.padding
    hidden[slice(len(LENGTHS)) if first_only else rows].pow(3).sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("first_only", [False, True])
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_gradients_of_a_model_equal_those_in_float64(activation: str, first_only: bool) -> None:
    model = classifier(
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, hidden_act=activation
    )
    found = gradients(model, torch.float32, first_only)
    with compiling(0):
        wanted = gradients(model.double(), torch.float64, first_only)
    assert found.keys() == wanted.keys()
    assert len(found) > 20
    largest = max(float(g.abs().max()) for g in wanted.values())
    for name, gradient in found.items():
        torch.testing.assert_close(
            gradient.double(), wanted[name], atol=2e-6 * largest, rtol=1e-4, msg=name
        )


def test_no_slot_is_padding() -> None:
    encoder = packed_encoder(classifier().bert)
    assert encoder is not None
    _, layout = encoder.encode(packed(), dtype=torch.float32, training=True, first_only=True)
    assert layout.padding is None
    assert len(layout.source) == LENGTHS.sum()
    with compiling(0):
        _, layout = encoder.encode(packed(), dtype=torch.float32, training=True, first_only=True)
    assert layout.padding is not None


def test_what_is_no_number_stays_so() -> None:
    model = classifier()
    model.bert.encoder.layer[0].attention.self.key.weight.data[3, 3] = torch.nan
    assert all(
        not bool(gradient.isfinite().all())
        for name, gradient in gradients(model, torch.float32, True).items()
        if "layer.0.attention.self" in name and "weight" in name
    )
