"""docs/from-sentence-transformers.md: complete, and true of both packages."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import transformers
from torch import nn

import rankwright
from rankwright import CrossEncoder
from tests.tiny import tiny_model

PAGE = Path(rankwright.__file__).parents[2] / "docs" / "from-sentence-transformers.md"
BY_POSITION = 40
"""How many arguments a program may pass by position: the trainer's arguments are over a hundred."""
VERDICTS = ("same", "better", "different", "absent")

# The public names of Sentence Transformers 6.2 that concern cross-encoders, as its `__all__`s,
# fields and members list them.
TOP = """CrossEncoder CrossEncoderModelCardData CrossEncoderTrainer CrossEncoderTrainingArguments
    DefaultBatchSampler InputExample LoggingHandler MultiDatasetDefaultBatchSampler
    MultiVectorEncoder MultiVectorEncoderModelCardData MultiVectorEncoderTrainer
    MultiVectorEncoderTrainingArguments ParallelSentencesDataset SentenceTransformer
    SentenceTransformerModelCardData SentenceTransformerTrainer
    SentenceTransformerTrainingArguments SentencesDataset SimilarityFunction SparseEncoder
    SparseEncoderModelCardData SparseEncoderTrainer SparseEncoderTrainingArguments
    export_dynamic_quantized_onnx_model export_optimized_onnx_model
    export_static_quantized_openvino_model mine_hard_negatives quantize_embeddings resolve_ids"""
MODULES = {
    "cross_encoder": """CrossEncoder CrossEncoderDataCollator CrossEncoderModelCardData
        CrossEncoderTrainer CrossEncoderTrainingArguments""",
    "cross_encoder.losses": """ADRMSELoss BinaryCrossEntropyLoss
        CachedMultipleNegativesRankingLoss CrossEntropyLoss LambdaLoss LambdaRankScheme ListMLELoss
        ListNetLoss MSELoss MarginMSELoss MultipleNegativesRankingLoss NDCGLoss1Scheme
        NDCGLoss2PPScheme NDCGLoss2Scheme NoWeightingScheme PListMLELambdaWeight PListMLELoss
        RankNetLoss""",
    "cross_encoder.evaluation": """CEBinaryAccuracyEvaluator CEBinaryClassificationEvaluator
        CECorrelationEvaluator CEF1Evaluator CERerankingEvaluator CESoftmaxAccuracyEvaluator
        CrossEncoderClassificationEvaluator CrossEncoderCorrelationEvaluator
        CrossEncoderNanoBEIREvaluator CrossEncoderRerankingEvaluator""",
    "cross_encoder.modules": "Asym Dense InputModule LogitScore Module Router Transformer",
    "base": """BaseDataCollator BaseModel BaseTrainer BaseTrainingArguments PeftAdapterMixin""",
    "base.evaluation": "BaseEvaluator SentenceEvaluator SequentialEvaluator",
    "base.sampler": """BatchSamplers DefaultBatchSampler GroupByLabelBatchSampler
        MultiDatasetBatchSamplers MultiDatasetDefaultBatchSampler NoDuplicatesBatchSampler
        ProportionalBatchSampler RoundRobinBatchSampler""",
}
UTIL = """LoggingHandler batch_to_device cos_sim dot_score http_get install_logger
    mine_hard_negatives paraphrase_mining resolve_ids semantic_search"""
ELSEWHERE = """cross_encoder.data_collator.CrossEncoderDataCollator
    cross_encoder.model_card.CrossEncoderModelCardCallback
    cross_encoder.model_card.CrossEncoderModelCardData cross_encoder.trainer.CrossEncoderTrainer
    cross_encoder.training_args.CrossEncoderTrainingArguments evaluation.BaseEvaluator
    evaluation.SentenceEvaluator evaluation.SequentialEvaluator readers.InputExample
    training_args.BatchSamplers training_args.MultiDatasetBatchSamplers"""
METHODS = """active_adapter active_adapters add_adapter append check_peft_compatible_model
    clear_placement_cache config default_activation_function default_huggingface_organization
    delete_adapter device disable_adapters dtype enable_adapters evaluate extend fit
    get_adapter_state_dict get_backend get_default_activation_fn get_max_seq_length
    get_model_kwargs gradient_checkpointing_enable has_peft_compatible_model insert
    is_singular_input load_adapter max_length max_seq_length merge modalities model
    model_card_data_class model_type num_labels old_fit pop predict preprocess processor
    push_to_hub rank save save_pretrained save_to_hub set_adapter set_keep_in_fp32_modules
    smart_batching_collate smart_batching_collate_text_only start_multi_process_pool
    stop_multi_process_pool supports tokenize tokenizer transformers_model"""
