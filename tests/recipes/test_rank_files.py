from __future__ import annotations

from pathlib import Path

import pytest

from rankwright.data import load_data
from rankwright.errors import ColumnError, FormatError
from rankwright.recipes.rank_files import check_output, read_texts
from tests.cli.worlds import write_beir_folder


def test_beir_documents_read_as_in_training(tmp_path: Path) -> None:
    folder = write_beir_folder(tmp_path / "beir")
    path = folder / "corpus.jsonl"
    lines = path.read_text().splitlines()
    lines[0] = lines[0].replace('"text":', '"title": "A title", "text":')
    path.write_text("\n".join(lines) + "\n")
    assert read_texts(str(path), "document") == load_data(folder).corpus
    assert read_texts(str(folder / "queries.jsonl"), "query") == load_data(folder).queries


def test_the_column_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("text,body\na,b\n")
    assert read_texts(str(path), "document", "body") == {"2": "b"}
    assert read_texts(str(path), "document") == {"2": "a"}
    with pytest.raises(ColumnError, match="no column 'boby'.*text, body"):
        read_texts(str(path), "document", "boby")
    path.write_text("text,document\na,b\n")
    with pytest.raises(ColumnError, match="--document-column"):
        read_texts(str(path), "document")


def test_unknown_kinds_of_files(tmp_path: Path) -> None:
    path = tmp_path / "d.docx"
    path.write_text("x")
    with pytest.raises(FormatError, match=r"\.txt"):
        read_texts(str(path), "document")


@pytest.mark.parametrize("name", ["a.run", "a.trec.gz", "a.jsonl"])
def test_outputs(name: str) -> None:
    assert check_output(name) == Path(name)
