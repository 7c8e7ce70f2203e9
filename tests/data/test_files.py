from __future__ import annotations

from pathlib import Path

from rankwright.data.files import excerpt, read_lines, write_lines


def test_only_line_feeds_end_lines(tmp_path: Path) -> None:
    # the other Unicode line ends may stand inside a JSON text
    (tmp_path / "x").write_bytes("\ufeffa\u2028b\x85c\x0bd\r\n\r\n e\rf\n\ufeffg".encode())
    assert list(read_lines(tmp_path / "x")) == [
        (1, "a\u2028b\x85c\x0bd"),
        (2, ""),
        (3, " e\rf"),
        (4, "\ufeffg"),
    ]


def test_written_lines_are_read_back(tmp_path: Path) -> None:
    for name in ("x.txt", "x.txt.gz"):
        write_lines(["é", "", " b "], tmp_path / name)
        assert list(read_lines(tmp_path / name)) == [(1, "é"), (2, ""), (3, " b ")]


def test_excerpts_are_short() -> None:
    assert excerpt("a" * 60) == repr("a" * 60)
    assert excerpt("a" * 61) == repr("a" * 60 + "…")
    assert excerpt(["a"]) == "\"['a']\""
