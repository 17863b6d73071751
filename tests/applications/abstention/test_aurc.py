from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc

from benchmark.applications import (
    accuracy_at_coverage,
    answered_at,
    aurc,
    lowest_threshold,
    normalised_aurc,
)
from benchmark.errors import DataError

QUESTIONS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12
)  # confidence and accuracy in quarters: many ties


def counts(accuracy):
    """n and c of accuracies in quarters."""
    return np.full(len(accuracy), 4), np.round(np.asarray(accuracy) * 4)


def quarters(questions):
    confidences, correct = np.array(questions).T
    return confidences / 4, np.full(len(questions), 4), correct


def risks(confidences, n, c):
    """The risk where the k most confident questions are answered, k = 1 .. N."""
    return 1 - accuracy_at_coverage(confidences, n, c, np.arange(1, 1 + len(n)) / len(n))


def curve_over_orders(confidences, accuracy):
    """The risks averaged over every order that the confidences allow, by brute force."""
    orders = [
        order
        for order in permutations(range(len(confidences)))
        if all(np.diff(np.array(confidences)[list(order)]) <= 0)
    ]
    cumulative = [np.cumsum(np.array(accuracy)[list(order)]) for order in orders]
    return 1 - np.mean(cumulative, axis=0) / np.arange(1, 1 + len(accuracy))


def test_risk_is_one_minus_the_mean_accuracy_of_the_most_confident():
    risk = risks([0.2, 0.9, 0.6, 0.4], *counts([0, 1, 0.5, 0.75]))
    assert risk.tolist() == [0, 0.25, 0.25, 0.4375]
    assert aurc([0.2, 0.9, 0.6, 0.4], *counts([0, 1, 0.5, 0.75])) == pytest.approx(0.234375)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=6))
@settings(deadline=None, max_examples=60)
def test_ties_are_in_expectation_over_every_order(questions):
    confidences, n, c = quarters(questions)
    risk = risks(confidences, n, c)
    np.testing.assert_allclose(risk, curve_over_orders(confidences, c / n), atol=1e-12)


