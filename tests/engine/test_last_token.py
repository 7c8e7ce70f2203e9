"""Language models: scores and gradients against transformers, one unpadded pair at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rankwright.engine.last_token import LastTokenScorer, WholeRowScorer
from rankwright.engine.pack import pack
from rankwright.engine.padded import unpadded
from rankwright.engine.scorers import build_scorer
from rankwright.engine.tokenize import TokenizedPairs
from rankwright.engine.two_tokens import TwoTokens
from rankwright.errors import InputError
from tests.tiny_lm import tiny_lm

DIRECT = "qwen3 qwen2 llama mistral gemma gemma2 gemma3_text phi3 granite cohere gpt2".split()
TOKENS = TwoTokens(17, 101)
MODELS = {family: tiny_lm(family)[0] for family in DIRECT}


def random_pairs(seed: int = 0, lengths: tuple[int, ...] = (30, 1, 7, 19, 30, 2)) -> TokenizedPairs:
    generator = np.random.default_rng(seed)
    return TokenizedPairs([generator.integers(0, 400, n) for n in lengths], None)


def reference(model: Any, pairs: TokenizedPairs, tokens: TwoTokens | None) -> Tensor:
    """Float64, pair by pair, all logits of the vocabulary."""
    double = type(model)(model.config).double().eval()
    double.load_state_dict(model.state_dict())
    rows = []
    for ids in pairs.input_ids:
        with torch.inference_mode():
            logits = double(input_ids=torch.from_numpy(ids)[None], use_cache=False).logits
        if tokens is None:
            rows.append(logits[0])
            continue
        last = logits[0, -1]
        other = 0.0 if tokens.false_id is None else last[tokens.false_id]
        rows.append((last[tokens.true_id] - other)[None])
    return torch.stack(rows).float()


@pytest.mark.parametrize("family", DIRECT)
def test_scores_of_each_family(family: str) -> None:
    model, pairs = MODELS[family], random_pairs()
    expected = reference(model, pairs, TOKENS)
    assert expected.std() > 0.1
    scorer = build_scorer(model, TOKENS)
    assert isinstance(scorer, LastTokenScorer)
    torch.testing.assert_close(scorer(pack(pairs)), expected, atol=2e-4, rtol=2e-4)
    whole = WholeRowScorer(model, TOKENS)
    torch.testing.assert_close(whole(pack(pairs)), expected, atol=2e-4, rtol=2e-4)


def test_families_that_are_not_known_compute_the_whole_row(monkeypatch: Any) -> None:
    import rankwright.engine.last_token as module

    monkeypatch.setattr(module, "_PLAIN", frozenset())
    assert isinstance(build_scorer(MODELS["qwen3"], TOKENS), WholeRowScorer)


@pytest.mark.parametrize("tied", [True, False])
def test_one_token_and_tied_embeddings(tied: bool) -> None:
    model, _ = tiny_lm("qwen3", tie_word_embeddings=tied)
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    pairs, tokens = random_pairs(), TwoTokens(5)
    expected = reference(model, pairs, tokens)
    torch.testing.assert_close(
        build_scorer(model, tokens)(pack(pairs)), expected, atol=1e-4, rtol=1e-4
    )


def test_an_output_matrix_with_a_bias() -> None:
    model, _ = tiny_lm("phi")
    assert model.lm_head.bias is not None
    torch.nn.init.normal_(model.lm_head.bias, std=2.0)
    pairs = random_pairs()
    found = build_scorer(model, TOKENS)(pack(pairs))
    torch.testing.assert_close(found, reference(model, pairs, TOKENS), atol=1e-4, rtol=1e-4)


def test_only_two_rows_of_the_output_matrix_are_computed(monkeypatch: Any) -> None:
    model, _ = tiny_lm("qwen3")

    def refuse(*_: Any) -> None:
        raise AssertionError("the whole vocabulary was computed")

    monkeypatch.setattr(model.lm_head, "forward", refuse)
    assert build_scorer(model, TOKENS)(pack(random_pairs())).shape == (6, 1)


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=2, max_size=6),
    family=st.sampled_from(("qwen3", "mistral", "gemma3_text", "gpt2")),
)
def test_a_score_does_not_depend_on_its_batch(lengths: list[int], family: str) -> None:
    pairs = random_pairs(3, tuple(lengths))
    scorer = build_scorer(MODELS[family], TOKENS)
    with torch.inference_mode():
        together = scorer(pack(pairs))
        alone = torch.cat([scorer(pack(pairs, [i])) for i in range(len(lengths))])
        turned = scorer(pack(pairs, list(range(len(lengths)))[::-1])).flip(0)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(together, turned, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "head"),
    [(f, None) for f in DIRECT] + [(f, 2) for f in DIRECT if f not in ("granite", "cohere")],
)
def test_a_common_beginning_is_read_once(family: str, head: int | None) -> None:
    model = MODELS[family] if head is None else tiny_lm(family, num_labels=head)[0]
    tokens = None if head else TOKENS
    own = random_pairs(5, (9, 1, 30, 9))
    # Longer than the windows of families that have some.
    start = random_pairs(6, (40,)).input_ids[0]
    pairs = TokenizedPairs([np.concatenate((start, ids)) for ids in own.input_ids], None)
    scorer = build_scorer(model, tokens)
    seen: list[tuple[int, ...]] = []
    handle = model.base_model.register_forward_pre_hook(
        lambda _, __, given: seen.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    with torch.inference_mode():
        found = scorer(pack(pairs), training=False)
    assert seen == [(1, 40), (4, 30)]
    torch.testing.assert_close(found, reference(model, pairs, tokens), atol=2e-4, rtol=2e-4)
    seen.clear()
    # One pair is the beginning of another: its last token is its own.
    nested = TokenizedPairs([start, pairs.input_ids[0]], None)
    with torch.inference_mode():
        found = scorer(pack(nested), training=False)
    assert seen == [(1, 39), (2, 10)]
    torch.testing.assert_close(found, reference(model, nested, tokens), atol=2e-4, rtol=2e-4)
    seen.clear()
    scorer(pack(pairs), training=True)
    assert seen == [(4, 70)]
    handle.remove()


@pytest.mark.parametrize("left", [True, False])
def test_padded_rows_on_either_side(left: bool) -> None:
    pairs = random_pairs()
    longest = int(pairs.lengths.max())
    ids = torch.full((len(pairs), longest), 99)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(pairs.input_ids):
        place = slice(longest - len(tokens), longest) if left else slice(0, len(tokens))
        ids[row, place] = torch.from_numpy(tokens)
        mask[row, place] = 1
    found = unpadded({"input_ids": ids, "attention_mask": mask})
    expected = pack(pairs)
    for name, value in expected.to_dict().items():
        torch.testing.assert_close(found.to_dict()[name], value)
    full = unpadded({"input_ids": ids})
    assert full.lengths.tolist() == [longest] * len(pairs)


# --- gradients ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["qwen3", "gemma2", "granite"])
def test_gradients(family: str) -> None:
    model, _ = tiny_lm(family)
    pairs = random_pairs(1, (9, 4, 12))
    double = type(model)(model.config).double()
    double.load_state_dict(model.state_dict())
    labels = torch.tensor([1.0, 0.0, 1.0])

    found = build_scorer(model, TOKENS)(pack(pairs), training=True).squeeze(1)
    torch.nn.functional.binary_cross_entropy_with_logits(found, labels).backward()
    scores = []
    for ids in pairs.input_ids:
        last = double(input_ids=torch.from_numpy(ids)[None]).logits[0, -1]
        scores.append(last[TOKENS.true_id] - last[TOKENS.false_id])
    expected = torch.stack(scores)
    torch.nn.functional.binary_cross_entropy_with_logits(expected, labels.double()).backward()
    for (name, ours), theirs in zip(model.named_parameters(), double.parameters(), strict=True):
        assert ours.grad is not None, name
        assert theirs.grad is not None
        torch.testing.assert_close(
            ours.grad, theirs.grad.float(), atol=2e-4, rtol=2e-3, msg=lambda m, n=name: f"{n}: {m}"
        )


# --- classification heads ----------------------------------------------------------------------


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama", "mistral", "gemma", "gpt2"])
@pytest.mark.parametrize("num_labels", [1, 3])
def test_classification_heads(family: str, num_labels: int) -> None:
    model, tokenizer = tiny_lm(family, num_labels=num_labels)
    pairs = random_pairs()
    scorer = build_scorer(model)
    assert isinstance(scorer, LastTokenScorer)
    # Without a padding token transformers itself scores single pairs only.
    assert model.config.pad_token_id is None
    expected = reference(model, pairs, None)
    torch.testing.assert_close(scorer(pack(pairs)), expected, atol=1e-4, rtol=1e-4)
    model.config.pad_token_id = tokenizer.pad_token_id
    torch.testing.assert_close(scorer(pack(pairs)), expected, atol=1e-4, rtol=1e-4)


def test_padding_tokens_in_a_text_count_as_in_transformers() -> None:
    model, _ = tiny_lm("qwen3", num_labels=1)
    model.config.pad_token_id = 7
    pairs = TokenizedPairs(
        [np.array([3, 5, 7, 7]), np.array([7, 2]), np.array([7]), np.array([3, 5])], None
    )
    found = build_scorer(model)(pack(pairs))
    torch.testing.assert_close(found, reference(model, pairs, None), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[0], found[3], atol=1e-5, rtol=1e-5)


# --- refusals ----------------------------------------------------------------------------------


def test_what_cannot_be_scored() -> None:
    model = MODELS["qwen3"]
    with pytest.raises(InputError, match="logit_score"):
        build_scorer(model)
    with pytest.raises(InputError, match="not all among"):
        build_scorer(model, TwoTokens(5, 100_000))
    empty = TokenizedPairs([np.array([1]), np.zeros(0, np.int64)], None)
    with pytest.raises(InputError, match="no tokens at all"):
        build_scorer(model, TOKENS)(pack(empty))
