"""Which loss and which collator belong to which data set."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rankwright.engine.prompted import split_prompt
from rankwright.errors import InputError
from rankwright.losses.base import Loss
from rankwright.training.collator import CollatorByName, PackedInputs, PackingCollator
from rankwright.training.data import is_streaming
from rankwright.training.loaders import groups_queries
from rankwright.training.prompts import prompts_for
from rankwright.training.rows import RowShape
from rankwright.training.setup import build_loss, default_prompt

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = ["build_collator", "build_losses", "check_rows", "loss_of", "loss_parameters", "losses"]

logger = logging.getLogger(__name__)

Losses = Loss | dict[str, Loss]


def build_losses(loss: Any, model: CrossEncoder, data: Mapping[str, Any]) -> Losses:
    """The loss for all data sets, or one for each.

    Args:
        loss: A loss, a class or function that makes one from the model, or None for the default;
            or a dict of that, data set -> loss.
        model: The model to train.
        data: Argument name -> what `as_datasets` gave for it.

    Raises:
        InputTypeError: Something else than a loss.
        InputError: A data set without a loss, or a dict of losses for data without names.
    """
    if not isinstance(loss, Mapping):
        return build_loss(loss, model)
    if not loss:
        raise InputError("loss is an empty dict; give each data set a loss, or pass one for all.")
    known = ", ".join(map(repr, loss))
    used: set[str] = set()
    for argument, datasets in data.items():
        if datasets is None:
            continue
        if not isinstance(datasets, Mapping):
            raise InputError(
                f"loss is a dict, with a loss for {known}, so {argument} must be a dict too: "
                f"{argument}={{{next(iter(loss))!r}: ...}}. Or pass one loss for all data."
            )
        missing = [name for name in datasets if name not in loss]
        if missing:
            raise InputError(
                f"loss is a dict, with a loss for {known}; {argument} has "
                f"{', '.join(map(repr, missing))}, for which there is none. Every data set needs "
                "a loss under its own name."
            )
        used |= set(datasets)
    unused = [name for name in loss if name not in used]
    if unused and used:
        logger.warning(
            "loss has an entry for %s, but there is no data set of that name.",
            ", ".join(map(repr, unused)),
        )
    return {name: build_loss(given, model) for name, given in loss.items()}


def build_collator(
    model: CrossEncoder,
    args: Any,
    given: tuple[Losses, Callable[[Any], PackedInputs] | None],
    data: Mapping[str | None, Any],
) -> Callable[[Any], PackedInputs]:
    """What makes batches: one `PackingCollator`, or one for each data set.

    Args:
        model: The model to train.
        args: `CrossEncoderTrainingArguments`.
        given: The losses, and the user's own collator or None.
        data: Name of each data set -> data set, those for training and for evaluation.

    Raises:
        InputError: Prompts that name something that is not there.
    """
    loss, own = given
    columns = {name: _columns(dataset) for name, dataset in data.items()}
    if not isinstance(loss, dict) and None not in columns:
        # For rows of other data sets, in an evaluation.
        known = [found for found in columns.values() if found is not None]
        columns[None] = sorted({name for found in known for name in found}) if known else None
    prompts = prompts_for(args.prompts, default_prompt(model), columns)

    def make(name: str | None) -> Callable[[Any], PackedInputs]:
        if own is not None:
            return own
        pairs = (loss[str(name)] if isinstance(loss, dict) else loss).pairs
        tokenizer, before_query = split_prompt(model.pair_tokenizer, prompts[name].query)
        grouping = groups_queries(args, name)
        shape = RowShape.for_pairs(pairs, prompts[name].columns, group_queries=grouping)
        return PackingCollator(
            replace(pairs, prompt=before_query), tokenizer, model.max_length, shape=shape
        )

    if set(columns) == {None}:
        return make(None)
    return CollatorByName({name: make(name) for name in columns})


def check_rows(data: Mapping[str | None, Any], collator: Any) -> None:
    """Raises what the collator would raise on the first rows of each data set.

    A stream is not looked at: its source may be one that can be read only once. Neither is what a
    collator of the user's own will make of the rows.

    Args:
        data: Name of each data set -> data set.
        collator: From `build_collator`.
    """
    for name, dataset in data.items():
        one = collator.collators[name] if isinstance(collator, CollatorByName) else collator
        if isinstance(one, PackingCollator) and not is_streaming(dataset):
            one.check(dataset[:8])


def losses(loss: Losses) -> Iterator[tuple[str, Loss]]:
    """Each loss once, with the name of a data set it serves; ``""`` if it serves all."""
    if not isinstance(loss, dict):
        yield "", loss
        return
    seen: set[int] = set()
    for name, one in loss.items():
        if id(one) not in seen:
            seen.add(id(one))
            yield name, one


def loss_of(loss: Losses, inputs: Mapping[str, Any]) -> Loss:
    """The loss of the data set that a batch comes from."""
    return loss[inputs["dataset_name"]] if isinstance(loss, dict) else loss


def loss_parameters(loss: Losses) -> list[tuple[str, Any]]:
    """Parameters of the losses: ``loss.parameter``, or ``loss.data_set.parameter``."""
    return [
        (".".join(part for part in ("loss", name, parameter) if part), value)
        for name, one in losses(loss)
        for parameter, value in one.named_parameters()
    ]


def _columns(dataset: Any) -> list[str] | None:
    names = getattr(dataset, "column_names", None)
    return None if names is None else list(names)
