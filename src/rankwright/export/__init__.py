"""Rerankers for machines without PyTorch: exporting, proving and measuring them.

Exporting needs PyTorch; replaying golden pairs and measuring work without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankwright.lazy import lazy_names

if TYPE_CHECKING:
    from rankwright.export.agreement import Agreement, Limits
    from rankwright.export.bench import Bench, BenchOptions, bench_model
    from rankwright.export.golden_pairs import PairOptions
    from rankwright.export.http_scores import HttpOptions
    from rankwright.export.options import ExportOptions, ExportReport
    from rankwright.export.pipeline import export_model
    from rankwright.export.verify import Verification, VerifyOptions, verify_model

__all__ = [
    "Agreement",
    "Bench",
    "BenchOptions",
    "ExportOptions",
    "ExportReport",
    "HttpOptions",
    "Limits",
    "PairOptions",
    "Verification",
    "VerifyOptions",
    "bench_model",
    "export_model",
    "verify_model",
]

_WHERE = {
    "Agreement": "agreement",
    "Bench": "bench",
    "BenchOptions": "bench",
    "ExportOptions": "options",
    "ExportReport": "options",
    "HttpOptions": "http_scores",
    "Limits": "agreement",
    "PairOptions": "golden_pairs",
    "Verification": "verify",
    "VerifyOptions": "verify",
    "bench_model": "bench",
    "export_model": "pipeline",
    "verify_model": "verify",
}

__getattr__, __dir__ = lazy_names(__name__, _WHERE, __all__)
