"""A training loop written by hand, around a transformers model and a loss of this library.

A loss here is a function of scores, labels and group sizes, so it can be used anywhere.
`CrossEncoderTrainer` does the same with schedules, checkpoints and evaluation, and without padding.
"""

from __future__ import annotations

import torch
from shared import arguments, questions
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rankwright import CrossEncoder
from rankwright.losses.group_softmax import group_softmax

args = arguments(__doc__)
torch.manual_seed(12)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
tokenizer = AutoTokenizer.from_pretrained(args.model)
model = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=1).to(device)

# Every question with its answer first, then the answers of the next two questions.
data = questions()
answers = data["answer"][:]
lists = [
    (question, [answers[(i + step) % len(answers)] for step in range(3)])
    for i, question in enumerate(data["question"])
]


def collate(batch):
    """Padded pairs of all lists, labels, and how many pairs each list has."""
    queries = [query for query, documents in batch for _ in documents]
    documents = [document for _, documents in batch for document in documents]
    features = tokenizer(
        queries, documents, padding=True, truncation=True, max_length=64, return_tensors="pt"
    )
    labels = torch.tensor([float(i == 0) for _, found in batch for i in range(len(found))])
    sizes = torch.tensor([len(found) for _, found in batch])
    return features.to(device), labels.to(device), sizes


loader = DataLoader(lists, batch_size=4, shuffle=True, collate_fn=collate)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
model.train()
for step, (features, labels, sizes) in enumerate(loader, start=1):
    scores = model(**features).logits.squeeze(-1)
    loss = group_softmax(scores, labels, sizes)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    print(f"step {step}: loss {loss.item():.4f}")
    if step == args.max_steps:
        break

model.save_pretrained(args.output)
tokenizer.save_pretrained(args.output)
reranker = CrossEncoder(args.output, max_length=64, activation_fn="identity")
for hit in reranker.rank(lists[0][0], answers[:5], top_k=3, return_documents=True):
    print(f"{hit['score']:8.4f}  {hit['text']}")
