"""Fixtures that choose how products are computed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from rankwright.engine import ops, prepacked
from rankwright.engine.native import library
from rankwright.engine.native.choice import compiling


@pytest.fixture
def everywhere() -> Iterator[None]:
    """Prepacking is forced on: most machines that run the tests would not choose it."""
    with prepacked.prepacking(True), compiling(0):
        yield


@pytest.fixture(params=["compiled", "plain"])
def ways(request: pytest.FixtureRequest) -> Iterator[None]:
    """Once in the compiled library, once in PyTorch, whatever this machine would choose."""
    if request.param == "compiled" and library.unavailable() is not None:
        pytest.skip(f"the compiled library: {library.unavailable()}")
    with compiling(32 if request.param == "compiled" else 0):
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
