from __future__ import annotations

import json
from pathlib import Path

import pytest

from rankwright.engine.cpu import machine_name
from rankwright.errors import DataNotFoundError, InputError
from rankwright.export import BenchOptions, bench_model
from rankwright.export.bench_worker import measure, peak_memory
from rankwright.model.exports import read_exports
from rankwright.model.folder import ModelFolder
from tests.exported import copied, tiny_folder


def test_every_export_is_measured(exported: Path, tmp_path: Path) -> None:
    folder = copied(exported, tmp_path / "m")
    (folder / "model.safetensors").unlink()  # importing PyTorch takes most of the time
    found = bench_model(folder, BenchOptions(seconds=0.05))
    assert {(row.backend, row.precision) for row in found.rows} == {
        ("onnx", "fp32"),
        ("onnx", "int8"),
    }
    speeds = [row.pairs_per_second or 0 for row in found.rows]
    assert speeds == sorted(speeds, reverse=True)
    for row in found.rows:
        assert row.error is None
        assert row.verified
        assert 0 < (row.p50_ms or 0) <= (row.p95_ms or 0)
        assert 0 < (row.start_seconds or 0) < 60
        assert (row.peak_memory or 0) > 10 * 2**20
        assert row.size == (folder / row.file).stat().st_size
    assert found.documents == 8.0
    json.dumps(found.to_dict())
    entries = read_exports(ModelFolder(folder)).entries
    assert {e.file: e.speed[machine_name()] for e in entries} == pytest.approx(
        {row.file: row.pairs_per_second for row in found.rows}, abs=0.01
    )


@pytest.mark.slow
def test_torch_is_measured_where_it_is(exported: Path, tmp_path: Path) -> None:
    folder = copied(exported, tmp_path / "m")
    found = bench_model(folder, BenchOptions(seconds=0.05, threads=1, record=False))
    torch = next(row for row in found.rows if row.backend == "torch")
    assert torch.precision == "float32"
    assert (torch.pairs_per_second or 0) > 0
    assert (folder / "exports.json").read_bytes() == (exported / "exports.json").read_bytes()


def test_the_worker_in_this_process(exported: Path) -> None:
    job = {
        "folder": str(exported), "backend": "onnx", "precision": "fp32", "file": "onnx/model.onnx",
        "threads": 1, "seconds": 0.01, "started": 0.0,
    }  # fmt: skip
    import logging

    try:
        found = measure(job)
    finally:
        logging.disable(logging.NOTSET)
    assert found["computes"] == "float32"
    assert (peak_memory() or 0) >= 10 * 2**20


def test_a_backend_that_fails_is_a_row(exported: Path, tmp_path: Path) -> None:
    folder = copied(exported, tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (folder / "onnx" / "model.onnx").write_bytes(b"nonsense")
    found = bench_model(folder, BenchOptions(seconds=0.01))
    row = next(row for row in found.rows if row.precision == "fp32")
    assert "cannot be loaded" in (row.error or "")
    assert row.pairs_per_second is None


def test_mistakes(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="seconds=0"):
        BenchOptions(seconds=0)
    with pytest.raises(InputError, match="threads=0"):
        BenchOptions(threads=0)
    with pytest.raises(DataNotFoundError, match="rankwright export"):
        bench_model(tiny_folder(tmp_path / "bare"))
