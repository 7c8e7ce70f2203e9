"""What to export and how good it must be, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rankwright.errors import InputError
from rankwright.export.agreement import Agreement, Limits, limits_for
from rankwright.export.golden_pairs import PairOptions
from rankwright.model.exports import BACKENDS, PRECISIONS

__all__ = ["ExportOptions", "ExportReport"]


@dataclass(frozen=True)
class ExportOptions:
    """What to export, and how good it must be.

    Attributes:
        backend: ``"onnx"``, ``"openvino"`` or ``"native"``.
        precision: ``"fp32"``, ``"bf16"`` (OpenVINO), ``"int16"`` (native) or ``"int8"`` (ONNX and
            OpenVINO).
        output: Folder for deployment, without weights for PyTorch; None adds the export to the
            model's own folder.
        pairs: Golden and calibration pairs.
        quantisation: ``"dynamic"`` or ``"static"``, for ONNX in int8. OpenVINO is always static.
        min_kendall_tau: Least Kendall tau; None takes the precision's default.
        max_ndcg_drop: Largest drop of nDCG@10; None takes the default.
        max_difference: Largest difference of a score, as a part of the scores' range; None takes
            the default.
        max_tries: How many mixtures of int8 and float32 are tried at most.
        overwrite: Whether to replace a former export of the same kind.
        threads: How many batches run at once in the comparison; None for all cores.
    """

    backend: str = "onnx"
    precision: str = "fp32"
    output: str | Path | None = None
    pairs: PairOptions = field(default_factory=PairOptions)
    quantisation: str = "dynamic"
    min_kendall_tau: float | None = None
    max_ndcg_drop: float | None = None
    max_difference: float | None = None
    max_tries: int = 16
    overwrite: bool = False
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("backend", self.backend, BACKENDS),
            ("precision", self.precision, PRECISIONS),
            ("quantisation", self.quantisation, ("dynamic", "static")),
        ):
            if value not in known:
                raise InputError(f"{name}={value!r} is not known; choose one of {known}.")
        if self.backend == "onnx" and self.precision == "bf16":
            raise InputError(
                "ONNX Runtime has no bfloat16 products for CPUs. Use --backend openvino for bf16, "
                "or int8, which is faster on most processors."
            )
        if (self.precision == "int16") != (self.backend == "native" and self.precision != "fp32"):
            raise InputError(
                f"The backend {self.backend} has no models in {self.precision}: native has fp32 "
                "and int16, onnx fp32 and int8, openvino fp32, bf16 and int8."
            )
        if self.max_tries < 1:
            raise InputError(f"max_tries={self.max_tries}; expected at least 1.")
        self.limits  # noqa: B018  # refuses impossible ones

    @property
    def limits(self) -> Limits:
        """What must be reached."""
        return limits_for(
            self.precision,
            kendall_tau=self.min_kendall_tau,
            ndcg_drop=self.max_ndcg_drop,
            difference=self.max_difference,
        )


@dataclass(frozen=True)
class ExportReport:
    """What was exported.

    Attributes:
        folder: Where it is.
        file: Path inside the folder.
        backend: As asked.
        precision: As asked.
        size: Bytes of the exported model.
        agreement: With float32 on the golden pairs.
        kept: Parts that stayed in float32.
        tries: How many mixtures were tried.
        computes: In which number format this machine computes it.
        golden: How many golden pairs there were, and where from.
        notes: What a user should know.
    """

    folder: str
    file: str
    backend: str
    precision: str
    size: int
    agreement: Agreement
    kept: tuple[str, ...]
    tries: int
    computes: str
    golden: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            **values,
            "agreement": self.agreement.to_dict(),
            "kept": list(self.kept),
            "notes": list(self.notes),
        }