FIELDS = """batch_sampler learning_rate_mapping multi_dataset_batch_sampler prompts router_mapping
    warmup_ratio"""
STRATEGIES = {
    "BatchSamplers": "BATCH_SAMPLER GROUP_BY_LABEL NO_DUPLICATES NO_DUPLICATES_HASHED",
    "MultiDatasetBatchSamplers": "PROPORTIONAL ROUND_ROBIN",
}


@dataclass(frozen=True)
class Row:
    """One name of a table."""

    name: str
    here: str | None
    verdict: str
    missing: frozenset[str]


def rows_of(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        if not line.startswith("| `"):
            continue
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        assert len(cells) in (3, 4), line
        names, place, verdict, why = [*cells, ""][:4]
        verdict, why = verdict.strip(" |"), why.strip(" |")
        missing = re.search(r"Not taken: ((?:`\w+`(?:, )?)+)\.", why)
        assert ("Not taken" in why) == bool(missing), line
        arguments = re.findall(r"`(\w+)`", missing[1]) if missing else []
        for name in re.findall(r"`([\w.]+)`", names):
            here = {"the same": name, "—": None}.get(place, place.strip("`"))
            yield Row(name, here, verdict, frozenset(arguments))


ROWS = list(rows_of(PAGE.read_text(encoding="utf-8")))
BY_NAME = {row.name: row for row in ROWS}


def recorded() -> set[str]:
    """Every name that the page has to have."""
    names = {*TOP.split(), *ELSEWHERE.split(), *(f"util.{name}" for name in UTIL.split())}
    names |= {f"{path}.{name}" for path, found in MODULES.items() for name in found.split()}
    names |= {f"CrossEncoder.{name}" for name in METHODS.split()}
    names |= {f"CrossEncoderTrainingArguments.{name}" for name in FIELDS.split()}
    return names | {
        f"base.sampler.{kind}.{name}"
        for kind, found in STRATEGIES.items()
        for name in found.split()
    }


@cache
def example() -> CrossEncoder:
    """A model, because some attributes are only on instances."""
    return CrossEncoder.from_transformers(*tiny_model("bert"))


def resolve(package: str, name: str) -> Any:
    """What a path of the page stands for.

    Raises:
        AttributeError: Nothing.
    """
    value: Any = importlib.import_module(package)
    path = package
    for part in name.split("."):
        path = f"{path}.{part}"
        if inspect.ismodule(value) and not hasattr(value, part):
            try:
                value = importlib.import_module(path)
            except ModuleNotFoundError as error:
                raise AttributeError(path) from error
        elif value is CrossEncoder and not hasattr(value, part):
            value = getattr(example(), part)
        elif dataclasses.is_dataclass(value) and part in {
            f.name for f in dataclasses.fields(value)
        }:
            value = getattr(value, part, None)
        else:
            value = getattr(value, part)
    return value


def exists(package: str, name: str) -> bool:
    try:
        resolve(package, name)
    except AttributeError:
        return False
    return True


def arguments(function: Callable[..., Any]) -> list[inspect.Parameter]:
    found = inspect.signature(function).parameters.values()
    return [p for p in found if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


def not_taken(theirs: Callable[..., Any], ours: Callable[..., Any]) -> set[str]:
    """Arguments of theirs that ours has not, by name or at their place."""
    taken, wanted = arguments(ours), arguments(theirs)
    missing = {p.name for p in wanted} - {p.name for p in taken}
    order = [p.name for p in taken if p.kind is p.POSITIONAL_OR_KEYWORD]
    placed = [p.name for p in wanted if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in missing]
    pairs = list(zip(placed, order, strict=False))[:BY_POSITION]
    moved = {name for name, other in pairs if name != other}
    return missing | moved | set(placed[len(order) :])


def public(names: Iterable[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


# --- the page alone ---------------------------------------------------------------------------


def test_the_page_has_every_recorded_name() -> None:
    assert recorded() - set(BY_NAME) == set()
    assert len(ROWS) > 200


def test_one_verdict_for_each_name() -> None:
    assert {row.verdict for row in ROWS} == set(VERDICTS)
    for row in ROWS:
        assert row.verdict == BY_NAME[row.name].verdict, row.name
        assert (row.here is None) == (row.verdict == "absent"), row.name
        assert not (row.missing and row.verdict == "same"), row.name


@pytest.mark.parametrize("row", [r for r in ROWS if r.here], ids=lambda r: r.name)
def test_what_is_said_to_be_here_is_here(row: Row) -> None:
    assert row.here is not None
    resolve("rankwright", row.here)


@pytest.mark.parametrize("row", [r for r in ROWS if not r.here], ids=lambda r: r.name)
def test_what_is_said_to_be_absent_is_absent(row: Row) -> None:
    assert not exists("rankwright", row.name)


def test_the_page_is_read_as_it_is_meant() -> None:
    text = "\n".join(
        [
            "| Sentence Transformers | Here | Verdict | Why |",
            "|---|---|---|---|",
            "| `a.B`, `c` | the same | better | Faster. Not taken: `x`, `y`. |",
            "| `D` | `e.f` | same | |",
            "| `G` | — | absent | No. |",
        ]
    )
    assert list(rows_of(text)) == [
        Row("a.B", "a.B", "better", frozenset("xy")),
        Row("c", "c", "better", frozenset("xy")),
        Row("D", "e.f", "same", frozenset()),
        Row("G", None, "absent", frozenset()),
    ]


def test_signatures_are_compared() -> None:
    def theirs(a: int, b: int, *, c: int = 0, **rest: int) -> None: ...

    def good(a: int, b: int, d: int = 1, *, c: int = 0) -> None: ...

    def bad(b: int, *, a: int, **deprecated: int) -> None: ...

    assert not_taken(theirs, good) == set()
    assert not_taken(theirs, bad) == {"a", "b", "c"}


# --- against the installed package ------------------------------------------------------------

peer = pytest.mark.peer
quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def theirs() -> Any:
    return pytest.importorskip("sentence_transformers")


@peer
@quiet
@pytest.mark.slow
def test_the_page_has_every_name_of_the_installed_package(theirs: Any) -> None:
    names = set(theirs.__all__)
    for path in MODULES:
        module = importlib.import_module(f"sentence_transformers.{path}")
        # `base` names the samplers of `base.sampler` once more.
        again = resolve("sentence_transformers", "base.sampler").__all__ if path == "base" else ()
        names |= {f"{path}.{name}" for name in set(module.__all__) - set(again)}
    model = public(dir(theirs.CrossEncoder)) - set(dir(nn.Module))
    names |= {f"CrossEncoder.{name}" for name in model}
    trainer = public(dir(theirs.CrossEncoderTrainer)) - set(dir(transformers.Trainer))
    names |= {f"CrossEncoderTrainer.{name}" for name in trainer}
    fields = {f.name for f in dataclasses.fields(theirs.CrossEncoderTrainingArguments)}
    fields -= {f.name for f in dataclasses.fields(transformers.TrainingArguments)}
    names |= {f"CrossEncoderTrainingArguments.{name}" for name in fields}
    for kind in STRATEGIES:
        strategies = resolve("sentence_transformers", f"base.sampler.{kind}")
        names |= {f"base.sampler.{kind}.{one.name}" for one in strategies}
    assert names - set(BY_NAME) == set()


@peer
@quiet
@pytest.mark.slow
def test_the_page_names_nothing_that_is_not_there(theirs: Any) -> None:
    only_on_instances = {
        f"CrossEncoder.{name}"
        for name in ("activation_fn", "default_prompt_name", "model_card_data", "prompts")
    }
    missing = {name for name in BY_NAME if not exists("sentence_transformers", name)}
    assert missing - only_on_instances == set()


@peer
@quiet
@pytest.mark.slow
def test_arguments_that_are_not_taken_are_listed(theirs: Any) -> None:
    wrong: dict[str, Any] = {}
    compared = 0
    for row in ROWS:
        if row.here is None:
            continue
        there = inspect.getattr_static(theirs.CrossEncoder, row.name.split(".")[-1], None)
        if row.name.startswith("CrossEncoder.") and isinstance(there, (property, type(None))):
            continue
        ours, other = resolve("rankwright", row.here), resolve("sentence_transformers", row.name)
        if not callable(other) or (isinstance(other, type) and issubclass(other, Enum)):
            continue
        compared += 1
        found = not_taken(other, ours)
        if (row.verdict in ("same", "better") or row.missing) and found != row.missing:
            wrong[row.name] = (sorted(found), sorted(row.missing))
    assert wrong == {}
    assert compared > 90
