"""Stage 7: pass@k, the chance that at least one of k responses is correct.

A confidence that matches the expected accuracy predicts it without sampling.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from omegaconf import MISSING

from benchmark.applications.application import Study
from benchmark.errors import ConfigError, DataError
from benchmark.metrics.pairing import PairedEstimate, pair_estimates
from benchmark.records import PASS_AT_K, PASS_AT_K_EXTRAPOLATION, CellResult, Estimate
from benchmark.statistics.beta_binomial import (
    BetaBinomial,
    extrapolate_pass_at_k,
    fit_beta_binomial,
)
from benchmark.statistics.bootstrap import divide, mean_over_draws, value_and_interval
from benchmark.statistics.inputs import FloatArray, check_confidences, check_counts, check_tries

_LARGEST_K = 10**9  # beyond it pass@k tells nothing that a person could want to know


@dataclass
class PassAtK:
    """pass@k as each confidence predicts it, beside its unbiased estimate.

    Attributes:
        k_values: numbers of responses that may be tried; those above the fewest responses that
            count for a question are left out.
        extrapolate_to: larger numbers k, for a table of their own with a Beta-Binomial fit in place
            of the unbiased estimate; those that need no fit are left out. Empty makes no table.
    """

    k_values: list[int] = MISSING
    extrapolate_to: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse settings that ask for nothing, or for what has no meaning."""
        if not self.k_values or min(self.k_values) < 1:
            raise ConfigError(f"pass_at_k: k_values={self.k_values} must each be at least 1.")
        if not all(1 <= k <= _LARGEST_K for k in self.extrapolate_to):
            raise ConfigError(
                f"pass_at_k: extrapolate_to={self.extrapolate_to} must each be at least 1 and at "
                f"most {_LARGEST_K:,}."
            )

    def evaluate(self, result: CellResult, study: Study) -> dict[str, pl.DataFrame]:
        """Return the table ``pass_at_k`` and, if asked for, ``pass_at_k_extrapolation``.

        Their schemas are ``PASS_AT_K`` and ``PASS_AT_K_EXTRAPOLATION``.
        """
        rest = result.estimates, result.grades
        k_values, beyond = sorted(set(self.k_values)), sorted(set(self.extrapolate_to))
        tables = {"pass_at_k": pass_at_k_table(*rest, k_values, study.rng, study.resamples)}
        if beyond:
            tables["pass_at_k_extrapolation"] = pass_at_k_extrapolation_table(
                *rest, beyond, study.rng, study.resamples
            )
        return tables


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
    predicted = _any_of(check_confidences(confidences), check_tries(k)[..., None])
    return divide(predicted.sum(axis=-1), np.asarray(float(predicted.shape[-1])))


def unbiased_pass_at_k(n: ArrayLike, c: ArrayLike, k: ArrayLike) -> FloatArray:
    """Return the unbiased estimate of each question's pass@k from its graded responses.

    ``1 - C(n - c, k) / C(n, k)``, the share of the subsets of k responses that hold a correct one
    (Chen et al., arXiv 2107.03374, equation 1).

    Args:
        n: responses of each question, [N].
        c: correct ones among them, [N].
        k: how many responses may be tried, from 1 to the smallest n: a number or [K].

    Returns:
        [N], or [K, N] for several k; in [0, 1].

    Raises:
        DataError: for ``k`` above a question's ``n``, where no unbiased estimate exists, or counts
            out of range.

    Examples:
        >>> unbiased_pass_at_k(n=[4, 4, 4], c=[0, 1, 4], k=2).round(12).tolist()
        [0.0, 0.5, 1.0]
    """
    n, c = check_counts(n, c)
    tries = check_tries(k)
    if np.any(n < tries.max(initial=0)):
        raise DataError(
            f"k is {tries.max():g} but a question has only n = {n.min():g} responses, so that "
            "pass@k has no unbiased estimate; lower k or raise sampling.k."
        )
    return share_with_correct(n, c, tries[..., None])


