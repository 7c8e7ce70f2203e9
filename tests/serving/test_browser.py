"""A person at the playground: pastes, clicks, makes mistakes; in headless Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rankwright import CrossEncoder
from rankwright.serving import ServerSettings, TorchModel, create_app
from tests.serving.browser import CHROMIUM, DRIVER, Browser, browsing
from tests.serving.live import listening, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None,
        reason="no Chromium with its driver here: apt-get install chromium chromium-driver",
    ),
]

KEY = "a-key-for-the-page"
QUERY = "how do i sort a list"
TEXTS = ["close the <b>file</b>", "how to SORT a list of files", "remove a row", "sort the table"]

SHOWN = """
return [...document.querySelectorAll("#results li")].map(item => ({
  text: item.querySelector(".text").textContent,
  marks: [...item.querySelectorAll("mark")].map(mark => mark.textContent),
  moved: item.querySelector(".rank span").textContent,
  score: item.querySelector(".score span").textContent,
  tags: item.querySelectorAll("b:not(.rank b), script, img").length,
}))"""


@pytest.fixture(scope="module")
def page(model: CrossEncoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    app = create_app(TorchModel(model), ServerSettings(api_keys=(KEY,)))
    with listening(app) as address, browsing(tmp_path_factory.mktemp("profile")) as browser:
        browser.open(address)
        yield browser


def shown(page: Browser) -> list[dict[str, Any]]:
    page.click("#go")
    until(lambda: page.run("return !document.getElementById('go').disabled"))
    found: list[dict[str, Any]] = page.run(SHOWN)
    return found


def text(page: Browser, name: str) -> str:
    return str(page.run(f"return document.getElementById('{name}').textContent"))


def test_pasted_documents_are_reranked(page: Browser, model: CrossEncoder) -> None:
    page.type("#key", KEY)
    page.type("#query", QUERY)
    page.type("#documents", "\n".join(TEXTS))
    rows = shown(page)
    scores = model.predict([(QUERY, text) for text in TEXTS]).tolist()
    order = sorted(range(len(TEXTS)), key=lambda i: -scores[i])
    assert [row["text"] for row in rows] == [TEXTS[i] for i in order]
    assert [row["score"] for row in rows] == [f"{scores[i]:.4f}" for i in order]
    moves = []
    for now, before in enumerate(order):
        arrow = "▲" if before > now else "▼"
        far = f"{arrow} {abs(before - now)} from {before + 1}"
        moves.append("unmoved" if before == now else far)
    assert [row["moved"] for row in rows] == moves
    marks = {row["text"]: row["marks"] for row in rows}
    assert marks[TEXTS[1]] == ["how", "SORT", "list"]
    assert marks[TEXTS[2]] == []
    assert all(row["tags"] == 0 for row in rows), "a document brought markup"
    summary = text(page, "summary")
    assert summary.startswith("4 documents, ")
    assert "ms in the model" in summary
    assert text(page, "problem") == ""


def test_paragraphs(page: Browser) -> None:
    page.type("#key", KEY)
    page.type("#query", QUERY)
    page.type("#documents", "open the file\nclose it\n\nsort a list")
    assert {row["text"] for row in shown(page)} == {"open the file\nclose it", "sort a list"}


def test_the_example(page: Browser) -> None:
    page.type("#key", KEY)
    page.click("#example")
    until(lambda: len(page.run(SHOWN)) == 6)
    assert page.run("return document.getElementById('query').value").startswith("how long")


def test_a_wrong_key_is_told(page: Browser) -> None:
    page.type("#key", "not-the-key")
    page.type("#query", QUERY)
    page.type("#documents", "sort a list")
    assert shown(page) == []
    assert "needs a key" in text(page, "problem")


def test_the_page_asked_nobody_else(page: Browser) -> None:
    asked = page.run("return performance.getEntriesByType('resource').map(entry => entry.name)")
    here = page.run("return location.origin")
    assert asked
    assert all(name.startswith(here) for name in asked), asked
    refused = [line for line in page.log() if "Content Security Policy" in line]
    assert not refused
