"""The worker of Rankwright; it also builds the model and measures what the machine can do."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from benchmarks.engine.emulation import bfloat16_products
from benchmarks.engine.flops import Shape, forward_flops
from benchmarks.engine.worker import Worker, serve
from torch.nn import functional as F

from rankwright import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments, losses
from rankwright.engine.native import library
from rankwright.engine.native.choice import compiling
from rankwright.engine.precision import precision_name
from rankwright.engine.prepacked import lay_out, prepacking, product, suggested, unavailable
from rankwright.recipes.demo import minilm_folder

# Rows, inputs, outputs: the model's own products at a batch of 2,048 tokens, and larger ones.
PRODUCTS = (
    (2048, 384, 1152),
    (2048, 384, 1536),
    (2048, 1536, 384),
    (4096, 384, 1536),
    (4096, 1536, 384),
    (4096, 1024, 4096),
    (2048, 2048, 2048),
)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class OurWorker(Worker):
    """One model, whose precision is named in each call."""

    def __init__(self) -> None:
        super().__init__()
        self._switch = contextlib.ExitStack()
        self._bf16_anywhere = False

    def open(self, precision: str, max_length: int | None = None) -> Any:
        """See `Worker`."""
        return CrossEncoder(
            self.folder, device="cpu", precision=precision, max_length=max_length or 512
        )

    def scores(
        self, model: Any, pairs: list[tuple[str, str]], precision: str, batch: int | None
    ) -> Any:
        """See `Worker`."""
        return model.predict(
            pairs,
            batch_size=batch,
            show_progress_bar=False,
            activation_fn=torch.nn.Identity(),
            precision=precision,
        )

    def rank(self, model: Any, query: str, documents: list[str], precision: str) -> Any:
        """See `Worker`."""
        return model.rank(query, documents, show_progress_bar=False)

    def trainer(self, model: Any, rows: Any, loss: dict[str, Any], arguments: Any) -> Any:
        """See `Worker`."""
        options = {name: value for name, value in loss.items() if name != "name"}
        return CrossEncoderTrainer(
            model=model,
            args=CrossEncoderTrainingArguments(**arguments, emulate_bf16=self._bf16_anywhere),
            train_dataset=rows,
            loss=getattr(losses, loss["name"])(model, **options),
        )

    # --- only here ----------------------------------------------------------------------------

    def do_make(self, folder: str, seed: int) -> dict[str, Any]:
        """The cross-encoder that both libraries load: MiniLM's weights under a new head."""
        model = CrossEncoder(minilm_folder(), num_labels=1, seed=seed, max_length=512)
        model.save_pretrained(folder)
        return {}

    def do_work(self, file: str, count: int) -> dict[str, Any]:
        """Tokens of a work load, and the operations that scoring it needs."""
        pairs = [
            (query, document)
            for query, document, *_ in json.loads(Path(file).read_text(encoding="utf-8"))[:count]
        ]
        model = self.models["auto"]
        tokens = model.pair_tokenizer.encode(pairs, model.max_length)
        config = model.config
        shape = Shape(config.num_hidden_layers, config.hidden_size, config.intermediate_size)
        lengths = tokens.lengths.tolist()
        return {
            "pairs": len(pairs),
            "tokens": sum(lengths),
            "longest": max(lengths),
            "truncated": int(tokens.truncated),
            "flops": forward_flops(lengths, shape, first_only=True),
            "flops_all_tokens": forward_flops(lengths, shape, first_only=False),
            "auto": precision_name("auto"),
        }

    def do_prepacking(self, on: bool | None) -> dict[str, Any]:
        """Prepacked products from here on: wherever possible, nowhere, or as the processor asks."""
        self._switch.close()
        self._switch.enter_context(prepacking(on))
        if on is not None:  # where the compiled library runs, there is nothing to prepack
            self._switch.enter_context(compiling(0))
        return {
            name: {"unavailable": unavailable(dtype), "suggested": suggested(dtype)}
            for name, dtype in DTYPES.items()
        }

    def do_compiling(self, bits: int | None) -> dict[str, Any]:
        """The compiled library from here on: with 32 or 16 bits, not, or as the processor asks."""
        self._switch.close()
        self._switch.enter_context(compiling(bits))
        return {"unavailable": library.unavailable(), "suggested": library.suggested()}

    def do_peak(self, seconds: float) -> dict[str, Any]:
        """The best rate in FLOP per second, for each number format, of `F.linear` and prepacked."""
        found: dict[str, Any] = {"threads": torch.get_num_threads(), "cores": os.cpu_count()}
        with torch.inference_mode():
            for name, dtype in DTYPES.items():
                plain = {_name(shape): _rate(shape, dtype, seconds) for shape in PRODUCTS}
                packed: dict[str, float] = {}
                if unavailable(dtype) is None:
                    packed = {
                        _name(shape): _rate(shape, dtype, seconds, True) for shape in PRODUCTS
                    }
                found[name] = max([*plain.values(), *packed.values()])
                found[f"{name}_shapes"] = plain
                found[f"{name}_prepacked_shapes"] = packed
        return found

    def do_quality(self, **plan: Any) -> dict[str, Any]:
        """See `benchmarks.engine.quality`."""
        from benchmarks.engine.quality import measure

        with self._emulated():
            return measure(self, **plan)

    def do_curve(self, **plan: Any) -> dict[str, Any]:
        """See `Worker`."""
        with self._emulated():
            return super().do_curve(**plan)

    @contextlib.contextmanager
    def _emulated(self) -> Iterator[None]:
        """Training in bfloat16 means that here, on any processor."""
        self._bf16_anywhere = True
        try:
            with bfloat16_products():
                yield
        finally:
            self._bf16_anywhere = False


def _name(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))


def _rate(
    shape: tuple[int, int, int], dtype: torch.dtype, seconds: float, prepacked: bool = False
) -> float:
    rows, inputs, outputs = shape
    x = torch.randn(rows, inputs).to(dtype)
    weight, bias = torch.randn(outputs, inputs).to(dtype), torch.zeros(outputs).to(dtype)
    multiply: Callable[..., torch.Tensor] = F.linear
    if prepacked:
        weight, multiply = lay_out(weight), product
    best = float("inf")
    end = time.perf_counter() + seconds
    count = 0
    while count < 3 or time.perf_counter() < end:
        started = time.perf_counter()
        multiply(x, weight, bias)
        best = min(best, time.perf_counter() - started)
        count += 1
    return 2.0 * rows * inputs * outputs / best


if __name__ == "__main__":
    serve(OurWorker())
