from __future__ import annotations

import unicodedata

import pytest

from rankwright.errors import InputError
from rankwright.mining.analysis import Analyzer, detect_language, supported_languages


def test_english_drops_stop_words_and_stems():
    assert Analyzer("english")("The runners are running, QUICKLY") == ["runner", "run", "quick"]


@pytest.mark.parametrize(
    ("code", "name"),
    [("en", "english"), ("DE", "german"), ("zh-CN", "chinese"), ("pt_BR", "portuguese")],
)
def test_codes_are_names(code: str, name: str):
    assert Analyzer(code).language == name


def test_unknown_language_lists_the_known_ones():
    with pytest.raises(InputError, match=r"'klingon' is not known.*vietnamese"):
        Analyzer("klingon")


@pytest.mark.parametrize("language", supported_languages())
def test_every_language_splits_words(language: str):
    assert len(Analyzer(language)("abc def")) == 2


def test_chinese_becomes_character_pairs_and_words():
    assert Analyzer("zh")("如何用Python读文件?") == ["如何", "何用", "python", "读文", "文件"]


def test_one_character_run_stays():
    assert Analyzer("zh")("A 猫 B") == ["a", "猫", "b"]


def test_character_pairs_do_not_depend_on_the_language():
    assert Analyzer("english")("查找文件 files") == [*Analyzer("zh")("查找文件"), "file"]


def test_japanese_and_thai_are_paired():
    assert Analyzer("ja")("ファイルを") == ["ファ", "ァイ", "イル", "ルを"]
    assert len(Analyzer("th")("ภาษาไทย")) == 6


def test_full_width_letters_are_folded():
    assert Analyzer("ja")("ＰＹＴＨＯＮ３") == ["python3"]


def test_vietnamese_composed_and_decomposed_are_one():
    text = "Làm thế nào để TÌM tệp ý nghĩa"
    decomposed = unicodedata.normalize("NFD", text)
    assert decomposed != text
    assert Analyzer("vi")(decomposed) == Analyzer("vi")(text)
    assert Analyzer("vi")(text) == ["làm", "thế", "nào", "để", "tìm", "tệp", "ý", "nghĩa"]


def test_hindi_words_are_not_cut_at_vowel_signs():
    assert Analyzer("none")("हिन्दी में।") == ["हिन्दी", "में"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("How to sort a list of files", "english"),
        ("Straße und Größe", "english"),  # Latin script: the caller has to say German
        ("如何按大小排序 files", "chinese"),
        ("ファイルをサイズで並べ替える方法", "japanese"),
        ("파일을 크기별로 정렬", "korean"),
        ("Làm thế nào để sắp xếp tệp", "vietnamese"),
        ("как отсортировать файлы", "russian"),
        ("كيفية ترتيب الملفات", "arabic"),
        ("फ़ाइलें कैसे क्रमबद्ध करें", "hindi"),
        ("12345 !!!", "none"),
    ],
)
def test_detect_language(text: str, language: str):
    assert detect_language([text] * 3) == language
