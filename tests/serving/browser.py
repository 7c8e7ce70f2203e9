"""A headless Chromium that tests steer through WebDriver, the protocol of W3C."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

__all__ = ["CHROMIUM", "DRIVER", "Browser", "browsing"]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
DRIVER = shutil.which("chromedriver")

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key under which WebDriver names an element."""


class Browser:
    """One window."""

    def __init__(self, http: httpx.Client, session: str) -> None:
        self._http = http
        self._session = f"/session/{session}"

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self._http.request(method, f"{self._session}{path}", json=body).json()["value"]
        assert not (isinstance(answer, dict) and "error" in answer), answer
        return answer

    def open(self, address: str) -> None:
        """Loads a page."""
        self._ask("POST", "/url", {"url": address})

    def _find(self, selector: str) -> str:
        found = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        return str(found[ELEMENT])

    def type(self, selector: str, text: str) -> None:
        """Replaces what a field holds, key by key."""
        element = self._find(selector)
        self._ask("POST", f"/element/{element}/clear", {})
        self._ask("POST", f"/element/{element}/value", {"text": text})

    def click(self, selector: str) -> None:
        """Clicks on an element."""
        self._ask("POST", f"/element/{self._find(selector)}/click", {})

    def run(self, script: str) -> Any:
        """What JavaScript returns."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def log(self) -> list[str]:
        """What the console tells of faults, such as resources that were blocked."""
        rows = self._ask("POST", "/se/log", {"type": "browser"})
        return [row["message"] for row in rows if row["level"] == "SEVERE"]


@contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """A browser that reaches this machine only; its profile lies in ``folder``."""
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    flags += ["--no-first-run", "--disable-component-update", "--disable-background-networking"]
    flags += [f"--user-data-dir={folder}"]
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    log = folder / "driver.log"
    with log.open("w") as out:
        driver = subprocess.Popen(
            [str(DRIVER), "--port=0"],
            stdout=out,
            stderr=out,
            env={**os.environ, "HOME": str(folder)},
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{_port(log)}", timeout=60) as http:
            options = {"binary": CHROMIUM, "args": flags}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            body = {"capabilities": {"alwaysMatch": wanted}}
            made = http.post("/session", json=body).json()["value"]
            assert "sessionId" in made, made
            try:
                yield Browser(http, made["sessionId"])
            finally:
                http.delete(f"/session/{made['sessionId']}")
    finally:
        driver.terminate()
        driver.wait(20)


def _port(log: Path) -> int:
    """The port that the driver tells."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        _, _, told = log.read_text().partition("started successfully on port ")
        if told.partition(".")[1]:
            return int(told.partition(".")[0])
        time.sleep(0.05)
    raise AssertionError(log.read_text())
