"""The whole way: mine hard negatives, train with binary cross-entropy, keep the best checkpoint.

Two evaluators judge the model: one reranks what the embedding model finds for held-out questions,
the other NanoBEIR.
"""

from __future__ import annotations

import logging
import traceback

import torch
from nano_beir import local_nano_beir
from shared import arguments, questions

from rankwright import EmbeddingModel
from rankwright.cross_encoder import (
    CrossEncoder,
    CrossEncoderModelCardData,
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
)
from rankwright.cross_encoder.evaluation import (
    CrossEncoderNanoBEIREvaluator,
    CrossEncoderRerankingEvaluator,
)
from rankwright.cross_encoder.losses import BinaryCrossEntropyLoss
from rankwright.evaluation import SequentialEvaluator
from rankwright.util import mine_hard_negatives

# Set the log level to INFO to get more information
logging.basicConfig(format="%(asctime)s - %(message)s", level=logging.WARNING)


def main() -> None:
    given = arguments(__doc__)
    train_batch_size = 16
    num_epochs = 1
    num_hard_negatives = 3  # How many hard negatives should be mined for each question-answer pair

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

    # 2a. Load the question-answer pairs
    full_dataset = questions()
    dataset_dict = full_dataset.train_test_split(test_size=8, seed=12)
    train_dataset = dataset_dict["train"]
    eval_dataset = dataset_dict["test"]
    logging.info(train_dataset)
    logging.info(eval_dataset)

    # 2b. Modify our training dataset to include hard negatives using an embedding model
    embedding_model = EmbeddingModel(given.embedder)
    hard_train_dataset = mine_hard_negatives(
        train_dataset,
        embedding_model,
        num_negatives=num_hard_negatives,  # How many negatives per question-answer pair
        absolute_margin=0,  # Negatives must not be more similar to the question than its answer
        range_min=0,  # Skip the x most similar samples
        range_max=20,  # Consider only the x most similar samples
        sampling_strategy="top",  # Sample the top negatives from the range
        batch_size=64,  # How many texts the embedding model encodes at a time
        output_format="labeled-pair",  # (query, passage, label), for BinaryCrossEntropyLoss
        use_faiss=True,
    )
    logging.info(hard_train_dataset)

    # 2c. (Optionally) Save the hard training dataset to disk
    hard_train_dataset.save_to_disk(f"{given.output}/hard-train")
    # Load again with:
    # hard_train_dataset = load_from_disk(f"{given.output}/hard-train")

    # 3. Define our training loss.
    # pos_weight is recommended to be the number of negatives per positive
    loss = BinaryCrossEntropyLoss(model=model, pos_weight=torch.tensor(num_hard_negatives))

    # 4a. Define evaluators: NanoBEIR, from the hub if no dataset_id is given
    nano_beir_evaluator = CrossEncoderNanoBEIREvaluator(
        dataset_names=["msmarco", "nfcorpus", "nq"],
        dataset_id=local_nano_beir(given.output),
        batch_size=train_batch_size,
    )

    # 4b. Define a reranking evaluator by mining hard negatives given query-answer pairs
    # We include the positive answer in the list of negatives, so the evaluator can use the
    # performance of the embedding model as a baseline.
    hard_eval_dataset = mine_hard_negatives(
        eval_dataset,
        embedding_model,
        corpus=full_dataset["answer"],  # Use the full dataset as the corpus
        num_negatives=10,  # How many documents to rerank
        batch_size=64,
        include_positives=True,
        output_format="n-tuple",
        use_faiss=True,
    )
    logging.info(hard_eval_dataset)
    reranking_evaluator = CrossEncoderRerankingEvaluator(
        samples=[
            {
                "query": sample["question"],
                "positive": [sample["answer"]],
                "documents": [
                    sample[column_name] for column_name in hard_eval_dataset.column_names[2:]
                ],
            }
            for sample in hard_eval_dataset
        ],
        batch_size=train_batch_size,
        name="bicycles-dev",
        # Realistic setting: only rerank the positives that the retriever found
        # Set to True to rerank *all* positives
        always_rerank_positives=False,
    )

    # 4c. Combine the evaluators & run the base model on them
    evaluator = SequentialEvaluator([reranking_evaluator, nano_beir_evaluator])
    evaluator(model)

    # 5. Define the training arguments
    run_name = "reranker-bicycles-bce"
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
        dataloader_num_workers=0,  # Processes that tokenise; some for large data
        load_best_model_at_end=True,
        metric_for_best_model="eval_bicycles-dev_ndcg@10",
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
        train_dataset=hard_train_dataset,
        loss=loss,
        evaluator=evaluator,
    )
    trainer.train()

    # 7. Evaluate the final model, useful to include these in the model card
    results = evaluator(model)
    for stage in ("base_ndcg@10", "ndcg@10"):
        print(f"bicycles-dev_{stage}: {results[f'bicycles-dev_{stage}']:.4f}")

    # 8. Save the final model
    final_output_dir = f"{given.output}/{run_name}/final"
    model.save_pretrained(final_output_dir)

    # 9. (Optional) save the model to the Hugging Face Hub, after `hf auth login`
    if given.push:
        try:
            model.push_to_hub(given.push)
        except Exception:
            logging.error(
                f"Error uploading model to the Hugging Face Hub:\n{traceback.format_exc()}"
                f"To upload it manually, load it using "
                f"`model = CrossEncoder({final_output_dir!r})` and save it using "
                f"`model.push_to_hub('{given.push}')`."
            )


if __name__ == "__main__":
    main()
