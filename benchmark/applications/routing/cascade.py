"""Stage 7: routing by a cascade of thresholds, pure functions on arrays.

Models stand from the cheapest to the most expensive. A query goes to the first one whose confidence
reaches that model's threshold, else to the last, which is not asked for a confidence. It costs the
confidences that were asked for and one response of the model that answers. A threshold of -inf
sends every query that comes so far to its model and +inf none, both without asking.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.applications.routing.frontier import concave_frontier
from benchmark.errors import DataError
from benchmark.statistics.inputs import LARGEST, FloatArray, refuse_outside

_MOST_CONFIDENCES_READ = 10_000_000  # by the search over all but the last threshold
_FEWEST_PREFIXES = 64  # combinations of thresholds that are tried, however many questions there are


class RoutedModel(NamedTuple):
    """What routing knows of one model on N questions.

    Attributes:
        accuracy: expected accuracy of a response, [N], in [0, 1].
        cost: cost of a response, [N], at least 0.
        confidences: D draws of the confidence, [D, N], in [0, 1], NaN where a draw gave none, which
            reaches no threshold above -inf.
        confidence_cost: cost of one draw, [N], at least 0.
    """

    accuracy: FloatArray
    cost: FloatArray
    confidences: FloatArray
    confidence_cost: FloatArray

    def of(self, chosen: NDArray[np.bool_]) -> "RoutedModel":
        """Return the same for some of the questions."""
        return RoutedModel(*(values[..., chosen] for values in self))


class Routed(NamedTuple):
    """What becomes of N questions, in expectation over the draws of the confidences.

    Attributes:
        share: chance that each model answers, [M, N], in [0, 1].
        cost: expected cost of the question, [N], at least 0.
        accuracy: expected accuracy of the answer, [N], in [0, 1].
    """

    share: FloatArray
    cost: FloatArray
    accuracy: FloatArray


def tune_thresholds(models: Sequence[RoutedModel]) -> FloatArray:
    """Return the thresholds whose mean cost and accuracy no others beat, nor a mix of others.

    These are the vertices of the concave frontier of accuracy over cost, from the cheapest up to
    the most accurate. With two models every distinct confidence is tried, in one pass over the
    sorted ones. With more, the last threshold is tuned like that for every combination of the
    others: all distinct confidences where they are few enough (about 3,000 questions with three
    models), else evenly spaced ones among them, ends included.

    Args:
        models: M >= 2 of them on the same N questions, from the cheapest up. Numbers of draws that
            differ are evened out by repeating.

    Returns:
        [P, M - 1].

    Raises:
        DataError: fewer than two models, no questions, or an array that breaks its contract.

    Examples:
        >>> small = RoutedModel(*map(np.array, ([1.0, 0.0], [1, 1], [[0.9, 0.2]], [0, 0])))
        >>> large = RoutedModel(*map(np.array, ([1.0, 1.0], [9, 9], [[0.9, 0.9]], [0, 0])))
        >>> tune_thresholds([small, large]).tolist()
        [[-inf], [0.9]]
    """
    flat = [_flattened(model, _draws(models)) for model in _checked(models)]
    costs, accuracies, thresholds = [], [], []
    runs = _runs(flat[-2].confidences)
    for prefix in _prefixes(flat[:-2]):
        cost, accuracy, last = _last_threshold(flat, prefix, runs)
        best = concave_frontier(cost, accuracy)
        costs.append(cost[best])
        accuracies.append(accuracy[best])
        thresholds.append(np.column_stack([np.tile(prefix, (len(best), 1)), last[best]]))
    best = concave_frontier(np.concatenate(costs), np.concatenate(accuracies))
    return np.concatenate(thresholds)[best]


def route(models: Sequence[RoutedModel], thresholds: ArrayLike) -> Routed:
    """Return who answers each question at which cost and accuracy.

    Args:
        models: M >= 2 of them on the same N questions, from the cheapest up.
        thresholds: of all but the last, [M - 1].

    Raises:
        DataError: fewer than two models, or an array that breaks its contract.

    Examples:
        >>> small = RoutedModel(*map(np.array, ([1.0, 0.0], [1, 1], [[0.9, 0.2]], [0.5, 0.5])))
        >>> large = RoutedModel(*map(np.array, ([1.0, 1.0], [9, 9], [[0.9, 0.9]], [0.5, 0.5])))
        >>> route([small, large], [0.9]).cost.tolist()
        [1.5, 9.5]
    """
    checked = _checked(models)
    limits = np.append(np.asarray(thresholds, dtype=np.float64), -np.inf)
    if limits.shape != (len(checked),) or np.isnan(limits).any():
        raise DataError(
            f"thresholds is {limits[:-1].tolist()}; it must be one number for each of the models "
            f"but the last, {len(checked) - 1} in all."
        )
    draws = _draws(checked)
    left = np.ones((draws, len(checked[0].cost)))
    cost, shares = np.zeros(left.shape[1]), []
    for model, limit in zip(checked, limits, strict=True):
        passed = left * _passes(np.resize(model.confidences, left.shape), limit)
        if np.isfinite(limit):
            cost += left.mean(axis=0) * model.confidence_cost
        shares.append(passed.mean(axis=0))
        cost += shares[-1] * model.cost
        left = left - passed
    accuracy = sum(s * m.accuracy for s, m in zip(shares, checked, strict=True))
    return Routed(np.array(shares), cost, np.asarray(accuracy))


class _Runs(NamedTuple):
    """Queries in runs of equal confidence, from the highest down."""

    order: NDArray[np.intp]  # [Q]
    ends: NDArray[np.intp]  # [G], how many queries stand up to the end of each run
    values: FloatArray  # [G]


def _runs(confidences: FloatArray) -> _Runs:
    """Return the runs of the confidences that were given."""
    values, counts = np.unique(confidences[~np.isnan(confidences)], return_counts=True)
    return _Runs(np.argsort(-confidences, kind="stable"), np.cumsum(counts[::-1]), values[::-1])


def _last_threshold(
    models: Sequence[RoutedModel], prefix: tuple[float, ...], runs: _Runs
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return mean cost and accuracy at every last threshold, behind the others: [G + 2] each."""
    left = np.ones(len(models[0].cost))
    cost = accuracy = 0.0
    for model, limit in zip(models, prefix, strict=False):
        passed = left * _passes(model.confidences, limit)
        asked = float(left @ model.confidence_cost) if np.isfinite(limit) else 0.0
        cost += asked + float(passed @ model.cost)
        accuracy += float(passed @ model.accuracy)
        left = left - passed
    decider, last = models[-2:]
    cost += float(left @ last.cost)
    accuracy += float(left @ last.accuracy)
    saved = np.cumsum((left * (decider.cost - last.cost))[runs.order])
    gained = np.cumsum((left * (decider.accuracy - last.accuracy))[runs.order])
    asking = cost + left @ decider.confidence_cost
    costs = np.concatenate([[cost + saved[-1], cost], asking + saved[runs.ends - 1]])
    accuracies = accuracy + np.concatenate([gained[-1:], [0], gained[runs.ends - 1]])
    thresholds = np.concatenate([[-np.inf, np.inf], runs.values])
    return costs / len(left), accuracies / len(left), thresholds


