"""bfloat16 products with the same results, but faster, on processors that cannot multiply bfloat16.

Such processors emulate bfloat16 at a tenth of their float32 rate. Hardware multiplies bfloat16
exactly and adds up in float32, which float32 products of the same numbers do as well; only the
result is rounded. So rankings and losses in bfloat16 can be judged anywhere; its speed cannot.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rankwright.engine.precision import resolve_precision

__all__ = ["bfloat16_products"]

PRODUCTS = {
    torch.ops.aten.mm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.baddbmm.default,
    torch.ops.aten.linear.default,
}


class _Products(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [arg for arg in args if isinstance(arg, torch.Tensor)]
        if func not in PRODUCTS or any(x.dtype != torch.bfloat16 for x in tensors):
            return func(*args, **kwargs)
        wide = [arg.float() if isinstance(arg, torch.Tensor) else arg for arg in args]
        return func(*wide, **kwargs).to(torch.bfloat16)


@contextmanager
def bfloat16_products() -> Iterator[None]:
    """Within it, matrix products of bfloat16 tensors are made in float32 and rounded.

    Does nothing where the processor has bfloat16 products of its own.
    """
    if resolve_precision("auto", "cpu") == torch.bfloat16:
        yield
        return
    with _Products():
        yield
