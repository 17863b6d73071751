"""Stage 7: pass@k, the chance that at least one of k responses is correct.

A confidence that matches the expected accuracy predicts it without sampling.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike
from omegaconf import MISSING

from benchmark.applications.study import Study
from benchmark.errors import ConfigError, DataError
from benchmark.metrics.inputs import FloatArray, check_confidences, check_counts
from benchmark.metrics.pairing import PairedEstimate, pair_estimates
from benchmark.metrics.statistics import mean_over_draws, value_and_interval
from benchmark.records import PASS_AT_K, CellResult, Estimate


@dataclass
class PassAtK:
    """pass@k as each confidence predicts it, beside its unbiased estimate.

    Attributes:
        k_values: how many responses may be tried; those above the fewest responses that count for a
            question are left out.
    """

    kind: str = "pass_at_k"
    k_values: list[int] = MISSING

    def __post_init__(self) -> None:
        """Refuse settings that ask for nothing, or for what has no meaning."""
        if not self.k_values or min(self.k_values) < 1:
            raise ConfigError(f"pass_at_k: k_values={self.k_values} must each be at least 1.")

    def evaluate(self, result: CellResult, study: Study) -> dict[str, pl.DataFrame]:
        """Return the table ``pass_at_k``, of schema ``PASS_AT_K``."""
        k_values = sorted(set(self.k_values))
        table = pass_at_k_table(
            result.estimates, result.grades, k_values, study.rng, study.resamples
        )
        return {"pass_at_k": table}


def simulate_pass_at_k(confidences: ArrayLike, k: ArrayLike) -> FloatArray:
    """Return pass@k of a set of questions as their confidences predict it.

    ``mean(1 - (1 - conf)^k)`` over the questions (arXiv 2602.13540).

    Args:
        confidences: [N], in [0, 1].
        k: how many responses may be tried, at least 1: a number or [K].

    Returns:
        In [0, 1], of the shape of ``k``; NaN without questions.

    Raises:
        DataError: for a confidence out of range or a ``k`` that is not a whole number >= 1.

    Examples:
        >>> simulate_pass_at_k([0.5, 0.0], k=[1, 2]).tolist()
        [0.25, 0.375]
    """
    predicted = simulate_question_pass_at_k(confidences, k)
    if predicted.shape[-1] == 0:
        return np.full(predicted.shape[:-1], np.nan)
    return np.asarray(predicted.mean(axis=-1))


def simulate_question_pass_at_k(confidences: ArrayLike, k: ArrayLike) -> FloatArray:
    """Return pass@k of each question as its confidence predicts it, ``1 - (1 - conf)^k``.

    Args:
        confidences: [N], in [0, 1].
        k: how many responses may be tried, at least 1: a number or [K].

    Returns:
        [N], or [K, N] for several k; in [0, 1], to full precision for small confidences.

    Raises:
        DataError: for a confidence out of range or a ``k`` that is not a whole number >= 1.

    Examples:
        >>> simulate_question_pass_at_k([0.5, 0.0, 1.0], k=2).tolist()
        [0.75, 0.0, 1.0]
    """
    tries = np.asarray(k, dtype=np.float64)
    for value in tries.flat:
        _check_k(value)
    return _any_of(check_confidences(confidences), tries[..., None])


def unbiased_pass_at_k(n: ArrayLike, c: ArrayLike, k: int) -> FloatArray:
    """Return the unbiased estimate of each question's pass@k from its graded responses.

    ``1 - C(n - c, k) / C(n, k)``, the share of the subsets of k responses that hold a correct one
    (Chen et al., arXiv 2107.03374, equation 1).

    Args:
        n: responses of each question, [N].
        c: correct ones among them, [N].
        k: how many responses may be tried, from 1 to the smallest n.

    Returns:
        [N], in [0, 1].

    Raises:
        DataError: for ``k`` above a question's ``n``, where no unbiased estimate exists, or counts
            out of range.

    Examples:
        >>> unbiased_pass_at_k(n=[4, 4, 4], c=[0, 1, 4], k=2).round(12).tolist()
        [0.0, 0.5, 1.0]
    """
    n, c = check_counts(n, c)
    _check_k(k)
    if np.any(n < k):
        raise DataError(
            f"k is {k} but a question has only n = {n.min():g} responses, so that pass@k has no "
            "unbiased estimate; lower k or raise sampling.k."
        )
    log_failure = np.zeros(len(n))
    with np.errstate(divide="ignore"):  # log 0 where every subset holds a correct response
        for drawn in range(int(k)):
            log_failure += np.log1p(-np.minimum(c / (n - drawn), 1.0))
    return np.abs(np.expm1(log_failure))


def pass_at_k_table(
    estimates: dict[str, Estimate],
    grades: pl.DataFrame,
    k_values: Sequence[int],
    rng: np.random.Generator,
    resamples: int = 1000,
) -> pl.DataFrame:
    """Return predicted and observed pass@k of every estimator on the questions it answered.

    The target of an estimator is counted from the responses that did not make its confidence.
    All three values are means over the questions of each draw, averaged over the draws; ``mse`` is
    the mean over questions of ``(1 - (1 - conf)^k - unbiased estimate)^2``. The intervals are
    bootstrapped over questions, the same resamples for all estimators.

    Args:
        estimates: by estimator.
        grades: table of schema ``GRADE``.
        k_values: each at least 1; an estimator's row is left out where a question of its target has
            fewer responses, so that no unbiased estimate exists.
        rng: draws the bootstrap resamples.
        resamples: how many of them; with 0 the intervals are NaN.

    Returns:
        Table of schema ``PASS_AT_K``: one row for each estimator and k, NaN where none answered.

    Raises:
        DataError: for a table that breaks its contract.
    """
    rows = [
        (name, k, *_row(paired, k))
        for name, paired in pair_estimates(estimates, grades, rng, resamples)
        for k in k_values
        if k <= paired.n.min(initial=np.inf)
    ]
    return pl.DataFrame(rows, schema=PASS_AT_K, orient="row")


def _row(paired: PairedEstimate, k: int) -> tuple[float, ...]:
    """Return predicted and observed with their intervals, and the error."""
    given = paired.given
    observed = np.broadcast_to(unbiased_pass_at_k(paired.n, paired.c, k), given.shape)
    predicted = _any_of(paired.confidences, np.asarray(float(k)))
    error = (predicted - observed) ** 2
    return (
        *value_and_interval(mean_over_draws(predicted, given, paired.weights)),
        *value_and_interval(mean_over_draws(observed, given, paired.weights)),
        float(mean_over_draws(error, given, paired.weights[:1])[0]),
    )


def _any_of(confidences: FloatArray, k: FloatArray) -> FloatArray:
    """Return ``1 - (1 - conf)^k``, broadcast and without cancellation."""
    with np.errstate(divide="ignore"):  # log 0 for a confidence of 1
        return np.asarray(-np.expm1(k * np.log1p(-confidences)))


def _check_k(k: float) -> None:
    if not (k >= 1 and k == np.floor(k)):
        raise DataError(f"k is {k:g}; it must be a whole number of at least 1.")