def _prefixes(models: Sequence[RoutedModel]) -> Iterator[tuple[float, ...]]:
    """Yield the combinations of thresholds that are tried for all but the last two models."""
    if not models:
        return iter([()])
    most = max(_FEWEST_PREFIXES, _MOST_CONFIDENCES_READ // len(models[0].cost))
    each = int(most ** (1 / len(models))) - 2
    tried = []
    for model in models:
        values = _runs(model.confidences).values
        if len(values) > each:
            values = values[np.unique(np.linspace(0, len(values) - 1, each).round().astype(int))]
        tried.append([-np.inf, np.inf, *values.tolist()])
    return product(*tried)


def _passes(confidences: FloatArray, threshold: float) -> NDArray[np.bool_]:
    if threshold == -np.inf:
        return np.ones(confidences.shape, dtype=np.bool_)
    return np.asarray(confidences >= threshold)


def _draws(models: Sequence[RoutedModel]) -> int:
    """Return how many draws all models but the last are evened out to."""
    return max(len(model.confidences) for model in models[:-1])


def _flattened(model: RoutedModel, draws: int) -> RoutedModel:
    """Return the draws as questions of their own, [draws * N] each."""
    return RoutedModel(
        accuracy=np.tile(model.accuracy, draws),
        cost=np.tile(model.cost, draws),
        confidences=np.resize(model.confidences, (draws, len(model.cost))).ravel(),
        confidence_cost=np.tile(model.confidence_cost, draws),
    )


def _checked(models: Sequence[RoutedModel]) -> list[RoutedModel]:
    """Return the models as arrays that belong together."""
    if len(models) < 2:
        raise DataError(f"routing needs at least two models; there are {len(models)}.")
    checked = [RoutedModel(*(np.asarray(v, dtype=np.float64) for v in m)) for m in models]
    questions = len(checked[0].accuracy)
    if not questions:
        raise DataError("routing needs questions; there are none.")
    for number, model in enumerate(checked):
        shapes = [values.shape for values in model]
        draws = len(model.confidences)
        if not draws or shapes != [(questions,), (questions,), (draws, questions), (questions,)]:
            raise DataError(
                f"model {number} has arrays of shapes {shapes}; with {questions} questions they "
                f"must be [N], [N], [draws, N] and [N]."
            )
        confidences = np.where(np.isnan(model.confidences), 0.0, model.confidences)
        refuse_outside(f"model {number}: accuracy", model.accuracy, 0, 1, "in [0, 1]")
        refuse_outside(f"model {number}: confidences", confidences, 0, 1, "in [0, 1], or NaN")
        for name, costs in (("cost", model.cost), ("confidence_cost", model.confidence_cost)):
            refuse_outside(f"model {number}: {name}", costs, 0, LARGEST, "a number of at least 0")
    return checked
