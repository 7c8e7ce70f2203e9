from __future__ import annotations

import math
import pickle
from types import SimpleNamespace

import pytest
import torch

from rankwright.errors import ColumnError, InputError
from rankwright.losses import CachedMultipleNegativesRankingLoss, MultipleNegativesRankingLoss
from rankwright.losses.in_batch import InBatchPairBuilder

MODEL = SimpleNamespace(num_labels=1)
COLUMNS = {"q": [f"q{i}" for i in range(6)], "p": [f"p{i}" for i in range(6)]}


def builder(num_negatives: int | None = None, seed: int = 0) -> InBatchPairBuilder:
    return MultipleNegativesRankingLoss(MODEL, num_negatives, seed=seed).pairs


def test_all_other_documents_are_negatives() -> None:
    built = builder()(COLUMNS)
    assert built.group_sizes == [6] * 6
    for i in range(6):
        group = built.pairs[6 * i : 6 * i + 6]
        assert group[0] == (f"q{i}", f"p{i}")
        assert {d for _, d in group[1:]} == {f"p{j}" for j in range(6) if j != i}
    assert built.labels == ([1.0] + [0.0] * 5) * 6


def test_a_rows_own_negatives_come_last() -> None:
    built = builder(2)({**COLUMNS, "n": [f"n{i}" for i in range(6)]})
    assert built.group_sizes == [4] * 6
    for i in range(6):
        documents = [d for _, d in built.pairs[4 * i : 4 * i + 4]]
        assert (documents[0], documents[3]) == (f"p{i}", f"n{i}")
        assert not {f"p{i}", f"n{i}"} & set(documents[1:3])
        assert len(set(documents)) == 4


def test_false_negatives_are_not_drawn() -> None:
    built = builder()({"q": ["a", "a", "b", "c"], "p": ["x", "y", "x", "z"]})
    groups = []
    for size in built.group_sizes or []:
        start = sum(len(g) for g in groups)
        groups.append(built.pairs[start : start + size])
    assert groups[0] == [("a", "x"), ("a", "z")]  # y belongs to the same query, x is its own
    assert groups[1] == [("a", "y"), ("a", "x"), ("a", "z")]
    assert groups[2] == [("b", "x"), ("b", "y"), ("b", "z")]


def test_the_draw_follows_from_seed_and_texts() -> None:
    first = builder(2)(COLUMNS)
    assert builder(2)(COLUMNS) == first
    assert pickle.loads(pickle.dumps(builder(2)))(COLUMNS) == first
    assert builder(2, seed=1)(COLUMNS) != first
    torch.manual_seed(3)
    assert builder(2)(COLUMNS) == first


def test_draws_are_uniform() -> None:
    seen = {f"p{j}": 0 for j in range(1, 6)}
    for seed in range(600):
        for _, document in builder(1, seed)(COLUMNS).pairs[1:2]:
            seen[document] += 1
    assert all(80 < count < 160 for count in seen.values())


def test_the_loss_is_a_softmax_over_scaled_sigmoids() -> None:
    scores = torch.tensor([1.0, -1.0, 0.0, 2.0, 0.5], dtype=torch.float64)
    labels, sizes = torch.tensor([1.0, 0, 0, 1, 0]), torch.tensor([3, 2])
    found = MultipleNegativesRankingLoss(MODEL)(scores, labels, sizes)
    exps = [math.exp(10 / (1 + math.exp(-s))) for s in scores.tolist()]
    by_hand = -(math.log(exps[0] / sum(exps[:3])) + math.log(exps[3] / sum(exps[3:]))) / 2
    assert float(found) == pytest.approx(by_hand, rel=1e-9)


def test_mistakes_are_named() -> None:
    with pytest.raises(ColumnError, match="column 'label': .*takes no labels"):
        builder()({**COLUMNS, "label": [1] * 6})
    with pytest.raises(ColumnError, match="column 'p': expected a text, found None"):
        builder()({"q": ["a"], "p": [None]})
    with pytest.raises(ColumnError, match="only 1 can hold texts"):
        builder()({"q": ["a"]})
    with pytest.raises(InputError, match="num_negatives"):
        MultipleNegativesRankingLoss(MODEL, -1)


def test_the_cached_loss_is_the_same_function() -> None:
    cached = CachedMultipleNegativesRankingLoss(MODEL, None, mini_batch_size=8)
    assert cached.mini_batch_size == 8
    assert cached.get_config_dict()["mini_batch_size"] == 8
    assert cached.pairs(COLUMNS) == builder()(COLUMNS)
