"""The same with plain rows: (query, document, label), for training and for evaluation."""

from __future__ import annotations

import torch
from shared import arguments, judged_pairs

from rankwright import CrossEncoder

args = arguments(__doc__)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

train_samples = []
for sample in judged_pairs("zh"):
    train_samples.append((sample["query"], sample["document"], sample["label"]))
eval_samples = []
for sample in judged_pairs("zh", held_out=True):
    eval_samples.append((sample["query"], sample["document"], sample["label"]))

cross_encoder = CrossEncoder(args.model, num_labels=1, max_length=64, device=device, seed=12)
cross_encoder.fit(
    train_dataloader=train_samples,
    evaluator=eval_samples,  # labels 0 and 1: accuracy, F1 and average precision
    epochs=1,
    warmup_steps=5,
    output_path=args.output,
    show_progress_bar=False,
)

# The best model of the run is what the folder holds.
reranker = CrossEncoder(args.output)
print("Best evaluation:", cross_encoder.best_score)
print(reranker.predict([(eval_samples[0][0], eval_samples[0][1])]))
