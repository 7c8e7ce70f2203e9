"""Training and evaluating on flat rows that are grouped by query."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from rankwright.errors import ColumnError
from rankwright.losses import (
    GroupSoftmaxLoss,
    ListNetLoss,
)
from rankwright.training import CrossEncoderTrainer
from rankwright.training.samplers import SamplerOptions
from rankwright.training.sampling.queries import QueryGroupedSampler
from tests.training.mixtures import FLAT, assert_same, stream, trained
from tests.training.runs import arguments
from tests.training.stub import StubEncoder


def test_listwise_training_on_flat_rows_is_that_on_lists(tmp_path: Path) -> None:
    """Bit for bit, with the lists in the order in which the queries come."""
    sampler = QueryGroupedSampler(Dataset.from_list(FLAT), SamplerOptions(2, seed=42))
    lists = []
    for batch in sampler:
        for query in dict.fromkeys(FLAT[row]["query"] for row in batch):
            own = [FLAT[row] for row in batch if FLAT[row]["query"] == query]
            lists.append(
                {
                    "query": query,
                    "documents": [row["document"] for row in own],
                    "labels": [row["label"] for row in own],
                }
            )
    common = {"per_device_train_batch_size": 2}
    listed = trained(tmp_path, lists, ListNetLoss, train_sampling_strategy="sequential", **common)
    flat = trained(tmp_path, FLAT, ListNetLoss, batch_sampler="query_grouped", **common)
    assert_same(flat, listed)
    adjacent = [
        {"query": row["query"], "document": d, "label": label}
        for row in lists
        for d, label in zip(row["documents"], row["labels"], strict=True)
    ]
    streamed = trained(
        tmp_path,
        stream(adjacent),
        ListNetLoss,
        batch_sampler="query_grouped",
        max_steps=2,
        **common,
    )
    assert_same(streamed, listed)


@pytest.mark.parametrize("kind", [list, stream])
def test_the_evaluation_loss_of_flat_rows_is_that_of_lists(tmp_path: Path, kind: Any) -> None:
    model = StubEncoder()
    ordered = sorted(FLAT, key=lambda row: row["query"])
    args = arguments(
        tmp_path, batch_sampler="query_grouped", per_device_eval_batch_size=3,
        max_documents_per_query=6,
    )  # fmt: skip
    trainer = CrossEncoderTrainer(
        model=model, args=args, eval_dataset=kind(ordered), loss=ListNetLoss
    )
    losses = []
    for query in dict.fromkeys(row["query"] for row in ordered):
        own = [row for row in ordered if row["query"] == query]
        scores = model.predict([(query, row["document"]) for row in own])
        target = torch.tensor([row["label"] for row in own]).softmax(0)
        losses.append(-(target * scores.log_softmax(0)).sum())
    assert trainer.evaluate()["eval_loss"] == pytest.approx(float(sum(losses) / 4), rel=1e-5)


def test_flat_rows_without_grouping_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ColumnError, match="batch_sampler='query_grouped' makes lists of them"):
        CrossEncoderTrainer(
            model=StubEncoder(), args=arguments(tmp_path), train_dataset=FLAT, loss=ListNetLoss
        )


def test_lists_of_negatives_beside_a_positive(tmp_path: Path) -> None:
    ragged = [
        {"query": f"q {i}", "positive": "sort", "negatives": ["open", "move", "row"][: 1 + i % 3]}
        for i in range(6)
    ]
    joined = [
        {"query": r["query"], "docs": ["sort", *r["negatives"]],
         "labels": [1.0] + [0.0] * len(r["negatives"])}
        for r in ragged
    ]  # fmt: skip
    assert_same(
        trained(tmp_path, ragged, GroupSoftmaxLoss), trained(tmp_path, joined, GroupSoftmaxLoss)
    )
