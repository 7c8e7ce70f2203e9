"""Folders saved here score the same in Sentence Transformers, and the reverse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rankwright.model import CrossEncoder, read_layout
from tests.tiny import save_tiny, tiny_model

peer = pytest.importorskip("sentence_transformers")
pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

PAIRS = [
    ("how do i sort", "sort a list of files by size"),
    ("open", "close the file"),
    ("a", "b"),
    ("list files by date", "the name of the user is in a column of the table " * 3),
]
ACTIVATIONS = {"Sigmoid": torch.nn.Sigmoid(), "Identity": torch.nn.Identity()}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"max_length": 20},
    {"prompts": {"ask": "query how "}, "default_prompt_name": "ask"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "max_length", "prompt"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("num_labels", [1, 3])
def test_ours_in_theirs(
    tmp_path: Path, num_labels: int, activation: str, options: dict[str, Any]
) -> None:
    ours = CrossEncoder.from_transformers(
        *tiny_model("bert", num_labels=num_labels),
        activation_fn=ACTIVATIONS[activation],
        **options,
    )
    ours.save_pretrained(tmp_path)
    theirs = peer.CrossEncoder(str(tmp_path), device="cpu")
    assert type(theirs.activation_fn).__name__ == activation
    np.testing.assert_allclose(theirs.predict(PAIRS), ours.predict(PAIRS), atol=1e-5)
    assert theirs.prompts == ours.prompts
    assert theirs.max_seq_length == ours.max_length


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "max_length", "prompt"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("num_labels", [1, 3])
def test_theirs_in_ours(
    tmp_path: Path, num_labels: int, activation: str, options: dict[str, Any]
) -> None:
    base = save_tiny(tmp_path / "base", num_labels=num_labels)
    theirs = peer.CrossEncoder(
        str(base), device="cpu", activation_fn=ACTIVATIONS[activation], **options
    )
    theirs.save_pretrained(str(tmp_path / "theirs"), create_model_card=False)
    ours = CrossEncoder(tmp_path / "theirs")
    assert read_layout(tmp_path / "theirs").name == "Sentence Transformers 5.4 or later"
    assert type(ours.activation_fn).__name__ == activation
    np.testing.assert_allclose(ours.predict(PAIRS), theirs.predict(PAIRS), atol=1e-5)
    assert ours.max_length == theirs.max_seq_length


@pytest.mark.parametrize(
    "family", ["roberta", "xlm-roberta", "electra", "distilbert", "modernbert"]
)
def test_families(tmp_path: Path, family: str) -> None:
    ours = CrossEncoder.from_transformers(*tiny_model(family))
    ours.save_pretrained(tmp_path / "ours")
    theirs = peer.CrossEncoder(str(tmp_path / "ours"), device="cpu")
    np.testing.assert_allclose(theirs.predict(PAIRS), ours.predict(PAIRS), atol=1e-5)


def test_rank_agrees(tmp_path: Path) -> None:
    ours = CrossEncoder.from_transformers(*tiny_model("bert"))
    ours.save_pretrained(tmp_path)
    theirs = peer.CrossEncoder(str(tmp_path), device="cpu")
    documents = [document for _, document in PAIRS]
    mine = ours.rank("sort files", documents, top_k=3, return_documents=True)
    other = theirs.rank("sort files", documents, top_k=3, return_documents=True)
    assert [(r["corpus_id"], r["text"]) for r in mine] == [
        (r["corpus_id"], r["text"]) for r in other
    ]
    for a, b in zip(mine, other, strict=True):
        assert a["score"] == pytest.approx(b["score"], abs=1e-5)


def test_saved_over_by_them(tmp_path: Path) -> None:
    ours = CrossEncoder.from_transformers(*tiny_model("bert"), activation_fn="identity")
    ours.save_pretrained(tmp_path)
    theirs = peer.CrossEncoder(str(tmp_path), device="cpu", activation_fn=torch.nn.Tanh())
    theirs.save_pretrained(str(tmp_path), create_model_card=False)
    again = CrossEncoder(tmp_path)
    np.testing.assert_allclose(again.predict(PAIRS), theirs.predict(PAIRS), atol=1e-5)
