"""`verify_model`: golden pairs replayed on every backend there is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rankwright.errors import DataNotFoundError, RankwrightError, SaveError
from rankwright.export.agreement import Agreement, Limits, compare, limits_for
from rankwright.export.http_scores import HttpOptions, replay
from rankwright.export.judge import quiet_truncation
from rankwright.model.exports import (
    ExportEntry,
    read_exports,
    sample_fingerprint,
    weights_fingerprint,
    write_exports,
)
from rankwright.model.folder import ModelFolder
from rankwright.model.golden import Golden, read_golden
from rankwright.model.hub import HubOptions, local_folder
from rankwright.model.layouts import LoadedLayout, read_layout
from rankwright.model.reranker import Reranker
from rankwright.model.runtime import find_exports, installed_backends, is_installed
from rankwright.model.weights import find_weights

__all__ = ["Check", "Verification", "VerifyOptions", "has_weights", "verify_model"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VerifyOptions:
    """What to verify, and how close scores must be.

    Attributes:
        http: A server to replay the pairs on as well; None for none.
        min_kendall_tau: Least Kendall tau for every backend; None takes each precision's default.
        max_ndcg_drop: Largest drop of nDCG@10; None takes the defaults.
        max_difference: Largest difference of a score, as a part of their range; None takes the
            defaults.
        threads: How many batches run at once; None for all cores.
        record: Whether the findings are written to ``exports.json``.
    """

    http: HttpOptions | None = None
    min_kendall_tau: float | None = None
    max_ndcg_drop: float | None = None
    max_difference: float | None = None
    threads: int | None = None
    record: bool = True

    def limits(self, precision: str) -> Limits:
        """The limits for a precision."""
        return limits_for(
            precision,
            kendall_tau=self.min_kendall_tau,
            ndcg_drop=self.max_ndcg_drop,
            difference=self.max_difference,
        )


@dataclass(frozen=True)
class Check:
    """One backend, precision or server.

    Attributes:
        name: Such as ``"onnx int8"``.
        file: Path inside the folder, or the server's address.
        ok: Whether its scores agree; None where it could not be run.
        agreement: With the golden scores; None where it could not be run.
        computes: The number format of its arithmetic, where known.
        note: What is wrong, or why it could not be run.
    """

    name: str
    file: str
    ok: bool | None
    agreement: Agreement | None = None
    computes: str = ""
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        found = None if self.agreement is None else self.agreement.to_dict()
        return {**self.__dict__, "agreement": found}


@dataclass(frozen=True)
class Verification:
    """What `verify_model` found.

    Attributes:
        folder: The model.
        golden: How many pairs there were, and where from.
        checks: One per backend and precision.
    """

    folder: str
    golden: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether something was checked, and everything that was agrees."""
        done = [check.ok for check in self.checks if check.ok is not None]
        return bool(done) and all(done)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "folder": self.folder,
            "golden": self.golden,
            "ok": self.ok,
            "checks": [check.to_dict() for check in self.checks],
        }


def verify_model(model: str | Path, options: VerifyOptions | None = None) -> Verification:
    """Compares every exported model of a folder, its weights and a server with the golden scores.

    Exports that agree are marked as verified for this machine's arithmetic, those that do not as
    not verified, so that ``Reranker(folder)`` leaves them alone.

    Args:
        model: Folder or hub name.
        options: What and how close.

    Raises:
        DataNotFoundError: The folder has no golden pairs, or the server cannot be reached.
        ModelError, ConfigError, ModelNotFoundError: The folder cannot be used.
    """
    options = options or VerifyOptions()
    path = local_folder(model, HubOptions(exports=True))
    layout = read_layout(path, need_weights=False)
    folder = ModelFolder(path)
    golden = read_golden(folder)
    checks = list(_check_weights(path, layout, golden, options))
    checks += _check_exports(folder, golden, options)
    if options.http is not None:
        checks.append(_check_server(golden, options.http, options))
    if not checks:
        raise DataNotFoundError(
            f"{path} has nothing to verify: no exported model, and no weights that PyTorch could "
            "run here. Make an export with: rankwright export MODEL --backend onnx"
        )
    return Verification(str(path), f"{len(golden.pairs)} pairs: {golden.source}", tuple(checks))


