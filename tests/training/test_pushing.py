"""What is saved, and what is pushed to the hub."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import transformers.trainer

from rankwright import CrossEncoder, CrossEncoderTrainer
from rankwright.errors import TrainingError
from rankwright.training.checkpoints import MARKER
from tests.tiny import save_tiny
from tests.training.runs import arguments
from tests.training.scripted import trainer_for
from tests.training.stub import rows


def test_save_only_model_cannot_be_resumed_but_loaded(tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    trainer_for(tmp_path, save_only_model=True, **options).train()
    assert not (tmp_path / "checkpoint-2" / "optimizer.pt").exists()
    for resume in (True, tmp_path / "checkpoint-1"):
        with pytest.raises(TrainingError, match="save_only_model"):
            trainer_for(tmp_path, **options).train(resume_from_checkpoint=resume)


class FakeHub:
    """Keeps what is uploaded, as lists of file names."""

    def __init__(self) -> None:
        self.created: list[dict[str, Any]] = []
        self.uploads: list[tuple[str, set[str], str]] = []

    def create_repo(self, name: str, **options: Any) -> Any:
        self.created.append({"name": name, **options})
        return SimpleNamespace(repo_id=f"me/{name}", repo_url="https://hub/me")

    def upload_folder(self, folder_path: str, **options: Any) -> Any:
        ignored = options.get("ignore_patterns") or []
        files = {
            path.relative_to(folder_path).as_posix()
            for path in Path(folder_path).rglob("*")
            if path.is_file()
            and not any(path.relative_to(folder_path).match(f"{p}/*") for p in ignored)
        }
        self.uploads.append((options.get("path_in_repo", ""), files, options["commit_message"]))
        done: Future[Any] = Future()
        done.set_result(SimpleNamespace(commit_url="https://hub/me/commit"))
        return done if options.get("run_as_future") else done.result()

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


MODEL_FILES = {
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors",
    "modules.json",
    "rankwright.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.mark.parametrize("strategy", ["every_save", "checkpoint", "end"])
def test_push_to_hub_sends_the_whole_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    hub = FakeHub()
    monkeypatch.setattr(transformers.trainer, "hf_api", lambda: hub)
    args = arguments(
        tmp_path / "mine", push_to_hub=True, hub_strategy=strategy, hub_private_repo=True,
        hub_token="secret", max_steps=2, save_strategy="steps", save_steps=2,
    )  # fmt: skip
    trainer = CrossEncoderTrainer(
        model=CrossEncoder(save_tiny(tmp_path / "base")), args=args, train_dataset=rows(8)
    )
    trainer.train()
    assert hub.created[0]["private"] is True
    during = [upload for upload in hub.uploads if upload[2].startswith("Training in progress")]
    assert len(during) == {"every_save": 1, "checkpoint": 2, "end": 0}[strategy]
    for _, files, _ in during:
        assert files >= MODEL_FILES
    if strategy == "checkpoint":
        assert during[1][0] == "last-checkpoint"
        assert {"optimizer.pt", MARKER} <= during[1][1]
    trainer.push_to_hub()
    path, files, _ = hub.uploads[-1]
    assert path == ""
    assert MODEL_FILES | {"README.md"} <= files
    assert not any("optimizer" in name for name in files)
    pushed = CrossEncoder(tmp_path / "mine")
    assert pushed.contract == trainer.model.contract
    assert "secret" not in (tmp_path / "mine" / "README.md").read_text(encoding="utf-8")
