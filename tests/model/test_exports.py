"""``exports.json`` and ``golden.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwright.errors import ConfigError, DataNotFoundError, UnsafeModelError
from rankwright.model.exports import (
    EXPORTS_FILE,
    ExportEntry,
    Exports,
    read_exports,
    sample_fingerprint,
    weights_fingerprint,
    write_exports,
)
from rankwright.model.folder import ModelFolder
from rankwright.model.golden import GOLDEN_FILE, Golden, GoldenQuery, golden_text, read_golden

ENTRY = ExportEntry(
    "onnx",
    "int8",
    "onnx/model_qint8_avx2.onnx",
    "abc",
    kept=("layers.1",),
    full_range=True,
    agreement={"kendall_tau": 0.97},
    verified=("int8",),
    speed={"Some CPU, 2 cores": 123.5},
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    exports = Exports("w").with_entry(ENTRY).with_entry(ExportEntry("openvino", "fp32", "a", "b"))
    write_exports(tmp_path, exports)
    assert read_exports(ModelFolder(tmp_path)) == exports
    again = exports.with_entry(ExportEntry("onnx", "int8", ENTRY.file, "new"))
    assert [entry.fingerprint for entry in again.entries] == ["new", "b"]
    assert read_exports(ModelFolder(tmp_path / "..")) == Exports()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "'version' is 2; this release reads 1"),
        ({"exports": {}}, "'exports' is"),
        ({"exports": [{"backend": "onnx"}]}, "KeyError: 'precision'"),
        ({"exports": [3]}, "the entry 3 does not hold"),
        ({"exports": [{"file": "a", "backend": "tf", "precision": "int8"}]}, "KeyError"),
    ],
)
def test_malformed(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    (tmp_path / EXPORTS_FILE).write_text(json.dumps({"version": 1, "exports": [], **change}))
    with pytest.raises(ConfigError, match=message):
        read_exports(ModelFolder(tmp_path))


def test_unknown_kinds_and_paths_that_lead_outside(tmp_path: Path) -> None:
    row = {"backend": "tf", "precision": "int8", "file": "a.onnx", "fingerprint": "x"}
    (tmp_path / EXPORTS_FILE).write_text(json.dumps({"exports": [row]}))
    with pytest.raises(ConfigError, match="'tf' in 'int8'; expected one of"):
        read_exports(ModelFolder(tmp_path))
    for path in ("../a.onnx", "/etc/passwd", "c:\\a.onnx"):
        row = {"backend": "onnx", "precision": "int8", "file": path, "fingerprint": "x"}
        (tmp_path / EXPORTS_FILE).write_text(json.dumps({"exports": [row]}))
        with pytest.raises(UnsafeModelError, match="leads outside"):
            read_exports(ModelFolder(tmp_path))


def test_fingerprints(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    content = generator.bytes(3_000_000)
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(content)
    b.write_bytes(content)
    assert sample_fingerprint(a) == sample_fingerprint(b)
    assert weights_fingerprint((a, b)) == weights_fingerprint((b, a))
    assert weights_fingerprint(()) is None
    for change in (content[:-1], content + b"x", content[:-1] + b"x", b"x" + content[1:]):
        b.write_bytes(change)
        assert sample_fingerprint(a) != sample_fingerprint(b) or change == content
    # training changes weights everywhere
    changed = np.frombuffer(content, np.uint8) ^ 1
    b.write_bytes(changed.tobytes())
    assert sample_fingerprint(a) != sample_fingerprint(b)
    for small in (b"", b"x"):
        b.write_bytes(small)
        assert len(sample_fingerprint(b)) == 32


def golden() -> Golden:
    generator = np.random.default_rng(1)
    return Golden(
        (GoldenQuery("q1", ("a", "ü\n"), (2, 0)), GoldenQuery("q2", ("c",))),
        "here",
        "w",
        generator.normal(size=(3, 2)).astype(np.float32),
        generator.random((3, 2), np.float32),
    )


def test_golden_pairs_are_kept_to_the_bit(tmp_path: Path) -> None:
    given = golden()
    (tmp_path / GOLDEN_FILE).write_text(golden_text(given), encoding="utf-8")
    found = read_golden(ModelFolder(tmp_path))
    assert (found.queries, found.source, found.weights) == (given.queries, "here", "w")
    np.testing.assert_array_equal(found.logits, given.logits)
    np.testing.assert_array_equal(found.scores, given.scores)
    assert found.pairs == [("q1", "a"), ("q1", "ü\n"), ("q2", "c")]
    assert [where for _, where in found.slices()] == [slice(0, 2), slice(2, 3)]


def test_no_golden_pairs(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="rankwright export"):
        read_golden(ModelFolder(tmp_path))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda v: v.update(version=9), "'version' is 9"),
        (lambda v: v["queries"][0].pop("logits"), "KeyError"),
        (lambda v: v["queries"][0]["scores"].pop(), "3 pairs, logits"),
        (lambda v: v["queries"][0].update(labels=[1]), "1 labels for 2 documents"),
        (lambda v: v.update(queries=[]), "0 pairs"),
    ],
)
def test_malformed_golden_pairs(tmp_path: Path, edit: Any, message: str) -> None:
    values = json.loads(golden_text(golden()))
    edit(values)
    (tmp_path / GOLDEN_FILE).write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=message):
        read_golden(ModelFolder(tmp_path))
