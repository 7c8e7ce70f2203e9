"""`export_model`: from a model folder to an exported model that was proven to agree with it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import Tokenizer

from rankwright.data import atomic_folder
from rankwright.engine.cpu import exact_int8, machine_name
from rankwright.engine.native.library import unavailable
from rankwright.engine.tokenize import PairTokenizer
from rankwright.engine.tokenizer_file import FileTokenizer
from rankwright.errors import ExportError, InputError, MissingDependencyError
from rankwright.export.agreement import Agreement
from rankwright.export.golden_pairs import ChosenPairs, choose_pairs, with_reference
from rankwright.export.judge import Judge, ModelParts, calibration_batches
from rankwright.export.mixture import Mixture, find_mixture
from rankwright.export.naming import export_name, model_size
from rankwright.export.onnx_fuse import fuse_attention
from rankwright.export.onnx_graph import save_onnx
from rankwright.export.onnx_int8 import Int8Options, int8_units, quantise_onnx
from rankwright.export.onnx_smooth import smoothing_factors
from rankwright.export.options import ExportOptions, ExportReport
from rankwright.model.exports import (
    ExportEntry,
    Exports,
    read_exports,
    sample_fingerprint,
    weights_fingerprint,
    write_exports,
)
from rankwright.model.folder import ModelFolder
from rankwright.model.golden import GOLDEN_FILE, Golden, golden_text
from rankwright.model.hub import HubOptions, local_folder
from rankwright.model.layouts import LoadedLayout, read_layout
from rankwright.model.runtime import is_installed

__all__ = ["export_model"]

logger = logging.getLogger(__name__)

# What a folder for deployment takes over: everything but weights.
_COPIED = ("*.json", "*.txt", "*.model", "*.jinja", "README.md")
_NOT_COPIED = ("model.safetensors.index.json", "exports.json", GOLDEN_FILE)

_Write = Callable[[frozenset[str]], None]
"""Writes a candidate with these parts left in float32."""


def export_model(model: str | Path, options: ExportOptions | None = None) -> ExportReport:
    """Exports a model, compares it with its float32 weights, and keeps it only if they agree.

    In int8, parts of the model that do too much harm stay in float32. Everything is written to a
    temporary folder first: if the export fails or does not agree, nothing changes.

    Args:
        model: Folder or hub name of a reranker.
        options: What and how; None exports to ONNX in float32.

    Raises:
        ExportError: The architecture cannot be exported, or no form of it agrees well enough; the
            message says by how much.
        InputError: Options that cannot be used, or an export that is there already.
        MissingDependencyError: A package for exporting is not installed.
        ModelError, ModelNotFoundError, DataError: The model or the pairs cannot be used.
    """
    options = options or ExportOptions()
    _require(options)
    folder = local_folder(model, HubOptions())
    if options.output is None and not Path(model).expanduser().is_dir():
        raise InputError(
            f"{model} is a hub model, whose local copy must stay as it is. Name a folder for the "
            "export with --output."
        )
    output = folder if options.output is None else Path(options.output).expanduser()
    layout = _checked_layout(folder)
    full = options.precision == "int8" and exact_int8()
    name = export_name(options.backend, options.precision, full)
    if (output / name).exists() and not options.overwrite:
        raise InputError(f"{output / name} exists already. Replace it with --overwrite.")
    entry = ExportEntry(options.backend, options.precision, name, "", full_range=full)
    chosen = choose_pairs(ModelFolder(folder), options.pairs)
    work = _Work(folder, output, layout, options, chosen)
    with TemporaryDirectory(prefix="rankwright-export-") as scratch:
        return work.run(Path(scratch), entry)


def _require(options: ExportOptions) -> None:
    """Fails before the work if a package that is needed at its end is missing."""
    wanted = {"torch": "train", "transformers": "train"}
    if options.backend == "native":
        reason = unavailable()
        if reason is not None:
            raise ExportError(f"The compiled library is needed to prove the export, but {reason}.")
    else:
        wanted |= {"onnx": "onnx", "onnxscript": "onnx"}
    if options.backend == "onnx":
        wanted["onnxruntime"] = "onnx"
    elif options.backend == "openvino":
        wanted["openvino"] = "openvino"
        if options.precision == "int8":
            wanted["nncf"] = "openvino"
    for package, extra in wanted.items():
        if not is_installed(package):
            raise MissingDependencyError.for_package(package, extra, "Exporting this model")


def _checked_layout(folder: Path) -> LoadedLayout:
    layout = read_layout(folder)
    if layout.causal:
        raise ExportError(
            f"{folder} is a causal language model; only encoders with a sequence-classification "
            "head can be exported."
        )
    if layout.num_labels is None:
        raise ExportError(
            f"{folder} has no sequence-classification head, so there is nothing to export yet. "
            "Train a reranker from it first."
        )
    return layout


@dataclass(frozen=True)
class _Work:
    """One export on its way.

    Attributes:
        source: The model's folder.
        output: Where the export goes; may be the same.
        layout: What the model's folder says.
        options: What was asked.
        chosen: Golden and calibration pairs.
    """

    source: Path
    output: Path
    layout: LoadedLayout
    options: ExportOptions
    chosen: ChosenPairs

    def run(self, scratch: Path, entry: ExportEntry) -> ExportReport:
        """Exports, judges and writes."""
        from rankwright.export.graph import build_graph
        from rankwright.export.to_onnx import to_onnx
        from rankwright.model.cross_encoder import CrossEncoder

        options = self.options
        model = CrossEncoder(self.source, device="cpu", precision="float32")
        if model.template is not None:
            raise ExportError(
                f"{self.source} reads pairs through a template, as language models do. Only models "
                "that read plain pairs can be exported."
            )
        weights = weights_fingerprint(self.layout.weights)
        golden = with_reference(self.chosen.queries, self.chosen.source, model, weights)
        tokenizer = self._tokenizer(model)
        with_types = "token_type_ids" in tokenizer.model_input_names
        parts = ModelParts(model, PairTokenizer(tokenizer))
        _check_tokens(parts, golden)
        logger.info("Exporting %s to %s in %s.", self.source, entry.backend, entry.precision)
        plain = scratch / "model.onnx"
        units: Sequence[str] = ()
        if entry.backend != "native":
            graph = to_onnx(build_graph(model.model, with_types), with_types)
            units = int8_units(graph)
            if entry.backend == "onnx":
                fuse_attention(graph)
            save_onnx(graph, plain)
            del graph
        with atomic_folder(self.output) as staged:
            target = staged / entry.file
            judge = Judge(target, entry, golden, self._proof(model), parts, options.threads)
            found = self._best(units, self._writer(plain, target, entry, parts), judge)
            if found.kept is None:
                raise ExportError(_refusal(options, found, self.chosen))
            computes, speed = judge.measure()
            self._write_folder(staged, tokenizer, golden)
            entry = replace(
                entry,
                fingerprint=sample_fingerprint(target),
                kept=found.kept,
                agreement=found.agreement.to_dict(),
                verified=(computes,),
                speed={machine_name(): round(speed, 2)},
            )
            write_exports(staged, self._former(weights).with_entry(entry))
        return ExportReport(
            folder=str(self.output),
            file=entry.file,
            backend=entry.backend,
            precision=entry.precision,
            size=model_size(self.output / entry.file),
            agreement=found.agreement,
            kept=found.kept,
            tries=found.tries,
            computes=computes,
            golden=f"{len(golden.pairs)} pairs: {golden.source}",
            notes=_notes(options, computes, self.chosen, found.kept),
        )

    def _tokenizer(self, model: Any) -> FileTokenizer:
        """The tokenizer as it will be read from the output folder."""
        with_types = "token_type_ids" in model.tokenizer.model_input_names
        there = self.layout.folder / "tokenizer.json"
        if self.output == self.source and there.is_file():
            return FileTokenizer.read(there, with_types)
        backend = getattr(model.tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ExportError(
                "This model's tokenizer has no fast form (tokenizer.json), so it cannot run "
                "without transformers. Save the model with a fast tokenizer first."
            )
        copy = Tokenizer.from_str(backend.to_str())
        copy.no_truncation()
        copy.no_padding()
        return FileTokenizer(copy, with_types)

    def _best(self, units: Sequence[str], write: _Write, judge: Judge) -> Mixture:
        limits = self.options.limits
        if judge.proof is not None:  # on so many queries a drop is what it is
            limits = replace(limits, chance=0.0)

        def attempt(kept: frozenset[str]) -> Agreement:
            write(kept)
            return judge.agreement(limits)

        if self.options.precision == "int8":
            return find_mixture(units, attempt, limits, self.options.max_tries)
        found = attempt(frozenset())
        return Mixture(() if limits.accept(found) else None, found, 1)

    def _proof(self, model: Any) -> Golden | None:
        """Golden and further queries; None where float32 makes them needless or there are none."""
        if self.options.precision == "fp32" or not self.chosen.proof:
            return None
        queries = (*self.chosen.queries, *self.chosen.proof)
        logger.info("Scoring %d queries in float32, for nDCG@10.", len(queries))
        return with_reference(queries, self.chosen.source, model, None)

    def _writer(self, plain: Path, target: Path, entry: ExportEntry, parts: ModelParts) -> _Write:
        """What writes a candidate to ``target`` with some parts left in float32."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if entry.backend == "native":
            from rankwright.export.to_native import save_native

            with_types = "token_type_ids" in parts.model.tokenizer.model_input_names
            return lambda kept: save_native(parts.model.model, target, entry.precision, with_types)
        int8 = entry.precision == "int8"
        batches = calibration_batches(parts, self.chosen.calibration) if int8 else []
        if entry.backend == "onnx":
            if not int8:
                return lambda kept: _copy(plain, target)
            factors = smoothing_factors(plain, batches, entry.full_range)
            options = Int8Options(self.options.quantisation, entry.full_range, batches, factors)
            return lambda kept: quantise_onnx(plain, target, kept, options)
        from rankwright.export import to_openvino

        model = to_openvino.read_onnx(plain)
        if not int8:
            half = entry.precision == "bf16"
            return lambda kept: to_openvino.save_openvino(model, target, half)
        return lambda kept: to_openvino.save_openvino(
            to_openvino.quantise_openvino(model, kept, batches, entry.full_range), target
        )

    def _former(self, weights: str | None) -> Exports:
        """Exports that stay beside the new one: those made from the same weights."""
        if not self.output.is_dir():
            return Exports(weights)
        former = read_exports(ModelFolder(self.output))
        same = former.weights == weights
        kept = tuple(e for e in former.entries if same and (self.output / e.file).is_file())
        for entry in former.entries:
            if entry not in kept:
                logger.warning("%s was made from other weights; it is listed no more.", entry.file)
        return Exports(weights, kept)

    def _write_folder(self, staged: Path, tokenizer: FileTokenizer, golden: Golden) -> None:
        """Golden pairs, and in a folder of its own what the export needs beside its file."""
        (staged / GOLDEN_FILE).write_text(golden_text(golden), encoding="utf-8")
        if self.output != self.source:
            for place in dict.fromkeys((self.source, self.layout.folder)):
                for file in sorted(f for pattern in _COPIED for f in place.glob(pattern)):
                    if file.name not in _NOT_COPIED:
                        copy = staged / file.relative_to(self.source)
                        copy.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(file, copy)
        inner = self.layout.folder.relative_to(self.source)
        if self.output != self.source or not (self.layout.folder / "tokenizer.json").is_file():
            text = tokenizer.backend_tokenizer.to_str(pretty=True)
            (staged / inner / "tokenizer.json").write_text(text, encoding="utf-8")


