from __future__ import annotations

from pathlib import Path

import pytest

from rankwright.data import LoadOptions, load_data, read_run
from rankwright.evaluation import Fusion, evaluate_run, paired_test, rerank_run
from rankwright.mining import BM25, retrieve
from rankwright.model import CrossEncoder
from tests.cli.worlds import assert_refused, run, write_pairs
from tests.tiny import save_tiny


def test_the_report_is_what_the_rooms_say(model: Path, beir: Path, tmp_path: Path) -> None:
    done = run(
        "evaluate", "--model", model, "--data", beir, "--depth", 7, "--measures", "nDCG@10,R@3",
        "--measures", "AP", "--save-run", tmp_path / "m.run", "--precision", "float32", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    data = load_data(beir, LoadOptions())
    queries = {q: data.queries[q] for q in data.qrels["test"]}
    first = retrieve(BM25("auto"), data.corpus, queries, 7)
    again = rerank_run(CrossEncoder(str(model)), first, queries, data.corpus, depth=7)
    measures = ("nDCG@10", "R@3", "AP")
    wanted = {
        name: evaluate_run(data.qrels["test"], found, measures)
        for name, found in {"BM25": first, "model": again.run}.items()
    }
    report = done.json
    for row in report["rows"]:
        for measure in measures:
            assert row[measure] == pytest.approx(wanted[row["system"]].mean[measure])
    assert [row["system"] for row in report["rows"]] == ["BM25", "model"]
    test = paired_test(wanted["model"].per_query["AP"], wanted["BM25"].per_query["AP"])
    [found] = [c for c in report["comparisons"] if c["measure"] == "AP"]
    assert (found["system"], found["against"]) == ("model", "BM25")
    assert found["difference"] == pytest.approx(test.difference)
    assert found["p_value"] == pytest.approx(test.p_value)
    assert (report["queries"], report["all_queries"], report["depth"]) == (10, 40, 7)
    saved = read_run(tmp_path / "m.run")
    assert {q: set(found) for q, found in saved.items()} == {
        q: set(found) for q, found in first.items()
    }
    assert done.err.count("Only 10 queries") == 1


def test_the_table_with_a_base(model: Path, beir: Path, tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base", "bert", seed=4)
    done = run("evaluate", "--model", model, "--data", beir, "--base", base, "--max-queries", 5)
    assert done.code == 0, done.err
    for shown in ("BM25", "base", "model", "95 % interval", "p = ", "over base"):
        assert shown in done.out


def test_a_run_file_is_the_first_stage(model: Path, beir: Path, tmp_path: Path) -> None:
    path = tmp_path / "my.run"
    path.write_text(
        "q30 Q0 d30 1 3 x\nq30 Q0 d31 2 2 x\nq30 Q0 d32 3 1 x\nq31 Q0 d30 1 9 x\nq0 Q0 d0 1 1 x\n"
    )
    ask = ("evaluate", "--model", model, "--data", beir, "--first-stage", path, "--json")
    report = run(*ask, "--depth", 2, "--save-run", tmp_path / "out.run").json
    assert report["first_stage"] == "my.run"
    assert report["recall"] == pytest.approx(0.1)
    # nothing beyond the depth, no other query, nothing that the first stage did not find
    assert {q: set(d) for q, d in read_run(tmp_path / "out.run").items()} == {
        "q30": {"d30", "d31"},
        "q31": {"d30"},
    }


def test_fusion_is_shown_for_the_stage_it_was_tuned_for(beir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "fused"
    encoder = CrossEncoder(str(save_tiny(tmp_path / "plain", "bert")))
    encoder.fusion = Fusion(1.0, "min-max", "BM25").to_dict()
    encoder.save_pretrained(str(folder))
    report = run("evaluate", "--model", folder, "--data", beir, "--json").json
    rows = {row["system"]: row for row in report["rows"]}
    # the first stage alone, by a weight of 1
    assert rows["model + first stage"]["AP"] == pytest.approx(rows["BM25"]["AP"])
    assert {"model + first stage"} < {c["system"] for c in report["comparisons"]}
    path = tmp_path / "my.run"
    path.write_text("q30 Q0 d30 1 3 x\n")
    other = run("evaluate", "--model", folder, "--data", beir, "--first-stage", path, "--json").json
    assert [row["system"] for row in other["rows"]] == ["my.run", "model"]
    assert any("tuned for 'BM25'" in warning for warning in other["warnings"])


def test_dense_search(model: Path, beir: Path) -> None:
    report = run("evaluate", "--model", model, "--data", beir, "--embedder", model, "--json").json
    assert report["first_stage"] == "dense"


def test_all_splits(model: Path, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.jsonl")
    ask = ("evaluate", "--model", model, "--data", pairs, "--json")
    assert run(*ask).json["queries"] == 2
    assert run(*ask, "--split", "all").json["queries"] == 20


def test_mistakes(model: Path, beir: Path, tmp_path: Path) -> None:
    ask = ("evaluate", "--model", model, "--data", beir)
    assert_refused(run(*ask, "--split", "tset"), "no split 'tset'", "test")
    assert_refused(run(*ask, "--first-stage", "dense"), "--embedder")
    assert_refused(run(*ask, "--first-stage", "bm52"), "bm52", "TREC run file")
    assert_refused(run(*ask, "--measures", "nDGC@10"), "nDGC@10", "nDCG@k")
    assert_refused(run(*ask, "--base", "./nowhere"), "./nowhere")
    assert_refused(run("evaluate", "--model", model), "data.source is missing")
    assert_refused(run("evaluate", "--model", model, "--data", beir / "corpu"), "does not exist")
    foreign = tmp_path / "foreign.run"
    foreign.write_text("other Q0 d1 1 1 x\n")
    assert_refused(run(*ask, "--first-stage", foreign), "foreign.run", "'other'", "'q30'")
    foreign.write_text("q30 Q0 nothing 1 1 x\n")
    assert_refused(run(*ask, "--first-stage", foreign), "nothing")
    assert_refused(run(*ask, "--save-run", foreign), "exists already")
    several = save_tiny(tmp_path / "several", "bert", num_labels=3)
    assert_refused(run("evaluate", "--model", several, "--data", beir), "3 scores per pair")


def test_an_export_is_judged_beside_its_own_weights(beir: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from rankwright import Reranker
    from tests.exported import LIMITS, export, tiny_folder

    folder = tiny_folder(tmp_path / "m")
    export(folder)
    export(folder, precision="int8", **LIMITS)
    ask = ("evaluate", "--model", folder, "--data", beir, "--depth", 7, "--max-length", 20)
    report = run(*ask, "--backend", "onnx:int8", "--base", folder, "--json").json
    assert report["backend"] == "onnx int8"
    data = load_data(beir, LoadOptions())
    queries = {q: data.queries[q] for q in data.qrels["test"]}
    first = retrieve(BM25("auto"), data.corpus, queries, 7)
    rows = {row["system"]: row["nDCG@10"] for row in report["rows"]}
    for name, model in {
        "model": Reranker(folder, precision="int8", max_length=20),
        "base": CrossEncoder(str(folder), max_length=20),
    }.items():
        again = rerank_run(model, first, queries, data.corpus, depth=7).run
        wanted = evaluate_run(data.qrels["test"], again, ["nDCG@10"]).mean["nDCG@10"]
        assert rows[name] == pytest.approx(wanted), name
    assert rows["model"] != rows["base"]
    assert ("model", "base") in {(c["system"], c["against"]) for c in report["comparisons"]}
    told = run(*ask, "--backend", "onnx")
    assert "the model runs on onnx" in " ".join(told.out.split())
    assert_refused(run(*ask, "--backend", "torch:int8"), "--precision")
    assert_refused(run(*ask, "--backend", "tensorrt"), "tensorrt")
    assert_refused(run(*ask, "--backend", "openvino"), "rankwright export")
