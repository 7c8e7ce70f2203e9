"""The README and the pages of docs/ are true: their snippets run, their links and figures hold."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import metadata
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from benchmarks import demo_table
from benchmarks.markers import put_between_markers

from rankwright.data import LoadOptions, load_data
from tests.tiny import save_tiny, tiny_model
from tests.tiny_lm import CHAT, save_lm

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MAX_NOT_RUN = 2
# Frameworks too large for the development extra: their snippets run where they are installed.
LARGE = {"from rankwright.integrations.mteb import": "mteb"}

SERVERS: list[Any] = []
"""Servers that a page's snippets started."""

BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>not run|file): (?P<note>.+?) -->\n)?^```(?P<language>\w*)\n"
    r"(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# What a tiny random model needs to learn something from 40 queries. The pages show no such flags:
# real models start from better weights, and real data has more queries.
# They also lose more in int8 than trained ones.
FOR_TINY_MODELS = {
    "train": ["--epochs", "20", "--learning-rate", "2e-3", "--precision", "float32"],
    "export": ["--min-tau", "0", "--max-ndcg-drop", "1", "--max-difference", "1"],
    "verify": ["--min-tau", "0", "--max-ndcg-drop", "1", "--max-difference", "1"],
}
# Flags that the text around a file names, as options of the reader.
COLUMNS = {
    "clicks.csv": {"query_column": "search", "document_column": "page", "label_column": "clicked"}
}


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, the line it starts on, and the mark before it."""

    language: str
    text: str
    line: int
    mark: str | None
    note: str | None


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("text")) + 1
        yield Block(found["language"], found["text"], line, found["mark"], found["note"])


def test_every_block_is_found_and_of_a_known_kind() -> None:
    for page in PAGES:
        found = list(blocks(page))
        assert page.read_text(encoding="utf-8").count("```") == 2 * len(found), page.name
        for block in found:
            where = f"{page.name}, line {block.line}"
            assert block.language in ("python", "bash", "json", "csv", "yaml", "text"), where
            if block.language in ("json", "csv", "yaml"):
                assert block.mark == "file", f"{where}: nothing would read this block"


def test_hardly_anything_is_left_out() -> None:
    left_out = [block for page in PAGES for block in blocks(page) if block.mark == "not run"]
    assert len(left_out) <= MAX_NOT_RUN


# --- the world in which snippets run ----------------------------------------------------------

VERBS = "sort read write remove copy move open close search list".split()
NOUNS = "file data table row column index".split()


def build_world(folder: Path) -> None:
    """The files and models that the pages take for granted, all tiny."""
    write_beir(folder / "my-data")
    model, tokenizer = tiny_model("bert")
    model.base_model.save_pretrained(folder / "my-encoder")
    tokenizer.save_pretrained(folder / "my-encoder")
    save_tiny(folder / "rankwright-demo", "bert")
    save_lm(folder / "my-language-model", chat_template=CHAT)
    texts = ["sorted(list) returns a new list", "remove(path) removes a file", "copy(a, b) copies"]
    (folder / "docs.txt").write_text("\n".join(texts) + "\n", "utf-8")
    for name, rows in (("corpus.jsonl", 20), ("queries.jsonl", 3)):
        lines = (folder / "my-data" / name).read_text(encoding="utf-8").splitlines(True)
        (folder / name).write_text("".join(lines[:rows]), "utf-8")


def write_beir(folder: Path) -> None:
    """60 queries. An answer says "return"; for each there is a document that repeats the query's
    words and is no answer, which misleads BM25 and which even a tiny model learns to tell."""
    (folder / "qrels").mkdir(parents=True)
    names = [f"{verb} {noun}" for verb, noun in product(VERBS, NOUNS)]
    queries = [{"_id": f"q{i}", "text": f"how do i {name}"} for i, name in enumerate(names)]
    corpus = [{"_id": f"d{i}", "text": f"return {name} by number"} for i, name in enumerate(names)]
    corpus += [{"_id": f"x{i}", "text": f"{name} {name}"} for i, name in enumerate(names)]
    for name, rows in (("queries", queries), ("corpus", corpus)):
        text = "".join(json.dumps({"title": "", **row}) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, "utf-8")
    for split, numbers in (
        ("train", [i for i in range(60) if i % 7 not in (0, 3)]),
        ("dev", range(0, 60, 7)),
        ("test", range(3, 60, 7)),
    ):
        lines = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in numbers)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", "utf-8")


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a shell block, without comments and leading assignments."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words:
            yield words


def run_command(words: list[str], where: str) -> None:
    program, arguments = words[0].removeprefix(".venv/bin/"), words[1:]
    if program == "rankwright":
        from rankwright.cli.main import app

        if arguments[0] == "serve":
            start_server(arguments)
            return
        extra = FOR_TINY_MODELS.get(arguments[0], [])
        code = app([*arguments, *extra], prog_name="rankwright", standalone_mode=False)
        assert code in (None, 0), f"{where}: {shlex.join(words)} ended with exit code {code}"
    elif program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert set(arguments) <= set(targets), where
    elif program == "pip":
        extras = {extra for word in arguments for extra in re.findall(r"\[(.+?)\]", word)}
        assert extras <= set(metadata("rankwright").get_all("Provides-Extra") or []), where
    else:
        assert words[:3] == ["python3", "-m", "venv"], f"{where}: nothing checks {words}"


