"""A recipe: every decision between raw data and a finished reranker, as plain data.

The texts after the fields are what users read, in YAML recipes and in ``--help``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from rankwright.data.options import LoadOptions
from rankwright.errors import ConfigError, InputError
from rankwright.mining.options import MiningOptions
from rankwright.recipes.options import Limit, Section

__all__ = [
    "DataRecipe",
    "EvaluationRecipe",
    "FirstStageRecipe",
    "LossName",
    "MiningRecipe",
    "MiningStages",
    "ModelRecipe",
    "Precision",
    "Recipe",
    "TrainingRecipe",
]

MiningStages = Literal["bm25", "dense", "both", "best"]
Precision = Literal["auto", "float32", "bfloat16", "float16", "int16"]
LossName = Literal["group-softmax", "listnet", "lambda", "bce"]

COUNT = Limit(at_least=1)
NOT_NEGATIVE = Limit(at_least=0)
POSITIVE = Limit(above=0)
SHARE = Limit(at_least=0, below=1)

# Relevant documents are no negatives, so mining looks this much deeper.
_USUAL_POSITIVES = 20


@dataclass(frozen=True)
class DataRecipe(Section):
    """Where queries, documents and judgements come from."""

    SECTION: ClassVar[str] = "data"
    LIMITS: ClassVar[Mapping[str, Limit]] = {
        "dev_fraction": SHARE,
        "test_fraction": SHARE,
        "max_queries": COUNT,
        "relevance_threshold": POSITIVE,
    }

    source: str
    """Your data (--data): a JSON, JSON Lines, CSV, TSV, Parquet or Arrow file; a folder in BEIR's
    layout or with train, dev and test files; a database URL; or a data set on the Hugging Face
    hub."""
    query_column: str | None = None
    """Column of the queries; found by name unless given."""
    document_column: str | None = None
    """Column of the relevant documents; found by name unless given."""
    label_column: str | None = None
    """Column of the labels; found by name unless given."""
    negative_columns: tuple[str, ...] = ()
    """Columns of documents that are not relevant; found by name unless given."""
    subset: str | None = None
    """Configuration of a hub data set."""
    split: str | None = None
    """The one split of a hub data set to read; all unless given."""
    revision: str | None = None
    """Branch, tag or commit of a hub data set."""
    sql: str | None = None
    """The SELECT that gives the rows, where the data is a database URL."""
    dev_fraction: float = 0.1
    """Share of the queries kept for choosing between models, where the data has no dev split."""
    test_fraction: float = 0.1
    """Share of the queries kept for the final figures, where the data has no test split."""
    max_queries: int | None = None
    """At most this many queries in each split; all unless given."""
    relevance_threshold: float = 1.0
    """A label from here up means relevant."""
    drop_empty: bool = False
    """Leave out rows with an empty query or document instead of refusing the data."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dev_fraction + self.test_fraction >= 1:
            raise ConfigError(
                f"data.dev_fraction is {self.dev_fraction} and data.test_fraction "
                f"{self.test_fraction}, which leaves nothing to train on; their sum must be "
                "below 1."
            )

    def load_options(self, seed: int) -> LoadOptions:
        """The same, for `rankwright.data.load_data`."""
        return LoadOptions(**{k: v for k, v in vars(self).items() if k != "source"}, seed=seed)


@dataclass(frozen=True)
class FirstStageRecipe(Section):
    """The search whose results are reranked."""

    SECTION: ClassVar[str] = "first_stage"
    LIMITS: ClassVar[Mapping[str, Limit]] = {
        "embedder_max_length": Limit(at_least=3),
        "depth": COUNT,
    }

    language: str = "auto"
    """Language of the documents, which decides BM25's stemmer and stop words, such as english;
    auto goes by the script of the letters."""
    embedder: str | None = None
    """Folder or hub name of an embedding model for dense search; BM25 alone unless
    given."""
    embedder_max_length: int | None = None
    """Most tokens of a text that the embedding model reads; the model's own limit unless given."""
    depth: int = 50
    """How many of the first stage's results are reranked for each query in an evaluation."""


@dataclass(frozen=True)
class MiningRecipe(Section):
    """Hard negatives: documents that look relevant and are not."""

    SECTION: ClassVar[str] = "mining"
    LIMITS: ClassVar[Mapping[str, Limit]] = {
        "num_negatives": COUNT,
        "range_min": NOT_NEGATIVE,
        "range_max": COUNT,
        "random_negatives": NOT_NEGATIVE,
    }

    num_negatives: int = 3
    """Negatives mined for each query."""
    stages: MiningStages = "best"
    """The search that finds them: bm25, dense, both, or best, the one that does better on the dev
    split. Dense search needs an embedding model."""
    range_min: int = 0
    """How many of the best candidates are passed over, since some are relevant but not judged."""
    range_max: int | None = None
    """The lowest rank that is taken; as deep as needed unless given."""
    relative_margin: float | None = None
    """Keep a candidate only if it scores this fraction below the relevant document; 0.05 is a
    good value with dense search."""
    sampling_strategy: Literal["top", "random"] = "random"
    """top takes the best candidates in the range, random draws from them. A model that starts from
    an encoder learns little from the very hardest negatives alone."""
    random_negatives: int = 2
    """Documents drawn at random and added to each query's negatives: easy ones, from which a model
    that has never compared two texts learns first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.mining_options(seed=0)

    @property
    def window(self) -> int:
        """How many candidates per query have to be retrieved, for queries with a usual number
        of relevant documents."""
        return self.mining_options(seed=0).window(_USUAL_POSITIVES)

    @property
    def _range_max(self) -> int | None:
        if self.range_max is None and self.sampling_strategy == "random":
            return self.range_min + 10 * self.num_negatives
        return self.range_max

    def mining_options(self, seed: int) -> MiningOptions:
        """The same, for `rankwright.mining.mine`.

        Raises:
            ConfigError: Ranks that cannot hold the number of negatives.
        """
        try:
            return MiningOptions(
                num_negatives=self.num_negatives,
                range_min=self.range_min,
                range_max=self._range_max,
                relative_margin=self.relative_margin,
                sampling_strategy=self.sampling_strategy,
                seed=seed,
            )
        except InputError as error:
            raise ConfigError(f"mining.num_negatives does not fit: {error}") from error


@dataclass(frozen=True)
class ModelRecipe(Section):
    """The model that is trained."""

    SECTION: ClassVar[str] = "model"
    LIMITS: ClassVar[Mapping[str, Limit]] = {"max_length": Limit(at_least=3)}

    base: str
    """The model to start from (--base): folder or hub name of a reranker or of any text
    encoder."""
    max_length: int | None = None
    """Most tokens of a query and a document together; the model's own limit unless given."""
    precision: Precision = "auto"
    """Number format of the arithmetic: auto, float32, bfloat16, float16 or int16. auto takes
    bfloat16 where the hardware multiplies it natively, and scores in int16 where that is faster;
    training is never in int16."""
    prompt: str | None = None
    """Text put before every query."""


