from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from rankwright.errors import (
    ColumnError,
    DataNotFoundError,
    EmptyDataError,
    InputError,
    UnknownIdError,
)
from rankwright.evaluation import CrossEncoderNanoBEIREvaluator
from tests.evaluation.stubs import StubModel, hashed

Rows = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def world(name: str, seed: int) -> dict[str, Rows]:
    """A data set of 12 queries and 40 documents; BM25 misses some relevant ones."""
    rng = np.random.default_rng(seed)
    documents = [f"{name} document {i}" for i in range(40)]
    queries = [f"{name} query {i}" for i in range(12)]
    qrels: Rows = []
    bm25: Rows = []
    for q in range(len(queries)):
        for d in rng.choice(40, int(rng.integers(1, 4)), replace=False):
            qrels.append({"query-id": f"q{q}", "corpus-id": f"d{d}"})
        listed = [f"d{d}" for d in rng.choice(40, 25, replace=False)]
        bm25.append({"query-id": f"q{q}", "corpus-ids": listed})
    return {
        "corpus": [{"_id": f"d{i}", "text": text} for i, text in enumerate(documents)],
        "queries": [{"_id": f"q{i}", "text": text} for i, text in enumerate(queries)],
        "qrels": qrels,
        "bm25": bm25,
    }


def write(folder: Path, worlds: dict[str, dict[str, Rows]], kind: str = "jsonl") -> str:
    """A local folder; ``hub`` writes what a repository of the hub holds, with its README."""
    configs: dict[str, list[str]] = {}
    for split, subsets in worlds.items():
        for subset, rows in subsets.items():
            (folder / subset).mkdir(parents=True, exist_ok=True)
            if kind == "jsonl":
                text = "".join(json.dumps(row) + "\n" for row in rows)
                (folder / subset / f"{split}.jsonl").write_text(text, encoding="utf-8")
                continue
            part = f"{subset}/{split}-00000-of-00001.parquet"
            # The files of a hub copy are found through its README alone.
            part = part if kind == "parquet" else f"data_{part}"
            (folder / part).parent.mkdir(exist_ok=True)
            datasets.Dataset.from_list(rows).to_parquet(folder / part)
            configs.setdefault(subset, []).append(f"  - split: {split}\n    path: {part}\n")
    if kind == "hub":
        lines = [f"- config_name: {k}\n  data_files:\n{''.join(v)}" for k, v in configs.items()]
        (folder / "README.md").write_text(f"---\nconfigs:\n{''.join(lines)}---\n")
    return str(folder)


WORLDS = {"NanoMSMARCO": world("m", 0), "NanoSciFact": world("s", 1)}
NAMES = ["msmarco", "SciFact"]


