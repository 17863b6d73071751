"""Murphy's decomposition of the Brier score into reliability, resolution and uncertainty."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from benchmark.metrics.ece import equal_width_bins, sums_of_bins
from benchmark.statistics.bootstrap import centred, divide, weighted_mean, weighted_variance
from benchmark.statistics.inputs import FloatArray, check_inputs


class MurphyDecomposition(NamedTuple):
    """The parts of a Brier score against ``c / n``, each [...].

    ``reliability - resolution + uncertainty`` is the Brier score where each bin holds one value of
    confidence; else it differs by the spread of the confidences within the bins.

    Attributes:
        reliability: mean squared gap between confidence and accuracy of a bin; lower is better.
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

    ``bins`` is the number of bins; the other arguments and the errors are those of
    `benchmark.metrics.brier.brier_score`.

    Returns:
        The three parts; NaN without questions, resolution and uncertainty also with one.

    Examples:
        >>> parts = murphy_decomposition([0.25, 0.25, 0.75, 0.75], n=[4] * 4, c=[0, 2, 2, 4])
        >>> [round(float(part), 4) for part in parts]
        [-0.0625, 0.0417, 0.1667]
    """
    x = check_inputs(confidences, n, c, weights)
    inside = equal_width_bins(x.confidences, bins)
    counts, total = x.weights @ inside, x.weights.sum(axis=-1)

    def in_bins(values: FloatArray) -> FloatArray:
        """Return the mean square of the bins' means, less what noise adds to it."""
        sums, squares = (sums_of_bins(powers, x.weights, inside) for powers in (values, values**2))
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