def _check_tokens(parts: ModelParts, golden: Golden) -> None:
    """Refuses a tokenizer.json that reads texts otherwise than transformers does.

    Raises:
        ExportError: It does.
    """
    model = parts.model
    wanted = model.pair_tokenizer.encode(golden.pairs, model.max_length)
    found = parts.tokenizer.encode(golden.pairs, model.max_length)
    for pair, a, b in zip(golden.pairs, wanted.input_ids, found.input_ids, strict=True):
        if a.tolist() != b.tolist():
            raise ExportError(
                f"The model's tokenizer.json reads {pair[0]!r:.60} otherwise than transformers "
                "does with the folder's other files. Export to a new folder with --output, which "
                "gets a tokenizer.json that agrees."
            )


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    data = source.with_name(f"{source.name}_data")
    if data.exists():
        shutil.copyfile(data, target.with_name(data.name))


def _refusal(options: ExportOptions, found: Mixture, chosen: ChosenPairs) -> str:
    tried = ""
    if options.precision == "int8":
        tried = f" {found.tries} mixtures of int8 and float32 were tried, and none was good enough."
    return (
        f"Not exported: in {options.precision} on {options.backend} the scores are too far from "
        f"float32 on {chosen.source}: {options.limits.complaint(found.agreement)}.{tried} Allow "
        "more with --min-tau, --max-ndcg-drop or --max-difference, or use another precision."
    )


def _notes(
    options: ExportOptions, computes: str, chosen: ChosenPairs, kept: tuple[str, ...]
) -> tuple[str, ...]:
    notes = []
    if chosen.sample:
        notes.append("Compared on sample pairs only: give your own with --data or --golden.")
    if options.precision == "bf16" and computes != "bfloat16":
        notes.append(
            f"This machine computes bf16 models in {computes}; run 'rankwright verify' on one with "
            "AVX512-BF16 or AMX before the model is used there."
        )
    if kept:
        notes.append(f"Kept in float32, because int8 changed scores too much: {', '.join(kept)}.")
    return tuple(notes)
