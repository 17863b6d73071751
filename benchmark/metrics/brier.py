"""Stage 6: how far confidences lie from the expected accuracy ``c / n``, as means over questions.

Every metric takes N questions as ``confidences``, ``n`` (responses) and ``c`` (correct ones), and
optional question weights. Weights and c may have leading axes, which the result has as well, so
that a bootstrap over questions, or other draws of their responses, is one call. Without weights
each question counts once.
"""

import numpy as np
from numpy.typing import ArrayLike

from benchmark.statistics.bootstrap import divide, weighted_mean, weighted_variance
from benchmark.statistics.inputs import FloatArray, check_inputs
from benchmark.statistics.ties import varies


def brier_score(
    confidences: ArrayLike, n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None
) -> FloatArray:
    """Return the mean squared error against the expected accuracy, in [0, 1].

    ``mean((conf - c / n)^2)``. The target's sampling noise adds ``p (1 - p) / n`` on average:
    see `unbiased_brier_score`.

    Args:
        confidences: [N], in [0, 1].
        n: responses of each question, [N].
        c: correct ones among them, [..., N].
        weights: non-negative question weights, [..., N].

    Returns:
        [...], NaN without questions.

    Raises:
        DataError: where an argument breaks its range or the lengths differ.

    Examples:
        >>> float(brier_score([0.5, 1.0], n=[4, 4], c=[2, 2]))
        0.125
    """
    x = check_inputs(confidences, n, c, weights)
    return weighted_mean(brier_loss(x.confidences, x.n, x.c), x.weights)


def unbiased_brier_score(
    confidences: ArrayLike, n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None
) -> FloatArray:
    """Return the squared error against the expected accuracy without the target's noise.

    ``mean((conf - c / n)^2 - (c / n) (1 - c / n) / (n - 1))``: the subtracted term is the unbiased
    estimate of the variance of ``c / n``, so the expectation over responses is the mean of
    ``(conf - p)^2``. It can be negative. It holds for confidences that were not made from the
    same responses.

    Arguments and errors are those of `brier_score`.

    Returns:
        [...], NaN without questions and where any question has one response only.

    Examples:
        >>> float(unbiased_brier_score([0.5, 1.0], n=[5, 5], c=[5, 5]))
        0.125
        >>> float(unbiased_brier_score([0.5], n=[2], c=[1]))
        -0.25
    """
    x = check_inputs(confidences, n, c, weights)
    return weighted_mean(unbiased_brier_loss(x.confidences, x.n, x.c), x.weights)


def response_brier_score(
    confidences: ArrayLike, n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None
) -> FloatArray:
    """Return the expected squared error against the correctness of one response, in [0, 1].

    ``mean(c / n (1 - conf)^2 + (1 - c / n) conf^2)``, the squared error over all graded responses,
    averaged within each question. It is larger than `brier_score` by exactly the variance of
    correctness, ``mean(p (1 - p))`` with ``p = c / n``.

    Arguments and errors are those of `brier_score`.

    Returns:
        [...], NaN without questions.

    Examples:
        >>> float(response_brier_score([0.5, 1.0], n=[4, 4], c=[2, 4]))
        0.125
    """
    x = check_inputs(confidences, n, c, weights)
    return weighted_mean(response_brier_loss(x.confidences, x.n, x.c), x.weights)


def signed_calibration_error(
    confidences: ArrayLike, n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None
) -> FloatArray:
    """Return the mean confidence minus the mean expected accuracy, in [-1, 1].

    Positive values are overconfidence.

    Arguments and errors are those of `brier_score`.

    Returns:
        [...], NaN without questions.

    Examples:
        >>> float(signed_calibration_error([0.5, 1.0], n=[4, 4], c=[2, 2]))
        0.25
    """
    x = check_inputs(confidences, n, c, weights)
    return weighted_mean(signed_error(x.confidences, x.n, x.c), x.weights)


def r_squared(
    confidences: ArrayLike, n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None
) -> FloatArray:
    """Return the share of the variance of ``c / n`` that the confidences explain, at most 1.

    ``1 - Brier score / variance of c / n over questions``. It is the Brier skill score against the
    best constant in hindsight, the mean of ``c / n`` over these questions: 0 is no better than
    that, and nothing keeps it from being negative. See `benchmark.metrics.noise_ceiling.r2_ceiling`
    for what the noise of ``c / n`` leaves attainable.

    Arguments and errors are those of `brier_score`.

    Returns:
        [...], NaN where ``c / n`` is constant, so also for fewer than two questions.

    Examples:
        >>> float(r_squared([0.5, 1.0], n=[4, 4], c=[0, 4]))
        0.5
    """
    x = check_inputs(confidences, n, c, weights)
    variance = weighted_variance(x.accuracy, x.weights)
    score = weighted_mean(brier_loss(x.confidences, x.n, x.c), x.weights)
    return 1 - divide(score, np.where(varies(x.accuracy, x.weights), variance, 0.0))


def brier_loss(confidences: FloatArray, n: FloatArray, c: FloatArray) -> FloatArray:
    """Return the losses [..., N] that `brier_score` averages; the arrays are not checked."""
    return (confidences - c / n) ** 2


def unbiased_brier_loss(confidences: FloatArray, n: FloatArray, c: FloatArray) -> FloatArray:
    """Return the losses [..., N] that `unbiased_brier_score` averages; unchecked."""
    p = c / n
    return brier_loss(confidences, n, c) - divide(p * (1 - p), n - 1)


def response_brier_loss(confidences: FloatArray, n: FloatArray, c: FloatArray) -> FloatArray:
    """Return the losses [..., N] that `response_brier_score` averages; unchecked."""
    return (c * (1 - confidences) ** 2 + (n - c) * confidences**2) / n


def correctness_variance(confidences: FloatArray, n: FloatArray, c: FloatArray) -> FloatArray:
    """Return the variances of correctness ``p (1 - p)``, ``p = c / n``, as losses; unchecked."""
    return c * (n - c) / n**2 * np.ones_like(confidences)


def signed_error(confidences: FloatArray, n: FloatArray, c: FloatArray) -> FloatArray:
    """Return the errors [..., N] that `signed_calibration_error` averages; unchecked."""
    return confidences - c / n
