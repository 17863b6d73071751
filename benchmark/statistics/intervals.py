"""Stage 6: from resampled values to intervals, p-values and their correction for many tests."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, stdtr, stdtrit

from benchmark.statistics.inputs import FloatArray, check_counts

UNBOUNDED = (-np.inf, np.inf)
_Z = 1.959963984540054  # standard normal quantile of 97.5 %
_LEAST_DEVIATIONS = 2.0  # from a value to the bounds of its scale, in standard deviations
_ROUNDING = 1e-12  # difference that rounding may leave between equal values


def wilson_width(n: ArrayLike, c: ArrayLike) -> FloatArray:
    """Return the width of the 95 % Wilson score interval of an expected accuracy, in (0, 1).

    ``2 z / (n + z^2) sqrt(c (n - c) / n + z^2 / 4)`` with ``z = 1.96``.

    Args:
        n: responses of each question, [N].
        c: correct ones among them, [N].

    Raises:
        DataError: for counts out of range.

    Examples:
        >>> wilson_width([16, 16], [16, 8]).round(3).tolist()
        [0.194, 0.44]
    """
    n, c = check_counts(n, c)
    spread = np.sqrt(c * (n - c) / n + _Z**2 / 4)
    return np.asarray(2 * _Z / (n + _Z**2) * spread)


def t_interval(
    value: float,
    resampled: FloatArray,
    drawn: int,
    groups: int | None = None,
    bounds: tuple[float, float] = UNBOUNDED,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return a value -/+ Student's t times the standard deviation of its resamples.

    A metric with bounds is taken to the scale ``log((x - low) / (high - x))`` and back, which for a
    correlation is Fisher's z, and with an upper bound only to ``-log(high - x)``: there it is
    closer to normal, and the interval keeps the bounds. Where the value lies within two standard
    deviations of a bound, that scale would take the interval to the other one, so its bound is
    moved out to two deviations, and the interval is cut at the metric's own. The standard deviation
    is taken before, and multiplied by the slope of the scale at the value (delta method): resamples
    near a bound, which a few questions with large losses leave empty of them, would be outliers on
    the scale. As resamples of m drawn questions spread ``(m - 1) / m`` as much as new draws would,
    that is made up for (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 12
    and 13). The interval is centred on the value, so it covers the metric's mean over repetitions
    of the study, not what the metric would be with endless data: a binned calibration error is
    larger with fewer questions, on average, too. Of an estimator that is nearly perfect,
    calibration errors and Spearman's correlation spread more over resamples than over repetitions,
    in simulations by up to a third, so that their intervals there are wider than they need be.

    Args:
        value: the metric.
        resampled: the metric in each resample, [B]; those where it is undefined (NaN) are left out.
        drawn: how many units a resample draws: questions, or responses of all questions.
        groups: None for questions; for responses, of how many questions they are: their resamples
            (`redrawn_counts`) spread as new ones would.
        bounds: lowest and highest possible value.
        level: coverage in (0, 1).

    Returns:
        NaN where the value is undefined, nothing can vary (one unit per group), fewer than two
        resamples are defined, or they don't differ: this says that the resamples can't tell the
        spread, not that there is none.

    Examples:
        >>> resampled = np.random.default_rng(0).normal(0.5, 0.01, 10_000)
        >>> [round(end, 2) for end in t_interval(0.5, resampled, drawn=1000)]
        [0.48, 0.52]
    """
    freedom = drawn - (1 if groups is None else groups)
    deviation = _deviation(resampled, drawn if groups is None else None)
    if np.isnan(value) or freedom < 1 or np.isnan(deviation):
        return np.nan, np.nan
    low, high = bounds
    wider = (
        min(low, value - _LEAST_DEVIATIONS * deviation),
        max(high, value + _LEAST_DEVIATIONS * deviation),
    )
    centre, slope = _scaled(value, wider)
    half = float(stdtrit(freedom, (1 + level) / 2)) * deviation * slope
    ends = _unscaled(centre - half, wider), _unscaled(centre + half, wider)
    return max(low, ends[0]), min(high, ends[1])


def p_value(difference: float, resampled: FloatArray, drawn: int) -> float:
    """Return the two-sided p-value of a difference being 0, by Student's t.

    The difference is divided by the standard deviation of its resamples, as in `t_interval`. For
    a difference of means over questions this is the paired t-test.

    Args:
        difference: between two metrics on the same questions.
        resampled: the same in each resample, [B].
        drawn: how many questions a resample draws.

    Returns:
        In [0, 1]; 1 for a difference of 0; else NaN where `t_interval` is undefined.

    Examples:
        >>> round(p_value(2.0, np.random.default_rng(0).normal(2, 1, 10_000), drawn=1000), 2)
        0.05
    """
    if np.isnan(difference) or drawn < 2 or np.count_nonzero(~np.isnan(resampled)) < 2:
        return np.nan
    if abs(difference) <= _ROUNDING:
        return 1.0
    return float(2 * stdtr(drawn - 1, -abs(difference) / _deviation(resampled, drawn)))


def holm(p_values: ArrayLike) -> FloatArray:
    """Return p-values adjusted for all of them being tested, in the same order.

    The i-th smallest of m is multiplied by ``m - i + 1``, and none may be below one that was
    smaller before; then rejecting those up to 0.05 wrongly rejects any with probability at most
    0.05 (Holm, Scand. J. Statist. 6, 1979).

    Args:
        p_values: [m], in [0, 1]; undefined ones (NaN) are no tests and stay undefined.

    Examples:
        >>> holm([0.01, 0.04, 0.03, np.nan]).tolist()
        [0.03, 0.06, 0.06, nan]
    """
    values = np.array(p_values, dtype=np.float64)
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]
    factors = np.arange(len(order), 0, -1)
    values[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return values


def _deviation(resampled: FloatArray, drawn: int | None) -> float:
    """Return the standard deviation of a value, from its resamples; NaN where they don't tell it.

    Args:
        resampled: [B], some NaN.
        drawn: questions that each drew; None where they spread as new draws would.
    """
    defined = resampled[~np.isnan(resampled)]
    if len(defined) < 2 or drawn == 1:
        return np.nan
    spread = float(defined.std(ddof=1))
    short = 1.0 if drawn is None else float(np.sqrt(drawn / (drawn - 1)))
    return spread * short if spread > _ROUNDING else np.nan


def _scaled(value: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """Return the value on a scale without bounds, and the scale's slope there."""
    low, high = bounds
    if np.isinf(high):
        return value, 1.0
    if np.isinf(low):
        return float(-np.log(high - value)), 1 / (high - value)
    centre = np.log(value - low) - np.log(high - value)
    return float(centre), (high - low) / ((value - low) * (high - value))


def _unscaled(value: float, bounds: tuple[float, float]) -> float:
    low, high = bounds
    if np.isinf(high):
        return value
    if np.isinf(low):
        return float(high - np.exp(-value))
    return float(low + (high - low) * expit(value))