@given(QUESTIONS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_area_is_the_mean_risk_and_the_order_of_rows_changes_nothing(questions, random):
    confidences, n, c = quarters(questions)
    assert aurc(confidences, n, c) == pytest.approx(risks(confidences, n, c).mean(), abs=1e-12)
    shuffled = random.sample(questions, len(questions))
    for metric in (aurc, normalised_aurc):
        np.testing.assert_allclose(
            metric(confidences, n, c), metric(*quarters(shuffled)), atol=1e-12
        )


@given(QUESTIONS, st.data())
@settings(deadline=None)
def test_a_weight_is_a_repeated_question(questions, data):
    confidences, n, c = quarters(questions)
    shape = st.lists(st.integers(0, 3), min_size=len(n), max_size=len(n))
    weights = np.array([data.draw(shape), data.draw(shape), [1] * len(n)])
    for metric in (aurc, normalised_aurc):
        expected = [metric(*(np.repeat(x, row) for x in (confidences, n, c))) for row in weights]
        np.testing.assert_allclose(metric(confidences, n, c, weights), expected, atol=1e-12)
    at = [
        accuracy_at_coverage(*(np.repeat(x, row) for x in (confidences, n, c)), [0.3, 1.0])
        for row in weights
    ]
    np.testing.assert_allclose(
        accuracy_at_coverage(confidences, n, c, [0.3, 1.0], weights), at, atol=1e-12
    )


def test_the_curve_and_area_are_those_of_torch_uncertainty_where_nothing_ties():
    rng = np.random.default_rng(0)
    confidences, correct = rng.random(200), rng.integers(0, 2, 200)
    # its AURC: trapezoids over coverages 1/N .. 1, divided by their width
    errors = (1 - correct)[np.argsort(-confidences)]
    coverage = np.arange(1, 201) / 200
    risk = np.cumsum(errors) / np.arange(1, 201)
    theirs = auc(coverage, risk) / (1 - 1 / 200)
    np.testing.assert_allclose(risks(confidences, np.ones(200), correct), risk)
    mean_of_the_inner = aurc(confidences, np.ones(200), correct) * 200 - (risk[0] + risk[-1]) / 2
    assert mean_of_the_inner / 199 == pytest.approx(theirs)


def test_the_oracles_area_is_the_published_approximation_for_binary_outcomes():
    correct = np.arange(10_000) < 7_000
    oracle = aurc(correct.astype(float), np.ones(10_000), correct)
    assert oracle == pytest.approx(0.3 + 0.7 * np.log(0.7), abs=1e-3)  # Geifman et al., eq. 3


def test_normalised_is_0_for_the_oracle_1_for_chance_and_above_for_the_reverse():
    rng = np.random.default_rng(1)
    c = rng.integers(0, 5, 300)
    n = np.full(300, 4)
    assert normalised_aurc(c / 4, n, c) == 0
    assert normalised_aurc(np.full(300, 0.3), n, c) == pytest.approx(1)
    chance = [normalised_aurc(rng.random(300), n, c) for _ in range(400)]
    assert np.mean(chance) == pytest.approx(1, abs=4 * np.std(chance) / 20)
    assert normalised_aurc(1 - c / 4, n, c) > 1.5


@pytest.mark.filterwarnings("error")
def test_without_room_for_a_ranking_the_normalised_area_is_undefined():
    assert np.isnan(normalised_aurc([0.1, 0.9], [3, 3], [1, 1]))
    assert np.isnan(normalised_aurc([0.1], [4], [3]))


@pytest.mark.filterwarnings("error")
def test_without_questions_everything_is_undefined():
    assert np.isnan([aurc([], [], []), normalised_aurc([], [], [])]).all()
    assert np.isnan(accuracy_at_coverage([], [], [], [0.5])).all()
    assert np.isnan(lowest_threshold([], [], [], 0.5))


def test_accuracy_at_coverage_takes_part_of_a_question():
    confidences, n, c = [0.9, 0.5], *counts([1, 0.5])
    accuracies = accuracy_at_coverage(confidences, n, c, [0.25, 0.5, 0.75, 1])
    assert accuracies.tolist() == pytest.approx([1, 1, (1 + 0.25) / 1.5, 0.75])


def passing(confidences, accuracy, target):
    """The threshold with the most questions among those that reach the target, by brute force."""
    tried = [
        (sum(confidences >= t), t)
        for t in confidences
        if accuracy[confidences >= t].sum() >= target * sum(confidences >= t) - 1e-9
    ]
    return max(tried)[1] if tried else np.nan


@given(QUESTIONS, st.integers(1, 20))
@settings(deadline=None)
def test_the_lowest_threshold_is_that_of_brute_force(questions, twentieths):
    confidences, n, c = quarters(questions)
    target = twentieths / 20
    np.testing.assert_equal(
        lowest_threshold(confidences, n, c, target), passing(confidences, c / n, target)
    )


def test_a_target_that_is_equalled_is_reached():
    confidences = np.linspace(1, 0.1, 10)
    n, c = np.full(10, 10), np.array([9, 9, 9, 9, 9, 9, 9, 9, 9, 0])  # sums of 0.9 round
    assert lowest_threshold(confidences, n, c, 0.9) == confidences[8]


def test_a_threshold_answers_what_reaches_it():
    answered = answered_at([0.9, 0.8, 0.3], *counts([1, 0.5, 0.5]), 0.8, [[1, 1, 1], [0, 3, 1]])
    assert answered.coverage.tolist() == pytest.approx([2 / 3, 3 / 4])
    assert answered.accuracy.tolist() == [0.75, 0.5]
    nothing = answered_at([0.9], [4], [4], np.nan)
    assert nothing.coverage == 0
    assert np.isnan(nothing.accuracy)


@pytest.mark.parametrize("metric", [aurc, normalised_aurc])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 1.5], [2, 2], [1, 1]), r"confidences\[1\] is 1\.5"),
        (([np.nan, 0.5], [2, 2], [1, 1]), r"confidences\[0\] is nan"),
        (([0.5, 0.5], [2, 2], [1, 3]), r"c\[1\] is 3"),
        (([0.5], [2, 2], [1, 1]), "1 questions but n and c have 2"),
    ],
)
def test_bad_arrays_are_refused_by_name(metric, arguments, message):
    with pytest.raises(DataError, match=message):
        metric(*arguments)


@pytest.mark.parametrize("share", [0, -0.1, 1.1, np.nan])
def test_shares_out_of_range_are_refused(share):
    with pytest.raises(DataError, match="target accuracy is"):
        lowest_threshold([0.5], [1], [1], share)
    with pytest.raises(DataError, match="coverage is"):
        accuracy_at_coverage([0.5], [1], [1], [0.5, share])
