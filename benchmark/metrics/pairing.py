"""Confidences joined by question with the target that they are evaluated against."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmark.capability import count_outcomes
from benchmark.errors import DataError
from benchmark.metrics.inputs import FloatArray, check_confidences
from benchmark.metrics.statistics import bootstrap_weights
from benchmark.records import CONFIDENCE, Estimate, check_table


@dataclass(frozen=True)
class PairedEstimate:
    """D draws of an estimator's confidence beside the N questions of its target."""

    confidences: FloatArray  # [D, N], in [0, 1], NaN where a draw gave none
    tokens: FloatArray  # [N], prompt and completion tokens of one draw, NaN where unknown
    n: FloatArray  # [N], responses of the target
    c: FloatArray  # [N], correct ones
    weights: NDArray[np.uint16]  # [1 + resamples, N]; the first row is ones, the others resamples

    @property
    def given(self) -> NDArray[np.bool_]:
        """Where a draw gave a confidence: [D, N]."""
        return ~np.isnan(self.confidences)

    @property
    def answered(self) -> int:
        """Questions with a confidence in at least one draw."""
        return int(self.given.any(axis=0).sum())


def pair_estimates(
    estimates: dict[str, Estimate], grades: pl.DataFrame, rng: np.random.Generator, resamples: int
) -> Iterator[tuple[str, PairedEstimate]]:
    """Yield each estimator's name and its confidences beside their target.

    The target leaves out the responses that made the confidence (``samples_used``). Questions are
    resampled once for all estimators, so that differences between them are paired.

    Args:
        estimates: by estimator.
        grades: table of schema ``GRADE``.
        rng: draws the bootstrap resamples.
        resamples: how many of them.

    Raises:
        DataError: where a table breaks its contract, or nothing is left to evaluate against.
    """
    questions = count_outcomes(grades).select("question_id").with_row_index("position")
    weights = np.ones((1 + resamples, len(questions)), dtype=np.uint16)
    weights[1:] = bootstrap_weights(len(questions), resamples, rng)
    for name, estimate in estimates.items():
        target = count_outcomes(grades, estimate.samples_used).join(questions, on="question_id")
        if target.is_empty():
            raise DataError(
                f"estimator '{name}' used {estimate.samples_used} responses of each question and "
                "none is left to evaluate it against; raise sampling.k."
            )
        target = target.sort("position").with_row_index("column")
        confidences = _confidences_of(name, estimate, target)
        yield (
            name,
            PairedEstimate(
                confidences=_draw_matrix(name, confidences, len(target)),
                tokens=_tokens(confidences, len(target)),
                n=target["n"].cast(pl.Float64).to_numpy(),
                c=target["c"].cast(pl.Float64).to_numpy(),
                weights=weights[:, target["position"].to_numpy()],
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


def _draw_matrix(name: str, rows: pl.DataFrame, questions: int) -> FloatArray:
    """Return the confidences with status ok as [D, N]; an estimate without rows is one draw."""
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
    return matrix


def _tokens(rows: pl.DataFrame, questions: int) -> FloatArray:
    """Return the tokens spent on one draw of each question, answered or not: [N]."""
    spent = rows.group_by("column").agg(
        tokens=(pl.col("prompt_tokens") + pl.col("completion_tokens")).mean()
    )
    tokens = np.full(questions, np.nan)
    tokens[spent["column"].to_numpy()] = spent["tokens"].to_numpy()
    return tokens
