"""Stage 6: calibration in bins of confidence: reliability curve, ECE, Murphy's decomposition.

Arguments and results are those of ``benchmark.metrics.brier``.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from benchmark.errors import DataError
from benchmark.statistics.bootstrap import centred, divide, weighted_mean, weighted_variance
from benchmark.statistics.inputs import FloatArray, check_inputs
from benchmark.statistics.ties import midranks


class ReliabilityCurve(NamedTuple):
    """Confidence against expected accuracy in B bins, each [..., B].

    Attributes:
        mean_confidence: NaN in an empty bin.
        expected_accuracy: mean of c / n, NaN in an empty bin.
        counts: sum of the weights: questions, where none were given.
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

    Args:
        confidences: [N], in [0, 1].
        n: responses of each question, [N].
        c: correct ones among them, [..., N].
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
    x = check_inputs(confidences, n, c, weights)
    gaps = _sums(x.confidences - x.accuracy, x.weights, _bins_of(x.confidences, bins))
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

    Args:
        confidences: [N], in [0, 1].
        n: responses of each question, [N].
        c: correct ones among them, [..., N].
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
    inside = _bins_of(x.confidences, bins)
    counts = x.weights @ inside
    return ReliabilityCurve(
        mean_confidence=divide(_sums(x.confidences, x.weights, inside), counts),
        expected_accuracy=divide(_sums(x.accuracy, x.weights, inside), counts),
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

    Args:
        confidences: [N], in [0, 1].
        n: responses of each question, [N].
        c: correct ones among them, [..., N].
        weights: non-negative question weights, [..., N].
        bins: number of bins.

    Returns:
        [...], NaN without questions.

    Raises:
        DataError: where an argument breaks its range or the lengths differ.

    Examples:
        >>> round(float(equal_mass_calibration_error(
        ...     [0.1, 0.2, 0.8, 0.9], n=[2] * 4, c=[0, 0, 1, 1], bins=2)), 2)
        0.25
    """
    _check_bins(bins)
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


class MurphyDecomposition(NamedTuple):
    """The parts of a Brier score against ``c / n``, each [...].

    ``reliability - resolution + uncertainty`` is the Brier score where each bin holds one value of
    confidence; else it differs by the spread of the confidences within the bins.

    Attributes:
        reliability: mean squared gap of the bins; lower is better.
        resolution: variance of c / n between the bins; higher is better.
        uncertainty: variance of c / n over the questions, its sampling noise included.
    """

    reliability: FloatArray
    resolution: FloatArray
    uncertainty: FloatArray


def murphy_decomposition(
    confidences: ArrayLike,
    n: ArrayLike,
    c: ArrayLike,
    weights: ArrayLike | None = None,
    bins: int = 10,
) -> MurphyDecomposition:
    """Return reliability, resolution and uncertainty of the Brier score against ``c / n``.

    Murphy's decomposition (1973) with ``c / n`` for the outcome, over the equal-width bins of
    `reliability_curve`. Bins of few questions make the plain sums of squares too large, so each
    part is corrected as by Ferro and Fricker (Q. J. R. Meteorol. Soc. 138, 2012), with question
    weights as counts: from the squared gap and the squared deviation of a bin of m questions goes
    1 / m of their variance within it. A bin of one question, which tells no variance, is left as
    it is, and makes reliability and resolution too large. Over questions drawn at random each part
    is unbiased but for such bins; reliability and resolution can be slightly negative.

    Args:
        confidences: [N], in [0, 1].
        n: responses of each question, [N].
        c: correct ones among them, [..., N].
        weights: how often each question counts, [..., N].
        bins: number of bins.

    Returns:
        The three parts; NaN without questions, resolution and uncertainty also with one.

    Raises:
        DataError: where an argument breaks its range or the lengths differ.

    Examples:
        >>> parts = murphy_decomposition([0.25, 0.25, 0.75, 0.75], n=[4] * 4, c=[0, 2, 2, 4])
        >>> [round(float(part), 4) for part in parts]
        [-0.0625, 0.0417, 0.1667]
    """
    x = check_inputs(confidences, n, c, weights)
    inside = _bins_of(x.confidences, bins)
    counts, total = x.weights @ inside, x.weights.sum(axis=-1)

    def in_bins(values: FloatArray) -> FloatArray:
        """Return the mean square of the bins' means, less what noise adds to it."""
        sums, squares = (_sums(powers, x.weights, inside) for powers in (values, values**2))
        square_of_mean = divide(sums, counts) ** 2
        variance_of_mean = divide(divide(squares, counts) - square_of_mean, counts - 1)
        corrected = square_of_mean - np.where(counts > 1, variance_of_mean, 0.0)
        return divide(np.where(counts > 0, counts * corrected, 0.0).sum(axis=-1), total)

    deviations = centred(x.accuracy)
    mean = weighted_mean(deviations, x.weights)
    variance = weighted_variance(deviations, x.weights) * divide(total, np.maximum(total - 1, 0))
    return MurphyDecomposition(
        reliability=in_bins(x.confidences - x.accuracy),
        resolution=in_bins(deviations) - mean**2 + divide(variance, total),
        uncertainty=variance,
    )


def _check_bins(bins: int) -> None:
    if bins < 1:
        raise DataError(f"bins is {bins}; it must be at least 1.")


def _bins_of(confidences: FloatArray, bins: int) -> FloatArray:
    """Return which equal-width bin holds each question, as ones in zeros: [N, B]."""
    _check_bins(bins)
    lower_edges = np.arange(bins) / bins  # not linspace, which puts 3 / 10 above 0.3
    index = np.searchsorted(lower_edges, confidences, side="right") - 1
    return np.asarray(index[:, None] == np.arange(bins), dtype=np.float64)


def _sums(values: FloatArray, weights: FloatArray, inside: FloatArray) -> FloatArray:
    """Return the weighted sums of ``values`` [..., N] in each bin, [..., B]."""
    if values.ndim == 1:  # a product with the weights would be as large as they are
        return np.asarray(weights @ (inside * values[:, None]))
    return np.asarray((weights * values) @ inside)
