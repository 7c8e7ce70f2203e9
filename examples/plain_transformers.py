"""A reranker trained with transformers alone, and then loaded here.

`AutoModelForSequenceClassification` with one label is what a CrossEncoder holds. The saved folder
can be used by either; the scores are the same.
"""

from __future__ import annotations

import numpy as np
import torch
from shared import arguments, judged_pairs
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
    set_seed,
)

from rankwright import CrossEncoder

given = arguments(__doc__)
set_seed(42)
train_dataset, eval_dataset = judged_pairs(), judged_pairs(held_out=True)

model = AutoModelForSequenceClassification.from_pretrained(
    given.model,
    num_labels=1,  # one score; transformers trains it as a regression
)
tokenizer = AutoTokenizer.from_pretrained(given.model)


def tokenize_function(examples):
    """Query and document as two texts: the tokenizer puts the separator and the types."""
    result = tokenizer(
        examples["query"],
        examples["document"],
        padding="max_length",
        truncation=True,
        max_length=64,
    )
    result["labels"] = [float(label) for label in examples["label"]]
    return result


tokenized_train = train_dataset.map(
    tokenize_function, batched=True, remove_columns=train_dataset.column_names
)
tokenized_eval = eval_dataset.map(
    tokenize_function, batched=True, remove_columns=eval_dataset.column_names
)


def compute_metrics(eval_pred):
    """Share of pairs on the right side of 0.5."""
    predictions, labels = eval_pred
    predictions = (predictions.reshape(-1) > 0.5).astype(int)
    return {"accuracy": float(np.mean(predictions == labels))}


training_args = TrainingArguments(
    output_dir=f"{given.output}/checkpoints",
    learning_rate=5e-5,
    per_device_train_batch_size=16,
    per_device_eval_batch_size=16,
    num_train_epochs=1,
    max_steps=given.max_steps,
    weight_decay=0.01,
    eval_strategy="epoch",
    save_strategy="epoch",
    load_best_model_at_end=True,
    push_to_hub=False,
    dataloader_pin_memory=torch.cuda.is_available(),
    report_to="none",
    disable_tqdm=True,
)
trainer = Trainer(
    model=model,
    args=training_args,
    train_dataset=tokenized_train,
    eval_dataset=tokenized_eval,
    processing_class=tokenizer,
    compute_metrics=compute_metrics,
)
trainer.train()
print("Evaluation:", trainer.evaluate(tokenized_eval))
trainer.save_model(given.output)

# The same folder as a CrossEncoder: faster, with rank() and everything else.
reranker = CrossEncoder(given.output, max_length=64, activation_fn="identity")
pairs = list(zip(eval_dataset["query"], eval_dataset["document"], strict=True))
ours = reranker.predict(pairs)
theirs = trainer.predict(tokenized_eval).predictions.reshape(-1)
print("Largest difference between the two:", np.abs(ours - theirs).max())
assert np.allclose(ours, theirs, atol=1e-4)


# --- and the way back: transformers alone ranks with a folder saved here ------------------------


def rerank_documents(query, documents, model, tokenizer, device="cpu"):
    """(document, score) pairs, best first."""
    model = model.to(device)
    model.eval()
    encoded_inputs = tokenizer(
        [query] * len(documents),
        documents,
        padding=True,
        truncation=True,
        max_length=64,
        return_tensors="pt",
    ).to(device)
    with torch.no_grad():
        scores = model(**encoded_inputs).logits.squeeze(-1).tolist()
    return sorted(zip(documents, scores, strict=True), key=lambda x: x[1], reverse=True)


reranker.save_pretrained(f"{given.output}/reranker")
loaded_model = AutoModelForSequenceClassification.from_pretrained(f"{given.output}/reranker")
loaded_tokenizer = AutoTokenizer.from_pretrained(f"{given.output}/reranker")
query = eval_dataset[0]["query"]
docs = list(dict.fromkeys(eval_dataset["document"]))[:4]
for doc, score in rerank_documents(query, docs, loaded_model, loaded_tokenizer):
    print(f"{score:8.4f}  {doc}")
