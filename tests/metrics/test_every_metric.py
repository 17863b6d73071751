"""What holds for every metric: weights, redrawn counts, order, and too few questions."""

import numpy as np
import pytest
from questions import METRICS, random_questions

from benchmark.errors import DataError

NEED_TWO = {"r2", "resolution", "uncertainty", "pearson", "spearman", "r2_ceiling"}
every = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


@every
@pytest.mark.parametrize("digits", [1, 9])
def test_weights_equal_repeated_questions(metric, digits):
    questions = random_questions(40, digits=digits, least=2)
    weights = np.random.default_rng(4).integers(0, 4, (2, 3, 40))
    weighted = metric(*questions, weights)
    assert weighted.shape == (2, 3)
    for index in np.ndindex(2, 3):
        repeated = [np.repeat(values, weights[index]) for values in questions]
        assert weighted[index] == pytest.approx(metric(*repeated))


@every
def test_rows_of_counts_equal_each_row(metric):
    confidences, n, c = random_questions(40, least=2)
    rng = np.random.default_rng(5)
    counts = rng.binomial(n, c / n, (2, 3, 40))
    rows, weights = metric(confidences, n, counts), rng.integers(1, 4, 40)
    weighted = metric(confidences, n, counts, weights)
    assert rows.shape == weighted.shape == (2, 3)
    for index in np.ndindex(2, 3):
        assert rows[index] == pytest.approx(metric(confidences, n, counts[index]))
        expected = metric(confidences, n, counts[index], weights)
        assert weighted[index] == pytest.approx(expected)


@every
def test_rows_of_counts_go_with_rows_of_weights(metric):
    confidences, n, c = random_questions(40, least=2)
    rng = np.random.default_rng(6)
    counts, weights = rng.binomial(n, c / n, (3, 40)), rng.integers(0, 4, (3, 40))
    rows = metric(confidences, n, counts, weights)
    each = [metric(confidences, n, counts[i], weights[i]) for i in range(3)]
    np.testing.assert_allclose(rows, each)


@every
def test_the_order_of_the_questions_is_of_no_account(metric):
    questions = random_questions(40, digits=2, least=2)
    weights = np.random.default_rng(7).integers(0, 4, (3, 40))
    order = np.random.default_rng(8).permutation(40)
    shuffled = metric(*(values[order] for values in questions), weights[:, order])
    np.testing.assert_allclose(metric(*questions, weights), shuffled)


@every
@pytest.mark.filterwarnings("error")
def test_no_question_or_no_weight_is_undefined(metric):
    assert np.isnan(metric([], [], []))
    assert np.isnan(metric([], [], [], np.ones((3, 0)))).tolist() == [True] * 3
    weights = [[0.0, 0.0], [1.0, 1.0]]
    assert np.isnan(metric([0.5, 0.1], [2, 2], [1, 0], weights)).tolist() == [True, False]


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.filterwarnings("error")
def test_one_question_is_enough_but_for_what_compares_questions(name):
    assert np.isnan(METRICS[name]([0.3], [4], [1])) == (name in NEED_TWO)


@every
@pytest.mark.filterwarnings("error")
def test_all_right_and_all_wrong_warn_of_nothing(metric):
    for c in ([3, 3, 3], [0, 0, 0]):
        for confidences in ([0.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]):
            assert np.ndim(metric(confidences, [3, 3, 3], c)) == 0


@every
def test_inputs_are_checked(metric):
    with pytest.raises(DataError, match=r"c\[1\] is 3"):
        metric([0.5, 0.1], [2, 2], [1, 3])
