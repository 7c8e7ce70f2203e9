"""Inputs in every form, options per call, and many threads at once."""

from __future__ import annotations

import copy
import logging
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.engine.pack import pack
from rankwright.errors import InputError, InputTypeError, ScoreError
from rankwright.model import CrossEncoder
from tests.tiny import tiny_model

PAIRS = [
    ("how do i sort", "sort a list of files by size"),
    ("open", "close the file"),
    ("a", "b"),
    ("list files by date", "the name of the user is in a column of the table " * 3),
    ("open", "close the file"),
]


def make(family: str = "bert", num_labels: int = 1, **options: Any) -> CrossEncoder:
    model, tokenizer = tiny_model(family, num_labels=num_labels)
    return CrossEncoder.from_transformers(model, tokenizer, **options)


def reference(model: CrossEncoder, pairs: list[tuple[str, str]], max_length: int) -> np.ndarray:
    """Logits pair by pair through transformers alone."""
    hf = copy.deepcopy(model.model).eval()
    rows = []
    for pair in pairs:
        features = model.tokenizer(
            *pair, truncation=True, max_length=max_length, return_tensors="pt"
        )
        with torch.inference_mode():
            rows.append(hf(**features).logits[0].numpy())
    return np.stack(rows)


@pytest.fixture(scope="module")
def model() -> CrossEncoder:
    return make(activation_fn="identity")


@pytest.fixture(scope="module")
def expected(model: CrossEncoder) -> np.ndarray:
    return reference(model, PAIRS, 64)[:, 0]


class Columns:
    """As much of datasets.Dataset or pandas.DataFrame as is used."""

    def __init__(self, attribute: str, **columns: list[str]) -> None:
        setattr(self, attribute, list(columns))
        self._columns = columns

    def __getitem__(self, name: str) -> list[str]:
        return self._columns[name]


QUERIES, DOCUMENTS = [q for q, _ in PAIRS], [d for _, d in PAIRS]


@pytest.mark.parametrize(
    "inputs",
    [
        PAIRS,
        tuple(PAIRS),
        [list(pair) for pair in PAIRS],
        (pair for pair in PAIRS),
        zip(QUERIES, DOCUMENTS, strict=True),
        np.array(PAIRS),
        np.array(PAIRS, dtype=object),
        [np.array(pair) for pair in PAIRS],
        [{"query": q, "document": d, "label": 1.0} for q, d in PAIRS],
        [{"left": q, "right": d} for q, d in PAIRS],
        {"document": DOCUMENTS, "query": QUERIES},
        Columns("column_names", label=[], answer=DOCUMENTS, question=QUERIES),
        Columns("columns", sentence1=QUERIES, sentence2=DOCUMENTS),
    ],
    ids=lambda value: type(value).__name__,
)
def test_many_pairs_in_any_form(model: CrossEncoder, expected: np.ndarray, inputs: Any) -> None:
    scores = model.predict(inputs)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_a_real_dataset(model: CrossEncoder, expected: np.ndarray) -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"query": QUERIES, "document": DOCUMENTS, "label": [1] * 5})
    np.testing.assert_allclose(model.predict(data), expected, atol=1e-5)
    columns = zip(data["query"], data["document"], strict=True)
    np.testing.assert_allclose(model.predict(columns), expected, atol=1e-5)


