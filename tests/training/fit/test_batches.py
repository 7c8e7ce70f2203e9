"""What `fit` takes from the dataloader, and what the collating methods make of examples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from rankwright import CrossEncoder, InputExample
from rankwright.errors import (
    ColumnError,
    InputError,
)
from rankwright.util import batch_to_device
from tests.training.fit.fits import FITS, QUIET, SGD, examples

# --- batches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", FITS)
def test_the_dataloader_is_obeyed_and_left_alone(
    make: Callable[..., CrossEncoder], method: str
) -> None:
    model = make()
    data = examples(11)
    seen: list[torch.Tensor] = []

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append(labels.clone())
        return logits.sum() * 0.0 + labels.sum() * 0.0

    for i, example in enumerate(data):
        example.label = i / 100
    collate = list
    for options, sizes in (
        ({"batch_size": 4, "drop_last": True}, [4, 4]),
        ({"batch_size": 4}, [4, 4, 3]),
        ({"batch_sampler": [[0, 1], [5, 4, 3]]}, [2, 3]),
        ({"batch_size": 4, "num_workers": 1}, [4, 4, 3]),
    ):
        seen.clear()
        loader: Any = DataLoader(data, collate_fn=collate, **options)
        getattr(model, method)(loader, loss_fct=loss, **QUIET)
        assert [len(labels) for labels in seen] == sizes
        assert loader.collate_fn is collate
        order = [round(100 * x) for labels in seen for x in labels.tolist()]
        assert (
            order
            == ([0, 1, 5, 4, 3] if len(sizes) == 2 and sizes[0] == 2 else [*range(11)])[
                : sum(sizes)
            ]
        )
    seen.clear()
    torch.manual_seed(5)
    getattr(model, method)(DataLoader(data, shuffle=True), loss_fct=loss, epochs=2, **QUIET)
    order = [round(100 * float(labels)) for labels in seen]
    torch.manual_seed(5)
    expected = [
        round(100 * example.label)
        for _ in range(2)
        for (example,) in DataLoader(data, shuffle=True, collate_fn=list)
    ]
    assert order == expected
    assert order[:11] != order[11:]


@pytest.mark.parametrize("method", FITS)
def test_labels_that_are_all_zero_are_labels(
    make: Callable[..., CrossEncoder], method: str
) -> None:
    model = make()
    data = examples(8)
    for example in data:
        example.label = 0
    pairs = [(e.texts or [])[:2] for e in data]
    before = model.predict(pairs).mean()
    getattr(model, method)(DataLoader(data, batch_size=4), epochs=3, **{**QUIET, **SGD})
    assert model.predict(pairs).mean() < before


@pytest.mark.parametrize("method", FITS)
def test_plain_lists(make: Callable[..., CrossEncoder], tmp_path: Path, method: str) -> None:
    # As programs of users do: lists of tuples instead of dataloader and evaluator.
    model = make()
    data = [(e.texts[0], e.texts[1], e.label) for e in examples(20) if e.texts]
    scores: list[tuple[float, int, int]] = []
    getattr(model, method)(
        train_dataloader=data,
        evaluator=data,
        epochs=2,
        output_path=str(tmp_path / "out"),
        callback=lambda *given: scores.append(given),
        show_progress_bar=False,
    )
    assert [(epoch, steps) for _, epoch, steps in scores] == [(0, -1), (1, -1)]
    assert all(0 <= score <= 1 for score, _, _ in scores)
    assert CrossEncoder(str(tmp_path / "out")).predict([("a", "b")]).shape == (1,)
    assert list((tmp_path / "out").glob("CrossEncoderClassificationEvaluator*.csv"))
    graded = [(q, d, i / 20) for i, (q, d, _) in enumerate(data)]
    getattr(model, method)(graded, evaluator=graded, output_path=str(tmp_path / "b"), **QUIET)
    assert list((tmp_path / "b").glob("CrossEncoderCorrelationEvaluator*.csv"))
    getattr(model, method)(
        [{"query": q, "answer": d, "label": label} for q, d, label in data], evaluator=[], **QUIET
    )


# --- collating ----------------------------------------------------------------------------------


@pytest.mark.parametrize("num_labels", [1, 3])
def test_collated_batches_score_as_predict_does(
    make: Callable[..., CrossEncoder], num_labels: int
) -> None:
    model = make(
        num_labels=num_labels,
        max_length=16,
        prompts={"ask": "query how "},
        default_prompt_name="ask",
        activation_fn="identity",
    )
    batch = [
        InputExample(texts=[f"  {e.texts[0]} ", e.texts[1]], label=1)
        for e in examples(6)
        if e.texts
    ]
    features, labels = model.smart_batching_collate(batch)
    assert labels.tolist() == [1] * 6
    assert labels.dtype == (torch.float32 if num_labels == 1 else torch.int64)
    assert features["input_ids"].shape[1] <= 16
    with torch.no_grad():
        logits = model.model(**features, return_dict=True).logits
    expected = model.predict([((e.texts or [])[0].strip(), (e.texts or [])[1]) for e in batch])
    np.testing.assert_allclose(logits.squeeze(-1).numpy(), expected, atol=1e-5)
    texts_only = model.smart_batching_collate_text_only([e.texts or [] for e in batch])
    torch.testing.assert_close(dict(texts_only), dict(features))
    single = model.smart_batching_collate_text_only([["sort"], ["a list of files"]])
    assert single["attention_mask"].sum(1).tolist()[0] < single["attention_mask"].shape[1]
    with pytest.raises(ColumnError, match=r"items of \[1, 2\] texts"):
        model.smart_batching_collate_text_only([["a"], ["a", "b"]])


def test_language_models_need_more_than_padding(make: Callable[..., CrossEncoder]) -> None:
    model = make()
    model._tokens = object()  # type: ignore[assignment]
    with pytest.raises(InputError, match="language model"):
        model.smart_batching_collate(examples(2))


def test_batch_to_device() -> None:
    batch = {"x": torch.zeros(2), "names": ["a"]}
    assert batch_to_device(batch, "meta") is batch
    assert batch["x"].device.type == "meta"  # type: ignore[attr-defined]
    assert batch["names"] == ["a"]
