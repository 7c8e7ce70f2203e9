"""The engine benchmark: its work loads are the same on every run, and its page follows its file."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.engine import curves, render, workloads
from benchmarks.engine.emulation import bfloat16_products
from benchmarks.engine.flops import Shape, forward_flops
from benchmarks.engine.results import Results, compared, summary
from benchmarks.markers import put_between_markers, with_text

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa".split()


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """400 modules, one documented function each: enough for 20 queries in every split."""
    root = tmp_path / "sources"
    root.mkdir()
    for number in range(400):
        word = WORDS[number % len(WORDS)]
        text = f'def f{number}(x):\n    """Return the {word} of item {number}."""\n'
        text += f"    {word} = x + {number}\n    return {word}\n"
        (root / f"module_{number}.py").write_text(text, "utf-8")
    return root


def test_work_load_a_is_the_same_every_time(sources: Path) -> None:
    first, second = (workloads.pairs(workloads.read("A", root=sources), 50) for _ in range(2))
    assert first == second
    assert workloads.fingerprint(first) == workloads.fingerprint(second)
    assert workloads.pairs(workloads.read("A", root=sources), 20) == first[:20]
    assert len({(query, document) for query, document, _ in first}) == 50
    for query, document, label in first:
        number = query.removesuffix(".").rsplit(" ", 1)[1]
        assert label == float(f"def f{number}(x)" in document)
    assert {label for *_, label in first} == {0.0, 1.0}


def test_lists_start_with_the_right_document_and_grow(sources: Path, tmp_path: Path) -> None:
    data = workloads.read("A", root=sources)
    short, long = (workloads.lists(data, 5, documents) for documents in (4, 8))
    for some, more in zip(short, long, strict=True):
        assert some.query == more.query
        assert some.documents == more.documents[:4]
        assert len(set(more.documents)) == 8
        number = some.query.removesuffix(".").rsplit(" ", 1)[1]
        assert f"def f{number}(x)" in some.documents[0]
    written = json.loads(workloads.write(tmp_path / "lists.json", short).read_text("utf-8"))
    assert written == [[item.query, item.documents] for item in short]


def test_too_little_data_is_said(sources: Path, tmp_path: Path) -> None:
    data = workloads.read("A", root=sources)
    with pytest.raises(ValueError, match="100000 were asked for"):
        workloads.pairs(data, 100_000)
    with pytest.raises(FileNotFoundError, match="nl2bash"):
        workloads.read("B")
    with pytest.raises(FileNotFoundError, match="medquad"):
        workloads.read("C", tmp_path)


def test_operations_are_those_of_the_products() -> None:
    shape = Shape(layers=2, hidden=4, inner=8)
    # Counted product by product, rows x inner x columns, two operations each.
    expected = 0
    for n in (3, 5):
        products = [(n, 4, 4)] * 4 + [(n, 4, 8), (n, 8, 4), (n, 4, n), (n, n, 4)]
        expected += 2 * sum(2 * a * b * c for a, b, c in products) + 2 * 4 * 4
    assert forward_flops([3, 5], shape, first_only=False) == expected
    last = 0
    for n in (3, 5):
        whole = [(n, 4, 4)] * 4 + [(n, 4, 8), (n, 8, 4), (n, 4, n), (n, n, 4)]
        needed = [(n, 4, 4)] * 2 + [(1, 4, 4)] * 2 + [(1, 4, 8), (1, 8, 4), (1, 4, n), (1, n, 4)]
        last += sum(2 * a * b * c for a, b, c in whole + needed) + 2 * 4 * 4
    assert forward_flops([3, 5], shape, first_only=True) == last


def test_ratios_above_one_are_in_our_favour() -> None:
    fast, slow = summary("x", [30.0, 20.0, 40.0]), summary("y", [10.0])
    assert fast["median"] == 30.0
    assert (fast["min"], fast["max"]) == (20.0, 40.0)
    assert compared("train", "t", "pairs/s", fast, slow)["ratio"] == pytest.approx(3)
    assert compared("rank", "t", "ms", slow, fast)["ratio"] == pytest.approx(3)
    assert compared("memory", "t", "MiB", slow, None)["ratio"] is None


def test_curves_are_compared_in_standard_errors() -> None:
    reference = [[1.0, 1.0, 5.0, 7.0], [3.0, 3.0, 7.0, 9.0]]  # blocks: 1, 6 and 3, 8
    ours = [[2.0, 2.0, 9.0, 9.0], [2.0, 2.0, 9.0, 9.0]]  # 2, 9: off by 0 and 2, no deviation
    found = curves.compare({"reference": reference, "float32": ours}, 2)
    assert found["means"] == {"reference": [2.0, 7.0], "float32": [2.0, 9.0]}
    assert found["deviations"]["reference"] == pytest.approx([2**0.5, 2**0.5])
    # Variance 2 over two seeds: a standard error of 1.
    assert found["distance"] == {"float32": pytest.approx(2.0)}


def test_emulated_bfloat16_products_are_those_of_the_library() -> None:
    generator = torch.Generator().manual_seed(3)
    a, b, bias = (
        torch.randn(*shape, generator=generator).bfloat16() for shape in ((40, 64), (64, 24), (24,))
    )
    for function in (torch.addmm, lambda c, x, y: torch.bmm(x[None], y[None])[0] + c):
        native = function(bias, a, b)
        with bfloat16_products():
            emulated = function(bias, a, b)
        assert emulated.dtype == torch.bfloat16
        # Sums in another order may round to the next number.
        torch.testing.assert_close(emulated, native, rtol=2**-7, atol=2**-7)
        assert (emulated == native).float().mean() > 0.98


def test_results_survive_an_interruption_but_not_another_machine(tmp_path: Path) -> None:
    path = tmp_path / "results" / "engine.json"
    Results(path, {"machine": "a", "sizes": (1, 2)}).put("row", {"title": "t"})
    again = Results(path, {"machine": "a", "sizes": (1, 2)})
    assert again.rows["row"]["title"] == "t"
    assert not again.dropped
    other = Results(path, {"machine": "b", "sizes": (1, 2)})
    assert other.rows == {}
    assert other.dropped
    assert [file.name for file in path.parent.iterdir()] == ["engine.json"]


# --- the page ---------------------------------------------------------------------------------


def recorded() -> dict[str, Any]:
    def side(*values: float) -> dict[str, Any]:
        return summary("batch 32", values)

    stamp = {"date": "2026-01-31", "commit": "abc"}
    predict = compared(
        "predict",
        "predict <A>",
        "pairs/s",
        side(200, 100, 300),
        side(25, 24, 27),
        largest_difference=2e-6,
        spread_of_scores=0.25,
    )
    rank = compared("rank", "rank", "ms", side(400, 500, 450), side(900, 900, 900))
    memory = compared("memory", "memory", "MiB", side(512), None, note="out of memory")
    quality = {k: {"kendall_tau": 0.99, "nDCG@10": 0.5} for k in ("float32", "bfloat16", "int16")}
    rows: dict[str, Any] = {
        "predict-float32": predict,
        "compiled": {
            "rates": {"int16": side(70), "float32": side(50), "PyTorch": side(40)},
            "unavailable": None,
            "suggested": True,
        },
        "compiled-training": {
            "rates": {"compiled": side(15), "PyTorch": side(12)},
            "unavailable": None,
            "suggested": True,
        },
        "prepacked": {
            "rates": {
                "bfloat16": {
                    "on": side(300),
                    "off": side(200),
                    "gain": 1.5,
                    "unavailable": None,
                    "suggested": True,
                },
                "float32": {
                    "on": side(100),
                    "off": side(100),
                    "gain": 1.0,
                    "unavailable": "of a reason",
                    "suggested": False,
                },
            }
        },
        "share-of-peak": {
            "work": {"tokens": 1500, "pairs": 10, "longest": 512},
            "peak": {"bfloat16": 1e12},
            "shares": {
                "auto": {"kind": "bfloat16", "of": "bfloat16", "flops": 4e11, "share": 0.4},
                "float32": {"kind": "int16", "of": "bfloat16", "flops": 3e11, "share": 0.3},
            },
        },
        "rank-float32": rank,
        "memory-default": memory,
        "memory-growth": {"mib": {"16": 100.0, "32": "failed"}},
        "quality": {
            "steps": 60,
            "trained_on": "B",
            "loads": {"B": {**quality, "BM25": {"nDCG@10": 0.25}}},
        },
        "loss-curves": {
            "trained_on": "B",
            "steps": 4,
            "seeds": 2,
            **curves.compare(
                {
                    "reference": [[4.0, 2.0, 1.0, 1.0], [2.0, 2.0, 1.0, 3.0]],
                    "float32": [[3.0, 3.0, 2.0, 1.0]] * 2,
                    "bfloat16": [[3.0, 3.0, 2.0, 1.0]] * 2,
                },
                2,
            ),
            "products": {"float32": "float32", "bfloat16": "float32"},
        },
    }
    return {
        "machine": {"cpu": "Some CPU", "cores": 2},
        "versions": {
            "ours": {"torch": "2.13.0"},
            "peer": {"torch": "2.13.0", "sentence-transformers": "6.2.0"},
        },
        "settings": {"repeats": 3},
        "quick": False,
        "rows": {name: {**row, **stamp} for name, row in rows.items()},
        "skipped": {"train-B-fp32": "needs --data"},
    }


def test_the_tables_are_made_from_the_results() -> None:
    text = render.render(recorded())
    lines = text.splitlines()
    assert lines[2] == "| predict <A>, pairs/s | 25.0 (24.0–27.0) | 200 (100–300) | **8.0** |"
    assert lines[3] == "| rank | 900 ms; 95 %: 900 ms | 450 ms; 95 %: 500 ms | **2.0** |"
    assert lines[4] == "| memory | – (out of memory) | 512 MiB |  |"
    assert "400 of 1,000 GFLOP/s (40%) in bfloat16" in text
    assert "bfloat16: 300 pairs/s with, 200 without (1.50 times as fast; on by default" in text
    assert "float32: not possible, because of a reason." in text
    assert "150 tokens per pair on average, the longest 512" in text
    assert "16 documents: 100 MiB, 32 documents: failed." in text
    assert "| B | int16 | 0.9900 | 0.5000 | 0.5000 | 0.2500 |" in text
    assert "300 of 1,000 GFLOP/s (30%) in int16, measured by the rate of bfloat16" in text
    assert "70.0 pairs/s in int16, 50.0 in float32; in PyTorch 40.0" in text
    assert "Training on A in the compiled library: 15.0 pairs/s; in PyTorch 12.0" in text
    assert "| packed, float32 | 3.000 | 1.500 | 1.0 |" in text
    assert "| packed, bf16=True, hence float32 on this processor | 3.000 |" in text
    assert "in float32: 2.0e-06, where logits have a standard deviation of 0.25" in text
    assert "Medians of 3 runs" in text
    assert "Not measured: train-B-fp32." in text


def test_rows_not_yet_measured_leave_no_trace() -> None:
    results = recorded()
    results["rows"] = {"rank-float32": results["rows"]["rank-float32"]}
    text = render.render(results)
    assert "Kendall" not in text
    assert "GFLOP" not in text


def test_the_plot_has_one_bar_per_ratio() -> None:
    root = ElementTree.fromstring(render.plot(recorded()))
    name = "{http://www.w3.org/2000/svg}"
    bars = root.findall(f"{name}rect")[1:]
    widths = [float(bar.get("width", "0")) for bar in bars]
    assert len(widths) == 2
    assert widths[0] == pytest.approx(4 * widths[1], rel=1e-2)
    assert "predict <A>" in [text.text for text in root.findall(f"{name}text")]


def test_the_page_says_what_the_results_say() -> None:
    page = render.PAGE.read_text(encoding="utf-8")
    assert with_text(page, render.TABLE, "x") != page
    if not render.RESULTS.is_file():
        assert "Not measured yet" in page
        pytest.skip("benchmarks/results/engine.json is not there: it was not measured yet")
    results = json.loads(render.RESULTS.read_text(encoding="utf-8"))
    assert not results["quick"]
    put_between_markers(render.PAGE, render.TABLE, render.render(results), check=True)
    assert render.PLOT.read_text(encoding="utf-8") == render.plot(results)
