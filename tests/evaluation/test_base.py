from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from rankwright.errors import FormatError, InputError, SaveError
from rankwright.evaluation.base import (
    BaseEvaluator,
    SentenceEvaluator,
    SequentialEvaluator,
    append_csv_row,
    csv_name,
    main_score,
    prefixed,
)
from rankwright.evaluation.scoring import predict_pairs
from tests.evaluation.stubs import StubModel, hashed


class Fixed(BaseEvaluator):
    """Returns what it was given."""

    def __init__(self, result, primary: str | None = None, name: str = "") -> None:
        super().__init__()
        self.result, self.primary_metric, self.name = result, primary, name

    def __call__(self, model, output_path=None, epoch=-1, steps=-1):
        self.seen = (model, output_path, epoch, steps)
        return self.result


def test_base() -> None:
    evaluator = BaseEvaluator()
    assert (evaluator.greater_is_better, evaluator.primary_metric) == (True, None)
    assert SentenceEvaluator is BaseEvaluator
    with pytest.raises(NotImplementedError, match="BaseEvaluator"):
        evaluator(None)
    evaluator.store_metrics_in_model_card_data(object(), {"a": 1})
    assert evaluator.get_config_dict() == {}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CrossEncoderRerankingEvaluator", "Cross Encoder Reranking"),
        ("CEBinaryAccuracyEvaluator", "Cross Encoder Binary Accuracy"),
        ("CERerankingEvaluatorOld", "Cross Encoder Reranking"),
        ("CentralEvaluator", "Central"),
        ("Mine", "Mine"),
    ],
)
def test_description(name: str, words: str) -> None:
    assert type(name, (BaseEvaluator,), {})().description == words


@pytest.mark.peer
@pytest.mark.parametrize(
    "name", ["CrossEncoderRerankingEvaluator", "CEF1Evaluator", "MyNDCGEvaluator", "Mine"]
)
def test_description_like_the_peer(name: str) -> None:
    peer = pytest.importorskip("sentence_transformers.base.evaluation")
    ours = type(name, (BaseEvaluator,), {})().description
    assert ours == type(name, (peer.BaseEvaluator,), {})().description


def test_prefix_has_no_side_effect() -> None:
    evaluator = Fixed({}, "f1", "dev")
    assert evaluator.prefix_name_to_metrics({"f1": 1}, "dev") == {"dev_f1": 1.0}
    assert evaluator.primary_metric == "f1"
    assert prefixed({"f1": 1}, "") == {"f1": 1.0}


def test_main_score() -> None:
    assert main_score(Fixed(None), 0.25) == 0.25
    assert main_score(Fixed(None, "b"), {"a": 1.0, "b": 2.0}) == 2.0
    assert main_score(Fixed(None, "b", "dev"), {"dev_a": 1.0, "dev_b": 2.0}) == 2.0
    assert main_score(Fixed(None), {"a": 1.0, "b": 2.0}) == 1.0
    with pytest.raises(InputError, match="'c', which is not among its results: a, b"):
        main_score(Fixed(None, "c"), {"a": 1.0, "b": 2.0})
    with pytest.raises(InputError, match="none"):
        main_score(Fixed(None), {})


def test_sequential(caplog) -> None:
    parts = [Fixed({"a": 1.0, "b": 2.0}, "b"), Fixed(0.5), Fixed({"x_c": 3.0, "a": 9.0}, "c", "x")]
    evaluator = SequentialEvaluator(iter(parts))
    assert evaluator.primary_metric == "sequential_score"
    result = evaluator("model", "out", 2, 7)
    assert result == {
        "a": 9.0, "b": 2.0, "evaluator_1": 0.5, "x_c": 3.0, "sequential_score": 3.0
    }  # fmt: skip
    assert "'a'" in caplog.text
    assert all(part.seen == ("model", "out", 2, 7) for part in parts)
    assert SequentialEvaluator(parts, sum)("model")["sequential_score"] == 5.5
    with pytest.raises(InputError, match="at least one"):
        SequentialEvaluator([])


def test_csv(tmp_path) -> None:
    path = tmp_path / "new" / "folder" / "a.csv"
    append_csv_row(path, ["epoch", "x"], [1, 0.5])
    append_csv_row(path, ["epoch", "x"], [2, 1 / 3])
    assert path.read_bytes() == b"epoch,x\r\n1,0.5\r\n2,0.3333333333333333\r\n"
    assert [p.name for p in path.parent.iterdir()] == ["a.csv"]


