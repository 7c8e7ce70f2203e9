"""The losses of Sentence Transformers and ours, on the same scores and labels.

Theirs are called through a model that looks scores up. Where theirs are wrong by their own paper,
ours is held to the paper elsewhere, and the difference is stated here.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rankwright import losses as ours

pytestmark = pytest.mark.peer
theirs: Any = pytest.importorskip("sentence_transformers.cross_encoder.losses")
from sentence_transformers.cross_encoder import CrossEncoder  # noqa: E402

MODEL = SimpleNamespace(num_labels=1)
SIZES = [4, 1, 3, 6, 2]
SAME = {"atol": 2e-6, "rtol": 2e-5}  # they compute in float32


class Lookup(CrossEncoder):
    """Gives each document the score that its text, a number, stands at."""

    def __init__(self, scores: Tensor, num_labels: int = 1) -> None:
        nn.Module.__init__(self)
        self.scores, self.classes = scores, num_labels

    num_labels = property(lambda self: self.classes)
    device = property(lambda self: torch.device("cpu"))

    def preprocess(self, pairs: Any, **_: Any) -> dict[str, Tensor]:
        return {"place": torch.tensor([int(document) for _, document in pairs])}

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        found = self.scores[inputs["place"]]
        return {"scores": found if self.classes > 1 else found[:, None]}


def example(sizes: list[int] = SIZES, ties: bool = False) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    scores = torch.randn(sum(sizes), generator=generator) * 2
    labels = torch.randperm(sum(sizes), generator=generator).float() / 4 - 1
    if ties:
        labels = labels.round().clamp(min=0)
    return scores, labels


def compare(their_loss: Any, columns: Any, labels: Any, our_loss: Any, data: Any) -> None:
    """Equal values, and equal gradients with respect to the scores."""
    scores = their_loss.model.scores.requires_grad_()
    scores.grad = None
    expected = their_loss(columns, labels)
    expected.backward()
    gradient, scores.grad = scores.grad, None
    found = our_loss(scores, *data)
    torch.testing.assert_close(found, expected, **SAME)
    found.backward()
    torch.testing.assert_close(scores.grad, gradient, **SAME)


def lists(sizes: list[int] = SIZES) -> list[Any]:
    places = iter(range(sum(sizes)))
    documents = [[str(next(places)) for _ in range(n)] for n in sizes]
    return [[f"q{i}" for i in range(len(sizes))], documents]


SCHEMES = ["NoWeighting", "NDCGLoss1", "NDCGLoss2", "LambdaRank", "NDCGLoss2PP"]
LISTWISE: list[tuple[str, dict[str, Any]]] = [
    ("ListNetLoss", {}),
    ("ListNetLoss", {"activation_fn": nn.Tanh()}),
    ("ListMLELoss", {}),
    ("ListMLELoss", {"respect_input_order": False}),
    ("PListMLELoss", {}),
    ("PListMLELoss", {"respect_input_order": False, "activation_fn": nn.Sigmoid()}),
    ("PListMLELoss", {"lambda_weight": None}),
    ("ADRMSELoss", {}),
    ("ADRMSELoss", {"alpha": 2.5}),
    ("RankNetLoss", {}),
    ("RankNetLoss", {"k": 2, "sigma": 0.5, "reduction_log": "natural"}),
    ("LambdaLoss", {}),
    ("LambdaLoss", {"weighting_scheme": None}),
    ("LambdaLoss", {"k": 3, "activation_fn": nn.Tanh()}),
    ("LambdaLoss", {"mini_batch_size": 4}),
]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("name", "options"), LISTWISE, ids=str)
def test_losses_over_lists(name: str, options: dict[str, Any], ties: bool) -> None:
    if ties and options.get("respect_input_order") is False:
        pytest.skip("theirs leaves the order of documents of equal label to an unstable sort")
    scores, labels = example(ties=ties)
    compare(
        getattr(theirs, name)(Lookup(scores), **options), lists(), list(labels.split(SIZES)),
        getattr(ours, name)(MODEL, **options), (labels, torch.tensor(SIZES)),
    )  # fmt: skip


@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_weighting_schemes(scheme: str, k: int | None) -> None:
    scores, labels = example(ties=True)
    name = f"{scheme}Scheme"
    compare(
        theirs.LambdaLoss(Lookup(scores), getattr(theirs, name)(), k=k),
        lists(), list(labels.split(SIZES)),
        ours.LambdaLoss(MODEL, getattr(ours, name)(), k=k), (labels, torch.tensor(SIZES)),
    )  # fmt: skip


@pytest.mark.parametrize("count", [20, 150])
def test_weights_of_places(count: int) -> None:
    """Also of lists so long that the weights must be scaled down."""

    def discount(mask: Tensor) -> Tensor:
        ranks = mask.cumsum(dim=-1)
        return (1.0 / torch.log1p(ranks)).masked_fill(~mask, 0)

    sizes = [count, 3]
    scores, labels = example(sizes)
    for function in (None, discount):
        compare(
            theirs.PListMLELoss(Lookup(scores), theirs.PListMLELambdaWeight(function)),
            lists(sizes), list(labels.split(sizes)),
            ours.PListMLELoss(MODEL, ours.PListMLELambdaWeight(function)),
            (labels, torch.tensor(sizes)),
        )  # fmt: skip


def test_empty_lists_do_not_count_and_are_no_nan() -> None:
    """Theirs counts a query without documents in the mean of ListMLE, and gives NaN in ListNet."""
    scores, labels = example([2, 0, 3])
    columns, given = lists([2, 0, 3]), list(labels.split([2, 0, 3]))
    sizes = torch.tensor([2, 0, 3])
    diluted = theirs.ListMLELoss(Lookup(scores))(columns, given)
    found = ours.ListMLELoss(MODEL)(scores, labels, sizes)
    torch.testing.assert_close(found, diluted * 3 / 2, **SAME)
    assert torch.isnan(theirs.ListNetLoss(Lookup(scores))(columns, given))
    assert torch.isfinite(ours.ListNetLoss(MODEL)(scores, labels, sizes))


@pytest.mark.parametrize(
    ("name", "options"),
    [("BinaryCrossEntropyLoss", {}), ("BinaryCrossEntropyLoss", {"pos_weight": torch.tensor(3.0)}),
     ("BinaryCrossEntropyLoss", {"reduction": "sum"}), ("MSELoss", {}),
     ("MSELoss", {"activation_fn": nn.Sigmoid(), "reduction": "sum"})],
    ids=str,
)  # fmt: skip
def test_losses_over_pairs(name: str, options: dict[str, Any]) -> None:
    scores, labels = example([8])
    labels = labels.sigmoid()
    columns = [["q"] * 8, [str(i) for i in range(8)]]
    compare(
        getattr(theirs, name)(Lookup(scores), **options), columns, labels,
        getattr(ours, name)(MODEL, **options), (labels, None),
    )  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [{}, {"weight": torch.tensor([1.0, 2.0, 0.5]), "label_smoothing": 0.2}, {"reduction": "sum"}],
    ids=str,
)
def test_classes(options: dict[str, Any]) -> None:
    scores = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 2, 1, 1, 0, 2, 2])
    columns = [["q"] * 7, [str(i) for i in range(7)]]
    compare(
        theirs.CrossEntropyLoss(Lookup(scores, 3), **options), columns, labels,
        ours.CrossEntropyLoss(SimpleNamespace(num_labels=3), **options), (labels, None),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["scores", "margins", "one margin"])
def test_margins(kind: str) -> None:
    count = 1 if kind == "one margin" else 3
    rows = 5
    scores = torch.randn(rows * (count + 1), generator=torch.Generator().manual_seed(1))
    teacher = torch.randn(rows, count + 1, generator=torch.Generator().manual_seed(2))
    given = teacher if kind == "scores" else teacher[:, :1] - teacher[:, 1:]
    places = [[str(i * (count + 1) + c) for i in range(rows)] for c in range(count + 1)]
    loss = ours.MarginMSELoss(MODEL)
    names = ["query", *(f"document_{c}" for c in range(count + 1))]
    label = [float(v) if kind == "one margin" else v.tolist() for v in given]
    built = loss.pairs(dict(zip(names, [["q"] * rows, *places], strict=True)) | {"label": label})
    their_labels = given[:, 0] if kind == "one margin" else list(given)
    compare(
        theirs.MarginMSELoss(Lookup(scores)), [["q"] * rows, *places], their_labels,
        loss, (torch.tensor(built.labels), torch.tensor(built.group_sizes)),
    )  # fmt: skip


@pytest.mark.parametrize(
    "options", [{}, {"scale": 3.0, "activation_fn": nn.Tanh()}, {"activation_fn": None}], ids=str
)
@pytest.mark.parametrize("cached", [False, True])
def test_in_batch_negatives(cached: bool, options: dict[str, Any]) -> None:
    """With all negatives drawn; theirs scores a document the same for every query here."""
    rows, name = 4, "MultipleNegativesRankingLoss"
    scores = torch.randn(2 * rows, generator=torch.Generator().manual_seed(3)).requires_grad_()
    columns = {
        "query": [f"q{i}" for i in range(rows)],
        "positive": [str(i) for i in range(rows)],
        "negative": [str(rows + i) for i in range(rows)],
    }
    if cached:
        name, options = f"Cached{name}", {**options, "mini_batch_size": 3}
    their_loss = getattr(theirs, name)(Lookup(scores), num_negatives=None, **options)
    expected = their_loss([list(c) for c in columns.values()], None)
    expected.backward()
    gradient, scores.grad = scores.grad, None
    loss = getattr(ours, name)(MODEL, num_negatives=None, **options)
    built = loss.pairs(columns)
    places = torch.tensor([int(document) for _, document in built.pairs])
    found = loss(scores[places], torch.tensor(built.labels), torch.tensor(built.group_sizes))
    torch.testing.assert_close(found, expected, **SAME)
    found.backward()
    torch.testing.assert_close(scores.grad, gradient, **SAME)


@pytest.mark.parametrize("temperatures", [(1.0, 1.0), (2.0, 2.0), (2.0, 0.5)])
def test_distillation(temperatures: tuple[float, float]) -> None:
    """Theirs is for embeddings; it is given embeddings whose similarities are the scores."""
    from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss

    rows, count = 4, 3
    scores = torch.randn(rows, count, generator=torch.Generator().manual_seed(5)).requires_grad_()
    teacher = torch.randn(rows, count, generator=torch.Generator().manual_seed(6)) * 2
    student, taught = temperatures
    their_loss = DistillKLDivLoss(
        nn.Identity(), similarity_fct=lambda _, other: other,
        student_temperature=student, teacher_temperature=taught,
    )  # fmt: skip
    embeddings = [torch.zeros(rows), *scores.unbind(1)]
    expected = their_loss.compute_loss_from_embeddings(embeddings, teacher)
    found = ours.DistillKLDivLoss(MODEL, student, taught)(
        scores.reshape(-1), teacher.reshape(-1), torch.tensor([count] * rows)
    )
    torch.testing.assert_close(found, expected, **SAME)


def test_the_names_are_all_there() -> None:
    import rankwright.cross_encoder.losses as alias

    assert set(theirs.__all__) <= set(alias.__all__)
    for name in theirs.__all__:
        assert getattr(alias, name) is getattr(ours, name)
