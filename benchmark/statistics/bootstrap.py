"""Averages over questions and draws, and their bootstrap over questions.

A bootstrap resample is a row of question weights (how often each question was drawn), so that
every metric sees all resamples in one call.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom

from benchmark.statistics.inputs import FloatArray


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


def redrawn_counts(
    n: FloatArray, c: FloatArray, redraws: int, rng: np.random.Generator
) -> NDArray[np.uint32]:
    """Return how many of n other responses might be correct, on average c.

    This is the noise that the responses of these very questions put into their counts. It says
    nothing about other questions, whose resamples (`bootstrap_weights`) carry counts that have
    that noise in them already: redrawing those as well would count it twice.

    ``Binomial(n, c / n)`` would spread ``(n - 1) / n`` as much as new responses do on average, a
    different share of each question where n differs. So counts are Beta-Binomial of mean c and
    variance ``c (1 - c / n) n / (n - 1)``, the unbiased estimate of theirs. For n = 2 all or none
    are correct.

    Args:
        n: responses of each question, [N].
        c: correct ones among them, [N].
        redraws: number of redraws B.
        rng: the source of randomness.

    Returns:
        Correct ones, [B, N]; those of a single response, which says nothing of its noise, stay.

    Examples:
        >>> n, c = np.array([4.0, 4.0, 4.0]), np.array([0.0, 2.0, 4.0])
        >>> redrawn_counts(n, c, 2, np.random.default_rng(0)).tolist()
        [[0, 2, 4], [0, 1, 4]]
    """
    drawn = np.empty((len(n), redraws), dtype=np.uint32)
    pairs, index = np.unique(np.stack([n, c]), axis=1, return_inverse=True)
    for number, (of, correct) in enumerate(pairs.T):  # few pairs, each with one table to draw from
        alike = np.flatnonzero(index == number)
        shape = (len(alike), redraws)
        if of == 1 or correct in (0, of):
            drawn[alike] = correct
        elif of == 2:
            drawn[alike] = 2 * rng.integers(2, size=shape)
        else:
            weight = (of - 2) * np.array([correct, of - correct])  # their sum gives the variance
            chances = betabinom.pmf(np.arange(of + 1), int(of), *weight)
            drawn[alike] = rng.choice(len(chances), size=shape, p=chances / chances.sum())
    return np.ascontiguousarray(drawn.T)


def value_and_interval(resampled: FloatArray) -> tuple[float, float, float]:
    """Return a value and its central 95 % percentile interval, all NaN where the value is.

    Args:
        resampled: the value itself, then its value in each resample, [1 + B]; resamples where it
            is undefined (NaN) are left out, and the interval is NaN where none is left.

    Examples:
        >>> value_and_interval(np.array([50.0, *np.arange(201.0)]))
        (50.0, 5.0, 195.0)
    """
    value, moved = float(resampled[0]), resampled[1:]
    defined = moved[~np.isnan(moved)]
    if np.isnan(value) or not len(defined):
        return value, np.nan, np.nan
    low, high = np.quantile(defined, [0.025, 0.975])
    return value, float(low), float(high)


def weighted_mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the means of ``values`` under ``weights``, NaN where they sum to 0.

    Both are [..., N], and their leading axes broadcast.
    """
    return divide(np.vecdot(weights, values), weights.sum(axis=-1))


def mean_of_defined(values: FloatArray, axis: int) -> FloatArray:
    """Return the mean along ``axis`` of the values that are not NaN, NaN where all are."""
    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0.0).sum(axis=axis), defined.sum(axis=axis))


def weighted_variance(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the variances of ``values`` under ``weights``, NaN where they sum to 0.

    Both are [..., N], and their leading axes broadcast. For equal values it is 0 up to rounding.
    """
    values = centred(values)
    spread = weighted_mean(values**2, weights) - weighted_mean(values, weights) ** 2
    return np.maximum(spread, 0.0)


def centred(values: FloatArray) -> FloatArray:
    """Return ``values`` [..., N] around 0, where their squares lose no digits in a variance."""
    return values - values.mean(axis=-1, keepdims=True) if values.size else values


def divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Return the quotient, NaN where the denominator is 0."""
    denominator = np.where(denominator == 0, np.nan, denominator)
    return np.asarray(numerator / denominator, dtype=np.float64)


def mean_over_draws(
    values: FloatArray, given: NDArray[np.bool_], weights: NDArray[np.uint16]
) -> FloatArray:
    """Return the weighted mean over questions of their means over draws.

    So each question weighs the same, however many draws it has. All draws enter each resample.

    Args:
        values: a value of each draw and question, [D, N].
        given: where the draw has one, [D, N].
        weights: question weights of each resample, [B, N].

    Returns:
        [B], NaN where no question of positive weight has a draw.
    """
    times = given.sum(axis=0)
    means = divide(np.where(given, values, 0.0).sum(axis=0), times)
    means, counted = np.where(times > 0, means, 0.0), (times > 0).astype(np.float64)
    found = np.empty(len(weights))
    for rows in row_blocks(len(weights)):
        block = weights[rows].astype(np.float64)
        found[rows] = divide(block @ means, block @ counted)
    return found


def row_blocks(rows: int, size: int = 50) -> list[slice]:
    """Return the slices that cut ``rows`` resamples into blocks, which bound the memory."""
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
