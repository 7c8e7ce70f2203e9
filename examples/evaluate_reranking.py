"""How much better is the reranker's order than the embedding model's?

The positives are mined together with the negatives, in the embedding model's order, so that the
evaluator can show that order beside the reranker's.
"""

from __future__ import annotations

import logging

from shared import arguments, questions

from rankwright import EmbeddingModel
from rankwright.cross_encoder import CrossEncoder
from rankwright.cross_encoder.evaluation import CrossEncoderRerankingEvaluator
from rankwright.util import mine_hard_negatives

logging.basicConfig(format="%(message)s", level=logging.WARNING)
logging.getLogger("rankwright.evaluation").setLevel(logging.INFO)  # shows the table
args = arguments(__doc__)

# Load a model
model = CrossEncoder(args.model, num_labels=1, seed=12)

# Load the question-answer pairs
full_dataset = questions("en")
eval_dataset = full_dataset.train_test_split(test_size=8, seed=12)["test"]

# Mine hard negatives using an embedding model
embedding_model = EmbeddingModel(args.embedder)
hard_eval_dataset = mine_hard_negatives(
    eval_dataset,
    embedding_model,
    corpus=full_dataset["answer"],  # Use the full dataset as the corpus
    num_negatives=12,  # How many negatives per question-answer pair
    batch_size=64,
    output_format="n-tuple",  # (query, positive, negative1, negative2, ...) for the evaluator
    include_positives=True,  # Key: Include the positive answer in the list of negatives
    use_faiss=True,
)
print(hard_eval_dataset)

samples = [
    {
        "query": sample["question"],
        "positive": [sample["answer"]],
        "documents": [sample[column_name] for column_name in hard_eval_dataset.column_names[2:]],
    }
    for sample in hard_eval_dataset
]
reranking_evaluator = CrossEncoderRerankingEvaluator(samples, batch_size=32, name="bicycles-dev")
results = reranking_evaluator(model)
print(results)

# The first evaluator ranks every positive, found or not. This one shows what users would see:
# a positive that the embedding model missed stays missed.
realistic_evaluator = CrossEncoderRerankingEvaluator(
    samples, batch_size=32, name="bicycles-realistic", always_rerank_positives=False
)
print(realistic_evaluator(model))