@dataclass(frozen=True)
class TrainingRecipe(Section):
    """How the model learns."""

    SECTION: ClassVar[str] = "training"
    LIMITS: ClassVar[Mapping[str, Limit]] = {
        "epochs": POSITIVE,
        "queries_per_step": COUNT,
        "learning_rate": Limit(above=0, below=1),
        "head_learning_rate": Limit(above=0, below=1),
        "warmup": SHARE,
        "weight_decay": NOT_NEGATIVE,
        "max_steps": COUNT,
        "eval_times": COUNT,
        "max_dev_queries": COUNT,
        "workers": NOT_NEGATIVE,
    }

    loss: LossName = "group-softmax"
    """group-softmax makes a query's relevant document win against its negatives; listnet brings the
    scores near the labels' distribution; lambda weighs pairs of documents by what their order costs
    in nDCG; bce judges every pair by itself."""
    epochs: float = 1.0
    """Passes over the training queries; fractions are allowed."""
    queries_per_step: int = 16
    """Queries, each with its documents, in one step of the optimizer."""
    learning_rate: float = 2e-4
    """Highest learning rate; lower it if the loss jumps."""
    head_learning_rate: float | None = None
    """Learning rate of a head that starts untrained; the same unless given."""
    warmup: float = 0.1
    """Share of the steps over which the learning rate rises."""
    weight_decay: float = 0.01
    """AdamW's weight decay."""
    max_steps: int | None = None
    """Stop after this many steps; epochs decide unless given."""
    eval_times: int = 4
    """Evaluations on the dev split during training, each with a checkpoint; the best is kept."""
    max_dev_queries: int = 200
    """At most this many dev queries in each of them."""
    workers: int = 0
    """Processes that prepare batches; 0 prepares them in the training process."""


@dataclass(frozen=True)
class EvaluationRecipe(Section):
    """What counts as better."""

    SECTION: ClassVar[str] = "evaluation"
    LIMITS: ClassVar[Mapping[str, Limit]] = {"max_test_queries": COUNT}

    measures: tuple[str, ...] = ("nDCG@10", "RR@10", "AP")
    """Measures in the report, named as in ir-measures, such as nDCG@10, RR@10, AP or R@50; the
    first one decides whether the result is better."""
    select_by: str = "nDCG@10"
    """The measure that chooses between first stages and between checkpoints on the dev split."""
    fusion: bool = True
    """Find on the dev split how much the first stage's score should count beside the model's."""
    max_test_queries: int | None = None
    """At most this many test queries; all unless given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.measures:
            raise ConfigError("evaluation.measures is an empty list; name at least one measure.")


@dataclass(frozen=True)
class Recipe(Section):
    """From data to a reranker."""

    LIMITS: ClassVar[Mapping[str, Limit]] = {"seed": NOT_NEGATIVE}

    data: DataRecipe
    model: ModelRecipe
    output: str
    """Folder for the reranker, its report and its checkpoints (--output)."""
    first_stage: FirstStageRecipe = field(default_factory=FirstStageRecipe)
    mining: MiningRecipe = field(default_factory=MiningRecipe)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    evaluation: EvaluationRecipe = field(default_factory=EvaluationRecipe)
    seed: int = 12
    """Decides splits, samples, a new head's weights and the order of training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mining.stages in ("dense", "both") and self.first_stage.embedder is None:
            raise ConfigError(
                f"mining.stages is {self.mining.stages}, which needs an embedding model; name one "
                "with first_stage.embedder (--embedder), or set mining.stages to bm25."
            )

    def resolved(self) -> dict[str, Any]:
        """Every option with its value, as plain data; `from_dict` reads it back."""
        return self.to_dict()

    def check(self) -> Recipe:
        """Looks at what types and limits cannot tell: that all measures are known.

        Returns itself. Cheap enough to call before any long work.

        Raises:
            ConfigError: An unknown measure.
        """
        from rankwright.evaluation.measures import evaluate_run

        names = {"measures": self.evaluation.measures, "select_by": (self.evaluation.select_by,)}
        for option, measures in names.items():
            try:
                evaluate_run({"q": {"d": 1}}, {"q": {"d": 1.0}}, measures)
            except InputError as error:
                raise ConfigError(f"evaluation.{option}: {error}") from error
        return self
