"""What the integrations share: choosing, loading and calling a model."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rankwright.model
from rankwright import CrossEncoder
from rankwright.errors import (
    InputError,
    InputTypeError,
    MissingDependencyError,
    ModelError,
    ModelNotFoundError,
    ScoreError,
)
from rankwright.integrations import loading
from rankwright.integrations.loading import Loading
from rankwright.integrations.scorer import PairScorer, missing_framework
from rankwright.model import Reranker
from tests.integrations.texts import QUERY, TEXTS
from tests.tiny import tiny_model

PAIRS = [(QUERY, text) for text in TEXTS]


def test_scores_are_the_models(model: CrossEncoder, scores: dict[str, float]) -> None:
    scorer = PairScorer(model)
    assert scorer.scores(PAIRS) == list(scores.values())
    assert scorer.scores([]) == []
    logits = scorer.scores(PAIRS, "Identity")
    np.testing.assert_allclose(1 / (1 + np.exp(-np.array(logits))), scorer.scores(PAIRS), rtol=1e-5)


def test_best_first_and_ties_keep_their_order(
    scores: dict[str, float], model: CrossEncoder
) -> None:
    texts = [*TEXTS, TEXTS[1], TEXTS[0]]
    ranked = PairScorer(model).rank(QUERY, texts)
    expected = sorted(range(len(texts)), key=lambda i: (-scores[texts[i]], i))
    assert [index for index, _ in ranked] == expected
    assert [score for _, score in ranked] == [scores[texts[i]] for i in expected]


def test_a_path_is_loaded_once_when_it_is_needed(
    folder: Path, scores: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    real = Loading.load

    def counted(self: Loading, name: str) -> Any:
        loads.append(name)
        return real(self, name)

    monkeypatch.setattr(Loading, "load", counted)
    scorer = PairScorer(folder)
    assert not scorer.loaded
    found: list[list[float]] = []
    threads = [threading.Thread(target=lambda: found.append(scorer.scores(PAIRS))) for _ in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == [str(folder)]
    assert found == [list(scores.values())] * 4
    assert scorer.loaded


def test_a_copy_for_another_process_loads_anew(folder: Path, scores: dict[str, float]) -> None:
    scorer = PairScorer(folder, Loading(options={"max_length": 32}))
    first = scorer.scores(PAIRS)
    text = pickle.dumps(scorer)
    assert len(text) < 2000
    copy = pickle.loads(text)
    assert not copy.loaded
    assert copy.scores(PAIRS) == first
    assert copy.model.max_length == 32


def test_what_is_no_model() -> None:
    for wrong in (None, 3, object(), CrossEncoder):
        with pytest.raises(InputTypeError, match="expected a CrossEncoder"):
            PairScorer(wrong)


def test_options_that_cannot_be_used(model: CrossEncoder, folder: Path) -> None:
    with pytest.raises(InputError, match="is loaded already"):
        PairScorer(model, Loading(device="cpu"))
    with pytest.raises(InputError, match="backend='tensorrt' is not known; choose one of"):
        Loading("tensorrt")
    with pytest.raises(InputError, match="runs on the CPU, but device='cuda'"):
        Loading("onnx", "cuda")
    for size, kind in ((0, InputError), (2.5, InputTypeError), (True, InputTypeError)):
        with pytest.raises(kind, match="batch_size"):
            PairScorer(folder, batch_size=size)  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match="query is None"):
        PairScorer(model).rank(None, TEXTS)  # type: ignore[arg-type]


def test_several_labels_are_refused() -> None:
    three = CrossEncoder.from_transformers(*tiny_model("bert", num_labels=3))
    with pytest.raises(InputError, match="num_labels=3"):
        PairScorer(three).scores(PAIRS)


class Stub:
    def __init__(self, scores: Any) -> None:
        self.scores, self.given = scores, {}

    def predict(self, pairs: Any, **given: Any) -> Any:
        self.given = given
        return self.scores


def test_scores_that_are_none() -> None:
    for wrong in ([0.1, float("nan"), 0.2, 0.3], [0.1]):
        with pytest.raises(ScoreError, match=rf"Stub gave {len(wrong)} scores for 4 pairs"):
            PairScorer(Stub(wrong)).scores(PAIRS)


def test_what_the_model_is_told() -> None:
    stub = Stub([1, 2, 3, 4])
    assert PairScorer(stub, batch_size=7).scores(PAIRS, "Sigmoid") == [1, 2, 3, 4]
    assert stub.given == {"show_progress_bar": False, "batch_size": 7, "activation_fn": "Sigmoid"}
    PairScorer(stub).scores(PAIRS)
    assert stub.given == {"show_progress_bar": False}


# --- which model a folder becomes --------------------------------------------------------------


def test_weights_without_an_export(folder: Path) -> None:
    loaded = Loading(device="cpu", options={"max_length": 16}).load(str(folder))
    assert type(loaded) is CrossEncoder
    assert loaded.max_length == 16
    with pytest.raises(ModelNotFoundError, match="no exported model for onnx"):
        Loading("onnx").load(str(folder))


def test_an_export_comes_first(exported: Path, scores: dict[str, float]) -> None:
    for backend in ("auto", "onnx"):
        loaded = Loading(backend).load(str(exported))
        assert type(loaded) is Reranker
        np.testing.assert_allclose(loaded.predict(PAIRS), list(scores.values()), atol=1e-5)
    assert type(Loading("torch").load(str(exported))) is CrossEncoder


def test_another_device_means_torch(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(
        rankwright.model, "CrossEncoder", lambda *a, **k: made.append((a, k)), raising=False
    )
    Loading(device="cuda", options={"max_length": 9}).load(str(exported))
    assert made == [((str(exported),), {"device": "cuda", "max_length": 9})]
    for only_there in ({"trust_remote_code": True}, {"precision": "bfloat16"}):
        Loading(options=only_there).load(str(exported))
        assert made[-1] == ((str(exported),), {"device": None, **only_there})
    fits = Loading(options={"precision": "fp32", "threads": 1, "max_length": 9})
    assert fits.load(str(exported)).max_length == 9
    assert len(made) == 3


def test_another_programs_export_comes_after_the_weights(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmp_path / "foreign"
    shutil.copytree(exported, foreign)
    (foreign / "exports.json").unlink()
    assert type(Loading().load(str(foreign))) is CrossEncoder
    assert type(Loading("onnx").load(str(foreign))) is Reranker
    monkeypatch.setattr(loading, "_has_torch", lambda: False)
    assert type(Loading().load(str(foreign))) is Reranker  # nothing else could run
    monkeypatch.undo()
    (foreign / "model.safetensors").unlink()
    assert type(Loading().load(str(foreign))) is Reranker


def test_an_export_without_its_runtime(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "installed_backends", lambda: ())
    assert type(Loading().load(str(exported))) is CrossEncoder


def test_a_stale_export_is_not_passed_over(exported: Path, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "retrained"
    shutil.copytree(exported, other)
    tiny_model("bert", seed=5)[0].save_pretrained(other)
    with pytest.raises(ModelError, match=r"made from other weights.*pass backend='torch'"):
        Loading().load(str(other))
    assert type(Loading("torch").load(str(other))) is CrossEncoder


def test_a_hub_name_is_asked_for_one_small_file(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    asked: list[tuple[Any, ...]] = []

    def there(name: str, file: str, **options: Any) -> str:
        asked.append((name, file, options))
        return str(exported / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", there)
    options = Loading(options={"revision": "v2", "max_length": 9, "cache_folder": "cache"})
    assert options._has_export("ms-marco-MiniLM-L6-v2")
    file = ("cross-encoder/ms-marco-MiniLM-L6-v2", "exports.json")
    assert asked == [(*file, {"revision": "v2", "cache_dir": "cache"})]
    with monkeypatch.context() as patch:  # only exports that nothing here can run
        patch.setattr("rankwright.integrations.loading.installed_backends", lambda: ("openvino",))
        assert not options._has_export("ms-marco-MiniLM-L6-v2")

    def absent(*_: Any, **__: Any) -> str:
        raise EntryNotFoundError("404")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", absent)
    assert not options._has_export("ms-marco-MiniLM-L6-v2")
    for folder in ("./gone", "a/b/c", "~/gone"):
        assert not options._has_export(folder)
        with pytest.raises(ModelNotFoundError, match="There is no folder"):
            Loading().load(folder)


# --- frameworks that are not there --------------------------------------------------------------


MODULES = {
    "langchain": ("langchain_core", "langchain-core", "langchain"),
    "llama_index": ("llama_index", "llama-index-core", "llama-index"),
    "haystack": ("haystack", "haystack-ai", "haystack"),
    "mteb": ("mteb", "mteb", "mteb"),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_framework_that_is_not_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, package, extra = MODULES[name]
    for loaded in [key for key in sys.modules if key.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.delitem(sys.modules, f"rankwright.integrations.{name}", raising=False)

    class Hidden:
        def find_spec(self, wanted: str, *_: Any) -> None:
            if wanted.split(".")[0] == module:
                raise ModuleNotFoundError(f"No module named {wanted!r}", name=wanted)

    monkeypatch.setattr(sys, "meta_path", [Hidden(), *sys.meta_path])
    with pytest.raises(MissingDependencyError) as caught:
        __import__(f"rankwright.integrations.{name}")
    text = str(caught.value)
    assert f"rankwright.integrations.{name} needs the package '{package}'" in text
    assert f"pip install 'rankwright[{extra}]'" in text
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\n{extra} = ["{package}>=' in project


def test_a_framework_that_is_broken_inside() -> None:
    error = ModuleNotFoundError("No module named 'numpy'", name="numpy")
    assert missing_framework(error, "haystack", "haystack-ai", "haystack") is error


def test_importing_the_package_is_light() -> None:
    program = (
        "import sys, rankwright.integrations.scorer\n"
        "print(*sorted({'torch', 'transformers', 'datasets', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")
