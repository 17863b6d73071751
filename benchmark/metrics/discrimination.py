"""Stage 6: how well confidences order questions and responses.

Every metric takes N questions as ``confidences``, ``n`` (responses) and ``c`` (correct ones), and
optional question weights ``[..., N]``, where a weight of 2 is the same as the question standing
there twice. The result has the weights' leading axes; each call sorts once for all of them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.metrics.inputs import FloatArray, check_inputs
from benchmark.metrics.statistics import divide


def pearson(
    confidences: ArrayLike, n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None
) -> FloatArray:
    """Return Pearson's correlation of confidence and expected accuracy ``c / n``, in [-1, 1].

    Args:
        confidences: [N], in [0, 1].
        n: responses of each question, [N].
        c: correct ones among them, [N].
        weights: non-negative question weights, [..., N].

    Returns:
        [...], NaN where either is constant, so also for fewer than two questions.

    Raises:
        DataError: where an argument breaks its range or the lengths differ.

    Examples:
        >>> round(float(pearson([0.1, 0.2, 0.9], n=[4, 4, 4], c=[0, 2, 4])), 4)
        0.9177
    """
    x = check_inputs(confidences, n, c, weights)
    varies = _varies(x.confidences, x.weights) & _varies(x.accuracy, x.weights)
    return np.where(varies, _correlation(x.confidences, x.accuracy, x.weights), np.nan)


def spearman(
    confidences: ArrayLike, n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None
) -> FloatArray:
    """Return Spearman's correlation of confidence and expected accuracy ``c / n``, in [-1, 1].

    Pearson's correlation of the ranks; tied values share their mean rank. A question of weight w
    takes up w ranks.

    Args:
        confidences: [N], in [0, 1].
        n: responses of each question, [N].
        c: correct ones among them, [N].
        weights: non-negative question weights, [..., N].

    Returns:
        [...], NaN where either is constant, so also for fewer than two questions.

    Raises:
        DataError: where an argument breaks its range or the lengths differ.

    Examples:
        >>> round(float(spearman([0.1, 0.2, 0.2, 0.9], n=[4] * 4, c=[1, 0, 2, 4])), 4)
        0.6325
    """
    x = check_inputs(confidences, n, c, weights)
    varies = _varies(x.confidences, x.weights) & _varies(x.accuracy, x.weights)
    ranks = _midranks(x.confidences, x.weights), _midranks(x.accuracy, x.weights)
    return np.where(varies, _correlation(*ranks, x.weights), np.nan)


def response_auroc(
    confidences: ArrayLike, n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None
) -> FloatArray:
    """Return how often a correct response has a higher confidence than an incorrect one.

    The area under the ROC curve over responses, each scored by its question's confidence: a
    question gives ``c / n`` positives and ``1 - c / n`` negatives, so that it counts the same
    however many responses it has (with adaptive sampling uncertain ones have more). Ties count
    half, so a constant confidence gives 0.5.

    Args:
        confidences: [N], in [0, 1].
        n: responses of each question, [N].
        c: correct ones among them, [N].
        weights: non-negative question weights, [..., N].

    Returns:
        [...], in [0, 1], NaN where all responses are correct or all are not.

    Raises:
        DataError: where an argument breaks its range or the lengths differ.

    Examples:
        >>> float(response_auroc([0.2, 0.8], n=[2, 2], c=[1, 2]))
        0.8333333333333334
    """
    x = check_inputs(confidences, n, c, weights)
    groups = _tie_groups(x.confidences)
    positives = groups.total(x.weights * x.accuracy)
    negatives = groups.total(x.weights * (1 - x.accuracy))
    below = np.cumsum(negatives, axis=-1) - negatives / 2
    pairs = positives.sum(axis=-1) * negatives.sum(axis=-1)
    return divide((positives * below).sum(axis=-1), pairs)


class _TieGroups(NamedTuple):
    """Questions sorted by a value: G runs of equal values."""

    order: NDArray[np.intp]  # [N], the questions from the lowest value up
    starts: NDArray[np.intp]  # [G], where each run begins in the order
    group: NDArray[np.intp]  # [N], the run of each question

    def total(self, values: FloatArray) -> FloatArray:
        """Return the sums of ``values`` [..., N] over each run, [..., G]."""
        in_order = np.take(values, self.order, axis=-1)
        return np.add.reduceat(in_order, self.starts, axis=-1)


def _tie_groups(values: FloatArray) -> _TieGroups:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    starts = np.cumsum(counts) - counts
    return _TieGroups(np.argsort(group, kind="stable"), starts, group)


def _midranks(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the mean ranks of ``values`` [N] under the weights, up to a constant: [..., N]."""
    groups = _tie_groups(values)
    shares = groups.total(weights)
    return np.take(np.cumsum(shares, axis=-1) - shares / 2, groups.group, axis=-1)


def _correlation(a: FloatArray, b: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the weighted correlation along the last axis, NaN where a variance is 0."""
    total = weights.sum(axis=-1, keepdims=True)
    a = a - divide((weights * a).sum(axis=-1, keepdims=True), total)
    b = b - divide((weights * b).sum(axis=-1, keepdims=True), total)
    covariance = (weights * a * b).sum(axis=-1)
    scale = np.sqrt((weights * a**2).sum(axis=-1)) * np.sqrt((weights * b**2).sum(axis=-1))
    return np.clip(divide(covariance, scale), -1.0, 1.0)


def _varies(values: FloatArray, weights: FloatArray) -> NDArray[np.bool_]:
    """Tell where questions of positive weight have different values: [...].

    A variance can't tell: rounding leaves it above 0 for equal values.
    """
    if not len(values):
        return np.zeros(weights.shape[:-1], dtype=np.bool_)
    present = weights > 0
    first = values[present.argmax(axis=-1)]
    return np.asarray((present & (values != first[..., None])).any(axis=-1))
