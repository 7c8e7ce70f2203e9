"""A compiled forward pass for processors with AVX2; see docs/performance.md."""

from __future__ import annotations
