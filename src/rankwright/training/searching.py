"""Models made anew: for a search over hyperparameters, and with adapters."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from rankwright.errors import InputError, MissingDependencyError

__all__ = ["SearchingTrainer", "main_metric", "with_adapter"]

logger = logging.getLogger(__name__)


def with_adapter(model: Any, peft_config: Any, seed: int) -> Any:
    """The model with a new adapter in it, drawn from the seed; as it is without a configuration."""
    if peft_config is not None and model is not None:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            model.add_adapter(peft_config)
    return model


def main_metric(metrics: Mapping[str, float], evaluators: list[Any]) -> tuple[str, bool]:
    """What a search goes by: the evaluator's main metric, or without an evaluator the loss.

    Args:
        metrics: What an evaluation gave.
        evaluators: Those of the trainer.

    Returns:
        Its name among the metrics, and whether more of it is better.

    Raises:
        InputError: It cannot be told.
    """
    if not evaluators and "eval_loss" in metrics:
        return "eval_loss", False
    last = evaluators[-1] if evaluators else None
    primary = getattr(last, "primary_metric", None)
    names = ["eval_sequential_score"] if len(evaluators) > 1 else []
    names += [f"eval_{primary}", f"eval_{getattr(last, 'name', '')}_{primary}", "eval_evaluator"]
    found = next((name for name in names if name in metrics), None)
    if found is None:
        raise InputError(
            "hyperparameter_search cannot tell which metric to go by. Pass compute_objective=, "
            "a function of the metrics such as lambda metrics: metrics['eval_dev_ndcg@10'], and "
            f"direction=. The metrics are: {', '.join(sorted(metrics))}."
        )
    return found, bool(getattr(last, "greater_is_better", True))


class SearchingTrainer(Trainer):
    """transformers' Trainer, for models that `model_init` makes."""

    args: Any
    model: Any
    loss: Any
    evaluators: list[Any]
    _peft_config: Any = None
    _given: tuple[Any, Any]
    _loss_starts: dict[int, dict[str, Tensor]]

    def _settle(self, model: Any) -> None:
        """Makes what depends on the model: the loss and the collator."""
        raise NotImplementedError

    def _renewed(self, loss: Any, model: Any) -> Any:
        """A loss as it was before any training, and for this model."""
        given = self._given[0]
        ready_made = given.values() if isinstance(given, Mapping) else [given]
        if any(one is loss for one in ready_made):
            if id(loss) in self._loss_starts:
                # What an earlier trial taught it must not stay.
                loss.load_state_dict(self._loss_starts[id(loss)])
                object.__setattr__(loss, "model", model)
            else:
                self._loss_starts[id(loss)] = copy.deepcopy(loss.state_dict())
        return loss

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """A new model from ``model_init``, with loss and collator of its own."""
        model = super().call_model_init(trial)
        with_adapter(model, self._peft_config, self.args.seed)
        if hasattr(self, "loss"):
            self._settle(model)
        made: nn.Module = model
        return made

    def hyperparameter_search(
        self,
        hp_space: Callable[..., Any] | None = None,
        compute_objective: Callable[[dict[str, float]], float] | None = None,
        n_trials: int = 20,
        direction: str | list[str] | None = None,
        backend: Any = None,
        hp_name: Callable[..., str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Trains again and again with other settings, and tells which were best.

        Each trial starts from ``model_init()`` with a loss of its own and writes to
        ``{output_dir}/run-{number}``. Afterwards set the best settings in ``args`` and call
        ``train``.

        Args:
            hp_space: ``trial -> {argument: value}``; None for transformers' own.
            compute_objective: Metrics -> the number to improve. None takes the main metric of
                the evaluator (of several, the ``sequential_score``), or without one the loss.
            n_trials: How many trainings.
            direction: ``"maximize"`` or ``"minimize"``; None goes by the metric. It must be given
                with ``compute_objective``.
            backend: ``"optuna"``, or another one that transformers knows.
            hp_name: ``trial -> name`` of its folder.
            **kwargs: For the backend, such as ``sampler=`` or ``pruner=``.

        Returns:
            transformers' ``BestRun``: ``run_id``, ``objective``, ``hyperparameters``.

        Raises:
            InputError: There is no ``model_init``, nothing to go by, or no ``direction``.
            MissingDependencyError: optuna is not installed.
        """
        if self.model_init is None:
            raise InputError(
                "hyperparameter_search needs a model_init: a function that makes a new model for "
                "each trial, such as model_init=lambda: CrossEncoder('base', num_labels=1, seed=0)."
            )
        if not self.evaluators and getattr(self, "eval_dataset", None) is None:
            raise InputError(
                "hyperparameter_search needs an evaluator or an eval_dataset to compare trials by."
            )
        if str(backend) == "optuna":
            _require_optuna()
        if compute_objective is None:
            judge = self.evaluators[-1] if self.evaluators else None
            greater = judge is not None and bool(getattr(judge, "greater_is_better", True))
            asked = "maximize" if greater else "minimize"
            if direction not in (None, asked):
                raise InputError(
                    f"direction={direction!r}, but the metric that is gone by is one to {asked}. "
                    "Leave direction out, or pass compute_objective=."
                )
            direction, compute_objective = asked, self._objective
        elif direction is None:
            raise InputError("compute_objective needs direction='maximize' or 'minimize'.")
        return super().hyperparameter_search(
            hp_space, compute_objective, n_trials, direction, backend, hp_name, **kwargs
        )

    def _objective(self, metrics: dict[str, float]) -> float:
        return float(metrics[main_metric(metrics, self.evaluators)[0]])


def _require_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError.for_package(
            "optuna", "hpo", "hyperparameter_search(backend='optuna')"
        ) from error
