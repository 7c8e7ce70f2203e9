from __future__ import annotations

import subprocess
import sys

import rankwright.mining as room


def test_every_public_name_is_there():
    for name in room.__all__:
        assert getattr(room, name).__doc__, name
    assert sorted(room.__all__) == room.__all__
    assert dir(room) == room.__all__


def test_lexical_mining_needs_no_torch():
    code = (
        "import sys; from rankwright.mining import BM25, mine, retrieve; "
        "retrieve(BM25(), {'d': 'file'}, {'q': 'file'}); "
        "print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
