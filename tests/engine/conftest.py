"""Fixtures for prepacked products."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from rankwright.engine import ops, prepacked


@pytest.fixture
def everywhere() -> Iterator[None]:
    """Prepacking is forced on: most machines that run the tests would not choose it."""
    with prepacked.prepacking(True):
        yield


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, everywhere: None) -> list[prepacked.Fused]:
    """The activations of all prepacked products that are made, in order."""
    reason = prepacked.unavailable(torch.float32)
    if reason is not None:
        pytest.skip(f"products cannot be prepacked here: {reason}")
    made: list[prepacked.Fused] = []

    def counted(
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        fused: prepacked.Fused = prepacked.PLAIN,
    ) -> torch.Tensor:
        assert weight.is_mkldnn
        made.append(fused)
        return prepacked.product(x, weight, bias, fused)

    monkeypatch.setattr(ops, "product", counted)
    return made
