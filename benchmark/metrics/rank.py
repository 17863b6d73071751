"""Stage 6: how well confidences order questions and responses.

A question of weight 2 counts as two equal questions. Each call sorts the confidences once for all
rows of weights and counts, and saves that where they are sorted already.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.statistics.bootstrap import centred, divide, weighted_variance
from benchmark.statistics.inputs import FloatArray, Inputs, check_inputs
from benchmark.statistics.ties import midranks, varies

_MOST_FRACTIONS = 10_000  # possible values of c / n up to which each row counts them all


def pearson(
    confidences: ArrayLike, n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None
) -> FloatArray:
    """Return Pearson's correlation of confidence and expected accuracy ``c / n``, in [-1, 1].

    Arguments and errors are those of `benchmark.metrics.brier.brier_score`.

    Returns:
        [...], NaN where either is constant, so also for fewer than two questions.

    Examples:
        >>> round(float(pearson([0.1, 0.2, 0.9], n=[4, 4, 4], c=[0, 2, 4])), 4)
        0.9177
    """
    x = check_inputs(confidences, n, c, weights)
    a, b = centred(x.confidences), centred(x.accuracy)
    total = x.weights.sum(axis=-1)
    a_sum, b_sum = np.vecdot(x.weights, a), np.vecdot(x.weights, b)
    covariance = np.vecdot(x.weights, a * b) - divide(a_sum * b_sum, total)
    variances = weighted_variance(a, x.weights), weighted_variance(b, x.weights)
    scale = total * np.sqrt(variances[0]) * np.sqrt(variances[1])
    return np.where(_both_vary(x), np.clip(divide(covariance, scale), -1.0, 1.0), np.nan)


def spearman(
    confidences: ArrayLike, n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None
) -> FloatArray:
    """Return Spearman's correlation of confidence and expected accuracy ``c / n``, in [-1, 1].

    Pearson's correlation of the ranks; tied values share their mean rank. A question of weight w
    takes up w ranks.

    Arguments and errors are those of `benchmark.metrics.brier.brier_score`.

    Returns:
        [...], NaN where either is constant, so also for fewer than two questions.

    Examples:
        >>> round(float(spearman([0.1, 0.2, 0.2, 0.9], n=[4] * 4, c=[1, 0, 2, 4])), 4)
        0.6325
    """
    x = check_inputs(confidences, n, c, weights).by_confidence()
    if x.c.ndim > 1 and (np.unique(x.n) + 1).sum() > _MOST_FRACTIONS:
        return _row_by_row(x)
    middle = x.weights.sum(axis=-1, keepdims=True) / 2
    ranks = midranks(x.confidences, x.weights) - middle
    value, values = _accuracy_codes(x)
    shares = _totals(x.weights, value, values)
    accuracy_ranks = np.cumsum(shares, axis=-1) - shares / 2 - middle
    covariance = np.vecdot(_totals(x.weights * ranks, value, values), accuracy_ranks)
    scale = np.sqrt(np.vecdot(x.weights, ranks**2)) * np.sqrt(np.vecdot(shares, accuracy_ranks**2))
    correlation = np.clip(divide(covariance, scale), -1.0, 1.0)
    return np.where(_both_vary(x), correlation, np.nan)


def response_auroc(
    confidences: ArrayLike, n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None
) -> FloatArray:
    """Return how often a correct response has a higher confidence than an incorrect one.

    The area under the ROC curve over responses, each scored by its question's confidence: a
    question gives ``c / n`` positives and ``1 - c / n`` negatives, so that it counts the same
    however many responses it has (with adaptive sampling uncertain ones have more). Ties count
    half, so a constant confidence gives 0.5.

    Arguments and errors are those of `benchmark.metrics.brier.brier_score`.

    Returns:
        [...], in [0, 1], NaN where all responses are correct or all are not.

    Examples:
        >>> float(response_auroc([0.2, 0.8], n=[2, 2], c=[1, 2]))
        0.8333333333333334
    """
    x = check_inputs(confidences, n, c, weights).by_confidence()
    positives, negatives = x.weights * x.accuracy, x.weights * (1 - x.accuracy)
    pairs = positives.sum(axis=-1) * negatives.sum(axis=-1)
    return divide(np.vecdot(positives, midranks(x.confidences, negatives)), pairs)


def _both_vary(x: Inputs) -> NDArray[np.bool_]:
    return varies(x.confidences, x.weights) & varies(x.accuracy, x.weights)


def _row_by_row(x: Inputs) -> FloatArray:
    """Return Spearman's correlation for one row of c after the other."""
    shape = np.broadcast_shapes(x.c.shape, x.weights.shape)
    rows = (np.broadcast_to(values, shape).reshape(-1, shape[-1]) for values in (x.c, x.weights))
    each = [spearman(x.confidences, x.n, *row) for row in zip(*rows, strict=True)]
    return np.reshape(each, shape[:-1])


def _accuracy_codes(x: Inputs) -> tuple[NDArray[np.int64], int]:
    """Return the position of each ``c / n`` among all values, [..., N], and their number.

    These are the ones that occur, or where c has several rows those that the n allow, which then
    are few, so that counting them is far cheaper than sorting each row.
    """
    if x.c.ndim == 1 or not len(x.n):
        occurring, positions = np.unique(x.accuracy, return_inverse=True)
        return positions, len(occurring)
    sizes, size = np.unique(x.n.astype(np.int64), return_inverse=True)
    fractions = np.arange(sizes[-1] + 1) / sizes[:, None]
    values, codes = np.unique(fractions, return_inverse=True)
    return codes.reshape(fractions.shape)[size, x.c.astype(np.int64)], len(values)


def _totals(values: FloatArray, code: NDArray[np.int64], codes: int) -> FloatArray:
    """Return the sums of ``values`` [..., N] over questions of each code [..., N]: [..., codes]."""
    shape = np.broadcast_shapes(values.shape, code.shape)
    rows = (int(np.prod(shape[:-1])), shape[-1])
    pairs = zip(
        np.broadcast_to(code, shape).reshape(rows),
        np.broadcast_to(values, shape).reshape(rows),
        strict=True,
    )
    totals = [np.bincount(*pair, codes) for pair in pairs]
    return np.reshape(totals, (*shape[:-1], codes))
