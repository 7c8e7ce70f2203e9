"""One run of the loss benchmark: the same rows and the same steps, whatever the loss.

Every set is cut down to a size that one core works through in about a minute. The first stage is
BM25, or BM25 over the candidates that came with the data. Test and dev queries never change;
the seed decides the training queries, their negatives, the new head, the order and dropout.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rankwright.data import content_hash, load_data
from rankwright.data.types import Qrels, RankingData, Run
from rankwright.evaluation import evaluate_run, rerank_run, tune_fusion
from rankwright.mining import BM25, MiningOptions, mine, retrieve
from rankwright.recipes.demo import minilm_folder

__all__ = ["LOSSES", "SETS", "LossChoice", "Prepared", "SetSize", "Settings", "prepare", "run"]

MEASURE = "nDCG@10"


@dataclass(frozen=True)
class SetSize:
    """How much of a data set is used.

    Attributes:
        max_length: Most tokens of a pair.
        train: Training queries, each with one relevant document and its negatives.
    """

    max_length: int
    train: int


SETS = {
    "nl2bash": SetSize(max_length=64, train=256),
    "medquad": SetSize(max_length=80, train=256),
    "policyqa": SetSize(max_length=80, train=256),
}


@dataclass(frozen=True)
class Settings:
    """What all runs have in common.

    Attributes:
        hard: Mined negatives per row, drawn from the first stage's results.
        random: Negatives per row that are drawn from the whole corpus.
        queries_per_step: Rows in a step.
        learning_rate: Highest rate; it rises over the first tenth and then falls to 0.
        depth: Candidates per query that are reranked.
        dev: Dev queries; they choose the weight of the first stage and nothing else.
        test: Test queries.
        steps: Steps of training; all rows once unless given.
    """

    hard: int = 2
    random: int = 1
    queries_per_step: int = 8
    learning_rate: float = 2e-4
    depth: int = 15
    dev: int = 40
    test: int = 100
    steps: int | None = None

    @property
    def negatives(self) -> int:
        """Negatives beside each relevant document."""
        return self.hard + self.random


@dataclass(frozen=True)
class LossChoice:
    """A loss as the benchmark uses it.

    Attributes:
        title: Name in the table.
        loss: Public name of the class.
        options: Its arguments beside the model.
        in_batch: The random negatives come from the other rows of the step.
        weighs_positives: One relevant pair counts as much as its negatives together.
    """

    title: str
    loss: str
    options: dict[str, Any] = field(default_factory=dict)
    in_batch: bool = False
    weighs_positives: bool = False


LOSSES = {
    "bce": LossChoice("binary cross-entropy", "BinaryCrossEntropyLoss", weighs_positives=True),
    "mnrl": LossChoice("multiple negatives", "MultipleNegativesRankingLoss", in_batch=True),
    "group-softmax": LossChoice("group softmax", "GroupSoftmaxLoss"),
    "listnet": LossChoice("ListNet", "ListNetLoss"),
    "lambda": LossChoice("LambdaLoss (NDCG-2++)", "LambdaLoss"),
    "ranknet": LossChoice("RankNet", "RankNetLoss"),
    "listmle": LossChoice("ListMLE", "ListMLELoss"),
    "adr-mse": LossChoice("ADR-MSE", "ADRMSELoss"),
}


@dataclass(frozen=True)
class Prepared:
    """A data set, cut down, with its first stage.

    Attributes:
        name: Of the set.
        data: All texts; judgements of the chosen dev and test queries and of all train queries.
        dev: Candidates of the dev queries.
        test: Candidates of the test queries.
        stage: The first stage, indexed.
    """

    name: str
    data: RankingData
    dev: Run
    test: Run
    stage: BM25


def prepare(name: str, data: RankingData, settings: Settings) -> Prepared:
    """Cuts a data set down and searches it. The same on every run."""
    qrels = {split: _with_answers(judged) for split, judged in data.qrels.items()}
    for split, most in (("dev", settings.dev), ("test", settings.test)):
        qrels[split] = {q: qrels[split][q] for q in _sample(qrels[split], most, 0)}
    chosen = RankingData(data.queries, data.corpus, qrels, candidates=data.candidates)
    stage = BM25(language="english")
    runs = {s: _candidates(stage, chosen, s, qrels[s], settings.depth) for s in ("dev", "test")}
    return Prepared(name, chosen, runs["dev"], runs["test"], stage)


def _with_answers(judged: Qrels) -> Qrels:
    return {q: docs for q, docs in judged.items() if any(grade > 0 for grade in docs.values())}


def _sample(queries: Iterable[str], most: int, seed: int) -> list[str]:
    return sorted(queries, key=lambda query: content_hash([seed, query]))[:most]


def _candidates(
    stage: BM25, data: RankingData, split: str, queries: Iterable[str], depth: int
) -> Run:
    """BM25's best documents; of the given candidates only, where the data names some."""
    given = data.candidates.get(split, {})
    texts = {query: data.queries[query] for query in queries}
    # All of a small corpus, so that none of the given candidates is missed.
    found = retrieve(stage, data.corpus, texts, len(data.corpus) if given else depth)
    run: Run = {}
    for query, hits in found.items():
        allowed = given.get(query, hits)
        # Those without a common word come last, as BM25 gives them 0.
        scores = {**dict.fromkeys(allowed, 0.0), **{d: s for d, s in hits.items() if d in allowed}}
        best = sorted(scores, key=lambda d: (-scores[d], content_hash([query, d])))[:depth]
        run[query] = {document: scores[document] for document in best}
    return run


