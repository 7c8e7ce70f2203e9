"""Tiny random models of every family, so that tests need no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

WORDS = (
    "how do i sort a list of files by size date name in python shell query document train rank "
    "model search the open close read write remove copy move user data table row column index "
    "error value key string number path line print return function class test"
).split()
FAMILIES = ("bert", "roberta", "xlm-roberta", "electra", "distilbert", "modernbert")
ROBERTA_LIKE = ("roberta", "xlm-roberta")


def tiny_tokenizer(family: str = "bert", model_max_length: int = 64) -> PreTrainedTokenizerFast:
    """A word-piece tokenizer with single letters, so that every text can be spelled."""
    roberta = family in ROBERTA_LIKE
    cls, sep, pad = ("<s>", "</s>", "<pad>") if roberta else ("[CLS]", "[SEP]", "[PAD]")
    unk, mask = ("<unk>", "<mask>") if roberta else ("[UNK]", "[MASK]")
    # RoBERTa's padding id is 1, and its position ids depend on that.
    special = [cls, pad, sep, unk, mask] if roberta else [pad, unk, cls, sep, mask]
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + list("0123456789.,?!-_()中文án")
    vocab: list[str] = [*special, *dict.fromkeys(letters + WORDS)]
    vocab += [f"##{letter}" for letter in dict.fromkeys(letters)]
    ids = {token: i for i, token in enumerate(vocab)}
    backend = Tokenizer(models.WordPiece(ids, unk_token=unk))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = [(cls, ids[cls]), (sep, ids[sep])]
    if roberta:
        single, pair = f"{cls} $A {sep}", f"{cls} $A {sep} {sep} $B {sep}"
    else:
        single, pair = f"{cls} $A {sep}", f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1"
    backend.post_processor = processors.TemplateProcessing(single, pair, specials)
    names = ["input_ids", "attention_mask"]
    if family in ("bert", "electra"):
        names.insert(1, "token_type_ids")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=model_max_length,
        cls_token=cls,
        sep_token=sep,
        pad_token=pad,
        unk_token=unk,
        mask_token=mask,
        model_input_names=names,
    )


def _config(family: str, vocab_size: int, **overrides: Any) -> Any:
    sizes: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 80,
    }
    special: dict[str, Any] = {}
    if family in ROBERTA_LIKE:
        special = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1}
    elif family == "electra":
        special = {"embedding_size": 16}  # exercises the projection from embeddings to hidden size
    elif family == "distilbert":
        sizes = {
            "vocab_size": vocab_size,
            "dim": 32,
            "hidden_dim": 48,
            "n_layers": 3,
            "n_heads": 4,
            "max_position_embeddings": 80,
        }
    elif family == "modernbert":
        # Windows shorter than the texts, so that local attention differs from global attention.
        special = {
            "local_attention": 8,
            "global_attn_every_n_layers": 2,
            "pad_token_id": 0,
            "cls_token_id": 2,
            "sep_token_id": 3,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "reference_compile": False,
        }
    elif family == "deberta":
        family = "deberta-v2"
        special = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "pad_token_id": 0}
    return AutoConfig.for_model(family, **(sizes | special | overrides))


def tiny_model(
    family: str = "bert", num_labels: int = 1, seed: int = 0, **overrides: Any
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A random model in evaluation mode and its tokenizer; weights depend only on ``seed``."""
    tokenizer = tiny_tokenizer(family)
    config = _config(family, len(tokenizer), num_labels=num_labels, **overrides)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_config(config)
        # Weights larger than the usual 0.02, biases and norms off their start values:
        # otherwise all scores are alike and a wrong computation would go unnoticed.
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.25)
            else:
                offset = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
                torch.nn.init.normal_(parameter, mean=offset, std=0.1)
    return model.eval(), tokenizer


def save_tiny(path: Path | str, family: str = "bert", **options: Any) -> Path:
    """A plain transformers folder of a tiny model."""
    model, tokenizer = tiny_model(family, **options)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return Path(path)
