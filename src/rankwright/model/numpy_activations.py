"""The activations a model folder may name, for machines without torch.

Each formula is that of the ``torch.nn`` class of the same name; see its documentation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwright.errors import ConfigError, InputTypeError, UnsafeModelError
from rankwright.model.contract import ActivationSpec
from rankwright.model.names import ACTIVATION_PARAMETERS, allowed_activations, named_by_caller

__all__ = ["NumpyActivation", "build_numpy_activation", "resolve_numpy_activation", "softmax"]

Array = NDArray[Any]
NumpyActivation = Callable[[Array], Array]
"""Takes ``(P, num_labels)`` float32 logits, gives scores of the same shape."""

_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805
_ERF = np.frompyfunc(math.erf, 1, 1)


def softmax(x: Array, dim: int = -1) -> Array:
    """Exponentials that sum to 1 along a dimension."""
    raised = np.exp(x - x.max(axis=dim, keepdims=True))
    result: Array = raised / raised.sum(axis=dim, keepdims=True)
    return result


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))  # never overflows
    result: Array = np.where(x >= 0, 1.0, small) / (1.0 + small)
    return result


def _log_softmax(x: Array, dim: int = -1) -> Array:
    moved = x - x.max(axis=dim, keepdims=True)
    result: Array = moved - np.log(np.exp(moved).sum(axis=dim, keepdims=True))
    return result


def _celu(x: Array, alpha: float = 1.0) -> Array:
    return np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(np.minimum(x, 0) / alpha))


def _elu(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _gelu(x: Array, approximate: str = "none") -> Array:
    if approximate == "tanh":
        inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)
        return 0.5 * x * (1.0 + np.tanh(inner))
    erf: Array = np.asarray(_ERF(x / math.sqrt(2.0)), np.float64)
    return 0.5 * x * (1.0 + erf)


def _hardsigmoid(x: Array) -> Array:
    return np.clip(x / 6.0 + 0.5, 0.0, 1.0)


def _hardtanh(x: Array, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    return np.clip(x, min_val, max_val)


def _softplus(x: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    scaled = beta * x
    soft = np.log1p(np.exp(np.minimum(scaled, threshold))) / beta
    return np.where(scaled > threshold, x, soft)


def _softshrink(x: Array, lambd: float = 0.5) -> Array:
    return np.where(x > lambd, x - lambd, np.where(x < -lambd, x + lambd, 0.0))


def _log_sigmoid(x: Array) -> Array:
    result: Array = np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))
    return result


def _leaky_relu(x: Array, negative_slope: float = 0.01) -> Array:
    return np.where(x >= 0, x, negative_slope * x)


_FORMULAS: dict[str, Callable[..., Array]] = {
    "CELU": _celu,
    "ELU": _elu,
    "GELU": _gelu,
    "Hardshrink": lambda x, lambd=0.5: np.where(np.abs(x) > lambd, x, 0.0),
    "Hardsigmoid": _hardsigmoid,
    "Hardswish": lambda x: x * _hardsigmoid(x),
    "Hardtanh": _hardtanh,
    "Identity": lambda x: x,
    "LeakyReLU": _leaky_relu,
    "LogSigmoid": _log_sigmoid,
    "LogSoftmax": _log_softmax,
    "Mish": lambda x: x * np.tanh(_softplus(x)),
    "ReLU": lambda x: np.maximum(x, 0),
    "ReLU6": lambda x: np.clip(x, 0.0, 6.0),
    "SELU": lambda x: _SELU_SCALE * _elu(x, _SELU_ALPHA),
    "SiLU": lambda x: x * _sigmoid(x),
    "Sigmoid": _sigmoid,
    "Softmax": softmax,
    "Softmin": lambda x, dim=-1: softmax(-x, dim),
    "Softplus": _softplus,
    "Softshrink": _softshrink,
    "Softsign": lambda x: x / (1.0 + np.abs(x)),
    "Tanh": np.tanh,
    "Tanhshrink": lambda x: x - np.tanh(x),
}


def build_numpy_activation(spec: ActivationSpec) -> NumpyActivation:
    """The function a spec from a folder stands for; computes in float64, gives float32.

    Raises:
        UnsafeModelError: The name is not in the table.
        ConfigError: Arguments the activation does not take.
    """
    known = ACTIVATION_PARAMETERS.get(spec.name)
    if known is None:
        raise UnsafeModelError(
            f"The model folder names the activation {spec.name!r}, which is not one of those a "
            f"folder may name: {', '.join(allowed_activations())}. Pass activation_fn=... to "
            "choose one yourself."
        )
    unknown = sorted(set(spec.parameters) - set(known))
    if unknown:
        raise ConfigError(
            f"Activation {spec.name} has no parameters {unknown}; it takes {list(known) or 'none'}."
        )
    parameters = dict(spec.parameters)
    if parameters.get("dim", -1) is None:
        parameters["dim"] = -1
    formula = _FORMULAS[spec.name]

    def activation(logits: Array) -> Array:
        try:
            scores = formula(np.asarray(logits, np.float64), **parameters)
        except (TypeError, np.exceptions.AxisError) as error:
            raise ConfigError(
                f"Activation {spec.name} cannot be computed with {parameters}: {error}"
            ) from error
        return np.asarray(scores, np.float32)

    return activation


def resolve_numpy_activation(activation: Any) -> NumpyActivation:
    """What a caller may pass, as something to call.

    Names (``"sigmoid"``, ``"torch.nn.Tanh"``), `ActivationSpec` and ``torch.nn`` modules or classes
    become numpy functions; any other callable on ``(P, num_labels)`` float32 arrays stays as it is.

    Raises:
        InputError: A name that is not known.
        InputTypeError: Not callable, or a function of torch's.
    """
    if isinstance(activation, ActivationSpec):
        return build_numpy_activation(activation)
    if isinstance(activation, str):
        return build_numpy_activation(named_by_caller(activation, "a function of arrays"))
    kind = activation if isinstance(activation, type) else type(activation)
    if kind.__module__.startswith("torch.nn.") and kind.__name__ in ACTIVATION_PARAMETERS:
        names = () if isinstance(activation, type) else ACTIVATION_PARAMETERS[kind.__name__]
        return build_numpy_activation(
            ActivationSpec(kind.__name__, {name: getattr(activation, name) for name in names})
        )
    module = str(getattr(activation, "__module__", None) or kind.__module__)
    if not callable(activation) or isinstance(activation, type) or module.startswith("torch"):
        raise InputTypeError(
            f"activation_fn is {activation!r:.60}; expected a name such as 'sigmoid', a torch.nn "
            "module such as torch.nn.Sigmoid(), or a function of (pairs, labels) arrays."
        )
    function: NumpyActivation = activation
    return function