def by_hand(subsets: dict[str, Rows], rerank_k: int, at_k: int, always: bool) -> dict[str, float]:
    """MAP, MRR@k and NDCG@k of BM25's order and of the order by ``hashed``."""
    text = {row["_id"]: row["text"] for row in subsets["corpus"]}
    relevant: dict[str, set[str]] = {}
    for row in subsets["qrels"]:
        relevant.setdefault(row["query-id"], set()).add(text[row["corpus-id"]])
    sums = dict.fromkeys(("map", "mrr", "ndcg", "base_map", "base_mrr", "base_ndcg"), 0.0)
    for row, query in zip(subsets["bm25"], subsets["queries"], strict=True):
        assert row["query-id"] == query["_id"]
        positive = relevant[row["query-id"]]
        listed = [text[i] for i in row["corpus-ids"][:rerank_k]]
        ranked = sorted(
            {*listed, *positive} if always else listed, key=lambda d: -hashed(query["text"], d)
        )
        for start, ranking in (("base_", listed), ("", ranked)):
            ranks = [rank for rank, d in enumerate(ranking, 1) if d in positive]
            ap = sum(i / rank for i, rank in enumerate(ranks, 1)) / len(positive)
            ideal = sum(1 / math.log2(r + 1) for r in range(1, min(at_k, len(positive)) + 1))
            gained = sum(1 / math.log2(r + 1) for r in ranks if r <= at_k)
            sums[f"{start}map"] += ap
            sums[f"{start}mrr"] += 1 / ranks[0] if ranks and ranks[0] <= at_k else 0.0
            sums[f"{start}ndcg"] += gained / ideal
    count = len(subsets["queries"])
    return {
        key if key.endswith("map") else f"{key}@{at_k}": value / count
        for key, value in sums.items()
    }


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "hub"])
@pytest.mark.parametrize(("rerank_k", "at_k", "always"), [(100, 10, True), (5, 3, False)])
def test_values(tmp_path: Path, kind: str, rerank_k: int, at_k: int, always: bool) -> None:
    evaluator = CrossEncoderNanoBEIREvaluator(
        NAMES,
        write(tmp_path / "nano", WORLDS, kind),
        rerank_k=rerank_k,
        at_k=at_k,
        always_rerank_positives=always,
    )
    results = evaluator(StubModel(hashed))
    expected = {split: by_hand(world, rerank_k, at_k, always) for split, world in WORLDS.items()}
    wanted = {
        f"{split}_R{rerank_k}_{key}": value
        for split, values in expected.items()
        for key, value in values.items()
    }
    for key in expected["NanoMSMARCO"]:
        mean = (expected["NanoMSMARCO"][key] + expected["NanoSciFact"][key]) / 2
        wanted[f"NanoBEIR_R{rerank_k}_mean_{key}"] = mean
    assert results.keys() == wanted.keys()
    for key, value in wanted.items():
        assert results[key] == pytest.approx(value, abs=1e-12), key
    assert evaluator.primary_metric == f"NanoBEIR_R{rerank_k}_mean_ndcg@{at_k}"
    assert evaluator.primary_metric in results


