from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rankwright import CrossEncoder, Reranker
from rankwright.errors import DataNotFoundError, FormatError, InputError
from rankwright.export import HttpOptions, VerifyOptions, verify_model
from rankwright.export.http_scores import replay
from rankwright.export.verify import Verification
from rankwright.model.exports import read_exports
from rankwright.model.folder import ModelFolder
from rankwright.model.golden import read_golden
from tests.exported import LIMITS, copied, export, tiny_folder

LOOSE = VerifyOptions(**LIMITS)  # type: ignore[arg-type]


def by_name(found: Verification) -> dict[str, Any]:
    return {check.name: check for check in found.checks}


def test_all_backends_agree(exported: Path, tmp_path: Path) -> None:
    folder = copied(exported, tmp_path / "m")
    found = verify_model(folder, LOOSE)
    checks = by_name(found)
    assert set(checks) == {"torch float32", "onnx fp32", "onnx int8"}
    assert found.ok
    assert checks["torch float32"].agreement.max_score_difference < 1e-6
    assert checks["onnx fp32"].agreement.difference < 1e-4
    assert checks["onnx int8"].agreement.difference > 1e-3
    assert [checks[n].computes for n in ("onnx fp32", "onnx int8")] == ["float32", "int8"]
    json.dumps(found.to_dict())


def test_another_models_file_is_found_out(exported: Path, tmp_path: Path) -> None:
    folder = copied(exported, tmp_path / "m")
    import onnx

    path = folder / "onnx" / "model.onnx"
    model = onnx.load_model(str(path))
    bias = next(t for t in model.graph.initializer if t.name == "embeddings.LayerNorm.bias")
    changed = onnx.numpy_helper.to_array(bias) + np.linspace(-1, 1, 32, dtype="f4")
    bias.CopyFrom(onnx.numpy_helper.from_array(changed, bias.name))
    onnx.save_model(model, str(path))
    found = verify_model(folder)
    check = by_name(found)["onnx fp32"]
    assert check.ok is False
    assert "Kendall tau is" in check.note
    assert not found.ok
    entries = {e.precision: e for e in read_exports(ModelFolder(folder)).entries}
    assert entries["fp32"].verified == ()


def test_findings_decide_which_export_is_taken(exported: Path, tmp_path: Path) -> None:
    folder = copied(exported, tmp_path / "m")
    strict = VerifyOptions(min_kendall_tau=1.0, max_ndcg_drop=0.0, max_difference=1e-4)
    assert by_name(verify_model(folder, strict))["onnx int8"].ok is False
    assert Reranker(folder).precision == "fp32"
    untouched = (folder / "exports.json").read_bytes()
    verify_model(folder, VerifyOptions(**LIMITS, record=False))  # type: ignore[arg-type]
    assert (folder / "exports.json").read_bytes() == untouched
    verify_model(folder, LOOSE)
    entries = {e.precision: e for e in read_exports(ModelFolder(folder)).entries}
    assert entries["int8"].verified == ("int8",)


def test_an_export_of_another_program_can_be_verified(exported: Path, tmp_path: Path) -> None:
    folder = copied(exported, tmp_path / "m")
    (folder / "exports.json").unlink()
    assert verify_model(folder, LOOSE).ok
    assert {e.verified for e in read_exports(ModelFolder(folder)).entries} == {
        ("float32",),
        ("int8",),
    }


def test_weights_that_changed_since(exported: Path, tmp_path: Path) -> None:
    folder = copied(exported, tmp_path / "m")
    model = CrossEncoder(folder, device="cpu")
    with torch.no_grad():
        model.model.classifier.weight.mul_(-1)
    model.model.save_pretrained(folder)
    checks = by_name(verify_model(folder))
    assert checks["torch float32"].ok is False
    assert "weights changed" in checks["torch float32"].note
    assert checks["onnx fp32"].ok is False
    assert "other weights" in checks["onnx fp32"].note


def test_nothing_to_verify(exported: Path, tmp_path: Path) -> None:
    bare = tiny_folder(tmp_path / "bare")
    with pytest.raises(DataNotFoundError, match="nothing says which scores"):
        verify_model(bare)
    folder = copied(exported, tmp_path / "m")
    shutil.rmtree(folder / "onnx")
    (folder / "model.safetensors").unlink()
    with pytest.raises(DataNotFoundError, match="nothing to verify"):
        verify_model(folder)


# --- servers ----------------------------------------------------------------------------------

Answer = Callable[[str, dict[str, Any]], tuple[int, Any]]


