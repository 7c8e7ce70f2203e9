"""A model, and the state of its optimizer, in shards: cut up, put together and cut up again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from rankwright.engine.ops import forget_weights
from rankwright.errors import InputError, TrainingError

__all__ = ["Gathered", "Sharded", "full"]

_HOOKS = ("_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks")
_FLAGS = ("_is_fsdp_managed_module", "_fsdp_use_orig_params")


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
            whole = nn.Parameter(full(parameter.detach()), parameter.requires_grad)
            put[parameter] = whole
            for part, name in places:
                part._parameters[name] = whole
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


class Gathered:
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


def full(value: Any) -> Any:
    """The whole of a value that may be in shards; for all processes."""
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
