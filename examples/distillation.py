"""Distillation: a small model learns to give the scores of a large one.

Two ways: to imitate every score (`fit` with soft labels, or MSELoss), and to imitate how far the
relevant document is above another one (MarginMSELoss), which is what ranking needs.
"""

from __future__ import annotations

from datasets import Dataset
from shared import arguments, judged_pairs, questions

from rankwright import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from rankwright.losses import MarginMSELoss

given = arguments(__doc__)

# The teacher: a large model that is good already, such as
# "cross-encoder/ms-marco-MiniLM-L12-v2". An untrained one stands for it here.
teacher_model = CrossEncoder(given.model, num_labels=1, max_length=64, seed=1)

# --- every score --------------------------------------------------------------------------------

train_dataset = judged_pairs("en")
distillation_examples = []
for sample in train_dataset:
    distillation_examples.append((sample["query"], sample["document"]))

# Soft labels: probabilities from 0 to 1
teacher_scores = teacher_model.predict(distillation_examples)
student_train_data = []
for i, (query, doc) in enumerate(distillation_examples):
    student_train_data.append((query, doc, float(teacher_scores[i])))

student_model = CrossEncoder(given.model, num_labels=1, max_length=64, seed=12)
student_model.fit(
    train_dataloader=student_train_data,
    epochs=1,
    warmup_steps=2,
    output_path=f"{given.output}/distilled-scores",
    show_progress_bar=False,
)

# --- margins between documents ------------------------------------------------------------------

data = questions("en")
answers = data["answer"][:]
negatives = [*answers[1:], answers[0]]
# Raw scores, without the sigmoid: margins between probabilities say little.
raw = {"activation_fn": "identity"}
right = teacher_model.predict(list(zip(data["question"], answers, strict=True)), **raw)
wrong = teacher_model.predict(list(zip(data["question"], negatives, strict=True)), **raw)
margins = Dataset.from_dict(
    {
        "query": data["question"][:],
        "positive": answers,
        "negative": negatives,
        "label": (right - wrong).tolist(),
    }
)
student = CrossEncoder(given.model, num_labels=1, max_length=64, activation_fn="identity", seed=12)
trainer = CrossEncoderTrainer(
    model=student,
    args=CrossEncoderTrainingArguments(
        output_dir=given.output,
        num_train_epochs=1,
        max_steps=given.max_steps,
        per_device_train_batch_size=8,
        learning_rate=5e-5,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=12,
    ),
    train_dataset=margins,
    loss=MarginMSELoss(student),
)
trainer.train()
student.save_pretrained(f"{given.output}/distilled-margins")
