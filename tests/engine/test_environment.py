from __future__ import annotations

import os

import pytest

from rankwright.engine.environment import variables


def test_variables_are_put_back_even_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKWRIGHT_A", "before")
    monkeypatch.delenv("RANKWRIGHT_B", raising=False)

    def fail_inside() -> None:
        with variables({"RANKWRIGHT_A": "x", "RANKWRIGHT_B": "y"}):
            assert (os.environ["RANKWRIGHT_A"], os.environ["RANKWRIGHT_B"]) == ("x", "y")
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert os.environ["RANKWRIGHT_A"] == "before"
    assert "RANKWRIGHT_B" not in os.environ
