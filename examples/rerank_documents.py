"""Ranking documents for a query: by predict and sorting, or by rank in one call."""

from __future__ import annotations

import numpy as np
from shared import arguments, questions

from rankwright import CrossEncoder

args = arguments(__doc__)
cross_encoder = CrossEncoder(args.model, num_labels=1, seed=12)


def rerank_with_cross_encoder(query, documents):
    """(document, score) pairs, best first."""
    query_doc_pairs = [(query, doc) for doc in documents]
    scores = cross_encoder.predict(query_doc_pairs)
    doc_score_pairs = list(zip(documents, scores, strict=True))
    return sorted(doc_score_pairs, key=lambda x: x[1], reverse=True)


query = "自行车轮胎扎破了怎么补?"
docs = questions("zh")["answer"][:4]
ranked_docs = rerank_with_cross_encoder(query, docs)
for doc, score in ranked_docs:
    print(f"得分: {score:.4f} - 文档: {doc}")

# The same in one call, which also gives each document's place in the list it came from
hits = cross_encoder.rank(query, docs, return_documents=True, top_k=3)
assert [hit["text"] for hit in hits] == [doc for doc, _ in ranked_docs[:3]]
assert all(docs[hit["corpus_id"]] == hit["text"] for hit in hits)
assert np.isclose(hits[0]["score"], ranked_docs[0][1])
