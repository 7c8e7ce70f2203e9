"""How models were trained before there was a trainer: `CrossEncoder.fit` and what goes with it.

The methods stand here because programs call them on the model. What they do is a matter of the
training room, which lies above this one; `_training` is the one place where this room reaches up,
and it does so only when one of them is called.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec

import torch
from torch import Tensor, nn
from torch.utils.data import get_worker_info

from rankwright.data.examples import labelled_pair
from rankwright.errors import ColumnError, InputError
from rankwright.model.contract import choose_prompt
from rankwright.model.core import CrossEncoderCore

__all__ = ["Legacy", "batch_to_device"]


_Arguments = ParamSpec("_Arguments")


def _with_arguments_of(
    other: Callable[_Arguments, None],
) -> Callable[[Callable[..., None]], Callable[_Arguments, None]]:
    """A method that takes what another takes, and is given all of it by name."""
    signature = inspect.signature(other)

    def dressed(method: Callable[..., None]) -> Callable[_Arguments, None]:
        @functools.wraps(method)
        def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            method(**given.arguments)

        call.__annotations__ = other.__annotations__
        vars(call)["__signature__"] = signature
        return call

    return dressed


class Legacy(CrossEncoderCore):
    """The training methods of `CrossEncoder` from before version 4 of Sentence Transformers."""

    best_score: float
    """The best main metric of the evaluator so far, in `fit` and `old_fit`."""

    def fit(
        self,
        train_dataloader: Any,
        evaluator: Any = None,
        epochs: int = 1,
        loss_fct: Callable[[Tensor, Tensor], Tensor] | None = None,
        activation_fct: nn.Module | None = None,
        scheduler: Any = "WarmupLinear",
        warmup_steps: int = 10000,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.AdamW,
        optimizer_params: Mapping[str, Any] | None = None,
        weight_decay: float = 0.01,
        evaluation_steps: int = 0,
        output_path: str | None = None,
        save_best_model: bool = True,
        max_grad_norm: float = 1,
        use_amp: bool = False,
        callback: Callable[[float, int, int], None] | None = None,
        show_progress_bar: bool = True,
    ) -> None:
        """Trains on examples from a dataloader, through `CrossEncoderTrainer`.

        Kept for programs written for it; `CrossEncoderTrainer` can do more. It differs from its
        namesake in Sentence Transformers 6.2 where that one goes wrong: ``loss_fct`` works, a
        ``scheduler`` may be an object, labels that are all 0 are labels, the dataloader's own
        order and ``drop_last`` are kept and the dataloader is not changed, random numbers go on
        from where the program's seed put them, and a model is saved even without an evaluator.

        Args:
            train_dataloader: A dataloader over `InputExample`, (query, document, label) or
                mappings; its collate function is not used. A plain list of them is shuffled and
                taken 16 at a time.
            evaluator: Called as ``evaluator(model, output_path=, epoch=, steps=)`` after each
                epoch (``steps=-1``) and every ``evaluation_steps`` steps of one. A list of
                labelled pairs makes one.
            epochs: How often to go through the data.
            loss_fct: Takes logits after ``activation_fct`` and labels, both ``(batch,)`` and
                float for one label, else ``(batch, num_labels)`` and int64 ``(batch,)``. By
                default binary cross-entropy for one label, else cross-entropy.
            activation_fct: Applied to the logits before the loss; none by default.
            scheduler: ``"constantlr"``, ``"warmupconstant"``, ``"warmuplinear"``,
                ``"warmupcosine"`` or ``"warmupcosinewithhardrestarts"``, in any case; a function
                that makes a scheduler from the optimizer; or a scheduler, whose own optimizer
                then trains the model instead of an ``optimizer_class``.
            warmup_steps: Steps over which the learning rate rises.
            optimizer_class: Of torch.
            optimizer_params: Its options; ``{"lr": 2e-5}`` by default.
            weight_decay: Of all weights but biases and layer norms.
            evaluation_steps: 0 evaluates after epochs only.
            output_path: Where the model and the evaluator's files go.
            save_best_model: Whether the model with the best score is saved, rather than the last.
            max_grad_norm: Gradients are scaled down to this norm.
            use_amp: Whether to compute in float16, or in bfloat16 on a CPU.
            callback: Called as ``callback(score, epoch, steps)`` after each evaluation.
            show_progress_bar: Whether to show one.

        Raises:
            InputError: Options that cannot be used.
            DataError: Examples that cannot be used.
        """
        _training("fit")(
            self,
            train_dataloader,
            evaluator,
            epochs=epochs,
            loss_fct=loss_fct,
            activation_fct=activation_fct,
            scheduler=scheduler,
            warmup_steps=warmup_steps,
            optimizer_class=optimizer_class,
            optimizer_params=optimizer_params,
            weight_decay=weight_decay,
            evaluation_steps=evaluation_steps,
            output_path=output_path,
            save_best_model=save_best_model,
            max_grad_norm=max_grad_norm,
            use_amp=use_amp,
            callback=callback,
            show_progress_bar=show_progress_bar,
        )

    @_with_arguments_of(fit)
    def old_fit(self, train_dataloader: Any, evaluator: Any, **options: Any) -> None:
        """`fit` as a plain loop over padded batches, without the trainer: slower, same result.

        Takes, does and raises what `fit` does. Padded batches come from
        `smart_batching_collate`, and the transformers model is called as it is.
        """
        _training("old_fit")(self, train_dataloader, evaluator, **options)

    def smart_batching_collate(self, batch: Sequence[Any]) -> tuple[Any, Tensor]:
        """Examples as padded tensors that the transformers model takes, and their labels.

        Texts lose the spaces around them; the model's default prompt is put before queries, as
        ``predict`` does.

        Args:
            batch: Examples as in `fit`.

        Returns:
            A mapping of ``(batch, longest)`` tensors, and ``(batch,)`` labels: float32 for one
            label, else int64. On the model's device, except in dataloader workers.

        Raises:
            DataError: Examples that cannot be used.
        """
        queries, documents, labels = zip(*map(labelled_pair, batch), strict=True)
        kind = torch.float32 if self.num_labels == 1 else torch.int64
        prompt = choose_prompt(self.prompts, self.default_prompt_name)
        features = self._padded([list(queries), list(documents)], prompt)
        return features, self._here(torch.tensor(labels, dtype=kind))

    def smart_batching_collate_text_only(self, batch: Sequence[Sequence[str]]) -> Any:
        """Texts as padded tensors that the transformers model takes.

        Args:
            batch: One or two texts per item; treated as in `smart_batching_collate`.

        Raises:
            ColumnError: Items of another or of unequal number of texts.
            InputError: The model is a causal language model.
        """
        sizes = {len(texts) for texts in batch}
        if sizes not in ({1}, {2}):
            raise ColumnError(
                f"each item needs two texts, or each one; found items of {sorted(sizes)} texts."
            )
        columns = zip(*batch, strict=True)
        prompt = choose_prompt(self.prompts, self.default_prompt_name)
        return self._padded([[text.strip() for text in column] for column in columns], prompt)

    def _padded(self, columns: list[list[str]], prompt: str) -> Any:
        if self.template is not None or self.score_tokens is not None:
            raise InputError(
                "This model is a language model that is asked a question about each pair, which "
                "padded batches of texts cannot put. Train it with fit or CrossEncoderTrainer."
            )
        columns = [[f"{prompt}{text}" for text in columns[0]], *columns[1:]]
        features = self.tokenizer(
            *columns,
            padding=True,
            truncation="longest_first",
            max_length=self.max_length,
            return_tensors="pt",
        )
        for name in features:
            features[name] = self._here(features[name])
        return features

    def _here(self, tensor: Tensor) -> Tensor:
        # A worker process must not touch the GPU of its parent.
        return tensor if get_worker_info() is not None else tensor.to(self.device)


def batch_to_device(batch: Any, target_device: torch.device | str) -> Any:
    """Moves the tensors of a batch, in place, as evaluators for Sentence Transformers do.

    Args:
        batch: A mapping; values that are no tensors stay as they are.
        target_device: Where to.

    Returns:
        The same mapping.
    """
    for name in batch:
        if isinstance(batch[name], Tensor):
            batch[name] = batch[name].to(target_device)
    return batch


def _training(name: str) -> Callable[..., None]:
    function: Callable[..., None] = getattr(importlib.import_module("rankwright.training"), name)
    return function
