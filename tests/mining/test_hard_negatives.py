from __future__ import annotations

import logging
from typing import Any

import datasets
import numpy as np
import pytest

from rankwright.errors import ColumnError, EmptyDataError, InputError, InputTypeError, ScoreError
from rankwright.mining import BM25, DenseRetriever, mine_hard_negatives
from tests.mining.toys import ToyCrossEncoder, ToyEncoder, sentences

QUERIES = sentences(12, seed=3)
ANSWERS = sentences(15, seed=4)
# The first queries have two positives, one pair stands there twice.
ROWS = [*zip(QUERIES, ANSWERS, strict=False), *zip(QUERIES[:3], ANSWERS[12:], strict=True)]
ROWS.append(ROWS[0])
DATA = datasets.Dataset.from_dict(
    {"query": [q for q, _ in ROWS], "answer": [a for _, a in ROWS]},
)
POSITIVES: dict[str, list[str]] = {}
for q, a in ROWS:
    if a not in POSITIVES.setdefault(q, []):
        POSITIVES[q].append(a)


def similarity(query: str, document: str) -> float:
    a, b = np.asarray(ToyEncoder().encode([query, document]), dtype=np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def ranked(query: str, documents: list[str] = ANSWERS) -> list[str]:
    """Negatives of a query, hardest first."""
    rest = [d for d in documents if d not in POSITIVES[query]]
    return sorted(rest, key=lambda d: -similarity(query, d))


def mined(**options: Any) -> datasets.Dataset:
    return mine_hard_negatives(DATA, ToyEncoder(), verbose=False, **options)


def test_triplets():
    rows = [
        {"query": q, "answer": p, "negative": n}
        for q, positives in POSITIVES.items()
        for p in positives
        for n in ranked(q)[:2]
    ]
    assert mined(num_negatives=2).to_list() == rows


def test_triplet_scores():
    found = mined(num_negatives=2, output_scores=True)
    for row in found:
        expected = [
            similarity(row["query"], row["answer"]),
            similarity(row["query"], row["negative"]),
        ]
        assert row["scores"] == pytest.approx(expected, abs=1e-6)


def test_tuples_hold_all_negatives_or_the_row_is_left_out():
    found = mined(num_negatives=3, output_format="n-tuple", max_score=-0.1)
    expected = []
    for q, positives in POSITIVES.items():
        left = [d for d in ranked(q) if similarity(q, d) <= -0.1]
        if len(left) >= 3:
            names = {f"negative_{i}": text for i, text in enumerate(left[:3], start=1)}
            expected += [{"query": q, "answer": p, **names} for p in positives]
    assert found.to_list() == expected
    assert 0 < len(expected) < 15


def test_labeled_pairs():
    rows = []
    for q, positives in POSITIVES.items():
        rows += [{"query": q, "answer": p, "label": 1} for p in positives]
        rows += [{"query": q, "answer": n, "label": 0} for n in ranked(q)[:2]]
    assert mined(num_negatives=2, output_format="labeled-pair").to_list() == rows


def test_labeled_lists():
    rows = [
        {"query": q, "answer": [p, *ranked(q)[:2]], "labels": [1, 0, 0]}
        for q, positives in POSITIVES.items()
        for p in positives
    ]
    assert mined(num_negatives=2, output_format="labeled-list").to_list() == rows


COLUMNS = {
    ("triplet", False): {"negative": "string"},
    ("triplet", True): {"negative": "string", "scores": ["float64"]},
    ("n-tuple", False): {"negative_1": "string", "negative_2": "string"},
    ("n-tuple", True): {"negative_1": "string", "negative_2": "string", "scores": ["float64"]},
    ("labeled-pair", False): {"label": "int64"},
    ("labeled-pair", True): {"score": "float64"},
    ("labeled-list", False): {"labels": ["int64"]},
    ("labeled-list", True): {"scores": ["float64"]},
}


@pytest.mark.parametrize("max_score", [None, -5.0])  # with -5 nothing is left
@pytest.mark.parametrize(("output_format", "output_scores"), COLUMNS)
def test_columns_and_types_do_not_depend_on_what_was_found(
    output_format: str, output_scores: bool, max_score: float | None
):
    found = mined(
        num_negatives=2,
        output_format=output_format,
        output_scores=output_scores,
        max_score=max_score,
    )
    listed = ["string"] if output_format == "labeled-list" else "string"
    types = {"query": "string", "answer": listed, **COLUMNS[output_format, output_scores]}
    expected = datasets.Features(
        {
            name: [datasets.Value(kind[0])] if isinstance(kind, list) else datasets.Value(kind)
            for name, kind in types.items()
        }
    )
    assert found.features == expected
    if max_score is not None:
        assert len(found) == (15 if output_format == "labeled-pair" else 0)


def test_blocks_of_rows_join_up(monkeypatch: pytest.MonkeyPatch):
    whole = [mined(output_format=f, output_scores=s).to_list() for f, s in COLUMNS]
    monkeypatch.setattr("rankwright.mining.formats.BLOCK", 2)
    assert [mined(output_format=f, output_scores=s).to_list() for f, s in COLUMNS] == whole


def test_range_and_corpus():
    extra = sentences(30, seed=5)
    documents = list(dict.fromkeys([*extra, *ANSWERS]))
    found = mined(num_negatives=2, range_min=3, range_max=6, corpus=extra)
    assert found["negative"][:2] == ranked(QUERIES[0], documents)[3:5]


def test_relative_margin_is_kept():
    found = mined(relative_margin=0.05, num_negatives=4, output_scores=True)
    lowest = {q: min(similarity(q, p) for p in positives) for q, positives in POSITIVES.items()}
    assert len(found)
    for row in found:
        limit = lowest[row["query"]]
        assert row["scores"][1] <= limit - abs(limit) * 0.05 + 1e-6


def test_random_is_seeded():
    def negatives(seed: int) -> list[str]:
        options = {"sampling_strategy": "random", "range_max": 10, "seed": seed}
        return list(mined(num_negatives=3, **options)["negative"])

    assert negatives(1) == negatives(1) != negatives(2)


def test_cross_encoder_rescores_every_distinct_pair_once():
    judge = ToyCrossEncoder()
    found = mined(num_negatives=2, cross_encoder=judge, output_scores=True, max_score=0.5)
    [pairs] = judge.calls
    assert len(pairs) == len(set(pairs)) == len(QUERIES) * len(ANSWERS)
    lengths = [len(q) + len(d) for q, d in pairs]
    assert lengths == sorted(lengths, reverse=True)
    for q in POSITIVES:
        rest = [d for d in ANSWERS if d not in POSITIVES[q] and judge.score(q, d) <= 0.5]
        best = sorted(rest, key=lambda d: -judge.score(q, d))[:2]
        rows = [row for row in found if row["query"] == q and row["answer"] == POSITIVES[q][0]]
        assert [row["negative"] for row in rows] == best
        for row in rows:
            expected = [judge.score(q, row["answer"]), judge.score(q, row["negative"])]
            assert row["scores"] == pytest.approx(expected)


def test_cross_encoder_never_scores_padding_and_counts_without_filters():
    judge = ToyCrossEncoder()
    found = mine_hard_negatives(
        DATA, BM25("none"), num_negatives=4, cross_encoder=judge, output_scores=True, verbose=False
    )
    asked = {pair for call in judge.calls for pair in call}
    pairs = {(q, p) for q, positives in POSITIVES.items() for p in positives}
    assert all(set(q.split()) & set(d.split()) for q, d in asked - pairs)
    assert found["scores"][0][0] == pytest.approx(judge.score(*ROWS[0]))


def test_cross_encoder_with_several_outputs():
    class Classifier:
        def predict(self, pairs):
            return np.zeros((len(pairs), 3))

    class Broken:
        def predict(self, pairs):
            return np.full(len(pairs), np.nan)

    with pytest.raises(InputError, match="num_labels=1"):
        mined(cross_encoder=Classifier())
    with pytest.raises(ScoreError, match="NaN"):
        mined(cross_encoder=Broken())
    with pytest.raises(InputTypeError, match="without predict"):
        mined(cross_encoder=object())


def test_first_stages_by_name_and_instance():
    by_name = mine_hard_negatives(DATA, "bm25", verbose=False).to_list()
    assert by_name == mine_hard_negatives(DATA, BM25(), verbose=False).to_list()
    stage = DenseRetriever(ToyEncoder())
    assert mine_hard_negatives(DATA, stage, verbose=False).to_list() == mined().to_list()


def test_arguments_without_effect_are_named(caplog: pytest.LogCaptureFixture):
    mine_hard_negatives(DATA, BM25(), use_faiss=True, query_prompt="q: ", verbose=False)
    assert "no effect: query_prompt, use_faiss" in caplog.text
    caplog.clear()
    mine_hard_negatives(DATA, "bm25", use_faiss=True, verbose=False)
    assert "no effect: use_faiss" in caplog.text


def test_include_positives_ranks_them_too(caplog: pytest.LogCaptureFixture):
    found = mined(num_negatives=5, include_positives=True)
    assert "n-tuple" in caplog.text
    ranking = sorted(ANSWERS, key=lambda d: -similarity(QUERIES[0], d))
    assert [found[0][f"negative_{i}"] for i in range(1, 6)] == ranking[:5]


def test_report(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]):
    options = {"max_score": 0.1, "num_negatives": 3, "range_min": 1, "relative_margin": 0.2}
    with caplog.at_level(logging.INFO, logger="rankwright"):
        found = mine_hard_negatives(
            DATA,
            ToyEncoder(),
            output_scores=True,
            show_progress_bar=False,
            **options,  # type: ignore[arg-type]
        )
    lines = [record.getMessage() for record in caplog.records]
    [table] = [i for i, line in enumerate(lines) if line.startswith("Metric")]
    assert lines[table].split() == ["Metric", "Positive", "Negative", "Difference"]
    scores = np.array(found["scores"])
    positives = [similarity(q, p) for q, ps in POSITIVES.items() for p in ps]
    columns = [np.array(positives), scores[:, 1], scores[:, 0] - scores[:, 1]]
    assert lines[table + 1].split() == ["Count", "15", str(len(found))]
    for row, function in enumerate(
        (
            np.mean,
            np.median,
            lambda c: np.std(c, ddof=1),
            np.min,
            lambda c: np.quantile(c, 0.25),
            np.median,
            lambda c: np.quantile(c, 0.75),
            np.max,
        ),
        start=2,
    ):
        values = [float(value) for value in lines[table + row].split()[1:]]
        assert values == pytest.approx([function(c) for c in columns], abs=1e-4)
    text = "\n".join(lines)
    lowest = {q: min(similarity(q, p) for p in ps) for q, ps in POSITIVES.items()}
    near = sum(similarity(q, d) > s - abs(s) * 0.2 for q, s in lowest.items() for d in ranked(q))
    total = sum(len(ranked(q)) for q in POSITIVES)
    skipped = f"Skipped {near} potential negatives ({near / total:.2%})"
    assert f"{skipped} due to the relative_margin of 0.2." in text
    missing = 45 - len(found)
    assert f"Could not find enough negatives for {missing} samples ({missing / 45:.2%})." in text
    assert "range_max, range_min, relative_margin and max_score parameters" in text
    assert capsys.readouterr().out == ""


