"""What `fit` and `old_fit` refuse, and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader, IterableDataset

from rankwright import CrossEncoder, InputExample
from rankwright.errors import (
    ColumnError,
    EmptyDataError,
    InputError,
    InputTypeError,
    LabelError,
    TrainingError,
)
from tests.training.fit.fits import FITS, QUIET, examples


@pytest.mark.parametrize("method", FITS)
@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        ([], {}, EmptyDataError, "empty list"),
        ([InputExample(texts=["a", "b", "c"])], {}, ColumnError, "two texts"),
        ([InputExample(texts=["a", 3])], {}, ColumnError, "two texts"),  # type: ignore[list-item]
        ([InputExample()], {}, ColumnError, "two texts"),
        ([{"query": "a", "document": "b"}], {}, LabelError, "no label"),
        (["text"], {}, InputTypeError, "InputExample"),
        (3, {}, InputError, "DataLoader"),
        (DataLoader(range(2), batch_size=None), {}, InputError, "batch_size=None"),  # type: ignore[arg-type]
        (DataLoader(range(2), batch_size=4, drop_last=True), {}, EmptyDataError, "no batches"),  # type: ignore[arg-type]
        ([("a", "b", 1)], {"scheduler": "cyclic"}, InputError, "'warmuplinear'"),
        (
            [("a", "b", 1)],
            {"loss_fct": lambda x, y: x.sum() * float("nan")},
            TrainingError,
            "loss is nan",
        ),
    ],
)
def test_refused(
    make: Callable[..., CrossEncoder],
    method: str,
    data: Any,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        getattr(make(), method)(data, **{**QUIET, **options})


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(examples(4))


def test_more_that_is_refused(make: Callable[..., CrossEncoder], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no length"):
        make().fit(DataLoader(Stream(), batch_size=2), **QUIET)
    with pytest.raises(LabelError, match="from 0 to 1"):
        make().fit([("a", "b", 3.5)], **QUIET)
    model = make()
    model.activation_fn = lambda x: x
    with pytest.raises(InputError):
        model.fit([("a", "b", 1)], output_path=str(tmp_path / "out"), **QUIET)
    assert not (tmp_path / "out").exists()
