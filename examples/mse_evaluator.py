"""An evaluator of one's own: the mean squared error of scores against graded labels.

It looks inside the model as programs for earlier releases do: `smart_batching_collate` makes the
batches and `model.model` is the transformers model.
"""

from __future__ import annotations

import csv
import logging
import os

import torch
from shared import arguments, rows
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from rankwright import CrossEncoder, InputExample
from rankwright.evaluation import SentenceEvaluator
from rankwright.util import batch_to_device

logger = logging.getLogger(__name__)


class MSEEval(SentenceEvaluator):
    """The error of the model on labelled pairs; the less, the better.

    The results are written in a CSV. If a CSV already exists, then values are appended.
    """

    def __init__(
        self,
        dataloader: DataLoader,
        name: str = "",
        show_progress_bar: bool = True,
        write_csv: bool = True,
    ) -> None:
        super().__init__()
        self.greater_is_better = False
        self.dataloader = dataloader
        self.name = name
        self.show_progress_bar = show_progress_bar
        self.write_csv = write_csv
        self.csv_file = "mse_evaluation" + ("_" + name if name else "") + "_results.csv"
        self.csv_headers = ["epoch", "steps", "mse"]

    def __call__(
        self,
        model: CrossEncoder,
        output_path: str | None = None,
        epoch: int = -1,
        steps: int = -1,
    ) -> float:
        model.model.eval()
        total = 0
        loss_total = 0.0
        if epoch == -1:
            out_txt = ":"
        elif steps == -1:
            out_txt = f" after epoch {epoch}:"
        else:
            out_txt = f" in epoch {epoch} after {steps} steps:"
        loss_fnc = torch.nn.MSELoss()
        activation_fnc = torch.nn.Sigmoid()

        logger.info("Evaluation on the " + self.name + " dataset" + out_txt)
        self.dataloader.collate_fn = model.smart_batching_collate
        for features, labels in tqdm(
            self.dataloader, desc="Evaluation", disable=not self.show_progress_bar
        ):
            features, labels = batch_to_device(features, model.device), labels.to(model.device)
            with torch.no_grad():
                model_predictions = model.model(**features, return_dict=True)
                logits = activation_fnc(model_predictions.logits)
                if model.config.num_labels == 1:
                    logits = logits.view(-1)
                loss_value = loss_fnc(logits, labels)
            # Batches may differ in size, and every pair counts alike.
            total += len(labels)
            loss_total += len(labels) * loss_value.cpu().item()
        mse = loss_total / total
        logger.info(f"MSE: {mse:.4f} ({loss_total}/{total})\n")

        if output_path is not None and self.write_csv:
            csv_path = os.path.join(output_path, self.csv_file)
            new = not os.path.isfile(csv_path)
            with open(csv_path, newline="", mode="a", encoding="utf-8") as f:
                writer = csv.writer(f)
                if new:
                    writer.writerow(self.csv_headers)
                writer.writerow([epoch, steps, mse])
        return mse


if __name__ == "__main__":
    args = arguments(__doc__)
    # Labels need not be 0 or 1: any degree of relevance in between will do.
    examples = [
        InputExample(texts=[row["sentence1"], row["sentence2"]], label=float(row["score"]))
        for row in rows("similarity.csv")
    ]
    train_dataloader = DataLoader(examples[:12], shuffle=True, batch_size=4)
    val_dataloader = DataLoader(examples[12:], shuffle=False, batch_size=4)

    model = CrossEncoder(args.model, num_labels=1, seed=12)
    evaluator = MSEEval(val_dataloader, name="similarity", show_progress_bar=False)
    print("Error before training:", evaluator(model))
    model.fit(
        train_dataloader=train_dataloader,
        evaluator=evaluator,
        epochs=2,
        evaluation_steps=2,
        warmup_steps=2,
        output_path=args.output,
        show_progress_bar=False,
    )
    print("Least error in training:", model.best_score)