def training_rows(prepared: Prepared, settings: Settings, seed: int) -> list[dict[str, Any]]:
    """Rows with ``query`` and ``documents``: the relevant one, mined ones, random ones."""
    data, size = prepared.data, SETS[prepared.name]
    queries = _sample(data.qrels["train"], size.train + size.train // 10, seed)
    judged = {query: data.qrels["train"][query] for query in queries}
    deep = 10 * settings.hard + 20
    run = _candidates(prepared.stage, data, "train", queries, deep)
    options = MiningOptions(
        num_negatives=settings.hard,
        range_max=10 * settings.hard,
        sampling_strategy="random",
        seed=seed,
    )
    mined = mine(run, judged, options, corpus=data.corpus, random_negatives=settings.random)
    rows = []
    for query, documents in mined.items():
        if len(documents) == settings.negatives and len(rows) < size.train:
            relevant = max(judged[query], key=lambda d: judged[query][d])
            texts = [data.corpus[document] for document in (relevant, *documents)]
            rows.append({"query": data.queries[query], "documents": texts})
    return rows


def columns(
    rows: list[dict[str, Any]], choice: LossChoice, settings: Settings
) -> list[dict[str, Any]]:
    """The rows as a loss takes them."""
    if not choice.in_batch:
        labels = [1.0] + [0.0] * settings.negatives
        return [{**row, "labels": labels} for row in rows]
    return [
        {
            "query": row["query"],
            "positive": row["documents"][0],
            **{f"negative_{i}": row["documents"][i] for i in range(1, settings.hard + 1)},
        }
        for row in rows
    ]


def run(prepared: Prepared, choice: LossChoice, seed: int, settings: Settings) -> dict[str, Any]:
    """Trains once and judges on the test queries; plain values."""
    import torch
    from datasets import Dataset
    from transformers import set_seed

    import rankwright
    from rankwright import CrossEncoder, CrossEncoderTrainer

    set_seed(seed)
    size = SETS[prepared.name]
    rows = training_rows(prepared, settings, seed)
    model = CrossEncoder(
        minilm_folder(), num_labels=1, max_length=size.max_length, precision="float32", seed=seed
    )
    options = dict(choice.options)
    if choice.in_batch:
        options |= {"num_negatives": settings.random, "seed": seed}
    if choice.weighs_positives:
        options["pos_weight"] = float(settings.negatives)
    loss = getattr(rankwright, choice.loss)(model, **options)
    with tempfile.TemporaryDirectory() as folder:
        trainer = CrossEncoderTrainer(
            model=model,
            args=_arguments(folder, len(rows), settings, seed),
            train_dataset=Dataset.from_list(columns(rows, choice, settings)),
            loss=loss,
        )
        started = time.process_time()
        output = trainer.train()
        trained = time.process_time() - started
    started = time.process_time()
    judged = _judge(model, prepared, settings)
    return {
        "set": prepared.name,
        "loss": choice.loss,
        "title": choice.title,
        "seed": seed,
        "threads": torch.get_num_threads(),
        "rows": len(rows),
        "pairs": len(rows) * (1 + settings.negatives),
        "steps": output.global_step,
        "training_loss": output.training_loss,
        "cpu_seconds_training": trained,
        "cpu_seconds_evaluation": time.process_time() - started,
        **judged,
    }


def _arguments(folder: str, rows: int, settings: Settings, seed: int) -> Any:
    from rankwright import CrossEncoderTrainingArguments

    return CrossEncoderTrainingArguments(
        output_dir=str(Path(folder) / "checkpoints"),
        per_device_train_batch_size=settings.queries_per_step,
        max_steps=settings.steps or rows // settings.queries_per_step,
        learning_rate=settings.learning_rate,
        warmup_ratio=0.1,
        weight_decay=0.01,
        use_cpu=True,
        save_strategy="no",
        logging_steps=10**6,
        disable_tqdm=True,
        report_to="none",
        seed=seed,
    )


def _judge(model: Any, prepared: Prepared, settings: Settings) -> dict[str, Any]:
    """First stage, reranker, and both mixed, with the weight that did best on the dev queries."""
    data = prepared.data
    on = {
        split: rerank_run(
            model, run, data.queries, data.corpus, depth=settings.depth, show_progress_bar=False
        ).run
        for split, run in (("dev", prepared.dev), ("test", prepared.test))
    }
    tuned = tune_fusion(data.qrels["dev"], on["dev"], prepared.dev, MEASURE, name="BM25")
    systems = {
        "first_stage": prepared.test,
        "tuned": on["test"],
        "fused": tuned.fusion.apply(on["test"], prepared.test),
    }
    figures = {
        name: evaluate_run(data.qrels["test"], run, [MEASURE]).mean[MEASURE]
        for name, run in systems.items()
    }
    return {**figures, "fusion_weight": tuned.fusion.weight, "test_queries": len(prepared.test)}


def read(folder: Path, name: str) -> RankingData:
    """A data set by its folder's name."""
    return load_data(folder / name)