@contextmanager
def server(answer: Answer) -> Iterator[tuple[str, list[Any]]]:
    """An HTTP server on the loopback; its address and what it was asked."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, body, self.headers.get("Authorization")))
            code, value = answer(self.path, body)
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_address[1]}", asked
    finally:
        made.shutdown()
        made.server_close()
        thread.join()


def honest(folder: Path, paths: tuple[str, ...]) -> Answer:
    """What a right server answers: sorted by score, the index telling which text it was."""
    model = Reranker(folder, precision="fp32")

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path not in paths:
            return 404, {"error": "no such path"}
        texts = body["texts"] if path == "/rerank" else body["documents"]
        scored = model.score([(body["query"], text) for text in texts])
        if path == "/rerank":
            assert body["raw_scores"] is True
            values, name = scored.logits[:, 0], "score"
        else:
            assert body["top_n"] == len(texts)
            values, name = scored.scores, "relevance_score"
        order = np.argsort(-values)
        items = [{"index": int(i), name: float(values[i])} for i in order]
        return 200, items if path == "/rerank" else {"results": items}

    return answer


@pytest.mark.parametrize(
    ("paths", "schema", "used"),
    [
        (("/rerank",), "auto", "tei"),
        (("/v2/rerank",), "auto", "cohere"),
        (("/rerank", "/v2/rerank"), "cohere", "cohere"),
    ],
)
def test_servers(exported: Path, paths: tuple[str, ...], schema: str, used: str) -> None:
    with server(honest(exported, paths)) as (url, asked):
        http = HttpOptions(url + "/", schema, api_key="secret")
        found = verify_model(exported, VerifyOptions(http=http, **LIMITS, record=False))  # type: ignore[arg-type]
    check = by_name(found)[f"server ({used})"]
    assert check.ok
    assert check.agreement.max_score_difference < 1e-4
    assert {key for _, _, key in asked} == {"Bearer secret"}
    assert all(len(body.get("texts", ())) <= 32 for _, body, _ in asked)


def test_a_server_with_other_scores(exported: Path) -> None:
    right = honest(exported, ("/rerank",))

    def wrong(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        code, items = right(path, body)
        return code, [{**item, "score": -item["score"]} for item in items]

    with server(wrong) as (url, _):
        found = verify_model(exported, VerifyOptions(http=HttpOptions(url), record=False))
    check = by_name(found)["server (tei)"]
    assert check.ok is False
    assert check.agreement.kendall_tau == pytest.approx(-1, abs=1e-2)
    assert not found.ok


def test_raw_scores_are_brought_to_0_and_1_for_cohere(exported: Path) -> None:
    golden = read_golden(ModelFolder(exported))
    raw = type(golden)(golden.queries, "", None, golden.logits, golden.logits)

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        texts = {d: x for (_, d), x in zip(golden.pairs, golden.logits[:, 0], strict=True)
                 if _ == body["query"]}  # fmt: skip
        items = [
            {"index": i, "relevance_score": float(1 / (1 + np.exp(-texts[text])))}
            for i, text in enumerate(body["documents"])
        ]
        return 200, {"results": items}

    with server(answer) as (url, _):
        _, reference, scores = replay(raw, HttpOptions(url, "cohere"))
    np.testing.assert_allclose(reference.scores[:, 0], scores, atol=1e-6)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ((200, []), FormatError, "scores are missing"),
        ((200, {"results": []}), FormatError, "does not follow its schema"),
        ((200, [{"index": 99, "score": 1.0}]), FormatError, "does not follow its schema"),
        ((200, b"<html>"), DataNotFoundError, "cannot be asked"),
        ((404, {}), DataNotFoundError, r"answered 404.*; .*answered 404.*--schema"),
        ((401, {"message": "no key"}), DataNotFoundError, "answered 401: .*no key"),
        ((500, {}), DataNotFoundError, "answered 500"),
    ],
)
def test_servers_that_fail(
    exported: Path, answer: Any, error: type[Exception], message: str
) -> None:
    golden = read_golden(ModelFolder(exported))
    with server(lambda path, body: answer) as (url, _), pytest.raises(error, match=message):
        replay(golden, HttpOptions(url))


def test_mistakes(exported: Path) -> None:
    golden = read_golden(ModelFolder(exported))
    with pytest.raises(InputError, match="url='localhost'"):
        HttpOptions("localhost")
    with pytest.raises(InputError, match="schema='soap'"):
        HttpOptions("http://127.0.0.1:1", "soap")
    with pytest.raises(DataNotFoundError, match="Is the server running there"):
        replay(golden, HttpOptions("http://127.0.0.1:9", timeout=5))
    wide = type(golden)(golden.queries, "", None, np.tile(golden.logits, 3), golden.scores)
    with pytest.raises(InputError, match="3 labels"):
        replay(wide, HttpOptions("http://127.0.0.1:9"))


@pytest.mark.slow
def test_openvino_beside_onnx(exported: Path, tmp_path: Path) -> None:
    folder = copied(exported, tmp_path / "m")
    export(folder, backend="openvino")
    assert by_name(verify_model(folder, LOOSE))["openvino fp32"].ok
