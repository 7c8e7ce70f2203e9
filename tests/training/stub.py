"""The least a trainer needs of a model, so that these tests do not depend on the model room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rankwright.engine.batch import PackedBatch
from rankwright.engine.pack import pack
from rankwright.engine.scorers import build_scorer
from rankwright.engine.tokenize import PairTokenizer
from tests.tiny import tiny_model


class StubEncoder(nn.Module):
    def __init__(self, family: str = "bert", num_labels: int = 1, **options: Any) -> None:
        super().__init__()
        options = {"num_hidden_layers": 2, "hidden_dropout_prob": 0.0} | options
        options.setdefault("attention_probs_dropout_prob", options["hidden_dropout_prob"])
        self.model, self.tokenizer = tiny_model(family, num_labels, **options)
        self.config = self.model.config
        self.num_labels = num_labels
        self.max_length = 48
        self.prompts: dict[str, str] = {}
        self.default_prompt_name: str | None = None
        self.pair_tokenizer = PairTokenizer(self.tokenizer)
        self.scorer = build_scorer(self.model)

    def forward(self, batch: PackedBatch) -> Tensor:
        scores = self.scorer(batch)
        return scores[:, 0] if self.num_labels == 1 else scores

    def save_pretrained(self, path: str, create_model_card: bool = True) -> None:
        self.model.save_pretrained(path)
        self.tokenizer.save_pretrained(path)
        if create_model_card:
            (Path(path) / "README.md").write_text("# card\n", encoding="utf-8")

    def predict(self, pairs: list[tuple[str, str]]) -> Tensor:
        with torch.no_grad():
            return self(pack(self.pair_tokenizer.encode(pairs, self.max_length)))


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Labelled pairs of various lengths."""
    generator = torch.Generator().manual_seed(seed)
    words = "sort files by size name date list copy move open shell table row".split()

    def text(low: int, high: int) -> str:
        length = int(torch.randint(low, high, (1,), generator=generator))
        picks = torch.randint(len(words), (length,), generator=generator).tolist()
        return " ".join(words[i] for i in picks)

    return [
        {"query": text(2, 6), "document": text(3, 20), "label": float(i % 3 == 0)}
        for i in range(count)
    ]
