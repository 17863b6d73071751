"""Baselines: no model is asked; they know nothing, or the question and the training counts."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
from omegaconf import MISSING

from benchmark.cell.cell import Cell, Split
from benchmark.config.schema import ROLES, Role
from benchmark.errors import ConfigError
from benchmark.estimators.estimator import Estimator
from benchmark.estimators.platt import fit_logistic
from benchmark.records import CONFIDENCE, Estimate
from benchmark.statistics.inputs import FloatArray

_MEAN = (pl.col("c") / pl.col("n")).mean()  # each question counts once, as in evaluation
_WORD = r"\w+|[^\w\s]"  # words and numbers of any length, and single signs: in 3 + 4 all count
_MOST_DRAWS = 100_000  # each draw is a row for every question


@dataclass
class Random(Estimator):
    """A uniform number per question, in many draws: metrics are expectations over U(0, 1)."""

    draws: int = 100
    seed: int = 0
    counts_suffice: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 1 <= self.draws <= _MOST_DRAWS or self.seed < 0:
            raise ConfigError(
                f"random: draws={self.draws} must be in 1 to {_MOST_DRAWS:,}, seed={self.seed} at "
                f"least 0."
            )

    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return ``draws`` independent confidences per question."""
        ids = cell.questions[role]["question_id"]
        rng = np.random.default_rng([self.seed, ROLES.index(role)])
        table = pl.DataFrame(
            {
                "question_id": np.tile(ids.to_numpy(), self.draws),
                "sample_index": np.repeat(np.arange(self.draws), len(ids)),
                "confidence": rng.random(self.draws * len(ids)),
            }
        )
        return Estimate(without_cost(table))


@dataclass
class TrainMean(Estimator):
    """The mean expected accuracy of the training split, for every question."""

    roles: ClassVar[tuple[Role, ...]] = ("train",)

    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return the training mean for each question."""
        mean = cell.split("train").capability.select(_MEAN).item()
        table = cell.questions[role].select("question_id", confidence=pl.lit(mean, pl.Float64))
        return Estimate(without_cost(table))


@dataclass
class FamilyMean(Estimator):
    """The mean expected accuracy of a question's family on the training split.

    What a probe must beat to know more than the topic. A family without training questions gets the
    mean over all of them.
    """

    roles: ClassVar[tuple[Role, ...]] = ("train",)

    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return the family's training mean of each question."""
        train = cell.split("train")
        counts = train.capability.join(_families(train.questions), on="question_id")
        means = counts.group_by("family").agg(confidence=_MEAN)
        table = _families(cell.questions[role]).join(
            means, on="family", how="left", nulls_equal=True
        )
        overall = counts.select(_MEAN).item()
        return Estimate(without_cost(table.with_columns(pl.col("confidence").fill_null(overall))))


@dataclass
class QuestionLength(Estimator):
    """Logistic regression of the training counts on the logarithm of the question's length.

    What a probe must beat to know more than that long questions are hard. Lengths are in
    characters, of the question without its format instruction.
    """

    roles: ClassVar[tuple[Role, ...]] = ("train",)

    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return the fitted expected accuracy at each question's length."""
        texts, n, c = _counted(cell.split("train"))
        curve = fit_logistic(_log_lengths(texts), n, c)
        asked = cell.questions[role]
        confidences = pl.Series(curve(_log_lengths(asked["question"])))
        return Estimate(without_cost(asked.select("question_id", confidence=confidences)))


@dataclass
class TFIDF(Estimator):
    """Ridge regression of c / n on the words of the question, clipped to [0, 1].

    What a probe must beat to know more than the wording. Words are weighted by TF-IDF on the
    training split, questions by n; the strength is chosen on the validation split by Brier score.

    Attributes:
        strengths: strengths of the L2 penalty that are tried, each above 0; the penalty stands
            beside the squared error summed over questions of mean weight 1.
    """

    strengths: list[float] = MISSING
    roles: ClassVar[tuple[Role, ...]] = ("train", "validation")

    def __post_init__(self) -> None:
        if not self.strengths or not all(0 < s < np.inf for s in self.strengths):
            raise ConfigError(
                f"tfidf: strengths={self.strengths} must be at least one, each above 0 and finite."
            )

    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return the clipped prediction for each question."""
        from sklearn.feature_extraction.text import TfidfVectorizer  # a second to import
        from sklearn.linear_model import Ridge

        texts, n, c = _counted(cell.split("train"))
        held_out, held_n, held_c = _counted(cell.split("validation"))
        words = TfidfVectorizer(token_pattern=_WORD)
        train, validation = words.fit_transform(texts), words.transform(held_out)
        ridges = [
            Ridge(alpha=strength).fit(train, c / n, sample_weight=n / n.mean())
            for strength in self.strengths
        ]
        losses = [np.square(r.predict(validation).clip(0, 1) - held_c / held_n) for r in ridges]
        best = ridges[int(np.argmin([loss.mean() for loss in losses]))]
        asked = cell.questions[role]
        predicted = best.predict(words.transform(asked["question"])).clip(0, 1)
        table = asked.select("question_id", confidence=pl.Series(predicted, dtype=pl.Float64))
        return Estimate(without_cost(table))


def without_cost(table: pl.DataFrame) -> pl.DataFrame:
    """Return (question_id [, sample_index], confidence), all answered for no tokens, in full.

    The result has schema ``CONFIDENCE``.
    """
    none = pl.lit(0, pl.Int64)
    draw = pl.col("sample_index") if "sample_index" in table.columns else none
    return table.with_columns(
        sample_index=draw, status=pl.lit("ok"), prompt_tokens=none, completion_tokens=none
    ).select(list(CONFIDENCE))


def _counted(split: Split) -> tuple[pl.Series, FloatArray, FloatArray]:
    """Return the bare questions of a split that have a target, with their n and c."""
    table = split.capability.join(split.questions, on="question_id")
    n, c = (table[name].to_numpy().astype(np.float64) for name in ("n", "c"))
    return table["question"], n, c


def _log_lengths(texts: pl.Series) -> FloatArray:
    return np.asarray(np.log(texts.str.len_chars().clip(1).to_numpy()), dtype=np.float64)


def _families(questions: pl.DataFrame) -> pl.DataFrame:
    """Return (question_id, family), the family null where a question names none."""
    pairs = questions.select("question_id", "metadata").explode("metadata").unnest("metadata")
    named = pairs.filter(pl.col("key") == "family").select("question_id", family="value")
    return questions.select("question_id").join(named, on="question_id", how="left")
