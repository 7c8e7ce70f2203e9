"""Settings of transformers that would do nothing here, or harm, and what to use instead."""

from __future__ import annotations

from typing import Any

from rankwright.errors import InputError

__all__ = ["refuse_launch", "refuse_settings"]

_REFUSED: dict[str, str] = {
    "label_smoothing_factor": (
        "labels belong to the loss. Use CrossEntropyLoss(model, label_smoothing=...) for classes; "
        "for one label, smooth the labels of the data"
    ),
    "neftune_noise_alpha": (
        "its noise is scaled by the padded length of a batch, and nothing is padded here. Use the "
        "model's dropout (config_kwargs={'hidden_dropout_prob': ...}) against over-fitting"
    ),
    "torch_compile": (
        "every packed batch has a shape of its own, so the model would be compiled anew at almost "
        "every step. Use bf16=True for speed"
    ),
    "use_liger_kernel": "its kernels are for language models, not for encoders",
    "bf16_full_eval": (
        "it would round the weights themselves, for good. Use bf16=True, which evaluates in "
        "bfloat16 as well and keeps the weights in float32"
    ),
    "fp16_full_eval": (
        "it would round the weights themselves, for good. Use fp16=True or bf16=True, which keep "
        "the weights in float32"
    ),
    "batch_eval_metrics": "there is no compute_metrics here; metrics come from evaluators",
    "include_for_metrics": "there is no compute_metrics here; metrics come from evaluators",
    "label_names": (
        "the label column is found by its name: label, labels, score or scores. Rename the column"
    ),
    "deepspeed": (
        "checkpoints are written by Rankwright itself, and rerankers fit on one device. Several "
        "GPUs work through torchrun; for large models use peft_config=, or "
        "activation_checkpointing=True"
    ),
    "parallelism_config": (
        "tensor and context parallelism split layers and sequences of padded models. Several GPUs "
        "work through torchrun"
    ),
}


_REFUSED |= dict.fromkeys(
    ("torch_compile_backend", "torch_compile_mode"), _REFUSED["torch_compile"]
)


def refuse_settings(args: Any) -> None:
    """Refuses settings that would be silently without effect, or do harm.

    Args:
        args: `CrossEncoderTrainingArguments`, before transformers looks at them.

    Raises:
        InputError: One of them is set.
    """
    for name, reason in _REFUSED.items():
        value = getattr(args, name, None)
        if value:
            raise InputError(f"{name}={value!r} is not supported: {reason}.")


def refuse_launch(trainer: Any) -> None:
    """The same for what comes from ``accelerate launch`` and its configuration.

    Args:
        trainer: A trainer whose accelerator is made.

    Raises:
        InputError: It asks for something that is not supported.
    """
    if getattr(trainer, "is_deepspeed_enabled", False):
        raise InputError(
            "accelerate was configured for deepspeed, which is not supported: "
            f"{_REFUSED['deepspeed']}."
        )
    if getattr(trainer, "is_fsdp_enabled", False):
        raise InputError(
            "accelerate was configured for fsdp, which would wrap layers that packed execution "
            "does not call. Pass fsdp='full_shard' to CrossEncoderTrainingArguments instead, and "
            "start with torchrun or accelerate launch --multi_gpu."
        )
    if trainer.accelerator.split_batches:
        raise InputError(
            "accelerator_config: split_batches=True is not supported: each process makes whole "
            "batches of its own. Set per_device_train_batch_size to what one process should have."
        )
