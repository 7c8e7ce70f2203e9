"""The training log in a model card, and its pictures."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwright import CrossEncoder
from rankwright.model.card import (
    CrossEncoderModelCardData,
    MetricRow,
    render_card,
)
from rankwright.model.card.files import CARD_FILE
from rankwright.model.card.plots import CURVES_FILE, GAINS_FILE, draw_plots
from rankwright.model.card.tables import MAX_LOG_ROWS, log_table
from tests.model.cards import facts, make


def test_the_log_is_thinned_evenly() -> None:
    data = CrossEncoderModelCardData(best_step=333)
    data.training_logs = [
        {"epoch": i / 1000, "step": i, "training_loss": 1 / (i + 1)}
        | ({"validation_loss": 0.5, "dev_ndcg@10": 0.25} if i % 40 == 0 else {})
        for i in range(1000)
    ]
    lines = log_table(data).splitlines()
    assert lines[0] == "| Epoch | Step | Training loss | Validation loss | dev_ndcg@10 |"
    steps = [int(line.split("|")[2].strip(" *")) for line in lines[2:]]
    assert len(steps) == MAX_LOG_ROWS
    assert {0, 333, 999} <= set(steps)
    assert set(range(0, 1000, 40)) <= set(steps)
    assert max(np.diff(steps)) <= 40
    assert "| **0.333** | **333** | **0.0030** | - | - |" in lines
    assert "rows at even distances" in render_card(data, facts())
    data.training_logs = data.training_logs[:5]
    assert len(log_table(data).splitlines()) == 7


def curves() -> CrossEncoderModelCardData:
    data = CrossEncoderModelCardData(training_summary={"rows": 1})
    data.training_logs = [
        {"epoch": i / 5, "step": i, "training_loss": 1 - i / 10, "_$x$ 中": i / 10}
        for i in range(5)
    ]
    data.results = [MetricRow("d $a_b$ <x>", "nDCG@10", 0.6, 0.4)]
    return data


def test_pictures_are_drawn_the_same_each_time(tmp_path: Path) -> None:
    import matplotlib

    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    drawn = draw_plots(curves(), first)
    assert set(drawn) == {CURVES_FILE, GAINS_FILE}
    with matplotlib.rc_context({"axes.facecolor": "red", "text.usetex": True}):
        assert draw_plots(curves(), second) == drawn
    for name in drawn:
        content = (first / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert content == (second / name).read_bytes()
        assert len(content) > 2000
    other = curves()
    other.training_logs[2]["training_loss"] = 0.1
    draw_plots(other, second)
    assert (first / CURVES_FILE).read_bytes() != (second / CURVES_FILE).read_bytes()
    assert (first / GAINS_FILE).read_bytes() == (second / GAINS_FILE).read_bytes()


def test_nothing_to_draw(tmp_path: Path) -> None:
    data = CrossEncoderModelCardData(results=[MetricRow("d", "m", 0.5)])
    data.training_logs = [{"epoch": 1.0, "step": 1, "training_loss": 0.5}]  # a point is no curve
    assert draw_plots(data, tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with caplog.at_level(logging.INFO, "rankwright"):
        make(model_card_data=curves()).save_pretrained(tmp_path / "m")
    assert "rankwright[plots]" in caplog.text
    assert ".png" not in (tmp_path / "m" / CARD_FILE).read_text(encoding="utf-8")
    assert not list((tmp_path / "m").glob("*.png"))


def test_a_drawing_that_fails_costs_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import rankwright.model.card.plots as plots

    def fail(*args: Any) -> None:
        raise RuntimeError("no fonts")

    monkeypatch.setattr(plots, "_draw_gains", fail)
    make(model_card_data=curves()).save_pretrained(tmp_path)
    assert "no fonts" in caplog.text
    assert (tmp_path / "model.safetensors").is_file()
    assert CURVES_FILE in (tmp_path / CARD_FILE).read_text(encoding="utf-8")


def test_pictures_come_and_go_with_their_card(tmp_path: Path) -> None:
    model = make(model_card_data=curves())
    model.save_pretrained(tmp_path / "a")
    text = (tmp_path / "a" / CARD_FILE).read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]+\]\((.+?)\)", text)
    assert sorted(shown) == sorted(p.name for p in (tmp_path / "a").glob("*.png"))
    assert len(shown) == 2
    # A model that is only loaded and saved keeps its card, with all that belongs to it.
    CrossEncoder(tmp_path / "a").save_pretrained(tmp_path / "b")
    for name in (CARD_FILE, *shown):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
    model.save_pretrained(tmp_path / "a", create_model_card=False)
    assert len(list((tmp_path / "a").glob("*.png"))) == 2
    make().save_pretrained(tmp_path / "a")
    assert not list((tmp_path / "a").glob("*.png"))
