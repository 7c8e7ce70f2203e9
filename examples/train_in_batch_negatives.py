"""Training from question-answer pairs alone: the other answers of a batch are the negatives.

CachedMultipleNegativesRankingLoss bounds memory by its mini-batch, whatever the batch size. The
model is judged on NanoBEIR before, during and after training.
"""

from __future__ import annotations

import logging
import traceback

from nano_beir import local_nano_beir
from shared import arguments, questions

from rankwright.cross_encoder import (
    CrossEncoder,
    CrossEncoderModelCardData,
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
)
from rankwright.cross_encoder.evaluation import CrossEncoderNanoBEIREvaluator
from rankwright.cross_encoder.losses import CachedMultipleNegativesRankingLoss
from rankwright.training_args import BatchSamplers

# Set the log level to INFO to get more information
logging.basicConfig(format="%(asctime)s - %(message)s", level=logging.WARNING)
given = arguments(__doc__)

train_batch_size = 16
num_epochs = 1
num_rand_negatives = 5  # How many random negatives should be used for each question-answer pair

# 1a. Load a model to finetune with 1b. (Optional) model card data
model = CrossEncoder(
    given.model,
    num_labels=1,
    seed=12,
    model_card_data=CrossEncoderModelCardData(
        language="en",
        license="apache-2.0",
        model_name="A reranker trained on questions about bicycles",
    ),
)
print("Model max length:", model.max_length)
print("Model num labels:", model.num_labels)

# 2. Load the question-answer pairs
dataset_dict = questions().train_test_split(test_size=8, seed=12)
train_dataset = dataset_dict["train"]
eval_dataset = dataset_dict["test"]
logging.info(train_dataset)
logging.info(eval_dataset)

# 3. Define our training loss.
loss = CachedMultipleNegativesRankingLoss(
    model=model,
    num_negatives=num_rand_negatives,
    mini_batch_size=32,  # Informs the memory usage
)

# 4. Use CrossEncoderNanoBEIREvaluator. Without dataset_id it reads NanoBEIR from the hub.
evaluator = CrossEncoderNanoBEIREvaluator(
    dataset_names=["msmarco", "nfcorpus", "nq"],
    dataset_id=local_nano_beir(given.output),
    batch_size=train_batch_size,
)
evaluator(model)

# 5. Define the training arguments
run_name = "reranker-bicycles-cmnrl"
args = CrossEncoderTrainingArguments(
    # Required parameter:
    output_dir=f"{given.output}/{run_name}",
    # Optional training parameters:
    num_train_epochs=num_epochs,
    max_steps=given.max_steps,
    per_device_train_batch_size=train_batch_size,
    per_device_eval_batch_size=train_batch_size,
    learning_rate=2e-5,
    warmup_ratio=0.1,
    fp16=False,  # Set to True if you have a GPU that supports FP16
    bf16=False,  # Set to True if your hardware multiplies BF16
    batch_sampler=BatchSamplers.NO_DUPLICATES,  # in-batch negatives benefit from no duplicates
    # Optional tracking/debugging parameters:
    eval_strategy="steps",
    eval_steps=2,
    save_strategy="steps",
    save_steps=2,
    save_total_limit=2,
    logging_steps=2,
    logging_first_step=True,
    report_to="none",
    disable_tqdm=True,
    seed=12,
)

# 6. Create the trainer & start training
trainer = CrossEncoderTrainer(
    model=model,
    args=args,
    train_dataset=train_dataset,
    eval_dataset=eval_dataset,
    loss=loss,
    evaluator=evaluator,
)
trainer.train()

# 7. Evaluate the final model, useful to include these in the model card
results = evaluator(model)
print(f"{evaluator.primary_metric}: {results[evaluator.primary_metric]:.4f}")

# 8. Save the final model
final_output_dir = f"{given.output}/{run_name}/final"
model.save_pretrained(final_output_dir)

# 9. (Optional) save the model to the Hugging Face Hub, after `hf auth login`
if given.push:
    try:
        model.push_to_hub(given.push)
    except Exception:
        logging.error(
            f"Error uploading model to the Hugging Face Hub:\n{traceback.format_exc()}To upload it "
            f"manually, load the model using `model = CrossEncoder({final_output_dir!r})` and save "
            f"it using `model.push_to_hub('{given.push}')`."
        )
