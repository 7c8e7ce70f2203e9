"""Model folders written by hand, and what transformers alone makes of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.tiny import tiny_model

PAIRS = [("how do i sort", "sort a list of files by size"), ("open", "close the file"), ("a", "b")]


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    content.update(changes)
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def write_version_6(folder: Path, activation: str, **more: Any) -> None:
    edit(
        folder / "config_sentence_transformers.json",
        __version__={"sentence_transformers": "6.2.0"},
        activation_fn=activation,
        model_type="CrossEncoder",
        **{"prompts": {}, **more},
    )
    kind = "sentence_transformers.base.modules.transformer.Transformer"
    (folder / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "", "type": kind}])
    )


def reference_logits(path: Path, max_length: int = 64, prompt: str = "") -> np.ndarray:
    """What transformers alone gives, pair by pair."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(path)
    rows = []
    for query, document in PAIRS:
        features = tokenizer(
            prompt + query, document, truncation=True, max_length=max_length, return_tensors="pt"
        )
        with torch.inference_mode():
            rows.append(model(**features).logits[0].numpy())
    return np.stack(rows)


def encoder_folder(path: Path, family: str = "bert") -> Path:
    """An encoder without a classification head, as embedding models are."""
    from transformers import AutoModel

    model, tokenizer = tiny_model(family)
    base = AutoModel.from_config(model.config)
    base.load_state_dict(model.base_model.state_dict(), strict=False)
    base.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