@pytest.mark.parametrize(
    "inputs",
    [
        PAIRS[0],
        list(PAIRS[0]),
        np.array(PAIRS[0]),
        {"document": DOCUMENTS[0], "query": QUERIES[0]},
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_pair_gives_one_score(model: CrossEncoder, expected: np.ndarray, inputs: Any) -> None:
    score = model.predict(inputs)
    assert np.ndim(score) == 0
    assert float(score) == pytest.approx(expected[0], abs=1e-5)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ("ab", InputTypeError, "bare string 'ab'"),
        (b"ab", InputTypeError, "bare string"),
        (None, InputTypeError, "inputs is None"),
        (7, InputTypeError, "inputs is 7"),
        (["a", "b", "c"], InputTypeError, "3 strings"),
        (["a"], InputTypeError, "1 strings"),
        (["a", None], InputTypeError, r"inputs\[1\] is None"),
        ([["a"]], InputError, r"inputs\[0\] has 1 elements"),
        ([("a", "b"), ("a", "b", "c")], InputError, r"inputs\[1\] has 3 elements"),
        ([("a", "b"), "ab"], InputTypeError, r"inputs\[1\] is 'ab' \(str\)"),
        ([("a", "b"), ("a", None)], InputTypeError, r"inputs\[1\]\[1\] is None"),
        ([("a", 3.5)], InputTypeError, r"inputs\[0\]\[1\] is 3.5 \(float\)"),
        ([None], InputTypeError, r"inputs\[0\] is None"),
        ([{"id": 1, "query": "a", "score": 3}], InputError, "none is known as a document"),
        ({"query": ["a"], "document": ["b", "c"]}, InputError, "1 values but 'document' has 2"),
        ({"query": ["a"], "document": [None]}, InputTypeError, r"inputs\[0\]\[1\] is None"),
        ({}, InputError, "empty mapping"),
    ],
)
def test_what_is_no_pair_is_refused(
    model: CrossEncoder, inputs: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        model.predict(inputs)


def test_nothing_in_nothing_out(model: CrossEncoder) -> None:
    for empty in ([], (), iter(()), np.zeros((0, 2), dtype=str)):
        scores = model.predict(empty)
        assert (scores.shape, scores.dtype) == ((0,), np.float32)
    assert make(num_labels=3).predict([]).shape == (0, 3)
    assert model.predict([], convert_to_tensor=True).shape == (0,)
    assert model.rank("a", []) == []


def test_kinds_of_output(expected: np.ndarray) -> None:
    three = make(num_labels=3)
    logits = reference(three, PAIRS, 64)
    tensor = three.predict(PAIRS, convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor)
    rows = three.predict(PAIRS, convert_to_numpy=False)
    assert isinstance(rows, list)
    assert len(rows) == 5
    np.testing.assert_allclose(tensor.numpy(), logits, atol=1e-5)
    np.testing.assert_allclose(torch.stack(rows).numpy(), logits, atol=1e-5)
    assert three.predict(PAIRS[0]).shape == (3,)
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(three.predict(PAIRS, apply_softmax=True), softmax, atol=1e-5)
    by_activation = three.predict(PAIRS, activation_fn=torch.nn.Softmax(dim=1))
    np.testing.assert_allclose(by_activation, softmax, atol=1e-5)
    assert three.predict(PAIRS, activation_fn=torch.nn.Softmax()).shape == (5, 3)


@pytest.mark.parametrize("family", ["bert", "deberta"])
def test_options_of_one_call(family: str) -> None:
    model = make(family, prompts={"ask": "query how "}, default_prompt_name=None)
    logits = reference(model, PAIRS, 16)[:, 0]
    scores = model.predict(PAIRS, max_length=16, activation_fn=torch.tanh, batch_size=2)
    np.testing.assert_allclose(scores, np.tanh(logits), atol=1e-5)
    prompted = [("query how " + q, d) for q, d in PAIRS]
    plain = model.predict(prompted)
    np.testing.assert_allclose(model.predict(PAIRS, prompt_name="ask"), plain, atol=1e-6)
    np.testing.assert_allclose(model.predict(PAIRS, prompt="query how "), plain, atol=1e-6)
    model.default_prompt_name = "ask"
    np.testing.assert_allclose(model.predict(PAIRS), plain, atol=1e-6)
    assert not np.allclose(model.predict(PAIRS, prompt=""), plain)
    assert model.max_length == 64


def test_bad_options(model: CrossEncoder) -> None:
    for options, message in (
        ({"batch_size": 0}, "batch_size=0"),
        ({"max_length": 0}, "max_length=0"),
        ({"max_length": 2}, "no room for text"),
        ({"max_length": 1.5}, r"max_length is 1\.5"),
        ({"prompt_name": "x"}, "No prompt is named 'x'"),
        ({"prompt_name": 32}, "must be passed by name"),
        ({"precision": "int3"}, "precision='int3'"),
        ({"device": ["cpu", "cuda:99"]}, "no cuda:99 here"),
        ({"pool": {}}, "pool is dict; expected what start_multi_process_pool"),
        ({"activation_fn": lambda x: x.sum()}, "activation_fn gave"),
    ):
        with pytest.raises(InputError, match=message):
            model.predict(PAIRS, **options)  # type: ignore[arg-type]


def test_earlier_names(model: CrossEncoder, expected: np.ndarray) -> None:
    with pytest.warns(FutureWarning, match="sentences is now inputs"):
        np.testing.assert_allclose(model.predict(sentences=PAIRS), expected, atol=1e-5)
    with pytest.warns(FutureWarning, match="num_workers has no effect") as noted:
        model.predict(PAIRS, num_workers=2)
    assert [warning.filename for warning in noted] == [__file__]
    with pytest.warns(FutureWarning, match="activation_fct"):
        tanh = model.predict(PAIRS, activation_fct=torch.nn.Tanh())
    np.testing.assert_allclose(tanh, np.tanh(expected), atol=1e-5)
    with pytest.warns(FutureWarning, match="processing_kwargs"):
        short = model.predict(PAIRS, processing_kwargs={"text": {"max_length": 16}})
    np.testing.assert_allclose(short, model.predict(PAIRS, max_length=16))
    with pytest.raises(InputTypeError, match="both sentences and inputs"), pytest.warns():
        model.predict(PAIRS, sentences=PAIRS)


def test_truncation_is_counted_and_said(
    model: CrossEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    assert model.score(PAIRS).truncated == 0
    assert caplog.text == ""
    result = model.score([*PAIRS, PAIRS[3]], max_length=13)
    assert result.truncated == 2
    assert result.lengths.max() == 13
    assert caplog.text.count("2 of 4 distinct pairs were longer than max_length=13") == 1


def test_equal_pairs_get_equal_scores(model: CrossEncoder) -> None:
    filler = [("sort " * n, "file " * n) for n in range(1, 20)]
    scores = model.predict([PAIRS[0], *filler, PAIRS[0]], batch_size=3)
    assert scores[0] == scores[-1]


words = st.text("abcdefgh ", min_size=0, max_size=30)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(words, words), min_size=1, max_size=12), st.randoms())
def test_order_and_company_do_not_matter(pairs: list[tuple[str, str]], random: Any) -> None:
    model = MODEL
    scores = model.predict(pairs)
    order = list(range(len(pairs)))
    random.shuffle(order)
    np.testing.assert_allclose(model.predict([pairs[i] for i in order]), scores[order], atol=2e-5)
    np.testing.assert_allclose(model.predict(pairs[0]), scores[0], atol=2e-5)


