"""Every loss with its definition by hand, for tests that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from rankwright import losses
from rankwright.losses import Loss, LossTerm
from tests.losses import by_hand

MODEL = SimpleNamespace(num_labels=1)
CLASSES = SimpleNamespace(num_labels=3)


@dataclass(frozen=True)
class Case:
    """One loss.

    Attributes:
        make: The loss, given a model.
        by_hand: Its definition, of scores, labels and a list of group sizes.
        labels: ``grades`` (0 to 3), ``binary``, ``fractions`` (0, 0.5, 1), ``real`` (any number) or
            ``classes`` (0 to 2; scores are then ``(P, 3)``).
        keeps: How many documents at the start of a group must stay there; None for all of them.
        separable: Whether it can be taken apart.
    """

    make: Callable[[Any], Loss]
    by_hand: by_hand.Definition
    labels: str = "grades"
    keeps: int | None = 0
    separable: bool = True

    def loss(self) -> Loss:
        return self.make(CLASSES if self.labels == "classes" else MODEL)

    def example(self, sizes: list[int], seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Float64 scores without ties, labels with ties, sizes."""
        generator = torch.Generator().manual_seed(seed)
        count = sum(sizes)
        shape = (count, 3) if self.labels == "classes" else (count,)
        scores = torch.randn(shape, generator=generator, dtype=torch.float64) * 2
        grades = torch.randint(0, 4, (count,), generator=generator)
        labels = {
            "grades": grades.double(),
            "binary": (grades > 2).double(),
            "fractions": grades.clamp(max=2).double() / 2,
            "real": grades.double() * 1.5 - 2.0,
            "classes": grades.clamp(max=2),
        }[self.labels]
        return scores, labels, torch.tensor(sizes)


def value(loss: Loss, *data: Tensor) -> Tensor:
    """What would be trained on: the sum of the components, if there are any."""
    found = loss(*data)
    return sum(found.values()) if isinstance(found, Mapping) else found


def _half_weight(mask: Tensor) -> Tensor:
    """Garbage where there is no document, which must not show."""
    return torch.where(mask, 0.5 ** torch.arange(mask.shape[1]), torch.inf)


def _combined(model: Any) -> Loss:
    return losses.WeightedSumLoss(
        model,
        [
            LossTerm(losses.GroupSoftmaxLoss(model), 0.2, labels="first"),
            LossTerm(losses.DistillKLDivLoss(model, 2.0), 1.5),
            LossTerm(losses.BinaryCrossEntropyLoss(model), 3.0, labels=2),
            losses.MarginMSELoss(model),
        ],
    )


def _combined_by_hand(scores: Tensor, labels: Tensor, sizes: list[int]) -> float:
    first = torch.tensor([float(i == 0) for n in sizes for i in range(n)])
    return (
        0.2 * by_hand.group_softmax(scores, first, sizes, 1.0)
        + 1.5 * by_hand.kl(scores, labels, sizes, 2.0, 2.0)
        + 3.0 * by_hand.bce(scores, (labels >= 2).double())
        + by_hand.margin_mse(scores, labels, sizes)
    )


def _lambda(scheme: nn.Module | None = None, **options: Any) -> Callable[[Any], Loss]:
    return lambda model: losses.LambdaLoss(model, scheme, **options)


def _lambda_by_hand(scheme: nn.Module, k: int | None = None) -> by_hand.Definition:
    return lambda s, y, n: by_hand.lambda_loss(s, y, n, scheme, k, 1.0)


def _mnrl(scores: Tensor, labels: Tensor, sizes: list[int]) -> float:
    return by_hand.group_softmax(scores.sigmoid(), labels, sizes, 10.0)


