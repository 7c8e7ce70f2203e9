"""Names that programs written for Sentence Transformers ask a model for."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch

from rankwright.errors import InputError, InputTypeError
from rankwright.model import CrossEncoder, LoggingHandler
from tests.tiny import tiny_model

PAIRS = [("how do i sort", "sort a list of files"), ("open", "close the file")]


@pytest.fixture(scope="module")
def model() -> CrossEncoder:
    hf, tokenizer = tiny_model("bert")
    return CrossEncoder.from_transformers(hf, tokenizer, max_length=24)


def test_what_a_model_says_of_itself(model: CrossEncoder) -> None:
    assert model.transformers_model is model.model
    assert model.processor is model.tokenizer
    assert model.modalities == ["text"]
    assert model.supports("text")
    assert not model.supports("image")
    assert model.get_backend() == "torch"
    assert model.get_max_seq_length() == model.max_seq_length == 24
    assert isinstance(model.get_default_activation_fn(), torch.nn.Sigmoid)
    three = CrossEncoder.from_transformers(*tiny_model("bert", num_labels=3))
    assert isinstance(three.get_default_activation_fn(), torch.nn.Identity)


def test_one_pair_or_many(model: CrossEncoder) -> None:
    assert model.is_singular_input(("query", "document"))
    assert not model.is_singular_input([("query", "document")])
    assert not model.is_singular_input([])
    with pytest.raises(InputTypeError):
        model.is_singular_input("query")


def test_preprocess_gives_what_the_model_takes(model: CrossEncoder) -> None:
    features = model.preprocess(PAIRS)
    model.eval()
    with torch.no_grad():
        ours, theirs = model(features), model.model(**features).logits[:, 0]
    expected = model.predict(PAIRS, activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(theirs.numpy(), expected, atol=1e-5)
    with torch.no_grad():
        prompted = model(model.preprocess(PAIRS, prompt="python "))
    expected = model.predict(PAIRS, prompt="python ", activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(prompted.numpy(), expected, atol=1e-5)


def test_preprocess_of_texts_and_nothing(model: CrossEncoder) -> None:
    assert model.preprocess(["open"])["input_ids"].tolist() == [model.tokenizer("open").input_ids]
    assert model.preprocess([]) == {}
    with pytest.raises(InputTypeError, match="bare string"):
        model.preprocess("open")
    with pytest.raises(InputError, match="mixes"):
        model.preprocess(["open", ("a", "b")])
    with pytest.warns(FutureWarning, match="preprocess"):
        old = model.tokenize(PAIRS)
    assert torch.equal(old["input_ids"], model.preprocess(PAIRS)["input_ids"])


def test_save_takes_its_arguments_by_position(model: CrossEncoder, tmp_path: Any) -> None:
    model.save(str(tmp_path / "a"), "Its name", True, ["some/data"])
    card = (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    assert "# Its name" in card
    assert "some/data" in card
    model.save(tmp_path / "b", create_model_card=False)
    assert not (tmp_path / "b" / "README.md").exists()
    with pytest.raises(InputError, match="safe_serialization"):
        model.save(tmp_path / "c", safe_serialization=False)


def test_save_to_hub(model: CrossEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: list[Any] = []

    def push(repo_id: str, **options: Any) -> str:
        pushed.append((repo_id, options["commit_message"], options["private"]))
        return "address"

    monkeypatch.setattr(model, "push_to_hub", push)
    with pytest.warns(FutureWarning, match="push_to_hub"):
        assert model.save_to_hub("name", organization="us", private=True) == "address"
    with pytest.warns(FutureWarning):
        model.save_to_hub("us/name", organization="us")
    with pytest.warns(FutureWarning):
        model.save_to_hub("them/name", commit_message="Second.")
    with pytest.warns(FutureWarning), pytest.raises(InputError, match="organization='us'"):
        model.save_to_hub("them/name", organization="us")
    assert pushed == [
        ("us/name", "Add new model.", True),
        ("us/name", "Add new model.", None),
        ("them/name", "Second.", None),
    ]


def test_log_lines_beside_progress_bars(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("a program")
    handler = LoggingHandler(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    try:
        logger.warning("%d files", 3)
        logger.info("unseen")
    finally:
        logger.removeHandler(handler)
    assert capsys.readouterr().out == "WARNING 3 files\n"