@pytest.mark.peer
def test_parity(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = pytest.importorskip("sentence_transformers.cross_encoder.evaluation")
    # Every relevant document is listed: for missed ones the values differ on purpose.
    full = {split: world(split, seed) for seed, split in enumerate(WORLDS)}
    for subsets in full.values():
        for row in subsets["bm25"]:
            missed = [r["corpus-id"] for r in subsets["qrels"] if r["query-id"] == row["query-id"]]
            row["corpus-ids"] = list(dict.fromkeys(row["corpus-ids"][:8] + missed))
    folder = write(tmp_path / "nano", full, "hub")
    results, logs, files, cards, configs = [], [], [], [], []
    for cls in (peer.CrossEncoderNanoBEIREvaluator, CrossEncoderNanoBEIREvaluator):
        model, out = StubModel(hashed), tmp_path / cls.__module__
        evaluator = cls(NAMES, folder, aggregate_fn=np.median, aggregate_key="median")
        caplog.clear()
        with caplog.at_level(logging.INFO):
            results.append(evaluator(model, str(out), 1, 20))
        logs.append([r.getMessage() for r in caplog.records if "evaluation" in r.name])
        files.append({p.name: p.read_text().splitlines() for p in out.iterdir()})
        cards.append([entry[1:] for entry in model.model_card_data.stored])
        configs.append((evaluator.get_config_dict(), evaluator.csv_headers, evaluator.csv_file))
        assert evaluator.primary_metric == "NanoBEIR_R100_median_ndcg@10"
    assert list(results[1]) == list(results[0])
    assert results[1] == pytest.approx(results[0], abs=1e-9)
    assert logs[1] == logs[0]
    assert cards[1] == cards[0]
    assert configs[1] == configs[0]
    assert files[1].keys() == files[0].keys()
    for name, theirs in files[0].items():
        assert files[1][name][0] == theirs[0]
        ours = [float(x) for x in files[1][name][1].split(",")]
        assert ours == pytest.approx([float(x) for x in theirs[1].split(",")], abs=1e-9)


def test_csv_and_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    evaluator = CrossEncoderNanoBEIREvaluator(
        ["msmarco"], write(tmp_path / "nano", WORLDS), at_k=5, aggregate_key="all"
    )
    with caplog.at_level(logging.INFO):
        results = evaluator(StubModel(hashed), str(tmp_path / "out"), 2, 7)
    table = (tmp_path / "out" / "NanoBEIR_evaluation_all_results.csv").read_text().splitlines()
    assert table[0] == "epoch,steps,MAP,MRR@5,NDCG@5"
    values = [float(value) for value in table[1].split(",")]
    assert values == [
        2,
        7,
        *(results[f"NanoBEIR_R100_all_{m}"] for m in ("map", "mrr@5", "ndcg@5")),
    ]
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "NanoBEIR_evaluation_all_results.csv",
        "CrossEncoderRerankingEvaluator_NanoMSMARCO_R100_results_@5.csv",
    }
    messages = [record.getMessage() for record in caplog.records]
    start = "NanoBEIR Evaluation of the model on ['msmarco'] dataset in epoch 2 after 7 steps:"
    assert messages.index(start) < messages.index("Evaluating NanoMSMARCO_R100")
    last = messages[messages.index("CrossEncoderNanoBEIREvaluator: Aggregated Results:") :]
    assert last[1] == "        Base  -> Reranked"
    before, after = (results[f"NanoBEIR_R100_all_{m}"] * 100 for m in ("base_ndcg@5", "ndcg@5"))
    assert last[4] == f"NDCG@5: {before:.2f} -> {after:.2f}"
    off = CrossEncoderNanoBEIREvaluator(["msmarco"], str(tmp_path / "nano"), write_csv=False)
    off(StubModel(hashed), str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_what_the_model_is_asked(tmp_path: Path) -> None:
    model = StubModel(hashed)
    folder = write(tmp_path / "nano", WORLDS)
    CrossEncoderNanoBEIREvaluator(
        ["msmarco"], folder, rerank_k=3, always_rerank_positives=False, prompt_name="ask",
        batch_size=7,
    )(model)  # fmt: skip
    text = {row["_id"]: row["text"] for row in WORLDS["NanoMSMARCO"]["corpus"]}
    listed = {
        (f"m query {row['query-id'][1:]}", text[i])
        for row in WORLDS["NanoMSMARCO"]["bm25"]
        for i in row["corpus-ids"][:3]
    }
    assert set(model.calls[0]) <= listed
    assert model.options[0]["prompt_name"] == "ask"
    assert model.options[0]["batch_size"] == 7


def test_default_names_and_hub_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def load_dataset(name: str, subset: str, split: str, revision: str | None) -> Any:
        asked.append((name, subset, split, revision))
        return datasets.Dataset.from_list(world("x", 0)[subset])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    evaluator = CrossEncoderNanoBEIREvaluator(dataset_id="owner/NanoBEIR-sr", revision="abc")
    assert len(evaluator.dataset_names) == 11
    assert not {"arguana", "touche2020"} & set(evaluator.dataset_names)
    assert {entry[0] for entry in asked} == {"owner/NanoBEIR-sr"}
    assert {entry[3] for entry in asked} == {"abc"}
    assert [entry[2] for entry in asked[:4]] == ["NanoClimateFEVER"] * 4
    assert len(asked) == 44


def test_grades_scores_and_duplicate_texts(tmp_path: Path) -> None:
    subsets = world("g", 3)
    for row in subsets["qrels"]:
        row["score"] = 2
    subsets["qrels"].append({"query-id": "q0", "corpus-id": "d1", "score": 0})
    subsets["corpus"].append({"_id": "copy", "text": subsets["corpus"][2]["text"]})
    subsets["qrels"] += [{"query-id": "q0", "corpus-id": i, "score": g}
                         for i, g in (("d2", 3), ("copy", 1))]  # fmt: skip
    folder = write(tmp_path, {"NanoNQ": subsets})
    evaluator = CrossEncoderNanoBEIREvaluator(["nq"], folder)
    positive = evaluator.evaluators[0].samples[0]["positive"]
    assert positive["g document 2"] == 3
    assert positive["g document 1"] == 0
    assert 0 < evaluator(StubModel(hashed))["NanoBEIR_R100_mean_ndcg@10"] < 1


def test_a_query_bm25_found_nothing_for_counts(tmp_path: Path) -> None:
    subsets = world("g", 3)
    whole = CrossEncoderNanoBEIREvaluator(
        ["nq"], write(tmp_path / "a", {"NanoNQ": subsets}), always_rerank_positives=False
    )(StubModel(hashed))
    gone = {**subsets, "bm25": subsets["bm25"][1:]}
    found = CrossEncoderNanoBEIREvaluator(
        ["nq"], write(tmp_path / "b", {"NanoNQ": gone}), always_rerank_positives=False
    )
    assert len(found.evaluators[0].samples) == 12
    assert found(StubModel(hashed))["NanoNQ_R100_base_map"] < whole["NanoNQ_R100_base_map"]


def test_unjudged_queries_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    subsets = world("g", 3)
    subsets["qrels"] = [row for row in subsets["qrels"] if row["query-id"] != "q4"]
    evaluator = CrossEncoderNanoBEIREvaluator(["nq"], write(tmp_path, {"NanoNQ": subsets}))
    assert len(evaluator.evaluators[0].samples) == 11
    assert "1 queries of 'bm25' are not in 'qrels', such as 'q4'" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset_names": []}, "dataset_names is empty"),
        (
            {"dataset_names": ["msmarco", "trec"]},
            "has 'trec', which NanoBEIR does not.*climatefever",
        ),
        ({"dataset_names": ["NQ", "nq"]}, "twice"),
        ({"dataset_names": ["nq"], "rerank_k": 0}, "rerank_k is 0"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CrossEncoderNanoBEIREvaluator(**options)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "hub", WORLDS, "hub")
    with pytest.raises(InputError, match=r"'corpus', split 'NanoNQ'.*corpus, queries, qrels, bm25"):
        CrossEncoderNanoBEIREvaluator(["nq"], folder)
    without = {"NanoNQ": {k: v for k, v in world("n", 0).items() if k != "bm25"}}
    with pytest.raises(InputError, match=r"the subset 'bm25', split 'NanoNQ'"):
        CrossEncoderNanoBEIREvaluator(["nq"], write(tmp_path / "three", without, "hub"))
    with pytest.raises((InputError, DataNotFoundError), match=r"the subset 'corpus'"):
        CrossEncoderNanoBEIREvaluator(["nq"], str(tmp_path / "nowhere"))


def test_offline_hub_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*args: Any, **options: Any) -> Any:
        raise ConnectionError("Couldn't reach the hub")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataNotFoundError, match=r"reach the hub.*corpus/NanoNQ\.jsonl"):
        CrossEncoderNanoBEIREvaluator(["nq"], "owner/name")


