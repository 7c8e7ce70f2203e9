from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rankwright.errors import ConfigError, InputError, InputTypeError, UnsafeModelError
from rankwright.model.activations import build_activation
from rankwright.model.contract import ActivationSpec
from rankwright.model.names import ACTIVATION_PARAMETERS
from rankwright.model.numpy_activations import build_numpy_activation, resolve_numpy_activation

OTHERS: dict[str, dict[str, float | str | int | None]] = {
    "CELU": {"alpha": 1.7},
    "ELU": {"alpha": 0.4},
    "GELU": {"approximate": "tanh"},
    "Hardshrink": {"lambd": 0.9},
    "Hardtanh": {"min_val": -5.0, "max_val": 2.0},
    "LeakyReLU": {"negative_slope": 0.3},
    "LogSoftmax": {"dim": 0},
    "Softmax": {"dim": None},
    "Softmin": {"dim": 1},
    "Softplus": {"beta": 2.0, "threshold": 3.0},
    "Softshrink": {"lambd": 0.2},
}
SPECS = [ActivationSpec(name) for name in ACTIVATION_PARAMETERS]
SPECS += [ActivationSpec(name, parameters) for name, parameters in OTHERS.items()]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_equals_torch(spec: ActivationSpec) -> None:
    generator = np.random.default_rng(3)
    logits = generator.normal(scale=4, size=(64, 3)).astype(np.float32)
    logits[:8, 0] = [0.0, -0.0, 0.5, -0.5, 3.0, -3.0, 6.0, 1.0]
    logits[8:12, 1] = [80.0, -80.0, 20.5, -20.5]
    with np.errstate(all="raise", under="ignore"):  # no warning, no overflow
        found = build_numpy_activation(spec)(logits)
    expected = build_activation(spec)(torch.from_numpy(logits)).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-6, rtol=2e-6)


def test_every_name_has_a_formula_and_its_parameters() -> None:
    assert {spec.name for spec in SPECS} == set(ACTIVATION_PARAMETERS)
    parametrised = {name for name, known in ACTIVATION_PARAMETERS.items() if known}
    assert parametrised == set(OTHERS)


def test_extremes() -> None:
    far = np.asarray([[1e30, -1e30, np.inf, -np.inf]], np.float32)
    assert build_numpy_activation(ActivationSpec("Sigmoid"))(far).tolist() == [[1, 0, 1, 0]]
    nan = np.asarray([[np.nan]], np.float32)
    assert np.isnan(build_numpy_activation(ActivationSpec("Sigmoid"))(nan)).all()


@pytest.mark.parametrize(
    ("given", "spec"),
    [
        ("sigmoid", ActivationSpec("Sigmoid")),
        ("torch.nn.modules.linear.Identity", ActivationSpec("Identity")),
        (nn.Tanh, ActivationSpec("Tanh")),
        (nn.LeakyReLU(0.3), ActivationSpec("LeakyReLU", {"negative_slope": 0.3})),
        (nn.Softmax(dim=1), ActivationSpec("Softmax", {"dim": 1})),
        (ActivationSpec("ELU", {"alpha": 2.0}), ActivationSpec("ELU", {"alpha": 2.0})),
    ],
    ids=str,
)
def test_what_callers_pass(given: object, spec: ActivationSpec) -> None:
    logits = np.linspace(-3, 3, 12, dtype=np.float32).reshape(4, 3)
    expected = build_numpy_activation(spec)(logits)
    np.testing.assert_array_equal(resolve_numpy_activation(given)(logits), expected)


def test_a_function_of_the_callers() -> None:
    logits = np.ones((2, 1), np.float32)
    assert resolve_numpy_activation(lambda x: x * 3)(logits).tolist() == [[3], [3]]


def test_refusals() -> None:
    with pytest.raises(InputError, match="'sigmoit' is not known; choose one of"):
        resolve_numpy_activation("sigmoit")
    for given in (torch.sigmoid, nn.PReLU(), 3, int):
        with pytest.raises(InputTypeError, match="expected a name such as 'sigmoid'"):
            resolve_numpy_activation(given)
    with pytest.raises(UnsafeModelError, match=r"torch\.random\.seed"):
        build_numpy_activation(ActivationSpec("torch.random.seed"))
    with pytest.raises(ConfigError, match=r"no parameters \['alpha'\]"):
        build_numpy_activation(ActivationSpec("Sigmoid", {"alpha": 1.0}))
    with pytest.raises(ConfigError, match="cannot be computed"):
        build_numpy_activation(ActivationSpec("Softmax", {"dim": 5}))(np.ones((2, 1), np.float32))
