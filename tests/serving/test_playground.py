"""The playground in a real browser, where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from rankwright import CrossEncoder
from rankwright.serving import ServerSettings, TorchModel, create_app
from tests.serving.live import listening

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


def test_the_page_needs_nothing_from_elsewhere(model: CrossEncoder) -> None:
    with listening(create_app(TorchModel(model))) as address:
        answer = httpx.get(address)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.findall(r"https?://", answer.text)
    assert "innerHTML" not in answer.text, "documents could bring markup"


def test_it_can_be_left_out(model: CrossEncoder) -> None:
    with listening(create_app(TorchModel(model), ServerSettings(playground=False))) as address:
        assert httpx.get(address).status_code == 404


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_the_example_is_reranked(model: CrossEncoder, tmp_path: Path) -> None:
    with listening(create_app(TorchModel(model))) as address:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        flags += ["--no-first-run", "--disable-component-update", f"--user-data-dir={tmp_path}"]
        flags += ["--virtual-time-budget=20000", "--dump-dom"]
        page = subprocess.run(
            [str(BROWSER), *flags, f"{address}/#example"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        body = httpx.get(address).text
        example = re.findall(r'^    "(.*)",$', body, re.M)
        query = re.findall(r'query: "(.*)",', body)[0]
    texts = [re.sub("<[^>]+>", "", t) for t in re.findall(r'<div class="text">(.*?)</div>', page)]
    scores = model.predict([(query, text) for text in example]).tolist()
    best = sorted(range(len(example)), key=lambda i: -scores[i])
    assert texts == [example[i] for i in best]
    assert "<mark>fit</mark>" in page
    assert re.search(r"6 documents, \d+ tokens: \d+ ms in all", page)
    assert re.search(r'class="(up|down|same)"', page)
