"""Tiny random language models with chat templates, so that tests need no download."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from tokenizers.decoders import ByteLevel
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from tests.tiny import WORDS

START, END = "<|im_start|>", "<|im_end|>"
SPECIAL = ("<|endoftext|>", START, END)

# A chat model's template, as Qwen3 has it in essence: other roles than these are dropped.
CHAT = (
    "{%- for message in messages -%}"
    "{%- if message.role in ('system', 'user', 'assistant') -%}"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' -}}"
    "{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}"
    "{%- if enable_thinking is defined and enable_thinking is false -%}"
    "{{- '<think>\n\n</think>\n\n' -}}{%- endif -%}{%- endif -%}"
)
# A reranker's template: it renders the roles of a pair.
RERANKER = (
    "<|im_start|>system\nJudge.<|im_end|>\n<|im_start|>user\n<Instruct>: "
    '{{ messages | selectattr("role", "eq", "system") | map(attribute="content") | first '
    '| default("Find answers") }}\n<Query>: '
    '{{ messages | selectattr("role", "eq", "query") | map(attribute="content") | first }}\n'
    "<Document>: "
    '{{ messages | selectattr("role", "eq", "document") | map(attribute="content") | first }}'
    "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
)


@cache
def _backend() -> str:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpus = [" ".join(WORDS), " ".join(f"x{word}" for word in WORDS), "yes no Query Document"]
    backend.train_from_iterator(corpus * 20 + ["yes", "no", "a yes", "a no"] * 200, trainer)
    backend.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    backend.add_tokens([AddedToken(t, normalized=False) for t in ("<think>", "</think>")])
    return str(backend.to_str())


def lm_tokenizer(
    chat_template: str | None = None, model_max_length: int = 320
) -> PreTrainedTokenizerFast:
    """Byte-level BPE with "yes" and "no" as words and a chat model's control tokens."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_backend()),
        model_max_length=model_max_length,
        eos_token=END,
        pad_token="<|endoftext|>",
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def lm_config(family: str, vocab_size: int, **overrides: Any) -> Any:
    sizes: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 512,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    if family == "gpt2":
        names = ("n_embd", "n_layer", "n_head", "n_positions")
        sizes = dict(zip(names, (32, 2, 4, 512), strict=True)) | {"vocab_size": vocab_size}
        sizes |= {"bos_token_id": None, "eos_token_id": None}
    elif family in ("gemma2", "gemma3_text"):
        # Low, so that it changes logits; windows shorter than the texts.
        sizes |= {"final_logit_softcapping": 3.0, "sliding_window": 16, "query_pre_attn_scalar": 8}
    elif family == "granite":
        sizes["logits_scaling"] = 2.5
    elif family in ("cohere", "cohere2"):
        sizes["logit_scale"] = 0.5
        del sizes["head_dim"]
    elif family in ("mistral", "phi3"):
        sizes["sliding_window"] = 16
    return AutoConfig.for_model(family, **(sizes | overrides))


def tiny_lm(
    family: str = "qwen3",
    chat_template: str | None = None,
    num_labels: int | None = None,
    seed: int = 0,
    **overrides: Any,
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A random language model in evaluation mode and its tokenizer.

    With ``num_labels`` it has a classification head instead of logits.
    """
    tokenizer = lm_tokenizer(chat_template)
    kind: Any = AutoModelForCausalLM
    if num_labels is not None:
        kind = AutoModelForSequenceClassification
        overrides["num_labels"] = num_labels
    config = lm_config(family, len(tokenizer), **overrides)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind.from_config(config, dtype=torch.float32)
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.25)
            else:
                is_norm = "norm" in name.lower() or ".ln_" in name
                offset = 1.0 if is_norm and name.endswith("weight") else 0.0
                torch.nn.init.normal_(parameter, mean=offset, std=0.1)
    return model.eval(), tokenizer


def save_lm(path: Path | str, family: str = "qwen3", **options: Any) -> Path:
    """A plain transformers folder of a tiny language model."""
    model, tokenizer = tiny_lm(family, **options)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return Path(path)
