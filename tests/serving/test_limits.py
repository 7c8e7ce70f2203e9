"""Limits on tokens, and keys that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from rankwright import CrossEncoder
from rankwright.serving import ServerSettings, TorchModel, create_app


def test_tokens_of_a_request(model: CrossEncoder) -> None:
    pairs = [("sort", "a list"), ("sort", "the file")]
    tokens = int(model.score(pairs).lengths.sum())
    body = {"query": "sort", "documents": ["a list", "the file"]}
    for most, status in ((tokens, 200), (tokens - 1, 413)):
        settings = ServerSettings(max_request_tokens=most)
        with TestClient(create_app(TorchModel(model), settings)) as client:
            answer = client.post("/v2/rerank", json=body)
            assert answer.status_code == status
    assert f"{tokens} tokens; at most {tokens - 1} are allowed" in answer.json()["message"]


def test_a_file_without_keys_does_not_open_the_server(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from rankwright.cli.main import app
    from rankwright.serving import run

    started: list[ServerSettings] = []
    monkeypatch.setattr(run, "run", lambda options, settings: started.append(settings))
    keys = tmp_path / "keys"
    for text in ("", "\n  \n"):
        keys.write_text(text)
        result = CliRunner().invoke(app, ["serve", str(folder), "--api-keys", str(keys)])
        assert result.exit_code == 2
        assert "holds no key" in result.output
    assert not started
    keys.write_text("a-long-enough-key\n\nanother-long-key\n")
    limits = ["--max-request-tokens", "77"]
    result = CliRunner().invoke(app, ["serve", str(folder), "--api-keys", str(keys), *limits])
    assert result.exit_code == 0, result.output
    [settings] = started
    assert settings.api_keys == ("a-long-enough-key", "another-long-key")
    assert settings.max_request_tokens == 77


def test_what_is_refused_early_is_counted_by_its_route(model: CrossEncoder) -> None:
    settings = ServerSettings(max_body_bytes=50)
    with TestClient(create_app(TorchModel(model), settings)) as client:
        body = {"query": "sort", "documents": ["a" * 60]}
        assert client.post("/v2/rerank", json=body).status_code == 413
        assert client.post("/made/up", json=body).status_code == 413
        figures = client.get("/metrics").text
    assert 'rankwright_requests_total{route="/v2/rerank",status="413"} 1.0' in figures
    assert 'rankwright_requests_total{route="other",status="413"} 1.0' in figures


@pytest.mark.parametrize("number", ["NaN", "Infinity", '"NaN"'])
def test_thresholds_are_numbers(client: TestClient, number: str) -> None:
    for field in (
        f'"score_threshold": {number}',
        f'"relevant_spans": {{"mode": "enabled", "threshold": {number}}}',
    ):
        content = f'{{"query": "a", "documents": ["b"], {field}}}'
        answer = client.post("/v2/rerank", content=content)
        assert answer.status_code == 422
        assert "finite" in answer.json()["message"]
