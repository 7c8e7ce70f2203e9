"""Search in two stages, as in retrieval-augmented generation: find by embeddings, then rerank."""

from __future__ import annotations

import numpy as np
from shared import arguments, rows
from sklearn.metrics.pairwise import cosine_similarity

from rankwright import CrossEncoder, EmbeddingModel

args = arguments(__doc__)

# 1. The knowledge base
documents = rows("questions.jsonl")["answer"][:]

# 2. The embedding model
embedding_model = EmbeddingModel(args.embedder)

# 3. Embeddings of the documents
document_embeddings = embedding_model.encode(documents)

# 4. The reranker
reranker = CrossEncoder(args.model, num_labels=1, seed=12)


def search(query, top_k=5):
    """(document, score) pairs of the best documents, best first.

    Args:
        query: What is asked.
        top_k: How many documents the first stage finds.
    """
    # Step 1: vector search
    query_embedding = embedding_model.encode([query])[0]
    similarities = cosine_similarity([query_embedding], document_embeddings)[0]
    top_indices = np.argsort(similarities)[-top_k:][::-1]
    retrieved_docs = [documents[i] for i in top_indices]

    # Step 2: the reranker puts them in order
    query_doc_pairs = [(query, doc) for doc in retrieved_docs]
    rerank_scores = reranker.predict(query_doc_pairs)
    reranked_results = [(retrieved_docs[i], rerank_scores[i]) for i in range(len(retrieved_docs))]
    reranked_results.sort(key=lambda x: x[1], reverse=True)
    return reranked_results


# The best of these would go into the prompt of a language model.
test_query = "What should I do after my bicycle was stolen?"
results = search(test_query)
print("Query:", test_query)
for doc, score in results:
    print(f"{score:.4f} - {doc}")
assert len(results) == 5