def share_with_correct(n: FloatArray, c: FloatArray, drawn: FloatArray) -> FloatArray:
    """Return the share ``1 - C(n - c, b) / C(n, b)`` of the subsets that hold a correct response.

    The quotient is a product over the drawn responses or, which is the same, over the correct
    ones: ``prod(1 - max(b, c) / (n - i))`` for i below ``min(b, c)``. Its logarithm is summed, to
    keep small shares precise; differences of log-gamma functions of large counts would lose them.

    Args:
        n: number of responses.
        c: number of correct ones among them, at most n.
        drawn: size b of the subsets, at most n; the three broadcast.
    """
    few, many = np.minimum(c, drawn), np.maximum(c, drawn)
    log_failure = np.zeros(np.broadcast_shapes(n.shape, few.shape))
    with np.errstate(divide="ignore"):  # log 0 where every subset holds a correct response
        for factor in range(int(few.max(initial=0))):
            left = np.maximum(n - factor, 1)  # only of questions whose factors are all taken
            share = np.where(factor < few, np.minimum(many / left, 1.0), 0.0)
            log_failure += np.log1p(-share)
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
    All values are means over the questions of each draw, averaged over the draws: ``bias`` of the
    error of single questions, ``1 - (1 - conf)^k - unbiased estimate``, and ``mse`` of its square.
    The intervals are bootstrapped over questions, the same resamples for all estimators.

    Args:
        estimates: estimates by the name of the estimator.
        grades: table of schema ``GRADE``.
        k_values: numbers of responses, each at least 1; an estimator's row is left out where a
            question of its target has fewer responses, so that no unbiased estimate exists.
        rng: generator that draws the bootstrap resamples.
        resamples: number of resamples; with 0 the intervals are NaN.

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


def _row(paired: PairedEstimate, k: int) -> list[float]:
    """Return predicted, observed, squared error and bias, each with its interval."""
    observed = np.broadcast_to(unbiased_pass_at_k(paired.n, paired.c, k), paired.given.shape)
    predicted = _any_of(paired.confidences, np.asarray(float(k)))
    row: list[float] = []
    for values in (predicted, observed, (predicted - observed) ** 2, predicted - observed):
        row += value_and_interval(mean_over_draws(values, paired.given, paired.weights))
    return row


def pass_at_k_extrapolation_table(
    estimates: dict[str, Estimate],
    grades: pl.DataFrame,
    k_values: Sequence[int],
    rng: np.random.Generator,
    resamples: int = 1000,
) -> pl.DataFrame:
    """Return predicted pass@k beside its extrapolation, for k that have no unbiased estimate.

    Both are means over the questions that the estimator answered in any draw. The Beta-Binomial
    distribution is fitted to the counts of those questions, and once more to each resample, which
    takes about 5 ms.

    Arguments and errors are those of `pass_at_k_table`; here the k up to the fewest responses of a
    question are left out.

    Returns:
        Table of schema ``PASS_AT_K_EXTRAPOLATION``: one row for each estimator and k.
    """
    rows: list[tuple[float | str, ...]] = []
    made: dict[tuple[int, bytes], tuple[BetaBinomial, FloatArray]] = {}
    for name, paired in pair_estimates(estimates, grades, rng, resamples):
        answered = np.asarray(paired.given.any(axis=0))
        same = estimates[name].samples_used, answered.tobytes()
        if same not in made:
            made[same] = _extrapolated(paired, answered, k_values)
        fit, extrapolated = made[same]
        for k, values in zip(k_values, extrapolated, strict=True):
            if k > paired.n.min(initial=np.inf):
                predicted = _any_of(paired.confidences, np.asarray(float(k)))
                means = mean_over_draws(predicted, paired.given, paired.weights)
                intervals = *value_and_interval(means), *value_and_interval(values)
                rows.append((name, k, *intervals, *fit))
    return pl.DataFrame(rows, schema=PASS_AT_K_EXTRAPOLATION, orient="row")


def _extrapolated(
    paired: PairedEstimate, answered: NDArray[np.bool_], k_values: Sequence[int]
) -> tuple[BetaBinomial, FloatArray]:
    """Return the fit, and the mean extrapolation in each resample, [K, 1 + resamples]."""
    counts = np.stack([paired.n, paired.c])[:, answered]
    (n, c), kind = np.unique(counts, axis=1, return_inverse=True)
    means = np.full((len(k_values), len(paired.weights)), np.nan)
    fits = []
    for column, weights in enumerate(paired.weights[:, answered]):
        times = np.bincount(kind, weights, minlength=len(n))
        fits.append(fit_beta_binomial(n, c, times))
        if times.any():
            questions = extrapolate_pass_at_k(n, c, np.asarray(k_values), fits[-1])
            means[:, column] = np.average(questions, axis=1, weights=times)
    return fits[0], means


def _any_of(confidences: FloatArray, k: FloatArray) -> FloatArray:
    """Return ``1 - (1 - conf)^k``, broadcast and without cancellation."""
    with np.errstate(divide="ignore"):  # log 0 for a confidence of 1
        return np.asarray(-np.expm1(k * np.log1p(-confidences)))
