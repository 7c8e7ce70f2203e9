"""One model from several data sets, each in its own format and with its own loss.

Every batch comes from one data set; the sampler decides in which turn.
"""

from __future__ import annotations

from datasets import Dataset, DatasetDict
from shared import arguments, judged_pairs, questions
from transformers import TrainerCallback

from rankwright import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from rankwright.losses import (
    BinaryCrossEntropyLoss,
    ListNetLoss,
    MultipleNegativesRankingLoss,
)
from rankwright.training_args import MultiDatasetBatchSamplers

given = arguments(__doc__)
model = CrossEncoder(given.model, num_labels=1, seed=12)

vietnamese = questions("vi")
lists = Dataset.from_dict(
    {
        "query": vietnamese["question"],
        "documents": [
            [answer, *(other for other in vietnamese["answer"] if other != answer)][: 3 + i % 2]
            for i, answer in enumerate(vietnamese["answer"])
        ],  # lists of texts, not all of the same length
        "labels": [[1, 0, 0, 0][: 3 + i % 2] for i in range(len(vietnamese))],
    }
)
train_dataset = DatasetDict(
    {"pairs": judged_pairs("en"), "in-batch": questions("zh"), "lists": lists}
)
loss = {
    "pairs": BinaryCrossEntropyLoss(model),
    "in-batch": MultipleNegativesRankingLoss(model),
    "lists": ListNetLoss(model),
}
args = CrossEncoderTrainingArguments(
    output_dir=given.output,
    num_train_epochs=1,
    max_steps=given.max_steps,
    per_device_train_batch_size=4,
    learning_rate=2e-5,
    # PROPORTIONAL (the default) uses every row; ROUND_ROBIN gives every data set equal turns
    multi_dataset_batch_sampler=MultiDatasetBatchSamplers.ROUND_ROBIN,
    logging_steps=1,
    report_to="none",  # "tensorboard", "wandb", "codecarbon" ... where they are installed
    disable_tqdm=True,
    seed=12,
)


class LossHistory(TrainerCallback):
    """A callback of one's own: what the trainer logs, to draw or to compare."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))


history = LossHistory()
trainer = CrossEncoderTrainer(
    model=model, args=args, train_dataset=train_dataset, loss=loss, callbacks=[history]
)
trainer.train()
print("Loss per step:", ", ".join(f"{value:.3f}" for value in history.losses))
