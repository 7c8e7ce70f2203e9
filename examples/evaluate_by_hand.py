"""Measures by hand, beside those of this library: NDCG, reciprocal rank, precision and recall."""

from __future__ import annotations

import numpy as np
from shared import arguments, questions
from sklearn.metrics import auc, ndcg_score, precision_recall_curve

from rankwright import CrossEncoder, evaluate_run

args = arguments(__doc__)


def evaluate_reranker(relevance, predictions):
    """Measures of one query: which documents are relevant, and what the model gave them."""
    sorted_relevance = relevance[np.argsort(predictions)[::-1]]
    mrr = 0.0
    for i, rel in enumerate(sorted_relevance):
        if rel > 0:
            mrr = 1.0 / (i + 1)
            break
    ndcg = ndcg_score([relevance], [predictions])
    precision, recall, _ = precision_recall_curve(relevance, predictions)
    return {"NDCG": ndcg, "MRR": mrr, "PR AUC": auc(recall, precision)}


model = CrossEncoder(args.model, num_labels=1, activation_fn="identity", seed=12)
data = questions("en").select(range(8))
documents = data["answer"][:]
by_hand = []
run: dict[str, dict[str, float]] = {}
for i, query in enumerate(data["question"]):
    predictions = np.asarray(model.predict([(query, document) for document in documents]))
    relevance = np.array([float(i == j) for j in range(len(documents))])
    by_hand.append(evaluate_reranker(relevance, predictions))
    run[f"q{i}"] = {f"d{j}": float(score) for j, score in enumerate(predictions)}

print("By hand:")
for metric in by_hand[0]:
    print(f"{metric}: {np.mean([found[metric] for found in by_hand]):.4f}")

# The same from judgements and a run, as trec_eval computes them, for any number of queries.
qrels = {f"q{i}": {f"d{i}": 1} for i in range(len(documents))}
evaluation = evaluate_run(qrels, run, ["nDCG@8", "RR@8"])
print("evaluate_run:", {name: round(value, 4) for name, value in evaluation.mean.items()})
assert np.isclose(evaluation.mean["nDCG@8"], np.mean([found["NDCG"] for found in by_hand]))
assert np.isclose(evaluation.mean["RR@8"], np.mean([found["MRR"] for found in by_hand]))
