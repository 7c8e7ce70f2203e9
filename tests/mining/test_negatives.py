from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.errors import InputError, ScoreError
from rankwright.mining import Candidates, MiningOptions, Positives, select_negatives

NAMES = ("absolute_margin", "relative_margin", "max_score", "min_score")


def one_row(indices, scores, positives, positive_scores, options, range_max):
    """One query, the way one would do it by hand."""
    f = np.float32
    lowest = min(positive_scores) if positive_scores else None
    skipped = dict.fromkeys(NAMES, 0)
    left = []
    for index, score in zip(indices, scores, strict=True):
        if index < 0 or index in positives:
            continue
        above, part = options.absolute_margin, options.relative_margin
        has = lowest is not None
        reasons = {
            "absolute_margin": has and above is not None and score + f(above) > lowest,
            "relative_margin": has and part is not None and score > lowest - abs(lowest) * f(part),
            "max_score": options.max_score is not None and score > f(options.max_score),
            "min_score": options.min_score is not None and score < f(options.min_score),
        }
        reason = next((name for name, applies in reasons.items() if applies), None)
        if reason is None:
            left.append((index, score))
        else:
            skipped[reason] += 1
    left.sort(key=lambda pair: -pair[1])
    return left[options.range_min : range_max], skipped


margins = st.one_of(st.none(), st.floats(0, 1.5, width=32))
limits = st.one_of(st.none(), st.floats(-2, 2, width=32))


@st.composite
def cases(draw):
    seed = draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    q, k, n = draw(st.integers(1, 6)), draw(st.integers(1, 12)), 20
    indices = np.stack([rng.permutation(n)[:k] for _ in range(q)]).astype(np.int64)
    scores = rng.choice([-1.5, -1, -0.5, 0, 0.25, 0.5, 1, 1.5], size=(q, k)).astype(np.float32)
    empty = rng.random((q, k)) < 0.2
    indices[empty] = -1
    scores[empty] = np.nan  # whatever stands there must not matter
    rows = np.sort(rng.integers(0, q, size=draw(st.integers(0, 8)))).astype(np.int64)
    documents = rng.integers(0, n, size=len(rows)).astype(np.int64)
    positive_scores = rng.choice([-1, 0, 0.5, 1, 2], size=len(rows)).astype(np.float32)
    options = MiningOptions(
        num_negatives=draw(st.integers(1, 5)),
        range_min=draw(st.integers(0, 3)),
        max_score=draw(limits),
        min_score=draw(limits),
        absolute_margin=draw(margins),
        relative_margin=draw(margins),
        sampling_strategy=draw(st.sampled_from(["top", "random"])),
        seed=seed,
    )
    range_max = options.range_min + options.num_negatives + draw(st.integers(0, 6))
    return (
        Candidates(indices, scores),
        Positives(rows, documents, positive_scores),
        options,
        range_max,
    )


@settings(max_examples=300, deadline=None)
@given(cases())
def test_equals_row_by_row(case):
    candidates, positives, options, range_max = case
    before = candidates.scores.copy()
    found = select_negatives(candidates, positives, options, range_max=range_max)
    np.testing.assert_array_equal(candidates.scores, before)  # the input is left alone
    total = dict.fromkeys(NAMES, 0)
    for row in range(len(candidates.indices)):
        mine = positives.rows == row
        left, skipped = one_row(
            candidates.indices[row],
            candidates.scores[row],
            set(positives.documents[mine].tolist()),
            positives.scores[mine].tolist(),
            options,
            range_max,
        )
        for name, count in skipped.items():
            total[name] += count
        count = min(options.num_negatives, len(left))
        indices, scores = found.indices[row], found.scores[row]
        assert (indices[:count] >= 0).all()
        assert (indices[count:] == -1).all()
        assert np.isneginf(scores[count:]).all()
        pairs = list(zip(indices[:count].tolist(), scores[:count].tolist(), strict=True))
        expected = [(int(index), float(score)) for index, score in left]
        if options.sampling_strategy == "top":
            assert pairs == expected[:count]
        else:
            assert set(pairs) <= set(expected)
            assert len(set(pairs)) == count
            assert scores[:count].tolist() == sorted(scores[:count].tolist(), reverse=True)
    assert {name: found.skipped.get(name, 0) for name in NAMES} == total


