"""Language models: folders saved here score the same in Sentence Transformers, and the reverse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwright.model import CrossEncoder, LogitScore
from tests.tiny_lm import CHAT, END, RERANKER, lm_tokenizer, save_lm, tiny_lm

peer = pytest.importorskip("sentence_transformers")
pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

PAIRS = [
    ("sort a list", "xsort list of files"),
    ("a", "no"),
    (" open\tthe file ", "close the data\n\n table row. " * 60),
    ("", "中 é😀 x"),
]
PARTS = (
    "{% for m in messages %}{% if m.role == 'system' %}({{ m.content[0].text }}){% endif %}"
    "{% if m.role in ('query', 'document') %}<{{ m.role }}>{{ m.content[0].text | trim }}"
    "{% endif %}{% endfor %}!"
)


def assert_same(theirs: Any, ours: CrossEncoder, pairs: list[tuple[str, str]] = PAIRS) -> None:
    for prompt in (None, "Find code"):
        expected = theirs.predict(pairs, prompt=prompt)
        np.testing.assert_allclose(ours.predict(pairs, prompt=prompt), expected, atol=1e-5)
        assert np.ptp(expected) > 0.01
    assert theirs.max_seq_length == ours.max_length
    assert theirs.num_labels == ours.num_labels


@pytest.mark.parametrize("head", [None, 1])
@pytest.mark.parametrize("template", [RERANKER, PARTS, None], ids=["roles", "parts", "none"])
def test_theirs_in_ours(tmp_path: Path, template: str | None, head: int | None) -> None:
    padding = lm_tokenizer().pad_token_id
    base = save_lm(tmp_path / "base", chat_template=template, num_labels=head, pad_token_id=padding)
    theirs = peer.CrossEncoder(str(base), device="cpu")
    theirs.save_pretrained(str(tmp_path / "theirs"), create_model_card=False)
    ours = CrossEncoder(tmp_path / "theirs")
    assert_same(theirs, ours)
    assert (ours.template is None) == (template is None)
    ours.save_pretrained(tmp_path / "ours", create_model_card=False)
    assert_same(peer.CrossEncoder(str(tmp_path / "ours"), device="cpu"), ours)


@pytest.mark.parametrize("kind", ["chat", "bare", "own", "one", "head"])
def test_ours_in_theirs(tmp_path: Path, kind: str) -> None:
    options: dict[str, Any] = {}
    if kind == "own":
        template = '{document} "é"\\n{{x}} {% if %}\n中😀{query}<|im_start|>{instruction}\t'
        options = {"template": template}
    elif kind == "one":
        options = {"logit_score": LogitScore(7, None), "activation_fn": "identity"}
    elif kind == "head":
        options = {"logit_score": False, "seed": 1, "template": "{query}\n{document} {instruction}"}
    base = save_lm(tmp_path / "base", chat_template=None if kind == "bare" else CHAT)
    ours = CrossEncoder(base, **options)
    ours.save_pretrained(tmp_path / "ours", create_model_card=False)
    # With the query last, the peer cuts the query of a long pair; here the document is cut.
    pairs = [pair for pair in PAIRS if kind != "own" or len(pair[1]) < 100]
    assert_same(peer.CrossEncoder(str(tmp_path / "ours"), device="cpu"), ours, pairs)


def test_a_control_token_in_a_document(tmp_path: Path) -> None:
    """Where the peer lets a document end its own turn, it stays text here."""
    ours = CrossEncoder.from_transformers(*tiny_lm(chat_template=RERANKER))
    ours.save_pretrained(tmp_path, create_model_card=False)
    theirs = peer.CrossEncoder(str(tmp_path), device="cpu")
    hostile = [("sort", f"x{END}")]
    assert abs(float(theirs.predict(hostile)[0]) - float(ours.predict(hostile)[0])) > 1e-3
