"""The losses as their papers define them, in plain loops over single documents.

Every function takes scores and labels, both ``(P,)``, and a list of group sizes, and gives a float.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rankwright.losses import (
    LambdaRankScheme,
    NDCGLoss1Scheme,
    NDCGLoss2PPScheme,
    NDCGLoss2Scheme,
    NoWeightingScheme,
)

Definition = Callable[[Tensor, Tensor, list[int]], float]
Lists = list[tuple[list[float], list[float]]]


def gradient(definition: Definition, scores: Tensor, labels: Tensor, sizes: list[int]) -> Tensor:
    """Of a definition with respect to float64 scores, by central differences."""
    found = torch.zeros_like(scores)
    for place in range(scores.numel()):
        step = torch.zeros_like(scores)
        step.view(-1)[place] = 1e-6
        above, below = (definition(s, labels, sizes) for s in (scores + step, scores - step))
        found.view(-1)[place] = (above - below) / 2e-6
    return found


def lists(scores: Tensor, labels: Tensor, sizes: list[int]) -> Lists:
    """Scores and labels of each group that has documents."""
    pairs = zip(scores.split(sizes), labels.split(sizes), strict=True)
    return [(s.tolist(), y.tolist()) for s, y in pairs if len(s)]


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def softmax(values: list[float]) -> list[float]:
    return [1 / sum(math.exp(other - value) for other in values) for value in values]


def mse(scores: Tensor, labels: Tensor, sizes: list[int]) -> float:
    return mean([(s - y) ** 2 for s, y in zip(scores.tolist(), labels.tolist(), strict=True)])


def cross_entropy(
    scores: Tensor, labels: Tensor, sizes: list[int], weights: tuple[float, ...] | None = None
) -> float:
    """Scores are ``(P, classes)``."""
    total = mass = 0.0
    for row, y in zip(scores.tolist(), labels.tolist(), strict=True):
        weight = 1.0 if weights is None else weights[int(y)]
        total -= weight * math.log(softmax(row)[int(y)])
        mass += weight
    return total / mass


def list_mle(
    scores: Tensor, labels: Tensor, sizes: list[int],
    place: Callable[[int, int], float] | None = None, by_label: bool = False,
) -> float:  # fmt: skip
    """``place(n, rank)`` is the weight of a rank, from 1, in a list of n."""
    losses = []
    for s, y in lists(scores, labels, sizes):
        n = len(s)
        order = sorted(range(n), key=lambda i, y=y: -y[i]) if by_label else range(n)
        s = [s[i] for i in order]
        weights = [1.0 if place is None else place(n, rank) for rank in range(1, n + 1)]
        if place is not None:
            weights = [w / sum(weights) if sum(weights) else 0.0 for w in weights]
        logs = [math.log(softmax(s[i:])[0]) for i in range(n)]
        losses.append(-sum(w * log for w, log in zip(weights, logs, strict=True)))
    return mean(losses)


def adr_mse(scores: Tensor, labels: Tensor, sizes: list[int], alpha: float = 1.0) -> float:
    errors = []
    for s, y in lists(scores, labels, sizes):
        for i in range(len(s)):
            # The ranks that documents of this label share, from 1.
            ranks = [r for r, v in enumerate(sorted(y, reverse=True), start=1) if v == y[i]]
            rank = mean([float(r) for r in ranks])
            near = 1 + sum(sigmoid(alpha * (s[j] - s[i])) for j in range(len(s)) if j != i)
            errors.append((rank - near) ** 2 / math.log2(1 + rank))
    return mean(errors)


def kl(
    scores: Tensor, labels: Tensor, sizes: list[int], student: float = 1.0, teacher: float = 1.0
) -> float:
    losses = []
    for s, y in lists(scores, labels, sizes):
        p = softmax([v / teacher for v in y])
        q = softmax([v / student for v in s])
        losses.append(student**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    return mean(losses)


def gbce(
    scores: Tensor, labels: Tensor, sizes: list[int], documents: int = 50, t: float = 0.75
) -> float:
    """With β in the form of the paper's equation, which needs a negative."""
    losses = []
    for s, y in lists(scores, labels, sizes):
        positives = sum(v > 0 for v in y)
        alpha = (len(y) - positives) / (documents - positives)
        beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha) if alpha else 1 - t
        losses.append(-mean([
            v * math.log(sigmoid(x) ** beta) + (1 - v) * math.log(1 - sigmoid(x))
            for x, v in zip(s, y, strict=True)
        ]))  # fmt: skip
    return mean(losses)


