"""Activations: which ones a model folder may name, and how they travel with their parameters.

A folder is data. A name in it is only ever looked up in the table below, never imported or
called, unless the caller passed ``trust_remote_code=True``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rankwright.errors import ConfigError, InputError, InputTypeError, UnsafeModelError
from rankwright.model.contract import ActivationSpec
from rankwright.model.names import (
    ACTIVATION_PARAMETERS,
    allowed_activations,
    named_by_caller,
)

__all__ = [
    "Activation",
    "build_activation",
    "class_path",
    "default_activation",
    "describe_activation",
    "resolve_activation",
]

Activation = Callable[[Tensor], Tensor]
"""Takes ``(P, num_labels)`` float32 logits, gives scores of the same shape."""


_FUNCTIONS: dict[Any, str] = {
    torch.sigmoid: "Sigmoid",
    torch.special.expit: "Sigmoid",
    F.sigmoid: "Sigmoid",
    torch.Tensor.sigmoid: "Sigmoid",
    F.logsigmoid: "LogSigmoid",
    F.hardsigmoid: "Hardsigmoid",
    torch.tanh: "Tanh",
    F.tanh: "Tanh",
    torch.Tensor.tanh: "Tanh",
    F.hardtanh: "Hardtanh",
    F.tanhshrink: "Tanhshrink",
    F.softsign: "Softsign",
    F.softplus: "Softplus",
    F.softshrink: "Softshrink",
    F.hardshrink: "Hardshrink",
    torch.relu: "ReLU",
    F.relu: "ReLU",
    F.relu6: "ReLU6",
    F.leaky_relu: "LeakyReLU",
    F.elu: "ELU",
    F.celu: "CELU",
    F.selu: "SELU",
    torch.selu: "SELU",
    F.gelu: "GELU",
    F.silu: "SiLU",
    F.mish: "Mish",
    F.hardswish: "Hardswish",
    F.softmax: "Softmax",
    F.softmin: "Softmin",
    F.log_softmax: "LogSoftmax",
}


def default_activation(num_labels: int) -> ActivationSpec:
    """Sigmoid for one label, Identity for more: what Sentence Transformers does too."""
    return ActivationSpec("Sigmoid" if num_labels == 1 else "Identity")


def class_path(spec: ActivationSpec) -> str:
    """The dotted path other readers expect, e.g. ``torch.nn.modules.activation.Sigmoid``."""
    module = getattr(nn, spec.name)
    return f"{module.__module__}.{module.__qualname__}"


def build_activation(spec: ActivationSpec, trust_remote_code: bool = False) -> nn.Module:
    """The module a spec from a folder stands for.

    Args:
        spec: Name and arguments.
        trust_remote_code: Allows a dotted path to an importable ``nn.Module`` subclass that
            takes no arguments.

    Raises:
        UnsafeModelError: The name is not in the table, and not trusted or not an ``nn.Module``.
        ConfigError: Arguments the class does not take.
    """
    known = ACTIVATION_PARAMETERS.get(spec.name)
    if known is None:
        return _import_trusted(spec.name, trust_remote_code)
    unknown = sorted(set(spec.parameters) - set(known))
    if unknown:
        raise ConfigError(
            f"Activation {spec.name} has no parameters {unknown}; it takes {list(known) or 'none'}."
        )
    parameters = dict(spec.parameters)
    if "dim" in known and parameters.get("dim") is None:
        parameters["dim"] = -1  # torch guesses the dimension otherwise, and warns each time
    try:
        module: nn.Module = getattr(nn, spec.name)(**parameters)
        return module
    except (TypeError, ValueError, AssertionError) as error:  # torch asserts on ranges
        raise ConfigError(
            f"Activation {spec.name} cannot be built with {parameters}: {error}"
        ) from error


def _import_trusted(path: str, trust_remote_code: bool) -> nn.Module:
    choices = ", ".join(allowed_activations())
    if not trust_remote_code:
        raise UnsafeModelError(
            f"The model folder names the activation {path!r}, which is not one of those a folder "
            f"may name: {choices}. Pass activation_fn=... to choose one yourself, or, if you "
            "trust its author, trust_remote_code=True."
        )
    module_name, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name) if module_name else None
    except (ImportError, AttributeError) as error:
        raise UnsafeModelError(
            f"The model folder names the activation {path!r}, which cannot be imported: {error}. "
            "Install its package, or pass activation_fn=... yourself."
        ) from error
    # Even under trust only classes that are activations are called, not any callable.
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UnsafeModelError(
            f"The model folder names the activation {path!r}, which is not a subclass of "
            f"torch.nn.Module. Pass activation_fn=... yourself. Known names: {choices}."
        )
    return found()


def resolve_activation(activation: str | type[nn.Module] | Activation) -> Activation:
    """What a caller may pass, as something to call.

    Names (``"sigmoid"``, ``"torch.nn.Tanh"``), classes (``nn.Sigmoid``) and functions
    (``torch.sigmoid``, ``F.relu``) become their modules; any other callable stays as it is.

    Raises:
        InputError: A name that is not known.
        InputTypeError: Not callable.
    """
    if isinstance(activation, str):
        return build_activation(named_by_caller(activation, "a torch.nn module"))
    if isinstance(activation, type):
        return resolve_activation(_instance(activation))
    if not callable(activation):
        raise InputTypeError(
            f"activation_fn is {activation!r} ({type(activation).__name__}); "
            "expected a torch.nn module such as torch.nn.Sigmoid(), or its name."
        )
    try:
        name = _FUNCTIONS.get(activation)
    except TypeError:  # an unhashable callable is none of torch's functions
        name = None
    if name is not None:
        return build_activation(ActivationSpec(name))
    if type(activation) in (nn.Softmax, nn.Softmin, nn.LogSoftmax):
        return build_activation(describe_activation(activation))
    return activation


def _instance(kind: type) -> nn.Module:
    try:
        if issubclass(kind, nn.Module):
            return kind()
    except TypeError as error:
        raise InputTypeError(
            f"activation_fn is the class {kind.__name__}, which needs arguments ({error}); "
            f"pass an instance, {kind.__name__}(...)."
        ) from error
    raise InputTypeError(f"activation_fn is the class {kind.__name__}; expected a torch.nn module.")


def describe_activation(activation: Activation) -> ActivationSpec:
    """An activation as data, for saving.

    Raises:
        InputError: It is not one of the known ``torch.nn`` classes, so that no reader could
            rebuild it.
    """
    class_name = type(activation).__name__
    known = ACTIVATION_PARAMETERS.get(class_name)
    if known is None or type(activation) is not getattr(nn, class_name):
        name = getattr(activation, "__qualname__", type(activation).__qualname__)
        raise InputError(
            f"activation_fn is {name!r}, which cannot be saved: a folder holds only the name and "
            f"the parameters of one of {', '.join(allowed_activations())}. Set model.activation_fn "
            "to one of these (torch.nn.Identity() for raw scores) before saving, and apply your "
            "function to what predict returns."
        )
    parameters = {name: getattr(activation, name) for name in known}
    if "dim" in parameters and parameters["dim"] is None:
        parameters["dim"] = -1
    return ActivationSpec(class_name, parameters)
