"""How pairs become scores: tokenise, pack, batch by tokens, execute."""

from __future__ import annotations