def test_csv_continues_what_is_there(tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"epoch,x\r\n1,0.5")  # cut off by hand, without a line end
    append_csv_row(path, ["epoch", "x"], [2, 1])
    assert path.read_bytes() == b"epoch,x\r\n1,0.5\r\n2,1\r\n"
    path.write_bytes(b"")
    append_csv_row(path, ["epoch", "x"], [2, 1])
    assert path.read_bytes() == b"epoch,x\r\n2,1\r\n"


def test_csv_with_another_header(tmp_path) -> None:
    path = tmp_path / "a.csv"
    append_csv_row(path, ["epoch", "x"], [1, 2])
    before = path.read_bytes()
    with pytest.raises(FormatError, match=r"a\.csv, line 1: the header is epoch,x"):
        append_csv_row(path, ["epoch", "y"], [1, 2])
    assert path.read_bytes() == before


def test_csv_failures_leave_the_file_alone(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.csv"
    append_csv_row(path, ["x"], [1])

    def fail(*_) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(SaveError, match="disk full"):
        append_csv_row(path, ["x"], [2])
    assert path.read_bytes() == b"x\r\n1\r\n"
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]


def test_csv_name() -> None:
    assert csv_name("Kind", "", "results") == "Kind_results.csv"
    assert csv_name("Kind", "org/data", "results_@10") == "Kind_org_data_results_@10.csv"


def test_lazy_exports() -> None:
    code = (
        "import sys, rankwright.evaluation as e\n"
        "heavy = {'torch', 'transformers', 'sklearn', 'scipy', 'ir_measures', 'numpy'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
        "for name in e.__all__: getattr(e, name)\n"
        "assert 'torch' not in sys.modules and 'sklearn' not in sys.modules\n"
        "assert dir(e) == sorted(e.__all__) == e.__all__\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    import rankwright.evaluation as room

    with pytest.raises(AttributeError, match="Nothing"):
        _ = room.Nothing


# --- evaluators of one's own


def a_number(model, output_path=None, epoch=-1, steps=-1):
    return np.float32(0.25)


def several(model, output_path, epoch, steps):
    return {"good": 0.5, "bad": 0.1, "steps": steps}


class WithPrimary:
    primary_metric = "bad"
    name = "mine"

    def __call__(self, model, output_path=None, epoch=-1, steps=-1):
        return {"mine_good": 0.5, "mine_bad": 0.125}


def test_any_function_or_object_can_be_in_a_sequence() -> None:
    evaluator = SequentialEvaluator([a_number, several, WithPrimary()], main_score_function=sum)
    found = evaluator(None, "folder", 1, 7)
    assert found == {
        "evaluator_0": 0.25, "good": 0.5, "bad": 0.1, "steps": 7, "mine_good": 0.5,
        "mine_bad": 0.125, "sequential_score": 0.25 + 0.5 + 0.125,
    }  # fmt: skip
    assert type(found["evaluator_0"]) is float


@pytest.mark.parametrize("result", [None, "good", [0.5, 0.1]])
def test_what_is_no_result_is_named(result) -> None:
    def silent(model, output_path, epoch, steps):
        return result

    with pytest.raises(InputError, match="evaluator silent returned .*expected a number, or a di"):
        SequentialEvaluator([silent])(None)


# --- a collapsed model is named


@pytest.mark.parametrize("spread", [0.0, 1e-6])
@pytest.mark.parametrize("labels", [1, 3])
def test_flat_scores_are_named(spread: float, labels: int, caplog) -> None:
    def score(query: str, document: str):
        value = 0.7 + spread * (hashed(query, document) - 0.5)
        return value if labels == 1 else [value] * labels

    pairs = [(f"q{i}", "d") for i in range(12)]
    predict_pairs(StubModel(score, labels), pairs, str, batch_size=4, show_progress_bar=False)
    assert "all 12 pairs practically the same score" in caplog.text
    assert "collapsed" in caplog.text


@pytest.mark.parametrize(("spread", "pairs"), [(1e-3, 12), (0.0, 9), (1e-12, 0)])
def test_no_false_alarm_about_flat_scores(spread: float, pairs: int, caplog) -> None:
    texts = [(f"q{i}", "d") for i in range(pairs)] or [("same", "pair")] * 12
    model = StubModel(lambda q, d: 0.7 + spread * hashed(q, d))
    predict_pairs(model, texts, str, batch_size=4, show_progress_bar=False)
    assert not caplog.records
    tiny = StubModel(lambda q, d: 1e-9 * hashed(q, d))  # small, yet in an order
    predict_pairs(tiny, [(f"q{i}", "d") for i in range(12)], str, batch_size=4,
                  show_progress_bar=False)  # fmt: skip
    assert not caplog.records
