"""The activations a model folder may name, without torch.

Left out on purpose: PReLU has a learned weight that belongs to the model's weights, RReLU is
random, GLU changes the shape.
"""

from __future__ import annotations

from rankwright.errors import InputError
from rankwright.model.contract import ActivationSpec

__all__ = ["ACTIVATION_PARAMETERS", "allowed_activations", "named_by_caller", "spec_from_name"]

ACTIVATION_PARAMETERS: dict[str, tuple[str, ...]] = {
    "CELU": ("alpha",),
    "ELU": ("alpha",),
    "GELU": ("approximate",),
    "Hardshrink": ("lambd",),
    "Hardsigmoid": (),
    "Hardswish": (),
    "Hardtanh": ("min_val", "max_val"),
    "Identity": (),
    "LeakyReLU": ("negative_slope",),
    "LogSigmoid": (),
    "LogSoftmax": ("dim",),
    "Mish": (),
    "ReLU": (),
    "ReLU6": (),
    "SELU": (),
    "SiLU": (),
    "Sigmoid": (),
    "Softmax": ("dim",),
    "Softmin": ("dim",),
    "Softplus": ("beta", "threshold"),
    "Softshrink": ("lambd",),
    "Softsign": (),
    "Tanh": (),
    "Tanhshrink": (),
}
"""Name of a ``torch.nn`` class -> the constructor arguments that define it."""

_PREFIXES = ("torch.nn.modules.activation.", "torch.nn.modules.linear.", "torch.nn.", "")


def allowed_activations() -> tuple[str, ...]:
    """The names a model folder may carry, sorted."""
    return tuple(sorted(ACTIVATION_PARAMETERS))


def spec_from_name(path: str) -> ActivationSpec:
    """What a dotted class path in a Sentence Transformers folder stands for.

    A path outside the table is kept as it is; building it is refused later.
    """
    for prefix in _PREFIXES:
        if path.startswith(prefix) and path.removeprefix(prefix) in ACTIVATION_PARAMETERS:
            return ActivationSpec(path.removeprefix(prefix))
    return ActivationSpec(path)


def named_by_caller(name: str, otherwise: str) -> ActivationSpec:
    """What a caller's ``activation_fn="sigmoid"`` stands for, in any case and with any path.

    Args:
        name: What was passed.
        otherwise: What may be passed instead of a name, for the message.

    Raises:
        InputError: A name that is not known.
    """
    wanted = spec_from_name(name).name.lower()
    for known in ACTIVATION_PARAMETERS:
        if known.lower() == wanted:
            return ActivationSpec(known)
    raise InputError(
        f"activation_fn={name!r} is not known; "
        f"choose one of {', '.join(allowed_activations())}, or pass {otherwise}."
    )
