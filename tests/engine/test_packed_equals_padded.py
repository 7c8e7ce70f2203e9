"""Packed execution gives what transformers gives with padding: scores and gradients."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rankwright.engine.batch import PackedBatch
from rankwright.engine.encoders import build_encoder
from rankwright.engine.pack import pack
from rankwright.engine.scorers import build_scorer
from rankwright.engine.tokenize import TokenizedPairs
from tests.tiny import FAMILIES, tiny_model

MODELS = {family: tiny_model(family) for family in FAMILIES}
SCORERS = {family: build_scorer(model) for family, (model, _) in MODELS.items()}
MAX = 64
HEALTH = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]

pytestmark = pytest.mark.usefixtures("ways")


def random_pairs(family: str, lengths: list[int], seed: int = 0) -> TokenizedPairs:
    """Random ids of exactly these lengths, segments as a BERT would get them."""
    model, tokenizer = MODELS[family]
    rng = np.random.default_rng(seed)
    ids = [rng.integers(5, model.config.vocab_size, n, dtype=np.int64) for n in lengths]
    types = None
    if "token_type_ids" in tokenizer.model_input_names:
        types = [(np.arange(n) >= n // 3).astype(np.int64) for n in lengths]
    return TokenizedPairs(ids, types)


def padded_logits(model: torch.nn.Module, pairs: TokenizedPairs) -> torch.Tensor:
    """The reference: transformers' own forward on padded rows."""
    longest = int(pairs.lengths.max())
    mask = torch.arange(longest) < torch.from_numpy(pairs.lengths)[:, None]
    pad = model.config.pad_token_id

    def rows(flat: list[np.ndarray], fill: int) -> torch.Tensor:
        out = torch.full(mask.shape, fill)
        out[mask] = torch.from_numpy(np.concatenate(flat))
        return out

    features = {"input_ids": rows(pairs.input_ids, pad), "attention_mask": mask.long()}
    if pairs.token_type_ids is not None:
        features["token_type_ids"] = rows(pairs.token_type_ids, 0)
    return model(**features).logits


def gradients(model: torch.nn.Module, logits: torch.Tensor) -> dict[str, torch.Tensor]:
    """Parameter gradients of a loss that treats every pair differently."""
    model.zero_grad()
    weights = torch.linspace(-1.0, 2.0, logits.numel()).view_as(logits)
    (torch.sigmoid(logits) * weights).sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    scale = max(float(g.norm()) for g in expected.values())
    for name, reference in expected.items():
        # Relative to the gradient itself, or, where that is all but zero (a key's bias has no
        # influence on softmax), to the model's largest.
        bound = 1e-4 * max(float(reference.norm()), 1e-2 * scale)
        assert float((found[name] - reference).norm()) <= bound, name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "lengths",
    [[1], [MAX], [5], [3, 3, 3], [1, 2, 3, 64, 64, 63, 40, 9, 9, 17], list(range(1, 33))],
    ids=["one-token", "maximum", "one", "equal", "mixed", "many"],
)
def test_scores_and_gradients(family: str, lengths: list[int]) -> None:
    model, _ = MODELS[family]
    pairs = random_pairs(family, lengths)
    expected = padded_logits(model, pairs)
    found = SCORERS[family](pack(pairs))
    assert SCORERS[family].packed
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert_same_gradients(
        gradients(model, SCORERS[family](pack(pairs))),
        gradients(model, padded_logits(model, pairs)),
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lengths", [[1], [5, 5], [1, 2, 3, 64, 64, 63, 40, 9, 9, 17]])
def test_training_mode_without_dropout(family: str, lengths: list[int]) -> None:
    model, _ = tiny_model(family)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.train()
    pairs = random_pairs(family, lengths)
    scorer = build_scorer(model)
    found = scorer(pack(pairs))
    torch.testing.assert_close(found, padded_logits(model, pairs), atol=1e-5, rtol=1e-5)
    assert_same_gradients(
        gradients(model, scorer(pack(pairs))), gradients(model, padded_logits(model, pairs))
    )


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=15, deadline=None, suppress_health_check=HEALTH)
@given(lengths=st.lists(st.integers(1, MAX), min_size=1, max_size=24), seed=st.integers(0, 1_000))
def test_any_lengths(family: str, lengths: list[int], seed: int) -> None:
    pairs = random_pairs(family, lengths, seed)
    with torch.no_grad():
        found = SCORERS[family](pack(pairs))
        expected = padded_logits(MODELS[family][0], pairs)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_groups_do_not_change_scores(family: str) -> None:
    pairs = random_pairs(family, [7, 30, 12, 12, 5, 60])
    plain = SCORERS[family](pack(pairs))
    grouped = SCORERS[family](pack(pairs, group_sizes=torch.tensor([2, 4])))
    assert torch.equal(plain, grouped)


