from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.export.agreement import Agreement, Limits
from rankwright.export.mixture import find_mixture

LIMITS = Limits(kendall_tau=0.0, ndcg_drop=1.0, difference=1.0)


class World:
    """Each part does some harm in int8; harms add up, and more than 1 in all is too much."""

    def __init__(self, harms: dict[str, float]) -> None:
        self.harms = harms
        self.calls: list[frozenset[str]] = []

    def __call__(self, kept: frozenset[str]) -> Agreement:
        self.calls.append(kept)
        harm = sum(value for unit, value in self.harms.items() if unit not in kept)
        return Agreement(1.0, 0.0, 0.0, 1, harm, harm, harm)

    def fewest(self) -> int | None:
        for count in range(len(self.harms)):
            for kept in itertools.combinations(self.harms, count):
                if sum(v for u, v in self.harms.items() if u not in kept) <= 1:
                    return count
        return None


def test_nothing_is_kept_where_all_is_well() -> None:
    world = World({"a": 0.1, "b": 0.2})
    found = find_mixture(["a", "b"], world, LIMITS, 10)
    assert (found.kept, found.tries) == ((), 1)


def test_the_one_bad_layer_is_kept() -> None:
    world = World({"a": 0.1, "b": 5.0, "c": 0.2, "d": 0.1})
    found = find_mixture(list("abcd"), world, LIMITS, 12)
    assert found.kept == ("b",)
    assert world.calls[-1] == {"b"}
    assert found.agreement.difference == pytest.approx(0.4)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(0, 2), min_size=2, max_size=7))
def test_as_few_as_suffice(values: list[float]) -> None:
    world = World({f"u{i}": value for i, value in enumerate(values)})
    found = find_mixture(list(world.harms), world, LIMITS, 40)
    assert (None if found.kept is None else len(found.kept)) == world.fewest()
    if found.kept is not None:
        assert world.calls[-1] == set(found.kept)  # what lies on disk is what is returned
        assert LIMITS.accept(found.agreement)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 2), min_size=1, max_size=30), st.integers(1, 12))
def test_the_number_of_tries_is_bounded(values: list[float], most: int) -> None:
    world = World({f"u{i}": value for i, value in enumerate(values)})
    found = find_mixture(list(world.harms), world, LIMITS, most)
    assert found.tries <= most
    assert len(world.calls) <= most + 1  # the best one may have to be made again


def test_many_layers_are_tried_in_groups() -> None:
    world = World({f"u{i}": (9.0 if i == 17 else 0.01) for i in range(24)})
    found = find_mixture(list(world.harms), world, LIMITS, 16)
    assert found.kept is not None
    assert "u17" in found.kept
    assert len(found.kept) <= 4


def test_a_single_part_is_not_left_alone_in_float32() -> None:
    found = find_mixture(["a"], World({"a": 5.0}), LIMITS, 10)
    assert found.kept is None
