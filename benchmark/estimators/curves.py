"""Curves from a number to an expected accuracy, fitted on counts: isotonic and logistic."""

from collections.abc import Callable

import numpy as np

from benchmark.metrics.inputs import FloatArray

Curve = Callable[[FloatArray], FloatArray]
_RIDGE = 1e-6  # of a mean log-likelihood; decides only where x never varies, and there for slope 0


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


def fit_logistic(x: FloatArray, n: FloatArray, c: FloatArray) -> Curve:
    """Return the logistic curve of the highest likelihood of c correct among n responses.

    The labels are Platt's (1999): of C correct among N responses in all, a correct one counts as
    (C + 1) / (C + 2) and another as 1 / (N - C + 2), so that the optimum stays finite where all are
    correct, or x separates them.

    Args:
        x: [N], finite.
        n: [N], responses, above 0; need not be whole.
        c: [N], correct ones, in [0, n].

    Returns:
        Maps [M] numbers to [M] expected accuracies in (0, 1).
    """
    from sklearn.linear_model import LogisticRegression

    total, correct = n.sum(), c.sum()
    positive = c * (correct + 1) / (correct + 2) + (n - c) / (total - correct + 2)
    model = LogisticRegression(C=1 / (_RIDGE * total), solver="newton-cholesky", tol=1e-8)
    design, labels = np.tile(x, 2)[:, None], np.repeat([1, 0], len(x))
    model.fit(design, labels, sample_weight=np.concatenate([positive, n - positive]))
    return lambda values: np.asarray(model.predict_proba(values[:, None])[:, 1], dtype=np.float64)
