"""Stage 6: how far confidences lie from the expected accuracy ``c / n``.

Every metric takes N questions as ``confidences``, ``n`` (responses) and ``c`` (correct ones), and
optional question weights ``[..., N]``: the result has the weights' leading axes, so that a
bootstrap over questions is one call. Without weights each question counts once.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from benchmark.errors import DataError
from benchmark.metrics.inputs import FloatArray, check_inputs
from benchmark.metrics.statistics import divide, weighted_mean


class ReliabilityCurve(NamedTuple):
    """Confidence against expected accuracy in B equal-width bins, each [..., B]."""

    mean_confidence: FloatArray  # NaN in an empty bin
    expected_accuracy: FloatArray  # mean of c / n, NaN in an empty bin
    counts: FloatArray  # sum of the weights: questions, where none were given


def brier_score(
    confidences: ArrayLike, n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None
) -> FloatArray:
    """Return the mean squared error against the expected accuracy, in [0, 1].

    ``mean((conf - c / n)^2)``. The target's sampling noise adds ``p (1 - p) / n`` on average:
    see `unbiased_brier_score`.

    Args:
        confidences: [N], in [0, 1].
        n: responses of each question, [N].
        c: correct ones among them, [N].
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

    Args:
        confidences: [N], in [0, 1].
        n: responses of each question, [N].
        c: correct ones among them, [N].
        weights: non-negative question weights, [..., N].

    Returns:
        [...], NaN without questions and where any question has one response only.

    Raises:
        DataError: where an argument breaks its range or the lengths differ.

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

    ``mean((conf - p)^2 + p (1 - p))`` with ``p = c / n``, which is the squared error over all
    graded responses, averaged within each question.

    Args:
        confidences: [N], in [0, 1].
        n: responses of each question, [N].
        c: correct ones among them, [N].
        weights: non-negative question weights, [..., N].

    Returns:
        [...], NaN without questions.

    Raises:
        DataError: where an argument breaks its range or the lengths differ.

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

    Args:
        confidences: [N], in [0, 1].
        n: responses of each question, [N].
        c: correct ones among them, [N].
        weights: non-negative question weights, [..., N].

    Returns:
        [...], NaN without questions.

    Raises:
        DataError: where an argument breaks its range or the lengths differ.

    Examples:
        >>> float(signed_calibration_error([0.5, 1.0], n=[4, 4], c=[2, 2]))
        0.25
    """
    x = check_inputs(confidences, n, c, weights)
    return weighted_mean(signed_error(x.confidences, x.n, x.c), x.weights)


def expected_calibration_error(
    confidences: ArrayLike,
    n: ArrayLike,
    c: ArrayLike,
    weights: ArrayLike | None = None,
    bins: int = 10,
) -> FloatArray:
    """Return the mean gap between confidence and expected accuracy over the bins, in [0, 1].

    ``sum_b share_b |mean confidence_b - mean expected accuracy_b|`` over the bins of
    `reliability_curve` (Naeini et al., AAAI 2015, with ``c / n`` for the correctness).

    Args:
        confidences: [N], in [0, 1].
        n: responses of each question, [N].
        c: correct ones among them, [N].
        weights: non-negative question weights, [..., N].
        bins: number of equal-width bins.

    Returns:
        [...], NaN without questions.

    Raises:
        DataError: where an argument breaks its range or the lengths differ.

    Examples:
        >>> float(expected_calibration_error([0.0, 0.5, 1.0, 1.0], n=[2] * 4, c=[0, 2, 1, 2]))
        0.25
    """
    curve = reliability_curve(confidences, n, c, weights, bins)
    gap = np.abs(curve.mean_confidence - curve.expected_accuracy)
    gaps = np.where(curve.counts > 0, curve.counts * gap, 0.0).sum(axis=-1)
    return divide(gaps, curve.counts.sum(axis=-1))


def reliability_curve(
    confidences: ArrayLike,
    n: ArrayLike,
    c: ArrayLike,
    weights: ArrayLike | None = None,
    bins: int = 10,
) -> ReliabilityCurve:
    """Return the mean confidence and expected accuracy of equal-width bins of confidence.

    Bin i of B holds ``i / B <= conf < (i + 1) / B``: the lower edge is closed, and the last bin
    holds 1.0 as well. The edges are the floats nearest to ``i / B``, so 0.3 opens bin 3 of 10.

    Args:
        confidences: [N], in [0, 1].
        n: responses of each question, [N].
        c: correct ones among them, [N].
        weights: non-negative question weights, [..., N].
        bins: number of bins B.

    Returns:
        The means and the counts of the bins, each [..., B].

    Raises:
        DataError: where an argument breaks its range or the lengths differ.

    Examples:
        >>> curve = reliability_curve([0.0, 0.5, 0.75, 1.0], n=[4] * 4, c=[1, 2, 4, 4], bins=2)
        >>> curve.mean_confidence.tolist(), curve.counts.tolist()
        ([0.0, 0.75], [1.0, 3.0])
    """
    x = check_inputs(confidences, n, c, weights)
    if bins < 1:
        raise DataError(f"bins is {bins}; it must be at least 1.")
    lower_edges = np.arange(bins) / bins  # not linspace, which puts 3 / 10 above 0.3
    index = np.searchsorted(lower_edges, x.confidences, side="right") - 1
    inside = (index[:, None] == np.arange(bins)).astype(np.float64)
    counts = x.weights @ inside
    return ReliabilityCurve(
        mean_confidence=divide(x.weights @ (inside * x.confidences[:, None]), counts),
        expected_accuracy=divide(x.weights @ (inside * x.accuracy[:, None]), counts),
        counts=counts,
    )


def brier_loss(confidences: FloatArray, n: FloatArray, c: FloatArray) -> FloatArray:
    """Return the losses [..., N] that `brier_score` averages; the arrays are not checked."""
    return (confidences - c / n) ** 2


def unbiased_brier_loss(confidences: FloatArray, n: FloatArray, c: FloatArray) -> FloatArray:
    """Return the losses [..., N] that `unbiased_brier_score` averages; unchecked."""
    p = c / n
    return brier_loss(confidences, n, c) - divide(p * (1 - p), n - 1)


def response_brier_loss(confidences: FloatArray, n: FloatArray, c: FloatArray) -> FloatArray:
    """Return the losses [..., N] that `response_brier_score` averages; unchecked."""
    p = c / n
    return brier_loss(confidences, n, c) + p * (1 - p)


def signed_error(confidences: FloatArray, n: FloatArray, c: FloatArray) -> FloatArray:
    """Return the errors [..., N] that `signed_calibration_error` averages; unchecked."""
    return confidences - c / n
