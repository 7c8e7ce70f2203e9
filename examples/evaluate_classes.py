"""Pairs in classes: does the second sentence follow from the first, contradict it, or neither?"""

from __future__ import annotations

from shared import arguments, rows

from rankwright import CrossEncoder
from rankwright.cross_encoder.evaluation import CrossEncoderClassificationEvaluator

args = arguments(__doc__)

# Load a model with one output per class
model = CrossEncoder(args.model, num_labels=3, seed=12)

# Create a list of pairs, and map the labels to the labels that the model knows
eval_dataset = rows("entailment.jsonl")
pairs = list(zip(eval_dataset["premise"], eval_dataset["hypothesis"], strict=True))
label_mapping = {0: 1, 1: 2, 2: 0}
labels = [label_mapping[label] for label in eval_dataset["label"]]

# Initialize the evaluator
cls_evaluator = CrossEncoderClassificationEvaluator(
    sentence_pairs=pairs,
    labels=labels,
    name="entailment-dev",
)
results = cls_evaluator(model)
print(results)
