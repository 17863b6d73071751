"""Platt's logistic regression of expected accuracies on a number, fitted on counts."""

import numpy as np

from benchmark.estimators.isotonic import Curve
from benchmark.statistics.inputs import FloatArray

# Strength of an L2 penalty beside a mean log-likelihood of standardised x. It decides the curve
# only where x never varies.
_RIDGE = 1e-6


def fit_logistic(x: FloatArray, n: FloatArray, c: FloatArray) -> Curve:
    """Return the logistic curve of the highest likelihood of c correct among n responses.

    The labels are Platt's (1999): of C correct among N responses in all, a correct one counts as
    (C + 1) / (C + 2) and another as 1 / (N - C + 2), so that the optimum stays finite where all are
    correct, or x separates them. Those two bound the curve, too: so far from the fitted x that the
    logistic goes beyond them, it is constant.

    Args:
        x: [N], finite.
        n: [N], responses, above 0; need not be whole.
        c: [N], correct ones, in [0, n].

    Returns:
        Maps [M] numbers to [M] expected accuracies in [1 / (N - C + 2), (C + 1) / (C + 2)].
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    total, correct = n.sum(), c.sum()
    least, most = 1 / (total - correct + 2), (correct + 1) / (correct + 2)
    positive = c * most + (n - c) * least
    logistic = LogisticRegression(C=1 / (_RIDGE * total), solver="newton-cholesky", tol=1e-8)
    model = make_pipeline(StandardScaler(), logistic)
    design, labels = np.tile(x, 2)[:, None], np.repeat([1, 0], len(x))
    weights = np.concatenate([positive, n - positive])
    model.fit(design, labels, logisticregression__sample_weight=weights)

    def curve(values: FloatArray) -> FloatArray:
        probabilities = model.predict_proba(values[:, None])[:, 1]
        return np.asarray(probabilities.clip(least, most), dtype=np.float64)

    return curve
