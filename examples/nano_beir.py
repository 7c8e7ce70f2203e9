"""Judging a reranker on NanoBEIR: small search tasks whose candidates BM25 has found.

Without ``dataset_id`` the evaluator reads the data from the hub. Here it reads a folder in the same
layout, made from the example questions, so that nothing is downloaded.
"""

from __future__ import annotations

import json
from pathlib import Path

from shared import arguments, questions

from rankwright import BM25, retrieve

LANGUAGES = {"NanoMSMARCO": "en", "NanoNFCorpus": "vi", "NanoNQ": "zh"}


def local_nano_beir(output: str) -> str:
    """Writes the folder: one data set per language, under the names of three of NanoBEIR's."""
    folder = Path(output) / "nano-beir"
    for dataset, language in LANGUAGES.items():
        asked, others = questions(language, held_out=True), questions(language)
        queries = {f"q{i}": text for i, text in enumerate(asked["question"])}
        answers = [*asked["answer"], *others["answer"]]
        corpus = {f"d{i}": text for i, text in enumerate(answers)}
        found = retrieve(BM25(), corpus, queries, k=10)
        _write(folder, "queries", dataset, [{"_id": k, "text": v} for k, v in queries.items()])
        _write(folder, "corpus", dataset, [{"_id": k, "text": v} for k, v in corpus.items()])
        judged = [{"query-id": f"q{i}", "corpus-id": f"d{i}"} for i in range(len(asked))]
        _write(folder, "qrels", dataset, judged)
        lists = [{"query-id": q, "corpus-ids": list(hits)} for q, hits in found.items()]
        _write(folder, "bm25", dataset, lists)
    return str(folder)


def _write(folder: Path, subset: str, dataset: str, lines: list[dict]) -> None:
    path = folder / subset / f"{dataset}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    from rankwright import CrossEncoder
    from rankwright.cross_encoder.evaluation import CrossEncoderNanoBEIREvaluator

    args = arguments(__doc__)
    model = CrossEncoder(args.model, num_labels=1, seed=12)
    dev_evaluator = CrossEncoderNanoBEIREvaluator(
        dataset_names=["msmarco", "nfcorpus", "nq"], dataset_id=local_nano_beir(args.output)
    )
    results = dev_evaluator(model)
    for name, value in results.items():
        if name.startswith("NanoBEIR"):
            print(f"{name}: {value:.4f}")