def test_verbose_false_is_silent(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    with caplog.at_level(logging.INFO, logger="rankwright.mining.hard_negatives"):
        mined()
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


def test_report_of_nothing(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="rankwright"):
        mine_hard_negatives(DATA, ToyEncoder(), max_score=-5, show_progress_bar=False)
    assert "Could not find enough negatives for 45 samples (100.00%)" in caplog.text


def test_corpus_too_small(caplog: pytest.LogCaptureFixture):
    data = datasets.Dataset.from_dict({"q": ["a x", "b y"], "d": ["x", "y"]})
    found = mine_hard_negatives(data, ToyEncoder(), num_negatives=5, verbose=False)
    assert "at most 1 negatives" in caplog.text
    assert found.to_list() == [
        {"q": "a x", "d": "x", "negative": "y"},
        {"q": "b y", "d": "y", "negative": "x"},
    ]


def test_former_names():
    with pytest.warns(FutureWarning, match="absolute_margin=0.1"):
        assert mined(margin=0.1).to_list() == mined(absolute_margin=0.1).to_list()
    with pytest.warns(FutureWarning, match="'n-tuple'"):
        assert mined(as_triplets=False).column_names[-1] == "negative_3"
    with pytest.warns(FutureWarning, match="output_scores=True"):
        assert mined(output_format="n-tuple-scores").column_names[-1] == "scores"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_format": "pairs"}, "Choose one of: triplet, n-tuple, labeled-pair, labeled-list"),
        ({"sampling_strategy": "best"}, "Choose one of: top, random"),
        ({"num_negatives": 0}, "num_negatives must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"anchor_column_name": "question"}, r"'question' is not among .*'query', 'answer'"),
        ({"anchor_column_name": "answer", "positive_column_name": "answer"}, "cannot be both"),
        ({"corpus": "text"}, "one string"),
        ({"corpus": ["text", " "]}, "corpus has an empty text in row 1"),
        ({"use_multi_process": True}, "start_multi_process_pool"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str):
    with pytest.raises((InputError, ColumnError, EmptyDataError), match=message):
        mined(**options)


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"q": ["a"]}, ColumnError, r"1 column, \['q'\]; expected two"),
        ({"q": [], "d": []}, EmptyDataError, "no rows"),
        ({"q": ["a", ""], "d": ["x", "y"]}, EmptyDataError, "column 'q': .* empty text in row 1"),
        ({"q": ["a", "b"], "d": ["x", None]}, EmptyDataError, "column 'd': .* in row 1"),
        ({"q": ["a"], "d": [["x"]]}, ColumnError, "column 'd': .*holds list.*one positive per row"),
        ({"q": ["a"], "d": [3]}, ColumnError, "holds int"),
    ],
)
def test_bad_data(columns: dict[str, Any], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        mine_hard_negatives(datasets.Dataset.from_dict(columns), ToyEncoder())


def test_not_a_dataset():
    stream = DATA.to_iterable_dataset()
    with pytest.raises(InputTypeError, match="streams"):
        mine_hard_negatives(stream, ToyEncoder())  # type: ignore[arg-type]
    splits = datasets.DatasetDict(train=DATA)
    with pytest.raises(InputTypeError, match=r"\['train'\]"):
        mine_hard_negatives(splits, ToyEncoder())  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match="list"):
        mine_hard_negatives([("a", "b")], ToyEncoder())  # type: ignore[arg-type]


def test_other_columns_are_left_out_aloud(caplog: pytest.LogCaptureFixture):
    data = DATA.add_column("source", ["x"] * len(DATA))
    found = mine_hard_negatives(data, ToyEncoder(), verbose=False)
    assert "left out: source" in caplog.text
    assert found.to_list() == mined().to_list()
    swapped = mine_hard_negatives(
        data.select_columns(["answer", "query"]), ToyEncoder(), "query", "answer", verbose=False
    )
    assert swapped.to_list() == mined().to_list()


def test_worker_pools_are_used_and_stopped():
    class Pooled(ToyEncoder):
        events: list[Any] = []  # noqa: RUF012

        def start_multi_process_pool(self, target_devices):
            self.events.append(target_devices)
            return "pool"

        def stop_multi_process_pool(self, pool):
            self.events.append("stopped")

        def encode_query(self, texts, pool=None, batch_size=32):
            self.events.append(pool)
            return self.encode(texts)

        encode_document = encode_query

    encoder = Pooled()
    mine_hard_negatives(DATA, encoder, use_multi_process=["cpu", "cpu"], verbose=False)
    assert encoder.events == [["cpu", "cpu"], "pool", "pool", "stopped"]
