"""``fsdp``: several processes that each keep a share of the weights, gradients and optimizer state.

Fully sharded data parallelism (Zhao et al., 2023, "PyTorch FSDP"; ZeRO, Rajbhandari et al., 2020)
with the whole model as one unit: packed execution reads the weights of all layers directly, so
there is no moment at which one layer alone would be called. Between two steps each process holds
``1 / processes`` of everything; within a step it holds all weights and all gradients, but never the
whole state of the optimizer, which for AdamW is twice the size of the weights.

Evaluators, checkpoints and whoever calls `ShardingTrainer.whole_weights` see an ordinary model with
ordinary parameters, and so does everyone after training.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from transformers import Trainer

from rankwright.engine.ops import forget_weights
from rankwright.errors import InputError
from rankwright.training.shards import Gathered, Sharded, full

__all__ = ["ShardingTrainer", "check_sharding", "take_fsdp"]

logger = logging.getLogger(__name__)


def take_fsdp(args: Any) -> None:
    """Turns ``fsdp`` into ``shard_weights``, which transformers and accelerate do not act upon.

    Args:
        args: `CrossEncoderTrainingArguments`, before transformers looks at them.

    Raises:
        InputError: A way of sharding that is not there.
    """
    given = args.fsdp
    if not given:
        return
    parts = given.split() if isinstance(given, str) else given
    names = [parts] if isinstance(parts, bool) else [getattr(p, "value", p) for p in parts]
    if names not in ([True], ["full_shard"]):
        raise InputError(
            f"fsdp={given!r} is not supported. fsdp='full_shard' (or True) shards weights, "
            "gradients and the state of the optimizer; the model is one unit, so leave auto_wrap "
            "out, and there is neither offloading nor a hybrid of sharding and copies."
        )
    if args.fsdp_config:
        raise InputError(
            f"fsdp_config={args.fsdp_config!r} is not supported: the model is one unit, and saved "
            "whole. Leave it out; for less memory add activation_checkpointing=True."
        )
    args.fsdp, args.shard_weights = None, True


def check_sharding(args: Any, optimizer: Any) -> None:
    """Refuses what does not go together with sharded weights.

    Args:
        args: `CrossEncoderTrainingArguments`.
        optimizer: The one that was handed to the trainer, or None.

    Raises:
        InputError: Such a setting.
    """
    if not args.shard_weights:
        return
    if args.world_size < 2:
        logger.warning(
            "fsdp has no effect in one process, which has nobody to share weights with. Start "
            "several: torchrun --nproc_per_node=... ."
        )
        return
    if optimizer is not None:
        raise InputError(
            "fsdp and optimizers= do not go together: the optimizer holds whole weights, and "
            "shards are made of them when training starts. Pass optim= in the arguments, or "
            "optimizer_cls_and_kwargs=, so that it is made for the shards."
        )
    if args.fp16:
        raise InputError("fsdp and fp16 do not go together; set bf16=True, which needs no scaling.")
    if args.auto_find_batch_size:
        raise InputError(
            "fsdp and auto_find_batch_size do not go together: one process that runs out of memory "
            "would start again without the others. Set per_device_train_batch_size, and "
            "max_tokens_per_pass to bound memory."
        )


class ShardingTrainer(Trainer):
    """transformers' Trainer, with weights in shards while it trains."""

    # What transformers sets; its types change from release to release.
    args: Any
    model: Any
    model_wrapped: Any
    optimizer: Any
    lr_scheduler: Any

    _sharded: Sharded | None = None

    @contextlib.contextmanager
    def whole_weights(self) -> Iterator[None]:
        """Every process has the whole model within, to score with or to save.

        With ``fsdp``, a callback that does so during training must use this, in all processes.
        Otherwise it does nothing.
        """
        with contextlib.nullcontext() if self._sharded is None else self._sharded.whole():
            yield

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> Any:
        if not self.args.shard_weights or self.args.world_size < 2:
            return super()._inner_training_loop(*args, **kwargs)
        # Optimizer and scheduler belong to the shards, which end with this training.
        self.optimizer = self.lr_scheduler = None
        self._sharded = Sharded(self.model.to(self.args.device))
        try:
            output = super()._inner_training_loop(*args, **kwargs)
            self._sharded.give_back()
        # Other processes may be elsewhere, so the weights cannot be collected any more.
        except BaseException:
            logger.error("Training ended with an error; this model is left in shards, for no use.")
            raise
        finally:
            self._sharded = None
            self.optimizer = self.lr_scheduler = None
            self.callback_handler.optimizer = self.callback_handler.lr_scheduler = None
            self.accelerator.free_memory()
            self.model_wrapped = self.model
        return output

    def _wrap_model(self, model: Any, training: bool = True, *args: Any, **kwargs: Any) -> Any:
        if self._sharded is None or not training:
            return super()._wrap_model(model, training, *args, **kwargs)
        self.optimizer.register_step_post_hook(lambda *_: forget_weights())
        return self.accelerator.prepare_model(
            self._sharded, device_placement=False, evaluation_mode=True
        )

    def _clip_grad_norm(self, model: Any) -> Any:
        return full(super()._clip_grad_norm(model))

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        return full(super()._get_grad_norm(model, grad_norm=grad_norm))

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """See `EvaluatingTrainer.evaluate`."""
        with self.whole_weights():
            metrics: dict[str, float] = super().evaluate(*args, **kwargs)
        return metrics

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        """See transformers' Trainer; all processes must call it during training."""
        with self.whole_weights():
            super().save_model(*args, **kwargs)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        with self._gathered(saving=True):
            super()._save_optimizer_and_scheduler(output_dir)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with self._gathered(saving=False):
            super()._load_optimizer_and_scheduler(checkpoint)

    @contextlib.contextmanager
    def _gathered(self, saving: bool) -> Iterator[None]:
        if self._sharded is None:
            yield
            return
        optimizer = self.optimizer
        self.optimizer = Gathered(optimizer, saving)
        try:
            yield
        finally:
            self.optimizer = optimizer
