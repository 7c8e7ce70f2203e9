"""Every exception Rankwright raises on purpose.

Each one is also a standard exception, so ``except ValueError`` keeps working, and each message
names the file, line, column or argument, what was found, what was expected and what to do.

::

    RankwrightError
    ├── InputError (ValueError)             a bad argument or option
    │   └── InputTypeError (TypeError)      an argument of the wrong type
    ├── DataError (ValueError)              something is wrong in the user's data
    │   ├── FormatError                     a file or a line that cannot be parsed
    │   ├── ColumnError                     missing, unknown or too many columns
    │   ├── EmptyDataError                  nothing to work on, or an empty query or document
    │   ├── LabelError                      a label outside the range its loss allows
    │   ├── UnknownIdError (LookupError)    a qrels or run id that is not in the corpus or queries
    │   └── DuplicateIdError                one id, two texts
    ├── DataNotFoundError (FileNotFoundError)
    ├── ConfigError (ValueError)            a recipe or a model's JSON that does not hold
    ├── ModelError (ValueError)             a model folder that cannot be used
    │   ├── WeightsError                    missing, truncated or mismatched weights
    │   └── UnsafeModelError                a pickle, a path that escapes, code not allowed
    ├── ModelNotFoundError (FileNotFoundError)
    ├── ScoreError (ArithmeticError)        NaN or infinity where a score should be
    ├── TrainingError (RuntimeError)        training cannot go on, or did not help
    ├── WorkerError (RuntimeError)          a worker process failed or came to an end
    ├── ExportError (RuntimeError)          a model cannot be exported, or its export is not as good
    ├── SaveError (OSError)                 nothing was written, or what was there is untouched
    └── MissingDependencyError (ImportError)
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "ColumnError",
    "ConfigError",
    "DataError",
    "DataNotFoundError",
    "DuplicateIdError",
    "EmptyDataError",
    "ExportError",
    "FormatError",
    "InputError",
    "InputTypeError",
    "LabelError",
    "MissingDependencyError",
    "ModelError",
    "ModelNotFoundError",
    "RankwrightError",
    "SaveError",
    "ScoreError",
    "TrainingError",
    "UnknownIdError",
    "UnsafeModelError",
    "WeightsError",
    "WorkerError",
]


class RankwrightError(Exception):
    """Base of every exception this library raises on purpose."""


class InputError(RankwrightError, ValueError):
    """An argument or option with a value that cannot be used."""


class InputTypeError(InputError, TypeError):
    """An argument of a type that cannot be used, such as a bare string for a list of pairs."""


class DataError(RankwrightError, ValueError):
    """Something is wrong in the user's data.

    Args:
        message: What was found, what was expected and what to do.
        path: The file, if the data came from one.
        line: Line number in that file, counted from 1.
        column: Column or field name.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | Path | None = None,
        line: int | None = None,
        column: str | None = None,
    ) -> None:
        self.path = None if path is None else str(path)
        self.line = line
        self.column = column
        where = [
            part
            for part in (
                self.path,
                None if line is None else f"line {line}",
                None if column is None else f"column '{column}'",
            )
            if part is not None
        ]
        super().__init__(f"{', '.join(where)}: {message}" if where else message)


class FormatError(DataError):
    """A file, or a line of one, that cannot be parsed."""


class ColumnError(DataError):
    """Columns that are missing, unknown, or too many or too few for what is asked."""


class EmptyDataError(DataError):
    """No rows, or an empty query or document."""


class LabelError(DataError):
    """A label outside the range allowed here."""


class UnknownIdError(DataError, LookupError):
    """A query or document id that nothing in the data carries."""


class DuplicateIdError(DataError):
    """One id that stands for two different texts."""


class DataNotFoundError(RankwrightError, FileNotFoundError):
    """A file, folder or data set that is not there."""


class ConfigError(RankwrightError, ValueError):
    """A recipe or configuration that is malformed or contradicts itself."""


class ModelError(RankwrightError, ValueError):
    """A model folder that cannot be used."""


class WeightsError(ModelError):
    """Weights that are missing, truncated, or of another shape than the configuration says."""


class UnsafeModelError(ModelError):
    """A model folder that asks for something unsafe: a pickle, an outside path, foreign code."""


class ModelNotFoundError(RankwrightError, FileNotFoundError):
    """A model that is neither a local folder nor on the hub."""


class ScoreError(RankwrightError, ArithmeticError):
    """NaN or infinity where a score should be."""


class TrainingError(RankwrightError, RuntimeError):
    """Training cannot go on, or its result is not better than what was there before."""


class WorkerError(RankwrightError, RuntimeError):
    """A process that was to score pairs failed, or came to an end before it was told to."""


class ExportError(RankwrightError, RuntimeError):
    """A model that cannot be exported, or whose export does not agree with its weights."""


class SaveError(RankwrightError, OSError):
    """Saving failed; what stood there before is untouched."""


class MissingDependencyError(RankwrightError, ImportError):
    """An optional package is needed for this and is not installed."""

    @classmethod
    def for_package(cls, package: str, extra: str, purpose: str) -> MissingDependencyError:
        """Names the package, what needs it and the extra that brings it."""
        return cls(
            f"{purpose} needs the package '{package}', which is not installed. "
            f"Install it with: pip install 'rankwright[{extra}]'"
        )