@pytest.mark.parametrize("family", FAMILIES)
def test_score_does_not_depend_on_company(family: str) -> None:
    pairs = random_pairs(family, [20, 1, 33, 64, 32, 31, 8])
    together = SCORERS[family](pack(pairs))
    alone = torch.cat([SCORERS[family](pack(pairs, [i])) for i in range(len(pairs))])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    backwards = SCORERS[family](pack(pairs, list(range(len(pairs)))[::-1])).flip(0)
    torch.testing.assert_close(together, backwards, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_three_labels(family: str) -> None:
    model, _ = tiny_model(family, num_labels=3)
    pairs = random_pairs(family, [9, 40, 23])
    found = build_scorer(model)(pack(pairs))
    assert found.shape == (3, 3)
    torch.testing.assert_close(found, padded_logits(model, pairs), atol=1e-5, rtol=1e-5)


def test_modernbert_mean_pooling() -> None:
    model, _ = tiny_model("modernbert", classifier_pooling="mean")
    pairs = random_pairs("modernbert", [9, 40, 23, 41, 40])
    expected = padded_logits(model, pairs)
    torch.testing.assert_close(build_scorer(model)(pack(pairs)), expected, atol=1e-5, rtol=1e-5)


def test_roberta_padding_id_inside_a_text() -> None:
    pairs = random_pairs("roberta", [12, 20, 6])
    pairs.input_ids[1][4] = MODELS["roberta"][0].config.pad_token_id
    expected = padded_logits(MODELS["roberta"][0], pairs)
    found = SCORERS["roberta"](pack(pairs))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_other_architectures_fall_back_to_padding() -> None:
    model, tokenizer = tiny_model("deberta")
    scorer = build_scorer(model)
    assert not scorer.packed
    rng = np.random.default_rng(0)
    ids = [rng.integers(5, len(tokenizer), n, dtype=np.int64) for n in (4, 31, 12)]
    pairs = TokenizedPairs(ids, None)
    found = scorer(pack(pairs))
    torch.testing.assert_close(found, padded_logits(model, pairs), atol=1e-5, rtol=1e-5)
    model.train()
    with torch.no_grad():
        torch.testing.assert_close(scorer(pack(pairs), training=False), found.detach())
    assert model.training, "scoring must leave the model's own mode alone"


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointing_gives_the_same_gradients_with_dropout(family: str) -> None:
    def run(checkpointing: bool) -> dict[str, torch.Tensor]:
        model, _ = tiny_model(family)
        if checkpointing:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # its name changes in transformers 6
                model.gradient_checkpointing_enable()
        model.train()
        scorer = build_scorer(model)
        torch.manual_seed(3)
        return gradients(model, scorer(pack(random_pairs(family, [5, 33, 64, 12]))))

    expected = run(False)
    found = run(True)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], msg=name)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert", "electra"])
def test_token_states(family: str) -> None:
    model, _ = MODELS[family]
    base = model.base_model
    pairs = random_pairs(family, [3, 20, 21, 64])
    batch = pack(pairs)
    with torch.no_grad():
        found = build_encoder(base)(batch).split(batch.lengths.tolist())
        for i, states in enumerate(found):
            features = {"input_ids": torch.from_numpy(pairs.input_ids[i])[None]}
            if pairs.token_type_ids is not None:
                features["token_type_ids"] = torch.from_numpy(pairs.token_type_ids[i])[None]
            expected = base(**features).last_hidden_state[0]
            torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)


def test_adapters_and_hooks_are_called() -> None:
    model, _ = tiny_model("bert")
    scorer = build_scorer(model)
    batch = pack(random_pairs("bert", [9, 12]))
    before = scorer(batch)
    query = model.bert.encoder.layer[0].attention.self.query
    handle = query.register_forward_hook(lambda module, args, output: output * 0)
    hooked = scorer(batch)
    assert not torch.allclose(before, hooked)
    handle.remove()
    assert torch.equal(before, scorer(batch))


def test_changed_weights_are_noticed() -> None:
    model, _ = tiny_model("bert")
    scorer = build_scorer(model)
    batch = pack(random_pairs("bert", [9, 12]))
    with torch.inference_mode():
        scorer(batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    scorer(batch).sum().backward()
    optimizer.step()
    pairs = random_pairs("bert", [9, 12])
    torch.testing.assert_close(scorer(batch), padded_logits(model, pairs), atol=1e-5, rtol=1e-5)
    other, _ = tiny_model("bert", seed=1)
    model.load_state_dict(other.state_dict())
    torch.testing.assert_close(scorer(batch), padded_logits(other, pairs), atol=1e-5, rtol=1e-5)


def test_bfloat16_stays_close_and_returns_float32() -> None:
    pairs = random_pairs("bert", [9, 30, 64, 2])
    exact = SCORERS["bert"](pack(pairs))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = SCORERS["bert"](pack(pairs))
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, atol=0.1, rtol=0.1)


def test_bfloat16_gradients_reach_float32_parameters() -> None:
    model, _ = tiny_model("bert")
    scorer = build_scorer(model)
    batch = pack(random_pairs("bert", [9, 30, 64, 2]))
    exact = gradients(model, scorer(batch))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = scorer(batch)
    rough = gradients(model, logits)
    assert all(g.dtype == torch.float32 for g in rough.values())
    flat = [torch.cat([g[n].flatten() for n in exact]) for g in (exact, rough)]
    assert torch.nn.functional.cosine_similarity(*flat, dim=0) > 0.99


def test_batch_survives_the_way_through_a_mapping() -> None:
    batch = pack(random_pairs("bert", [3, 4]), labels=torch.tensor([0.0, 1.0]))
    again = PackedBatch.from_dict({**batch.to_dict(), "unknown": torch.zeros(1)})
    assert again.to_dict().keys() == batch.to_dict().keys()
    assert all(torch.equal(again.to_dict()[k], v) for k, v in batch.to_dict().items())
