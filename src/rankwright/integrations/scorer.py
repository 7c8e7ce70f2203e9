"""What all integrations share: a model that may not be loaded yet, and scores of its pairs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rankwright.errors import InputError, InputTypeError, MissingDependencyError, ScoreError
from rankwright.integrations.loading import Loading

__all__ = ["PairScorer", "check_count", "missing_framework", "model_name"]


class PairScorer:
    """A model, loaded when it is needed first, that gives one score per pair.

    Several threads may use one object. A copy in another process loads the model anew if it was
    given by folder or name.

    Args:
        model: A `CrossEncoder`, a `Reranker`, another object with their ``predict``, or a folder
            or hub name.
        loading: How a folder or name is loaded.
        batch_size: Most pairs in one batch; None lets the number of tokens decide.

    Raises:
        InputTypeError: Another kind of object.
        InputError: A batch size below 1, or how to load what is loaded already.
    """

    def __init__(
        self, model: Any, loading: Loading | None = None, batch_size: int | None = None
    ) -> None:
        self.source: str | None = None
        if isinstance(model, (str, Path)):
            self.source = str(model)
        elif isinstance(model, type) or not callable(getattr(model, "predict", None)):
            raise InputTypeError(
                f"model is {model!r:.80} ({type(model).__name__}); expected a CrossEncoder, a "
                "Reranker, or the folder or hub name of one."
            )
        elif loading not in (None, Loading()):
            raise InputError(
                "backend, device and options for loading are for a model that is given by folder "
                "or name; this one is loaded already."
            )
        if batch_size is not None:
            check_count(batch_size, "batch_size")
        self._model = None if self.source is not None else model
        self._loading = loading or Loading()
        self._batch_size = batch_size
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_lock": None}
        return state if self.source is None else {**state, "_model": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._model is not None

    @property
    def model(self) -> Any:
        """The model, loaded by now.

        Raises:
            ModelNotFoundError, ModelError, ConfigError: It cannot be loaded.
            InputError: It has several labels.
            MissingDependencyError: What it runs on is not installed.
        """
        with self._lock:
            if self._model is None and self.source is not None:
                self._model = self._loading.load(self.source)
            labels = getattr(self._model, "num_labels", 1)
            if labels != 1:
                raise InputError(
                    f"Documents are ranked by one score, but this model has num_labels={labels}."
                )
            return self._model

    @property
    def name(self) -> str:
        """The folder or name it was given by, or the best name a loaded model has."""
        return self.source if self.source is not None else model_name(self._model)

    def scores(
        self, pairs: Sequence[tuple[str, str]], activation_fn: str | None = None
    ) -> list[float]:
        """One score per pair of query and document.

        Args:
            pairs: (query, document).
            activation_fn: Instead of the model's own.

        Raises:
            ScoreError: The model gave NaN or another number of scores.
        """
        if not pairs:
            return []
        given: dict[str, Any] = {} if activation_fn is None else {"activation_fn": activation_fn}
        if self._batch_size is not None:
            given["batch_size"] = self._batch_size
        found = self.model.predict(list(pairs), show_progress_bar=False, **given)
        scores = [float(score) for score in found]
        if len(scores) != len(pairs) or any(score != score for score in scores):
            raise ScoreError(
                f"{self.name} gave {len(scores)} scores for {len(pairs)} pairs, "
                f"{sum(score != score for score in scores)} of them NaN."
            )
        return scores

    def rank(
        self, query: str, texts: Sequence[str], activation_fn: str | None = None
    ) -> list[tuple[int, float]]:
        """(position, score) of every text, best first; equal scores keep their order.

        Args:
            query: The query.
            texts: The documents.
            activation_fn: Instead of the model's own.

        Raises:
            InputTypeError: The query is no text.
            ScoreError: As in `scores`.
        """
        if not isinstance(query, str):
            raise InputTypeError(f"query is {query!r:.60} ({type(query).__name__}); not a string.")
        scores = self.scores([(query, text) for text in texts], activation_fn)
        return sorted(enumerate(scores), key=lambda item: -item[1])


def model_name(model: Any) -> str:
    """What a loaded model is called: its weights' origin, or else its class."""
    config = getattr(getattr(model, "model", None), "config", None)
    return str(getattr(config, "name_or_path", "") or type(model).__name__)


def check_count(value: Any, name: str) -> int:
    """``value``, if it is a whole number of at least 1.

    Raises:
        InputTypeError: Not a whole number.
        InputError: Less than 1.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputTypeError(f"{name} is {value!r} ({type(value).__name__}); not a whole number.")
    if value < 1:
        raise InputError(f"{name}={value}; expected at least 1.")
    return value


def missing_framework(error: ImportError, module: str, package: str, extra: str) -> ImportError:
    """What to raise when a framework cannot be imported: how to install it if it is not there,
    or the error itself if something inside it is broken.

    Args:
        error: What importing it raised.
        module: Its first name in imports.
        package: Its name for pip.
        extra: The extra of this package that brings it.
    """
    if (error.name or "").partition(".")[0] != module:
        return error
    purpose = f"rankwright.integrations.{extra.replace('-', '_')}"
    return MissingDependencyError.for_package(package, extra, purpose)
