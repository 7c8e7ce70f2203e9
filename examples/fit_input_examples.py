"""How rerankers were trained before there was a trainer: InputExample, DataLoader and fit.

`fit` goes through CrossEncoderTrainer; `old_fit` is the plain loop that it once was. New programs
use the trainer, which has many more settings.
"""

from __future__ import annotations

from shared import arguments, judged_pairs
from torch.utils.data import DataLoader

from rankwright import CrossEncoder, InputExample

args = arguments(__doc__)

# Define the model. Either from scratch or by loading a pre-trained model
model = CrossEncoder(args.model, num_labels=1, seed=12)

# Define your train examples. You need more than just two examples...
train_examples = [
    InputExample(
        texts=["What are pandas?", "The giant panda is a bear of southern China."], label=1
    ),
    InputExample(texts=["What's a panda?", "Mount Vesuvius is a volcano near Naples."], label=0),
]
train_examples += [
    InputExample(texts=[row["query"], row["document"]], label=row["label"])
    for row in judged_pairs("en").select(range(6))
]

# Define your train dataset, the dataloader and the train loss
train_dataloader = DataLoader(train_examples, shuffle=True, batch_size=4)

# Tune the model
model.fit(train_dataloader=train_dataloader, epochs=1, warmup_steps=1, show_progress_bar=False)
model.save_pretrained(args.output)

# The former loop, for programs that depend on its every step
same = CrossEncoder(args.model, num_labels=1, seed=12)
same.old_fit(train_dataloader=train_dataloader, epochs=1, warmup_steps=1, show_progress_bar=False)
print(model.predict([("What are pandas?", "The giant panda is a bear of China.")]))
