"""From text to index terms, in the language of the documents."""

from __future__ import annotations

import logging
import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any

from rankwright.errors import InputError, MissingDependencyError

__all__ = ["Analyzer", "detect_language", "resolve_language", "supported_languages"]

logger = logging.getLogger(__name__)

# Scripts that put no spaces between words (and Korean, whose particles cling to the word):
# Han, Kana, Hangul, Thai, Lao, Burmese, Khmer.
_UNSPACED = (
    "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
    "\u3040-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u1100-\u11ff\uac00-\ud7af"
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1780-\u17d3"
)
# Vowel signs and accents are no word characters for `re`, and would cut words apart.
_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
_WORD = re.compile(rf"[\w{_MARKS}]+")
_ASCII_WORD = re.compile(r"\w+", re.ASCII)
_PIECES = re.compile(rf"[{_UNSPACED}]+|[^{_UNSPACED}]+")
_HAS_UNSPACED = re.compile(rf"[{_UNSPACED}]")

_CODES = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german",
    "el": "greek", "en": "english", "eo": "esperanto", "es": "spanish", "et": "estonian",
    "eu": "basque", "fa": "persian", "fi": "finnish", "fr": "french", "ga": "irish",
    "hi": "hindi", "hu": "hungarian", "hy": "armenian", "id": "indonesian", "it": "italian",
    "ja": "japanese", "km": "khmer", "ko": "korean", "lo": "lao", "lt": "lithuanian",
    "my": "burmese", "ne": "nepali", "nl": "dutch", "no": "norwegian", "pl": "polish",
    "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian", "sv": "swedish",
    "ta": "tamil", "th": "thai", "tr": "turkish", "vi": "vietnamese", "zh": "chinese",
}  # fmt: skip
_NO_STEMMER = frozenset(
    "chinese japanese korean thai lao burmese khmer vietnamese none".split(),
)

# One range of letters per script that settles a language, first match in this order wins ties.
_SCRIPTS: tuple[tuple[str, str], ...] = (
    ("japanese", "\u3040-\u30fa\u30fc-\u30ff"),
    ("chinese", "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"),
    ("korean", "\u1100-\u11ff\uac00-\ud7af"),
    ("thai", "\u0e01-\u0e4e"),
    ("lao", "\u0e81-\u0ece"),
    ("burmese", "\u1000-\u103f"),
    ("khmer", "\u1780-\u17d3"),
    ("russian", "\u0400-\u04ff"),
    ("greek", "\u0370-\u03ff"),
    ("arabic", "\u0620-\u064a\u066e-\u06d3"),
    ("hindi", "\u0904-\u0963"),
    ("tamil", "\u0b80-\u0bff"),
    ("armenian", "\u0530-\u058f"),
    ("none", "\u05d0-\u05ea"),  # Hebrew: words as they are
    ("english", "A-Za-z\u00c0-\u024f\u1e00-\u1eff"),
)
_VIETNAMESE = re.compile("[\u01a0\u01a1\u01af\u01b0\u0110\u0111\u1ea0-\u1ef9]")


def supported_languages() -> list[str]:
    """Names accepted by `Analyzer`; two-letter codes such as "de" are accepted as well."""
    return sorted({*_stemmer_module().algorithms(), *_NO_STEMMER})


def resolve_language(language: str) -> str:
    """The full name of a language given by name or two-letter code.

    Raises:
        InputError: The language is unknown; the message lists the known ones.
    """
    name = language.strip().lower()
    # "zh-CN" and "pt_BR" are how data sets and browsers name languages.
    name = _CODES.get(re.split("[-_]", name)[0], name)
    known = supported_languages()
    if name not in known:
        raise InputError(
            f"language={language!r} is not known. Choose 'auto' or one of: {', '.join(known)} "
            "(or the two-letter code of one)."
        )
    return name


