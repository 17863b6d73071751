"""Questions that share a value: their ranks, and whether there is but one value."""

import numpy as np
from numpy.typing import NDArray

from benchmark.statistics.inputs import FloatArray


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

    A variance can't tell: rounding leaves it above 0 for equal values.
    """
    present = weights > 0
    lowest = np.where(present, values, np.inf).min(axis=-1, initial=np.inf)
    highest = np.where(present, values, -np.inf).max(axis=-1, initial=-np.inf)
    return np.asarray(highest > lowest)
