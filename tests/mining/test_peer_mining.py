"""The same rows as Sentence Transformers' function of the same name."""

from __future__ import annotations

from itertools import product
from typing import Any

import datasets
import pytest

from rankwright.mining import mine_hard_negatives
from tests.mining.toys import ToyCrossEncoder, ToyEncoder, sentences

pytestmark = pytest.mark.peer

QUERIES = sentences(60, seed=13)
ANSWERS = sentences(80, seed=14)
DATA = datasets.Dataset.from_dict(
    {
        "question": [*QUERIES, *QUERIES[:20]],  # 20 queries have two positives
        "answer": ANSWERS,
    }
)
FORMATS = ["triplet", "n-tuple", "labeled-pair", "labeled-list"]
OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "five": {"num_negatives": 5},
    "range": {"range_min": 4, "range_max": 30, "num_negatives": 2},
    "absolute margin": {"absolute_margin": 0.1},
    "relative margin": {"relative_margin": 0.05, "num_negatives": 4},
    "both margins": {"absolute_margin": 0.02, "relative_margin": 0.2},
    "max score": {"max_score": 0.3},
    "min score": {"min_score": 0.2, "range_max": 25},
    "all": {
        "range_min": 2,
        "range_max": 60,
        "max_score": 0.7,
        "min_score": -0.2,
        "relative_margin": 0.05,
        "absolute_margin": 0.01,
        "num_negatives": 3,
    },
    "corpus": {"corpus": sentences(50, seed=15), "max_score": 0.5},
    "more than there are": {"num_negatives": 70, "range_max": 75},
}


@pytest.fixture(scope="module")
def peer():
    util = pytest.importorskip("sentence_transformers.util")
    return util.mine_hard_negatives


def same(ours: datasets.Dataset, theirs: datasets.Dataset) -> None:
    if len(theirs):  # without rows theirs has no types
        assert ours.features == theirs.features
    scores = [name for name in ours.column_names if name in ("score", "scores")]
    assert ours.remove_columns(scores).to_list() == theirs.remove_columns(scores).to_list()
    for name in scores:
        for a, b in zip(ours[name], theirs[name], strict=True):
            assert a == pytest.approx(b, abs=1e-6)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_same_rows(peer, options: dict[str, Any]):
    for output_format, output_scores in product(FORMATS, (False, True)):
        arguments = {
            "output_format": output_format,
            "output_scores": output_scores,
            "verbose": False,
            **options,
        }
        ours = mine_hard_negatives(DATA, ToyEncoder(), **arguments)
        same(ours, peer(DATA, ToyEncoder(), **arguments))


@pytest.mark.parametrize("options", [{}, {"num_negatives": 9}, {"max_score": 0.5}])
def test_same_rows_with_positives(peer, options: dict[str, Any]):
    arguments = {"include_positives": True, "output_scores": True, "verbose": False, **options}
    same(
        mine_hard_negatives(DATA, ToyEncoder(), **arguments),
        peer(DATA, ToyEncoder(), **arguments),
    )


@pytest.mark.parametrize("options", [{"relative_margin": 0.1}, {"max_score": 0.2, "range_min": 3}])
def test_same_rows_with_a_cross_encoder(peer, options: dict[str, Any]):
    arguments = {"output_scores": True, "verbose": False, **options}
    same(
        mine_hard_negatives(DATA, ToyEncoder(), cross_encoder=ToyCrossEncoder(), **arguments),
        peer(DATA, ToyEncoder(), cross_encoder=ToyCrossEncoder(), **arguments),
    )


def test_same_arguments_and_defaults(peer):
    import inspect

    theirs = inspect.signature(peer).parameters
    ours = inspect.signature(mine_hard_negatives).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    for name, parameter in theirs.items():
        assert ours[name].default == parameter.default, name
        assert ours[name].kind == parameter.kind, name
    assert set(ours) - set(theirs) == {"seed", "show_progress_bar"}
