from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rankwright.errors import ConfigError, InputError, InputTypeError, UnsafeModelError
from rankwright.model.activations import (
    build_activation,
    class_path,
    default_activation,
    describe_activation,
    resolve_activation,
)
from rankwright.model.contract import ActivationSpec, ScoringContract
from rankwright.model.names import ACTIVATION_PARAMETERS, allowed_activations, spec_from_name

LOGITS = torch.linspace(-6, 6, 12).reshape(4, 3)


@pytest.mark.parametrize(
    "module",
    [
        nn.LeakyReLU(0.3),
        nn.Hardtanh(-5, 5),
        nn.Softmax(dim=1),
        nn.ELU(0.4),
        nn.GELU("tanh"),
        nn.Softplus(beta=2.0, threshold=3.0),
        nn.Softshrink(0.7),
    ],
)
def test_parameters_survive(module: nn.Module) -> None:
    rebuilt = build_activation(describe_activation(module))
    assert torch.equal(rebuilt(LOGITS), module(LOGITS))
    usual = type(module)(dim=0) if isinstance(module, nn.Softmax) else type(module)()
    assert not torch.equal(usual(LOGITS), module(LOGITS))


@pytest.mark.parametrize("name", allowed_activations())
def test_table_agrees_with_torch(name: str) -> None:
    module = build_activation(ActivationSpec(name))
    assert type(module) is getattr(nn, name)
    assert set(ACTIVATION_PARAMETERS[name]) <= set(vars(module))
    assert spec_from_name(class_path(ActivationSpec(name))) == ActivationSpec(name)
    assert module(LOGITS).shape == LOGITS.shape


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (torch.sigmoid, nn.Sigmoid()),
        (F.sigmoid, nn.Sigmoid()),
        (torch.tanh, nn.Tanh()),
        (F.relu, nn.ReLU()),
        (F.gelu, nn.GELU()),
        ("sigmoid", nn.Sigmoid()),
        ("torch.nn.modules.linear.Identity", nn.Identity()),
        (nn.Tanh, nn.Tanh()),
        (nn.Softmax(), nn.Softmax(-1)),
    ],
)
def test_functions_names_and_classes_become_modules(given_: object, expected: nn.Module) -> None:
    resolved = resolve_activation(given_)  # type: ignore[arg-type]
    assert type(resolved) is type(expected)
    assert torch.equal(resolved(LOGITS), expected(LOGITS))
    describe_activation(resolved)


class Squash(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 2


def test_custom_callables_run_but_cannot_be_saved() -> None:
    for custom in (lambda x: x * 2, Squash(), nn.PReLU()):
        assert resolve_activation(custom) is custom
        with pytest.raises(InputError, match="cannot be saved"):
            describe_activation(custom)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="'swoosh' is not known"):
        resolve_activation("swoosh")
    with pytest.raises(InputTypeError, match="expected a torch.nn module"):
        resolve_activation(3)  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match="needs arguments"):
        resolve_activation(nn.Threshold)


@pytest.mark.parametrize("path", ["torch.random.seed", "os.getcwd", "builtins.print", "lambda"])
def test_a_name_in_a_folder_is_never_called(path: str) -> None:
    before = torch.initial_seed()
    for trust in (False, True):
        with pytest.raises(UnsafeModelError):
            build_activation(spec_from_name(path), trust_remote_code=trust)
    assert torch.initial_seed() == before


def test_untrusted_names_list_what_is_allowed() -> None:
    with pytest.raises(UnsafeModelError, match=r"Hardtanh, Identity.*trust_remote_code=True"):
        build_activation(ActivationSpec("my_package.Mine"))


def test_trusted_module_is_imported(tmp_path, monkeypatch) -> None:
    (tmp_path / "their_activations.py").write_text(
        "import torch\nclass Half(torch.nn.Module):\n    def forward(self, x): return x / 2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    half = build_activation(ActivationSpec("their_activations.Half"), trust_remote_code=True)
    assert half(torch.tensor(3.0)) == 1.5


def test_bad_parameters() -> None:
    with pytest.raises(ConfigError, match="has no parameters"):
        build_activation(ActivationSpec("Sigmoid", {"slope": 1}))
    with pytest.raises(ConfigError, match="cannot be built"):
        build_activation(ActivationSpec("Hardtanh", {"min_val": 5, "max_val": -5}))


def test_default_by_labels() -> None:
    assert default_activation(1).name == "Sigmoid"
    assert default_activation(3).name == "Identity"


names = st.text(min_size=1, max_size=8)
contracts = st.builds(
    ScoringContract,
    activation=st.none() | st.builds(ActivationSpec, names, st.just({"alpha": 0.5})),
    max_length=st.none() | st.integers(1, 9000),
    prompts=st.dictionaries(names, st.text()),
    fusion=st.none() | st.just({"weight": 0.3, "normalisation": "min-max"}),
)


@given(contracts)
def test_contract_survives_json(contract: ScoringContract) -> None:
    import json

    assert ScoringContract.from_dict(json.loads(json.dumps(contract.to_dict()))) == contract


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"version": 99}, "Upgrade"),
        ({"max_length": "64"}, "expected int"),
        ({"max_length": True}, "expected int"),
        ({"max_length": 0}, "at least 1"),
        ({"truncation": "middle"}, "longest_first"),
        ({"prompts": ["q"]}, "names mapped to texts"),
        ({"prompts": {"q": 1}}, "expected a string"),
        ({"default_prompt_name": "q"}, "not one of the prompts"),
        ({"activation": "Sigmoid"}, "'activation' is 'Sigmoid'"),
        ({"activation": {"name": "ELU", "parameters": {"alpha": [1]}}}, "numbers, strings"),
        ({"fusion": 3}, "expected dict"),
    ],
)
def test_contract_names_what_does_not_hold(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        ScoringContract.from_dict(values, "rankwright.json")
    assert "rankwright.json" in str(error.value)
