"""Questions that share a value: their ranks, and whether there is but one value."""

import numpy as np
from numpy.typing import NDArray

from benchmark.statistics.bootstrap import weighted_variance
from benchmark.statistics.inputs import FloatArray

_CLEAR_SHARE = 1e-9  # of the squared range: far above what rounding leaves of a variance of 0


def midranks(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the mean rank of each question, where questions of equal value share theirs.

    A question of weight w takes up w ranks, from 0 to the sum of the weights.

    Args:
        values: [N], sorted from the lowest up.
        weights: [..., N].

    Returns:
        [..., N], not lower from question to question.

    Examples:
        >>> midranks(np.array([0.1, 0.4, 0.4]), weights=np.array([2.0, 1.0, 3.0])).tolist()
        [1.0, 4.0, 4.0]
    """
    upto = np.cumsum(weights, axis=-1)
    ranks = upto - weights / 2
    run = np.cumsum(np.diff(values, prepend=values[:1]) > 0)  # the number of the value
    sizes = np.bincount(run)
    last = np.cumsum(sizes) - 1
    shared = sizes > 1
    tied = np.flatnonzero(shared[run])
    if len(tied):  # few, as a rule, so that the others need no look-up
        before = last[shared] - sizes[shared]
        low = np.where(before >= 0, upto[..., before], 0.0)
        middle = (low + upto[..., last[shared]]) / 2
        ranks[..., tied] = np.take(middle, (np.cumsum(shared) - 1)[run[tied]], axis=-1)
    return np.asarray(ranks)


def varies(values: FloatArray, weights: FloatArray) -> NDArray[np.bool_]:
    """Tell where questions of positive weight have different values: both [..., N], result [...].

    A variance alone can't tell: rounding leaves it above 0 for equal values.
    """
    shape = np.broadcast_shapes(values.shape, weights.shape)
    if not shape[-1]:
        return np.zeros(shape[:-1], dtype=np.bool_)
    if weights.min() > 0:
        return np.broadcast_to((values != values[..., :1]).any(axis=-1), shape[:-1])
    spread = np.ptp(values, axis=-1)
    clear = weighted_variance(values, weights) > _CLEAR_SHARE * spread**2  # False where it is NaN
    result = np.array(np.broadcast_to(clear, shape[:-1]))
    values, weights = np.broadcast_to(values, shape), np.broadcast_to(weights, shape)
    for row in np.argwhere(~result):
        present = values[tuple(row)][weights[tuple(row)] > 0]
        result[tuple(row)] = bool((present != present[:1]).any())
    return result
