"""Samples and arguments that the reranking evaluator refuses."""

from __future__ import annotations

import math

import pytest

from rankwright.errors import (
    ColumnError,
    DataError,
    EmptyDataError,
    InputError,
    InputTypeError,
    LabelError,
)
from rankwright.evaluation import CrossEncoderRerankingEvaluator
from tests.evaluation.samples import run
from tests.evaluation.stubs import StubModel


@pytest.mark.parametrize(
    ("sample", "error", "match"),
    [
        ({"positive": ["a"], "negative": ["x"]}, ColumnError, "Sample 1 needs a 'query'"),
        ({"query": "q", "negative": ["x"]}, ColumnError, "needs 'positive'"),
        ({"query": "q", "positive": ["a"]}, ColumnError, "exactly one of"),
        ({"query": "q", "positive": ["a"], "negative": None}, ColumnError, "exactly one of"),
        (
            {"query": "q", "positive": ["a"], "negative": ["x"], "documents": ["x"]},
            ColumnError,
            "exactly one of",
        ),
        (
            {"query": "q", "positive": ["a"], "negative": ["x"], "relevance": [1]},
            ColumnError,
            "which grades 'documents'",
        ),
        ({"query": "q", "positive": 3, "negative": ["x"]}, InputTypeError, "'positive' is a int"),
        ({"query": "q", "positive": ["a"], "negative": [3]}, InputTypeError, "holds a int"),
        ({"query": "q", "positive": {3: 1}, "negative": ["x"]}, InputTypeError, "holds a int"),
        ({"query": "q", "documents": ["a"], "relevance": [1, 2]}, DataError, "1 documents but 2"),
        ({"query": "q", "documents": ["a"], "relevance": 1}, InputTypeError, "must be a list"),
        ({"query": "q", "documents": ["a"], "relevance": [0.5]}, LabelError, "'a' is 0.5"),
        ({"query": "q", "documents": ["a"], "relevance": [-1]}, LabelError, "'a' is -1"),
        ({"query": "q", "documents": ["a"], "relevance": [math.nan]}, LabelError, "is nan"),
        ({"query": "q", "documents": ["a", "a"], "relevance": [1, 2]}, LabelError, "listed twice"),
        (
            {"query": "q", "documents": ["a"], "relevance": [0], "positive": ["a"]},
            LabelError,
            "grade 1 in 'positive' but 0",
        ),
        ("text", InputTypeError, "is a str"),
    ],
)
def test_malformed_samples(sample, error, match: str) -> None:
    good = {"query": "q", "positive": ["a"], "negative": ["x"]}
    with pytest.raises(error, match=match):
        CrossEncoderRerankingEvaluator([good, sample])


def test_bad_arguments() -> None:
    samples = [{"query": "q", "positive": ["a"], "negative": ["x"]}]
    with pytest.raises(EmptyDataError, match="samples is empty"):
        CrossEncoderRerankingEvaluator([])
    with pytest.raises(EmptyDataError, match="None of the 1 samples"):
        CrossEncoderRerankingEvaluator([{"query": "q", "positive": [], "negative": ["x"]}])
    with pytest.raises(InputError, match="cutoff is 0"):
        CrossEncoderRerankingEvaluator(samples, at_k=0)
    with pytest.raises(InputError, match="Give samples"):
        CrossEncoderRerankingEvaluator()
    with pytest.raises(InputError, match="not both"):
        CrossEncoderRerankingEvaluator(samples, corpus={})
    with pytest.raises(InputError, match="num_labels=1"):
        run(samples, StubModel(lambda q, d: [0.0, 1.0]))
