"""Training in two stages: first general pairs, then hard negatives with a smaller learning rate.

The hard negatives are chosen by the model of the first stage itself: what it ranks high by mistake
is what it has to learn next.
"""

from __future__ import annotations

from shared import arguments, judged_pairs, questions

from rankwright import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from rankwright.losses import BinaryCrossEntropyLoss, GroupSoftmaxLoss
from rankwright.util import mine_hard_negatives

given = arguments(__doc__)
model = CrossEncoder(given.model, num_labels=1, max_length=64, seed=12)


def stage(name: str, learning_rate: float) -> CrossEncoderTrainingArguments:
    """What both stages have in common."""
    return CrossEncoderTrainingArguments(
        output_dir=f"{given.output}/{name}",
        learning_rate=learning_rate,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=16,
        num_train_epochs=1,
        max_steps=given.max_steps,
        weight_decay=0.01,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        report_to="none",
        disable_tqdm=True,
        seed=12,
    )


print("Stage 1: general pairs, each relevant or not")
trainer = CrossEncoderTrainer(
    model=model,
    args=stage("stage-1", learning_rate=5e-5),
    train_dataset=judged_pairs(),
    eval_dataset=judged_pairs(held_out=True),
    loss=BinaryCrossEntropyLoss(model),
)
trainer.train()

print("Stage 2: lists of hard negatives")
hard_negative_dataset = mine_hard_negatives(
    questions(),
    "bm25",
    cross_encoder=model,  # scores BM25's candidates; the highest wrong ones are taken
    num_negatives=3,
    range_max=10,
    output_format="n-tuple",
).train_test_split(test_size=8, seed=12)
trainer = CrossEncoderTrainer(
    model=model,
    args=stage("stage-2", learning_rate=1e-5),  # smaller: what was learnt should stay
    train_dataset=hard_negative_dataset["train"],
    eval_dataset=hard_negative_dataset["test"],
    loss=GroupSoftmaxLoss(model),
)
trainer.train()
model.save_pretrained(f"{given.output}/final")
print("Loss on held-out lists:", trainer.evaluate()["eval_loss"])
