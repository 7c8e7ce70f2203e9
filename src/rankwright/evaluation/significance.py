"""Is the difference between two systems more than luck? Paired tests over queries."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankwright.errors import EmptyDataError, InputError, ScoreError

__all__ = ["PairedTest", "paired_test"]

_Floats = npt.NDArray[np.float64]

# Bounds the temporaries to about 16 MB, whatever the number of queries and permutations.
_CELLS = 2_000_000


@dataclass(frozen=True)
class PairedTest:
    """The difference between two systems on the same queries.

    Attributes:
        difference: Mean of ``a`` minus mean of ``b``, in the units of the measure.
        p_value: Two-sided probability of a mean difference at least this large if swapping the
            two systems on any query made no difference.
        ci_low: Lower end of the 95 % interval of the difference.
        ci_high: Upper end of it.
        queries: Number of queries compared.
    """

    difference: float
    p_value: float
    ci_low: float
    ci_high: float
    queries: int


def paired_test(
    a: Mapping[str, float],
    b: Mapping[str, float],
    *,
    permutations: int = 10_000,
    seed: int = 12,
) -> PairedTest:
    """Compares two systems by their values per query, such as ``Evaluation.per_query["nDCG@10"]``.

    The p-value is that of Fisher's paired randomisation test, which Smucker, Allan and Carterette
    (2007, "A comparison of statistical significance tests for information retrieval evaluation")
    recommend for retrieval measures: the sign of each query's difference is flipped at random.
    With ``2 ** queries <= permutations`` all sign patterns are counted and the value is exact;
    otherwise the observed pattern counts as one of those drawn, so that the p-value is never 0.
    The interval is the percentile bootstrap over queries (Efron 1979) with ``permutations``
    resamples.

    Args:
        a: Query id -> value of the first system.
        b: Query id -> value of the second system; the same queries.
        permutations: Number of random sign patterns, and of bootstrap resamples.
        seed: Seed of both; equal arguments give equal results.

    Raises:
        InputError: The two have different queries, or ``permutations`` is below 1.
        EmptyDataError: There are no queries.
        ScoreError: A value is NaN or infinite.
    """
    if permutations < 1:
        raise InputError(f"permutations is {permutations}; give at least 1 (10,000 is usual).")
    if a.keys() != b.keys():
        only_a, only_b = sorted(a.keys() - b.keys()), sorted(b.keys() - a.keys())
        example = (only_a or only_b)[0]
        raise InputError(
            f"The two systems were judged on different queries: {len(only_a)} only in a, "
            f"{len(only_b)} only in b (for example '{example}'). Evaluate both runs with the same "
            "judgements."
        )
    if not a:
        raise EmptyDataError("There are no queries to compare.")
    for name, system in (("a", a), ("b", b)):
        for query_id, value in system.items():
            if not math.isfinite(value):
                raise ScoreError(f"The value of query '{query_id}' in {name} is {value}.")
    differences = np.array([float(a[query_id]) - float(b[query_id]) for query_id in a])
    flips, resamples = (
        np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2)
    )
    low, high = np.quantile(_bootstrap_means(differences, permutations, resamples), [0.025, 0.975])
    return PairedTest(
        difference=float(differences.mean()),
        p_value=_randomisation_p(differences, permutations, flips),
        ci_low=float(low),
        ci_high=float(high),
        queries=len(differences),
    )


def _randomisation_p(
    differences: _Floats, permutations: int, generator: np.random.Generator
) -> float:
    total = float(differences.sum())
    # Sums in another order differ in the last bits; a pattern equal to the observed must count.
    threshold = abs(total) - 1e-12 * float(np.abs(differences).sum())
    n = len(differences)
    exact = n < 63 and 2**n <= permutations
    patterns = _all_patterns(n) if exact else _random_patterns(n, permutations, generator)
    extreme = sum(
        int(np.count_nonzero(np.abs(total - 2.0 * (flipped @ differences)) >= threshold))
        for flipped in patterns
    )
    return extreme / 2**n if exact else (extreme + 1) / (permutations + 1)


def _all_patterns(n: int) -> Iterator[_Floats]:
    """Every subset of n queries, as rows of zeros and ones, in blocks."""
    block = max(1, _CELLS // n)
    for start in range(0, 2**n, block):
        numbers = np.arange(start, min(start + block, 2**n))[:, None]
        yield ((numbers >> np.arange(n)) & 1).astype(np.float64)


def _random_patterns(n: int, count: int, generator: np.random.Generator) -> Iterator[_Floats]:
    for rows in _blocks(n, count):
        yield generator.integers(0, 2, size=(rows, n), dtype=np.int8).astype(np.float64)


def _bootstrap_means(differences: _Floats, count: int, generator: np.random.Generator) -> _Floats:
    n = len(differences)
    means = [
        differences[generator.integers(0, n, size=(rows, n))].mean(axis=1)
        for rows in _blocks(n, count)
    ]
    return np.concatenate(means)


def _blocks(n: int, count: int) -> Iterator[int]:
    """Cuts ``count`` rows of ``n`` cells into blocks of bounded size."""
    block = max(1, _CELLS // n)
    for start in range(0, count, block):
        yield min(block, count - start)
