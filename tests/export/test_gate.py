"""Every export passes the gate or is not kept, and calibration sees the user's own pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from scipy.stats import sem
from sklearn.metrics import ndcg_score

from rankwright import CrossEncoder, Reranker
from rankwright.data import RankingData
from rankwright.errors import ExportError
from rankwright.export import PairOptions, pipeline
from rankwright.export.golden_pairs import choose_pairs
from rankwright.model.folder import ModelFolder
from rankwright.model.golden import read_golden
from tests.exported import LIMITS, export

KINDS = [
    ("onnx", "fp32"),
    ("onnx", "int8"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    pytest.param("openvino", "int8", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("backend", "precision"), KINDS)
def test_a_graph_that_computes_otherwise_is_never_kept(
    plain: Path, tmp_path: Path, backend: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    real = pipeline.save_onnx

    def wrong(model: Any, path: Path) -> None:
        bias = next(t for t in model.graph.initializer if t.name == "embeddings.LayerNorm.bias")
        changed = onnx.numpy_helper.to_array(bias) + np.linspace(-1, 1, 32, dtype="f4")
        bias.CopyFrom(onnx.numpy_helper.from_array(changed, bias.name))
        real(model, path)

    monkeypatch.setattr(pipeline, "save_onnx", wrong)
    out = tmp_path / "out"
    with pytest.raises(ExportError, match=rf"Not exported: in {precision} on {backend} .*tau is"):
        export(plain, output=out, backend=backend, precision=precision, max_tries=2)
    assert not out.exists()


@pytest.mark.parametrize(
    ("backend", "place"),
    [
        ("onnx", "rankwright.export.onnx_int8._reader"),
        pytest.param(
            "openvino",
            "rankwright.export.to_openvino.quantise_openvino",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_calibration_is_made_of_the_users_pairs(
    plain: Path, tmp_path: Path, backend: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rankwright.export.onnx_int8 as onnx_int8
    import rankwright.export.to_openvino as to_openvino

    given: list[Any] = []
    module, name = (
        (onnx_int8, "_reader") if backend == "onnx" else (to_openvino, "quantise_openvino")
    )
    real = getattr(module, name)

    def spy(*arguments: Any) -> Any:
        given.append(arguments[0] if backend == "onnx" else arguments[2])
        return real(*arguments)

    monkeypatch.setattr(place, spy)
    rows = [
        {"query": "search the shell", "documents": ["word of a table", "read a user row"]},
        {"query": "open", "documents": ["sort the list of files", "close it"]},
    ]
    golden = tmp_path / "golden.jsonl"
    golden.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = PairOptions(file=golden)
    options = {"backend": backend, "precision": "int8", "quantisation": "static", "pairs": pairs}
    export(plain, output=tmp_path / "out", **options, **LIMITS)
    model = CrossEncoder(plain, device="cpu")
    own = [(row["query"], text) for row in rows for text in row["documents"]]
    wanted = {tuple(ids) for ids in model.pair_tokenizer.encode(own, 80).input_ids}
    for batches in given:
        seen = {
            tuple(ids[mask == 1])
            for batch in batches
            for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
        }
        assert seen == wanted
    assert given


def test_ndcg_is_proven_on_more_queries_than_are_saved(plain: Path, tmp_path: Path) -> None:
    words = "sort the list read a file close word table user row open how".split()
    generator = np.random.default_rng(5)
    corpus = {f"d{i}": " ".join(generator.choice(words, 6)) for i in range(60)}
    names = [f"q{i}" for i in range(30)]
    data = RankingData(
        {q: corpus[f"d{q[1:]}"].rpartition(" ")[0] for q in names},
        corpus,
        {"test": {q: {f"d{q[1:]}": 1, f"d{int(q[1:]) + 30}": 2} for q in names}},
    )
    pairs = PairOptions(data=data, queries=4, documents=5, proof=20)
    options = {"precision": "int8", "pairs": pairs}
    found = export(plain, output=tmp_path / "out", **options, **LIMITS)
    assert found.agreement.queries == 24
    saved = read_golden(ModelFolder(tmp_path / "out"))
    assert len(saved.queries) == 4
    chosen = choose_pairs(ModelFolder(plain), pairs)
    every = (*chosen.queries, *chosen.proof)
    texts = [(q.query, d) for q in every for d in q.documents]
    drops = []
    scores = [m.predict(texts) for m in (CrossEncoder(plain), Reranker(tmp_path / "out"))]
    for i, query in enumerate(every):
        where = slice(5 * i, 5 * i + 5)
        exact, other = (ndcg_score([query.labels], [s[where]], k=10) for s in scores)
        drops.append(exact - other)
    assert found.agreement.ndcg_drop == pytest.approx(np.mean(drops), abs=1e-6)
    assert found.agreement.ndcg_error == pytest.approx(sem(drops), abs=1e-6)
    # where golden pairs alone break a limit, nothing more is scored
    scored = []
    real = Reranker.score

    def counted(self: Reranker, inputs: Any, **more: Any) -> Any:
        scored.append(len(inputs))
        return real(self, inputs, **more)

    strict = LIMITS | {"min_kendall_tau": 1.0}
    with mock.patch.object(Reranker, "score", counted), pytest.raises(ExportError, match="tau"):
        export(plain, output=tmp_path / "no", max_tries=1, **options, **strict)
    assert set(scored) == {20}
