import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss
from torchmetrics.functional.classification import binary_calibration_error

from benchmark.errors import DataError
from benchmark.metrics.calibration import (
    brier_score,
    expected_calibration_error,
    reliability_curve,
    response_brier_score,
    signed_calibration_error,
    unbiased_brier_score,
)

ALL = [
    brier_score,
    unbiased_brier_score,
    response_brier_score,
    expected_calibration_error,
    signed_calibration_error,
]


def random_questions(size, seed=0):
    rng = np.random.default_rng(seed)
    n = rng.integers(2, 30, size)
    return rng.random(size).round(2), n, rng.binomial(n, rng.random(size))


def single_responses(confidences, n, c):
    """Every graded response on its own: its question's confidence, correctness and share."""
    correct = np.concatenate([np.arange(m) < hit for m, hit in zip(n, c, strict=True)])
    return np.repeat(confidences, n), correct, np.repeat(1 / n, n)


def test_brier_of_single_responses_equals_sklearn():
    rng = np.random.default_rng(1)
    confidences, correct = rng.random(50), rng.integers(0, 2, 50)
    expected = brier_score_loss(correct, confidences)
    assert brier_score(confidences, np.ones(50), correct) == pytest.approx(expected)
    assert response_brier_score(confidences, np.ones(50), correct) == pytest.approx(expected)


def test_response_brier_equals_sklearn_over_the_single_responses():
    questions = random_questions(60)
    scores, correct, share = single_responses(*questions)
    expected = brier_score_loss(correct, scores, sample_weight=share)
    assert response_brier_score(*questions) == pytest.approx(expected)


def test_response_brier_is_brier_plus_the_variance_of_correctness():
    confidences, n, c = random_questions(60)
    variance = np.mean(c / n * (1 - c / n))
    difference = response_brier_score(confidences, n, c) - brier_score(confidences, n, c)
    assert difference == pytest.approx(variance)


def test_unbiased_brier_averages_to_the_error_against_the_true_accuracy():
    rng = np.random.default_rng(2)
    p, confidences, n = rng.random(40), rng.random(40), rng.integers(2, 6, 40)
    counts = rng.binomial(n, p, (4000, 40))
    true = np.mean((confidences - p) ** 2)
    unbiased = [unbiased_brier_score(confidences, n, c) for c in counts]
    plain = [brier_score(confidences, n, c) for c in counts]
    standard_error = np.std(unbiased) / np.sqrt(len(counts))
    assert abs(np.mean(unbiased) - true) < 4 * standard_error
    assert abs(np.mean(plain) - true) > 20 * standard_error


def test_unbiased_brier_is_undefined_with_a_single_response():
    assert np.isnan(unbiased_brier_score([0.5, 0.5], n=[9, 1], c=[3, 1]))
    assert not np.isnan(unbiased_brier_score([0.5, 0.5], n=[9, 2], c=[3, 1]))


def test_signed_error_is_positive_for_overconfidence():
    assert signed_calibration_error([0.9, 0.7], n=[10, 10], c=[5, 5]) == pytest.approx(0.3)
    assert signed_calibration_error([0.1, 0.3], n=[10, 10], c=[5, 5]) == pytest.approx(-0.3)


@pytest.mark.parametrize("bins", [1, 5, 10, 15])
def test_ece_of_single_responses_equals_torchmetrics(bins):
    rng = np.random.default_rng(3)
    confidences, correct = rng.random(400), rng.integers(0, 2, 400)
    expected = binary_calibration_error(
        torch.tensor(confidences), torch.tensor(correct), n_bins=bins, norm="l1"
    )
    ours = expected_calibration_error(confidences, np.ones(400), correct, bins=bins)
    assert ours == pytest.approx(float(expected), abs=1e-6)


def test_ece_of_soft_targets_by_hand():
    # bin [0.1, 0.2): means 0.15 and 0.25; bin [0.9, 1.0]: means 0.95 and 0.5
    ece = expected_calibration_error([0.1, 0.19, 0.9, 1.0], n=[4] * 4, c=[0, 2, 1, 3])
    assert ece == pytest.approx((abs(0.29 - 0.5) + abs(1.9 - 1.0)) / 4)


@pytest.mark.parametrize("edge", range(11))
def test_every_edge_falls_into_the_bin_that_it_opens(edge):
    for value in (edge / 10, float(f"0.{edge}") if edge < 10 else 1.0):
        counts = reliability_curve([value], n=[1], c=[1]).counts
        assert np.flatnonzero(counts).tolist() == [min(edge, 9)]
    below = np.nextafter(edge / 10, 0)
    assert np.flatnonzero(reliability_curve([below], n=[1], c=[1]).counts) == [max(edge - 1, 0)]


def test_confidences_at_both_ends_count():
    assert expected_calibration_error([1.0] * 10, n=[10] * 10, c=[3] * 10) == pytest.approx(0.7)
    assert expected_calibration_error([0.0] * 10, n=[10] * 10, c=[3] * 10) == pytest.approx(0.3)


def test_reliability_curve_by_hand():
    curve = reliability_curve([0.0, 0.3, 0.35, 1.0], n=[4] * 4, c=[1, 2, 4, 4])
    assert curve.counts.tolist() == [1, 0, 0, 2, 0, 0, 0, 0, 0, 1]
    assert np.isnan(curve.mean_confidence).tolist() == (curve.counts == 0).tolist()
    np.testing.assert_allclose(curve.mean_confidence[[0, 3, 9]], [0, 0.325, 1])
    np.testing.assert_allclose(curve.expected_accuracy[[0, 3, 9]], [0.25, 0.75, 1])


def test_no_bins_are_refused():
    with pytest.raises(DataError, match="bins is 0"):
        reliability_curve([0.5], n=[1], c=[1], bins=0)


@pytest.mark.parametrize("metric", ALL)
def test_weights_equal_repeated_questions(metric):
    questions = random_questions(40)
    weights = np.random.default_rng(4).integers(0, 4, (2, 3, 40))
    weighted = metric(*questions, weights)
    assert weighted.shape == (2, 3)
    for index in np.ndindex(2, 3):
        repeated = [np.repeat(values, weights[index]) for values in questions]
        assert weighted[index] == pytest.approx(metric(*repeated))


def test_weighted_reliability_curve_equals_repeated_questions():
    questions = random_questions(40)
    weights = np.random.default_rng(4).integers(0, 3, (2, 40))
    weighted = reliability_curve(*questions, weights)
    for row in range(2):
        repeated = [np.repeat(values, weights[row]) for values in questions]
        for ours, expected in zip(weighted, reliability_curve(*repeated), strict=True):
            np.testing.assert_allclose(ours[row], expected)


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.filterwarnings("error")
def test_no_question_or_no_weight_is_undefined(metric):
    assert np.isnan(metric([], [], []))
    assert np.isnan(metric([], [], [], np.ones((3, 0)))).tolist() == [True] * 3
    assert np.isnan(metric([0.5], [2], [1], [[0.0], [1.0]])).tolist() == [True, False]
