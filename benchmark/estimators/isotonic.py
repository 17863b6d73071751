"""Isotonic regression of expected accuracies on a number, fitted on counts."""

from collections.abc import Callable

import numpy as np

from benchmark.statistics.inputs import FloatArray

Curve = Callable[[FloatArray], FloatArray]


def fit_isotonic(x: FloatArray, n: FloatArray, c: FloatArray) -> Curve:
    """Return the non-decreasing curve with the least squared error against c / n, weighted by n.

    Between the x that it was fitted on it is linear, beyond them constant.

    Args:
        x: [N], finite.
        n: [N], responses, above 0; need not be whole.
        c: [N], correct ones, in [0, n].

    Returns:
        Maps [M] numbers to [M] expected accuracies in [0, 1].
    """
    from sklearn.isotonic import IsotonicRegression  # a second to import

    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    model.fit(x, c / n, sample_weight=n)
    return lambda values: np.asarray(model.predict(values), dtype=np.float64).clip(0, 1)
