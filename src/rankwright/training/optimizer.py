"""Which parameters learn at which rate."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from rankwright.errors import InputError

__all__ = ["parameter_groups"]


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]],
    decaying: set[str],
    rates: Mapping[str, float],
    weight_decay: float,
) -> list[dict[str, Any]]:
    """Groups for an optimizer, by learning rate and by whether weights decay.

    Args:
        named: Parameters with their names.
        decaying: Names of those that decay.
        rates: Regular expression -> learning rate; the first one found in a name counts.
            Parameters that none is found in get the optimizer's own rate.
        weight_decay: For those that decay.

    Raises:
        InputError: An expression found in no name.
    """
    groups: dict[tuple[str | None, bool, type], list[nn.Parameter]] = {}
    unused = set(rates)
    names = []
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        names.append(name)
        pattern = next((p for p in rates if re.search(p, name)), None)
        unused.discard(pattern or "")
        # No fused optimizer takes sharded weights and a loss's own, which are whole, at once.
        kind = type(parameter.data)
        groups.setdefault((pattern, name in decaying, kind), []).append(parameter)
    if unused:
        raise InputError(
            f"learning_rate_mapping: {sorted(unused)[0]!r} matches no parameter. "
            f"Names look like {', '.join(names[:3])} and {names[-1]}."
        )
    return [
        {"params": parameters, "weight_decay": weight_decay if decays else 0.0}
        | ({} if pattern is None else {"lr": rates[pattern]})
        for (pattern, decays, _), parameters in groups.items()
    ]
