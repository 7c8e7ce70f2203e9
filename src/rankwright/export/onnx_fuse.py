"""Attention as one operation of ONNX Runtime, in place of the nine that it is exported as.

``com.microsoft.MultiHeadAttention`` splits heads, scales, masks, normalises and joins heads again
without writing the scores of all heads to memory between these steps. The operator is part of every
build of ONNX Runtime; its specification is docs/ContribOperators.md in that project. Other engines
do not know it, so graphs for them are left as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rankwright.export.onnx_graph import onnx_package

__all__ = ["DOMAIN", "fuse_attention"]

DOMAIN = "com.microsoft"
_MASK = ("Mul", "Sub", "Cast", "Unsqueeze")  # (1 - mask) * HIDDEN, from its end to its start
_HEADS_FIRST = [0, 2, 1, 3]
_INT32 = 6


@dataclass(frozen=True)
class _Attention:
    """One attention as it was exported: inputs ``(B, L, hidden)``, heads, last operation."""

    query: str
    key: str
    value: str
    heads: int
    last: Any


class _Graph:
    """Who makes and who reads each tensor of a graph."""

    def __init__(self, graph: Any) -> None:
        onnx = onnx_package("Exporting a model")
        self.graph = graph
        self.maker = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.constants = {
            tensor.name: onnx.numpy_helper.to_array(tensor)
            for tensor in graph.initializer
            if len(tensor.dims) <= 1
        }

    def made_by(self, name: str, kind: str) -> Any:
        """The operation of this kind that makes a tensor, or None."""
        node = self.maker.get(name)
        return node if node is not None and node.op_type == kind else None

    def read_by(self, name: str, kind: str) -> Any:
        """The only operation that reads a tensor if it is of this kind, or None."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and readers[0].op_type == kind else None

    def hides_padding(self, name: str) -> bool:
        """Whether a tensor is the additive mask of the input ``attention_mask`` and no more."""
        for kind in _MASK:
            node = self.made_by(name, kind)
            if node is None:
                return False
            name = node.input[1 if kind == "Sub" else 0]
        return name == "attention_mask"

    def split_heads(self, name: str, order: list[int]) -> tuple[str, int] | None:
        """The ``(B, L, hidden)`` tensor that a ``(B, heads, …)`` one is made of, and the heads."""
        found = list(range(4))
        while (node := self.made_by(name, "Transpose")) is not None:
            permutation = next(a.ints for a in node.attribute if a.name == "perm")
            found = [permutation[axis] for axis in found]
            name = node.input[0]
        reshape = self.made_by(name, "Reshape")
        if reshape is None or found != order:
            return None
        sizes = self.sizes(reshape.input[1])
        return None if len(sizes) != 4 or sizes[2] is None else (reshape.input[0], sizes[2])

    def sizes(self, name: str) -> list[int | None]:
        """A shape, as far as it is known."""
        joined = self.made_by(name, "Concat")
        parts = [name] if joined is None else joined.input
        found: list[int | None] = []
        for part in parts:
            known = self.constants.get(part)
            found += [None] if known is None else [int(size) for size in known.reshape(-1)]
        return found

    def attention(self, softmax: Any) -> _Attention | None:
        """The attention around a softmax, if it is one without anything special."""
        masked = self.made_by(softmax.input[0], "Add")
        product = masked and self.made_by(masked.input[0], "MatMul")
        weighted = self.read_by(softmax.output[0], "MatMul")
        joined = weighted and self.read_by(weighted.output[0], "Transpose")
        last = joined and self.read_by(joined.output[0], "Reshape")
        if not (product and last and self.hides_padding(masked.input[1])):
            return None
        query = self.split_heads(product.input[0], _HEADS_FIRST)
        key = self.split_heads(product.input[1], [0, 2, 3, 1])
        value = self.split_heads(weighted.input[1], _HEADS_FIRST)
        if query is None or key is None or value is None or not query[1] == key[1] == value[1]:
            return None
        return _Attention(query[0], key[0], value[0], query[1], last)


def fuse_attention(model: Any) -> int:
    """Replaces attention by ONNX Runtime's own operation, in place; in how many layers.

    Only what is found to be plain attention under the mask of padding, with queries that are scaled
    already, is replaced: local windows, rotations between the split and the product, and positions
    that are added to scores stay as they are.

    Args:
        model: An ``onnx.ModelProto`` from `rankwright.export.to_onnx.to_onnx`.
    """
    onnx = onnx_package("Exporting a model")
    make = onnx.helper.make_node
    graph = _Graph(model.graph)
    nodes = model.graph.node
    done = 0
    for softmax in [node for node in nodes if node.op_type == "Softmax"]:
        found = graph.attention(softmax)
        if found is None:
            continue
        if not done:
            cast = make("Cast", ["attention_mask"], ["padding_int32"], "padding/Cast", to=_INT32)
            nodes.insert(0, cast)
        fused = make(
            "MultiHeadAttention",
            [found.query, found.key, found.value, "", "padding_int32"],
            [found.last.output[0]],
            softmax.name.replace("Softmax", "MultiHeadAttention"),
            domain=DOMAIN,
            num_heads=found.heads,
            scale=1.0,
            mask_filter_value=float(np.float32(-1e9)),
        )
        at = list(nodes).index(found.last)
        nodes.remove(found.last)
        nodes.insert(at, fused)
        done += 1
    if done:
        _remove_unread(model)
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    return done


def _remove_unread(model: Any) -> None:
    """Operations and constants that nothing depends on any more, in place."""
    graph = model.graph
    while True:
        read = {name for node in graph.node for name in node.input}
        read |= {output.name for output in graph.output}
        unread = [node for node in graph.node if read.isdisjoint(node.output)]
        if not unread:
            break
        for node in unread:
            graph.node.remove(node)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
