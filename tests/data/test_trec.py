from __future__ import annotations

import tempfile
from pathlib import Path

import ir_measures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.data import (
    ranked,
    read_beir_qrels,
    read_qrels,
    read_run,
    write_beir_qrels,
    write_qrels,
    write_run,
)
from rankwright.errors import (
    DataError,
    DataNotFoundError,
    DuplicateIdError,
    FormatError,
    InputError,
    LabelError,
)

ids = st.text(
    st.characters(exclude_characters="\t\n\r\ufeff", codec="utf-8"), min_size=1, max_size=6
)
runs = st.dictionaries(
    ids,
    st.dictionaries(ids, st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4),
    max_size=4,
)
judgements = st.dictionaries(
    ids, st.dictionaries(ids, st.integers(-2, 4), min_size=1, max_size=4), max_size=4
)


@given(runs, st.sampled_from(["run.trec", "run.trec.gz"]))
@settings(max_examples=150, deadline=None)
def test_run_round_trip(run: dict[str, dict[str, float]], name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_run(run, Path(folder) / name)
        assert read_run(Path(folder) / name) == run


@given(judgements)
@settings(max_examples=150, deadline=None)
def test_qrels_round_trip(qrels: dict[str, dict[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_qrels(qrels, Path(folder) / "a")
        write_beir_qrels(qrels, Path(folder) / "b")
        assert read_qrels(Path(folder) / "a") == qrels
        assert read_beir_qrels(Path(folder) / "b") == qrels


def test_other_programs_read_what_we_write(tmp_path: Path) -> None:
    run = {"q1": {"b": 0.5, "a": 0.5, "c": 2.0}, "q2": {"a": -1e-30}}
    qrels = {"q1": {"a": 2, "b": 0}}
    write_run(run, tmp_path / "run", tag="mine")
    write_qrels(qrels, tmp_path / "qrels")
    theirs: dict[str, dict[str, float]] = {}
    for row in ir_measures.read_trec_run(str(tmp_path / "run")):
        theirs.setdefault(row.query_id, {})[row.doc_id] = row.score
    assert theirs == run
    read = [(q.query_id, q.doc_id, q.relevance) for q in
            ir_measures.read_trec_qrels(str(tmp_path / "qrels"))]  # fmt: skip
    assert read == [("q1", "a", 2), ("q1", "b", 0)]
    assert (tmp_path / "run").read_text().splitlines()[:3] == [
        "q1 Q0 c 1 2.0 mine",
        "q1 Q0 a 2 0.5 mine",
        "q1 Q0 b 3 0.5 mine",
    ]


def test_ranked_breaks_ties_by_id() -> None:
    assert ranked({"b": 1, "a": 1, "c": 3}) == [("c", 3), ("a", 1), ("b", 1)]


def test_spaces_tabs_windows_lines_and_a_mark(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(
        b"\xef\xbb\xbfq1  Q0\td1 1   0.5 t\r\n\r\nq2\tQ0\td 2\t1\t7\tt\r\n"
        b"what is  it?  Q0 d3 1 38 candidates\r\nq 3\t\tQ0 d3 2 1e2 t"
    )
    assert read_run(tmp_path / "r") == {
        "q1": {"d1": 0.5},
        "q2": {"d 2": 7.0},
        "what is  it? ": {"d3": 38.0},
        "q 3": {"d3": 100.0},
    }
    (tmp_path / "q").write_text("q 1 0 d1 1\nq2\t0\td2\t-1\n")
    assert read_qrels(tmp_path / "q") == {"q 1": {"d1": 1}, "q2": {"d2": -1}}


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("q1 Q0 d1 1 0.5 t\nq1 Q0 d2 2 0.4\n", FormatError, "line 2: expected 6 columns"),
        ("q1 Q0 d1 1 0.5 t extra\n", FormatError, "line 1: expected 6 columns"),
        ("q1 Q0 d1 1 high t\n", FormatError, "score 'high' is no finite number"),
        ("q1 Q0 d1 1 nan t\n", FormatError, "score 'nan'"),
        ("a q1 Q0 d1 first 2 t\n", FormatError, "rank 'first'"),
        ("q1 Q0 d1 1 2 t\nq1 Q0 d1 2 1 t\n", DuplicateIdError, "line 2: document 'd1' is listed"),
    ],
)
def test_bad_runs(tmp_path: Path, text: str, kind: type[DataError], message: str) -> None:
    (tmp_path / "r").write_text(text)
    with pytest.raises(kind, match=message):
        read_run(tmp_path / "r")


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("q1 0 d1\n", FormatError, "line 1: expected 4 columns"),
        ("q1 0 d1 1.5\n", LabelError, "line 1: the grade '1.5'"),
        ("q1 0 d1 good\n", LabelError, "'good' is no whole number"),
        ("q1 0 d1 inf\n", LabelError, "'inf' is no whole number"),
        ("q1 0 d1 1\n\nq1 0 d1 0\n", DuplicateIdError, "line 3:.*as 1 and as 0"),
    ],
)
def test_bad_qrels(tmp_path: Path, text: str, kind: type[DataError], message: str) -> None:
    (tmp_path / "q").write_text(text)
    with pytest.raises(kind, match=message):
        read_qrels(tmp_path / "q")


def test_repeated_judgements_count_once(tmp_path: Path) -> None:
    (tmp_path / "q").write_text("q1 0 d1 1\nq1 0 d1 1.0\n")
    assert read_qrels(tmp_path / "q") == {"q1": {"d1": 1}}


def test_missing_file_suggests_names(tmp_path: Path) -> None:
    (tmp_path / "test.trec").write_text("")
    with pytest.raises(DataNotFoundError, match=r"Did you mean .*test\.trec\?"):
        read_run(tmp_path / "tset.trec")


@pytest.mark.parametrize("identifier", ["", "a\tb", "a\nb", "\ufeffa"])
def test_ids_that_no_line_can_hold(tmp_path: Path, identifier: str) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_run({"q": {identifier: 1.0}}, tmp_path / "r")
    with pytest.raises(InputError, match="cannot be written"):
        write_beir_qrels({identifier: {"d": 1}}, tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


def test_bad_scores_and_tags_leave_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("old")
    with pytest.raises(InputError, match="is nan"):
        write_run({"q": {"a": 1.0, "d": float("nan")}}, tmp_path / "r")
    with pytest.raises(InputError, match="one word"):
        write_run({"q": {"d": 1.0}}, tmp_path / "r", tag="two words")
    assert (tmp_path / "r").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
