"""A model to an ONNX graph, with names that say which layer each operation belongs to."""

from __future__ import annotations

import contextlib
import logging
import warnings
from ast import literal_eval
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from rankwright.errors import ExportError
from rankwright.export.onnx_graph import onnx_package
from rankwright.model.saving import package_versions

__all__ = ["OPSET", "to_onnx"]

logger = logging.getLogger(__name__)

OPSET = 20
"""ONNX operator set 20: the first with Gelu as one operation."""


def to_onnx(graph: nn.Module, with_types: bool) -> Any:
    """An ``onnx.ModelProto`` with dynamic batch and length, by PyTorch's exporter.

    Inputs are int64 ``(batch, length)`` tensors ``input_ids``, ``attention_mask`` and perhaps
    ``token_type_ids``; the output is float32 ``logits (batch, labels)``.

    Raises:
        MissingDependencyError: onnx or onnxscript is not installed.
        ExportError: PyTorch cannot express this architecture.
    """
    onnx_package("Exporting a model")
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if with_types else [])]
    # Sizes other than 0 and 1, which the exporter would take for constants.
    examples = {name: torch.ones(2, 9, dtype=torch.long) for name in names}
    examples["attention_mask"][1, 5:] = 0
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", min=2)
    shapes = {name: {0: batch, 1: length} for name in names}
    with torch.inference_mode(False), torch.no_grad(), _quiet():
        try:
            program = torch.onnx.export(
                graph,
                kwargs=examples,
                input_names=names,
                output_names=["logits"],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=shapes,
                verbose=False,
            )
        except Exception as error:  # the exporter raises many kinds
            reason = " ".join(str(error).split())[:400]
            raise ExportError(
                f"PyTorch {torch.__version__} cannot export this architecture "
                f"({type(error).__name__}: {reason}). Known are BERT, RoBERTa, XLM-RoBERTa, "
                "ELECTRA, DistilBERT and ModernBERT; others depend on transformers' own code."
            ) from error
    assert program is not None
    model = program.model_proto
    _tidy(model)
    return model


def _tidy(model: Any) -> None:
    """Names operations by layer, and removes what only debuggers read, paths of files included."""
    used: dict[str, int] = {}
    for node in model.graph.node:
        scope = _scope(node)
        number = used[scope] = used.get(scope, -1) + 1
        node.name = f"{scope}/{node.op_type}_{number}" if scope else f"{node.op_type}_{number}"
        del node.metadata_props[:]
        node.doc_string = ""
    # Shapes of intermediate results: readers infer them again, and some of these are wrong.
    del model.graph.value_info[:], model.graph.metadata_props[:], model.metadata_props[:]
    for tensor in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        del tensor.metadata_props[:]
        tensor.doc_string = ""
    version = package_versions("rankwright").get("rankwright", "")
    model.producer_name, model.producer_version = "rankwright", version
    model.doc_string = model.graph.doc_string = ""


def _scope(node: Any) -> str:
    """The module that an operation comes from, such as ``layers.3.up``; empty if not known."""
    found = {entry.key: entry.value for entry in node.metadata_props}
    scopes = found.get("pkg.torch.onnx.name_scopes")
    if scopes is None:
        return ""
    # Root, modules from the outside in, and last the operation itself.
    modules = literal_eval(scopes)[1:-1]
    return str(modules[-1]) if modules else ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on its own insides, which tell a user nothing."""
    loggers = [logging.getLogger("torch.onnx"), logging.getLogger("onnxscript")]
    loggers += [logging.getLogger("onnx_ir"), logging.getLogger("torch.export")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
