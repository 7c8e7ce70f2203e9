"""Linear layers as packed execution wants them.

`linear` runs one or several `torch.nn.Linear` on the same input as one product. Their weights are
concatenated, cast to the compute type and kept until they change, instead of at each call. Without
gradients they are kept in oneDNN's own layout where that is faster (`rankwright.engine.prepacked`).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_post_hook

from rankwright.engine.compiled_training import (
    activate_compiled,
    activates_compiled,
    linear_compiled,
    linear_compiled_back,
    multiplies_compiled,
)
from rankwright.engine.prepacked import fused_activation, lay_out, prepacks, product

__all__ = ["WeightCache", "activated", "forget_weights", "is_plain", "linear"]

_Made = TypeVar("_Made")


class _Steps:
    """How many steps any optimiser of this process has taken."""

    taken = 0

    @classmethod
    def count(cls, *_: Any) -> None:
        cls.taken += 1


register_optimizer_step_post_hook(_Steps.count)

_caches: weakref.WeakSet[WeightCache] = weakref.WeakSet()


def forget_weights() -> None:
    """Clears every `WeightCache`: for weights that are exchanged for others, or taken away."""
    _Steps.count()  # for a cache that is being filled right now
    for cache in list(_caches):
        cache.clear()


class WeightCache:
    """Weights and biases of linear layers, concatenated and cast, kept until they change.

    A change is seen by the parameters' version counters and addresses, which
    ``load_state_dict`` and moves between devices alter, and by a count of all optimiser steps,
    because fused optimisers write without touching the version counter. Writing through
    ``parameter.data`` by hand shows in none of them; call `clear` after doing that.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[Any, Any]] = {}
        _caches.add(self)

    def __reduce__(self) -> tuple[type[WeightCache], tuple[()]]:
        # A copy is for other layers, and laid out weights cannot be copied.
        return WeightCache, ()

    def clear(self) -> None:
        """Forgets everything kept."""
        self._kept.clear()

    def get(
        self, layers: tuple[nn.Linear, ...], dtype: torch.dtype, laid_out: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """``(sum of outputs, inputs)`` weight and ``(sum of outputs,)`` bias, without gradient.

        Args:
            layers: They have the same inputs, and all have a bias or none has.
            dtype: The type to cast to.
            laid_out: Whether the weight is for `rankwright.engine.prepacked.product`. Of the two
                forms only the one that was asked for last is kept.
        """
        parameters = [p for layer in layers for p in (layer.weight, layer.bias) if p is not None]

        def make() -> tuple[Tensor, Tensor | None]:
            weights = [layer.weight.detach().to(dtype) for layer in layers]
            weight = weights[0] if len(weights) == 1 else torch.cat(weights)
            if laid_out:
                weight = lay_out(weight)
            biases = [layer.bias.detach().to(dtype) for layer in layers if layer.bias is not None]
            bias = None if not biases else biases[0] if len(biases) == 1 else torch.cat(biases)
            return weight, bias

        return self.made((dtype, *map(id, layers)), layers[0], parameters, make, laid_out)

    def made(
        self,
        key: Hashable,
        owner: nn.Module,
        parameters: Sequence[Tensor],
        make: Callable[[], _Made],
        form: Hashable = None,
    ) -> _Made:
        """What ``make`` makes of parameters, kept until they change or ``owner`` is gone.

        Args:
            key: Names what is made, and by the ids of modules, of which.
            owner: The first of those modules.
            parameters: All that ``make`` reads.
            make: Called without gradients.
            form: Of several forms only the one that was asked for last is kept.
        """
        state = (form, _Steps.taken, *((_version(p), p.data_ptr()) for p in parameters))
        kept = self._kept.get(key)
        if kept is not None and kept[0] == state:
            found: _Made = kept[1]
            return found
        if kept is None:
            # Ids can be used again after a module is gone; its entry must go with it.
            weakref.finalize(owner, self._kept.pop, key, None)
        with torch.no_grad(), torch.inference_mode(False):
            result = make()
        self._kept[key] = (state, result)
        return result


def _version(parameter: Tensor) -> int:
    return 0 if parameter.is_inference() else parameter._version


class _Linear(torch.autograd.Function):
    """``x @ W.T + b`` with the kept, cast ``W``; gradients go to the float32 originals."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, sizes: tuple[int, ...], *p: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.sizes, ctx.biased, ctx.dtypes = sizes, bias is not None, [t.dtype for t in p]
        ctx.compiled = multiplies_compiled(x, weight)
        if ctx.compiled:
            return linear_compiled(x, weight, bias)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        n = len(ctx.sizes)
        need = ctx.needs_input_grad
        gx = None
        if need[0]:
            gx = linear_compiled_back(gradient, weight) if ctx.compiled else gradient @ weight
        gw: list[Tensor | None] = [None] * n
        gb: list[Tensor | None] = [None] * n if ctx.biased else []
        if any(need[4 : 4 + n]):
            whole = gradient.t() @ x
            gw = [
                g.to(d) for g, d in zip(torch.split(whole, ctx.sizes), ctx.dtypes[:n], strict=True)
            ]
        if ctx.biased and any(need[4 + n :]):
            summed = gradient.sum(0, dtype=torch.promote_types(gradient.dtype, torch.float32))
            gb = [
                g.to(d) for g, d in zip(torch.split(summed, ctx.sizes), ctx.dtypes[n:], strict=True)
            ]
        return (gx, None, None, None, *gw, *gb)


def linear(
    x: Tensor, layers: tuple[nn.Module, ...], cache: WeightCache, training: bool = False
) -> Tensor:
    """The outputs of the layers side by side: ``(T, in) -> (T, sum of out)``, in x's type.

    Layers that are not plain `nn.Linear` (adapters, quantised or hooked ones) are called as they
    are, so whatever they do beyond a product happens. In training results are the same to the bit
    with gradients and without, for steps that compute everything twice.
    """
    training = training or torch.is_grad_enabled()
    if not all(is_plain(layer) for layer in layers) or not _alike(layers):
        half = x.dtype in (torch.bfloat16, torch.float16)
        with torch.autocast(x.device.type, dtype=x.dtype if half else None, enabled=half):
            return torch.cat([layer(x) for layer in layers], dim=-1).to(x.dtype)
    plain: tuple[nn.Linear, ...] = layers  # type: ignore[assignment]
    if not training and _prepacked(x, plain):
        return product(x, *cache.get(plain, x.dtype, laid_out=True))
    weight, bias = cache.get(plain, x.dtype)
    if not training:
        return F.linear(x, weight, bias)
    sizes = tuple(layer.out_features for layer in plain)
    parameters = [layer.weight for layer in plain]
    if bias is not None:
        parameters += [layer.bias for layer in plain]
    result: Tensor = _Linear.apply(x, weight, bias, sizes, *parameters)  # type: ignore[no-untyped-call]
    return result


def activated(
    x: Tensor,
    layer: nn.Module,
    activation: Callable[[Tensor], Tensor],
    cache: WeightCache,
    training: bool = False,
) -> Tensor:
    """``activation(layer(x))``, ``(T, in) -> (T, out)``: one operation where that can be."""
    training = training or torch.is_grad_enabled()
    if not training and is_plain(layer) and _prepacked(x, (layer,)):  # type: ignore[arg-type]
        fused = fused_activation(activation)
        if fused is not None:
            weight, bias = cache.get((layer,), x.dtype, laid_out=True)  # type: ignore[arg-type]
            return product(x, weight, bias, fused)
    inner = linear(x, (layer,), cache, training)
    if training and activates_compiled(inner, activation):
        return activate_compiled(inner, activation)
    return activation(inner)


def _prepacked(x: Tensor, layers: tuple[nn.Linear, ...]) -> bool:
    """Whether a product of plain layers can run with laid out weights, without gradients."""
    return (
        x.device.type == "cpu"
        and prepacks(x.dtype)
        # Subclasses of tensors, such as quantised or sharded weights, have products of their own.
        and all(type(layer.weight) is nn.Parameter for layer in layers)
    )


def is_plain(layer: nn.Module) -> bool:
    """Whether a layer is a linear one whose call does nothing but a product."""
    return type(layer) is nn.Linear and not (layer._forward_hooks or layer._forward_pre_hooks)


def _alike(layers: tuple[nn.Module, ...]) -> bool:
    return len({layer.bias is None for layer in layers}) == 1
