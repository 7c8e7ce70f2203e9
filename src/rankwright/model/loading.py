"""A checked folder to a transformers model and its tokenizer."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from rankwright.errors import InputError, ModelError, UnsafeModelError, WeightsError
from rankwright.model.layouts import LoadedLayout, read_layout
from rankwright.model.quiet import quiet_transformers

__all__ = ["LoadOptions", "Loaded", "load_folder", "load_tokenizer"]

logger = logging.getLogger(__name__)

ALIGNMENT = 64
"""Bytes; a line of the processor's cache, and what PyTorch aligns its tensors to."""


@dataclass(frozen=True)
class LoadOptions:
    """How a folder is loaded; the mappings are never changed.

    Attributes:
        num_labels: Outputs of the head; None takes the folder's, or 1 for a new head.
        seed: For the weights of a new head; None draws from torch's global generator.
        trust_remote_code: Whether the folder's own Python code may run.
        model_kwargs: For ``from_pretrained`` of the model.
        tokenizer_kwargs: For ``from_pretrained`` of the tokenizer.
        config_kwargs: For ``from_pretrained`` of the configuration.
        head_follows: Whether a new head is no news, because an adapter brings a trained one.
        causal: Whether a language model is scored by the logits of two tokens; None: if it has
            no classification head. False gives it a new head.
    """

    num_labels: int | None = None
    seed: int | None = None
    trust_remote_code: bool = False
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    tokenizer_kwargs: Mapping[str, Any] = field(default_factory=dict)
    config_kwargs: Mapping[str, Any] = field(default_factory=dict)
    head_follows: bool = False
    causal: bool | None = None


@dataclass(frozen=True)
class Loaded:
    """A model ready to score or to train.

    Attributes:
        model: A transformers model in evaluation mode, with a sequence-classification head or
            scored by two tokens.
        tokenizer: Its tokenizer.
        layout: What the folder said.
        new_head: Whether the head's weights are new and must be trained first.
    """

    model: Any
    tokenizer: Any
    layout: LoadedLayout
    new_head: bool


def load_folder(path: Path, options: LoadOptions) -> Loaded:
    """Loads a folder of any known layout.

    A folder without a classification head gets a new one, and the log says so.

    Raises:
        ConfigError, WeightsError, UnsafeModelError, ModelError: See `read_layout`.
        InputError: ``num_labels`` is less than 1, or a model is to be scored by two tokens that
            is no causal language model or has other than one label.
    """
    if options.num_labels is not None and options.num_labels < 1:
        raise InputError(f"num_labels={options.num_labels}; expected at least 1.")
    layout = read_layout(path)
    for note in layout.notes:
        logger.warning("%s: %s", path, note)
    if options.causal is not None:
        layout = _as_asked(layout, options.causal)
    config = _config(layout, options)
    model, new_head = _model(layout, config, options)
    if new_head and not options.head_follows:
        logger.warning(
            "%s has no trained classification head for %d label(s): a new one was made%s. "
            "Train the model before you use its scores.",
            path,
            config.num_labels,
            "" if options.seed is None else f" from seed {options.seed}",
        )
    return Loaded(model, load_tokenizer(layout, options), layout, new_head)


def _as_asked(layout: LoadedLayout, causal: bool) -> LoadedLayout:
    if causal and not layout.causal:
        raise InputError(
            f"{layout.folder} is no causal language model, so it has no logits to score by. "
            "Leave logit_score out."
        )
    tokens = layout.chat.tokens if causal else None
    return replace(layout, causal=causal, chat=replace(layout.chat, tokens=tokens))


def _config(layout: LoadedLayout, options: LoadOptions) -> Any:
    with _taught(layout, "its config.json cannot be used"):
        config = AutoConfig.from_pretrained(
            layout.folder,
            **{"trust_remote_code": options.trust_remote_code, **options.config_kwargs},
        )
    asked = options.num_labels or options.config_kwargs.get("num_labels")
    wanted = asked or layout.num_labels or 1
    if layout.causal and wanted != 1:
        raise InputError(
            f"num_labels={wanted}, but {layout.folder} is a causal language model, whose score is "
            "one number from the logits of two tokens. Leave num_labels out, or pass "
            "logit_score=False for a new classification head."
        )
    if config.num_labels != wanted:
        config.num_labels = wanted  # resets the labels' names as well
    config.use_cache = False
    return config


