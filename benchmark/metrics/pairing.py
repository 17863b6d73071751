"""Confidences joined by question with the target that they are evaluated against."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmark.capability.counts import count_outcomes
from benchmark.errors import DataError
from benchmark.records import CONFIDENCE, Estimate, check_table
from benchmark.statistics.bootstrap import bootstrap_weights
from benchmark.statistics.inputs import FloatArray, check_confidences

IMPUTED = 0.5  # stands for a confidence that is missing, where metrics are shown for all questions


@dataclass(frozen=True)
class PairedEstimate:
    """D draws of an estimator's confidence beside the N questions of its target.

    Attributes:
        confidences: confidence of each draw and question, [D, N], in [0, 1]; NaN where there is
            none.
        tokens: prompt and completion tokens of one draw, [2, N]; NaN where unknown.
        n: number of responses of the target, [N].
        c: number of correct ones among them, [N].
        weights: how often each resample drew each question, [1 + resamples, N]; the first row is
            ones.
        asked: whether the estimate has a row for the draw, with a confidence or not, [D, N]; None
            where it has all. Questions may have different numbers of draws, such as one for each
            response.
    """

    confidences: FloatArray
    tokens: FloatArray
    n: FloatArray
    c: FloatArray
    weights: NDArray[np.uint16]
    asked: NDArray[np.bool_] | None = None

    def among(self, questions: NDArray[np.bool_]) -> "PairedEstimate":
        """Return the same for some of the questions, told by a mask [N]."""
        if questions.all():  # without a copy of the weights
            return self
        return PairedEstimate(
            self.confidences[:, questions],
            self.tokens[:, questions],
            self.n[questions],
            self.c[questions],
            self.weights[:, questions],
            None if self.asked is None else self.asked[:, questions],
        )

    def imputed(self) -> "PairedEstimate":
        """Return the same with ``IMPUTED`` wherever a confidence is missing, and even draws.

        So all D draws of all N questions have a confidence: see `evened`.
        """
        filled = np.where(self.missing, IMPUTED, self.confidences)
        return replace(self, confidences=filled, asked=None).evened()

    def evened(self) -> "PairedEstimate":
        """Return the same with D draws of each question that was answered.

        Draws without a confidence repeat the question's other ones in turn. So each draw is of all
        these questions, and the confidences of a question weigh nearly the same.
        """
        given = self.given
        times = given.sum(axis=0)
        if np.isin(times, (0, len(given))).all():
            return self
        first = np.argsort(~given, axis=0, kind="stable")
        turns = np.arange(len(given))[:, None] % np.maximum(times, 1)
        order = np.take_along_axis(first, turns, axis=0)
        return replace(self, confidences=np.take_along_axis(self.confidences, order, axis=0))

    @property
    def given(self) -> NDArray[np.bool_]:
        """Where a draw gave a confidence: [D, N]."""
        return ~np.isnan(self.confidences)

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Where a draw of a question gave no confidence, or the question has no draw: [D, N]."""
        if self.asked is None:
            return ~self.given
        return ~self.given & (self.asked | ~self.asked.any(axis=0))

    @property
    def answers(self) -> NDArray[np.bool_]:
        """Which questions have a confidence in at least one draw: [N]."""
        return np.asarray(self.given.any(axis=0))

    @property
    def answered(self) -> int:
        """Questions with a confidence in at least one draw."""
        return int(self.answers.sum())


def pair_estimates(
    estimates: dict[str, Estimate], grades: pl.DataFrame, rng: np.random.Generator, resamples: int
) -> Iterator[tuple[str, PairedEstimate]]:
    """Yield each estimator's name and its confidences beside their target.

    The target leaves out the responses that made the confidence (``samples_used``). Questions are
    resampled once for all estimators, so that differences between them are paired.

    Args:
        estimates: estimates by the name of the estimator.
        grades: table of schema ``GRADE``.
        rng: generator that draws the bootstrap resamples.
        resamples: number of resamples.

    Raises:
        DataError: where a table breaks its contract, or nothing is left to evaluate against.
    """
    questions = count_outcomes(grades).select("question_id").with_row_index("position")
    weights = np.ones((1 + resamples, len(questions)), dtype=np.uint16)
    weights[1:] = bootstrap_weights(len(questions), resamples, rng)
    target_of = cache(lambda used: count_outcomes(grades, used).join(questions, on="question_id"))
    for name, estimate in estimates.items():
        target = target_of(estimate.samples_used)
        if target.is_empty():
            raise DataError(
                f"estimator '{name}' used {estimate.samples_used} responses of each question and "
                "none is left to evaluate it against; raise sampling.k."
            )
        target = target.sort("position").with_row_index("column")
        whole = len(target) == len(questions)
        rows = _confidences_of(name, estimate, target)
        confidences, asked = _draw_matrix(name, rows, len(target))
        yield (
            name,
            PairedEstimate(
                confidences=confidences,
                tokens=_tokens(rows, len(target)),
                n=target["n"].cast(pl.Float64).to_numpy(),
                c=target["c"].cast(pl.Float64).to_numpy(),
                weights=weights if whole else weights[:, target["position"].to_numpy()],
                asked=asked,
            ),
        )


def _confidences_of(name: str, estimate: Estimate, target: pl.DataFrame) -> pl.DataFrame:
    """Return the estimate's rows for the target's questions, with their ``column`` in it."""
    table = check_table(estimate.confidences, CONFIDENCE, f"confidences of '{name}'")
    rows = table.join(target.select("question_id", "column"), on="question_id")
    if rows.is_empty() and not table.is_empty():
        raise DataError(
            f"confidences of '{name}': no question, such as '{table['question_id'][0]}', is among "
            f"the graded ones, such as '{target['question_id'][0]}'; they belong to other data."
        )
    return rows


def _draw_matrix(
    name: str, rows: pl.DataFrame, questions: int
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return the confidences with status ok, and where there are rows: both [D, N].

    An estimate without rows is one draw.
    """
    draws, draw = np.unique(rows["sample_index"].to_numpy(), return_inverse=True)
    cells = draw * questions + rows["column"].to_numpy()
    times = np.bincount(cells, minlength=1)
    if times.max() > 1:
        row = rows.row(int(np.flatnonzero(times[cells] > 1)[0]), named=True)
        raise DataError(
            f"confidences of '{name}': question '{row['question_id']}' has draw "
            f"{row['sample_index']} twice; number the draws by sample_index."
        )
    ok = (rows["status"] == "ok").to_numpy()
    values = check_confidences(rows["confidence"].to_numpy()[ok], f"confidences of '{name}'")
    matrix = np.full((max(1, len(draws)), questions), np.nan)
    matrix.flat[cells[ok]] = values
    asked = np.zeros(matrix.shape, dtype=np.bool_)
    asked.flat[cells] = True
    return matrix, asked


def _tokens(rows: pl.DataFrame, questions: int) -> FloatArray:
    """Return the tokens spent on one draw of each question, answered or not: [2, N]."""
    kinds = ["prompt_tokens", "completion_tokens"]
    spent = rows.group_by("column").agg(pl.col(kinds).mean())
    tokens = np.full((2, questions), np.nan)
    tokens[:, spent["column"].to_numpy()] = spent.select(kinds).to_numpy().T
    return tokens