def has_weights(layout: LoadedLayout) -> bool:
    """Whether a folder holds weights for PyTorch."""
    inner = ModelFolder(layout.folder)
    return inner.has("model.safetensors") or inner.has("model.safetensors.index.json")


def _check_weights(
    path: Path, layout: LoadedLayout, golden: Golden, options: VerifyOptions
) -> Iterator[Check]:
    if not has_weights(layout):
        return
    if not is_installed("torch"):
        yield Check("torch float32", "model.safetensors", None, note="PyTorch is not installed")
        return
    from rankwright.model.cross_encoder import CrossEncoder

    model = CrossEncoder(path, device="cpu", precision="float32")
    with quiet_truncation():
        scores = model.score(golden.pairs, show_progress_bar=False).scores
    check = _judged("torch float32", "model.safetensors", golden, scores, options.limits("fp32"))
    found = weights_fingerprint(find_weights(ModelFolder(layout.folder)))
    if golden.weights not in (None, found):
        note = "the weights changed since the golden pairs were scored: export the model again"
        check = replace(check, ok=False, note=note)
    yield replace(check, computes="float32")


def _check_exports(folder: ModelFolder, golden: Golden, options: VerifyOptions) -> list[Check]:
    exports = read_exports(folder)
    installed = installed_backends()
    checks: list[Check] = []
    changed = exports
    for entry in find_exports(folder, exports):
        name = f"{entry.backend} {entry.precision}"
        if entry.backend not in installed:
            checks.append(Check(name, entry.file, None, note=f"{entry.backend} is not installed"))
            continue
        check = _check_entry(folder, entry, golden, options)
        checks.append(check)
        if check.agreement is not None:
            changed = changed.with_entry(_marked(folder, entry, check))
    if options.record and changed != exports:
        try:
            write_exports(folder.path, changed)
        except SaveError as error:
            logger.warning("The findings could not be recorded: %s", error)
    return checks


def _check_entry(
    folder: ModelFolder, entry: ExportEntry, golden: Golden, options: VerifyOptions
) -> Check:
    name = f"{entry.backend} {entry.precision}"
    try:
        reranker = Reranker(
            folder.path,
            backend=entry.backend,
            precision=entry.precision,
            file_name=entry.file,
            threads=options.threads,
        )
        with quiet_truncation():
            scores = reranker.score(golden.pairs, show_progress_bar=False).scores
        check = _judged(name, entry.file, golden, scores, options.limits(entry.precision))
    except RankwrightError as error:
        return Check(name, entry.file, False, note=str(error))
    return replace(check, computes=reranker.computes)


def _marked(folder: ModelFolder, entry: ExportEntry, check: Check) -> ExportEntry:
    assert check.agreement is not None
    others = tuple(kind for kind in entry.verified if kind != check.computes)
    return replace(
        entry,
        fingerprint=sample_fingerprint(folder.path / entry.file),
        agreement=check.agreement.to_dict(),
        verified=tuple(sorted((*others, check.computes))) if check.ok else others,
    )


def _check_server(golden: Golden, http: HttpOptions, options: VerifyOptions) -> Check:
    schema, reference, scores = replay(golden, http)
    # What the server runs is not known, so it may be as far off as int8.
    return _judged(f"server ({schema})", http.url, reference, scores, options.limits("int8"))


def _judged(name: str, file: str, golden: Golden, scores: Any, limits: Limits) -> Check:
    found = compare(golden, scores)
    ok = limits.accept(found)
    return Check(name, file, ok, found, note="" if ok else limits.complaint(found))
