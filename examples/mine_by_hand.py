"""The same idea in a few lines: for each question, the most similar wrong documents.

`mine_negatives.py` does this for whole data sets, with margins; this shows what happens inside.
"""

from __future__ import annotations

import numpy as np
from shared import arguments, questions
from sklearn.metrics.pairwise import cosine_similarity

from rankwright import EmbeddingModel

args = arguments(__doc__)


def generate_hard_negatives(query, positive_docs, embedding_model, corpus, top_k=5):
    """Documents of the corpus that are similar to the query and not among its answers."""
    query_embedding = embedding_model.encode([query])
    # For more than one query: encode the corpus once.
    corpus_embeddings = embedding_model.encode(corpus)
    similarities = cosine_similarity(query_embedding, corpus_embeddings)[0]
    hard_negatives = []
    for idx in np.argsort(similarities)[::-1]:
        doc = corpus[idx]
        if doc not in positive_docs:
            hard_negatives.append(doc)
            if len(hard_negatives) >= top_k:
                break
    return hard_negatives


data = questions("en")
embedding_model = EmbeddingModel(args.embedder)
query, answer = data[0]["question"], data[0]["answer"]
hard_negs = generate_hard_negatives(query, [answer], embedding_model, data["answer"][:])
print("Question:", query)
for doc in hard_negs:
    print("-", doc)
assert len(hard_negs) == 5
assert answer not in hard_negs