def simple(options: MiningOptions, scores=(0.9, 0.8, 0.7, 0.6), **extra):
    return select_negatives(
        Candidates(np.arange(len(scores))[None], np.array([scores], dtype=np.float32)),
        Positives(np.array([0]), np.array([0]), np.array([0.75], dtype=np.float32)),
        options,
        **extra,
    )


def test_text_twins_of_a_positive_are_left_out():
    text_ids = np.array([5, 6, 5, 7])
    found = simple(MiningOptions(num_negatives=3), text_ids=text_ids)
    assert found.indices.tolist() == [[1, 3, -1]]
    assert found.positives == 2
    assert found.considered == 2


def test_include_positives_keeps_them():
    found = simple(MiningOptions(num_negatives=2), include_positives=True)
    assert found.indices.tolist() == [[0, 1]]


def test_margin_uses_the_lowest_positive():
    candidates = Candidates(np.array([[2, 3]]), np.array([[0.5, 0.3]], dtype=np.float32))
    positives = Positives(
        np.array([0, 0]), np.array([0, 1]), np.array([0.9, 0.45], dtype=np.float32)
    )
    found = select_negatives(candidates, positives, MiningOptions(1, absolute_margin=0.1))
    assert found.indices.tolist() == [[3]]
    assert found.skipped == {"absolute_margin": 1}


def test_relative_margin_with_a_negative_positive_score():
    candidates = Candidates(np.array([[1, 2]]), np.array([[-1.02, -1.2]], dtype=np.float32))
    positives = Positives(np.array([0]), np.array([0]), np.array([-1.0], dtype=np.float32))
    found = select_negatives(candidates, positives, MiningOptions(1, relative_margin=0.1))
    assert found.indices.tolist() == [[2]]


def test_random_depends_on_the_seed_alone():
    scores = tuple(np.linspace(1, 0, 30))
    runs = [
        simple(MiningOptions(5, sampling_strategy="random", seed=seed), scores).indices.tolist()
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_random_reaches_every_candidate_evenly():
    rows = 4000
    candidates = Candidates(
        np.tile(np.arange(1, 9), (rows, 1)), np.tile(np.arange(8, 0, -1.0), (rows, 1))
    )
    positives = Positives(np.arange(rows), np.zeros(rows, dtype=np.int64))
    options = MiningOptions(2, sampling_strategy="random")
    counts = np.bincount(select_negatives(candidates, positives, options).indices.ravel())[1:]
    np.testing.assert_allclose(counts, rows * 2 / 8, rtol=0.12)


def test_nan_candidates_are_an_error():
    with pytest.raises(ScoreError, match="1 candidates"):
        simple(MiningOptions(), scores=(0.5, float("nan")))


def test_margin_without_positive_scores_is_an_error():
    candidates = Candidates(np.array([[1]]), np.array([[1.0]], dtype=np.float32))
    with pytest.raises(InputError, match="carry no scores"):
        select_negatives(
            candidates,
            Positives(np.array([0]), np.array([0])),
            MiningOptions(1, absolute_margin=0.0),
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_negatives": 0}, "num_negatives must be at least 1"),
        ({"range_min": -1}, "range_min must be 0 or more"),
        ({"range_min": 5, "range_max": 7}, "Cannot mine 3 negatives from ranks range_min=5"),
        ({"sampling_strategy": "best"}, "Choose one of: top, random"),
        ({"max_score": float("nan")}, "max_score must be a finite number"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        MiningOptions(**options)


def test_default_window():
    assert MiningOptions(3, range_min=5).window(2) == 10
    assert MiningOptions(3, range_min=5, max_score=0.5).window(2) == 37
    assert MiningOptions(3, min_score=0.5).window(1) == 4
    assert MiningOptions(3, min_score=0.5).window(1, rescored=True) == 31
    assert MiningOptions(3, range_max=50, relative_margin=0.1).window(9) == 50
