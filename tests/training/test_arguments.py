from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rankwright.errors import InputError
from rankwright.training import (
    BatchSamplers,
    CrossEncoderTrainingArguments,
    MultiDatasetBatchSamplers,
)


def make(folder: Path, **options: Any) -> CrossEncoderTrainingArguments:
    return CrossEncoderTrainingArguments(str(folder), use_cpu=True, **options)


@pytest.mark.parametrize(("ratio", "steps"), [(0.1, 10), (0.0, 0), (1.0, 100), (0.015, 2)])
def test_warmup_ratio_still_works(tmp_path: Path, ratio: float, steps: int) -> None:
    assert make(tmp_path, warmup_ratio=ratio).get_warmup_steps(100) == steps


def test_warmup_steps_win_over_the_ratio(tmp_path: Path) -> None:
    assert make(tmp_path, warmup_ratio=0.5, warmup_steps=7).get_warmup_steps(100) == 7


def test_names_become_enums(tmp_path: Path) -> None:
    args = make(tmp_path, batch_sampler="no_duplicates", multi_dataset_batch_sampler="round_robin")
    assert args.batch_sampler is BatchSamplers.NO_DUPLICATES
    assert args.multi_dataset_batch_sampler is MultiDatasetBatchSamplers.ROUND_ROBIN


def test_fixed_settings(tmp_path: Path) -> None:
    args = make(tmp_path, prediction_loss_only=False, logging_nan_inf_filter=True)
    assert args.prediction_loss_only
    assert not args.logging_nan_inf_filter
    assert not args.remove_unused_columns


def test_they_can_be_written_as_json(tmp_path: Path) -> None:
    written = make(tmp_path, learning_rate_mapping={"classifier": 1e-3}).to_json_string()
    assert '"batch_sampler": "batch_sampler"' in written
    assert '"classifier": 0.001' in written


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"warmup_ratio": 1.5}, "warmup_ratio must be from 0 to 1"),
        ({"batch_sampler": "duplicates"}, "'no_duplicates'"),
        ({"multi_dataset_batch_sampler": "x"}, "choose one of 'round_robin', 'proportional'"),
        ({"learning_rate_mapping": {"a": -1.0}}, "below 0"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make(tmp_path, **options)


def test_the_rooms_offer_their_names_lazily() -> None:
    import rankwright.losses as losses
    import rankwright.training as training

    for room in (losses, training):
        for name in room.__all__:
            assert getattr(room, name) is not None
        assert dir(room) == sorted(room.__all__)
        with pytest.raises(AttributeError, match="nothing"):
            _ = room.nothing
