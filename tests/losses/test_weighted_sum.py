from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from rankwright.errors import ColumnError, InputError, InputTypeError, LabelError
from rankwright.losses import (
    BinaryCrossEntropyLoss,
    CrossEntropyLoss,
    DistillKLDivLoss,
    GroupSoftmaxLoss,
    ListNetLoss,
    Loss,
    LossTerm,
    MarginMSELoss,
    MSELoss,
    MultipleNegativesRankingLoss,
    PairBuilder,
    WeightedSumLoss,
)
from rankwright.losses.in_batch import InBatchPairBuilder

MODEL = SimpleNamespace(num_labels=1)
MODEL3 = SimpleNamespace(num_labels=3)
SCORES = torch.tensor([0.5, -1.0, 2.0, 0.1, 0.3])
LABELS = torch.tensor([3.0, 0.5, 2.0, -1.0, 4.0])
SIZES = torch.tensor([3, 0, 2])


def test_terms_are_weighted_and_named() -> None:
    loss = WeightedSumLoss(
        MODEL,
        [DistillKLDivLoss(MODEL), LossTerm(DistillKLDivLoss(MODEL, 2.0), 0.5),
         LossTerm(MSELoss(MODEL), 2.0, name="regression")],
    )  # fmt: skip
    found = loss(SCORES, LABELS, SIZES)
    assert list(found) == ["DistillKLDiv", "DistillKLDiv_2", "regression"]
    torch.testing.assert_close(found["regression"], 2 * MSELoss(MODEL)(SCORES, LABELS))
    softer = DistillKLDivLoss(MODEL, 2.0)(SCORES, LABELS, SIZES)
    torch.testing.assert_close(found["DistillKLDiv_2"], 0.5 * softer)
    assert loss.weight_of(5, LABELS, SIZES) == {
        "DistillKLDiv": 2.0, "DistillKLDiv_2": 2.0, "regression": 5.0,
    }  # fmt: skip


def test_terms_may_see_other_labels() -> None:
    loss = WeightedSumLoss(
        MODEL,
        [LossTerm(GroupSoftmaxLoss(MODEL), labels="first"), MSELoss(MODEL),
         LossTerm(BinaryCrossEntropyLoss(MODEL), labels=2.0)],
    )  # fmt: skip
    found = loss(SCORES, LABELS, SIZES)
    first, relevant = torch.tensor([1.0, 0, 0, 1, 0]), torch.tensor([1.0, 0, 1, 0, 1])
    torch.testing.assert_close(found["GroupSoftmax"], GroupSoftmaxLoss(MODEL)(SCORES, first, SIZES))
    torch.testing.assert_close(
        found["BinaryCrossEntropy"], BinaryCrossEntropyLoss(MODEL)(SCORES, relevant)
    )
    assert found["MSE"] == MSELoss(MODEL)(SCORES, LABELS)


def test_sums_of_sums_keep_their_names_and_citations() -> None:
    inner = WeightedSumLoss(MODEL, [LossTerm(MSELoss(MODEL), 2.0), ListNetLoss(MODEL)])
    loss = WeightedSumLoss(MODEL, [LossTerm(inner, 3.0, name="both"), MarginMSELoss(MODEL)])
    found = loss(SCORES, LABELS, SIZES)
    assert list(found) == ["both_MSE", "both_ListNet", "MarginMSE"]
    torch.testing.assert_close(found["both_MSE"], 6 * MSELoss(MODEL)(SCORES, LABELS))
    assert loss.citation.count("@") == 2  # MSE and MarginMSE have the same


def test_rows_are_built_so_that_every_term_can_use_them() -> None:
    rows = {"q": ["q"], "docs": [["a", "b"]], "labels": [[0.3, 1.0]]}
    both = WeightedSumLoss(MODEL, [BinaryCrossEntropyLoss(MODEL), GroupSoftmaxLoss(MODEL)])
    assert both.pairs(rows).labels == [0.3, 1.0]
    with pytest.raises(LabelError, match="WeightedSumLoss needs numbers from 0 to 1, found 2"):
        both.pairs({**rows, "labels": [[2, 0]]})
    # What sees labels of its own does not restrict those of the rows.
    teacher = {"q": ["q"], "p": ["a"], "n": ["b"], "score": [[7.0, -2.0]]}
    mixed = WeightedSumLoss(
        MODEL, [LossTerm(BinaryCrossEntropyLoss(MODEL), labels="first"), DistillKLDivLoss(MODEL)]
    )
    assert mixed.pairs(teacher).labels == [7.0, -2.0]
    with pytest.raises(LabelError, match="needs labels"):
        mixed.pairs({name: teacher[name] for name in "qpn"})
    # Nor does anything need labels that no term sees.
    unlabelled = WeightedSumLoss(
        MODEL, [LossTerm(BinaryCrossEntropyLoss(MODEL), labels="first"), GroupSoftmaxLoss(MODEL)]
    )
    assert unlabelled.pairs({name: teacher[name] for name in "qpn"}).labels == [1.0, 0.0]
    with pytest.raises(ColumnError, match="but 'q', 'd' are"):
        unlabelled.pairs({"q": ["q"], "d": ["d"], "label": [1]})