def start_server(arguments: list[str]) -> None:
    """`rankwright serve` beside the page's later snippets, which talk to it."""
    import uvicorn

    from rankwright.cli.main import app

    started: list[uvicorn.Server] = []

    def run(application: Any, **options: Any) -> None:
        options.pop("timeout_graceful_shutdown")
        server = uvicorn.Server(uvicorn.Config(application, **{**options, "log_level": "error"}))
        threading.Thread(target=server.run, daemon=True).start()
        started.append(server)

    with mock.patch("rankwright.serving.run.uvicorn.run", run):
        app([*arguments, "--port", PORT], prog_name="rankwright", standalone_mode=False)
    end = time.monotonic() + 20
    while not started[0].started:
        assert time.monotonic() < end, "the server did not start"
        time.sleep(0.05)
    SERVERS.extend(started)


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


PORT = free_port()
"""Stands for 8080, which may be taken on the machine that runs the tests."""


def run_file(block: Block, where: str) -> None:
    assert block.note is not None
    path = Path(block.note)
    path.write_text(block.text, "utf-8")
    if path.suffix == ".yaml":
        return  # a command further down reads it
    options = LoadOptions(dev_fraction=0, test_fraction=0, **COLUMNS.get(path.name, {}))
    data = load_data(path, options)
    rows = block.text.strip().count("\n") + (path.suffix == ".jsonl")
    judged = sum(len(documents) for documents in data.qrels["train"].values())
    assert judged == rows, f"{where}: {judged} of {rows} rows were understood"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_snippet_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build_world(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")
    namespace: dict[str, Any] = {"__name__": "snippet"}
    for block in blocks(page):
        where = f"{page.name}, line {block.line}"
        if block.mark == "not run" or block.language == "text":
            continue
        needs = [name for text, name in LARGE.items() if text in block.text]
        if any(importlib.util.find_spec(name) is None for name in needs):
            continue
        if block.language == "python":
            # the page's own line numbers in tracebacks
            source = "\n" * (block.line - 1) + block.text.replace("8080", PORT)
            exec(compile(source, str(page), "exec"), namespace)
        elif block.language == "bash":
            for words in commands(block.text):
                run_command(words, where)
        else:
            run_file(block, where)
    for server in SERVERS:
        server.should_exit = True
    SERVERS.clear()
    written = {path.name for path in tmp_path.iterdir()}
    if page.name == "quickstart.md":
        made = {"my-reranker", "my-second-reranker", "my-own-reranker", "my.run", "lists.parquet"}
        assert made <= written
        results = json.loads((tmp_path / "my-reranker" / "results.json").read_text("utf-8"))
        shown = capsys.readouterr().out
        for row in results["rows"]:
            assert f"`{row['system']}`" in page.read_text("utf-8")
            assert row["system"] in shown


def test_flags_around_a_file_are_those_it_is_read_with() -> None:
    text = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    for columns in COLUMNS.values():
        for option, name in columns.items():
            assert f"--{option.replace('_', '-')} {name}" in text


def test_links_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if target.startswith("https://"):
                continue
            name, _, anchor = target.partition("#")
            path = page.parent / name if name else page
            assert path.exists() or path == demo_table.RESULTS, f"{page.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
                anchors = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
                assert anchor in anchors, f"{page.name}: {target}"


def test_files_that_the_pages_name_exist() -> None:
    places = [ROOT, ROOT / "src" / "rankwright"]
    for page in PAGES:
        named = re.findall(r"`?((?:[a-z_]+/)+[\w.-]*\w(?:\.py)?/?)`?", page.read_text("utf-8"))
        for name in named:
            if name.startswith(("tests/", "docs/", "benchmarks/", "src/")) or name.endswith(".py"):
                assert any((place / name).exists() for place in places) or (
                    ROOT / name == demo_table.RESULTS
                ), f"{page.name}: {name}"


# --- the demo's figures -----------------------------------------------------------------------


def demo_results() -> dict[str, Any]:
    def run(seed: int, tuned: float) -> dict[str, Any]:
        return {
            "seed": seed,
            "rows": [
                {"system": "BM25", "nDCG@10": 0.3, "AP": 0.25, "pairs_per_second": None},
                {"system": "tuned", "nDCG@10": tuned, "AP": 0.5, "pairs_per_second": 1000.0 * seed},
            ],
            "comparison": {
                "difference": tuned - 0.3,
                "ci_low": 0.01,
                "ci_high": 0.4,
                "queries": 300,
            },
            "seconds": 120.0 * seed,
        }

    return {
        "date": "2026-01-31",
        "machine": {"cpu": "Some CPU", "cores": 2},
        "runs": [run(1, 0.4), run(2, 0.5)],
    }


def test_the_table_is_made_from_the_results() -> None:
    lines = demo_table.render(demo_results()).splitlines()
    assert lines[0] == "| system | nDCG@10 | AP | pairs/s |"
    assert lines[2] == "| BM25, first stage | 0.300 | 0.250 |  |"
    assert lines[3] == "| **the reranker after training** | 0.450 | 0.500 | 1,500 |"
    assert "+0.100 (seed 1; 95 % interval +0.010 to +0.400), +0.200 (seed 2" in lines[5]
    assert "300 test queries; 3 minutes per run on 2 cores of Some CPU, 2026-01-31" in lines[7]


def test_the_readme_says_what_the_results_say() -> None:
    if not demo_table.RESULTS.is_file():
        assert "Not measured yet" in demo_table.README.read_text(encoding="utf-8")
        pytest.skip("benchmarks/results/demo.json is not there: the demo was not measured yet")
    results = json.loads(demo_table.RESULTS.read_text(encoding="utf-8"))
    assert not results["quick"]
    for readme in demo_table.READMES:
        put_between_markers(readme, demo_table.TABLE, demo_table.render(results), check=True)