def test_wrong_content_is_named(tmp_path: Path) -> None:
    good = world("n", 0)
    renamed = [{"id": row["_id"], "text": row["text"]} for row in good["corpus"]]
    with pytest.raises(ColumnError, match=r"'corpus'.*has the columns id, text.*needs _id"):
        CrossEncoderNanoBEIREvaluator(
            ["nq"], write(tmp_path / "a", {"NanoNQ": {**good, "corpus": renamed}})
        )
    with pytest.raises(UnknownIdError, match=r"NanoNQ: the id 'd\d+' is not in 'corpus'.*5 rows"):
        CrossEncoderNanoBEIREvaluator(
            ["nq"], write(tmp_path / "b", {"NanoNQ": {**good, "corpus": good["corpus"][:5]}})
        )
    strangers = [{"query-id": "z", "corpus-id": "d1"}]
    with pytest.raises(UnknownIdError, match="the id 'z' is not in 'queries'"):
        CrossEncoderNanoBEIREvaluator(
            ["nq"], write(tmp_path / "c", {"NanoNQ": {**good, "qrels": strangers}})
        )
    nothing = {**good, "qrels": [{"query-id": "q0", "corpus-id": "d1", "score": 0}]}
    with pytest.raises(EmptyDataError, match="relevant"):
        CrossEncoderNanoBEIREvaluator(["nq"], write(tmp_path / "d", {"NanoNQ": nothing}))
