"""Averages over questions and draws, and their bootstrap over questions.

A bootstrap resample is a row of question weights (how often each question was drawn), so that
every metric sees all resamples in one call.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics.inputs import FloatArray


class Interval(NamedTuple):
    """A percentile interval; NaN where it is undefined."""

    low: float
    high: float


def bootstrap_weights(
    n_questions: int, resamples: int, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Return how often each question occurs in each bootstrap resample.

    N questions are drawn with replacement, so that each row is multinomial with equal
    probabilities and sums to N (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).

    Args:
        n_questions: number of questions N.
        resamples: number of resamples B.
        rng: the source of randomness.

    Returns:
        Weights [B, N], as uint16: 28 MB for N = 14,042 and B = 1,000.

    Examples:
        >>> bootstrap_weights(5, 3, np.random.default_rng(0)).sum(axis=1).tolist()
        [5, 5, 5]
    """
    weights = np.zeros((resamples, n_questions), dtype=np.uint16)
    if n_questions:
        for row in weights:
            drawn = rng.integers(n_questions, size=n_questions)
            row[:] = np.bincount(drawn, minlength=n_questions)
    return weights


def percentile_interval(resampled: FloatArray, level: float = 0.95) -> Interval:
    """Return the central percentile interval of a bootstrapped value.

    Args:
        resampled: the value in each resample, [B]; resamples where it is undefined (NaN) are
            left out.
        level: coverage in (0, 1).

    Returns:
        The ``(1 - level) / 2`` and ``(1 + level) / 2`` quantiles, NaN if no resample is defined.

    Examples:
        >>> percentile_interval(np.arange(101.0), level=0.5)
        Interval(low=25.0, high=75.0)
    """
    defined = resampled[~np.isnan(resampled)]
    if not len(defined):
        return Interval(np.nan, np.nan)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def value_and_interval(resampled: FloatArray) -> tuple[float, float, float]:
    """Return a value and its 95 % interval, all NaN where the value is undefined.

    Args:
        resampled: the value itself, then its value in each resample: [1 + B].
    """
    if np.isnan(resampled[0]):
        return np.nan, np.nan, np.nan
    return float(resampled[0]), *percentile_interval(resampled[1:])


def weighted_mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the means of ``values`` [N] under ``weights`` [..., N], NaN where they sum to 0."""
    return divide(weights @ values, weights.sum(axis=-1))


def mean_of_defined(values: FloatArray, axis: int) -> FloatArray:
    """Return the mean along ``axis`` of the values that are not NaN, NaN where all are."""
    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0.0).sum(axis=axis), defined.sum(axis=axis))


def divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Return the quotient, NaN where the denominator is 0."""
    denominator = np.where(denominator == 0, np.nan, denominator)
    return np.asarray(numerator / denominator, dtype=np.float64)


def mean_over_draws(
    values: FloatArray, given: NDArray[np.bool_], weights: NDArray[np.uint16]
) -> FloatArray:
    """Return the weighted mean over each draw's questions, averaged over the draws.

    Exact for every mean over questions: all draws enter each resample.

    Args:
        values: a value of each draw and question, [D, N].
        given: where the draw has one, [D, N].
        weights: question weights of each resample, [B, N].

    Returns:
        [B], NaN where no draw has a question of positive weight.
    """
    if (given == given[0]).all():  # one mean for all draws, far cheaper than D of them
        values, given = values.mean(axis=0, keepdims=True), given[:1]
    filled = np.where(given, values, 0.0).T
    counted = given.T.astype(np.float64)
    means = np.empty(len(weights))
    for rows in row_blocks(len(weights)):
        block = weights[rows].astype(np.float64)
        means[rows] = mean_of_defined(divide(block @ filled, block @ counted), axis=-1)
    return means


def row_blocks(rows: int, size: int = 50) -> list[slice]:
    """Return the slices that cut ``rows`` resamples into blocks, which bound the memory."""
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
