"""Hard negatives: documents that an embedding model takes for answers, and that are none.

The result has a row per pair with the label 1 or 0, as BinaryCrossEntropyLoss takes it.
"""

from __future__ import annotations

import logging

from shared import arguments, questions

from rankwright import EmbeddingModel
from rankwright.util import mine_hard_negatives

logging.basicConfig(format="%(message)s", level=logging.WARNING)
logging.getLogger("rankwright.mining").setLevel(logging.INFO)  # statistics of what was found
args = arguments(__doc__)

train_dataset = questions()
print(train_dataset)

embedding_model = EmbeddingModel(args.embedder)
hard_train_dataset = mine_hard_negatives(
    train_dataset,
    embedding_model,
    num_negatives=3,  # How many negatives per question-answer pair
    range_min=1,  # Pass over the most similar documents, which may be answers nobody marked
    range_max=20,  # Consider only so many of the most similar documents
    max_score=0.95,  # Consider only documents that are at most so similar to the question
    absolute_margin=0.0,  # Negatives are at least so much less similar than the answer
    relative_margin=0.05,  # ... and at most 95 % as similar
    sampling_strategy="top",  # Take the most similar of what is left
    batch_size=64,
    output_format="labeled-pair",  # (query, passage, label)
    use_faiss=True,  # pip install "rankwright[faiss]"; without it the result is the same
)
print(hard_train_dataset)
print(hard_train_dataset[1])

# BM25 needs no model at all. (The former name margin for absolute_margin still works.)
by_words = mine_hard_negatives(
    questions("en"), "bm25", num_negatives=3, range_max=10, output_format="triplet"
)
print(by_words[0])
