"""Stage 6: from resampled values to intervals, p-values and their correction for many tests."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, stdtr, stdtrit

from benchmark.metrics.inputs import FloatArray
from benchmark.metrics.statistics import Interval, percentile_interval

UNBOUNDED = (-np.inf, np.inf)
_ROUNDING = 1e-12  # what it may leave between values that are the same


def t_interval(
    value: float,
    resampled: FloatArray,
    drawn: int,
    groups: int = 1,
    bounds: tuple[float, float] = UNBOUNDED,
    level: float = 0.95,
) -> Interval:
    """Return a value -/+ Student's t times the standard deviation of its resamples.

    A metric with bounds is taken to the scale ``log((x - low) / (high - x))`` and back, which for a
    correlation is Fisher's z, and with an upper bound only to ``-log(high - x)``: there it is
    closer to normal, and the interval keeps the bounds. As resamples of m drawn units spread
    ``(m - 1) / m`` as much as new draws would, that is made up for (Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993, chapters 12 and 13). The interval is centred on the value,
    so it covers the metric's mean over repetitions of the study, not what the metric would be
    with endless data: a binned calibration error is larger with fewer questions, on average, too.

    Args:
        value: the metric.
        resampled: the metric in each resample, [B]; those where it is undefined (NaN) are left out,
            and so are those at a bound.
        drawn: how many units a resample draws: questions, or responses of all questions.
        groups: in how many groups they are drawn apart: 1, or the questions.
        bounds: lowest and highest possible value.
        level: coverage in (0, 1).

    Returns:
        NaN where the value is undefined, nothing can vary (one unit per group) or fewer than two
        resamples are defined. For a value at a bound, which has no place on the scale, the
        percentiles of the resamples.

    Examples:
        >>> resampled = np.random.default_rng(0).normal(0.5, 0.01, 10_000)
        >>> [round(end, 2) for end in t_interval(0.5, resampled, drawn=1000)]
        [0.48, 0.52]
    """
    freedom, defined = drawn - groups, resampled[~np.isnan(resampled)]
    if np.isnan(value) or freedom < 1 or len(defined) < 2:
        return Interval(np.nan, np.nan)
    centre, scaled = _scaled(np.array(value), bounds), _scaled(defined, bounds)
    scaled = scaled[np.isfinite(scaled)]
    if not np.isfinite(centre) or len(scaled) < 2:
        return percentile_interval(defined, level)
    half = stdtrit(freedom, (1 + level) / 2) * _deviation(scaled, drawn, groups)
    return Interval(*(float(_unscaled(end, bounds)) for end in (centre - half, centre + half)))


def p_value(difference: float, resampled: FloatArray, drawn: int) -> float:
    """Return the two-sided p-value of a difference being 0, by Student's t.

    The difference is divided by the standard deviation of its resamples, as in `t_interval`. For
    a difference of means over questions this is the paired t-test.

    Args:
        difference: between two metrics on the same questions.
        resampled: the same in each resample, [B].
        drawn: how many questions a resample draws.

    Returns:
        In [0, 1]; NaN where `t_interval` is undefined.

    Examples:
        >>> round(p_value(2.0, np.random.default_rng(0).normal(2, 1, 10_000), drawn=1000), 2)
        0.05
    """
    defined = resampled[~np.isnan(resampled)]
    if np.isnan(difference) or drawn < 2 or len(defined) < 2:
        return np.nan
    if abs(difference) <= _ROUNDING:
        return 1.0
    with np.errstate(divide="ignore"):
        statistic = abs(difference) / _deviation(defined, drawn, 1)
    return float(2 * stdtr(drawn - 1, -statistic))


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


def _deviation(resampled: FloatArray, drawn: int, groups: int) -> np.float64:
    """Return the standard deviation of a value, from its resamples."""
    return np.float64(resampled.std(ddof=1) * np.sqrt(drawn / (drawn - groups)))


def _scaled(values: FloatArray, bounds: tuple[float, float]) -> FloatArray:
    """Return the values on a scale without bounds, infinite for those at one."""
    low, high = bounds
    if np.isinf(high):
        return values
    below_high = np.where(high - values > _ROUNDING, high - values, 0.0)
    with np.errstate(divide="ignore"):
        if np.isinf(low):
            return np.asarray(-np.log(below_high))
        above_low = np.where(values - low > _ROUNDING, values - low, 0.0)
        return np.asarray(np.log(above_low) - np.log(below_high))


def _unscaled(values: FloatArray, bounds: tuple[float, float]) -> FloatArray:
    low, high = bounds
    if np.isinf(high):
        return values
    if np.isinf(low):
        return np.asarray(high - np.exp(-values))
    return np.asarray(low + (high - low) * expit(values))
