from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankwright.data import content_hash, file_fingerprint
from rankwright.errors import DataNotFoundError, InputTypeError

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def typed(value: object) -> object:
    """A comparable form in which 1, 1.0 and True differ, and so do 0.0 and -0.0."""
    if isinstance(value, list):
        return ("list", [typed(item) for item in value])
    if isinstance(value, dict):
        return ("dict", sorted((key, repr(typed(item))) for key, item in value.items()))
    return (type(value).__name__, repr(value))


@given(plain, plain)
def test_equal_if_and_only_if_the_content_is(one: object, other: object) -> None:
    assert (content_hash(one) == content_hash(other)) == (typed(one) == typed(other))


@given(st.dictionaries(st.text(), st.integers()))
def test_order_of_a_mapping_does_not_count(mapping: dict[str, int]) -> None:
    assert content_hash(mapping) == content_hash(dict(reversed(mapping.items())))


def test_stable_across_processes_and_versions() -> None:
    assert content_hash({"b": [1, "x"], "a": None}, 0.5) == "cfe83dd8e6c271f4b1bca671f7c50ea7"


def test_neighbours_do_not_run_together() -> None:
    hashes = [content_hash("ab", "c"), content_hash("a", "bc"), content_hash("abc"),
              content_hash(["ab", "c"]), content_hash([["ab"], "c"])]  # fmt: skip
    assert len(set(hashes)) == 5


def test_sequences_sets_arrays_paths_and_dataclasses() -> None:
    @dataclass
    class Options:
        size: int

    array = np.arange(6, dtype=np.int64)
    assert content_hash((1, 2)) == content_hash([1, 2])
    assert content_hash({3, 1}) == content_hash({1, 3}) != content_hash([1, 3])
    assert content_hash(array) == content_hash(array.copy()) != content_hash(array.reshape(2, 3))
    assert content_hash(array) != content_hash(array.astype(np.int32))
    assert content_hash(array.reshape(2, 3).T) != content_hash(array.reshape(2, 3))
    assert content_hash(np.float32(0.5), np.int8(3)) == content_hash(0.5, 3)
    assert content_hash(Path("a/b")) != content_hash("a/b")
    assert content_hash(Options(1)) == content_hash(Options(1)) != content_hash(Options(2))
    assert content_hash("\ud83d") != content_hash("?")


def test_unknown_types_are_refused() -> None:
    with pytest.raises(InputTypeError, match="cannot hash a object"):
        content_hash([object()])


def test_fingerprints(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "a").write_text("same")
        (tmp_path / folder / "sub" / "b").write_text("b")
    assert file_fingerprint(tmp_path / "one") == file_fingerprint(tmp_path / "two")
    assert file_fingerprint(tmp_path / "one" / "a") == file_fingerprint(tmp_path / "two" / "a")
    (tmp_path / "two" / "sub" / "b").rename(tmp_path / "two" / "sub" / "c")
    assert file_fingerprint(tmp_path / "one") != file_fingerprint(tmp_path / "two")
    (tmp_path / "two" / "a").write_text("Same")
    assert file_fingerprint(tmp_path / "one" / "a") != file_fingerprint(tmp_path / "two" / "a")
    with pytest.raises(DataNotFoundError, match="nothing"):
        file_fingerprint(tmp_path / "nothing")
