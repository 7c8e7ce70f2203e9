"""The modules that are exported compute what transformers computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rankwright.export.graph import (
    ModernBertGraph,
    PlainGraph,
    PostNormGraph,
    build_graph,
)
from tests.tiny import FAMILIES, tiny_model


def features(tokenizer: Any, with_types: bool, seed: int = 0) -> dict[str, torch.Tensor]:
    """Rows of several lengths; padding in three of them."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 60, (5, 23), generator=generator)
    mask = torch.ones_like(ids)
    for row, length in enumerate((23, 11, 2, 1, 23)):
        mask[row, length:] = 0
        ids[row, length:] = tokenizer.pad_token_id
    found = {"input_ids": ids, "attention_mask": mask}
    if with_types:
        found["token_type_ids"] = (torch.arange(23) > 6).long() * mask
    return found


@pytest.mark.parametrize("num_labels", [1, 3])
@pytest.mark.parametrize("family", [*FAMILIES, "deberta"])
def test_equals_transformers(family: str, num_labels: int) -> None:
    model, tokenizer = tiny_model(family, num_labels)
    with_types = "token_type_ids" in tokenizer.model_input_names
    graph = build_graph(model, with_types)
    known = {"modernbert": ModernBertGraph, "deberta": PlainGraph}
    assert isinstance(graph, known.get(family, PostNormGraph))
    inputs = features(tokenizer, with_types)
    with torch.inference_mode():
        torch.testing.assert_close(graph(**inputs), model(**inputs).logits, atol=2e-5, rtol=1e-5)


def test_the_mean_of_all_tokens() -> None:
    model, tokenizer = tiny_model("modernbert", classifier_pooling="mean")
    inputs = features(tokenizer, False)
    with torch.inference_mode():
        found = build_graph(model, False)(**inputs)
        torch.testing.assert_close(found, model(**inputs).logits, atol=2e-5, rtol=1e-5)


def test_padding_ids_inside_a_text_shift_positions_as_in_transformers() -> None:
    model, tokenizer = tiny_model("roberta")
    inputs = features(tokenizer, False)
    inputs["input_ids"][0, 4] = tokenizer.pad_token_id
    with torch.inference_mode():
        found = build_graph(model, False)(**inputs)
        torch.testing.assert_close(found, model(**inputs).logits, atol=2e-5, rtol=1e-5)


def test_the_last_layer_computes_only_what_is_read() -> None:
    model, tokenizer = tiny_model("bert")
    graph = build_graph(model, True)
    widths: list[int] = []
    for layer in graph.layers:
        layer.up.register_forward_hook(lambda _, x, __: widths.append(x[0].shape[1]))
    with torch.inference_mode():
        graph(**features(tokenizer, True))
    assert widths == [23, 23, 1]


def test_layers_that_are_more_than_products_are_left_to_transformers() -> None:
    model, _ = tiny_model("bert")

    class Adapted(torch.nn.Linear):
        pass

    output = model.bert.encoder.layer[0].output
    output.dense = Adapted(48, 32)
    assert isinstance(build_graph(model, True), PlainGraph)
