"""A reranker is loaded with its head; any other encoder gets a new one, which must be trained."""

from __future__ import annotations

from shared import arguments

from rankwright import CrossEncoder

args = arguments(__doc__)

# An encoder without a head of its own, such as "google-bert/bert-base-uncased", gets a new one.
encoder = CrossEncoder(args.model, num_labels=1, seed=12)
encoder.save_pretrained(args.output)

# A reranker, such as "cross-encoder/ms-marco-MiniLM-L6-v2", has its head already.
model = CrossEncoder(args.output)
print("Model max length:", model.max_length)
print("Model num labels:", model.num_labels)

# Classes of pairs, such as entailment, neutral and contradiction, need one output each.
classifier = CrossEncoder(args.model, num_labels=3, seed=12)
print("Classifier num labels:", classifier.num_labels)

pairs = [("How often should a chain be oiled?", "After every ride in the rain.")]
scores = model.predict(pairs)
probabilities = classifier.predict(pairs, apply_softmax=True)
print("One score per pair:", scores.shape, "- one row of classes per pair:", probabilities.shape)
