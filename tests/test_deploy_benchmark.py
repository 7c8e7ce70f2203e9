"""The benchmark of deployment: its workers answer, its plain loop is right, its page follows."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.deploy import bench, candidates, table
from benchmarks.deploy.candidates import CANDIDATES, REFERENCE
from benchmarks.deploy.settings import QUICK, Settings
from benchmarks.deploy.worker_ours import OurWorker
from benchmarks.deploy.worker_plain import PlainWorker
from benchmarks.engine.client import WorkerError
from benchmarks.engine.results import Results, summary
from benchmarks.markers import with_text

from rankwright.data.types import RankingData
from tests.exported import export, tiny_folder

PAIRS = [("how do i", "sort a list " * count) for count in (9, 1, 4, 2, 7)] + [("", "b")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("deploy")
    tiny_folder(work / "model")
    export(work / "model", output=work / "onnx-int8")  # named as the reference wants it
    return work


def test_the_plain_loop_scores_as_we_do_in_any_batch(folder: Path) -> None:
    ours, plain = OurWorker(), PlainWorker()
    ours.load(folder=str(folder / "model"), backend="torch", precision="float32")
    file, tokenizer = folder / "onnx-int8" / "onnx" / "model.onnx", folder / "model/tokenizer.json"
    plain.load(file=str(file), tokenizer=str(tokenizer), backend="onnx", precision="fp32")
    wanted = np.asarray(ours.scores(PAIRS, None)).reshape(-1)
    assert np.ptp(wanted) > 1e-3
    for batch in (1, 2, 32, None):
        np.testing.assert_allclose(plain.scores(PAIRS, batch), wanted, atol=2e-6)


def test_one_row_in_processes_of_their_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "alpha beta gamma delta epsilon zeta".split()
    corpus = {f"d{i}": f"the {words[i % 6]} part {i}" for i in range(30)}
    queries = {f"q{i}": f"which {words[i % 6]} part {i}" for i in range(12)}
    judged = {f"q{i}": {f"d{i}": 1} for i in range(12)}
    data = RankingData(queries, corpus, {"train": judged, "test": judged})
    monkeypatch.setattr(bench.workloads, "read", lambda *_: data)
    row = next(c for c in CANDIDATES if c.name == "ours-onnx-fp32")
    row = replace(row, options={**row.options, "folder": "onnx-int8"}, files=("onnx-int8/**/*",))
    reference = replace(row, name=REFERENCE)
    monkeypatch.setattr(bench, "CANDIDATES", (row, reference))
    settings = replace(Settings(), **QUICK)
    shared = bench.Bench(settings, folder, None, True, lambda _: Path(sys.executable))
    try:
        found = shared.measure(row)
    finally:
        shared.close()
    assert found["batch"] is None
    assert found["kendall_tau"] == pytest.approx(1)  # it is compared with itself
    assert found["difference"] == 0
    assert 0 <= found["ndcg"] <= 1
    assert len(found["rank_ms"]["values"]) == settings.lists * settings.repeats
    rates = (found[key]["median"] for key in ("pairs_per_second", "reference"))
    first, second = rates
    assert found["relative"] == pytest.approx(first / second)
    files = [f for f in (folder / "onnx-int8").rglob("*") if f.is_file()]
    assert found["size_mib"] == pytest.approx(sum(f.stat().st_size for f in files) / 2**20)
    assert found["peak_mib"] > found["size_mib"]
    assert found["start_seconds"]["median"] > 0
    assert found["gate"]["kendall_tau"] > 0.99


def test_a_worker_that_cannot_load_says_why(folder: Path, tmp_path: Path) -> None:
    row = next(c for c in CANDIDATES if c.name == "plain-onnx-fp32")
    settings = replace(Settings(), **QUICK)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tokenizer.json").write_bytes(
        (folder / "model" / "tokenizer.json").read_bytes()
    )
    shared = bench.Bench(settings, tmp_path, None, True, lambda _: Path(sys.executable))
    with pytest.raises(WorkerError, match=r"plain, load: .*model\.onnx"):
        shared.start(row)


def test_the_reference_is_a_row_and_names_are_distinct() -> None:
    names = [c.name for c in CANDIDATES]
    assert len(set(names)) == len(names)
    assert REFERENCE in names
    assert {c.side for c in CANDIDATES} == set(candidates.SIDES)
    # Others get the best of several batch sizes; by default means by default.
    tuned = {c.name for c in CANDIDATES if not c.fixed_batch}
    assert tuned == {c.name for c in CANDIDATES if c.side != "ours"} - {"peer-default"}


# --- the page -----------------------------------------------------------------------------------


def recorded() -> dict[str, Any]:
    def row(name: str, relative: float, ndcg: float, **more: Any) -> dict[str, Any]:
        candidate = next(c for c in CANDIDATES if c.name == name)
        return {
            "side": candidate.side,
            "title": candidate.title,
            "batch": 8,
            "pairs_per_second": summary("pairs/s", [60 * relative]),
            "relative": relative,
            "rank_ms": summary("ms", [1000.0, 2000.0, 1200.0]),
            "start_seconds": summary("s", [0.5]),
            "size_mib": 23.4,
            "peak_mib": 190.2,
            "ndcg": ndcg,
            "date": "2026-01-31",
            **more,
        }

    return {
        "machine": {"cpu": "Some CPU", "cores": 2, "features": ["avx2", "avx512_bf16"]},
        "versions": {
            "ours": {"onnxruntime": "1.31.1", "openvino": "2026.4.1-1"},
            "peer": {"torch": "2.13.0", "sentence-transformers": "6.2.0"},
        },
        "quick": False,
        "settings": {"pairs": 256, "repeats": 3, "quality_queries": 100, "quality_depth": 20}
        | {"batches": [4, 8]},
        "judged_on": "nl2bash",
        "note": "A note.",
        "rows": {
            "ours-torch-float32": row("ours-torch-float32", 0.6, 0.5),
            "ours-onnx-int8": row("ours-onnx-int8", 1.0, 0.4971, kept_in_float32=["layers.1"]),
            "peer-default": row("peer-default", 0.1, 0.5),
            "plain-onnx-int8": row("plain-onnx-int8", 0.625, 0.48),
        },
        "skipped": {"peer-openvino": "not installed"},
    }


def test_the_fastest_is_one_that_ranks_as_float32_does() -> None:
    results = recorded()
    found = table.ratios(results["rows"])
    assert found["name"] == "ours-onnx-int8"
    assert found["best"] == ("plain-onnx-int8", pytest.approx(1.6))
    assert found["default"] == pytest.approx(10)
    results["rows"]["ours-onnx-int8"]["ndcg"] = 0.4969
    found = table.ratios(results["rows"])
    assert found["name"] == "ours-torch-float32"
    assert found["best"][1] == pytest.approx(0.6 / 0.625)


def test_the_table_is_made_from_the_results() -> None:
    text = table.render(recorded())
    lines = text.splitlines()
    assert lines[2] == (
        "| **Rankwright: ONNX Runtime, int8** | 60.0 | 1.20 s, 2.00 s | 0.5 s | 23 MiB | 190 MiB "
        "| 0.4971 |"
    )
    assert lines[3].startswith("| plain loop: ONNX Runtime, int8 | 37.5 |")
    assert lines[5].startswith("| Sentence Transformers: PyTorch, float32, by default | 6.0 |")
    assert "**1.60** times as many pairs per second as the best of all others" in text
    assert "**10.0** times as many as Sentence Transformers by default" in text
    assert "2 cores of Some CPU, which has no instructions for 8-bit products (VNNI); 2026" in text
    assert "Left in float32 by the gate: ONNX Runtime, int8: layers.1." in text
    absent = text.partition("Not measured: ")[2]
    assert "Sentence Transformers: OpenVINO, float32, best batch size; " in absent
    assert "by default" not in absent


def test_of_rows_not_yet_measured_only_their_names_are_there() -> None:
    results = recorded()
    results["rows"] = {"plain-onnx-int8": results["rows"]["plain-onnx-int8"]}
    text = table.render(results)
    assert "times as many" not in text
    assert "float32 by the gate" not in text


def test_rows_are_kept_when_a_run_is_taken_up_again(tmp_path: Path) -> None:
    path = tmp_path / "deploy.json"
    Results(path, {"machine": "a"}).put("ours-onnx-int8", {"title": "t"})
    assert Results(path, {"machine": "a"}).rows["ours-onnx-int8"]["title"] == "t"
    assert Results(path, {"machine": "b"}).dropped


def test_the_page_says_what_the_results_say() -> None:
    page = table.PAGE.read_text(encoding="utf-8")
    assert with_text(page, table.TABLE, "x") != page
    if not table.RESULTS.is_file():
        assert "Not measured yet" in page
        pytest.skip("benchmarks/results/deploy.json is not there: it was not measured yet")
    results = json.loads(table.RESULTS.read_text(encoding="utf-8"))
    assert not results["quick"]
    assert with_text(page, table.TABLE, table.render(results)) == page
