import numpy as np
import pytest
import torch
from questions import random_questions
from sklearn.calibration import calibration_curve
from torchmetrics.functional.classification import binary_calibration_error

from benchmark.errors import DataError
from benchmark.metrics.brier import brier_score
from benchmark.metrics.ece import (
    equal_mass_calibration_error,
    expected_calibration_error,
    reliability_curve,
)
from benchmark.metrics.murphy import murphy_decomposition


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


def test_weighted_reliability_curve_equals_repeated_questions():
    questions = random_questions(40)
    weights = np.random.default_rng(4).integers(0, 3, (2, 40))
    weighted = reliability_curve(*questions, weights)
    for row in range(2):
        repeated = [np.repeat(values, weights[row]) for values in questions]
        for ours, expected in zip(weighted, reliability_curve(*repeated), strict=True):
            np.testing.assert_allclose(ours[row], expected)


@pytest.mark.parametrize("bins", [4, 10])
def test_the_reliability_curve_of_single_responses_equals_sklearn(bins):
    rng = np.random.default_rng(3)
    confidences, correct = rng.random(400), rng.integers(0, 2, 400)
    curve = reliability_curve(confidences, np.ones(400), correct, bins=bins)
    accuracy, confidence = calibration_curve(correct, confidences, n_bins=bins)
    np.testing.assert_allclose(curve.expected_accuracy, accuracy)
    np.testing.assert_allclose(curve.mean_confidence, confidence)


@pytest.mark.parametrize("bins", [1, 5, 10])
def test_equal_mass_ece_equals_sklearn_where_the_bins_come_out_even(bins):
    rng = np.random.default_rng(3)
    confidences, correct = rng.permutation(401)[:400] / 400, rng.integers(0, 2, 400)
    accuracy, confidence = calibration_curve(correct, confidences, n_bins=bins, strategy="quantile")
    ours = equal_mass_calibration_error(confidences, np.ones(400), correct, bins=bins)
    assert ours == pytest.approx(np.mean(np.abs(accuracy - confidence)))


def test_equal_mass_ece_keeps_equal_confidences_together():
    # 0.9 stands for ranks 2 to 4, whose middle is in the second half: bins [0.1], [0.9, 0.9, 0.9]
    ours = equal_mass_calibration_error([0.9, 0.1, 0.9, 0.9], n=[1] * 4, c=[1, 0, 1, 0], bins=2)
    assert ours == pytest.approx((abs(0.1 - 0) + abs(2.7 - 2)) / 4)
    # gaps of both signs, which would cancel in one bin: the tie's middle decides, not an end of it
    apart = equal_mass_calibration_error([0.9, 0.1, 0.9, 0.9], n=[1] * 4, c=[1, 1, 1, 0], bins=2)
    assert apart == pytest.approx((0.9 + 0.7) / 4)
    low = equal_mass_calibration_error([0.1, 0.1, 0.1, 0.9], n=[1] * 4, c=[1, 1, 1, 0], bins=2)
    assert low == pytest.approx((2.7 + 0.9) / 4)
    constant = equal_mass_calibration_error([0.4] * 6, n=[2] * 6, c=[0, 1, 1, 2, 2, 2])
    assert constant == pytest.approx(8 / 12 - 0.4)


def test_equal_mass_ece_of_seven_in_ten_bins_isn_t_led_astray_by_rounding():
    # every question has a bin of its own up to ten, where the edges i / 10 aren't exact
    for size in (7, 10):
        confidences, c = np.arange(size) / size, np.arange(size) % 2
        ours = equal_mass_calibration_error(confidences, np.ones(size), c)
        assert ours == pytest.approx(np.mean(np.abs(confidences - c)))


def test_murphys_parts_add_up_where_each_bin_holds_one_confidence():
    confidences, n, c = random_questions(60)
    confidences = np.minimum(confidences, 0.9)  # the last bin would hold 1.0 as well
    parts = murphy_decomposition(confidences, n, c)
    total = parts.reliability - parts.resolution + parts.uncertainty
    assert total == pytest.approx(brier_score(confidences, n, c))


def test_murphys_parts_by_hand():
    # bins 0.25: c/n 0, 0.5; 0.75: 0.5, 1. Their means are met, so the gaps are noise alone:
    # variance 0.125 within each, over 2 questions
    parts = murphy_decomposition([0.25, 0.25, 0.75, 0.75], n=[4] * 4, c=[0, 2, 2, 4])
    assert parts.reliability == pytest.approx(-0.125 / 2)
    assert parts.uncertainty == pytest.approx(np.var([0, 0.5, 0.5, 1], ddof=1))
    between = 0.25**2 - 0.125 / 2 + parts.uncertainty / 4
    assert parts.resolution == pytest.approx(between)
    # single questions can't be corrected
    assert murphy_decomposition([0.2, 0.9], [1, 1], [0, 1]).reliability == pytest.approx(0.025)


def test_murphys_parts_are_unbiased_over_questions_drawn_at_random():
    rng = np.random.default_rng(0)
    levels, expected = np.array([0.15, 0.55, 0.85]), np.array([0.3, 0.5, 0.9])  # of p, at each
    level = rng.integers(0, 3, (3000, 30))
    p = rng.beta(4 * expected, 4 * (1 - expected), (3000, 30, 3))
    p = np.take_along_axis(p, level[..., None], axis=-1)[..., 0]
    c = rng.binomial(5, p)
    parts = [
        murphy_decomposition(levels[one], [5] * 30, k) for one, k in zip(level, c, strict=True)
    ]
    means, errors = np.mean(parts, axis=0), np.std(parts, axis=0) / np.sqrt(len(parts))
    variance = expected * (1 - expected) / 5 * (1 + 4 / 5)  # of c / n given the level
    truth = [
        np.mean((levels - expected) ** 2),
        np.var(expected),
        np.var(expected) + np.mean(variance),
    ]
    assert (np.abs(means - truth) < 4 * errors).all()
    plain = np.mean([expected_square(levels[one], k / 5) for one, k in zip(level, c, strict=True)])
    assert plain - truth[0] > 20 * errors[0]


def expected_square(confidences, accuracy):
    """The plain, biased reliability."""
    gaps = [
        (confidences == one).mean() * np.mean((confidences - accuracy)[confidences == one]) ** 2
        for one in np.unique(confidences)
    ]
    return np.sum(gaps)
