"""Stage 6: the R^2 that the noise of ``c / n`` leaves attainable for one who knows each p(x)."""

import numpy as np
from numpy.typing import ArrayLike

from benchmark.statistics.bootstrap import divide, weighted_mean, weighted_variance
from benchmark.statistics.inputs import FloatArray, check_inputs
from benchmark.statistics.ties import varies


def r2_ceiling(n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Return the R^2 that the true expected accuracies would have against ``c / n``.

    ``1 - mean(p (1 - p) / n) / variance of c / n``, the reliability of ``c / n``. The numerator is
    estimated without bias by ``(c / n) (1 - c / n) / (n - 1)`` and the variance is that of
    `benchmark.metrics.brier.r_squared`. Its square root is the ceiling of Pearson's correlation.

    Args:
        n: responses of each question, [N].
        c: correct ones among them, [..., N].
        weights: non-negative question weights, [..., N].

    Returns:
        [...], at most 1; NaN where ``c / n`` is constant or a question has one response only.

    Raises:
        DataError: where an argument breaks its range or the lengths differ.

    Examples:
        >>> round(float(r2_ceiling(n=[5, 5, 5], c=[0, 2, 5])), 4)
        0.8816
    """
    x = check_inputs(np.zeros(np.shape(n)), n, c, weights)
    noise = weighted_mean(divide(x.accuracy * (1 - x.accuracy), x.n - 1), x.weights)
    variance = weighted_variance(x.accuracy, x.weights)
    return 1 - divide(noise, np.where(varies(x.accuracy, x.weights), variance, 0.0))
