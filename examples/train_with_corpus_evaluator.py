"""A short training program whose evaluator ranks the whole corpus for every held-out question.

The evaluator takes queries, relevant documents and corpus by id, as retrieval benchmarks store
them. Every query is ranked against every document, so this suits a few hundred documents.
"""

from __future__ import annotations

from datasets import load_dataset
from shared import arguments, judged_pairs, questions

from rankwright import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from rankwright.evaluation import CrossEncoderRerankingEvaluator
from rankwright.losses import BinaryCrossEntropyLoss

given = arguments(__doc__)
model = CrossEncoder(given.model, num_labels=1, max_length=64, seed=12)

# Training data from a file; CSV and Parquet work alike
judged_pairs("en").to_json(f"{given.output}/train.json", force_ascii=False)
train_dataset = load_dataset(
    "json",
    data_files=f"{given.output}/train.json",
    split="train",
    cache_dir=f"{given.output}/cache",
)
eval_dataset = judged_pairs("vi")

# One label per model, one label per row: relevant or not
loss = BinaryCrossEntropyLoss(model)

args = CrossEncoderTrainingArguments(
    output_dir=given.output,
    num_train_epochs=1,
    max_steps=given.max_steps,
    per_device_train_batch_size=8,
    per_device_eval_batch_size=8,
    warmup_ratio=0.1,
    learning_rate=2e-5,
    logging_steps=4,
    save_steps=4,
    eval_strategy="steps",
    eval_steps=4,
    save_total_limit=2,
    dataloader_pin_memory=False,
    report_to="none",
    disable_tqdm=True,
)

held_out = questions("zh")
evaluator = CrossEncoderRerankingEvaluator(
    name="bicycles-zh",
    queries={f"q{i}": text for i, text in enumerate(held_out["question"])},
    relevant_docs={f"q{i}": {f"d{i}"} for i in range(len(held_out))},
    corpus={f"d{i}": text for i, text in enumerate(held_out["answer"])},
    mrr_at_k=[10],
    ndcg_at_k=[3, 10],
    accuracy_at_k=[1, 3, 5, 10],
)

trainer = CrossEncoderTrainer(
    model=model,
    args=args,
    train_dataset=train_dataset,
    eval_dataset=eval_dataset,
    loss=loss,
    evaluator=evaluator,
)
trainer.train()
results = evaluator(model)
for metric, value in results.items():
    print(f"{metric}: {value:.4f}")
