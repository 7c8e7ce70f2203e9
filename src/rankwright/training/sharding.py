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

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import Trainer

from rankwright.engine.ops import forget_weights
from rankwright.errors import InputError, TrainingError

__all__ = ["Sharded", "ShardingTrainer", "check_sharding", "take_fsdp"]

logger = logging.getLogger(__name__)

_HOOKS = ("_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks")
_FLAGS = ("_is_fsdp_managed_module", "_fsdp_use_orig_params")


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


class Sharded(nn.Module):
    """What training calls while the weights of ``module`` are in shards.

    A module around the model, as `DistributedDataParallel` is one, so that the model itself keeps
    its class and its `forward`.

    Args:
        module: The model, on its device; the first process's weights count.

    Raises:
        InputError: Its trained parameters differ in their number formats.
    """

    def __init__(self, module: nn.Module) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        super().__init__()
        types = {p.dtype for p in module.parameters() if p.requires_grad}
        if len(types) > 1:
            raise InputError(
                f"fsdp needs trained parameters of one number format, found "
                f"{', '.join(sorted(map(str, types)))}. Load the model with dtype=torch.float32."
            )
        self.module = module
        for tensor in (*module.parameters(), *module.buffers()):
            torch.distributed.broadcast(tensor.detach(), 0)
        device = next(module.parameters()).device.type
        mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
        # One unit is used from the first layer's forward pass to its backward pass.
        fully_shard(self, mesh=mesh, reshard_after_forward=False)
        self._remove(_FLAGS)
        self._places: dict[nn.Parameter, list[tuple[nn.Module, str]]] = {}
        for part in module.modules():
            for name, parameter in part._parameters.items():
                if parameter is not None:
                    self._places.setdefault(parameter, []).append((part, name))
        self._hooks: list[tuple[dict[int, Any], int, Any]] = []
        self._exchanging = True
        self._nested = 0
        forget_weights()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's."""
        found = self.module(*args, **kwargs)
        # FSDP's hook for the backward pass would be lost by work in place on a view.
        return found.clone() if isinstance(found, Tensor) and found._is_view() else found

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Backward passes within add to whole gradients; one after it exchanges their sum."""
        before = self._exchanging
        self._exchange(False)
        try:
            yield
        finally:
            self._exchange(before)

    def _exchange(self, on: bool) -> None:
        wrapper: Any = self
        self._exchanging = on
        wrapper.set_requires_gradient_sync(on)
        wrapper.set_reshard_after_backward(on)

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """All weights in the model of every process, which must all come here.

        Changes within, such as loaded weights, last.
        """
        if self._nested:
            yield
            return
        self._nested += 1
        try:
            put = self._put_whole()
            yield
            with torch.no_grad():
                for parameter, whole in put.items():
                    _local(parameter).copy_(_own_part(whole.detach(), parameter))
        finally:
            self._nested -= 1
            self._put_back()

    def _put_whole(self) -> dict[nn.Parameter, nn.Parameter]:
        wrapper: Any = self
        wrapper.reshard()
        forget_weights()
        self._hooks = self._lifted_hooks()
        put = {}
        for parameter, places in self._places.items():
            full = nn.Parameter(_full(parameter.detach()), parameter.requires_grad)
            put[parameter] = full
            for part, name in places:
                part._parameters[name] = full
        return put

    def _put_back(self) -> None:
        forget_weights()
        for parameter, places in self._places.items():
            for part, name in places:
                part._parameters[name] = parameter
        for hooks, key, hook in self._hooks:
            hooks[key] = hook

    def _lifted_hooks(self) -> list[tuple[dict[int, Any], int, Any]]:
        """Takes FSDP's hooks off the model: saving and loading would meet whole weights in them."""
        found: list[tuple[dict[int, Any], int, Any]] = []
        for part in self.module.modules():
            for hooks in (getattr(part, name) for name in _HOOKS):
                for key, hook in list(hooks.items()):
                    if getattr(hook, "__module__", "").startswith("torch.distributed.fsdp"):
                        found.append((hooks, key, hooks.pop(key)))
        return found

    def give_back(self) -> nn.Module:
        """The model with its whole weights, and without anything of FSDP; for all processes."""
        self._put_whole()
        self._places, self._hooks = {}, []
        return self.module

    def _remove(self, flags: tuple[str, ...]) -> None:
        """Takes notes for torch.compile off the modules; transformers acts upon them."""
        for part in self.module.modules():
            for flag in flags:
                part.__dict__.pop(flag, None)


class _Gathered:
    """An optimizer's state as transformers saves and loads it: of whole weights.

    The files are those of a run without shards, so a run can be resumed with any number of
    processes.
    """

    def __init__(self, optimizer: Any, saving: bool) -> None:
        self._optimizer = optimizer
        self._state: dict[str, Any] = {}
        if saving:
            self._state = optimizer.state_dict()
            self._state["state"] = {
                index: {name: _kept(values[name]) for name in sorted(values)}
                for index, values in sorted(self._state["state"].items())
            }

    def state_dict(self) -> dict[str, Any]:
        return self._state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        shards = {
            index: {name: _sharded(value, parameters[index]) for name, value in values.items()}
            for index, values in state["state"].items()
            if index < len(parameters)
        }
        self._optimizer.load_state_dict({**state, "state": shards})


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
        except BaseException:
            # Other processes may be elsewhere, so the weights cannot be collected any more.
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
        return _full(super()._clip_grad_norm(model))

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        return _full(super()._get_grad_norm(model, grad_norm=grad_norm))

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
        self.optimizer = _Gathered(optimizer, saving)
        try:
            yield
        finally:
            self.optimizer = optimizer


def _full(value: Any) -> Any:
    return value.full_tensor() if isinstance(value, DTensor) else value


def _kept(value: Any) -> Any:
    """The whole value in the first process; the others only help to collect it."""
    if not isinstance(value, DTensor):
        return value
    whole = value.full_tensor()
    return whole.cpu() if torch.distributed.get_rank() == 0 else None


def _local(parameter: Any) -> Tensor:
    local: Tensor = parameter.to_local()
    return local


def _own_part(whole: Tensor, parameter: Any) -> Tensor:
    """What this process keeps of a tensor: rows, as `torch.chunk` cuts them."""
    count, rank = parameter.device_mesh.size(), parameter.device_mesh.get_local_rank()
    rows = -(-whole.shape[0] // count)
    return whole[rank * rows : (rank + 1) * rows]


def _sharded(value: Any, parameter: Any) -> Any:
    """A value of the optimizer's state, for a parameter that may be in shards."""
    if not isinstance(value, Tensor) or not isinstance(parameter, DTensor) or value.dim() == 0:
        return value
    if value.shape != parameter.shape:
        raise TrainingError(
            f"this optimizer keeps {tuple(value.shape)} numbers for a weight of "
            f"{tuple(parameter.shape)}; with fsdp, only one that keeps a number for each weight "
            "(such as AdamW or SGD) can be resumed. Start anew, or resume without fsdp."
        )
    return DTensor.from_local(
        _own_part(value, parameter).clone(), parameter.device_mesh, parameter.placements,
        shape=value.shape, stride=value.stride(),
    )  # fmt: skip
