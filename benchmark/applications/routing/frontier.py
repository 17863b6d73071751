"""Stage 7: accuracy over cost, pure functions on arrays: frontiers and the area under them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.errors import DataError
from benchmark.statistics.bootstrap import divide
from benchmark.statistics.inputs import FloatArray, check_weights


class Frontier(NamedTuple):
    """Costs [..., P], not decreasing, and the mean accuracy at each, [..., P]."""

    cost: FloatArray
    accuracy: FloatArray


def oracle_frontier(cost: ArrayLike, accuracy: ArrayLike, weights: ArrayLike) -> Frontier:
    """Return the most accurate routing at each cost where every expected accuracy is known.

    The linear relaxation of the multiple-choice knapsack, exact but for one question, which is
    split between two models: start each question at its cheapest model and buy accuracy in the
    order of its price, along each question's own concave frontier.

    Args:
        cost: of a response of each of M models to each question, [M, N].
        accuracy: its expected accuracy, [M, N].
        weights: non-negative question weights, [..., N].

    Returns:
        Mean cost and accuracy over the questions, [..., P]; P is at most 1 + N (M - 1).

    Raises:
        DataError: shapes that don't belong together, no model or question, or NaN or infinity.
    """
    cost, accuracy = _points(cost, accuracy, axes=2)
    weights = check_weights(weights, cost.shape[1])
    steps = []  # question, added cost, added accuracy, of which the first is where it starts
    for question in range(cost.shape[1]):
        own = concave_frontier(cost[:, question], accuracy[:, question])
        steps += [
            (question, *added)
            for added in zip(
                np.diff(cost[own, question], prepend=0),
                np.diff(accuracy[own, question], prepend=0),
                [True] + [False] * (len(own) - 1),
                strict=True,
            )
        ]
    questions, costs, gains, starts = (np.array(column) for column in zip(*steps, strict=True))
    rate = np.where(starts, np.inf, divide(gains, costs))
    order = np.argsort(-rate, kind="stable")
    weight = np.take(weights, questions[order], axis=-1)
    total = weights.sum(axis=-1)[..., None]
    begin = int(starts.sum()) - 1
    return Frontier(
        divide(np.cumsum(weight * costs[order], axis=-1)[..., begin:], total),
        divide(np.cumsum(weight * gains[order], axis=-1)[..., begin:], total),
    )


def mean_accuracy(frontier: Frontier, low: float, high: float) -> float:
    """Return the area under accuracy over cost from ``low`` to ``high``, over its width: in [0, 1].

    Points are joined by straight lines, as mixing two ways of routing at random does, and the curve
    goes on flat at both ends (AIQ of RouterBench, arXiv 2403.12031, with tuned points in place of
    the best ones).

    Args:
        frontier: points in any order, [P]; of several at one cost the last counts.
        low: cost of the cheapest model for all.
        high: cost of the most expensive model for all.

    Returns:
        NaN where ``low`` isn't below ``high``.

    Raises:
        DataError: no point, or NaN or infinity among them.

    Examples:
        >>> mean_accuracy(Frontier(np.array([1.0, 3.0]), np.array([0.5, 0.9])), 1.0, 5.0)
        0.8
    """
    cost, accuracy = _points(*frontier, axes=1)
    if not low < high:
        return np.nan
    order = np.argsort(cost, kind="stable")
    order = order[np.append(np.diff(cost[order]) > 0, True)]
    cost, accuracy = cost[order], accuracy[order]
    at = np.concatenate([[low], cost[(low < cost) & (cost < high)], [high]])
    return float(np.trapezoid(np.interp(at, cost, accuracy), at) / (high - low))


def concave_frontier(cost: ArrayLike, accuracy: ArrayLike) -> NDArray[np.intp]:
    """Return the vertices of the non-decreasing concave frontier of P points, by rising cost.

    It starts at the cheapest point and ends at the most accurate one; of equal points the first
    counts.

    Args:
        cost: [P].
        accuracy: [P].

    Raises:
        DataError: different lengths, no point, or NaN or infinity.

    Examples:
        >>> concave_frontier([2, 1, 3, 4], [0.2, 0.1, 0.9, 0.8]).tolist()
        [1, 2]
    """
    cost, accuracy = _points(cost, accuracy, axes=1)
    order = np.lexsort((-accuracy, cost))
    highest = np.maximum.accumulate(accuracy[order])
    rising = np.append(True, highest[1:] > highest[:-1])
    kept: list[int] = []
    for point in order[rising].tolist():
        while len(kept) > 1 and _is_below(kept[-2], kept[-1], point, cost, accuracy):
            kept.pop()
        kept.append(point)
    return np.array(kept, dtype=np.intp)


def _points(cost: ArrayLike, accuracy: ArrayLike, axes: int) -> tuple[FloatArray, FloatArray]:
    """Return both as arrays of the same shape, at least one point, all finite."""
    x, y = np.asarray(cost, dtype=np.float64), np.asarray(accuracy, dtype=np.float64)
    if x.shape != y.shape or x.ndim != axes or not x.size:
        raise DataError(
            f"cost has shape {list(x.shape)} and accuracy {list(y.shape)}; both must have the same "
            f"{axes} axes, none of length 0."
        )
    for name, values in (("cost", x), ("accuracy", y)):
        if not np.isfinite(values).all():
            raise DataError(f"{name} holds {values[~np.isfinite(values)][0]}; it must be finite.")
    return x, y


def _is_below(left: int, middle: int, right: int, cost: FloatArray, accuracy: FloatArray) -> bool:
    """Tell whether a point lies on or below the line between its neighbours."""
    rise = (accuracy[middle] - accuracy[left]) * (cost[right] - cost[left])
    return bool(rise <= (accuracy[right] - accuracy[left]) * (cost[middle] - cost[left]))