def bce(scores: Tensor, labels: Tensor, weight: float = 1.0) -> float:
    total = 0.0
    for s, y in zip(scores.tolist(), labels.tolist(), strict=True):
        p = 1 / (1 + math.exp(-s))
        total -= weight * y * math.log(p) + (1 - y) * math.log(1 - p)
    return total / len(scores)


def group_softmax(scores: Tensor, labels: Tensor, sizes: list[int], scale: float) -> float:
    losses = []
    for s, y in zip(scores.split(sizes), labels.split(sizes), strict=True):
        if float(y.sum()) == 0.0:
            continue
        exps = [math.exp(scale * v) for v in s.tolist()]
        logs = [math.log(e / sum(exps)) for e in exps]
        mass = float(y.sum())
        losses.append(-sum(t / mass * g for t, g in zip(y.tolist(), logs, strict=True)))
    return sum(losses) / len(losses) if losses else 0.0


def list_net(scores: Tensor, labels: Tensor, sizes: list[int]) -> float:
    losses = []
    for s, y in zip(scores.split(sizes), labels.split(sizes), strict=True):
        if len(s):
            top, target = [math.exp(v) for v in s], [math.exp(v) for v in y]
            losses.append(-sum(
                t / sum(target) * math.log(e / sum(top)) for t, e in zip(target, top, strict=True)
            ))  # fmt: skip
    return sum(losses) / len(losses)


def margin_mse(scores: Tensor, labels: Tensor, sizes: list[int]) -> float:
    errors = [
        (float(s[0] - s[i]) - float(y[0] - y[i])) ** 2
        for s, y in zip(scores.split(sizes), labels.split(sizes), strict=True)
        for i in range(1, len(s))
    ]
    return sum(errors) / max(len(errors), 1)


def discount(rank: int) -> float:
    return math.log2(1 + rank)


def weight(scheme: nn.Module, gains: list[float], i: int, j: int) -> float:
    a, b, d = i + 1, j + 1, abs(i - j)
    swap = abs(gains[i] - gains[j]) * abs(1 / discount(a) - 1 / discount(b))
    bound = 0.0
    if d:
        bound = abs(gains[i] - gains[j]) * abs(1 / discount(d) - 1 / discount(d + 1))
    return {
        NoWeightingScheme: 1.0,
        NDCGLoss1Scheme: gains[i] / discount(a),
        NDCGLoss2Scheme: bound,
        LambdaRankScheme: swap,
        NDCGLoss2PPScheme: getattr(scheme, "mu", 0.0) * bound + swap,
    }[type(scheme)]


def lambda_loss(
    scores: Tensor, labels: Tensor, sizes: list[int], scheme: nn.Module, k: int | None, sigma: float
) -> float:
    total, count = 0.0, 0
    for s, y in zip(scores.split(sizes), labels.split(sizes), strict=True):
        order = sorted(range(len(s)), key=lambda i, s=s: -float(s[i]))
        s, y = [float(s[i]) for i in order], [float(y[i]) for i in order]
        y_gain = [max(v, 0.0) for v in y]  # labels below 0 have no gain
        ideal = sorted(y_gain, reverse=True)[:k]
        best = max(sum((2**v - 1) / discount(r + 1) for r, v in enumerate(ideal)), 1e-10)
        gains = [(2**v - 1) / best for v in y_gain]
        for i in range(len(s)):
            for j in range(len(s)):
                if k is not None and i >= k and j >= k:
                    continue
                if y[i] <= y[j] and not isinstance(scheme, NDCGLoss1Scheme):
                    continue
                log = math.log2(1 / (1 + math.exp(-sigma * (s[i] - s[j]))))
                total -= weight(scheme, gains, i, j) * log
                count += 1
    return total / max(count, 1)