def detect_language(texts: Sequence[str], sample: int = 1000) -> str:
    """The language that the script of ``sample`` evenly spaced texts points to.

    A script tells languages apart only so far: Latin text is taken for English unless it carries
    Vietnamese letters, Cyrillic for Russian, Arabic script for Arabic. Name the language where
    that is wrong.
    """
    step = max(1, len(texts) // sample)
    text = unicodedata.normalize("NFC", " ".join(t[:2000] for t in islice(texts, 0, None, step)))
    counts = Counter({name: len(re.findall(f"[{span}]", text)) for name, span in _SCRIPTS})
    total = sum(counts.values())
    if total == 0:
        return "none"
    # Japanese is written mostly in Han characters, so any real share of Kana settles it; a Han
    # character says as much as a Latin word, hence the weight of 3 (letters per syllable).
    if counts["japanese"] > 0.1 * (counts["japanese"] + counts["chinese"]):
        counts["japanese"] += counts.pop("chinese")
    for name in ("japanese", "chinese", "korean"):
        counts[name] *= 3
    best = max(counts, key=lambda name: counts[name])
    if best == "english" and len(_VIETNAMESE.findall(text)) > 0.02 * counts["english"]:
        return "vietnamese"
    return best


class Analyzer:
    """Splits text into index terms: normalise, lower-case, drop stop words, stem.

    Runs of Chinese, Japanese, Korean, Thai, Lao, Burmese and Khmer characters become overlapping
    character pairs whatever the language is; a run of one character stays as it is. Every other
    word goes through the stop-word list and the Snowball stemmer of ``language``, where it has
    them. Text is normalised to NFKC, which composes accents (Vietnamese) and folds full-width
    letters.

    Thread-safe.

    Args:
        language: A name or two-letter code, see `supported_languages`; "none" neither stems nor
            drops stop words.
    """

    def __init__(self, language: str) -> None:
        self.language = resolve_language(language)
        has_stemmer = self.language not in _NO_STEMMER
        self._stemmer = _stemmer_module().Stemmer(self.language) if has_stemmer else None
        self._lock = threading.Lock()  # the stemmer keeps state between calls
        self._terms: dict[str, str | None] = dict.fromkeys(_stop_words(self.language))

    def __call__(self, text: str) -> list[str]:
        """Index terms of ``text``, in order, repeats kept."""
        known = self._terms
        terms = []
        for word in _words(text):
            term = known[word] if word in known else self._learn(word)
            if term is not None:
                terms.append(term)
        return terms

    def _learn(self, word: str) -> str:
        if self._stemmer is None:
            term = word
        else:
            with self._lock:
                term = str(self._stemmer.stemWord(word))
        self._terms[word] = term
        return term


def _words(text: str) -> list[str]:
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    text = unicodedata.normalize("NFKC", text).lower()
    words = _WORD.findall(text)
    if not _HAS_UNSPACED.search(text):
        return words
    return [piece for word in words for piece in _split_unspaced(word)]


def _split_unspaced(word: str) -> list[str]:
    pieces: list[str] = []
    for piece in _PIECES.findall(word):
        if len(piece) > 1 and _HAS_UNSPACED.match(piece):
            pieces += [piece[i : i + 2] for i in range(len(piece) - 1)]
        else:
            pieces.append(piece)
    return pieces


def _stop_words(language: str) -> tuple[str, ...]:
    # The Chinese and Korean lists hold words, which character pairs never match as such.
    if language in _NO_STEMMER:
        return ()
    try:
        from bm25s import stopwords
    except ImportError as error:
        raise MissingDependencyError.for_package("bm25s", "train", "BM25") from error
    name = "EN" if language in ("english", "porter") else language.upper()
    return tuple(getattr(stopwords, f"STOPWORDS_{name}", ()))


def _stemmer_module() -> Any:
    try:
        import Stemmer
    except ImportError as error:
        raise MissingDependencyError.for_package("PyStemmer", "train", "BM25") from error
    return Stemmer
