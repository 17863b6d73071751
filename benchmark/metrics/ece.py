"""Stage 6: calibration in bins of confidence: the reliability curve and the ECE."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from benchmark.errors import DataError
from benchmark.statistics.bootstrap import divide
from benchmark.statistics.inputs import FloatArray, check_inputs
from benchmark.statistics.ties import midranks


class ReliabilityCurve(NamedTuple):
    """Confidence against expected accuracy in B bins, each [..., B].

    Attributes:
        mean_confidence: mean confidence of the bin's questions, in [0, 1]; NaN in an empty bin.
        expected_accuracy: mean of their ``c / n``, in [0, 1]; NaN in an empty bin.
        counts: sum of their weights, which is their number where no weights were given.
    """

    mean_confidence: FloatArray
    expected_accuracy: FloatArray
    counts: FloatArray


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

    ``bins`` is the number of equal-width bins; the other arguments and the errors are those of
    `benchmark.metrics.brier.brier_score`.

    Returns:
        [...], NaN without questions.

    Examples:
        >>> float(expected_calibration_error([0.0, 0.5, 1.0, 1.0], n=[2] * 4, c=[0, 2, 1, 2]))
        0.25
    """
    x = check_inputs(confidences, n, c, weights)
    gaps = sums_of_bins(
        x.confidences - x.accuracy, x.weights, equal_width_bins(x.confidences, bins)
    )
    return divide(np.abs(gaps).sum(axis=-1), x.weights.sum(axis=-1))


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

    ``bins`` is the number B of bins; the other arguments and the errors are those of
    `benchmark.metrics.brier.brier_score`.

    Returns:
        The means and the counts of the bins, each [..., B].

    Examples:
        >>> curve = reliability_curve([0.0, 0.5, 0.75, 1.0], n=[4] * 4, c=[1, 2, 4, 4], bins=2)
        >>> curve.mean_confidence.tolist(), curve.counts.tolist()
        ([0.0, 0.75], [1.0, 3.0])
    """
    x = check_inputs(confidences, n, c, weights)
    inside = equal_width_bins(x.confidences, bins)
    counts = x.weights @ inside
    return ReliabilityCurve(
        mean_confidence=divide(sums_of_bins(x.confidences, x.weights, inside), counts),
        expected_accuracy=divide(sums_of_bins(x.accuracy, x.weights, inside), counts),
        counts=counts,
    )


def equal_mass_calibration_error(
    confidences: ArrayLike,
    n: ArrayLike,
    c: ArrayLike,
    weights: ArrayLike | None = None,
    bins: int = 10,
) -> FloatArray:
    """Return the calibration error over bins that hold equally many questions, in [0, 1].

    As `expected_calibration_error`, with the bins cut at quantiles of the confidences (Nguyen and
    O'Connor, EMNLP 2015). Questions of equal confidence stay together: they are in bin i of B
    where the share of the questions below them, with half of themselves, is in
    ``[i / B, (i + 1) / B)``. Each resample is cut anew.

    ``bins`` is the number of bins; the other arguments and the errors are those of
    `benchmark.metrics.brier.brier_score`.

    Returns:
        [...], NaN without questions.

    Examples:
        >>> round(float(equal_mass_calibration_error(
        ...     [0.1, 0.2, 0.8, 0.9], n=[2] * 4, c=[0, 0, 1, 1], bins=2)), 2)
        0.25
    """
    check_bins(bins)
    x = check_inputs(confidences, n, c, weights).by_confidence()
    total, ranks = x.weights.sum(axis=-1), midranks(x.confidences, x.weights)
    cuts = np.multiply.outer(total, np.arange(1, bins)) / bins
    rows = int(np.prod(total.shape))
    pairs = zip(ranks.reshape(rows, len(x.n)), cuts.reshape(rows, bins - 1), strict=True)
    ends = np.reshape([np.searchsorted(*pair) for pair in pairs], (*total.shape, bins - 1))
    gaps = np.cumsum(x.weights * (x.confidences - x.accuracy), axis=-1)
    upto = np.concatenate([np.zeros((*gaps.shape[:-1], 1)), gaps], axis=-1)
    ends = np.broadcast_to(ends, (*gaps.shape[:-1], bins - 1)).astype(np.int64)
    at_ends = np.take_along_axis(upto, ends, axis=-1)
    in_bins = np.diff(at_ends, prepend=upto[..., :1], append=upto[..., -1:])
    return divide(np.abs(in_bins).sum(axis=-1), total)


def check_bins(bins: int) -> None:
    """Refuse a number of bins below 1."""
    if bins < 1:
        raise DataError(f"bins is {bins}; it must be at least 1.")


def equal_width_bins(confidences: FloatArray, bins: int) -> FloatArray:
    """Return which equal-width bin holds each question, as ones in zeros: [N, B]."""
    check_bins(bins)
    lower_edges = np.arange(bins) / bins  # not linspace, which puts 3 / 10 above 0.3
    index = np.searchsorted(lower_edges, confidences, side="right") - 1
    return np.asarray(index[:, None] == np.arange(bins), dtype=np.float64)


def sums_of_bins(values: FloatArray, weights: FloatArray, inside: FloatArray) -> FloatArray:
    """Return the weighted sums of ``values`` [..., N] in each bin, [..., B]."""
    if values.ndim == 1:  # a product with the weights would be as large as they are
        return np.asarray(weights @ (inside * values[:, None]))
    return np.asarray((weights * values) @ inside)
