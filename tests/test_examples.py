"""Every program in examples/ runs on local data with tiny models, and does what it says."""

from __future__ import annotations

import ast
import json
import runpy
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwright import CrossEncoder
from tests.tiny import tiny_model

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
HELPERS = ("shared", "nano_beir")

Names = dict[str, Any]
Run = Callable[..., Names]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder without a head, which serves as embedding model as well."""
    folder = tmp_path_factory.mktemp("encoder")
    model, tokenizer = tiny_model("bert")
    model.base_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def run(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs an example as `python examples/NAME.py` would; returns its global names."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.chdir(tmp_path)

    def run_example(name: str, run_name: str = "__main__") -> Names:
        options = {"--model": encoder, "--embedder": encoder, "--output": tmp_path / "output"}
        words = [str(word) for option in options.items() for word in option]
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words, "--max-steps", "2"])
        for helper in HELPERS:
            monkeypatch.delitem(sys.modules, helper, raising=False)
        return runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name=run_name)

    return run_example


def differ(left: Path, right: Path) -> bool:
    """Whether two models give different scores: whether training did something."""
    pairs = [("how do i sort a list", "sort by name"), ("open the file", "read a row")]
    scores = [
        CrossEncoder(str(path), num_labels=1, seed=12).predict(pairs) for path in (left, right)
    ]
    return not np.allclose(scores[0], scores[1], atol=1e-6)


# --- data and models ---------------------------------------------------------------------------


def test_load_data(run: Run) -> None:
    found = run("load_data")
    sizes = {
        name: len(found[f"from_{name}"]) for name in ("csv", "json", "parquet", "sql", "lists")
    }
    assert sizes == {"csv": 16, "json": 44, "parquet": 44, "sql": 10, "lists": 10}
    assert found["ready"].column_names == ["question", "answer"]


def test_load_models(run: Run) -> None:
    found = run("load_models")
    assert found["model"].num_labels == 1
    assert found["scores"].shape == (1,)
    assert found["probabilities"].shape == (1, 3)
    assert found["probabilities"].sum() == pytest.approx(1)


def test_mine_negatives(run: Run) -> None:
    found = run("mine_negatives")
    rows = found["hard_train_dataset"]
    answers = {row["question"]: row["answer"] for row in found["train_dataset"]}
    labels = rows["label"][:]
    assert sum(labels) == len(answers)
    assert 0 in labels
    for row in rows:
        assert (row["answer"] == answers[row["question"]]) == bool(row["label"])
    assert {"question", "answer", "negative"} == set(found["by_words"].column_names)


def test_mine_by_hand(run: Run) -> None:
    found = run("mine_by_hand")
    assert len(set(found["hard_negs"])) == 5


# --- evaluation --------------------------------------------------------------------------------


def test_nano_beir(run: Run) -> None:
    results = run("nano_beir")["results"]
    assert 0 <= results["NanoBEIR_R100_mean_ndcg@10"] <= 1


def test_evaluate_reranking(run: Run) -> None:
    found = run("evaluate_reranking")
    assert set(found["results"]) == {
        f"bicycles-dev_{stage}{measure}"
        for stage in ("", "base_")
        for measure in ("map", "mrr@10", "ndcg@10")
    }
    assert len(found["samples"][0]["documents"]) == 12


def test_evaluate_similarity(run: Run) -> None:
    results = run("evaluate_similarity")["results"]
    assert -1 <= results["sts_dev_pearson"] <= 1


def test_evaluate_classes(run: Run) -> None:
    found = run("evaluate_classes")
    predicted = found["model"].predict(found["pairs"]).argmax(axis=1)
    share = np.mean(predicted == np.array(found["labels"]))
    accuracy = next(v for k, v in found["results"].items() if "accuracy" in k or "f1_micro" in k)
    assert accuracy == pytest.approx(share)


def test_evaluate_by_hand(run: Run) -> None:
    found = run("evaluate_by_hand")  # compares the two itself
    assert 0 < found["evaluation"].mean["RR@8"] <= 1


# --- ranking -----------------------------------------------------------------------------------


def test_rerank_documents(run: Run) -> None:
    found = run("rerank_documents")
    scores = [score for _, score in found["ranked_docs"]]
    assert scores == sorted(scores, reverse=True)


def test_retrieve_and_rerank(run: Run) -> None:
    found = run("retrieve_and_rerank")
    scores = [score for _, score in found["results"]]
    assert scores == sorted(scores, reverse=True)
    assert {doc for doc, _ in found["results"]} <= set(found["documents"])


def test_rag(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    found = run("rag")
    context, question = found["context"], found["args"].question
    assert 1 <= len(context) <= 3
    assert set(context) <= set(found["documents"])
    for number, text in enumerate(context, start=1):
        assert f"[{number}] {text}" in found["messages"][1]["content"]
    assert question in found["messages"][1]["content"]
    # The stand-in quotes the sentence that the reranker likes best.
    answer, number = found["answer"].removesuffix("]").rsplit(" [", 1)
    assert answer in context[int(number) - 1]
    sentences = [sentence for text in context for sentence in found["sentences"](text)]
    scores = found["reranker"].predict([(question, sentence) for sentence in sentences])
    assert answer == sentences[int(scores.argmax())]
    assert found["answer_question"]("xyzzy") == found["UNKNOWN"]  # no document has the word


def test_rag_asks_an_endpoint(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, self.headers["Authorization"], body))
            refused = body["messages"][1]["content"].startswith("Question: refuse")
            text = "Call the police. [1]"
            answer = {"choices": [{"message": {"role": "assistant", "content": text}}]}
            self.send_response(400 if refused else 200)
            self.end_headers()
            self.wfile.write(json.dumps({"error": "no"} if refused else answer).encode())

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1/")
            monkeypatch.setenv("OPENAI_API_KEY", "secret")
            found = run("rag")
            with pytest.raises(SystemExit, match="400.*no"):
                found["answer_question"]("refuse the chain")
        finally:
            server.shutdown()
            thread.join()
    assert found["answer"] == "Call the police. [1]"
    path, authorisation, body = asked[0]
    assert (path, authorisation) == ("/v1/chat/completions", "Bearer secret")
    assert body["messages"] == found["messages"]
    assert body["model"] == found["args"].llm


def test_serve_flask(run: Run, encoder: Path) -> None:
    pytest.importorskip("flask")
    app = run("serve_flask", run_name="serve_flask")["create_app"](str(encoder))
    client = app.test_client()
    documents = ["sort a list", "open the file", "copy a row"]
    answer = client.post("/rerank", json={"query": "how do i sort", "documents": documents})
    ranked = answer.get_json()["ranked_documents"]
    assert answer.status_code == 200
    assert sorted(hit["document"] for hit in ranked) == sorted(documents)
    assert [hit["score"] for hit in ranked] == sorted((h["score"] for h in ranked), reverse=True)
    for wrong in ({"query": "how do i sort"}, {"documents": documents}, {}):
        assert client.post("/rerank", json=wrong).status_code == 400
    assert client.post("/rerank", data="no json").status_code == 400


# --- training ----------------------------------------------------------------------------------


def test_fit_input_examples(run: Run, encoder: Path, tmp_path: Path) -> None:
    run("fit_input_examples")
    assert differ(encoder, tmp_path / "output")


def test_fit_rows(run: Run, tmp_path: Path) -> None:
    found = run("fit_rows")
    assert 0 <= found["cross_encoder"].best_score <= 1
    assert list((tmp_path / "output").glob("*.csv"))  # what the evaluator found


def test_mse_evaluator(run: Run, tmp_path: Path) -> None:
    found = run("mse_evaluator")
    model, examples = found["model"], found["examples"][12:]
    scores = model.predict([example.texts for example in examples])
    expected = np.mean((scores - np.array([example.label for example in examples])) ** 2)
    assert found["evaluator"](model) == pytest.approx(expected, abs=1e-5)
    table = (tmp_path / "output" / "mse_evaluation_similarity_results.csv").read_text("utf-8")
    lines = table.splitlines()
    assert lines[0] == "epoch,steps,mse"
    errors = [float(line.split(",")[2]) for line in lines[1:]]
    assert model.best_score == pytest.approx(min(errors))


def test_training_loop(run: Run, encoder: Path, tmp_path: Path) -> None:
    found = run("training_loop")
    assert found["step"] == 2
    assert differ(encoder, tmp_path / "output")


def test_plain_transformers(run: Run) -> None:
    found = run("plain_transformers")  # compares both libraries' scores itself
    assert found["trainer"].state.global_step == 2


def test_train_several_datasets(run: Run) -> None:
    assert len(run("train_several_datasets")["history"].losses) == 2


def test_train_with_corpus_evaluator(run: Run) -> None:
    results = run("train_with_corpus_evaluator")["results"]
    assert {"bicycles-zh_ndcg@3", "bicycles-zh_accuracy@1", "bicycles-zh_mrr@10"} <= set(results)


@pytest.mark.slow
def test_train_in_batch_negatives(run: Run, tmp_path: Path) -> None:
    found = run("train_in_batch_negatives")
    card = Path(found["final_output_dir"], "README.md").read_text(encoding="utf-8")
    assert "A reranker trained on questions about bicycles" in card


@pytest.mark.slow
def test_train_hard_negatives(run: Run, tmp_path: Path) -> None:
    run("train_hard_negatives")
    folder = tmp_path / "output" / "reranker-bicycles-bce"
    assert CrossEncoder(str(folder / "final")).num_labels == 1
    assert list(folder.glob("**/*bicycles-dev*.csv"))


@pytest.mark.slow
def test_multi_stage_training(run: Run, tmp_path: Path) -> None:
    run("multi_stage_training")
    assert (tmp_path / "output" / "final" / "model.safetensors").is_file()


@pytest.mark.slow
def test_distillation(run: Run, encoder: Path, tmp_path: Path) -> None:
    run("distillation")
    for name in ("distilled-scores", "distilled-margins"):
        assert differ(encoder, tmp_path / "output" / name)


# --- the folder --------------------------------------------------------------------------------


def programs() -> list[str]:
    return sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "shared")


def test_every_program_is_tested_and_listed() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for name in programs():
        assert f"test_{name}" in globals(), f"no test runs examples/{name}.py"
        assert readme.count(f"]({name}.py)") == 1, f"examples/README.md lacks {name}.py"


@pytest.mark.parametrize("name", programs())
def test_programs_say_what_they_show_and_import_no_peer(name: str) -> None:
    tree = ast.parse((EXAMPLES / f"{name}.py").read_text(encoding="utf-8"))
    assert len(ast.get_docstring(tree) or "") > 40
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert (
        any(module and module.startswith("rankwright") for module in imported)
        or name == "load_data"
    )
    assert not any(module and module.startswith("sentence_transformers") for module in imported)
