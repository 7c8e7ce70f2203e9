"""Dropout, schedules, layouts and scoring of many pairs."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.engine.dropout import dropout
from rankwright.engine.layout import SEGMENT_COST, TRAINED_SEGMENT_COST, Fit, fit_for, make_layout
from rankwright.engine.ops import WeightCache, linear
from rankwright.engine.pack import pack
from rankwright.engine.precision import resolve_precision
from rankwright.engine.prepacked import prepacking, unavailable
from rankwright.engine.schedule import token_batches
from rankwright.engine.scorers import build_scorer
from rankwright.engine.scoring import ScoreOptions, score
from rankwright.engine.tokenize import PairTokenizer, TokenizedPairs
from rankwright.errors import InputError
from tests.tiny import tiny_model


@pytest.mark.parametrize("p", [0.02, 0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_drops_at_rate_p(p: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(200, 5_000, requires_grad=True)
    draws = [dropout(x, p, training=True) for _ in range(8)]
    n = len(draws) * x.numel()
    dropped = sum(int((d == 0).sum()) for d in draws) / n
    # Within a call the rate is one of two multiples of 1/256; over calls it averages to p.
    assert dropped == pytest.approx(p, abs=1 / 256)
    kept = draws[0][draws[0] != 0]
    assert torch.equal(kept, torch.full_like(kept, 1 / (1 - p)))
    draws[0].sum().backward()
    assert torch.equal(x.grad, draws[0].detach()), "backward uses the same mask"
    columns = (draws[1] == 0).float().mean(0)
    assert columns.std() == pytest.approx((p * (1 - p) / 200) ** 0.5, rel=0.2), "independent"


def test_dropout_threshold_is_unbiased_over_calls() -> None:
    torch.manual_seed(1)
    p = 0.1015  # far from a multiple of 1/256
    rates = [
        float((dropout(torch.ones(20_000), p, training=True) == 0).float().mean())
        for _ in range(400)
    ]
    assert np.mean(rates) == pytest.approx(p, abs=4e-4)


def test_dropout_follows_torchs_seed() -> None:
    def draw() -> torch.Tensor:
        torch.manual_seed(5)
        return dropout(torch.ones(1000), 0.1, training=True)

    assert torch.equal(draw(), draw())
    assert torch.equal(dropout(torch.ones(9), 0.5, training=False), torch.ones(9))


def test_linear_gradients_in_float64() -> None:
    torch.manual_seed(0)
    layers = tuple(torch.nn.Linear(4, n, dtype=torch.float64) for n in (3, 2))
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    cache = WeightCache()
    parameters = [p for layer in layers for p in layer.parameters()]
    expected = torch.cat([layer(x) for layer in layers], -1)
    found = linear(x, layers, cache)
    torch.testing.assert_close(found, expected)
    up = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad(found, [x, *parameters], up),
        torch.autograd.grad(expected, [x, *parameters], up),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_frozen_layers_get_no_gradient() -> None:
    layer = torch.nn.Linear(4, 3).requires_grad_(False)
    x = torch.randn(2, 4, requires_grad=True)
    linear(x, (layer,), WeightCache()).sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(2, 4))


@given(
    lengths=st.lists(st.integers(1, 600), max_size=60),
    budget=st.integers(1, 2_000),
    most=st.none() | st.integers(1, 9),
)
def test_batches_hold_every_input_once(lengths: list, budget: int, most: int | None) -> None:
    batches = list(token_batches(np.asarray(lengths, np.int64), budget, most))
    everything = np.concatenate(batches) if batches else np.zeros(0, int)
    assert sorted(everything.tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or sum(lengths[i] for i in batch) <= budget
        assert most is None or len(batch) <= most
    ordered = [lengths[i] for i in everything]
    assert ordered == sorted(lengths, reverse=True)


FITS = [
    Fit(),
    Fit(round_widths=True, round_totals=True),
    Fit(tight=SEGMENT_COST),
    Fit(round_totals=True, tight=TRAINED_SEGMENT_COST),
]


@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=40), fit=st.sampled_from(FITS))
def test_layout_places_every_token_once(lengths: list[int], fit: Fit) -> None:
    layout = make_layout(np.asarray(lengths, np.int64), fit)
    total = sum(lengths)
    real = torch.ones(len(layout.source), dtype=bool)
    if layout.padding is not None:
        real = ~layout.padding
    assert sorted(layout.source[real].tolist()) == list(range(total))
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    in_order = layout.source[layout.first][layout.restore]
    assert in_order.tolist() == starts.tolist()
    assert sum(s.rows for s in layout.segments) == len(lengths)
    slots = sum(s.rows * s.width for s in layout.segments)
    assert [s.start for s in layout.segments] == [
        sum(s.rows * s.width for s in layout.segments[:i]) for i in range(len(layout.segments))
    ]
    if fit.round_totals:
        assert len(layout.source) % 128 == len(layout.first) % 16 == 0
        assert len(layout.source) < slots + 128
    else:
        assert len(layout.source) == slots
        assert len(layout.first) == len(lengths)
    if fit.tight is None:
        most = sum(
            s.rows * (max(7, s.width // 16) + fit.round_widths * 32) for s in layout.segments
        )
        assert slots - total <= most
    for segment in layout.segments:
        if segment.lengths is not None:
            assert 1 <= segment.lengths.min() < segment.width


@pytest.mark.parametrize("cost", [0, SEGMENT_COST, TRAINED_SEGMENT_COST])
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8))
def test_a_tight_layout_costs_least(cost: int, lengths: list[int]) -> None:
    ordered = sorted(lengths, reverse=True)
    found = make_layout(np.asarray(lengths, np.int64), Fit(tight=cost))
    least = min(
        sum(
            ordered[begin] * (end - begin) + cost
            for begin, end in itertools.pairwise((0, *cuts, len(ordered)))
        )
        for count in range(len(ordered))
        for cuts in itertools.combinations(range(1, len(ordered)), count)
    )
    assert len(found.source) + cost * len(found.segments) == least


def test_only_what_goes_to_onednn_has_round_sizes() -> None:
    rounded, exact = Fit(round_widths=True, round_totals=True), Fit(tight=SEGMENT_COST)
    assert fit_for("cuda", torch.float32) == fit_for("cuda", torch.bfloat16) == Fit()
    assert fit_for("cpu", torch.bfloat16) == rounded
    mkl = torch.backends.mkl.is_available()
    with prepacking(False):
        assert fit_for("cpu", torch.float32) == (exact if mkl else rounded)
    if not mkl or unavailable(torch.float32) is not None:
        return
    with prepacking(True):
        assert fit_for("cpu", torch.float32) == exact, "with gradients"
        with torch.no_grad():
            found = fit_for("cpu", torch.float32)
            assert found == Fit(round_totals=True, tight=SEGMENT_COST)


def test_training_has_fewer_segments_with_and_without_gradients() -> None:
    with prepacking(False):
        found = fit_for("cpu", torch.float32, training=True)
        with torch.no_grad():
            assert fit_for("cpu", torch.float32, training=True) == found
    if torch.backends.mkl.is_available():
        assert found == Fit(tight=TRAINED_SEGMENT_COST)
    lengths = np.random.default_rng(0).integers(20, 90, 32)
    few, many = (make_layout(lengths, Fit(tight=cost)) for cost in (32, 6))
    assert len(few.segments) < len(many.segments)


def setup() -> tuple[object, TokenizedPairs]:
    model, tokenizer = tiny_model("bert")
    words = "sort a list of files by size date name".split()
    rng = np.random.default_rng(0)
    pairs = [
        (" ".join(rng.choice(words, rng.integers(1, 6))), " ".join(rng.choice(words, n)))
        for n in rng.integers(1, 50, 64)
    ]
    return build_scorer(model), PairTokenizer(tokenizer).encode(pairs, 64)


@settings(max_examples=10, deadline=None)
@given(budget=st.integers(1, 5_000), order=st.permutations(range(64)))
def test_scores_do_not_depend_on_batches_or_order(budget: int, order: list[int]) -> None:
    scorer, pairs = setup()
    expected = score(scorer, pairs)
    assert pairs.token_type_ids is not None
    shuffled = TokenizedPairs(
        [pairs.input_ids[i] for i in order], [pairs.token_type_ids[i] for i in order]
    )
    found = score(scorer, shuffled, ScoreOptions(token_budget=budget, max_pairs=7))
    np.testing.assert_allclose(found, expected[order], atol=1e-5)


def test_scoring_from_many_threads() -> None:
    scorer, pairs = setup()
    expected = score(scorer, pairs)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: score(scorer, pairs), range(16)):
            assert np.array_equal(found, expected)


def test_scoring_nothing() -> None:
    scorer, _ = setup()
    assert score(scorer, TokenizedPairs([], None)).shape == (0, 1)


def test_unknown_precision() -> None:
    with pytest.raises(InputError, match="precision='fp8'.*float32, bfloat16"):
        resolve_precision("fp8")
    assert resolve_precision("auto") in (torch.float32, torch.bfloat16)


def test_pack_nothing() -> None:
    assert pack(TokenizedPairs([], None)).num_pairs == 0
