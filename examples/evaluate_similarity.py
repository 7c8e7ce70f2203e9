"""How well do scores follow the similarity that people gave to pairs of sentences?"""

from __future__ import annotations

from shared import arguments, rows

from rankwright import CrossEncoder
from rankwright.cross_encoder.evaluation import CrossEncoderCorrelationEvaluator

args = arguments(__doc__)

# Load a model
model = CrossEncoder(args.model, num_labels=1, seed=12)

# Load sentence pairs with scores from 0 to 1
eval_dataset = rows("similarity.csv")
pairs = list(zip(eval_dataset["sentence1"], eval_dataset["sentence2"], strict=True))

# Initialize the evaluator
dev_evaluator = CrossEncoderCorrelationEvaluator(
    sentence_pairs=pairs,
    scores=[float(score) for score in eval_dataset["score"]],
    name="sts_dev",
)
results = dev_evaluator(model)
print(results)
