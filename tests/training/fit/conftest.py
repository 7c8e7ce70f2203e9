"""A model that trains the same way each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rankwright import CrossEncoder
from tests.tiny import save_tiny
from tests.training.fit.fits import STILL


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., CrossEncoder]:
    def build(**options: Any) -> CrossEncoder:
        labels = options.pop("num_labels", 1)
        folder = tmp_path / f"base-{labels}"
        if not folder.exists():
            save_tiny(folder, num_labels=labels, **STILL)
        return CrossEncoder(str(folder), device="cpu", **options)

    return build
