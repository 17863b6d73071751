from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.applications import RoutedModel, route, tune_thresholds
from benchmark.applications.routing import cascade
from benchmark.errors import DataError

PRICES = np.concatenate([[0], np.geomspace(1e-3, 1e3, 25)])  # of a unit of cost, in accuracy


def model(accuracy, cost, confidences, confidence_cost=0.0):
    accuracy = np.asarray(accuracy, dtype=float)
    return RoutedModel(
        accuracy,
        np.broadcast_to(np.asarray(cost, dtype=float), accuracy.shape),
        np.atleast_2d(np.asarray(confidences, dtype=float)),
        np.broadcast_to(np.asarray(confidence_cost, dtype=float), accuracy.shape),
    )


@st.composite
def pools(draw, models, most=6):
    """Models on a few questions, with ties, missing confidences and odd costs."""
    size = draw(st.integers(1, most))
    draws = draw(st.integers(1, 2))
    few = st.integers(0, 4)
    row = st.lists(few, min_size=size, max_size=size)
    return [
        model(
            np.array(draw(row)) / 4,
            np.array(draw(row)) + 3.0 * number,
            [[np.nan if v == 0 else v / 4 for v in draw(row)] for _ in range(draws)],
            draw(few) / 8,
        )
        for number in range(models)
    ]


def walk(models, thresholds, draw, question):
    """Cost and accuracy of one query, followed by hand."""
    cost = 0.0
    for routed, threshold in zip(models, [*thresholds, -np.inf], strict=True):
        if threshold == -np.inf:
            return cost + routed.cost[question], routed.accuracy[question]
        if threshold < np.inf:
            cost += routed.confidence_cost[question]
            if routed.confidences[draw, question] >= threshold:
                return cost + routed.cost[question], routed.accuracy[question]
    raise AssertionError


def every_threshold(models):
    values = [np.unique(m.confidences[~np.isnan(m.confidences)]) for m in models[:-1]]
    return product(*([-np.inf, np.inf, *v] for v in values))


def mean_points(models, thresholds):
    routed = [route(models, limits) for limits in thresholds]
    return np.array([(r.cost.mean(), r.accuracy.mean()) for r in routed])


@given(st.integers(2, 3).flatmap(pools), st.data())
@settings(deadline=None)
def test_each_query_goes_the_way_of_its_thresholds(models, data):
    limits = data.draw(st.sampled_from(list(every_threshold(models))))
    routed = route(models, limits)
    draws = len(models[0].confidences)
    for question in range(len(models[0].cost)):
        walked = [walk(models, limits, draw, question) for draw in range(draws)]
        expected = np.mean(walked, axis=0)
        assert (routed.cost[question], routed.accuracy[question]) == pytest.approx(expected)
    np.testing.assert_allclose(routed.share.sum(axis=0), 1)


@given(st.sampled_from([2, 2, 3]).flatmap(pools))
@settings(deadline=None, max_examples=60)
def test_tuned_thresholds_are_as_good_as_brute_force_at_every_price_of_cost(models):
    found = mean_points(models, tune_thresholds(models))
    best = mean_points(models, every_threshold(models))
    for price in PRICES:
        assert (found @ [-price, 1]).max() == pytest.approx((best @ [-price, 1]).max(), abs=1e-9)
    assert (np.diff(found, axis=0) >= -1e-12).all()  # ever dearer, ever more accurate


def test_four_models_are_searched_exactly_where_they_are_few():
    rng = np.random.default_rng(0)
    p = rng.random((4, 5))
    models = [model(p[i], 4.0**i, np.round(p[i], 1), 0.1) for i in range(4)]
    found = mean_points(models, tune_thresholds(models))
    best = mean_points(models, every_threshold(models))
    for price in PRICES:
        assert (found @ [-price, 1]).max() == pytest.approx((best @ [-price, 1]).max())


