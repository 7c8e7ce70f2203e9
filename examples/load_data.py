"""Where training data comes from: CSV, JSON Lines, Parquet, SQL, lists, and the hub.

Columns called label, labels, score or scores hold labels; all others are texts, and their order
decides which is the query.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from datasets import Dataset, load_dataset
from shared import DATA, arguments

args = arguments(__doc__)
folder = Path(args.output)
folder.mkdir(parents=True, exist_ok=True)

# Files, as the `datasets` library reads them. Data sets of the hub have the same interface:
# load_dataset("sentence-transformers/natural-questions", split="train")
cache = str(folder / "cache")
from_csv = load_dataset(
    "csv", data_files=str(DATA / "similarity.csv"), split="train", cache_dir=cache
)
from_json = load_dataset(
    "json", data_files=str(DATA / "questions.jsonl"), split="train", cache_dir=cache
)
from_json.to_parquet(folder / "questions.parquet")
from_parquet = load_dataset(
    "parquet", data_files=str(folder / "questions.parquet"), split="train", cache_dir=cache
)

# A database: any SELECT.
with sqlite3.connect(folder / "questions.db") as connection:
    connection.execute("DROP TABLE IF EXISTS questions")
    connection.execute("CREATE TABLE questions (question TEXT, answer TEXT, language TEXT)")
    rows = [tuple(row.values()) for row in from_json]
    connection.executemany("INSERT INTO questions VALUES (?, ?, ?)", rows)
from_sql = Dataset.from_sql(
    "SELECT question, answer FROM questions WHERE language = 'vi'",
    f"sqlite:///{folder / 'questions.db'}",
    cache_dir=cache,
)

# Lists, where the data needs work first.
queries, documents = [], []
for line in (DATA / "questions.jsonl").read_text(encoding="utf-8").splitlines():
    row = json.loads(line)
    if row["language"] == "zh":
        queries.append(row["question"].rstrip("?"))
        documents.append(row["answer"])
from_lists = Dataset.from_dict({"query": queries, "document": documents})

# Columns that no loss should see must go; a wrong order is put right in the same way.
ready = from_parquet.remove_columns(["language"]).select_columns(["question", "answer"])

for name, dataset in (
    ("CSV", from_csv),
    ("JSON Lines", from_json),
    ("Parquet", from_parquet),
    ("SQL", from_sql),
    ("lists", from_lists),
    ("ready to train on", ready),
):
    print(f"{name}: {len(dataset)} rows, columns {', '.join(dataset.column_names)}")
assert len(from_sql) == 10