def _model(layout: LoadedLayout, config: Any, options: LoadOptions) -> tuple[Any, bool]:
    arguments = dict(options.model_kwargs)
    replace_head = bool(arguments.pop("ignore_mismatched_sizes", False))
    if "torch_dtype" in arguments:  # its name before transformers 5
        arguments.setdefault("dtype", arguments.pop("torch_dtype"))
    # Whatever type they are stored in, master weights are float32: see `CrossEncoder`.
    arguments.setdefault("dtype", torch.float32)
    arguments.setdefault("trust_remote_code", options.trust_remote_code)
    with (
        _taught(layout, "its model cannot be built"),
        _seeded(options.seed),
        quiet_transformers(),
    ):
        kind = AutoModelForCausalLM if layout.causal else AutoModelForSequenceClassification
        model, report = kind.from_pretrained(
            layout.folder,
            config=config,
            use_safetensors=True,
            output_loading_info=True,
            # Without this transformers stops at the first mismatch without naming it.
            ignore_mismatched_sizes=True,
            **arguments,
        )
    mismatched = sorted(report["mismatched_keys"])
    if mismatched and not (replace_head and not any(_in_encoder(model, k) for k, *_ in mismatched)):
        raise _mismatch(layout, config, mismatched)
    missing = sorted(report["missing_keys"])
    whole = layout.num_labels is not None or layout.causal
    lost = [k for k in missing if whole or _in_encoder(model, k)]
    if lost:
        raise WeightsError(
            f"{layout.folder}: the weights lack {len(lost)} of the tensors that config.json calls "
            f"for ({_few(lost)}). The weights belong to another model, or a shard is missing: "
            "download or copy the model again."
        )
    _align(model)
    return model.eval(), bool(missing or mismatched)


def _align(model: Any) -> None:
    """Moves weights to where a tensor of PyTorch's own would begin.

    Weights that are read from a file begin wherever they stand in it. MKL adds up in another order
    there, so the same weights would give scores that differ in the last bits.
    """
    for parameter in model.parameters():
        data = parameter.data
        if data.device.type == "cpu" and data.data_ptr() % ALIGNMENT and data.is_contiguous():
            parameter.data = data.clone()


def _in_encoder(model: Any, key: str) -> bool:
    # A pooler lies inside the encoder but belongs to the head: checkpoints that were trained
    # to fill in masked words have none.
    return key.startswith(f"{model.base_model_prefix}.") and ".pooler." not in key


def _mismatch(layout: LoadedLayout, config: Any, mismatched: list[Any]) -> WeightsError:
    found = _few([f"{k}: {tuple(a)} in the file, {tuple(b)} expected" for k, a, b in mismatched])
    saved = layout.num_labels
    if saved is not None and saved != config.num_labels:
        return WeightsError(
            f"{layout.folder} has a head for {saved} label(s), but num_labels={config.num_labels} "
            f"was asked for ({found}). Leave num_labels out to use the head, or pass "
            "model_kwargs={'ignore_mismatched_sizes': True} to replace it by a new one."
        )
    return WeightsError(
        f"{layout.folder}: {len(mismatched)} tensors have another shape than config.json says "
        f"({found}). The weights and config.json belong to different models."
    )


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def load_tokenizer(layout: LoadedLayout, options: LoadOptions) -> Any:
    """The tokenizer of a folder.

    Raises:
        ModelError: There is none, or it cannot be read.
    """
    with _taught(layout, "its tokenizer cannot be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(
            layout.folder,
            **{"trust_remote_code": options.trust_remote_code, **options.tokenizer_kwargs},
        )
    # Without its files transformers makes one from nothing, to which every word is unknown.
    if len(tokenizer.get_vocab()) <= len(tokenizer.all_special_tokens):
        raise ModelError(
            f"{layout.folder} has no tokenizer (tokenizer.json, or vocab.txt and the like). "
            "Copy the tokenizer's files from the base model."
        )
    return tokenizer


@contextlib.contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def _taught(layout: LoadedLayout, what: str) -> Iterator[None]:
    try:
        yield
    except (UnsafeModelError, WeightsError, MemoryError):
        raise
    # transformers, tokenizers and safetensors raise plain Exceptions of many kinds for files
    # that do not hold; each is turned into one error that names the folder.
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise UnsafeModelError(
                f"{layout.folder} needs its own Python code, which is not run unless you pass "
                "trust_remote_code=True. Do so only if you trust its author."
            ) from error
        raise ModelError(
            f"{layout.folder}: {what}: {type(error).__name__}: {error}. Its files are incomplete, "
            "belong to a newer transformers, or are of a kind of model that has no "
            "sequence-classification head and is no causal language model."
        ) from error