def test_a_search_that_is_cut_short_keeps_the_single_models_and_comes_close(monkeypatch):
    rng = np.random.default_rng(1)
    p = np.sort(rng.random((3, 400)), axis=0)
    models = [model(p[i], 4.0**i, p[i] + rng.normal(0, 0.1, 400) * p[i] * (1 - p[i]), 0.01)
              for i in range(3)]  # fmt: skip
    exact = mean_points(models, tune_thresholds(models))
    monkeypatch.setattr(cascade, "_MOST_CONFIDENCES_READ", 1)
    cut = tune_thresholds(models)
    assert len(np.unique(cut[:, 0])) <= 64
    points = mean_points(models, cut)
    for price in PRICES:
        lost = (exact @ [-price, 1]).max() - (points @ [-price, 1]).max()
        assert -1e-12 <= lost < 0.003
    assert cut[0].tolist() == [-np.inf, -np.inf]


def test_two_models_by_hand():
    small = model([1, 0.5, 0.5, 0], 1, [0.9, 0.8, np.nan, 0.1], 0.5)
    large = model([1, 1, 1, 1], 9, np.full(4, np.nan))
    points = mean_points([small, large], [[-np.inf], [0.9], [0.8], [0.1], [np.inf]])
    assert points[:, 0].tolist() == [1, 7.5, 5.5, 3.5, 9]
    assert points[:, 1].tolist() == [0.5, 1, 0.875, 0.625, 1]
    assert tune_thresholds([small, large]).tolist() == [[-np.inf], [0.8], [0.9]]


def test_a_confidence_that_costs_more_than_it_saves_is_not_asked_for():
    rng = np.random.default_rng(0)
    p = rng.random(50)
    small, large = model(p, 1, p, 100), model(np.ones(50), 10, np.full(50, np.nan))
    assert tune_thresholds([small, large]).tolist() == [[-np.inf], [np.inf]]


def test_a_dearer_model_that_is_no_better_is_never_taken():
    small, large = model([0.5, 0.5], 1, [0.5, 0.1]), model([0.5, 0.4], 2, [0.5, 0.5])
    assert tune_thresholds([small, large]).tolist() == [[-np.inf]]


def test_numbers_of_draws_that_differ_are_evened_out():
    first = model([1, 0], 1, [[0.9, 0.1], [0.1, 0.9]])
    second = model([1, 1], 2, [[0.5, 0.4]])
    last = model([1, 1], 9, [[np.nan, np.nan]])
    routed = route([first, second, last], [0.9, 0.5])
    assert routed.share.tolist() == [[0.5, 0.5], [0.5, 0], [0, 0.5]]


def test_tuning_two_models_is_fast():
    rng = np.random.default_rng(0)
    p = rng.random((2, 100_000))
    models = [model(p[0], 1, rng.random(100_000)), model(p[1], 5, p[1])]
    assert len(tune_thresholds(models)) >= 2  # a search over pairs would take hours


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([model([1.0], 1, [0.5])], "at least two models; there are 1"),
        ([model([], 1, [[]])] * 2, "needs questions"),
        ([model([1.5], 1, [0.5])] * 2, r"model 0: accuracy\[0\] is 1\.5; it must be in \[0, 1\]"),
        ([model([np.nan], 1, [0.5])] * 2, r"accuracy\[0\] is nan"),
        ([model([1.0], -1, [0.5])] * 2, r"cost\[0\] is -1; it must be a number of at least 0"),
        ([model([1.0], np.inf, [0.5])] * 2, r"cost\[0\] is inf"),
        ([model([1.0], 1, [1.5])] * 2, r"confidences\[0, 0\] is 1\.5; .* or NaN"),
        ([model([1.0], 1, [0.5], np.nan)] * 2, r"confidence_cost\[0\] is nan"),
        ([model([1.0], 1, [0.5]), model([1.0, 1.0], 1, [0.5, 0.5])], r"model 1 has arrays of"),
    ],
)  # fmt: skip
def test_bad_models_are_refused_by_name(models, message):
    with pytest.raises(DataError, match=message):
        tune_thresholds(models)
    with pytest.raises(DataError, match=message):
        route(models, [0.5] * (len(models) - 1))


@pytest.mark.parametrize("thresholds", [[], [0.5, 0.5], [np.nan]])
def test_thresholds_that_do_not_fit_the_models_are_refused(thresholds):
    with pytest.raises(DataError, match="one number for each of the models but the last, 1"):
        route([model([1.0], 1, [0.5])] * 2, thresholds)