def test_margins_stay_margins_beside_losses_that_need_no_labels() -> None:
    rows = {"q": ["q"], "p": ["a"], "n": ["b"], "m": ["c"], "score": [[2.0, 3.0]]}
    first = LossTerm(GroupSoftmaxLoss(MODEL), labels="first")
    assert WeightedSumLoss(MODEL, [MarginMSELoss(MODEL), first]).pairs(rows).labels == [0, -2, -3]
    with pytest.raises(LabelError, match="has 3 documents"):
        WeightedSumLoss(MODEL, [MarginMSELoss(MODEL), ListNetLoss(MODEL)]).pairs(rows)


def test_in_batch_negatives_are_seen_by_all_terms() -> None:
    loss = WeightedSumLoss(
        MODEL,
        [LossTerm(BinaryCrossEntropyLoss(MODEL), 0.1), MultipleNegativesRankingLoss(MODEL, 2)],
    )
    assert isinstance(loss.pairs, InBatchPairBuilder)
    rows = {"q": ["q1", "q2", "q3"], "p": ["p1", "p2", "p3"]}
    loss.check(rows)
    built = loss.pairs(rows)
    assert built == MultipleNegativesRankingLoss(MODEL, 2).pairs(rows)
    assert built.labels == [1.0, 0.0, 0.0] * 3


def test_classes_may_be_summed_too() -> None:
    model = SimpleNamespace(num_labels=3)
    scores, labels = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    loss = WeightedSumLoss(
        model,
        [CrossEntropyLoss(model), LossTerm(CrossEntropyLoss(model, label_smoothing=0.2), 0.5)],
    )
    assert loss.pairs.labels.integer
    expected = CrossEntropyLoss(model, label_smoothing=0.2)(scores, labels)
    torch.testing.assert_close(loss(scores, labels)["CrossEntropy_2"], 0.5 * expected)
    above = WeightedSumLoss(model, [LossTerm(CrossEntropyLoss(model), labels=2)])
    torch.testing.assert_close(
        above(scores, labels.float())["CrossEntropy"],
        CrossEntropyLoss(model)(scores, (labels == 2).long()),
    )


def test_settings_and_parameters_are_those_of_the_terms() -> None:
    class Shifted(MSELoss):
        def __init__(self, model: Any) -> None:
            super().__init__(model, mini_batch_size=8)
            self.shift = torch.nn.Parameter(torch.ones(()))

        def compute(self, scores: Tensor, labels: Any, group_sizes: Any) -> Tensor:
            return super().compute(scores + self.shift, labels, group_sizes)

    loss = WeightedSumLoss(MODEL, [Shifted(MODEL), LossTerm(ListNetLoss(MODEL), 2.0)])
    assert [name for name, _ in loss.named_parameters()] == ["losses.0.shift"]
    assert loss.mini_batch_size == 8
    assert WeightedSumLoss(MODEL, [Shifted(MODEL)], mini_batch_size=-1).mini_batch_size is None
    config = loss.get_config_dict()["losses"]["ListNet"]
    assert (config["loss"], config["weight"], config["labels"]) == ("ListNetLoss", 2.0, "given")


def test_what_the_terms_warn_of_is_passed_on(caplog: Any) -> None:
    loss = WeightedSumLoss(MODEL, [DistillKLDivLoss(MODEL), ListNetLoss(MODEL)])
    loss.check({"q": ["q"], "docs": [["a", "b"]], "labels": [[0.5, 0.5]]})
    assert "times the probability of chance" in caplog.text


class OwnBuilder(PairBuilder):
    pass


class OwnRows(Loss):
    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.pairs = OwnBuilder("OwnRows", ("lists",))


@pytest.mark.parametrize(
    ("terms", "error", "words"),
    [
        (list, InputError, "at least one loss"),
        (lambda: [3], InputTypeError, "needs a rankwright.losses.Loss, found int"),
        (lambda: [LossTerm(MSELoss(MODEL), 0.0)], InputError, "weight must be a number above 0"),
        (lambda: [LossTerm(MSELoss(MODEL), labels="last")], InputError, "'given', 'first' or a"),
        (lambda: [MSELoss(SimpleNamespace(num_labels=1))], InputError, "for another model"),
        (
            lambda: [LossTerm(MSELoss(MODEL), name="a"), LossTerm(ListNetLoss(MODEL), name="a")],
            InputError,
            "the same name",
        ),
        (
            lambda: [LossTerm(CrossEntropyLoss(MODEL3), labels="first")],
            InputError,
            "CrossEntropyLoss takes none",
        ),
        (
            lambda: [MultipleNegativesRankingLoss(MODEL), MultipleNegativesRankingLoss(MODEL, 2)],
            InputError,
            "must draw the same negatives",
        ),
        (
            lambda: [MultipleNegativesRankingLoss(MODEL), MarginMSELoss(MODEL)],
            InputError,
            "which MarginMSELoss does not take",
        ),
        (lambda: [OwnRows(MODEL)], InputError, "builds rows in a way of its own, OwnBuilder"),
    ],
)
def test_what_cannot_be_combined_is_named(terms: Any, error: type[Exception], words: str) -> None:
    model = MODEL3 if words.startswith("Cross") else MODEL
    with pytest.raises(error, match=words):
        WeightedSumLoss(model, terms())
