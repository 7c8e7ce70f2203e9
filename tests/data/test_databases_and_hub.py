from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

from rankwright.data import LoadOptions, load_data
from rankwright.errors import (
    DataNotFoundError,
    EmptyDataError,
    FormatError,
    InputError,
    MissingDependencyError,
)

COLUMNS = {"query": ["a", "a", "b", "c"], "text": ["x", "y", "y", "z"], "label": [1, 0, 1, 1]}
WHOLE = {"dev_fraction": 0.0, "test_fraction": 0.0}


@pytest.fixture
def database(tmp_path: Path) -> str:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE clicks (q TEXT, d TEXT, clicked INTEGER)")
        rows = list(zip(*COLUMNS.values(), strict=True))
        connection.executemany("INSERT INTO clicks VALUES (?, ?, ?)", rows)
    connection.close()
    return f"sqlite:///{path}"


def test_sql(database: str) -> None:
    sql = "SELECT q AS query, d AS document, clicked AS label FROM clicks WHERE q <> ':name %s'"
    data = load_data(database, LoadOptions(sql=sql, **WHOLE))
    assert data.queries == {"q0": "a", "q1": "b", "q2": "c"}
    assert data.qrels == {"train": {"q0": {"d0": 1, "d1": 0}, "q1": {"d1": 1}, "q2": {"d2": 1}}}
    assert data.source == database


@pytest.mark.parametrize(
    ("sql", "kind", "message"),
    [
        (None, InputError, "pass --sql"),
        ("SELECT * FROM absent", FormatError, "no such table: absent"),
        ("SELEC", FormatError, "syntax error"),
        ("SELECT q, d FROM clicks WHERE 0", EmptyDataError, "returned no rows"),
        ("CREATE TABLE t (x TEXT)", InputError, "must be a SELECT"),
        ("SELECT q AS query, NULL AS text FROM clicks", EmptyDataError, "'text': row 1"),
    ],
)
def test_sql_errors(database: str, sql: str | None, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        load_data(database, LoadOptions(sql=sql))


def test_a_missing_database_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="does not exist"):
        load_data(f"sqlite:///{tmp_path / 'none.db'}", LoadOptions(sql="SELECT 1"))
    assert list(tmp_path.iterdir()) == []


def test_bad_addresses() -> None:
    for address in ("https://example.org/data.csv", "nosuch://host/db"):
        with pytest.raises(InputError, match="no database that SQLAlchemy knows"):
            load_data(address, LoadOptions(sql="SELECT 1"))
    with pytest.raises(InputError, match="malformed") as caught:
        load_data("postgresql://user:secret@host:port/db", LoadOptions(sql="SELECT 1"))
    assert "secret" not in str(caught.value)


def test_missing_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sqlalchemy", "datasets", "pyarrow"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=r"rankwright\[sql\]"):
        load_data("sqlite:///x.db", LoadOptions(sql="SELECT 1"))
    with pytest.raises(MissingDependencyError, match=r"'datasets'.*rankwright\[train\]"):
        load_data("owner/name")
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingDependencyError, match="'pyarrow'"):
        load_data(tmp_path / "x.parquet")


class FakeHub:
    """Stands in for load_dataset and keeps what it was called with."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((args, kwargs))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub(datasets.Dataset.from_dict(COLUMNS))
    monkeypatch.setattr(datasets, "load_dataset", fake)
    return fake


def test_hub_passes_everything_on_and_trusts_nothing(hub: FakeHub) -> None:
    options = LoadOptions(subset="pair", split="train[:4]", revision="abc", token="t", **WHOLE)
    data = load_data("owner/name", options)
    assert hub.calls == [
        (("owner/name", "pair"), {"split": "train[:4]", "revision": "abc", "token": "t"})
    ]
    assert data.qrels == {"train": {"q0": {"d0": 1, "d1": 0}, "q1": {"d1": 1}, "q2": {"d2": 1}}}
    assert data.source == "owner/name"


def test_hub_with_all_splits(hub: FakeHub) -> None:
    whole = datasets.Dataset.from_dict(COLUMNS)
    hub.answer = datasets.DatasetDict(
        {"validation": whole.select([2]), "train": whole, "extra": whole.select([3])}
    )
    data = load_data("name", LoadOptions(test_fraction=0.3))
    assert list(data.qrels) == ["train", "dev", "test", "extra"]
    assert {split: len(judged) for split, judged in data.qrels.items()} == {
        "train": 2, "dev": 1, "test": 1, "extra": 1}  # fmt: skip


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (FileNotFoundError("Dataset 'o/n' doesn't exist"), DataNotFoundError, "Check the spelling"),
        (ConnectionError("offline"), DataNotFoundError, "offline"),
        (ValueError("Unknown split 'x'"), InputError, "Unknown split 'x'.*--split"),
        (
            ValueError("Config name is missing.\nPick one"),
            InputError,
            "missing. Pick one.*--subset",
        ),
    ],
)
def test_hub_errors(hub: FakeHub, error: Exception, kind: type[Exception], message: str) -> None:
    hub.answer = error
    with pytest.raises(kind, match=message):
        load_data("o/n")


def test_a_misspelt_folder_is_suggested_beside_the_hub_error(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "medquad").mkdir()
    monkeypatch.chdir(tmp_path)
    hub.answer = FileNotFoundError("no such data set")
    with pytest.raises(DataNotFoundError, match=r"Did you mean medquad\?"):
        load_data("medqaud")


def test_what_is_on_disk_is_not_looked_up(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "name").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FormatError, match="holds nothing"):
        load_data("name")
    assert hub.calls == []


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_local_copy_of_a_hub_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "repository" / "data"
    folder.mkdir(parents=True)
    for split, rows in {"train": [0, 1, 2], "test": [3]}.items():
        part = datasets.Dataset.from_dict(COLUMNS).select(rows)
        name = str(folder / f"{split}-00000-of-00001.{kind}")
        part.to_json(name) if kind == "jsonl" else part.to_parquet(name)
    data = load_data(tmp_path / "repository", LoadOptions(dev_fraction=0))
    assert data.qrels == {
        "train": {"q0": {"d0": 1, "d1": 0}, "q1": {"d1": 1}},
        "test": {"q2": {"d2": 1}},
    }


def test_saved_to_disk(tmp_path: Path) -> None:
    whole = datasets.Dataset.from_dict(COLUMNS)
    whole.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": whole, "validation": whole.select([3])}).save_to_disk(
        tmp_path / "many"
    )
    assert load_data(tmp_path / "one", LoadOptions(**WHOLE)).qrels["train"]["q0"] == {
        "d0": 1, "d1": 0}  # fmt: skip
    many = load_data(tmp_path / "many", LoadOptions(test_fraction=0))
    assert {split: len(judged) for split, judged in many.qrels.items()} == {"train": 3, "dev": 1}
    for file in (tmp_path / "one").glob("*.arrow"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(FormatError, match="cannot be read"):
        load_data(tmp_path / "one")