CASES = {
    "ADRMSE": Case(losses.ADRMSELoss, by_hand.adr_mse),
    "ADRMSE alpha": Case(
        lambda model: losses.ADRMSELoss(model, alpha=3.0),
        lambda s, y, n: by_hand.adr_mse(s, y, n, 3.0),
        "real",
    ),
    "BinaryCrossEntropy": Case(
        losses.BinaryCrossEntropyLoss, lambda s, y, n: by_hand.bce(s, y), "fractions"
    ),
    "BinaryCrossEntropy pos_weight": Case(
        lambda model: losses.BinaryCrossEntropyLoss(model, pos_weight=3.0),
        lambda s, y, n: by_hand.bce(s, y, 3.0),
        "binary",
    ),
    "CachedMultipleNegativesRanking": Case(
        losses.CachedMultipleNegativesRankingLoss, _mnrl, "binary"
    ),
    "CrossEntropy": Case(losses.CrossEntropyLoss, by_hand.cross_entropy, "classes"),
    "CrossEntropy weight": Case(
        lambda model: losses.CrossEntropyLoss(model, weight=torch.tensor([1.0, 0.5, 4.0])),
        lambda s, y, n: by_hand.cross_entropy(s, y, n, (1.0, 0.5, 4.0)),
        "classes",
    ),
    "DistillKLDiv": Case(losses.DistillKLDivLoss, by_hand.kl, "real"),
    "DistillKLDiv temperatures": Case(
        lambda model: losses.DistillKLDivLoss(model, 2.0, 0.5),
        lambda s, y, n: by_hand.kl(s, y, n, 2.0, 0.5),
    ),
    "GBCE": Case(lambda model: losses.GBCELoss(model, 50), by_hand.gbce, "binary"),
    "GBCE fractions": Case(
        lambda model: losses.GBCELoss(model, 9, t=1.0),
        lambda s, y, n: by_hand.gbce(s, y, n, 9, 1.0),
        "fractions",
    ),
    "GroupSoftmax": Case(
        losses.GroupSoftmaxLoss, lambda s, y, n: by_hand.group_softmax(s, y, n, 1.0)
    ),
    "Lambda": Case(losses.LambdaLoss, _lambda_by_hand(losses.NDCGLoss2PPScheme())),
    "Lambda None": Case(_lambda(None), _lambda_by_hand(losses.NoWeightingScheme())),
    "Lambda k": Case(
        _lambda(losses.NDCGLoss2Scheme(), k=2),
        _lambda_by_hand(losses.NDCGLoss2Scheme(), 2),
        separable=False,
    ),
    "Lambda NDCGLoss1": Case(
        _lambda(losses.NDCGLoss1Scheme(), k=2), _lambda_by_hand(losses.NDCGLoss1Scheme(), 2)
    ),
    "LambdaRank": Case(
        _lambda(losses.LambdaRankScheme()), _lambda_by_hand(losses.LambdaRankScheme()), "real"
    ),
    "ListMLE": Case(losses.ListMLELoss, by_hand.list_mle, keeps=None),
    "ListMLE by label": Case(
        lambda model: losses.ListMLELoss(model, respect_input_order=False),
        lambda s, y, n: by_hand.list_mle(s, y, n, by_label=True),
        keeps=None,  # among documents of equal label
    ),
    "ListNet": Case(losses.ListNetLoss, by_hand.list_net, "real"),
    "MSE": Case(losses.MSELoss, by_hand.mse, "real"),
    "MarginMSE": Case(losses.MarginMSELoss, by_hand.margin_mse, "real", keeps=1),
    "MultipleNegativesRanking": Case(losses.MultipleNegativesRankingLoss, _mnrl, "binary"),
    "PListMLE": Case(
        losses.PListMLELoss,
        lambda s, y, n: by_hand.list_mle(s, y, n, lambda n, rank: 2 ** (n - rank) - 1),
        keeps=None,
    ),
    "PListMLE custom": Case(
        lambda model: losses.PListMLELoss(
            model, losses.PListMLELambdaWeight(_half_weight), respect_input_order=False
        ),
        lambda s, y, n: by_hand.list_mle(s, y, n, lambda n, rank: 0.5**rank, by_label=True),
        keeps=None,
    ),
    "RankNet": Case(losses.RankNetLoss, _lambda_by_hand(losses.NoWeightingScheme())),
    "WeightedSum": Case(_combined, _combined_by_hand, keeps=1),
}
