"""Data, losses and settings that do not fit each other are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rankwright.errors import ColumnError, InputError, InputTypeError
from rankwright.losses import (
    ListNetLoss,
    MSELoss,
)
from rankwright.training import CrossEncoderTrainer
from tests.training.mixtures import PAIRS, stream
from tests.training.runs import arguments
from tests.training.stub import StubEncoder


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"train_dataset": {}}, InputError, "keys must be the names of data sets"),
        ({"train_dataset": {3: PAIRS}}, InputError, r"found \[3\]"),
        ({"train_dataset": {"a": None}}, InputTypeError, r"train_dataset\['a'\] is None"),
        ({"train_dataset": {"query": ["a"], "document": ["b"]}}, InputTypeError, "from_dict"),
        ({"train_dataset": {"train": PAIRS, "test": PAIRS}}, InputError, r"data\['train'\]"),
        ({"loss": {"b": MSELoss}}, InputError, "a loss for 'b'; train_dataset has 'a', for which"),
        ({"loss": {}}, InputError, "loss is an empty dict"),
        (
            {"loss": {"a": MSELoss}, "eval_dataset": PAIRS},
            InputError,
            "eval_dataset must be a dict too",
        ),
        (
            {"loss": {"a": MSELoss}, "eval_dataset": {"b": PAIRS}},
            InputError,
            "eval_dataset has 'b', for which there is none",
        ),
        ({"loss": {"a": 3}}, InputTypeError, "found int"),
        ({"loss": {"a": ListNetLoss}}, ColumnError, "ListNetLoss takes the columns"),
    ],
)
def test_mistakes_in_data_and_losses(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    given = {"model": StubEncoder(), "args": arguments(tmp_path), "train_dataset": {"a": PAIRS}}
    with pytest.raises(error, match=words):
        CrossEncoderTrainer(**(given | options))


def test_a_loss_that_no_data_set_needs_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loss = {"a": MSELoss, "b": MSELoss}
    CrossEncoderTrainer(
        model=StubEncoder(), args=arguments(tmp_path), train_dataset={"a": PAIRS}, loss=loss
    )
    assert "loss has an entry for 'b', but there is no data set of that name" in caplog.text


@pytest.mark.parametrize(
    ("train", "options", "words"),
    [
        ("stream", {"max_steps": -1}, "train_dataset is a stream.*set max_steps"),
        ("streams", {"max_steps": -1}, r"set max_steps|needs to know how many rows"),
        ("streams", {}, "'proportional' needs to know how many rows each data set has"),
        ("stream", {"batch_sampler": "group_by_label"}, "a stream has none"),
        ("stream", {"batch_sampler": list}, "a stream has none"),
        ("pairs", {"train_sampling_strategy": "batch_rebalance"}, "'batch_rebalance' is not"),
        ("pairs", {"length_column_name": "tokens"}, "length_column_name='tokens' has no effect"),
        ("both", {"batch_sampler": {"a": "batch_sampler"}}, "the data set 'b' is not in it"),
        ("both", {"batch_sampler": dict.fromkeys("abc", "batch_sampler")}, "names 'c', which is"),
        ("both", {"multi_dataset_batch_sampler": {"a": 1.0}}, "a weight to each data set"),
    ],
)
def test_settings_that_do_not_fit_the_data(
    tmp_path: Path, train: str, options: dict[str, Any], words: str
) -> None:
    found: Any = {
        "stream": stream(PAIRS),
        "streams": {"a": stream(PAIRS), "b": stream(PAIRS)},
        "pairs": PAIRS,
        "both": {"a": PAIRS, "b": PAIRS},
    }[train]
    args = arguments(tmp_path, **{"max_steps": 3, **options})
    with pytest.raises(InputError, match=words):
        CrossEncoderTrainer(model=StubEncoder(), args=args, train_dataset=found)