MODEL = make(activation_fn="identity")


def test_nan_is_never_returned() -> None:
    model = make()
    with pytest.raises(ScoreError, match=r"score of 5 of 5 pairs is NaN, first at index 0"):
        model.predict(PAIRS, activation_fn=lambda x: x * float("nan"))
    model.model.classifier.bias.data.fill_(float("nan"))
    with pytest.raises(ScoreError, match="logit"):
        model.rank("a", ["b", "c"])


def test_saturated_scores_keep_their_order_in_narrow_precision() -> None:
    model = make(precision="bfloat16")
    model.model.classifier.weight.data.mul_(4)
    logits = model.predict(PAIRS[:4], activation_fn="identity")
    assert (np.argsort(model.predict(PAIRS[:4])) == np.argsort(logits)).all()


@pytest.mark.parametrize("family", ["bert", "deberta"])
@pytest.mark.parametrize("training", [False, True])
def test_eight_threads_get_the_scores_of_one(family: str, training: bool) -> None:
    model = make(family, prompts={"p": "query how "})
    model.train(training)
    long = [(q, d * 3) for q, d in PAIRS]
    calls = [
        {"max_length": length, "activation_fn": activation, "prompt_name": prompt}
        for length in (12, 20, 33, 64)
        for activation in ("identity", "tanh", None)
        for prompt in (None, "p")
    ] * 3
    alone = [model.predict(long, **options) for options in calls]  # type: ignore[arg-type]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda options: model.predict(long, **options), calls))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
    assert model.model.training is training
    assert model.model.base_model.training is training


def test_frozen_parts_stay_frozen() -> None:
    model = make("deberta")
    model.train()
    model.model.deberta.embeddings.eval()
    model.predict(PAIRS)
    assert model.model.training
    assert not model.model.deberta.embeddings.training


@pytest.mark.parametrize("num_labels", [1, 3])
def test_forward_packed_and_padded_agree(num_labels: int) -> None:
    model = make(num_labels=num_labels)
    expected = reference(model, PAIRS, 64)
    if num_labels == 1:
        expected = expected[:, 0]
    packed = model(pack(model.pair_tokenizer.encode(PAIRS, 64)))
    padded = model(model.tokenizer(QUERIES, DOCUMENTS, padding=True, return_tensors="pt"))
    by_name = model(pack(model.pair_tokenizer.encode(PAIRS, 64)).to_dict())
    for logits in (packed, padded, by_name):
        assert logits.shape == expected.shape
        assert logits.requires_grad
        np.testing.assert_allclose(logits.detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "deberta"])
def test_copies_score_on_their_own(family: str) -> None:
    model = make(family)
    scores = model.predict(PAIRS)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(twin.predict(PAIRS), scores)
        twin.model.classifier.bias.data.add_(1.0)
        assert not np.allclose(twin.predict(PAIRS), scores)
    np.testing.assert_array_equal(model.predict(PAIRS), scores)


def test_the_activation_is_no_part_of_the_weights() -> None:
    model = make(activation_fn=torch.nn.PReLU())
    assert all(name.startswith("model.") for name in model.state_dict())
    assert isinstance(model.activation_fn, torch.nn.PReLU)
    model.default_activation_function = torch.nn.Tanh()
    assert isinstance(model.activation_fn, torch.nn.Tanh)


def test_progress_follows_the_log_level(
    model: CrossEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("rankwright")
    before = logger.level
    try:
        logger.setLevel(logging.WARNING)
        model.predict(PAIRS)
        assert "Scoring" not in capsys.readouterr().err
        logger.setLevel(logging.INFO)
        model.predict(PAIRS)
        assert "Scoring" in capsys.readouterr().err
        model.predict(PAIRS, show_progress_bar=False)
        assert "Scoring" not in capsys.readouterr().err
    finally:
        logger.setLevel(before)
