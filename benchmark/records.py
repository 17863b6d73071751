"""The records that the stages hand on: one Parquet table each, in the order of the data's path.

A failure is a state, never a number: an answer that was not found is ``unparsed``, a confidence
that could not be read is null with its status. Tables are joined by ``question_id`` only.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import polars as pl

from benchmark.errors import DataError

FinishReason = Literal["stop", "length", "error"]
Outcome = Literal["correct", "incorrect", "unparsed", "truncated"]
Status = Literal["ok", "unparsed", "error"]

COUNTED = "counts"  # the grader of counts that were sampled elsewhere
OUTCOMES: tuple[Outcome, ...] = ("correct", "incorrect", "unparsed", "truncated")

_HALF_PAIR = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Question:
    """One question as a dataset's loader makes it.

    Attributes:
        question_id: dataset/split/row identity; the same for every limit, order and machine.
        prompt: the user turn, format instruction included.
        question: the same without the format instruction, to ask about it.
        references: accepted answers, at least one, none empty.
        metadata: values that a report may group by, for example the family or the subject.
    """

    question_id: str
    prompt: str
    question: str
    references: tuple[str, ...]
    metadata: dict[str, str] = field(default_factory=dict)


# --8<-- [start:schemas], which the documents show
def with_interval(name: str) -> dict[str, pl.DataType]:
    """Return the columns of a value and of the ends of its 95 % interval."""
    return {f"{name}{end}": pl.Float64() for end in ("", "_low", "_high")}


QUESTION = pl.Schema(
    {
        "question_id": pl.String(),
        "prompt": pl.String(),
        "question": pl.String(),
        "references": pl.List(pl.String()),
        "metadata": pl.List(pl.Struct({"key": pl.String(), "value": pl.String()})),
    }
)

RESPONSE = pl.Schema(
    {
        "question_id": pl.String(),
        "sample_index": pl.Int64(),  # 0-based; raising k adds indices
        "text": pl.String(),  # the final answer text, without reasoning
        "reasoning": pl.String(),  # null where the model does not reason
        "finish_reason": pl.String(),  # FinishReason
        "prompt_tokens": pl.Int64(),  # null, as the next, where a server doesn't say
        "completion_tokens": pl.Int64(),  # end-of-turn token included
        "seed": pl.Int64(),  # of this (question, sample), or of the request that drew it
        "error": pl.String(),  # why the request failed, with finish_reason error; else null
    }
)

STORED_RESPONSE = pl.Schema({**RESPONSE, "prompt_hash": pl.String()})  # of the prompt it answers

GRADE = pl.Schema(
    {
        "question_id": pl.String(),
        "sample_index": pl.Int64(),
        "answer": pl.String(),  # extracted; null where none was found
        "outcome": pl.String(),  # Outcome
        "reason": pl.String(),  # the rule that decided, or why there is no answer; may be null
        "grader": pl.String(),
    }
)

DISAGREEMENT = pl.Schema(
    {
        "question_id": pl.String(),
        "references": pl.String(),
        "verdicts": pl.String(),  # each grader's answer and outcome
        "responses": pl.Int64(),  # to this question, with these verdicts
    }
)

CAPABILITY = pl.Schema(
    {
        "question_id": pl.String(),
        "n": pl.Int64(),  # graded responses, n >= 1
        "c": pl.Int64(),  # correct ones; the expected accuracy p(x) is estimated by c / n
        "truncated": pl.Int64(),
        "unparsed": pl.Int64(),
    }
)

CONFIDENCE = pl.Schema(
    {
        "question_id": pl.String(),
        "sample_index": pl.Int64(),  # the draw, for estimators that are random; 0 for the others
        "confidence": pl.Float64(),  # in [0, 1], or null
        "status": pl.String(),  # Status
        "prompt_tokens": pl.Int64(),  # spent on this confidence; null where unknown
        "completion_tokens": pl.Int64(),
    }
)

COSTS = ("tokens", "prompt_tokens", "completion_tokens")  # metrics of what a confidence costs

METRIC = pl.Schema(
    {
        "estimator": pl.String(),
        "metric": pl.String(),
        "value": pl.Float64(),  # on the answered questions; NaN where undefined
        "low": pl.Float64(),  # 95 % interval: other questions and other responses
        "high": pl.Float64(),
        "samples_low": pl.Float64(),  # 95 % interval: other responses to the same questions
        "samples_high": pl.Float64(),
        **with_interval("imputed"),  # on all questions, 0.5 where there is no confidence
        "answered": pl.Int64(),  # questions with a confidence
        "questions": pl.Int64(),
    }
)

DIFFERENCE = pl.Schema(  # of two estimators, on the questions that both answered
    {
        "metric": pl.String(),
        "estimator": pl.String(),
        "other": pl.String(),
        "difference": pl.Float64(),  # the estimator's value minus the other's; NaN where undefined
        "low": pl.Float64(),  # 95 % interval: other questions and other responses
        "high": pl.Float64(),
        "p_value": pl.Float64(),  # two-sided, of no difference
        "p_holm": pl.Float64(),  # the same, adjusted for all pairs of the metric
        "questions": pl.Int64(),  # that both answered
    }
)

PASS_AT_K = pl.Schema(
    {
        "estimator": pl.String(),
        "k": pl.Int64(),
        **with_interval("predicted"),  # mean of 1 - (1 - confidence)^k over the answered questions
        **with_interval("observed"),  # unbiased estimate on the same questions
        **with_interval("mse"),  # instance level, against each question's unbiased estimate
        **with_interval("bias"),  # instance level, predicted minus observed
    }
)

PASS_AT_K_EXTRAPOLATION = pl.Schema(
    {
        "estimator": pl.String(),
        "k": pl.Int64(),  # above the responses of the question that has the fewest
        **with_interval("predicted"),  # mean of 1 - (1 - confidence)^k over the answered questions
        **with_interval("extrapolated"),  # from a Beta-Binomial fit to the same questions' counts
        "alpha": pl.Float64(),  # of the fit
        "beta": pl.Float64(),
    }
)

BUDGET = pl.Schema(
    {
        "policy": pl.String(),
        "estimator": pl.String(),  # whose answered questions are sampled, by its confidences
        "budget": pl.Int64(),  # samples per question, on average
        **with_interval("success"),  # expected share of the questions that get a correct sample
        "deviation": pl.Float64(),  # standard deviation of that share from run to run
        **with_interval("gain"),  # success minus that of uniform sampling of the same questions
        **with_interval("saved"),  # samples per question that uniform needs more for equal success
        "spent": pl.Float64(),  # samples per question; less than the budget where none is wanted
        "answered": pl.Int64(),  # questions with a confidence
    }
)

ABSTENTION = pl.Schema(
    {
        "estimator": pl.String(),
        "coverage": pl.Float64(),  # share of the questions that is answered, in steps of 1 %
        "risk": pl.Float64(),  # 1 - mean expected accuracy of those, in expectation over ties
        "low": pl.Float64(),  # 95 % interval over questions
        "high": pl.Float64(),
        "oracle_risk": pl.Float64(),  # ranked by c / n of the same target
    }
)

ABSTENTION_METRIC = pl.Schema(
    {
        "estimator": pl.String(),
        "metric": pl.String(),  # aurc, excess_aurc, normalised_aurc, or accuracy at a coverage
        "coverage": pl.Float64(),  # null for the areas
        "value": pl.Float64(),  # NaN where undefined
        "low": pl.Float64(),  # 95 % interval over questions
        "high": pl.Float64(),
        "answered": pl.Int64(),  # questions with a confidence; the others rank last
        "questions": pl.Int64(),
    }
)

ABSTENTION_TARGET = pl.Schema(
    {
        "estimator": pl.String(),
        "target": pl.Float64(),  # accuracy that the answered questions shall have
        "threshold": pl.Float64(),  # NaN where none reaches it on the validation half
        "validation_questions": pl.Int64(),
        "validation_coverage": pl.Float64(),
        "validation_accuracy": pl.Float64(),  # NaN where nothing is answered
        "test_questions": pl.Int64(),
        **with_interval("coverage"),  # on the test half, as all that follows
        **with_interval("accuracy"),
        "met": pl.Boolean(),  # accuracy >= target; null where nothing is answered
    }
)

ROUTING = pl.Schema(
    {
        "router": pl.String(),  # an estimator, or: always, random mix, oracle
        "point": pl.Int64(),  # 0-based, from the cheapest up; of "always" a model of ROUTING_MODEL
        "validation_cost": pl.Float64(),  # of a query, in the prices' currency; null for the oracle
        "validation_accuracy": pl.Float64(),
        "cost": pl.Float64(),  # on the test half, as all that follows
        "accuracy": pl.Float64(),  # mean expected accuracy
        "low": pl.Float64(),  # 95 % interval over questions
        "high": pl.Float64(),
    }
)

ROUTING_AREA = pl.Schema(
    {
        "router": pl.String(),
        **with_interval("area"),  # mean accuracy from the cost of the cheapest model to the dearest
        **with_interval("gain"),  # of the area: 0 for the random mix, 1 for the oracle
    }
)

ROUTING_THRESHOLD = pl.Schema(
    {
        "router": pl.String(),
        "point": pl.Int64(),
        "candidate": pl.String(),
        "threshold": pl.Float64(),  # -inf: all without asking; inf: none; null for the last model
        "share": pl.Float64(),  # of the test questions that the model answers
    }
)

ROUTING_MODEL = pl.Schema(
    {
        "candidate": pl.String(),  # from the cheapest up
        "prompt_price": pl.Float64(),  # of a million tokens
        "completion_price": pl.Float64(),
        "questions": pl.Int64(),  # of its cell
        "common": pl.Int64(),  # of all cells; the others are left out
        "test": pl.Int64(),  # of the common ones; the others choose the thresholds
    }
)

ADAPTIVE = pl.Schema(
    {
        "estimator": pl.String(),  # null for the accuracy, which no confidence enters
        "metric": pl.String(),
        "design": pl.String(),  # of applications.adaptive: how responses are drawn and counted
        "responses": pl.Float64(),  # drawn, mean per question
        "value": pl.Float64(),  # of the cell; null for designs that it wasn't drawn by
        "bias": pl.Float64(),  # simulated: mean of the estimate minus the true value
        "bias_error": pl.Float64(),  # standard error of that mean
        "rmse": pl.Float64(),  # simulated: root of the mean squared error
    }
)

ADAPTIVE_QUESTION = pl.Schema(
    {
        "question_id": pl.String(),
        "drawn": pl.Int64(),  # responses, with those that don't count
        "n": pl.Int64(),
        "c": pl.Int64(),
        "accuracy": pl.Float64(),  # unbiased estimate of the expected accuracy, of sequential
        "narrow": pl.Boolean(),  # whether the interval is as narrow as asked
    }
)

PROBE_SELECTION = pl.Schema(
    {
        "feature": pl.String(),  # of probes.features.feature_names: a layer or a pooling
        "strength": pl.Float64(),  # L2 strength
        "learning_rate": pl.Float64(),  # null where the optimum was solved for
        "train_brier": pl.Float64(),  # against c / n of the training split
        "validation_brier": pl.Float64(),  # what is chosen by
        "test_brier": pl.Float64(),  # against the evaluation questions, unseen by the choice
        "chosen": pl.Boolean(),  # true in exactly one row: the lowest validation Brier score
    }
)
# --8<-- [end:schemas]


def check_table(table: pl.DataFrame, schema: pl.Schema, name: str) -> pl.DataFrame:
    """Return ``table`` if it has the schema's columns and types, in any order.

    Raises:
        DataError: naming the first column that is missing or has another type.
    """
    for column, dtype in schema.items():
        if column not in table.columns:
            raise DataError(f"{name}: column '{column}' is missing; it has {table.columns}.")
        if table.schema[column] != dtype:
            raise DataError(
                f"{name}: column '{column}' is {table.schema[column]}, expected {dtype}."
            )
    return table.select(list(schema))


def storable(text: str) -> str:
    r"""Return the text with U+FFFD for every half of a surrogate pair: no table holds one.

    JSON can write such a half, and so a reply may have it.

    Examples:
        >>> storable("caf\u00e9 \ud83d") == "caf\u00e9 \ufffd"
        True
    """
    return _HALF_PAIR.sub("\N{REPLACEMENT CHARACTER}", text)


def sum_if_known(column: str) -> pl.Expr:
    """Return the sum of a column, null where one of its values is: tokens that nobody counted."""
    values = pl.col(column)
    return pl.when(values.null_count() == 0).then(values.sum())


def question_table(questions: list[Question]) -> pl.DataFrame:
    """Return the questions as a table of schema ``QUESTION``.

    Raises:
        DataError: for a repeated id, an empty prompt, no references or an empty reference.
    """
    seen: set[str] = set()
    for question in questions:
        name = f"question '{question.question_id}'"
        if question.question_id in seen:
            raise DataError(f"{name} occurs twice; ids must be unique.")
        seen.add(question.question_id)
        if not question.prompt.strip():
            raise DataError(f"{name} has an empty prompt.")
        if not question.references or not all(r.strip() for r in question.references):
            raise DataError(
                f"{name} needs references, none empty; it has {list(question.references)}."
            )
    return pl.DataFrame(
        {
            "question_id": [q.question_id for q in questions],
            "prompt": [q.prompt for q in questions],
            "question": [q.question for q in questions],
            "references": [list(q.references) for q in questions],
            "metadata": [
                [{"key": k, "value": v} for k, v in q.metadata.items()] for q in questions
            ],
        },
        schema=QUESTION,
    )


class SavedProbe(Protocol):
    """A probe that can be written to a folder and used elsewhere."""

    def save(self, folder: Path) -> None:
        """Write it with all that is needed to load it."""


class ChosenProbe(NamedTuple):
    """A probe that made an estimator's confidences.

    Attributes:
        selection: table of every probe that was tried, of schema ``PROBE_SELECTION``.
        exported: the probe itself, to be used elsewhere; None where the cell was read from the
            store, which has the probe's files.
    """

    selection: pl.DataFrame
    exported: SavedProbe | None = None


@dataclass(frozen=True)
class Estimate:
    """What an estimator returns for the questions of one cell.

    Attributes:
        confidences: table of schema ``CONFIDENCE``; D draws of N questions give D * N rows.
        samples_used: number of each question's first responses that the confidence was made from;
            they are left out of the target that it is evaluated against.
        oracle: whether it was made from the target's own responses, whose noise it then shares.
        trained_on: number of questions that a probe was trained on; None where nothing is trained.
        probes: the probes that it is made of, by their place in the estimator's settings: "" is
            the estimator itself, ".base" what it recalibrates, ".of.<name>" a part of an average.
    """

    confidences: pl.DataFrame
    samples_used: int = 0
    oracle: bool = False
    trained_on: int | None = None
    probes: dict[str, ChosenProbe] = field(default_factory=dict)


@dataclass(frozen=True)
class CellResult:
    """All tables of one grid cell (model, dataset): what the report and the tracker show.

    ``grades`` are those that count; ``left_out`` those that the capability's settings leave out.
    ``disagreements``, of schema ``DISAGREEMENT``, says where further graders judge otherwise.
    ``metrics`` is of schema ``METRIC``, ``differences`` of schema ``DIFFERENCE``.
    ``responses``, of schema ``RESPONSE`` and in any order, are read when they are collected: they
    may be many, and few are shown. ``applications`` holds their tables, by a name of each table's
    own; ``failed`` says why, by application, where one could not be evaluated.
    """

    model: str
    dataset: str
    split: str
    questions: pl.DataFrame
    responses: pl.LazyFrame
    grades: pl.DataFrame
    left_out: pl.DataFrame
    disagreements: pl.DataFrame
    capability: pl.DataFrame
    estimates: dict[str, Estimate]
    metrics: pl.DataFrame
    differences: pl.DataFrame = field(default_factory=DIFFERENCE.to_frame)
    applications: dict[str, pl.DataFrame] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def counted(self) -> bool:
        """Whether the grades are counts from elsewhere, in an order that was drawn at random.

        What isn't correct among them may have had no answer: that isn't known.
        """
        return bool((self.grades["grader"] == COUNTED).all())
