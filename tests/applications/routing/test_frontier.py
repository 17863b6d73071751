from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from benchmark.applications.routing.frontier import (
    Frontier,
    concave_frontier,
    mean_accuracy,
    oracle_frontier,
)
from benchmark.errors import DataError

PRICES = np.concatenate([[0], np.geomspace(1e-3, 1e3, 25)])
POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=10)


@given(POINTS)
def test_the_frontier_holds_the_best_point_at_every_price_and_nothing_else(points):
    cost, accuracy = np.array(points, dtype=float).T
    kept = concave_frontier(cost, accuracy)
    for price in PRICES:
        value = accuracy - price * cost
        assert value[kept].max() == value.max()
    slopes = np.diff(accuracy[kept]) / np.diff(cost[kept])
    assert (slopes > 0).all()
    assert (np.diff(slopes) < 0).all()


def test_the_frontier_is_the_upper_left_part_of_the_convex_hull():
    cost, accuracy = np.random.default_rng(0).random((2, 300))
    hull = ConvexHull(np.column_stack([cost, accuracy])).vertices
    from_left = hull[np.argsort(cost[hull])]
    ends = from_left[0], hull[np.argmax(accuracy[hull])]
    chord = np.interp(cost[from_left], cost[[*ends]], accuracy[[*ends]])
    upper = from_left[(accuracy[from_left] >= chord) & (cost[from_left] <= cost[ends[1]])]
    assert concave_frontier(cost, accuracy).tolist() == upper.tolist()


@st.composite
def tables(draw):
    """Costs and accuracies of some models on some questions."""
    shape = draw(st.integers(2, 3)), draw(st.integers(1, 4))
    values = st.lists(st.integers(0, 4), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])
    return np.reshape(draw(values), shape) / 1.0, np.reshape(draw(values), shape) / 4


@given(tables(), st.data())
@settings(deadline=None)
def test_the_oracle_is_the_best_assignment_at_every_price(table, data):
    cost, accuracy = table
    models, questions = cost.shape
    row = st.lists(st.integers(0, 2), min_size=questions, max_size=questions)
    weights = np.array([data.draw(row), [1] * questions], dtype=float)
    found = oracle_frontier(cost, accuracy, weights)
    for weight, *curve in zip(weights, *found, strict=True):
        if not weight.sum():
            assert np.isnan(curve).all()
            continue
        for price in PRICES:
            worth = accuracy - price * cost
            best = max(
                weight @ worth[list(assigned), range(questions)] / weight.sum()
                for assigned in product(range(models), repeat=questions)
            )
            assert (curve[1] - price * curve[0]).max() == pytest.approx(best, abs=1e-9)


def test_the_oracle_by_hand():
    cost = np.array([[1.0, 1, 2], [5, 3, 1]])
    accuracy = np.array([[0.5, 0.0, 0.5], [1.0, 1.0, 0.75]])  # the last question is cheaper at B
    found = oracle_frontier(cost, accuracy, np.ones(3))
    assert found.cost.tolist() == pytest.approx([1, 5 / 3, 3])
    assert found.accuracy.tolist() == pytest.approx([1.25 / 3, 2.25 / 3, 2.75 / 3])


@given(POINTS, st.integers(0, 5), st.integers(1, 5))
def test_the_mean_accuracy_is_the_integral_of_the_joined_points(points, low, width):
    by_cost = sorted(dict(points).items())  # of each cost the last
    cost, accuracy = np.array(by_cost, dtype=float).T
    at = np.linspace(low, low + width, 20_001)
    expected = np.trapezoid(np.interp(at, cost, accuracy), at) / width
    found = mean_accuracy(Frontier(*np.array(points, dtype=float).T), low, low + width)
    assert found == pytest.approx(expected, abs=1e-3)


def test_without_a_range_of_costs_there_is_no_mean_accuracy():
    assert np.isnan(mean_accuracy(Frontier(np.array([1.0]), np.array([0.5])), 2.0, 2.0))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: concave_frontier([], []), "length 0"),
        (lambda: concave_frontier([1, 2], [0.5]), r"\[2\] and accuracy \[1\]"),
        (lambda: concave_frontier([1, np.nan], [0.5, 0.6]), "cost holds nan"),
        (lambda: mean_accuracy(Frontier([1.0], [np.inf]), 0, 1), "accuracy holds inf"),
        (lambda: oracle_frontier([1, 2], [0, 1], [1]), "2 axes"),
        (lambda: oracle_frontier([[1, 2]], [[0, 1]], [1, -1]), "non-negative"),
        (lambda: oracle_frontier([[1, 2]], [[0, 1]], [1, 1, 1]), "2 questions"),
    ],
)
def test_points_that_are_none_are_refused(call, named):
    with pytest.raises(DataError, match=named):
        call()
